//! Four weeks of a ledger in which an update raised what one currency creates.

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use super::{Chance, DAY, Demo, Rows, at};

/// Days of the ledger; the update comes after half of them.
const DAYS: i64 = 28;

/// First day of the ledger, days after the first day of the demo (2026-10-20).
const START: i64 = 49;

/// Flows of a currency on a day and direction.
const FLOWS: usize = 120;

/// Created for each unit removed, before and after the update.
const RATIOS: [(&str, f64, f64); 2] = [("gold", 1.0, 1.4), ("gems", 0.98, 0.98)];

/// Generates `demo_flows`; the truth holds the planted ratios and the day of the update.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let mut rows = Rows::new("event_time,player_id,virtual_currency,flow,category,amount");
    let mut truth = serde_json::Map::new();
    for (currency, before, after) in RATIOS {
        for day in 0..DAYS {
            let ratio = if day < DAYS / 2 { before } else { after };
            // Weekends are busier in both directions.
            let busy = if (day + START) % 7 >= 5 { 1.5 } else { 1.0 };
            for (flow, mean, categories) in [
                ("source", 100.0 * ratio * busy, ["quest", "event", "trade"]),
                ("sink", 100.0 * busy, ["shop", "repair", "craft"]),
            ] {
                for _ in 0..FLOWS {
                    let amount = mean * chance.random_range(0.2..1.8);
                    let category = categories.choose(chance).copied().unwrap_or("quest");
                    let time = at((START + day) * DAY + chance.random_range(0..DAY));
                    let player = chance.random_range(30_000..33_000);
                    rows.push(&format!("{time},{player},{currency},{flow},{category},{amount:.0}"));
                }
            }
        }
        truth.insert(
            currency.to_owned(),
            json!({ "ratio_before": before, "ratio_after": after,
                "verdict": if after > 1.05 { "inflating" } else { "stable" } }),
        );
    }
    truth.insert("change_date".to_owned(), json!("2026-11-03"));
    let truth = json!({ "demo_flows": truth });
    Demo { datasets: vec![rows.into_dataset("demo_flows")], truth }
}
