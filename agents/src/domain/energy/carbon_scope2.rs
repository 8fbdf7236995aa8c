//! Scope 2 emissions of purchased electricity.

use serde::Deserialize;
use serde_json::{Value, json};

use super::number::tidy;
use super::series::Series;
use crate::tool::{ToolContext, ToolError, Window, decode, warning};

#[derive(Deserialize)]
struct Instrument {
    energy_kwh: f64,
    factor_kg_per_kwh: f64,
}

#[derive(Deserialize)]
struct Arguments {
    electricity_kwh: Option<f64>,
    dataset: Option<String>,
    #[serde(default = "location")]
    accounting_method: String,
    grid_factor_kg_per_kwh: f64,
    #[serde(default)]
    instruments: Vec<Instrument>,
    residual_factor_kg_per_kwh: Option<f64>,
    factor_source: String,
    factor_year: i32,
}

fn location() -> String {
    "location".to_owned()
}

/// Returns emissions of the market method, t CO2e: instruments first, the rest at `residual`.
///
/// # Units
/// Energy kWh, factors kg CO2e per kWh.
///
/// # Source
/// GHG Protocol Scope 2 Guidance (2015), chapter 6.
fn market_tonnes(electricity: f64, instruments: &[Instrument], residual: f64) -> f64 {
    let covered: f64 = instruments.iter().map(|i| i.energy_kwh).sum();
    let contracted: f64 = instruments.iter().map(|i| i.energy_kwh * i.factor_kg_per_kwh).sum();
    (contracted + (electricity - covered) * residual) / 1000.0
}

/// Computes location- and market-based emissions.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ instruments cover more than was used; the data's errors.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let window = Window::from_arguments(arguments)?;
    let mut warnings = Vec::new();
    let electricity = match (args.electricity_kwh, &args.dataset) {
        (Some(kwh), _) => kwh,
        (None, Some(id)) => {
            let series = Series::read(context, id, &window)?;
            warnings.extend(series.warnings.iter().cloned());
            if series.missing() > 0 {
                warnings.push(warning(
                    "missing_intervals",
                    format!(
                        "{} intervals are missing; their energy is not counted.",
                        series.missing()
                    ),
                ));
            }
            series.kwh()
        }
        (None, None) => return Err(ToolError::invalid("", "give electricity_kwh or a dataset")),
    };
    if electricity < 0.0 {
        return Err(ToolError::invalid("/dataset", "the dataset sums to negative energy"));
    }
    let wants_market = args.accounting_method != "location";
    let covered: f64 = args.instruments.iter().map(|i| i.energy_kwh).sum();
    if covered > electricity {
        return Err(ToolError::invalid(
            "/instruments",
            format!("instruments cover {covered} kWh but only {electricity} kWh were used"),
        ));
    }
    if wants_market && args.residual_factor_kg_per_kwh.is_none() && covered < electricity {
        warnings.push(warning(
            "no_residual_factor",
            "No residual-mix factor was given; the grid factor was used for the uncovered energy.",
        ));
    }
    if !wants_market && !args.instruments.is_empty() {
        warnings.push(warning(
            "instruments_unused",
            "Contracts and certificates count only in the market method; ask for market or both.",
        ));
    }
    let residual = args.residual_factor_kg_per_kwh.unwrap_or(args.grid_factor_kg_per_kwh);
    let market =
        wants_market.then(|| tidy(market_tonnes(electricity, &args.instruments, residual)));
    let location = (args.accounting_method != "market")
        .then(|| tidy(electricity * args.grid_factor_kg_per_kwh / 1000.0));
    Ok(json!({
        "electricity_kwh": tidy(electricity),
        "location_based_tco2e": location,
        "market_based_tco2e": market,
        "covered_kwh": wants_market.then(|| tidy(covered)),
        "factor_source": args.factor_source,
        "factor_year": args.factor_year,
        "method": "GHG Protocol Scope 2 Guidance, v1",
        "warnings": warnings,
    }))
}
