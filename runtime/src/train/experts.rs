//! The experts of a layer in training: routing, the experts on their rows, and both backwards.

use super::layout::{Expert, Layer};
use super::linear::{Form, mat, mat_mut};
use super::ops;
use super::pass::{Net, Weights};
use super::pool::Pool;
use crate::kernel::{dot, silu_mul};

/// What the backward pass needs of a layer's experts.
pub(super) struct Experts {
    /// Probabilities of the router, `[T, experts]`.
    pub(super) router: Vec<f32>,
    /// Log-sum-exp of the router's scores, `[T]`.
    pub(super) lse: Vec<f32>,
    /// What each expert did.
    pub(super) routed: Vec<Routed>,
}

/// Rows of one expert.
#[derive(Default)]
pub(super) struct Routed {
    /// Rows of the pack.
    pub(super) rows: Vec<usize>,
    /// Weight of the expert in each.
    shares: Vec<f32>,
    /// Gates and ups, `[rows, 2 * inner]`.
    wide: Vec<f32>,
}

impl Experts {
    /// Returns the large buffers.
    pub(super) fn into_buffers(self) -> impl Iterator<Item = Vec<f32>> {
        [self.router].into_iter().chain(self.routed.into_iter().map(|routed| routed.wide))
    }
}

impl Net<'_> {
    /// Adds the experts' outputs for `x: [T, hidden]` to `out`.
    pub(super) fn experts(
        &self,
        layer: &Layer,
        x: &[f32],
        out: &mut [f32],
        pool: &mut Pool,
    ) -> Experts {
        let c = self.config;
        let (d, inner) = (c.hidden_size, c.moe_intermediate_size);
        let mut experts = self.route(layer, x, pool);
        for (routed, expert) in experts.routed.iter_mut().zip(&layer.experts) {
            let n = routed.rows.len();
            let rows = gather(&routed.rows, x, d, pool);
            routed.wide = pool.take(n * 2 * inner);
            let weights = mat(self.w(&expert.gate_up), d);
            let wide = mat_mut(&mut routed.wide, 2 * inner);
            self.product(Form::RightT, mat(&rows, d), weights, wide, 1.0, false);
            let mut hidden = pool.take(n * inner);
            silu_mul(&routed.wide, inner, &mut hidden);
            let mut y = rows;
            let weights = mat(self.w(&expert.down), inner);
            let to = mat_mut(&mut y, d);
            self.product(Form::RightT, mat(&hidden, inner), weights, to, 1.0, false);
            let each = routed.rows.iter().zip(&routed.shares).zip(y.chunks_exact(d));
            each.for_each(|((row, share), y)| ops::add_scaled(&mut out[row * d..][..d], *share, y));
            pool.give([hidden, y]);
        }
        experts
    }

    /// Scores the experts and sends each row to the best.
    fn route(&self, layer: &Layer, x: &[f32], pool: &mut Pool) -> Experts {
        let c = self.config;
        let (d, e) = (c.hidden_size, c.num_experts);
        let t = x.len() / d;
        let mut router = pool.take(t * e);
        let to = mat_mut(&mut router, e);
        self.route_product(Form::RightT, mat(x, d), mat(self.w(&layer.router), d), to, false);
        let mut lse = vec![0.0; t];
        ops::softmax_rows(&mut router, e, e, 1, &mut lse);
        let mut routed: Vec<Routed> = (0..e).map(|_| Routed::default()).collect();
        for (row, p) in router.chunks_exact(e).enumerate() {
            let chosen = top(p, c.num_experts_per_tok);
            let sum: f32 = if c.norm_topk_prob { chosen.iter().map(|i| p[*i]).sum() } else { 1.0 };
            for expert in chosen {
                routed[expert].rows.push(row);
                routed[expert].shares.push(p[expert] / sum);
            }
        }
        Experts { router, lse, routed }
    }

    /// Returns the gradient by the experts' input `x` from that by their outputs.
    pub(super) fn experts_back(
        &self,
        layer: &Layer,
        experts: &mut Experts,
        x: &[f32],
        (weights, dout): (Weights, &[f32]),
        grad: &mut [f32],
        pool: &mut Pool,
    ) -> Vec<f32> {
        let (d, e) = (self.config.hidden_size, self.config.num_experts);
        let t = dout.len() / d;
        let mut dx = pool.zeros(t * d);
        let mut dshares = pool.zeros(t * e);
        for (index, (routed, expert)) in experts.routed.iter_mut().zip(&layer.experts).enumerate() {
            let own = self.expert_back(expert, routed, (x, dout), &mut dx, grad, pool);
            let rows = routed.rows.iter().zip(&own);
            rows.for_each(|(row, share)| dshares[row * e + index] = *share);
            pool.give([own]);
        }
        let dlogits = self.router_back(experts, &dshares, weights, t);
        let router = mat(self.w(&layer.router), d);
        self.route_product(Form::Plain, mat(&dlogits, e), router, mat_mut(&mut dx, d), true);
        let drouter = mat_mut(&mut grad[layer.router.clone()], d);
        self.route_product(Form::LeftT, mat(&dlogits, e), mat(x, d), drouter, true);
        pool.give([dshares]);
        dx
    }

    /// Adds an expert's gradients to `dx` and `grad`; returns those by its shares, one a row.
    fn expert_back(
        &self,
        expert: &Expert,
        routed: &mut Routed,
        (x, dout): (&[f32], &[f32]),
        dx: &mut [f32],
        grad: &mut [f32],
        pool: &mut Pool,
    ) -> Vec<f32> {
        let (d, inner) = (self.config.hidden_size, self.config.moe_intermediate_size);
        let n = routed.rows.len();
        let mut hidden = pool.take(n * inner);
        silu_mul(&routed.wide, inner, &mut hidden);
        let mut dy = gather(&routed.rows, dout, d, pool);
        let mut dhidden = pool.take(n * inner);
        let down = mat(self.w(&expert.down), inner);
        self.product(Form::Plain, mat(&dy, d), down, mat_mut(&mut dhidden, inner), 1.0, false);
        // The share multiplies the expert's output, so its gradient is `dout · y`, which is also
        // `dhidden · hidden` before `dhidden` is multiplied by it.
        let mut dshares = pool.take(n);
        let rows = dhidden.chunks_exact_mut(inner).zip(hidden.chunks_exact(inner));
        for (((dhidden, hidden), dshare), (share, dy)) in
            rows.zip(&mut dshares).zip(routed.shares.iter().zip(dy.chunks_exact_mut(d)))
        {
            *dshare = dot(dhidden, hidden);
            ops::scale(dhidden, *share);
            ops::scale(dy, *share);
        }
        let ddown = mat_mut(&mut grad[expert.down.clone()], inner);
        self.product(Form::LeftT, mat(&dy, d), mat(&hidden, inner), ddown, 1.0, true);
        ops::swiglu_back(&mut routed.wide, &dhidden, inner);
        let dwide = mat(&routed.wide, 2 * inner);
        let rows = gather(&routed.rows, x, d, pool);
        let dgate_up = mat_mut(&mut grad[expert.gate_up.clone()], d);
        self.product(Form::LeftT, dwide, mat(&rows, d), dgate_up, 1.0, true);
        let mut drows = dy;
        let gate_up = mat(self.w(&expert.gate_up), d);
        self.product(Form::Plain, dwide, gate_up, mat_mut(&mut drows, d), 1.0, false);
        let each = routed.rows.iter().zip(drows.chunks_exact(d));
        each.for_each(|(row, from)| ops::add_scaled(&mut dx[row * d..][..d], 1.0, from));
        pool.give([hidden, dhidden, rows, drows]);
        dshares
    }

    /// Returns the gradient by the router's scores: through the shares of the chosen experts, the
    /// load-balancing loss and the z-loss.
    fn router_back(
        &self,
        experts: &Experts,
        dshares: &[f32],
        weights: Weights,
        t: usize,
    ) -> Vec<f32> {
        let c = self.config;
        let e = c.num_experts;
        let per_row = 1.0 / t as f32;
        let loads = experts.routed.iter().map(|r| r.rows.len() as f32 * per_row);
        let balance: Vec<f32> =
            loads.map(|load| weights.balance * e as f32 * load * per_row).collect();
        let mut dlogits = vec![0.0; t * e];
        let mut dp = vec![0.0; e];
        for row in 0..t {
            let p = &experts.router[row * e..][..e];
            dp.copy_from_slice(&balance);
            let chosen = top(p, c.num_experts_per_tok);
            if c.norm_topk_prob {
                let sum: f32 = chosen.iter().map(|i| p[*i]).sum();
                let mean: f32 = chosen.iter().map(|i| dshares[row * e + i] * p[*i] / sum).sum();
                chosen.iter().for_each(|i| dp[*i] += (dshares[row * e + i] - mean) / sum);
            } else {
                chosen.iter().for_each(|i| dp[*i] += dshares[row * e + i]);
            }
            let mean: f32 = dp.iter().zip(p).map(|(dp, p)| dp * p).sum();
            let z = weights.z * 2.0 * experts.lse[row] * per_row;
            for i in 0..e {
                dlogits[row * e + i] = p[i] * (dp[i] - mean + z);
            }
        }
        dlogits
    }
}

/// Copies rows of a `[T, d]` matrix next to each other.
fn gather(rows: &[usize], from: &[f32], d: usize, pool: &mut Pool) -> Vec<f32> {
    let mut out = pool.take(rows.len() * d);
    for (row, to) in rows.iter().zip(out.chunks_exact_mut(d)) {
        to.copy_from_slice(&from[row * d..][..d]);
    }
    out
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
