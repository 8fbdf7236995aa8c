//! The mixture-of-experts decoder: RMSNorm, grouped-query attention with normalised queries and
//! keys, rotary positions, softmax router, SwiGLU experts.
//!
//! Other families differ by biases, norms, multipliers and a shared expert; a file of four or eight bits is
//! multiplied as it is. It runs on plain `f32` slices rather than on tensors: a planner's layer is so small that
//! allocating and dispatching tensor operations would take longer than the arithmetic.
//!
//! # Source
//! `transformers`, `modeling_qwen3_moe.py` (5.x); `tests/parity.rs` compares the two.

mod attention;
mod block;
mod cache;
mod gguf;
mod moe;
mod norm;
mod random;
mod rope;
mod weights;

pub use block::{Part, Scratch};
pub use cache::KvCache;
pub use gguf::gguf_config;
pub use random::{Storage, random_checkpoint, shapes};
pub(crate) use rope::frequencies;
pub(crate) use weights::{Checkpoint, Source};

use attention::Attention;
use block::Block;
use moe::{FeedForward, Swiglu};

use crate::config::{ConfigError, Family, MoeConfig, names};
use crate::gguf::{Gguf, GgufError};
use crate::kernel::{Matrix, Rows, RowsMut};

/// Rows of one pass: longer prompts go in pieces, so that scratch memory stays bounded.
const STEP_ROWS: usize = 512;

/// Why a checkpoint cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file is not a safetensors file.
    #[error("weights cannot be read: {0}")]
    Safetensors(#[source] safetensors::SafeTensorError),
    /// The file is not a GGUF file of this model.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A tensor is absent.
    #[error("the checkpoint has no tensor `{0}`")]
    Missing(String),
    /// A tensor does not fit the configuration.
    #[error("tensor `{name}` has shape {found:?}, the configuration asks for {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor's numbers are in a format that is not read.
    #[error("tensor `{name}` is stored as {found}; use F32, F16 or BF16")]
    Format {
        /// Its name.
        name: String,
        /// Format in the file.
        found: String,
    },
    /// A token id is not in the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        token: u32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// The sequence is longer than the model's positions.
    #[error("{len} tokens do not fit the model's {max} positions; shorten the prompt")]
    TooLong {
        /// Tokens asked for.
        len: usize,
        /// `max_position_embeddings`.
        max: usize,
    },
}

/// A loaded decoder; immutable, so threads share it freely.
#[derive(Debug)]
pub struct Model {
    config: MoeConfig,
    /// `[vocab, hidden]`.
    embedding: Matrix,
    blocks: Vec<Block>,
    /// `[hidden]`.
    norm: Vec<f32>,
    /// `[vocab, hidden]`; absent when the embedding serves.
    head: Option<Matrix>,
    frequencies: Vec<f32>,
}

impl Model {
    /// Loads weights from the bytes of one or more safetensors files (shards).
    ///
    /// # Errors
    /// [`ModelError::Config`] ⇐ a shape that cannot be run; the others ⇐ files that do not fit it.
    pub fn load(config: MoeConfig, files: &[&[u8]]) -> Result<Self, ModelError> {
        config.validate()?;
        let file = Checkpoint::open(files)?.of(&config);
        Self::from_source(config, &file)
    }

    /// Loads a GGUF file; weights of four, six and eight bits stay that small in memory.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] ⇐ the file contradicts itself; the others as [`Model::load`].
    pub fn from_gguf(file: &Gguf) -> Result<Self, ModelError> {
        let config = gguf_config(file)?;
        Self::from_source(config.clone(), &gguf::GgufWeights::new(file, &config))
    }

