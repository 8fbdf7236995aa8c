//! Memory of weights: large chunks of huge pages, cut into regions.
//!
//! A step reads every weight once. With pages of 4 KiB each page costs a walk of the page table and stops the
//! machine's prefetcher; with pages of 2 MiB neither matters. A single matrix is too small for such a page, so
//! matrices of one model share chunks. A chunk is given back when its last region is dropped.
#![expect(unsafe_code, reason = "regions of one mapping are owned by different matrices")]

use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;

use super::tiles::{Line, SIDE};

/// Bytes of a chunk; a larger region has one of its own.
const CHUNK: usize = 64 << 20;

/// Regions begin at whole lines of the cache.
const ALIGNMENT: usize = 64;

/// Numbers for which all bytes zero is a value, aligned to at most [`ALIGNMENT`].
///
/// # Safety
/// Every pattern of bytes is a value of the type.
pub(crate) unsafe trait Plain: Copy + Send + Sync + Debug {}
// SAFETY: arrays of integers.
unsafe impl Plain for Line {}
// SAFETY: as above.
unsafe impl Plain for [u16; SIDE] {}
// SAFETY: as above.
unsafe impl Plain for [u16; 2 * SIDE] {}
// SAFETY: as above.
unsafe impl Plain for [u8; 2 * SIDE] {}

/// A mapping whose bytes belong to the regions cut from it.
struct Chunk {
    /// Start of the mapping; it lives as long as `map`.
    start: *mut u8,
    _map: MmapMut,
}

// SAFETY: the pointer is only used through regions, which do not overlap.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

/// The chunk that the next region is cut from, its length and how much of it is taken.
static CURRENT: Mutex<Option<(Arc<Chunk>, usize, usize)>> = Mutex::new(None);

/// Memory of its own for `len` values; readable and writable like a slice.
pub(crate) struct Region<T: Plain> {
    /// Keeps the mapping; `None` for an empty region.
    chunk: Option<Arc<Chunk>>,
    offset: usize,
    len: usize,
    kind: PhantomData<T>,
}

impl<T: Plain> Region<T> {
    /// Returns `len` values of zero bytes.
    ///
    /// # Panics
    /// If the system has no more memory, as any allocation here does.
    pub(crate) fn zeros(len: usize) -> Self {
        let bytes = (len * size_of::<T>()).next_multiple_of(ALIGNMENT);
        if bytes == 0 {
            return Self { chunk: None, offset: 0, len: 0, kind: PhantomData };
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((chunk, size, used)) = current.as_mut()
            && *used + bytes <= *size
        {
            let offset = *used;
            *used += bytes;
            return Self { chunk: Some(Arc::clone(chunk)), offset, len, kind: PhantomData };
        }
        let size = bytes.max(CHUNK);
        let chunk = Arc::new(Chunk::new(size));
        if bytes < size {
            *current = Some((Arc::clone(&chunk), size, bytes));
        }
        Self { chunk: Some(chunk), offset: 0, len, kind: PhantomData }
    }

    fn start(&self) -> *mut T {
        match &self.chunk {
            Some(chunk) => chunk.start.wrapping_add(self.offset).cast(),
            None => std::ptr::NonNull::dangling().as_ptr(),
        }
    }
}

impl Chunk {
    fn new(size: usize) -> Self {
        #[expect(clippy::panic, reason = "memory cannot be had, as where a vector cannot grow")]
        let mut map = MmapMut::map_anon(size)
            .unwrap_or_else(|error| panic!("cannot map {size} bytes for weights: {error}"));
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(memmap2::Advice::HugePage) {
            // Only slower: a kernel without huge pages runs all the same.
            drop(error);
        }
        Self { start: map.as_mut_ptr(), _map: map }
    }
}

impl<T: Plain> Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `zeros` cut these bytes for this region alone; the mapping is zeroed, aligned and kept alive by
        // `chunk`, and any bytes are values of `T`.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl<T: Plain> DerefMut for Region<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl<T: Plain> Debug for Region<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Region({} values)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_zero_aligned_and_do_not_overlap() {
        let mut regions: Vec<Region<Line>> = (1..40).map(Region::zeros).collect();
        let mut odd: Region<[u16; SIDE]> = Region::zeros(3);
        odd.iter_mut().for_each(|v| *v = [7; SIDE]);
        for (i, region) in regions.iter_mut().enumerate() {
            assert_eq!(region.as_ptr().align_offset(ALIGNMENT), 0);
            assert!(region.iter().all(|line| line.0 == [0; 64]));
            region.iter_mut().for_each(|line| line.0 = [u8::try_from(i).unwrap(); 64]);
        }
        for (i, region) in regions.iter().enumerate() {
            assert_eq!(region.len(), i + 1);
            assert!(region.iter().all(|line| line.0 == [u8::try_from(i).unwrap(); 64]));
        }
        assert!(odd.iter().all(|v| *v == [7; SIDE]));
        assert!(Region::<Line>::zeros(0).is_empty());
    }

    #[test]
    fn a_region_larger_than_a_chunk_has_its_own() {
        let large: Region<Line> = Region::zeros(CHUNK / 64 + 1);
        assert_eq!(large.len(), CHUNK / 64 + 1);
        assert_eq!(large[CHUNK / 64].0, [0; 64]);
    }
}
