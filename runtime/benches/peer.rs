//! Runs a planner-sized checkpoint through this decoder and through candle's, and prints the ratio.
//!
//! `cargo bench -p runtime --bench peer [-- ROUNDS]`. Both run in one process on the same weights
//! and tokens, in turn, on the processor in f32; medians. The logits of the two are compared first.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report for a person")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen3_moe::{Config, ModelForCausalLM};
use runtime::config::MoeConfig;
use runtime::model::{Model, Scratch, Storage, random_checkpoint};
use serde_json::json;

/// Tokens of the prompt, as many as a shortlist of four tools and a request have.
const PROMPT: usize = 250;

/// Tokens decoded one by one.
const OUTPUT: usize = 20;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(11);
    let shape = json!({
        "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 32, "moe_intermediate_size": 256, "num_experts": 8,
        "num_experts_per_tok": 2, "norm_topk_prob": true, "vocab_size": 6000,
        "max_position_embeddings": 4096, "tie_word_embeddings": true, "rope_theta": 10000.0,
        "rms_norm_eps": 1e-6, "intermediate_size": 256, "attention_bias": false,
        "sliding_window": null, "max_window_layers": 4, "use_sliding_window": false,
        "hidden_act": "silu", "decoder_sparse_step": 1,
    });
    let config = MoeConfig::from_json(shape.to_string().as_bytes()).unwrap();
    let bytes = random_checkpoint(&config, 1, Storage::F32).unwrap();
    let ours = Model::load(config, &[&bytes]).unwrap();
    let mut peer = candle(&shape, &bytes);
    let tokens: Vec<u32> = (0..PROMPT).map(|i| u32::try_from(i * 37 % 6000).unwrap()).collect();

    println!(
        "largest relative difference of the logits: {:.1e}",
        difference(&ours, &mut peer, &tokens)
    );
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..rounds {
        let (prefill, decode) = run_ours(&ours, &tokens);
        times[0].push(prefill);
        times[1].push(decode);
        let (prefill, decode) = run_peer(&mut peer, &tokens);
        times[2].push(prefill);
        times[3].push(decode);
    }
    let [our_prefill, our_decode, peer_prefill, peer_decode] = times.map(median);
    println!("{:>22} {:>10} {:>10} {:>8}", "", "ours", "candle", "ratio");
    let line = |what: &str, ours: f64, peer: f64| {
        println!("{what:>22} {:>8.2}ms {:>8.2}ms {:>7.2}x", ours * 1e3, peer * 1e3, peer / ours);
    };
    line("prefill of 250 tokens", our_prefill, peer_prefill);
    line("decode of 20 tokens", our_decode, peer_decode);
}

/// Loads the checkpoint into candle's decoder of the same architecture.
fn candle(shape: &serde_json::Value, bytes: &[u8]) -> ModelForCausalLM {
    let config: Config = serde_json::from_value(shape.clone()).unwrap();
    let tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load_buffer(bytes, &Device::Cpu).unwrap();
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    ModelForCausalLM::new(&config, weights).unwrap()
}

fn logits_of(peer: &mut ModelForCausalLM, tokens: &[u32], offset: usize) -> Vec<f32> {
    let input = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    peer.forward(&input, offset).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn difference(ours: &Model, peer: &mut ModelForCausalLM, tokens: &[u32]) -> f32 {
    let hidden = ours.forward_last(tokens, &mut ours.cache(), &mut Scratch::default()).unwrap();
    let (ours, theirs) = (ours.logits(&hidden), logits_of(peer, tokens, 0));
    peer.clear_kv_cache();
    let largest = ours.iter().fold(0f32, |most, value| most.max(value.abs()));
    ours.iter().zip(&theirs).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

fn best(logits: &[f32]) -> u32 {
    let at = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
    u32::try_from(at).unwrap()
}

fn run_ours(model: &Model, tokens: &[u32]) -> (Duration, Duration) {
    let (mut cache, mut scratch) = (model.cache(), Scratch::default());
    let start = Instant::now();
    let mut hidden = model.forward_last(tokens, &mut cache, &mut scratch).unwrap();
    let prefill = start.elapsed();
    let start = Instant::now();
    for _ in 0..OUTPUT {
        let next = best(&model.logits(&hidden));
        hidden = model.forward_last(&[next], &mut cache, &mut scratch).unwrap();
    }
    (prefill, start.elapsed())
}

fn run_peer(model: &mut ModelForCausalLM, tokens: &[u32]) -> (Duration, Duration) {
    model.clear_kv_cache();
    let start = Instant::now();
    let mut logits = logits_of(model, tokens, 0);
    let prefill = start.elapsed();
    let start = Instant::now();
    for step in 0..OUTPUT {
        logits = logits_of(model, &[best(&logits)], tokens.len() + step);
    }
    (prefill, start.elapsed())
}

/// Middle of the durations, seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
