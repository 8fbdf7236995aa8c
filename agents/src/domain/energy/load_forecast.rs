//! Load forecasts with a test on held-out data.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::forecast_model::{mean_absolute_error, quantile, ridge, seasonal_naive};
use super::number::{count, tidy};
use super::series::Series;
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// Largest load that makes sense, kW: a thousand times the load of the largest grids.
const MAX_KW: f64 = 1e12;
/// Most readings a model is fitted to; older ones are left out.
const MAX_HISTORY: usize = 200_000;

#[derive(Deserialize)]
struct Arguments {
    dataset: Option<String>,
    values_kw: Option<Vec<f64>>,
    #[serde(default = "hour")]
    interval_minutes: f64,
    horizon_intervals: usize,
    season_intervals: usize,
    holdout_intervals: Option<usize>,
    #[serde(default = "auto")]
    method: String,
}

fn hour() -> f64 {
    60.0
}
fn auto() -> String {
    "auto".to_owned()
}

struct History {
    kw: Vec<f64>,
    minutes: f64,
    next: Option<Timestamp>,
    warnings: Vec<Value>,
}

fn read(
    args: &Arguments,
    arguments: &Value,
    context: &ToolContext<'_>,
) -> Result<History, ToolError> {
    let Some(id) = &args.dataset else {
        return Ok(History {
            kw: args.values_kw.clone().unwrap_or_default(),
            minutes: args.interval_minutes,
            next: None,
            warnings: Vec::new(),
        });
    };
    let window = Window::from_arguments(arguments)?;
    let series = Series::read(context, id, &window)?;
    if series.missing() > MAX_HISTORY {
        return Err(ToolError::invalid("/dataset", "the series has more holes than readings"));
    }
    let (mut kw, filled) = series.filled_kw(args.season_intervals);
    let mut warnings = series.warnings.clone();
    if filled > 0 {
        warnings.push(warning(
            "gaps_filled",
            format!("{filled} missing intervals were filled with the value one season earlier."),
        ));
    }
    if kw.len() > MAX_HISTORY {
        kw.drain(..kw.len() - MAX_HISTORY);
    }
    let next = series
        .readings
        .last()
        .and_then(|last| last.start.checked_add(step(series.seconds, 1)).ok());
    Ok(History { kw, minutes: series.seconds / 60.0, next, warnings })
}

fn step(seconds: f64, n: usize) -> SignedDuration {
    SignedDuration::from_secs_f64(seconds * count(n))
}

/// Chooses the model on the holdout: `(is ridge, its error, error of seasonal naive)`.
fn choose(args: &Arguments, kw: &[f64], holdout: usize) -> Result<(bool, f64, f64), ToolError> {
    let (train, test) = kw.split_at(kw.len() - holdout);
    let season = args.season_intervals;
    let naive = mean_absolute_error(&seasonal_naive(train, season, holdout), test);
    if args.method == "seasonal_naive" {
        return Ok((false, naive, naive));
    }
    match ridge(train, season, holdout).map(|forecast| mean_absolute_error(&forecast, test)) {
        Some(error) if args.method == "ridge" || error < naive => Ok((true, error, naive)),
        None if args.method == "ridge" => Err(ToolError::invalid(
            "/season_intervals",
            "ridge needs more than two seasons and a few dozen values before the holdout",
        )),
        _ => Ok((false, naive, naive)),
    }
}

/// Forecasts the load.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the series is shorter than one season plus the holdout; the data's
/// errors.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let mut history = read(&args, arguments, context)?;
    let (kw, season) = (&history.kw, args.season_intervals);
    if let Some(i) = kw.iter().position(|kw| kw.abs() > MAX_KW) {
        return Err(ToolError::invalid(
            "/values_kw",
            format!("value {i} is beyond {MAX_KW:e} kW; give the load in kW"),
        ));
    }
    let holdout = args.holdout_intervals.unwrap_or(season);
    if kw.len() < season + holdout {
        return Err(ToolError::invalid(
            "/season_intervals",
            format!(
                "{} values are too few; one season ({season}) and the holdout ({holdout}) need {}",
                kw.len(),
                season + holdout
            ),
        ));
    }
    let (uses_ridge, error, naive_error) = choose(&args, kw, holdout)?;
    let horizon = args.horizon_intervals;
    let naive = || seasonal_naive(kw, season, horizon);
    let medians =
        if uses_ridge { ridge(kw, season, horizon).unwrap_or_else(naive) } else { naive() };
    let mut differences: Vec<f64> = (season..kw.len()).map(|t| kw[t] - kw[t - season]).collect();
    differences.sort_by(f64::total_cmp);
    let (low, high) = (quantile(&differences, 0.1).min(0.0), quantile(&differences, 0.9).max(0.0));
    let train = &kw[..kw.len() - holdout];
    let scale = mean_absolute_error(&train[season..], &train[..train.len() - season]);
    let mase = (train.len() > season && scale > 0.0).then(|| tidy(error / scale));
    if args.method == "auto" {
        history.warnings.push(warning(
            "chosen_on_holdout",
            "The model was chosen on the same holdout, so its error there is somewhat flattering.",
        ));
    }
    if horizon > season {
        history.warnings.push(warning(
            "long_horizon",
            "The range between P10 and P90 is for one season ahead; further out it is too narrow.",
        ));
    }
    let forecast: Vec<Value> = medians
        .iter()
        .enumerate()
        .map(|(h, p50)| {
            let start =
                history.next.and_then(|at| at.checked_add(step(history.minutes * 60.0, h)).ok());
            json!({
                "start": start.map(|at| at.to_string()),
                "p10_kw": tidy(p50 + low),
                "p50_kw": tidy(*p50),
                "p90_kw": tidy(p50 + high),
            })
        })
        .collect();
    let relative = if naive_error > 0.0 { error / naive_error } else { 1.0 };
    Ok(json!({
        "method_used": if uses_ridge { "ridge" } else { "seasonal_naive" },
        "interval_minutes": tidy(history.minutes),
        "forecast": forecast,
        "energy_kwh": tidy(medians.iter().sum::<f64>() * history.minutes / 60.0),
        "peak_kw": tidy(medians.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        "backtest": {
            "holdout_intervals": holdout,
            "mae_kw": tidy(error),
            "seasonal_naive_mae_kw": tidy(naive_error),
            "relative_mae": tidy(relative),
            "mase": mase,
            "beats_seasonal_naive": relative < 1.0,
        },
        "method": "Seasonal naive and ridge with type-7 seasonal quantiles, v1",
        "warnings": history.warnings,
    }))
}
