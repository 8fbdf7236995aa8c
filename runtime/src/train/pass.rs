//! Forward and backward of one pack of examples, by hand on plain slices.
//!
//! A pack is a prefix and branches: every branch continues the prefix and sees nothing of the other
//! branches, so examples with the same prompt head pay for it once. Each of a step's threads runs its
//! own pack with its own gradient.
//!
//! # Source
//! Vaswani et al. 2017 (attention), Zhang and Sennrich 2019 (RMSNorm), Su et al. 2021 (rotary
//! positions), Shazeer 2020 (SwiGLU), Fedus et al. 2021 (load-balancing loss), Zoph et al. 2022
//! (router z-loss).

use std::ops::Range;

use super::attend::Attended;
use super::experts::Experts;
use super::layout::{Layer, Layout};
use super::linear::{Form, Mat, MatMut, Precision, mat, mat_mut, product};
use super::ops;
use super::pool::Pool;
use crate::config::MoeConfig;
use crate::model::frequencies;

/// Tokens of some examples that share their beginning.
#[derive(Debug, Clone, Default)]
pub(super) struct Pack {
    /// The prefix, then the branches one after another.
    pub(super) tokens: Vec<u32>,
    /// Length of the prefix.
    pub(super) prefix: usize,
    /// Rows of each branch.
    pub(super) branches: Vec<Range<usize>>,
    /// Row and the token that should follow it.
    pub(super) targets: Vec<(usize, u32)>,
    /// Index of the branch of each target.
    pub(super) owners: Vec<usize>,
}

/// Coefficients of the losses besides cross-entropy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    /// Factor of each target's cross-entropy.
    pub(super) target: f32,
    /// Load balance of the experts, per layer.
    pub(super) balance: f32,
    /// Squared log-sum-exp of the router, per layer.
    pub(super) z: f32,
}

/// What a pass saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Sum of the targets' cross-entropies, nats.
    pub(super) loss: f64,
    /// Targets whose likeliest token was right.
    pub(super) right: usize,
    /// Per branch, whether every target was right.
    pub(super) exact: Vec<bool>,
    /// Tokens by layer and expert.
    pub(super) load: Vec<Vec<usize>>,
}

/// A model being trained.
#[derive(Debug)]
pub(super) struct Net<'a> {
    pub(super) config: &'a MoeConfig,
    pub(super) layout: &'a Layout,
    pub(super) weights: &'a [f32],
    pub(super) precision: Precision,
}

/// What the backward pass of a layer needs of the forward one.
struct Tape {
    /// Input, `[T, hidden]`, and the inverses of its norm.
    x: Vec<f32>,
    inv: Vec<f32>,
    /// Queries, keys and values before their norms, `[T, (heads + 2 kv) * hd]`.
    qkv: Vec<f32>,
    attended: Attended,
    /// Input and attention, `[T, hidden]`, and the inverses of its norm.
    mid: Vec<f32>,
    mid_inv: Vec<f32>,
    experts: Experts,
}

impl Tape {
    /// Gives the buffers back.
    fn free(self, pool: &mut Pool) {
        pool.give([self.x, self.inv, self.qkv, self.mid, self.mid_inv]);
        pool.give(self.attended.into_buffers());
        pool.give(self.experts.into_buffers());
    }
}

/// Cosines and sines per row, `[T, hd / 2]` each.
pub(super) struct Turn {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Turn {
    /// Returns the cosines and sines of a row.
    pub(super) fn of(&self, row: usize) -> (&[f32], &[f32]) {
        let span = row * self.half..(row + 1) * self.half;
        (&self.cos[span.clone()], &self.sin[span])
    }
}

impl Pack {
    fn positions(&self) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..self.prefix).collect();
        for branch in &self.branches {
            positions.extend((0..branch.len()).map(|i| self.prefix + i));
        }
        positions
    }
}

