//! Products in bfloat16 on the matrix tiles of x86 (AMX), with sums in `f32`.
//!
//! A tile holds 16 rows of 64 bytes; one instruction adds the product of a 16 × 32 tile and a 32 × 16
//! tile of bfloat16 to a 16 × 16 tile of `f32`. Both operands are rounded to bfloat16 (to nearest,
//! ties to even) while they are packed into tiles, which costs one pass over each.
//!
//! # Source
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18 (tiles), and
//! Linux, `Documentation/arch/x86/xstate.rst` (asking the kernel for tile data).
#![expect(
    unsafe_code,
    reason = "tile instructions have no safe form; bounds are asserted in `product`"
)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::sync::OnceLock;

use super::int8::x86::{halves_512, scales_512};
use super::tiles::{LINES, Scales, Tiles};
use super::{Rows, RowsMut, View, fits, int8};

/// Rows of a tile, and columns of a tile of sums.
const SIDE: usize = 16;

/// Numbers of bfloat16 in a row of a tile.
const DEPTH: usize = 32;

/// Bytes of a tile.
const TILE: usize = SIDE * DEPTH * 2;

/// Tells whether this machine has the tiles and the kernel lets the process use them.
pub(crate) fn available() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16")
            && has_tiles()
            && permitted()
    })
}

