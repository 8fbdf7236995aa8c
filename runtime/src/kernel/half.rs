//! Products with numbers of half precision, read as they are.

use pulp::{Arch, Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
use super::half_x86;
use super::{Rows, RowsMut, fits};

/// Computes `y = x · wᵀ` for weights given as bits of f16.
///
/// # Shapes
/// `x: [n, k]`, `w: [m, k]` contiguous, `y: [n, m]`.
pub(crate) fn half_dots(x: Rows<'_>, w: &[u16], k: usize, mut y: RowsMut<'_>) {
    assert!(fits(x.data.len(), x.rows, x.stride, k));
    assert!(fits(y.data.len(), x.rows, y.stride, w.len() / k));
    #[cfg(target_arch = "x86_64")]
    if half_x86::fits_width(k) {
        return half_x86::dots(x, w, k, &mut y);
    }
    Arch::new().dispatch(HalfDots { x, w, k, y: y.data, stride: y.stride });
}

/// Computes `y += p · v` for values given as bits of f16.
///
/// # Shapes
/// `p: [n, len]`, `v: [len, width]` contiguous, `y: [n, width]` contiguous.
pub(crate) fn accumulate_halves(p: Rows<'_>, v: &[u16], width: usize, y: &mut [f32]) {
    assert!(y.len() >= p.rows * width && fits(p.data.len(), p.rows, p.stride, v.len() / width));
    #[cfg(target_arch = "x86_64")]
    if half_x86::fits_width(width) {
        return half_x86::mix(p, v, width, y);
    }
    Arch::new().dispatch(WeightedHalves { p, v, width, y });
}

/// Dot products of each row of `w`, given as bits of f16, with each row of `x`.
pub(super) struct HalfDots<'a> {
    pub(super) x: Rows<'a>,
    pub(super) w: &'a [u16],
    pub(super) k: usize,
    pub(super) y: &'a mut [f32],
    pub(super) stride: usize,
}

impl WithSimd for HalfDots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, w, k, y, stride } = self;
        for (at, row) in w.chunks_exact(k).enumerate() {
            for n in 0..x.rows {
                y[n * stride + at] = half_dot(&x.data[n * x.stride..][..k], row);
            }
        }
    }
}

#[inline(always)]
fn half_dot(x: &[f32], w: &[u16]) -> f32 {
    let mut sums = [0.0_f32; 32];
    let (x_blocks, x_rest) = x.as_chunks::<32>();
    let (w_blocks, w_rest) = w.as_chunks::<32>();
    for (x, w) in x_blocks.iter().zip(w_blocks) {
        for i in 0..32 {
            sums[i] += widen(w[i]) * x[i];
        }
    }
    let mut lanes = [0.0_f32; 8];
    for (i, sum) in sums.iter().enumerate() {
        lanes[i % 8] += sum;
    }
    let rest: f32 = x_rest.iter().zip(w_rest).map(|(x, w)| x * widen(*w)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Widens a finite f16 exactly, in integer steps that the compiler turns into vector code.
#[inline(always)]
pub(super) fn widen(bits: u16) -> f32 {
    // Difference of the exponent biases, 127 - 15; it also makes subnormal halves normal.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    // Sign extension puts the sign at the top; the mask clears its copies above the exponent.
    let wide = (i32::from(bits.cast_signed()) << 13).cast_unsigned() & 0x8fff_e000;
    f32::from_bits(wide) * REBIAS
}

/// Sum of the rows of `v`, given as bits of f16, weighted by each row of `p`.
struct WeightedHalves<'a> {
    p: Rows<'a>,
    v: &'a [u16],
    width: usize,
    y: &'a mut [f32],
}

impl WithSimd for WeightedHalves<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const PART: usize = 64;
        let Self { p, v, width, y } = self;
        for n in 0..p.rows {
            let weights = &p.data[n * p.stride..];
            let y = &mut y[n * width..][..width];
            let (parts, rest) = y.as_chunks_mut::<PART>();
            // Sums of a part stay in registers while its columns are run down.
            for (part, sums) in parts.iter_mut().enumerate() {
                let mut own = *sums;
                for (row, weight) in v.chunks_exact(width).zip(weights) {
                    let row = &row[part * PART..][..PART];
                    for i in 0..PART {
                        own[i] += weight * widen(row[i]);
                    }
                }
                *sums = own;
            }
            let start = parts.len() * PART;
            for (row, weight) in v.chunks_exact(width).zip(weights) {
                for (y, v) in rest.iter_mut().zip(&row[start..]) {
                    *y += weight * widen(*v);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::super::{accumulate, matmul};
    use super::*;

    #[test]
    fn every_finite_half_widens_exactly() {
        for bits in 0..=u16::MAX {
            let want = ::half::f16::from_bits(bits);
            if want.is_finite() {
                assert_eq!(widen(bits).to_bits(), want.to_f32().to_bits(), "{bits:04x}");
            }
        }
    }

    #[test]
    fn halves_are_weighed_as_their_widened_copy() {
        // Widths that have instructions of their own, and one that has not.
        for (n, len, width) in [(1, 5, 64), (2, 33, 128), (3, 7, 40), (1, 9, 32), (1, 3, 96)] {
            let half: Vec<u16> =
                noise(len * width, 3).iter().map(|v| ::half::f16::from_f32(*v).to_bits()).collect();
            let full: Vec<f32> = half.iter().map(|h| widen(*h)).collect();
            let (x, p) = (noise(n * width, 4), noise(n * len, 5));
            let (mut a, mut b) = (vec![0.0; n * len], vec![0.0; n * len]);
            let rows = Rows { data: &x, rows: n, stride: width };
            matmul(rows, &full, len, width, RowsMut { data: &mut a, stride: len }, false);
            half_dots(rows, &half, width, RowsMut { data: &mut b, stride: len });
            let (mut c, mut d) = (vec![0.25; n * width], vec![0.25; n * width]);
            let weights = Rows { data: &p, rows: n, stride: len };
            accumulate(weights, &full, len, width, &mut c);
            accumulate_halves(weights, &half, width, &mut d);
            for (a, b) in a.iter().zip(&b).chain(c.iter().zip(&d)) {
                assert!((a - b).abs() < 1e-4, "{n} {len} {width}: {a} {b}");
            }
        }
    }
}
