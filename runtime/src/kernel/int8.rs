//! Products of tiled weights of four or eight bits with rows rounded to eight bits.
//!
//! A row is rounded in blocks of 32 with a scale each; a block's products are whole numbers, exact in 32
//! bits, and are scaled and summed in `f32`. The rounding of the row is the only loss: its relative error is
//! at most 1/254 of the largest number of a block. Vector instructions are chosen at run time: AVX-512 with
//! VNNI, AVX2, or what the compiler makes of plain loops.

use std::ops::Range;
use std::sync::OnceLock;

use half::f16;
use pulp::{Arch, Simd, WithSimd};

use super::tiles::{BLOCK, LINES, SIDE, Scales, Tiles};
use super::{Rows, RowsMut, fits, larger, reduce, team};

#[cfg(target_arch = "x86_64")]
#[path = "int8_x86.rs"]
pub(super) mod x86;

/// Bytes of weights below which waking a second thread costs more than it saves.
const PARALLEL_BYTES: usize = 96 << 10;

/// Which instructions are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with F16C and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain loops.
    Portable,
}

impl Level {
    /// Those that this machine has, best first.
    pub(super) fn all() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_avx512() {
                levels.push(Self::Avx512);
            }
            if x86::has_avx2() {
                levels.push(Self::Avx2);
            }
        }
        levels.push(Self::Portable);
        levels
    }

    fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Self::all()[0])
    }
}

/// Rows rounded to eight bits.
#[derive(Debug, Default)]
pub(crate) struct Rounded {
    pub(super) rows: usize,
    pub(super) k: usize,
    /// `[rows, k]`.
    pub(super) quants: Vec<i8>,
    /// Value of one step, `[rows, k / 32]`.
    pub(super) scales: Vec<f32>,
    /// -128 times the sum of a block's integers: what an unsigned weight counts too much.
    pub(super) offsets: Vec<i32>,
    /// Sum of a block's numbers, `[rows, k / 32]`.
    pub(super) sums: Vec<f32>,
}

impl Rounded {
    /// Rounds rows of `k` numbers; `k` is a multiple of 32.
    pub(crate) fn fill(&mut self, x: Rows<'_>, k: usize) {
        assert!(k.is_multiple_of(BLOCK) && fits(x.data.len(), x.rows, x.stride, k));
        (self.rows, self.k) = (x.rows, k);
        let blocks = x.rows * k / BLOCK;
        self.quants.resize(x.rows * k, 0);
        self.scales.resize(blocks, 0.0);
        self.offsets.resize(blocks, 0);
        self.sums.resize(blocks, 0.0);
        Arch::new().dispatch(Round { x, k, to: self });
    }
}

struct Round<'a> {
    x: Rows<'a>,
    k: usize,
    to: &'a mut Rounded,
}

impl WithSimd for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Adding and taking away 1.5·2²³ rounds to an integer without a call.
        const ROUND: f32 = 12_582_912.0;
        let Self { x, k, to } = self;
        let mut blocks = to
            .quants
            .as_chunks_mut::<BLOCK>()
            .0
            .iter_mut()
            .zip(&mut to.scales)
            .zip(to.offsets.iter_mut().zip(&mut to.sums));
        for row in 0..x.rows {
            let values = x.data[row * x.stride..][..k].as_chunks::<BLOCK>().0;
            for (block, ((quants, scale), (offset, sum))) in values.iter().zip(&mut blocks) {
                let mut sizes = *block;
                sizes.iter_mut().for_each(|v| *v = v.abs());
                let most = reduce(&sizes, 0.0, larger);
                let by = if most > 0.0 { 127.0 / most } else { 0.0 };
                let mut total = [0_i32; BLOCK];
                for i in 0..BLOCK {
                    let shifted = block[i] * by + ROUND;
                    // The low bits of the shifted number are the integer.
                    let whole = shifted.to_bits().cast_signed() - ROUND.to_bits().cast_signed();
                    total[i] = whole;
                }
                #[expect(clippy::cast_possible_truncation, reason = "within 127 of zero")]
                for i in 0..BLOCK {
                    quants[i] = total[i] as i8;
                }
                let total: i32 = total.iter().sum();
                *scale = most / 127.0;
                *offset = -128 * total;
                *sum = *scale * total as f32;
            }
        }
    }
}

