//! Shape of a planner: the fields of a Hugging Face `config.json`, of `Qwen3MoeForCausalLM` and of the other
//! mixture-of-experts families that run here.
//!
//! The same file is read by `transformers`, llama.cpp's converter and vLLM, so the planners trained
//! here run there and open checkpoints of these families run here.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Why a `config.json` cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is not JSON, or a required field is missing or of another type.
    #[error("config.json cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Io {
        /// File that was asked for.
        path: String,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// The checkpoint belongs to another architecture.
    #[error(
        "model_type `{0}` is not supported; those that run are qwen3_moe, qwen2_moe, mixtral, granitemoe and olmoe"
    )]
    ModelType(String),
    /// A field asks for something the decoder does not do.
    #[error("`{field}` is not supported: {reason}")]
    Unsupported {
        /// Field of `config.json`.
        field: &'static str,
        /// What is wrong with it and what would be accepted.
        reason: String,
    },
}

/// What the families of checkpoints differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Norms of each query and key head; what is trained here.
    Qwen3Moe,
    /// Biases on queries, keys and values, and an expert that every token passes behind a gate.
    Qwen2Moe,
    /// Neither norms nor biases; the chosen experts' weights sum to one.
    Mixtral,
    /// As Mixtral, with constant multipliers on embedding, attention, residuals and logits.
    GraniteMoe,
    /// Norms over all query heads and over all key heads at once.
    Olmoe,
}

impl Family {
    /// By `model_type`.
    pub fn of(model_type: &str) -> Option<Self> {
        Some(match model_type {
            "qwen3_moe" => Self::Qwen3Moe,
            "qwen2_moe" => Self::Qwen2Moe,
            "mixtral" => Self::Mixtral,
            "granitemoe" => Self::GraniteMoe,
            "olmoe" => Self::Olmoe,
            _ => return None,
        })
    }
}

/// Shape of a mixture-of-experts decoder, by the names of Hugging Face.
///
/// # Source
/// `transformers`, `configuration_{qwen3_moe,qwen2_moe,mixtral,granitemoe,olmoe}.py`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoeConfig {
    /// Classes that can load the checkpoint; kept so that an exported file loads elsewhere.
    #[serde(default = "default_architectures")]
    pub architectures: Vec<String>,
    /// Name of the [`Family`].
    #[serde(default = "default_model_type")]
    pub model_type: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    #[serde(default, deserialize_with = "or_zero")]
    pub head_dim: usize,
    /// Inner width of one expert; families without dense layers write it as `intermediate_size`.
    #[serde(default)]
    pub moe_intermediate_size: usize,
    /// Experts of a sparse layer; `transformers` 5 writes it as `num_local_experts`.
    #[serde(alias = "num_local_experts")]
    pub num_experts: usize,
    /// Experts chosen for a token.
    pub num_experts_per_tok: usize,
    /// Whether the chosen experts' weights are scaled to sum to one.
    #[serde(default)]
    pub norm_topk_prob: bool,
    /// Epsilon of every RMSNorm.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Whether the head reuses the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Longest sequence, tokens.
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    /// Inner width of a dense layer (those in `mlp_only_layers`).
    #[serde(default)]
    pub intermediate_size: usize,
    /// Every how many layers one is sparse; 1 makes all of them sparse.
    #[serde(default = "default_step")]
    pub decoder_sparse_step: usize,
    /// Layers with a dense feed-forward in place of experts.
    #[serde(default)]
    pub mlp_only_layers: Vec<usize>,
    /// Activation of the gate; only `silu`.
    #[serde(default = "default_act")]
    pub hidden_act: String,
    /// Whether the attention projections have biases; only `false`.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether attention is limited to a window; only `false`.
    #[serde(default)]
    pub use_sliding_window: bool,
    /// Scaling of the rotary embedding; only absent (or type `default`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<serde_json::Value>,
    /// Rotary settings of newer `transformers`; only type `default`. Its base wins over `rope_theta`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<serde_json::Value>,
    /// Inner width of the expert that every token passes; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared_expert_intermediate_size: usize,
    /// Length of the attention window of families that have one whenever it is set; only absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// Bound on queries, keys and values; only absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_qkv: Option<f64>,
    /// What embeddings are multiplied with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_multiplier: Option<f64>,
    /// What scores are multiplied with; `head_dim^-0.5` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_multiplier: Option<f64>,
    /// What a layer's branches are multiplied with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual_multiplier: Option<f64>,
    /// What logits are divided by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits_scaling: Option<f64>,
    /// Weight of the router's load-balancing loss, used in training.
    #[serde(default = "default_aux")]
    pub router_aux_loss_coef: f64,
    /// Standard deviation of fresh weights, used in training.
    #[serde(default = "default_init")]
    pub initializer_range: f64,
    /// Number format of the stored weights, informative: `float32`, `bfloat16` or `float16`.
    #[serde(default, alias = "dtype", skip_serializing_if = "Option::is_none")]
    pub torch_dtype: Option<String>,
    /// Token that starts a sequence, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    /// Token, or tokens, that end a sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eos_token_id: Option<EosIds>,
}

