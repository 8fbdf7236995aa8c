//! The interval of a difference by drawing the units anew, for tails that a variance does not
//! describe. The generator is written out here, because both parties must draw the same units
//! whatever library and version they use.

use super::adjust::sorted_quantile;
use super::distribution::count;
use super::sample::{Difference, StatError, enough};

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

/// Returns the difference of means with the percentile interval of `times` redrawn experiments.
/// `error` is the standard deviation of the redrawn differences; `p` is twice the share of them
/// beyond 0 on the smaller side, at least 2 / `times`.
///
/// # Errors
/// [`StatError`] as its variants say.
///
/// # Source
/// Efron and Tibshirani 1993, *An introduction to the bootstrap*, chapters 8 and 13.
pub fn bootstrap(
    control: &[f64],
    treatment: &[f64],
    times: usize,
    seed: u64,
    alpha: f64,
) -> Result<Difference, StatError> {
    enough(control.len(), treatment.len(), 2)?;
    let mut chance = Splitmix::new(seed);
    let mut drawn: Vec<f64> = (0..times.max(2))
        .map(|_| redrawn(treatment, &mut chance) - redrawn(control, &mut chance))
        .collect();
    drawn.sort_by(f64::total_cmp);
    let sample: super::sample::Sample = drawn.iter().copied().collect();
    let (Some(low), Some(high)) =
        (sorted_quantile(&drawn, alpha / 2.0), sorted_quantile(&drawn, 1.0 - alpha / 2.0))
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
    let of = |values: &[f64]| values.iter().sum::<f64>() / count(values.len());
    Ok(Difference {
        low,
        estimate: of(treatment) - of(control),
        high,
        error: sample.variance().sqrt(),
        freedom: None,
        p: (2.0 * count(beyond) / count(drawn.len())).min(1.0),
    })
}
