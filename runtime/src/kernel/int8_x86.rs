//! Products of tiles on x86: AVX-512 with VNNI, and AVX2.
//!
//! # Source
//! Intel Intrinsics Guide: `vpdpbusd` multiplies four unsigned bytes with four signed ones and adds the sum
//! to 32 bits; weights of eight bits are made unsigned by adding 128, which `Rounded::offsets` takes back.
#![expect(
    unsafe_code,
    reason = "vector instructions on tiles; bounds are asserted before each loop"
)]

use std::arch::x86_64::*;
use std::ops::Range;

use super::{BLOCK, LINES, Out, Rounded, SIDE, Scales, Tiles};

/// Rows computed together: their sums and a block's weights fit the 32 registers.
const GROUP: usize = 8;

/// Lines that are asked for ahead of their use: the prefetcher of the machine stops at the end of a page.
const AHEAD: usize = 40;

pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
}

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// The vectors of one tile.
struct Tile<'a> {
    lines: *const __m512i,
    scales: TileScales<'a>,
    blocks: usize,
}

enum TileScales<'a> {
    Eight(&'a [[u16; SIDE]]),
    Four(&'a [[u8; 2 * SIDE]], &'a [[u16; 2 * SIDE]]),
}

impl<'a> Tile<'a> {
    /// Returns a tile whose slices hold `blocks` blocks, so that the loops need no further checks.
    fn of(w: &'a Tiles, tile: usize) -> Self {
        let blocks = w.k / BLOCK;
        let (each, scales) = match &w.scales {
            Scales::Eight(scales) => (LINES, TileScales::Eight(&scales[tile * blocks..][..blocks])),
            Scales::Four { fine, coarse } => {
                let coarse = &coarse[tile * blocks / 8..][..blocks / 8];
                (LINES / 2, TileScales::Four(&fine[tile * blocks..][..blocks], coarse))
            }
        };
        let lines = &w.lines[tile * blocks * each..][..blocks * each];
        Self { lines: lines.as_ptr().cast(), scales, blocks }
    }
}

/// Blocks of a row: integers, scales, offsets and sums.
#[derive(Clone, Copy)]
struct Input {
    quants: *const i32,
    scales: *const f32,
    offsets: *const i32,
    sums: *const f32,
}

impl Input {
    fn of(x: &Rounded, row: usize) -> Self {
        let blocks = x.k / BLOCK;
        Self {
            quants: x.quants[row * x.k..][..x.k].as_ptr().cast(),
            scales: x.scales[row * blocks..][..blocks].as_ptr(),
            offsets: x.offsets[row * blocks..][..blocks].as_ptr(),
            sums: x.sums[row * blocks..][..blocks].as_ptr(),
        }
    }
}

macro_rules! by_rows {
    ($rows:expr, $run:ident, $($argument:expr),*) => {
        match $rows {
            1 => $run::<1>($($argument),*),
            2 => $run::<2>($($argument),*),
            3 => $run::<3>($($argument),*),
            4 => $run::<4>($($argument),*),
            5 => $run::<5>($($argument),*),
            6 => $run::<6>($($argument),*),
            7 => $run::<7>($($argument),*),
            _ => $run::<8>($($argument),*),
        }
    };
}

