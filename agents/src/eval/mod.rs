//! Evaluation cases of a pack, and what its agent makes of them.

mod difference;
pub mod gate;
mod judge;
pub mod page;
mod summary;

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pack::{FixtureSource, MemoryEffects, MockSystems, Pack, PackError};
use crate::run::{Agent, CallPorts, Next, Settings};

use judge::judge;

pub use difference::Difference;
pub use judge::Outcome;
pub use summary::{Score, Summary};

/// Where the cases of a pack lie.
pub const CASES: &str = "evals/cases.jsonl";

/// The instant that counts as now in the shipped cases, which name relative days.
pub const CASES_AT: Timestamp = Timestamp::constant(1_795_521_600, 0);

/// Most steps of a run; more would be a loop.
const MAX_STEPS: usize = 40;

/// A call that a case expects.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Expected {
    /// Name of the tool.
    pub name: String,
    /// Arguments; those that the platform fills need not appear.
    #[serde(default)]
    pub arguments: Value,
}

/// A request and what must become of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Case {
    /// Stable name.
    pub id: String,
    /// The request.
    pub request: String,
    /// Its language.
    pub lang: String,
    /// Calls, in order.
    #[serde(default)]
    pub expected_calls: Vec<Expected>,
    /// Texts that the answer must hold.
    #[serde(default)]
    pub expected_answer_facts: Vec<String>,
    /// Tools that must not be called.
    #[serde(default)]
    pub forbidden: Vec<String>,
    /// `call`, `ask`, `none`, `person` or `search`. Where it is absent, a case that expects calls
    /// wants `call`, and one that expects none is right with any decision that calls nothing.
    #[serde(default)]
    pub decision: String,
    /// What the case is about; see [`Kind`].
    #[serde(default)]
    pub kind: Kind,
    /// Documents that stand beside the pack's own for this case; they may carry an injection.
    #[serde(default)]
    pub documents: Vec<Planted>,
    /// Datasets by identifier, as CSV, that stand beside or in place of the pack's fixtures.
    #[serde(default)]
    pub datasets: std::collections::BTreeMap<String, String>,
}

/// What a case is about.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One call, or an answer from the documents.
    #[default]
    Plain,
    /// Several calls in order. An expected argument may be `{"$from": 0, "pointer": "/payment"}`:
    /// the value at that pointer in the result of that call.
    Chain,
    /// An argument is missing and must be asked for.
    Ask,
    /// The request must be refused or handed to a person.
    Refuse,
    /// Untrusted text (a document, a dataset, a quoted message) orders something; no `act` may follow.
    Inject,
}

/// A document that a case adds to the pack's own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Planted {
    /// Title.
    pub title: String,
    /// Text in Markdown.
    pub text: String,
}

/// Reads `evals/cases.jsonl` of a pack; a pack without one has no cases.
///
/// # Errors
/// [`PackError::Invalid`] naming the line.
pub fn cases(pack: &Pack) -> Result<Vec<Case>, PackError> {
    pack.lines(CASES)
}

/// Writes a planted document as a file of a pack.
fn document_of(planted: &Planted, position: usize, lang: &str) -> (String, String) {
    let title = planted.title.replace('\n', " ");
    let head = format!(
        "---\nid: planted-{position}\ntitle: {title}\nlanguage: {lang}\njurisdiction: global\n\
         source: planted\neffective_from: 2020-01-01\nreview_by: 2099-12-31\nversion: 1\n---\n"
    );
    (format!("knowledge/planted-{position}.md"), format!("{head}\n{}", planted.text))
}

/// Plans one case and judges the plan alone: nothing is executed, so no answer is looked at.
pub fn plan(agent: &Agent, case: &Case, now: Timestamp) -> Outcome {
    let created = agent.created(&case.id, &case.request);
    let mut journal = vec![created];
    if let Next::Append(event) = agent.next(&journal, &Settings::default(), now) {
        journal.push(event);
    }
    judge(case, &journal, agent.pack())
}

/// Runs one case as a run of its own, on the pack's fixtures and without any approval. Documents and
/// datasets of the case stand beside the pack's own.
///
/// # Errors
/// [`PackError`] when the fixtures or the case's documents are broken.
pub fn run(agent: &Agent, case: &Case, now: Timestamp) -> Result<Outcome, PackError> {
    let own;
    let agent = if case.documents.is_empty() {
        agent
    } else {
        let planted = case.documents.iter().enumerate();
        own = agent.with_files(planted.map(|(i, d)| document_of(d, i + 1, &case.lang)))?;
        &own
    };
    let pack = Arc::clone(agent.pack());
    let planted = case.datasets.iter();
    let datasets =
        planted.fold(FixtureSource::of(&pack)?, |all, (id, csv)| all.with(id, csv.as_bytes()));
    let effects = MemoryEffects::default();
    let systems = MockSystems::of(&pack);
    let settings = Settings::default();
    let mut journal = vec![agent.created(&case.id, &case.request)];
    for _ in 0..MAX_STEPS {
        match agent.next(&journal, &settings, now) {
            Next::Append(event) => journal.push(event),
            Next::Execute { started, journaled } => {
                if !journaled {
                    journal.push(started.clone());
                }
                let ports = CallPorts {
                    datasets: &datasets,
                    effects: &effects,
                    systems: &systems,
                    settings: &settings,
                    now,
                };
                let outcome = agent.execute(&started, &journal, &ports);
                journal.push(outcome);
            }
            Next::Wait { .. } | Next::Done => break,
        }
    }
    let mut outcome = judge(case, &journal, &pack);
    outcome.forbidden_called |= effects.count() > 0;
    Ok(outcome)
}
