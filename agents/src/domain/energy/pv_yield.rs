//! Yield of a solar array from irradiance and cell temperature.

use serde::Deserialize;
use serde_json::{Value, json};

use super::number::{self, count, tidy};
use super::series::{instant, spacing};
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

/// Reference inverter efficiency of the PVWatts curve.
const REFERENCE_EFFICIENCY: f64 = 0.9637;
/// Lines of preamble searched for the header.
const MAX_PREAMBLE: usize = 64;
/// Rows of weather read: five years of minutes.
const MAX_ROWS: usize = 3_000_000;

#[derive(Deserialize)]
struct Arguments {
    dc_kw: f64,
    weather_dataset: Option<String>,
    poa_w_m2: Option<Vec<f64>>,
    cell_temp_c: Option<Vec<f64>>,
    #[serde(default = "hour")]
    interval_minutes: f64,
    #[serde(default = "gamma")]
    temperature_coefficient_pct_per_c: f64,
    #[serde(default = "losses")]
    losses_pct: f64,
    #[serde(default)]
    optical_loss_pct: f64,
    #[serde(default = "inverter")]
    inverter_efficiency_pct: f64,
    #[serde(default = "ratio")]
    dc_ac_ratio: f64,
    measured_ac_kwh: Option<f64>,
}

fn hour() -> f64 {
    60.0
}
fn gamma() -> f64 {
    -0.47
}
fn losses() -> f64 {
    14.08
}
fn inverter() -> f64 {
    96.0
}
fn ratio() -> f64 {
    1.2
}

/// Weather of one interval.
struct Sample {
    /// Plane-of-array irradiance, W/m2.
    poa: f64,
    /// Cell temperature, °C.
    cell: f64,
    /// Month from 1, where the data names it.
    month: Option<usize>,
}

struct Weather {
    samples: Vec<Sample>,
    hours: f64,
}

/// Returns DC power after losses, kW.
///
/// # Source
/// NREL/TP-6A20-62641 (PVWatts version 5), equation 8 above 125 W/m2, used for all irradiance.
fn dc_power(args: &Arguments, sample: &Sample) -> f64 {
    let irradiance = sample.poa.max(0.0) * (1.0 - args.optical_loss_pct / 100.0);
    let gamma = args.temperature_coefficient_pct_per_c / 100.0;
    let power = irradiance / 1000.0 * args.dc_kw * (1.0 + gamma * (sample.cell - 25.0));
    (power * (1.0 - args.losses_pct / 100.0)).max(0.0)
}

/// Returns AC power, kW, clipped to the inverter's rating.
///
/// # Source
/// NREL/TP-6A20-62641, equations 10 and 11.
fn ac_power(args: &Arguments, dc: f64) -> f64 {
    if dc <= 0.0 {
        return 0.0;
    }
    let nominal = args.inverter_efficiency_pct / 100.0;
    let rating = args.dc_kw / args.dc_ac_ratio;
    let load = dc / (rating / nominal);
    let efficiency = nominal / REFERENCE_EFFICIENCY * (-0.0162 * load - 0.0059 / load + 0.9858);
    (efficiency * dc).clamp(0.0, rating)
}

/// Finds the header of a weather file below any preamble, and the columns in it.
fn header(rows: &[Vec<String>]) -> Option<(usize, usize, usize)> {
    let named = |row: &[String], names: [&str; 2]| {
        row.iter().position(|cell| {
            let cell = cell.to_ascii_lowercase();
            names.iter().any(|name| cell.starts_with(name))
        })
    };
    rows.iter().take(MAX_PREAMBLE).enumerate().find_map(|(i, row)| {
        let poa = named(row, ["plane of array irradiance", "poa"])?;
        let cell = named(row, ["cell temperature", "cell_temp"])?;
        Some((i, poa, cell))
    })
}

fn rows_of(context: &ToolContext<'_>, id: &str) -> Result<Vec<Vec<String>>, ToolError> {
    if let Ok(bytes) = context.datasets.file(id) {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(&*bytes);
        return reader
            .records()
            .take(MAX_ROWS)
            .map(|row| {
                row.map(|row| row.iter().map(str::to_owned).collect())
                    .map_err(|e| ToolError::invalid("/weather_dataset", format!("{id}: {e}")))
            })
            .collect();
    }
    let table = context.datasets.table(id, &Window::default())?;
    Ok(std::iter::once(table.columns).chain(table.rows).collect())
}

