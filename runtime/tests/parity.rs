//! The decoder gives the logits that `transformers` gives for the same checkpoint.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::path::PathBuf;

use runtime::config::MoeConfig;
use runtime::model::{KvCache, Model, Part, Scratch};
use safetensors::SafeTensors;

/// Largest difference allowed, relative to the largest reference logit.
const TOLERANCE: f32 = 1e-4;

struct Fixture {
    model: Model,
    tokens: Vec<u32>,
    /// `[n, vocab]`.
    logits: Vec<f32>,
}

fn fixture() -> Fixture {
    read("qwen3moe-tiny")
}

fn read(name: &str) -> Fixture {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let config = MoeConfig::from_file(&folder.join("config.json")).unwrap();
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    let reference = std::fs::read(folder.join("reference.safetensors")).unwrap();
    let reference = SafeTensors::deserialize(&reference).unwrap();
    let tokens = reference.tensor("tokens").unwrap().data().as_chunks().0.iter();
    let logits = reference.tensor("logits").unwrap().data().as_chunks().0.iter();
    Fixture {
        model: Model::load(config, &[&weights]).unwrap(),
        tokens: tokens.map(|b| u32::try_from(i64::from_le_bytes(*b)).unwrap()).collect(),
        logits: logits.map(|b| f32::from_le_bytes(*b)).collect(),
    }
}

impl Fixture {
    fn run(&self, tokens: &[u32], cache: &mut KvCache) -> Vec<f32> {
        let mut logits = Vec::new();
        self.model
            .forward(tokens, cache, &mut Scratch::default(), |_, hidden| {
                logits.extend(self.model.logits(hidden));
            })
            .unwrap();
        logits
    }

    fn check(&self, got: &[f32], from: usize) {
        let vocab = self.model.config().vocab_size;
        let want = &self.logits[from * vocab..][..got.len()];
        let scale = want.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let worst = got.iter().zip(want).fold(0.0_f32, |a, (g, w)| a.max((g - w).abs()));
        assert!(worst / scale < TOLERANCE, "worst {worst} of {scale}");
    }
}

#[test]
fn prefill_gives_the_reference_logits() {
    let f = fixture();
    let got = f.run(&f.tokens, &mut f.model.cache());
    assert_eq!(got.len(), f.logits.len());
    f.check(&got, 0);
}

#[test]
fn every_family_gives_the_reference_logits_in_prefill_and_in_decode() {
    for family in ["qwen2_moe", "mixtral", "granitemoe", "olmoe"] {
        let f = read(&format!("families/{family}"));
        let got = f.run(&f.tokens, &mut f.model.cache());
        assert_eq!(got.len(), f.logits.len(), "{family}");
        f.check(&got, 0);
        let mut cache = f.model.cache();
        for (at, token) in f.tokens.iter().enumerate() {
            f.check(&f.run(&[*token], &mut cache), at);
        }
    }
}

#[test]
fn sequences_that_share_a_step_get_the_reference_logits_each() {
    let f = fixture();
    let (mut first, mut second, mut third) = (f.model.cache(), f.model.cache(), f.model.cache());
    f.run(&f.tokens[..10], &mut second);
    let mut scratch = Scratch::default();
    let mut parts = [
        Part { tokens: &f.tokens[..7], cache: &mut first },
        Part { tokens: &f.tokens[10..11], cache: &mut second },
        Part { tokens: &f.tokens[..2], cache: &mut third },
    ];
    let hidden = f.model.step(&mut parts, &mut scratch).unwrap();
    let d = f.model.config().hidden_size;
    for (hidden, at) in hidden.chunks(d).zip([6, 10, 1]) {
        f.check(&f.model.logits(hidden), at);
    }
    assert_eq!((first.len(), second.len(), third.len()), (7, 11, 2));
    f.check(&f.run(&f.tokens[7..9], &mut first), 7);
    let mut parts = [Part { tokens: &[1, 2, 96], cache: &mut first }];
    assert!(f.model.step(&mut parts, &mut scratch).is_err());
    assert_eq!(first.len(), 9);
}

#[test]
fn decoding_token_by_token_gives_the_reference_logits() {
    let f = fixture();
    let mut cache = f.model.cache();
    for (at, token) in f.tokens.iter().enumerate() {
        f.check(&f.run(&[*token], &mut cache), at);
    }
}

#[test]
fn cutting_back_and_going_on_gives_the_reference_logits() {
    let f = fixture();
    let mut cache = f.model.cache();
    f.run(&f.tokens[..20], &mut cache);
    cache.freeze();
    let wrong: Vec<u32> = f.tokens[20..30].iter().map(|t| (t + 1) % 96).collect();
    f.run(&wrong, &mut cache);
    for keep in [20, 13, 5] {
        cache.truncate(keep);
        assert_eq!(cache.len(), keep);
        f.check(&f.run(&f.tokens[keep..keep + 4], &mut cache), keep);
    }
}

#[test]
fn a_shared_beginning_gives_the_reference_logits_to_each_that_shares_it() {
    let f = fixture();
    let mut first = f.model.cache();
    for piece in f.tokens[..24].chunks(3) {
        // More pieces than a chain may have, so that merging is covered.
        f.run(piece, &mut first);
        first.freeze();
    }
    let mut second = first.clone();
    second.truncate(11);
    f.check(&f.run(&f.tokens[24..], &mut first), 24);
    f.check(&f.run(&f.tokens[11..], &mut second), 11);
}

#[test]
fn one_logit_equals_its_place_among_all() {
    let f = fixture();
    let hidden =
        f.model.forward_last(&f.tokens, &mut f.model.cache(), &mut Scratch::default()).unwrap();
    let all = f.model.logits(&hidden);
    for token in [0, 17, 95] {
        assert!((f.model.logit(&hidden, token) - all[token as usize]).abs() < 1e-4);
    }
}

#[test]
fn too_long_and_unknown_tokens_are_refused() {
    let f = fixture();
    let mut cache = f.model.cache();
    let mut scratch = Scratch::default();
    assert!(f.model.forward_last(&[96], &mut cache, &mut scratch).is_err());
    assert!(f.model.forward_last(&[0; 257], &mut cache, &mut scratch).is_err());
    assert!(cache.is_empty());
}