impl<'a> Net<'a> {
    pub(super) fn w(&self, range: &Range<usize>) -> &'a [f32] {
        &self.weights[range.clone()]
    }

    pub(super) fn product(
        &self,
        form: Form,
        a: Mat<'_>,
        b: Mat<'_>,
        c: MatMut<'_>,
        scale: f32,
        add: bool,
    ) {
        product(self.precision, form, a, b, c, scale, add);
    }

    /// Products of the router stay in `f32`: a rounded score may send a token to another expert.
    pub(super) fn route_product(
        &self,
        form: Form,
        a: Mat<'_>,
        b: Mat<'_>,
        c: MatMut<'_>,
        add: bool,
    ) {
        product(Precision::F32, form, a, b, c, 1.0, add);
    }

    pub(super) fn eps(&self) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "the reference norms in f32")]
        let eps = self.config.rms_norm_eps as f32;
        eps
    }

    fn turn(&self, pack: &Pack) -> Turn {
        let frequencies = frequencies(self.config.head_dim, self.config.rope_theta);
        let mut turn = Turn { cos: Vec::new(), sin: Vec::new(), half: frequencies.len() };
        for position in pack.positions() {
            for frequency in &frequencies {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                turn.cos.push(cos);
                turn.sin.push(sin);
            }
        }
        turn
    }

    /// Runs a pack. With `grad`, adds the gradient of the weighted losses to it (same layout as the
    /// weights).
    pub(super) fn run(
        &self,
        pack: &Pack,
        weights: Weights,
        grad: Option<&mut [f32]>,
        pool: &mut Pool,
    ) -> Seen {
        let d = self.config.hidden_size;
        let turn = self.turn(pack);
        let embedding = self.w(&self.layout.embedding);
        let mut x = pool.take(pack.tokens.len() * d);
        for (token, to) in pack.tokens.iter().zip(x.chunks_exact_mut(d)) {
            to.copy_from_slice(&embedding[*token as usize * d..][..d]);
        }
        let mut seen = Seen { exact: vec![true; pack.branches.len()], ..Seen::default() };
        let mut tapes = Vec::with_capacity(self.layout.layers.len());
        for layer in &self.layout.layers {
            let tape = self.layer(layer, pack, &turn, &mut x, pool);
            seen.load.push(tape.experts.routed.iter().map(|routed| routed.rows.len()).collect());
            tapes.push(tape);
        }
        match grad {
            None => {
                self.head(pack, &x, weights.target, None, &mut seen, pool);
                tapes.into_iter().for_each(|tape| tape.free(pool));
            }
            Some(grad) => {
                let mut dx = pool.zeros(x.len());
                self.head(pack, &x, weights.target, Some((grad, &mut dx)), &mut seen, pool);
                for (layer, mut tape) in self.layout.layers.iter().zip(tapes).rev() {
                    let of = (layer, pack, &turn);
                    self.layer_back(of, &mut tape, weights, &mut dx, grad, pool);
                    tape.free(pool);
                }
                let rows = &mut grad[self.layout.embedding.clone()];
                for (token, dx) in pack.tokens.iter().zip(dx.chunks_exact(d)) {
                    ops::add_scaled(&mut rows[*token as usize * d..][..d], 1.0, dx);
                }
                pool.give([dx]);
            }
        }
        pool.give([x]);
        seen
    }

    /// Scores the targets and, with gradients, starts the backward pass.
    fn head(
        &self,
        pack: &Pack,
        x: &[f32],
        weight: f32,
        back: Option<(&mut [f32], &mut [f32])>,
        seen: &mut Seen,
        pool: &mut Pool,
    ) {
        let (d, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let n = pack.targets.len();
        let (mut rows, mut normed) = (pool.take(n * d), pool.take(n * d));
        for ((row, _), to) in pack.targets.iter().zip(rows.chunks_exact_mut(d)) {
            to.copy_from_slice(&x[row * d..][..d]);
        }
        let gain = self.w(&self.layout.norm);
        let mut inv = pool.take(n);
        ops::rms(&rows, gain, self.eps(), &mut normed, &mut inv);
        let embedding = mat(self.w(&self.layout.embedding), d);
        let mut logits = pool.take(n * vocab);
        let to = mat_mut(&mut logits, vocab);
        self.product(Form::RightT, mat(&normed, d), embedding, to, 1.0, false);
        let targets = pack.targets.iter().zip(&pack.owners);
        for (((_, token), owner), row) in targets.zip(logits.chunks_exact_mut(vocab)) {
            // From here on the row holds the gradient of the loss by the logits.
            let (loss, right) = ops::cross_entropy(row, *token as usize, weight);
            seen.loss += f64::from(loss);
            seen.right += usize::from(right);
            seen.exact[*owner] &= right;
        }
        if let Some((grad, dx)) = back {
            let mut dnormed = pool.take(n * d);
            let (dlogits, to) = (mat(&logits, vocab), mat_mut(&mut dnormed, d));
            self.product(Form::Plain, dlogits, embedding, to, 1.0, false);
            let dembedding = mat_mut(&mut grad[self.layout.embedding.clone()], d);
            self.product(Form::LeftT, dlogits, mat(&normed, d), dembedding, 1.0, true);
            let mut drows = pool.zeros(n * d);
            let dgain = &mut grad[self.layout.norm.clone()];
            ops::rms_back(&rows, gain, &inv, &dnormed, &mut drows, dgain);
            for ((row, _), from) in pack.targets.iter().zip(drows.chunks_exact(d)) {
                ops::add_scaled(&mut dx[row * d..][..d], 1.0, from);
            }
            pool.give([dnormed, drows]);
        }
        pool.give([rows, normed, inv, logits]);
    }

    fn layer(
        &self,
        layer: &Layer,
        pack: &Pack,
        turn: &Turn,
        x: &mut Vec<f32>,
        pool: &mut Pool,
    ) -> Tape {
        let c = self.config;
        let (d, t) = (c.hidden_size, pack.tokens.len());
        let width = c.num_attention_heads * c.head_dim;
        let wide = width + 2 * c.num_key_value_heads * c.head_dim;
        let (mut normed, mut inv) = (pool.take(t * d), pool.take(t));
        ops::rms(x, self.w(&layer.input_norm), self.eps(), &mut normed, &mut inv);
        let mut qkv = pool.take(t * wide);
        let (weights, to) = (mat(self.w(&layer.qkv), d), mat_mut(&mut qkv, wide));
        self.product(Form::RightT, mat(&normed, d), weights, to, 1.0, false);
        let attended = self.attend(layer, pack, turn, &qkv, pool);
        let mut mid = pool.copy(x);
        let (output, to) = (mat(self.w(&layer.output), width), mat_mut(&mut mid, d));
        self.product(Form::RightT, mat(&attended.joined, width), output, to, 1.0, true);
        let mut mid_inv = pool.take(t);
        ops::rms(&mid, self.w(&layer.post_norm), self.eps(), &mut normed, &mut mid_inv);
        let before = std::mem::replace(x, pool.copy(&mid));
        let experts = self.experts(layer, &normed, x, pool);
        pool.give([normed]);
        Tape { x: before, inv, qkv, attended, mid, mid_inv, experts }
    }

    /// Turns `dx` from the gradient by a layer's output into that by its input.
    fn layer_back(
        &self,
        (layer, pack, turn): (&Layer, &Pack, &Turn),
        tape: &mut Tape,
        weights: Weights,
        dx: &mut [f32],
        grad: &mut [f32],
        pool: &mut Pool,
    ) {
        let c = self.config;
        let (d, width) = (c.hidden_size, c.num_attention_heads * c.head_dim);
        let post_norm = self.w(&layer.post_norm);
        let mut normed = pool.take(dx.len());
        ops::normed(&tape.mid, post_norm, &tape.mid_inv, &mut normed);
        let dnormed =
            self.experts_back(layer, &mut tape.experts, &normed, (weights, dx), grad, pool);
        let dgain = &mut grad[layer.post_norm.clone()];
        ops::rms_back(&tape.mid, post_norm, &tape.mid_inv, &dnormed, dx, dgain);

        let mut djoined = pool.take(tape.attended.joined.len());
        let (output, to) = (mat(self.w(&layer.output), width), mat_mut(&mut djoined, width));
        self.product(Form::Plain, mat(dx, d), output, to, 1.0, false);
        let doutput = mat_mut(&mut grad[layer.output.clone()], width);
        let joined = mat(&tape.attended.joined, width);
        self.product(Form::LeftT, mat(dx, d), joined, doutput, 1.0, true);
        let of = (layer, pack, turn);
        let dqkv = self.attend_back(of, &tape.qkv, &tape.attended, &djoined, grad, pool);

        let wide = dqkv.len() / pack.tokens.len();
        let input_norm = self.w(&layer.input_norm);
        ops::normed(&tape.x, input_norm, &tape.inv, &mut normed);
        let dweights = mat_mut(&mut grad[layer.qkv.clone()], d);
        self.product(Form::LeftT, mat(&dqkv, wide), mat(&normed, d), dweights, 1.0, true);
        let mut dnormed = dnormed;
        let (weights, to) = (mat(self.w(&layer.qkv), d), mat_mut(&mut dnormed, d));
        self.product(Form::Plain, mat(&dqkv, wide), weights, to, 1.0, false);
        let dgain = &mut grad[layer.input_norm.clone()];
        ops::rms_back(&tape.x, input_norm, &tape.inv, &dnormed, dx, dgain);
        pool.give([normed, dnormed, djoined, dqkv]);
    }
}

#[cfg(test)]
mod tests;
