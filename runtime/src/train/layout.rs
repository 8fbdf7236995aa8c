//! Where each weight lies in the one flat vector that is trained.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::config::{MoeConfig, names};
use crate::model::shapes;

/// Ranges of one expert.
#[derive(Debug, Clone)]
pub(super) struct Expert {
    /// Gate and up, `[2 * inner, hidden]`.
    pub(super) gate_up: Range<usize>,
    /// `[hidden, inner]`.
    pub(super) down: Range<usize>,
}

/// Ranges of one layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) input_norm: Range<usize>,
    pub(super) post_norm: Range<usize>,
    /// Queries, keys and values stacked.
    pub(super) qkv: Range<usize>,
    pub(super) output: Range<usize>,
    pub(super) query_norm: Range<usize>,
    pub(super) key_norm: Range<usize>,
    pub(super) router: Range<usize>,
    pub(super) experts: Vec<Expert>,
}

/// Ranges of a model.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) embedding: Range<usize>,
    pub(super) norm: Range<usize>,
    pub(super) layers: Vec<Layer>,
    /// Name, shape and range of each tensor of the checkpoint.
    pub(super) tensors: Vec<(String, Vec<usize>, Range<usize>)>,
    pub(super) len: usize,
}

impl Layout {
    /// Lays out a configuration whose layers are all sparse and whose head is tied. `None` ⇐ another.
    pub(super) fn of(config: &MoeConfig) -> Option<Self> {
        let sparse = (0..config.num_hidden_layers).all(|layer| config.is_sparse(layer));
        if !sparse || !config.tie_word_embeddings {
            return None;
        }
        let mut len = 0;
        let tensors: Vec<_> = shapes(config)
            .into_iter()
            .map(|(name, shape)| {
                let size: usize = shape.iter().product();
                len += size;
                (name, shape, len - size..len)
            })
            .collect();
        let find = |name: &str| {
            tensors.iter().find(|(n, _, _)| n == name).map(|(_, _, range)| range.clone())
        };
        // `shapes` lists q, k, v and gate, up next to each other, so each group is one matrix.
        let span = |first: &str, last: &str| Some(find(first)?.start..find(last)?.end);
        let layer = |l: usize| -> Option<Layer> {
            let expert = |e: usize| -> Option<Expert> {
                Some(Expert {
                    gate_up: span(&names::expert(l, e, "gate"), &names::expert(l, e, "up"))?,
                    down: find(&names::expert(l, e, "down"))?,
                })
            };
            Some(Layer {
                input_norm: find(&names::input_norm(l))?,
                post_norm: find(&names::post_norm(l))?,
                qkv: span(&names::projection(l, 'q'), &names::projection(l, 'v'))?,
                output: find(&names::projection(l, 'o'))?,
                query_norm: find(&names::head_norm(l, 'q'))?,
                key_norm: find(&names::head_norm(l, 'k'))?,
                router: find(&names::router(l))?,
                experts: (0..config.num_experts).map(expert).collect::<Option<_>>()?,
            })
        };
        Some(Self {
            embedding: find(names::EMBED)?,
            norm: find(names::FINAL_NORM)?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Option<_>>()?,
            len,
            tensors,
        })
    }

    /// Draws fresh weights: norms are one, the embedding has the configuration's deviation, matrices
    /// that of `1/√fan_in`, and those that write into the residual stream less by `√(2·layers)`, so
    /// that its variance does not grow with depth.
    pub(super) fn fresh(&self, config: &MoeConfig, seed: u64) -> Vec<f32> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut weights = vec![1.0; self.len];
        let depth = (2.0 * config.num_hidden_layers as f32).sqrt();
        for (name, shape, range) in self.tensors.iter().filter(|(_, shape, _)| shape.len() == 2) {
            let fan_in = shape[1] as f32;
            let writes = name.contains("o_proj") || name.contains("down_proj");
            #[expect(clippy::cast_possible_truncation, reason = "a small number")]
            let deviation = if *name == names::EMBED {
                config.initializer_range as f32
            } else if writes {
                1.0 / fan_in.sqrt() / depth
            } else {
                1.0 / fan_in.sqrt()
            };
            // A uniform draw of this half width has that deviation.
            let half = deviation * 3f32.sqrt();
            weights[range.clone()].iter_mut().for_each(|w| *w = random.random_range(-half..half));
        }
        weights
    }

    /// Returns for each weight the share of the learning rate by which it decays: `share` for the
    /// entries of matrices, nothing for norms.
    pub(super) fn decay(&self, share: f32) -> Vec<f32> {
        let mut decay = vec![0.0; self.len];
        for (_, _, range) in self.tensors.iter().filter(|(_, shape, _)| shape.len() == 2) {
            decay[range.clone()].fill(share);
        }
        decay
    }
}
