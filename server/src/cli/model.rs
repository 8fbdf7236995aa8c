//! `tessera model`: the making of planners on this machine, and which of them plans.

mod calibrate;
mod export;
mod gate;
mod intents;
mod registry;
mod trace;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use runtime::train::{Example, Options, Progress, Report, TrainError, read, train};

use super::{CliError, consent, say};
use crate::config::{Config, positive};

/// Marks of the progress bar: thousandths of the budget.
const MARKS: u64 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Train a planner from a file of examples.
    Train(TrainCommand),
    /// Fit a planner's classifier of requests alone, which takes seconds: what makes it know a new tool
    /// or new phrases of an old one.
    Intents(intents::IntentsCommand),
    /// Write a planner in a form that other programs load.
    ///
    /// Ends with 2 when the planner cannot be read or has no such form.
    Export(export::ExportCommand),
    /// Plan requests made from the packs' phrases and write each token with what it was chosen from,
    /// for comparing this engine with another.
    Trace(trace::TraceCommand),
    /// Fit how sure a planner may say it is, and below what it should ask, on requests that it never
    /// saw; writes `calibration.json`.
    ///
    /// Ends with 2 when a request is an evaluation case of a pack, or too few are there.
    Calibrate(calibrate::CalibrateCommand),
    /// Compare a planner with the one that it would replace, on the held-out cases of a pack.
    ///
    /// Ends with 1 when the candidate is not better beyond chance, calls what is forbidden, or plans
    /// too slowly, and 2 when there is no such pack or no case.
    Gate(gate::GateCommand),
    #[command(flatten)]
    Registry(registry::RegistryCommand),
}

#[derive(Debug, Args)]
pub(super) struct TrainCommand {
    /// Examples, one JSON object a line.
    #[arg(long)]
    data: PathBuf,
    /// Joint venture whose own planner it is; examples of its runs count also where it allows no other
    /// planner. Consent is read from the data folder of `TESSERA_DATA`.
    #[arg(long)]
    tenant: Option<String>,
    /// Folder of the planner, its checkpoint and its report.
    #[arg(long)]
    out: PathBuf,
    /// Time budget in minutes.
    #[arg(long, default_value_t = 40.0, value_parser = positive)]
    minutes: f64,
    /// Most steps; as many as the time allows when absent.
    #[arg(long)]
    steps: Option<NonZeroUsize>,
    /// Seed of the weights and of the order of the examples.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Planner to start from; its vocabulary and shape are kept.
    #[arg(long, conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// Go on from the checkpoint in the output folder.
    #[arg(long)]
    resume: bool,
    /// Tokens of a new vocabulary.
    #[arg(long, default_value_t = 6000)]
    vocab: usize,
    /// Width of the residual stream, a multiple of 64.
    #[arg(long, default_value_t = 256)]
    hidden: usize,
    /// Decoder layers.
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Experts of a layer.
    #[arg(long, default_value_t = 8)]
    experts: usize,
    /// Inner width of an expert.
    #[arg(long, default_value_t = 256)]
    inner: usize,
    /// Largest learning rate.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
}

/// Runs a `model` command.
pub(super) async fn model(config: &Config, command: ModelCommand) -> Result<(), CliError> {
    match command {
        ModelCommand::Train(command) => training(config, command).await,
        ModelCommand::Intents(command) => {
            let examples = permitted(config, &command.data, command.tenant.as_deref()).await?;
            apart(config, move |_| intents::intents(&command, &examples)).await
        }
        ModelCommand::Export(command) => {
            apart(config, move |config| export::export(config.planner.as_deref(), &command)).await
        }
        ModelCommand::Trace(command) => {
            apart(config, move |config| trace::trace(config.planner.as_deref(), &command)).await
        }
        ModelCommand::Calibrate(command) => {
            apart(config, move |config| calibrate::calibrate(config, &command)).await
        }
        ModelCommand::Gate(command) => {
            apart(config, move |config| gate::gate(config, &command)).await
        }
        ModelCommand::Registry(command) => registry::registry(config, command).await,
    }
}

