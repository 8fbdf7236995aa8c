//! Training small planners on this machine's processor.
//!
//! The passes are written by hand on slices, as the decoder's are: at a planner's size tensor
//! dispatch costs more than the arithmetic, and examples that share a prompt head share its cost
//! (see [`pass`]). Two workers run a pack each; their gradients are summed in a fixed order, so that
//! a run of a given number of steps repeats exactly.

mod adam;
mod attend;
mod data;
mod experts;
mod layout;
mod linear;
mod ops;
mod page;
mod pass;
mod pool;
mod progress;
mod report;
mod state;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use half::f16;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::config::ConfigError;
use crate::engine::EngineError;
use crate::intent::{INTENTS_FILE, IntentError, Intents, NOTHING, Places};
use crate::tokenizer::TokenizerError;
use pass::{Net, Pack, Seen, Weights};
use pool::Pool;
use progress::Meter;
use state::{State, save, start};

pub use data::{Example, Piece, read};
pub use linear::Precision;
pub use progress::Progress;
pub use report::{GroupScore, Load, Report};

/// Packs of one step, one a worker and turn.
const PACKS_PER_STEP: usize = 4;

/// Threads of a step.
const WORKERS: usize = 2;

/// Time between checkpoints.
const CHECKPOINT: Duration = Duration::from_secs(180);

/// Weight of the router's load-balancing loss, per layer.
const BALANCE: f32 = 0.01;

/// Weight of the router's squared log-sum-exp, per layer.
const ROUTER_Z: f32 = 1e-3;

/// Largest norm of a gradient; longer ones are scaled down to it.
const CLIP: f64 = 1.0;

/// Share of the learning rate by which matrices decay.
const DECAY: f32 = 0.05;

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
    /// The classifier of requests cannot be read or written.
    #[error(transparent)]
    Intents(#[from] IntentError),
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
    /// The caller asked to stop; the checkpoint is written.
    #[error("stopped after step {0}; the checkpoint is written, resume to go on")]
    Stopped(usize),
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
    /// Number format of the products.
    pub precision: Precision,
    /// Planner to start from; its shape and vocabulary are kept, and special tokens that only the
    /// examples have are added.
    pub init: Option<PathBuf>,
    /// Goes on from the checkpoint in `out`.
    pub resume: bool,
    /// Time between two words of progress; at zero every step has one.
    pub pace: Duration,
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
            precision: Precision::default(),
            init: None,
            resume: false,
            pace: Duration::from_secs(2),
        }
    }
}

/// Trains a planner and writes it to `options.out` with its report. `tell` hears of the progress at
/// `options.pace` and may stop the run, which can then be resumed.
///
/// The learning rate follows the share of the budget that is spent: of `minutes`, or of `steps`
/// where that is further. A run that ends by its steps gives the same weights each time, and also
/// when it was stopped and resumed.
///
/// # Errors
/// See [`TrainError`].
pub fn train(
    examples: &[Example],
    options: &Options,
    tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Report, TrainError> {
    let (held, kept): (Vec<&Example>, Vec<&Example>) =
        examples.iter().partition(|e| e.is_held_out());
    if kept.is_empty() {
        return Err(TrainError::Shape("no example is for training, all are held out".into()));
    }
    let mut state = start(&kept, options)?;
    let packs = data::packs(&kept, &state.tokenizer)?;
    let mut report = if options.resume { Report::begun(&options.out) } else { Report::default() };
    report.parameters = state.config.parameter_count();
    report.active_parameters = state.config.active_parameter_count();
    // Before the long part, so that a run that is cut off leaves a planner that is whole.
    let begun_with = if options.resume { Some(&options.out) } else { options.init.as_ref() };
    let intents = fit_intents(&kept, begun_with.map(PathBuf::as_path), options.seed)?;
    put_intents(&intents, &options.out)?;
    run(&mut state, &packs, options, &mut report, tell)?;
    save(&state, &options.out)?;
    report.intents = recognised(&intents, &held);
    evaluate(&state, &held, &mut report)?;
    report.write(&options.out)?;
    Ok(report)
}

/// Fits the classifiers of what requests ask for on the examples that say it. Those of other domains
/// are taken over from the planner in `earlier`, where that has some.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::Intents`] ⇐ the earlier ones cannot be read.
pub fn fit_intents(
    examples: &[&Example],
    earlier: Option<&Path>,
    seed: u64,
) -> Result<Intents, TrainError> {
    let places = Intents::fit_places(examples.iter().filter_map(|example| example.pointed()), seed);
    let requests = Intents::fit(examples.iter().filter_map(|example| example.labelled()), seed);
    let mut intents = requests.or(places);
    let path = earlier.map(|folder| folder.join(INTENTS_FILE)).filter(|path| path.exists());
    if let Some(path) = path {
        let bytes = std::fs::read(&path)
            .map_err(|source| TrainError::Io { path: path.display().to_string(), source })?;
        intents = intents.or(Intents::from_bytes(&bytes)?);
    }
    Ok(intents)
}

/// Writes classifiers into a planner's folder, which is made when absent; none ⇒ no file.
///
/// # Errors
/// [`TrainError::Io`] ⇐ the file cannot be written; [`TrainError::Intents`].
pub fn put_intents(intents: &Intents, folder: &Path) -> Result<(), TrainError> {
    if intents.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)
        .map_err(|source| TrainError::Io { path: folder.display().to_string(), source })?;
    state::put(folder, INTENTS_FILE, &intents.to_bytes()?)
}

