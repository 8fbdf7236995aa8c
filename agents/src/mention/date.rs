//! Days, instants and whole months as people write them, in English and Chinese.

use std::sync::OnceLock;

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};
use regex::{Captures, Regex};

use super::number::regex;
use super::{Found, Kind, boundary, number};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

const MONTH: &str = r"(?P<mon>(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))\.?";

type Reader = fn(&Captures<'_>, Date) -> Option<Kind>;

fn patterns() -> &'static [(Regex, Reader)] {
    static PATTERNS: OnceLock<Vec<(Regex, Reader)>> = OnceLock::new();
    PATTERNS.get_or_init(|| {
        let day = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?";
        vec![
            (regex(r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})?"), instant as Reader),
            (regex(r"^(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?-u:\b)"), calendar),
            (regex(r"^(?P<y>\d{4})\s?年\s?(?P<m>\d{1,2})\s?月\s?(?P<d>\d{1,2})\s?[日號号]"), calendar),
            (regex(&format!(r"^{day}(?: of)? {MONTH},? (?P<y>\d{{4}})(?-u:\b)")), calendar),
            (regex(&format!(r"^{MONTH} {day},? (?P<y>\d{{4}})(?-u:\b)")), calendar),
            (regex(r"^(?P<y>\d{4})\s?年\s?(?P<m>\d{1,2})\s?月(?:份)?"), month),
            (regex(&format!(r"^{MONTH},? (?P<y>\d{{4}})(?-u:\b)")), month),
            (regex(r"^(?P<y>(?:19|20)\d{2})\s?年(?:度)?"), year),
            (regex(r"^(?P<m>\d{1,2})\s?月\s?(?P<d>\d{1,2})\s?[日號号]"), calendar),
            (regex(&format!(r"^{day}(?: of)? {MONTH}\b")), calendar),
            (regex(&format!(r"^{MONTH} {day}\b")), calendar),
            (regex(r"^(?P<d>\d{1,2})/(?P<m>\d{1,2})/(?P<y>\d{4})(?-u:\b)"), day_first),
            (regex(r"^(?i:today|tonight|tomorrow|yesterday)\b|^(?:今天|今日|明天|明日|昨天|昨日|後天|后天|前天)"), relative),
            (regex(r"^(?i:(?P<which>next|last|this|on) (?P<wd>monday|tuesday|wednesday|thursday|friday|saturday|sunday))\b"), weekday),
            (regex(r"^(?P<which>下|上|這|这|本)?(?:個|个)?(?:週|周|星期|禮拜|礼拜)(?P<wd>[一二三四五六日天])"), weekday),
            (regex(r"^(?i:(?P<which>next|last|this) (?P<unit>week|month|year))\b"), window),
            (regex(r"^(?P<which>下|上|這|这|本)(?:個|个)?(?P<unit>週|周|星期|月|年)"), window),
            (regex(r"^(?:去年|今年|明年)"), chinese_year),
        ]
    })
}

/// Reads a date, an instant or a whole month or week.
///
/// `last` is the mention before: a day may be glued to another one (`2025-05-13/2025-06-10`).
pub(super) fn scan(
    text: &str,
    at: usize,
    previous: Option<char>,
    last: Option<&Found>,
    today: Date,
) -> Option<Found> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    if first.is_ascii_alphanumeric() && !boundary(previous) {
        return None;
    }
    let after_day = last.is_some_and(|l| matches!(l.kind, Kind::Date { .. }) && l.end + 1 == at);
    let glued = match previous {
        Some('-' | '/') => !after_day,
        Some('.') => true,
        _ => false,
    };
    if first.is_ascii_digit() && glued {
        return None;
    }
    if let Some(found) = stated_year(text, at) {
        return Some(found);
    }
    patterns().iter().find_map(|(pattern, read)| {
        let captures = pattern.captures(rest)?;
        let end = at + captures.get(0)?.end();
        // "apr 11,559.17" is a rate and an amount.
        let goes_on = text[end..]
            .strip_prefix([',', '.'])
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if goes_on && text[..end].ends_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        // "apr 5 grand" too; a month's name may also be a rate.
        let names_month =
            first.is_ascii_alphabetic() && text[..end].ends_with(|c: char| c.is_ascii_digit());
        let dated = captures.name("y").is_some();
        if names_month
            && !dated
            && (number::has_suffix(text, end) || number::has_multiplier(text, end))
        {
            return None;
        }
        read(&captures, today).map(|kind| Found { start: at, end, kind })
    })
}

/// Reads `in 2023`, `FY 2025`: four digits are a year only after a word that says so.
fn stated_year(text: &str, at: usize) -> Option<Found> {
    let digits = text.get(at..at + 4)?;
    let year: i16 = digits.parse().ok().filter(|y| (1950..2100).contains(y))?;
    let rest = &text[at + 4..];
    let ends = rest
        .chars()
        .next()
        .is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | ',' | '-' | '/' | '_')))
        || rest.starts_with([',', '.']) && !rest[1..].starts_with(|c: char| c.is_ascii_digit());
    let before = text[..at].trim_end();
    let word = before.rsplit(|c: char| !c.is_ascii_alphabetic()).next()?.to_ascii_lowercase();
    let bracketed = text[..at].ends_with(['(', '（']) && rest.starts_with([')', '）']);
    let names_factor = rest.trim_start().starts_with("factor");
    let says = bracketed
        || names_factor
        || matches!(word.as_str(), "in" | "since" | "during" | "year" | "fy") && before.len() < at;
    let counted = super::number::has_suffix(text, at + 4);
    if !ends || !says || counted {
        return None;
    }
    year_of(year).map(|kind| Found { start: at, end: at + 4, kind })
}