/// Runs what computes for seconds away from the threads of the runtime.
async fn apart(
    config: &Config,
    work: impl FnOnce(&Config) -> Result<(), CliError> + Send + 'static,
) -> Result<(), CliError> {
    let config = config.clone();
    let done = tokio::task::spawn_blocking(move || work(&config)).await;
    done.map_err(std::io::Error::other)?
}

/// Reads the examples of a file that may be trained on.
async fn permitted(
    config: &Config,
    data: &Path,
    tenant: Option<&str>,
) -> Result<Vec<Example>, CliError> {
    let examples = read(data).map_err(|error| failed(&error))?;
    // Here `--data` names the examples, so that the environment alone can name the data folder.
    let data = std::env::var_os("TESSERA_DATA").map(PathBuf::from);
    let config = Config { data, ..config.clone() };
    consent::permitted(&config, examples, tenant).await
}

async fn training(config: &Config, command: TrainCommand) -> Result<(), CliError> {
    let examples = permitted(config, &command.data, command.tenant.as_deref()).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stop);
    // Ctrl-C ends the run after its step, with a checkpoint.
    let listener = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            heard.store(true, Ordering::Relaxed);
        }
    });
    let done = tokio::task::spawn_blocking(move || run(&command, &examples, &stop)).await;
    listener.abort();
    done.map_err(std::io::Error::other)?
}

fn run(command: &TrainCommand, examples: &[Example], stop: &AtomicBool) -> Result<(), CliError> {
    let options = options(command);
    let held = examples.iter().filter(|example| example.is_held_out()).count();
    say(format_args!("{} examples, {held} of them held out", examples.len()))?;
    let bar = ProgressBar::new(MARKS).with_style(style());
    let report = train(examples, &options, &mut |progress| {
        show(&bar, command.minutes, &progress);
        if stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| failed(&error))?;
    consent::keep_card(&command.data, &command.out)?;
    tell(&report, command)
}

fn options(command: &TrainCommand) -> Options {
    let mut options = Options {
        out: command.out.clone(),
        minutes: command.minutes,
        steps: command.steps.map(NonZeroUsize::get),
        seed: command.seed,
        vocab: command.vocab,
        hidden: command.hidden,
        layers: command.layers,
        experts: command.experts,
        inner: command.inner,
        init: command.init.clone(),
        resume: command.resume,
        ..Options::default()
    };
    if let Some(rate) = command.rate {
        #[expect(clippy::cast_possible_truncation, reason = "a learning rate needs no more digits")]
        let rate = rate as f32;
        options.rate = rate;
    }
    options
}

/// A wrong argument or file is the user's to mend; anything else is a failure.
pub(super) fn failed(error: &TrainError) -> CliError {
    match error {
        TrainError::Diverged(_) | TrainError::Stopped(_) => {
            CliError::Io(std::io::Error::other(error.to_string()))
        }
        _ => CliError::Input(error.to_string()),
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn show(bar: &ProgressBar, minutes: f64, progress: &Progress) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of the marks"
    )]
    bar.set_position((progress.done * MARKS as f64) as u64);
    bar.set_message(format!(
        "step {}  loss {:.4}  exact {:.1} %  {:.0} tokens/s  at most {:.0} min left",
        progress.step,
        progress.loss,
        progress.exact * 100.0,
        progress.tokens_per_s,
        (1.0 - progress.done) * minutes,
    ));
}

fn tell(report: &Report, command: &TrainCommand) -> Result<(), CliError> {
    let total = report.total();
    say(format_args!(
        "{} steps in {:.1} minutes, {:.0} tokens/s; held out: {} of {} right to the last token",
        report.steps, report.minutes, report.tokens_per_s, total.right, total.examples
    ))?;
    for (name, score) in report.by_industry().iter().chain(&report.by_language()) {
        say(format_args!("  {name}\t{} of {}", score.right, score.examples))?;
    }
    say(format_args!(
        "Planner: {}  Report: {}",
        command.out.display(),
        command.out.join("report.html").display()
    ))
}
