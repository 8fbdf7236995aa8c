//! Numbers at the edge: rounding for display, decimals from floats, cells of tables.

use rust_decimal::Decimal;

use crate::tool::{ToolError, money};

/// Rounds to nine decimals, which hides the noise of binary fractions and nothing else.
pub(super) fn tidy(value: f64) -> f64 {
    let rounded = (value * 1e9).round() / 1e9;
    if !rounded.is_finite() {
        value
    } else if rounded == 0.0 {
        0.0
    } else {
        rounded
    }
}

/// Returns `value` as a decimal, exact to nine places.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` when the value has more digits than a decimal holds.
pub(super) fn decimal(value: f64, pointer: &str) -> Result<Decimal, ToolError> {
    money::parse(&format!("{value:.9}"), pointer)
}

/// Returns the amount if it has at most fifteen digits before the point, as results must.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` when it has more.
pub(super) fn bounded(amount: Decimal, pointer: &str) -> Result<Decimal, ToolError> {
    if amount.abs() < Decimal::from(1_000_000_000_000_000_u64) {
        return Ok(amount);
    }
    Err(ToolError::invalid(
        pointer,
        "the amount is too large, it has more than fifteen digits; check price and quantity",
    ))
}

/// Formats an amount computed in floating point, rounded to the currency (two places without one).
///
/// # Errors
/// [`ToolError::InvalidInput`] when the amount has more than fifteen digits.
pub(super) fn amount(value: f64, currency: Option<&str>) -> Result<String, ToolError> {
    Ok(money::format(bounded(decimal(value, "")?, "")?, currency.unwrap_or("USD")))
}

/// Reads a price as a float for the solvers.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` when the text is no number.
pub(super) fn price(text: &str, pointer: &str) -> Result<f64, ToolError> {
    cell(text, pointer)
}

/// Reads a finite number out of a table cell.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` naming the text.
pub(super) fn cell(text: &str, pointer: &str) -> Result<f64, ToolError> {
    text.parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
        .ok_or_else(|| ToolError::invalid(pointer, format!("`{text}` is no number")))
}

/// Returns the count as a float; counts here stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn count(n: usize) -> f64 {
    n as f64
}
