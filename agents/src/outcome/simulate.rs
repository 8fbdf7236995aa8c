//! Simulated experiments of known truth: the tests and the benchmark count how often the intervals
//! hold it, and the demo joint ventures are drawn from the same generator.

use rayon::prelude::*;

use super::adjust::{cuped, linear, winsorised};
use super::bootstrap::{Splitmix, bootstrap};
use super::check::{RATIO_LIMIT, sample_ratio};
use super::distribution::count;
use super::sample::{Difference, Sample, StatError, paired, welch};
use super::sequence::{BURN_IN, always_valid};

/// Level of every interval here.
const ALPHA: f64 = 0.05;

/// Draws of the distributions that the simulations need; the same seed gives the same draws in every
/// version.
#[derive(Debug, Clone)]
pub struct Draws(Splitmix);

impl Draws {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give neighbouring states.
        let mut start = Splitmix::new(seed);
        start.draw();
        Self(Splitmix::new(start.draw()))
    }

    /// Draws uniformly from 0..1.
    pub fn uniform(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let bits = (self.0.draw() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }

    /// Draws true with a probability.
    pub fn happens(&mut self, share: f64) -> bool {
        self.uniform() < share
    }

    /// Draws a whole number from 0 up to, not including, `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        let scaled = ((self.0.draw() >> 32) * u64::from(end)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// Draws from the standard normal distribution.
    ///
    /// # Source
    /// Box and Muller 1958.
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Draws from the exponential distribution with a mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }
}

/// A design whose interval is put to the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Design {
    /// Means of arms of 40 and 160 with unequal variances.
    Means,
    /// Means adjusted by a covariate with ρ² = 0.6.
    Cuped,
    /// Ratios of sums over units of unequal size.
    Ratio,
    /// Exponential values capped at the 95 % quantile.
    Winsorised,
    /// Log-normal values, redrawn; 300 units an arm.
    Bootstrap,
    /// Sixty periods in random blocks of two, under a trend, a weekly pattern and autocorrelation.
    Switchback,
}

impl Design {
    /// Every design.
    pub const ALL: [Self; 6] = [
        Self::Means,
        Self::Cuped,
        Self::Ratio,
        Self::Winsorised,
        Self::Bootstrap,
        Self::Switchback,
    ];

    /// Returns a name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Means => "difference of means",
            Self::Cuped => "CUPED",
            Self::Ratio => "ratio, delta method",
            Self::Winsorised => "winsorised",
            Self::Bootstrap => "bootstrap",
            Self::Switchback => "switchback",
        }
    }

    /// Draws one experiment; returns its interval and the truth.
    ///
    /// # Errors
    /// [`StatError`], which no drawn experiment should give.
    pub fn run(self, seed: u64) -> Result<(Difference, f64), StatError> {
        let draws = &mut Draws::new(seed);
        match self {
            Self::Means => {
                let control: Sample = (0..40).map(|_| 10.0 + 2.0 * draws.normal()).collect();
                let treatment: Sample = (0..160).map(|_| 10.5 + 3.0 * draws.normal()).collect();
                Ok((welch(&control, &treatment, ALPHA)?, 0.5))
            }
            Self::Cuped => {
                let (control, treatment) = (pairs(60, 0.0, draws), pairs(60, 0.4, draws));
                let adjusted = cuped(&control, &treatment);
                Ok((of(&adjusted.control, &adjusted.treatment)?, 0.4))
            }
            Self::Ratio => {
                let (control, treatment) = (ratios(150, 0.55, draws), ratios(150, 0.6, draws));
                Ok((of(&linear(&control)?, &linear(&treatment)?)?, 0.6 - 0.55))
            }
            Self::Winsorised => {
                let cap = -4.0 * 0.05_f64.ln();
                let mut arm =
                    |mean: f64| -> Vec<f64> { (0..100).map(|_| draws.exponential(mean)).collect() };
                let (control, treatment) = (arm(4.0), arm(5.0));
                let held = |mean: f64| mean * (1.0 - (-cap / mean).exp());
                let truth = held(5.0) - held(4.0);
                Ok((of(&winsorised(&control, cap), &winsorised(&treatment, cap))?, truth))
            }
            Self::Bootstrap => {
                let mut arm = |more: f64| -> Vec<f64> {
                    (0..300).map(|_| more + (0.8 * draws.normal()).exp()).collect()
                };
                let (control, treatment) = (arm(0.0), arm(0.3));
                Ok((bootstrap(&control, &treatment, 300, seed, ALPHA)?, 0.3))
            }
            Self::Switchback => Ok((paired(&blocks(60, 1.5, draws), ALPHA)?, 1.5)),
        }
    }
}

fn of(control: &[f64], treatment: &[f64]) -> Result<Difference, StatError> {
    let sample = |values: &[f64]| values.iter().copied().collect::<Sample>();
    welch(&sample(control), &sample(treatment), ALPHA)
}

/// Values with a covariate that explains 60 % of their variance within an arm.
fn pairs(n: usize, effect: f64, draws: &mut Draws) -> Vec<(f64, f64)> {
    (0..n)
        .map(|_| {
            let x = draws.normal();
            (5.0 + effect + 0.6_f64.sqrt() * x + 0.4_f64.sqrt() * draws.normal(), 3.0 + x)
        })
        .collect()
}

