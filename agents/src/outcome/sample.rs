//! Samples in one pass, and the difference of two of them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::distribution::{critical, two_sided};

/// Why there is no interval.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatError {
    /// An arm is too small for a variance.
    #[error("the {arm} arm has {found} units with a value; {need} are needed")]
    TooFew {
        /// Which arm.
        arm: &'static str,
        /// Units that it has.
        found: usize,
        /// Units that are needed.
        need: usize,
    },
    /// Nothing varies.
    #[error("every unit shows the same value; there is nothing to test")]
    Flat,
    /// A value is infinite or not a number, or the denominators of an arm add up to nothing.
    #[error("the values do not add up to a finite {0}")]
    NotFinite(&'static str),
}

/// Count, mean and sum of squared deviations of a sample.
///
/// # Source
/// Welford 1962, *Note on a method for calculating corrected sums of squares and products*.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Values seen.
    pub n: f64,
    /// Their mean.
    pub mean: f64,
    /// Their squared deviations from the mean, summed.
    pub squares: f64,
}

impl Sample {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.n += 1.0;
        let off = value - self.mean;
        self.mean += off / self.n;
        self.squares += off * (value - self.mean);
    }

    /// Returns the variance per value (n − 1); 0 below two values.
    pub fn variance(&self) -> f64 {
        if self.n < 2.0 { 0.0 } else { self.squares / (self.n - 1.0) }
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sample = Self::default();
        values.into_iter().for_each(|value| sample.add(value));
        sample
    }
}

/// A difference, treatment minus control, with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Lower end of the interval.
    pub low: f64,
    /// The difference itself.
    pub estimate: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Standard error.
    pub error: f64,
    /// Degrees of freedom; absent where the normal was used.
    pub freedom: Option<f64>,
    /// Two-sided p-value of no difference.
    pub p: f64,
}

impl Difference {
    /// Builds the symmetric interval of an estimate with a standard error.
    ///
    /// # Errors
    /// [`StatError::Flat`] ⇐ the error is 0; [`StatError::NotFinite`].
    pub fn of(
        estimate: f64,
        error: f64,
        freedom: Option<f64>,
        alpha: f64,
    ) -> Result<Self, StatError> {
        if !estimate.is_finite() || !error.is_finite() {
            return Err(StatError::NotFinite("difference"));
        }
        if error <= 0.0 {
            return Err(StatError::Flat);
        }
        let half = critical(alpha, freedom) * error;
        Ok(Self {
            low: estimate - half,
            estimate,
            high: estimate + half,
            error,
            freedom,
            p: two_sided(estimate / error, freedom),
        })
    }

    /// Returns the same difference seen from the other side.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { low: -self.high, estimate: -self.estimate, high: -self.low, ..self }
    }
}

/// Checks that both arms have a variance.
pub(super) fn enough(control: usize, treatment: usize, need: usize) -> Result<(), StatError> {
    for (arm, found) in [("control", control), ("treatment", treatment)] {
        if found < need {
            return Err(StatError::TooFew { arm, found, need });
        }
    }
    Ok(())
}

/// Returns the difference of means with unequal variances.
///
/// # Errors
/// [`StatError`] as its variants say.
///
/// # Source
/// Welch 1947; degrees of freedom by Welch and Satterthwaite.
pub fn welch(control: &Sample, treatment: &Sample, alpha: f64) -> Result<Difference, StatError> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    enough(control.n as usize, treatment.n as usize, 2)?;
    let (of_c, of_t) = (control.variance() / control.n, treatment.variance() / treatment.n);
    let all = of_c + of_t;
    if all <= 0.0 {
        return Err(StatError::Flat);
    }
    // Shares of the variance instead of variances: their squares cannot overflow.
    let (share_c, share_t) = (of_c / all, of_t / all);
    let freedom =
        1.0 / (share_c * share_c / (control.n - 1.0) + share_t * share_t / (treatment.n - 1.0));
    Difference::of(treatment.mean - control.mean, all.sqrt(), Some(freedom), alpha)
}

/// Returns the mean of paired differences with its interval (one-sample t).
///
/// # Errors
/// [`StatError`] as its variants say.
pub fn paired(differences: &[f64], alpha: f64) -> Result<Difference, StatError> {
    enough(differences.len(), differences.len(), 2)?;
    let sample: Sample = differences.iter().copied().collect();
    let error = (sample.variance() / sample.n).sqrt();
    Difference::of(sample.mean, error, Some(sample.n - 1.0), alpha)
}
