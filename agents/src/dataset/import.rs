//! A file under a mapping: rows in chunks, faults by line, and a report.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::chunk::{Chunk, FULL_BYTES, FULL_ROWS, Row, SHARED_ROWS, Span, encode};
use super::clock::{self, Last, Meaning, Order};
use super::infer::layout;
use super::mapping::{DecimalMark, Kind, Mapping};
use super::source::{self, Flow, Record};
use super::unit::{self, Conversion};
use super::{DatasetError, Format, MAX_BYTES, MAX_CELL, MAX_REJECTS, MAX_ROWS, value};
use crate::tool::{Table, ToolError};

/// Rows that are put in order of their sites at a time.
const BLOCK_ROWS: usize = 262_144;
/// Bytes of cells after which a block ends early.
const BLOCK_BYTES: usize = 64 << 20;
/// Records between two reports of progress.
const BEAT: u64 = 16_384;
/// Sites whose last instant is remembered.
const MAX_SITES: usize = 200_000;

/// A remark on a file or an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Stable code.
    pub code: String,
    /// What a person should know.
    pub message: String,
}

impl Note {
    /// Builds a note.
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// A cell or line that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Line of the file (row of a sheet, number of an element), from 1.
    pub line: u64,
    /// Header of the column; empty when the line as a whole is at fault.
    pub column: String,
    /// What stands there, cut after 200 characters.
    pub value: String,
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub fix: String,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Share of the file, 0 to 1.
    pub share: f64,
    /// Rows kept so far.
    pub rows: u64,
    /// Lines refused so far.
    pub refused: u64,
}

/// A column as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Unit of its values.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<String>,
}

/// What an import came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Columns of the table.
    pub columns: Vec<Stored>,
    /// Rows kept.
    pub rows: u64,
    /// Lines refused.
    pub refused: u64,
    /// Faults found in them; a line may have several.
    pub faults: u64,
    /// Different sites; 0 ⇐ the table tells none apart.
    pub sites: u64,
    /// First and last instant, microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub times: Option<(i64, i64)>,
    /// What a person should know.
    pub notes: Vec<Note>,
}

/// Receives a table while it is read.
pub trait Sink {
    /// Takes a chunk.
    ///
    /// # Errors
    /// [`DatasetError::Stopped`] ends the import.
    fn chunk(&mut self, chunk: Chunk) -> Result<(), DatasetError>;

    /// Takes a fault; the first [`MAX_REJECTS`] are handed out.
    ///
    /// # Errors
    /// [`DatasetError::Stopped`] ends the import.
    fn reject(&mut self, reject: Reject) -> Result<(), DatasetError>;

    /// Hears how far the import is.
    ///
    /// # Errors
    /// [`DatasetError::Stopped`] ends the import.
    fn progress(&mut self, _progress: Progress) -> Result<(), DatasetError> {
        Ok(())
    }
}

struct Lane {
    source: usize,
    kind: Kind,
    order: Order,
    conversion: Option<Conversion>,
}

/// Why a cell is refused, and what would be right.
struct Fault(String, String);

fn fault(reason: impl Into<String>, fix: impl Into<String>) -> Fault {
    Fault(reason.into(), fix.into())
}

#[derive(Default)]
struct Lines {
    count: u64,
    first: Vec<u64>,
}

impl Lines {
    fn see(&mut self, line: u64) {
        self.count += 1;
        if self.first.len() < 5 {
            self.first.push(line);
        }
    }

    fn told(&self) -> String {
        let lines: Vec<String> = self.first.iter().map(u64::to_string).collect();
        let more = if self.count > self.first.len() as u64 { " and others" } else { "" };
        format!("{} (lines {}{more})", self.count, lines.join(", "))
    }
}

struct Importer<'a> {
    mapping: &'a Mapping,
    lanes: Vec<Lane>,
    zone: TimeZone,
    zulu: bool,
    mark: DecimalMark,
    time: Option<usize>,
    site: Option<usize>,
    known: HashMap<String, Last>,
    block: Vec<Row>,
    block_bytes: usize,
    scratch: String,
    repeated: Lines,
    twice: Lines,
    report: Report,
    sink: &'a mut dyn Sink,
}

/// Reads a whole file under a complete mapping, as [`super::infer()`] returns it.
///
/// # Errors
/// [`DatasetError`] when there is no table; faults of lines are no error but [`Reject`]s.
pub fn import(
    bytes: &[u8],
    mapping: &Mapping,
    sink: &mut dyn Sink,
) -> Result<Report, DatasetError> {
    if bytes.len() > MAX_BYTES {
        return Err(DatasetError::TooLarge(format!("the limit of a file is {MAX_BYTES} bytes")));
    }
    mapping.check()?;
    let mut importer = Importer::new(mapping, sink)?;
    let mut seen = 0_u64;
    source::walk(bytes, &layout(mapping), &mut |record| {
        seen += 1;
        if seen > MAX_ROWS {
            return Err(DatasetError::TooLarge(format!(
                "the file has more than {MAX_ROWS} lines; upload it in parts"
            )));
        }
        importer.take(record)?;
        if seen.is_multiple_of(BEAT) {
            importer.beat(record.share)?;
        }
        Ok(Flow::Continue(()))
    })?;
    importer.finish()
}

