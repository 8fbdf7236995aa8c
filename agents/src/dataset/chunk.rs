//! Rows in compressed columns: a few thousand rows of neighbouring sites and times in one piece.
//!
//! Every cell comes back exactly as it went in. A column is written in the first way that holds all
//! its cells: one value, instants as differences, numbers as differences, words by number, text.
//! Small differences repeat, and repetition is what the block compressor behind it removes.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::clock;

/// First bytes of a chunk; the last one is the edition of the layout.
const MAGIC: [u8; 4] = *b"TDC1";
/// Rows after which a chunk is full.
pub(super) const FULL_ROWS: usize = 4096;
/// Rows after which a chunk ends at the next site.
pub(super) const SHARED_ROWS: usize = 1024;
/// Bytes of cells after which a chunk is full.
pub(super) const FULL_BYTES: usize = 4 << 20;
/// Most bytes that a chunk may unpack to.
const MAX_UNPACKED: u64 = 256 << 20;

const SAME: u8 = 0;
const TIMES: u8 = 1;
const NUMBERS: u8 = 2;
const WORDS: u8 = 3;
const TEXT: u8 = 4;

/// Scale that stands for an empty cell.
const EMPTY: u8 = 255;
/// Offsets that stand for `Z` and for an empty cell; real ones are within a day and a bit.
const ZULU: i64 = 10_000;
const NO_TIME: i64 = 10_001;

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Line of the file that it came from.
    pub line: u64,
    /// Its instant, microseconds since 1970, where the table has a time column.
    pub time: Option<i64>,
    /// Its cells.
    pub cells: Vec<String>,
}

/// The sites and times that a chunk holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// First and last site by bytes; `None` ⇐ the table tells no sites apart.
    pub sites: Option<(String, String)>,
    /// First and last instant, microseconds since 1970; `None` ⇐ the table has no time column.
    pub times: Option<(i64, i64)>,
}

/// A piece of a table, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Rows in it.
    pub rows: u32,
    /// What it holds.
    pub span: Span,
    /// The compressed columns.
    pub body: Vec<u8>,
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 128")]
    out.push(number as u8);
}

#[expect(clippy::cast_sign_loss, reason = "zigzag: the sign becomes the lowest bit")]
fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Packs rows of `width` cells each.
pub(super) fn encode(rows: &[Row], width: usize) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    put(&mut out, rows.len() as u64);
    put(&mut out, width as u64);
    let mut last = 0;
    for row in rows {
        #[expect(clippy::cast_possible_wrap, reason = "a line number is below 2^63")]
        let line = row.line as i64;
        put_signed(&mut out, line.wrapping_sub(last));
        last = line;
    }
    let (mut last, mut step) = (0_i64, 0_i64);
    for row in rows {
        out.push(u8::from(row.time.is_some()));
        if let Some(time) = row.time {
            let next = time.wrapping_sub(last);
            put_signed(&mut out, next.wrapping_sub(step));
            (last, step) = (time, next);
        }
    }
    for at in 0..width {
        column(&mut out, rows, at);
    }
    pack(&out)
}

fn column(out: &mut Vec<u8>, rows: &[Row], at: usize) {
    let cells = || rows.iter().map(|row| row.cells[at].as_str());
    let first = cells().next().unwrap_or_default();
    if cells().all(|cell| cell == first) {
        out.push(SAME);
        put_text(out, first);
    } else if let Some(packed) = times(cells()) {
        out.push(TIMES);
        out.extend(packed);
    } else if let Some(packed) = numbers(cells()) {
        out.push(NUMBERS);
        out.extend(packed);
    } else if let Some(packed) = words(cells(), rows.len()) {
        out.push(WORDS);
        out.extend(packed);
    } else {
        out.push(TEXT);
        for cell in cells() {
            put(out, cell.len() as u64);
        }
        for cell in cells() {
            out.extend_from_slice(cell.as_bytes());
        }
    }
}

