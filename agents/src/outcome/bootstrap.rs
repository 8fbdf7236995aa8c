//! The interval of a difference by drawing the units anew, for tails that a variance does not
//! describe. The generator is written out here, because both parties must draw the same units
//! whatever library and version they use.

use super::adjust::sorted_quantile;
use super::distribution::{count, critical, two_sided};
use super::sample::{Difference, Sample, StatError, enough, welch};

/// SplitMix64.
///
/// # Source
/// Steele, Lea and Flood 2014, *Fast splittable pseudorandom number generators*.
#[derive(Debug, Clone)]
pub struct Splitmix(u64);

impl Splitmix {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws 64 bits.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Draws a mean of as many values with replacement.
fn redrawn(values: &[f64], chance: &mut Splitmix) -> f64 {
    let n = values.len() as u64;
    let mut sum = 0.0;
    for _ in 0..n {
        // The upper 32 bits scaled to the length; its bias is below 2^-32 times the length.
        let place = ((chance.draw() >> 32) * n) >> 32;
        sum += values[usize::try_from(place).unwrap_or(0)];
    }
    sum / count(values.len())
}

/// Returns the share of redrawn differences to leave out on either side. Redrawn means scatter less
/// than means of new units do, by the difference between n and n - 1, and a normal tail is thinner than
/// Student's; both are made up for by going further out.
fn tail(control: &Sample, treatment: &Sample, alpha: f64) -> Result<f64, StatError> {
    let whole = welch(control, treatment, alpha)?;
    let redrawn = |sample: &Sample| sample.variance() * (sample.n - 1.0) / (sample.n * sample.n);
    let short = whole.error / (redrawn(control) + redrawn(treatment)).sqrt();
    Ok(two_sided(short * critical(alpha, whole.freedom), None) / 2.0)
}

/// Returns the difference of means with the expanded percentile interval of `times` redrawn experiments.
/// `error` is the standard deviation of the redrawn differences; `p` is twice the share of them
/// beyond 0 on the smaller side, at least 2 / `times`. Below some 200 units an arm the interval of a
/// heavy tail is still a little short: of log-normal values with 80 an arm it covers 94 %.
///
/// # Errors
/// [`StatError`] as its variants say.
///
/// # Source
/// Efron and Tibshirani 1993, *An introduction to the bootstrap*, chapters 8 and 13; Hesterberg 2015,
/// *What teachers should know about the bootstrap*, for the expansion, here of two arms; Davison and
/// Hinkley 1997, *Bootstrap methods and their application*, section 5.2.3, for the place (R + 1) p.
pub fn bootstrap(
    control: &[f64],
    treatment: &[f64],
    times: usize,
    seed: u64,
    alpha: f64,
) -> Result<Difference, StatError> {
    enough(control.len(), treatment.len(), 2)?;
    let of = |values: &[f64]| values.iter().copied().collect::<Sample>();
    let (arms, mut chance) = ((of(control), of(treatment)), Splitmix::new(seed));
    let tail = tail(&arms.0, &arms.1, alpha)?;
    let mut drawn: Vec<f64> = (0..times.max(2))
        .map(|_| redrawn(treatment, &mut chance) - redrawn(control, &mut chance))
        .collect();
    drawn.sort_by(f64::total_cmp);
    let sample = of(&drawn);
    // The quantile function counts places from 0 to the last; (R + 1) p counts from 1.
    let last = count(drawn.len() - 1);
    let place = |p: f64| (((last + 2.0) * p - 1.0) / last).clamp(0.0, 1.0);
    let (Some(low), Some(high)) =
        (sorted_quantile(&drawn, place(tail)), sorted_quantile(&drawn, place(1.0 - tail)))
    else {
        return Err(StatError::Flat);
    };
    if !sample.mean.is_finite() {
        return Err(StatError::NotFinite("difference"));
    }
    if sample.variance() <= 0.0 {
        return Err(StatError::Flat);
    }
    let below = drawn.partition_point(|d| *d < 0.0);
    let beyond = below.min(drawn.len() - below).max(1);
    Ok(Difference {
        low,
        estimate: arms.1.mean - arms.0.mean,
        high,
        error: sample.variance().sqrt(),
        freedom: None,
        p: (2.0 * count(beyond) / count(drawn.len())).min(1.0),
    })
}
