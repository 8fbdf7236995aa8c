//! Generation: what obeys a grammar, what is saved, and what ends it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use half::{bf16, f16};
use runtime::engine::{Completion, Engine, EngineError, Finish, ModelFiles, Request};
use runtime::grammar::{Grammar, GrammarError};
use runtime::model::Storage;
use runtime::tokenizer::{Prompt, TokenizerError};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

fn call_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "call": {"const": "loan_payment"},
            "arguments": {
                "type": "object",
                "properties": {
                    "amount": {"type": "integer", "minimum": 0, "maximum": 99999},
                    "kind": {"enum": ["alpha", "beta", "每月還款"]},
                    "note": {"type": "string", "maxLength": 12}
                },
                "required": ["amount", "kind", "note"],
                "additionalProperties": false
            }
        },
        "required": ["call", "arguments"],
        "additionalProperties": false
    })
}

fn prompt(user: &str) -> Prompt {
    Prompt::new()
        .special("tools")
        .text("loan_payment(amount, kind, note): works out the monthly payment of a loan")
        .special("user")
        .text(user)
        .special("plan")
}

fn generate(
    engine: &Engine,
    prompt: &Prompt,
    grammar: &Grammar,
) -> Result<Completion, EngineError> {
    engine.generate(&Request { prompt, grammar, max_tokens: 200, deadline: None, cancel: None })
}

