//! How many calls a key may make: so many a minute, evened out, with a burst of a minute's worth.
//!
//! Each replica counts for itself, in memory: a limit keeps one caller from taking the server away from the
//! others, and is no quota to be billed by.
//!
//! # Source
//! The generic cell rate algorithm (ITU-T I.371, annex A); draft-ietf-httpapi-ratelimit-headers-10 for
//! `RateLimit` and `RateLimit-Policy`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// The span that a limit is about.
const SPAN: Duration = Duration::from_mins(1);

/// Keys from which on those are forgotten whose calls are long made up for.
const MANY: usize = 10_000;

/// The limit of every key.
#[derive(Debug, Default)]
pub struct Limit {
    /// Calls a minute; 0 for any number.
    per_minute: u32,
    /// When each key will have made up for its calls.
    until: Mutex<HashMap<Uuid, Instant>>,
}

/// What a key has left after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Calls a minute.
    pub limit: u32,
    /// Calls that may follow at once.
    pub left: u32,
    /// How long to wait where the call was one too many; zero where it was taken.
    pub wait: Duration,
    /// How long until everything is made up for.
    pub whole: Duration,
}

impl Limit {
    /// Limits every key to so many calls a minute; 0 limits none.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, until: Mutex::default() }
    }

    /// Counts a call; `None` where nothing is limited. A call that is one too many is not counted.
    pub fn take(&self, key: Uuid, now: Instant) -> Option<Standing> {
        if self.per_minute == 0 {
            return None;
        }
        let each = SPAN / self.per_minute;
        let mut all = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > MANY {
            all.retain(|_, until| *until > now);
        }
        let until = all.entry(key).or_insert(now);
        let after = (*until).max(now) + each;
        let owed = after.duration_since(now);
        if owed > each * self.per_minute {
            let wait = owed - each * self.per_minute;
            let whole = until.duration_since(now);
            return Some(Standing { limit: self.per_minute, left: 0, wait, whole });
        }
        *until = after;
        let left = (each * self.per_minute - owed).as_nanos() / each.as_nanos().max(1);
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        Some(Standing { limit: self.per_minute, left, wait: Duration::ZERO, whole: owed })
    }
}

/// Where the extractor of a key leaves what the key has left.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<OnceLock<Standing>>);

impl Told {
    /// Leaves it.
    pub fn tell(&self, standing: Standing) {
        // One key is read a request; a second would say the same.
        let _told = self.0.set(standing);
    }
}

/// Whole seconds, rounded up: who waits as long is not early.
fn seconds(of: Duration) -> u64 {
    of.as_secs() + u64::from(of.subsec_nanos() > 0)
}

/// Says on every answer to a key what it has left.
pub async fn limited(mut request: Request, next: Next) -> Response {
    let told = Told::default();
    request.extensions_mut().insert(told.clone());
    let mut response = next.run(request).await;
    if let Some(standing) = told.0.get() {
        let policy = format!("\"key\";q={};w={}", standing.limit, SPAN.as_secs());
        let state = format!("\"key\";r={};t={}", standing.left, seconds(standing.whole));
        let headers = response.headers_mut();
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if !standing.wait.is_zero() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(standing.wait)));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_burst_then_its_rate_and_another_key_its_own() {
        let limit = Limit::new(60);
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let start = Instant::now();
        for call in 0..60 {
            let standing = limit.take(one, start).unwrap();
            assert_eq!((standing.left, standing.wait), (59 - call, Duration::ZERO));
        }
        let refused = limit.take(one, start).unwrap();
        assert_eq!((refused.left, refused.wait), (0, Duration::from_secs(1)));
        assert_eq!(limit.take(two, start).unwrap().left, 59);
        // Refusals are not counted: whoever waits as long as was said gets through, once.
        let later = start + refused.wait;
        assert!(limit.take(one, later).unwrap().wait.is_zero());
        assert!(!limit.take(one, later).unwrap().wait.is_zero());
        let rested = limit.take(one, later + SPAN).unwrap();
        assert_eq!((rested.left, seconds(rested.whole)), (59, 1));
    }

    #[test]
    fn no_limit_limits_nobody() {
        let limit = Limit::default();
        assert_eq!(limit.take(Uuid::nil(), Instant::now()), None);
    }
}
