//! What an example must pass beyond being read back: its request is near no reserved text, its calls
//! run, the answer says the numbers of their results, and no other example is the same.
//!
//! Running every call would take hours for what the next few renderings of a phrase show as well, so
//! calls are run until [`TRIALS`] renderings of the phrase have run without an error in a row; a
//! phrase whose calls keep failing is run every time. [`Tally`] counts both.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use jiff::Timestamp;
use runtime::{Prompt, Segment};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::example::{Made, RETRIES};
use super::overlap::{Nearness, Normal, Reserved};
use super::{Example, Maker, Rejected};
use crate::answer::Answers;
use crate::pack::{FixtureSource, MemoryEffects, MockSystems, Pack, PackError};
use crate::plan::arg::Locale;
use crate::plan::field::{is_pending, settle};
use crate::port::DatasetSource as _;
use crate::tool::{Limits, ToolContext, ToolError, ToolSpec};

/// Renderings of a phrase in a row that must run without an error before its calls are trusted.
pub const TRIALS: u32 = 3;

/// Most fixtures that are tried in place of a dataset that only the request names.
const MAX_LENT: usize = 4;

/// What was run, over a whole set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests whose calls are complete.
    pub complete: usize,
    /// Of these: requests whose calls were run.
    pub run: usize,
    /// Calls that gave a result, which agrees with its schema and its answer.
    pub results: usize,
    /// Acts that stopped for an approval, as they must.
    pub approvals: usize,
    /// Calls for whose values the pack's fixtures hold no data; these prove nothing and count.
    pub no_data: usize,
}

impl Tally {
    /// Adds the counts of another pack.
    pub fn add(&mut self, other: Self) {
        self.complete += other.complete;
        self.run += other.run;
        self.results += other.results;
        self.approvals += other.approvals;
        self.no_data += other.no_data;
    }
}

/// One call of an example, complete but for values of earlier results.
pub(super) type Call = (String, Value);

impl Maker<'_> {
    /// Verifies what is made: apart from reserved texts, run, agreeing, and new.
    ///
    /// # Errors
    /// [`PackError`] when the fixtures or answers of the pack are broken.
    pub fn checked(mut self, reserved: Arc<Reserved>) -> Result<Self, PackError> {
        self.checks = Some(Checks::new(self.pack, reserved, self.now)?);
        Ok(self)
    }

    /// Returns what was run so far.
    pub fn tally(&self) -> Tally {
        self.checks.as_ref().map(|checks| checks.tally).unwrap_or_default()
    }

    /// Renders a phrase again while it does not count; its rejections are forgotten when it does in
    /// the end.
    pub(super) fn insist(&mut self, mut render: impl FnMut(&mut Self) -> Vec<Example>) {
        let before = std::mem::take(&mut self.report.rejected);
        let counts = (0..=RETRIES).any(|_| !render(self).is_empty());
        let failed = std::mem::replace(&mut self.report.rejected, before);
        for (why, (_, words)) in failed.into_iter().take(if counts { 0 } else { 1 }) {
            self.report.rejected.entry(why).or_insert((0, words)).0 += 1;
        }
    }

    /// Returns the steps of a request that passes.
    pub(super) fn passed(
        &mut self,
        made: Made,
        lang: &str,
        phrase: &str,
    ) -> Result<Vec<(Prompt, String)>, Rejected> {
        let Some(checks) = &mut self.checks else { return Ok(made.steps) };
        if let Some((prompt, _)) = made.steps.first() {
            checks.apart(request_of(prompt))?;
        }
        if !made.calls.is_empty() {
            checks.run(self.pack, &made.calls, lang, phrase)?;
        }
        Ok(made.steps)
    }

    /// Leaves out and counts what repeats an earlier example.
    pub(super) fn fresh(&mut self, mut made: Vec<Example>) -> Vec<Example> {
        if let Some(checks) = &mut self.checks {
            let before = made.len();
            made.retain(|example| checks.is_new(example));
            self.report.repeated += before - made.len();
        }
        made
    }
}

