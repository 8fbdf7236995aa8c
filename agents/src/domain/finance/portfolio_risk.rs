//! Value at risk and expected shortfall.

use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use serde::Deserialize;
use serde_json::{Value, json};
use statrs::distribution::{Continuous, ContinuousCDF, Normal};

use crate::tool::{ToolContext, ToolError, Window, decode, money, warning};

/// Fewer observations than these are warned of.
const FEW: usize = 100;

#[derive(Deserialize)]
struct Arguments {
    returns: Option<Vec<f64>>,
    dataset: Option<String>,
    portfolio_value: String,
    currency: String,
    #[serde(default = "ninety_five")]
    confidence_pct: f64,
    #[serde(default = "both")]
    methods: Vec<String>,
    #[serde(default = "one")]
    horizon_days: u32,
}

fn ninety_five() -> f64 {
    95.0
}

fn both() -> Vec<String> {
    vec!["normal".to_owned(), "historical".to_owned()]
}

fn one() -> u32 {
    1
}

/// Value at risk and expected shortfall as fractions of the portfolio.
struct Risk {
    method: &'static str,
    at_risk: f64,
    shortfall: f64,
}

/// Reads the column `return` of a dataset.
fn read(context: &ToolContext<'_>, id: &str, window: &Window) -> Result<Vec<f64>, ToolError> {
    let table = context.datasets.table(id, window)?;
    let column = table.column("return")?;
    table
        .rows
        .iter()
        .map(|row| {
            row[column].parse().map_err(|_| {
                ToolError::invalid("/dataset", format!("`{}` is no return", row[column]))
            })
        })
        .collect()
}

/// # Source
/// Normal variance-covariance method: `VaR = z·s − m`, `ES = s·φ(z)/(1−c) − m`.
fn normal(mean: f64, deviation: f64, confidence: f64, days: f64) -> Result<Risk, ToolError> {
    let standard = Normal::new(0.0, 1.0)
        .map_err(|error| ToolError::Unavailable { message: error.to_string() })?;
    let z = standard.inverse_cdf(confidence);
    let scale = days.sqrt();
    Ok(Risk {
        method: "normal",
        at_risk: (z * deviation - mean) * scale,
        shortfall: (deviation * standard.pdf(z) / (1.0 - confidence) - mean) * scale,
    })
}

/// Nearest-rank historical method; the rank is computed in decimals, because 0.05 · 20 is not
/// exactly 1 in binary.
fn historical(returns: &[f64], confidence_pct: f64) -> Risk {
    let mut losses: Vec<f64> = returns.iter().map(|r| -r).collect();
    losses.sort_by(|a, b| b.total_cmp(a));
    let tail =
        Decimal::ONE - Decimal::from_f64(confidence_pct).unwrap_or_default() / Decimal::ONE_HUNDRED;
    let rank = (tail * Decimal::from(losses.len())).ceil().to_usize().unwrap_or(1);
    let rank = rank.clamp(1, losses.len());
    Risk {
        method: "historical",
        at_risk: losses[rank - 1],
        shortfall: losses[..rank].iter().sum::<f64>() / rank as f64,
    }
}

/// Returns the largest fall from a peak of the compounded series, as a fraction.
fn drawdown(returns: &[f64]) -> f64 {
    let (mut level, mut peak, mut worst) = (1.0f64, 1.0f64, 0.0f64);
    for change in returns {
        level *= 1.0 + change;
        peak = peak.max(level);
        worst = worst.max(1.0 - level / peak);
    }
    worst
}

fn tidy(value: f64) -> f64 {
    (value * 1e10).round() / 1e10
}

/// Computes the risk of a portfolio from its daily returns.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a value not above 0, or a return below −100 %;
/// [`ToolError::NoData`] ⇐ fewer than two rows in the window.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let value = money::parse(&args.portfolio_value, "/portfolio_value")?;
    if value <= Decimal::ZERO {
        return Err(ToolError::invalid("/portfolio_value", "the portfolio value must be above 0"));
    }
    let returns = match (&args.returns, &args.dataset) {
        (Some(returns), _) => returns.clone(),
        (None, Some(id)) => read(context, id, &Window::from_arguments(arguments)?)?,
        (None, None) => return Err(ToolError::invalid("", "give returns or a dataset")),
    };
    if returns.len() < 2 {
        return Err(ToolError::no_data("fewer than two returns in this window"));
    }
    if let Some(bad) = returns.iter().find(|r| !r.is_finite() || **r <= -1.0) {
        return Err(ToolError::invalid(
            "/dataset",
            format!("a return of {bad} is at or below -100 percent; returns are fractions"),
        ));
    }
    let count = returns.len() as f64;
    let mean = returns.iter().sum::<f64>() / count;
    let variance = returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let deviation = variance.sqrt();
    let mut warnings = Vec::new();
    if returns.len() < FEW {
        warnings.push(warning(
            "few_observations",
            format!("Only {} observations; the tail rests on very few of them.", returns.len()),
        ));
    }
    let mut risks = Vec::new();
    for method in &args.methods {
        match (method.as_str(), args.horizon_days) {
            ("normal", days) => {
                risks.push(normal(mean, deviation, args.confidence_pct / 100.0, f64::from(days))?);
            }
            (_, 1) => risks.push(historical(&returns, args.confidence_pct)),
            _ => warnings.push(warning(
                "no_historical_horizon",
                "The historical result is given for one day only.",
            )),
        }
    }
    let amount = |share: f64| {
        let loss = Decimal::from_f64(share.max(0.0)).unwrap_or_default() * value;
        money::format(loss, &args.currency)
    };
    let results: Vec<Value> = risks
        .iter()
        .map(|risk| {
            json!({
                "method": risk.method,
                "value_at_risk": amount(risk.at_risk),
                "expected_shortfall": amount(risk.shortfall),
                "value_at_risk_pct": tidy(risk.at_risk.max(0.0) * 100.0),
            })
        })
        .collect();
    Ok(json!({
        "results": results,
        "observations": returns.len(),
        "mean_pct": tidy(mean * 100.0),
        "volatility_pct": tidy(deviation * 100.0),
        "max_drawdown_pct": tidy(drawdown(&returns) * 100.0),
        "confidence_pct": args.confidence_pct,
        "currency": args.currency,
        "method": "Normal (sample standard deviation) and historical (nearest rank) value at risk and expected shortfall",
        "warnings": warnings,
    }))
}
