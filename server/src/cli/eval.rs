//! `tessera pack eval`: what a planner makes of the cases of a pack.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agents::eval::{self, Case, Outcome, Score, Summary};
use agents::pack::{Pack, json_lines, shipped};
use agents::plan::Selective;
use agents::run::Agent;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{CliError, say};
use crate::planner;

#[derive(Debug, Args)]
pub(super) struct EvalCommand {
    /// Name of the pack.
    #[arg(required_unless_present = "folder", conflicts_with = "folder")]
    pack: Option<String>,
    /// Read the pack from this folder and not from the program.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Cases, one JSON object a line; the pack's own when absent.
    #[arg(long)]
    cases: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Write a page with the figures and their pictures to this file.
    #[arg(long)]
    html: Option<PathBuf>,
}

/// Runs the cases one after the other and prints the figures.
pub(super) fn eval(folder: Option<&Path>, command: &EvalCommand) -> Result<(), CliError> {
    let pack = match &command.folder {
        Some(folder) => super::pack::from_folder(folder)?,
        None => find(command.pack.as_deref().unwrap_or_default())?,
    };
    let cases = read(&pack, command.cases.as_deref())?;
    let planner = planner::load(folder).map_err(CliError::Planner)?;
    let (title, model) = (pack.manifest.id.clone(), planner.version().to_owned());
    let agent = Agent::new(pack, planner).map_err(|error| CliError::Pack(error.to_string()))?;
    let summary = Summary::of(&outcomes(&agent, &cases)?);
    if let Some(path) = &command.html {
        std::fs::write(path, eval::page::html(&title, &model, &summary))?;
    }
    if command.json {
        say(serde_json::to_string(&summary).map_err(std::io::Error::other)?)?;
    } else {
        print(&summary)?;
    }
    match summary.forbidden_violations {
        0 => Ok(()),
        n => Err(CliError::Run(format!("a forbidden tool was called in {n} cases"))),
    }
}

pub(super) fn find(name: &str) -> Result<Arc<Pack>, CliError> {
    let packs = shipped().map_err(|error| CliError::Pack(error.to_string()))?;
    packs.iter().find(|pack| pack.manifest.id == name).map(Arc::clone).ok_or_else(|| {
        let names: Vec<&str> = packs.iter().map(|pack| pack.manifest.id.as_str()).collect();
        CliError::Input(format!("there is no pack `{name}`; there are {}", names.join(", ")))
    })
}

/// Reads the cases of a file, or the pack's own.
pub(super) fn read(pack: &Pack, path: Option<&Path>) -> Result<Vec<Case>, CliError> {
    let Some(path) = path else {
        return eval::cases(pack).map_err(|error| CliError::Pack(error.to_string()));
    };
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Input(format!("cannot read {shown}: {error}")))?;
    json_lines(&text)
        .map_err(|(line, message)| CliError::Input(format!("{shown}, line {line}: {message}")))
}

fn outcomes(agent: &Agent, cases: &[Case]) -> Result<Vec<Outcome>, CliError> {
    let bar = ProgressBar::new(cases.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} cases, {eta} left") {
        bar.set_style(style);
    }
    let run = |case| {
        bar.inc(1);
        eval::run(agent, case, eval::CASES_AT).map_err(|error| CliError::Pack(error.to_string()))
    };
    let outcomes = cases.iter().map(run).collect();
    bar.finish_and_clear();
    outcomes
}

fn print(summary: &Summary) -> Result<(), CliError> {
    for fault in &summary.failures {
        say(format_args!("{}: expected {}, decided {}", fault.id, fault.expected, fault.decided))?;
        say(format_args!("    {}", fault.said.replace('\n', "\n    ")))?;
    }
    say(format_args!("{:<12} {:>6} {:>9} {:>9} {:>9}", "", "cases", "decision", "exact", "facts"))?;
    line("all", &summary.all)?;
    for (language, score) in &summary.by_language {
        line(language, score)?;
    }
    for (kind, score) in &summary.by_kind {
        line(&format!("{kind:?}").to_lowercase(), score)?;
    }
    say(format_args!(
        "forbidden calls {}, median plan {:.1} ms",
        summary.forbidden_violations, summary.plan_ms_p50
    ))?;
    summary.selective.as_ref().map_or(Ok(()), risks)
}

/// Prints what acting only on the surest plans would come to.
fn risks(found: &Selective) -> Result<(), CliError> {
    let risk = |share: u32| {
        let risk = found.risk_at(f64::from(share) / 100.0);
        format!("{share}% {:.1}%", risk * 100.0)
    };
    say(format_args!(
        "wrong among the surest: {}",
        [50, 60, 70, 80, 90, 100].map(risk).join(", ")
    ))?;
    say(format_args!(
        "area under risk-coverage {:.4} (best {:.4}), calibration error {:.3}",
        found.aurc, found.aurc_best, found.ece
    ))
}

fn line(name: &str, score: &Score) -> Result<(), CliError> {
    let pct = |share: Option<f64>| {
        share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0))
    };
    say(format_args!(
        "{name:<12} {:>6} {:>9} {:>9} {:>9}",
        score.cases,
        pct(score.tool_accuracy),
        pct(score.exact_call),
        pct(score.facts)
    ))
}
