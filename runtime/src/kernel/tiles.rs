//! Weights of eight or four bits in tiles: 16 rows side by side, so that one vector instruction adds four
//! products to each of 16 sums.
//!
//! A block of 32 weights of each of 16 rows takes eight *lines* of 64 bytes; byte `4 r + j` of line `i` is
//! weight `4 i + j` of row `r`. Eight bits are stored as they are; of four bits, line `p` holds line `p` in
//! its low halves and line `p + 4` in its high ones. Scales of a block's 16 rows stand together, so that they
//! are one vector as well. A tile takes 8.5 or 4.625 bits a weight, as much as in the file it comes from.
//!
//! # Source
//! Blocks as `ggml-quants.c` of llama.cpp defines them: `block_q8_0` (32 integers, one scale), `block_q4_K`
//! (256 weights: `d`, `dmin`, eight scales and minima of six bits, half bytes) and `block_q6_K`. What one block
//! of six bits holds is rounded to blocks of eight bits.

use half::f16;
use rayon::prelude::*;

use super::arena::Region;

/// Rows of a tile.
pub(crate) const SIDE: usize = 16;

/// Weights that share a scale.
pub(crate) const BLOCK: usize = 32;

/// Weights that share the scale of the scales, where there are four bits.
pub(crate) const SUPER: usize = 256;

/// Lines of a block of eight bits.
pub(crate) const LINES: usize = BLOCK / 4;

/// One vector of weights, aligned so that no load crosses a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// How a file stores the weights of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `Q8_0`: 34 bytes for 32 weights.
    Q8,
    /// `Q4_K`: 144 bytes for 256 weights.
    Q4,
    /// `Q6_K`: 210 bytes for 256 weights; rounded to eight bits when read.
    Q6,
}

impl Packing {
    /// Weights of a block of the file.
    pub(crate) fn block(self) -> usize {
        match self {
            Self::Q8 => BLOCK,
            Self::Q4 | Self::Q6 => SUPER,
        }
    }

    /// Bytes that `k` weights take in the file, or nothing where they are no whole blocks.
    pub(crate) fn bytes(self, k: usize) -> Option<usize> {
        let size = match self {
            Self::Q8 => 34,
            Self::Q4 => 144,
            Self::Q6 => 210,
        };
        k.is_multiple_of(self.block()).then(|| k / self.block() * size)
    }
}

/// Scales of a matrix in tiles.
#[derive(Debug)]
pub(crate) enum Scales {
    /// A weight is integer times scale: 16 scales (f16) a block.
    Eight(Region<[u16; SIDE]>),
    /// A weight is `d · scale · q - dmin · minimum`.
    Four {
        /// 16 scales and 16 minima a block, six bits each.
        fine: Region<[u8; 2 * SIDE]>,
        /// 16 `d` and 16 `dmin` (f16) for eight blocks.
        coarse: Region<[u16; 2 * SIDE]>,
    },
}

/// A matrix `[m, k]` in tiles; rows beyond `m` in the last tile are zero.
#[derive(Debug)]
pub(crate) struct Tiles {
    /// Rows.
    pub(crate) m: usize,
    /// Columns.
    pub(crate) k: usize,
    /// Tile by tile, block by block.
    pub(crate) lines: Region<Line>,
    pub(crate) scales: Scales,
}

/// A part of a stacked matrix: its bytes in the file, row by row, and how they are packed.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) packing: Packing,
    pub(crate) rows: usize,
    pub(crate) bytes: &'a [u8],
}

/// Integers and scales of one row, block by block.
struct Row {
    quants: Vec<u8>,
    eight: Vec<u16>,
    fine: Vec<(u8, u8)>,
    coarse: Vec<(u16, u16)>,
}

