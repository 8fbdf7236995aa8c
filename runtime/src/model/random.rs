//! Checkpoints with random weights, for benchmarks and tests of speed and form rather than sense.

use std::collections::BTreeMap;

use half::f16;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::ModelError;
use crate::config::{MoeConfig, names};

/// How the numbers of a checkpoint are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Four bytes each.
    F32,
    /// Two bytes each.
    F16,
}

/// Returns the bytes of a safetensors file that fits `config`; the same seed gives the same file.
///
/// # Errors
/// [`ModelError::Config`] ⇐ a shape that cannot be run; [`ModelError::Safetensors`] ⇐ the file
/// cannot be written.
pub fn random_checkpoint(
    config: &MoeConfig,
    seed: u64,
    storage: Storage,
) -> Result<Vec<u8>, ModelError> {
    config.validate()?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut tensors = BTreeMap::new();
    for (name, shape) in shapes(config) {
        let norm = shape.len() == 1;
        // Of unit variance after a product with `fan_in` inputs.
        let scale = (3.0 / *shape.last().unwrap_or(&1) as f32).sqrt();
        let values = (0..shape.iter().product::<usize>())
            .map(|_| if norm { 1.0 } else { random.random_range(-scale..scale) });
        let bytes: Vec<u8> = match storage {
            Storage::F32 => values.flat_map(f32::to_le_bytes).collect(),
            Storage::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
        };
        tensors.insert(name, (shape, bytes));
    }
    let dtype = match storage {
        Storage::F32 => Dtype::F32,
        Storage::F16 => Dtype::F16,
    };
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| Ok((name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(ModelError::Safetensors)?;
    safetensors::serialize(views, None).map_err(ModelError::Safetensors)
}

/// Returns name and shape of every tensor of a checkpoint of this configuration.
pub fn shapes(config: &MoeConfig) -> Vec<(String, Vec<usize>)> {
    let (d, hd) = (config.hidden_size, config.head_dim);
    let (q, kv) = (config.num_attention_heads * hd, config.num_key_value_heads * hd);
    let mut out = vec![
        (names::EMBED.to_owned(), vec![config.vocab_size, d]),
        (names::FINAL_NORM.to_owned(), vec![d]),
    ];
    if !config.tie_word_embeddings {
        out.push((names::LM_HEAD.to_owned(), vec![config.vocab_size, d]));
    }
    for layer in 0..config.num_hidden_layers {
        out.push((names::input_norm(layer), vec![d]));
        out.push((names::post_norm(layer), vec![d]));
        for (which, rows) in [('q', q), ('k', kv), ('v', kv)] {
            out.push((names::projection(layer, which), vec![rows, d]));
        }
        out.push((names::projection(layer, 'o'), vec![d, q]));
        out.push((names::head_norm(layer, 'q'), vec![hd]));
        out.push((names::head_norm(layer, 'k'), vec![hd]));
        let mut swiglu = |name: &dyn Fn(&str) -> String, inner: usize| {
            out.push((name("gate"), vec![inner, d]));
            out.push((name("up"), vec![inner, d]));
            out.push((name("down"), vec![d, inner]));
        };
        if config.is_sparse(layer) {
            for expert in 0..config.num_experts {
                swiglu(&|w| names::expert(layer, expert, w), config.moe_intermediate_size);
            }
            out.push((names::router(layer), vec![config.num_experts, d]));
        } else {
            swiglu(&|w| names::dense(layer, w), config.intermediate_size);
        }
    }
    out
}
