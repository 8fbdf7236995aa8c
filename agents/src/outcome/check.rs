//! What must hold before an interval is shown, and what several metrics at once cost.

use super::distribution::two_sided;

/// Sample-ratio checks below this p-value stop the read-out.
///
/// # Source
/// Fabijan et al. 2019, *Diagnosing sample ratio mismatch in online controlled experiments*.
pub const RATIO_LIMIT: f64 = 0.001;

/// Returns the p-value of the arms' sizes against the planned share of treatment: chi-square with one
/// degree of freedom. 1 where nobody is in either arm.
pub fn sample_ratio(control: f64, treatment: f64, share: f64) -> f64 {
    let (want_t, want_c) = ((control + treatment) * share, (control + treatment) * (1.0 - share));
    if want_t <= 0.0 || want_c <= 0.0 {
        return 1.0;
    }
    let chi = (control - want_c).powi(2) / want_c + (treatment - want_t).powi(2) / want_t;
    two_sided(chi.sqrt(), None)
}

/// Returns p-values adjusted for being several, in the order given.
///
/// # Source
/// Holm 1979, *A simple sequentially rejective multiple test procedure*.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![1.0; p.len()];
    let (mut left, mut floor) = (super::distribution::count(p.len()), 0.0_f64);
    for i in order {
        floor = floor.max((p[i] * left).min(1.0));
        adjusted[i] = floor;
        left -= 1.0;
    }
    adjusted
}