/// Returns the annotated request of a prompt.
fn request_of(prompt: &Prompt) -> &str {
    let mut segments = prompt.segments.iter();
    let head = |segment: &&Segment| matches!(segment, Segment::Special(name) if name == "request");
    match (segments.find(head), segments.next()) {
        (Some(_), Some(Segment::Text(text))) => text,
        _ => "",
    }
}

/// The checks of one pack's examples.
pub(super) struct Checks {
    reserved: Arc<Reserved>,
    datasets: FixtureSource,
    /// By tool and argument: the datasets that the tool's known answers read.
    own: HashMap<(String, String), Vec<String>>,
    answers: Answers,
    now: Timestamp,
    /// By phrase: renderings that ran without an error since the last one that did not.
    clean: HashMap<u64, u32>,
    seen: HashSet<u64>,
    tally: Tally,
}

impl Checks {
    fn new(pack: &Pack, reserved: Arc<Reserved>, now: Timestamp) -> Result<Self, PackError> {
        let datasets = FixtureSource::of(pack)?;
        let mut own: HashMap<_, Vec<String>> = HashMap::new();
        for tool in &pack.tools {
            let given = tool.vectors.iter().filter_map(|vector| vector.arguments.as_object());
            for (name, value) in given.flatten() {
                let id = value.as_str().filter(|id| datasets.file(id).is_ok());
                if let Some(id) = id {
                    let known = own.entry((tool.name.clone(), name.clone())).or_default();
                    known.extend((!known.iter().any(|one| one == id)).then(|| id.to_owned()));
                }
            }
        }
        Ok(Self {
            reserved,
            datasets,
            own,
            answers: Answers::of(pack)?,
            now,
            clean: HashMap::new(),
            seen: HashSet::new(),
            tally: Tally::default(),
        })
    }

    /// Refuses a request that is near a reserved text.
    fn apart(&self, annotated: &str) -> Result<(), Rejected> {
        match self.reserved.run(&Normal::of_annotated(annotated)) {
            Some(hit) if hit.how == Nearness::OutsideRun => Err(Rejected::Outside(hit.name)),
            Some(hit) => Err(Rejected::Case(hit.name)),
            None => Ok(()),
        }
    }

    /// Tells whether an example is the first of its words.
    fn is_new(&mut self, example: &Example) -> bool {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", example.prompt).hash(&mut hasher);
        example.completion.hash(&mut hasher);
        self.seen.insert(hasher.finish())
    }

    /// Runs the calls of a complete plan on the pack's fixtures and compares what would be answered
    /// with their results. Nothing is run once the phrase has proved itself.
    fn run(
        &mut self,
        pack: &Pack,
        calls: &[Call],
        lang: &str,
        phrase: &str,
    ) -> Result<(), Rejected> {
        self.tally.complete += 1;
        let mut hasher = DefaultHasher::new();
        (phrase, calls.first().map(|(tool, _)| tool)).hash(&mut hasher);
        let key = hasher.finish();
        if self.clean.get(&key).is_some_and(|times| *times >= TRIALS) {
            return Ok(());
        }
        self.tally.run += 1;
        let done = self.run_calls(pack, calls, lang);
        let times = self.clean.entry(key).or_default();
        *times = if done.is_ok() { *times + 1 } else { 0 };
        done
    }