pub(super) fn avx512(w: &Tiles, x: &Rounded, tiles: Range<usize>, out: Out) {
    assert!(has_avx512());
    for index in tiles {
        let tile = Tile::of(w, index);
        for row in (0..x.rows).step_by(GROUP) {
            let rows = (x.rows - row).min(GROUP);
            // SAFETY: the features were detected; the tile and the rows hold all blocks.
            unsafe { by_rows!(rows, group_512, &tile, x, row, index, out) };
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn group_512<const R: usize>(
    tile: &Tile<'_>,
    x: &Rounded,
    row: usize,
    index: usize,
    out: Out,
) {
    let mut inputs = [Input::of(x, row); R];
    for (r, input) in inputs.iter_mut().enumerate() {
        *input = Input::of(x, row + r);
    }
    let mut sums = [_mm512_setzero_ps(); R];
    // SAFETY: every pointer reaches `tile.blocks` blocks, as `Tile::of` and `Input::of` checked.
    unsafe {
        match &tile.scales {
            TileScales::Eight(scales) => eight_512(tile, scales, &inputs, &mut sums),
            TileScales::Four(fine, coarse) => four_512(tile, fine, coarse, &inputs, &mut sums),
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let (at, count) = out.place(row + r, index);
        let mask = if count >= SIDE { u16::MAX } else { (1 << count) - 1 };
        // SAFETY: `count` numbers from `at` lie within the row.
        unsafe { _mm512_mask_storeu_ps(at, mask, *sums) };
    }
}

/// Products of a block's eight lines with the same block of a row, added to `start`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dots_512(w: &[__m512i; LINES], x: *const i32, start: __m512i) -> __m512i {
    let (mut even, mut odd) = (start, _mm512_setzero_si512());
    for i in (0..LINES).step_by(2) {
        // SAFETY: the block has eight times four integers.
        unsafe {
            even = _mm512_dpbusd_epi32(even, w[i], _mm512_set1_epi32(x.add(i).read_unaligned()));
            odd = _mm512_dpbusd_epi32(
                odd,
                w[i + 1],
                _mm512_set1_epi32(x.add(i + 1).read_unaligned()),
            );
        }
    }
    _mm512_add_epi32(even, odd)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn eight_512<const R: usize>(
    tile: &Tile<'_>,
    scales: &[[u16; SIDE]],
    inputs: &[Input; R],
    sums: &mut [__m512; R],
) {
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut w = [flip; LINES];
    for block in 0..tile.blocks {
        // SAFETY: as the caller promises, there are `tile.blocks` blocks of everything.
        unsafe {
            for (i, w) in w.iter_mut().enumerate() {
                let at = tile.lines.add(block * LINES + i);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                *w = _mm512_xor_si512(at.read(), flip);
            }
            let scale = halves_512(scales.get_unchecked(block).as_ptr());
            for (input, sum) in inputs.iter().zip(sums.iter_mut()) {
                let start = _mm512_set1_epi32(*input.offsets.add(block));
                let whole = dots_512(&w, input.quants.add(block * LINES), start);
                let by = _mm512_mul_ps(scale, _mm512_set1_ps(*input.scales.add(block)));
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), by, *sum);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn four_512<const R: usize>(
    tile: &Tile<'_>,
    fine: &[[u8; 2 * SIDE]],
    coarse: &[[u16; 2 * SIDE]],
    inputs: &[Input; R],
    sums: &mut [__m512; R],
) {
    let low = _mm512_set1_epi8(15);
    let mut w = [low; LINES];
    for block in 0..tile.blocks {
        // SAFETY: as the caller promises, there are `tile.blocks` blocks of everything.
        unsafe {
            for i in 0..LINES / 2 {
                let at = tile.lines.add(block * (LINES / 2) + i);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                let packed = at.read();
                w[i] = _mm512_and_si512(packed, low);
                w[i + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), low);
            }
            let (scale, minimum) =
                scales_512(fine.get_unchecked(block), coarse.get_unchecked(block / 8));
            for (input, sum) in inputs.iter().zip(sums.iter_mut()) {
                let whole = dots_512(&w, input.quants.add(block * LINES), _mm512_setzero_si512());
                let by = _mm512_mul_ps(scale, _mm512_set1_ps(*input.scales.add(block)));
                let less = _mm512_set1_ps(*input.sums.add(block));
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), by, *sum);
                *sum = _mm512_fnmadd_ps(minimum, less, *sum);
            }
        }
    }
}

/// Sixteen halves as numbers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernel) unsafe fn halves_512(at: *const u16) -> __m512 {
    // SAFETY: the caller's pointer reaches 16 halves.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
}

/// Scale and minimum of a block of four bits, of 16 rows each.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernel) unsafe fn scales_512(
    fine: &[u8; 2 * SIDE],
    coarse: &[u16; 2 * SIDE],
) -> (__m512, __m512) {
    let wide = |half: &[u8]| {
        // SAFETY: 16 bytes.
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(half.as_ptr().cast()) }))
    };
    // SAFETY: each half of `coarse` has 16 numbers.
    let (d, dmin) = unsafe { (halves_512(coarse.as_ptr()), halves_512(coarse.as_ptr().add(SIDE))) };
    (_mm512_mul_ps(d, wide(&fine[..SIDE])), _mm512_mul_ps(dmin, wide(&fine[SIDE..])))
}