/// A matrix that several threads write to, each its own columns.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Out {
    at: *mut f32,
    rows: usize,
    stride: usize,
    columns: usize,
    /// Tile of the weights that the first column belongs to.
    first: usize,
}

#[expect(unsafe_code, reason = "threads write columns of their own through one pointer")]
// SAFETY: whoever holds an `Out` writes only the tiles it was given, and no two are given the same.
unsafe impl Send for Out {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Out {}

impl Out {
    pub(super) fn new(y: &mut RowsMut<'_>, rows: usize, columns: usize) -> Self {
        assert!(fits(y.data.len(), rows, y.stride, columns) && columns <= y.stride.max(1));
        Self { at: y.data.as_mut_ptr(), rows, stride: y.stride, columns, first: 0 }
    }

    /// Where 16 columns of a row go, and how many of them there are.
    ///
    /// # Panics
    /// If the row or the tile is outside the matrix.
    pub(super) fn place(&self, row: usize, tile: usize) -> (*mut f32, usize) {
        assert!(tile >= self.first);
        let column = (tile - self.first) * SIDE;
        assert!(row < self.rows && column < self.columns);
        (self.at.wrapping_add(row * self.stride + column), (self.columns - column).min(SIDE))
    }

    /// The same place for a matrix whose first tile is `first`.
    fn shifted(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// Numbers from one row to the next.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    fn put(&self, row: usize, tile: usize, sums: &[f32; SIDE]) {
        let (at, count) = self.place(row, tile);
        #[expect(unsafe_code, reason = "see the type")]
        // SAFETY: `count` numbers from `at` lie within the row, by the assertions of `new` and `place`.
        unsafe {
            std::ptr::copy_nonoverlapping(sums.as_ptr(), at, count);
        }
    }
}

/// Computes `y = x · wᵀ`.
///
/// # Shapes
/// `x: [n, k]`, `w: [m, k]`, `y: [n, m]`.
pub(crate) fn product(w: &Tiles, x: &Rounded, y: &mut RowsMut<'_>, parallel: bool) {
    let out = Out::new(y, x.rows, w.m);
    let parallel = parallel && w.bytes() >= PARALLEL_BYTES;
    split(0..w.count(), parallel, &|tiles| run(Level::best(), w, x, tiles, out));
}

/// Returns the product of one row of `w` with one row of numbers.
pub(crate) fn row_dot(w: &Tiles, row: usize, x: &Rounded) -> f32 {
    let mut sums = [0.0; SIDE];
    let tile = row / SIDE;
    // The tile's columns are written from the start of a matrix that has only them.
    let out = Out::new(&mut RowsMut { data: &mut sums, stride: SIDE }, 1, SIDE);
    run(Level::best(), w, x, tile..tile + 1, out.shifted(tile));
    sums[row % SIDE]
}

/// Parts that each thread of the team gets on average: a thread that was held up leaves some to the others.
const PARTS: usize = 4;

/// Runs `f` on parts of a range, on as many threads as there are.
pub(super) fn split(range: Range<usize>, parallel: bool, f: &(impl Fn(Range<usize>) + Sync)) {
    let parts = if parallel { (team::size() * PARTS).min(range.len()) } else { 1 };
    if parts < 2 {
        return f(range);
    }
    let border = |part: usize| range.start + range.len() * part / parts;
    team::run(parts, &|part| f(border(part)..border(part + 1)));
}

fn run(level: Level, w: &Tiles, x: &Rounded, tiles: Range<usize>, out: Out) {
    assert!(x.k == w.k && tiles.end <= w.count());
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => x86::avx512(w, x, tiles, out),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => x86::avx2(w, x, tiles, out),
        Level::Portable => Arch::new().dispatch(Portable { w, x, tiles, out }),
    }
}

