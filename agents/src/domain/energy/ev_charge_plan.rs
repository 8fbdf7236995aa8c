//! Sharing a site's power among charging cars.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::charge_flow::{Car, plan};
use super::number::{self, amount, count, price, tidy};
use super::series::instant;
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// Most cars, as in the schema of the inline form.
const MAX_CARS: usize = 50;

#[derive(Deserialize)]
struct Session {
    session_id: String,
    energy_needed_kwh: f64,
    max_kw: f64,
    available_from: Option<String>,
    available_until: Option<String>,
}

#[derive(Deserialize)]
struct Arguments {
    sessions: Option<Vec<Session>>,
    dataset: Option<String>,
    start: Option<String>,
    interval_minutes: f64,
    limits_kw: Option<Vec<f64>>,
    limit_kw: Option<f64>,
    interval_count: Option<usize>,
    prices_per_kwh: Option<Vec<String>>,
    currency: Option<String>,
}

fn from_dataset(
    context: &ToolContext<'_>,
    id: &str,
    site: Option<String>,
) -> Result<Vec<Session>, ToolError> {
    let window = Window { site_id: site, ..Window::default() };
    let table = context.datasets.table(id, &window)?;
    let session = table.column("session_id")?;
    let (need, max) = (table.column("energy_needed_kwh")?, table.column("max_kw")?);
    let optional = |row: &[String], name: &str| {
        let text = row.get(table.find(name)?)?;
        (!text.is_empty()).then(|| text.clone())
    };
    let positive = |text: &str| {
        number::cell(text, "/dataset").and_then(|value| {
            (value > 0.0)
                .then_some(value)
                .ok_or_else(|| ToolError::invalid("/dataset", format!("{value} must be above 0")))
        })
    };
    if table.rows.is_empty() {
        return Err(ToolError::no_data(format!("`{id}` has no sessions for this site")));
    }
    if table.rows.len() > MAX_CARS {
        return Err(ToolError::invalid("/dataset", format!("plan {MAX_CARS} cars at a time")));
    }
    table
        .rows
        .iter()
        .map(|row| {
            Ok(Session {
                session_id: row[session].clone(),
                energy_needed_kwh: positive(&row[need])?,
                max_kw: positive(&row[max])?,
                available_from: optional(row, "available_from"),
                available_until: optional(row, "available_until"),
            })
        })
        .collect()
}

/// Marks the whole intervals in which a car is plugged in.
fn presence(
    session: &Session,
    start: Option<Timestamp>,
    minutes: f64,
    n: usize,
) -> Result<Vec<bool>, ToolError> {
    let bound =
        |text: &Option<String>| text.as_deref().map(|text| instant(text, "/sessions")).transpose();
    let (from, until) = (bound(&session.available_from)?, bound(&session.available_until)?);
    if from.is_none() && until.is_none() {
        return Ok(vec![true; n]);
    }
    let start = start.ok_or_else(|| {
        ToolError::invalid("/start", "give the start of the first interval; sessions have times")
    })?;
    let edge = |t: usize| {
        start
            .checked_add(SignedDuration::from_secs_f64(minutes * 60.0 * count(t)))
            .map_err(|_| ToolError::invalid("/start", "the time is out of range"))
    };
    (0..n)
        .map(|t| {
            let (begin, end) = (edge(t)?, edge(t + 1)?);
            Ok(from.is_none_or(|from| from <= begin) && until.is_none_or(|until| until >= end))
        })
        .collect()
}

fn total(power: &[Vec<f64>], weight: impl Fn(usize) -> f64) -> f64 {
    power.iter().flat_map(|row| row.iter().enumerate()).map(|(t, kw)| kw * weight(t)).sum()
}

fn limits_of(args: &Arguments) -> Vec<f64> {
    match (&args.limits_kw, args.limit_kw, args.interval_count) {
        (Some(limits), ..) => limits.clone(),
        (None, Some(limit), Some(n)) => vec![limit; n],
        _ => Vec::new(),
    }
}

