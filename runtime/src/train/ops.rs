//! What training does entry by entry, compiled for the machine's widest vectors.
//!
//! The bodies are plain loops that the compiler vectorises; [`vectorised!`] compiles each once for
//! every instruction set and picks one at run time.

use pulp::{Arch, Simd, WithSimd};

use crate::kernel::{exp, larger, reduce, sum};

/// Defines functions whose bodies are compiled for each instruction set; references carry `'a`.
macro_rules! vectorised {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block)*) => {
        $(
            $(#[$meta])*
            pub(super) fn $name<'a>($($arg: $type),*) $(-> $out)? {
                struct Work<'a> {
                    $($arg: $type,)*
                    of: std::marker::PhantomData<&'a ()>,
                }
                impl<'a> WithSimd for Work<'a> {
                    type Output = vectorised!(@out $($out)?);

                    #[inline(always)]
                    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
                        let Self { $($arg,)* of: _ } = self;
                        $body
                    }
                }
                Arch::new().dispatch(Work { $($arg,)* of: std::marker::PhantomData })
            }
        )*
    };
    (@out) => { () };
    (@out $out:ty) => { $out };
}

/// Lanes of a sum that does not wait for itself.
const LANES: usize = 16;

/// Returns `Σ f(i)` for `i` below `len`, in lanes.
#[inline(always)]
fn total(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = len / LANES * LANES;
    let mut at = 0;
    while at < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(at + lane);
        }
        at += LANES;
    }
    lanes.iter().sum::<f32>() + (whole..len).map(f).sum::<f32>()
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Returns the inverse root mean square of a row.
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (total(x.len(), |i| x[i] * x[i]) / x.len() as f32 + eps).sqrt()
}

/// Norms a row by the inverse of its root mean square.
#[inline(always)]
fn norm_row(x: &[f32], gain: &[f32], inv: f32, out: &mut [f32]) {
    for i in 0..gain.len() {
        out[i] = x[i] * inv * gain[i];
    }
}

/// Adds the gradients of [`norm_row`] by its input and its gain.
#[inline(always)]
fn norm_row_back(x: &[f32], gain: &[f32], inv: f32, dy: &[f32], dx: &mut [f32], dgain: &mut [f32]) {
    let d = gain.len();
    let (x, dy, dx, dgain) = (&x[..d], &dy[..d], &mut dx[..d], &mut dgain[..d]);
    let mean = total(d, |i| dy[i] * gain[i] * x[i]) * inv * inv / d as f32;
    for i in 0..d {
        dgain[i] += dy[i] * x[i] * inv;
        dx[i] += inv * (dy[i] * gain[i] - x[i] * mean);
    }
}

