//! Dates and times as files write them, and the instants that they mean in a time zone.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::DatasetError;

/// How dates of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Year, month, day: `2026-03-31`, `2026/3/31`, `20260331`.
    Ymd,
    /// Day, month, year: `31.03.2026`.
    Dmy,
    /// Month, day, year: `03/31/2026`.
    Mdy,
    /// Seconds since 1970-01-01T00:00:00Z.
    EpochS,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    EpochMs,
    /// Days since 1899-12-30, as sheets count them.
    Excel,
}

impl Order {
    /// Every way, in the order in which they are tried.
    pub const ALL: [Self; 6] =
        [Self::Ymd, Self::Dmy, Self::Mdy, Self::EpochS, Self::EpochMs, Self::Excel];

    /// Returns the name of the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ymd => "ymd",
            Self::Dmy => "dmy",
            Self::Mdy => "mdy",
            Self::EpochS => "epoch_s",
            Self::EpochMs => "epoch_ms",
            Self::Excel => "excel",
        }
    }

    /// Returns an example for people.
    pub fn example(self) -> &'static str {
        match self {
            Self::Ymd => "2026-03-31 14:00",
            Self::Dmy => "31.03.2026 14:00",
            Self::Mdy => "03/31/2026 2:00 PM",
            Self::EpochS => "1774965600",
            Self::EpochMs => "1774965600000",
            Self::Excel => "46112.5833",
        }
    }
}

/// A date, with a time of day and an offset where the text has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: DateTime,
    pub(super) has_time: bool,
    pub(super) offset: Option<Offset>,
    /// Whether the offset was written as `Z`.
    pub(super) zulu: bool,
}

/// Looks up a time zone; none is UTC.
///
/// # Errors
/// [`DatasetError::Mapping`] at `/timezone`.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, DatasetError> {
    match name {
        None | Some("UTC" | "") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| {
            DatasetError::mapping(
                "/timezone",
                format!("`{name}` is no IANA time zone such as Asia/Taipei or Europe/Berlin"),
            )
        }),
    }
}

struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    /// Takes up to `most` digits; returns how many there were and what they say.
    fn digits(&mut self, most: usize) -> Option<(usize, i32)> {
        let count = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(count);
        let number = digits.parse().ok()?;
        self.0 = rest;
        Some((count, number))
    }

    fn take(&mut self, part: &str) -> bool {
        match self.0.strip_prefix(part) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn any(&mut self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.take(part))
    }

    fn month(&mut self) -> Option<i32> {
        const MONTHS: [&str; 12] =
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        let count = self.0.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (word, rest) = self.0.split_at(count);
        let word = word.get(..3)?.to_ascii_lowercase();
        let at = MONTHS.iter().position(|month| *month == word)?;
        self.0 = rest;
        i32::try_from(at + 1).ok()
    }
}

const SEPARATORS: [&str; 7] = ["-", "/", ".", "年", "月", "日", " "];

fn year(count: usize, number: i32) -> Option<i16> {
    match count {
        4 => i16::try_from(number).ok(),
        2 => i16::try_from(2000 + number).ok(),
        _ => None,
    }
}

fn date(scan: &mut Scan<'_>, order: Order) -> Option<Date> {
    let day = |number: i32| i8::try_from(number).ok();
    let first = scan.digits(8)?;
    if first.0 == 8 {
        let number = first.1;
        return if order == Order::Ymd {
            let year = i16::try_from(number / 10_000).ok()?;
            Date::new(year, day(number / 100 % 100)?, day(number % 100)?).ok()
        } else {
            None
        };
    }
    if !scan.any(&SEPARATORS) {
        return None;
    }
    let (second, named) = match scan.month() {
        Some(month) => ((2, month), true),
        None => (scan.digits(4)?, false),
    };
    if !scan.any(&SEPARATORS) {
        return None;
    }
    let third = scan.digits(4)?;
    scan.take("日");
    let (y, m, d) = match order {
        Order::Ymd if first.0 == 4 => (first, second, third),
        Order::Dmy | Order::Mdy if first.0 == 4 => return None,
        _ if named => (third, second, first),
        Order::Dmy => (third, second, first),
        Order::Mdy => (third, first, second),
        _ => return None,
    };
    if m.0 > 2 || d.0 > 2 {
        return None;
    }
    Date::new(year(y.0, y.1)?, day(m.1)?, day(d.1)?).ok()
}

