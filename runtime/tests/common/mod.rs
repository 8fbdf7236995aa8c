//! A small planner with random weights and a vocabulary trained on a few lines.

use std::borrow::Cow;

use runtime::config::MoeConfig;
use runtime::engine::{Engine, ModelFiles};
use runtime::model::{Storage, random_checkpoint};
use runtime::tokenizer::{BpeOptions, Tokenizer, train_bpe};
use serde_json::json;

const CORPUS: [&str; 6] = [
    r#"{"call":"loan_payment","arguments":{"amount":35000,"rate":0.0649,"months":60}}"#,
    r#"{"call":"bill_estimate","arguments":{"usage":450.5,"from":"2026-01-01","peak":true}}"#,
    r#"{"ask":"which month do you mean?"} {"answer":null,"items":["a","b"],"kind":"alpha"}"#,
    "please work out the monthly payment of a loan of 35 thousand at 6.49% over five years",
    "請計算每月還款額 請計算電費 请计算每月还款额 三百萬 每月還款",
    "the name of the kind and the items of the list, name and kind, items and list",
];

/// Vocabulary of the test planners.
pub(crate) fn tokenizer() -> Tokenizer {
    let options = BpeOptions {
        vocab_size: 480,
        special: vec!["<|end|>".into(), "<|tools|>".into(), "<|user|>".into(), "<|plan|>".into()],
        ..BpeOptions::default()
    };
    train_bpe(CORPUS, &options).unwrap()
}

/// Shape of the test planners; four logits more than the vocabulary has tokens.
pub(crate) fn config(vocab: usize) -> MoeConfig {
    let text = json!({
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "moe_intermediate_size": 48, "num_experts": 4,
        "num_experts_per_tok": 2, "norm_topk_prob": true, "vocab_size": vocab + 4,
        "max_position_embeddings": 2048, "tie_word_embeddings": true,
    });
    MoeConfig::from_json(text.to_string().as_bytes()).unwrap()
}

/// The files of a planner whose weights come from `seed`.
pub(crate) fn files(seed: u64, storage: Storage) -> ModelFiles {
    let tokenizer = tokenizer();
    let config = config(tokenizer.vocab_size());
    ModelFiles {
        config: Cow::Owned(config.to_json().unwrap().into_bytes()),
        tokenizer: Cow::Owned(tokenizer.to_json().unwrap().into_bytes()),
        weights: vec![Cow::Owned(random_checkpoint(&config, seed, storage).unwrap())],
        intents: None,
    }
}

/// A planner whose weights come from `seed`.
pub(crate) fn engine(seed: u64) -> Engine {
    Engine::load(&files(seed, Storage::F32)).unwrap()
}
