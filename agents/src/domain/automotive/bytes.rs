//! Bytes as scan tools print them, and the trouble codes in them.

use crate::tool::ToolError;

/// Reads hex digits, with or without separators between the bytes.
///
/// # Errors
/// [`ToolError::InvalidInput`] at `pointer` ⇐ an odd number of digits.
pub(super) fn of_hex(text: &str, pointer: &str) -> Result<Vec<u8>, ToolError> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    hex::decode(digits).map_err(|_| ToolError::invalid(pointer, "an odd number of hex digits"))
}

/// Writes the two code bytes as letter and four digits.
///
/// # Source
/// SAE J2012 / ISO 15031-6: the two top bits are P, C, B or U.
pub(super) fn code(high: u8, low: u8) -> String {
    let letter = ['P', 'C', 'B', 'U'][usize::from(high >> 6)];
    format!("{letter}{}{:X}{:02X}", high >> 4 & 0b11, high & 0xF, low)
}
