//! Models of GGUF files: their keys as a configuration, their tensors as weights.
//!
//! # Source
//! Names of keys and tensors: `gguf-py/gguf/constants.py` of llama.cpp. Its converter stores the rows of
//! queries and keys of the `llama` architecture in the order of rotated pairs; they are put back here.

use super::ModelError;
use super::weights::{Place, Source, expert_of};
use crate::config::{Family, MoeConfig, names};
use crate::gguf::{Entry, Gguf, GgufError, Numbers, Value};
use crate::kernel::{Matrix, Stored, Tiles};

/// The weights of a GGUF file.
pub(super) struct GgufWeights<'a> {
    file: &'a Gguf,
    config: &'a MoeConfig,
}

impl<'a> GgufWeights<'a> {
    pub(super) fn new(file: &'a Gguf, config: &'a MoeConfig) -> Self {
        Self { file, config }
    }

    fn place(&self, name: &str) -> Place {
        if let Some((layer, expert, which)) = expert_of(name) {
            let name = format!("blk.{layer}.ffn_{which}_exps.weight");
            return Place { name, part: expert, of: self.config.num_experts };
        }
        Place::whole(gguf_name(name))
    }

    fn find(&self, name: &str) -> Result<(Place, &Entry, Numbers), ModelError> {
        let place = self.place(name);
        let entry =
            self.file.entry(&place.name).ok_or_else(|| ModelError::Missing(place.name.clone()))?;
        let numbers = entry.numbers.map_err(|kind| ModelError::Format {
            name: place.name.clone(),
            found: format!("ggml type {kind}"),
        })?;
        Ok((place, entry, numbers))
    }

    /// Reads rows of `width` numbers.
    fn rows(
        &self,
        name: &str,
        rows: usize,
        width: usize,
    ) -> Result<(Numbers, Vec<u8>), ModelError> {
        let (place, entry, numbers) = self.find(name)?;
        let all: usize = entry.shape.iter().product();
        if all != rows * width * place.of || entry.shape.last() != Some(&width) {
            return Err(ModelError::Shape {
                name: place.name,
                found: entry.shape.clone(),
                expected: vec![rows, width],
            });
        }
        let bytes = self.file.read(entry, (place.part, place.of))?;
        let llama = matches!(self.config.family(), Family::Mixtral | Family::GraniteMoe);
        let turned = [".attn_q.", ".attn_k."].iter().any(|part| place.name.contains(part));
        if llama && turned {
            return Ok((numbers, unpaired(&bytes, rows, self.config.head_dim)));
        }
        Ok((numbers, bytes))
    }
}

/// Puts rows that stand in pairs `(i, i + half)` of each head back into the order of the head.
fn unpaired(bytes: &[u8], rows: usize, head: usize) -> Vec<u8> {
    let size = bytes.len() / rows.max(1);
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        let (start, within) = (row / head * head, row % head);
        let from = start + 2 * (within % (head / 2)) + within / (head / 2);
        out.extend_from_slice(&bytes[from * size..][..size]);
    }
    out
}

impl Source for GgufWeights<'_> {
    fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let width = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().product::<usize>() / width.max(1);
        let (numbers, bytes) = self.rows(name, rows, width)?;
        Ok(numbers.widen(&bytes))
    }

    fn matrix(&self, parts: &[(String, usize)], width: usize) -> Result<Matrix, ModelError> {
        let read = parts.iter().map(|(name, rows)| self.rows(name, *rows, width));
        let read: Vec<(Numbers, Vec<u8>)> = read.collect::<Result<_, _>>()?;
        let stored: Option<Vec<Stored<'_>>> = read
            .iter()
            .zip(parts)
            .map(|((numbers, bytes), (_, rows))| match numbers {
                Numbers::Packed(packing) => Some(Stored { packing: *packing, rows: *rows, bytes }),
                _ => None,
            })
            .collect();
        if let Some(tiles) = stored.and_then(|parts| Tiles::new(&parts, width)) {
            return Ok(Matrix { tiles: Some(tiles), ..Matrix::default() });
        }
        let mut matrix = Matrix::default();
        let halves = read.iter().all(|(numbers, _)| *numbers == Numbers::F16);
        for (numbers, bytes) in &read {
            matrix.full.extend(numbers.widen(bytes));
            if halves {
                let bits = bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b));
                matrix.half.extend(bits);
            }
        }
        if matrix.full.iter().any(|v| !v.is_finite()) {
            matrix.half = Vec::new();
        }
        Ok(matrix)
    }
}

