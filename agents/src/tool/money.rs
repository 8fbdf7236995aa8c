//! Money: decimal strings at the edge, [`Decimal`] inside, rounding by currency.

use rust_decimal::{Decimal, RoundingStrategy};

use super::ToolError;

/// Returns the number of decimal places of a currency's minor unit.
///
/// # Source
/// ISO 4217 list one; currencies not named here have two.
pub fn minor_units(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

/// Rounds half away from zero to the minor unit of `currency`.
pub fn round(amount: Decimal, currency: &str) -> Decimal {
    round_to(amount, minor_units(currency))
}

/// Rounds half away from zero to `places` decimal places.
pub fn round_to(amount: Decimal, places: u32) -> Decimal {
    let mut rounded = amount.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(places);
    if rounded.is_zero() { rounded.abs() } else { rounded }
}

/// Formats an amount as the decimal string of the contract, rounded to the minor unit.
pub fn format(amount: Decimal, currency: &str) -> String {
    round(amount, currency).to_string()
}

/// Parses a decimal string of the contract.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` when the text is no plain decimal number.
pub fn parse(text: &str, pointer: &str) -> Result<Decimal, ToolError> {
    text.parse().map_err(|_| {
        ToolError::invalid(pointer, format!("`{text}` is no decimal number such as \"1250.00\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_rounded_away_from_zero_on_both_sides() {
        let half: Decimal = "2.345".parse().unwrap();
        assert_eq!(format(half, "USD"), "2.35");
        assert_eq!(format(-half, "USD"), "-2.35");
        assert_eq!(format(half, "JPY"), "2");
        assert_eq!(format("-0.001".parse().unwrap(), "USD"), "0.00");
    }
}