impl Tiles {
    /// Tiles stacked parts of width `k`; `None` ⇐ a part's bytes are not `rows` rows of whole blocks.
    ///
    /// Parts of different packings become eight bits throughout.
    pub(crate) fn new(parts: &[Stored<'_>], k: usize) -> Option<Self> {
        for part in parts {
            if part.packing.bytes(k)? * part.rows != part.bytes.len() {
                return None;
            }
        }
        let four = parts.iter().all(|part| part.packing == Packing::Q4);
        let m = parts.iter().map(|part| part.rows).sum();
        let row_of = |mut row: usize| {
            for part in parts {
                if row < part.rows {
                    let size = part.packing.bytes(k).unwrap_or(0);
                    return Some((part.packing, &part.bytes[row * size..][..size]));
                }
                row -= part.rows;
            }
            None
        };
        let mut tiles = Self::empty(m, k, four);
        tiles.fill(|row| row_of(row).map(|(packing, bytes)| Row::read(packing, bytes, four)));
        Some(tiles)
    }

    fn empty(m: usize, k: usize, four: bool) -> Self {
        let blocks = m.div_ceil(SIDE) * k / BLOCK;
        let (lines, scales) = if four {
            let (fine, coarse) = (Region::zeros(blocks), Region::zeros(blocks / 8));
            (blocks * LINES / 2, Scales::Four { fine, coarse })
        } else {
            (blocks * LINES, Scales::Eight(Region::zeros(blocks)))
        };
        Self { m, k, lines: Region::zeros(lines), scales }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let scales = match &self.scales {
            Scales::Eight(scales) => size_of_val(&scales[..]),
            Scales::Four { fine, coarse } => size_of_val(&fine[..]) + size_of_val(&coarse[..]),
        };
        size_of_val(&self.lines[..]) + scales
    }

    /// Number of tiles.
    pub(crate) fn count(&self) -> usize {
        self.m.div_ceil(SIDE)
    }

    fn fill(&mut self, row: impl Fn(usize) -> Option<Row> + Sync) {
        let blocks = self.k / BLOCK;
        let each = |tile: usize, put: &mut dyn FnMut(usize, Row)| {
            for r in 0..SIDE {
                if let Some(row) = row(tile * SIDE + r) {
                    put(r, row);
                }
            }
        };
        if blocks == 0 {
            return;
        }
        match &mut self.scales {
            Scales::Eight(scales) => {
                let lines = self.lines.par_chunks_mut(blocks * LINES);
                lines.zip(scales.par_chunks_mut(blocks)).enumerate().for_each(
                    |(tile, (lines, scales))| {
                        each(tile, &mut |r, row| {
                            for (at, q) in row.quants.iter().enumerate() {
                                lines[at / 4].0[4 * r + at % 4] = *q;
                            }
                            for (block, scale) in row.eight.iter().enumerate() {
                                scales[block][r] = *scale;
                            }
                        });
                    },
                );
            }
            Scales::Four { fine, coarse } => {
                let lines = self.lines.par_chunks_mut(blocks * LINES / 2);
                let scales = fine.par_chunks_mut(blocks).zip(coarse.par_chunks_mut(blocks / 8));
                lines.zip(scales).enumerate().for_each(|(tile, (lines, (fine, coarse)))| {
                    each(tile, &mut |r, row| {
                        for (at, q) in row.quants.iter().enumerate() {
                            let (block, line) = (at / BLOCK, at % BLOCK / 4);
                            let byte = &mut lines[block * 4 + line % 4].0[4 * r + at % 4];
                            *byte |= if line < 4 { *q } else { q << 4 };
                        }
                        for (block, (scale, minimum)) in row.fine.iter().enumerate() {
                            fine[block][r] = *scale;
                            fine[block][SIDE + r] = *minimum;
                        }
                        for (block, (d, dmin)) in row.coarse.iter().enumerate() {
                            coarse[block][r] = *d;
                            coarse[block][SIDE + r] = *dmin;
                        }
                    });
                });
            }
        }
    }

    /// Writes row `row` as numbers.
    ///
    /// # Shapes
    /// `out: [k]`.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let (tile, r, blocks) = (row / SIDE, row % SIDE, self.k / BLOCK);
        for (block, out) in out.chunks_exact_mut(BLOCK).enumerate().take(blocks) {
            let at = tile * blocks + block;
            match &self.scales {
                Scales::Eight(scales) => {
                    let scale = f16::from_bits(scales[at][r]).to_f32();
                    for (i, out) in out.iter_mut().enumerate() {
                        let q = self.lines[at * LINES + i / 4].0[4 * r + i % 4];
                        *out = f32::from(q.cast_signed()) * scale;
                    }
                }
                Scales::Four { fine, coarse } => {
                    let [d, dmin] =
                        [r, SIDE + r].map(|i| f16::from_bits(coarse[at / 8][i]).to_f32());
                    let scale = d * f32::from(fine[at][r]);
                    let minimum = dmin * f32::from(fine[at][SIDE + r]);
                    for (i, out) in out.iter_mut().enumerate() {
                        let byte = self.lines[at * 4 + i / 4 % 4].0[4 * r + i % 4];
                        let q = if i < 16 { byte & 15 } else { byte >> 4 };
                        *out = f32::from(q) * scale - minimum;
                    }
                }
            }
        }
    }
}