/// Reads a time of day; the second value says that it is midnight at the day's end.
fn clock(scan: &mut Scan<'_>) -> Option<(Time, bool)> {
    let early = scan.any(&["上午", "AM "]);
    let late = !early && scan.any(&["下午", "PM "]);
    scan.0 = scan.0.trim_start();
    let (_, mut hour) = scan.digits(2)?;
    if !scan.any(&[":", "時", "时", "."]) {
        return None;
    }
    let (minutes, minute) = scan.digits(2)?;
    if minutes != 2 {
        return None;
    }
    let (mut second, mut nanos) = (0, 0);
    if scan.any(&[":", "分"]) && !scan.0.is_empty() {
        second = scan.digits(2)?.1;
        if scan.any(&[".", ","]) {
            let (count, number) = scan.digits(9)?;
            nanos = number * 10_i32.pow(9 - u32::try_from(count).ok()?);
        }
    }
    scan.0 = scan.0.trim_start();
    let half = if scan.any(&["AM", "am", "a.m."]) || early {
        Some(0)
    } else if scan.any(&["PM", "pm", "p.m."]) || late {
        Some(12)
    } else {
        None
    };
    if let Some(half) = half {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + half;
    }
    let ends = hour == 24 && minute == 0 && second == 0 && nanos == 0;
    if ends {
        hour = 0;
    }
    let small = |number: i32| i8::try_from(number).ok();
    Some((Time::new(small(hour)?, small(minute)?, small(second)?, nanos).ok()?, ends))
}

fn offset(scan: &mut Scan<'_>) -> Option<(Offset, bool)> {
    if scan.any(&["Z", "z", "UTC", "GMT"]) {
        return Some((Offset::UTC, true));
    }
    let sign = if scan.take("+") {
        1
    } else if scan.take("-") || scan.take("\u{2212}") {
        -1
    } else {
        return None;
    };
    let (count, hours) = scan.digits(2)?;
    if count != 2 || hours > 25 {
        return None;
    }
    let minutes = if scan.take(":") || !scan.0.is_empty() { scan.digits(2)?.1 } else { 0 };
    if minutes > 59 {
        return None;
    }
    Some((Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?, false))
}

/// Reads a date or a time; `None` ⇐ it is not written in this way.
pub(super) fn moment(text: &str, order: Order) -> Option<Moment> {
    let utc = |at: Timestamp| Moment {
        at: Offset::UTC.to_datetime(at),
        has_time: true,
        offset: Some(Offset::UTC),
        zulu: true,
    };
    match order {
        Order::EpochS => {
            return text.parse().ok().and_then(|s| Timestamp::from_second(s).ok()).map(utc);
        }
        Order::EpochMs => {
            return text.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(utc);
        }
        Order::Excel => return excel(text),
        Order::Ymd | Order::Dmy | Order::Mdy => {}
    }
    let mut scan = Scan(text);
    let date = date(&mut scan, order)?;
    if scan.0.is_empty() {
        let at = date.to_datetime(Time::midnight());
        return Some(Moment { at, has_time: false, offset: None, zulu: false });
    }
    if !scan.any(&["T", "t", " ", ":"]) {
        return None;
    }
    scan.0 = scan.0.trim_start();
    let (time, ends) = clock(&mut scan)?;
    scan.0 = scan.0.trim_start();
    let mut at = date.to_datetime(time);
    if ends {
        at = at.checked_add(Span::new().days(1)).ok()?;
    }
    if scan.0.is_empty() {
        return Some(Moment { at, has_time: true, offset: None, zulu: false });
    }
    let (offset, zulu) = offset(&mut scan)?;
    scan.0.is_empty().then_some(Moment { at, has_time: true, offset: Some(offset), zulu })
}

fn excel(text: &str) -> Option<Moment> {
    let days: f64 = text.parse().ok().filter(|days| (1.0..2_958_466.0).contains(days))?;
    #[expect(clippy::cast_possible_truncation, reason = "below 2^42")]
    let seconds = (days * 86_400.0).round() as i64;
    let start = Date::new(1899, 12, 30).ok()?.to_datetime(Time::midnight());
    let at = start.checked_add(Span::new().try_seconds(seconds).ok()?).ok()?;
    Some(Moment { at, has_time: seconds % 86_400 != 0, offset: None, zulu: false })
}

/// Which of two instants a local time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It has one meaning.
    One(Offset),
    /// It happened twice; this one was chosen by the order of the lines.
    Chosen(Offset),
    /// Clocks skipped it.
    None,
}

/// The last instant of a series, by which a repeated hour is told apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Last {
    at: Option<Timestamp>,
    backwards: bool,
}

impl Last {
    /// Tells whether `at` is the same instant as the last one, and remembers it.
    pub(super) fn see(&mut self, at: Timestamp) -> bool {
        let same = self.at == Some(at);
        if let Some(last) = self.at
            && !same
        {
            self.backwards = at < last;
        }
        self.at = Some(at);
        same
    }

    /// Finds what a local time means after the lines before it: in a series that goes forward the
    /// first passage of the repeated hour comes first, in one that goes back it comes last.
    pub(super) fn place(&self, at: DateTime, zone: &TimeZone) -> Meaning {
        match zone.to_ambiguous_timestamp(at).offset() {
            AmbiguousOffset::Unambiguous { offset } => Meaning::One(offset),
            AmbiguousOffset::Gap { .. } => Meaning::None,
            AmbiguousOffset::Fold { before, after } => {
                let passed = |offset: Offset| {
                    offset.to_timestamp(at).is_ok_and(|candidate| {
                        self.at.is_some_and(|last| {
                            if self.backwards { candidate >= last } else { candidate <= last }
                        })
                    })
                };
                let (first, second) =
                    if self.backwards { (after, before) } else { (before, after) };
                Meaning::Chosen(if passed(first) { second } else { first })
            }
        }
    }
}