/// Reads `2026-03-05T01:02:03+08:00` or `…Z`, and nothing else: local time, offset in minutes.
fn instant(text: &str) -> Option<(DateTime, Offset, i64)> {
    let bytes = text.as_bytes();
    let digits = |from: usize, count: usize| {
        bytes.get(from..from + count)?.iter().try_fold(0_i64, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
        })
    };
    let is = |at: usize, sign: u8| bytes.get(at) == Some(&sign);
    if !(is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':')) {
        return None;
    }
    let small = |from: usize| i8::try_from(digits(from, 2)?).ok();
    let at = DateTime::new(
        i16::try_from(digits(0, 4)?).ok()?,
        small(5)?,
        small(8)?,
        small(11)?,
        small(14)?,
        small(17)?,
        0,
    )
    .ok()?;
    // A leap second is not kept as one.
    if digits(17, 2)? > 59 {
        return None;
    }
    match (bytes.len(), bytes.get(19)) {
        (20, Some(b'Z')) => Some((at, Offset::UTC, ZULU)),
        (25, Some(sign @ (b'+' | b'-'))) if is(22, b':') => {
            let (hours, minutes) = (digits(20, 2)?, digits(23, 2)?);
            let all = hours * 60 + minutes;
            if minutes > 59 || hours > 25 || (*sign == b'-' && all == 0) {
                return None;
            }
            let all = if *sign == b'-' { -all } else { all };
            Some((at, Offset::from_seconds(i32::try_from(all * 60).ok()?).ok()?, all))
        }
        _ => None,
    }
}

fn times<'a>(cells: impl Iterator<Item = &'a str>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut last, mut step) = (0, 0);
    for cell in cells {
        if cell.is_empty() {
            put_signed(&mut out, NO_TIME);
            continue;
        }
        let (at, offset, written) = instant(cell)?;
        let second = offset.to_timestamp(at).ok()?.as_second();
        let next = second - last;
        put_signed(&mut out, written);
        put_signed(&mut out, next - step);
        (last, step) = (second, next);
    }
    Some(out)
}

/// Parts a plain number into its digits and its scale; `None` ⇐ it would be written another way.
fn plain(text: &str) -> Option<(i64, u8)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let zero_led = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || zero_led || (digits.contains('.') && fraction.is_empty()) {
        return None;
    }
    if whole.len() + fraction.len() > 18 {
        return None;
    }
    let mut number = 0_i64;
    for byte in whole.bytes().chain(fraction.bytes()) {
        number = number * 10 + i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    if text.starts_with('-') {
        if number == 0 {
            return None;
        }
        number = -number;
    }
    Some((number, u8::try_from(fraction.len()).ok()?))
}

fn numbers<'a>(cells: impl Iterator<Item = &'a str>) -> Option<Vec<u8>> {
    let (mut scales, mut out) = (Vec::new(), Vec::new());
    let mut last = 0_i64;
    for cell in cells {
        if cell.is_empty() {
            scales.push(EMPTY);
            continue;
        }
        let (number, scale) = plain(cell)?;
        scales.push(scale);
        put_signed(&mut out, number.wrapping_sub(last));
        last = number;
    }
    scales.extend(out);
    Some(scales)
}

fn words<'a>(cells: impl Iterator<Item = &'a str>, rows: usize) -> Option<Vec<u8>> {
    let mut known: HashMap<&str, u64> = HashMap::new();
    let (mut list, mut indices, mut count) = (Vec::new(), Vec::new(), 0_u64);
    for cell in cells {
        let index = *known.entry(cell).or_insert_with(|| {
            put_text(&mut list, cell);
            count += 1;
            count - 1
        });
        if count as usize * 2 > rows {
            return None;
        }
        put(&mut indices, index);
    }
    let mut out = Vec::new();
    put(&mut out, count);
    out.extend(list);
    out.extend(indices);
    Some(out)
}

/// Compresses a part of a file.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail; if it ever did, the bytes would not unpack and say so.
    drop(encoder.write_all(bytes));
    encoder.finish().unwrap_or_default()
}

