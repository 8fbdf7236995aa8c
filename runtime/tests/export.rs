//! Exports: `transformers` plans with them as we do, and a reader of GGUF finds every number.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod common;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Cursor};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value as Held};
use candle_core::{Device, Tensor};
use half::f16;
use runtime::config::{MoeConfig, names};
use runtime::engine::{Engine, ModelFiles, Request};
use runtime::export::{ExportError, Numbers, gguf, safetensors};
use runtime::grammar::Grammar;
use runtime::model::Storage;
use runtime::tokenizer::{Prompt, Segment, Tokenizer};
use safetensors::SafeTensors as Reader;
use serde_json::Value;

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/export")
}

/// The fixture's planner as the export writes it.
fn exported(folder: &Path) -> ModelFiles {
    safetensors(&ModelFiles::from_folder(&fixture()).unwrap(), folder).unwrap();
    ModelFiles::from_folder(folder).unwrap()
}

fn prompt(pieces: &Value) -> Prompt {
    let piece = |piece: &Value| match piece["special"].as_str() {
        Some(name) => Segment::Special(name.to_owned()),
        None => Segment::Text(piece["text"].as_str().unwrap().to_owned()),
    };
    Prompt::from(pieces.as_array().unwrap().iter().map(piece).collect::<Vec<_>>())
}

fn json(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn two_hundred_greedy_plans_of_the_export_are_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::load(&exported(folder.path())).unwrap();
    let file = std::fs::File::open(fixture().join("greedy.jsonl.gz")).unwrap();
    let mut plans = 0;
    let mut different = BTreeMap::<Vec<u32>, usize>::new();
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let prompt = prompt(&line["prompt"]);
        let grammar = Grammar::from_json_schema(&line["schema"]);
        let request = Request {
            prompt: &prompt,
            grammar: &grammar,
            max_tokens: 768,
            deadline: None,
            cancel: None,
        };
        let (done, trace) = engine.trace(&request).unwrap();
        let tokens: Vec<u32> = trace.choices.iter().map(|choice| choice.token).collect();
        let theirs: Vec<u32> = serde_json::from_value(line["tokens"].clone()).unwrap();
        assert_eq!(tokens, theirs, "plan {plans}: {}", done.text);
        *different.entry(tokens).or_default() += 1;
        plans += 1;
    }
    assert_eq!(plans, 200);
    assert!(different.len() > 100, "the fixture hardly varies: {}", different.len());
}

#[test]
fn the_folder_says_what_transformers_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let files = exported(folder.path());
    let config = json(folder.path(), "config.json");
    assert_eq!(config["architectures"], serde_json::json!(["Qwen3MoeForCausalLM"]));
    assert_eq!(config["model_type"], "qwen3_moe");
    assert_eq!(config["torch_dtype"], "float16");
    assert_eq!(json(folder.path(), "generation_config.json")["do_sample"], false);
    let tokenizer = Tokenizer::from_bytes(&files.tokenizer).unwrap();
    let end = tokenizer.special("end").unwrap();
    assert_eq!(config["eos_token_id"], end);
    for file in ["tokenizer_config.json", "special_tokens_map.json"] {
        let value = json(folder.path(), file);
        assert_eq!(value["eos_token"], "<|end|>", "{file}");
        let others = value["additional_special_tokens"].as_array().unwrap();
        assert_eq!(others.len() + 1, tokenizer.specials().len(), "{file}");
    }
    let (_, about) = Reader::read_metadata(&files.weights[0]).unwrap();
    assert_eq!(about.metadata().as_ref().unwrap()["format"], "pt");
    let own = ModelFiles::from_folder(&fixture()).unwrap();
    let (own, copy) =
        (Reader::deserialize(&own.weights[0]), Reader::deserialize(&files.weights[0]));
    let (own, copy) = (own.unwrap(), copy.unwrap());
    assert_eq!(own.len(), copy.len());
    for (name, tensor) in own.iter() {
        assert_eq!(copy.tensor(name).unwrap().data(), tensor.data(), "{name}");
    }
}

