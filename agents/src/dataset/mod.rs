//! Uploaded files as tables: what a file is, what its columns mean, and which of its lines are good.
//!
//! A file becomes a table in two steps. [`infer()`] looks at it and proposes a complete [`Mapping`]:
//! format, columns, types, units, time column and time zone, for a person to confirm or change.
//! [`import()`] applies a mapping to the whole file and hands out [`Chunk`]s, in which rows lie by
//! site and time, and [`Reject`]s, which say of each refused line what is wrong and what would be
//! right. The same bytes under the same mapping give the same chunks, always.
//!
//! Nothing here knows SQL or HTTP. Whatever the bytes are, a call ends, in memory bounded by
//! [`MAX_BYTES`], with a table or a [`DatasetError`].

mod book;
mod camt;
mod chunk;
mod clock;
mod dbc;
mod facts;
mod format;
mod import;
mod infer;
mod mapping;
mod meter;
mod name;
mod source;
mod text;
mod unit;
mod value;

pub use chunk::{Chunk, Row, Span, decode, pack, unpack};
pub use clock::Order;
pub use format::Format;
pub use import::{Note, Progress, Reject, Report, Sink, Stored, import, import_table};
pub use infer::{Inference, Profile, infer};
pub use mapping::{Column, DecimalMark, Kind, Mapping};
pub use source::Encoding;
pub use unit::known as known_units;

use thiserror::Error;

/// Largest file read, bytes.
pub const MAX_BYTES: usize = 128 << 20;
/// Most rows of a table.
pub const MAX_ROWS: u64 = 5_000_000;
/// Most columns of a table.
pub const MAX_COLUMNS: usize = 400;
/// Longest cell, bytes of UTF-8.
pub const MAX_CELL: usize = 32 << 10;
/// Most rejected cells that are kept for the report; more are only counted.
pub const MAX_REJECTS: usize = 10_000;

/// Why a file did not become a table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DatasetError {
    /// More bytes, rows, columns or unpacked bytes than are read.
    #[error("{0}")]
    TooLarge(String),
    /// The file is not what its format says.
    #[error("{0}")]
    Unreadable(String),
    /// The mapping names something that the file does not have, or that does not exist.
    #[error("{message}")]
    Mapping {
        /// JSON pointer into the mapping.
        pointer: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// There is no line that could be kept.
    #[error("{0}")]
    Empty(String),
    /// The receiver of the table stopped the import.
    #[error("{0}")]
    Stopped(String),
}

impl DatasetError {
    /// Builds a fault of a mapping at `pointer`.
    pub fn mapping(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Mapping { pointer: pointer.into(), message: message.into() }
    }

    /// Returns the stable code, part of the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "file_too_large",
            Self::Unreadable(_) => "unreadable_file",
            Self::Mapping { .. } => "invalid_mapping",
            Self::Empty(_) => "empty_file",
            Self::Stopped(_) => "import_stopped",
        }
    }
}

pub(crate) fn unreadable(what: &str, why: impl std::fmt::Display) -> DatasetError {
    DatasetError::Unreadable(format!("{what} cannot be read: {why}"))
}
