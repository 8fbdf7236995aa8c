//! What a file most likely is: a complete mapping for a person to confirm.

use serde::Serialize;

use super::clock::{self, Order};
use super::format::Format;
use super::import::Note;
use super::mapping::{Column, DecimalMark, Kind, Mapping};
use super::name::{self, Named};
use super::source::{self, Encoding, Flow, Layout};
use super::{DatasetError, MAX_BYTES, book, text, value};
use crate::tool::Table;

/// Records that types are told from.
const SAMPLE: usize = 5000;
/// Lines shown beside a mapping.
const SHOWN: usize = 8;

/// What is seen of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Header in the file.
    pub source: String,
    /// First values that differ.
    pub examples: Vec<String>,
    /// Empty cells among the lines looked at.
    pub empty: usize,
}

/// A proposed mapping and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inference {
    /// The mapping, complete.
    pub mapping: Mapping,
    /// What was seen of each column.
    pub columns: Vec<Profile>,
    /// First lines as they stand in the file.
    pub sample: Vec<Vec<String>>,
    /// Lines looked at.
    pub looked_at: usize,
    /// What a person should look at.
    pub notes: Vec<Note>,
    /// Sheets of a workbook.
    pub sheets: Vec<String>,
}

#[derive(Debug, Default)]
struct Tally {
    filled: usize,
    empty: usize,
    whole: usize,
    point: usize,
    comma: usize,
    point_only: usize,
    comma_only: usize,
    zeros: usize,
    booleans: usize,
    orders: [usize; 3],
    times: usize,
    seconds: usize,
    millis: usize,
    serials: usize,
    examples: Vec<String>,
}

impl Tally {
    fn see(&mut self, cell: &str, scratch: &mut String) {
        if cell.is_empty() {
            self.empty += 1;
            return;
        }
        self.filled += 1;
        if self.examples.len() < 3 && !self.examples.iter().any(|known| known == cell) {
            self.examples.push(cell.chars().take(60).collect());
        }
        let point = value::number(cell, DecimalMark::Point, scratch).is_some();
        if point {
            self.point += 1;
            if value::whole(scratch) {
                self.whole += 1;
                self.seconds += usize::from(cell.len() == 10 && cell.starts_with('1'));
                self.millis += usize::from(cell.len() == 13 && cell.starts_with('1'));
            }
            let serial = scratch.parse().is_ok_and(|day: f64| (20_000.0..80_000.0).contains(&day));
            self.serials += usize::from(serial);
            let digits = cell.trim_start_matches('-');
            self.zeros += usize::from(
                digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0."),
            );
        }
        let comma = value::number(cell, DecimalMark::Comma, scratch).is_some();
        self.comma += usize::from(comma);
        self.point_only += usize::from(point && !comma);
        self.comma_only += usize::from(comma && !point);
        self.booleans += usize::from(matches!(
            cell.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no"
        ));
        for (slot, order) in self.orders.iter_mut().zip(Order::ALL) {
            if let Some(moment) = clock::moment(cell, order) {
                *slot += 1;
                if order == Order::Ymd || !begins_with_year(cell) {
                    self.times += usize::from(moment.has_time);
                }
            }
        }
    }

    /// Whether nearly all filled cells are so; a few may be faults, which the import then refuses.
    fn most(&self, count: usize) -> bool {
        self.filled > 0 && count * 10 >= self.filled * 9
    }