/// Leaf 7 of `cpuid`: bit 22 of `edx` is AMX-BF16, bit 24 AMX-TILE.
fn has_tiles() -> bool {
    let wanted = (1 << 22) | (1 << 24);
    std::arch::x86_64::__cpuid_count(7, 0).edx & wanted == wanted
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let mut result: usize = ARCH_PRCTL;
    // SAFETY: the call only asks for a feature of this process; it touches no memory of ours, and
    // the registers that the kernel overwrites are declared.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Layout of the tile registers, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// A row of a tile; aligned, so that no load crosses a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u16; DEPTH]);

const ZERO: Line = Line([0; DEPTH]);

/// An operand in tiles: groups of 16 rows (or columns), each with its tiles along the depth.
#[derive(Default)]
struct Packed {
    lines: Vec<Line>,
}

thread_local! {
    static OPERANDS: RefCell<(Packed, Packed)> = RefCell::default();
}

/// Computes `c = (add ? c : 0) + scale · a · b` for `a: [m, k]`, `b: [k, n]`, `c: [m, n]`, where an
/// operand whose `columns` are not next to each other is read transposed.
///
/// # Panics
/// If a view reaches outside its slice, or where [`available`] is false: faults of the caller.
pub(crate) fn product(
    (m, n, k): (usize, usize, usize),
    a: View<'_>,
    b: View<'_>,
    (c, stride): (&mut [f32], usize),
    scale: f32,
    add: bool,
) {
    assert!(available(), "this machine has no tiles");
    assert!(a.holds(m, k) && b.holds(k, n), "an operand reaches outside its slice");
    assert!(m > 0 && n > 0 && k > 0 && stride >= n && (m - 1) * stride + n <= c.len());
    OPERANDS.with_borrow_mut(|(left, right)| {
        // SAFETY: `available` has shown the features that these functions are compiled for, and
        // every index that they reach was checked above.
        unsafe {
            left.pack_left(a, m, k, scale);
            right.pack_right(b, n, k);
            multiply((m, n, k.div_ceil(DEPTH)), left, right, c.as_mut_ptr(), stride, add);
        }
    });
}

thread_local! {
    /// The rows and, on each thread, the widened weights of [`product_tiles`].
    static WIDENED: RefCell<(Packed, Packed)> = RefCell::default();
}

/// Computes `y = x · wᵀ` with weights of tiles widened to bfloat16, 32 rows of them at a time: with many
/// rows of `x`, widening is cheap beside what the matrix unit saves.
///
/// # Shapes
/// `x: [n, k]`, `w: [m, k]`, `y: [n, m]`.
pub(crate) fn product_tiles(w: &Tiles, x: Rows<'_>, y: &mut RowsMut<'_>, parallel: bool) {
    assert!(available() && w.k.is_multiple_of(DEPTH) && x.rows > 0 && w.m > 0);
    assert!(fits(x.data.len(), x.rows, x.stride, w.k));
    let out = int8::Out::new(y, x.rows, w.m);
    let mut left = WIDENED.with_borrow_mut(|(left, _)| std::mem::take(left));
    let view = View { data: x.data, rows: x.stride, columns: 1 };
    // SAFETY: `available` has shown the features, and the rows lie within their slice.
    unsafe { left.pack_left(view, x.rows, w.k, 1.0) };
    let depth = w.k / DEPTH;
    int8::split(0..w.count().div_ceil(2), parallel, &|pairs| {
        let mut right = WIDENED.with_borrow_mut(|(_, right)| std::mem::take(right));
        right.room(2, w.k);
        for pair in pairs {
            let tiles = 2 * pair..w.count().min(2 * pair + 2);
            for (group, tile) in tiles.clone().enumerate() {
                let lines = &mut right.lines[group * depth * SIDE..][..depth * SIDE];
                // SAFETY: as above.
                unsafe { widen(w, tile, lines) };
            }
            let (at, first) = out.place(0, tiles.start);
            let columns =
                if tiles.len() == 2 { SIDE + out.place(0, tiles.start + 1).1 } else { first };
            let shape = (x.rows, columns, depth);
            // SAFETY: `out` has `columns` columns from `at` in each of its rows, and only this thread
            // writes those of these tiles.
            unsafe { multiply(shape, &left, &right, at, out.stride(), false) };
        }
        WIDENED.with_borrow_mut(|(_, kept)| *kept = right);
    });
    WIDENED.with_borrow_mut(|(kept, _)| *kept = left);
}

/// Widens a tile of weights so that a line holds two numbers of each of its 16 rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn widen(w: &Tiles, tile: usize, lines: &mut [Line]) {
    let blocks = w.k / DEPTH;
    let order = interleave();
    let load = |at: usize| {
        // SAFETY: a line is 64 bytes.
        unsafe { _mm512_loadu_si512(w.lines[at].0.as_ptr().cast()) }
    };
    for (block, to) in lines.chunks_exact_mut(SIDE).enumerate().take(blocks) {
        let at = tile * blocks + block;
        match &w.scales {
            Scales::Eight(scales) => {
                // SAFETY: 16 halves.
                let scale = unsafe { halves_512(scales[at].as_ptr()) };
                for (i, to) in to.chunks_exact_mut(2).enumerate() {
                    let line = load(at * LINES + i);
                    let number = |left: __m512i| {
                        _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(left)), scale)
                    };
                    let four = [
                        number(_mm512_slli_epi32::<24>(line)),
                        number(_mm512_slli_epi32::<16>(line)),
                        number(_mm512_slli_epi32::<8>(line)),
                        number(line),
                    ];
                    // SAFETY: two lines.
                    unsafe { store_pairs(four, order, to) };
                }
            }
            Scales::Four { fine, coarse } => {
                let (fine, coarse) = (&fine[at], &coarse[at / 8]);
                // SAFETY: 16 bytes and 16 halves from each place.
                let (scale, minimum) = unsafe { scales_512(fine, coarse) };
                let low = _mm512_set1_epi32(15);
                let number = |bits: __m512i| {
                    let whole = _mm512_cvtepi32_ps(_mm512_and_si512(bits, low));
                    _mm512_fmsub_ps(whole, scale, minimum)
                };
                for i in 0..LINES / 2 {
                    let line = load(at * (LINES / 2) + i);
                    let four = [
                        number(line),
                        number(_mm512_srli_epi32::<8>(line)),
                        number(_mm512_srli_epi32::<16>(line)),
                        number(_mm512_srli_epi32::<24>(line)),
                    ];
                    // SAFETY: two lines.
                    unsafe { store_pairs(four, order, &mut to[2 * i..2 * i + 2]) };
                    let four = [
                        number(_mm512_srli_epi32::<4>(line)),
                        number(_mm512_srli_epi32::<12>(line)),
                        number(_mm512_srli_epi32::<20>(line)),
                        number(_mm512_srli_epi32::<28>(line)),
                    ];
                    // SAFETY: two lines.
                    unsafe { store_pairs(four, order, &mut to[LINES + 2 * i..LINES + 2 * i + 2]) };
                }
            }
        }
    }
}

/// Stores four numbers of each of 16 rows as two lines of pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn store_pairs([a, b, c, d]: [__m512; 4], order: __m512i, to: &mut [Line]) {
    for (line, (even, odd)) in to.iter_mut().zip([(a, b), (c, d)]) {
        // SAFETY: a line is 64 bytes; the intrinsic's type is 32 numbers of bfloat16.
        unsafe {
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even));
            _mm512_storeu_si512(line.0.as_mut_ptr().cast(), _mm512_permutexvar_epi16(order, both));
        }
    }
}

