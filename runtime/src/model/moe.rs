//! Feed-forward of a layer: one dense SwiGLU, or experts chosen by a softmax router.
//!
//! Rows are grouped by expert, so each expert's weights are read once a step however many tokens
//! chose it.

use crate::config::MoeConfig;
use crate::kernel::{Matrix, Rows, RowsMut, dot, matmul, silu_mul, softmax, team};

/// Rows of a step from which the experts are spread over threads.
const PARALLEL_ROWS: usize = 8;

/// One SwiGLU: `down(silu(gate(x)) * up(x))`.
#[derive(Debug)]
pub(crate) struct Swiglu {
    /// Gate and up stacked: `[2 * inner, hidden]`.
    pub(crate) gate_up: Matrix,
    /// `[hidden, inner]`.
    pub(crate) down: Matrix,
    /// Inner width.
    pub(crate) inner: usize,
}

impl Swiglu {
    /// Runs all rows, with both matrices spread over threads; the result is in `s.y`.
    fn all_rows(&self, x: &[f32], d: usize, s: &mut MoeScratch) {
        s.size(x.len() / d, d, self.inner);
        let b = Buffers { x, wide: &mut s.wide, narrow: &mut s.narrow, y: &mut s.y };
        self.forward(b, d, true);
    }

    /// # Shapes
    /// `x: [n, hidden]` → `y: [n, hidden]`; `wide: [n, 2 * inner]`, `narrow: [n, inner]` are scratch.
    #[expect(clippy::needless_pass_by_value, reason = "views to write into are used up")]
    fn forward(&self, b: Buffers<'_>, d: usize, parallel: bool) {
        let n = b.x.len() / d;
        let rows = Rows { data: b.x, rows: n, stride: d };
        let two = 2 * self.inner;
        self.gate_up.apply(rows, two, d, RowsMut { data: b.wide, stride: two }, parallel);
        silu_mul(&b.wide[..n * two], self.inner, &mut b.narrow[..n * self.inner]);
        let rows = Rows { data: b.narrow, rows: n, stride: self.inner };
        self.down.apply(rows, d, self.inner, RowsMut { data: b.y, stride: d }, parallel);
    }
}

struct Buffers<'a> {
    x: &'a [f32],
    wide: &'a mut [f32],
    narrow: &'a mut [f32],
    y: &'a mut [f32],
}

/// Feed-forward of one layer.
#[derive(Debug)]
pub(crate) enum FeedForward {
    /// The same weights for every token.
    Dense(Swiglu),
    /// A few experts for each token.
    Sparse {
        /// `[experts, hidden]`.
        router: Vec<f32>,
        /// All experts.
        experts: Vec<Swiglu>,
        /// An expert that every token passes, and its gate `[hidden]`.
        shared: Option<(Swiglu, Vec<f32>)>,
    },
}

/// Buffers reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct MoeScratch {
    router: Vec<f32>,
    /// `(expert, row, weight)`, sorted by expert before use.
    choices: Vec<(usize, usize, f32)>,
    x: Vec<f32>,
    wide: Vec<f32>,
    narrow: Vec<f32>,
    y: Vec<f32>,
}

