//! Green Button readings as a table.

use std::borrow::Cow;

use super::DatasetError;
use super::source::{Each, hand_out};
use crate::domain::energy::espi;

/// See [`super::source::walk`].
pub(super) fn walk(bytes: &[u8], each: &mut Each<'_>) -> Result<Vec<String>, DatasetError> {
    let readings =
        espi::readings(bytes).map_err(|error| DatasetError::Unreadable(error.to_string()))?;
    let total = readings.len();
    let rows = readings.into_iter().map(|reading| {
        [
            Cow::Owned(reading.start.to_string()),
            Cow::Owned(reading.seconds.to_string()),
            Cow::Owned(reading.kwh.to_string()),
        ]
    });
    hand_out(["start", "duration_s", "energy_kwh"], rows, total, each)
}