    fn from_source(config: MoeConfig, file: &impl Source) -> Result<Self, ModelError> {
        let (d, vocab) = (config.hidden_size, config.vocab_size);
        let embedding = file.matrix(&[(names::EMBED.to_owned(), vocab)], d)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| load_block(&config, file, layer))
            .collect::<Result<_, _>>()?;
        let norm = file.get(names::FINAL_NORM, &[d])?;
        let head = if config.tie_word_embeddings {
            None
        } else {
            Some(file.matrix(&[(names::LM_HEAD.to_owned(), vocab)], d)?)
        };
        let frequencies = rope::frequencies(config.head_dim, config.rope_theta);
        Ok(Self { config, embedding, blocks, norm, head, frequencies })
    }

    /// Shape of the model.
    pub fn config(&self) -> &MoeConfig {
        &self.config
    }

    /// Returns an empty cache for one sequence.
    pub fn cache(&self) -> KvCache {
        let c = &self.config;
        // Weights of few bits blur more than half precision of keys and values does.
        KvCache::new(c.num_hidden_layers, c.num_key_value_heads, c.head_dim, self.is_tiled())
    }

    /// Runs `tokens` after what `cache` holds and calls `see(offset, hidden)` for each piece of rows.
    ///
    /// # Shapes
    /// `hidden: [rows, hidden]`, after the final norm; `offset` is the place of its first row in `tokens`.
    ///
    /// # Errors
    /// [`ModelError::Token`], [`ModelError::TooLong`]; the cache is then unchanged.
    pub fn forward(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
        s: &mut Scratch,
        mut see: impl FnMut(usize, &[f32]),
    ) -> Result<(), ModelError> {
        self.check(tokens, cache)?;
        cache.reserve(tokens.len());
        for (piece, tokens) in tokens.chunks(STEP_ROWS).enumerate() {
            self.rows(&mut [Part { tokens, cache }], s);
            see(piece * STEP_ROWS, &s.normed);
        }
        Ok(())
    }

    /// Tells whether `tokens` can run after what `cache` holds.
    ///
    /// # Errors
    /// [`ModelError::Token`], [`ModelError::TooLong`].
    pub fn check(&self, tokens: &[u32], cache: &KvCache) -> Result<(), ModelError> {
        let vocab = self.config.vocab_size;
        let (len, max) = (cache.len() + tokens.len(), self.config.max_position_embeddings);
        if len > max {
            return Err(ModelError::TooLong { len, max });
        }
        match tokens.iter().find(|t| **t as usize >= vocab) {
            Some(token) => Err(ModelError::Token { token: *token, vocab }),
            None => Ok(()),
        }
    }

    /// Runs tokens of several sequences in one step, so that each weight is read once for all of them, and
    /// returns the normed hidden state after the last token of each.
    ///
    /// # Shapes
    /// `[parts, hidden]`; every part has a token at least.
    ///
    /// # Errors
    /// As [`Model::check`], of any part; all caches are then unchanged.
    pub fn step(&self, parts: &mut [Part<'_>], s: &mut Scratch) -> Result<Vec<f32>, ModelError> {
        for part in parts.iter() {
            self.check(part.tokens, part.cache)?;
        }
        self.rows(parts, s);
        let d = self.config.hidden_size;
        let mut out = Vec::with_capacity(parts.len() * d);
        let mut end = 0;
        for part in parts.iter() {
            end += part.tokens.len();
            out.extend_from_slice(&s.normed[(end - 1) * d..end * d]);
        }
        Ok(out)
    }

    /// Runs rows that were checked; their hidden states are in `s.normed`.
    fn rows(&self, parts: &mut [Part<'_>], s: &mut Scratch) {
        let d = self.config.hidden_size;
        #[expect(clippy::cast_possible_truncation, reason = "the reference norms in f32")]
        let eps = self.config.rms_norm_eps as f32;
        s.x.clear();
        s.rope.clear();
        for part in parts.iter() {
            for token in part.tokens {
                self.embedding.copy_row(*token as usize, d, &mut s.x);
            }
            s.rope.extend(&self.frequencies, part.cache.len(), part.tokens.len());
        }
        if let Some(by) = self.config.embedding_multiplier {
            #[expect(clippy::cast_possible_truncation, reason = "a factor")]
            s.x.iter_mut().for_each(|v| *v *= by as f32);
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            block.forward(&self.config, layer, parts, s);
        }
        for part in parts.iter_mut() {
            part.cache.advance(part.tokens.len());
        }
        s.normed.resize(s.x.len(), 0.0);
        norm::rms_norm(&s.x, &self.norm, eps, &mut s.normed);
    }

    /// Whether weights are of few bits, so that reading them bounds a step and sharing it pays.
    pub(crate) fn is_tiled(&self) -> bool {
        self.blocks.iter().any(|block| block.attention.qkv.is_tiled())
    }

    /// Runs `tokens` and returns the normed hidden state of the last one, `[hidden]`; empty for no tokens.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_last(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
        s: &mut Scratch,
    ) -> Result<Vec<f32>, ModelError> {
        let mut last = Vec::new();
        let d = self.config.hidden_size;
        self.forward(tokens, cache, s, |_, hidden| {
            last.clear();
            last.extend_from_slice(&hidden[hidden.len() - d..]);
        })?;
        Ok(last)
    }

    /// Computes all logits of some hidden states.
    ///
    /// # Shapes
    /// `hidden: [n, hidden]` → `[n, vocab]`.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        let (d, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let n = hidden.len() / d;
        let mut out = vec![0.0; n * vocab];
        let rows = Rows { data: hidden, rows: n, stride: d };
        let y = RowsMut { data: &mut out, stride: vocab };
        self.head().apply(rows, vocab, d, y, true);
        if let Some(by) = self.config.logits_scaling {
            #[expect(clippy::cast_possible_truncation, reason = "a factor")]
            out.iter_mut().for_each(|logit| *logit /= by as f32);
        }
        out
    }

    /// Computes the logit of one token, reading only its row of the head.
    pub fn logit(&self, hidden: &[f32], token: u32) -> f32 {
        let d = self.config.hidden_size;
        #[expect(clippy::cast_possible_truncation, reason = "a factor")]
        let by = self.config.logits_scaling.unwrap_or(1.0) as f32;
        self.head().row_dot(token as usize, d, hidden) / by
    }

    fn head(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

fn load_block(config: &MoeConfig, file: &impl Source, layer: usize) -> Result<Block, ModelError> {
    let (d, hd) = (config.hidden_size, config.head_dim);
    let (q, kv) = (config.num_attention_heads * hd, config.num_key_value_heads * hd);
    let qkv = [('q', q), ('k', kv), ('v', kv)]
        .map(|(which, rows)| (names::projection(layer, which), rows));
    let norm = |which, all| match config.family() {
        Family::Qwen3Moe => file.get(&names::head_norm(layer, which), &[hd]),
        Family::Olmoe => file.get(&names::head_norm(layer, which), &[all]),
        _ => Ok(Vec::new()),
    };
    let mut bias = Vec::new();
    if config.family() == Family::Qwen2Moe {
        for (which, rows) in [('q', q), ('k', kv), ('v', kv)] {
            bias.extend(file.get(&names::bias(layer, which), &[rows])?);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "a factor")]
    let scale = config.attention_multiplier.map(|by| by as f32);
    let attention = Attention {
        qkv: file.matrix(&qkv, d)?,
        output: file.matrix(&[(names::projection(layer, 'o'), d)], q)?,
        bias,
        query_norm: norm('q', q)?,
        key_norm: norm('k', kv)?,
        scale: scale.unwrap_or(1.0 / (hd as f32).sqrt()),
    };
    let swiglu = |name: &dyn Fn(&str) -> String, inner: usize| -> Result<Swiglu, ModelError> {
        let gate_up = file.matrix(&[(name("gate"), inner), (name("up"), inner)], d)?;
        let down = file.matrix(&[(name("down"), d)], inner)?;
        Ok(Swiglu { gate_up, down, inner })
    };
    let feed_forward = if config.is_sparse(layer) {
        FeedForward::Sparse {
            router: file.get(&names::router(layer), &[config.num_experts, d])?,
            experts: (0..config.num_experts)
                .map(|e| {
                    swiglu(&|which| names::expert(layer, e, which), config.moe_intermediate_size)
                })
                .collect::<Result<_, _>>()?,
            shared: match config.shared_expert_intermediate_size {
                0 => None,
                inner => Some((
                    swiglu(&|which| names::shared(layer, which), inner)?,
                    file.get(&names::shared_gate(layer), &[1, d])?,
                )),
            },
        }
    } else {
        FeedForward::Dense(swiglu(&|which| names::dense(layer, which), config.intermediate_size)?)
    };
    Ok(Block {
        input_norm: file.get(&names::input_norm(layer), &[d])?,
        attention,
        post_norm: file.get(&names::post_norm(layer), &[d])?,
        feed_forward,
        #[expect(clippy::cast_possible_truncation, reason = "a factor")]
        residual: config.residual_multiplier.unwrap_or(1.0) as f32,
    })
}
