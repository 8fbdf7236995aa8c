//! Training end to end at toy size: it learns, repeats, resumes, and its files run in the engine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use runtime::engine::{Engine, ModelFiles};
use runtime::train::{Example, Options, Piece, Progress, TrainError, train};
use runtime::{Prompt, Segment};

const TOOLS: [(&str, &str); 6] = [
    ("loan_schedule", "loan"),
    ("pv_yield", "solar"),
    ("vin_decode", "vehicle"),
    ("draw_fair", "draw"),
    ("tariff_bill", "bill"),
    ("risk_var", "risk"),
];

/// Requests that name a task and tag two mentions; the plan names the tool and copies one mention.
fn examples() -> Vec<Example> {
    let mut all = Vec::new();
    for pair in 0..36 {
        let (first, second) = (TOOLS[pair % 6], TOOLS[(pair / 6 + pair + 1) % 6]);
        let head = format!("{} on {}\n{} on {}", first.0, first.1, second.0, second.1);
        for (turn, (tool, word)) in [first, second, first, second].into_iter().enumerate() {
            let (mention, kind) = if (pair + turn) % 2 == 0 { (1, "num") } else { (2, "id") };
            all.push(Example {
                prompt: vec![
                    Piece::Special("tools".into()),
                    Piece::Text(head.clone()),
                    Piece::Special("request".into()),
                    Piece::Text(format!("the {word} with the {kind} of [$1 num] or [$2 id]")),
                    Piece::Special("plan".into()),
                ],
                completion: format!(r#"{{"step":"{tool}","with":{{"a":"${mention}"}}}}"#),
                labels: vec![tool.into()],
                call: String::new(),
                places: std::collections::BTreeMap::new(),
                choices: Vec::new(),
                group: format!("toy/{tool}"),
                lang: if turn < 2 { "en".into() } else { "zh-Hant".into() },
                split: if pair % 9 == 8 { "heldout".into() } else { "train".into() },
                source: String::new(),
            });
        }
    }
    all
}

fn options(out: &Path, steps: usize) -> Options {
    Options {
        out: out.to_owned(),
        minutes: 1e6,
        steps: Some(steps),
        seed: 7,
        vocab: 360,
        hidden: 64,
        layers: 2,
        experts: 4,
        inner: 32,
        rate: 4e-3,
        pace: Duration::ZERO,
        ..Options::default()
    }
}

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

/// Decodes greedily through the engine, with no grammar to help.
fn decoded(engine: &Engine, example: &Example) -> String {
    let segments = example.prompt.iter().map(|piece| match piece {
        Piece::Special(name) => Segment::Special(name.clone()),
        Piece::Text(text) => Segment::Text(text.clone()),
    });
    let prompt = Prompt { segments: segments.collect() };
    let mut tokens = engine.tokenizer().encode_prompt(&prompt).unwrap();
    let start = tokens.len();
    while tokens.len() < start + 60 {
        let logits = engine.logits(&tokens).unwrap();
        let row = &logits[logits.len() - engine.config().vocab_size..];
        let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        if best == engine.end_token() as usize {
            break;
        }
        tokens.push(u32::try_from(best).unwrap());
    }
    engine.tokenizer().decode(&tokens[start..]).unwrap()
}

#[test]
fn a_copy_task_is_learnt_and_the_engine_decodes_what_the_report_counts() {
    let folder = tempfile::tempdir().unwrap();
    let all = examples();
    let mut losses = Vec::new();
    let report = train(&all, &options(folder.path(), 300), &mut |p| {
        losses.push(p.loss);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(losses.len(), 300);
    assert!(losses[299] < losses[0] / 20.0, "from {} to {}", losses[0], losses[299]);
    let total = report.total();
    assert!(total.right * 10 >= total.examples * 9, "{total:?}");

    let engine = Engine::load(&ModelFiles::from_folder(folder.path()).unwrap()).unwrap();
    let held: Vec<&Example> = all.iter().filter(|e| e.is_held_out()).collect();
    let right = held.iter().filter(|e| decoded(&engine, e) == e.completion).count();
    assert_eq!((right, held.len()), (total.right, total.examples));

    assert_eq!((report.intents.examples, report.intents.right), (held.len(), held.len()));
    let scores = engine.intents().score("toy", "the vehicle with the num of [$1 num]").unwrap();
    let best = scores.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(best.0, "vin_decode", "{scores:?}");

    let tokens: usize = report.load["toy"].iter().flatten().sum();
    assert!(tokens > 0 && report.by_language().len() == 2);
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("<polyline") && page.contains("toy/vin_decode"));
}

#[test]
fn the_same_seed_gives_the_same_weights_and_a_stopped_run_resumes_to_them() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = examples();
    train(&all, &options(whole.path(), 24), &mut go).unwrap();

    let stop_at_ten = &mut |p: Progress| if p.step == 10 { ControlFlow::Break(()) } else { go(p) };
    let stopped = train(&all, &options(parts.path(), 24), stop_at_ten);
    assert!(matches!(stopped, Err(TrainError::Stopped(10))), "{stopped:?}");
    assert_ne!(weights(whole.path()), weights(parts.path()));
    let resumed = Options { resume: true, ..options(parts.path(), 24) };
    let report = train(&all, &resumed, &mut go).unwrap();
    assert_eq!(weights(whole.path()), weights(parts.path()));
    assert_eq!(report.curve.iter().map(|p| p.0).collect::<Vec<_>>(), (1..=24).collect::<Vec<_>>());

    let other = tempfile::tempdir().unwrap();
    train(&all, &Options { seed: 8, ..options(other.path(), 24) }, &mut go).unwrap();
    assert_ne!(weights(whole.path()), weights(other.path()));
}

#[test]
fn training_from_a_planner_starts_where_it_left_off() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = examples();
    train(&all, &options(first.path(), 120), &mut go).unwrap();
    let mut loss = None;
    let more = Options { init: Some(first.path().to_owned()), ..options(second.path(), 3) };
    // Examples that do not say what they ask for leave the classifier as it is.
    let all: Vec<Example> =
        all.into_iter().map(|example| Example { labels: Vec::new(), ..example }).collect();
    train(&all, &more, &mut |p| {
        loss.get_or_insert(p.loss);
        ControlFlow::Continue(())
    })
    .unwrap();
    let fresh_loss = 360f64.ln();
    assert!(loss.unwrap() < fresh_loss / 4.0, "{loss:?}");
    let file = |folder: &Path| std::fs::read(folder.join("tokenizer.json")).unwrap();
    assert_eq!(file(first.path()), file(second.path()));
    let intents = |folder: &Path| std::fs::read(folder.join("intents.safetensors")).unwrap();
    assert_eq!(intents(first.path()), intents(second.path()));
}

#[test]
fn a_file_of_held_out_examples_alone_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let held: Vec<Example> = examples().into_iter().filter(Example::is_held_out).collect();
    let error = train(&held, &options(folder.path(), 1), &mut go).unwrap_err();
    assert!(matches!(error, TrainError::Shape(_)), "{error}");
}