/// Measures classifiers on held-out examples: right means that the likeliest label is one that the
/// request has.
pub fn recognised(intents: &Intents, held: &[&Example]) -> GroupScore {
    let mut score = GroupScore::default();
    for example in held.iter().filter_map(|example| example.labelled()) {
        let Some(scores) = intents.score(example.domain, example.text) else { continue };
        let best = scores.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(label, _)| *label);
        score.examples += 1;
        score.right += usize::from(example.labels.iter().any(|label| Some(label.as_str()) == best));
    }
    score
}

/// Measures classifiers on held-out examples: right means that every reference of the request is taken
/// for what it fills, and for nothing else.
pub fn placed(intents: &Intents, held: &[&Example]) -> GroupScore {
    let mut score = GroupScore::default();
    for example in held.iter().filter_map(|example| example.pointed()) {
        let Some(scores) = intents.places(example.domain, example.call, example.text) else {
            continue;
        };
        let right = |(id, places): &Places<'_>| {
            let meant = places.iter().filter(|(_, p)| *p > 0.5).map(|(place, _)| *place);
            let meant = meant.filter(|place| *place != NOTHING);
            meant.eq(example.places.get(id).into_iter().flatten().map(String::as_str))
        };
        score.examples += 1;
        score.right += usize::from(scores.iter().all(right));
    }
    score
}

/// Steps until the budget is spent.
fn run(
    state: &mut State,
    packs: &[(Pack, Vec<usize>)],
    options: &Options,
    report: &mut Report,
    tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), TrainError> {
    let (begun, earlier, earlier_minutes) = (Instant::now(), state.spent, report.minutes);
    let decay = state.layout.decay(DECAY);
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| Worker::new(state.layout.len)).collect();
    let mut meter = Meter::default();
    let mut saved = Instant::now();
    let epoch_steps = packs.len().div_ceil(PACKS_PER_STEP);
    let mut order = (usize::MAX, Vec::new());
    loop {
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        report.minutes = earlier_minutes + minutes;
        report.steps = state.adam.step.unsigned_abs() as usize;
        state.spent = earlier + minutes / options.minutes;
        let by_steps = options.steps.map_or(0.0, |most| report.steps as f64 / most as f64);
        let done = state.spent.max(by_steps);
        if done >= 1.0 {
            state.spent = 1.0;
            return Ok(());
        }
        let (epoch, at) = (report.steps / epoch_steps, report.steps % epoch_steps);
        if order.0 != epoch {
            order = (epoch, shuffled(packs.len(), options.seed, epoch));
        }
        let batch: Vec<&Pack> = order.1[at * PACKS_PER_STEP..]
            .iter()
            .take(PACKS_PER_STEP)
            .map(|index| &packs[*index].0)
            .collect();
        let seen =
            step(state, &mut workers, &batch, rate(options.rate, done), &decay, options.precision);
        report.steps += 1;
        if !seen.loss.is_finite() {
            return Err(TrainError::Diverged(report.steps));
        }
        meter.add(&seen, &batch);
        let mut go = ControlFlow::Continue(());
        if let Some(progress) = meter.tell(report.steps, done, options.pace) {
            report.curve.push((report.steps, progress.loss, progress.exact));
            report.tokens_per_s = progress.tokens_per_s;
            go = tell(progress);
        }
        if go.is_break() || saved.elapsed() > CHECKPOINT {
            save(state, &options.out)?;
            report.write(&options.out)?;
            saved = Instant::now();
        }
        if go.is_break() {
            return Err(TrainError::Stopped(report.steps));
        }
    }
}

/// Order of the packs in an epoch: the same whenever it is asked for, so that a resumed run goes on
/// where it was cut.
fn shuffled(packs: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..packs).collect();
    let own = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(epoch as u64);
    order.shuffle(&mut StdRng::seed_from_u64(own));
    order
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