    fn run_calls(&mut self, pack: &Pack, calls: &[Call], lang: &str) -> Result<(), Rejected> {
        let locale = Locale { timezone: "UTC".to_owned() };
        let mut earlier: Vec<(&ToolSpec, Value)> = Vec::with_capacity(calls.len());
        for (tool, arguments) in calls {
            let Some(spec) = pack.tool(tool) else {
                return Err(Rejected::NoArgument(tool.clone()));
            };
            let failed = |error: &ToolError| Rejected::Execution(fault(tool, error));
            let mut arguments = arguments.clone();
            if is_pending(&arguments) {
                let given: Vec<(&ToolSpec, &Value)> =
                    earlier.iter().map(|(spec, result)| (*spec, result)).collect();
                arguments = settle(spec, &arguments, &given, &locale).map_err(|e| failed(&e))?;
            }
            let result = match self.call_lending(pack, tool, &mut arguments) {
                Ok(result) => result,
                Err(Stop::Approval) => {
                    self.tally.approvals += 1;
                    return Ok(());
                }
                Err(Stop::NoData) => {
                    self.tally.no_data += 1;
                    return Ok(());
                }
                Err(Stop::Refused(error)) => return Err(failed(&error)),
            };
            self.tally.results += 1;
            let invented = self.answers.unfounded(tool, &arguments, &result, lang);
            match invented {
                Ok(numbers) if numbers.is_empty() => {}
                Ok(numbers) => {
                    return Err(Rejected::Facts(format!("{tool}: {}", numbers.join(", "))));
                }
                Err(template) => return Err(Rejected::Facts(format!("{tool}: {template}"))),
            }
            earlier.push((spec, result));
        }
        Ok(())
    }

    /// Calls a tool. Where there is no data because only the drawn request knows the dataset, each of
    /// those that the tool's known answers read is tried in its place. What the tool refuses without
    /// any data is the arguments' fault; that no lent dataset suits them says nothing.
    fn call_lending(&self, pack: &Pack, tool: &str, arguments: &mut Value) -> Result<Value, Stop> {
        match self.call(pack, tool, arguments) {
            Ok(result) => return Ok(result),
            Err(ToolError::NeedsApproval { .. }) => return Err(Stop::Approval),
            Err(ToolError::NoData { .. }) => {}
            Err(error) => return Err(Stop::Refused(error)),
        }
        for attempt in 0..MAX_LENT {
            let mut lent = arguments.clone();
            for (name, value) in lent.as_object_mut().into_iter().flatten() {
                let own = self.own.get(&(tool.to_owned(), name.clone()));
                let absent = value.as_str().is_some_and(|id| self.datasets.file(id).is_err());
                if let Some(id) = own.and_then(|own| own.get(attempt)).filter(|_| absent) {
                    *value = Value::String(id.clone());
                }
            }
            if lent == *arguments {
                break;
            }
            if let Ok(result) = self.call(pack, tool, &lent) {
                *arguments = lent;
                return Ok(result);
            }
        }
        Err(Stop::NoData)
    }

    fn call(&self, pack: &Pack, tool: &str, arguments: &Value) -> Result<Value, ToolError> {
        let effects = MemoryEffects::default();
        let limits = Limits::default();
        pack.call(
            tool,
            arguments,
            &ToolContext {
                datasets: &self.datasets,
                effects: &effects,
                systems: &MockSystems::of(pack),
                now: self.now,
                approval: None,
                limits: &limits,
            },
        )
    }
}

/// Why a call gave no result.
enum Stop {
    Approval,
    NoData,
    Refused(ToolError),
}

