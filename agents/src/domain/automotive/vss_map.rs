//! Signals under the names and units of the COVESA Vehicle Signal Specification.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Value, json};

use super::vss_unit::convert;
use crate::tool::{Table, ToolContext, ToolError, Window, decode, warning};

/// The tree of release 6.0, which also is a dataset of the pack; unmodified, MPL-2.0.
const TREE: &str = include_str!("../../../packs/automotive/fixtures/vss_release_6.0.json");

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    signals: Vec<Signal>,
    dataset: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Signal {
    name: String,
    value: Option<f64>,
    unit: Option<String>,
}

/// A node of the tree that holds a value.
#[derive(Debug)]
struct Leaf {
    kind: String,
    datatype: String,
    unit: Option<String>,
    min: Option<f64>,
    max: Option<f64>,
    deprecation: Option<String>,
}

/// Names that telematics providers and scan tools use, and their paths; the pack's own table.
const ALIASES: [(&str, &str); 34] = [
    ("tire_pressure_front_left", "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure"),
    ("tire_pressure_front_right", "Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.Pressure"),
    ("tire_pressure_rear_left", "Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.Pressure"),
    ("tire_pressure_rear_right", "Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.Pressure"),
    ("vehicle_speed", "Vehicle.Speed"),
    ("odometer", "Vehicle.TraveledDistance"),
    ("coolant_temperature", "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"),
    ("oil_temperature", "Vehicle.Powertrain.CombustionEngine.EngineOil.Temperature"),
    ("oil_pressure", "Vehicle.Powertrain.CombustionEngine.EOP"),
    ("engine_speed", "Vehicle.Powertrain.CombustionEngine.Speed"),
    ("engine_torque", "Vehicle.Powertrain.CombustionEngine.Torque"),
    ("engine_power", "Vehicle.Powertrain.CombustionEngine.Power"),
    ("throttle_position", "Vehicle.Powertrain.CombustionEngine.TPS"),
    ("mass_air_flow", "Vehicle.Powertrain.CombustionEngine.MAF"),
    ("intake_manifold_pressure", "Vehicle.Powertrain.CombustionEngine.MAP"),
    ("def_level", "Vehicle.Powertrain.CombustionEngine.DieselExhaustFluid.Level"),
    ("fuel_level", "Vehicle.Powertrain.FuelSystem.RelativeLevel"),
    ("fuel_range", "Vehicle.Powertrain.FuelSystem.Range"),
    ("range", "Vehicle.Powertrain.Range"),
    ("state_of_charge", "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current"),
    ("displayed_state_of_charge", "Vehicle.Powertrain.TractionBattery.StateOfCharge.Displayed"),
    ("state_of_health", "Vehicle.Powertrain.TractionBattery.StateOfHealth"),
    ("battery_voltage", "Vehicle.Powertrain.TractionBattery.CurrentVoltage"),
    ("battery_current", "Vehicle.Powertrain.TractionBattery.CurrentCurrent"),
    ("battery_power", "Vehicle.Powertrain.TractionBattery.CurrentPower"),
    ("battery_temperature", "Vehicle.Powertrain.TractionBattery.Temperature.Average"),
    ("battery_energy", "Vehicle.Powertrain.TractionBattery.StateOfCharge.CurrentEnergy"),
    ("low_voltage_battery_voltage", "Vehicle.LowVoltageBattery.CurrentVoltage"),
    ("transmission_temperature", "Vehicle.Powertrain.Transmission.Temperature"),
    ("accelerator_pedal_position", "Vehicle.Chassis.Accelerator.PedalPosition"),
    ("brake_pedal_position", "Vehicle.Chassis.Brake.PedalPosition"),
    ("ambient_temperature", "Vehicle.Exterior.AirTemperature"),
    ("average_speed", "Vehicle.AverageSpeed"),
    ("distance_to_service", "Vehicle.Service.DistanceToService"),
];

/// Returns the leaves of the tree by path.
fn leaves() -> &'static BTreeMap<String, Leaf> {
    static LEAVES: OnceLock<BTreeMap<String, Leaf>> = OnceLock::new();
    LEAVES.get_or_init(|| {
        let tree: Value = serde_json::from_str(TREE).unwrap_or_default();
        let mut leaves = BTreeMap::new();
        let mut open: Vec<(String, &Value)> = branches("", &tree).collect();
        while let Some((path, node)) = open.pop() {
            if let Some(children) = node.get("children") {
                open.extend(branches(&path, children));
                continue;
            }
            let text = |name: &str| node.get(name).and_then(Value::as_str).map(str::to_owned);
            let number = |name: &str| node.get(name).and_then(Value::as_f64);
            if let (Some(kind), Some(datatype)) = (text("type"), text("datatype")) {
                let leaf = Leaf {
                    kind,
                    datatype,
                    unit: text("unit"),
                    min: number("min"),
                    max: number("max"),
                    deprecation: text("deprecation"),
                };
                leaves.insert(path, leaf);
            }
        }
        leaves
    })
}

fn branches<'a>(above: &str, nodes: &'a Value) -> impl Iterator<Item = (String, &'a Value)> {
    let prefix = if above.is_empty() { String::new() } else { format!("{above}.") };
    let nodes = nodes.as_object().into_iter().flatten();
    nodes.map(move |(name, node)| (format!("{prefix}{name}"), node))
}

