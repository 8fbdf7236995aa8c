//! The three products that a linear layer needs in training, on plain row-major slices.

use gemm::Parallelism;

use crate::kernel::{View, has_bf16, product_bf16};

/// Fewest multiply-adds of a product that is worth packing for bfloat16.
const WORTH_PACKING: usize = 1 << 13;

/// Number format of the operands of a product; sums are `f32` in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// bfloat16 where the machine multiplies it faster (AMX), else `f32`.
    #[default]
    Auto,
    /// `f32` everywhere.
    F32,
}

impl Precision {
    /// Returns what this machine makes of it: `bf16` or `f32`.
    pub fn name(self) -> &'static str {
        if self == Self::Auto && has_bf16() { "bf16" } else { "f32" }
    }
}

/// A matrix in a slice: `rows × cols`, rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) stride: usize,
}

/// The same to be written.
pub(super) struct MatMut<'a> {
    pub(super) data: &'a mut [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) stride: usize,
}

/// Views a slice as a contiguous matrix of `cols` columns.
pub(super) fn mat(data: &[f32], cols: usize) -> Mat<'_> {
    Mat { data, rows: data.len() / cols, cols, stride: cols }
}

/// Views a slice as a contiguous matrix to be written.
pub(super) fn mat_mut(data: &mut [f32], cols: usize) -> MatMut<'_> {
    let rows = data.len() / cols;
    MatMut { data, rows, cols, stride: cols }
}

/// Which operand is read transposed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `a · b`
    Plain,
    /// `a · bᵀ`
    RightT,
    /// `aᵀ · b`
    LeftT,
}

/// Computes `c = (add ? c : 0) + scale · (a ∘ b)` on the caller's thread; the workers of a step are the
/// parallel ones.
///
/// # Panics
/// If the shapes do not fit: a fault of the caller.
#[expect(clippy::needless_pass_by_value, reason = "a view to write into is used up")]
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers; bounds are asserted before")]
pub(super) fn product(
    precision: Precision,
    form: Form,
    a: Mat<'_>,
    b: Mat<'_>,
    c: MatMut<'_>,
    scale: f32,
    add: bool,
) {
    let (m, k) = if form == Form::LeftT { (a.cols, a.rows) } else { (a.rows, a.cols) };
    let (k2, n) = if form == Form::RightT { (b.cols, b.rows) } else { (b.rows, b.cols) };
    let [left, right] = views(form, a, b);
    assert!(k == k2 && c.rows == m && c.cols == n, "the shapes of a product do not fit");
    assert!(inside(a.data.len(), a.rows, a.cols, a.stride));
    assert!(inside(b.data.len(), b.rows, b.cols, b.stride));
    assert!(inside(c.data.len(), c.rows, c.cols, c.stride));
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    if precision == Precision::Auto
        && m * n * k >= WORTH_PACKING
        && product_bf16((m, n, k), left, right, (&mut *c.data, c.stride), scale, add)
    {
        return;
    }

    let i = usize::cast_signed;
    // SAFETY: the asserts above keep every index of the three matrices inside their slices, and `c`
    // is borrowed exclusively, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.data.as_mut_ptr(),
            1,
            i(c.stride),
            add,
            left.data.as_ptr(),
            i(left.columns),
            i(left.rows),
            right.data.as_ptr(),
            i(right.columns),
            i(right.rows),
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Views both operands as the product reads them.
fn views<'m>(form: Form, a: Mat<'m>, b: Mat<'m>) -> [View<'m>; 2] {
    let view = |of: Mat<'m>, turned: bool| View {
        data: of.data,
        rows: if turned { 1 } else { of.stride },
        columns: if turned { of.stride } else { 1 },
    };
    [view(a, form == Form::LeftT), view(b, form == Form::RightT)]
}

fn inside(len: usize, rows: usize, cols: usize, stride: usize) -> bool {
    rows == 0 || (cols <= stride && (rows - 1) * stride + cols <= len)
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// Draws numbers that bfloat16 holds exactly, so that both formats give the same products.
    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        (0..count).map(|_| bf16::from_f32(random.random_range(-1.0..1.0)).to_f32()).collect()
    }

    #[test]
    fn both_formats_give_the_same_product_of_numbers_that_both_hold() {
        let sizes =
            [(1, 1, 1), (16, 16, 32), (33, 47, 65), (40, 700, 32), (7, 100, 300), (64, 32, 1)];
        for (m, n, k) in sizes {
            for form in [Form::Plain, Form::RightT, Form::LeftT] {
                let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
                let a = mat(&a, if form == Form::LeftT { m } else { k });
                let b = mat(&b, if form == Form::RightT { k } else { n });
                for (scale, add) in [(1.0, false), (1.0, true), (0.5, true)] {
                    let start = numbers(m * (n + 3), 3);
                    let [exact, packed] = [Precision::F32, Precision::Auto].map(|precision| {
                        let mut c = start.clone();
                        let to = MatMut { data: &mut c, rows: m, cols: n, stride: n + 3 };
                        if precision == Precision::F32 {
                            product(precision, form, a, b, to, scale, add);
                        } else {
                            let views = views(form, a, b);
                            let to = (&mut *to.data, to.stride);
                            if !product_bf16((m, n, k), views[0], views[1], to, scale, add) {
                                return None;
                            }
                        }
                        Some(c)
                    });
                    let (Some(exact), Some(packed)) = (exact, packed) else { return };
                    let bound = 1e-5 * k as f32;
                    for (i, (e, p)) in exact.iter().zip(&packed).enumerate() {
                        assert!((e - p).abs() <= bound, "{m}x{n}x{k} at {i}: {e} and {p}");
                    }
                }
            }
        }
    }
}
