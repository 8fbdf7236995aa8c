//! The planner in training and its files: fresh, continued from another, or from a checkpoint.

use std::path::Path;

use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::adam::Adam;
use super::data::Example;
use super::layout::Layout;
use super::{Options, TrainError, data};
use crate::config::{EosIds, MoeConfig, names};
use crate::engine::ModelFiles;
use crate::model::Storage;
use crate::tokenizer::Tokenizer;

/// Name of the file that training goes on from; not part of a planner.
const STATE: &str = "training.state";

/// A planner in training.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: MoeConfig,
    pub(super) layout: Layout,
    pub(super) tokenizer: Tokenizer,
    pub(super) weights: Vec<f32>,
    pub(super) adam: Adam,
    /// Share of the budget that earlier sittings spent.
    pub(super) spent: f64,
}

/// Makes or reads what training begins with.
///
/// # Errors
/// [`TrainError::Shape`] ⇐ the shape cannot be trained or the files do not fit each other;
/// [`TrainError::Start`], [`TrainError::Io`] ⇐ they cannot be read.
pub(super) fn start(examples: &[&Example], options: &Options) -> Result<State, TrainError> {
    let folder = if options.resume { Some(&options.out) } else { options.init.as_ref() };
    let (config, tokenizer) = match folder {
        Some(folder) => {
            let files = ModelFiles::from_folder(folder)?;
            let mut config = MoeConfig::from_json(&files.config)?;
            let mut tokenizer = Tokenizer::from_bytes(&files.tokenizer)?;
            if !options.resume {
                tokenizer = tokenizer.with_special(&data::specials(examples))?;
                config.vocab_size = config.vocab_size.max(tokenizer.vocab_size());
            }
            (config, tokenizer)
        }
        None => {
            let tokenizer = data::tokenizer(examples, options.vocab)?;
            (shape(options, &tokenizer)?, tokenizer)
        }
    };
    let layout = Layout::of(&config)
        .ok_or_else(|| TrainError::Shape("every layer must be sparse and the head tied".into()))?;
    let mut adam = Adam::new(layout.len);
    let mut spent = 0.0;
    let weights = match folder {
        Some(folder) if options.resume => {
            let (weights, moments, at) = read_state(folder, layout.len)?;
            adam = moments;
            spent = at;
            weights
        }
        Some(folder) => weights_of(folder, &layout)?,
        None => layout.fresh(&config, options.seed),
    };
    Ok(State { config, layout, tokenizer, weights, adam, spent })
}

fn shape(options: &Options, tokenizer: &Tokenizer) -> Result<MoeConfig, TrainError> {
    let head_dim = 32;
    let heads = options.hidden / head_dim;
    let config = serde_json::json!({
        "model_type": "qwen3_moe",
        "hidden_size": options.hidden,
        "num_hidden_layers": options.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": (heads / 2).max(1),
        "head_dim": head_dim,
        "moe_intermediate_size": options.inner,
        "num_experts": options.experts,
        "num_experts_per_tok": 2,
        "norm_topk_prob": true,
        "rope_theta": 10_000.0,
        "vocab_size": tokenizer.vocab_size(),
        "tie_word_embeddings": true,
        "max_position_embeddings": 4096,
        "torch_dtype": "float16",
    });
    let mut config = MoeConfig::from_json(config.to_string().as_bytes())?;
    config.eos_token_id = tokenizer.end_token().map(EosIds::One);
    Ok(config)
}

fn weights_of(folder: &Path, layout: &Layout) -> Result<Vec<f32>, TrainError> {
    let files = ModelFiles::from_folder(folder)?;
    let mut weights = vec![0.0; layout.len];
    let mut found = 0;
    for bytes in &files.weights {
        let shard = safetensors::SafeTensors::deserialize(bytes)
            .map_err(|e| TrainError::Shape(e.to_string()))?;
        for (name, shape, range) in &layout.tensors {
            let Ok(tensor) = shard.tensor(name) else { continue };
            let has = tensor.shape();
            // The vocabulary may have grown by tokens that the examples brought.
            let grown = name == names::EMBED && has[1..] == shape[1..] && has[0] <= shape[0];
            if has != shape.as_slice() && !grown {
                return Err(TrainError::Shape(format!("`{name}` has another shape")));
            }
            found += 1;
            let to = &mut weights[range.clone()];
            match tensor.dtype() {
                Dtype::F16 => {
                    to.iter_mut().zip(tensor.data().chunks_exact(2)).for_each(|(w, b)| {
                        *w = f16::from_le_bytes([b[0], b[1]]).to_f32();
                    });
                }
                Dtype::F32 => {
                    to.iter_mut().zip(tensor.data().chunks_exact(4)).for_each(|(w, b)| {
                        *w = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                    });
                }
                other => return Err(TrainError::Shape(format!("`{name}` is stored as {other:?}"))),
            }
            if grown {
                mean_rows(to, has[0], shape[1]);
            }
        }
    }
    if found != layout.tensors.len() {
        let missing = layout.tensors.len() - found;
        return Err(TrainError::Shape(format!("the checkpoint lacks {missing} tensors")));
    }
    Ok(weights)
}

