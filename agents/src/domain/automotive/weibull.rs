//! Weibull lives: survival, fit with running parts, and the age at which to replace.

use statrs::function::gamma::{gamma, gamma_lr};

/// A law of lives: shape without unit, scale in the unit of the lives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weibull {
    pub shape: f64,
    pub scale: f64,
}

/// A part's life, or its age while it still runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub life: f64,
    pub failed: bool,
}

/// Shapes between which a fit is sought; a shape above says that the lives do not spread.
const SHAPES: (f64, f64) = (0.01, 100.0);

/// Halvings of an interval; more would be below the precision of a double.
const HALVINGS: usize = 100;

impl Weibull {
    fn hazard(&self, age: f64) -> f64 {
        (age / self.scale).powf(self.shape)
    }

    /// Probability of reaching `age`.
    pub(super) fn survival(&self, age: f64) -> f64 {
        (-self.hazard(age)).exp()
    }

    /// Probability of failing within `horizon` of a part that has reached `age`: 1 − R(t+h)/R(t).
    pub(super) fn fails_within(&self, age: f64, horizon: f64) -> f64 {
        let step = self.hazard(age + horizon) - self.hazard(age);
        // Both hazards may be beyond the numbers; such a part does not survive.
        if step.is_nan() { 1.0 } else { (-(-step).exp_m1()).clamp(0.0, 1.0) }
    }

    /// Age that makes the cost per unit of life least; `None` ⇐ waiting for failure is no dearer.
    ///
    /// The derivative of `(Cp R + Cf (1 − R)) / ∫R` is zero where
    /// `h(t) ∫R − (1 − R(t)) = Cp / (Cf − Cp)`; the left side grows with t for a shape above 1.
    ///
    /// # Source
    /// Barlow and Hunter (1960), Optimum preventive maintenance policies, policy I.
    pub(super) fn best_age(&self, planned: f64, failure: f64) -> Option<f64> {
        if self.shape <= 1.0 || failure <= planned || planned <= 0.0 {
            return None;
        }
        let wanted = planned / (failure - planned);
        let k = self.shape;
        let whole = gamma(1.0 + 1.0 / k);
        let left = |x: f64| {
            let power = x.powf(k);
            let lived = if power > 0.0 { whole * gamma_lr(1.0 / k, power) } else { 0.0 };
            k * x.powf(k - 1.0) * lived + (-power).exp_m1()
        };
        let mut high = 1.0;
        while left(high) < wanted {
            high *= 2.0;
            // Hardly any part would live so long, so there is no age worth planning for.
            if high > 64.0 || high.powf(k) > 700.0 {
                return None;
            }
        }
        let age = bisect(0.0, high, |x| left(x) - wanted) * self.scale;
        age.is_finite().then_some(age)
    }
}

/// Finds the zero of a growing function between two ends.
fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if f(middle) < 0.0 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// Fits a law by maximum likelihood, running parts as right-censored; `None` ⇐ no part failed, or
/// the lives do not tell a shape.
///
/// The scale is eliminated, which leaves `Σ tᵏ ln t / Σ tᵏ − 1/k − mean(ln t of the failed) = 0`, a
/// function that grows with k.
///
/// # Source
/// Cohen (1965), Maximum likelihood estimation in the Weibull distribution based on complete and on
/// censored samples, Technometrics 7(4).
pub(super) fn fit(lives: &[Life]) -> Option<Weibull> {
    let longest = lives.iter().map(|life| life.life).fold(0.0, f64::max);
    if !longest.is_finite() || lives.iter().any(|life| life.life <= 0.0) {
        return None;
    }
    // Lives are taken as shares of the longest, so that no power leaves the range of a double.
    let logs: Vec<f64> = lives.iter().map(|life| (life.life / longest).ln()).collect();
    let failures = f64::from(u32::try_from(lives.iter().filter(|life| life.failed).count()).ok()?);
    if failures < 1.0 {
        return None;
    }
    let failed = lives.iter().zip(&logs).filter(|(life, _)| life.failed);
    let mean = failed.map(|(_, log)| log).sum::<f64>() / failures;
    let sums = |k: f64| {
        logs.iter().fold((0.0, 0.0), |(sum, weighted), log| {
            let power = (k * log).exp();
            (sum + power, weighted + power * log)
        })
    };
    let profile = |k: f64| {
        let (sum, weighted) = sums(k);
        weighted / sum - 1.0 / k - mean
    };
    if profile(SHAPES.0) >= 0.0 || profile(SHAPES.1) <= 0.0 {
        return None;
    }
    let shape = bisect(SHAPES.0, SHAPES.1, profile);
    let scale = (sums(shape).0 / failures).powf(1.0 / shape) * longest;
    Some(Weibull { shape, scale })
}
