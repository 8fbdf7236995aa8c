//! Prints prefill and decode rates of a planner-sized model with random weights.
//!
//! `cargo bench -p runtime --bench plan [-- REPETITIONS]`; medians, f32, all cores.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report for a person")]

use std::time::{Duration, Instant};

use runtime::config::MoeConfig;
use runtime::model::{Model, Scratch, Storage, random_checkpoint};
use serde_json::json;

const PROMPT: usize = 250;
const OUTPUT: usize = 60;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(15);
    println!(
        "{:>6} {:>10} {:>10} | {:>12} {:>12} | {:>12} {:>12}",
        "layers", "weights", "active", "prefill ms", "tokens/s", "decode ms", "tokens/s"
    );
    for layers in [4, 6] {
        measure(layers, rounds);
    }
}

/// Measures one depth: a prompt of [`PROMPT`] tokens, then [`OUTPUT`] tokens with all logits each.
fn measure(layers: usize, rounds: usize) {
    let text = json!({
        "hidden_size": 256, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64, "moe_intermediate_size": 256, "num_experts": 8,
        "num_experts_per_tok": 2, "norm_topk_prob": true, "vocab_size": 8192,
        "max_position_embeddings": 4096, "tie_word_embeddings": true,
    });
    let config = MoeConfig::from_json(text.to_string().as_bytes()).unwrap();
    let (all, active) = (config.parameter_count(), config.active_parameter_count());
    let bytes = random_checkpoint(&config, 1, Storage::F16).unwrap();
    let model = Model::load(config, &[&bytes]).unwrap();
    let tokens: Vec<u32> = (0..PROMPT).map(|i| u32::try_from(i * 37 % 8192).unwrap()).collect();
    let mut scratch = Scratch::default();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut cache = model.cache();
        let start = Instant::now();
        let mut hidden = model.forward_last(&tokens, &mut cache, &mut scratch).unwrap();
        prefill.push(start.elapsed());
        for _ in 0..OUTPUT {
            let start = Instant::now();
            let logits = model.logits(&hidden);
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            let next = u32::try_from(best).unwrap();
            hidden = model.forward_last(&[next], &mut cache, &mut scratch).unwrap();
            decode.push(start.elapsed());
        }
    }
    let (prefill, decode) = (median(prefill), median(decode));
    println!(
        "{layers:>6} {:>9.1}M {:>9.1}M | {:>12.2} {:>12.0} | {:>12.3} {:>12.0}",
        all as f64 / 1e6,
        active as f64 / 1e6,
        prefill * 1e3,
        PROMPT as f64 / prefill,
        decode * 1e3,
        1.0 / decode
    );
}

/// Middle of the durations, seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
