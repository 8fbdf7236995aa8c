//! What a pack promises, checked: its known answers, its refusals, the laws that its tools obey, its
//! policy, its answers in every language, its documents and the form of its cases.
//!
//! `tessera pack test` and the tests of this crate run the same checks; there is no second copy.
//! A section lists its [`Check`]s; [`judge`] runs them one by one and tells an observer of each.

mod answers;
mod cases;
mod laws;
mod policy;
mod retrieval;
mod vectors;

pub(crate) use cases::form as case_form;
pub(crate) use retrieval::{Question, questions};

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::pack::{FixtureSource, MemoryEffects, MockSystems, Pack, PackError};
use crate::tool::{Limits, ToolContext};

/// The instant at which packs are judged, so that a verdict does not change with the day: the known
/// answers were computed for it and the documents were in force on it.
pub const JUDGED_AT: &str = "2026-11-24T00:00:00Z";

/// A part of the judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Known answers of the tools.
    Vectors,
    /// Calls that must be refused.
    Invalid,
    /// Laws that hold for every call, on drawn arguments.
    Laws,
    /// A case that each rule allows and one that it stops.
    Policy,
    /// Questions whose document must be among the first five.
    Retrieval,
    /// Each known answer said in each language.
    Answers,
    /// The form of the evaluation cases; running them needs a planner.
    CasesFormat,
}

impl Section {
    /// Every section, in the order in which they run.
    pub const ALL: [Self; 7] = [
        Self::Vectors,
        Self::Invalid,
        Self::Laws,
        Self::Policy,
        Self::Retrieval,
        Self::Answers,
        Self::CasesFormat,
    ];

    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vectors => "vectors",
            Self::Invalid => "invalid cases",
            Self::Laws => "laws",
            Self::Policy => "policy",
            Self::Retrieval => "retrieval",
            Self::Answers => "answers",
            Self::CasesFormat => "cases format",
        }
    }

    fn checks<'a>(self, bench: &'a Bench<'a>) -> Result<Vec<Check<'a>>, PackError> {
        match self {
            Self::Vectors => Ok(vectors::known(bench)),
            Self::Invalid => Ok(vectors::refused(bench)),
            Self::Laws => Ok(laws::checks(bench)),
            Self::Policy => policy::checks(bench),
            Self::Retrieval => retrieval::checks(bench),
            Self::Answers => answers::checks(bench),
            Self::CasesFormat => cases::checks(bench),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As promised.
    Passed,
    /// Wrong, though a section may hold with a few of these: see [`Tally::holds`].
    Missed(String),
    /// Wrong: what was expected and what was found.
    Failed(String),
    /// Could not be checked, and why.
    Skipped(String),
}

impl From<Result<(), String>> for Verdict {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

/// One thing to check.
struct Check<'a> {
    name: String,
    /// Whether it is one of those of which one in ten may miss.
    may_miss: bool,
    run: Box<dyn FnOnce() -> Verdict + 'a>,
}

impl<'a> Check<'a> {
    fn new(name: impl Into<String>, run: impl FnOnce() -> Verdict + 'a) -> Self {
        Self { name: name.into(), may_miss: false, run: Box::new(run) }
    }

    fn that_may_miss(name: impl Into<String>, run: impl FnOnce() -> Verdict + 'a) -> Self {
        Self { may_miss: true, ..Self::new(name, run) }
    }
}

/// What checks run on: the pack, its fixtures and an instant that counts as now.
struct Bench<'a> {
    pack: &'a Pack,
    datasets: FixtureSource,
    limits: Limits,
    now: Timestamp,
    options: &'a Options,
}

impl Bench<'_> {
    /// Runs something in a context with a fresh ledger of effects and without any approval.
    fn within<T>(&self, run: impl FnOnce(&ToolContext<'_>) -> T) -> T {
        let effects = MemoryEffects::default();
        run(&ToolContext {
            datasets: &self.datasets,
            effects: &effects,
            systems: &MockSystems::of(self.pack),
            now: self.now,
            approval: None,
            limits: &self.limits,
        })
    }
}

/// What to judge, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The sections that run.
    pub sections: Vec<Section>,
    /// Seed of the laws' arguments.
    pub seed: u64,
    /// Draws for each law.
    pub draws: u32,
    /// Only this tool's vectors, invalid cases, laws and answers; all when absent.
    pub tool: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { sections: Section::ALL.to_vec(), seed: 1, draws: 64, tool: None }
    }
}

impl Options {
    fn wants(&self, tool: &str) -> bool {
        self.tool.as_ref().is_none_or(|only| only == tool)
    }
}

/// Something that is wrong or could not be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: String,
    /// What was expected and what was found, or why it was skipped.
    pub message: String,
}

/// The result of a section.
#[derive(Debug, Clone, Serialize)]
pub struct Tally {
    /// The section.
    pub section: Section,
    /// Checks that passed.
    pub passed: usize,
    /// Checks that failed, missed ones among them.
    pub failed: usize,
    /// Checks that could not run.
    pub skipped: usize,
    /// All checks.
    pub total: usize,
    /// Wall time in milliseconds.
    pub ms: f64,
    /// Whether the section keeps its promise: nothing failed, and of the checks that may miss at
    /// most one in ten did.
    pub holds: bool,
    /// What is wrong.
    pub faults: Vec<Finding>,
    /// What could not be checked.
    pub skips: Vec<Finding>,
}

