//! Customer baseline and measured reduction of a demand-response event.

use jiff::civil::{Date, Weekday};
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

use super::number::{count, tidy};
use super::series::{Series, instant, zone};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// Calendar days searched backwards for eligible days.
const MAX_LOOK_BACK_DAYS: usize = 120;

#[derive(Deserialize)]
struct Arguments {
    #[serde(default = "high5of10")]
    baseline_method: String,
    history_kw: Option<Vec<f64>>,
    event_kw: Option<f64>,
    event_minutes: Option<f64>,
    dataset: Option<String>,
    site_id: Option<String>,
    event_start: Option<String>,
    event_end: Option<String>,
    #[serde(default)]
    exclude_dates: Vec<String>,
    timezone: Option<String>,
    adjustment_actual_kw: Option<f64>,
    adjustment_baseline_kw: Option<f64>,
    #[serde(default = "twenty_percent")]
    adjustment_cap_pct: f64,
    nominated_kw: Option<f64>,
}

fn high5of10() -> String {
    "high5of10".to_owned()
}
fn twenty_percent() -> f64 {
    20.0
}

/// Returns how many days a method looks at, and which ranks (by falling load) it keeps.
fn rule(method: &str) -> (usize, std::ops::Range<usize>) {
    match method {
        "high4of5" => (5, 0..4),
        "mid4of6" => (6, 1..5),
        "avg10of10" => (10, 0..10),
        _ => (10, 0..5),
    }
}

/// Returns the positions that the method keeps, in order. On a tie the earlier position counts as
/// the higher load, which for days listed newest first is the newer day.
fn chosen(method: &str, days: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..days.len()).collect();
    order.sort_by(|a, b| days[*b].total_cmp(&days[*a]));
    let mut kept = order[rule(method).1].to_vec();
    kept.sort_unstable();
    kept
}

struct Measured {
    days: Vec<f64>,
    dates: Vec<Date>,
    event_kw: f64,
    hours: Option<f64>,
    warnings: Vec<Value>,
}

fn inline(args: &Arguments) -> Result<Measured, ToolError> {
    let days = args.history_kw.clone().unwrap_or_default();
    let needed = rule(&args.baseline_method).0;
    if days.len() != needed {
        return Err(ToolError::invalid(
            "/history_kw",
            format!("{} needs {needed} days, not {}", args.baseline_method, days.len()),
        ));
    }
    let event_kw = args
        .event_kw
        .ok_or_else(|| ToolError::invalid("/event_kw", "give the load during the event"))?;
    let hours = args.event_minutes.map(|minutes| minutes / 60.0);
    Ok(Measured { days, dates: Vec::new(), event_kw, hours, warnings: Vec::new() })
}

/// Returns the average load between two instants, kW; `None` unless readings cover all of it.
fn average(series: &Series, start: Timestamp, end: Timestamp) -> Option<f64> {
    let inside: Vec<_> =
        series.readings.iter().filter(|r| r.start >= start && r.start < end).collect();
    let seconds: f64 = inside.iter().map(|r| r.seconds).sum();
    let wanted = end.duration_since(start).as_secs_f64();
    ((seconds - wanted).abs() < 1.0)
        .then(|| inside.iter().map(|r| r.kwh).sum::<f64>() * 3600.0 / wanted)
}

