//! GGUF files: what the export writes is read back, in few bits as well, and damage is an error.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use runtime::engine::{Engine, EngineError, ModelFiles, Request};
use runtime::export::{Numbers, gguf};
use runtime::gguf::{Gguf, GgufError};
use runtime::grammar::Grammar;
use runtime::model::Model;
use runtime::tokenizer::Prompt;
use serde_json::json;

fn fixture() -> ModelFiles {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/export");
    ModelFiles::from_folder(&folder).unwrap()
}

fn write(folder: &Path, numbers: Numbers) -> PathBuf {
    let path = folder.join("model.gguf");
    gguf(&fixture(), "fixture", numbers, &path).unwrap();
    path
}

fn tokens() -> Vec<u32> {
    (0..90).map(|i| i * 37 % 880 + 10).collect()
}

/// Largest difference of the logits relative to the largest logit.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let largest = a.iter().fold(0f32, |most, v| most.max(v.abs()));
    a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn an_exported_planner_gives_the_same_logits_and_texts_from_its_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let own = Engine::load(&fixture()).unwrap();
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["name", "n"],
        "properties": {"name": {"type": "string", "maxLength": 12}, "n": {"type": "integer"}}});
    let grammar = Grammar::from_json_schema(&schema);
    for numbers in [Numbers::F16, Numbers::F32] {
        let read = Engine::from_gguf(&write(folder.path(), numbers)).unwrap();
        let (a, b) = (own.logits(&tokens()).unwrap(), read.logits(&tokens()).unwrap());
        assert!(difference(&a, &b) < 1e-5, "{numbers:?}");
        for text in ["Price of plan B12?", "電費是多少 for 3 kW", "it's what's left, isn't it"]
        {
            let prompt = Prompt::new().text(text);
            let request = |engine: &Engine| {
                let request = Request {
                    prompt: &prompt,
                    grammar: &grammar,
                    max_tokens: 40,
                    deadline: None,
                    cancel: None,
                };
                engine.generate(&request).unwrap().text
            };
            assert_eq!(request(&own), request(&read), "{numbers:?} {text}");
        }
    }
}

/// Most tokens' logits are near; a few differ where rounding turned a close choice between two experts.
fn near(a: &[f32], b: &[f32]) {
    let mut each: Vec<f32> =
        a.chunks(900).zip(b.chunks(900)).map(|(a, b)| difference(a, b)).collect();
    each.sort_by(f32::total_cmp);
    assert!(each[each.len() / 2] < 0.06, "half of the tokens: {}", each[each.len() / 2]);
    assert!(each[each.len() * 17 / 20] < 0.12, "17 of 20: {}", each[each.len() * 17 / 20]);
}

#[test]
fn eight_bits_stay_near_the_logits_of_full_precision_in_prefill_and_in_decode() {
    let folder = tempfile::tempdir().unwrap();
    let own = Engine::load(&fixture()).unwrap().logits(&tokens()).unwrap();
    let path = write(folder.path(), Numbers::Q8);
    let many = Engine::from_gguf(&path).unwrap().logits(&tokens()).unwrap();
    near(&own, &many);
    let model = Model::from_gguf(&Gguf::open(&path).unwrap()).unwrap();
    let (mut cache, mut scratch, mut one_by_one) = (model.cache(), Default::default(), Vec::new());
    for token in tokens() {
        let hidden = model.forward_last(&[token], &mut cache, &mut scratch).unwrap();
        let logits = model.logits(&hidden);
        for token in [0, 17, 899] {
            let one = model.logit(&hidden, token);
            assert!((one - logits[token as usize]).abs() < 1e-3, "{token}");
        }
        one_by_one.extend(logits);
    }
    near(&own, &one_by_one);
}

#[test]
fn generations_that_share_steps_give_the_texts_that_each_gives_alone() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::from_gguf(&write(folder.path(), Numbers::Q8)).unwrap();
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["name"],
        "properties": {"name": {"type": "string", "maxLength": 40}}});
    let grammar = Grammar::from_json_schema(&schema);
    let text = |i: usize| {
        let prompt = Prompt::new().text(format!("plan {} for site {i}", i * 7919));
        let request = Request {
            prompt: &prompt,
            grammar: &grammar,
            max_tokens: 30,
            deadline: None,
            cancel: None,
        };
        engine.generate_for(i as u64 % 3, &request).unwrap().text
    };
    // Three at a time: so few rows take the same kernel as one, which the last bit of a logit depends on.
    let alone: Vec<String> = (0..12).map(&text).collect();
    let before = engine.step_counts();
    let own = |thread: usize| -> Vec<String> { (4 * thread..4 * thread + 4).map(&text).collect() };
    let together: Vec<Vec<String>> = std::thread::scope(|scope| {
        let own = &own;
        let threads: Vec<_> = (0..3).map(|thread| scope.spawn(move || own(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together.concat());
    let after = engine.step_counts();
    let (steps, rows) = (after.steps - before.steps, after.rows - before.rows);
    assert!(rows * 2 > steps * 3, "{rows} rows in {steps} steps");
}

#[test]
fn one_who_gives_up_holds_up_nobody() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::from_gguf(&write(folder.path(), Numbers::Q8)).unwrap();
    let (flag, grammar) = (AtomicBool::new(false), Grammar::free_text());
    let run = |cancel: Option<&AtomicBool>, max_tokens: usize| {
        let prompt = Prompt::new().text("a story without end");
        let request =
            Request { prompt: &prompt, grammar: &grammar, max_tokens, deadline: None, cancel };
        engine.generate(&request)
    };
    std::thread::scope(|scope| {
        let endless = scope.spawn(|| run(Some(&flag), 3000));
        let short = scope.spawn(|| run(None, 20));
        short.join().unwrap().unwrap();
        flag.store(true, Ordering::Relaxed);
        let ended = endless.join().unwrap();
        // The model may have ended its text before it was told to.
        assert!(ended.is_ok() || matches!(ended, Err(EngineError::Cancelled)));
    });
    run(None, 5).unwrap();
}

#[test]
fn a_damaged_file_is_an_error_and_costs_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), Numbers::Q8);
    let whole = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.gguf");
    let load = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        Engine::from_gguf(&damaged).map(|_| ())
    };
    load(&whole).unwrap();
    for part in 0..40 {
        assert!(load(&whole[..whole.len() * part / 40]).is_err(), "{part}");
    }
    assert!(matches!(Gguf::open(folder.path()), Err(GgufError::Io { .. } | GgufError::Form(_))));
    // Any result is right for a changed byte of the header but a panic or an endless wait.
    let mut state = 12_345_u32;
    for _ in 0..300 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut bytes = whole.clone();
        let at = (state >> 8) as usize % 4096.min(bytes.len());
        bytes[at] ^= 1 << (state % 8);
        drop(load(&bytes));
    }
    // A length of 2⁶² texts.
    let mut bytes = whole.clone();
    bytes[16..24].copy_from_slice(&(1_u64 << 62).to_le_bytes());
    assert!(load(&bytes).is_err());
}
