//! Weights of one projection, in the form that their file has.

use std::cell::RefCell;

use pulp::Arch;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::half::HalfDots;
use super::{FEW_ROWS, PARALLEL_WORK, Rows, RowsMut, Tiles, dot, fits, int8, matmul};

/// From this many rows on, tiles of weights are widened to bfloat16 for the matrix unit, where there is one.
const MANY_ROWS: usize = 24;

/// Weights of a projection, `[m, k]` row-major.
///
/// Few rows are bound by reading the weights, so a checkpoint stored in f16 keeps its halves for
/// them: the numbers are the same and half the bytes are read. Many rows use the widened copy.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    /// All weights.
    pub(crate) full: Vec<f32>,
    /// The same as bits of f16; empty if the checkpoint holds another format.
    pub(crate) half: Vec<u16>,
    /// The weights of a file of four or eight bits; the others are empty then.
    pub(crate) tiles: Option<Tiles>,
}

thread_local! {
    /// Rows rounded for tiles, kept so that a step allocates nothing.
    static ROUNDED: RefCell<int8::Rounded> = RefCell::default();
}

impl Matrix {
    /// Computes `y = x · selfᵀ`.
    ///
    /// # Shapes
    /// `x: [n, k]`, `y: [n, m]`.
    pub(crate) fn apply(
        &self,
        x: Rows<'_>,
        m: usize,
        k: usize,
        mut y: RowsMut<'_>,
        parallel: bool,
    ) {
        if let Some(tiles) = &self.tiles {
            assert!((tiles.m, tiles.k) == (m, k));
            return apply_tiles(tiles, x, &mut y, parallel);
        }
        if x.rows > FEW_ROWS || self.half.is_empty() {
            matmul(x, &self.full, m, k, y, parallel);
            return;
        }
        assert!(self.half.len() == m * k && fits(x.data.len(), x.rows, x.stride, k));
        assert!(fits(y.data.len(), x.rows, y.stride, m));
        if parallel && x.rows == 1 && m * k >= PARALLEL_WORK {
            let middle = m / 2;
            let (left, right) = y.data[..m].split_at_mut(middle);
            let (w_left, w_right) = self.half.split_at(middle * k);
            rayon::join(
                || Arch::new().dispatch(HalfDots { x, w: w_left, k, y: left, stride: middle }),
                || {
                    Arch::new().dispatch(HalfDots {
                        x,
                        w: w_right,
                        k,
                        y: right,
                        stride: m - middle,
                    });
                },
            );
        } else {
            Arch::new().dispatch(HalfDots { x, w: &self.half, k, y: y.data, stride: y.stride });
        }
    }

    /// Returns the product of one row of the matrix, `k` wide, with `x`.
    pub(crate) fn row_dot(&self, row: usize, k: usize, x: &[f32]) -> f32 {
        if let Some(tiles) = &self.tiles {
            return ROUNDED.with_borrow_mut(|rounded| {
                rounded.fill(Rows { data: x, rows: 1, stride: k }, k);
                int8::row_dot(tiles, row, rounded)
            });
        }
        if self.half.is_empty() {
            return dot(x, &self.full[row * k..][..k]);
        }
        let mut out = [0.0];
        let (x, w) = (Rows { data: x, rows: 1, stride: k }, &self.half[row * k..][..k]);
        Arch::new().dispatch(HalfDots { x, w, k, y: &mut out, stride: 1 });
        out[0]
    }

    /// Appends row `row`, `k` wide, to `out`.
    pub(crate) fn copy_row(&self, row: usize, k: usize, out: &mut Vec<f32>) {
        match &self.tiles {
            Some(tiles) => {
                let start = out.len();
                out.resize(start + k, 0.0);
                tiles.row(row, &mut out[start..]);
            }
            None => out.extend_from_slice(&self.full[row * k..][..k]),
        }
    }

    /// Whether the weights are of four or eight bits.
    pub(crate) fn is_tiled(&self) -> bool {
        self.tiles.is_some()
    }
}

fn apply_tiles(tiles: &Tiles, x: Rows<'_>, y: &mut RowsMut<'_>, parallel: bool) {
    #[cfg(target_arch = "x86_64")]
    if x.rows >= MANY_ROWS && amx::available() {
        return amx::product_tiles(tiles, x, y, parallel);
    }
    // Taken and given back rather than borrowed: while a thread waits for others it may run another
    // product, which would borrow a second time.
    let mut rounded = ROUNDED.take();
    rounded.fill(x, tiles.k);
    int8::product(tiles, &rounded, y, parallel);
    ROUNDED.set(rounded);
}

#[cfg(test)]
mod tests {
    use super::super::half::widen;
    use super::super::tests::noise;
    use super::*;

    #[test]
    fn halves_give_the_products_of_their_widened_copy() {
        for (n, m, k) in [(1, 9, 70), (3, 24, 64), (1, 2050, 520), (8, 4, 33)] {
            let half: Vec<u16> =
                noise(m * k, 3).iter().map(|v| ::half::f16::from_f32(*v).to_bits()).collect();
            let full: Vec<f32> = half.iter().map(|h| widen(*h)).collect();
            let x = noise(n * k, 4);
            let (mut a, mut b) = (vec![0.0; n * m], vec![0.0; n * m]);
            let rows = Rows { data: &x, rows: n, stride: k };
            matmul(rows, &full, m, k, RowsMut { data: &mut a, stride: m }, true);
            Matrix { full, half, tiles: None }.apply(
                rows,
                m,
                k,
                RowsMut { data: &mut b, stride: m },
                true,
            );
            let worst = a.iter().zip(&b).fold(0.0, |w, (a, b)| f32::max(w, (a - b).abs()));
            assert!(worst < 1e-4, "{n} {m} {k}: {worst}");
        }
    }
}
