//! `tessera model calibrate`: how sure a planner may say it is.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agents::eval::{self, Case, Outcome};
use agents::pack::{Pack, json_lines, shipped};
use agents::plan::{Calibration, Graded, Planner, RISK, Selective};
use agents::run::Agent;
use agents::synth::{Maker, Templates};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Deserialize;

use super::super::{CliError, say};
use crate::config::{Config, share};
use crate::planner;

/// Parts of the examples that each are measured by a curve fitted on the others.
const FOLDS: usize = 5;

#[derive(Debug, Args)]
pub(in crate::cli) struct CalibrateCommand {
    /// Requests and what must become of each, in the form of evaluation cases with the name of their
    /// `pack`, one JSON object a line. When absent, requests are made from the packs' phrases that
    /// training never sees.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Requests made for each pack where no file is given.
    #[arg(long, default_value_t = 300, conflicts_with = "data")]
    count: usize,
    /// Seed of these requests.
    #[arg(long, default_value_t = 1, conflicts_with = "data")]
    seed: u64,
    /// Share of wrong plans among those acted on, for which the threshold is chosen.
    #[arg(long, default_value_t = RISK, value_parser = share)]
    risk: f64,
    /// File to write; `calibration.json` beside the planner named by `--planner` when absent.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    pack: String,
    #[serde(flatten)]
    case: Case,
}

/// Requests of one pack, and the instant that counts as now in them.
struct Requests {
    pack: Arc<Pack>,
    cases: Vec<Case>,
    now: Timestamp,
}

/// Plans the requests, fits the curve and writes it.
pub(in crate::cli) fn calibrate(
    config: &Config,
    command: &CalibrateCommand,
) -> Result<(), CliError> {
    let beside = config.planner.as_ref().map(|folder| folder.join(planner::CALIBRATION_FILE));
    let out = command.out.clone().or(beside).ok_or_else(|| {
        CliError::Input("name the file with --out, or the planner's folder with --planner".into())
    })?;
    let planner = planner::load(config.planner.as_deref()).map_err(CliError::Planner)?;
    let requests = match &command.data {
        Some(path) => read(path)?,
        None => make(command.count, command.seed)?,
    };
    refuse_cases(&requests)?;
    let outcomes = outcomes(&requests, &planner)?;
    let graded: Vec<Graded> = outcomes
        .iter()
        .map(|one| Graded { score: f64::from(one.score), right: one.planned_right() })
        .collect();
    let fit = |graded: &[Graded]| {
        Calibration::fit(planner.digest(), graded, command.risk)
            .map_err(|error| CliError::Input(error.to_string()))
    };
    let fitted = fit(&graded)?;
    std::fs::write(&out, fitted.to_json())?;
    tell(&fitted, &graded, &crossed(&graded, fit)?, &out)
}

fn broken(error: impl std::fmt::Display) -> CliError {
    CliError::Pack(error.to_string())
}

fn read(path: &Path) -> Result<Vec<Requests>, CliError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Input(format!("cannot read {shown}: {error}")))?;
    let lines: Vec<Line> = json_lines(&text)
        .map_err(|(line, message)| CliError::Input(format!("{shown}, line {line}: {message}")))?;
    let mut all: Vec<Requests> = Vec::new();
    for Line { pack, case } in lines {
        match all.iter_mut().find(|one| one.pack.manifest.id == pack) {
            Some(one) => one.cases.push(case),
            None => all.push(Requests {
                pack: super::super::eval::find(&pack)?,
                cases: vec![case],
                now: eval::CASES_AT,
            }),
        }
    }
    Ok(all)
}

fn make(count: usize, seed: u64) -> Result<Vec<Requests>, CliError> {
    let packs = shipped().map_err(broken)?;
    let requests = packs.iter().map(|pack| {
        let templates = Templates::of(pack).map_err(broken)?;
        let mut maker = Maker::new(pack, &templates, seed).map_err(broken)?;
        let cases = maker.cases(count, true);
        Ok(Requests { pack: Arc::clone(pack), cases, now: maker.now() })
    });
    requests.collect()
}

/// A curve that saw an evaluation case would measure itself there.
fn refuse_cases(requests: &[Requests]) -> Result<(), CliError> {
    let plain = |text: &str| -> String {
        text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
    };
    for one in requests {
        let own = eval::cases(&one.pack).map_err(broken)?;
        let own: HashSet<String> = own.iter().map(|case| plain(&case.request)).collect();
        if let Some(case) = one.cases.iter().find(|case| own.contains(&plain(&case.request))) {
            return Err(CliError::Input(format!(
                "`{}` is an evaluation case of {}; a calibration must not see those",
                case.id, one.pack.manifest.id
            )));
        }
    }
    Ok(())
}

fn outcomes(requests: &[Requests], planner: &Arc<dyn Planner>) -> Result<Vec<Outcome>, CliError> {
    let all: usize = requests.iter().map(|one| one.cases.len()).sum();
    let bar = ProgressBar::new(all as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} plans, {eta} left") {
        bar.set_style(style);
    }
    let mut outcomes = Vec::with_capacity(all);
    for one in requests {
        let agent = Agent::new(Arc::clone(&one.pack), Arc::clone(planner)).map_err(broken)?;
        for case in &one.cases {
            outcomes.push(eval::plan(&agent, case, one.now));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(outcomes)
}

/// Returns each example with the confidence that a curve gives it which did not see it.
fn crossed(
    graded: &[Graded],
    fit: impl Fn(&[Graded]) -> Result<Calibration, CliError>,
) -> Result<Vec<Graded>, CliError> {
    let mut crossed = Vec::with_capacity(graded.len());
    for fold in 0..FOLDS {
        let part = |own: bool| -> Vec<Graded> {
            let all = graded.iter().enumerate();
            all.filter(|(i, _)| (i % FOLDS == fold) == own).map(|(_, one)| *one).collect()
        };
        // Where too few are left to fit, the figures would say nothing.
        let Ok(fitted) = fit(&part(false)) else { return Ok(Vec::new()) };
        crossed.extend(part(true).into_iter().map(|one| {
            #[expect(clippy::cast_possible_truncation, reason = "a probability")]
            let score = f64::from(fitted.confidence(one.score as f32));
            Graded { score, right: one.right }
        }));
    }
    Ok(crossed)
}

fn tell(
    fitted: &Calibration,
    graded: &[Graded],
    crossed: &[Graded],
    out: &Path,
) -> Result<(), CliError> {
    say(format_args!(
        "{} plans, {} of them right; {} knots",
        fitted.examples,
        fitted.right,
        fitted.knots.len()
    ))?;
    for (name, graded) in [("score", graded), ("calibrated, unseen", crossed)] {
        if let Some(found) = Selective::of(graded) {
            say(format_args!(
                "{name:<20} calibration error {:.3}, area under risk-coverage {:.4} (best {:.4})",
                found.ece, found.aurc, found.aurc_best
            ))?;
        }
    }
    say(format_args!(
        "at most {:.0} % wrong: act on {:.1} % of plans, those with a confidence of {:.3} or more",
        fitted.risk * 100.0,
        fitted.coverage * 100.0,
        fitted.abstain_below
    ))?;
    say(out.display())
}
