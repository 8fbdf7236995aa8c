//! Players and their orders, of which some were paid and never delivered.

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use super::{Chance, DAY, Demo, Rows, at};

/// Players of the table.
const PLAYERS: usize = 3000;

const COUNTRIES: [(&str, &str); 5] =
    [("TW", "zh-Hant"), ("CN", "zh-Hans"), ("US", "en"), ("HK", "zh-Hant"), ("JP", "en")];

/// Items with their price in cents.
const ITEMS: [(&str, i64); 6] = [
    ("gold_500", 499),
    ("starter_pack", 199),
    ("season_pass", 1299),
    ("diamonds_9999", 9999),
    ("skin_comet", 899),
    ("gem_box_3", 2999),
];

/// Share of paid orders that never arrived.
const LOST: f64 = 0.012;

/// Generates `demo_players` and `demo_orders`; the truth lists the paid orders that were never
/// delivered and what each of a few players has spent.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let mut players = Rows::new(
        "player_id,country,language,level,created_at,last_seen_at,account_status,currency",
    );
    let mut orders = Rows::new(
        "order_id,player_id,item_id,amount,currency,paid_at,payment_status,delivered,refunded_amount",
    );
    let (mut undelivered, mut spend) = (Vec::new(), serde_json::Map::new());
    let mut number = 7000;
    for i in 0..PLAYERS {
        let id = 30_000 + i;
        let (country, language) = COUNTRIES.choose(chance).copied().unwrap_or(("TW", "zh-Hant"));
        let created = -chance.random_range(0..600 * DAY);
        let seen = chance.random_range(0..84 * DAY);
        let status = match chance.random_range(0..100) {
            0 => "closed",
            1..=2 => "suspended",
            _ => "active",
        };
        let level = chance.random_range(1..90);
        players.push(&format!(
            "{id},{country},{language},{level},{},{},{status},USD",
            at(created),
            at(seen)
        ));
        let mut spent = 0;
        // Most players never pay; a few pay often.
        let count = if chance.random_bool(0.22) { chance.random_range(1..9) } else { 0 };
        for _ in 0..count {
            number += 1;
            let (item, price) = ITEMS.choose(chance).copied().unwrap_or(("gold_500", 499));
            let failed = chance.random_bool(0.06);
            let lost = !failed && chance.random_bool(LOST);
            let refunded = if !failed && chance.random_bool(0.02) { price } else { 0 };
            if !failed {
                spent += price - refunded;
            }
            if lost {
                undelivered.push(format!("ord-{number}"));
            }
            orders.push(&format!(
                "ord-{number},{id},{item},{},USD,{},{},{},{}",
                cents(price),
                at(chance.random_range(0..84 * DAY)),
                if failed { "failed" } else { "paid" },
                !failed && !lost,
                cents(refunded)
            ));
        }
        if count > 0 && spend.len() < 50 {
            spend.insert(id.to_string(), json!(cents(spent)));
        }
    }
    let datasets = vec![players.into_dataset("demo_players"), orders.into_dataset("demo_orders")];
    let truth = json!({ "demo_orders": { "undelivered": undelivered, "lifetime_spend": spend } });
    Demo { datasets, truth }
}

/// Writes cents as a decimal amount.
pub(super) fn cents(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
