//! The tokenizer that a GGUF file carries, as a `tokenizer.json`.
//!
//! # Source
//! Keys: `docs/gguf.md` of ggml. How text is cut before merges: `src/llama-vocab.cpp` of llama.cpp, by the name
//! in `tokenizer.ggml.pre`.

use serde_json::{Map, Value as Json, json};

use super::{Gguf, GgufError, Value};

/// `LLAMA_TOKEN_TYPE_*`.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// How `qwen2` cuts text.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How `llama-bpe` cuts text: as `qwen2`, but for numbers of up to three digits.
const LLAMA: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Returns the text of a `tokenizer.json` with the file's vocabulary.
///
/// # Errors
/// [`GgufError::Key`] ⇐ a key is missing; [`GgufError::Form`] ⇐ another kind of vocabulary than byte-level BPE, or
/// a way of cutting text that is not known here.
pub(crate) fn tokenizer_json(file: &Gguf) -> Result<String, GgufError> {
    let key = |key: &str| file.get(key).ok_or_else(|| GgufError::Key(key.to_owned()));
    let kind = key("tokenizer.ggml.model")?.text().unwrap_or("?");
    if kind != "gpt2" {
        return Err(GgufError::Form(format!(
            "its vocabulary is of kind `{kind}`; byte-level BPE (`gpt2`) is read"
        )));
    }
    let pre = file.get("tokenizer.ggml.pre").and_then(Value::text).unwrap_or("gpt-2");
    let tokens = key("tokenizer.ggml.tokens")?.array().unwrap_or_default();
    let types = file.get("tokenizer.ggml.token_type").and_then(Value::array).unwrap_or_default();
    let merges = key("tokenizer.ggml.merges")?.array().unwrap_or_default();
    let (mut vocab, mut added) = (Map::new(), Vec::new());
    for (id, token) in tokens.iter().enumerate() {
        let Some(token) = token.text() else { continue };
        let kind = types.get(id).and_then(Value::size).unwrap_or(1);
        if matches!(kind, CONTROL | USER_DEFINED) {
            added.push(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": kind == CONTROL,
            }));
        }
        vocab.insert(token.to_owned(), id.into());
    }
    // A merge that gives no token cannot apply.
    let known = |merge: &&str| {
        merge.split_once(' ').is_some_and(|(left, right)| {
            let all = [left, right, &format!("{left}{right}")];
            all.iter().all(|piece| vocab.contains_key(*piece))
        })
    };
    let merges: Vec<&str> = merges.iter().filter_map(Value::text).filter(known).collect();
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "post_processor": null, "added_tokens": added, "pre_tokenizer": pre_tokenizer(pre)?,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    });
    Ok(json.to_string())
}

fn byte_level(regex: bool) -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex})
}

fn pre_tokenizer(name: &str) -> Result<Json, GgufError> {
    let split = |pattern: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            byte_level(false),
        ]})
    };
    match name {
        "gpt-2" | "olmo" => Ok(byte_level(true)),
        "qwen2" => Ok(split(QWEN2)),
        "llama-bpe" => Ok(split(LLAMA)),
        other => Err(GgufError::Form(format!(
            "it cuts text as `{other}`; known are gpt-2, olmo, qwen2 and llama-bpe"
        ))),
    }
}
