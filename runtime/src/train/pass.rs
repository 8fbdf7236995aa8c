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

use super::layout::{Expert, Layer, Layout};
use super::linear::{Form, Mat, MatMut, mat, mat_mut, product};
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
}

/// What the backward pass of a layer needs of the forward one.
struct Tape {
    x: Vec<f32>,
    inv: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    head_inv: Vec<f32>,
    /// `[heads + kv, T, hd]`: rotated queries, then keys.
    rotated: Vec<f32>,
    /// `[kv, T, hd]`
    values: Vec<f32>,
    /// Probabilities of each head and block of rows.
    probs: Vec<Vec<f32>>,
    joined: Vec<f32>,
    mid: Vec<f32>,
    mid_inv: Vec<f32>,
    mid_normed: Vec<f32>,
    router: Vec<f32>,
    lse: Vec<f32>,
    moe: Vec<Routed>,
}

/// Rows of one expert.
#[derive(Default)]
struct Routed {
    rows: Vec<usize>,
    shares: Vec<f32>,
    x: Vec<f32>,
    gate_up: Vec<f32>,
    hidden: Vec<f32>,
    y: Vec<f32>,
}

/// Cosines and sines per row, `[T, hd / 2]` each.
struct Turn {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Pack {
    fn positions(&self) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..self.prefix).collect();
        for branch in &self.branches {
            positions.extend((0..branch.len()).map(|i| self.prefix + i));
        }
        positions
    }

    /// Blocks of rows that attend together: the prefix to itself, each branch to the prefix and
    /// itself.
    fn blocks(&self) -> Vec<(Range<usize>, usize)> {
        let mut blocks = Vec::with_capacity(self.branches.len() + 1);
        if self.prefix > 0 {
            blocks.push((0..self.prefix, 0));
        }
        blocks.extend(self.branches.iter().map(|rows| (rows.clone(), self.prefix)));
        blocks
    }
}

