//! Dense arithmetic on `f32` slices: products of a few or of many rows, and the exponentials.
//!
//! Vector instructions are chosen at run time (AVX2 with FMA, or what the machine has). Few rows are
//! limited by reading the weights once, so they take a row-dot kernel; many rows are limited by
//! arithmetic, so they go to the blocked `gemm` crate.

#[cfg(target_arch = "x86_64")]
mod amx;
mod arena;
mod half;
#[cfg(target_arch = "x86_64")]
mod half_x86;
mod int8;
mod matrix;
pub(crate) mod team;
mod tiles;

pub(crate) use half::{accumulate_halves, half_dots};
pub(crate) use matrix::Matrix;
pub use tiles::Packing;
pub(crate) use tiles::{BLOCK, Stored, Tiles, numbers, round_block};

use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};

/// Up to this many rows the row-dot kernel beats blocking and packing.
const FEW_ROWS: usize = 6;

/// Multiply-adds below which waking a second thread costs more than it saves.
const PARALLEL_WORK: usize = 1 << 20;

/// Weight rows computed together: eight accumulators hide the latency of the multiply-add.
const ROW_BLOCK: usize = 8;

/// A matrix in a slice by the distances of its entries: `[i, j]` is at `i * rows + j * columns`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// The numbers.
    pub(crate) data: &'a [f32],
    /// Numbers from one row to the next.
    pub(crate) rows: usize,
    /// Numbers from one column to the next.
    pub(crate) columns: usize,
}

impl View<'_> {
    /// Whether all of `m` rows and `n` columns lie within the slice, and the entries of a row or of
    /// a column are next to each other.
    fn holds(&self, m: usize, n: usize) -> bool {
        let last = m.saturating_sub(1) * self.rows + n.saturating_sub(1) * self.columns;
        (self.rows == 1 || self.columns == 1) && last < self.data.len()
    }
}

/// Tells whether this machine multiplies in bfloat16 faster than in `f32`.
pub(crate) fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = amx::available();
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Computes `c = (add ? c : 0) + scale · a · b` with operands rounded to bfloat16 and sums in `f32`,
/// on the caller's thread. `false` ⇐ the machine has no such instructions; nothing is written then.
///
/// # Shapes
/// `(m, n, k)`: `a: [m, k]`, `b: [k, n]`, `c: [m, n]` with rows `stride` apart.
pub(crate) fn product_bf16(
    shape: (usize, usize, usize),
    a: View<'_>,
    b: View<'_>,
    c: (&mut [f32], usize),
    scale: f32,
    add: bool,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if amx::available() {
        amx::product(shape, a, b, c, scale, add);
        return true;
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (shape, a, b, c, scale, add);
    false
}

/// A row-major matrix within a slice: `rows` rows of which each starts `stride` after the last.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// The numbers.
    pub(crate) data: &'a [f32],
    /// Rows in all.
    pub(crate) rows: usize,
    /// Numbers from one row's start to the next.
    pub(crate) stride: usize,
}

/// A row-major matrix to be written.
pub(crate) struct RowsMut<'a> {
    /// The numbers.
    pub(crate) data: &'a mut [f32],
    /// Numbers from one row's start to the next.
    pub(crate) stride: usize,
}

/// Computes `y = x · wᵀ`.
///
/// # Shapes
/// `x: [n, k]`, `w: [m, k]` contiguous, `y: [n, m]`.
pub(crate) fn matmul(x: Rows<'_>, w: &[f32], m: usize, k: usize, y: RowsMut<'_>, parallel: bool) {
    assert!(w.len() >= m * k && fits(x.data.len(), x.rows, x.stride, k));
    assert!(fits(y.data.len(), x.rows, y.stride, m));
    let work = x.rows * m * k;
    if x.rows > FEW_ROWS {
        let threads = parallel && work >= PARALLEL_WORK;
        product((x.rows, m, k), y, false, x, (w, 1, k), threads);
        return;
    }
    if parallel && work >= PARALLEL_WORK && x.rows == 1 {
        let half = m / 2 / ROW_BLOCK * ROW_BLOCK;
        let (left, right) = y.data[..m].split_at_mut(half);
        let (w_left, w_right) = w[..m * k].split_at(half * k);
        rayon::join(
            || Arch::new().dispatch(RowDots { x, w: w_left, k, y: left, stride: half }),
            || Arch::new().dispatch(RowDots { x, w: w_right, k, y: right, stride: m - half }),
        );
        return;
    }
    Arch::new().dispatch(RowDots { x, w: &w[..m * k], k, y: y.data, stride: y.stride });
}

/// Computes `y += p · v`.
///
/// # Shapes
/// `p: [n, len]`, `v: [len, width]` contiguous, `y: [n, width]` contiguous.
pub(crate) fn accumulate(p: Rows<'_>, v: &[f32], len: usize, width: usize, y: &mut [f32]) {
    assert!(v.len() >= len * width && y.len() >= p.rows * width);
    assert!(fits(p.data.len(), p.rows, p.stride, len));
    if p.rows > FEW_ROWS {
        let out = RowsMut { data: y, stride: width };
        product((p.rows, width, len), out, true, p, (v, width, 1), false);
    } else {
        Arch::new().dispatch(WeightedSum { p, v: &v[..len * width], width, y });
    }
}