/// The order that makes pairs of 16 numbers and 16 more.
#[inline]
#[target_feature(enable = "avx512f")]
fn interleave() -> __m512i {
    let mut order = Line([0; DEPTH]);
    for i in 0..SIDE {
        order.0[2 * i] = i as u16;
        order.0[2 * i + 1] = (i + SIDE) as u16;
    }
    // SAFETY: a line is 64 bytes.
    unsafe { _mm512_loadu_si512(order.0.as_ptr().cast()) }
}

impl Packed {
    /// Makes room for `groups` of 16 and returns it; every line will be written.
    fn room(&mut self, groups: usize, depth: usize) -> &mut [Line] {
        let lines = groups * depth.div_ceil(DEPTH) * SIDE;
        if self.lines.len() < lines {
            self.lines.resize(lines, ZERO);
        }
        &mut self.lines[..lines]
    }

    /// Packs `[m, k]` so that a tile's row holds 32 numbers of one row of the matrix.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn pack_left(&mut self, a: View<'_>, m: usize, k: usize, scale: f32) {
        let lines = self.room(m.div_ceil(SIDE), k);
        let scale = (scale != 1.0).then_some(scale);
        if a.columns == 1 {
            // SAFETY: as the caller promises.
            unsafe { rows(lines, a.data, a.rows, m, k, scale) };
        } else {
            // SAFETY: as above; what is read are rows of pairs, which turning makes columns.
            unsafe {
                pairs(lines, a.data, a.columns, m, k, scale);
                turn_all(lines);
            }
        }
    }

    /// Packs `[k, n]` so that a tile's row holds two numbers of each of 16 columns.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn pack_right(&mut self, b: View<'_>, n: usize, k: usize) {
        let lines = self.room(n.div_ceil(SIDE), k);
        if b.columns == 1 {
            // SAFETY: as the caller promises.
            unsafe { pairs(lines, b.data, b.rows, n, k, None) };
        } else {
            // SAFETY: as above; each tile is turned once its rows are there.
            unsafe {
                rows(lines, b.data, b.columns, n, k, None);
                turn_all(lines);
            }
        }
    }
}

/// Mask of the first `count` of 16 lanes.
fn lanes(count: usize) -> u16 {
    if count >= SIDE { u16::MAX } else { (1 << count) - 1 }
}

/// Writes rows of the matrix, 32 numbers a line; what lies outside is zero.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn rows(
    lines: &mut [Line],
    data: &[f32],
    stride: usize,
    count: usize,
    k: usize,
    scale: Option<f32>,
) {
    let tiles = k.div_ceil(DEPTH);
    for (group, lines) in lines.chunks_exact_mut(tiles * SIDE).enumerate() {
        for row in 0..SIDE {
            let index = group * SIDE + row;
            if index >= count {
                (0..tiles).for_each(|tile| lines[tile * SIDE + row] = ZERO);
                continue;
            }
            let from = &data[index * stride..][..k];
            for (tile, part) in from.chunks(DEPTH).enumerate() {
                let (low, high) = if part.len() == DEPTH {
                    // SAFETY: the part has 32 numbers.
                    unsafe {
                        (_mm512_loadu_ps(part.as_ptr()), _mm512_loadu_ps(part.as_ptr().add(16)))
                    }
                } else {
                    let rest = part.len().saturating_sub(SIDE);
                    // SAFETY: masked lanes are not read.
                    unsafe {
                        (
                            _mm512_maskz_loadu_ps(lanes(part.len()), part.as_ptr()),
                            _mm512_maskz_loadu_ps(lanes(rest), part.as_ptr().wrapping_add(16)),
                        )
                    }
                };
                let (low, high) = match scale {
                    Some(scale) => {
                        let scale = _mm512_set1_ps(scale);
                        (_mm512_mul_ps(low, scale), _mm512_mul_ps(high, scale))
                    }
                    None => (low, high),
                };
                // SAFETY: a line is 64 bytes; the intrinsic's type is 32 numbers of bfloat16.
                unsafe {
                    let line = lines[tile * SIDE + row].0.as_mut_ptr();
                    let packed = _mm512_cvtne2ps_pbh(high, low);
                    _mm512_storeu_si512(
                        line.cast(),
                        std::mem::transmute::<__m512bh, __m512i>(packed),
                    );
                }
            }
        }
    }
}