impl<'a> Importer<'a> {
    fn new(mapping: &'a Mapping, sink: &'a mut dyn Sink) -> Result<Self, DatasetError> {
        let lanes: Vec<Lane> = mapping
            .kept()
            .map(|(source, column)| Lane {
                source,
                kind: column.kind.unwrap_or(Kind::Text),
                order: column.format.unwrap_or(Order::Ymd),
                conversion: column.to.as_deref().and_then(|to| {
                    unit::conversion(column.unit.as_deref().unwrap_or_default(), to)
                }),
            })
            .collect();
        let at = |role: &Option<String>| {
            let name = role.as_deref()?;
            mapping.kept().position(|(_, column)| column.target() == name)
        };
        let columns = mapping.kept().map(|(_, column)| Stored {
            name: column.target().to_owned(),
            kind: column.kind.unwrap_or(Kind::Text),
            unit: column.to.clone().or_else(|| column.unit.clone()),
        });
        Ok(Self {
            mapping,
            lanes,
            zone: clock::zone(mapping.timezone.as_deref())?,
            zulu: matches!(mapping.timezone.as_deref(), None | Some("UTC" | "")),
            mark: mapping.decimal.unwrap_or_default(),
            time: at(&mapping.time),
            site: at(&mapping.site),
            known: HashMap::new(),
            block: Vec::new(),
            block_bytes: 0,
            scratch: String::new(),
            repeated: Lines::default(),
            twice: Lines::default(),
            report: Report { columns: columns.collect(), ..Report::default() },
            sink,
        })
    }

    fn beat(&mut self, share: f64) -> Result<(), DatasetError> {
        let Report { rows, refused, .. } = self.report;
        self.sink.progress(Progress { share, rows, refused })
    }

    fn reject(
        &mut self,
        line: u64,
        column: &str,
        cell: &str,
        why: Fault,
    ) -> Result<(), DatasetError> {
        self.report.faults += 1;
        if self.report.faults > MAX_REJECTS as u64 {
            return Ok(());
        }
        let Fault(reason, fix) = why;
        let value = cell.replace('\0', "\u{2400}").chars().take(200).collect();
        self.sink.reject(Reject { line, column: column.to_owned(), value, reason, fix })
    }

    fn take(&mut self, record: Record<'_>) -> Result<(), DatasetError> {
        let Record { line, cells, .. } = record;
        if cells.is_blank() {
            return Ok(());
        }
        let width = self.mapping.columns.len();
        if cells.len() != width {
            self.report.refused += 1;
            let has = format!("the line has {} cells and the header {width}", cells.len());
            let fix =
                "put cells that hold the delimiter in double quotes, and give each line every cell";
            let start: Vec<&str> = (0..cells.len().min(8)).map(|at| cells.get(at)).collect();
            return self.reject(line, "", &start.join(" | "), fault(has, fix));
        }
        let mut row = Row { line, time: None, cells: Vec::with_capacity(self.lanes.len()) };
        let mut bad = false;
        // The site comes first: by it the clock knows which series a repeated hour belongs to.
        let site = self.site.map(|at| cells.get(self.lanes[at].source));
        for at in 0..self.lanes.len() {
            let source = self.lanes[at].source;
            let cell = cells.get(source);
            match self.cell(at, cell, site, &mut row) {
                Ok(text) => row.cells.push(text),
                Err(why) => {
                    bad = true;
                    let column = self.mapping.columns[source].source.clone();
                    self.reject(line, &column, cell, why)?;
                }
            }
        }
        if bad {
            self.report.refused += 1;
            return Ok(());
        }
        self.keep(row, site.unwrap_or_default())
    }

    /// Reads one cell; a time column also sets the row's instant.
    fn cell(
        &mut self,
        at: usize,
        cell: &str,
        site: Option<&str>,
        row: &mut Row,
    ) -> Result<String, Fault> {
        let lane = &self.lanes[at];
        let is_time = self.time == Some(at);
        if cell.is_empty() {
            return if is_time {
                Err(fault("the time is missing", "every row of this table needs a time"))
            } else {
                Ok(String::new())
            };
        }
        check_text(cell)?;
        match lane.kind {
            Kind::Text => Ok(cell.to_owned()),
            Kind::Boolean => value::boolean(cell)
                .map(str::to_owned)
                .ok_or_else(|| fault("this is neither true nor false", "write true or false")),
            Kind::Integer | Kind::Decimal => self.number(at, cell),
            Kind::Date | Kind::Time => self.moment(at, cell, is_time, site, row),
        }
    }

