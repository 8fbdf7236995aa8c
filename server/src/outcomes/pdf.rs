//! A statement on paper: A4 with the standard fonts of every PDF reader, so that none has
//! to be shipped. Names in scripts that those fonts lack are set in a standard Chinese font, which
//! readers bring along.

use agents::outcome::receipt::Countersignature;
use agents::outcome::statement::{Document, Kind};
use axum::http::header;
use axum::response::IntoResponse;
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo};
use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

use crate::store::Statement;

/// A4 in points.
const PAGE: (f32, f32) = (595.0, 842.0);

/// Left edge of the text and of its second column.
const COLUMNS: (f32, f32) = (56.0, 190.0);

/// One line: a label, a text, and whether it is a heading.
struct Line {
    label: String,
    text: String,
    size: f32,
}

fn line(label: &str, text: impl Into<String>) -> Line {
    Line { label: label.to_owned(), text: text.into(), size: 10.0 }
}

fn heading(text: impl Into<String>) -> Line {
    Line { label: String::new(), text: text.into(), size: 14.0 }
}

/// Returns what a document is called.
pub(crate) fn title(document: &Document) -> String {
    match document.kind {
        Kind::Statement => format!("Statement {}", document.number),
        Kind::CreditNote => format!("Credit note {}", document.number),
    }
}

fn lines(kept: &Statement, signed: &[Countersignature]) -> Vec<Line> {
    let document = &kept.document;
    let (contract, figures) = (&document.contract, &document.figures);
    let money = |amount: agents::outcome::micros::Micros| {
        format!("{} {}", amount.money(&contract.currency), contract.currency)
    };
    let mut all = vec![
        heading(title(document)),
        line("Joint venture", &*document.venture),
        line("Period (UTC)", format!("{} to {}, exclusive", document.from, document.to)),
        line("Issued", document.issued_at.to_string()),
        line("Contract", &*contract.name),
    ];
    if let Some(corrects) = &document.corrects {
        all.push(line("Corrects statement", corrects.number.to_string()));
        all.push(line("Because", &*corrects.reason));
    }
    all.push(heading("What was measured"));
    all.push(line("Experiment", &*document.design.name));
    all.push(line("Method", document.design.method.label()));
    all.push(line("Metric", &*contract.metric));
    let arms = format!("{} in treatment, {} held out", figures.treatment, figures.control);
    all.push(line("Units", arms));
    all.push(line("At least (95 % interval)", figures.low.to_string()));
    all.push(line("Estimate; upper bound", format!("{}; {}", figures.estimate, figures.high)));
    all.push(heading("What follows"));
    all.push(line("Volume", figures.volume.to_string()));
    all.push(line("Worth of one", money(contract.value_per_unit)));
    all.push(line("Gain at the lower bound", money(figures.gain)));
    for (name, bound) in [("Floor", contract.floor), ("Cap", contract.cap)] {
        if let Some(bound) = bound {
            all.push(line(name, money(bound)));
        }
    }
    all.push(line("Amount of the period", money(figures.amount)));
    all.push(heading("Payable by this document"));
    for (party, part) in contract.parties.iter().zip(&document.payable) {
        all.push(line(&part.party, format!("{} (share {})", money(part.amount), party.share)));
    }
    all.push(heading("Receipt"));
    all.push(line("Events", kept.receipt.events.len().to_string()));
    for (label, text) in [
        ("Document, SHA-256", &kept.receipt.document_sha256),
        ("Public key, Ed25519", &kept.receipt.public_key),
        ("Signature", &kept.receipt.signature),
    ] {
        // Hexadecimal of 64 signs fits a line.
        for (i, part) in text.as_bytes().chunks(64).enumerate() {
            let label = if i == 0 { label } else { "" };
            all.push(line(label, String::from_utf8_lossy(part)));
        }
    }
    for one in signed {
        all.push(line("Signed also by", format!("{}, {}", one.party, one.signed_at)));
        all.push(line("Its public key", &*one.public_key));
    }
    all.push(line("Check it", "tessera statement verify FILE"));
    all
}

/// Signs of a label and of a text that fit a line; half as many of the wide ones.
const FITS: (usize, usize) = (26, 68);

/// Cuts a text into pieces that fit.
fn cut(text: &str, fits: usize) -> Vec<String> {
    let wide = text.chars().any(|sign| u32::from(sign) > 0xff);
    let signs: Vec<char> = text.chars().collect();
    let pieces = signs.chunks(if wide { fits / 2 } else { fits });
    pieces.map(|piece| piece.iter().collect()).collect()
}

/// Breaks what is too long for its column; a long label stands above its text.
fn fitted(lines: Vec<Line>) -> Vec<Line> {
    let mut all = Vec::new();
    for one in lines {
        if one.size > 12.0 {
            all.push(one);
            continue;
        }
        let (labels, texts) = (cut(&one.label, FITS.0), cut(&one.text, FITS.1));
        if labels.len() > 1 {
            all.extend(cut(&one.label, FITS.0 + FITS.1).into_iter().map(|label| line(&label, "")));
        }
        let label = if labels.len() > 1 { "" } else { &one.label };
        for (i, text) in texts.into_iter().enumerate() {
            all.push(line(if i == 0 { label } else { "" }, text));
        }
    }
    all
}

