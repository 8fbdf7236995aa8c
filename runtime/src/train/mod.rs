//! Training small planners on this machine's processor.
//!
//! The passes are written by hand on slices, as the decoder's are: at a planner's size tensor
//! dispatch costs more than the arithmetic, and examples that share a prompt head share its cost
//! (see [`pass`]). Two workers run a pack each; their gradients are summed in a fixed order, so that
//! a run of a given number of steps repeats exactly.

mod adam;
mod data;
mod layout;
mod linear;
mod pass;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use half::f16;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::config::{ConfigError, EosIds, MoeConfig};
use crate::engine::{EngineError, ModelFiles};
use crate::model::Storage;
use crate::tokenizer::{Tokenizer, TokenizerError};
use adam::Adam;
use layout::Layout;
use pass::{Net, Pack, Seen, Weights};

pub use data::{Example, Piece, read};
pub use report::{GroupScore, Report};

/// Packs of one step, one a worker and turn.
const PACKS_PER_STEP: usize = 4;

/// Threads of a step.
const WORKERS: usize = 2;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The examples cannot be read.
    #[error("{path}, line {line}: {message}")]
    Data {
        /// The file.
        path: String,
        /// Its line, from 1; 0 for the file as a whole.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The vocabulary cannot be trained or used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The shape cannot be trained.
    #[error("this shape cannot be trained: {0}")]
    Shape(String),
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The planner to start from cannot be read.
    #[error("the planner to start from cannot be read: {0}")]
    Start(#[from] EngineError),
    /// A file cannot be written or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// The loss is no number any more.
    #[error("the loss is not finite at step {0}; lower the learning rate and resume")]
    Diverged(usize),
}

/// What to train and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the planner and its report.
    pub out: PathBuf,
    /// Time budget; the learning rate falls to its floor at its end.
    pub minutes: f64,
    /// Most steps; `None` for as many as the time allows.
    pub steps: Option<usize>,
    /// Seed of weights and order.
    pub seed: u64,
    /// Size of a new vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Experts of a layer, two of which serve a token.
    pub experts: usize,
    /// Inner width of an expert.
    pub inner: usize,
    /// Largest learning rate.
    pub rate: f32,
    /// Planner to start from; its vocabulary and shape are kept.
    pub init: Option<PathBuf>,
    /// Goes on from the checkpoint in `out`.
    pub resume: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            out: PathBuf::from("planner"),
            minutes: 40.0,
            steps: None,
            seed: 1,
            vocab: 6000,
            hidden: 256,
            layers: 4,
            experts: 8,
            inner: 256,
            rate: 1.5e-3,
            init: None,
            resume: false,
        }
    }
}

/// Where a training run stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Share of the budget that is spent, 0 to 1.
    pub done: f64,
    /// Cross-entropy of the last steps, nats a token.
    pub loss: f64,
    /// Share of the last steps' examples that were right to the last token.
    pub exact: f64,
    /// Tokens a second, shared heads counted once.
    pub tokens_per_s: f64,
    /// Examples a second.
    pub examples_per_s: f64,
}

struct State {
    config: MoeConfig,
    layout: Layout,
    tokenizer: Tokenizer,
    weights: Vec<f32>,
    adam: Adam,
    /// Share of the budget that earlier sittings spent.
    spent: f64,
}