    fn number(&mut self, at: usize, cell: &str) -> Result<String, Fault> {
        let (kind, conversion) = (self.lanes[at].kind, self.lanes[at].conversion);
        let read = value::number(cell, self.mark, &mut self.scratch);
        read.ok_or_else(|| {
            let example = match self.mark {
                DecimalMark::Point => "1234.5",
                DecimalMark::Comma => "1234,5",
            };
            fault(
                "this is no number",
                format!("write a number such as {example}, or leave the cell empty"),
            )
        })?;
        if kind == Kind::Integer && !value::whole(&mut self.scratch) {
            return Err(fault(
                "this is no whole number",
                "write a whole number, or map the column as decimal",
            ));
        }
        let Some(conversion) = conversion else { return Ok(self.scratch.clone()) };
        let converted = self.scratch.parse::<Decimal>().ok().and_then(|v| conversion.apply(v));
        converted.map(|value| value.to_string()).ok_or_else(|| {
            fault("this number is too large to be converted", "write it with fewer digits")
        })
    }

    fn moment(
        &mut self,
        at: usize,
        cell: &str,
        is_time: bool,
        site: Option<&str>,
        row: &mut Row,
    ) -> Result<String, Fault> {
        let (kind, order) = (self.lanes[at].kind, self.lanes[at].order);
        let moment = clock::moment(cell, order).ok_or_else(|| {
            let what = if kind == Kind::Date { "date" } else { "date and time" };
            fault(
                format!("this is no {what} in the order that the column is mapped to"),
                format!("write it as {} ({})", order.example(), order.name()),
            )
        })?;
        let mut text = String::with_capacity(25);
        if kind == Kind::Date {
            clock::day(&mut text, moment.at.date());
            if is_time {
                let start = moment.at.date().to_datetime(jiff::civil::Time::midnight());
                let zoned = self.zone.to_ambiguous_timestamp(start).compatible();
                row.time = zoned.ok().map(Timestamp::as_microsecond);
            }
            return Ok(text);
        }
        let (offset, zulu) = match moment.offset {
            Some(offset) => (offset, moment.zulu),
            None => (self.offset(moment.at, is_time, site, row.line)?, self.zulu),
        };
        clock::write(&mut text, moment.at, offset, zulu);
        let instant = offset
            .to_timestamp(moment.at)
            .map_err(|_| fault("this time is out of range", "write a year from 1 to 9999"))?;
        if is_time {
            row.time = Some(instant.as_microsecond());
        }
        Ok(text)
    }

    /// Finds the offset of a local time.
    fn offset(
        &mut self,
        at: jiff::civil::DateTime,
        is_time: bool,
        site: Option<&str>,
        line: u64,
    ) -> Result<Offset, Fault> {
        if self.zulu {
            return Ok(Offset::UTC);
        }
        let last = if is_time {
            self.known.get(site.unwrap_or_default()).copied().unwrap_or_default()
        } else {
            Last::default()
        };
        match last.place(at, &self.zone) {
            Meaning::One(offset) => Ok(offset),
            Meaning::Chosen(offset) => {
                self.repeated.see(line);
                Ok(offset)
            }
            Meaning::None => {
                let zone = self.mapping.timezone.as_deref().unwrap_or("UTC");
                Err(fault(
                    format!("clocks in {zone} skipped this time when daylight saving began"),
                    "write the offset, such as +02:00, or map the time zone that the meter keeps",
                ))
            }
        }
    }

