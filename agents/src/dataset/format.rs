//! Which kind of file some bytes are.

use serde::{Deserialize, Serialize};

/// Bytes that are looked at to tell a format.
const HEAD: usize = 256 << 10;

/// A kind of file that can be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Lines of cells parted by commas, semicolons, tabs or bars.
    Csv,
    /// An Office Open XML workbook.
    Xlsx,
    /// Green Button (ESPI) interval readings.
    GreenButton,
    /// An ISO 20022 bank statement, `camt.053`.
    Camt053,
    /// A CAN database.
    Dbc,
    /// Company facts as the SEC publishes them.
    CompanyFacts,
    /// Another file, kept as it is for the tools that read it; it has no rows.
    File,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 7] = [
        Self::Csv,
        Self::Xlsx,
        Self::GreenButton,
        Self::Camt053,
        Self::Dbc,
        Self::CompanyFacts,
        Self::File,
    ];

    /// Returns the name of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::GreenButton => "green_button",
            Self::Camt053 => "camt053",
            Self::Dbc => "dbc",
            Self::CompanyFacts => "company_facts",
            Self::File => "file",
        }
    }

    /// Returns the name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Xlsx => "Excel workbook",
            Self::GreenButton => "Green Button",
            Self::Camt053 => "Bank statement (camt.053)",
            Self::Dbc => "CAN database (DBC)",
            Self::CompanyFacts => "Company facts",
            Self::File => "Other file",
        }
    }

    /// Tells the format by the first bytes, then by what stands inside; the name of the file counts
    /// only where the content leaves it open.
    pub fn of(bytes: &[u8], name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let head = &bytes[..bytes.len().min(HEAD)];
        if head.starts_with(b"PK\x03\x04") {
            // An archive lists its parts at its end.
            let tail = &bytes[bytes.len().saturating_sub(HEAD)..];
            return if contains(tail, b"xl/workbook.xml") { Self::Xlsx } else { Self::File };
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        match text.first() {
            Some(b'<')
                if contains(head, b"naesb.org/espi") || contains(head, b"IntervalReading") =>
            {
                Self::GreenButton
            }
            Some(b'<') if contains(head, b"camt.053") && contains(head, b"BkToCstmrStmt") => {
                Self::Camt053
            }
            Some(b'<' | b'[') => Self::File,
            Some(b'{') if contains(head, b"\"facts\"") && contains(head, b"\"cik\"") => {
                Self::CompanyFacts
            }
            Some(b'{') => Self::File,
            _ if name.ends_with(".dbc") || is_dbc(text) => Self::Dbc,
            _ if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") => Self::Csv,
            _ if head.contains(&0) => Self::File,
            _ => Self::Csv,
        }
    }
}

fn is_dbc(text: &[u8]) -> bool {
    text.starts_with(b"VERSION \"") || text.starts_with(b"BO_ ")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_its_content_before_its_name() {
        for (bytes, name, format) in [
            (&b"start,load_kw\n"[..], "load.txt", Format::Csv),
            (b"\xff\xfes\0", "x", Format::Csv),
            (b"VERSION \"\"\n", "a.csv", Format::Dbc),
            (b"<feed xmlns=\"http://naesb.org/espi\"/>", "a.csv", Format::GreenButton),
            (b"<a/>", "a.xml", Format::File),
            (b"{\"cik\": 1, \"facts\": {}}", "a", Format::CompanyFacts),
            (b"{}", "a.json", Format::File),
            (b"PK\x03\x04 xl/workbook.xml", "a.zip", Format::Xlsx),
            (b"PK\x03\x04", "a.xlsx", Format::File),
            (b"\0\x01", "a.bin", Format::File),
        ] {
            assert_eq!(Format::of(bytes, name), format, "{name}");
        }
    }
}
