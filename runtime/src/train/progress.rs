//! How a training run comes along.

use std::time::{Duration, Instant};

use super::pass::{Pack, Seen};

/// Where a training run stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Share of the budget that is spent, 0 to 1.
    pub done: f64,
    /// Cross-entropy of the last steps, nats a token.
    pub loss: f64,
    /// Share of the last steps' examples that were right to the last token.
    pub exact: f64,
    /// Tokens a second, shared heads counted once.
    pub tokens_per_s: f64,
    /// Examples a second.
    pub examples_per_s: f64,
}

/// Counts what the steps since the last report saw.
#[derive(Debug)]
pub(super) struct Meter {
    since: Instant,
    loss: f64,
    targets: usize,
    exact: usize,
    examples: usize,
    tokens: usize,
}

impl Default for Meter {
    fn default() -> Self {
        Self { since: Instant::now(), loss: 0.0, targets: 0, exact: 0, examples: 0, tokens: 0 }
    }
}

impl Meter {
    /// Counts a step.
    pub(super) fn add(&mut self, seen: &Seen, batch: &[&Pack]) {
        self.loss += seen.loss;
        self.exact += seen.exact.iter().filter(|e| **e).count();
        self.examples += seen.exact.len();
        self.targets += batch.iter().map(|pack| pack.targets.len()).sum::<usize>();
        self.tokens += batch.iter().map(|pack| pack.tokens.len()).sum::<usize>();
    }

    /// Returns what was seen since the last time, if that is `every` ago.
    pub(super) fn tell(&mut self, step: usize, done: f64, every: Duration) -> Option<Progress> {
        let elapsed = self.since.elapsed();
        if elapsed < every {
            return None;
        }
        let seconds = elapsed.as_secs_f64();
        let progress = Progress {
            step,
            done,
            loss: self.loss / self.targets as f64,
            exact: self.exact as f64 / self.examples as f64,
            tokens_per_s: self.tokens as f64 / seconds,
            examples_per_s: self.examples as f64 / seconds,
        };
        *self = Self::default();
        Some(progress)
    }
}