/// What a thread of training keeps from step to step.
struct Worker {
    grad: Vec<f32>,
    pool: Pool,
}

impl Worker {
    fn new(len: usize) -> Self {
        Self { grad: vec![0.0; len], pool: Pool::default() }
    }
}

/// One step over a batch of packs. The loss is NaN where the gradient is not finite; the weights then
/// stay as they were.
fn step(
    state: &mut State,
    workers: &mut [Worker],
    batch: &[&Pack],
    rate: f32,
    decay: &[f32],
    precision: Precision,
) -> Seen {
    let targets: usize = batch.iter().map(|pack| pack.targets.len()).sum();
    let share = 1.0 / batch.len() as f32;
    let weights =
        Weights { target: 1.0 / targets as f32, balance: BALANCE * share, z: ROUTER_Z * share };
    let net =
        Net { config: &state.config, layout: &state.layout, weights: &state.weights, precision };
    let mut total = Seen::default();
    let seen: Vec<Vec<Seen>> = std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .enumerate()
            .map(|(worker, Worker { grad, pool })| {
                let net = &net;
                scope.spawn(move || {
                    grad.fill(0.0);
                    let own = batch.iter().skip(worker).step_by(WORKERS);
                    own.map(|pack| net.run(pack, weights, Some(grad), pool)).collect()
                })
            })
            .collect();
        running.into_iter().map(joined).collect()
    });
    for seen in seen.iter().flatten() {
        merge(&mut total, seen);
    }
    let norm = sum(workers).sqrt();
    if norm.is_finite() {
        #[expect(clippy::cast_possible_truncation, reason = "a factor of at most 1")]
        let scale = (CLIP / norm).min(1.0) as f32;
        state.adam.apply(&mut state.weights, &workers[0].grad, (scale, rate), decay, WORKERS);
    } else {
        total.loss = f64::NAN;
    }
    total
}

/// Adds all gradients to the first, a part a thread; returns the square of its norm.
fn sum(workers: &mut [Worker]) -> f64 {
    let Some((first, rest)) = workers.split_first_mut() else { return 0.0 };
    let first = &mut first.grad;
    let part = first.len().div_ceil(WORKERS).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = first
            .chunks_mut(part)
            .enumerate()
            .map(|(i, first)| {
                let rest = &*rest;
                scope.spawn(move || {
                    for other in rest {
                        ops::add_scaled(first, 1.0, &other.grad[i * part..][..first.len()]);
                    }
                    // Rows of lanes, so that the sum does not wait for itself at every entry.
                    first
                        .chunks(1024)
                        .map(|row| f64::from(crate::kernel::dot(row, row)))
                        .sum::<f64>()
                })
            })
            .collect();
        workers.into_iter().map(joined).sum()
    })
}

/// Returns what a worker made; a worker's panic goes on in its caller.
fn joined<T>(worker: ScopedJoinHandle<'_, T>) -> T {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn merge(total: &mut Seen, seen: &Seen) {
    total.loss += seen.loss;
    total.right += seen.right;
    total.exact.extend(&seen.exact);
}

/// Measures held-out examples: right means that greedy decoding says exactly the completion, which
/// is so when every token of it is the likeliest after those before.
fn evaluate(state: &State, held: &[&Example], report: &mut Report) -> Result<(), TrainError> {
    // What ships is f16, so that is what is measured.
    let weights: Vec<f32> = state.weights.iter().map(|w| f16::from_f32(*w).to_f32()).collect();
    let net = Net {
        config: &state.config,
        layout: &state.layout,
        weights: &weights,
        precision: Precision::F32,
    };
    let none = Weights { target: 0.0, balance: 0.0, z: 0.0 };
    let packs = data::packs(held, &state.tokenizer)?;
    let seen: Vec<Vec<Seen>> = std::thread::scope(|scope| {
        let workers: Vec<_> = packs
            .chunks(packs.len().div_ceil(WORKERS).max(1))
            .map(|packs| {
                let net = &net;
                scope.spawn(move || {
                    let mut pool = Pool::default();
                    packs.iter().map(|(p, _)| net.run(p, none, None, &mut pool)).collect()
                })
            })
            .collect();
        workers.into_iter().map(joined).collect()
    });
    report.groups.clear();
    report.load.clear();
    for (seen, (_, of)) in seen.iter().flatten().zip(&packs) {
        for (exact, index) in seen.exact.iter().zip(of) {
            report.count(held[*index], *exact);
        }
        // A pack's examples share their tools, so the first one's industry is that of all.
        if let Some(first) = of.first() {
            report.add_load(held[*first], &seen.load);
        }
    }
    Ok(())
}
