//! The folder that `AutoModelForCausalLM` and `AutoTokenizer` of `transformers` load as it is.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::{ExportError, Parts, io};
use crate::engine::ModelFiles;
use crate::model::{ModelError, shapes};

const FORM: &str = "transformers";

/// Writes `config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json`,
/// `tokenizer_config.json` and `special_tokens_map.json` into `folder`, which is made when absent.
/// The numbers keep the format they are stored in.
///
/// A program that tokenizes text there finds special tokens in text, which this crate never does;
/// text of strangers is safe only when its tokens are made piece by piece.
///
/// # Errors
/// [`ExportError::Config`], [`ExportError::Model`], [`ExportError::Tokenizer`] ⇐ a file is refused;
/// [`ExportError::Form`] ⇐ no token ends a text; [`ExportError::Io`] ⇐ the folder cannot be written.
pub fn safetensors(files: &ModelFiles, folder: &Path) -> Result<(), ExportError> {
    let parts = Parts::of(files, FORM)?;
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(io(&path))
    };
    let number_format = weights(&parts, files, &folder.join("model.safetensors"))?;
    write("config.json", pretty(&config(&parts, &number_format)?).as_bytes())?;
    write("generation_config.json", pretty(&generation(&parts)).as_bytes())?;
    write("tokenizer.json", &files.tokenizer)?;
    let specials = specials(&parts)?;
    write("tokenizer_config.json", pretty(&tokenizer_config(&parts, &specials)).as_bytes())?;
    write("special_tokens_map.json", pretty(&Value::Object(specials)).as_bytes())
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Writes the tensors that the configuration asks for and no others, and returns the name of their
/// number format.
fn weights(parts: &Parts, files: &ModelFiles, path: &Path) -> Result<String, ExportError> {
    let shards: Vec<SafeTensors<'_>> = files
        .weights
        .iter()
        .map(|bytes| SafeTensors::deserialize(bytes).map_err(ModelError::Safetensors))
        .collect::<Result<_, _>>()?;
    let tensors: Vec<(String, TensorView<'_>)> = shapes(&parts.config)
        .into_iter()
        .map(|(name, expected)| {
            let found = shards.iter().find_map(|shard| shard.tensor(&name).ok());
            let tensor = found.ok_or_else(|| ModelError::Missing(name.clone()))?;
            if tensor.shape() != expected {
                let found = tensor.shape().to_vec();
                return Err(ModelError::Shape { name, found, expected });
            }
            Ok((name, tensor))
        })
        .collect::<Result<_, ModelError>>()?;
    let format = match tensors.first().map(|(_, tensor)| tensor.dtype()) {
        Some(safetensors::Dtype::F16) => "float16",
        Some(safetensors::Dtype::BF16) => "bfloat16",
        _ => "float32",
    };
    // `transformers` refuses a file that does not say by which library's layout it was written.
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(about), path)
        .map_err(|error| io(path)(std::io::Error::other(error)))?;
    Ok(format.to_owned())
}

fn config(parts: &Parts, number_format: &str) -> Result<Value, ExportError> {
    let mut config = parts.config.clone();
    config.torch_dtype = Some(number_format.to_owned());
    let json = |error| ExportError::Config(crate::config::ConfigError::Json(error));
    let mut value: Value = serde_json::from_str(&config.to_json()?).map_err(json)?;
    value["eos_token_id"] = json!(parts.end);
    value["pad_token_id"] = json!(parts.end);
    value["bos_token_id"] = Value::Null;
    value["use_cache"] = json!(true);
    Ok(value)
}

/// Greedy, as the planner runs here.
fn generation(parts: &Parts) -> Value {
    json!({ "do_sample": false, "eos_token_id": parts.end, "pad_token_id": parts.end })
}

/// The roles of special tokens; the frame of the prompt has no role that `transformers` knows.
fn specials(parts: &Parts) -> Result<serde_json::Map<String, Value>, ExportError> {
    let token = |id: u32| {
        parts.tokenizer.token(id).ok_or_else(|| ExportError::Form {
            form: FORM,
            reason: format!("the vocabulary has no token {id}, which ends a text"),
        })
    };
    let end = token(parts.end)?;
    let frame: Vec<String> = parts
        .tokenizer
        .specials()
        .into_iter()
        .map(|(_, name)| name)
        .filter(|n| *n != end)
        .collect();
    let mut map = serde_json::Map::new();
    map.insert("eos_token".to_owned(), json!(end));
    map.insert("pad_token".to_owned(), json!(end));
    map.insert("additional_special_tokens".to_owned(), json!(frame));
    Ok(map)
}

fn tokenizer_config(parts: &Parts, specials: &serde_json::Map<String, Value>) -> Value {
    let mut value = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": parts.config.max_position_embeddings,
        "clean_up_tokenization_spaces": false,
    });
    for (name, token) in specials {
        value[name] = token.clone();
    }
    value
}
