//! Three randomised tests: one of conversion that works, one of spend that works, and one whose
//! treatment arm lost players before they were counted.

use rand::RngExt as _;
use serde_json::json;

use super::{Chance, DAY, Demo, Generated, Rows, at, normal};

/// Players of a test.
const PLAYERS: usize = 24_000;

/// True share of returning players in control and treatment.
const SHARES: (f64, f64) = (0.12, 0.14);

/// True mean spend in control and the amount that treatment adds, metric units.
const SPEND: (f64, f64) = (4.0, 0.45);

/// Share of the treatment arm that the broken test lost.
const LOST: f64 = 0.1;

/// Draws a test; `value` gives what a player of an arm did, `keep` whether the player is counted.
fn experiment(
    id: &str,
    chance: &mut Chance,
    value: impl Fn(bool, &mut Chance) -> String,
    lost: f64,
) -> Generated {
    let mut rows = Rows::new("player_id,event_time,arm,value");
    for i in 0..PLAYERS {
        let treated = chance.random_bool(0.5);
        if treated && lost > 0.0 && chance.random_bool(lost) {
            continue;
        }
        let arm = if treated { "treatment" } else { "control" };
        let time = at(chance.random_range(60 * DAY..74 * DAY));
        rows.push(&format!("x{i},{time},{arm},{}", value(treated, chance)));
    }
    rows.into_dataset(id)
}

fn returned(treated: bool, chance: &mut Chance) -> String {
    let share = if treated { SHARES.1 } else { SHARES.0 };
    u8::from(chance.random_bool(share)).to_string()
}

/// Spend is a sum of two heavy-tailed parts, so that its spread is as large as its mean.
fn spent(treated: bool, chance: &mut Chance) -> String {
    let base = SPEND.0 * (0.8 * normal(chance) - 0.32).exp();
    let more = if treated { SPEND.1 * (0.8 * normal(chance) - 0.32).exp() } else { 0.0 };
    format!("{:.4}", base + more)
}

/// Generates `demo_ab_return`, `demo_ab_spend` and `demo_ab_broken`.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let datasets = vec![
        experiment("demo_ab_return", chance, returned, 0.0),
        experiment("demo_ab_spend", chance, spent, 0.0),
        experiment("demo_ab_broken", chance, returned, LOST),
    ];
    let truth = json!({
        "demo_ab_return": { "effect_points": (SHARES.1 - SHARES.0) * 100.0 },
        "demo_ab_spend": { "effect": SPEND.1 },
        "demo_ab_broken": { "lost_share_pct": LOST * 100.0 },
    });
    Demo { datasets, truth }
}