/// Trains a planner and writes it to `options.out` with its report. `tell` hears of the progress
/// about every second.
///
/// # Errors
/// See [`TrainError`].
pub fn train(
    examples: &[Example],
    options: &Options,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, TrainError> {
    let mut state = start(examples, options)?;
    let (held, kept): (Vec<&Example>, Vec<&Example>) =
        examples.iter().partition(|e| e.is_held_out());
    let mut packs = data::packs(&kept, &state.tokenizer)?;
    let mut report = Report::default();
    let begun = Instant::now();
    let mut random =
        StdRng::seed_from_u64(options.seed ^ u64::from(state.adam.step.unsigned_abs()));
    let decays = state.layout.decays();
    let mut grads = vec![vec![0.0f32; state.layout.len]; WORKERS];
    let mut meter = Meter::default();
    let mut saved = Instant::now();
    'epochs: loop {
        packs.shuffle(&mut random);
        for batch in packs.chunks(PACKS_PER_STEP) {
            let spent = begun.elapsed().as_secs_f64() / 60.0 / options.minutes;
            let by_time = state.spent + spent;
            let steps = state.adam.step.unsigned_abs() as usize;
            let done =
                options.steps.map_or(by_time, |most| by_time.max(steps as f64 / most as f64));
            if done >= 1.0 {
                break 'epochs;
            }
            let seen = step(&mut state, &mut grads, batch, rate(options.rate, done), &decays);
            if !seen.loss.is_finite() {
                return Err(TrainError::Diverged(steps));
            }
            meter.add(&seen, batch);
            if let Some(progress) = meter.tell(steps + 1, done) {
                report.curve.push((steps + 1, progress.loss, progress.exact));
                report.tokens_per_s = progress.tokens_per_s;
                tell(progress);
            }
            if saved.elapsed() > Duration::from_secs(180) {
                state.spent = by_time;
                save(&state, &options.out)?;
                state.spent = by_time - spent;
                saved = Instant::now();
            }
        }
    }
    state.spent = 1.0;
    save(&state, &options.out)?;
    report.steps = state.adam.step.unsigned_abs() as usize;
    report.parameters = state.config.parameter_count();
    report.active_parameters = state.config.active_parameter_count();
    report.minutes = begun.elapsed().as_secs_f64() / 60.0;
    evaluate(&state, &held, &mut report)?;
    report.write(&options.out)?;
    Ok(report)
}

/// Warm-up over the first 3 %, then a cosine to 3 % of the peak.
fn rate(peak: f32, done: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    let done = done as f32;
    if done < 0.03 {
        return peak * (done / 0.03).max(0.02);
    }
    let angle = (done - 0.03) / 0.97 * std::f32::consts::PI;
    peak * (0.03 + 0.97 * 0.5 * (1.0 + angle.cos()))
}

fn start(examples: &[Example], options: &Options) -> Result<State, TrainError> {
    let folder = if options.resume { Some(&options.out) } else { options.init.as_ref() };
    let (config, tokenizer) = match folder {
        Some(folder) => {
            let files = ModelFiles::from_folder(folder)?;
            (MoeConfig::from_json(&files.config)?, Tokenizer::from_bytes(&files.tokenizer)?)
        }
        None => {
            let tokenizer = data::tokenizer(examples, options.vocab)?;
            (shape(options, &tokenizer)?, tokenizer)
        }
    };
    let layout = Layout::of(&config)
        .ok_or_else(|| TrainError::Shape("every layer must be sparse and the head tied".into()))?;
    let mut adam = Adam::new(layout.len);
    let mut spent = 0.0;
    let weights = match folder {
        Some(folder) if options.resume => {
            let (weights, moments, at) = report::read_state(folder, layout.len)?;
            adam = moments;
            spent = at;
            weights
        }
        Some(folder) => weights_of(folder, &layout)?,
        None => layout.fresh(&config, options.seed),
    };
    Ok(State { config, layout, tokenizer, weights, adam, spent })
}

fn shape(options: &Options, tokenizer: &Tokenizer) -> Result<MoeConfig, TrainError> {
    let head_dim = 32;
    let heads = options.hidden / head_dim;
    let config = serde_json::json!({
        "model_type": "qwen3_moe",
        "hidden_size": options.hidden,
        "num_hidden_layers": options.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": (heads / 2).max(1),
        "head_dim": head_dim,
        "moe_intermediate_size": options.inner,
        "num_experts": options.experts,
        "num_experts_per_tok": 2,
        "norm_topk_prob": true,
        "rope_theta": 10_000.0,
        "vocab_size": tokenizer.vocab_size(),
        "tie_word_embeddings": true,
        "max_position_embeddings": 4096,
        "torch_dtype": "float16",
    });
    let mut config = MoeConfig::from_json(config.to_string().as_bytes())?;
    config.eos_token_id = tokenizer.end_token().map(EosIds::One);
    Ok(config)
}

