//! Grouped-query attention with normalised queries and keys.

use rayon::prelude::*;

use super::cache::KvCache;
use super::norm::rms_norm_row;
use super::rope::Rope;
use crate::config::MoeConfig;
use crate::kernel::{Matrix, Rows, RowsMut, accumulate, matmul, softmax};

/// Score cells from which the key-value heads are spread over threads.
const PARALLEL_CELLS: usize = 1 << 14;

/// Weights of the attention of one layer.
#[derive(Debug)]
pub(crate) struct Attention {
    /// Queries, keys and values stacked: `[(heads + 2 * kv_heads) * head_dim, hidden]`.
    pub(crate) qkv: Matrix,
    /// `[hidden, heads * head_dim]`.
    pub(crate) output: Matrix,
    /// `[head_dim]`.
    pub(crate) query_norm: Vec<f32>,
    /// `[head_dim]`.
    pub(crate) key_norm: Vec<f32>,
}

/// Queries, scores and output of one key-value head.
type HeadBuffers<'a> = ((&'a [f32], &'a mut [f32]), &'a mut [f32]);

/// Buffers reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    qkv: Vec<f32>,
    queries: Vec<f32>,
    mixed: Vec<f32>,
    joined: Vec<f32>,
    scores: Vec<f32>,
}

impl Attention {
    /// Appends the keys and values of the rows `x` to `cache` and writes what they attend to.
    ///
    /// # Shapes
    /// `x: [n, hidden]` → `out: [n, hidden]`.
    pub(crate) fn forward(
        &self,
        config: &MoeConfig,
        (layer, rope): (usize, &Rope),
        x: &[f32],
        cache: &mut KvCache,
        s: &mut AttentionScratch,
        out: &mut [f32],
    ) {
        let (d, hd) = (config.hidden_size, config.head_dim);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (n, group) = (x.len() / d, heads / kv_heads);
        let wide = (heads + 2 * kv_heads) * hd;
        s.qkv.resize(n * wide, 0.0);
        let rows = Rows { data: x, rows: n, stride: d };
        self.qkv.apply(rows, wide, d, RowsMut { data: &mut s.qkv, stride: wide }, true);
        self.split(config, (layer, rope), n, cache, s);

        let past = cache.len();
        let total = past + n;
        s.mixed.clear();
        s.mixed.resize(n * heads * hd, 0.0);
        s.scores.resize(n * heads * total, 0.0);
        // One task a key-value head: its queries are [group * n, head_dim] and contiguous.
        let tasks = s
            .queries
            .chunks_exact(group * n * hd)
            .zip(s.scores.chunks_exact_mut(group * n * total))
            .zip(s.mixed.chunks_exact_mut(group * n * hd))
            .enumerate();
        let cache = &*cache;
        let attend = |(head, ((queries, scores), mixed)): (usize, HeadBuffers<'_>)| {
            attend_head(cache, (layer, head), (n, total, hd), queries, scores, mixed);
        };
        if n * heads * total >= PARALLEL_CELLS {
            tasks.collect::<Vec<_>>().into_par_iter().for_each(attend);
        } else {
            tasks.for_each(attend);
        }

        // [heads, n, head_dim] → [n, heads * head_dim]
        let width = heads * hd;
        s.joined.resize(n * width, 0.0);
        for (head, rows) in s.mixed.chunks_exact(n * hd).enumerate() {
            for (row, values) in rows.chunks_exact(hd).enumerate() {
                s.joined[row * width + head * hd..][..hd].copy_from_slice(values);
            }
        }
        let rows = Rows { data: &s.joined, rows: n, stride: width };
        self.output.apply(rows, d, width, RowsMut { data: out, stride: d }, true);
    }

    /// Norms and rotates queries and keys; keys and values go to the cache, queries become
    /// `[heads, n, head_dim]`, scaled by `1 / √head_dim`.
    fn split(
        &self,
        config: &MoeConfig,
        (layer, rope): (usize, &Rope),
        n: usize,
        cache: &mut KvCache,
        s: &mut AttentionScratch,
    ) {
        let hd = config.head_dim;
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        #[expect(clippy::cast_possible_truncation, reason = "the reference norms in f32")]
        let eps = config.rms_norm_eps as f32;
        let scale = 1.0 / (hd as f32).sqrt();
        s.queries.resize(n * heads * hd, 0.0);
        for (row, qkv) in s.qkv.chunks_exact_mut((heads + 2 * kv_heads) * hd).enumerate() {
            let (queries, rest) = qkv.split_at_mut(heads * hd);
            let (keys, values) = rest.split_at_mut(kv_heads * hd);
            for (head, query) in queries.chunks_exact_mut(hd).enumerate() {
                rms_norm_row(query, &self.query_norm, eps);
                rope.rotate(query, row, scale);
                s.queries[(head * n + row) * hd..][..hd].copy_from_slice(query);
            }
            for (head, (key, value)) in
                keys.chunks_exact_mut(hd).zip(values.chunks_exact(hd)).enumerate()
            {
                rms_norm_row(key, &self.key_norm, eps);
                rope.rotate(key, row, 1.0);
                cache.push(layer, head, key, value);
            }
        }
    }
}

/// Attends with all queries of one key-value head.
///
/// # Shapes
/// `queries: [group * n, hd]`, `scores: [group * n, total]` → `mixed: [group * n, hd]`.
fn attend_head(
    cache: &KvCache,
    (layer, head): (usize, usize),
    (n, total, hd): (usize, usize, usize),
    queries: &[f32],
    scores: &mut [f32],
    mixed: &mut [f32],
) {
    let rows = queries.len() / hd;
    let x = Rows { data: queries, rows, stride: hd };
    let mut at = 0;
    for (keys, _, len) in cache.pieces(layer, head) {
        let y = RowsMut { data: &mut scores[at..], stride: total };
        matmul(x, keys, len, hd, y, false);
        at += len;
    }
    for (row, scores) in scores.chunks_exact_mut(total).enumerate() {
        // Row `g * n + t` is token `t` of the step: it sees what came before, and itself.
        let visible = total - n + row % n + 1;
        softmax(&mut scores[..visible]);
        scores[visible..].fill(0.0);
    }
    let mut at = 0;
    for (_, values, len) in cache.pieces(layer, head) {
        let p = Rows { data: &scores[at..], rows, stride: total };
        accumulate(p, values, len, hd, mixed);
        at += len;
    }
}