vectorised! {
    /// Norms rows of the gain's width by their root mean squares, whose inverses go to `invs`.
    fn rms(x: &'a [f32], gain: &'a [f32], eps: f32, out: &'a mut [f32], invs: &'a mut [f32]) {
        let d = gain.len();
        for ((x, out), inv) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)).zip(invs) {
            *inv = inverse_rms(x, eps);
            norm_row(x, gain, *inv, out);
        }
    }

    /// Norms rows again by inverses that [`rms`] gave.
    fn normed(x: &'a [f32], gain: &'a [f32], invs: &'a [f32], out: &'a mut [f32]) {
        let d = gain.len();
        for ((x, out), inv) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)).zip(invs) {
            norm_row(x, gain, *inv, out);
        }
    }

    /// Adds the gradients of [`rms`] by its input and its gain.
    fn rms_back(
        x: &'a [f32],
        gain: &'a [f32],
        invs: &'a [f32],
        dy: &'a [f32],
        dx: &'a mut [f32],
        dgain: &'a mut [f32],
    ) {
        let d = gain.len();
        for (((x, dy), dx), inv) in
            x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(invs)
        {
            norm_row_back(x, gain, *inv, dy, dx, dgain);
        }
    }

    /// Adds the gradients of one normed row, whose inverse root mean square is computed again.
    fn norm_back(
        x: &'a [f32],
        gain: &'a [f32],
        eps: f32,
        dy: &'a [f32],
        dx: &'a mut [f32],
        dgain: &'a mut [f32],
    ) {
        norm_row_back(x, gain, inverse_rms(x, eps), dy, dx, dgain);
    }

    /// Norms and turns one head of a row: `to = rotate(from / rms · gain)`.
    fn turn(
        from: &'a [f32],
        gain: &'a [f32],
        eps: f32,
        cos: &'a [f32],
        sin: &'a [f32],
        to: &'a mut [f32],
    ) {
        let half = cos.len();
        let inv = inverse_rms(from, eps);
        let (a, b) = from.split_at(half);
        let (gain_a, gain_b) = gain.split_at(half);
        let (to_a, to_b) = to.split_at_mut(half);
        for i in 0..half {
            let (a, b) = (a[i] * inv * gain_a[i], b[i] * inv * gain_b[i]);
            to_a[i] = a * cos[i] - b * sin[i];
            to_b[i] = b * cos[i] + a * sin[i];
        }
    }

    /// Turns the gradient of one head back: the inverse of the rotation in [`turn`].
    fn turn_back(from: &'a [f32], cos: &'a [f32], sin: &'a [f32], to: &'a mut [f32]) {
        let half = cos.len();
        let (a, b) = from.split_at(half);
        let (to_a, to_b) = to.split_at_mut(half);
        for i in 0..half {
            to_a[i] = a[i] * cos[i] + b[i] * sin[i];
            to_b[i] = b[i] * cos[i] - a[i] * sin[i];
        }
    }

    /// Turns rows of `n` scores into probabilities; row `i` sees the first `seen + i / per` of them and
    /// the rest become zero. The rows' log-sum-exps go to `lse`.
    fn softmax_rows(
        scores: &'a mut [f32],
        n: usize,
        seen: usize,
        per: usize,
        lse: &'a mut [f32],
    ) {
        for (i, (row, lse)) in scores.chunks_exact_mut(n).zip(lse).enumerate() {
            let (row, rest) = row.split_at_mut((seen + i / per).min(n));
            let max = reduce(row, f32::NEG_INFINITY, larger);
            row.iter_mut().for_each(|v| *v = exp(*v - max));
            let all = reduce(row, 0.0, sum);
            let scale = 1.0 / all;
            row.iter_mut().for_each(|v| *v *= scale);
            rest.fill(0.0);
            *lse = max + all.ln();
        }
    }

    /// Turns rows of `n` scores into the probabilities that [`softmax_rows`] gave with these `lse`.
    fn probabilities(scores: &'a mut [f32], n: usize, seen: usize, per: usize, lse: &'a [f32]) {
        for (i, (row, lse)) in scores.chunks_exact_mut(n).zip(lse).enumerate() {
            let (row, rest) = row.split_at_mut((seen + i / per).min(n));
            row.iter_mut().for_each(|v| *v = exp(*v - lse));
            rest.fill(0.0);
        }
    }

    /// Turns gradients by probabilities into gradients by scores, `p · (dp − means)`, in place.
    fn softmax_back(dp: &'a mut [f32], p: &'a [f32], n: usize, means: &'a [f32]) {
        for ((dp, p), mean) in dp.chunks_exact_mut(n).zip(p.chunks_exact(n)).zip(means) {
            dp.iter_mut().zip(p).for_each(|(dp, p)| *dp = (*dp - mean) * p);
        }
    }

    /// Writes the gradient of [`crate::kernel::silu_mul`] by its input over that input.
    fn swiglu_back(wide: &'a mut [f32], dout: &'a [f32], inner: usize) {
        for (wide, dout) in wide.chunks_exact_mut(2 * inner).zip(dout.chunks_exact(inner)) {
            let (gate, up) = wide.split_at_mut(inner);
            for i in 0..inner {
                let (g, u) = (gate[i], up[i]);
                let s = sigmoid(g);
                gate[i] = dout[i] * u * s * (1.0 + g * (1.0 - s));
                up[i] = dout[i] * g * s;
            }
        }
    }

    /// Turns a row of logits into the gradient of `weight` times its cross-entropy with `target`;
    /// returns the cross-entropy and whether the target was the likeliest.
    fn cross_entropy(row: &'a mut [f32], target: usize, weight: f32) -> (f32, bool) {
        let max = reduce(row, f32::NEG_INFINITY, larger);
        let said = row[target];
        // The first of equals counts as the likeliest.
        let right = said >= max && row[..target].iter().all(|v| *v < max);
        row.iter_mut().for_each(|v| *v = exp(*v - max));
        let all = reduce(row, 0.0, sum);
        let scale = weight / all;
        row.iter_mut().for_each(|v| *v *= scale);
        row[target] -= weight;
        (max + all.ln() - said, right)
    }

    /// Adds `scale · from` to `to`.
    fn add_scaled(to: &'a mut [f32], scale: f32, from: &'a [f32]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += scale * from);
    }

    /// Multiplies by a factor.
    fn scale(values: &'a mut [f32], by: f32) {
        values.iter_mut().for_each(|v| *v *= by);
    }

    /// One step of AdamW on a part of the weights: see [`super::adam`].
    fn adam(
        weights: &'a mut [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
        grad: &'a [f32],
        decay: &'a [f32],
        by: Step,
    ) {
        let len = weights.len();
        let (first, second) = (&mut first[..len], &mut second[..len]);
        let (grad, decay) = (&grad[..len], &decay[..len]);
        for i in 0..len {
            let g = grad[i] * by.scale;
            first[i] = by.beta1 * first[i] + (1.0 - by.beta1) * g;
            second[i] = by.beta2 * second[i] + (1.0 - by.beta2) * g * g;
            let moved = first[i] * by.c1 / ((second[i] * by.c2).sqrt() + by.eps);
            weights[i] -= by.rate * (moved + decay[i] * weights[i]);
        }
    }
}

/// Settings of one step of AdamW.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Factor of the gradient.
    pub(super) scale: f32,
    /// Learning rate.
    pub(super) rate: f32,
    /// Decay of the first moment.
    pub(super) beta1: f32,
    /// Decay of the second moment.
    pub(super) beta2: f32,
    /// Correction of the first moment's start at zero.
    pub(super) c1: f32,
    /// Correction of the second moment's start at zero.
    pub(super) c2: f32,
    /// Keeps the quotient finite.
    pub(super) eps: f32,
}