/// `eos_token_id` is a number in some checkpoints and a list in others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EosIds {
    /// A single id.
    One(u32),
    /// Several ids, any of which ends the text.
    Many(Vec<u32>),
}

impl EosIds {
    /// Returns the ids as a slice.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}
/// Reads `null` as zero, which stands for what a checkpoint leaves out.
fn or_zero<'de, D: serde::Deserializer<'de>>(value: D) -> Result<usize, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(0))
}
fn default_architectures() -> Vec<String> {
    vec!["Qwen3MoeForCausalLM".to_owned()]
}
fn default_model_type() -> String {
    "qwen3_moe".to_owned()
}
fn default_eps() -> f64 {
    1e-6
}
fn default_theta() -> f64 {
    10_000.0
}
fn default_positions() -> usize {
    32_768
}
fn default_step() -> usize {
    1
}
fn default_act() -> String {
    "silu".to_owned()
}
fn default_aux() -> f64 {
    0.001
}
fn default_init() -> f64 {
    0.02
}

impl MoeConfig {
    /// Reads and checks the text of a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError::Json`] ⇐ not JSON or a field missing; the others ⇐ [`MoeConfig::validate`].
    pub fn from_json(text: &[u8]) -> Result<Self, ConfigError> {
        let mut config: Self = serde_json::from_slice(text)?;
        config.resolve();
        config.validate()?;
        Ok(config)
    }

    /// Reads and checks a `config.json` on disk.
    ///
    /// # Errors
    /// [`ConfigError::Io`] ⇐ the file cannot be read; otherwise as [`MoeConfig::from_json`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path)
            .map_err(|source| ConfigError::Io { path: path.display().to_string(), source })?;
        Self::from_json(&text)
    }

    /// Returns the text of a `config.json` that `transformers` loads.
    ///
    /// # Errors
    /// [`ConfigError::Json`] ⇐ a number that JSON cannot hold (NaN).
    pub fn to_json(&self) -> Result<String, ConfigError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Fills what a checkpoint may leave out.
    fn resolve(&mut self) {
        if self.head_dim == 0 && self.num_attention_heads > 0 {
            self.head_dim = self.hidden_size / self.num_attention_heads;
        }
        if self.moe_intermediate_size == 0 {
            self.moe_intermediate_size = self.intermediate_size;
        }
        if matches!(self.family(), Family::Mixtral | Family::GraniteMoe) {
            self.norm_topk_prob = true;
        }
        if let Some(theta) = self
            .rope_parameters
            .as_ref()
            .and_then(|p| p.get("rope_theta"))
            .and_then(serde_json::Value::as_f64)
        {
            self.rope_theta = theta;
        }
    }

    /// What the checkpoint differs in from those trained here.
    pub fn family(&self) -> Family {
        Family::of(&self.model_type).unwrap_or(Family::Qwen3Moe)
    }

    /// Checks that the decoder can run this shape.
    ///
    /// # Errors
    /// [`ConfigError::ModelType`] ⇐ another architecture; [`ConfigError::Unsupported`] ⇐ a field
    /// the decoder does not do, or sizes that do not fit each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let family = Family::of(&self.model_type)
            .ok_or_else(|| ConfigError::ModelType(self.model_type.clone()))?;
        let refuse = |field, reason: &str| {
            Err(ConfigError::Unsupported { field, reason: reason.to_owned() })
        };
        if self.use_sliding_window {
            return refuse(
                "use_sliding_window",
                "attention over a window is not built; use full attention",
            );
        }
        let window = self.sliding_window.is_some_and(|w| w < self.max_position_embeddings);
        if family == Family::Mixtral && window {
            return refuse(
                "sliding_window",
                "attention over a window is not built; use full attention",
            );
        }
        if self.clip_qkv.is_some() {
            return refuse("clip_qkv", "queries, keys and values are not bounded here");
        }
        if self.attention_bias {
            return refuse("attention_bias", "projections have no biases here");
        }
        if self.hidden_act != "silu" {
            return refuse("hidden_act", "only `silu`");
        }
        if !is_default_rope(self.rope_scaling.as_ref()) {
            return refuse("rope_scaling", "only the default rotary embedding");
        }
        if !is_default_rope(self.rope_parameters.as_ref()) {
            return refuse("rope_parameters", "only the default rotary embedding");
        }
        for (field, value) in [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("num_experts", self.num_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("decoder_sparse_step", self.decoder_sparse_step),
        ] {
            if value == 0 {
                return refuse(field, "must be at least 1");
            }
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            return refuse("head_dim", "must be even, because rotary pairs halves");
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return refuse("num_key_value_heads", "must divide num_attention_heads");
        }
        if self.num_experts_per_tok > self.num_experts {
            return refuse("num_experts_per_tok", "cannot exceed num_experts");
        }
        if self.intermediate_size == 0 && (0..self.num_hidden_layers).any(|l| !self.is_sparse(l)) {
            return refuse("intermediate_size", "dense layers need their width");
        }
        Ok(())
    }

    /// Whether layer `layer` has experts rather than one dense feed-forward.
    pub fn is_sparse(&self, layer: usize) -> bool {
        !self.mlp_only_layers.contains(&layer)
            && (layer + 1).is_multiple_of(self.decoder_sparse_step)
    }

    /// Number of weights in all, the head counted once when tied.
    pub fn parameter_count(&self) -> usize {
        self.count(self.num_experts)
    }

    /// Number of weights one token passes through, the head included.
    pub fn active_parameter_count(&self) -> usize {
        self.count(self.num_experts_per_tok)
    }

    fn count(&self, experts: usize) -> usize {
        let (d, q, kv) = (
            self.hidden_size,
            self.num_attention_heads * self.head_dim,
            self.num_key_value_heads * self.head_dim,
        );
        let attention = d * q * 2 + d * kv * 2 + 2 * self.head_dim + 2 * d;
        let layers: usize = (0..self.num_hidden_layers)
            .map(|layer| {
                attention
                    + if self.is_sparse(layer) {
                        d * self.num_experts + experts * 3 * d * self.moe_intermediate_size
                    } else {
                        3 * d * self.intermediate_size
                    }
            })
            .sum();
        let vocab = self.vocab_size * d;
        layers + d + if self.tie_word_embeddings { vocab } else { 2 * vocab }
    }
}

