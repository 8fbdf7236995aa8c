//! Instants that keep the offset in which they were written.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::tool::ToolError;

/// An instant and the offset that its writer used; `None` ⇐ written with `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    /// The instant.
    pub at: Timestamp,
    offset: Option<Offset>,
}

impl Instant {
    /// Reads an RFC 3339 date-time.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] at `pointer` ⇐ the text is none.
    pub(super) fn parse(text: &str, pointer: &str) -> Result<Self, ToolError> {
        let bad = || {
            ToolError::invalid(
                pointer,
                format!("`{text}` is no date-time with offset such as 2026-11-26T09:00:00+08:00"),
            )
        };
        let at: Timestamp = text.parse().map_err(|_| bad())?;
        if text.ends_with(['Z', 'z']) {
            return Ok(Self { at, offset: None });
        }
        let tail = text.get(text.len().saturating_sub(6)..).ok_or_else(bad)?;
        let part = |range: std::ops::Range<usize>| {
            tail.get(range).and_then(|digits| digits.parse::<i32>().ok()).ok_or_else(bad)
        };
        let seconds = part(1..3)? * 3600 + part(4..6)? * 60;
        let signed = if tail.starts_with('-') { -seconds } else { seconds };
        Ok(Self { at, offset: Some(Offset::from_seconds(signed).map_err(|_| bad())?) })
    }

    /// Writes `at` in the offset of this instant.
    pub(super) fn write(&self, at: Timestamp) -> String {
        let local = at.to_zoned_datetime(TimeZone::fixed(self.offset.unwrap_or(Offset::UTC)));
        let zone = if self.offset.is_some() { "%:z" } else { "Z" };
        local.strftime(&format!("%Y-%m-%dT%H:%M:%S%.f{zone}")).to_string()
    }
}