struct Portable<'a> {
    w: &'a Tiles,
    x: &'a Rounded,
    tiles: Range<usize>,
    out: Out,
}

impl WithSimd for Portable<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { w, x, tiles, out } = self;
        let blocks = w.k / BLOCK;
        for tile in tiles {
            for row in 0..x.rows {
                let mut sums = [0.0; SIDE];
                for block in 0..blocks {
                    let at = row * blocks + block;
                    let quants = &x.quants[at * BLOCK..][..BLOCK];
                    let place = tile * blocks + block;
                    one_block(w, place, quants, (x.scales[at], x.sums[at]), &mut sums);
                }
                out.put(row, tile, &sums);
            }
        }
    }
}

/// Adds the products of one block of a tile with one block of a row.
#[inline(always)]
fn one_block(w: &Tiles, at: usize, x: &[i8], (x_scale, x_sum): (f32, f32), sums: &mut [f32; SIDE]) {
    let mut whole = [0_i32; SIDE];
    let mut line = |line: &[u8; 64], x: &[i8], read: &dyn Fn(u8) -> i32| {
        for r in 0..SIDE {
            for j in 0..4 {
                whole[r] += read(line[4 * r + j]) * i32::from(x[j]);
            }
        }
    };
    match &w.scales {
        Scales::Eight(scales) => {
            for (i, bytes) in w.lines[at * LINES..][..LINES].iter().enumerate() {
                line(&bytes.0, &x[4 * i..], &|q| i32::from(q.cast_signed()));
            }
            for r in 0..SIDE {
                let scale = f16::from_bits(scales[at][r]).to_f32() * x_scale;
                sums[r] += whole[r] as f32 * scale;
            }
        }
        Scales::Four { fine, coarse } => {
            for (i, bytes) in w.lines[at * 4..][..4].iter().enumerate() {
                line(&bytes.0, &x[4 * i..], &|q| i32::from(q & 15));
                line(&bytes.0, &x[4 * i + 16..], &|q| i32::from(q >> 4));
            }
            let (fine, coarse) = (&fine[at], &coarse[at / 8]);
            for r in 0..SIDE {
                let [d, dmin] = [r, SIDE + r].map(|i| f16::from_bits(coarse[i]).to_f32());
                let scale = d * f32::from(fine[r]) * x_scale;
                let minimum = dmin * f32::from(fine[SIDE + r]) * x_sum;
                sums[r] += whole[r] as f32 * scale - minimum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tiles::{Packing, Stored, numbers};
    use super::*;

    fn noise(len: usize, seed: u32) -> Vec<u8> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_le_bytes()[3]
            })
            .collect()
    }

    /// Random rows of a packing with scales that are numbers.
    fn stored(packing: Packing, rows: usize, k: usize, seed: u32) -> Vec<u8> {
        let mut bytes = noise(packing.bytes(k).unwrap() * rows, seed);
        let (size, halves): (usize, &[usize]) = match packing {
            Packing::Q8 => (34, &[0]),
            Packing::Q4 => (144, &[0, 2]),
            Packing::Q6 => (210, &[208]),
        };
        for (i, block) in bytes.chunks_exact_mut(size).enumerate() {
            for at in halves {
                let scale = f16::from_f32(0.001 * (1 + i % 7 + at) as f32).to_le_bytes();
                block[*at..*at + 2].copy_from_slice(&scale);
            }
        }
        bytes
    }

    fn input(rows: usize, k: usize) -> Vec<f32> {
        noise(rows * k, 9).iter().map(|b| (f32::from(*b) - 128.0) / 37.0).collect()
    }

    #[test]
    fn tiles_hold_the_numbers_of_the_file() {
        for packing in [Packing::Q8, Packing::Q4, Packing::Q6] {
            let (m, k) = (21, 512);
            let bytes = stored(packing, m, k, 3);
            let tiles = Tiles::new(&[Stored { packing, rows: m, bytes: &bytes }], k).unwrap();
            let mut row = vec![0.0; k];
            for i in 0..m {
                let size = packing.bytes(k).unwrap();
                let want = numbers(packing, &bytes[i * size..][..size]);
                tiles.row(i, &mut row);
                for (block, (got, want)) in row.chunks(32).zip(want.chunks(32)).enumerate() {
                    let most = want.iter().fold(0f32, |a, b| a.max(b.abs()));
                    let allowed = if packing == Packing::Q6 { most / 250.0 } else { most * 1e-6 };
                    for (g, w) in got.iter().zip(want) {
                        assert!((g - w).abs() <= allowed, "{packing:?} {i} {block}: {g} {w}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_kind_of_instruction_gives_the_products_of_the_rounded_numbers() {
        for packing in [Packing::Q8, Packing::Q4] {
            for (n, m, k) in
                [(1, 16, 256), (1, 50, 512), (3, 33, 256), (8, 16, 1024), (19, 40, 512)]
            {
                let bytes = stored(packing, m, k, 5);
                let tiles = Tiles::new(&[Stored { packing, rows: m, bytes: &bytes }], k).unwrap();
                let x = input(n, k);
                let mut rounded = Rounded::default();
                rounded.fill(Rows { data: &x, rows: n, stride: k }, k);
                for level in Level::all() {
                    let mut y = vec![f32::NAN; n * m];
                    let out = Out::new(&mut RowsMut { data: &mut y, stride: m }, n, m);
                    run(level, &tiles, &rounded, 0..tiles.count(), out);
                    let mut w = vec![0.0; k];
                    for j in 0..m {
                        tiles.row(j, &mut w);
                        for i in 0..n {
                            let (mut want, mut size) = (0.0, 0.0);
                            for (c, w) in w.iter().enumerate() {
                                let q = f32::from(rounded.quants[i * k + c]);
                                let product = w * q * rounded.scales[(i * k + c) / BLOCK];
                                want += product;
                                size += product.abs();
                            }
                            let got = y[i * m + j];
                            assert!(
                                (got - want).abs() <= size * 2e-6 + 1e-6,
                                "{level:?} {packing:?} {n} {m} {k} at {i} {j}: {got} {want}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rounding_a_row_loses_at_most_half_a_step() {
        let (n, k) = (3, 96);
        let mut x = input(n, k);
        x[32..64].fill(0.0);
        let mut rounded = Rounded::default();
        rounded.fill(Rows { data: &x, rows: n, stride: k }, k);
        for (i, v) in x.iter().enumerate() {
            let scale = rounded.scales[i / BLOCK];
            assert!((f32::from(rounded.quants[i]) * scale - v).abs() <= scale * 0.5001);
        }
        for (block, values) in rounded.quants.chunks(BLOCK).enumerate() {
            let sum: i32 = values.iter().map(|q| i32::from(*q)).sum();
            assert_eq!(rounded.offsets[block], -128 * sum);
            assert!((rounded.sums[block] - sum as f32 * rounded.scales[block]).abs() < 1e-3);
        }
    }

    #[test]
    fn parts_of_two_packings_stand_in_one_matrix_of_eight_bits() {
        let k = 256;
        let (a, b) = (stored(Packing::Q4, 5, k, 1), stored(Packing::Q6, 7, k, 2));
        let parts = [
            Stored { packing: Packing::Q4, rows: 5, bytes: &a },
            Stored { packing: Packing::Q6, rows: 7, bytes: &b },
        ];
        let tiles = Tiles::new(&parts, k).unwrap();
        assert!(matches!(tiles.scales, Scales::Eight(_)));
        let mut row = vec![0.0; k];
        tiles.row(6, &mut row);
        let want = numbers(Packing::Q6, &b[210..420]);
        let most = want.iter().fold(0f32, |a, b| a.max(b.abs()));
        assert!(row.iter().zip(&want).all(|(g, w)| (g - w).abs() <= most / 200.0));
        assert!(Tiles::new(&[Stored { packing: Packing::Q4, rows: 4, bytes: &a }], k).is_none());
    }
}