#[test]
fn a_call_is_complete_and_its_fixed_parts_are_forced() {
    let engine = common::engine(3);
    let grammar = Grammar::from_json_schema(&call_schema());
    let out = generate(&engine, &prompt("35 thousand, please"), &grammar).unwrap();
    assert_eq!(out.finish, Finish::Complete);
    let value: Value = serde_json::from_str(&out.text).unwrap();
    assert_eq!(value["call"], "loan_payment");
    assert!(
        out.text.starts_with(r#"{"call":"loan_payment","arguments":{"amount":"#),
        "{}",
        out.text
    );
    assert!(out.usage.forced_tokens >= 5 && out.usage.decoded_tokens >= 3, "{:?}", out.usage);
    assert!(out.confidence > 0.0 && out.confidence <= 1.0);
    assert!(out.least_probability <= out.confidence);
}

#[test]
fn the_second_request_reuses_the_common_beginning_and_says_the_same() {
    let grammar = Grammar::from_json_schema(&call_schema());
    let warm = common::engine(5);
    let cold = common::engine(5);
    generate(&warm, &prompt("a first request"), &grammar).unwrap();
    let reused = generate(&warm, &prompt("quite another one"), &grammar).unwrap();
    let fresh = generate(&cold, &prompt("quite another one"), &grammar).unwrap();
    assert!(reused.usage.cached_tokens > 20, "{:?}", reused.usage);
    assert_eq!(fresh.usage.cached_tokens, 0);
    assert_eq!(reused.text, fresh.text);
    assert!((reused.confidence - fresh.confidence).abs() < 1e-3);
}

#[test]
fn forced_tokens_do_not_change_what_the_model_would_see() {
    // Scoring token by token what was generated must give the confidence that was reported.
    let engine = common::engine(8);
    let grammar = Grammar::from_lark("start: \"a\" | \"b\"");
    let p = prompt("choose");
    let out = generate(&engine, &p, &grammar).unwrap();
    let a = engine.score(&p, "a").unwrap().log_prob;
    let b = engine.score(&p, "b").unwrap().log_prob;
    let best = a.max(b);
    let expected = 1.0 / (1.0 + (a.min(b) - best).exp());
    assert_eq!(out.text, if a > b { "a" } else { "b" });
    assert!((out.confidence - expected).abs() < 1e-3, "{} {expected}", out.confidence);
}

#[test]
fn scores_agree_with_the_logits() {
    let engine = common::engine(8);
    let tokens = engine.tokenizer().encode("the name of the list").unwrap();
    let (first, rest) = tokens.split_at(2);
    let prefix = engine.tokenizer().decode(first).unwrap();
    let rest_text = engine.tokenizer().decode(rest).unwrap();
    let logits = engine.logits(&tokens).unwrap();
    let vocab = engine.config().vocab_size;
    let mut expected = 0.0;
    for (at, token) in tokens.iter().enumerate().skip(2) {
        let row = &logits[(at - 1) * vocab..at * vocab];
        let sum: f32 = row.iter().map(|l| l.exp()).sum();
        expected += row[*token as usize] - sum.ln();
    }
    let score = engine.score(&Prompt::from(prefix.as_str()), &rest_text).unwrap();
    assert_eq!(score.tokens, rest.len());
    assert!((score.log_prob - expected).abs() < 1e-2, "{score:?} {expected}");
}

/// Rewrites a checkpoint of f32 numbers in another format.
fn converted(bytes: &[u8], dtype: Dtype, write: impl Fn(f32, &mut Vec<u8>)) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(name, tensor)| {
            let mut out = Vec::new();
            for number in tensor.data().as_chunks().0 {
                write(f32::from_le_bytes(*number), &mut out);
            }
            (name.to_owned(), tensor.shape().to_vec(), out)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, data)| (name, TensorView::new(dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn logits_of(weights: Vec<u8>, tokens: &[u32]) -> Vec<f32> {
    let mut files = common::files(11, Storage::F32);
    files.weights = vec![weights.into()];
    Engine::load(&files).unwrap().logits(tokens).unwrap()
}

#[test]
fn sixteen_bit_weights_are_computed_in_full_precision() {
    let tokens: Vec<u32> = (20..80).collect();
    let full = common::files(11, Storage::F32).weights[0].to_vec();
    let f16_file =
        converted(&full, Dtype::F16, |v, out| out.extend(f16::from_f32(v).to_le_bytes()));
    let f16_wide =
        converted(&full, Dtype::F32, |v, out| out.extend(f16::from_f32(v).to_f32().to_le_bytes()));
    let bf16_file =
        converted(&full, Dtype::BF16, |v, out| out.extend(bf16::from_f32(v).to_le_bytes()));
    let bf16_wide =
        converted(&full, Dtype::F32, |v, out| out.extend(bf16::from_f32(v).to_f32().to_le_bytes()));
    let f16_logits = logits_of(f16_file, &tokens);
    assert_eq!(f16_logits, logits_of(f16_wide, &tokens));
    assert_eq!(logits_of(bf16_file, &tokens), logits_of(bf16_wide, &tokens));

    // Rounding may turn a close choice of expert at single tokens; most tokens hardly notice it.
    let full = logits_of(full, &tokens);
    let vocab = full.len() / tokens.len();
    let mut worst: Vec<f32> = full
        .chunks(vocab)
        .zip(f16_logits.chunks(vocab))
        .map(|(a, b)| a.iter().zip(b).fold(0.0, |m, (x, y)| f32::max(m, (x - y).abs())))
        .collect();
    worst.sort_by(f32::total_cmp);
    assert!(worst[0] > 0.0 && worst[worst.len() / 2] < 0.01, "{worst:?}");
}

#[test]
fn text_ends_at_the_limit_the_deadline_and_the_cancellation() {
    let engine = common::engine(3);
    let grammar = Grammar::free_text();
    let p = prompt("talk");
    let base =
        Request { prompt: &p, grammar: &grammar, max_tokens: 7, deadline: None, cancel: None };
    let out = engine.generate(&base).unwrap();
    assert!(out.usage.decoded_tokens <= 7);
    let late = Request { deadline: Some(Instant::now()), ..base };
    assert!(matches!(engine.generate(&late), Err(EngineError::Deadline { .. })));
    let flag = AtomicBool::new(true);
    let cancelled = Request { cancel: Some(&flag), ..base };
    assert!(matches!(engine.generate(&cancelled), Err(EngineError::Cancelled)));
}

#[test]
fn what_cannot_be_compiled_is_said_by_name() {
    let engine = common::engine(3);
    let schema = json!({"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}});
    let error = generate(&engine, &prompt("x"), &Grammar::from_json_schema(&schema)).unwrap_err();
    match error {
        EngineError::Grammar(GrammarError::Compile(reason)) => {
            assert!(reason.contains("if"), "{reason}");
        }
        other => panic!("{other}"),
    }
    let error = generate(&engine, &prompt("x"), &Grammar::from_lark("start: (")).unwrap_err();
    assert!(matches!(error, EngineError::Grammar(GrammarError::Compile(_))), "{error}");
}

#[test]
fn unknown_specials_and_empty_prompts_are_refused() {
    let engine = common::engine(3);
    let grammar = Grammar::free_text();
    let error = generate(&engine, &Prompt::new().special("nope"), &grammar).unwrap_err();
    assert!(matches!(error, EngineError::Tokenizer(TokenizerError::UnknownSpecial(_))));
    let error = generate(&engine, &Prompt::new(), &grammar).unwrap_err();
    assert!(matches!(error, EngineError::EmptyPrompt));
}

#[test]
fn threads_share_one_engine() {
    let engine = Arc::new(common::engine(3));
    let grammar = Grammar::from_json_schema(&call_schema());
    let alone = generate(&engine, &prompt("same"), &grammar).unwrap().text;
    let texts: Vec<String> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| generate(&engine, &prompt("same"), &grammar).unwrap().text))
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert!(texts.iter().all(|text| *text == alone));
}

#[test]
fn a_folder_and_embedded_files_load_alike() {
    let files = common::files(3, Storage::F16);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), &files.config).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), &files.tokenizer).unwrap();
    assert!(matches!(ModelFiles::from_folder(folder.path()), Err(EngineError::Io { .. })));
    std::fs::write(folder.path().join("model.safetensors"), &files.weights[0]).unwrap();
    let read = Engine::load(&ModelFiles::from_folder(folder.path()).unwrap()).unwrap();
    let given = Engine::load(&files).unwrap();
    assert_eq!(read.logits(&[5, 6]).unwrap(), given.logits(&[5, 6]).unwrap());
}
