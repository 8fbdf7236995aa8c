//! The GGUF file that llama.cpp loads as architecture `qwen3moe`.
//!
//! # Source
//! `docs/gguf.md` of ggml (version 3: header, key-value pairs, tensor descriptions, padding to the
//! alignment, tensor data); names and keys as `convert_hf_to_gguf.py` of llama.cpp writes them for
//! `Qwen3MoeForCausalLM`. Rotary positions pair halves there as here, so no rows are permuted.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::f16;

use super::{ExportError, Numbers, Parts, io};
use crate::config::{MoeConfig, names};
use crate::engine::ModelFiles;
use crate::model::{Checkpoint, Source};

const FORM: &str = "GGUF";

/// Bytes that the data section and each tensor in it are aligned to.
const ALIGNMENT: usize = 32;

/// Numbers that share a scale in `Q8_0`.
const BLOCK: usize = crate::kernel::BLOCK;

/// `GGUF`, then version 3.
const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;

/// How llama.cpp cuts text before merges. None of its fixed list is this vocabulary's own; `qwen2`
/// cuts nowhere inside this vocabulary's pieces except after repeated blanks and at marks before an
/// underscore, and no merge crosses the pieces, so it gives the same tokens otherwise.
const PRE_TOKENIZER: &str = "qwen2";

/// `LLAMA_TOKEN_TYPE_*`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// A value of a key.
enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i32>),
}

/// One tensor of the file, made of one or more of the checkpoint.
struct Tensor {
    name: String,
    /// Names in the checkpoint, all of one shape; several are stacked.
    parts: Vec<String>,
    /// Row-major shape of one part.
    shape: Vec<usize>,
    numbers: Numbers,
}

/// Writes the planner as one GGUF file. `name` is what programs show.
///
/// # Errors
/// [`ExportError::Form`] ⇐ llama.cpp has no such model (a dense layer, or chosen experts whose weights
/// are not scaled to one); [`ExportError::Config`], [`ExportError::Model`], [`ExportError::Tokenizer`] ⇐
/// a file is refused; [`ExportError::Io`] ⇐ the file cannot be written.
pub fn gguf(
    files: &ModelFiles,
    name: &str,
    numbers: Numbers,
    path: &Path,
) -> Result<(), ExportError> {
    let parts = Parts::of(files, FORM)?;
    check(&parts.config)?;
    let weights: Vec<&[u8]> = files.weights.iter().map(AsRef::as_ref).collect();
    let checkpoint = Checkpoint::open(&weights)?;
    let keys = keys(&parts, name, numbers)?;
    let tensors = tensors(&parts.config, numbers);
    let file = File::create(path).map_err(io(path))?;
    let mut out = Counted { inner: BufWriter::new(file), written: 0 };
    header(&mut out, &keys, &tensors).map_err(io(path))?;
    for tensor in &tensors {
        for part in &tensor.parts {
            let values = checkpoint.get(part, &tensor.shape)?;
            out.numbers(&values, tensor.numbers).map_err(io(path))?;
        }
        out.pad().map_err(io(path))?;
    }
    out.inner.flush().map_err(io(path))
}

fn check(config: &MoeConfig) -> Result<(), ExportError> {
    let refuse = |reason: &str| Err(ExportError::Form { form: FORM, reason: reason.to_owned() });
    if !(0..config.num_hidden_layers).all(|layer| config.is_sparse(layer)) {
        return refuse("`qwen3moe` has experts in every layer");
    }
    if !config.norm_topk_prob {
        return refuse("`qwen3moe` scales the chosen experts' weights to one; set norm_topk_prob");
    }
    Ok(())
}

