//! The demo joint venture of the gaming pack: a studio with a player base, a test that works, an
//! economy that an update broke, a fraud ring, and a ladder whose true skills are known.

mod cohorts;
mod economy;
mod experiment;
mod ladder;
mod payments;
mod players;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use serde_json::json;

use super::{Chance, Demo, Generated};

/// A text table under construction.
struct Rows(String);

impl Rows {
    /// Begins a table with its header line.
    fn new(header: &str) -> Self {
        Self(format!("{header}\n"))
    }

    /// Adds a line.
    fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// Ends the table as the dataset `id`.
    fn into_dataset(self, id: &str) -> Generated {
        Generated { id: id.to_owned(), file: format!("{id}.csv"), bytes: self.0.into_bytes() }
    }
}

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Midnight (UTC) of 2026-09-01, the first day of the demo.
const FIRST: i64 = 1_788_220_800;

/// Returns the instant `seconds` after the first day began, RFC 3339 in UTC.
fn at(seconds: i64) -> String {
    let first = Timestamp::from_second(FIRST).unwrap_or_default();
    first.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(first).to_string()
}

/// Draws from the standard normal distribution.
///
/// # Source
/// Box and Muller 1958.
fn normal(chance: &mut Chance) -> f64 {
    let (u, v): (f64, f64) = (chance.random_range(1e-12..1.0), chance.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Generates the datasets and their truth.
pub(super) fn generate(chance: &mut Chance) -> Demo {
    let (mut datasets, mut truth) = (Vec::new(), json!({}));
    let parts = [
        players::generate,
        cohorts::generate,
        experiment::generate,
        economy::generate,
        payments::generate,
        ladder::generate,
    ];
    for part in parts {
        let demo = part(chance);
        datasets.extend(demo.datasets);
        if let (Some(all), Some(more)) = (truth.as_object_mut(), demo.truth.as_object()) {
            all.extend(more.clone());
        }
    }
    Demo { datasets, truth }
}
