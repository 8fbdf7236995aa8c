//! Root-mean-square normalisation.

use crate::kernel::dot;

/// Writes `x / rms(x) * weight` for each row.
///
/// # Shapes
/// `x: [n, width]`, `weight: [width]` → `out: [n, width]`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let scale = inverse_rms(x, eps);
        for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
            *o = x * scale * w;
        }
    }
}

/// Normalises rows as wide as `weight` in place; without a weight, does nothing.
pub(crate) fn rms_norm_rows(x: &mut [f32], weight: &[f32], eps: f32) {
    if weight.is_empty() {
        return;
    }
    for row in x.chunks_exact_mut(weight.len()) {
        let scale = inverse_rms(row, eps);
        for (x, w) in row.iter_mut().zip(weight) {
            *x = *x * scale * w;
        }
    }
}

fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt()
}
