//! AdamW over the flat weight vector.
//!
//! # Source
//! Loshchilov and Hutter 2019, *Decoupled Weight Decay Regularization*.

/// First and second moments and the settings of the optimiser.
#[derive(Debug)]
pub(super) struct Adam {
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    pub(super) step: i32,
}

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPS: f32 = 1e-8;

impl Adam {
    pub(super) fn new(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len], step: 0 }
    }

    /// Applies one step at gradient scale, learning rate and decay, on `threads` threads; `decays`
    /// marks the weights that decay.
    pub(super) fn apply(
        &mut self,
        weights: &mut [f32],
        grad: &[f32],
        (scale, rate, decay): (f32, f32, f32),
        decays: &[bool],
        threads: usize,
    ) {
        self.step += 1;
        let (c1, c2) = (1.0 - BETA1.powi(self.step), 1.0 - BETA2.powi(self.step));
        let part = weights.len().div_ceil(threads).max(1);
        let update = |weights: &mut [f32], first: &mut [f32], second: &mut [f32], at: usize| {
            let given = grad[at..].iter().zip(&decays[at..]);
            for (((w, m), v), (g, decays)) in weights.iter_mut().zip(first).zip(second).zip(given) {
                let g = g * scale;
                *m = BETA1 * *m + (1.0 - BETA1) * g;
                *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                let shrink = if *decays { decay * *w } else { 0.0 };
                *w -= rate * (*m / c1 / ((*v / c2).sqrt() + EPS) + shrink);
            }
        };
        std::thread::scope(|scope| {
            let moments = self.first.chunks_mut(part).zip(self.second.chunks_mut(part));
            for (i, (weights, (first, second))) in weights.chunks_mut(part).zip(moments).enumerate()
            {
                let update = &update;
                scope.spawn(move || update(weights, first, second, i * part));
            }
        });
    }
}
