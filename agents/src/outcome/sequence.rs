//! An interval that may be looked at every day: it holds at all times at once.

use super::sample::{Difference, StatError};

/// Fewest units of an arm before the sequence is read: it is an asymptotic one.
pub const BURN_IN: f64 = 50.0;

/// Returns the mixture's parameter that makes the sequence narrowest near `units` of both arms.
///
/// # Source
/// Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, *Time-uniform central limit theory and
/// asymptotic confidence sequences*, Annals of Statistics 52(6), appendix B.2 (arXiv:2103.06476).
pub fn rho(units: f64, alpha: f64) -> f64 {
    let level = -2.0 * alpha.ln();
    ((level + level.ln() + 1.0) / units.max(1.0)).sqrt()
}

/// Widens the interval of a difference of `units` units, of both arms together, to the asymptotic
/// confidence sequence; `planned` are the units that were expected when the experiment began. `p` is
/// the always-valid p-value of this look.
///
/// # Errors
/// [`StatError::TooFew`] ⇐ no unit yet.
///
/// # Source
/// As [`rho`], theorem 2.2: half width σ √(2 (tρ² + 1) / (t²ρ²) · ln(√(tρ² + 1) / α)), with σ² = t
/// times the squared standard error; the p-value is the α at which 0 lies on the edge.
pub fn always_valid(
    fixed: &Difference,
    units: f64,
    planned: f64,
    alpha: f64,
) -> Result<Difference, StatError> {
    if units < 1.0 {
        return Err(StatError::TooFew { arm: "control", found: 0, need: 2 });
    }
    let spread = units * rho(planned, alpha).powi(2);
    let wide = (2.0 * (spread + 1.0) / spread * ((spread + 1.0).sqrt() / alpha).ln()).sqrt();
    let half = fixed.error * wide;
    let z = fixed.estimate / fixed.error;
    let log_p = 0.5 * (spread + 1.0).ln() - z * z * spread / (2.0 * (spread + 1.0));
    Ok(Difference {
        low: fixed.estimate - half,
        high: fixed.estimate + half,
        freedom: None,
        p: log_p.exp().min(1.0),
        ..*fixed
    })
}
