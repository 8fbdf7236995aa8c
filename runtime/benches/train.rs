//! Prints the training rate of a planner-sized model in `f32` and in bfloat16, in turn.
//!
//! `cargo bench -p runtime --bench train -- EXAMPLES.jsonl [STEPS] [LAYERS] [WIDTH]`; the examples are
//! those of `tessera pack synth`, the model is fresh, and each format runs three times; medians.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report for a person")]

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use runtime::train::{Options, Precision, read, train};

const ROUNDS: usize = 3;

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
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (rates, precision) in rates.iter_mut().zip([Precision::F32, Precision::Auto]) {
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
            let report = train(&examples, &options, &mut |progress| {
                seen.push(progress.tokens_per_s);
                ControlFlow::Continue(())
            })
            .unwrap();
            rates.push(median(seen));
            println!("{} {:.1}M weights", precision.name(), report.parameters as f64 / 1e6);
        }
    }
    let [exact, packed] = rates.map(median);
    println!("f32 {exact:.0} tokens/s, {} {packed:.0} tokens/s", Precision::Auto.name());
    println!("ratio {:.2}", packed / exact);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
