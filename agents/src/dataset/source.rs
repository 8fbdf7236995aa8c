//! The records of a file, one by one, whatever its format: cells of text with the place they came from.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::format::Format;
use super::{DatasetError, MAX_COLUMNS, book, camt, dbc, facts, meter, text};

/// Characters of a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8, with or without a mark.
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16, told by its mark.
    #[serde(rename = "utf-16")]
    Utf16,
    /// Traditional Chinese.
    #[serde(rename = "big5")]
    Big5,
    /// Simplified Chinese, with GBK and GB 2312.
    #[serde(rename = "gb18030")]
    Gb18030,
    /// Western European.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 5] =
        [Self::Utf8, Self::Utf16, Self::Big5, Self::Gb18030, Self::Windows1252];

    /// Returns the name of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16 => "utf-16",
            Self::Big5 => "big5",
            Self::Gb18030 => "gb18030",
            Self::Windows1252 => "windows-1252",
        }
    }
}

/// What has to be known to take a file apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) format: Format,
    pub(super) encoding: Encoding,
    pub(super) delimiter: u8,
    /// Line of the header; 0 ⇐ none.
    pub(super) header_line: u64,
    pub(super) sheet: String,
}

/// The cells of a record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cells<'a> {
    /// A record of a text file.
    Text(&'a csv::StringRecord),
    /// Cells that were made.
    Made(&'a [Cow<'a, str>]),
}

impl<'a> Cells<'a> {
    /// Returns how many there are.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Text(record) => record.len(),
            Self::Made(cells) => cells.len(),
        }
    }

    /// Returns a cell, trimmed; an absent one is empty.
    pub(super) fn get(self, at: usize) -> &'a str {
        match self {
            Self::Text(record) => record.get(at).unwrap_or_default(),
            Self::Made(cells) => cells.get(at).map_or("", |cell| cell),
        }
        .trim()
    }

    /// Tells whether nothing stands in any cell.
    pub(super) fn is_blank(self) -> bool {
        (0..self.len()).all(|at| self.get(at).is_empty())
    }
}

/// One record and where it came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    /// Line of a text file, row of a sheet, or number of the element, from 1.
    pub(super) line: u64,
    /// The cells.
    pub(super) cells: Cells<'a>,
    /// Share of the file that has been read, 0 to 1.
    pub(super) share: f64,
}

/// Whether to go on reading.
pub(super) type Flow = std::ops::ControlFlow<()>;

/// Receives the records after the header.
pub(super) type Each<'a> = dyn FnMut(Record<'_>) -> Result<Flow, DatasetError> + 'a;

/// Names the columns of a header: trimmed, none empty, none twice.
pub(super) fn names<'a>(cells: impl Iterator<Item = &'a str>) -> Result<Vec<String>, DatasetError> {
    let mut names: Vec<String> = Vec::new();
    for (at, cell) in cells.enumerate() {
        if at >= MAX_COLUMNS {
            return Err(DatasetError::TooLarge(format!(
                "the file has more than {MAX_COLUMNS} columns; leave some out"
            )));
        }
        let cell = cell.trim_start_matches('\u{feff}').trim().replace(char::is_control, " ");
        let cell: String = cell.chars().take(100).collect();
        let base = if cell.is_empty() { format!("column_{}", at + 1) } else { cell };
        let mut name = base.clone();
        let mut count = 2;
        while names.contains(&name) {
            name = format!("{base} ({count})");
            count += 1;
        }
        names.push(name);
    }
    Ok(names)
}

/// Reads the records of a file; returns its column names.
///
/// # Errors
/// [`DatasetError::Unreadable`], [`DatasetError::TooLarge`], or what `each` answers.
pub(super) fn walk(
    bytes: &[u8],
    layout: &Layout,
    each: &mut Each<'_>,
) -> Result<Vec<String>, DatasetError> {
    match layout.format {
        Format::Csv => text::walk(bytes, layout, each),
        Format::Xlsx => book::walk(bytes, layout, each),
        Format::GreenButton => meter::walk(bytes, each),
        Format::Camt053 => camt::walk(bytes, each),
        Format::Dbc => dbc::walk(bytes, each),
        Format::CompanyFacts => facts::walk(bytes, each),
        Format::File => Ok(Vec::new()),
    }
}

/// Hands out made records and stops when the receiver does.
pub(super) fn hand_out<'a, const N: usize>(
    names: [&str; N],
    rows: impl Iterator<Item = [Cow<'a, str>; N]>,
    total: usize,
    each: &mut Each<'_>,
) -> Result<Vec<String>, DatasetError> {
    for (at, row) in rows.enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
        let share = (at + 1) as f64 / total.max(1) as f64;
        let record = Record { line: at as u64 + 1, cells: Cells::Made(&row), share };
        if each(record)?.is_break() {
            break;
        }
    }
    Ok(names.map(str::to_owned).to_vec())
}