fn is_default_rope(value: Option<&serde_json::Value>) -> bool {
    let Some(value) = value else { return true };
    if value.is_null() {
        return true;
    }
    let kind = value.get("rope_type").or_else(|| value.get("type"));
    kind.and_then(serde_json::Value::as_str) == Some("default")
}

/// Tensor names of the checkpoint, as `transformers` writes them.
pub mod names {
    /// `[vocab_size, hidden_size]`.
    pub const EMBED: &str = "model.embed_tokens.weight";
    /// `[hidden_size]`.
    pub const FINAL_NORM: &str = "model.norm.weight";
    /// `[vocab_size, hidden_size]`; absent when tied.
    pub const LM_HEAD: &str = "lm_head.weight";

    /// Attention projection `q`, `k`, `v` (`[heads * head_dim, hidden]`) or `o` (transposed shape).
    pub fn projection(layer: usize, which: char) -> String {
        format!("model.layers.{layer}.self_attn.{which}_proj.weight")
    }

    /// Bias of projection `q`, `k` or `v`: `[heads * head_dim]`.
    pub fn bias(layer: usize, which: char) -> String {
        format!("model.layers.{layer}.self_attn.{which}_proj.bias")
    }

    /// Gate of the expert that every token passes: `[1, hidden]`.
    pub fn shared_gate(layer: usize) -> String {
        format!("model.layers.{layer}.mlp.shared_expert_gate.weight")
    }

    /// Matrix `gate`, `up` or `down` of the expert that every token passes.
    pub fn shared(layer: usize, which: &str) -> String {
        format!("model.layers.{layer}.mlp.shared_expert.{which}_proj.weight")
    }

    /// Norm of each query (`q`) or key (`k`) head: `[head_dim]`.
    pub fn head_norm(layer: usize, which: char) -> String {
        format!("model.layers.{layer}.self_attn.{which}_norm.weight")
    }

    /// Norm before attention: `[hidden]`.
    pub fn input_norm(layer: usize) -> String {
        format!("model.layers.{layer}.input_layernorm.weight")
    }

    /// Norm before the feed-forward: `[hidden]`.
    pub fn post_norm(layer: usize) -> String {
        format!("model.layers.{layer}.post_attention_layernorm.weight")
    }

    /// Router: `[num_experts, hidden]`.
    pub fn router(layer: usize) -> String {
        format!("model.layers.{layer}.mlp.gate.weight")
    }

    /// Matrix `gate`, `up` (`[inner, hidden]`) or `down` (`[hidden, inner]`) of one expert.
    pub fn expert(layer: usize, expert: usize, which: &str) -> String {
        format!("model.layers.{layer}.mlp.experts.{expert}.{which}_proj.weight")
    }

    /// Matrix `gate`, `up` or `down` of a dense layer.
    pub fn dense(layer: usize, which: &str) -> String {
        format!("model.layers.{layer}.mlp.{which}_proj.weight")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> serde_json::Value {
        serde_json::json!({
            "model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2,
            "norm_topk_prob": true, "vocab_size": 100, "eos_token_id": [1, 2],
            "sliding_window": null, "rope_theta": 1e6
        })
    }

    #[test]
    fn a_hugging_face_config_is_read_and_survives_a_round_trip() {
        let config = MoeConfig::from_json(sample().to_string().as_bytes()).unwrap();
        assert_eq!(config.eos_token_id.as_ref().map(EosIds::as_slice), Some(&[1, 2][..]));
        let again = MoeConfig::from_json(config.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(config, again);
    }

    #[test]
    fn windows_and_other_families_are_refused_by_name() {
        let mut value = sample();
        value["use_sliding_window"] = true.into();
        let error = MoeConfig::from_json(value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, ConfigError::Unsupported { field: "use_sliding_window", .. }));
        let mut value = sample();
        value["model_type"] = "deepseek_v3".into();
        let error = MoeConfig::from_json(value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, ConfigError::ModelType(name) if name == "deepseek_v3"));
    }
}
