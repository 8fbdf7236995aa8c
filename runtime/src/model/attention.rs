//! Grouped-query attention; queries and keys may be normalised.

use std::cell::RefCell;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::block::Part;
use super::cache::{KvCache, Numbers};
use super::norm::rms_norm_rows;
use super::rope::Rope;
use crate::config::MoeConfig;
use crate::kernel::{
    Matrix, Rows, RowsMut, View, accumulate, accumulate_halves, half_dots, matmul, product_bf16,
    softmax, team,
};

/// Score cells from which the key-value heads are spread over threads.
const PARALLEL_CELLS: usize = 1 << 12;

/// Rows of a step up to which keys of half precision are read as they are.
const FEW_ROWS: usize = 24;

/// Queries that attend together: their scores stay in the cache of a core.
const QUERY_BLOCK: usize = 128;

/// Weights of the attention of one layer.
#[derive(Debug)]
pub(crate) struct Attention {
    /// Queries, keys and values stacked: `[(heads + 2 * kv_heads) * head_dim, hidden]`.
    pub(crate) qkv: Matrix,
    /// `[hidden, heads * head_dim]`.
    pub(crate) output: Matrix,
    /// Added to what `qkv` gives; empty where the family has none.
    pub(crate) bias: Vec<f32>,
    /// Norm of queries: of each head `[head_dim]`, of all `[heads * head_dim]`, or empty.
    pub(crate) query_norm: Vec<f32>,
    /// Norm of keys, likewise.
    pub(crate) key_norm: Vec<f32>,
    /// What scores are multiplied with.
    pub(crate) scale: f32,
}

/// Buffers reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    qkv: Vec<f32>,
    queries: Vec<f32>,
    mixed: Vec<f32>,
    joined: Vec<f32>,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
struct HeadScratch {
    scores: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Cache, key-value head, rows and tokens in all, queries and output.
type Task<'a> = (&'a KvCache, usize, (usize, usize), &'a [f32], &'a mut [f32]);

thread_local! {
    static HEAD: RefCell<HeadScratch> = RefCell::default();
}

