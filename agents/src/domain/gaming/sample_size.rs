//! Players that an A/B test needs.

use serde::Deserialize;
use serde_json::{Value, json};
use statrs::distribution::{ContinuousCDF, Normal};

use super::tidy;
use crate::tool::{ToolContext, ToolError, decode};

#[derive(Deserialize)]
struct Arguments {
    metric_type: String,
    baseline_pct: Option<f64>,
    target_pct: Option<f64>,
    sd: Option<f64>,
    minimum_effect: Option<f64>,
    #[serde(default = "five")]
    alpha_pct: f64,
    #[serde(default = "eighty")]
    power_pct: f64,
    daily_new_players: Option<u64>,
}

fn five() -> f64 {
    5.0
}

fn eighty() -> f64 {
    80.0
}

/// Returns the effect as it is told and the ratio of variance to squared effect, of both arms.
fn effect(args: &Arguments) -> Result<(f64, f64), ToolError> {
    if args.metric_type == "mean" {
        let (sd, effect) = args
            .sd
            .zip(args.minimum_effect)
            .ok_or_else(|| ToolError::invalid("", "a mean needs sd and minimum_effect"))?;
        return Ok((effect, 2.0 * sd * sd / (effect * effect)));
    }
    let (from, to) = args
        .baseline_pct
        .zip(args.target_pct)
        .ok_or_else(|| ToolError::invalid("", "a proportion needs baseline_pct and target_pct"))?;
    let (p, q) = (from / 100.0, to / 100.0);
    if p == q {
        return Err(ToolError::invalid(
            "/target_pct",
            "the target equals the baseline; there is no change to detect",
        ));
    }
    let variance = p * (1.0 - p) + q * (1.0 - q);
    Ok((to - from, variance / ((q - p) * (q - p))))
}

/// Computes the size of two equal arms for a two-sided test.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ no effect to detect.
///
/// # Source
/// Normal approximation with unpooled variance: `n = (z₁₋α/₂ + z₁₋β)² · σ² / δ²`.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let (effect, ratio) = effect(&args)?;
    let normal = Normal::new(0.0, 1.0)
        .map_err(|error| ToolError::Unavailable { message: error.to_string() })?;
    let z = normal.inverse_cdf(1.0 - args.alpha_pct / 200.0)
        + normal.inverse_cdf(args.power_pct / 100.0);
    let players = (z * z * ratio).ceil();
    if !(players.is_finite() && players < 1e15) {
        return Err(ToolError::invalid("", "no test of a possible size detects so small a change"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
    let per_arm = players as u64;
    let days = args.daily_new_players.map(|daily| (2 * per_arm).div_ceil(daily.max(1)));
    Ok(json!({
        "n_per_arm": per_arm,
        "n_total": 2 * per_arm,
        "effect": tidy(effect),
        "days_needed": days,
        "method": "Two-sided test of two equal arms, normal approximation with unpooled variance",
        "warnings": [],
    }))
}
