//! Units that argument names carry, and the conversion of mentions into them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rust_decimal::Decimal;

use crate::mention::Kind;

/// The unit that the name of an argument states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Percent,
    Duration(&'static str),
    Measure(&'static str),
    Year,
}

impl Unit {
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Percent => "pct",
            Self::Duration("month") => "dur month",
            Self::Duration("day") => "dur day",
            Self::Duration("hour") => "dur hour",
            Self::Duration("minute") => "dur minute",
            Self::Duration(_) => "dur",
            Self::Measure("kwh") => "num kwh",
            Self::Measure("kw") => "num kw",
            Self::Measure("km") => "num km",
            Self::Measure(_) => "num",
            Self::Year => "year",
        }
    }
}

/// Endings of argument names, longest first where one ends another.
const ENDINGS: [(&str, Unit); 22] = [
    ("kg_per_kwh", Unit::Measure("kg/kwh")),
    ("pct_per_c", Unit::Percent),
    ("_pct", Unit::Percent),
    ("months", Unit::Duration("month")),
    ("_days", Unit::Duration("day")),
    ("_hours", Unit::Duration("hour")),
    ("hours_claimed", Unit::Duration("hour")),
    ("hours_book", Unit::Duration("hour")),
    ("minutes", Unit::Duration("minute")),
    ("_min", Unit::Duration("minute")),
    ("_seconds", Unit::Duration("second")),
    ("years", Unit::Duration("year")),
    ("_kwh", Unit::Measure("kwh")),
    ("_mwh", Unit::Measure("mwh")),
    ("_kwp", Unit::Measure("kw")),
    ("_kw", Unit::Measure("kw")),
    ("_km", Unit::Measure("km")),
    ("_w_m2", Unit::Measure("w/m2")),
    ("_temp_c", Unit::Measure("celsius")),
    ("_year", Unit::Year),
    ("days", Unit::Duration("day")),
    ("_kg", Unit::Measure("kg")),
];

/// Units of mentions by factor to a base unit.
const SCALES: [(&str, &str, &str); 14] = [
    // 度 is also a degree.
    ("度", "kwh", "1"),
    ("kwh", "kwh", "1"),
    ("mwh", "kwh", "1000"),
    ("gwh", "kwh", "1000000"),
    ("wh", "kwh", "0.001"),
    ("kw", "kw", "1"),
    ("mw", "kw", "1000"),
    ("w", "kw", "0.001"),
    ("km", "km", "1"),
    ("mile", "km", "1.609344"),
    ("kg", "kg", "1"),
    ("t", "kg", "1000"),
    ("kg/kwh", "kg/kwh", "1"),
    ("w/m2", "w/m2", "1"),
];

/// Returns the unit in the name of an argument.
pub(crate) fn of_name(name: &str) -> Option<Unit> {
    ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, unit)| *unit)
}

/// Tells whether a mention states a unit of the same kind as `unit`.
pub(crate) fn states(unit: Unit, kind: &Kind) -> bool {
    match (unit, kind) {
        (Unit::Percent, Kind::Percent { .. })
        | (Unit::Duration(_), Kind::Duration { .. })
        | (Unit::Year, Kind::Period { .. }) => true,
        (Unit::Percent, Kind::Number { unit, .. }) => unit == "bp",
        (Unit::Measure(_), Kind::Number { unit, .. }) => !unit.is_empty() && !counts(unit),
        _ => false,
    }
}

/// Tells whether a unit only counts things, so that the bare number is meant.
pub(crate) fn counts(unit: &str) -> bool {
    matches!(unit, "unit" | "pull" | "player" | "customer" | "period")
}

/// Returns what one element of a list states, given what all of them count.
pub(crate) fn kind_of(value: &str, unit: &str) -> Kind {
    let (value, unit) = (value.to_owned(), unit.to_owned());
    match unit.as_str() {
        "%" => Kind::Percent { value },
        "¤" => Kind::Money { value, currency: String::new() },
        "second" | "minute" | "hour" | "day" | "week" | "month" | "quarter" | "year" => {
            Kind::Duration { value, unit }
        }
        code if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) => {
            Kind::Money { value, currency: unit }
        }
        _ => Kind::Number { value, unit },
    }
}

/// Converts a mention into the unit of the argument `name`.
pub(crate) fn convert(name: &str, kind: &Kind) -> Option<Decimal> {
    let unit = of_name(name);
    match kind {
        Kind::Percent { value } => {
            let value: Decimal = value.parse().ok()?;
            match unit {
                Some(Unit::Percent) => Some(value),
                // A share without a unit in its name lies between 0 and 1.
                None => value.checked_div(Decimal::ONE_HUNDRED),
                Some(_) => None,
            }
        }
        Kind::Number { value, unit: said } => number(value.parse().ok()?, said, unit),
        Kind::Money { value, .. } if unit.is_none() => value.parse().ok(),
        Kind::Duration { value, unit: said } => {
            let value: Decimal = value.parse().ok()?;
            match unit {
                Some(Unit::Duration(wanted)) => span(value, said, wanted),
                // `within_pulls`, `horizon`, `age` and the like count in a unit of another argument.
                None => Some(value),
                Some(_) => None,
            }
        }
        Kind::Period { start, .. } if unit == Some(Unit::Year) => {
            start.get(..4).and_then(|y| y.parse().ok())
        }
        _ => None,
    }
}

