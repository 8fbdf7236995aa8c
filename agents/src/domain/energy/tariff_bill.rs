//! Electricity bills, from known totals or from interval readings and a tariff.

use std::collections::BTreeMap;

use jiff::{civil::Weekday, tz::TimeZone};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::Deserialize;
use serde_json::{Value, json};

use super::number::{bounded, decimal, tidy};
use super::series::{Series, zone};
use crate::tool::{ToolContext, ToolError, Window, decode, money, warning};

#[derive(Deserialize)]
struct EnergyLine {
    label: String,
    energy_kwh: f64,
    rate_per_kwh: String,
}

#[derive(Deserialize)]
struct DemandLine {
    label: String,
    demand_kw: f64,
    rate_per_kw: String,
}

#[derive(Deserialize)]
struct FixedLine {
    label: String,
    amount: String,
}

#[derive(Deserialize)]
struct Period {
    label: String,
    days: String,
    from: String,
    to: String,
    rate_per_kwh: String,
}

#[derive(Deserialize)]
struct Tariff {
    periods: Vec<Period>,
    demand_rate_per_kw: Option<String>,
    #[serde(default = "quarter_hour")]
    demand_window_minutes: u32,
    ratchet_kw: Option<f64>,
    fixed_amount: Option<String>,
}

fn quarter_hour() -> u32 {
    15
}

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    energy_lines: Vec<EnergyLine>,
    #[serde(default)]
    demand_lines: Vec<DemandLine>,
    #[serde(default)]
    fixed_lines: Vec<FixedLine>,
    dataset: Option<String>,
    timezone: Option<String>,
    tariff: Option<Tariff>,
    #[serde(default)]
    tax_pct: f64,
    currency: Option<String>,
}

/// Returns minutes after midnight of `HH:MM`; the schema has checked the form.
fn clock(text: &str) -> u32 {
    let (hours, minutes) = text.split_once(':').unwrap_or(("0", "0"));
    hours.parse::<u32>().unwrap_or(0) * 60 + minutes.parse::<u32>().unwrap_or(0)
}

impl Period {
    /// Tells whether the period holds at this minute of the local clock. A period past midnight
    /// belongs to the day on which the minute falls.
    fn holds(&self, weekday: Weekday, minute: u32) -> bool {
        let weekend = matches!(weekday, Weekday::Saturday | Weekday::Sunday);
        let day = match self.days.as_str() {
            "weekday" => !weekend,
            "weekend" => weekend,
            _ => true,
        };
        let (from, to) = (clock(&self.from), clock(&self.to));
        let time =
            if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to };
        day && time
    }
}

/// Returns the highest average power of a clock-aligned window, kW.
#[expect(clippy::cast_possible_truncation, reason = "floor of a quotient of whole seconds")]
fn demand_kw(series: &Series, zone: &TimeZone, minutes: u32) -> f64 {
    let window = f64::from(minutes) * 60.0;
    let mut windows: BTreeMap<i64, f64> = BTreeMap::new();
    let mut peak = 0.0_f64;
    for reading in &series.readings {
        if reading.seconds >= window {
            peak = peak.max(reading.kw());
        } else {
            let offset = zone.to_offset(reading.start).seconds();
            let local = reading.start.as_second() + i64::from(offset);
            #[expect(clippy::cast_precision_loss, reason = "epoch seconds are below 2^53")]
            let key = (local as f64 / window).floor() as i64;
            *windows.entry(key).or_default() += reading.kwh;
        }
    }
    windows.values().map(|kwh| kwh * 3600.0 / window).fold(peak, f64::max)
}

/// Turns readings and a tariff into bill lines.
fn apply(
    tariff: Tariff,
    series: &Series,
    zone: &TimeZone,
    args: &mut Arguments,
    warnings: &mut Vec<Value>,
) -> Result<(), ToolError> {
    let mut energy = vec![0.0; tariff.periods.len()];
    for reading in &series.readings {
        let local = reading.start.to_zoned_datetime(zone.clone());
        let minute = u32::try_from(local.hour()).unwrap_or(0) * 60
            + u32::try_from(local.minute()).unwrap_or(0);
        let period = tariff
            .periods
            .iter()
            .position(|period| period.holds(local.weekday(), minute))
            .ok_or_else(|| {
                ToolError::invalid(
                    "/tariff/periods",
                    format!(
                        "no period covers {}; add one, for example days all from 00:00 to 00:00",
                        local.strftime("%A %H:%M")
                    ),
                )
            })?;
        energy[period] += reading.kwh;
    }
    if series.missing() > 0 {
        warnings.push(warning(
            "missing_intervals",
            format!("{} intervals are missing; their energy is not billed.", series.missing()),
        ));
    }
    args.energy_lines = tariff
        .periods
        .into_iter()
        .zip(energy)
        .map(|(period, energy_kwh)| EnergyLine {
            label: period.label,
            energy_kwh: tidy(energy_kwh),
            rate_per_kwh: period.rate_per_kwh,
        })
        .collect();
    if args.energy_lines.iter().any(|line| line.energy_kwh < 0.0) {
        return Err(ToolError::invalid("/dataset", "a period sums to negative energy (export)"));
    }
    if let Some(rate_per_kw) = tariff.demand_rate_per_kw {
        if series.seconds > f64::from(tariff.demand_window_minutes) * 60.0 {
            warnings.push(warning(
                "coarse_readings",
                "The readings are longer than the demand window, so the real peak may be higher.",
            ));
        }
        let measured = tidy(demand_kw(series, zone, tariff.demand_window_minutes));
        let billed = tariff.ratchet_kw.map_or(measured, |ratchet| measured.max(ratchet));
        if billed > measured {
            warnings.push(warning(
                "ratchet_applied",
                format!("Measured demand was {measured} kW; the ratchet of {billed} kW is billed."),
            ));
        }
        args.demand_lines =
            vec![DemandLine { label: "demand".to_owned(), demand_kw: billed, rate_per_kw }];
    }
    if let Some(amount) = tariff.fixed_amount {
        args.fixed_lines = vec![FixedLine { label: "fixed".to_owned(), amount }];
    }
    Ok(())
}