    fn kind(
        &self,
        named: &Named,
        mark: DecimalMark,
        american: bool,
    ) -> (Kind, Option<Order>, bool) {
        let timely = is_timely(&named.name);
        if self.most(self.booleans) {
            return (Kind::Boolean, None, false);
        }
        let [ymd, dmy, mdy] = self.orders;
        let best = ymd.max(dmy).max(mdy);
        // Eight digits are a date only where the header says so.
        let digits_only = self.most(self.whole) && self.examples.iter().all(|e| e.len() == 8);
        if self.most(best) && (timely || !digits_only) {
            let unsure = best == dmy && dmy == mdy && ymd < dmy;
            let order = if best == ymd {
                Order::Ymd
            } else if (unsure && american) || mdy > dmy {
                Order::Mdy
            } else {
                Order::Dmy
            };
            let kind = if self.times > 0 { Kind::Time } else { Kind::Date };
            return (kind, Some(order), unsure);
        }
        if timely && !self.most(self.zeros) {
            for (count, order) in [
                (self.seconds, Order::EpochS),
                (self.millis, Order::EpochMs),
                (self.serials, Order::Excel),
            ] {
                if self.most(count) {
                    return (Kind::Time, Some(order), false);
                }
            }
        }
        let numbers = if mark == DecimalMark::Point { self.point } else { self.comma };
        if self.zeros > 0 || is_label(&named.name) || !self.most(numbers) {
            (Kind::Text, None, false)
        } else if self.whole == self.filled && self.comma_only == 0 {
            (Kind::Integer, None, false)
        } else {
            (Kind::Decimal, None, false)
        }
    }
}

/// Whether a date begins with its year, and so was counted already.
fn begins_with_year(cell: &str) -> bool {
    cell.bytes().take(4).filter(u8::is_ascii_digit).count() == 4
}

fn is_timely(name: &str) -> bool {
    Table::TIME_NAMES.contains(&name)
        || ["_at", "_time", "_date", "_on", "datetime"].iter().any(|end| name.ends_with(end))
}

/// Names of columns whose digits are a label and not a quantity.
fn is_label(name: &str) -> bool {
    const LABELS: [&str; 10] =
        ["id", "reference", "name", "code", "phone", "account", "iban", "zip", "note", "vin"];
    LABELS.iter().any(|label| name == *label || name.ends_with(&format!("_{label}")))
        || name.ends_with("_number")
}

/// Types of the formats whose columns are known.
fn fixed(format: Format, name: &str) -> Option<Kind> {
    let kind = match (format, name) {
        (Format::GreenButton, "start") => Kind::Time,
        (Format::GreenButton, _) => Kind::Decimal,
        (Format::Camt053, "date" | "value_date") => Kind::Date,
        (Format::Camt053, "amount") => Kind::Decimal,
        (Format::Dbc, "start_bit" | "length") => Kind::Integer,
        (Format::Dbc, "factor" | "offset") => Kind::Decimal,
        (Format::Dbc, "signed") => Kind::Boolean,
        (Format::CompanyFacts, "start" | "end" | "filed") => Kind::Date,
        (Format::CompanyFacts, "value") => Kind::Decimal,
        (Format::CompanyFacts, "fiscal_year") => Kind::Integer,
        (Format::Camt053 | Format::Dbc | Format::CompanyFacts, _) => Kind::Text,
        _ => return None,
    };
    Some(kind)
}

/// Builds the layout of a complete mapping.
pub(super) fn layout(mapping: &Mapping) -> Layout {
    Layout {
        format: mapping.format.unwrap_or(Format::File),
        encoding: mapping.encoding.unwrap_or(Encoding::Utf8),
        delimiter: mapping.delimiter.and_then(|sign| u8::try_from(sign).ok()).unwrap_or(b','),
        header_line: mapping.header_line.unwrap_or(1),
        sheet: mapping.sheet.clone().unwrap_or_default(),
    }
}