/// Writes an instant as RFC 3339.
pub(super) fn write(out: &mut String, at: DateTime, offset: Offset, zulu: bool) {
    let two = |out: &mut String, number: i8| {
        out.push(char::from(b'0' + (number / 10).unsigned_abs()));
        out.push(char::from(b'0' + (number % 10).unsigned_abs()));
    };
    day(out, at.date());
    out.push('T');
    two(out, at.hour());
    out.push(':');
    two(out, at.minute());
    out.push(':');
    two(out, at.second());
    if at.subsec_nanosecond() != 0 {
        let digits = format!("{:09}", at.subsec_nanosecond());
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
    if zulu {
        out.push('Z');
    } else {
        let seconds = offset.seconds();
        let minutes = seconds.abs() / 60;
        let sign = if seconds < 0 { '-' } else { '+' };
        out.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    }
}

/// Writes a day as ISO 8601.
pub(super) fn day(out: &mut String, date: Date) {
    out.push_str(&format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, order: Order) -> Option<String> {
        moment(text, order).map(|m| {
            let mut out = String::new();
            write(&mut out, m.at, m.offset.unwrap_or(Offset::UTC), m.zulu || m.offset.is_none());
            out
        })
    }

    #[test]
    fn dates_and_times_are_read_in_the_order_that_is_named() {
        for (text, order, expected) in [
            ("2026-03-05", Order::Ymd, "2026-03-05T00:00:00Z"),
            ("2026/3/5 7:05", Order::Ymd, "2026-03-05T07:05:00Z"),
            ("20260305 0705", Order::Ymd, ""),
            ("20260305", Order::Ymd, "2026-03-05T00:00:00Z"),
            ("05.03.2026 23:15:30", Order::Dmy, "2026-03-05T23:15:30Z"),
            ("03/05/2026 11:15 PM", Order::Mdy, "2026-03-05T23:15:00Z"),
            ("03/05/2026 12:00 AM", Order::Mdy, "2026-03-05T00:00:00Z"),
            ("5-Mar-2026", Order::Dmy, "2026-03-05T00:00:00Z"),
            ("2026年3月5日 14:30", Order::Ymd, "2026-03-05T14:30:00Z"),
            ("2026-03-05T24:00", Order::Ymd, "2026-03-06T00:00:00Z"),
            ("2026-03-05T01:02:03.25+08:00", Order::Ymd, "2026-03-05T01:02:03.25+08:00"),
            ("2026-03-05T01:02:03+0800", Order::Ymd, "2026-03-05T01:02:03+08:00"),
            ("2026-03-05 01:02:03Z", Order::Ymd, "2026-03-05T01:02:03Z"),
            ("1774965600", Order::EpochS, "2026-03-31T14:00:00Z"),
            ("46112.5833333333", Order::Excel, "2026-03-31T14:00:00Z"),
            ("31/12/2026", Order::Mdy, ""),
            ("2026-02-30", Order::Ymd, ""),
            ("2026-03-05T25:00", Order::Ymd, ""),
            ("12.5", Order::Dmy, ""),
            ("", Order::Ymd, ""),
        ] {
            let found = said(text, order).unwrap_or_default();
            assert_eq!(found, expected, "{text} as {order:?}");
        }
    }

    #[test]
    fn a_repeated_hour_is_told_apart_by_order_in_both_directions() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let times = ["01:45", "02:00", "02:30", "02:00", "02:30", "03:00"];
        let run = |times: &mut dyn Iterator<Item = &str>| {
            let mut last = Last::default();
            let mut instants = Vec::new();
            for time in times {
                let at = moment(&format!("2026-10-25 {time}"), Order::Ymd).unwrap().at;
                let (Meaning::One(offset) | Meaning::Chosen(offset)) = last.place(at, &zone) else {
                    panic!("{time} does not exist");
                };
                let instant = offset.to_timestamp(at).unwrap();
                last.see(instant);
                instants.push(instant.to_string());
            }
            instants
        };
        let forward = run(&mut times.into_iter());
        assert!(forward.is_sorted(), "{forward:?}");
        // The first line of a series that goes back shows no direction yet, so it stands outside.
        let mut backward = run(&mut times.into_iter().rev().chain(["01:45"]));
        backward.pop();
        backward.reverse();
        assert_eq!(forward[1..], backward[1..]);
        let gap = moment("2026-03-29 02:30", Order::Ymd).unwrap().at;
        assert_eq!(Last::default().place(gap, &zone), Meaning::None);
    }
}
