//! Numbers, spans of time and odds said in words: `thirty five`, `half an hour`, `1 in 200`.

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

/// How often something is said to be read or priced, as the span between two times: `hourly`,
/// `every quarter of an hour`, `逐時`, `每半小時`, and 小時 without a number before what is counted by it.
pub(super) fn interval(text: &str, at: usize) -> Option<Found> {
    static RE: OnceLock<[Regex; 2]> = OnceLock::new();
    let [latin, chinese] = RE.get_or_init(|| {
        [
            regex(r"^(?i:(?:(?P<part>half|quarter)[- ])?hourly|every (?P<whole>hour)|hour by hour)\b"),
            regex(r"^(?:(?:每|逐|按)(?:一)?(?:個|个)?(?:(?P<half>半)(?:個|个)?)?(?:小時|小时|鐘頭|钟头)|逐時|逐时|每時|(?:每|一)(?P<quarter>刻鐘|刻钟)|(?:小時|小时)(?P<of>[電电讀读值價价段格資资數数用負负級级平]))"),
        ]
    });
    let rest = &text[at..];
    let span = |value: &str, end: usize| {
        let kind = Kind::Duration { value: value.to_owned(), unit: "hour".to_owned() };
        Found { start: at, end: at + end, kind }
    };
    if let Some(captures) = latin.captures(rest) {
        // "5 every hour" is a rate, "sub-hourly" is no span.
        let counted = text[..at].trim_end().ends_with(|c: char| c.is_ascii_digit());
        if captures.name("whole").is_some() && counted || text[..at].ends_with('-') {
            return None;
        }
        let value = match captures.name("part").map(|part| part.len()) {
            Some(4) => "0.5",
            Some(_) => "0.25",
            None => "1",
        };
        return Some(span(value, captures.get(0)?.len()));
    }
    let captures = chinese.captures(rest)?;
    let counted = text[..at]
        .ends_with(|c: char| c.is_ascii_digit() || "半一二兩两三四五六七八九十百多".contains(c));
    let end = captures.get(0)?.len() - captures.name("of").map_or(0, |of| of.len());
    let value = match (captures.name("half"), captures.name("quarter")) {
        (Some(_), _) => "0.5",
        (_, Some(_)) => "0.25",
        _ => "1",
    };
    (captures.name("of").is_none() || !counted).then(|| span(value, end))
}

/// `half an hour`, `quarter-hours`, `within a day`, `半小時`.
pub(super) fn duration(text: &str, at: usize) -> Option<Found> {
    static RE: OnceLock<[Regex; 3]> = OnceLock::new();
    let [part, whole, chinese] = RE.get_or_init(|| {
        [
            regex(r"^(?i:(?P<part>half|quarter)(?:[ -]| (?:of )?an )hours?)\b"),
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

fn words() -> &'static Regex {
    static RE: OnceLock<Regex> = OnceLock::new();
    RE.get_or_init(|| {
        let small = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|half a million|a dozen|a hundred|a thousand|a million";
        regex(&format!(r"^(?i:(?:{small})(?:[- ](?:and )?(?:{small}))*)\b"))
    })
}

/// Reads English number words up to millions.
fn english_number(text: &str) -> Option<Decimal> {
    let lower = text.to_lowercase().replace('-', " ").replace(" and ", " ");
    match lower.as_str() {
        "half a million" => return Some(Decimal::from(500_000)),
        "a dozen" => return Some(Decimal::from(12)),
        "hundred" | "thousand" | "million" => return None,
        _ => {}
    }
    let lower = lower.strip_prefix("a ").unwrap_or(&lower);
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] =
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let (mut total, mut current) = (0u64, 0u64);
    for word in lower.split_whitespace() {
        if let Some(n) = ONES.iter().position(|w| *w == word) {
            current += n as u64;
        } else if let Some(n) = TENS.iter().position(|w| *w == word) {
            current += (n as u64 + 2) * 10;
        } else {
            let unit = match word {
                "hundred" => 100,
                "thousand" => 1000,
                "million" => 1_000_000,
                _ => return None,
            };
            if unit == 100 {
                current = current.max(1) * 100;
            } else {
                total += current.max(1) * unit;
                current = 0;
            }
        }
    }
    Some(Decimal::from(total + current))
}

/// A number in English words at the start of `text`: value and length.
pub(super) fn english(text: &str) -> Option<(Decimal, usize)> {
    let found = words().find(text)?;
    Some((english_number(found.as_str())?, found.end()))
}
