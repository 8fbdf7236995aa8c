//! Daily returns of a fund, of known mean and volatility.

use jiff::civil::Weekday;
use rand::RngExt as _;
use serde_json::{Value, json};

use super::{Chance, Csv, Generated, day};

/// Mean and standard deviation of a day, plain numbers.
const MEAN: f64 = 0.0003;
const DEVIATION: f64 = 0.012;
const OBSERVATIONS: usize = 1_000;

/// Draws from the standard normal distribution.
///
/// # Source
/// Box and Muller (1958).
fn normal(chance: &mut Chance) -> f64 {
    let radius = (-2.0 * (1.0 - chance.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * chance.random::<f64>()).cos()
}

/// Generates the returns of weekdays.
pub(super) fn generate(chance: &mut Chance) -> (Vec<Generated>, Value) {
    let mut table = Csv::new("demo_returns", "date,return");
    let weekdays = (-1_500..)
        .map(day)
        .filter(|day| !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday));
    for day in weekdays.take(OBSERVATIONS) {
        let value = MEAN + DEVIATION * normal(chance);
        table.row(&[&day.to_string(), &format!("{value:.6}")]);
    }
    let truth = json!({
        "mean_pct": MEAN * 100.0,
        "volatility_pct": DEVIATION * 100.0,
        "observations": OBSERVATIONS,
    });
    (vec![table.done()], truth)
}