fn number(value: Decimal, said: &str, unit: Option<Unit>) -> Option<Decimal> {
    if said.is_empty() || counts(said) {
        return Some(value);
    }
    match unit {
        Some(Unit::Percent) if said == "bp" => value.checked_div(Decimal::ONE_HUNDRED),
        Some(Unit::Measure("celsius")) if matches!(said, "celsius" | "度") => Some(value),
        // "0.4 kg per kWh": the words after the kilograms are read as text.
        Some(Unit::Measure("kg/kwh")) if said == "kg" => Some(value),
        Some(Unit::Measure(wanted)) => {
            let (from, to) = (scale(said)?, scale(wanted)?);
            (from.0 == to.0).then(|| value.checked_mul(from.1)?.checked_div(to.1)).flatten()
        }
        None => Some(value),
        Some(_) => None,
    }
    .map(|v| v.normalize())
}

fn scale(unit: &str) -> Option<(&'static str, Decimal)> {
    let (_, base, factor) = SCALES.iter().find(|(name, _, _)| *name == unit)?;
    Some((base, factor.parse().ok()?))
}

/// Converts between the fixed spans (seconds to weeks) and between months and years.
fn span(value: Decimal, from: &str, to: &str) -> Option<Decimal> {
    let fixed = |unit: &str| match unit {
        "second" => Some(1u32),
        "minute" => Some(60),
        "hour" => Some(3600),
        "day" => Some(86_400),
        "week" => Some(604_800),
        _ => None,
    };
    let calendar = |unit: &str| match unit {
        "month" => Some(1u32),
        "quarter" => Some(3),
        "year" => Some(12),
        _ => None,
    };
    let (f, t) = fixed(from).zip(fixed(to)).or_else(|| calendar(from).zip(calendar(to)))?;
    value.checked_mul(f.into())?.checked_div(t.into()).map(|v| v.normalize())
}

/// Tells whether an argument names the end of a window.
fn is_end(name: &str) -> bool {
    name == "end" || name.ends_with("_end") || name.ends_with("_until") || name == "latest"
}

/// Returns the calendar day that a mention states. A period gives its first day, or its last one
/// where the argument names an end.
pub(crate) fn day(name: &str, kind: &Kind) -> Option<String> {
    match kind {
        Kind::Date { value } => Some(value.clone()),
        Kind::DateTime { value } => value.get(..10).map(str::to_owned),
        Kind::Period { end, .. } if is_end(name) => {
            let end: Date = end.parse().ok()?;
            Some(end.checked_sub(1.day()).ok()?.to_string())
        }
        Kind::Period { start, .. } => Some(start.clone()),
        _ => None,
    }
}

/// Returns the instant that a mention states, RFC 3339 in UTC or with its own offset. Days begin
/// and end at midnight of `timezone`; the end of a window is exclusive.
pub(crate) fn instant(name: &str, kind: &Kind, timezone: &str) -> Option<String> {
    let zone = TimeZone::get(timezone).ok()?;
    let local = |at: DateTime| -> Option<String> {
        let instant: Timestamp = at.to_zoned_datetime(zone.clone()).ok()?.timestamp();
        Some(instant.to_string())
    };
    let midnight = |day: &str| local(day.parse::<Date>().ok()?.at(0, 0, 0, 0));
    match kind {
        Kind::DateTime { value } if value.parse::<Timestamp>().is_ok() => Some(value.clone()),
        Kind::DateTime { value } => local(value.parse().ok()?),
        Kind::Date { value } => midnight(value),
        Kind::Period { end, .. } if is_end(name) => midnight(end),
        Kind::Period { start, .. } => midnight(start),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(value: &str, unit: &str) -> Kind {
        Kind::Duration { value: value.to_owned(), unit: unit.to_owned() }
    }

    #[test]
    fn spans_convert_only_where_the_calendar_allows_it() {
        assert_eq!(convert("months", &duration("30", "year")), Some(360.into()));
        assert_eq!(convert("window_days", &duration("2", "week")), Some(14.into()));
        assert_eq!(convert("window_days", &duration("1", "month")), None);
        assert_eq!(convert("duration_min", &duration("1.5", "hour")), Some(90.into()));
    }

    #[test]
    fn energy_and_distance_convert_into_the_unit_of_the_name() {
        let mwh = Kind::Number { value: "1250".to_owned(), unit: "mwh".to_owned() };
        assert_eq!(convert("electricity_kwh", &mwh), Some(1_250_000.into()));
        assert_eq!(convert("dc_kw", &mwh), None);
        let miles = Kind::Number { value: "100".to_owned(), unit: "mile".to_owned() };
        assert_eq!(
            convert("odometer_km", &miles).map(|d| d.to_string()),
            Some("160.9344".to_owned())
        );
    }

    #[test]
    fn days_begin_at_the_tenants_midnight() {
        let day = Kind::Date { value: "2026-03-05".to_owned() };
        assert_eq!(instant("start", &day, "Asia/Taipei").as_deref(), Some("2026-03-04T16:00:00Z"));
    }
}
