//! Runs a GGUF file through this decoder and, where its binary is named, through llama.cpp, in turn, and
//! prints medians and ratios.
//!
//! `[LLAMA_BENCH=path/to/llama-bench] cargo bench -p runtime --bench gguf -- FILE.gguf [ROUNDS]`.
//! Prefill of 512 tokens, decode of 32 tokens behind 0, 512 and 2,048 tokens, peak memory. llama.cpp runs with
//! flash attention and without, and the better of the two counts.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a report for a person")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use runtime::gguf::Gguf;
use runtime::model::{Model, Scratch};

const PROMPT: usize = 512;
const OUTPUT: usize = 32;
const DEPTHS: [usize; 3] = [0, 512, 2048];

/// Tokens a second: of the prompt, and of the output behind each depth.
type Rates = [f64; 1 + DEPTHS.len()];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let Some(path) = arguments.next() else {
        println!("name a GGUF file: cargo bench -p runtime --bench gguf -- FILE.gguf [ROUNDS]");
        return;
    };
    let rounds = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(5);
    let peer = std::env::var("LLAMA_BENCH").ok();
    let model = Model::from_gguf(&Gguf::open(Path::new(&path)).unwrap()).unwrap();
    let config = model.config();
    println!(
        "{path}: {:.0} M weights, {:.0} M active, {} threads",
        config.parameter_count() as f64 / 1e6,
        config.active_parameter_count() as f64 / 1e6,
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(run_ours(&model));
        if let Some(peer) = &peer {
            theirs.push(run_peer(peer, &path));
        }
    }
    let (ours, theirs) = (medians(&ours), medians(&theirs));
    let names = ["prefill of 512", "decode at 0", "decode at 512", "decode at 2048"];
    println!("{:>16} {:>10} {:>10} {:>7}   tokens/s", "", "ours", "llama.cpp", "ratio");
    for (i, name) in names.iter().enumerate() {
        print!("{name:>16} {:>10.1}", ours[i]);
        match theirs[i] {
            rate if rate > 0.0 => println!(" {rate:>10.1} {:>6.2}x", ours[i] / rate),
            _ => println!(),
        }
    }
    println!("peak memory of this process: {} MiB", peak_memory());
}

fn run_ours(model: &Model) -> Rates {
    let vocab = u32::try_from(model.config().vocab_size).unwrap();
    let token = |i: usize| u32::try_from(i * 7919 % 100_003).unwrap() % vocab;
    let prompt: Vec<u32> = (0..PROMPT).map(token).collect();
    let mut scratch = Scratch::default();
    let mut rates = Rates::default();
    let start = Instant::now();
    model.forward_last(&prompt, &mut model.cache(), &mut scratch).unwrap();
    rates[0] = PROMPT as f64 / start.elapsed().as_secs_f64();
    let mut cache = model.cache();
    for (rate, depth) in rates[1..].iter_mut().zip(DEPTHS) {
        let missing: Vec<u32> = (cache.len()..depth).map(token).collect();
        if !missing.is_empty() {
            model.forward_last(&missing, &mut cache, &mut scratch).unwrap();
            cache.freeze();
        }
        let mut own = cache.clone();
        let start = Instant::now();
        for i in 0..OUTPUT {
            let hidden = model.forward_last(&[token(i)], &mut own, &mut scratch).unwrap();
            std::hint::black_box(model.logits(&hidden));
        }
        *rate = OUTPUT as f64 / start.elapsed().as_secs_f64();
    }
    rates
}

/// Runs the peer's own benchmark once with and once without flash attention.
fn run_peer(binary: &str, path: &str) -> Rates {
    let mut best = Rates::default();
    for flash in ["0", "1"] {
        let common = ["-m", path, "-t", "2", "-r", "1", "-fa", flash, "-o", "jsonl"];
        let cases =
            [["-p", "512", "-n", "0", "-d", "0"], ["-p", "0", "-n", "32", "-d", "0,512,2048"]];
        let mut at = 0;
        for case in cases {
            let out = Command::new(binary).args(common).args(case).output().unwrap();
            for line in String::from_utf8_lossy(&out.stdout).lines() {
                let found: serde_json::Value = serde_json::from_str(line).unwrap();
                best[at] = best[at].max(found["avg_ts"].as_f64().unwrap());
                at += 1;
            }
        }
    }
    best
}

fn medians(runs: &[Rates]) -> Rates {
    std::array::from_fn(|i| {
        let mut rates: Vec<f64> = runs.iter().map(|run| run[i]).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(0.0)
    })
}

/// `VmHWM`, MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}
