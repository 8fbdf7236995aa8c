//! Text files of cells: their characters, what parts the cells, where the header is.

use std::borrow::Cow;

use super::DatasetError;
use super::source::{Cells, Each, Encoding, Layout, Record, names};

/// Records looked at for the header and the delimiter.
const PROBE: usize = 60;
/// Bytes decoded for a look at a file.
const HEAD: usize = 256 << 10;

/// Returns the text of a file. What its encoding does not know becomes U+FFFD, which the import
/// refuses by line.
pub(super) fn decode(bytes: &[u8], encoding: Encoding) -> Cow<'_, str> {
    let codec = match encoding {
        Encoding::Utf8 => encoding_rs::UTF_8,
        Encoding::Utf16 if bytes.starts_with(b"\xfe\xff") => encoding_rs::UTF_16BE,
        Encoding::Utf16 => encoding_rs::UTF_16LE,
        Encoding::Big5 => encoding_rs::BIG5,
        Encoding::Gb18030 => encoding_rs::GB18030,
        Encoding::Windows1252 => encoding_rs::WINDOWS_1252,
    };
    codec.decode_with_bom_removal(bytes).0
}

/// Tells the encoding: by its mark, by being valid UTF-8, else the first that fits. A guess between
/// encodings of Chinese is for a person to confirm.
pub(super) fn encoding(bytes: &[u8]) -> Encoding {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Encoding::Utf16;
    }
    if std::str::from_utf8(bytes).is_ok() {
        return Encoding::Utf8;
    }
    let head = &bytes[..bytes.len().min(HEAD)];
    let fits = |codec: &'static encoding_rs::Encoding| {
        // The cut may have parted a character.
        (0..4).any(|cut| {
            let part = &head[..head.len().saturating_sub(cut)];
            codec.decode_without_bom_handling_and_without_replacement(part).is_some()
        })
    };
    // A file of UTF-8 with a few broken characters is still one of UTF-8.
    let broken = String::from_utf8_lossy(head).matches('\u{fffd}').count();
    let wide = String::from_utf8_lossy(head).chars().filter(|c| !c.is_ascii()).count();
    if broken * 10 < wide {
        return Encoding::Utf8;
    }
    if fits(encoding_rs::BIG5) {
        Encoding::Big5
    } else if fits(encoding_rs::GB18030) {
        Encoding::Gb18030
    } else {
        Encoding::Windows1252
    }
}

fn reader(text: &str, delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes())
}

/// Returns the line that a record begins on. The reader counts empty lines before a record as its
/// own, and passes over them.
fn line_of(text: &str, record: &csv::StringRecord) -> u64 {
    let Some(position) = record.position() else { return 1 };
    let from = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
    position.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

fn probe(text: &str, delimiter: u8) -> Vec<(u64, csv::StringRecord)> {
    let head = &text[..text.floor_char_boundary(HEAD)];
    let mut records = Vec::new();
    for record in reader(head, delimiter).into_records().take(PROBE).flatten() {
        let line = line_of(head, &record);
        records.push((line, record));
    }
    records
}

/// Returns how many cells most records have, and how many records have that many.
fn usual(records: &[(u64, csv::StringRecord)]) -> (usize, usize) {
    let mut best = (0, 0);
    for (_, record) in records {
        let count = records.iter().filter(|(_, other)| other.len() == record.len()).count();
        if count > best.1 || (count == best.1 && record.len() > best.0) {
            best = (record.len(), count);
        }
    }
    best
}

/// Tells what parts the cells: the sign by which most records have the same number of cells.
pub(super) fn delimiter(text: &str) -> u8 {
    let score = |delimiter: u8| {
        let records = probe(text, delimiter);
        let (width, count) = usual(&records);
        if width < 2 { 0 } else { count * 1000 / records.len().max(1) * 100 + width.min(99) }
    };
    let mut best = (b',', 0);
    for delimiter in [b',', b';', b'\t', b'|'] {
        let score = score(delimiter);
        if score > best.1 {
            best = (delimiter, score);
        }
    }
    best.0
}

/// Tells the line of the header: the first record that is as wide as most, unless it holds values;
/// 0 ⇐ the file has none.
pub(super) fn header_line(text: &str, delimiter: u8) -> u64 {
    let records = probe(text, delimiter);
    let (width, _) = usual(&records);
    let Some((line, first)) = records.iter().find(|(_, record)| record.len() == width) else {
        return 1;
    };
    let is_value = |cell: &str| {
        let cell = cell.trim();
        !cell.is_empty()
            && cell.bytes().all(|b| b.is_ascii_digit() || b" .,:-+/TZ".contains(&b))
            && cell.bytes().any(|b| b.is_ascii_digit())
    };
    // Years are headers of some tables; a lone number among names is one too.
    let values = first.iter().filter(|cell| is_value(cell)).count();
    if values * 2 > first.len() || (values > 0 && first.get(0).is_some_and(is_value)) {
        0
    } else {
        *line
    }
}

/// See [`super::source::walk`].
pub(super) fn walk(
    bytes: &[u8],
    layout: &Layout,
    each: &mut Each<'_>,
) -> Result<Vec<String>, DatasetError> {
    let text = decode(bytes, layout.encoding);
    let mut reader = reader(&text, layout.delimiter);
    let mut record = csv::StringRecord::new();
    let mut header: Option<Vec<String>> = None;
    loop {
        let more = reader
            .read_record(&mut record)
            .map_err(|error| super::unreadable("the text file", error))?;
        if !more {
            break;
        }
        let line = line_of(&text, &record);
        if header.is_none() {
            if line < layout.header_line {
                continue;
            }
            if layout.header_line > 0 {
                header = Some(names(record.iter())?);
                continue;
            }
            header = Some(names(record.iter().map(|_| ""))?);
        }
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
        let share = reader.position().byte() as f64 / text.len().max(1) as f64;
        if each(Record { line, cells: Cells::Text(&record), share })?.is_break() {
            break;
        }
    }
    header.ok_or_else(|| {
        DatasetError::Empty("the file has no line that could be a header".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_sign_that_makes_lines_alike() {
        assert_eq!(delimiter("a;b;c\n1,5;2,5;3\n"), b';');
        assert_eq!(delimiter("a\tb\n1,000\t2\n3\t4\n"), b'\t');
        assert_eq!(delimiter("a,b\n1,2\n"), b',');
        assert_eq!(delimiter("alone\n1\n"), b',');
    }

    #[test]
    fn lines_before_the_header_are_passed_over_and_a_file_may_have_none() {
        assert_eq!(header_line("Report of plant 2\n\nstart,load\n1,2\n3,4\n", b','), 3);
        assert_eq!(header_line("start,load\n1,2\n", b','), 1);
        assert_eq!(header_line("36,AERO,CUBA\n173,ANGLO,CUBA\n", b','), 0);
    }

    #[test]
    fn chinese_text_of_other_encodings_is_read() {
        let (big5, ..) = encoding_rs::BIG5.encode("時間,用電量\n2026-01-01,5\n");
        assert_eq!(encoding(&big5), Encoding::Big5);
        assert!(decode(&big5, Encoding::Big5).starts_with("時間,用電量"));
        let wide: Vec<u8> = "\u{feff}a\tb\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(encoding(&wide), Encoding::Utf16);
        assert_eq!(decode(&wide, Encoding::Utf16), "a\tb\n");
    }
}