/// Renders a statement with the parties that signed it.
pub fn render(kept: &Statement, signed: &[Countersignature]) -> Vec<u8> {
    let [catalog, pages, plain, bold, wide, cid, descriptor, about] =
        [1, 2, 3, 4, 5, 6, 7, 8].map(Ref::new);
    let sheets = drawn(&fitted(lines(kept, signed)));
    // Each page is followed by its content.
    let places = (0..).map(|i| (Ref::new(9 + 2 * i), Ref::new(10 + 2 * i)));
    let sheets: Vec<((Ref, Ref), Content)> = places.zip(sheets).collect();
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    let count = i32::try_from(sheets.len()).unwrap_or(i32::MAX);
    pdf.pages(pages).kids(sheets.iter().map(|((page, _), _)| *page)).count(count);
    for ((page, content), drawing) in sheets {
        let mut sheet = pdf.page(page);
        sheet.media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).parent(pages).contents(content);
        let mut resources = sheet.resources();
        let mut fonts = resources.fonts();
        fonts.pair(Name(b"F1"), plain).pair(Name(b"F2"), bold).pair(Name(b"F3"), wide);
        fonts.finish();
        resources.finish();
        sheet.finish();
        pdf.stream(content, &drawing.finish());
    }
    for (font, name) in [(plain, &b"Helvetica"[..]), (bold, b"Helvetica-Bold")] {
        let mut font = pdf.type1_font(font);
        font.base_font(Name(name)).encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    chinese(&mut pdf, wide, cid, descriptor);
    let title = format!("{} · {}", title(&kept.document), kept.document.venture);
    pdf.document_info(about).title(TextStr(&title));
    pdf.finish()
}

/// Names a font that readers bring along, with Adobe's predefined character map for Unicode.
///
/// # Source
/// ISO 32000-2, 9.7.5.2 and 9.7.4.
fn chinese(pdf: &mut Pdf, font: Ref, cid: Ref, descriptor: Ref) {
    const NAME: Name<'_> = Name(b"STSong-Light");
    let mut composite = pdf.type0_font(font);
    composite.base_font(NAME).encoding_predefined(Name(b"UniGB-UTF16-H")).descendant_font(cid);
    composite.finish();
    let system = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"GB1"), supplement: 4 };
    let mut own = pdf.cid_font(cid);
    own.subtype(CidFontType::Type0).base_font(NAME).system_info(system);
    own.font_descriptor(descriptor).default_width(1000.0);
    own.finish();
    let mut described = pdf.font_descriptor(descriptor);
    described.name(NAME).flags(FontFlags::SYMBOLIC).italic_angle(0.0).stem_v(93.0);
    described.bbox(Rect::new(-25.0, -254.0, 1000.0, 880.0));
    described.ascent(880.0).descent(-120.0).cap_height(880.0);
    described.finish();
}

/// Sets the lines on as many pages as they need.
fn drawn(lines: &[Line]) -> Vec<Content> {
    let mut pages = vec![Content::new()];
    let mut y = PAGE.1 - 64.0;
    for line in lines {
        let top = line.size > 12.0;
        y -= if top { 26.0 } else { 15.0 };
        if y < 56.0 {
            pages.push(Content::new());
            y = PAGE.1 - 80.0;
        }
        let Some(content) = pages.last_mut() else { continue };
        if top {
            show(content, COLUMNS.0, y, line.size, b"F2", &line.text);
            continue;
        }
        show(content, COLUMNS.0, y, line.size, b"F1", &line.label);
        // A hash has no place to break.
        let size = if line.text.len() == 64 { 7.5 } else { line.size };
        show(content, COLUMNS.1, y, size, b"F1", &line.text);
    }
    pages
}

/// Sets a text in the given font, or the whole of it in the wide one where a sign is beyond Latin-1.
fn show(content: &mut Content, x: f32, y: f32, size: f32, font: &[u8], text: &str) {
    let latin: Option<Vec<u8>> =
        text.chars().map(|sign| u8::try_from(u32::from(sign)).ok()).collect();
    content.begin_text();
    match latin {
        Some(bytes) => {
            content.set_font(Name(font), size).next_line(x, y).show(Str(&bytes));
        }
        None => {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            content.set_font(Name(b"F3"), size).next_line(x, y).show(Str(&bytes));
        }
    }
    content.end_text();
}

/// Answers with the statement on paper.
pub fn response(kept: &Statement, signed: &[Countersignature]) -> impl IntoResponse + use<> {
    let name = format!("inline; filename=\"statement-{}.pdf\"", kept.document.number);
    let headers =
        [(header::CONTENT_TYPE, "application/pdf".to_owned()), (header::CONTENT_DISPOSITION, name)];
    (headers, render(kept, signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_and_long_names_are_broken_and_nothing_of_them_is_lost() {
        let (name, reason) = ("Northern ".repeat(12), "because ".repeat(200));
        let all = fitted(vec![heading("Top"), line(&name, "1.00 USD"), line("Because", &*reason)]);
        let labels: String = all.iter().map(|one| one.label.as_str()).collect();
        let texts: String = all.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(labels, format!("{name}Because"));
        assert_eq!(texts, format!("Top1.00 USD{reason}"));
        assert!(all.iter().all(|one| one.text.len() <= FITS.1));
        let wide = cut(&"電".repeat(70), FITS.1);
        assert_eq!(wide.iter().map(|piece| piece.chars().count()).max(), Some(34));
        assert_eq!(drawn(&(0..100).map(|i| line("", i.to_string())).collect::<Vec<_>>()).len(), 3);
    }
}
