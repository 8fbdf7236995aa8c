//! Sheets of Excel workbooks, cell by cell.

use std::borrow::Cow;
use std::io::{Cursor, Read as _};

use calamine::{DataRef, Reader as _, Xlsx};

use super::source::{Cells, Each, Layout, Record, names};
use super::{DatasetError, MAX_CELL, MAX_COLUMNS, unreadable};

/// Most bytes that a workbook may unpack to.
const MAX_UNPACKED: u64 = 512 << 20;
/// Most parts of a workbook.
const MAX_PARTS: usize = 2000;

/// Unpacks every part once and counts, so that a small archive cannot fill the memory later.
fn check_size(bytes: &[u8]) -> Result<(), DatasetError> {
    let fault = |error: zip::result::ZipError| unreadable("the workbook", error);
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(fault)?;
    if archive.len() > MAX_PARTS {
        return Err(DatasetError::TooLarge(format!(
            "the workbook has more than {MAX_PARTS} parts; save the sheet alone"
        )));
    }
    let mut left = MAX_UNPACKED;
    for part in 0..archive.len() {
        let part = archive.by_index(part).map_err(fault)?;
        let read = std::io::copy(&mut part.take(left + 1), &mut std::io::sink())
            .map_err(|error| unreadable("the workbook", error))?;
        left = left.checked_sub(read).ok_or_else(|| {
            DatasetError::TooLarge(format!(
                "the workbook unpacks to more than {} MiB; save the sheet as CSV",
                MAX_UNPACKED >> 20
            ))
        })?;
    }
    Ok(())
}

fn open(bytes: &[u8]) -> Result<Xlsx<Cursor<&[u8]>>, DatasetError> {
    check_size(bytes)?;
    Xlsx::new(Cursor::new(bytes)).map_err(|error| unreadable("the workbook", error))
}

/// Returns the names of the sheets, in order.
pub(super) fn sheets(bytes: &[u8]) -> Result<Vec<String>, DatasetError> {
    Ok(open(bytes)?.sheet_names())
}

fn text(value: &DataRef<'_>) -> String {
    match value {
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => number.to_string(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            text.clone()
        }
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(flag) => flag.to_string(),
        DataRef::DateTime(at) if at.is_datetime() && (0.0..2_958_466.0).contains(&at.as_f64()) => {
            let (year, month, day, hour, minute, second, _) = at.to_ymd_hms_milli();
            if hour == 0 && minute == 0 && second == 0 {
                format!("{year:04}-{month:02}-{day:02}")
            } else {
                format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
            }
        }
        DataRef::DateTime(at) => at.as_f64().to_string(),
        DataRef::Error(error) => error.to_string(),
        DataRef::Empty => String::new(),
    }
}

/// See [`super::source::walk`].
pub(super) fn walk(
    bytes: &[u8],
    layout: &Layout,
    each: &mut Each<'_>,
) -> Result<Vec<String>, DatasetError> {
    let mut book = open(bytes)?;
    let mut cells = book.worksheet_cells_reader(&layout.sheet).map_err(|error| {
        let sheets = sheets(bytes).unwrap_or_default().join(", ");
        DatasetError::mapping("/sheet", format!("{error}; the workbook has {sheets}"))
    })?;
    let last = cells.dimensions().end.0;
    let mut sheet = Sheet { header_line: layout.header_line, header: None, last };
    let mut row: Vec<Cow<'_, str>> = Vec::new();
    let mut at: Option<u32> = None;
    while let Some(cell) = cells.next_cell().map_err(|error| unreadable("the sheet", error))? {
        let (line, column) = cell.get_position();
        if at != Some(line) {
            if let Some(done) = at
                && sheet.row(done, &row, each)?
            {
                return Ok(sheet.header.unwrap_or_default());
            }
            row.clear();
            at = Some(line);
        }
        let column = column as usize;
        let text = text(cell.get_value());
        if column >= MAX_COLUMNS {
            if text.is_empty() {
                continue;
            }
            return Err(DatasetError::TooLarge(format!(
                "the sheet has more than {MAX_COLUMNS} columns; leave some out"
            )));
        }
        while row.len() <= column {
            row.push(Cow::Borrowed(""));
        }
        row[column] = Cow::Owned(text.chars().take(MAX_CELL).collect());
    }
    if let Some(done) = at {
        sheet.row(done, &row, each)?;
    }
    sheet.header.ok_or_else(|| {
        DatasetError::Empty(format!("the sheet `{}` has no line of names", layout.sheet))
    })
}

struct Sheet {
    header_line: u64,
    header: Option<Vec<String>>,
    last: u32,
}

impl Sheet {
    /// Takes a row in; true ⇐ the receiver has enough.
    fn row(
        &mut self,
        at: u32,
        row: &[Cow<'_, str>],
        each: &mut Each<'_>,
    ) -> Result<bool, DatasetError> {
        let line = u64::from(at) + 1;
        let Some(header) = &self.header else {
            if line >= self.header_line {
                let named = self.header_line > 0;
                self.header = Some(names(row.iter().map(|cell| if named { cell } else { "" }))?);
                if !named {
                    return self.row(at, row, each);
                }
            }
            return Ok(false);
        };
        // A sheet ends a row at its last filled cell, so a shorter row only has empty cells there.
        let mut cells = row.to_vec();
        while cells.len() < header.len() {
            cells.push(Cow::Borrowed(""));
        }
        while cells.len() > header.len() && cells.last().is_some_and(|cell| cell.is_empty()) {
            cells.pop();
        }
        let share = (f64::from(at) + 1.0) / (f64::from(self.last) + 1.0).max(1.0);
        let record = Record { line, cells: Cells::Made(&cells), share: share.min(1.0) };
        Ok(each(record)?.is_break())
    }
}

/// Tells the row of the header: the first of the first thirty that has as many filled cells as the
/// fullest of them.
pub(super) fn header_line(bytes: &[u8], sheet: &str) -> Result<u64, DatasetError> {
    let mut book = open(bytes)?;
    let mut cells =
        book.worksheet_cells_reader(sheet).map_err(|error| unreadable("the sheet", error))?;
    let mut counts: Vec<(u32, usize)> = Vec::new();
    while let Some(cell) = cells.next_cell().map_err(|error| unreadable("the sheet", error))? {
        if matches!(cell.get_value(), DataRef::Empty) {
            continue;
        }
        let (line, _) = cell.get_position();
        if let Some((_, count)) = counts.last_mut().filter(|(known, _)| *known == line) {
            *count += 1;
        } else if counts.len() >= 30 {
            break;
        } else {
            counts.push((line, 1));
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    Ok(counts.iter().find(|(_, count)| *count == most).map_or(1, |(line, _)| u64::from(*line) + 1))
}