/// The name that GGUF gives a tensor that belongs to no single expert.
fn gguf_name(name: &str) -> String {
    match name {
        names::EMBED => return "token_embd.weight".to_owned(),
        names::FINAL_NORM => return "output_norm.weight".to_owned(),
        names::LM_HEAD => return "output.weight".to_owned(),
        _ => {}
    }
    let rest = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let Some((layer, rest)) = rest else { return name.to_owned() };
    let to = [
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate.", "ffn_gate_inp."),
        ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
        ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
        ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
        ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let found = to.iter().find_map(|(from, to)| Some(format!("{to}{}", rest.strip_prefix(from)?)));
    format!("blk.{layer}.{}", found.unwrap_or_else(|| rest.to_owned()))
}

/// Reads a file's keys as a configuration.
///
/// # Errors
/// [`ModelError::Gguf`] ⇐ a key is missing; [`ModelError::Config`] ⇐ an architecture that does not run.
pub fn gguf_config(file: &Gguf) -> Result<MoeConfig, ModelError> {
    let missing = |key: &str| ModelError::Gguf(GgufError::Key(key.to_owned()));
    let architecture = "general.architecture";
    let architecture =
        file.get(architecture).and_then(Value::text).ok_or_else(|| missing(architecture))?;
    let key = |name: &str| format!("{architecture}.{name}");
    let size = |name: &str| file.get(&key(name)).and_then(Value::size);
    let number = |name: &str| file.get(&key(name)).and_then(Value::number);
    let need = |name: &str| size(name).ok_or_else(|| missing(&key(name)));
    let model_type = match architecture {
        "qwen3moe" => "qwen3_moe",
        "qwen2moe" => "qwen2_moe",
        "llama" => "mixtral",
        "granitemoe" => "granitemoe",
        other => other,
    };
    let embedding = file.entry("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
    let vocab = embedding.shape.first().copied().unwrap_or(0);
    let heads = need("attention.head_count")?;
    let hidden = need("embedding_length")?;
    let end = file.get("tokenizer.ggml.eos_token_id").and_then(Value::size);
    let inner =
        size("expert_feed_forward_length").map_or_else(|| need("feed_forward_length"), Ok)?;
    let json = serde_json::json!({
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": need("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": size("attention.head_count_kv").unwrap_or(heads),
        "head_dim": size("attention.key_length").unwrap_or(hidden / heads.max(1)),
        "moe_intermediate_size": inner,
        "intermediate_size": size("feed_forward_length").unwrap_or(inner),
        "num_experts": need("expert_count")?,
        "num_experts_per_tok": need("expert_used_count")?,
        // llama.cpp scales the chosen experts' weights to one in these architectures only.
        "norm_topk_prob": matches!(architecture, "qwen3moe" | "llama" | "granitemoe"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon").unwrap_or(1e-6),
        "rope_theta": number("rope.freq_base").unwrap_or(10_000.0),
        "vocab_size": vocab,
        "tie_word_embeddings": file.entry("output.weight").is_none(),
        "max_position_embeddings": size("context_length").unwrap_or(32_768),
        "shared_expert_intermediate_size": size("expert_shared_feed_forward_length").unwrap_or(0),
        "embedding_multiplier": number("embedding_scale"),
        "attention_multiplier": number("attention.scale"),
        "residual_multiplier": number("residual_scale"),
        "logits_scaling": number("logit_scale"),
        "eos_token_id": end,
    });
    Ok(MoeConfig::from_json(json.to_string().as_bytes())?)
}