impl FeedForward {
    /// Adds the feed-forward of the rows `x` to `out`, times a factor.
    ///
    /// # Shapes
    /// `x: [n, hidden]`, `out: [n, hidden]`.
    pub(crate) fn forward(
        &self,
        config: &MoeConfig,
        x: &[f32],
        s: &mut MoeScratch,
        (out, factor): (&mut [f32], f32),
    ) {
        let d = config.hidden_size;
        let n = x.len() / d;
        match self {
            Self::Dense(dense) => {
                dense.all_rows(x, d, s);
                out.iter_mut().zip(&s.y).for_each(|(o, y)| *o += factor * y);
            }
            Self::Sparse { router, experts, shared } => {
                if let Some((expert, gate)) = shared {
                    expert.all_rows(x, d, s);
                    let rows = out.chunks_exact_mut(d).zip(s.y.chunks_exact(d));
                    for ((out, y), x) in rows.zip(x.chunks_exact(d)) {
                        let open = factor / (1.0 + (-dot(gate, x)).exp());
                        out.iter_mut().zip(y).for_each(|(o, y)| *o += open * y);
                    }
                }
                route(config, router, x, s);
                s.size(s.choices.len(), d, config.moe_intermediate_size);
                for (slot, (_, row, _)) in s.choices.iter().enumerate() {
                    s.x[slot * d..][..d].copy_from_slice(&x[row * d..][..d]);
                }
                run_experts(experts, d, n, s);
                for ((_, row, weight), y) in s.choices.iter().zip(s.y.chunks_exact(d)) {
                    let out = &mut out[row * d..][..d];
                    let weight = weight * factor;
                    out.iter_mut().zip(y).for_each(|(o, y)| *o += weight * y);
                }
            }
        }
    }
}

impl MoeScratch {
    fn size(&mut self, rows: usize, d: usize, inner: usize) {
        self.x.resize(rows * d, 0.0);
        self.y.resize(rows * d, 0.0);
        self.wide.resize(rows * 2 * inner, 0.0);
        self.narrow.resize(rows * inner, 0.0);
    }
}

/// Fills `choices` with the best experts of each row, sorted by expert.
fn route(config: &MoeConfig, router: &[f32], x: &[f32], s: &mut MoeScratch) {
    let (d, experts, top) = (config.hidden_size, config.num_experts, config.num_experts_per_tok);
    let n = x.len() / d;
    s.router.resize(n * experts, 0.0);
    let rows = Rows { data: x, rows: n, stride: d };
    matmul(rows, router, experts, d, RowsMut { data: &mut s.router, stride: experts }, false);
    s.choices.clear();
    for (row, probabilities) in s.router.chunks_exact_mut(experts).enumerate() {
        softmax(probabilities);
        let start = s.choices.len();
        for _ in 0..top {
            let mut best = 0;
            for (expert, p) in probabilities.iter().enumerate() {
                if *p > probabilities[best] {
                    best = expert;
                }
            }
            s.choices.push((best, row, probabilities[best]));
            // Below every probability, so it is not chosen again.
            probabilities[best] = -1.0;
        }
        if config.norm_topk_prob {
            let chosen = &mut s.choices[start..];
            let sum: f32 = chosen.iter().map(|(_, _, p)| p).sum();
            chosen.iter_mut().for_each(|(_, _, p)| *p /= sum);
        }
    }
    s.choices.sort_unstable_by_key(|(expert, row, _)| (*expert, *row));
}

/// Runs each expert on its rows of `s.x`, into the same rows of `s.y`.
fn run_experts(experts: &[Swiglu], d: usize, n: usize, s: &mut MoeScratch) {
    let MoeScratch { choices, x, wide, narrow, y, .. } = s;
    let tasks = choices.chunk_by(|a, b| a.0 == b.0).scan(
        (&x[..], &mut wide[..], &mut narrow[..], &mut y[..]),
        |(x, wide, narrow, y), group| {
            let expert = &experts[group[0].0];
            let rows = group.len();
            let buffers = Buffers {
                x: x.split_off(..rows * d)?,
                wide: wide.split_off_mut(..rows * 2 * expert.inner)?,
                narrow: narrow.split_off_mut(..rows * expert.inner)?,
                y: y.split_off_mut(..rows * d)?,
            };
            Some((expert, buffers))
        },
    );
    // An expert in tiles is large: even one row's experts are worth two threads.
    if n >= PARALLEL_ROWS || experts.first().is_some_and(|expert| expert.gate_up.is_tiled()) {
        team::each(tasks.collect(), |(expert, b)| expert.forward(b, d, false));
    } else {
        tasks.for_each(|(expert, b)| expert.forward(b, d, false));
    }
}
