//! Rows of numbers: three or more that only commas and the like part.

use std::sync::OnceLock;

use regex::Regex;

use super::{Found, Kind, boundary, number};

/// Most numbers in a row that stay single mentions where they could be one list.
const MAX_SINGLE: usize = 12;

/// What parts two numbers of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Comma,
    Enumeration,
    Slash,
    Blank,
    And,
}

fn gap(words: &str) -> Option<Gap> {
    Some(match words.trim() {
        "," | "，" => Gap::Comma,
        "、" => Gap::Enumeration,
        "/" => Gap::Slash,
        "" => Gap::Blank,
        ", and" | "and" | "和" | "與" | "与" => Gap::And,
        _ => return None,
    })
}

/// Reads a row of numbers of three digits without blanks, `300,310,320,330,340 kW`. With fewer than
/// five it would be one number with its thousands apart; trillions are not written out.
pub(super) fn unspaced(text: &str, at: usize, previous: Option<char>) -> Option<Found> {
    static RE: OnceLock<Regex> = OnceLock::new();
    let row = RE.get_or_init(|| number::regex(r"^\d{1,3}(?:,\d{3}){4,}"));
    let found = row.find(&text[at..]).filter(|_| boundary(previous))?;
    let end = at + found.end();
    if text[end..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let values: Vec<String> = found.as_str().split(',').map(str::to_owned).collect();
    let last = number::scan(text, end - values.last()?.len(), Some(','))?;
    Some(Found { start: at, end: last.end, kind: Kind::List { values, unit: unit_of(&last.kind) } })
}

/// Returns the figure of a mention and what it counts; the elements of a list count the same.
fn plain(kind: &Kind) -> Option<(&str, &str)> {
    match kind {
        Kind::Number { value, unit } | Kind::Duration { value, unit } => Some((value, unit)),
        Kind::Money { value, currency } if currency.is_empty() => Some((value, "¤")),
        Kind::Money { value, currency } => Some((value, currency)),
        Kind::Percent { value } => Some((value, "%")),
        _ => None,
    }
}

/// Joins rows of bare numbers into one list each.
///
/// Numbers that each state their unit stay apart, so that each can be used alone. A unit after the
/// last one only is meant for all where `and` or 、 joins it (`3, 4 and 5 kW`). After a comma it may
/// as well begin something else (`prices 0.3, 0.4, 0.5, 80 kWh`): these stay apart too. A long row is
/// a list whose unit keeps it out of arguments of another one.
pub(super) fn join(text: &str, found: &mut Vec<Found>) {
    let mut i = 0;
    while i < found.len() {
        let Some((last, closing)) = row(text, found, i) else {
            i += 1;
            continue;
        };
        let count = last - i + 1;
        let stated = !unit_of(&found[last].kind).is_empty();
        let each = !unit_of(&found[i].kind).is_empty();
        let shared = matches!(closing, Gap::And | Gap::Enumeration);
        let apart = stated && (each || !shared);
        // In "9×3.23 / 42 / 8×2.1" the figures belong to products.
        let times = ['×', 'x', 'X'];
        let product =
            text[..found[i].start].ends_with(times) || text[found[last].end..].starts_with(times);
        if count < 3 || product || apart && count <= MAX_SINGLE {
            i = last + 1;
            continue;
        }
        if let Kind::Duration { unit, .. } = &found[last].kind
            && count <= MAX_SINGLE
        {
            // Days of retention are asked for one by one as often as in a row.
            let unit = unit.clone();
            for day in &mut found[i..last] {
                if let Kind::Number { value, .. } = &day.kind {
                    day.kind = Kind::Duration { value: value.clone(), unit: unit.clone() };
                }
            }
            i = last + 1;
            continue;
        }
        let values = found[i..=last]
            .iter()
            .filter_map(|f| plain(&f.kind).map(|(value, _)| value.to_owned()))
            .collect();
        let kind = Kind::List { values, unit: unit_of(&found[last].kind) };
        let joined = Found { start: found[i].start, end: found[last].end, kind };
        found.splice(i..=last, [joined]);
        i += 1;
    }
}

/// Tells whether a row that ends in a span of days names days in order (`10、16、24 天`); an amount,
/// a payment and a term do not.
fn ascend(row: &[Found]) -> bool {
    let of_days = row.last().is_some_and(|f| unit_of(&f.kind) == "day");
    let days: Option<Vec<u16>> =
        row.iter().map(|f| plain(&f.kind).and_then(|(value, _)| value.parse().ok())).collect();
    of_days
        && days
            .is_some_and(|days| days.is_sorted_by(|a, b| a < b) && days.iter().all(|d| *d < 1000))
}

fn unit_of(kind: &Kind) -> String {
    plain(kind).map(|(_, unit)| unit.to_owned()).unwrap_or_default()
}

/// Returns the index of the last number of the row that begins at `first` and what parts it from
/// the one before.
fn row(text: &str, found: &[Found], first: usize) -> Option<(usize, Gap)> {
    let (mut last, mut style, mut closing) = (first, None, Gap::Blank);
    let (_, mut unit) = plain(&found[first].kind)?;
    while let Some(next) = found.get(last + 1)
        && let Some((_, stated)) = plain(&next.kind)
        && let Some(gap) = gap(&text[found[last].end..next.start])
    {
        let same_style = *style.get_or_insert(gap) == gap;
        let ended = closing == Gap::And && style != Some(Gap::And);
        let days = unit.is_empty() && matches!(next.kind, Kind::Duration { .. });
        let same_unit =
            unit == stated || unit.is_empty() && (!days || ascend(&found[first..=last + 1]));
        // "2,700/40,000 and 1,700/17,073" are two pairs.
        let ends = gap == Gap::And && matches!(style, Some(Gap::Comma | Gap::Enumeration));
        if ended || !(same_style || ends) || !same_unit {
            break;
        }
        (last, closing, unit) = (last + 1, gap, stated);
    }
    Some((last, closing))
}