/// Returns what [`pack`] was given.
///
/// # Errors
/// What is wrong with the bytes.
pub fn unpack(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    // One byte above the limit tells a bomb from a piece of exactly that size.
    let read = DeflateDecoder::new(body).take(MAX_UNPACKED + 1).read_to_end(&mut bytes);
    match read {
        Ok(count) if count as u64 <= MAX_UNPACKED => Ok(bytes),
        Ok(_) => Err("it unpacks to too much"),
        Err(_) => Err("it does not unpack"),
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.0.split_first().ok_or("it ends early")?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is too long")
    }

    #[expect(clippy::cast_possible_wrap, reason = "zigzag: the lowest bit becomes the sign")]
    fn signed(&mut self) -> Result<i64, &'static str> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (part, rest) = self.0.split_at_checked(count).ok_or("it ends early")?;
        self.0 = rest;
        Ok(part)
    }

    fn length(&mut self) -> Result<usize, &'static str> {
        usize::try_from(self.number()?).map_err(|_| "a length is too large")
    }

    fn text(&mut self, length: usize) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8")
    }
}

/// Unpacks a chunk.
///
/// # Errors
/// What is wrong with the bytes; they are never trusted.
pub fn decode(body: &[u8]) -> Result<Vec<Row>, &'static str> {
    let unpacked = unpack(body)?;
    let mut bytes = Bytes(&unpacked);
    if bytes.take(MAGIC.len())? != MAGIC {
        return Err("it is no chunk of this edition");
    }
    let (count, width) = (bytes.length()?, bytes.length()?);
    // Every row takes at least a byte for its line and one for its time.
    if count > bytes.0.len() / 2 || width > bytes.0.len() {
        return Err("its counts are wrong");
    }
    let mut rows = Vec::with_capacity(count);
    let mut last = 0_i64;
    for _ in 0..count {
        last = last.wrapping_add(bytes.signed()?);
        #[expect(clippy::cast_sign_loss, reason = "a line number is below 2^63")]
        rows.push(Row { line: last as u64, time: None, cells: Vec::with_capacity(width) });
    }
    let (mut last, mut step) = (0_i64, 0_i64);
    for row in &mut rows {
        if bytes.byte()? != 0 {
            step = step.wrapping_add(bytes.signed()?);
            last = last.wrapping_add(step);
            row.time = Some(last);
        }
    }
    for _ in 0..width {
        read_column(&mut bytes, &mut rows)?;
    }
    Ok(rows)
}

