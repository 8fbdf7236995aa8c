//! The limits that workers keep to: leases, time-outs, retries.

use std::time::Duration;

use rand::RngExt as _;

/// Longest wait between two tries.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The limits of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long a lease lasts without a heartbeat; so long at most rests a run whose server was
    /// killed.
    pub lease: Duration,
    /// Wait between two looks at an empty queue and at a lease that is held; a wake-up of this
    /// process ends it early.
    pub poll: Duration,
    /// Longest time of one plan or call. What takes longer is given up and tried again.
    pub step: Duration,
    /// Longest time that a run is driven in one go, between two decisions of a person.
    pub run: Duration,
    /// Most events of a journal.
    pub events: usize,
    /// Claims without a new event after which a run that keeps killing its servers is given up, once
    /// it has stood still for [`Rules::stuck`] as well. A server that is killed for other reasons takes
    /// the runs of that moment with it, again and again where it lives shorter than a plan takes.
    pub attempts: i32,
    /// Least time without a new event before a run is given up.
    pub stuck: Duration,
    /// Wait before the first further try; each one after it waits twice as long, ±20 %.
    pub backoff: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            poll: Duration::from_millis(250),
            step: Duration::from_mins(1),
            run: Duration::from_mins(10),
            events: 200,
            attempts: 20,
            stuck: Duration::from_mins(30),
            backoff: Duration::from_secs(1),
        }
    }
}

impl Rules {
    /// Returns the wait before the `try_number`-th further try, from 1. The jitter keeps runs that
    /// failed together from coming back together.
    pub fn wait(&self, try_number: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << try_number.saturating_sub(1).min(16));
        doubled.min(MAX_BACKOFF).mul_f64(rand::rng().random_range(0.8..=1.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_a_minute() {
        let rules = Rules::default();
        for (number, least, most) in [(1, 0.8, 1.2), (2, 1.6, 2.4), (4, 6.4, 9.6), (99, 48.0, 72.0)]
        {
            for _ in 0..50 {
                let wait = rules.wait(number).as_secs_f64();
                assert!((least..=most).contains(&wait), "{number}: {wait}");
            }
        }
    }
}