/// Interleaves rows `2p` and `2p + 1` of a `[k, count]` matrix, 16 columns a line.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pairs(
    lines: &mut [Line],
    data: &[f32],
    stride: usize,
    count: usize,
    k: usize,
    scale: Option<f32>,
) {
    let tiles = k.div_ceil(DEPTH);
    let order = interleave();
    for (group, lines) in lines.chunks_exact_mut(tiles * SIDE).enumerate() {
        let first = group * SIDE;
        let mask = lanes(count - first);
        for (index, line) in lines.iter_mut().enumerate() {
            let load = |row: usize| {
                if row < k {
                    // SAFETY: masked lanes are not read, the others lie within row `row`.
                    unsafe { _mm512_maskz_loadu_ps(mask, data.as_ptr().add(row * stride + first)) }
                } else {
                    _mm512_setzero_ps()
                }
            };
            let (mut even, mut odd) = (load(2 * index), load(2 * index + 1));
            if let Some(scale) = scale {
                let scale = _mm512_set1_ps(scale);
                (even, odd) = (_mm512_mul_ps(even, scale), _mm512_mul_ps(odd, scale));
            }
            // SAFETY: as in `rows`.
            unsafe {
                let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even));
                let mixed = _mm512_permutexvar_epi16(order, both);
                _mm512_storeu_si512(line.0.as_mut_ptr().cast(), mixed);
            }
        }
    }
}

/// Transposes every tile in units of pairs: lines of two numbers of each of 16 columns become lines of
/// 32 numbers of one column, and the other way round.
#[target_feature(enable = "avx512f")]
unsafe fn turn_all(lines: &mut [Line]) {
    for tile in lines.chunks_exact_mut(SIDE) {
        // SAFETY: a chunk is a whole tile.
        unsafe { turn(tile) };
    }
}