/// Settles what has to be known before a file can be taken apart.
fn outline(
    bytes: &[u8],
    file_name: &str,
    wish: &Mapping,
    notes: &mut Vec<Note>,
) -> Result<(Mapping, Vec<String>), DatasetError> {
    let format = wish.format.unwrap_or_else(|| Format::of(bytes, file_name));
    let mut mapping = Mapping { format: Some(format), ..Mapping::default() };
    let mut sheets = Vec::new();
    match format {
        Format::Csv => {
            let encoding = wish.encoding.unwrap_or_else(|| text::encoding(bytes));
            if wish.encoding.is_none() && !matches!(encoding, Encoding::Utf8 | Encoding::Utf16) {
                notes.push(Note::new(
                    "encoding_guessed",
                    format!(
                        "The text is not UTF-8; it is read as {}. Look at the sample.",
                        encoding.name()
                    ),
                ));
            }
            let decoded = text::decode(bytes, encoding);
            let delimiter = match wish.delimiter {
                Some(sign @ (',' | ';' | '\t' | '|')) => sign,
                Some(sign) => {
                    return Err(DatasetError::mapping(
                        "/delimiter",
                        format!("`{sign}` parts no cells; use one of `,` `;` `|` or a tab"),
                    ));
                }
                None => char::from(text::delimiter(&decoded)),
            };
            let sign = u8::try_from(delimiter).unwrap_or(b',');
            let header = wish.header_line.unwrap_or_else(|| text::header_line(&decoded, sign));
            if header == 0 && wish.header_line.is_none() {
                notes.push(Note::new(
                    "no_header",
                    "The first line holds values, so the columns are numbered. Name them.",
                ));
            }
            mapping.encoding = Some(encoding);
            mapping.delimiter = Some(delimiter);
            mapping.header_line = Some(header);
        }
        Format::Xlsx => {
            sheets = book::sheets(bytes)?;
            let sheet = wish.sheet.clone().or_else(|| sheets.first().cloned()).unwrap_or_default();
            mapping.header_line = Some(match wish.header_line {
                Some(line) => line,
                None => book::header_line(bytes, &sheet)?,
            });
            mapping.sheet = Some(sheet);
        }
        _ => {}
    }
    Ok((mapping, sheets))
}

/// Looks at a file and proposes how to read it. What `wish` says is kept; times without an offset
/// are read in `zone` where `wish` names none.
///
/// # Errors
/// [`DatasetError::TooLarge`], [`DatasetError::Unreadable`], and [`DatasetError::Mapping`] when
/// `wish` does not fit the file.
pub fn infer(
    bytes: &[u8],
    file_name: &str,
    wish: &Mapping,
    zone: &str,
) -> Result<Inference, DatasetError> {
    if bytes.len() > MAX_BYTES {
        return Err(DatasetError::TooLarge(format!(
            "the file has {} bytes; the limit is {MAX_BYTES}",
            bytes.len()
        )));
    }
    if bytes.is_empty() {
        return Err(DatasetError::Empty("the file is empty".to_owned()));
    }
    let mut notes = Vec::new();
    let (mut mapping, sheets) = outline(bytes, file_name, wish, &mut notes)?;
    let mut tallies: Vec<Tally> = Vec::new();
    let mut sample: Vec<Vec<String>> = Vec::new();
    let (mut looked_at, mut scratch) = (0, String::new());
    let sources = source::walk(bytes, &layout(&mapping), &mut |record| {
        let cells = record.cells;
        if cells.is_blank() {
            return Ok(Flow::Continue(()));
        }
        if tallies.is_empty() {
            tallies.resize_with(cells.len(), Tally::default);
        }
        if sample.len() < SHOWN {
            sample.push(
                (0..cells.len()).map(|at| cells.get(at).chars().take(80).collect()).collect(),
            );
        }
        for (at, tally) in tallies.iter_mut().enumerate().take(cells.len()) {
            tally.see(cells.get(at), &mut scratch);
        }
        looked_at += 1;
        Ok(if looked_at < SAMPLE { Flow::Continue(()) } else { Flow::Break(()) })
    })?;
    tallies.resize_with(sources.len(), Tally::default);
    mapping.timezone = Some(if zone.is_empty() { "UTC" } else { zone }.to_owned());
    propose(&mut mapping, &sources, &tallies, wish, &mut notes);
    mapping.overlay(wish)?;
    mapping.check()?;
    advise(&mapping, &mut notes);
    let columns = sources.into_iter().zip(tallies).map(|(source, tally)| Profile {
        source,
        examples: tally.examples,
        empty: tally.empty,
    });
    Ok(Inference { mapping, columns: columns.collect(), sample, looked_at, notes, sheets })
}