/// Returns the product of two equally long vectors.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut out = [0.0];
    let x = Rows { data: a, rows: 1, stride: a.len() };
    Arch::new().dispatch(RowDots { x, w: b, k: a.len(), y: &mut out, stride: 1 });
    out[0]
}

/// Writes `silu(gate) * up` for a matrix whose rows hold the gate half and then the up half.
///
/// # Shapes
/// `gate_up: [n, 2 * width]` → `out: [n, width]`.
pub(crate) fn silu_mul(gate_up: &[f32], width: usize, out: &mut [f32]) {
    Arch::new().dispatch(SiluMul { gate_up, width, out });
}

/// Turns a row of scores into probabilities in place.
pub(crate) fn softmax(row: &mut [f32]) {
    Arch::new().dispatch(Softmax { row });
}

// Structures and not closures: a closure reaches the dispatcher through a call that is not inlined,
// and is then compiled without the vector instructions.
struct SiluMul<'a> {
    gate_up: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl WithSimd for SiluMul<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.gate_up.chunks_exact(2 * self.width);
        for (pair, out) in rows.zip(self.out.chunks_exact_mut(self.width)) {
            let (gate, up) = pair.split_at(self.width);
            for ((o, g), u) in out.iter_mut().zip(gate).zip(up) {
                *o = g / (1.0 + exp(-g)) * u;
            }
        }
    }
}

struct Softmax<'a> {
    row: &'a mut [f32],
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let row = self.row;
        let max = reduce(row, f32::NEG_INFINITY, larger);
        for value in row.iter_mut() {
            *value = exp(*value - max);
        }
        let scale = 1.0 / reduce(row, 0.0, sum);
        for value in row.iter_mut() {
            *value *= scale;
        }
    }
}

#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[inline(always)]
pub(crate) fn sum(a: f32, b: f32) -> f32 {
    a + b
}

/// Folds a row in sixteen lanes: a single chain would wait for each operation's latency.
#[inline(always)]
pub(crate) fn reduce(row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; 16];
    let (blocks, rest) = row.as_chunks::<16>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = f(*lane, *value);
        }
    }
    let sum = lanes.iter().fold(start, |a, b| f(a, *b));
    rest.iter().fold(sum, |a, b| f(a, *b))
}

/// Returns `e^x` to about two units in the last place, in a form the compiler turns into vector code.
///
/// # Source
/// Range reduction by `ln 2` in two parts and the degree-5 polynomial of Cephes `expf`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5·2²³ rounds to an integer without a call.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // The low bits of the shifted number are the integer, so they become the exponent.
    let bits = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    p * f32::from_bits(bits)
}

/// Whether `rows` rows of `width` numbers, `stride` apart, lie within `len` numbers.
fn fits(len: usize, rows: usize, stride: usize, width: usize) -> bool {
    rows == 0 || (rows - 1) * stride + width <= len
}

