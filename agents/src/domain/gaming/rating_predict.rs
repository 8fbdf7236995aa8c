//! Expected score of one game.

use serde::Deserialize;
use serde_json::{Value, json};
use statrs::distribution::{ContinuousCDF, Normal};

use super::tidy;
use crate::tool::{ToolContext, ToolError, decode};

#[derive(Deserialize)]
struct Arguments {
    system: String,
    a_rating: f64,
    a_deviation: Option<f64>,
    b_rating: f64,
    b_deviation: Option<f64>,
}

/// Half the width of a class of skill in the OpenSkill model.
pub(super) const BETA: f64 = 25.0 / 6.0;

/// Expected score of Elo for a gap of ratings, 0 to 1.
pub(super) fn logistic(gap: f64) -> f64 {
    1.0 / (1.0 + 10f64.powf(-gap / 400.0))
}

/// Expected score of Glicko for a gap of ratings and both deviations, 0 to 1.
///
/// # Source
/// Glickman 1999, *Parameter estimation in large dynamic paired comparison experiments*: g(RD) of
/// the combined deviation.
pub(super) fn glicko(gap: f64, a: f64, b: f64) -> f64 {
    let q = std::f64::consts::LN_10 / 400.0;
    let variance = a * a + b * b;
    let g = 1.0 / (1.0 + 3.0 * q * q * variance / std::f64::consts::PI.powi(2)).sqrt();
    logistic(g * gap)
}

/// Expected score of OpenSkill for a gap of sums, the summed variance of all players and their
/// number, 0 to 1.
///
/// # Source
/// Weng and Lin 2011: normal model with two sides.
pub(super) fn openskill(gap: f64, variance: f64, players: f64) -> Result<f64, ToolError> {
    let spread = (players * BETA * BETA + variance).sqrt();
    Normal::new(0.0, 1.0)
        .map(|normal| normal.cdf(gap / spread))
        .map_err(|error| ToolError::Unavailable { message: error.to_string() })
}

/// Predicts the score of side A.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a deviation that the system needs is absent.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let gap = args.a_rating - args.b_rating;
    let need = || ToolError::invalid("", "this system needs a_deviation and b_deviation");
    let both = || args.a_deviation.zip(args.b_deviation).ok_or_else(need);
    let (score, method) = match args.system.as_str() {
        "elo" => (logistic(gap), "Elo logistic, 400 points"),
        "glicko2" => {
            let (a, b) = both()?;
            (glicko(gap, a, b), "Glicko expected score with g of the combined deviation")
        }
        _ => {
            let (a, b) = both()?;
            (openskill(gap, a * a + b * b, 2.0)?, "OpenSkill normal model, beta 25/6")
        }
    };
    Ok(json!({
        "system": args.system,
        "a_win_probability_pct": tidy(score * 100.0),
        "b_win_probability_pct": tidy((1.0 - score) * 100.0),
        "rating_gap": tidy(gap),
        "method": method,
        "warnings": [],
    }))
}
