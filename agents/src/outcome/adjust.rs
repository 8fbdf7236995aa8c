//! What is done to the values of units before they are compared: the covariate of the time before
//! (CUPED), ratios made linear (delta method), a cap for heavy tails.

use super::distribution::count;
use super::sample::StatError;

/// Smallest share of explained variance for which an adjustment is worth its assumption.
pub const WORTHWHILE: f64 = 0.1;

/// The values of both arms after an adjustment.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjusted {
    /// Values of the control arm.
    pub control: Vec<f64>,
    /// Values of the treatment arm.
    pub treatment: Vec<f64>,
    /// Slope of the value on the covariate, within arms.
    pub theta: f64,
    /// Share of the variance within arms that the covariate explains, ρ².
    pub explained: f64,
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = count(values.len().max(1));
    values.sum::<f64>() / n
}

/// Takes out of each value what the covariate of the same unit, seen before the experiment began,
/// explains: y − θ (x − mean of all x), with θ pooled within arms so that the effect itself cannot
/// move it. Pairs are (value, covariate).
///
/// # Source
/// Deng, Xu, Kohavi and Walker 2013, *Improving the sensitivity of online controlled experiments by
/// utilizing pre-experiment data*, section 3.
pub fn cuped(control: &[(f64, f64)], treatment: &[(f64, f64)]) -> Adjusted {
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for arm in [control, treatment] {
        let (of_y, of_x) = (mean(arm.iter().map(|p| p.0)), mean(arm.iter().map(|p| p.1)));
        for (y, x) in arm {
            xx += (x - of_x) * (x - of_x);
            xy += (x - of_x) * (y - of_y);
            yy += (y - of_y) * (y - of_y);
        }
    }
    let theta = if xx > 0.0 { xy / xx } else { 0.0 };
    let explained = if xx > 0.0 && yy > 0.0 { xy * xy / (xx * yy) } else { 0.0 };
    let n = count((control.len() + treatment.len()).max(1));
    let middle = control.iter().chain(treatment).map(|p| p.1).sum::<f64>() / n;
    let moved = |arm: &[(f64, f64)]| arm.iter().map(|(y, x)| y - theta * (x - middle)).collect();
    Adjusted { control: moved(control), treatment: moved(treatment), theta, explained }
}

/// Turns the ratio of sums of an arm into one value a unit, whose mean is the ratio and whose
/// variance is that of the delta method. Pairs are (numerator, denominator).
///
/// # Errors
/// [`StatError::NotFinite`] ⇐ the denominators add up to nothing.
///
/// # Source
/// Deng, Knoblich and Lu 2018, *Applying the delta method in metric analytics*, section 3.
pub fn linear(arm: &[(f64, f64)]) -> Result<Vec<f64>, StatError> {
    let (above, below) = (mean(arm.iter().map(|p| p.0)), mean(arm.iter().map(|p| p.1)));
    if below <= 0.0 || !below.is_finite() || !above.is_finite() {
        return Err(StatError::NotFinite("ratio"));
    }
    let ratio = above / below;
    Ok(arm.iter().map(|(a, b)| ratio + (a - ratio * b) / below).collect())
}

/// Caps values from above, as was fixed before the start.
pub fn winsorised(values: &[f64], cap: f64) -> Vec<f64> {
    values.iter().map(|value| value.min(cap)).collect()
}

/// Returns the quantile of values by linear interpolation, for choosing a cap from the time before.
/// `share` is held to 0..=1; `None` ⇐ there are no values.
///
/// # Source
/// Hyndman and Fan 1996, definition 7.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted_quantile(&sorted, share)
}

/// As [`quantile`], of values in order.
pub(super) fn sorted_quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * count(last);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held to 0..=last")]
    let below = place.floor() as usize;
    let (low, high) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    Some(low + (high - low) * (place - place.floor()))
}
