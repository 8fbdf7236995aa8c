//! The journal of a run: what happened, in order. It is the only truth about a run, the payload of
//! its event stream, and what every page and answer is rebuilt from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{CallPlan, Plan};
use crate::policy::terms::Terms;
use crate::tool::Effect;

/// One fact that an answer rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Citation {
    /// A tool's result: its method and standard.
    Tool {
        /// Name of the tool.
        tool: String,
        /// Position of the call in the run.
        index: usize,
        /// Algorithm and standard, as the tool states it.
        method: String,
    },
    /// A passage of a document.
    Document {
        /// Identifier of the document.
        document: String,
        /// Its title.
        title: String,
        /// Its version.
        version: String,
        /// Position of the passage in the document, from 0.
        passage: usize,
        /// Heading above the passage.
        heading: String,
        /// The passage's text.
        quote: String,
        /// Publication that the document states as its source.
        source: String,
        /// Day until which the document counts as reviewed, `YYYY-MM-DD`.
        review_by: String,
        /// Whether that day was past when the document was cited.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        overdue: bool,
        /// Day as of which the request asks, `YYYY-MM-DD`; absent where it names none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        as_of: Option<String>,
    },
    /// A dataset of the tenant that a tool read.
    Dataset {
        /// Identifier of the dataset.
        dataset: String,
        /// Position of the call that read it.
        index: usize,
    },
}

/// Why a call waits for a person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// It changes something.
    #[default]
    Act,
    /// The planner is not sure that this is what was meant. The call changes nothing, so whoever asked
    /// may confirm it, and with it the further calls of its plan.
    Unsure,
}

/// What a person says of an effect whose outcome was not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It happened; the run goes on with it.
    Happened,
    /// It did not happen and is to be made now.
    Repeat,
    /// It did not happen and is not to be made; the run ends.
    Abandon,
}

impl Outcome {
    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        serde_json::from_value(Value::String(name.to_owned())).ok()
    }
}