/// Writes a random planner as GGUF and reads it with a reader that is not ours.
fn through_gguf(numbers: Numbers) -> (ModelFiles, Vec<u8>, Content) {
    let files = common::files(4, Storage::F32);
    let path = tempfile::NamedTempFile::new().unwrap();
    gguf(&files, "a planner", numbers, path.path()).unwrap();
    let bytes = std::fs::read(path.path()).unwrap();
    let content = Content::read(&mut Cursor::new(&bytes)).unwrap();
    (files, bytes, content)
}

/// What a tensor of the GGUF file must be: names in the checkpoint, shape, whether always f32.
fn expected(c: &MoeConfig) -> Vec<(String, Vec<String>, Vec<usize>, bool)> {
    let (d, hd, inner) = (c.hidden_size, c.head_dim, c.moe_intermediate_size);
    let (q, kv) = (c.num_attention_heads * hd, c.num_key_value_heads * hd);
    let experts = |l: usize, which: &str| -> Vec<String> {
        (0..c.num_experts).map(|e| names::expert(l, e, which)).collect()
    };
    let mut all = vec![
        ("token_embd".to_owned(), vec![names::EMBED.to_owned()], vec![c.vocab_size, d], false),
        ("output_norm".to_owned(), vec![names::FINAL_NORM.to_owned()], vec![d], true),
    ];
    for l in 0..c.num_hidden_layers {
        let stacked = |rows: usize, columns: usize| vec![c.num_experts, rows, columns];
        for (name, parts, shape, full) in [
            ("attn_norm", vec![names::input_norm(l)], vec![d], true),
            ("attn_q", vec![names::projection(l, 'q')], vec![q, d], false),
            ("attn_k", vec![names::projection(l, 'k')], vec![kv, d], false),
            ("attn_v", vec![names::projection(l, 'v')], vec![kv, d], false),
            ("attn_output", vec![names::projection(l, 'o')], vec![d, q], false),
            ("attn_q_norm", vec![names::head_norm(l, 'q')], vec![hd], true),
            ("attn_k_norm", vec![names::head_norm(l, 'k')], vec![hd], true),
            ("ffn_norm", vec![names::post_norm(l)], vec![d], true),
            ("ffn_gate_inp", vec![names::router(l)], vec![c.num_experts, d], true),
            ("ffn_gate_exps", experts(l, "gate"), stacked(inner, d), false),
            ("ffn_up_exps", experts(l, "up"), stacked(inner, d), false),
            ("ffn_down_exps", experts(l, "down"), stacked(d, inner), false),
        ] {
            all.push((format!("blk.{l}.{name}"), parts, shape, full));
        }
    }
    all
}

#[test]
fn every_tensor_of_the_gguf_file_has_its_shape_its_place_and_its_numbers() {
    for numbers in [Numbers::F32, Numbers::F16] {
        let (files, bytes, content) = through_gguf(numbers);
        let config = MoeConfig::from_json(&files.config).unwrap();
        let own = Reader::deserialize(&files.weights[0]).unwrap();
        let expected = expected(&config);
        assert_eq!(content.tensor_infos.len(), expected.len());
        assert_eq!(content.tensor_data_offset % 32, 0);
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (name, parts, shape, always_full) in expected {
            let name = format!("{name}.weight");
            let info = &content.tensor_infos[&name];
            assert_eq!(info.shape.dims(), shape, "{name}");
            let full = always_full || numbers == Numbers::F32;
            let kind = if full { GgmlDType::F32 } else { GgmlDType::F16 };
            assert_eq!(info.ggml_dtype, kind, "{name}");
            assert_eq!(info.offset % 32, 0, "{name}");
            let width = if full { 4 } else { 2 };
            let size = shape.iter().product::<usize>() * width;
            spans.push((info.offset, info.offset + size as u64));
            let held = content
                .tensor(&mut Cursor::new(&bytes), &name, &Device::Cpu)
                .and_then(|tensor| tensor.dequantize(&Device::Cpu))
                .and_then(|tensor: Tensor| tensor.flatten_all()?.to_vec1::<f32>())
                .unwrap();
            let written: Vec<f32> = parts
                .iter()
                .flat_map(|part| own.tensor(part).unwrap().data().as_chunks().0.to_vec())
                .map(f32::from_le_bytes)
                .map(|v| if full { v } else { f16::from_f32(v).to_f32() })
                .collect();
            assert_eq!(held, written, "{name}");
        }
        spans.sort_unstable();
        assert_eq!(spans[0].0, 0);
        for pair in spans.windows(2) {
            assert_eq!(pair[1].0, pair[0].1.next_multiple_of(32));
        }
        let end = content.tensor_data_offset + spans.last().unwrap().1.next_multiple_of(32);
        assert_eq!(end, bytes.len() as u64);
    }
}

