//! From a request to a plan: find the values it states, shortlist tools, ask a planner for the
//! calls, and turn the planner's references back into checked arguments.
//!
//! The planner never writes a value. It points at [`mention`](crate::mention)s (`"$2"`), so a number
//! in a call is either a span of the request, a value of an earlier call's result, a default of the
//! tenant, or a literal of the schema; each argument carries its [`Origin`].

mod again;
pub mod arg;
mod asked;
mod card;
mod confidence;
pub mod field;
mod fill;
pub mod functions;
pub mod given;
mod lead;
mod planner;
mod planning;
mod preview;
mod sequence;
mod shortlist;
mod step;
mod supply;
mod unit;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use asked::{AGAIN, Asked, Open};
pub use card::Card;
pub use confidence::{
    Bin, Calibration, CalibrationError, FEWEST, Graded, Knot, Point, RISK, Selective,
};
pub use field::Field;
pub use fill::{Fills, Setting};
pub use lead::Leads;
pub use planner::{EnginePlanner, PlanError, Planner, Words};
pub use planning::{Desk, PROMPT_VERSION, Planning, SHORTLIST};
pub use shortlist::Shortlister;
pub use step::{END, OTHER_STEPS, Offer, Step, mention_of};

use crate::mention::Mention;
use crate::pack::Pack;
use crate::tool::Effect;

/// Where the value of an argument came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// A span of the request.
    Request {
        /// JSON pointer of the argument.
        pointer: String,
        /// The words that state it.
        text: String,
    },
    /// The result of an earlier call of the plan.
    Result {
        /// JSON pointer of the argument.
        pointer: String,
        /// Position of the earlier call, from 0.
        call: usize,
        /// Name of the value in its result.
        field: String,
    },
    /// A choice among the literals of the schema, made by the planner.
    Choice {
        /// JSON pointer of the argument.
        pointer: String,
    },
    /// A setting of the tenant, the clock, or a rule of the pack; not said by the person.
    Assumed {
        /// JSON pointer of the argument.
        pointer: String,
        /// The value that was assumed, for the reader.
        value: String,
    },
}

impl Origin {
    /// Returns the JSON pointer of the argument.
    pub fn pointer(&self) -> &str {
        match self {
            Self::Request { pointer, .. }
            | Self::Result { pointer, .. }
            | Self::Choice { pointer }
            | Self::Assumed { pointer, .. } => pointer,
        }
    }
}

/// One call of a plan, with arguments that passed the whole schema; where one waits for an earlier
/// result, the schema is checked when that result is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallPlan {
    /// Name of the tool.
    pub tool: String,
    /// Arguments.
    pub arguments: Value,
    /// What the call changes.
    pub effect: Effect,
    /// Where each argument came from.
    pub origins: Vec<Origin>,
}

/// What the planner decided to do with a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Make these calls, in order.
    Call {
        /// The calls.
        calls: Vec<CallPlan>,
    },
    /// Ask for what is missing.
    Ask {
        /// Tool that needs it.
        tool: String,
        /// Names of the missing arguments.
        missing: Vec<String>,
    },
    /// Arguments break a rule that the person should hear of.
    Invalid {
        /// Tool that was meant.
        tool: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// Answer from the documents.
    Search,
    /// Nothing here serves the request.
    NoTool,
    /// A person must take it.
    Person,
}

/// What made a plan, beside the model's version: enough to tell later why two plans differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// SHA-256 of the model's files, hexadecimal; empty where no model decided.
    pub model_sha256: String,
    /// Identifier of the pack.
    pub pack: String,
    /// Version of the pack.
    pub pack_version: String,
    /// [`PROMPT_VERSION`] of the program.
    pub prompt_version: u32,
}

impl MadeBy {
    /// Names a pack of this program and the model that decides.
    pub fn of(pack: &Pack, model_sha256: &str) -> Self {
        Self {
            model_sha256: model_sha256.to_owned(),
            pack: pack.manifest.id.clone(),
            pack_version: pack.manifest.version.clone(),
            prompt_version: PROMPT_VERSION,
        }
    }
}

/// A plan that gave way to a larger planner's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Version of the smaller planner.
    pub model: String,
    /// How sure it was.
    pub confidence: f32,
    /// Its words.
    pub output: String,
}

fn one() -> f32 {
    1.0
}

/// A decision and how it came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What to do.
    #[serde(flatten)]
    pub decision: Decision,
    /// Values found in the request.
    pub mentions: Vec<Mention>,
    /// Tools that the planner could choose from.
    pub shortlist: Vec<String>,
    /// The planner's own words, under the grammar.
    pub output: String,
    /// How likely the decision is right, 0 to 1: calibrated where the planner has a calibration, else
    /// [`Plan::score`].
    pub confidence: f32,
    /// Least probability among the tokens that the planner chose, 0 to 1; plans of before it was noted
    /// have 1.
    #[serde(default = "one")]
    pub score: f32,
    /// Confidence below which this plan's calls are not made without a person; 0 where that was off.
    #[serde(default)]
    pub abstain_below: f32,
    /// The plan of a smaller planner that was not sure enough, in whose place this one stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_over: Option<HandedOver>,
    /// Version of the planner.
    pub model: String,
    /// The rest of what made it; plans of before it was noted have none.
    #[serde(default)]
    pub made_by: MadeBy,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens that the planner chose (forced ones are not counted).
    pub decoded_tokens: usize,
    /// Wall time of planning in milliseconds.
    pub ms: f64,
}

impl Plan {
    /// Tells whether the planner was not sure enough to act on.
    pub fn is_unsure(&self) -> bool {
        self.confidence < self.abstain_below
    }

    /// Builds the plan of a decision that a rule made without the planner.
    pub fn by_policy(decision: Decision, pack: &Pack) -> Self {
        Self {
            decision,
            mentions: Vec::new(),
            shortlist: Vec::new(),
            output: String::new(),
            confidence: 1.0,
            score: 1.0,
            abstain_below: 0.0,
            handed_over: None,
            model: "policy".to_owned(),
            made_by: MadeBy::of(pack, ""),
            prompt_tokens: 0,
            decoded_tokens: 0,
            ms: 0.0,
        }
    }
}