/// Transposes a tile as 16 × 16 units of 32 bits.
#[target_feature(enable = "avx512f")]
unsafe fn turn(tile: &mut [Line]) {
    let mut r = [_mm512_setzero_si512(); SIDE];
    for (to, line) in r.iter_mut().zip(tile.iter()) {
        // SAFETY: a line is 64 bytes.
        *to = unsafe { _mm512_loadu_si512(line.0.as_ptr().cast()) };
    }
    let mut s = r;
    for i in (0..SIDE).step_by(2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for i in (0..SIDE).step_by(4) {
        r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
    for half in [0, 8] {
        for i in 0..4 {
            s[half + i] = _mm512_shuffle_i32x4::<0x88>(r[half + i], r[half + i + 4]);
            s[half + i + 4] = _mm512_shuffle_i32x4::<0xdd>(r[half + i], r[half + i + 4]);
        }
    }
    for i in 0..8 {
        r[i] = _mm512_shuffle_i32x4::<0x88>(s[i], s[i + 8]);
        r[i + 8] = _mm512_shuffle_i32x4::<0xdd>(s[i], s[i + 8]);
    }
    for (from, line) in r.iter().zip(tile) {
        // SAFETY: a line is 64 bytes.
        unsafe { _mm512_storeu_si512(line.0.as_mut_ptr().cast(), *from) };
    }
}

/// Four tiles of sums in memory, for blocks that reach over the edge.
#[repr(C, align(64))]
struct Block([f32; 4 * SIDE * SIDE]);

/// Runs over all blocks of 32 × 32 sums.
#[target_feature(enable = "avx512f")]
unsafe fn multiply(
    (m, n, depth): (usize, usize, usize),
    left: &Packed,
    right: &Packed,
    c: *mut f32,
    stride: usize,
    add: bool,
) {
    let group = depth * SIDE;
    // SAFETY: the configuration is valid, static and aligned.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
    for column in (0..n).step_by(2 * SIDE) {
        let wide = n - column > SIDE;
        let b0 = right.lines[column / SIDE * group..][..group].as_ptr();
        let b1 =
            if wide { right.lines[(column / SIDE + 1) * group..][..group].as_ptr() } else { b0 };
        for row in (0..m).step_by(2 * SIDE) {
            let tall = m - row > SIDE;
            let a0 = left.lines[row / SIDE * group..][..group].as_ptr();
            let a1 =
                if tall { left.lines[(row / SIDE + 1) * group..][..group].as_ptr() } else { a0 };
            let whole = m - row >= 2 * SIDE && n - column >= 2 * SIDE;
            if whole {
                // SAFETY: the 32 rows and columns from here lie within `c`, as the callers assert.
                let to = unsafe {
                    let to = c.add(row * stride + column);
                    [to, to.add(SIDE), to.add(SIDE * stride), to.add(SIDE * stride + SIDE)]
                };
                // SAFETY: the operands hold `depth` tiles from each pointer.
                unsafe { block([a0, a1], [b0, b1], depth, to, stride, add) };
            } else {
                let mut sums = Block([0.0; 4 * SIDE * SIDE]);
                let to = sums.0.as_mut_ptr();
                // SAFETY: four tiles of 16 × 16 lie within the block.
                let to = unsafe {
                    [to, to.add(SIDE * SIDE), to.add(2 * SIDE * SIDE), to.add(3 * SIDE * SIDE)]
                };
                // SAFETY: as above.
                unsafe { block([a0, a1], [b0, b1], depth, to, SIDE, false) };
                for (part, tile) in sums.0.chunks_exact(SIDE * SIDE).enumerate() {
                    let (top, start) = (row + part / 2 * SIDE, column + part % 2 * SIDE);
                    if top < m && start < n {
                        let rows = (m - top).min(SIDE);
                        // SAFETY: rows and columns beyond the matrix are left out.
                        unsafe {
                            let to = c.add(top * stride + start);
                            put(&tile[..rows * SIDE], to, stride, n - start, add);
                        }
                    }
                }
            }
        }
    }
    // SAFETY: gives the tiles back; nothing of ours is in them any more.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// Writes rows of a tile of sums, of each the first `columns`.
#[target_feature(enable = "avx512f")]
unsafe fn put(tile: &[f32], to: *mut f32, stride: usize, columns: usize, add: bool) {
    let mask = lanes(columns);
    for (row, sums) in tile.chunks_exact(SIDE).enumerate() {
        // SAFETY: masked lanes are neither read nor written; the others are within the matrix.
        unsafe {
            let at = to.add(row * stride);
            let mut sum = _mm512_loadu_ps(sums.as_ptr());
            if add {
                sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at));
            }
            _mm512_mask_storeu_ps(at, mask, sum);
        }
    }
}

/// Computes 32 × 32 sums over `depth` tiles and stores them as four tiles, rows `stride` apart.
unsafe fn block(
    [a0, a1]: [*const Line; 2],
    [b0, b1]: [*const Line; 2],
    depth: usize,
    [c0, c1, c2, c3]: [*mut f32; 4],
    stride: usize,
    add: bool,
) {
    let bytes = stride * size_of::<f32>();
    if add {
        // SAFETY: the caller's four tiles are readable.
        unsafe {
            asm!(
                "tileloadd tmm0, [{c0} + {s}]", "tileloadd tmm1, [{c1} + {s}]",
                "tileloadd tmm2, [{c2} + {s}]", "tileloadd tmm3, [{c3} + {s}]",
                c0 = in(reg) c0, c1 = in(reg) c1, c2 = in(reg) c2, c3 = in(reg) c3,
                s = in(reg) bytes, options(nostack, readonly),
            );
        }
    } else {
        // SAFETY: touches tiles only.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem),
            );
        }
    }
    // SAFETY: the caller's operands hold `depth` tiles from each pointer, and its four tiles of sums
    // are writable. No other code uses the tile registers, so they keep their sums between blocks of
    // assembly.
    unsafe {
        asm!(
            "2:",
            "tileloadd tmm4, [{a0} + {s}]",
            "tileloadd tmm6, [{b0} + {s}]",
            "tileloadd tmm5, [{a1} + {s}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {s}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, {t}", "add {a1}, {t}", "add {b0}, {t}", "add {b1}, {t}",
            "dec {d}",
            "jnz 2b",
            a0 = inout(reg) a0 => _, a1 = inout(reg) a1 => _,
            b0 = inout(reg) b0 => _, b1 = inout(reg) b1 => _,
            d = inout(reg) depth => _,
            s = in(reg) 64_usize, t = const TILE,
            options(nostack, readonly),
        );
        asm!(
            "tilestored [{c0} + {s}], tmm0", "tilestored [{c1} + {s}], tmm1",
            "tilestored [{c2} + {s}], tmm2", "tilestored [{c3} + {s}], tmm3",
            c0 = in(reg) c0, c1 = in(reg) c1, c2 = in(reg) c2, c3 = in(reg) c3,
            s = in(reg) bytes, options(nostack),
        );
    }
}