impl Attention {
    /// Appends the keys and values of the rows `x` to the caches of their sequences and writes what they
    /// attend to, each within its own sequence.
    ///
    /// # Shapes
    /// `x: [n, hidden]` → `out: [n, hidden]`, the rows of the parts one after the other.
    pub(crate) fn forward(
        &self,
        config: &MoeConfig,
        (layer, rope): (usize, &Rope),
        x: &[f32],
        parts: &mut [Part<'_>],
        s: &mut AttentionScratch,
        out: &mut [f32],
    ) {
        let (d, hd) = (config.hidden_size, config.head_dim);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let n = x.len() / d;
        let wide = (heads + 2 * kv_heads) * hd;
        s.qkv.resize(n * wide, 0.0);
        let rows = Rows { data: x, rows: n, stride: d };
        self.qkv.apply(rows, wide, d, RowsMut { data: &mut s.qkv, stride: wide }, true);
        let width = heads * hd;
        s.queries.resize(n * width, 0.0);
        let mut first = 0;
        for part in parts.iter_mut() {
            self.split(config, (layer, rope), (first, part.tokens.len()), part.cache, s);
            first += part.tokens.len();
        }
        s.mixed.clear();
        s.mixed.resize(n * width, 0.0);
        attend(config, layer, parts, &s.queries, &mut s.mixed);

        // Of each part, [heads, n, head_dim] → [n, heads * head_dim]
        s.joined.resize(n * width, 0.0);
        let mut first = 0;
        for part in parts.iter() {
            let n = part.tokens.len();
            let mixed = s.mixed[first * width..][..n * width].chunks_exact(n * hd);
            for (head, rows) in mixed.enumerate() {
                for (row, values) in rows.chunks_exact(hd).enumerate() {
                    s.joined[(first + row) * width + head * hd..][..hd].copy_from_slice(values);
                }
            }
            first += n;
        }
        let rows = Rows { data: &s.joined, rows: n, stride: width };
        self.output.apply(rows, d, width, RowsMut { data: out, stride: d }, true);
    }

    /// Norms and rotates queries and keys of the `n` rows from `first` on; keys and values go to the cache,
    /// queries become `[heads, n, head_dim]`, scaled.
    fn split(
        &self,
        config: &MoeConfig,
        (layer, rope): (usize, &Rope),
        (first, n): (usize, usize),
        cache: &mut KvCache,
        s: &mut AttentionScratch,
    ) {
        let hd = config.head_dim;
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        #[expect(clippy::cast_possible_truncation, reason = "the reference norms in f32")]
        let eps = config.rms_norm_eps as f32;
        let wide = (heads + 2 * kv_heads) * hd;
        let own = &mut s.queries[first * heads * hd..][..n * heads * hd];
        let rows = s.qkv[first * wide..][..n * wide].chunks_exact_mut(wide);
        for (row, qkv) in rows.enumerate() {
            qkv.iter_mut().zip(&self.bias).for_each(|(v, bias)| *v += bias);
            let (queries, rest) = qkv.split_at_mut(heads * hd);
            let (keys, values) = rest.split_at_mut(kv_heads * hd);
            rms_norm_rows(queries, &self.query_norm, eps);
            rms_norm_rows(keys, &self.key_norm, eps);
            for (head, query) in queries.chunks_exact_mut(hd).enumerate() {
                rope.rotate(query, first + row, self.scale);
                own[(head * n + row) * hd..][..hd].copy_from_slice(query);
            }
            for (head, (key, value)) in
                keys.chunks_exact_mut(hd).zip(values.chunks_exact(hd)).enumerate()
            {
                rope.rotate(key, first + row, 1.0);
                cache.push(layer, head, key, value);
            }
        }
    }
}

/// Attends with all queries, a task for each sequence and key-value head.
fn attend(
    config: &MoeConfig,
    layer: usize,
    parts: &[Part<'_>],
    queries: &[f32],
    mixed: &mut [f32],
) {
    let (heads, hd) = (config.num_attention_heads, config.head_dim);
    let group = heads / config.num_key_value_heads;
    let mut cells = 0;
    let (mut queries, mut mixed) = (queries, mixed);
    let mut tasks = Vec::with_capacity(parts.len() * config.num_key_value_heads);
    for part in parts {
        let n = part.tokens.len();
        let total = part.cache.len() + n;
        cells += n * heads * total;
        for head in 0..config.num_key_value_heads {
            // The queries of a key-value head, [group * n, head_dim], are contiguous.
            let (Some(queries), Some(mixed)) =
                (queries.split_off(..group * n * hd), mixed.split_off_mut(..group * n * hd))
            else {
                continue;
            };
            tasks.push((&*part.cache, head, (n, total), queries, mixed));
        }
    }
    let run = |(cache, head, (n, total), queries, mixed): Task<'_>| {
        HEAD.with_borrow_mut(|s| {
            attend_head(cache, (layer, head), (n, total, hd), queries, mixed, s);
        });
    };
    if cells >= PARALLEL_CELLS {
        team::each(tasks, run);
    } else {
        tasks.into_iter().for_each(run);
    }
}

/// Attends with all queries of one key-value head, in blocks of a bounded number of scores.
///
/// # Shapes
/// `queries: [group * n, hd]` → `mixed: [group * n, hd]`.
fn attend_head(
    cache: &KvCache,
    (layer, head): (usize, usize),
    (n, total, hd): (usize, usize, usize),
    queries: &[f32],
    mixed: &mut [f32],
    s: &mut HeadScratch,
) {
    let HeadScratch { scores, keys, values } = s;
    let many = cache.is_half() && n > FEW_ROWS;
    if many {
        keys.clear();
        values.clear();
        for (k, v, _) in cache.pieces(layer, head) {
            widen(k, keys);
            widen(v, values);
        }
    }
    // Rows of one query head, so that a block's last row sees the most.
    for (queries, mixed) in queries.chunks_exact(n * hd).zip(mixed.chunks_exact_mut(n * hd)) {
        for first in (0..n).step_by(QUERY_BLOCK) {
            let rows = (n - first).min(QUERY_BLOCK);
            let seen = total - n + first + rows;
            scores.resize(rows * seen, 0.0);
            let x = Rows { data: &queries[first * hd..], rows, stride: hd };
            let out = &mut mixed[first * hd..][..rows * hd];
            if many {
                scores_of_many(x, &keys[..seen * hd], hd, scores);
                mask(scores, (first, seen, total - n));
                mix_many((scores, rows), &values[..seen * hd], hd, out);
            } else {
                scores_of_few(cache, (layer, head), x, hd, (seen, scores));
                mask(scores, (first, seen, total - n));
                mix_few(cache, (layer, head), (scores, rows, seen), hd, out);
            }
        }
    }
}

/// Turns scores into probabilities; row `i` sees what came before the step, and the step up to itself.
fn mask(scores: &mut [f32], (first, seen, past): (usize, usize, usize)) {
    for (row, scores) in scores.chunks_exact_mut(seen).enumerate() {
        let visible = past + first + row + 1;
        softmax(&mut scores[..visible]);
        scores[visible..].fill(0.0);
    }
}

fn scores_of_few(
    cache: &KvCache,
    (layer, head): (usize, usize),
    x: Rows<'_>,
    hd: usize,
    (seen, scores): (usize, &mut [f32]),
) {
    let mut at = 0;
    for (keys, _, len) in cache.pieces(layer, head) {
        let len = len.min(seen - at);
        let y = RowsMut { data: &mut scores[at..], stride: seen };
        match keys {
            Numbers::Full(keys) => matmul(x, &keys[..len * hd], len, hd, y, false),
            Numbers::Half(keys) => half_dots(x, &keys[..len * hd], hd, y),
        }
        at += len;
    }
}

fn mix_few(
    cache: &KvCache,
    (layer, head): (usize, usize),
    (scores, rows, seen): (&[f32], usize, usize),
    hd: usize,
    out: &mut [f32],
) {
    let mut at = 0;
    for (_, values, len) in cache.pieces(layer, head) {
        let len = len.min(seen - at);
        let p = Rows { data: &scores[at..], rows, stride: seen };
        match values {
            Numbers::Full(values) => accumulate(p, &values[..len * hd], len, hd, out),
            Numbers::Half(values) => accumulate_halves(p, &values[..len * hd], hd, out),
        }
        at += len;
    }
}

/// Scores of a block of queries with widened keys, on the matrix unit where there is one.
fn scores_of_many(x: Rows<'_>, keys: &[f32], hd: usize, scores: &mut [f32]) {
    let seen = keys.len() / hd;
    let a = View { data: x.data, rows: x.stride, columns: 1 };
    let b = View { data: keys, rows: 1, columns: hd };
    if !product_bf16((x.rows, seen, hd), a, b, (scores, seen), 1.0, false) {
        matmul(x, keys, seen, hd, RowsMut { data: scores, stride: seen }, false);
    }
}

/// What a block of queries gathers from widened values.
fn mix_many((scores, rows): (&[f32], usize), values: &[f32], hd: usize, out: &mut [f32]) {
    let seen = values.len() / hd;
    let a = View { data: scores, rows: seen, columns: 1 };
    let b = View { data: values, rows: hd, columns: 1 };
    if !product_bf16((rows, hd, seen), a, b, (out, hd), 1.0, false) {
        accumulate(Rows { data: scores, rows, stride: seen }, values, seen, hd, out);
    }
}

fn widen(numbers: Numbers<'_>, to: &mut Vec<f32>) {
    match numbers {
        Numbers::Full(numbers) => to.extend_from_slice(numbers),
        Numbers::Half(bits) => {
            let start = to.len();
            to.resize(start + bits.len(), 0.0);
            bits.reinterpret_cast::<f16>().convert_to_f32_slice(&mut to[start..]);
        }
    }
}