/// The keys of the file, in the order of llama.cpp's converter.
fn keys(
    parts: &Parts,
    name: &str,
    numbers: Numbers,
) -> Result<Vec<(&'static str, Value)>, ExportError> {
    let c = &parts.config;
    let size = |field: &'static str, n: usize| {
        u32::try_from(n).map(Value::U32).map_err(|_| ExportError::Form {
            form: FORM,
            reason: format!("`{field}` does not fit 32 bits"),
        })
    };
    let active = c.moe_intermediate_size * c.num_experts_per_tok;
    let inner = if c.intermediate_size > 0 { c.intermediate_size } else { active };
    #[expect(clippy::cast_possible_truncation, reason = "the format holds single precision")]
    let (eps, theta) = (c.rms_norm_eps as f32, c.rope_theta as f32);
    let file_type = match numbers {
        Numbers::F32 => 0,
        Numbers::F16 => 1,
        Numbers::Q8 => 7,
    };
    let ((tokens, types), merges) = (vocabulary(parts), parts.tokenizer.merges()?);
    Ok(vec![
        ("general.architecture", Value::Text("qwen3moe".to_owned())),
        ("general.type", Value::Text("model".to_owned())),
        ("general.name", Value::Text(name.to_owned())),
        ("general.alignment", size("alignment", ALIGNMENT)?),
        ("general.file_type", Value::U32(file_type)),
        ("general.quantization_version", Value::U32(2)),
        ("qwen3moe.block_count", size("num_hidden_layers", c.num_hidden_layers)?),
        ("qwen3moe.context_length", size("max_position_embeddings", c.max_position_embeddings)?),
        ("qwen3moe.embedding_length", size("hidden_size", c.hidden_size)?),
        ("qwen3moe.feed_forward_length", size("intermediate_size", inner)?),
        ("qwen3moe.attention.head_count", size("num_attention_heads", c.num_attention_heads)?),
        ("qwen3moe.attention.head_count_kv", size("num_key_value_heads", c.num_key_value_heads)?),
        ("qwen3moe.rope.freq_base", Value::F32(theta)),
        ("qwen3moe.attention.layer_norm_rms_epsilon", Value::F32(eps)),
        ("qwen3moe.expert_used_count", size("num_experts_per_tok", c.num_experts_per_tok)?),
        ("qwen3moe.attention.key_length", size("head_dim", c.head_dim)?),
        ("qwen3moe.attention.value_length", size("head_dim", c.head_dim)?),
        ("qwen3moe.expert_count", size("num_experts", c.num_experts)?),
        (
            "qwen3moe.expert_feed_forward_length",
            size("moe_intermediate_size", c.moe_intermediate_size)?,
        ),
        ("tokenizer.ggml.model", Value::Text("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Value::Text(PRE_TOKENIZER.to_owned())),
        ("tokenizer.ggml.tokens", Value::Texts(tokens)),
        ("tokenizer.ggml.token_type", Value::Integers(types)),
        ("tokenizer.ggml.merges", Value::Texts(merges)),
        // Without it llama.cpp takes token 11 for the beginning of a text.
        ("tokenizer.ggml.bos_token_id", Value::U32(parts.end)),
        ("tokenizer.ggml.eos_token_id", Value::U32(parts.end)),
        ("tokenizer.ggml.padding_token_id", Value::U32(parts.end)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
    ])
}

/// Tokens by id, with their types.
fn vocabulary(parts: &Parts) -> (Vec<String>, Vec<i32>) {
    let mut tokens = Vec::with_capacity(parts.config.vocab_size);
    let mut types = Vec::with_capacity(parts.config.vocab_size);
    for id in (0..).take(parts.config.vocab_size) {
        let (token, kind) = match parts.tokenizer.token(id) {
            Some(token) => (token, NORMAL),
            None => (format!("[PAD{id}]"), UNUSED),
        };
        tokens.push(token);
        types.push(kind);
    }
    for (ids, kind) in
        [(parts.tokenizer.specials(), CONTROL), (parts.tokenizer.added(), USER_DEFINED)]
    {
        for (id, _) in ids {
            if let Some(held) = types.get_mut(id as usize) {
                *held = kind;
            }
        }
    }
    (tokens, types)
}

/// The tensors of the file, in the order of the layers.
fn tensors(c: &MoeConfig, numbers: Numbers) -> Vec<Tensor> {
    let (d, hd, inner) = (c.hidden_size, c.head_dim, c.moe_intermediate_size);
    let (q, kv) = (c.num_attention_heads * hd, c.num_key_value_heads * hd);
    let one = |name: String, part: String, shape: &[usize], numbers: Numbers| Tensor {
        name,
        parts: vec![part],
        shape: shape.to_vec(),
        numbers: fitting(numbers, shape),
    };
    let full = Numbers::F32;
    let mut all =
        vec![one("token_embd.weight".into(), names::EMBED.into(), &[c.vocab_size, d], numbers)];
    for l in 0..c.num_hidden_layers {
        let name = |what: &str| format!("blk.{l}.{what}.weight");
        all.extend([
            one(name("attn_norm"), names::input_norm(l), &[d], full),
            one(name("attn_q"), names::projection(l, 'q'), &[q, d], numbers),
            one(name("attn_k"), names::projection(l, 'k'), &[kv, d], numbers),
            one(name("attn_v"), names::projection(l, 'v'), &[kv, d], numbers),
            one(name("attn_output"), names::projection(l, 'o'), &[d, q], numbers),
            one(name("attn_q_norm"), names::head_norm(l, 'q'), &[hd], full),
            one(name("attn_k_norm"), names::head_norm(l, 'k'), &[hd], full),
            one(name("ffn_norm"), names::post_norm(l), &[d], full),
            one(name("ffn_gate_inp"), names::router(l), &[c.num_experts, d], full),
        ]);
        for (which, shape) in [("gate", [inner, d]), ("up", [inner, d]), ("down", [d, inner])] {
            all.push(Tensor {
                name: name(&format!("ffn_{which}_exps")),
                parts: (0..c.num_experts).map(|e| names::expert(l, e, which)).collect(),
                shape: shape.to_vec(),
                numbers: fitting(numbers, &shape),
            });
        }
    }
    all.push(one("output_norm.weight".into(), names::FINAL_NORM.into(), &[d], full));
    if !c.tie_word_embeddings {
        all.push(one("output.weight".into(), names::LM_HEAD.into(), &[c.vocab_size, d], numbers));
    }
    all
}

/// The format of a tensor whose rows may be too short for blocks.
fn fitting(numbers: Numbers, shape: &[usize]) -> Numbers {
    let whole = shape.last().is_some_and(|width| width.is_multiple_of(BLOCK));
    if numbers == Numbers::Q8 && !whole { Numbers::F16 } else { numbers }
}

impl Tensor {
    /// Sizes as GGUF lists them, the fastest-varying first.
    fn dimensions(&self) -> Vec<u64> {
        let stacked = (self.parts.len() > 1).then_some(self.parts.len());
        self.shape.iter().rev().copied().chain(stacked).map(|n| n as u64).collect()
    }

    fn bytes(&self) -> usize {
        let count = self.parts.len() * self.shape.iter().product::<usize>();
        match self.numbers {
            Numbers::F16 => count * 2,
            Numbers::F32 => count * 4,
            Numbers::Q8 => count / BLOCK * (BLOCK + 2),
        }
    }
}

fn header(
    out: &mut Counted<impl Write>,
    keys: &[(&str, Value)],
    tensors: &[Tensor],
) -> std::io::Result<()> {
    out.write(MAGIC)?;
    out.write(&VERSION.to_le_bytes())?;
    out.write(&(tensors.len() as u64).to_le_bytes())?;
    out.write(&(keys.len() as u64).to_le_bytes())?;
    for (key, value) in keys {
        out.text(key)?;
        out.value(value)?;
    }
    let mut offset = 0;
    for tensor in tensors {
        out.text(&tensor.name)?;
        let dimensions = tensor.dimensions();
        #[expect(clippy::cast_possible_truncation, reason = "three at most")]
        out.write(&(dimensions.len() as u32).to_le_bytes())?;
        for dimension in dimensions {
            out.write(&dimension.to_le_bytes())?;
        }
        let kind: u32 = match tensor.numbers {
            Numbers::F32 => 0,
            Numbers::F16 => 1,
            Numbers::Q8 => 8,
        };
        out.write(&kind.to_le_bytes())?;
        out.write(&(offset as u64).to_le_bytes())?;
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    out.pad()
}

/// A writer that knows where it stands.
struct Counted<W> {
    inner: W,
    written: usize,
}

impl<W: Write> Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.written += bytes.len();
        self.inner.write_all(bytes)
    }

    fn pad(&mut self) -> std::io::Result<()> {
        let gap = self.written.next_multiple_of(ALIGNMENT) - self.written;
        self.write(&[0; ALIGNMENT][..gap])
    }

    fn text(&mut self, text: &str) -> std::io::Result<()> {
        self.write(&(text.len() as u64).to_le_bytes())?;
        self.write(text.as_bytes())
    }

    fn value(&mut self, value: &Value) -> std::io::Result<()> {
        // The type's number, then the value; an array states the type of its elements and their count.
        const ARRAY: u32 = 9;
        let mut typed = |kind: u32, bytes: &[u8]| {
            self.write(&kind.to_le_bytes())?;
            self.write(bytes)
        };
        match value {
            Value::U32(n) => typed(4, &n.to_le_bytes()),
            Value::F32(n) => typed(6, &n.to_le_bytes()),
            Value::Bool(flag) => typed(7, &[u8::from(*flag)]),
            Value::Text(text) => {
                typed(8, &[])?;
                self.text(text)
            }
            Value::Texts(texts) => {
                typed(ARRAY, &8_u32.to_le_bytes())?;
                self.write(&(texts.len() as u64).to_le_bytes())?;
                texts.iter().try_for_each(|text| self.text(text))
            }
            Value::Integers(numbers) => {
                typed(ARRAY, &5_u32.to_le_bytes())?;
                self.write(&(numbers.len() as u64).to_le_bytes())?;
                numbers.iter().try_for_each(|n| self.write(&n.to_le_bytes()))
            }
        }
    }

    fn numbers(&mut self, values: &[f32], numbers: Numbers) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(values.len() * 4);
        match numbers {
            Numbers::F32 => values.iter().for_each(|v| bytes.extend(v.to_le_bytes())),
            Numbers::F16 => {
                values.iter().for_each(|v| bytes.extend(f16::from_f32(*v).to_le_bytes()));
            }
            Numbers::Q8 => values.chunks(BLOCK).for_each(|block| {
                let (scale, quants) = crate::kernel::round_block(block);
                bytes.extend(scale.to_le_bytes());
                bytes.extend(quants.iter().map(|q| q.cast_unsigned()));
            }),
        }
        self.write(&bytes)
    }
}