fn read_column(bytes: &mut Bytes<'_>, rows: &mut [Row]) -> Result<(), &'static str> {
    match bytes.byte()? {
        SAME => {
            let length = bytes.length()?;
            let text = bytes.text(length)?;
            rows.iter_mut().for_each(|row| row.cells.push(text.to_owned()));
        }
        TIMES => {
            let (mut last, mut step) = (0_i64, 0_i64);
            for row in rows {
                let written = bytes.signed()?;
                let mut text = String::new();
                if written != NO_TIME {
                    step = step.wrapping_add(bytes.signed()?);
                    last = last.wrapping_add(step);
                    let at = Timestamp::from_second(last).map_err(|_| "a time is out of range")?;
                    let zulu = written == ZULU;
                    let seconds = if zulu { 0 } else { written.saturating_mul(60) };
                    let offset =
                        i32::try_from(seconds).ok().and_then(|s| Offset::from_seconds(s).ok());
                    let offset = offset.ok_or("an offset is out of range")?;
                    text.reserve_exact(25);
                    clock::write(&mut text, offset.to_datetime(at), offset, zulu);
                }
                row.cells.push(text);
            }
        }
        NUMBERS => {
            let scales = bytes.take(rows.len())?;
            let mut last = 0_i64;
            for (row, scale) in rows.iter_mut().zip(scales) {
                let mut text = String::new();
                if *scale != EMPTY {
                    last = last.wrapping_add(bytes.signed()?);
                    text = written(last, usize::from(*scale));
                }
                row.cells.push(text);
            }
        }
        WORDS => {
            let count = bytes.length()?;
            if count > bytes.0.len() {
                return Err("its words are too many");
            }
            let mut words = Vec::with_capacity(count);
            for _ in 0..count {
                let length = bytes.length()?;
                words.push(bytes.text(length)?);
            }
            for row in rows {
                let word = words.get(bytes.length()?).ok_or("a word is absent")?;
                row.cells.push((*word).to_owned());
            }
        }
        TEXT => {
            let lengths: Vec<usize> =
                rows.iter().map(|_| bytes.length()).collect::<Result<_, _>>()?;
            for (row, length) in rows.iter_mut().zip(lengths) {
                row.cells.push(bytes.text(length)?.to_owned());
            }
        }
        _ => return Err("a column is of an unknown kind"),
    }
    Ok(())
}

/// Writes a number with `scale` digits after the point.
fn written(number: i64, scale: usize) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + scale + 3);
    if number < 0 {
        text.push('-');
    }
    if digits.len() <= scale {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', scale - digits.len()));
        text.push_str(&digits);
    } else {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        text.push_str(whole);
        if scale > 0 {
            text.push('.');
            text.push_str(fraction);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(columns: &[Vec<String>]) -> Vec<Row> {
        (0..columns[0].len())
            .map(|at| Row {
                line: at as u64 * 3 + 2,
                time: (at % 5 != 0).then(|| 1_700_000_000_000_000 + at as i64 * 900_000_000),
                cells: columns.iter().map(|column| column[at].clone()).collect(),
            })
            .collect()
    }

    #[test]
    fn a_day_of_readings_takes_little_and_comes_back_as_it_was() {
        let start: Vec<String> = (0..96)
            .map(|i| format!("2026-03-05T{:02}:{:02}:00+08:00", i / 4, i % 4 * 15))
            .collect();
        let load: Vec<String> = (0..96).map(|i| format!("{}.{}", 200 + i % 7, i % 10)).collect();
        let site = vec!["plant-2".to_owned(); 96];
        let rows = rows(&[start, site, load]);
        let body = encode(&rows, 3);
        assert!(body.len() < 420, "{} bytes", body.len());
        assert_eq!(decode(&body).unwrap(), rows);
    }

    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            "-?[0-9]{1,20}(\\.[0-9]{0,5})?",
            "[0-9]{4}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](Z|[+-][0-2][0-9]:[0-6][0-9])",
            "[ab]",
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn whatever_the_cells_are_they_come_back(
            columns in (1_usize..40).prop_flat_map(|rows| {
                prop::collection::vec(prop::collection::vec(cell(), rows), 1..5)
            })
        ) {
            let rows = rows(&columns);
            prop_assert_eq!(decode(&encode(&rows, columns.len())), Ok(rows));
        }

        #[test]
        fn columns_of_one_kind_come_back(
            times in prop::collection::vec("20[0-9]{2}-0[1-9]-[0-2][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])", 40),
            numbers in prop::collection::vec("(-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,6})?)?", 40),
        ) {
            let rows = rows(&[times, numbers]);
            prop_assert_eq!(decode(&encode(&rows, 2)), Ok(rows));
        }

        #[test]
        fn damaged_bytes_are_refused_without_a_panic(
            at in 0_usize..400, to in any::<u8>(), tail in prop::collection::vec(any::<u8>(), 0..60)
        ) {
            drop(decode(&tail));
            let column = |from: usize| (0..40).map(|i| format!("{}", from + i)).collect::<Vec<_>>();
            let mut body = encode(&rows(&[column(1), column(7)]), 2);
            let at = at % body.len();
            body[at] = to;
            drop(decode(&body));
            let mut inner = tail;
            inner.splice(0..0, MAGIC);
            drop(decode(&pack(&inner)));
        }
    }
}