/// Names what a tool refused without the values, so that equal faults are counted together.
fn fault(tool: &str, error: &ToolError) -> String {
    match error {
        ToolError::InvalidInput { pointer, .. } => format!("{tool} {}: {pointer}", error.code()),
        _ => format!("{tool} {}", error.code()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pack::shipped;

    fn shipped_pack(id: &str) -> &'static Arc<Pack> {
        shipped().unwrap().iter().find(|pack| pack.manifest.id == id).unwrap()
    }

    fn checks(pack: &Pack) -> Checks {
        let now = crate::judge::JUDGED_AT.parse().unwrap();
        Checks::new(pack, Arc::default(), now).unwrap()
    }

    #[test]
    fn a_call_that_its_tool_refuses_does_not_count() {
        let mut refused = 0;
        for pack in shipped().unwrap() {
            let mut checks = checks(pack);
            for tool in &pack.tools {
                let cases = tool.invalid.iter().filter(|case| case.semantic);
                for case in cases.filter(|case| case.error == "invalid_input") {
                    let calls = [(tool.name.clone(), case.arguments.clone())];
                    let found = checks.run(pack, &calls, "en", &case.why);
                    assert!(found.is_err(), "{}: {}", tool.name, case.why);
                    refused += usize::from(matches!(found, Err(Rejected::Execution(_))));
                }
            }
        }
        assert!(refused >= 30, "only {refused} of the packs' refused calls were found");
    }

    #[test]
    fn every_known_answer_counts() {
        for pack in shipped().unwrap() {
            let mut checks = checks(pack);
            for tool in pack.tools.iter().filter(|tool| !tool.vectors.is_empty()) {
                let calls = [(tool.name.clone(), tool.vectors[0].arguments.clone())];
                assert_eq!(checks.run(pack, &calls, "zh-Hant", "p"), Ok(()), "{}", tool.name);
            }
            assert!(checks.tally.results + checks.tally.approvals > 0);
        }
    }

    #[test]
    fn a_phrase_is_trusted_after_a_few_runs_and_never_while_it_fails() {
        let pack = shipped_pack("finance");
        let mut checks = checks(pack);
        let loan = |months: i64| {
            let arguments = json!({"principal": "1000", "annual_rate_pct": 5, "months": months, "currency": "USD"});
            [("loan_schedule".to_owned(), arguments)]
        };
        for _ in 0..10 {
            checks.run(pack, &loan(12), "en", "good").unwrap();
        }
        assert_eq!((checks.tally.complete, checks.tally.run), (10, TRIALS as usize));
        for _ in 0..10 {
            checks.run(pack, &loan(0), "en", "bad").unwrap_err();
        }
        assert_eq!(checks.tally.run, TRIALS as usize + 10);
    }

    #[test]
    fn an_answer_that_says_more_than_the_result_does_not_count() {
        let template = "**{{ (args.months * 7)|num(0) }}** a month";
        let files = shipped_pack("finance")
            .files
            .with([("answers/loan_schedule.en.jinja".to_owned(), template.to_owned())]);
        let pack = Pack::from_files("finance", files).unwrap();
        let arguments =
            json!({"principal": "1000", "annual_rate_pct": 5, "months": 240, "currency": "USD"});
        let calls = [("loan_schedule".to_owned(), arguments)];
        let found = checks(&pack).run(&pack, &calls, "en", "p");
        assert_eq!(found, Err(Rejected::Facts("loan_schedule: 1680".to_owned())));
    }

    #[test]
    fn a_dataset_that_only_the_request_names_is_stood_in_for() {
        let pack = shipped_pack("finance");
        let mut checks = checks(pack);
        let calls = [("xirr".to_owned(), json!({"dataset": "our-own-flows"}))];
        assert_eq!(checks.run(pack, &calls, "en", "p"), Ok(()));
        assert_eq!((checks.tally.results, checks.tally.no_data), (1, 0));
    }

    #[test]
    fn a_later_call_runs_on_the_result_of_an_earlier_one() {
        let pack = shipped_pack("finance");
        let loan =
            json!({"principal": "1000", "annual_rate_pct": 5, "months": 12, "currency": "USD"});
        let next = |pointer: &str| {
            let principal = json!({"$from": 0, "pointer": pointer});
            json!({"principal": principal, "annual_rate_pct": 5, "months": 6, "currency": "USD"})
        };
        for (pointer, right) in [("/total_paid", true), ("/nothing", false)] {
            let calls = [
                ("loan_schedule".to_owned(), loan.clone()),
                ("loan_schedule".to_owned(), next(pointer)),
            ];
            let found = checks(pack).run(pack, &calls, "en", "p");
            assert_eq!(found.is_ok(), right, "{pointer}: {found:?}");
        }
    }
}
