//! Spans of time and odds said in words: `half an hour`, `1 in 200`.

use std::sync::OnceLock;

use regex::Regex;
use rust_decimal::Decimal;

use super::number::{has_suffix, regex};
use super::{Found, Kind};

/// `1 in 167` as a rate. A year or a counted thing after `in` is something else.
pub(super) fn odds(text: &str, at: usize) -> Option<Found> {
    let rest = &text[at..];
    static RE: OnceLock<Regex> = OnceLock::new();
    let odds =
        RE.get_or_init(|| regex(r"^1 in (?P<n>\d{1,3}(?:,\d{3})+|\d+)(?P<end>[ ,.;:!?)]|$)"));
    let captures = odds.captures(rest)?;
    let length = captures.name("n")?.end();
    let n: Decimal = captures.name("n")?.as_str().replace(',', "").parse().ok()?;
    let year = (Decimal::from(1950)..Decimal::from(2100)).contains(&n);
    let fraction = rest[length..].starts_with(['.', ','])
        && rest[length + 1..].starts_with(|c: char| c.is_ascii_digit());
    let other = year || fraction || n < Decimal::TWO || has_suffix(rest, length);
    let rate = Decimal::ONE_HUNDRED.checked_div(n).filter(|_| !other)?.normalize();
    let kind = Kind::Percent { value: rate.to_string() };
    Some(Found { start: at, end: at + length, kind })
}

/// `half an hour`, `quarter-hour`, `within a day`, `半小時`.
pub(super) fn duration(text: &str, at: usize) -> Option<Found> {
    static RE: OnceLock<[Regex; 3]> = OnceLock::new();
    let [part, whole, chinese] = RE.get_or_init(|| {
        [
            regex(r"^(?i:(?P<part>half|quarter)(?:[ -]| (?:of )?an )hour)\b"),
            regex(r"^(?i:an (?P<hour>hour)|a (?P<day>day|week|month|year))\b"),
            regex(r"^半(?:個|个)?(?:小時|小时|(?P<year>年))"),
        ]
    });
    let (before, rest) = (&text[..at], &text[at..]);
    let span = |value: &str, unit: &str, length: usize| {
        let kind = Kind::Duration { value: value.to_owned(), unit: unit.to_owned() };
        Found { start: at, end: at + length, kind }
    };
    if let Some(captures) = part.captures(rest) {
        let half = captures.name("part")?.as_str().eq_ignore_ascii_case("half");
        return Some(span(if half { "0.5" } else { "0.25" }, "hour", captures.get(0)?.len()));
    }
    if let Some(captures) = whole.captures(rest) {
        let last = before.trim_end().rsplit(' ').next()?.to_ascii_lowercase();
        // "twice a day" and "5 a month" are rates.
        if !matches!(last.as_str(), "within" | "inside" | "over" | "in" | "for" | "lasting") {
            return None;
        }
        let unit = captures.name("day").map_or("hour", |m| m.as_str()).to_ascii_lowercase();
        return Some(span("1", &unit, captures.get(0)?.len()));
    }
    let captures = chinese.captures(rest)?;
    let length = captures.get(0)?.len();
    // 兩個半小時 is two and a half hours, 半年報 a report.
    let counted = before.ends_with(['個', '个', '一', '多', '大', '上', '下']);
    let other = rest[length..].starts_with(['報', '报', '度']);
    let unit = if captures.name("year").is_some() { "year" } else { "hour" };
    (!counted && !other).then(|| span("0.5", unit, length))
}
