//! Units of columns: which there are, and how values are converted, exactly.

use rust_decimal::Decimal;

/// Symbol, other spellings, dimension, factor to the dimension's base as mantissa and scale, offset.
struct Unit {
    symbol: &'static str,
    others: &'static [&'static str],
    dimension: &'static str,
    factor: (i64, u32),
}

const fn unit(
    symbol: &'static str,
    others: &'static [&'static str],
    dimension: &'static str,
    factor: (i64, u32),
) -> Unit {
    Unit { symbol, others, dimension, factor }
}

/// Source: BIPM, *The International System of Units*, 9th edition; exact factors only.
const UNITS: [Unit; 38] = [
    unit("Wh", &["wh"], "energy", (1, 3)),
    unit("kWh", &["kwh", "度", "千瓦時", "千瓦时"], "energy", (1, 0)),
    unit("MWh", &["mwh"], "energy", (1000, 0)),
    unit("GWh", &["gwh"], "energy", (1_000_000, 0)),
    unit("W", &["watt", "watts"], "power", (1, 3)),
    unit("kW", &["kw", "千瓦"], "power", (1, 0)),
    unit("MW", &["mw"], "power", (1000, 0)),
    unit("kvarh", &[], "reactive energy", (1, 0)),
    unit("kVA", &["kva"], "apparent power", (1, 0)),
    unit("MVA", &["mva"], "apparent power", (1000, 0)),
    unit("V", &["volt", "volts"], "voltage", (1, 0)),
    unit("kV", &["kv"], "voltage", (1000, 0)),
    unit("A", &["amp", "amps"], "current", (1, 0)),
    unit("Hz", &["hz"], "frequency", (1, 0)),
    unit("m", &["metre", "meter"], "length", (1, 0)),
    unit("km", &["公里"], "length", (1000, 0)),
    unit("mi", &["mile", "miles"], "length", (1_609_344, 3)),
    unit("km/h", &["kmh", "kph"], "speed", (1, 0)),
    unit("mph", &[], "speed", (1_609_344, 6)),
    unit("g", &[], "mass", (1, 3)),
    unit("kg", &["公斤"], "mass", (1, 0)),
    unit("t", &["tonne", "tonnes"], "mass", (1000, 0)),
    unit("L", &["l", "litre", "litres", "liter"], "volume", (1, 3)),
    unit("m3", &["m³"], "volume", (1, 0)),
    unit("s", &["sec", "seconds", "秒"], "time", (1, 0)),
    unit("ms", &["msec"], "time", (1, 3)),
    unit("min", &["minutes", "分鐘", "分钟"], "time", (60, 0)),
    unit("h", &["hour", "hours", "hrs"], "time", (3600, 0)),
    unit("W/m2", &["w/m2", "W/m²", "w/m^2", "W/m^2"], "irradiance", (1, 0)),
    unit("%", &["pct", "percent"], "share", (1, 2)),
    unit("°C", &["degc", "celsius", "℃"], "temperature", (1, 0)),
    unit("°F", &["degf", "fahrenheit", "℉"], "temperature", (1, 0)),
    unit("EUR", &["eur", "€"], "EUR", (1, 0)),
    unit("USD", &["usd", "$", "us$"], "USD", (1, 0)),
    unit("GBP", &["gbp", "£"], "GBP", (1, 0)),
    unit("TWD", &["twd", "nt$", "ntd", "新臺幣", "新台幣"], "TWD", (1, 0)),
    unit("CNY", &["cny", "rmb", "人民幣", "人民币"], "CNY", (1, 0)),
    unit("JPY", &["jpy", "¥"], "JPY", (1, 0)),
];

fn find(text: &str) -> Option<&'static Unit> {
    let text = text.trim();
    UNITS.iter().find(|unit| unit.symbol == text).or_else(|| {
        let lower = text.to_lowercase();
        UNITS.iter().find(|unit| unit.others.iter().any(|other| *other == lower || *other == text))
    })
}

/// Returns the symbols of the units that are known, in order of their dimension.
pub fn known() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|unit| unit.symbol)
}

/// Returns the usual symbol of a unit.
pub(super) fn symbol(text: &str) -> Option<&'static str> {
    find(text).map(|unit| unit.symbol)
}

/// Returns what a unit measures.
pub(super) fn dimension(text: &str) -> Option<&'static str> {
    find(text).map(|unit| unit.dimension)
}

/// How a value is carried to another unit: `value × factor ÷ divisor + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conversion {
    factor: Decimal,
    divisor: Decimal,
    before: Decimal,
    after: Decimal,
}

impl Conversion {
    /// Converts a value; `None` ⇐ it has more digits than can be kept.
    pub(super) fn apply(&self, value: Decimal) -> Option<Decimal> {
        let scaled = value.checked_add(self.before)?.checked_mul(self.factor)?;
        let moved = scaled.checked_div(self.divisor)?.checked_add(self.after)?;
        Some(moved.normalize())
    }
}

/// Returns the conversion between two units of one dimension; `None` ⇐ there is none.
pub(super) fn conversion(from: &str, to: &str) -> Option<Conversion> {
    let (source, target) = (find(from)?, find(to)?);
    if source.dimension != target.dimension {
        return None;
    }
    let plain = |(mantissa, scale): (i64, u32)| Decimal::try_new(mantissa, scale).ok();
    let zero = Decimal::ZERO;
    if source.dimension == "temperature" {
        let (five, nine, shift) = (Decimal::from(5), Decimal::from(9), Decimal::from(32));
        return Some(match (source.symbol, target.symbol) {
            ("°F", "°C") => {
                Conversion { factor: five, divisor: nine, before: -shift, after: zero }
            }
            ("°C", "°F") => {
                Conversion { factor: nine, divisor: five, before: zero, after: shift }
            }
            _ => Conversion {
                factor: Decimal::ONE,
                divisor: Decimal::ONE,
                before: zero,
                after: zero,
            },
        });
    }
    Some(Conversion {
        factor: plain(source.factor)?,
        divisor: plain(target.factor)?,
        before: zero,
        after: zero,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(value: &str, from: &str, to: &str) -> String {
        conversion(from, to).unwrap().apply(value.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn conversions_are_exact() {
        assert_eq!(convert("250", "Wh", "kWh"), "0.25");
        assert_eq!(convert("1.2", "MW", "kW"), "1200");
        assert_eq!(convert("1", "mi", "km"), "1.609344");
        assert_eq!(convert("212", "°F", "°C"), "100");
        assert_eq!(convert("-40", "degC", "degF"), "-40");
        assert_eq!(convert("3.70", "kWh", "度"), "3.7");
        assert!(conversion("kWh", "kW").is_none());
        assert!(conversion("kWh", "parsec").is_none());
    }

    #[test]
    fn each_unit_is_found_by_its_symbol_and_by_no_other() {
        for unit in &UNITS {
            assert_eq!(symbol(unit.symbol), Some(unit.symbol));
            for other in unit.others {
                assert_eq!(symbol(other), Some(unit.symbol), "{other}");
            }
        }
    }
}