fn number(captures: &Captures<'_>, name: &str) -> Option<i16> {
    captures.name(name)?.as_str().parse().ok()
}

fn month_of(captures: &Captures<'_>) -> Option<i8> {
    if let Some(name) = captures.name("mon") {
        let head = name.as_str().get(..3)?.to_lowercase();
        return MONTHS.iter().position(|m| *m == head).map(|m| m as i8 + 1);
    }
    number(captures, "m").map(|m| m as i8)
}

fn date(y: i16, m: i8, d: i8) -> Option<Kind> {
    Some(Kind::Date { value: Date::new(y, m, d).ok()?.to_string() })
}

fn calendar(captures: &Captures<'_>, today: Date) -> Option<Kind> {
    let y = number(captures, "y").unwrap_or(today.year());
    date(y, month_of(captures)?, number(captures, "d")? as i8)
}

/// `03/04/2026` is read day first, unless only the other reading is a date.
fn day_first(captures: &Captures<'_>, _: Date) -> Option<Kind> {
    let (d, m, y) = (number(captures, "d")?, number(captures, "m")?, number(captures, "y")?);
    date(y, m as i8, d as i8).or_else(|| date(y, d as i8, m as i8))
}

fn instant(captures: &Captures<'_>, _: Date) -> Option<Kind> {
    let text = captures.get(0)?.as_str().replacen(' ', "T", 1);
    let seconds = if text.len() > 16 && text.as_bytes()[16] == b':' {
        text
    } else {
        format!("{}:00{}", &text[..16], &text[16..])
    };
    Some(Kind::DateTime { value: seconds })
}

fn period(start: Date, end: Date) -> Kind {
    Kind::Period { start: start.to_string(), end: end.to_string() }
}

fn month(captures: &Captures<'_>, today: Date) -> Option<Kind> {
    let y = number(captures, "y").unwrap_or(today.year());
    let start = Date::new(y, month_of(captures)?, 1).ok()?;
    Some(period(start, start.checked_add(1.month()).ok()?))
}

fn year(captures: &Captures<'_>, _: Date) -> Option<Kind> {
    year_of(number(captures, "y")?)
}

fn year_of(y: i16) -> Option<Kind> {
    let start = Date::new(y, 1, 1).ok()?;
    Some(period(start, start.checked_add(1.year()).ok()?))
}

fn chinese_year(captures: &Captures<'_>, today: Date) -> Option<Kind> {
    match captures.get(0)?.as_str() {
        "去年" => year_of(today.year() - 1),
        "明年" => year_of(today.year() + 1),
        _ => year_of(today.year()),
    }
}

fn relative(captures: &Captures<'_>, today: Date) -> Option<Kind> {
    let days = match captures.get(0)?.as_str().to_lowercase().as_str() {
        "tomorrow" | "明天" | "明日" => 1,
        "後天" | "后天" => 2,
        "yesterday" | "昨天" | "昨日" => -1,
        "前天" => -2,
        _ => 0,
    };
    Some(Kind::Date { value: today.checked_add(days.days()).ok()?.to_string() })
}

/// `next Tuesday` is the Tuesday of the coming week; a bare one is the next to come.
fn weekday(captures: &Captures<'_>, today: Date) -> Option<Kind> {
    let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let word = captures.name("wd")?.as_str().to_lowercase();
    let offset = names
        .iter()
        .position(|n| *n == word)
        .or_else(|| "一二三四五六日".chars().position(|c| word.starts_with(c)))
        .or_else(|| (word == "天").then_some(6))? as i64;
    let monday =
        today.checked_sub(i64::from(today.weekday().since(Weekday::Monday)).days()).ok()?;
    let which = captures.name("which").map(|w| w.as_str().to_lowercase());
    let weeks = match which.as_deref() {
        Some("next" | "下") => 1,
        Some("last" | "上") => -1,
        Some("this" | "這" | "这" | "本") => 0,
        _ => {
            let this = monday.checked_add(offset.days()).ok()?;
            i64::from(this < today)
        }
    };
    let day = monday.checked_add((weeks * 7 + offset).days()).ok()?;
    Some(Kind::Date { value: day.to_string() })
}

fn window(captures: &Captures<'_>, today: Date) -> Option<Kind> {
    let step = match captures.name("which")?.as_str().to_lowercase().as_str() {
        "next" | "下" => 1,
        "last" | "上" => -1,
        _ => 0,
    };
    let unit = captures.name("unit")?.as_str().to_lowercase();
    match unit.as_str() {
        "week" | "週" | "周" | "星期" => {
            let monday =
                today.checked_sub(i64::from(today.weekday().since(Weekday::Monday)).days()).ok()?;
            let start = monday.checked_add((step * 7).days()).ok()?;
            Some(period(start, start.checked_add(7.days()).ok()?))
        }
        "month" | "月" => {
            let start = today.first_of_month().checked_add(step.months()).ok()?;
            Some(period(start, start.checked_add(1.month()).ok()?))
        }
        _ => year_of(today.year() + step as i16),
    }
}