struct Bill {
    lines: Vec<Value>,
    sums: [Decimal; 3],
}

impl Bill {
    fn add(
        &mut self,
        kind: usize,
        label: &str,
        quantity: f64,
        rate: &str,
        pointer: &str,
    ) -> Result<(), ToolError> {
        const KINDS: [(&str, &str); 3] = [("energy", "kWh"), ("demand", "kW"), ("fixed", "each")];
        let exact = decimal(quantity, pointer)?
            .checked_mul(money::parse(rate, pointer)?)
            .ok_or_else(|| ToolError::invalid(pointer, "the amount is too large"))?;
        let amount = bounded(money::round_to(exact, 2), pointer)?;
        self.sums[kind] += amount;
        self.lines.push(json!({
            "kind": KINDS[kind].0,
            "label": label,
            "quantity": quantity,
            "unit": KINDS[kind].1,
            "rate": rate,
            "amount": amount.to_string(),
        }));
        Ok(())
    }
}

/// Computes the bill.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the periods leave a reading uncovered, an amount of more than
/// fifteen digits; the data's errors.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let mut args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let zone = zone(args.timezone.as_deref())?;
    let mut warnings = Vec::new();
    if let (Some(id), Some(tariff)) = (args.dataset.clone(), args.tariff.take()) {
        let series = Series::read(context, &id, &window)?;
        warnings.extend(series.warnings.iter().cloned());
        apply(tariff, &series, &zone, &mut args, &mut warnings)?;
    }
    let mut bill = Bill { lines: Vec::new(), sums: [Decimal::ZERO; 3] };
    for (i, line) in args.energy_lines.iter().enumerate() {
        let pointer = format!("/energy_lines/{i}");
        bill.add(0, &line.label, line.energy_kwh, &line.rate_per_kwh, &pointer)?;
    }
    for (i, line) in args.demand_lines.iter().enumerate() {
        let pointer = format!("/demand_lines/{i}");
        bill.add(1, &line.label, line.demand_kw, &line.rate_per_kw, &pointer)?;
    }
    for (i, line) in args.fixed_lines.iter().enumerate() {
        bill.add(2, &line.label, 1.0, &line.amount, &format!("/fixed_lines/{i}"))?;
    }
    let [energy, demand, fixed] = bill.sums.map(|sum| money::round_to(sum, 2));
    let subtotal = energy + demand + fixed;
    let tax =
        money::round_to(subtotal * decimal(args.tax_pct, "/tax_pct")? / Decimal::ONE_HUNDRED, 2);
    let total = bounded(subtotal + tax, "")?;
    let share = if subtotal.is_zero() { Decimal::ZERO } else { demand / subtotal };
    Ok(json!({
        "lines": bill.lines,
        "energy_amount": energy.to_string(),
        "demand_amount": demand.to_string(),
        "fixed_amount": fixed.to_string(),
        "subtotal": subtotal.to_string(),
        "tax_amount": tax.to_string(),
        "total": total.to_string(),
        "demand_share_pct": tidy(share.to_f64().unwrap_or(0.0) * 100.0),
        "currency": args.currency,
        "method": "Decimal line items, half-up to 2 places, v1",
        "warnings": warnings,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_period_wraps_past_midnight() {
        let night = Period {
            label: "night".to_owned(),
            days: "all".to_owned(),
            from: "22:00".to_owned(),
            to: "06:00".to_owned(),
            rate_per_kwh: "0.1".to_owned(),
        };
        assert!(night.holds(Weekday::Monday, clock("23:59")));
        assert!(night.holds(Weekday::Monday, clock("05:59")));
        assert!(!night.holds(Weekday::Monday, clock("06:00")));
    }
}