/// Gives the rows after the first `known` the mean of those.
fn mean_rows(table: &mut [f32], known: usize, width: usize) {
    let (known_rows, new) = table.split_at_mut(known * width);
    let share = 1.0 / known.max(1) as f32;
    for row in new.chunks_mut(width) {
        for known in known_rows.chunks(width) {
            row.iter_mut().zip(known).for_each(|(a, b)| *a += b * share);
        }
    }
}

/// Returns the bytes of a safetensors file of the weights.
///
/// # Errors
/// [`TrainError::Shape`] ⇐ the library refuses a tensor.
pub(super) fn checkpoint(
    layout: &Layout,
    weights: &[f32],
    storage: Storage,
) -> Result<Vec<u8>, TrainError> {
    let fail = |e: safetensors::SafeTensorError| TrainError::Shape(e.to_string());
    let dtype = match storage {
        Storage::F32 => Dtype::F32,
        Storage::F16 => Dtype::F16,
    };
    let bytes: Vec<Vec<u8>> = layout
        .tensors
        .iter()
        .map(|(_, _, range)| {
            let values = weights[range.clone()].iter();
            match storage {
                Storage::F32 => values.flat_map(|v| v.to_le_bytes()).collect(),
                Storage::F16 => values.flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            }
        })
        .collect();
    let views = layout
        .tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| Ok((name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    safetensors::serialize(views, None).map_err(fail)
}

/// Writes the planner and what training goes on from.
///
/// # Errors
/// [`TrainError::Io`] ⇐ a file cannot be written.
pub(super) fn save(state: &State, folder: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| TrainError::Io { path: folder.display().to_string(), source })?;
    put(folder, "config.json", state.config.to_json()?.as_bytes())?;
    put(folder, "tokenizer.json", state.tokenizer.to_json()?.as_bytes())?;
    let weights = checkpoint(&state.layout, &state.weights, Storage::F16)?;
    put(folder, "model.safetensors", &weights)?;
    write_state(folder, &state.weights, &state.adam, state.spent)
}

/// Writes a file whole or not at all.
pub(super) fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
    let (path, draft) = (folder.join(name), folder.join(format!("{name}.part")));
    let fail = |source| TrainError::Io { path: path.display().to_string(), source };
    std::fs::write(&draft, bytes).map_err(fail)?;
    std::fs::rename(&draft, &path).map_err(fail)
}

/// Writes weights and moments.
fn write_state(folder: &Path, weights: &[f32], adam: &Adam, spent: f64) -> Result<(), TrainError> {
    let mut bytes = Vec::with_capacity(weights.len() * 12 + 12);
    bytes.extend(adam.step.to_le_bytes());
    bytes.extend(spent.to_le_bytes());
    for values in [weights, &adam.first, &adam.second] {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    put(folder, STATE, &bytes)
}

/// Reads what [`write_state`] wrote for a model of `len` weights.
fn read_state(folder: &Path, len: usize) -> Result<(Vec<f32>, Adam, f64), TrainError> {
    let path = folder.join(STATE);
    let bytes = std::fs::read(&path)
        .map_err(|source| TrainError::Io { path: path.display().to_string(), source })?;
    let damaged = || TrainError::Shape(format!("{STATE} does not fit the planner beside it"));
    let (head, body) = bytes.split_at_checked(12).ok_or_else(damaged)?;
    let step = i32::from_le_bytes(head[..4].try_into().map_err(|_| damaged())?);
    let spent = f64::from_le_bytes(head[4..].try_into().map_err(|_| damaged())?);
    if body.len() != len * 12 {
        return Err(damaged());
    }
    let mut values = body.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let mut take = || values.by_ref().take(len).collect::<Vec<f32>>();
    let (weights, first, second) = (take(), take(), take());
    Ok((weights, Adam { first, second, step }, spent))
}
