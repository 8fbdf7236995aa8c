//! Buffers that a worker uses again from pack to pack: fresh memory costs a page fault every 4 KiB,
//! which at a planner's size is as dear as the arithmetic.

/// Buffers that are free.
#[derive(Debug, Default)]
pub(super) struct Pool(Vec<Vec<f32>>);

impl Pool {
    /// Returns a buffer of `len` numbers, whatever they are; the caller writes all of them.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        let fits = |buffer: &Vec<f32>| buffer.capacity() >= len;
        let best = (0..self.0.len())
            .filter(|i| fits(&self.0[*i]))
            .min_by_key(|i| self.0[*i].capacity())
            .or_else(|| (0..self.0.len()).max_by_key(|i| self.0[*i].capacity()));
        let mut buffer = best.map_or_else(Vec::new, |i| self.0.swap_remove(i));
        buffer.resize(len, 0.0);
        buffer
    }

    /// Returns a buffer of `len` zeros.
    pub(super) fn zeros(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Returns a buffer with the numbers of another.
    pub(super) fn copy(&mut self, of: &[f32]) -> Vec<f32> {
        let mut buffer = self.take(of.len());
        buffer.copy_from_slice(of);
        buffer
    }

    /// Takes buffers back.
    pub(super) fn give(&mut self, buffers: impl IntoIterator<Item = Vec<f32>>) {
        self.0.extend(buffers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_zeros_are_zero() {
        let mut pool = Pool::default();
        let mut first = pool.take(100);
        first.fill(7.0);
        let place = first.as_ptr();
        pool.give([first, vec![1.0; 5]]);
        let again = pool.zeros(80);
        assert_eq!((again.as_ptr(), again.len()), (place, 80));
        assert!(again.iter().all(|v| *v == 0.0));
        assert_eq!(pool.copy(&[1.0, 2.0]), [1.0, 2.0]);
    }
}
