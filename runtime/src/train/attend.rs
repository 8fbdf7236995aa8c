//! Attention of a pack, forward and backward.
//!
//! Rows attend in blocks, and no block keeps its probabilities: the backward pass computes them again
//! from the rows' log-sum-exps. A block's scores stay in the cache, where all scores of a layer would
//! go out to memory and back.
//!
//! # Source
//! Dao et al. 2022, *FlashAttention* (blocks, log-sum-exps in place of probabilities); Ainslie et al.
//! 2023 (grouped queries).

use std::ops::Range;

use super::layout::Layer;
use super::linear::{Form, Mat, MatMut, mat, mat_mut};
use super::ops;
use super::pass::{Net, Pack, Turn};
use super::pool::Pool;
use crate::kernel::dot;

/// Most rows of a block.
const ROWS: usize = 96;

/// Rows that attend together.
#[derive(Debug)]
struct Block {
    rows: Range<usize>,
    /// Keys: of the prefix, then of the rows' own part; together as long as the last row sees.
    keys: [Range<usize>; 2],
    /// Keys that the first row sees.
    seen: usize,
}

impl Block {
    /// Number of keys.
    fn len(&self) -> usize {
        self.keys.iter().map(ExactSizeIterator::len).sum()
    }

    /// The parts of the keys that are there, with their first column.
    fn parts(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let [prefix, own] = self.keys.clone();
        let at = prefix.len();
        [(prefix, 0), (own, at)].into_iter().filter(|(keys, _)| !keys.is_empty())
    }
}

/// Cuts a pack into blocks: the prefix attends to itself, each branch to the prefix and itself.
fn blocks(pack: &Pack) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut cut = |all: &Range<usize>, prefix: usize| {
        for start in all.clone().step_by(ROWS) {
            let rows = start..(start + ROWS).min(all.end);
            let keys = [0..prefix, all.start..rows.end];
            blocks.push(Block { seen: prefix + start - all.start + 1, rows, keys });
        }
    };
    cut(&(0..pack.prefix), 0);
    pack.branches.iter().for_each(|branch| cut(branch, pack.prefix));
    blocks
}

/// Queries, keys and values by group of heads.
struct Heads {
    /// `[kv, T, heads / kv, hd]`, normed and turned.
    queries: Vec<f32>,
    /// `[kv, T, hd]`, normed and turned.
    keys: Vec<f32>,
    /// `[kv, T, hd]`
    values: Vec<f32>,
}

/// Sizes that every step needs.
#[derive(Clone, Copy)]
struct Shape {
    t: usize,
    hd: usize,
    kv: usize,
    /// Query heads of a group.
    per: usize,
}

impl Shape {
    fn wide(self) -> usize {
        (self.per + 2) * self.kv * self.hd
    }
}

/// What the backward pass needs of attention.
pub(super) struct Attended {
    /// Outputs of the heads, `[T, heads * hd]`.
    pub(super) joined: Vec<f32>,
    /// Log-sum-exps, `[kv, T, heads / kv]`.
    lse: Vec<f32>,
}

impl Attended {
    /// Returns the buffers.
    pub(super) fn into_buffers(self) -> [Vec<f32>; 2] {
        [self.joined, self.lse]
    }
}

