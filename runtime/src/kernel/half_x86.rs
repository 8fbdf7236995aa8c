//! Attention over keys and values of half precision with AVX-512: one query at a time, each number read once.
//!
//! What limits it is reading: rows are asked for ahead of their use, since the machine's own prefetcher stops at
//! the end of each page and a head's keys are only a few pages.
#![expect(unsafe_code, reason = "vector instructions; lengths are asserted before each loop")]

use std::arch::x86_64::*;

use super::{Rows, RowsMut};

/// Numbers of a vector.
const WIDE: usize = 16;

/// Numbers that are asked for ahead of their use.
const AHEAD: usize = 1024;

pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// Whether rows of `width` numbers can be read here.
pub(super) fn fits_width(width: usize) -> bool {
    matches!(width, 32 | 64 | 96 | 128) && available()
}

/// Computes `y = x · wᵀ`; the caller has checked the shapes and [`fits_width`].
pub(super) fn dots(x: Rows<'_>, w: &[u16], width: usize, y: &mut RowsMut<'_>) {
    assert!(fits_width(width));
    let count = w.len() / width;
    for row in 0..x.rows {
        let query = &x.data[row * x.stride..][..width];
        let out = &mut y.data[row * y.stride..][..count];
        // SAFETY: the features were detected; the slices hold whole rows of `width` numbers.
        unsafe {
            match width / WIDE {
                2 => dots_of::<2>(query, w, out),
                4 => dots_of::<4>(query, w, out),
                6 => dots_of::<6>(query, w, out),
                _ => dots_of::<8>(query, w, out),
            }
        }
    }
}

/// Computes `y += p · v`; the caller has checked the shapes and [`fits_width`].
pub(super) fn mix(p: Rows<'_>, v: &[u16], width: usize, y: &mut [f32]) {
    assert!(fits_width(width));
    let count = v.len() / width;
    for row in 0..p.rows {
        let weights = &p.data[row * p.stride..][..count];
        let out = &mut y[row * width..][..width];
        // SAFETY: as in `dots`.
        unsafe {
            match width / WIDE {
                2 => mix_of::<2>(weights, v, out),
                4 => mix_of::<4>(weights, v, out),
                6 => mix_of::<6>(weights, v, out),
                _ => mix_of::<8>(weights, v, out),
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn dots_of<const N: usize>(query: &[f32], w: &[u16], out: &mut [f32]) {
    let mut x = [_mm512_setzero_ps(); N];
    for (i, x) in x.iter_mut().enumerate() {
        // SAFETY: the query has N vectors.
        *x = unsafe { _mm512_loadu_ps(query.as_ptr().add(i * WIDE)) };
    }
    for (row, out) in w.chunks_exact(N * WIDE).zip(out) {
        let mut sums = [_mm512_setzero_ps(); 2];
        for i in 0..N {
            // SAFETY: the row has N vectors; a prefetch of any address is harmless.
            unsafe {
                let at = row.as_ptr().add(i * WIDE);
                if i % 2 == 0 {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                }
                let numbers = _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()));
                sums[i % 2] = _mm512_fmadd_ps(numbers, x[i], sums[i % 2]);
            }
        }
        *out = _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn mix_of<const N: usize>(weights: &[f32], v: &[u16], out: &mut [f32]) {
    let mut sums = [_mm512_setzero_ps(); N];
    for (i, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the output has N vectors.
        *sum = unsafe { _mm512_loadu_ps(out.as_ptr().add(i * WIDE)) };
    }
    for (row, weight) in v.chunks_exact(N * WIDE).zip(weights) {
        let weight = _mm512_set1_ps(*weight);
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the row has N vectors; a prefetch of any address is harmless.
            unsafe {
                let at = row.as_ptr().add(i * WIDE);
                if i % 2 == 0 {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                }
                *sum =
                    _mm512_fmadd_ps(_mm512_cvtph_ps(_mm256_loadu_si256(at.cast())), weight, *sum);
            }
        }
    }
    for (i, sum) in sums.iter().enumerate() {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(i * WIDE), *sum) };
    }
}
