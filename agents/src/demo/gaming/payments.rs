//! Five weeks of payments with a fraud ring that shares devices and cards, players who live on
//! refunds, and honest people who look a little like either.

use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use serde_json::json;

use super::players::cents;
use super::{Chance, DAY, Demo, Rows, at};

/// First day of the payments, days after the first day of the demo (2026-10-20).
const START: i64 = 49;

/// Days of the table.
const DAYS: i64 = 35;

/// Honest payers.
const HONEST: usize = 1800;

/// Devices of the ring.
const RING_DEVICES: usize = 14;

/// Members of the ring who work from a phone of their own, one order each: no rule sees them.
const LONERS: usize = 2;

/// Players who refund most of what they buy.
const REFUNDERS: usize = 12;

const PRICES: [i64; 6] = [499, 199, 1299, 899, 2999, 9999];

/// One payment: second after the first day, player, device, card, cents, state.
struct Payment {
    second: i64,
    player: String,
    device: String,
    card: String,
    cents: i64,
    status: &'static str,
}

fn day(chance: &mut Chance) -> i64 {
    (START + chance.random_range(0..DAYS)) * DAY
}

fn honest(chance: &mut Chance, all: &mut Vec<Payment>) {
    for i in 0..HONEST {
        for _ in 0..chance.random_range(1..7) {
            let status = match chance.random_range(0..100) {
                0..=2 => "refunded",
                3..=7 => "failed",
                _ => "captured",
            };
            all.push(Payment {
                second: day(chance) + chance.random_range(0..DAY),
                player: format!("h{i}"),
                // Two of a family share a tablet.
                device: format!("dev-h{}", if i < 120 { i / 2 } else { i }),
                card: format!("card-h{i}-{}", chance.random_range(0..2)),
                cents: PRICES.choose(chance).copied().unwrap_or(499),
                status,
            });
        }
    }
    // A collector buys many small things at once, all with one card.
    for i in 0..20 {
        let start = day(chance) + chance.random_range(0..DAY / 2);
        for n in 0..chance.random_range(6..12) {
            all.push(Payment {
                second: start + n * 240,
                player: format!("collector{i}"),
                device: format!("dev-c{i}"),
                card: format!("card-c{i}"),
                cents: 99,
                status: "captured",
            });
        }
    }
    // Three strangers pay from one machine of a café on the same day.
    let start = day(chance) + 12 * 3600;
    for i in 0..3 {
        all.push(Payment {
            second: start + i * 3600,
            player: format!("guest{i}"),
            device: "dev-cafe".to_owned(),
            card: format!("card-guest{i}"),
            cents: 499,
            status: "captured",
        });
    }
}

/// Adds the ring and returns its members.
fn ring(chance: &mut Chance, all: &mut Vec<Payment>) -> Vec<String> {
    let mut members = Vec::new();
    let cards: Vec<String> = (0..60).map(|i| format!("card-r{i}")).collect();
    for device in 0..RING_DEVICES {
        let crew: Vec<String> =
            (0..chance.random_range(5..9)).map(|i| format!("r{device}m{i}")).collect();
        // Each crew strikes twice, within a few hours.
        for _ in 0..2 {
            let start = day(chance) + chance.random_range(0..DAY / 2);
            for player in &crew {
                for _ in 0..chance.random_range(2..5) {
                    all.push(Payment {
                        second: start + chance.random_range(0..4 * 3600),
                        player: player.clone(),
                        device: format!("dev-r{device}"),
                        card: cards.choose(chance).cloned().unwrap_or_default(),
                        cents: [99, 149, 199].choose(chance).copied().unwrap_or(99),
                        status: if chance.random_bool(0.5) { "failed" } else { "captured" },
                    });
                }
            }
        }
        members.extend(crew);
    }
    for i in 0..LONERS {
        all.push(Payment {
            second: day(chance),
            player: format!("loner{i}"),
            device: format!("dev-l{i}"),
            card: cards.choose(chance).cloned().unwrap_or_default(),
            cents: 99,
            status: "captured",
        });
        members.push(format!("loner{i}"));
    }
    members
}

/// Adds the players who live on refunds and returns them.
fn refunders(chance: &mut Chance, all: &mut Vec<Payment>) -> Vec<String> {
    (0..REFUNDERS)
        .map(|i| {
            let start = day(chance) + chance.random_range(0..DAY / 2);
            let orders = chance.random_range(4..8);
            for n in 0..orders {
                all.push(Payment {
                    second: start + n * 1800,
                    player: format!("back{i}"),
                    device: format!("dev-b{i}"),
                    card: format!("card-b{i}"),
                    cents: 1999,
                    // The first one is kept, the rest goes back.
                    status: if n == 0 { "captured" } else { "refunded" },
                });
            }
            format!("back{i}")
        })
        .collect()
}

/// Generates `demo_payments`; the truth names the ring and those who live on refunds.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let mut all = Vec::new();
    honest(chance, &mut all);
    let members = ring(chance, &mut all);
    let abusers = refunders(chance, &mut all);
    // Identifiers must not give the planted ones away by their order.
    all.shuffle(chance);
    all.sort_by_key(|payment| payment.second);
    let mut rows =
        Rows::new("order_id,event_time,player_id,device_id,card_id,amount,currency,status");
    for (i, payment) in all.iter().enumerate() {
        rows.push(&format!(
            "pay-{},{},{},{},{},{},USD,{}",
            100_000 + i,
            at(payment.second),
            payment.player,
            payment.device,
            payment.card,
            cents(payment.cents),
            payment.status
        ));
    }
    let truth = json!({ "demo_payments": { "ring": members, "refund_abusers": abusers } });
    Demo { datasets: vec![rows.into_dataset("demo_payments")], truth }
}
