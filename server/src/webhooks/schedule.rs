//! When a delivery that failed is tried again.

use std::time::Duration;

use jiff::Timestamp;

/// Waits after the first and each further failed attempt, seconds. After the last there is none.
///
/// # Source
/// The schedule that Svix publishes: eight attempts in about 28 hours.
pub const WAITS: [u64; 7] = [5, 300, 1800, 7200, 18_000, 36_000, 36_000];

/// Share by which a wait is drawn shorter or longer, so that what failed at once does not come at once.
const JITTER: f64 = 0.2;

/// Returns the wait after the `attempt`th failure, from 1; `None` when it was the last. `asked` is what
/// the receiver asks for: never shorter than the schedule, at most twice as long. `draw` is from 0 to 1.
pub fn wait(attempt: usize, asked: Option<Duration>, draw: f64) -> Option<Duration> {
    let base = Duration::from_secs(*WAITS.get(attempt.checked_sub(1)?)?);
    if let Some(asked) = asked {
        return Some(asked.clamp(base, base * 2));
    }
    Some(base.mul_f64(1.0 - JITTER + 2.0 * JITTER * draw.clamp(0.0, 1.0)))
}

/// Reads `Retry-After`: seconds, or a date.
///
/// # Source
/// RFC 9110, section 10.2.3.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::from_secs(u64::try_from(at.as_second() - now.as_second()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schedule_holds_within_its_jitter() {
        for (attempt, seconds) in (1..).zip(WAITS) {
            let base = Duration::from_secs(seconds);
            assert_eq!(wait(attempt, None, 0.0).unwrap(), base.mul_f64(0.8));
            assert_eq!(wait(attempt, None, 0.5).unwrap().as_millis(), base.as_millis());
            assert_eq!(wait(attempt, None, 1.0).unwrap(), base.mul_f64(1.2));
            let asked = |seconds| wait(attempt, Some(Duration::from_secs(seconds)), 0.0);
            assert_eq!(asked(0), Some(base));
            assert_eq!(asked(seconds + 1), Some(base + Duration::from_secs(1)));
            assert_eq!(asked(1_000_000), Some(base * 2));
        }
        assert_eq!(
            (wait(0, None, 0.5), wait(8, None, 0.5), wait(900, None, 0.5)),
            (None, None, None)
        );
    }

    #[test]
    fn a_receiver_asks_in_seconds_or_by_a_date() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 25 Nov 2026 12:01:30 GMT", Some(90)),
            ("Wed, 25 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
