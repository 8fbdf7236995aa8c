//! The run as a state machine over its journal: given the events so far, what comes next.
//!
//! The driver (a worker of the server, or the command line) appends what [`Agent::next`] returns,
//! executes the calls that it announces, and asks again, until [`Next::Done`] or [`Next::Wait`].
//! A driver that died anywhere is replaced by another that reads the journal and goes on.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use crate::answer::Answers;
use crate::event::{Because, Citation, Event, Outcome};
use crate::pack::{Pack, PackError};
use crate::plan::arg::Locale;
use crate::plan::{CallPlan, Decision, Plan, Planner, Planning, field};
use crate::policy::terms::{Terms, approver, flow_of};
use crate::policy::{Policy, Verdict, flow};
use crate::port::{DatasetSource, EffectPort, SystemPort};
use crate::retrieve::Knowledge;
use crate::tool::{Approval, Effect, Limits, ToolContext, ToolError, ToolSpec, arguments_sha256};

/// Longest request that is planned, in bytes of UTF-8.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Further tries of a plan or a call that failed in a way that passes.
pub const MAX_RETRIES: u32 = 3;

/// Most calls of a run with the same tool and the same arguments.
pub const MAX_SAME_CALLS: usize = 3;

/// The settings of a tenant that planning and tools need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// ISO 4217 code used where a request names no currency.
    pub currency: String,
    /// IANA time zone used where a request names none.
    pub timezone: String,
    /// Ceilings for tools.
    pub limits: Limits,
    /// Role of whoever asks: `viewer`, `operator`, `approver` or `admin`.
    pub role: String,
    /// Confidence below which calls are not made without a person: 0 switches this off, and `None`
    /// takes the threshold of the planner's calibration.
    pub abstain_below: Option<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            currency: "USD".to_owned(),
            timezone: "UTC".to_owned(),
            limits: Limits::default(),
            role: "operator".to_owned(),
            abstain_below: Some(0.0),
        }
    }
}

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Append this event and ask again.
    Append(Event),
    /// Append `started` unless `journaled`, then [`Agent::execute`] it, append the outcome, ask again.
    Execute {
        /// The `call.started` event.
        started: Event,
        /// True when the journal already ends with it: an earlier driver died during the call.
        journaled: bool,
    },
    /// Nothing to do until a person has decided on the approval of this call, or said what became
    /// of its effect.
    Wait {
        /// Position of the call.
        index: usize,
    },
    /// The run is over.
    Done,
}

/// The ports and the person's consent that one call runs with.
pub struct CallPorts<'a> {
    /// Tables and files of the tenant.
    pub datasets: &'a dyn DatasetSource,
    /// Where an act takes effect.
    pub effects: &'a dyn EffectPort,
    /// Systems that the pack declares.
    pub systems: &'a dyn SystemPort,
    /// Settings of the tenant.
    pub settings: &'a Settings,
    /// The instant that counts as now.
    pub now: Timestamp,
}

/// An agent: a pack, its knowledge, and a planner.
pub struct Agent {
    pack: Arc<Pack>,
    planning: Planning,
    knowledge: Arc<Knowledge>,
    answers: Arc<Answers>,
    policy: Arc<Policy>,
}

impl Agent {
    /// Builds the agent of a pack: indexes its knowledge and compiles its answers.
    ///
    /// # Errors
    /// [`PackError`] when a document, template or policy of the pack is broken.
    pub fn new(pack: Arc<Pack>, planner: Arc<dyn Planner>) -> Result<Self, PackError> {
        Ok(Self {
            knowledge: Arc::new(Knowledge::of(&pack)?),
            answers: Arc::new(Answers::of(&pack)?),
            policy: Arc::new(Policy::of(&pack)?),
            planning: Planning::new(Arc::clone(&pack), planner)?,
            pack,
        })
    }

