//! When a schedule is next: cron patterns in a time zone, safe over changes of its clock.
//!
//! A fixed time that a change to summer time skips comes right after the gap; one that the change
//! back repeats comes once. Patterns have minutes as their smallest unit.
//!
//! # Source
//! POSIX.1-2017, *crontab*; Vixie cron's handling of clock changes; IANA time zones.

use std::cmp::Ordering;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

/// Most instants that are counted as missed; more is said as this many.
const MOST_MISSED: i32 = 10_000;

/// A pattern and its time zone.
#[derive(Debug)]
pub struct Clock {
    cron: croner::Cron,
    zone: TimeZone,
}

impl Clock {
    /// Reads a pattern of five fields (`0 9 * * MON-FRI`) or a name such as `@daily`.
    ///
    /// # Errors
    /// What is wrong with the pattern or the time zone.
    pub fn new(pattern: &str, timezone: &str) -> Result<Self, String> {
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(pattern).map_err(|error| {
            format!("`{pattern}` is no schedule ({error}); five fields are needed, such as `0 9 * * MON-FRI`")
        })?;
        let zone = TimeZone::get(timezone)
            .map_err(|_| format!("`{timezone}` is no IANA time zone, such as `Asia/Taipei`"))?;
        Ok(Self { cron, zone })
    }

    /// Returns the first instant after `at`; `None` when there is none.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        let at = Local(at.to_zoned_datetime(self.zone.clone()));
        self.cron.find_next_occurrence(&at, false).ok().map(|next| next.0.timestamp())
    }

    /// Counts the instants after `from` up to `now`, and returns the first one after `now`.
    pub fn pass(&self, from: Timestamp, now: Timestamp) -> (i32, Option<Timestamp>) {
        let (mut passed, mut at) = (0, from);
        while let Some(next) = self.next(at) {
            if next > now || passed == MOST_MISSED {
                break;
            }
            passed += 1;
            at = next;
        }
        (passed, self.next(now))
    }
}

/// A time of a zone, as the pattern's search walks over it.
#[derive(Debug, Clone)]
struct Local(ZonedDateTime);

fn part(value: i8) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

fn small(value: u32) -> i8 {
    i8::try_from(value).unwrap_or(-1)
}

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let at = self.0.datetime();
        // A jiff time has parts that exist.
        let date =
            CivilDate::from_parts_unchecked(i32::from(at.year()), part(at.month()), part(at.day()));
        let time =
            CivilTime::from_parts_unchecked(part(at.hour()), part(at.minute()), part(at.second()));
        CivilDateTime::new(date, time)
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(part(self.0.weekday().to_sunday_zero_offset()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let at = DateTime::new(
            year,
            small(civil.month()),
            small(civil.day()),
            small(civil.hour()),
            small(civil.minute()),
            small(civil.second()),
            0,
        )
        .map_err(|_| CronError::InvalidDate)?;
        let ambiguous = self.0.time_zone().to_ambiguous_zoned_datetime(at);
        let invalid = |_| CronError::InvalidTime;
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                Resolution::Single(Self(ambiguous.unambiguous().map_err(invalid)?))
            }
            AmbiguousOffset::Fold { .. } => Resolution::Ambiguous(
                Self(ambiguous.clone().earlier().map_err(invalid)?),
                Self(ambiguous.later().map_err(invalid)?),
            ),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn walk(clock: &Clock, from: &str, count: usize) -> Vec<String> {
        let mut now = at(from);
        (0..count)
            .map(|_| {
                now = clock.next(now).unwrap();
                now.to_string()
            })
            .collect()
    }

    #[test]
    fn a_day_of_the_joint_venture_begins_in_its_own_time_zone() {
        let clock = Clock::new("30 9 * * MON-FRI", "Asia/Taipei").unwrap();
        // Friday 2026-11-27 09:30 in Taipei, then Monday.
        let found = walk(&clock, "2026-11-27T00:00:00Z", 2);
        assert_eq!(found, ["2026-11-27T01:30:00Z", "2026-11-30T01:30:00Z"]);
    }

    #[test]
    fn a_time_that_summer_time_skips_comes_after_the_gap_and_a_repeated_one_once() {
        let clock = Clock::new("30 2 * * *", "Europe/Berlin").unwrap();
        // On 2026-03-29 the clock goes from 02:00 to 03:00, which is 01:00 UTC.
        let found = walk(&clock, "2026-03-28T12:00:00Z", 2);
        assert_eq!(found, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        // On 2026-10-25 it goes from 03:00 back to 02:00: 02:30 is 00:30 UTC and again 01:30 UTC.
        let found = walk(&clock, "2026-10-24T12:00:00Z", 2);
        assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn instants_that_passed_unseen_are_counted() {
        let clock = Clock::new("@hourly", "UTC").unwrap();
        let (missed, next) = clock.pass(at("2026-01-01T00:00:00Z"), at("2026-01-01T05:20:00Z"));
        assert_eq!((missed, next), (5, Some(at("2026-01-01T06:00:00Z"))));
        let (missed, _) = clock.pass(at("2026-01-01T05:00:00Z"), at("2026-01-01T05:20:00Z"));
        assert_eq!(missed, 0);
    }

    #[test]
    fn what_is_no_pattern_or_no_zone_is_said() {
        for pattern in ["", "* * *", "61 * * * *", "* * * * * *", "soon", "0 0 31 2 *"] {
            let made = Clock::new(pattern, "UTC");
            let never = made.is_ok_and(|clock| clock.next(at("2026-01-01T00:00:00Z")).is_none());
            assert!(never || Clock::new(pattern, "UTC").is_err(), "{pattern}");
        }
        assert!(Clock::new("@daily", "Mars/Olympus").unwrap_err().contains("IANA"));
    }
}
