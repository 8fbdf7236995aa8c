//! A run as people and systems see it, rebuilt from its journal.

use agents::event::{Citation, Event};
use agents::plan::{Decision, Plan};
use agents::tool::Effect;
use serde::Serialize;
use serde_json::Value;

use crate::store::{Run, RunEvent};

/// Where a call of a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    /// Not begun.
    Planned,
    /// A person must approve it.
    WaitingApproval,
    /// Approved and about to run.
    Approved,
    /// A person must say whether its effect happened.
    WaitingOutcome,
    /// Turned down.
    Rejected,
    /// Begun.
    Running,
    /// Gave a result.
    Done,
    /// Refused or failed.
    Failed,
}

/// A call of a run.
#[derive(Debug, Clone, Serialize)]
pub struct CallView {
    /// Position in the plan.
    pub index: usize,
    /// Name of the tool.
    pub tool: String,
    /// What the call changes.
    pub effect: Effect,
    /// Checked arguments; before the call begins, one that an earlier result gives is
    /// `{"$from": 0, "pointer": "/payment"}`.
    pub arguments: Value,
    /// Where it stands.
    pub status: CallStatus,
    /// The tool's result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Wall time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
    /// Code and message of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// Who decided on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

/// A failure.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// Stable code.
    pub code: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Where the time of a run went, milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TimingsView {
    /// Planning.
    pub plan_ms: f64,
    /// All calls.
    pub calls_ms: f64,
    /// From the run's creation to its last event.
    pub total_ms: f64,
}

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    /// Identifier.
    pub id: String,
    /// Name of the agent.
    pub agent: String,
    /// Identifier of the pack.
    pub pack: String,
    /// The request as given.
    pub request: String,
    /// Language of the request.
    pub lang: String,
    /// Where it stands.
    pub status: &'static str,
    /// Thread that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// What the planner decided: `call`, `ask`, `invalid`, `search`, `no_tool` or `person`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'static str>,
    /// The answer, question or refusal, Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The calls, in order.
    pub calls: Vec<CallView>,
    /// What the answer rests on.
    pub citations: Vec<Citation>,
    /// Sentences that must be shown with the answer.
    pub warnings: Vec<String>,
    /// Arguments that a question asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Why the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// Where the time went.
    pub timings: TimingsView,
    /// The plan as it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

impl RunView {
    /// Rebuilds a run from its row and journal. Events that do not read are left out; the journal
    /// itself shows them.
    pub fn of(run: &Run, events: &[RunEvent]) -> Self {
        let mut view = Self {
            id: run.id.to_string(),
            agent: run.agent.clone(),
            pack: run.pack.clone(),
            request: run.request.clone(),
            lang: run.lang.clone(),
            status: run.status.name(),
            thread: run.thread.clone(),
            decision: None,
            answer: None,
            calls: Vec::new(),
            citations: Vec::new(),
            warnings: Vec::new(),
            missing: Vec::new(),
            error: None,
            timings: TimingsView::default(),
            plan: None,
            created_at: run.created_at.to_string(),
        };
        for event in events {
            if let Ok(event) = serde_json::from_value(event.payload.clone()) {
                view.see(event);
            }
        }
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            let spent = last.created_at.as_microsecond() - first.created_at.as_microsecond();
            view.timings.total_ms = spent as f64 / 1e3;
        }
        view
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Created { .. } => {}
            Event::Planned { plan } => self.planned(plan),
            Event::CallStarted { index, arguments, .. } => {
                self.settle(index, arguments, CallStatus::Running);
            }
            Event::ApprovalRequested { index, arguments, .. } => {
                self.settle(index, arguments, CallStatus::WaitingApproval);
            }
            Event::ApprovalDecided { index, approved, by, .. } => {
                self.set(index, if approved { CallStatus::Approved } else { CallStatus::Rejected });
                if let Some(call) = self.calls.get_mut(index) {
                    call.decided_by = Some(by);
                }
            }
            Event::CallFinished { index, result, ms, .. } => {
                self.set(index, CallStatus::Done);
                self.timings.calls_ms += ms;
                if let Some(call) = self.calls.get_mut(index) {
                    (call.result, call.ms) = (Some(result), Some(ms));
                }
            }
            Event::CallFailed { index, code, message, .. } => {
                self.set(index, CallStatus::Failed);
                if let Some(call) = self.calls.get_mut(index) {
                    call.error = Some(Fault { code, message });
                }
            }
            Event::Retried { .. } => {}
            Event::OutcomeUnknown { index, message, .. } => {
                self.set(index, CallStatus::WaitingOutcome);
                if let Some(call) = self.calls.get_mut(index) {
                    call.error = Some(Fault { code: "outcome_unknown".to_owned(), message });
                }
            }
            Event::OutcomeSettled { index, by, .. } => {
                self.set(index, CallStatus::Running);
                if let Some(call) = self.calls.get_mut(index) {
                    (call.error, call.decided_by) = (None, Some(by));
                }
            }
            Event::Asked { missing, text } => (self.missing, self.answer) = (missing, Some(text)),
            Event::Refused { text, .. } => self.answer = Some(text),
            Event::Answered { text, citations, warnings } => {
                (self.answer, self.citations, self.warnings) = (Some(text), citations, warnings);
            }
            Event::Failed { code, message } => self.error = Some(Fault { code, message }),
            Event::Cancelled { by } => {
                let message = format!("cancelled by {by}");
                self.error = Some(Fault { code: "cancelled".to_owned(), message });
            }
        }
    }

    fn planned(&mut self, plan: Plan) {
        self.timings.plan_ms = plan.ms;
        self.decision = Some(match &plan.decision {
            Decision::Call { .. } => "call",
            Decision::Ask { .. } => "ask",
            Decision::Invalid { .. } => "invalid",
            Decision::Search => "search",
            Decision::NoTool => "no_tool",
            Decision::Person => "person",
        });
        if let Decision::Call { calls } = &plan.decision {
            self.calls = calls
                .iter()
                .enumerate()
                .map(|(index, call)| CallView {
                    index,
                    tool: call.tool.clone(),
                    effect: call.effect,
                    arguments: call.arguments.clone(),
                    status: CallStatus::Planned,
                    result: None,
                    ms: None,
                    error: None,
                    decided_by: None,
                })
                .collect();
        }
        self.plan = Some(plan);
    }

    /// Notes the arguments that a call really gets: what an earlier result gives is now known.
    fn settle(&mut self, index: usize, arguments: Value, status: CallStatus) {
        self.set(index, status);
        if let Some(call) = self.calls.get_mut(index) {
            call.arguments = arguments;
        }
    }

    fn set(&mut self, index: usize, status: CallStatus) {
        if let Some(call) = self.calls.get_mut(index) {
            call.status = status;
        }
    }
}
