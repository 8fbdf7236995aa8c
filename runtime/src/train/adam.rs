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

    /// Applies one step with the gradient scaled by `scale`; `decays` marks the weights that decay.
    pub(super) fn apply(
        &mut self,
        weights: &mut [f32],
        grad: &[f32],
        scale: f32,
        rate: f32,
        decay: f32,
        decays: &[bool],
    ) {
        self.step += 1;
        let (c1, c2) = (1.0 - BETA1.powi(self.step), 1.0 - BETA2.powi(self.step));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for (((w, g), (m, v)), decays) in weights.iter_mut().zip(grad).zip(moments).zip(decays) {
            let g = g * scale;
            *m = BETA1 * *m + (1.0 - BETA1) * g;
            *v = BETA2 * *v + (1.0 - BETA2) * g * g;
            let shrink = if *decays { decay * *w } else { 0.0 };
            *w -= rate * (*m / c1 / ((*v / c2).sqrt() + EPS) + shrink);
        }
    }
}