pub(super) fn avx2(w: &Tiles, x: &Rounded, tiles: Range<usize>, out: Out) {
    assert!(has_avx2());
    for index in tiles {
        let tile = Tile::of(w, index);
        for row in 0..x.rows {
            let mut sums = [0.0; SIDE];
            // SAFETY: the features were detected; the tile and the row hold all blocks.
            unsafe { row_256(&tile, Input::of(x, row), &mut sums) };
            out.put(row, index, &sums);
        }
    }
}

/// Products of a tile with one row: eight rows of the tile at a time.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn row_256(tile: &Tile<'_>, x: Input, out: &mut [f32; SIDE]) {
    let low = _mm256_set1_epi8(15);
    for half in 0..2 {
        let mut sum = _mm256_setzero_ps();
        for block in 0..tile.blocks {
            // SAFETY: as the caller promises, there are `tile.blocks` blocks of everything, and a line
            // has two halves of eight rows.
            unsafe {
                let line = |i: usize| tile.lines.add(i).cast::<__m256i>().add(half).read();
                let step =
                    |i: usize| _mm256_set1_epi32(x.quants.add(block * LINES + i).read_unaligned());
                let mut whole = _mm256_setzero_si256();
                let x_scale = _mm256_set1_ps(*x.scales.add(block));
                match &tile.scales {
                    TileScales::Eight(scales) => {
                        for i in 0..LINES {
                            let w = line(block * LINES + i);
                            let pairs = _mm256_maddubs_epi16(
                                _mm256_abs_epi8(w),
                                _mm256_sign_epi8(step(i), w),
                            );
                            whole = _mm256_add_epi32(whole, quads(pairs));
                        }
                        let scale = halves_256(scales.get_unchecked(block).as_ptr().add(8 * half));
                        sum = _mm256_fmadd_ps(
                            _mm256_cvtepi32_ps(whole),
                            _mm256_mul_ps(scale, x_scale),
                            sum,
                        );
                    }
                    TileScales::Four(fine, coarse) => {
                        for i in 0..LINES / 2 {
                            let packed = line(block * (LINES / 2) + i);
                            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(packed), low);
                            let pairs = _mm256_add_epi16(
                                _mm256_maddubs_epi16(_mm256_and_si256(packed, low), step(i)),
                                _mm256_maddubs_epi16(high, step(i + 4)),
                            );
                            whole = _mm256_add_epi32(whole, quads(pairs));
                        }
                        let (fine, coarse) =
                            (fine.get_unchecked(block), coarse.get_unchecked(block / 8));
                        let wide = |at: usize| {
                            let bytes = _mm_loadl_epi64(fine.as_ptr().add(at).cast());
                            let d = halves_256(coarse.as_ptr().add(at));
                            _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)))
                        };
                        let by = _mm256_mul_ps(wide(8 * half), x_scale);
                        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), by, sum);
                        let less = _mm256_set1_ps(*x.sums.add(block));
                        sum = _mm256_fnmadd_ps(wide(SIDE + 8 * half), less, sum);
                    }
                }
            }
        }
        // SAFETY: eight numbers of the half.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(8 * half), sum) };
    }
}

/// Adds neighbouring pairs of 16 bits to 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn quads(pairs: __m256i) -> __m256i {
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

#[inline]
#[target_feature(enable = "avx,f16c")]
unsafe fn halves_256(at: *const u16) -> __m256 {
    // SAFETY: the caller's pointer reaches eight halves.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
}
