//! `tessera model`: the making of planners on this machine.

mod export;
mod trace;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use runtime::train::{Options, Progress, Report, TrainError, read, train};

use super::{CliError, say};

/// Marks of the progress bar: thousandths of the budget.
const MARKS: u64 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Train a planner from a file of examples.
    Train(TrainCommand),
    /// Write a planner in a form that other programs load.
    ///
    /// Ends with 2 when the planner cannot be read or has no such form.
    Export(export::ExportCommand),
    /// Plan requests made from the packs' phrases and write each token with what it was chosen from,
    /// for comparing this engine with another.
    Trace(trace::TraceCommand),
}

#[derive(Debug, Args)]
pub(super) struct TrainCommand {
    /// Examples, one JSON object a line.
    #[arg(long)]
    data: PathBuf,
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

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number above zero is needed".to_owned()),
    }
}

/// Runs a `model` command. `planner` is the folder of a planner to use instead of the shipped one.
pub(super) async fn model(planner: Option<PathBuf>, command: ModelCommand) -> Result<(), CliError> {
    let apart = |work: Box<dyn FnOnce() -> Result<(), CliError> + Send>| async move {
        tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
    };
    match command {
        ModelCommand::Train(command) => train_command(command).await,
        ModelCommand::Export(command) => {
            apart(Box::new(move || export::export(planner.as_deref(), &command))).await
        }
        ModelCommand::Trace(command) => {
            apart(Box::new(move || trace::trace(planner.as_deref(), &command))).await
        }
    }
}

async fn train_command(command: TrainCommand) -> Result<(), CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stop);
    // Ctrl-C ends the run after its step, with a checkpoint.
    let listener = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            heard.store(true, Ordering::Relaxed);
        }
    });
    let done = tokio::task::spawn_blocking(move || run(&command, &stop)).await;
    listener.abort();
    done.map_err(std::io::Error::other)?
}

fn run(command: &TrainCommand, stop: &AtomicBool) -> Result<(), CliError> {
    let options = options(command);
    let examples = read(&command.data).map_err(|error| failed(&error))?;
    let held = examples.iter().filter(|example| example.is_held_out()).count();
    say(format_args!("{} examples, {held} of them held out", examples.len()))?;
    let bar = ProgressBar::new(MARKS).with_style(style());
    let report = train(&examples, &options, &mut |progress| {
        show(&bar, command.minutes, &progress);
        if stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| failed(&error))?;
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
fn failed(error: &TrainError) -> CliError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_must_be_a_number_above_zero() {
        assert!(positive("0.5").is_ok());
        for text in ["0", "-1", "NaN", "inf", "soon"] {
            assert!(positive(text).is_err(), "{text}");
        }
    }
}