fn check_unique(sessions: &[Session]) -> Result<(), ToolError> {
    let mut seen = BTreeSet::new();
    for (i, session) in sessions.iter().enumerate() {
        if !seen.insert(session.session_id.as_str()) {
            return Err(ToolError::invalid(
                format!("/sessions/{i}/session_id"),
                format!("session `{}` is given twice", session.session_id),
            ));
        }
    }
    Ok(())
}

/// Plans the charging.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a session twice, prices and limits of different lengths, times
/// without `start`; the data's errors.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let limits = limits_of(&args);
    let prices = args
        .prices_per_kwh
        .as_deref()
        .map(|texts| {
            texts.iter().map(|t| price(t, "/prices_per_kwh")).collect::<Result<Vec<_>, _>>()
        })
        .transpose()?;
    if prices.as_ref().is_some_and(|prices| prices.len() != limits.len()) {
        return Err(ToolError::invalid(
            "/prices_per_kwh",
            format!("give one price for each of the {} intervals", limits.len()),
        ));
    }
    let start = args.start.as_deref().map(|text| instant(text, "/start")).transpose()?;
    let site = arguments.get("site_id").and_then(Value::as_str).map(str::to_owned);
    let sessions = match (args.sessions, &args.dataset) {
        (Some(sessions), _) => sessions,
        (None, Some(id)) => from_dataset(context, id, site)?,
        (None, None) => return Err(ToolError::invalid("", "give sessions or a dataset")),
    };
    check_unique(&sessions)?;
    let cars = sessions
        .iter()
        .map(|session| {
            Ok(Car {
                id: session.session_id.clone(),
                need: session.energy_needed_kwh,
                max_kw: session.max_kw,
                present: presence(session, start, args.interval_minutes, limits.len())?,
            })
        })
        .collect::<Result<Vec<_>, ToolError>>()?;
    let hours = args.interval_minutes / 60.0;
    let mut warnings = Vec::new();
    if cars.iter().any(|car| !car.present.contains(&true)) {
        warnings.push(warning(
            "car_never_present",
            "At least one car is plugged in for no whole interval and gets nothing.",
        ));
    }
    let power = plan(&cars, &limits, prices.as_deref(), hours);
    let site_kw: Vec<f64> =
        (0..limits.len()).map(|t| tidy(power.iter().map(|row| row[t]).sum())).collect();
    let delivered = total(&power, |_| hours);
    let unmet = (cars.iter().map(|car| car.need).sum::<f64>() - delivered).max(0.0);
    let cost = prices
        .as_deref()
        .map(|prices| amount(total(&power, |t| hours * prices[t]), args.currency.as_deref()))
        .transpose()?;
    let schedule: Vec<Value> = cars
        .iter()
        .zip(&power)
        .map(|(car, row)| {
            let got = row.iter().sum::<f64>() * hours;
            json!({
                "session_id": car.id,
                "power_kw": row.iter().map(|kw| round_watt(*kw)).collect::<Vec<_>>(),
                "delivered_kwh": round_watt(got),
                "unmet_kwh": round_watt((car.need - got).max(0.0)),
            })
        })
        .collect();
    Ok(json!({
        "feasible": unmet < 1e-3,
        "delivered_kwh": round_watt(delivered),
        "unmet_kwh": round_watt(unmet),
        "cost": cost,
        "currency": args.currency,
        "peak_kw": round_watt(site_kw.iter().copied().fold(0.0, f64::max)),
        "site_kw": site_kw.iter().map(|kw| round_watt(*kw)).collect::<Vec<_>>(),
        "schedule": schedule,
        "interval_minutes": args.interval_minutes,
        "method": "Three-step linear program: energy, cost, earliness, v1",
        "warnings": warnings,
    }))
}

/// Rounds to a tenth of a watt, which hides the noise of binary fractions.
fn round_watt(kw: f64) -> f64 {
    (kw * 1e4).round() / 1e4
}