/// Successes and attempts of units that differ in both.
fn ratios(n: usize, share: f64, draws: &mut Draws) -> Vec<(f64, f64)> {
    (0..n)
        .map(|_| {
            let attempts = 1 + draws.below(8);
            let own = share + 0.3 * (draws.uniform() - 0.5);
            let hits = (0..attempts).filter(|_| draws.happens(own)).count();
            (count(hits), f64::from(attempts))
        })
        .collect()
}

/// Differences within the blocks of a switchback.
fn blocks(periods: usize, effect: f64, draws: &mut Draws) -> Vec<f64> {
    let mut noise = draws.normal();
    let values: Vec<f64> = (0..periods)
        .map(|i| {
            noise = 0.6 * noise + 0.8 * draws.normal();
            let weekend = if i % 7 > 4 { 2.0 } else { 0.0 };
            100.0 + 0.05 * count(i) + weekend + noise
        })
        .collect();
    values
        .chunks_exact(2)
        .map(|pair| if draws.happens(0.5) { pair[1] - pair[0] } else { pair[0] - pair[1] })
        .map(|difference| difference + effect)
        .collect()
}

/// Returns the share of experiments whose interval holds the truth.
///
/// # Errors
/// [`StatError`] of the first experiment without an interval.
pub fn coverage(design: Design, experiments: u64, seed: u64) -> Result<f64, StatError> {
    let held: Vec<bool> = (0..experiments)
        .into_par_iter()
        .map(|i| {
            let (interval, truth) = design.run(seed.wrapping_add(i))?;
            Ok(interval.low <= truth && truth <= interval.high)
        })
        .collect::<Result<_, StatError>>()?;
    Ok(count(held.iter().filter(|held| **held).count()) / count(held.len()))
}

/// Returns by how much CUPED narrows: the mean over experiments of the squared standard error after
/// the adjustment divided by that before. The truth is 1 − ρ² = 0.4.
///
/// # Errors
/// As [`coverage`].
pub fn narrowing(experiments: u64, seed: u64) -> Result<f64, StatError> {
    let shares: Vec<f64> = (0..experiments)
        .into_par_iter()
        .map(|i| {
            let draws = &mut Draws::new(seed.wrapping_add(i));
            let (control, treatment) = (pairs(100, 0.0, draws), pairs(100, 0.4, draws));
            let plain = |arm: &[(f64, f64)]| arm.iter().map(|p| p.0).collect::<Vec<_>>();
            let before = of(&plain(&control), &plain(&treatment))?;
            let adjusted = cuped(&control, &treatment);
            let after = of(&adjusted.control, &adjusted.treatment)?;
            Ok((after.error / before.error).powi(2))
        })
        .collect::<Result<_, StatError>>()?;
    Ok(shares.iter().sum::<f64>() / count(shares.len()))
}

/// False positives of thirty daily looks at experiments without an effect.
#[derive(Debug, Clone, Copy)]
pub struct Peeking {
    /// Share in which the sequence excluded zero on some day.
    pub sequence: f64,
    /// Share in which a fixed interval did: what peeking costs without the sequence.
    pub fixed: f64,
}

/// Returns the false positives of daily peeking, 40 units a day for 30 days.
///
/// # Errors
/// As [`coverage`].
pub fn peeking(experiments: u64, seed: u64) -> Result<Peeking, StatError> {
    let found: Vec<(bool, bool)> = (0..experiments)
        .into_par_iter()
        .map(|i| {
            let draws = &mut Draws::new(seed.wrapping_add(i));
            let (mut control, mut treatment) = (Sample::default(), Sample::default());
            let (mut valid, mut naive) = (false, false);
            for _ in 0..30 {
                for _ in 0..20 {
                    control.add(draws.exponential(3.0));
                    treatment.add(draws.exponential(3.0));
                }
                let look = welch(&control, &treatment, ALPHA)?;
                naive |= look.low > 0.0 || look.high < 0.0;
                if control.n >= BURN_IN {
                    let look = always_valid(&look, control.n + treatment.n, 1200.0, ALPHA)?;
                    valid |= look.low > 0.0 || look.high < 0.0;
                }
            }
            Ok((valid, naive))
        })
        .collect::<Result<_, StatError>>()?;
    let share = |one: fn(&(bool, bool)) -> bool| {
        count(found.iter().filter(|f| one(f)).count()) / count(found.len())
    };
    Ok(Peeking { sequence: share(|f| f.0), fixed: share(|f| f.1) })
}

/// Returns the share of splits that the sample-ratio test stops: of balanced ones, and of ones that
/// lost a tenth of the treatment arm; 20,000 units each.
pub fn unbalanced(experiments: u64, seed: u64) -> (f64, f64) {
    let stopped: Vec<(bool, bool)> = (0..experiments)
        .into_par_iter()
        .map(|i| {
            let draws = &mut Draws::new(seed.wrapping_add(i));
            let (mut control, mut treatment, mut lost) = (0.0, 0.0, 0.0);
            for _ in 0..20_000 {
                if draws.happens(0.5) {
                    control += 1.0;
                } else {
                    treatment += 1.0;
                    lost += f64::from(u8::from(draws.happens(0.1)));
                }
            }
            let stops = |treated: f64| sample_ratio(control, treated, 0.5) < RATIO_LIMIT;
            (stops(treatment), stops(treatment - lost))
        })
        .collect();
    let n = count(stopped.len());
    let share =
        |one: fn(&(bool, bool)) -> bool| count(stopped.iter().filter(|s| one(s)).count()) / n;
    (share(|s| s.0), share(|s| s.1))
}