impl Row {
    fn read(packing: Packing, bytes: &[u8], four: bool) -> Self {
        match packing {
            Packing::Q8 => Self::q8(bytes),
            Packing::Q4 if four => Self::q4(bytes),
            Packing::Q4 | Packing::Q6 => Self::round(&numbers(packing, bytes)),
        }
    }

    fn q8(bytes: &[u8]) -> Self {
        let mut row = Self { quants: vec![], eight: vec![], fine: vec![], coarse: vec![] };
        for block in bytes.chunks_exact(34) {
            row.eight.push(u16::from_le_bytes([block[0], block[1]]));
            row.quants.extend(&block[2..]);
        }
        row
    }

    fn q4(bytes: &[u8]) -> Self {
        let mut row = Self { quants: vec![], eight: vec![], fine: vec![], coarse: vec![] };
        for block in bytes.chunks_exact(144) {
            let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
            row.coarse.push((half(0), half(2)));
            row.fine.extend((0..8).map(|i| six_bits(&block[4..16], i)));
            for pair in block[16..].chunks_exact(BLOCK) {
                row.quants.extend(pair.iter().map(|q| q & 15));
                row.quants.extend(pair.iter().map(|q| q >> 4));
            }
        }
        row
    }

    fn round(values: &[f32]) -> Self {
        let mut row = Self { quants: vec![], eight: vec![], fine: vec![], coarse: vec![] };
        for block in values.chunks_exact(BLOCK) {
            let (scale, quants) = round_block(block);
            row.eight.push(scale.to_bits());
            row.quants.extend(quants.iter().map(|q| q.cast_unsigned()));
        }
        row
    }
}

/// Rounds up to 32 numbers to eight bits: their scale and integers within 127 of zero.
pub(crate) fn round_block(values: &[f32]) -> (f16, Vec<i8>) {
    let most = values.iter().fold(0f32, |most, v| most.max(v.abs()));
    let scale = f16::from_f32(most / 127.0);
    let by = if scale.to_f32() > 0.0 { 1.0 / scale.to_f32() } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, reason = "clamped")]
    let nearest = |v: &f32| (v * by).round().clamp(-127.0, 127.0) as i8;
    (scale, values.iter().map(nearest).collect())
}

/// Scale and minimum `i` of the eight that 12 bytes of a `Q4_K` block hold.
fn six_bits(packed: &[u8], i: usize) -> (u8, u8) {
    if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (packed[i + 4] & 15 | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4)
    }
}

/// Returns the numbers of one row as the file's format defines them.
pub(crate) fn numbers(packing: Packing, bytes: &[u8]) -> Vec<f32> {
    let half = |block: &[u8], at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let mut out = Vec::new();
    match packing {
        Packing::Q8 => {
            for block in bytes.chunks_exact(34) {
                let scale = half(block, 0);
                out.extend(block[2..].iter().map(|q| f32::from(q.cast_signed()) * scale));
            }
        }
        Packing::Q4 => {
            for block in bytes.chunks_exact(144) {
                let (d, dmin) = (half(block, 0), half(block, 2));
                for (pair, quants) in block[16..].chunks_exact(BLOCK).enumerate() {
                    for (i, shift) in [(2 * pair, 0), (2 * pair + 1, 4)] {
                        let (scale, minimum) = six_bits(&block[4..16], i);
                        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
                        out.extend(
                            quants.iter().map(|q| f32::from(q >> shift & 15) * scale - minimum),
                        );
                    }
                }
            }
        }
        Packing::Q6 => bytes.chunks_exact(210).for_each(|block| q6(block, &mut out)),
    }
    out
}

/// Appends the 256 numbers of a `Q6_K` block.
fn q6(block: &[u8], out: &mut Vec<f32>) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let d = f16::from_le_bytes([d[0], d[1]]).to_f32();
    for half in 0..2 {
        let (low, high, scales) = (&low[64 * half..], &high[32 * half..], &scales[8 * half..]);
        for quarter in 0..4 {
            for i in 0..32 {
                let bits = low[i + 32 * (quarter % 2)] >> (4 * (quarter / 2)) & 15;
                let q = bits | (high[i] >> (2 * quarter) & 3) << 4;
                let scale = f32::from(scales[2 * quarter + i / 16].cast_signed());
                out.push(d * scale * (f32::from(q) - 32.0));
            }
        }
    }
}