fn from_dataset(
    context: &ToolContext<'_>,
    id: &str,
    window: &Window,
) -> Result<Weather, ToolError> {
    let rows = rows_of(context, id)?;
    let (at, poa, cell) = header(&rows).ok_or_else(|| {
        ToolError::invalid(
            "/weather_dataset",
            format!("`{id}` has no columns for plane-of-array irradiance and cell temperature"),
        )
    })?;
    let find = |name: &str| rows[at].iter().position(|c| c.eq_ignore_ascii_case(name));
    let (start, month, site) = (find("start"), find("month"), find("site_id"));
    if start.is_none() && (window.start.is_some() || window.end.is_some()) {
        return Err(ToolError::invalid(
            "/start",
            format!("`{id}` has no column start, so no window can be cut; leave start and end out"),
        ));
    }
    let mut samples = Vec::new();
    let mut instants = Vec::new();
    for row in &rows[at + 1..] {
        let text = |column: usize| row.get(column).map_or("", String::as_str);
        // A line of totals closes PVWatts files; its month is no number.
        let month = month.map(|column| text(column).parse::<usize>().unwrap_or(0));
        if month == Some(0)
            || site.is_some_and(|s| window.site_id.as_deref().is_some_and(|id| id != text(s)))
        {
            continue;
        }
        let mut month = month;
        if let Some(column) = start {
            let time = instant(text(column), "/weather_dataset")?;
            if !window.contains(time) {
                continue;
            }
            instants.push(time);
            month = month.or(Some(month_of(time)));
        }
        samples.push(Sample {
            poa: number::cell(text(poa), "/weather_dataset")?,
            cell: number::cell(text(cell), "/weather_dataset")?,
            month: month.filter(|month| (1..=12).contains(month)),
        });
    }
    if samples.is_empty() {
        return Err(ToolError::no_data(format!("`{id}` has no weather in this window")));
    }
    instants.sort();
    let hours = spacing(instants.into_iter()).map_or(1.0, |seconds| seconds / 3600.0);
    Ok(Weather { samples, hours })
}

/// Rounds energy to a tenth of a watt-hour, the resolution of the tool's known answers.
fn tenth_wh(kwh: f64) -> f64 {
    (tidy(kwh) * 1e4).round() / 1e4
}

fn month_of(time: jiff::Timestamp) -> usize {
    usize::try_from(time.to_zoned_datetime(jiff::tz::TimeZone::UTC).month()).unwrap_or(0)
}

fn inline(args: &Arguments) -> Result<Weather, ToolError> {
    let poa = args.poa_w_m2.as_deref().unwrap_or_default();
    let cell = args.cell_temp_c.as_deref().unwrap_or_default();
    if poa.len() != cell.len() {
        return Err(ToolError::invalid(
            "/cell_temp_c",
            format!("{} temperatures for {} irradiance values", cell.len(), poa.len()),
        ));
    }
    let samples =
        poa.iter().zip(cell).map(|(&poa, &cell)| Sample { poa, cell, month: None }).collect();
    Ok(Weather { samples, hours: args.interval_minutes / 60.0 })
}

/// Estimates DC and AC energy and, with measured energy, the performance ratio.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ series of different lengths or a file without weather columns; the
/// data's errors.
///
/// # Source
/// NREL/TP-6A20-62641; performance ratio by IEC 61724-1.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let weather = match &args.weather_dataset {
        Some(id) => from_dataset(context, id, &window)?,
        None => inline(&args)?,
    };
    let (mut dc_kwh, mut ac_kwh, mut peak, mut irradiation) = (0.0, 0.0, 0.0_f64, 0.0);
    let mut months = [0.0; 12];
    let mut hours_in_month = [0.0; 12];
    for sample in &weather.samples {
        let dc = dc_power(&args, sample);
        let ac = ac_power(&args, dc);
        dc_kwh += dc * weather.hours;
        ac_kwh += ac * weather.hours;
        peak = peak.max(ac);
        irradiation += sample.poa.max(0.0) / 1000.0 * weather.hours;
        if let Some(month) = sample.month {
            months[month - 1] += ac * weather.hours;
            hours_in_month[month - 1] += weather.hours;
        }
    }
    let hours = weather.hours * count(weather.samples.len());
    // A year has 8,760 hours; 8,700 lets a file miss a few days' worth of hours in no month.
    let is_year = (8_700.0..=8_784.0).contains(&hours) && hours_in_month.iter().all(|h| *h > 600.0);
    let mut warnings = Vec::new();
    if args.measured_ac_kwh.is_some() && irradiation <= 0.0 {
        warnings
            .push(warning("no_irradiation", "There was no sun, so no performance ratio exists."));
    }
    let performance = args
        .measured_ac_kwh
        .filter(|_| irradiation > 0.0)
        .map(|measured| tidy(100.0 * measured / (args.dc_kw * irradiation)));
    Ok(json!({
        "ac_kwh": tenth_wh(ac_kwh),
        "dc_kwh": tenth_wh(dc_kwh),
        "monthly_ac_kwh": is_year.then(|| months.map(tenth_wh)),
        "peak_ac_kw": tidy(peak),
        "capacity_factor_pct": tidy(100.0 * ac_kwh / (args.dc_kw * hours)),
        "specific_yield_kwh_per_kw": tidy(ac_kwh / args.dc_kw),
        "performance_ratio_pct": performance,
        "method": "PVWatts v5 DC and inverter equations, v1",
        "warnings": warnings,
    }))
}