impl Net<'_> {
    fn shape(&self, t: usize) -> Shape {
        let c = self.config;
        let kv = c.num_key_value_heads;
        Shape { t, hd: c.head_dim, kv, per: c.num_attention_heads / kv }
    }

    /// Attends: `qkv: [T, (heads + 2 kv) * hd]`.
    pub(super) fn attend(
        &self,
        layer: &Layer,
        pack: &Pack,
        turn: &Turn,
        qkv: &[f32],
        pool: &mut Pool,
    ) -> Attended {
        let shape = self.shape(pack.tokens.len());
        let Shape { t, hd, kv, per } = shape;
        let heads = self.heads(layer, turn, qkv, shape, pool);
        let mut joined = pool.take(t * kv * per * hd);
        let mut lse = pool.take(kv * t * per);
        for block in blocks(pack) {
            let (m, n) = (block.rows.len() * per, block.len());
            let mut scores = pool.take(m * n);
            let mut out = pool.take(m * hd);
            for group in 0..kv {
                self.scores(&heads, &block, group, shape, &mut scores);
                let at = (group * t + block.rows.start) * per;
                ops::softmax_rows(&mut scores, n, block.seen, per, &mut lse[at..at + m]);
                let v = &heads.values[group * t * hd..][..t * hd];
                for (turn, (keys, column)) in block.parts().enumerate() {
                    let p = Mat { data: &scores[column..], rows: m, cols: keys.len(), stride: n };
                    let v = mat(&v[keys.start * hd..keys.end * hd], hd);
                    self.product(Form::Plain, p, v, mat_mut(&mut out, hd), 1.0, turn > 0);
                }
                for (row, from) in block.rows.clone().zip(out.chunks_exact(per * hd)) {
                    joined[(row * kv + group) * per * hd..][..per * hd].copy_from_slice(from);
                }
            }
            pool.give([scores, out]);
        }
        pool.give([heads.queries, heads.keys, heads.values]);
        Attended { joined, lse }
    }

    /// Norms and turns queries and keys, and copies all by group.
    fn heads(
        &self,
        layer: &Layer,
        turn: &Turn,
        qkv: &[f32],
        shape: Shape,
        pool: &mut Pool,
    ) -> Heads {
        let Shape { t, hd, kv, per } = shape;
        let (query_gain, key_gain) = (self.w(&layer.query_norm), self.w(&layer.key_norm));
        let mut heads = Heads {
            queries: pool.take(kv * t * per * hd),
            keys: pool.take(kv * t * hd),
            values: pool.take(kv * t * hd),
        };
        for (row, wide) in qkv.chunks_exact(shape.wide()).enumerate() {
            let (cos, sin) = turn.of(row);
            let (q, rest) = wide.split_at(kv * per * hd);
            let (k, v) = rest.split_at(kv * hd);
            for (head, from) in q.chunks_exact(hd).enumerate() {
                let at = ((head / per * t + row) * per + head % per) * hd;
                let to = &mut heads.queries[at..at + hd];
                ops::turn(from, query_gain, self.eps(), cos, sin, to);
            }
            for (group, (k, v)) in k.chunks_exact(hd).zip(v.chunks_exact(hd)).enumerate() {
                let at = (group * t + row) * hd;
                ops::turn(k, key_gain, self.eps(), cos, sin, &mut heads.keys[at..at + hd]);
                heads.values[at..at + hd].copy_from_slice(v);
            }
        }
        heads
    }

    /// Writes the scores of a block: `[rows * per, keys]`.
    fn scores(&self, heads: &Heads, block: &Block, group: usize, shape: Shape, scores: &mut [f32]) {
        let Shape { t, hd, per, .. } = shape;
        let (m, n) = (block.rows.len() * per, block.len());
        let scale = 1.0 / (hd as f32).sqrt();
        let queries = &heads.queries[(group * t + block.rows.start) * per * hd..][..m * hd];
        let k = &heads.keys[group * t * hd..][..t * hd];
        for (keys, column) in block.parts() {
            let to = MatMut { data: &mut scores[column..], rows: m, cols: keys.len(), stride: n };
            let k = mat(&k[keys.start * hd..keys.end * hd], hd);
            self.product(Form::RightT, mat(queries, hd), k, to, scale, false);
        }
    }

    /// Returns the gradient by `qkv` from that by the heads' outputs.
    pub(super) fn attend_back(
        &self,
        (layer, pack, turn): (&Layer, &Pack, &Turn),
        qkv: &[f32],
        attended: &Attended,
        djoined: &[f32],
        grad: &mut [f32],
        pool: &mut Pool,
    ) -> Vec<f32> {
        let shape = self.shape(pack.tokens.len());
        let Shape { t, hd, kv, per } = shape;
        let heads = self.heads(layer, turn, qkv, shape, pool);
        let mut back = Heads {
            queries: pool.take(kv * t * per * hd),
            keys: pool.zeros(kv * t * hd),
            values: pool.zeros(kv * t * hd),
        };
        for block in blocks(pack) {
            for group in 0..kv {
                self.block_back(&heads, &block, group, shape, (attended, djoined), &mut back, pool);
            }
        }
        let dqkv = self.heads_back(layer, turn, qkv, &back, shape, grad, pool);
        pool.give([heads.queries, heads.keys, heads.values]);
        pool.give([back.queries, back.keys, back.values]);
        dqkv
    }

    /// Adds the gradients of one block and group.
    fn block_back(
        &self,
        heads: &Heads,
        block: &Block,
        group: usize,
        shape: Shape,
        (attended, djoined): (&Attended, &[f32]),
        back: &mut Heads,
        pool: &mut Pool,
    ) {
        let Shape { t, hd, kv, per } = shape;
        let (m, n) = (block.rows.len() * per, block.len());
        let scale = 1.0 / (hd as f32).sqrt();
        let mut p = pool.take(m * n);
        self.scores(heads, block, group, shape, &mut p);
        let at = (group * t + block.rows.start) * per;
        ops::probabilities(&mut p, n, block.seen, per, &attended.lse[at..at + m]);
        let mut dout = pool.take(m * hd);
        let mut means = pool.take(m);
        for (row, to) in block.rows.clone().zip(dout.chunks_exact_mut(per * hd)) {
            to.copy_from_slice(&djoined[(row * kv + group) * per * hd..][..per * hd]);
        }
        for (i, (mean, dout)) in means.iter_mut().zip(dout.chunks_exact(hd)).enumerate() {
            let row = block.rows.start + i / per;
            let from = &attended.joined[((row * kv + group) * per + i % per) * hd..][..hd];
            *mean = dot(dout, from);
        }
        let mut dp = pool.take(m * n);
        let group_rows = group * t * hd;
        for (keys, column) in block.parts() {
            let span = group_rows + keys.start * hd..group_rows + keys.end * hd;
            let probs = Mat { data: &p[column..], rows: m, cols: keys.len(), stride: n };
            let dv = mat_mut(&mut back.values[span.clone()], hd);
            self.product(Form::LeftT, probs, mat(&dout, hd), dv, 1.0, true);
            let to = MatMut { data: &mut dp[column..], rows: m, cols: keys.len(), stride: n };
            let v = mat(&heads.values[span], hd);
            self.product(Form::RightT, mat(&dout, hd), v, to, 1.0, false);
        }
        ops::softmax_back(&mut dp, &p, n, &means);
        let rows = at * hd..(at + m) * hd;
        for (turn, (keys, column)) in block.parts().enumerate() {
            let span = group_rows + keys.start * hd..group_rows + keys.end * hd;
            let ds = Mat { data: &dp[column..], rows: m, cols: keys.len(), stride: n };
            let dq = mat_mut(&mut back.queries[rows.clone()], hd);
            self.product(Form::Plain, ds, mat(&heads.keys[span.clone()], hd), dq, scale, turn > 0);
            let dk = mat_mut(&mut back.keys[span], hd);
            let q = mat(&heads.queries[rows.clone()], hd);
            self.product(Form::LeftT, ds, q, dk, scale, true);
        }
        pool.give([p, dout, means, dp]);
    }

    /// Turns the gradients by turned heads into that by `qkv`, and adds those of the norms.
    fn heads_back(
        &self,
        layer: &Layer,
        turn: &Turn,
        qkv: &[f32],
        back: &Heads,
        shape: Shape,
        grad: &mut [f32],
        pool: &mut Pool,
    ) -> Vec<f32> {
        let Shape { t, hd, kv, per } = shape;
        let (query_gain, key_gain) = (self.w(&layer.query_norm), self.w(&layer.key_norm));
        let mut dqkv = pool.zeros(qkv.len());
        let mut turned = vec![0.0; hd];
        let rows = qkv.chunks_exact(shape.wide()).zip(dqkv.chunks_exact_mut(shape.wide()));
        for (row, (raw, to)) in rows.enumerate() {
            let (cos, sin) = turn.of(row);
            let (q, rest) = to.split_at_mut(kv * per * hd);
            let (k, v) = rest.split_at_mut(kv * hd);
            for (head, to) in q.chunks_exact_mut(hd).enumerate() {
                let at = ((head / per * t + row) * per + head % per) * hd;
                ops::turn_back(&back.queries[at..at + hd], cos, sin, &mut turned);
                let raw = &raw[head * hd..][..hd];
                let dgain = &mut grad[layer.query_norm.clone()];
                ops::norm_back(raw, query_gain, self.eps(), &turned, to, dgain);
            }
            for (group, (k, v)) in k.chunks_exact_mut(hd).zip(v.chunks_exact_mut(hd)).enumerate() {
                let at = (group * t + row) * hd;
                ops::turn_back(&back.keys[at..at + hd], cos, sin, &mut turned);
                let raw = &raw[(kv * per + group) * hd..][..hd];
                let dgain = &mut grad[layer.key_norm.clone()];
                ops::norm_back(raw, key_gain, self.eps(), &turned, k, dgain);
                v.copy_from_slice(&back.values[at..at + hd]);
            }
        }
        dqkv
    }
}
