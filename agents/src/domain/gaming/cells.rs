//! Cells of the gaming tables: instants, zones, numbers.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::tool::ToolError;

/// Reads an instant with offset.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` naming the text.
pub(super) fn instant(text: &str, pointer: &str) -> Result<Timestamp, ToolError> {
    text.parse().map_err(|_| {
        ToolError::invalid(
            pointer,
            format!("`{text}` is no date-time with offset such as 2026-11-24T08:00:00+08:00"),
        )
    })
}

/// Reads a calendar day.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` naming the text.
pub(super) fn day(text: &str, pointer: &str) -> Result<Date, ToolError> {
    text.parse()
        .map_err(|_| ToolError::invalid(pointer, format!("`{text}` is no day such as 2026-11-24")))
}

/// Looks up an IANA time zone; `None` means UTC.
///
/// # Errors
/// [`ToolError::InvalidInput`] when the zone is unknown.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, ToolError> {
    match name {
        None | Some("UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| {
            ToolError::invalid("/timezone", format!("`{name}` is no known time zone"))
        }),
    }
}

/// Reads a finite number.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` naming the text.
pub(super) fn number(text: &str, pointer: &str) -> Result<f64, ToolError> {
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