    fn keep(&mut self, row: Row, site: &str) -> Result<(), DatasetError> {
        if let Some(time) = row.time {
            let (first, last) = self.report.times.get_or_insert((time, time));
            (*first, *last) = ((*first).min(time), (*last).max(time));
        }
        if self.site.is_some() || self.time.is_some() {
            if !self.known.contains_key(site) {
                if self.known.len() >= MAX_SITES {
                    self.known.clear();
                }
                self.report.sites += u64::from(self.site.is_some());
                self.known.insert(site.to_owned(), Last::default());
            }
            if let (Some(last), Some(time)) = (self.known.get_mut(site), row.time)
                && let Ok(at) = Timestamp::from_microsecond(time)
                && last.see(at)
            {
                self.twice.see(row.line);
            }
        }
        self.report.rows += 1;
        self.block_bytes += row.cells.iter().map(|cell| cell.len() + 24).sum::<usize>();
        self.block.push(row);
        if self.block.len() >= BLOCK_ROWS || self.block_bytes >= BLOCK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Puts the block in order of its sites and hands it out in chunks.
    fn flush(&mut self) -> Result<(), DatasetError> {
        let mut block = std::mem::take(&mut self.block);
        self.block_bytes = 0;
        let site = self.site;
        if let Some(at) = site {
            // Stable: the rows of a site stay in order of the file.
            block.sort_by(|a, b| a.cells[at].cmp(&b.cells[at]));
        }
        let (mut from, mut bytes) = (0, 0);
        for to in 1..=block.len() {
            bytes += block[to - 1].cells.iter().map(String::len).sum::<usize>();
            let count = to - from;
            let next_site = site.is_some_and(|at| {
                block.get(to).is_some_and(|next| next.cells[at] != block[to - 1].cells[at])
            });
            let full = count >= FULL_ROWS || bytes >= FULL_BYTES;
            if to == block.len() || full || (next_site && count >= SHARED_ROWS) {
                let rows = &block[from..to];
                let sites = site.and_then(|at| {
                    Some((rows.first()?.cells[at].clone(), rows.last()?.cells[at].clone()))
                });
                let instants = || rows.iter().filter_map(|row| row.time);
                let times = instants().min().zip(instants().max());
                self.sink.chunk(Chunk {
                    rows: u32::try_from(count).unwrap_or(u32::MAX),
                    span: Span { sites, times },
                    body: encode(rows, self.lanes.len()),
                })?;
                (from, bytes) = (to, 0);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Report, DatasetError> {
        self.flush()?;
        self.beat(1.0)?;
        let table = matches!(self.mapping.format, Some(Format::Csv | Format::Xlsx));
        if table && self.report.rows == 0 {
            return Err(DatasetError::Empty(match self.report.refused {
                0 => "the file has a header and no line after it".to_owned(),
                1 => "the only line was refused; see the report of a preview".to_owned(),
                all => format!("all {all} lines were refused; see the report of a preview"),
            }));
        }
        let zone = self.mapping.timezone.as_deref().unwrap_or("UTC");
        if self.repeated.count > 0 {
            self.report.notes.push(Note::new(
                "repeated_hour",
                format!("Local times that happened twice in {zone} were told apart by the order of the lines: {}.",
                    self.repeated.told()),
            ));
        }
        if self.twice.count > 0 {
            self.report.notes.push(Note::new(
                "same_time_twice",
                format!("Rows with the same time as the row before them: {}.", self.twice.told()),
            ));
        }
        if self.report.faults > MAX_REJECTS as u64 {
            self.report.notes.push(Note::new(
                "rejects_cut",
                format!(
                    "{} faults were found; the first {MAX_REJECTS} are listed.",
                    self.report.faults
                ),
            ));
        }
        Ok(self.report)
    }
}

fn check_text(cell: &str) -> Result<(), Fault> {
    if cell.len() > MAX_CELL {
        return Err(fault(
            format!("the cell has {} bytes; the limit is {MAX_CELL}", cell.len()),
            "close the quote that opens here, or shorten the cell",
        ));
    }
    if cell.contains('\u{fffd}') {
        return Err(fault(
            "the cell holds bytes that are no characters of the file's encoding",
            "save the file as UTF-8, or map its encoding",
        ));
    }
    if cell.contains('\0') {
        return Err(fault("the cell holds the character U+0000", "leave it out"));
    }
    Ok(())
}

/// Keeps a whole table in memory.
#[derive(Default)]
struct InMemory(Vec<Row>);

impl Sink for InMemory {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), DatasetError> {
        let rows =
            super::decode(&chunk.body).map_err(|why| DatasetError::Stopped(why.to_owned()))?;
        self.0.extend(rows);
        Ok(())
    }

    fn reject(&mut self, _: Reject) -> Result<(), DatasetError> {
        Ok(())
    }
}

/// Reads a file as a table in memory, by its inferred mapping, rows in order of the file.
///
/// # Errors
/// [`ToolError::InvalidInput`] when the file is no table.
pub fn import_table(bytes: &[u8], name: &str, zone: &str) -> Result<(Table, Mapping), ToolError> {
    let bad = |error: DatasetError| ToolError::invalid("/dataset", format!("{name}: {error}"));
    let mapping = super::infer(bytes, name, &Mapping::default(), zone).map_err(bad)?.mapping;
    if mapping.format == Some(Format::File) {
        return Err(ToolError::invalid("/dataset", format!("{name} is a file and not a table")));
    }
    let mut sink = InMemory::default();
    let report = import(bytes, &mapping, &mut sink).map_err(bad)?;
    let mut rows = sink.0;
    rows.sort_by_key(|row| row.line);
    let columns = report.columns.into_iter().map(|column| column.name).collect();
    let rows = rows.into_iter().map(|row| row.cells).collect();
    Ok((Table { columns, rows, source: name.into() }, mapping))
}