/// Finds the path of a name: an alias, however it is spaced, or a path of the tree.
fn path_of(name: &str) -> Option<(&'static str, &'static Leaf)> {
    let alias: String = name
        .trim()
        .to_lowercase()
        .chars()
        .map(|c| if matches!(c, ' ' | '-') { '_' } else { c })
        .collect();
    let known = ALIASES.iter().find(|(known, _)| *known == alias).map(|(_, path)| *path);
    leaves().get_key_value(known.unwrap_or(name.trim())).map(|(path, leaf)| (path.as_str(), leaf))
}

/// Returns the range of a data type and of the node's own limits.
fn in_range(leaf: &Leaf, value: f64) -> bool {
    let (low, high) = match leaf.datatype.as_str() {
        "uint8" => (0.0, f64::from(u8::MAX)),
        "uint16" => (0.0, f64::from(u16::MAX)),
        "uint32" => (0.0, f64::from(u32::MAX)),
        "int8" => (f64::from(i8::MIN), f64::from(i8::MAX)),
        "int16" => (f64::from(i16::MIN), f64::from(i16::MAX)),
        "int32" => (f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    value >= leaf.min.unwrap_or(low).max(low) && value <= leaf.max.unwrap_or(high).min(high)
}

/// Maps one signal; `None` ⇐ nobody gave this name.
fn map(signal: &Signal, at: &str, warnings: &mut Vec<Value>) -> Result<Option<Value>, ToolError> {
    let Some((path, leaf)) = path_of(&signal.name) else { return Ok(None) };
    let value = match (signal.value, &signal.unit, &leaf.unit) {
        (None, _, _) => None,
        (Some(value), Some(from), Some(to)) => Some(convert(value, from, to).ok_or_else(|| {
            ToolError::invalid(
                format!("{at}/unit"),
                format!("`{}` is in {to}, which {from} does not convert into", signal.name),
            )
        })?),
        (Some(_), Some(from), None) => {
            return Err(ToolError::invalid(
                format!("{at}/unit"),
                format!("`{}` has no unit, so {from} does not fit", signal.name),
            ));
        }
        (Some(value), None, to) => {
            if let Some(to) = to {
                warnings.push(warning(
                    "unit_assumed",
                    format!("No unit was given for {}; {to} was taken.", signal.name),
                ));
            }
            Some(value)
        }
    };
    if let Some(why) = &leaf.deprecation {
        warnings.push(warning("deprecated_node", format!("{path} is deprecated: {why}")));
    }
    Ok(Some(json!({
        "name": signal.name,
        "path": path,
        "vss_type": leaf.kind,
        "datatype": leaf.datatype,
        "unit": leaf.unit,
        "value": value,
        "in_range": value.is_none_or(|value| in_range(leaf, value)),
    })))
}

/// Reads the last value of each signal of a telemetry table, in order of first appearance.
fn latest(table: &Table) -> Result<Vec<Signal>, ToolError> {
    let (name, value) = (table.column("signal")?, table.column("value")?);
    let unit = table.find("unit");
    let mut found: Vec<Signal> = Vec::new();
    for (line, row) in table.rows.iter().enumerate() {
        let number = row[value].parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| {
            let text = &row[value];
            ToolError::invalid("/dataset", format!("line {}: `{text}` is no number", line + 2))
        })?;
        let unit = unit.map(|unit| row[unit].clone()).filter(|unit| !unit.is_empty());
        let signal = Signal { name: row[name].clone(), value: Some(number), unit };
        match found.iter_mut().find(|known| known.name == signal.name) {
            Some(known) => *known = signal,
            None => found.push(signal),
        }
    }
    Ok(found)
}

/// Maps signals to their paths and converts their values; a name that is not known stays unmapped.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a unit of another quantity, or a cell that is no number;
/// [`ToolError::NoData`] ⇐ no row in the window.
///
/// # Source
/// COVESA Vehicle Signal Specification 6.0.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let mut warnings = Vec::new();
    let signals = match &args.dataset {
        Some(id) => {
            let table = context.datasets.table(id, &Window::from_arguments(arguments)?)?;
            if table.rows.is_empty() {
                return Err(ToolError::no_data(format!("`{id}` has no row in this window")));
            }
            warnings.push(warning(
                "last_values_only",
                "Of each signal the last value of the table is shown; no converted table is kept.",
            ));
            latest(&table)?
        }
        None => args.signals,
    };
    let (mut mapped, mut unmapped) = (Vec::new(), Vec::new());
    for (i, signal) in signals.iter().enumerate() {
        match map(signal, &format!("/signals/{i}"), &mut warnings)? {
            Some(found) => mapped.push(found),
            None => unmapped.push(signal.name.as_str()),
        }
    }
    Ok(json!({
        "mapped": mapped,
        "unmapped": unmapped,
        "result_dataset": null,
        "vss_version": "6.0",
        "method": "COVESA VSS 6.0; own alias table; exact unit factors",
        "warnings": warnings,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_leads_to_a_leaf_of_the_tree() {
        assert_eq!(leaves().len(), 1263);
        for (alias, path) in ALIASES {
            assert!(leaves().contains_key(path), "{alias}: {path}");
        }
    }
}
