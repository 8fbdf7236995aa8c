//! Reliability of supply: SAIDI, SAIFI, CAIDI, MAIFI, ASAI and the major event day threshold.

use serde::Deserialize;
use serde_json::{Value, json};

use super::number::{self, count, tidy};
use super::series::instant;
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// Longest interruption, minutes, as in the schema of the inline form.
const MAX_MINUTES: f64 = 525_600.0;

#[derive(Deserialize)]
struct Interruption {
    customers: u64,
    minutes: f64,
}

#[derive(Deserialize)]
struct Arguments {
    customers_served: u64,
    interruptions: Option<Vec<Interruption>>,
    dataset: Option<String>,
    #[serde(default = "five_minutes")]
    momentary_threshold_minutes: f64,
    period_hours: Option<f64>,
    daily_saidi_minutes: Option<Vec<f64>>,
}

/// IEEE 1366: an interruption of up to five minutes is momentary.
fn five_minutes() -> f64 {
    5.0
}

fn from_dataset(
    context: &ToolContext<'_>,
    id: &str,
    window: &Window,
) -> Result<Vec<Interruption>, ToolError> {
    // The time column is `started_at`, which the common window does not know, so it is applied here.
    let table = context.datasets.table(id, &Window::default())?;
    let started = table.column("started_at")?;
    let customers = table.column("customers")?;
    let minutes = table.column("minutes")?;
    let mut found = Vec::new();
    for row in &table.rows {
        if window.contains(instant(&row[started], "/dataset")?) {
            let text = &row[customers];
            let customers = text.parse().map_err(|_| {
                ToolError::invalid("/dataset", format!("`{text}` is no number of customers"))
            })?;
            let minutes = number::cell(&row[minutes], "/dataset")?;
            if minutes <= 0.0 || minutes > MAX_MINUTES {
                return Err(ToolError::invalid(
                    "/dataset",
                    format!("{minutes} minutes must be above 0 and at most a year"),
                ));
            }
            found.push(Interruption { customers, minutes });
        }
    }
    if found.is_empty() {
        return Err(ToolError::no_data(format!("`{id}` records no interruptions in this window")));
    }
    Ok(found)
}

/// Returns the threshold of a major event day, minutes; `None` with fewer than two days above zero.
///
/// # Source
/// IEEE 1366-2022, 5.2 (2.5 beta method): `exp(α + 2.5 β)`.
fn threshold(daily: &[f64]) -> Option<f64> {
    let logs: Vec<f64> = daily.iter().filter(|day| **day > 0.0).map(|day| day.ln()).collect();
    if logs.len() < 2 {
        return None;
    }
    let n = count(logs.len());
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean + 2.5 * variance.sqrt()).exp())
}

#[expect(clippy::cast_precision_loss, reason = "customer counts are below 2^53")]
fn float(n: u64) -> f64 {
    n as f64
}

/// Computes the indices.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ one interruption hits more customers than are served;
/// [`ToolError::NoData`] ⇐ nothing recorded in the window.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let interruptions = match (args.interruptions, &args.dataset) {
        (Some(inline), _) => inline,
        (None, Some(id)) => from_dataset(context, id, &window)?,
        (None, None) => return Err(ToolError::invalid("", "give interruptions or a dataset")),
    };
    if let Some(i) = interruptions.iter().position(|i| i.customers > args.customers_served) {
        return Err(ToolError::invalid(
            format!("/interruptions/{i}/customers"),
            format!(
                "{} customers interrupted but only {} served",
                interruptions[i].customers, args.customers_served
            ),
        ));
    }
    let served = float(args.customers_served);
    let (sustained, momentary): (Vec<_>, Vec<_>) =
        interruptions.iter().partition(|i| i.minutes > args.momentary_threshold_minutes);
    let customer_minutes: f64 = sustained.iter().map(|i| float(i.customers) * i.minutes).sum();
    let interrupted: f64 = sustained.iter().map(|i| float(i.customers)).sum();
    let mut warnings = Vec::new();
    let daily = args.daily_saidi_minutes.as_deref();
    let tmed = daily.and_then(threshold);
    if let Some(daily) = daily {
        if daily.len() < 365 {
            warnings.push(warning(
                "short_history",
                format!("{} days of history; IEEE 1366 uses five years.", daily.len()),
            ));
        }
        if tmed.is_none() {
            warnings.push(warning(
                "no_threshold",
                "Fewer than two past days had interruptions, so no threshold exists.",
            ));
        }
    }
    let availability =
        args.period_hours.map(|hours| 100.0 * (1.0 - customer_minutes / (served * hours * 60.0)));
    if availability.is_some_and(|pct| pct < 0.0) {
        return Err(ToolError::invalid(
            "/period_hours",
            "the interruptions last longer than the period",
        ));
    }
    Ok(json!({
        "saidi_minutes": tidy(customer_minutes / served),
        "saifi": tidy(interrupted / served),
        "caidi_minutes": (interrupted > 0.0).then(|| tidy(customer_minutes / interrupted)),
        "maifi": tidy(momentary.iter().map(|i| float(i.customers)).sum::<f64>() / served),
        "asai_pct": availability.map(tidy),
        "customer_minutes": tidy(customer_minutes),
        "sustained_count": sustained.len(),
        "momentary_count": momentary.len(),
        "tmed_minutes": tmed.map(tidy),
        "major_event_days": tmed
            .map(|tmed| daily.unwrap_or_default().iter().filter(|day| **day > tmed).count()),
        "method": "IEEE 1366, 2.5 beta major event days, v1",
        "warnings": warnings,
    }))
}
