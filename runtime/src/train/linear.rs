//! The three products that a linear layer needs in training, on plain row-major slices.

use gemm::Parallelism;

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

/// Computes `c = keep·c + scale · (a ∘ b)` on the caller's thread; the workers of a step are the
/// parallel ones.
///
/// # Panics
/// If the shapes do not fit: a fault of the caller.
#[expect(clippy::needless_pass_by_value, reason = "a view to write into is used up")]
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers; bounds are asserted before")]
pub(super) fn product(form: Form, a: Mat<'_>, b: Mat<'_>, c: MatMut<'_>, scale: f32, add: bool) {
    let (m, k, a_rs, a_cs) = match form {
        Form::LeftT => (a.cols, a.rows, 1, a.stride),
        _ => (a.rows, a.cols, a.stride, 1),
    };
    let (k2, n, b_rs, b_cs) = match form {
        Form::RightT => (b.cols, b.rows, 1, b.stride),
        _ => (b.rows, b.cols, b.stride, 1),
    };
    assert!(k == k2 && c.rows == m && c.cols == n, "the shapes of a product do not fit");
    assert!(inside(a.data.len(), a.rows, a.cols, a.stride));
    assert!(inside(b.data.len(), b.rows, b.cols, b.stride));
    assert!(inside(c.data.len(), c.rows, c.cols, c.stride));
    if m == 0 || n == 0 || k == 0 {
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
            a.data.as_ptr(),
            i(a_cs),
            i(a_rs),
            b.data.as_ptr(),
            i(b_cs),
            i(b_rs),
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

fn inside(len: usize, rows: usize, cols: usize, stride: usize) -> bool {
    rows == 0 || (cols <= stride && (rows - 1) * stride + cols <= len)
}
