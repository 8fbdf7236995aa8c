//! Questions that were written before anyone looked at the ranking, and the documents that answer
//! them.

use std::collections::BTreeSet;
use std::rc::Rc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Bench, Check, Verdict};
use crate::pack::{Pack, PackError, Stage};
use crate::retrieve::Knowledge;
use crate::synth::LANGS;

/// Documents among which the right one must be.
const FIRST: usize = 5;

/// Fewest questions of a pack that is released.
const LEAST: usize = 40;

/// Fewest questions in Chinese.
const LEAST_CHINESE: usize = 20;

/// A line of `evals/retrieval.jsonl`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// Stable name.
    pub(crate) id: String,
    /// The question, in the words of a practitioner.
    pub(crate) question: String,
    /// Its language.
    pub(crate) lang: String,
    /// Documents that answer it; any of them may be found.
    pub(crate) documents: Vec<String>,
    /// Day as of which it is asked; the day of the judgement when absent.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(crate) as_of: Option<Date>,
}

/// Reads the questions of a pack; a pack without the file has none.
pub(crate) fn questions(pack: &Pack) -> Result<Vec<Question>, PackError> {
    pack.lines("evals/retrieval.jsonl")
}

/// One check for each question, which may be missed, and some for the form of all.
pub(super) fn checks<'a>(bench: &'a Bench<'a>) -> Result<Vec<Check<'a>>, PackError> {
    let knowledge = Rc::new(Knowledge::of(bench.pack)?);
    let questions = questions(bench.pack)?;
    let manifest = &bench.pack.manifest;
    let mut checks = Vec::new();
    if manifest.stage == Stage::Draft {
        let enough = usize::from(!knowledge.documents().is_empty());
        checks.push(least("questions", enough, questions.len()));
    } else {
        checks.push(least("questions", LEAST, questions.len()));
        let chinese = |lang: &str| lang.starts_with("zh");
        if manifest.languages.iter().any(|lang| chinese(lang)) {
            let asked = questions.iter().filter(|question| chinese(&question.lang)).count();
            checks.push(least("questions in Chinese", LEAST_CHINESE, asked));
        }
    }
    let mut seen = BTreeSet::new();
    for question in questions {
        let knowledge = Rc::clone(&knowledge);
        let repeated = !seen.insert(question.id.clone());
        let name = format!("{} “{}”", question.id, question.question);
        checks.push(Check::that_may_miss(name, move || {
            if repeated {
                return Verdict::Failed("expected a name of its own, found it twice".to_owned());
            }
            if let Err(fault) = form(&knowledge, &question) {
                return Verdict::Failed(fault);
            }
            ask(bench, &knowledge, &question)
        }));
    }
    Ok(checks)
}

fn least<'a>(what: &str, least: usize, found: usize) -> Check<'a> {
    Check::new(format!("at least {least} {what}"), move || {
        if found >= least { Ok(()) } else { Err(format!("found {found}")) }.into()
    })
}

fn form(knowledge: &Knowledge, question: &Question) -> Result<(), String> {
    if !LANGS.contains(&question.lang.as_str()) {
        return Err(format!("expected one of {}, found `{}`", LANGS.join(", "), question.lang));
    }
    if question.documents.is_empty() {
        return Err("expected the documents that answer it, found none".to_owned());
    }
    let known = |id: &&String| knowledge.documents().iter().any(|document| document.id == **id);
    match question.documents.iter().find(|id| !known(id)) {
        Some(id) => Err(format!("the pack has no document `{id}`")),
        None => Ok(()),
    }
}

fn ask(bench: &Bench<'_>, knowledge: &Knowledge, question: &Question) -> Verdict {
    let today = bench.now.to_zoned_datetime(TimeZone::UTC).date();
    let day = question.as_of.unwrap_or(today);
    let found = knowledge.search(&question.question, &question.lang, day, FIRST);
    let found: Vec<&str> =
        found.iter().map(|hit| knowledge.documents()[hit.document].id.as_str()).collect();
    if found.iter().any(|id| question.documents.iter().any(|document| document == id)) {
        return Verdict::Passed;
    }
    Verdict::Missed(format!(
        "expected {} among the first {FIRST}, found {}",
        question.documents.join(" or "),
        if found.is_empty() { "nothing".to_owned() } else { found.join(", ") }
    ))
}