/// Blocked product: `y (+)= x · w`, with `w` given by its strides from row to row and column to column.
///
/// # Shapes
/// `(n, m, k)`: `x: [n, k]`, `w: [k, m]`, `y: [n, m]`.
#[expect(clippy::needless_pass_by_value, reason = "a view to write into is used up")]
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers; bounds are asserted before")]
fn product(
    (n, m, k): (usize, usize, usize),
    y: RowsMut<'_>,
    add: bool,
    x: Rows<'_>,
    (w, w_row, w_column): (&[f32], usize, usize),
    threads: bool,
) {
    if n == 0 || m == 0 || k == 0 {
        return;
    }
    assert!(fits(y.data.len(), n, y.stride, m) && fits(x.data.len(), n, x.stride, k));
    assert!((k - 1) * w_row + (m - 1) * w_column < w.len());
    let parallelism = if threads { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: the assertions above keep every index that the strides and sizes reach within the
    // slices, and `y` is borrowed exclusively, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            n,
            m,
            k,
            y.data.as_mut_ptr(),
            1,
            y.stride.cast_signed(),
            add,
            x.data.as_ptr(),
            1,
            x.stride.cast_signed(),
            w.as_ptr(),
            w_column.cast_signed(),
            w_row.cast_signed(),
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Dot products of each row of `w` with each row of `x`.
struct RowDots<'a> {
    x: Rows<'a>,
    w: &'a [f32],
    k: usize,
    y: &'a mut [f32],
    stride: usize,
}

impl WithSimd for RowDots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, w, k, y, stride } = self;
        if k == 0 {
            return;
        }
        for (block, rows) in w.chunks(ROW_BLOCK * k).enumerate() {
            for n in 0..x.rows {
                let input = &x.data[n * x.stride..][..k];
                let at = n * stride + block * ROW_BLOCK;
                if rows.len() == ROW_BLOCK * k {
                    dot_block(simd, input, rows, k, &mut y[at..at + ROW_BLOCK]);
                } else {
                    for (row, out) in rows.chunks_exact(k).zip(&mut y[at..]) {
                        *out = dot_one(simd, input, row);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn dot_block<S: Simd>(simd: S, x: &[f32], rows: &[f32], k: usize, out: &mut [f32]) {
    let (x_head, x_tail) = S::as_simd_f32s(x);
    let len = x_head.len();
    let mut heads: [&[S::f32s]; ROW_BLOCK] = [&[]; ROW_BLOCK];
    let mut tails: [&[f32]; ROW_BLOCK] = [&[]; ROW_BLOCK];
    for r in 0..ROW_BLOCK {
        let (head, tail) = S::as_simd_f32s(&rows[r * k..][..k]);
        heads[r] = &head[..len];
        tails[r] = &tail[..x_tail.len()];
    }
    let mut sums = [simd.splat_f32s(0.0); ROW_BLOCK];
    for i in 0..len {
        for r in 0..ROW_BLOCK {
            sums[r] = simd.mul_add_e_f32s(x_head[i], heads[r][i], sums[r]);
        }
    }
    for r in 0..ROW_BLOCK {
        let mut sum = simd.reduce_sum_f32s(sums[r]);
        for i in 0..x_tail.len() {
            sum += x_tail[i] * tails[r][i];
        }
        out[r] = sum;
    }
}

#[inline(always)]
fn dot_one<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a_head, a_tail) = S::as_simd_f32s(a);
    let (b_head, b_tail) = S::as_simd_f32s(b);
    let b_head = &b_head[..a_head.len()];
    let mut sums = [simd.splat_f32s(0.0); 4];
    let mut i = 0;
    while i + 4 <= a_head.len() {
        for r in 0..4 {
            sums[r] = simd.mul_add_e_f32s(a_head[i + r], b_head[i + r], sums[r]);
        }
        i += 4;
    }
    while i < a_head.len() {
        sums[0] = simd.mul_add_e_f32s(a_head[i], b_head[i], sums[0]);
        i += 1;
    }
    let left = simd.add_f32s(sums[0], sums[1]);
    let right = simd.add_f32s(sums[2], sums[3]);
    let mut sum = simd.reduce_sum_f32s(simd.add_f32s(left, right));
    for (a, b) in a_tail.iter().zip(b_tail) {
        sum += a * b;
    }
    sum
}

/// Sum of the rows of `v`, weighted by each row of `p`.
struct WeightedSum<'a> {
    p: Rows<'a>,
    v: &'a [f32],
    width: usize,
    y: &'a mut [f32],
}

impl WithSimd for WeightedSum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { p, v, width, y } = self;
        for n in 0..p.rows {
            let weights = &p.data[n * p.stride..];
            let (y_head, y_tail) = S::as_mut_simd_f32s(&mut y[n * width..][..width]);
            for (row, weight) in v.chunks_exact(width).zip(weights) {
                let (head, tail) = S::as_simd_f32s(row);
                let scale = simd.splat_f32s(*weight);
                for (y, v) in y_head.iter_mut().zip(head) {
                    *y = simd.mul_add_e_f32s(scale, *v, *y);
                }
                for (y, v) in y_tail.iter_mut().zip(tail) {
                    *y += weight * v;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn noise(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn products_of_few_and_many_rows_agree_with_the_sum_by_hand() {
        for (n, m, k) in [
            (1, 1, 1),
            (1, 19, 7),
            (3, 24, 32),
            (6, 9, 33),
            (7, 16, 40),
            (20, 5, 3),
            (1, 2050, 520),
        ] {
            let (x, w) = (noise(n * k, 1), noise(m * k, 2));
            let mut y = vec![0.0; n * m];
            let rows = Rows { data: &x, rows: n, stride: k };
            matmul(rows, &w, m, k, RowsMut { data: &mut y, stride: m }, true);
            let mut back = vec![0.5; n * k];
            let p = Rows { data: &y, rows: n, stride: m };
            accumulate(p, &w, m, k, &mut back);
            for i in 0..n {
                for j in 0..m {
                    let want: f32 = (0..k).map(|c| x[i * k + c] * w[j * k + c]).sum();
                    assert!((y[i * m + j] - want).abs() < 1e-4 * (k as f32), "{n} {m} {k}");
                }
                for c in 0..k {
                    let want: f32 = 0.5 + (0..m).map(|j| y[i * m + j] * w[j * k + c]).sum::<f32>();
                    assert!((back[i * k + c] - want).abs() < 1e-3 * (m as f32), "{n} {m} {k}");
                }
            }
        }
    }

    #[test]
    fn the_fast_exponential_is_exact_to_a_few_units_in_the_last_place() {
        for step in -8600..8700 {
            let x = step as f32 / 100.0;
            let (got, want) = (exp(x), x.exp());
            assert!((got - want).abs() <= want * 4e-7, "{x}: {got} {want}");
        }
    }
}
