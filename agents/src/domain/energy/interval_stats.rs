//! Totals, peak, load factor and gaps of meter readings.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::number::{count, tidy};
use super::series::{Series, instant, zone};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

#[derive(Deserialize)]
struct Arguments {
    dataset: Option<String>,
    timezone: Option<String>,
    readings_kwh: Option<Vec<f64>>,
    interval_minutes: Option<f64>,
    first_start: Option<String>,
}

/// Readings of either form: energy and start of each interval.
struct Input {
    /// kWh per interval.
    kwh: Vec<f64>,
    /// Hours per interval.
    hours: Vec<f64>,
    starts: Option<Vec<Timestamp>>,
    interval_minutes: f64,
    missing: usize,
    warnings: Vec<Value>,
}

fn inline(args: &Arguments) -> Result<Input, ToolError> {
    let kwh = args.readings_kwh.clone().unwrap_or_default();
    let minutes = args
        .interval_minutes
        .ok_or_else(|| ToolError::invalid("/interval_minutes", "give the interval's length"))?;
    let first =
        args.first_start.as_deref().map(|text| instant(text, "/first_start")).transpose()?;
    let starts = first
        .map(|first| {
            (0..kwh.len())
                .map(|i| {
                    first
                        .checked_add(SignedDuration::from_secs_f64(minutes * 60.0 * count(i)))
                        .map_err(|_| ToolError::invalid("/first_start", "the time is out of range"))
                })
                .collect::<Result<Vec<_>, _>>()
        })
        .transpose()?;
    Ok(Input {
        hours: vec![minutes / 60.0; kwh.len()],
        kwh,
        starts,
        interval_minutes: minutes,
        missing: 0,
        warnings: Vec::new(),
    })
}

fn from_series(series: &Series) -> Input {
    let mut warnings = series.warnings.clone();
    let missing = series.missing();
    if let Some((start, longest)) = series.longest_gap() {
        warnings.push(warning(
            "missing_intervals",
            format!(
                "{missing} intervals are missing; totals cover only what was read. The longest gap \
                 starts at {start} and lacks {longest}."
            ),
        ));
    }
    if let Some((start, length)) = series.stuck() {
        warnings.push(warning(
            "stuck_readings",
            format!("The meter may be stuck: {length} readings from {start} have the same value."),
        ));
    }
    Input {
        kwh: series.readings.iter().map(|r| r.kwh).collect(),
        hours: series.readings.iter().map(|r| r.seconds / 3600.0).collect(),
        starts: Some(series.readings.iter().map(|r| r.start).collect()),
        interval_minutes: series.seconds / 60.0,
        missing,
        warnings,
    }
}

/// Summarises interval readings.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ unknown time zone, bad window or values beyond all measure; the
/// data's errors.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let zone = zone(args.timezone.as_deref())?;
    let input = match &args.dataset {
        Some(id) => from_series(&Series::read(context, id, &window)?),
        None => inline(&args)?,
    };
    let kw: Vec<f64> = input.kwh.iter().zip(&input.hours).map(|(kwh, hours)| kwh / hours).collect();
    let peak_index = first_maximum(&kw);
    let peak = kw.get(peak_index).copied().unwrap_or(0.0);
    let energy: f64 = input.kwh.iter().sum();
    let mean = energy / input.hours.iter().sum::<f64>();
    if !energy.is_finite() || kw.iter().any(|kw| !kw.is_finite()) {
        return Err(ToolError::invalid(
            "/readings_kwh",
            "the readings are too large for their interval; give kWh per interval",
        ));
    }
    let start_of =
        |index: usize| input.starts.as_ref().and_then(|starts| starts.get(index)).copied();
    let peak_start = start_of(peak_index);
    Ok(json!({
        "reading_count": kw.len(),
        "interval_minutes": tidy(input.interval_minutes),
        "first_start": start_of(0).map(|at| at.to_string()),
        "energy_kwh": tidy(energy),
        "peak_kw": tidy(peak),
        "peak_interval_kwh": tidy(input.kwh.get(peak_index).copied().unwrap_or(0.0)),
        "peak_start": peak_start.map(|at| at.to_string()),
        "peak_start_local": peak_start
            .map(|at| at.to_zoned_datetime(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()),
        "peak_index": peak_index,
        "mean_kw": tidy(mean),
        "min_kw": tidy(kw.iter().copied().fold(f64::INFINITY, f64::min)),
        "load_factor_pct": tidy(if peak == 0.0 { 0.0 } else { 100.0 * mean / peak }),
        "missing_intervals": input.missing,
        "method": "NAESB REQ.21 ESPI readings, v1",
        "warnings": input.warnings,
    }))
}

/// Returns the position of the largest value, the first one on a tie.
fn first_maximum(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}
