//! `tessera pack dev`: a pack under its author's hands. Whenever a file is saved, mistakes are shown and what
//! the file is about is judged again; a request typed at the prompt shows its plan and answer.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use agents::eval::{self, Case};
use agents::judge::{Options, judge};
use agents::pack::check::{Severity, check};
use agents::pack::{Pack, PackFiles};
use agents::plan::{Decision, Planner};
use agents::run::{Agent, Settings};
use clap::Args;
use jiff::Timestamp;

use super::{CliError, pack_write, say};
use crate::planner;

/// Time between two looks at the folder.
const LOOK: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
pub(super) struct DevCommand {
    /// Folder of the pack.
    #[arg(long)]
    folder: PathBuf,
}

/// When each file was last written, and how long it is.
type Seen = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Watches until the input ends.
pub(super) fn dev(planner: Option<&Path>, command: &DevCommand) -> Result<(), CliError> {
    let planner = planner::load(planner).map_err(CliError::Planner)?;
    let requests = lines();
    let mut before: Option<PackFiles> = None;
    let mut seen = Seen::new();
    let mut agent = None;
    say(format_args!("watching {}; type a request, or end with Ctrl-D", command.folder.display()))?;
    loop {
        let now = look(&command.folder);
        if now != seen {
            seen = now;
            agent = reload(&command.folder, &planner, &mut before)?;
        }
        match requests.recv_timeout(LOOK) {
            Ok(request) if request.trim().is_empty() => {}
            Ok(request) => match &agent {
                Some(agent) => plan(agent, request.trim())?,
                None => say("the pack has mistakes; nothing is planned until they are mended")?,
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Reads requests on a thread of its own, because reading a line waits.
fn lines() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn look(root: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => drop(seen.insert(entry.path(), (found.modified().ok(), found.len()))),
                Err(_) => {}
            }
        }
    }
    seen
}

/// Reads the pack again, tells its mistakes, and judges what was touched. `None` ⇐ it has mistakes.
fn reload(
    folder: &Path,
    planner: &Arc<dyn Planner>,
    before: &mut Option<PackFiles>,
) -> Result<Option<Agent>, CliError> {
    let files = match PackFiles::from_folder(folder) {
        Ok(files) => files,
        Err(error) => {
            say(error)?;
            return Ok(None);
        }
    };
    let touched: Vec<String> = match before.replace(files.clone()) {
        None => Vec::new(),
        Some(old) => {
            let same = |path: &str| old.get(path) == files.get(path);
            let all = files.below("").chain(old.below("")).map(|(path, _)| path.to_owned());
            let mut touched: Vec<String> = all.filter(|path| !same(path)).collect();
            touched.sort();
            touched.dedup();
            say(format_args!("saved: {}", touched.join(", ")))?;
            touched
        }
    };
    let mistakes = check(&files);
    let prefix = format!("{}/", folder.display());
    for mistake in &mistakes {
        say(pack_write::shown_in_source(mistake, &files, &prefix))?;
    }
    if mistakes.iter().any(|one| one.severity == Severity::Error) {
        return Ok(None);
    }
    let broken = |error: agents::pack::PackError| CliError::Pack(error.to_string());
    let pack = Arc::new(Pack::from_files(&folder.display().to_string(), files).map_err(broken)?);
    let tools = tools_of(&pack, &touched);
    let options = match tools.as_slice() {
        [one] => Options { tool: Some(one.clone()), ..Options::default() },
        _ => Options::default(),
    };
    let report = judge(&pack, &options, &mut |_| {}).map_err(broken)?;
    for tally in &report.sections {
        for fault in &tally.faults {
            say(format_args!("✗ {}: {}: {}", tally.section.name(), fault.check, fault.message))?;
        }
    }
    let passed: usize = report.sections.iter().map(|tally| tally.passed).sum();
    let verdict = if report.holds() { "holds" } else { "FAILS" };
    say(format_args!("{} {}: {passed} checks passed, {verdict}", report.pack, report.version))?;
    let agent = Agent::new(Arc::clone(&pack), Arc::clone(planner)).map_err(broken)?;
    cases(&agent, &pack, &tools, touched.iter().any(|path| path == eval::CASES))?;
    Ok(Some(agent))
}

/// Returns the tools that files are about.
fn tools_of(pack: &Pack, touched: &[String]) -> Vec<String> {
    let named = |tool: &str| {
        touched.iter().any(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.split('.').next() == Some(tool)
        })
    };
    pack.tools.iter().map(|tool| tool.name.clone()).filter(|tool| named(tool)).collect()
}

/// Runs the cases that call a touched tool, or all where the cases themselves were touched.
fn cases(agent: &Agent, pack: &Pack, tools: &[String], all: bool) -> Result<(), CliError> {
    let broken = |error: agents::pack::PackError| CliError::Pack(error.to_string());
    let calls = |case: &Case| case.expected_calls.iter().any(|call| tools.contains(&call.name));
    let chosen = eval::cases(pack).map_err(broken)?;
    let chosen: Vec<Case> = chosen.into_iter().filter(|case| all || calls(case)).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let outcomes: Result<Vec<_>, _> =
        chosen.iter().map(|case| eval::run(agent, case, eval::CASES_AT)).collect();
    let summary = eval::Summary::of(&outcomes.map_err(broken)?);
    for fault in &summary.failures {
        say(format_args!(
            "✗ case {}: expected {}, decided {}",
            fault.id, fault.expected, fault.decided
        ))?;
    }
    let exact = summary.all.exact_call.unwrap_or(1.0) * 100.0;
    say(format_args!("{} cases, {exact:.0}% planned exactly", summary.all.cases))
}

/// Shows what would be done with a request.
fn plan(agent: &Agent, request: &str) -> Result<(), CliError> {
    let planned = agent.planning().plan("dev", request, &Settings::default(), Timestamp::now());
    match planned {
        Err(error) => say(format_args!("no plan: {error}")),
        Ok(plan) => match &plan.decision {
            Decision::Call { calls } => calls
                .iter()
                .try_for_each(|call| say(format_args!("call {} {}", call.tool, call.arguments))),
            Decision::Ask { tool, missing } => {
                say(format_args!("ask, for {tool}: {}", missing.join(", ")))
            }
            other => say(format_args!("{other:?}")),
        },
    }
}