impl<'a> Net<'a> {
    fn w(&self, range: &Range<usize>) -> &'a [f32] {
        &self.weights[range.clone()]
    }

    fn eps(&self) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "the reference norms in f32")]
        let eps = self.config.rms_norm_eps as f32;
        eps
    }

    fn turn(&self, pack: &Pack) -> Turn {
        let frequencies = frequencies(self.config.head_dim, self.config.rope_theta);
        let mut turn = Turn { cos: Vec::new(), sin: Vec::new() };
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
    pub(super) fn run(&self, pack: &Pack, weights: Weights, grad: Option<&mut [f32]>) -> Seen {
        let d = self.config.hidden_size;
        let turn = self.turn(pack);
        let embedding = self.w(&self.layout.embedding);
        let mut x = Vec::with_capacity(pack.tokens.len() * d);
        for token in &pack.tokens {
            x.extend_from_slice(&embedding[*token as usize * d..][..d]);
        }
        let mut seen = Seen { exact: vec![true; pack.branches.len()], ..Seen::default() };
        let mut tapes = Vec::with_capacity(self.layout.layers.len());
        for layer in &self.layout.layers {
            let tape = self.layer(layer, pack, &turn, &mut x);
            seen.load.push(tape.moe.iter().map(|routed| routed.rows.len()).collect());
            tapes.push(tape);
        }
        match grad {
            None => {
                self.head(pack, &x, weights.target, None, &mut seen);
            }
            Some(grad) => {
                let mut dx = vec![0.0; x.len()];
                self.head(pack, &x, weights.target, Some((grad, &mut dx)), &mut seen);
                for (layer, tape) in self.layout.layers.iter().zip(&tapes).rev() {
                    self.layer_back(layer, tape, pack, &turn, weights, &mut dx, grad);
                }
                let rows = &mut grad[self.layout.embedding.clone()];
                for (token, dx) in pack.tokens.iter().zip(dx.chunks_exact(d)) {
                    add(&mut rows[*token as usize * d..][..d], dx);
                }
            }
        }
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
    ) {
        let (d, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let n = pack.targets.len();
        let mut rows = Vec::with_capacity(n * d);
        for (row, _) in &pack.targets {
            rows.extend_from_slice(&x[row * d..][..d]);
        }
        let gain = self.w(&self.layout.norm);
        let (normed, inv) = rms(&rows, gain, self.eps());
        let embedding = mat(self.w(&self.layout.embedding), d);
        let mut logits = vec![0.0; n * vocab];
        product(Form::RightT, mat(&normed, d), embedding, mat_mut(&mut logits, vocab), 1.0, false);
        for ((i, (_, token)), row) in
            pack.targets.iter().enumerate().zip(logits.chunks_exact_mut(vocab))
        {
            let best = argmax(row);
            let lse = log_sum_exp(row);
            let at = *token as usize;
            seen.loss += f64::from(lse - row[at]);
            if best == at {
                seen.right += 1;
            } else {
                seen.exact[pack.owners[i]] = false;
            }
            // From here on the row holds the gradient of the loss by the logits.
            row.iter_mut().for_each(|l| *l = (*l - lse).exp() * weight);
            row[at] -= weight;
        }
        let Some((grad, dx)) = back else { return };
        let mut dnormed = vec![0.0; n * d];
        product(Form::Plain, mat(&logits, vocab), embedding, mat_mut(&mut dnormed, d), 1.0, false);
        let dembedding = mat_mut(&mut grad[self.layout.embedding.clone()], d);
        product(Form::LeftT, mat(&logits, vocab), mat(&normed, d), dembedding, 1.0, true);
        let mut drows = vec![0.0; n * d];
        rms_back(&rows, gain, &inv, &dnormed, &mut drows, &mut grad[self.layout.norm.clone()]);
        for ((row, _), from) in pack.targets.iter().zip(drows.chunks_exact(d)) {
            add(&mut dx[row * d..][..d], from);
        }
    }

    fn layer(&self, layer: &Layer, pack: &Pack, turn: &Turn, x: &mut Vec<f32>) -> Tape {
        let c = self.config;
        let (d, hd, t) = (c.hidden_size, c.head_dim, pack.tokens.len());
        let (heads, kv) = (c.num_attention_heads, c.num_key_value_heads);
        let (normed, inv) = rms(x, self.w(&layer.input_norm), self.eps());
        let wide = (heads + 2 * kv) * hd;
        let mut qkv = vec![0.0; t * wide];
        product(
            Form::RightT,
            mat(&normed, d),
            mat(self.w(&layer.qkv), d),
            mat_mut(&mut qkv, wide),
            1.0,
            false,
        );
        let (rotated, values, head_inv) = self.split(layer, turn, &qkv, t);
        let (joined, probs) = self.attend(pack, &rotated, &values, t);
        let mut mid = x.clone();
        let out = mat(self.w(&layer.output), heads * hd);
        product(Form::RightT, mat(&joined, heads * hd), out, mat_mut(&mut mid, d), 1.0, true);
        let (mid_normed, mid_inv) = rms(&mid, self.w(&layer.post_norm), self.eps());
        let before = std::mem::replace(x, mid.clone());
        let (router, lse, moe) = self.experts(layer, &mid_normed, x);
        Tape {
            x: before,
            inv,
            normed,
            qkv,
            head_inv,
            rotated,
            values,
            probs,
            joined,
            mid,
            mid_inv,
            mid_normed,
            router,
            lse,
            moe,
        }
    }

    /// Norms and rotates queries and keys, `[T, wide]` → `[heads + kv, T, hd]`, and splits values.
    fn split(
        &self,
        layer: &Layer,
        turn: &Turn,
        qkv: &[f32],
        t: usize,
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let c = self.config;
        let (hd, heads, kv) = (c.head_dim, c.num_attention_heads, c.num_key_value_heads);
        let (qn, kn) = (self.w(&layer.query_norm), self.w(&layer.key_norm));
        let mut rotated = vec![0.0; (heads + kv) * t * hd];
        let mut values = vec![0.0; kv * t * hd];
        let mut invs = vec![0.0; (heads + kv) * t];
        let half = hd / 2;
        for (row, wide) in qkv.chunks_exact((heads + 2 * kv) * hd).enumerate() {
            for (head, from) in wide[..(heads + kv) * hd].chunks_exact(hd).enumerate() {
                let gain = if head < heads { qn } else { kn };
                let inv = inverse_rms(from, self.eps());
                invs[head * t + row] = inv;
                let to = &mut rotated[(head * t + row) * hd..][..hd];
                for i in 0..half {
                    let (a, b) = (from[i] * inv * gain[i], from[i + half] * inv * gain[i + half]);
                    let (cos, sin) = (turn.cos[row * half + i], turn.sin[row * half + i]);
                    to[i] = a * cos - b * sin;
                    to[i + half] = b * cos + a * sin;
                }
            }
            for (head, from) in wide[(heads + kv) * hd..].chunks_exact(hd).enumerate() {
                values[(head * t + row) * hd..][..hd].copy_from_slice(from);
            }
        }
        (rotated, values, invs)
    }

    fn attend(
        &self,
        pack: &Pack,
        rotated: &[f32],
        values: &[f32],
        t: usize,
    ) -> (Vec<f32>, Vec<Vec<f32>>) {
        let c = self.config;
        let (hd, heads, kv) = (c.head_dim, c.num_attention_heads, c.num_key_value_heads);
        let scale = 1.0 / (hd as f32).sqrt();
        let width = heads * hd;
        let mut joined = vec![0.0; t * width];
        let mut probs = Vec::new();
        for head in 0..heads {
            let group = head * kv / heads;
            let q = &rotated[head * t * hd..][..t * hd];
            let k = &rotated[(heads + group) * t * hd..][..t * hd];
            let v = &values[group * t * hd..][..t * hd];
            for (rows, prefix) in pack.blocks() {
                let (m, n) = (rows.len(), prefix + rows.len());
                let queries = mat(&q[rows.start * hd..rows.end * hd], hd);
                let mut p = vec![0.0; m * n];
                for (keys, at) in [(0..prefix, 0), (rows.clone(), prefix)] {
                    let to = window(&mut p, m, n, at, keys.len());
                    product(
                        Form::RightT,
                        queries,
                        mat(&k[keys.start * hd..keys.end * hd], hd),
                        to,
                        scale,
                        false,
                    );
                }
                for (i, row) in p.chunks_exact_mut(n).enumerate() {
                    let visible = prefix + i + 1;
                    crate::kernel::softmax(&mut row[..visible]);
                    row[visible..].fill(0.0);
                }
                for (keys, at) in [(0..prefix, 0), (rows.clone(), prefix)] {
                    let from = Mat { data: tail(&p, at), rows: m, cols: keys.len(), stride: n };
                    let to = MatMut {
                        data: &mut joined[rows.start * width + head * hd..],
                        rows: m,
                        cols: hd,
                        stride: width,
                    };
                    product(
                        Form::Plain,
                        from,
                        mat(&v[keys.start * hd..keys.end * hd], hd),
                        to,
                        1.0,
                        true,
                    );
                }
                probs.push(p);
            }
        }
        (joined, probs)
    }

    /// Adds the experts' outputs to `out`; returns the router's probabilities, its log-sum-exps and
    /// what each expert did.
    fn experts(
        &self,
        layer: &Layer,
        x: &[f32],
        out: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>, Vec<Routed>) {
        let c = self.config;
        let (d, e) = (c.hidden_size, c.num_experts);
        let t = x.len() / d;
        let mut router = vec![0.0; t * e];
        product(
            Form::RightT,
            mat(x, d),
            mat(self.w(&layer.router), d),
            mat_mut(&mut router, e),
            1.0,
            false,
        );
        let mut lse = Vec::with_capacity(t);
        let mut moe: Vec<Routed> = (0..e).map(|_| Routed::default()).collect();
        for (row, p) in router.chunks_exact_mut(e).enumerate() {
            lse.push(log_sum_exp(p));
            crate::kernel::softmax(p);
            let chosen = top(p, c.num_experts_per_tok);
            let sum: f32 = if c.norm_topk_prob { chosen.iter().map(|i| p[*i]).sum() } else { 1.0 };
            for expert in chosen {
                let routed = &mut moe[expert];
                routed.rows.push(row);
                routed.shares.push(p[expert] / sum);
                routed.x.extend_from_slice(&x[row * d..][..d]);
            }
        }
        for (routed, expert) in moe.iter_mut().zip(&layer.experts) {
            self.expert(expert, routed);
            for ((row, share), y) in
                routed.rows.iter().zip(&routed.shares).zip(routed.y.chunks_exact(d))
            {
                let out = &mut out[row * d..][..d];
                out.iter_mut().zip(y).for_each(|(o, y)| *o += share * y);
            }
        }
        (router, lse, moe)
    }

    fn expert(&self, expert: &Expert, routed: &mut Routed) {
        let (d, inner) = (self.config.hidden_size, self.config.moe_intermediate_size);
        let n = routed.rows.len();
        routed.gate_up = vec![0.0; n * 2 * inner];
        product(
            Form::RightT,
            mat(&routed.x, d),
            mat(self.w(&expert.gate_up), d),
            mat_mut(&mut routed.gate_up, 2 * inner),
            1.0,
            false,
        );
        routed.hidden = Vec::with_capacity(n * inner);
        for row in routed.gate_up.chunks_exact(2 * inner) {
            let (gate, up) = row.split_at(inner);
            routed.hidden.extend(gate.iter().zip(up).map(|(g, u)| g * sigmoid(*g) * u));
        }
        routed.y = vec![0.0; n * d];
        product(
            Form::RightT,
            mat(&routed.hidden, inner),
            mat(self.w(&expert.down), inner),
            mat_mut(&mut routed.y, d),
            1.0,
            false,
        );
    }

    /// Turns `dx` from the gradient by a layer's output into that by its input.
    fn layer_back(
        &self,
        layer: &Layer,
        tape: &Tape,
        pack: &Pack,
        turn: &Turn,
        weights: Weights,
        dx: &mut [f32],
        grad: &mut [f32],
    ) {
        let c = self.config;
        let (d, width) = (c.hidden_size, c.num_attention_heads * c.head_dim);
        let dnormed = self.experts_back(layer, tape, weights, dx, grad);
        rms_back(
            &tape.mid,
            self.w(&layer.post_norm),
            &tape.mid_inv,
            &dnormed,
            dx,
            &mut grad[layer.post_norm.clone()],
        );
        let mut djoined = vec![0.0; tape.joined.len()];
        product(
            Form::Plain,
            mat(dx, d),
            mat(self.w(&layer.output), width),
            mat_mut(&mut djoined, width),
            1.0,
            false,
        );
        product(
            Form::LeftT,
            mat(dx, d),
            mat(&tape.joined, width),
            mat_mut(&mut grad[layer.output.clone()], width),
            1.0,
            true,
        );
        let (drotated, dvalues) = self.attend_back(pack, tape, &djoined);
        let dqkv = self.split_back(layer, tape, turn, &drotated, &dvalues, grad);
        let wide = dqkv.len() / pack.tokens.len();
        let mut dnormed = vec![0.0; dx.len()];
        product(
            Form::Plain,
            mat(&dqkv, wide),
            mat(self.w(&layer.qkv), d),
            mat_mut(&mut dnormed, d),
            1.0,
            false,
        );
        product(
            Form::LeftT,
            mat(&dqkv, wide),
            mat(&tape.normed, d),
            mat_mut(&mut grad[layer.qkv.clone()], d),
            1.0,
            true,
        );
        rms_back(
            &tape.x,
            self.w(&layer.input_norm),
            &tape.inv,
            &dnormed,
            dx,
            &mut grad[layer.input_norm.clone()],
        );
    }

    /// Returns the gradient by the normed input of the experts.
    fn experts_back(
        &self,
        layer: &Layer,
        tape: &Tape,
        weights: Weights,
        dout: &[f32],
        grad: &mut [f32],
    ) -> Vec<f32> {
        let c = self.config;
        let (d, e, inner) = (c.hidden_size, c.num_experts, c.moe_intermediate_size);
        let t = dout.len() / d;
        let mut dx = vec![0.0; t * d];
        let mut dshares = vec![0.0; t * e];
        for (index, (routed, expert)) in tape.moe.iter().zip(&layer.experts).enumerate() {
            let n = routed.rows.len();
            let mut dy = vec![0.0; n * d];
            for (slot, (row, share)) in routed.rows.iter().zip(&routed.shares).enumerate() {
                let (dout, y) = (&dout[row * d..][..d], &routed.y[slot * d..][..d]);
                dshares[row * e + index] = crate::kernel::dot(dout, y);
                dy[slot * d..][..d].iter_mut().zip(dout).for_each(|(to, from)| *to = share * from);
            }
            let mut dhidden = vec![0.0; n * inner];
            product(
                Form::Plain,
                mat(&dy, d),
                mat(self.w(&expert.down), inner),
                mat_mut(&mut dhidden, inner),
                1.0,
                false,
            );
            product(
                Form::LeftT,
                mat(&dy, d),
                mat(&routed.hidden, inner),
                mat_mut(&mut grad[expert.down.clone()], inner),
                1.0,
                true,
            );
            let mut dwide = vec![0.0; n * 2 * inner];
            for ((dwide, wide), dh) in dwide
                .chunks_exact_mut(2 * inner)
                .zip(routed.gate_up.chunks_exact(2 * inner))
                .zip(dhidden.chunks_exact(inner))
            {
                for i in 0..inner {
                    let (g, u) = (wide[i], wide[i + inner]);
                    let s = sigmoid(g);
                    dwide[i] = dh[i] * u * s * (1.0 + g * (1.0 - s));
                    dwide[i + inner] = dh[i] * g * s;
                }
            }
            product(
                Form::LeftT,
                mat(&dwide, 2 * inner),
                mat(&routed.x, d),
                mat_mut(&mut grad[expert.gate_up.clone()], d),
                1.0,
                true,
            );
            let mut drows = vec![0.0; n * d];
            product(
                Form::Plain,
                mat(&dwide, 2 * inner),
                mat(self.w(&expert.gate_up), d),
                mat_mut(&mut drows, d),
                1.0,
                false,
            );
            for (row, from) in routed.rows.iter().zip(drows.chunks_exact(d)) {
                add(&mut dx[row * d..][..d], from);
            }
        }
        let dlogits = self.router_back(tape, &dshares, weights, t);
        product(
            Form::Plain,
            mat(&dlogits, e),
            mat(self.w(&layer.router), d),
            mat_mut(&mut dx, d),
            1.0,
            true,
        );
        product(
            Form::LeftT,
            mat(&dlogits, e),
            mat(&tape.mid_normed, d),
            mat_mut(&mut grad[layer.router.clone()], d),
            1.0,
            true,
        );
        dx
    }

    /// Returns the gradient by the router's logits: through the shares of the chosen experts, the
    /// load-balancing loss and the z-loss.
    fn router_back(&self, tape: &Tape, dshares: &[f32], weights: Weights, t: usize) -> Vec<f32> {
        let c = self.config;
        let e = c.num_experts;
        let per_row = 1.0 / t as f32;
        let loads: Vec<f32> = tape.moe.iter().map(|r| r.rows.len() as f32 * per_row).collect();
        let mut dlogits = vec![0.0; t * e];
        for row in 0..t {
            let p = &tape.router[row * e..][..e];
            let mut dp: Vec<f32> =
                loads.iter().map(|load| weights.balance * e as f32 * load * per_row).collect();
            let chosen = top(p, c.num_experts_per_tok);
            if c.norm_topk_prob {
                let sum: f32 = chosen.iter().map(|i| p[*i]).sum();
                let mean: f32 = chosen.iter().map(|i| dshares[row * e + i] * p[*i] / sum).sum();
                chosen.iter().for_each(|i| dp[*i] += (dshares[row * e + i] - mean) / sum);
            } else {
                chosen.iter().for_each(|i| dp[*i] += dshares[row * e + i]);
            }
            let mean: f32 = dp.iter().zip(p).map(|(dp, p)| dp * p).sum();
            let z = weights.z * 2.0 * tape.lse[row] * per_row;
            for i in 0..e {
                dlogits[row * e + i] = p[i] * (dp[i] - mean + z);
            }
        }
        dlogits
    }

    fn attend_back(&self, pack: &Pack, tape: &Tape, djoined: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let c = self.config;
        let (hd, heads, kv, t) =
            (c.head_dim, c.num_attention_heads, c.num_key_value_heads, pack.tokens.len());
        let scale = 1.0 / (hd as f32).sqrt();
        let width = heads * hd;
        let mut drotated = vec![0.0; tape.rotated.len()];
        let mut dvalues = vec![0.0; tape.values.len()];
        let mut probs = tape.probs.iter();
        for head in 0..heads {
            let group = head * kv / heads;
            let q = &tape.rotated[head * t * hd..][..t * hd];
            let k = &tape.rotated[(heads + group) * t * hd..][..t * hd];
            let v = &tape.values[group * t * hd..][..t * hd];
            for (rows, prefix) in pack.blocks() {
                let Some(p) = probs.next() else { continue };
                let (m, n) = (rows.len(), prefix + rows.len());
                let dout = Mat {
                    data: &djoined[rows.start * width + head * hd..],
                    rows: m,
                    cols: hd,
                    stride: width,
                };
                let parts = [(0..prefix, 0), (rows.clone(), prefix)];
                let mut dp = vec![0.0; m * n];
                for (keys, at) in &parts {
                    let span = keys.start * hd..keys.end * hd;
                    let probs = Mat { data: tail(p, *at), rows: m, cols: keys.len(), stride: n };
                    let dv = &mut dvalues[group * t * hd..][..t * hd];
                    product(
                        Form::LeftT,
                        probs,
                        dout,
                        mat_mut(&mut dv[span.clone()], hd),
                        1.0,
                        true,
                    );
                    let to = window(&mut dp, m, n, *at, keys.len());
                    product(Form::RightT, dout, mat(&v[span], hd), to, 1.0, false);
                }
                for (dp, p) in dp.chunks_exact_mut(n).zip(p.chunks_exact(n)) {
                    let mean = crate::kernel::dot(dp, p);
                    dp.iter_mut().zip(p).for_each(|(dp, p)| *dp = (*dp - mean) * p);
                }
                let queries = mat(&q[rows.start * hd..rows.end * hd], hd);
                for (keys, at) in &parts {
                    let span = keys.start * hd..keys.end * hd;
                    let ds = Mat { data: tail(&dp, *at), rows: m, cols: keys.len(), stride: n };
                    let dq = &mut drotated[(head * t + rows.start) * hd..][..m * hd];
                    product(
                        Form::Plain,
                        ds,
                        mat(&k[span.clone()], hd),
                        mat_mut(dq, hd),
                        scale,
                        true,
                    );
                    let dk = &mut drotated[(heads + group) * t * hd..][..t * hd];
                    product(Form::LeftT, ds, queries, mat_mut(&mut dk[span], hd), scale, true);
                }
            }
        }
        (drotated, dvalues)
    }

    fn split_back(
        &self,
        layer: &Layer,
        tape: &Tape,
        turn: &Turn,
        drotated: &[f32],
        dvalues: &[f32],
        grad: &mut [f32],
    ) -> Vec<f32> {
        let c = self.config;
        let (hd, heads, kv) = (c.head_dim, c.num_attention_heads, c.num_key_value_heads);
        let wide = (heads + 2 * kv) * hd;
        let t = tape.qkv.len() / wide;
        let half = hd / 2;
        let mut dqkv = vec![0.0; tape.qkv.len()];
        let mut turned = vec![0.0; hd];
        for row in 0..t {
            let (raw, to) = (&tape.qkv[row * wide..][..wide], &mut dqkv[row * wide..][..wide]);
            for head in 0..heads + kv {
                let from = &drotated[(head * t + row) * hd..][..hd];
                for i in 0..half {
                    let (cos, sin) = (turn.cos[row * half + i], turn.sin[row * half + i]);
                    turned[i] = from[i] * cos + from[i + half] * sin;
                    turned[i + half] = from[i + half] * cos - from[i] * sin;
                }
                let norm = if head < heads { &layer.query_norm } else { &layer.key_norm };
                let inv = std::slice::from_ref(&tape.head_inv[head * t + row]);
                let span = head * hd..(head + 1) * hd;
                rms_back(
                    &raw[span.clone()],
                    self.w(norm),
                    inv,
                    &turned,
                    &mut to[span],
                    &mut grad[norm.clone()],
                );
            }
            for head in 0..kv {
                let from = &dvalues[(head * t + row) * hd..][..hd];
                to[(heads + kv + head) * hd..][..hd].copy_from_slice(from);
            }
        }
        dqkv
    }
}

/// The part of a slice from `at`, empty past its end.
fn tail(data: &[f32], at: usize) -> &[f32] {
    &data[at.min(data.len())..]
}

/// Views `cols` columns from column `at` of an `m × n` matrix.
fn window(data: &mut [f32], m: usize, n: usize, at: usize, cols: usize) -> MatMut<'_> {
    let at = at.min(data.len());
    MatMut { data: &mut data[at..], rows: m, cols, stride: n }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32 + eps).sqrt()
}

