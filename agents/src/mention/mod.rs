//! Mentions: the numbers, amounts, rates, dates, durations, identifiers and names that a request
//! states, each with its span and its canonical value.
//!
//! The planner sees `[$2 pct]` in place of the words and points at `$2`; the value itself is taken
//! from here, so a model can neither misread nor invent a figure.

mod date;
mod list;
mod marker;
mod number;
mod spoken;
mod word;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

pub use number::chinese_number;

/// Most mentions that one request may hold; the rest of the text stays as words.
pub const MAX_MENTIONS: usize = 40;

/// Characters of a name that the planner sees.
const MAX_SHOWN: usize = 48;

/// What a mention is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A plain number, perhaps with a unit (`12 kWh` → `12`, `kwh`).
    Number {
        /// Canonical decimal.
        value: String,
        /// Canonical unit, empty when none was said.
        unit: String,
    },
    /// A rate; the value is in percent.
    Percent {
        /// Percent as a canonical decimal.
        value: String,
    },
    /// An amount whose currency was said.
    Money {
        /// Canonical decimal.
        value: String,
        /// ISO 4217 code.
        currency: String,
    },
    /// A span of time.
    Duration {
        /// Canonical decimal.
        value: String,
        /// `second`, `minute`, `hour`, `day`, `week`, `month` or `year`.
        unit: String,
    },
    /// A calendar day.
    Date {
        /// `YYYY-MM-DD`.
        value: String,
    },
    /// A whole month or year: a window.
    Period {
        /// First day, `YYYY-MM-DD`.
        // The mention that this is flattened into has a `start` and an `end` of its own.
        #[serde(rename = "first_day")]
        start: String,
        /// Day after the last, `YYYY-MM-DD`.
        #[serde(rename = "day_after")]
        end: String,
    },
    /// An instant or a local time of a day.
    DateTime {
        /// RFC 3339 with offset, or `YYYY-MM-DDTHH:MM:SS` in the tenant's zone.
        value: String,
    },
    /// A currency that stands alone.
    Currency {
        /// ISO 4217 code.
        value: String,
    },
    /// Several numbers in a row.
    List {
        /// Canonical decimals.
        values: Vec<String>,
        /// What all of them count: a unit of a number or a duration, `%`, an ISO 4217 code, `¤`
        /// for money of no said currency; empty when none was said.
        #[serde(default)]
        unit: String,
    },
    /// A code, number plate, account, file or dataset name.
    Id {
        /// As written.
        value: String,
    },
    /// Spaced hexadecimal bytes.
    Hex {
        /// As written.
        value: String,
    },
    /// A capitalised or quoted name or phrase.
    Name {
        /// As written, without quotes.
        value: String,
    },
    /// A pasted document (XML, MT message, JSON) up to the end of the request.
    Block {
        /// As written.
        value: String,
    },
}

/// A value found in a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mention {
    /// Reference of the mention: 1 for `$1`.
    pub id: usize,
    /// First byte of the words.
    pub start: usize,
    /// One past the last byte of the words.
    pub end: usize,
    /// The words.
    pub text: String,
    /// What they state.
    #[serde(flatten)]
    pub kind: Kind,
}

impl Mention {
    /// Returns the tag that the planner sees beside the reference.
    pub fn tag(&self) -> String {
        match &self.kind {
            Kind::Number { unit, .. } if unit.is_empty() => "num".to_owned(),
            // 度 is a kilowatt-hour more often than a degree.
            Kind::Number { unit, .. } if unit == "度" => "num kwh".to_owned(),
            Kind::Number { unit, .. } => format!("num {unit}"),
            Kind::Percent { .. } => "pct".to_owned(),
            Kind::Money { .. } => "money".to_owned(),
            Kind::Duration { unit, .. } => format!("dur {unit}"),
            Kind::Date { .. } => "date".to_owned(),
            Kind::Period { .. } => "period".to_owned(),
            Kind::DateTime { .. } => "time".to_owned(),
            Kind::Currency { value } => format!("currency {value}"),
            Kind::List { .. } => "list".to_owned(),
            Kind::Id { value } => format!("id {}", word::shape(value)),
            // The first byte tells what the bytes are: an answer of OBD, of UDS, or neither.
            Kind::Hex { value } => {
                let bytes = value.trim_start_matches("0x");
                format!("hex {}", bytes.get(..2).unwrap_or(bytes).to_ascii_lowercase())
            }
            // A capital does not make a name: the planner still needs the words.
            Kind::Name { value } => {
                format!("name {}", value.chars().take(MAX_SHOWN).collect::<String>())
            }
            Kind::Block { .. } => "block".to_owned(),
        }
    }
}

/// A span found by one of the scanners, before numbering.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
}

/// Finds the mentions of a request, in order, without overlap.
///
/// `today` resolves relative dates (`tomorrow`, `3月5日`).
pub fn find(text: &str, today: Date) -> Vec<Mention> {
    let markers = marker::find(text);
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    while at < text.len() && found.len() < MAX_MENTIONS {
        if let Some(marker) = markers.iter().find(|marker| marker.start == at) {
            at = marker.end;
            continue;
        }
        let Some(next) = scan(text, at, today, &found) else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        };
        at = next.end;
        found.push(next);
    }
    list::join(text, &mut found);
    found
        .into_iter()
        .enumerate()
        .map(|(i, f)| Mention {
            id: i + 1,
            start: f.start,
            end: f.end,
            text: text[f.start..f.end].to_owned(),
            kind: f.kind,
        })
        .collect()
}

/// Tries every scanner at one position; the first that reads something wins.
fn scan(text: &str, at: usize, today: Date, before: &[Found]) -> Option<Found> {
    let previous = text[..at].chars().next_back();
    word::quoted(text, at)
        .or_else(|| word::block(text, at, previous))
        .or_else(|| date::scan(text, at, previous, before.last(), today))
        .or_else(|| word::hex(text, at, previous, before.last(), today))
        .or_else(|| word::long_id(text, at, previous))
        .or_else(|| list::unspaced(text, at, previous))
        .or_else(|| number::scan(text, at, previous))
        .or_else(|| word::id(text, at, previous))
        .or_else(|| number::currency(text, at, previous))
        .or_else(|| word::coin(text, at, previous))
        .or_else(|| word::name(text, at, previous, today))
}

/// Writes the request as the planner sees it: each mention as `[$k tag]`.
pub fn annotate(text: &str, mentions: &[Mention]) -> String {
    let mut out = String::with_capacity(text.len() + mentions.len() * 8);
    let mut at = 0;
    for mention in mentions {
        out.push_str(&text[at..mention.start]);
        out.push_str(&format!("[${} {}]", mention.id, mention.tag()));
        at = mention.end;
    }
    out.push_str(&text[at..]);
    out
}

/// Tells whether a Latin word or number could begin here.
pub(crate) fn boundary(previous: Option<char>) -> bool {
    previous.is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests;
