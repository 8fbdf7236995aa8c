//! AdamW over the flat weight vector.
//!
//! # Source
//! Loshchilov and Hutter 2019, *Decoupled Weight Decay Regularization*.

use super::ops::{self, Step};

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

    /// Applies one step at gradient scale and learning rate, on `threads` threads; `decay` holds for
    /// each weight the share of the learning rate by which it shrinks.
    pub(super) fn apply(
        &mut self,
        weights: &mut [f32],
        grad: &[f32],
        (scale, rate): (f32, f32),
        decay: &[f32],
        threads: usize,
    ) {
        self.step += 1;
        let by = Step {
            scale,
            rate,
            beta1: BETA1,
            beta2: BETA2,
            c1: 1.0 / (1.0 - BETA1.powi(self.step)),
            c2: 1.0 / (1.0 - BETA2.powi(self.step)),
            eps: EPS,
        };
        let part = weights.len().div_ceil(threads).max(1);
        let own = weights.chunks_mut(part).zip(grad.chunks(part)).zip(decay.chunks(part));
        let moments = self.first.chunks_mut(part).zip(self.second.chunks_mut(part));
        std::thread::scope(|scope| {
            for (((weights, grad), decay), (first, second)) in own.zip(moments) {
                scope.spawn(move || ops::adam(weights, first, second, grad, decay, by));
            }
        });
    }
}