    /// Builds an agent of the same pack and planner with other files beside the pack's own.
    ///
    /// # Errors
    /// [`PackError`] when one of them is broken.
    pub fn with_files(
        &self,
        files: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, PackError> {
        let pack = Pack::from_files(&self.pack.manifest.id, self.pack.files.with(files))?;
        Self::new(Arc::new(pack), Arc::clone(self.planning.planner()))
    }

    /// Lets a larger planner plan what this agent's is not sure of.
    #[must_use]
    pub fn with_larger(self, larger: Option<Arc<dyn Planner>>) -> Self {
        Self { planning: self.planning.with_larger(larger), ..self }
    }

    /// Returns the agent of the same pack with another planner. Documents, answers and policy are
    /// shared, so this costs nothing.
    #[must_use]
    pub fn with_planner(&self, planner: Arc<dyn Planner>) -> Self {
        Self {
            pack: Arc::clone(&self.pack),
            planning: self.planning.with_planner(planner),
            knowledge: Arc::clone(&self.knowledge),
            answers: Arc::clone(&self.answers),
            policy: Arc::clone(&self.policy),
        }
    }

    /// Returns the agent whose planners stop between two tokens once `cancel` is set.
    #[must_use]
    pub fn cancelled_by(&self, cancel: &Arc<AtomicBool>) -> Self {
        let planning = self.planning.cancelled_by(cancel);
        Self { planning, ..self.with_planner(Arc::clone(self.planning.planner())) }
    }

    /// Returns the pack.
    pub fn pack(&self) -> &Arc<Pack> {
        &self.pack
    }

    /// Returns the documents.
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// Returns the planning stage, for evaluation and benchmarks.
    pub fn planning(&self) -> &Planning {
        &self.planning
    }

    /// Builds the first event of a run.
    pub fn created(&self, run: &str, request: &str) -> Event {
        Event::Created {
            run: run.to_owned(),
            request: request.to_owned(),
            pack: self.pack.manifest.id.clone(),
            lang: crate::lang::detect(request).to_owned(),
        }
    }

    /// Decides what comes next from the journal alone. May plan, which takes tens of milliseconds
    /// of one core.
    pub fn next(&self, journal: &[Event], settings: &Settings, now: Timestamp) -> Next {
        let Some(last) = journal.last() else { return Next::Done };
        if last.is_final() {
            return Next::Done;
        }
        let Some(Event::Created { run, request, lang, .. }) = journal.first() else {
            return Next::Done;
        };
        match last {
            Event::Created { .. } | Event::Retried { index: None, .. } => {
                Next::Append(self.plan(journal, (run, request), settings, now))
            }
            Event::CallStarted { .. } => Next::Execute { started: last.clone(), journaled: true },
            Event::Retried { index: Some(index), .. }
            | Event::OutcomeSettled {
                index, outcome: Outcome::Happened | Outcome::Repeat, ..
            } => match started_of(journal, *index) {
                Some(started) => Next::Execute { started: started.clone(), journaled: true },
                None => Next::Done,
            },
            Event::OutcomeUnknown { index, .. } => Next::Wait { index: *index },
            Event::OutcomeSettled { index, outcome: Outcome::Abandon, by, .. } => {
                let tool = match started_of(journal, *index) {
                    Some(Event::CallStarted { tool, .. }) => tool.as_str(),
                    _ => "",
                };
                let message = format!("{by} found that the effect did not happen and left it so");
                Next::Append(self.answers.failed(tool, "not_done", &message, lang))
            }
            Event::CallFailed { code, message, tool, .. } => {
                Next::Append(self.answers.failed(tool, code, message, lang))
            }
            // Nobody can approve the tool of before any more: the one of now is asked about.
            Event::ApprovalRequested { tool, terms, .. } if self.is_another(tool, terms) => {
                self.next_of_plan(journal, (request, lang), settings, now)
            }
            Event::ApprovalRequested { index, .. } => Next::Wait { index: *index },
            Event::ApprovalDecided { approved: false, by, reason, .. } => {
                Next::Append(self.answers.rejected(by, reason, lang))
            }
            _ => self.next_of_plan(journal, (request, lang), settings, now),
        }
    }

    /// Tells whether a tool is another version than the one that a person was asked about.
    fn is_another(&self, tool: &str, asked: &Terms) -> bool {
        let now = self.pack.tool(tool).map(|spec| spec.version()).unwrap_or_default();
        !asked.tool_version.is_empty() && asked.tool_version != now
    }

    fn plan(
        &self,
        journal: &[Event],
        (run, request): (&str, &str),
        settings: &Settings,
        now: Timestamp,
    ) -> Event {
        if request.trim().is_empty() {
            return Event::Failed {
                code: "empty_request".to_owned(),
                message: "the request is empty; say what you want to know or do".to_owned(),
            };
        }
        if request.len() > MAX_REQUEST_BYTES {
            return Event::Failed {
                code: "request_too_large".to_owned(),
                message: format!(
                    "the request has {} bytes; the limit is {MAX_REQUEST_BYTES}. Upload long tables as a dataset and name it",
                    request.len()
                ),
            };
        }
        if self.policy.escalates(request).is_some() {
            return Event::Planned { plan: Plan::by_policy(Decision::Person, &self.pack) };
        }
        match self.planning.plan(run, request, settings, now) {
            Ok(plan) => Event::Planned { plan },
            Err(error) if error.is_transient() && tries(journal, None) < MAX_RETRIES => {
                retried(journal, None, error.code(), &error)
            }
            Err(error) => {
                Event::Failed { code: error.code().to_owned(), message: error.to_string() }
            }
        }
    }

    fn next_of_plan(
        &self,
        journal: &[Event],
        (request, lang): (&str, &str),
        settings: &Settings,
        now: Timestamp,
    ) -> Next {
        let Some(plan) = journal.iter().find_map(|event| match event {
            Event::Planned { plan } => Some(plan),
            _ => None,
        }) else {
            return Next::Done;
        };
        match &plan.decision {
            Decision::Call { calls } if plan.is_unsure() && !confirmed(journal) => {
                Next::Append(self.unsure(plan, calls, lang))
            }
            Decision::Call { calls } => {
                self.next_call(journal, calls, (request, lang), settings, now)
            }
            Decision::Ask { tool, missing } => {
                Next::Append(self.answers.asked(self.pack.tool(tool), missing, lang))
            }
            Decision::Invalid { tool, message } => {
                Next::Append(self.answers.failed(tool, "invalid_input", message, lang))
            }
            Decision::Search => {
                Next::Append(self.answers.passages(self.knowledge.answer(request, lang, now), lang))
            }
            Decision::NoTool => Next::Append(self.answers.no_tool(&self.pack, lang)),
            Decision::Person => Next::Append(self.answers.person(lang)),
        }
    }

    /// What becomes of calls that the planner is not sure of: a person confirms what only reads or
    /// computes, and takes over what would change something.
    fn unsure(&self, plan: &Plan, calls: &[CallPlan], lang: &str) -> Event {
        let previews = |call: &CallPlan| call.arguments["dry_run"] == Value::Bool(true);
        let acts = calls.iter().any(|call| call.effect == Effect::Act && !previews(call));
        match calls.first().filter(|_| !acts) {
            Some(first) => Event::ApprovalRequested {
                index: 0,
                tool: first.tool.clone(),
                arguments: first.arguments.clone(),
                arguments_sha256: arguments_sha256(&first.arguments),
                because: Because::Unsure,
                terms: Terms::of_unsure(&self.pack, first),
            },
            None => self.answers.unsure(&self.pack, calls, plan.confidence, lang),
        }
    }

    fn next_call(
        &self,
        journal: &[Event],
        calls: &[CallPlan],
        (request, lang): (&str, &str),
        settings: &Settings,
        now: Timestamp,
    ) -> Next {
        let results: Vec<&Value> = journal
            .iter()
            .filter_map(|event| match event {
                Event::CallFinished { result, .. } => Some(result),
                _ => None,
            })
            .collect();
        let index = results.len();
        let made = match self.settled(calls, &results, settings) {
            Ok(made) => made,
            Err((tool, error)) => {
                return Next::Append(self.answers.failed(
                    &tool,
                    error.code(),
                    &error.to_string(),
                    lang,
                ));
            }
        };
        let Some(call) = made.get(index) else {
            let citations = self.citations(&made, &results, request, lang, now);
            return Next::Append(self.answers.results(&made, &results, citations, lang));
        };
        let same = |made: &&CallPlan| made.tool == call.tool && made.arguments == call.arguments;
        if made.iter().filter(same).count() > MAX_SAME_CALLS {
            return Next::Append(Event::Failed {
                code: "repeated_call".to_owned(),
                message: format!(
                    "the plan calls `{}` more than {MAX_SAME_CALLS} times with the same arguments; ask for what differs",
                    call.tool
                ),
            });
        }
        let hash = arguments_sha256(&call.arguments);
        let version = self.pack.tool(&call.tool).map(|spec| spec.version()).unwrap_or_default();
        let decided = approver(journal, index, &hash, &version).is_some();
        // The store lets only those approve whom the policy names, so a decision in the journal
        // carries an approver's role.
        let approver = decided.then_some("approver");
        let verdict = self.policy.judge(
            &call.tool,
            Some(call.effect),
            &call.arguments,
            &settings.role,
            approver,
            &settings.limits,
        );
        if let Verdict::Deny { rule, why } = verdict {
            return Next::Append(self.answers.forbidden(&rule, &why, lang));
        }
        let flow = flow_of(&self.pack, calls, &made);
        if let flow::Decision::Deny(reason) = &flow {
            return Next::Append(self.answers.forbidden("planned-tools-only", &reason.say(), lang));
        }
        let asks = matches!(verdict, Verdict::Approve { .. })
            || matches!(flow, flow::Decision::Approve(_));
        if asks && !decided {
            return Next::Append(Event::ApprovalRequested {
                index,
                tool: call.tool.clone(),
                arguments: call.arguments.clone(),
                arguments_sha256: hash,
                because: Because::Act,
                terms: Terms::of(&self.pack, &self.policy, call, &verdict, flow),
            });
        }
        Next::Execute { started: Event::start_of(index, call), journaled: false }
    }

    /// Returns the calls whose arguments are known, the next one among them: values of earlier
    /// results are filled in and the whole schema is checked again.
    fn settled(
        &self,
        calls: &[CallPlan],
        results: &[&Value],
        settings: &Settings,
    ) -> Result<Vec<CallPlan>, (String, ToolError)> {
        let locale = Locale { timezone: settings.timezone.clone() };
        let mut made: Vec<CallPlan> = Vec::with_capacity(calls.len());
        let mut earlier: Vec<(&ToolSpec, &Value)> = Vec::with_capacity(results.len());
        for (index, call) in calls.iter().take(results.len() + 1).enumerate() {
            let spec = self.pack.tool(&call.tool);
            let mut call = call.clone();
            if let Some(spec) = spec.filter(|_| field::is_pending(&call.arguments)) {
                call.arguments = field::settle(spec, &call.arguments, &earlier, &locale)
                    .and_then(|settled| spec.check_arguments(&settled).map(|()| settled))
                    .map_err(|error| (call.tool.clone(), error))?;
            }
            made.push(call);
            if let (Some(spec), Some(result)) = (spec, results.get(index)) {
                earlier.push((spec, result));
            }
        }
        Ok(made)
    }

    /// Returns what an answer rests on: methods and datasets of the calls, and for each tool the
    /// passage of the pack that explains it.
    fn citations(
        &self,
        calls: &[CallPlan],
        results: &[&Value],
        request: &str,
        lang: &str,
        now: Timestamp,
    ) -> Vec<Citation> {
        let mut citations = citations_of(calls, results);
        for call in calls {
            let explained = self.knowledge.explain(&call.tool, request, lang, now);
            let cited = explained.and_then(|hit| self.knowledge.cite(&hit));
            citations.extend(cited.filter(|cited| !citations.contains(cited)));
        }
        citations
    }

    /// Runs the call that `started` announces and returns its outcome as an event.
    ///
    /// The approval, if the journal holds one for this call, is bound to the arguments' hash again
    /// by the tool itself.
    pub fn execute(&self, started: &Event, journal: &[Event], ports: &CallPorts<'_>) -> Event {
        let Event::CallStarted { index, tool, arguments, .. } = started else {
            return Event::Failed {
                code: "internal".to_owned(),
                message: format!("{} announces no call", started.name()),
            };
        };
        // A tool whose contract changed since the decision is another tool.
        let hash = arguments_sha256(arguments);
        let version = self.pack.tool(tool).map(|spec| spec.version()).unwrap_or_default();
        let approval = approver(journal, *index, &hash, &version)
            .map(|by| Approval { approved_by: by.to_owned(), arguments_sha256: hash });
        let context = ToolContext {
            datasets: ports.datasets,
            effects: ports.effects,
            systems: ports.systems,
            now: ports.now,
            approval: approval.as_ref(),
            limits: &ports.settings.limits,
        };
        let begun = Instant::now();
        match self.pack.call(tool, arguments, &context) {
            Ok(result) => Event::CallFinished {
                index: *index,
                tool: tool.clone(),
                result,
                ms: begun.elapsed().as_secs_f64() * 1e3,
            },
            Err(error) if error.is_transient() && tries(journal, Some(*index)) < MAX_RETRIES => {
                retried(journal, Some(*index), error.code(), &error)
            }
            Err(ToolError::OutcomeUnknown { idempotency_key, message, .. }) => {
                Event::OutcomeUnknown {
                    index: *index,
                    tool: tool.clone(),
                    idempotency_key,
                    message,
                }
            }
            Err(error) => Event::CallFailed {
                index: *index,
                tool: tool.clone(),
                code: error.code().to_owned(),
                message: error.to_string(),
            },
        }
    }
}

/// Returns the event that announced a call.
fn started_of(journal: &[Event], index: usize) -> Option<&Event> {
    let announces =
        |event: &&Event| matches!(event, Event::CallStarted { index: at, .. } if *at == index);
    journal.iter().rev().find(announces)
}

/// Counts how often the plan (`None`) or a call was tried again.
fn tries(journal: &[Event], what: Option<usize>) -> u32 {
    let again = |event: &&Event| matches!(event, Event::Retried { index, .. } if *index == what);
    u32::try_from(journal.iter().filter(again).count()).unwrap_or(u32::MAX)
}

fn retried(
    journal: &[Event],
    index: Option<usize>,
    code: &str,
    error: &dyn std::fmt::Display,
) -> Event {
    Event::Retried {
        index,
        attempt: tries(journal, index) + 1,
        code: code.to_owned(),
        message: error.to_string(),
    }
}

/// Tells whether a person confirmed the plan; the question is asked once, with its first call.
fn confirmed(journal: &[Event]) -> bool {
    journal.iter().any(|event| matches!(event, Event::ApprovalDecided { approved: true, .. }))
}

/// Returns the citations of calls and their results: methods, then datasets.
fn citations_of(calls: &[CallPlan], results: &[&Value]) -> Vec<Citation> {
    let mut citations = Vec::new();
    for (index, (call, result)) in calls.iter().zip(results).enumerate() {
        let method = result.get("method").and_then(Value::as_str).unwrap_or_default();
        citations.push(Citation::Tool {
            tool: call.tool.clone(),
            index,
            method: method.to_owned(),
        });
        let Some(arguments) = call.arguments.as_object() else { continue };
        for (name, value) in arguments {
            if (name == "dataset" || name.ends_with("_dataset") || name == "dbc")
                && let Some(dataset) = value.as_str()
            {
                citations.push(Citation::Dataset { dataset: dataset.to_owned(), index });
            }
        }
    }
    citations
}
