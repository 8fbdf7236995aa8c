//! Prints the training rate of a planner-sized model in `f32` and in bfloat16, and of the same model
//! in PyTorch, in turn.
//!
//! `cargo bench -p runtime --bench train -- EXAMPLES.jsonl [STEPS] [LAYERS] [WIDTH]`; the examples are
//! those of `tessera pack synth`, the model is fresh. Where `PEER_PYTHON` names a Python with `torch`
//! and `transformers`, `train_peer.py` runs after each of ours. Medians of three rounds; tokens of a
//! shared head count once, as they are run once.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report for a person")]

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use runtime::train::{Options, Precision, read, train};

const ROUNDS: usize = 3;

/// Tokens of a sequence, sequences of a step and targets of a sequence of the peer: about those of a
/// pack of ours.
const PEER: [&str; 3] = ["1024", "4", "160"];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let Some(path) = arguments.next() else {
        println!("give a file of examples; see the head of this file");
        return;
    };
    let mut number = |or: usize| arguments.next().map_or(or, |text| text.parse().unwrap());
    let (steps, layers, width) = (number(20), number(4), number(256));
    let examples = read(Path::new(&path)).unwrap();
    let out = std::env::temp_dir().join("tessera-train-bench");
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        for (rates, precision) in ours.iter_mut().zip([Precision::F32, Precision::Auto]) {
            let options = Options {
                out: out.clone(),
                minutes: 1e6,
                steps: Some(steps),
                layers,
                hidden: width,
                inner: width,
                precision,
                pace: Duration::from_millis(1),
                ..Options::default()
            };
            let mut seen = Vec::new();
            train(&examples, &options, &mut |progress| {
                seen.push(progress.tokens_per_s);
                ControlFlow::Continue(())
            })
            .unwrap();
            rates.push(median(seen));
        }
        for (rates, rate) in theirs.iter_mut().zip(peer(layers, width, steps)) {
            rates.push(rate);
        }
    }
    let [exact, packed] = ours.map(median);
    println!("f32 {exact:.0} tokens/s, {} {packed:.0} tokens/s", Precision::Auto.name());
    println!("ratio of the formats {:.2}", packed / exact);
    let [peer_exact, peer_packed] = theirs.map(median);
    if peer_exact > 0.0 {
        println!("PyTorch f32 {peer_exact:.0} tokens/s, bf16 {peer_packed:.0} tokens/s");
        println!("ours to the better of PyTorch {:.2}", packed / peer_exact.max(peer_packed));
    }
}

/// Runs the peer once; its two rates, or none where there is no Python for it.
fn peer(layers: usize, width: usize, steps: usize) -> Vec<f64> {
    let Some(python) = std::env::var_os("PEER_PYTHON") else { return Vec::new() };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/train_peer.py");
    let shape = [layers, width, width, 8, 6001].map(|n| n.to_string());
    let output = Command::new(python)
        .arg(script)
        .args(shape)
        .args(PEER)
        .arg(steps.min(8).to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.split_once(' ')?.1.parse().ok()).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