fn from_dataset(
    args: &Arguments,
    id: &str,
    zone: &TimeZone,
    context: &ToolContext<'_>,
) -> Result<Measured, ToolError> {
    let bound = |text: &Option<String>, pointer: &str| {
        instant(text.as_deref().unwrap_or_default(), pointer)
    };
    let start = bound(&args.event_start, "/event_start")?;
    let end = bound(&args.event_end, "/event_end")?;
    if end <= start {
        return Err(ToolError::invalid("/event_end", "the event must end after it starts"));
    }
    let length = end.duration_since(start);
    if length > SignedDuration::from_hours(24) {
        return Err(ToolError::invalid("/event_end", "the event may last 24 hours at most"));
    }
    let window = Window { start: None, end: None, site_id: args.site_id.clone() };
    let series = Series::read(context, id, &window)?;
    let event_kw = average(&series, start, end)
        .ok_or_else(|| ToolError::no_data(format!("`{id}` does not cover the whole event")))?;
    let needed = rule(&args.baseline_method).0;
    let local = start.to_zoned_datetime(zone.clone());
    let (mut date, time) = (local.date(), local.time());
    let excluded = args
        .exclude_dates
        .iter()
        .map(|text| {
            text.parse().map_err(|_| {
                ToolError::invalid("/exclude_dates", format!("`{text}` is no calendar date"))
            })
        })
        .collect::<Result<Vec<Date>, _>>()?;
    let (mut days, mut dates) = (Vec::new(), Vec::new());
    for _ in 0..MAX_LOOK_BACK_DAYS {
        let Ok(earlier) = date.checked_sub(1.day()) else { break };
        date = earlier;
        let weekend = matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        if weekend || excluded.contains(&date) {
            continue;
        }
        let Ok(from) = date.to_datetime(time).to_zoned_datetime(zone.clone()) else { continue };
        let from = from.timestamp();
        let Ok(to) = from.checked_add(length) else { continue };
        if let Some(kw) = average(&series, from, to) {
            days.push(kw);
            dates.push(date);
            if days.len() == needed {
                break;
            }
        }
    }
    if days.len() < needed {
        return Err(ToolError::no_data(format!(
            "`{id}` has {} eligible weekdays before the event; {} needs {needed}",
            days.len(),
            args.baseline_method
        )));
    }
    let hours = Some(length.as_secs_f64() / 3600.0);
    Ok(Measured { days, dates, event_kw, hours, warnings: series.warnings })
}

/// Computes baseline and reduction.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ wrong number of days, bad event window; [`ToolError::NoData`] ⇐ too
/// few eligible days.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let zone = zone(args.timezone.as_deref())?;
    let measured = match &args.dataset {
        Some(id) => from_dataset(&args, id, &zone, context)?,
        None => inline(&args)?,
    };
    let kept = chosen(&args.baseline_method, &measured.days);
    let unadjusted = kept.iter().map(|i| measured.days[*i]).sum::<f64>() / count(kept.len());
    let mut warnings = measured.warnings;
    let factor = if let (Some(actual), Some(baseline)) =
        (args.adjustment_actual_kw, args.adjustment_baseline_kw)
    {
        let cap = args.adjustment_cap_pct / 100.0;
        let ratio = actual / baseline;
        let factor = ratio.clamp(1.0 - cap, 1.0 + cap);
        if (factor - ratio).abs() > 1e-12 {
            warnings.push(warning(
                "adjustment_capped",
                format!("The same-day ratio of {ratio:.4} was capped at {factor:.4}."),
            ));
        }
        factor
    } else {
        warnings.push(warning(
            "no_same_day_adjustment",
            "No load before the event was given, so the baseline is not adjusted to the day.",
        ));
        1.0
    };
    let baseline = unadjusted * factor;
    let reduction = baseline - measured.event_kw;
    let dates: Vec<String> =
        kept.iter().filter_map(|i| measured.dates.get(*i)).map(Date::to_string).collect();
    Ok(json!({
        "baseline_method": args.baseline_method,
        "baseline_kw": tidy(baseline),
        "unadjusted_baseline_kw": tidy(unadjusted),
        "adjustment_factor": tidy(factor),
        "event_kw": tidy(measured.event_kw),
        "reduction_kw": tidy(reduction),
        "reduction_kwh": measured.hours.map(|hours| tidy(reduction * hours)),
        "days_used": if measured.dates.is_empty() { kept } else { Vec::new() },
        "dates_used": dates,
        "performance_ratio_pct": args.nominated_kw.map(|kw| tidy(100.0 * reduction / kw)),
        "method": "Customer baseline with capped same-day adjustment, v1",
        "warnings": warnings,
    }))
}
