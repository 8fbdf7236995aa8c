//! Rotary position embedding, halves rotated as `transformers` does.

/// Cosines and sines of the positions of one step, shared by all layers.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    /// `[n, head_dim / 2]` cosines.
    cos: Vec<f32>,
    /// `[n, head_dim / 2]` sines.
    sin: Vec<f32>,
}

impl Rope {
    /// Empties the tables.
    pub(crate) fn clear(&mut self) {
        self.cos.clear();
        self.sin.clear();
    }

    /// Adds rows for the positions `start..start + n`.
    pub(crate) fn extend(&mut self, frequencies: &[f32], start: usize, n: usize) {
        for position in start..start + n {
            for frequency in frequencies {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                self.cos.push(cos);
                self.sin.push(sin);
            }
        }
    }

    /// Rotates one head of row `row` of the step in place, times `scale`.
    pub(crate) fn rotate(&self, head: &mut [f32], row: usize, scale: f32) {
        let half = head.len() / 2;
        let (cos, sin) = (&self.cos[row * half..][..half], &self.sin[row * half..][..half]);
        let (first, second) = head.split_at_mut(half);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            let (x, y) = (*a, *b);
            *a = (x * cos - y * sin) * scale;
            *b = (y * cos + x * sin) * scale;
        }
    }
}

/// Returns the frequency of each pair: `theta^(-2i / head_dim)`, `[head_dim / 2]`.
pub(crate) fn frequencies(head_dim: usize, theta: f64) -> Vec<f32> {
    (0..head_dim / 2)
        .map(|i| {
            #[expect(clippy::cast_possible_truncation, reason = "the reference holds them in f32")]
            let frequency = (1.0 / theta.powf(2.0 * i as f64 / head_dim as f64)) as f32;
            frequency
        })
        .collect()
}