fn weights_of(folder: &Path, layout: &Layout) -> Result<Vec<f32>, TrainError> {
    let files = ModelFiles::from_folder(folder)?;
    let mut weights = vec![0.0; layout.len];
    for bytes in &files.weights {
        let shard = safetensors::SafeTensors::deserialize(bytes)
            .map_err(|e| TrainError::Shape(e.to_string()))?;
        for (name, shape, range) in &layout.tensors {
            let Ok(tensor) = shard.tensor(name) else { continue };
            if tensor.shape() != shape.as_slice() {
                return Err(TrainError::Shape(format!("`{name}` has another shape")));
            }
            let to = &mut weights[range.clone()];
            match tensor.dtype() {
                Dtype::F16 => {
                    to.iter_mut().zip(tensor.data().chunks_exact(2)).for_each(|(w, b)| {
                        *w = f16::from_le_bytes([b[0], b[1]]).to_f32();
                    })
                }
                Dtype::F32 => {
                    to.iter_mut().zip(tensor.data().chunks_exact(4)).for_each(|(w, b)| {
                        *w = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                    })
                }
                other => return Err(TrainError::Shape(format!("`{name}` is stored as {other:?}"))),
            }
        }
    }
    Ok(weights)
}

/// One step over a batch of packs.
fn step(
    state: &mut State,
    grads: &mut [Vec<f32>],
    batch: &[(Pack, Vec<usize>)],
    rate: f32,
    decays: &[bool],
) -> Seen {
    let targets: usize = batch.iter().map(|(pack, _)| pack.targets.len()).sum();
    let share = 1.0 / batch.len() as f32;
    let weights = Weights { target: 1.0 / targets as f32, balance: 0.01 * share, z: 1e-3 * share };
    let net = Net { config: &state.config, layout: &state.layout, weights: &state.weights };
    let turns: Vec<Vec<&Pack>> = (0..WORKERS)
        .map(|w| batch.iter().skip(w).step_by(WORKERS).map(|(pack, _)| pack).collect())
        .collect();
    let mut total = Seen::default();
    let all: Vec<Seen> = std::thread::scope(|scope| {
        let workers: Vec<_> = turns
            .iter()
            .zip(grads.iter_mut())
            .map(|(packs, grad)| {
                let net = &net;
                scope.spawn(move || {
                    grad.fill(0.0);
                    packs.iter().map(|pack| net.run(pack, weights, Some(grad))).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_default()).collect()
    });
    for seen in all {
        merge(&mut total, &seen);
    }
    let (first, rest) = grads.split_at_mut(1);
    for other in rest {
        first[0].iter_mut().zip(other).for_each(|(a, b)| *a += *b);
    }
    let grad = &first[0];
    let norm = grad.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt();
    if norm.is_finite() {
        #[expect(clippy::cast_possible_truncation, reason = "a factor of at most 1")]
        let scale = (1.0 / norm).min(1.0) as f32;
        state.adam.apply(&mut state.weights, grad, scale, rate, 0.05, decays);
    } else {
        total.loss = f64::NAN;
    }
    total
}

fn merge(total: &mut Seen, seen: &Seen) {
    total.loss += seen.loss;
    total.right += seen.right;
    total.exact.extend(&seen.exact);
    total.load.resize(seen.load.len(), Vec::new());
    for (total, seen) in total.load.iter_mut().zip(&seen.load) {
        total.resize(seen.len(), 0);
        total.iter_mut().zip(seen).for_each(|(t, s)| *t += s);
    }
}

/// Counts what the last second's steps saw.
#[derive(Debug)]
struct Meter {
    since: Instant,
    loss: f64,
    targets: usize,
    exact: usize,
    examples: usize,
    tokens: usize,
}

impl Default for Meter {
    fn default() -> Self {
        Self { since: Instant::now(), loss: 0.0, targets: 0, exact: 0, examples: 0, tokens: 0 }
    }
}

impl Meter {
    fn add(&mut self, seen: &Seen, batch: &[(Pack, Vec<usize>)]) {
        self.loss += seen.loss;
        self.exact += seen.exact.iter().filter(|e| **e).count();
        self.examples += seen.exact.len();
        self.targets += batch.iter().map(|(pack, _)| pack.targets.len()).sum::<usize>();
        self.tokens += batch.iter().map(|(pack, _)| pack.tokens.len()).sum::<usize>();
    }

    fn tell(&mut self, step: usize, done: f64) -> Option<Progress> {
        let seconds = self.since.elapsed().as_secs_f64();
        if seconds < 2.0 {
            return None;
        }
        let progress = Progress {
            step,
            done,
            loss: self.loss / self.targets as f64,
            exact: self.exact as f64 / self.examples as f64,
            tokens_per_s: self.tokens as f64 / seconds,
            examples_per_s: self.examples as f64 / seconds,
        };
        *self = Self::default();
        Some(progress)
    }
}

/// Measures held-out examples: right means that greedy decoding says exactly the completion.
fn evaluate(state: &State, held: &[&Example], report: &mut Report) -> Result<(), TrainError> {
    // What ships is f16, so that is what is measured.
    let weights: Vec<f32> = state.weights.iter().map(|w| f16::from_f32(*w).to_f32()).collect();
    let net = Net { config: &state.config, layout: &state.layout, weights: &weights };
    let none = Weights { target: 0.0, balance: 0.0, z: 0.0 };
    let mut total = Seen::default();
    for (pack, of) in data::packs(held, &state.tokenizer)? {
        let seen = net.run(&pack, none, None);
        for (exact, index) in seen.exact.iter().zip(of) {
            let example = held[index];
            let score =
                report.groups.entry((example.group.clone(), example.lang.clone())).or_default();
            score.examples += 1;
            score.right += usize::from(*exact);
        }
        merge(&mut total, &seen);
    }
    report.load = total.load;
    Ok(())
}

/// Returns the bytes of a safetensors file of the weights.
///
/// # Errors
/// [`TrainError::Shape`] ⇐ the library refuses a tensor.
fn checkpoint(layout: &Layout, weights: &[f32], storage: Storage) -> Result<Vec<u8>, TrainError> {
    let fail = |e: safetensors::SafeTensorError| TrainError::Shape(e.to_string());
    let dtype = match storage {
        Storage::F32 => Dtype::F32,
        Storage::F16 => Dtype::F16,
    };
    let bytes: Vec<Vec<u8>> = layout
        .tensors
        .iter()
        .map(|(_, _, range)| {
            let values = weights[range.clone()].iter();
            match storage {
                Storage::F32 => values.flat_map(|v| v.to_le_bytes()).collect(),
                Storage::F16 => values.flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            }
        })
        .collect();
    let views = layout
        .tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| Ok((name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    safetensors::serialize(views, None).map_err(fail)
}

fn save(state: &State, folder: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| TrainError::Io { path: folder.display().to_string(), source })?;
    report::put(folder, "config.json", state.config.to_json()?.as_bytes())?;
    report::put(folder, "tokenizer.json", state.tokenizer.to_json()?.as_bytes())?;
    let weights = checkpoint(&state.layout, &state.weights, Storage::F16)?;
    report::put(folder, "model.safetensors", &weights)?;
    report::write_state(folder, &state.weights, &state.adam, state.spent)
}