fn propose(
    mapping: &mut Mapping,
    sources: &[String],
    tallies: &[Tally],
    wish: &Mapping,
    notes: &mut Vec<Note>,
) {
    let format = mapping.format.unwrap_or(Format::File);
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
    let commas = sum(|tally| tally.comma_only) > sum(|tally| tally.point_only);
    let mark = wish.decimal.unwrap_or(if format == Format::Csv && commas {
        DecimalMark::Comma
    } else {
        DecimalMark::Point
    });
    mapping.decimal = matches!(format, Format::Csv | Format::Xlsx).then_some(mark);
    let zone = wish.timezone.as_deref().or(mapping.timezone.as_deref()).unwrap_or_default();
    let american = zone.starts_with("America/") || zone.starts_with("US/");
    let mut taken: Vec<String> = Vec::new();
    for (source, tally) in sources.iter().zip(tallies) {
        let mut named = match fixed(format, source) {
            Some(_) => Named { name: source.clone(), unit: None, to: None },
            None => name::of(source),
        };
        if format == Format::GreenButton {
            named.unit = name::of(source).unit;
        }
        if taken.contains(&named.name) {
            // The second of two is not the one that tools look for.
            named = Named { name: source.clone(), unit: named.unit, to: None };
        }
        taken.push(named.name.clone());
        let (kind, order, unsure) = match fixed(format, source) {
            Some(kind) => {
                let order = matches!(kind, Kind::Date | Kind::Time).then_some(Order::Ymd);
                (kind, order, false)
            }
            None => tally.kind(&named, mark, american),
        };
        if unsure {
            notes.push(Note::new(
                "date_order",
                format!(
                    "`{source}` may be day or month first; it is read as {}. Confirm it.",
                    order.map_or("", Order::name)
                ),
            ));
        }
        let number = matches!(kind, Kind::Integer | Kind::Decimal);
        // A converted whole number seldom stays whole.
        let kind = if named.to.is_some() && number { Kind::Decimal } else { kind };
        mapping.columns.push(Column {
            source: source.clone(),
            name: Some(named.name),
            kind: Some(kind),
            unit: named.unit.filter(|_| number),
            to: named.to.filter(|_| number),
            format: order,
            skip: false,
        });
    }
    let is = |name: &str, kinds: &[Kind]| {
        mapping.columns.iter().any(|column| {
            column.target() == name && column.kind.is_some_and(|kind| kinds.contains(&kind))
        })
    };
    let timed = [Kind::Time, Kind::Date];
    mapping.time = match format {
        Format::CompanyFacts => Some("end".to_owned()),
        _ => Table::TIME_NAMES.iter().find(|name| is(name, &timed)).map(|name| (*name).to_owned()),
    };
    mapping.site = is("site_id", &Kind::ALL).then(|| "site_id".to_owned());
}

/// Says what a person should look at before the import.
fn advise(mapping: &Mapping, notes: &mut Vec<Note>) {
    if matches!(mapping.format, Some(Format::Csv | Format::Xlsx)) {
        if mapping.time.is_none() && mapping.kept().any(|(_, c)| c.kind == Some(Kind::Time)) {
            notes.push(Note::new(
                "no_time_column",
                "No column is the time column, so a time window leaves every row in. Choose one.",
            ));
        }
        for (_, column) in mapping.kept() {
            let name = column.target();
            let wants =
                ["usage", "energy", "consumption", "load", "power", "demand"].contains(&name);
            if wants && column.unit.is_none() {
                notes.push(Note::new(
                    "unit_missing",
                    format!(
                        "`{}` has no unit. Say whether it is kWh, Wh, kW or MW.",
                        column.source
                    ),
                ));
            }
        }
    }
    if mapping.format == Some(Format::File) {
        notes.push(Note::new(
            "kept_as_file",
            "The file is kept as it is for the tools that read it; it has no rows.",
        ));
    }
}