/// The judgement of a pack.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Identifier of the pack.
    pub pack: String,
    /// Its version.
    pub version: String,
    /// The sections that ran.
    pub sections: Vec<Tally>,
}

impl Report {
    /// Tells whether every section holds.
    pub fn holds(&self) -> bool {
        self.sections.iter().all(|tally| tally.holds)
    }
}

/// Where a judgement stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The section that runs.
    pub section: Section,
    /// Checks done, over all sections.
    pub done: usize,
    /// All checks.
    pub total: usize,
}

/// Judges a pack and tells `observe` before each check and once after the last.
///
/// # Errors
/// [`PackError`] when the fixtures are broken; every other fault is in the report.
pub fn judge(
    pack: &Pack,
    options: &Options,
    observe: &mut dyn FnMut(Progress),
) -> Result<Report, PackError> {
    let bench = Bench {
        pack,
        datasets: FixtureSource::of(pack)?,
        limits: Limits::default(),
        now: JUDGED_AT.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        options,
    };
    let listed: Vec<(Section, Vec<Check<'_>>, f64)> = options
        .sections
        .iter()
        .map(|section| {
            let begun = Instant::now();
            let checks = section.checks(&bench).unwrap_or_else(unreadable);
            (*section, checks, begun.elapsed().as_secs_f64() * 1e3)
        })
        .collect();
    let total = listed.iter().map(|(_, checks, _)| checks.len()).sum();
    let mut done = 0;
    let mut sections = Vec::new();
    for (section, checks, listing) in listed {
        let tally = run(section, checks, &mut || {
            observe(Progress { section, done, total });
            done += 1;
        });
        // Documents are indexed and templates compiled while the checks are listed.
        sections.push(Tally { ms: tally.ms + listing, ..tally });
    }
    if let Some(last) = options.sections.last() {
        observe(Progress { section: *last, done: total, total });
    }
    let manifest = &pack.manifest;
    Ok(Report { pack: manifest.id.clone(), version: manifest.version.clone(), sections })
}

/// A file that does not read is the one fault of its section.
fn unreadable<'a>(error: PackError) -> Vec<Check<'a>> {
    vec![Check::new("files", move || Verdict::Failed(error.to_string()))]
}

fn run(section: Section, checks: Vec<Check<'_>>, before: &mut dyn FnMut()) -> Tally {
    let begun = Instant::now();
    let total = checks.len();
    let lenient = checks.iter().filter(|check| check.may_miss).count();
    let (mut faults, mut skips) = (Vec::new(), Vec::new());
    let (mut passed, mut missed) = (0, 0);
    for check in checks {
        before();
        let finding = |message| Finding { check: check.name, message };
        match (check.run)() {
            Verdict::Passed => passed += 1,
            Verdict::Missed(message) => {
                missed += 1;
                faults.push(finding(message));
            }
            Verdict::Failed(message) => faults.push(finding(message)),
            Verdict::Skipped(message) => skips.push(finding(message)),
        }
    }
    let (failed, skipped) = (faults.len(), skips.len());
    let holds = failed == missed && missed * 10 <= lenient;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    Tally { section, passed, failed, skipped, total, ms, holds, faults, skips }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(verdicts: &[Verdict]) -> Tally {
        let checks = verdicts.iter().map(|v| Check::that_may_miss("c", || v.clone())).collect();
        run(Section::Retrieval, checks, &mut || {})
    }

    #[test]
    fn one_miss_in_ten_is_borne_and_two_are_not() {
        let mut verdicts = vec![Verdict::Passed; 9];
        verdicts.push(Verdict::Missed("late".to_owned()));
        let nine = tally(&verdicts);
        assert!(nine.holds && nine.failed == 1 && nine.total == 10);
        verdicts[0] = Verdict::Missed("later".to_owned());
        assert!(!tally(&verdicts).holds);
    }

    #[test]
    fn checks_that_may_not_miss_do_not_make_up_for_those_that_may() {
        let mut checks: Vec<Check<'_>> =
            (0..99).map(|_| Check::new("c", || Verdict::Passed)).collect();
        checks.push(Check::that_may_miss("m", || Verdict::Missed("late".to_owned())));
        assert!(!run(Section::Retrieval, checks, &mut || {}).holds);
    }

    #[test]
    fn a_failure_is_never_borne_and_a_skip_is_counted() {
        let mut verdicts = vec![Verdict::Passed; 99];
        verdicts.push(Verdict::Skipped("no tool".to_owned()));
        let skipped = tally(&verdicts);
        assert!(skipped.holds && skipped.skipped == 1 && skipped.passed == 99);
        verdicts.push(Verdict::Failed("wrong".to_owned()));
        assert!(!tally(&verdicts).holds);
    }
}