#[test]
fn the_keys_of_the_gguf_file_are_those_that_llama_cpp_reads() {
    let (files, bytes, content) = through_gguf(Numbers::F16);
    assert_eq!(&bytes[..8], b"GGUF\x03\0\0\0");
    let config = MoeConfig::from_json(&files.config).unwrap();
    let number = |key: &str| content.metadata[key].to_u32().unwrap() as usize;
    let text = |key: &str| content.metadata[key].to_string().unwrap().clone();
    assert_eq!(text("general.architecture"), "qwen3moe");
    assert_eq!(text("general.name"), "a planner");
    assert_eq!(number("general.file_type"), 1);
    for (key, value) in [
        ("block_count", config.num_hidden_layers),
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("expert_count", config.num_experts),
        ("expert_used_count", config.num_experts_per_tok),
        ("expert_feed_forward_length", config.moe_intermediate_size),
    ] {
        assert_eq!(number(&format!("qwen3moe.{key}")), value, "{key}");
    }
    let theta = content.metadata["qwen3moe.rope.freq_base"].to_f32().unwrap();
    assert_eq!(f64::from(theta), config.rope_theta);
    let eps = content.metadata["qwen3moe.attention.layer_norm_rms_epsilon"].to_f32().unwrap();
    assert!((f64::from(eps) - config.rms_norm_eps).abs() < 1e-12);

    let tokenizer = Tokenizer::from_bytes(&files.tokenizer).unwrap();
    assert_eq!(text("tokenizer.ggml.model"), "gpt2");
    assert_eq!(text("tokenizer.ggml.pre"), "qwen2");
    assert!(!content.metadata["tokenizer.ggml.add_bos_token"].to_bool().unwrap());
    let list = |key: &str| content.metadata[key].to_vec().unwrap().clone();
    let (tokens, types) = (list("tokenizer.ggml.tokens"), list("tokenizer.ggml.token_type"));
    assert_eq!((tokens.len(), types.len()), (config.vocab_size, config.vocab_size));
    let kind = |id: usize| match types[id] {
        Held::I32(kind) => kind,
        ref other => panic!("{other:?}"),
    };
    for (id, token) in tokens.iter().enumerate() {
        let token = token.to_string().unwrap();
        match tokenizer.token(u32::try_from(id).unwrap()) {
            Some(own) => {
                assert_eq!(*token, own);
                assert_eq!(
                    kind(id),
                    if own.starts_with("<|") && own.ends_with("|>") { 3 } else { 1 }
                );
            }
            // The embedding has more rows than the vocabulary has tokens.
            None => assert_eq!((token.as_str(), kind(id)), (format!("[PAD{id}]").as_str(), 5)),
        }
    }
    assert_eq!(number("tokenizer.ggml.eos_token_id"), tokenizer.special("end").unwrap() as usize);
    let merges = list("tokenizer.ggml.merges");
    let merged: Vec<&String> = merges.iter().map(|merge| merge.to_string().unwrap()).collect();
    assert_eq!(merged, tokenizer.merges().unwrap().iter().collect::<Vec<_>>());
    assert!(merged.len() > 50 && merged.iter().all(|merge| merge.split(' ').count() == 2));
}

#[test]
fn what_llama_cpp_cannot_run_is_refused_by_name() {
    let path = tempfile::NamedTempFile::new().unwrap();
    let files = common::files(4, Storage::F32);
    for (field, value, word) in [
        ("norm_topk_prob", serde_json::json!(false), "norm_topk_prob"),
        ("mlp_only_layers", serde_json::json!([0]), "every layer"),
    ] {
        let mut config: Value = serde_json::from_slice(&files.config).unwrap();
        config[field] = value;
        config["intermediate_size"] = serde_json::json!(64);
        let changed =
            ModelFiles { config: Cow::Owned(config.to_string().into_bytes()), ..files.clone() };
        let error = gguf(&changed, "x", Numbers::F16, path.path()).unwrap_err();
        assert!(matches!(error, ExportError::Form { form: "GGUF", .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}
