use super::*;
use crate::engine::{Engine, ModelFiles};
use crate::tokenizer::{BpeOptions, train_bpe};

const WEIGHTS: Weights = Weights { target: 0.2, balance: 0.03, z: 0.02 };

fn config() -> MoeConfig {
    MoeConfig::from_json(
        br#"{"hidden_size":16,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
        "head_dim":8,"moe_intermediate_size":12,"num_experts":4,"num_experts_per_tok":2,
        "norm_topk_prob":true,"vocab_size":300,"tie_word_embeddings":true,"model_type":"qwen3_moe",
        "initializer_range":0.3,"eos_token_id":0}"#,
    )
    .unwrap()
}

fn pack() -> Pack {
    Pack {
        tokens: vec![5, 9, 2, 7, 11, 3, 8, 1, 20, 4],
        prefix: 4,
        branches: vec![4..7, 7..10],
        targets: vec![(5, 8), (6, 0), (8, 4), (9, 0)],
        owners: vec![0, 0, 1, 1],
    }
}

/// Cross-entropy of the targets plus the router's losses, from a forward pass alone.
fn loss(config: &MoeConfig, layout: &Layout, weights: &[f32]) -> f64 {
    let net = Net { config, layout, weights, precision: Precision::F32 };
    let pack = pack();
    let turn = net.turn(&pack);
    let d = config.hidden_size;
    let mut x = Vec::new();
    for token in &pack.tokens {
        x.extend_from_slice(&weights[layout.embedding.clone()][*token as usize * d..][..d]);
    }
    let mut total = 0.0;
    let mut pool = Pool::default();
    for layer in &layout.layers {
        let tape = net.layer(layer, &pack, &turn, &mut x, &mut pool);
        let (e, t) = (config.num_experts, pack.tokens.len());
        for expert in 0..e {
            let mean: f32 =
                (0..t).map(|row| tape.experts.router[row * e + expert]).sum::<f32>() / t as f32;
            let load = tape.experts.routed[expert].rows.len() as f32 / t as f32;
            total += f64::from(WEIGHTS.balance * e as f32 * load * mean);
        }
        let z: f32 = tape.experts.lse.iter().map(|l| l * l).sum::<f32>() / t as f32;
        total += f64::from(WEIGHTS.z * z);
    }
    let mut seen = Seen { exact: vec![true; 2], ..Seen::default() };
    net.head(&pack, &x, WEIGHTS.target, None, &mut seen, &mut pool);
    total + f64::from(WEIGHTS.target) * seen.loss
}

#[test]
fn the_gradient_agrees_with_finite_differences() {
    let config = config();
    let layout = Layout::of(&config).unwrap();
    let mut weights = layout.fresh(&config, 3);
    let mut grad = vec![0.0; layout.len];
    let net =
        Net { config: &config, layout: &layout, weights: &weights, precision: Precision::F32 };
    net.run(&pack(), WEIGHTS, Some(&mut grad), &mut Pool::default());
    for (name, _, range) in layout.tensors.clone() {
        // The entry with the largest gradient of each tensor stands out of the rounding.
        let at = range.clone().max_by(|a, b| grad[*a].abs().total_cmp(&grad[*b].abs())).unwrap();
        let (step, kept) = (2e-3, weights[at]);
        weights[at] = kept + step;
        let up = loss(&config, &layout, &weights);
        weights[at] = kept - step;
        let down = loss(&config, &layout, &weights);
        weights[at] = kept;
        let numeric = (up - down) / f64::from(2.0 * step);
        let analytic = f64::from(grad[at]);
        let error = (numeric - analytic).abs() / (numeric.abs() + analytic.abs()).max(2e-2);
        assert!(error < 0.05, "{name}: {numeric} by differences, {analytic} by hand");
    }
}

#[test]
fn a_branch_scores_as_the_engine_scores_the_same_text() {
    let config = config();
    let layout = Layout::of(&config).unwrap();
    let weights = layout.fresh(&config, 4);
    let options = BpeOptions {
        vocab_size: 300,
        special: vec!["<|end|>".to_owned()],
        ..BpeOptions::default()
    };
    let tokenizer = train_bpe(["a b c"], &options).unwrap();
    let files = ModelFiles {
        config: config.to_json().unwrap().into_bytes().into(),
        tokenizer: tokenizer.to_json().unwrap().into_bytes().into(),
        weights: vec![
            crate::train::state::checkpoint(&layout, &weights, crate::model::Storage::F32)
                .unwrap()
                .into(),
        ],
        intents: None,
    };
    let engine = Engine::load(&files).unwrap();
    let pack = pack();
    let vocab = config.vocab_size;
    for (branch, rows) in pack.branches.iter().enumerate() {
        let text: Vec<u32> =
            pack.tokens[..pack.prefix].iter().chain(&pack.tokens[rows.clone()]).copied().collect();
        let logits = engine.logits(&text).unwrap();
        let mut expected = 0.0;
        let only = Pack {
            targets: pack
                .targets
                .iter()
                .zip(&pack.owners)
                .filter(|(_, o)| **o == branch)
                .map(|(t, _)| *t)
                .collect(),
            owners: vec![branch; 2],
            ..pack.clone()
        };
        for (row, token) in &only.targets {
            let at = pack.prefix + row - rows.start;
            let row = &logits[at * vocab..][..vocab];
            expected += f64::from(log_sum_exp(row) - row[*token as usize]);
        }
        let net =
            Net { config: &config, layout: &layout, weights: &weights, precision: Precision::F32 };
        let seen = net.run(&only, WEIGHTS, None, &mut Pool::default());
        assert!(
            (seen.loss - expected).abs() < 1e-3 * expected.abs(),
            "{} and {expected}",
            seen.loss
        );
    }
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    max + row.iter().map(|x| (x - max).exp()).sum::<f32>().ln()
}
