//! Units of vehicle signals: what they measure and how they convert.

/// What a unit measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    Pressure,
    Speed,
    Length,
    Temperature,
    Share,
    Voltage,
    Current,
    Rotation,
    MassFlow,
    Energy,
    Power,
}

/// Unit, quantity, and the factor and offset that lead to the quantity's base unit.
type Row = (&'static str, Quantity, f64, f64);

/// The units of the contract and those of the VSS tree. Base units are kPa, km/h, m, °C, percent,
/// V, A, rpm, g/s, kWh and kW.
///
/// # Source
/// The international mile of 1959 (1,609.344 m); NIST SP 811 for the pound-force per square inch;
/// the kelvin and Fahrenheit scales as ISO 80000-5 defines them.
const UNITS: [Row; 26] = [
    ("kPa", Quantity::Pressure, 1.0, 0.0),
    ("bar", Quantity::Pressure, 100.0, 0.0),
    ("psi", Quantity::Pressure, 6.894_757_293, 0.0),
    ("Pa", Quantity::Pressure, 0.001, 0.0),
    ("km/h", Quantity::Speed, 1.0, 0.0),
    ("mph", Quantity::Speed, 1.609_344, 0.0),
    ("m/s", Quantity::Speed, 3.6, 0.0),
    ("km", Quantity::Length, 1000.0, 0.0),
    ("mi", Quantity::Length, 1609.344, 0.0),
    ("m", Quantity::Length, 1.0, 0.0),
    ("mm", Quantity::Length, 0.001, 0.0),
    ("inch", Quantity::Length, 0.0254, 0.0),
    ("Cel", Quantity::Temperature, 1.0, 0.0),
    ("Celsius", Quantity::Temperature, 1.0, 0.0),
    ("degF", Quantity::Temperature, 5.0 / 9.0, -160.0 / 9.0),
    ("K", Quantity::Temperature, 1.0, -273.15),
    ("percent", Quantity::Share, 1.0, 0.0),
    ("ratio", Quantity::Share, 100.0, 0.0),
    ("V", Quantity::Voltage, 1.0, 0.0),
    ("A", Quantity::Current, 1.0, 0.0),
    ("rpm", Quantity::Rotation, 1.0, 0.0),
    ("g/s", Quantity::MassFlow, 1.0, 0.0),
    ("kWh", Quantity::Energy, 1.0, 0.0),
    ("Wh", Quantity::Energy, 0.001, 0.0),
    ("kW", Quantity::Power, 1.0, 0.0),
    ("W", Quantity::Power, 0.001, 0.0),
];

fn find(unit: &str) -> Option<&'static Row> {
    UNITS.iter().find(|(name, ..)| *name == unit)
}

/// Converts a value; `None` ⇐ the units measure different things, or one is unknown.
pub(super) fn convert(value: f64, from: &str, to: &str) -> Option<f64> {
    let (from, to) = (find(from)?, find(to)?);
    (from.1 == to.1).then(|| (value * from.2 + from.3 - to.3) / to.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_converts_only_into_one_of_its_quantity() {
        assert_eq!(convert(0.0, "Cel", "K"), Some(273.15));
        assert_eq!(convert(5.0, "W", "kW"), Some(0.005));
        assert_eq!(convert(60.0, "km/h", "kPa"), None);
        assert_eq!(convert(60.0, "knots", "km/h"), None);
    }
}