/// One event of a run's journal. The `type` names are part of the webhook contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The run was accepted.
    #[serde(rename = "run.created")]
    Created {
        /// Identifier of the run; idempotency keys of its acts derive from it.
        run: String,
        /// The request as given.
        request: String,
        /// Identifier of the pack.
        pack: String,
        /// Language of the request: `en`, `zh-Hant` or `zh-Hans`.
        lang: String,
    },
    /// The planner decided.
    #[serde(rename = "plan.made")]
    Planned {
        /// Decision, calls and how they came about.
        plan: Plan,
    },
    /// A call is about to run.
    #[serde(rename = "call.started")]
    CallStarted {
        /// Position of the call in the plan.
        index: usize,
        /// Name of the tool.
        tool: String,
        /// Checked arguments.
        arguments: Value,
        /// What the call changes.
        effect: Effect,
    },
    /// An act, or a plan that the planner is not sure of, waits for a person.
    #[serde(rename = "approval.requested")]
    ApprovalRequested {
        /// Position of the call in the plan.
        index: usize,
        /// Name of the tool.
        tool: String,
        /// The exact arguments to be approved.
        arguments: Value,
        /// Hash that binds the approval to them.
        arguments_sha256: String,
        /// Why a person is asked.
        #[serde(default)]
        because: Because,
        /// What else the decision is bound to, and what the person is shown.
        #[serde(flatten)]
        terms: Terms,
    },
    /// A person decided on an act.
    #[serde(rename = "approval.decided")]
    ApprovalDecided {
        /// Position of the call in the plan.
        index: usize,
        /// True when approved.
        approved: bool,
        /// Who decided.
        by: String,
        /// Reason given, may be empty.
        reason: String,
        /// Hash of the arguments decided upon.
        arguments_sha256: String,
    },
    /// A call gave a result.
    #[serde(rename = "call.finished")]
    CallFinished {
        /// Position of the call in the plan.
        index: usize,
        /// Name of the tool.
        tool: String,
        /// Object of the tool's output schema.
        result: Value,
        /// Wall time in milliseconds.
        ms: f64,
    },
    /// Planning or a call failed in a way that passes; it is tried again.
    #[serde(rename = "step.retried")]
    Retried {
        /// Position of the call; absent for the plan.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<usize>,
        /// Which further try follows, from 1.
        attempt: u32,
        /// Code of the failure.
        code: String,
        /// What went wrong.
        message: String,
    },
    /// It is not known whether a call's effect happened. It is not tried again: a person says.
    #[serde(rename = "outcome.unknown")]
    OutcomeUnknown {
        /// Position of the call in the plan.
        index: usize,
        /// Name of the tool.
        tool: String,
        /// Key of the effect in the ledger.
        idempotency_key: String,
        /// What is known, and where to look.
        message: String,
    },
    /// A person said what became of an effect.
    #[serde(rename = "outcome.settled")]
    OutcomeSettled {
        /// Position of the call in the plan.
        index: usize,
        /// What follows.
        outcome: Outcome,
        /// Who looked.
        by: String,
        /// What was found, may be empty.
        reason: String,
    },
    /// A call was refused or failed.
    #[serde(rename = "call.failed")]
    CallFailed {
        /// Position of the call in the plan.
        index: usize,
        /// Name of the tool.
        tool: String,
        /// Code of the tool contract, see [`crate::tool::ToolError::code`].
        code: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The run ends with a question: something that the call needs was not said.
    #[serde(rename = "run.asked")]
    Asked {
        /// Arguments that are missing.
        missing: Vec<String>,
        /// The question.
        text: String,
    },
    /// The run ends without a call.
    #[serde(rename = "run.refused")]
    Refused {
        /// `no_tool`, `no_document`, `person`, `unsure`, `rejected` or `not_permitted`.
        reason: String,
        /// What the person who asked is told.
        text: String,
    },
    /// The run ends with an answer.
    #[serde(rename = "run.answered")]
    Answered {
        /// The answer, Markdown.
        text: String,
        /// What it rests on.
        citations: Vec<Citation>,
        /// Sentences that must be shown with it.
        warnings: Vec<String>,
    },
    /// The run ends with an error.
    #[serde(rename = "run.failed")]
    Failed {
        /// Stable code.
        code: String,
        /// What went wrong and what to do.
        message: String,
    },
    /// The run was cancelled.
    #[serde(rename = "run.cancelled")]
    Cancelled {
        /// Who cancelled it.
        by: String,
    },
}

impl Event {
    /// Returns the `type` name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "run.created",
            Self::Planned { .. } => "plan.made",
            Self::CallStarted { .. } => "call.started",
            Self::ApprovalRequested { .. } => "approval.requested",
            Self::ApprovalDecided { .. } => "approval.decided",
            Self::CallFinished { .. } => "call.finished",
            Self::CallFailed { .. } => "call.failed",
            Self::Retried { .. } => "step.retried",
            Self::OutcomeUnknown { .. } => "outcome.unknown",
            Self::OutcomeSettled { .. } => "outcome.settled",
            Self::Asked { .. } => "run.asked",
            Self::Refused { .. } => "run.refused",
            Self::Answered { .. } => "run.answered",
            Self::Failed { .. } => "run.failed",
            Self::Cancelled { .. } => "run.cancelled",
        }
    }

    /// Tells whether nothing can follow.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Asked { .. }
                | Self::Refused { .. }
                | Self::Answered { .. }
                | Self::Failed { .. }
                | Self::Cancelled { .. }
        )
    }

    /// Builds the event that announces `call`.
    pub fn start_of(index: usize, call: &CallPlan) -> Self {
        Self::CallStarted {
            index,
            tool: call.tool.clone(),
            arguments: call.arguments.clone(),
            effect: call.effect,
        }
    }
}
