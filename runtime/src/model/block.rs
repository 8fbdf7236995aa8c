//! One decoder layer: attention and feed-forward, each behind a norm and beside a residual.

use super::attention::{Attention, AttentionScratch};
use super::cache::KvCache;
use super::moe::{FeedForward, MoeScratch};
use super::norm::rms_norm;
use super::rope::Rope;
use crate::config::MoeConfig;

/// A sequence's share of a step.
#[derive(Debug)]
pub struct Part<'a> {
    /// What runs.
    pub tokens: &'a [u32],
    /// What it runs after; holds the tokens as well when the step is done.
    pub cache: &'a mut KvCache,
}

/// Weights of one decoder layer.
#[derive(Debug)]
pub(crate) struct Block {
    /// `[hidden]`.
    pub(crate) input_norm: Vec<f32>,
    pub(crate) attention: Attention,
    /// `[hidden]`.
    pub(crate) post_norm: Vec<f32>,
    pub(crate) feed_forward: FeedForward,
    /// What a branch is multiplied with before it is added.
    pub(crate) residual: f32,
}

/// Buffers of a forward step, reused from step to step.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Residual stream, `[n, hidden]`.
    pub(crate) x: Vec<f32>,
    pub(crate) normed: Vec<f32>,
    pub(crate) branch: Vec<f32>,
    pub(crate) rope: Rope,
    pub(crate) attention: AttentionScratch,
    pub(crate) moe: MoeScratch,
}

impl Block {
    /// Runs the layer on the residual stream `s.x` in place.
    pub(crate) fn forward(
        &self,
        config: &MoeConfig,
        layer: usize,
        parts: &mut [Part<'_>],
        s: &mut Scratch,
    ) {
        #[expect(clippy::cast_possible_truncation, reason = "the reference norms in f32")]
        let eps = config.rms_norm_eps as f32;
        s.normed.resize(s.x.len(), 0.0);
        s.branch.resize(s.x.len(), 0.0);
        rms_norm(&s.x, &self.input_norm, eps, &mut s.normed);
        let place = (layer, &s.rope);
        self.attention.forward(config, place, &s.normed, parts, &mut s.attention, &mut s.branch);
        s.x.iter_mut().zip(&s.branch).for_each(|(x, b)| *x += self.residual * b);
        rms_norm(&s.x, &self.post_norm, eps, &mut s.normed);
        let out = (&mut s.x[..], self.residual);
        self.feed_forward.forward(config, &s.normed, &mut s.moe, out);
    }
}