/// Norms rows of the gain's width; returns them and the inverse root mean squares.
fn rms(x: &[f32], gain: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let mut out = Vec::with_capacity(x.len());
    let mut invs = Vec::with_capacity(x.len() / gain.len());
    for row in x.chunks_exact(gain.len()) {
        let inv = inverse_rms(row, eps);
        out.extend(row.iter().zip(gain).map(|(x, g)| x * inv * g));
        invs.push(inv);
    }
    (out, invs)
}

/// Adds the gradients of [`rms`] by its input and its gain.
fn rms_back(x: &[f32], gain: &[f32], invs: &[f32], dy: &[f32], dx: &mut [f32], dgain: &mut [f32]) {
    let d = gain.len();
    for (((x, dy), dx), inv) in
        x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).zip(invs)
    {
        let mut mean = 0.0;
        for i in 0..d {
            mean += dy[i] * gain[i] * x[i];
            dgain[i] += dy[i] * x[i] * inv;
        }
        mean *= inv * inv / d as f32;
        for i in 0..d {
            dx[i] += inv * (dy[i] * gain[i] - x[i] * mean);
        }
    }
}

fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    max + row.iter().map(|x| (x - max).exp()).sum::<f32>().ln()
}

/// Returns the indices of the `count` largest values, the first of equals.
fn top(p: &[f32], count: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut best = None;
        for (i, value) in p.iter().enumerate() {
            if !chosen.contains(&i) && best.is_none_or(|b: usize| *value > p[b]) {
                best = Some(i);
            }
        }
        chosen.extend(best);
    }
    chosen
}

#[cfg(test)]
mod tests;
