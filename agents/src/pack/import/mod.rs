//! Tools from what others have described: an OpenAPI document becomes tools of kind `http`.
//!
//! What is imported is a stranger's: texts are cut and cleaned, schemas are rebuilt from the keywords that
//! are known, circles end, and everything is counted. The result is files of a pack, which
//! [`super::check`] and [`crate::judge`] take like any other.

mod convert;
pub mod openapi;
mod sample;

use serde_json::Value;
use thiserror::Error;

/// Largest document that is read, bytes.
pub const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// Why a document is not imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// It is too large.
    #[error("the document has {0} bytes; the limit is {MAX_DOCUMENT_BYTES}")]
    TooLarge(usize),
    /// It does not read as JSON or YAML.
    #[error("the document does not read: {0}")]
    Unread(String),
    /// It is of a kind that is not imported.
    #[error("{0}")]
    Unfit(String),
}

/// Reads JSON or YAML.
///
/// # Errors
/// [`ImportError::TooLarge`], [`ImportError::Unread`] ⇐ also where it is nested too deep or its aliases
/// unfold to too much.
pub fn document(bytes: &[u8]) -> Result<Value, ImportError> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(ImportError::TooLarge(bytes.len()));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| ImportError::Unread("it is no UTF-8".to_owned()))?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| ImportError::Unread(error.to_string()));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let said = error.to_string();
        ImportError::Unread(said.lines().next().unwrap_or_default().to_owned())
    })
}

/// Returns a stranger's text on one line, without control characters, cut.
fn plain(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().filter(|c| !c.is_control()));
        if out.chars().count() > longest {
            return out.chars().take(longest).chain(['…']).collect();
        }
    }
    out
}

/// Returns a name as tools and arguments have it: small letters, digits and `_`.
fn snake(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in text.chars().take(200) {
        let starts =
            c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit());
        if (starts || !c.is_ascii_alphanumeric()) && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    let out = out.trim_matches('_');
    let letter = out.starts_with(|c: char| c.is_ascii_lowercase());
    let out = if letter { out.to_owned() } else { format!("x_{out}") };
    out.chars().take(60).collect::<String>().trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests;
