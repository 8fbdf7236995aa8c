//! Two install cohorts in three countries; one country keeps its players worse after an update.

use rand::RngExt as _;
use serde_json::json;

use super::{Chance, DAY, Demo, Rows, at};

/// Installs of one country on one day.
const INSTALLS: usize = 900;

/// Days from the first cohort (2026-09-01) to the second (2026-10-01).
const GAP: i64 = 30;

/// Days that a player is followed for.
const FOLLOWED: i64 = 40;

/// Country and true retention on day 1 of each cohort; later days fall by a power of the day.
const COUNTRIES: [(&str, [f64; 2]); 3] =
    [("JP", [0.46, 0.46]), ("TW", [0.44, 0.31]), ("US", [0.39, 0.39])];

/// Exponent of the fall of retention with the day.
const FALL: f64 = 0.42;

/// True retention on a day for a retention on day 1.
fn kept(first: f64, day: i64) -> f64 {
    first * f64::from(i32::try_from(day).unwrap_or(i32::MAX)).powf(-FALL)
}

/// Generates `demo_events`; the truth holds the planted retention and the players drawn from it.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let mut events = Rows::new("player_id,event_time,event_name,country,platform");
    let mut truth = Vec::new();
    let mut number = 0;
    for (country, firsts) in COUNTRIES {
        for (cohort, first) in (0_i64..).zip(firsts) {
            let start = cohort * GAP * DAY;
            let mut active = [0_u32; 3];
            for _ in 0..INSTALLS {
                number += 1;
                let platform = if chance.random_bool(0.5) { "ios" } else { "android" };
                let install = start + chance.random_range(0..DAY - 60);
                let mut seen = |at_second: i64, name: &str| {
                    events
                        .push(&format!("e{number},{},{name},{country},{platform}", at(at_second)));
                };
                seen(install, "install");
                for day in 1..=FOLLOWED {
                    if !chance.random_bool(kept(first, day)) {
                        continue;
                    }
                    let count = match day {
                        1 => active.first_mut(),
                        7 => active.get_mut(1),
                        30 => active.get_mut(2),
                        _ => None,
                    };
                    if let Some(count) = count {
                        *count += 1;
                    }
                    for _ in 0..chance.random_range(1..3) {
                        seen(start + day * DAY + chance.random_range(0..DAY), "session_start");
                    }
                }
            }
            truth.push(json!({
                "country": country,
                "cohort_date": if cohort == 0 { "2026-09-01" } else { "2026-10-01" },
                "installs": INSTALLS,
                "days": [1, 7, 30],
                "planted_pct": ([1, 7, 30].map(|day| 100.0 * kept(first, day))),
                "active": active,
            }));
        }
    }
    let truth = json!({ "demo_events": { "cohorts": truth, "worst_country": "TW" } });
    Demo { datasets: vec![events.into_dataset("demo_events")], truth }
}
