//! `tessera model gate`: whether the planner of a folder may replace another, on the cases of a pack.

use std::ops::ControlFlow;
use std::path::PathBuf;

use agents::eval::gate::{Side, Verdict};
use agents::run::Agent;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::super::{CliError, eval, say};
use crate::config::Config;
use crate::models::{ModelError, compare};
use crate::planner;

#[derive(Debug, Args)]
pub(in crate::cli) struct GateCommand {
    /// Pack whose cases both planners run.
    #[arg(long)]
    pack: String,
    /// Folder of the candidate.
    #[arg(long)]
    candidate: PathBuf,
    /// Folder of the planner that it would replace; the one in use when absent.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Cases, one JSON object a line; the pack's own when absent.
    #[arg(long)]
    cases: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs both planners and prints what the gate finds.
pub(super) fn gate(config: &Config, command: &GateCommand) -> Result<(), CliError> {
    let pack = eval::find(&command.pack)?;
    let cases = eval::read(&pack, command.cases.as_deref())?;
    let load = |folder| planner::load(folder).map_err(CliError::Planner);
    let candidate = load(Some(command.candidate.as_path()))?;
    let against = load(command.against.as_deref().or(config.planner.as_deref()))?;
    let names = [candidate.version().to_owned(), against.version().to_owned()];
    let against = Agent::new(pack, against).map_err(|error| CliError::Pack(error.to_string()))?;
    let candidate = against.with_planner(candidate);
    let mut bar = bar();
    let verdict = compare(&candidate, &against, &cases, config.rules(), &mut bar)?;
    if command.json {
        say(serde_json::to_string(&verdict).map_err(std::io::Error::other)?)?;
    } else {
        print(&verdict, &names)?;
    }
    if verdict.passed {
        return Ok(());
    }
    let reasons: Vec<&str> = verdict.reasons().collect();
    Err(ModelError::GateFailed { label: names[0].clone(), reasons: reasons.join(" ") }.into())
}

/// Returns what shows the progress of a gate.
pub(super) fn bar() -> impl FnMut(usize, usize) -> ControlFlow<()> + Send + 'static {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} plans, {eta} left") {
        bar.set_style(style);
    }
    move |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        if done == of {
            bar.finish_and_clear();
        }
        ControlFlow::Continue(())
    }
}

/// Prints a verdict on planners of these names: the candidate, and the one it would replace.
pub(super) fn print(verdict: &Verdict, names: &[String; 2]) -> Result<(), CliError> {
    for change in &verdict.changed {
        let mark = if change.gained { '+' } else { '-' };
        say(format_args!(
            "{mark} {} ({}): expected {}, before {}, now {}",
            change.case, change.lang, change.expected, change.before.decided, change.after.decided
        ))?;
    }
    say(format_args!(
        "{:<22} {:>6} {:>24} {:>10} {:>12}",
        "planner", "right", "share (95 %)", "forbidden", "median plan"
    ))?;
    side(&names[0], &verdict.candidate)?;
    side(&names[1], &verdict.against)?;
    say(format_args!(
        "{} cases; difference {}; won {}, lost {}",
        verdict.cases, verdict.difference, verdict.won, verdict.lost
    ))?;
    for check in &verdict.checks {
        say(format_args!("{} {}", if check.holds { '✓' } else { '✗' }, check.says))?;
    }
    say(if verdict.passed { "It may be promoted." } else { "It stays a candidate." })
}

fn side(name: &str, side: &Side) -> Result<(), CliError> {
    say(format_args!(
        "{name:<22} {:>6} {:>24} {:>10} {:>9.1} ms",
        side.right,
        side.share.to_string(),
        side.forbidden,
        side.plan_ms_p50
    ))
}
