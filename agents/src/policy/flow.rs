//! Which flows of values a call may make without a person: a pure function of labels.
//!
//! A tool declares whom or what its call touches (*sinks*), what it carries out (*content*) and what
//! its results hold; a tool that declares nothing always waits for a person. The tools that a run may
//! call are fixed before it reads anything that others wrote ([`AllowList`]). [`decide`] sees labels
//! and never wording, and it is monotone: lowering the trust of a value, raising its secrecy, or
//! reading more never turns a denial or an approval into an allowance (`tests/policy_props.rs`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{Decision as PlanDecision, Plan};
use crate::provenance::{Label, Secrecy, Source, addresses, atoms};
use crate::tool::{Effect, ToolSpec};

/// How far a call reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Reads or computes.
    Read,
    /// Writes what is the tenant's own and can be taken back.
    Write,
    /// Others see it: a message, a payment, a booking, an invitation.
    External,
    /// It cannot be taken back.
    Irreversible,
}

/// What a tool declares of the values that it takes and gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// How far a call reaches.
    pub reach: Reach,
    /// Arguments that say whom or what a call touches, or how much it moves.
    #[serde(default)]
    pub sinks: Vec<String>,
    /// Arguments whose content leaves the tenant with the call.
    #[serde(default)]
    pub content: Vec<String>,
    /// Field of a result by which people name its records.
    #[serde(default)]
    pub names: Option<String>,
    /// Fields of a result that the tenant's own people or systems set, and no outsider; `*` is the
    /// whole result.
    #[serde(default)]
    pub kept: Vec<String>,
    /// Fields of a result that hold identifiers which the system issued.
    #[serde(default)]
    pub issued: Vec<String>,
    /// Kind of the things that the tool's identifiers mean: the seventh event is not the seventh file.
    #[serde(default)]
    pub thing: Option<String>,
    /// Fields of a result that must not leave without a person.
    #[serde(default)]
    pub restricted: Vec<String>,
}

impl Flow {
    /// Reads the flow of a pack's tool from its effect: an act touches what all its arguments say.
    pub fn of_tool(spec: &ToolSpec) -> Self {
        let properties = spec.input_schema["properties"].as_object();
        let names = properties.map(|all| all.keys().cloned().collect()).unwrap_or_default();
        let (reach, sinks) = match spec.effect {
            Effect::Pure | Effect::Read => (Reach::Read, Vec::new()),
            Effect::Propose => (Reach::Write, Vec::new()),
            Effect::Act => (Reach::Irreversible, names),
        };
        let content = sinks.clone();
        let none = Vec::new;
        Self {
            reach,
            sinks,
            content,
            names: None,
            kept: none(),
            issued: none(),
            thing: None,
            restricted: none(),
        }
    }

    /// Tells whether a result holds one of the fields that must not leave, at any depth.
    pub fn holds_restricted(&self, result: &Value) -> bool {
        match result {
            Value::Object(object) => object.iter().any(|(name, value)| {
                (self.restricted.contains(name) && !atoms(value).is_empty())
                    || self.holds_restricted(value)
            }),
            Value::Array(items) => items.iter().any(|item| self.holds_restricted(item)),
            // A result that does not read as records may hold anything.
            Value::String(text) => self.restricted.iter().any(|name| text.contains(name)),
            _ => false,
        }
    }
}

/// One argument of a call, without its value: what is decided must not hang on wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Where its value came from.
    pub label: Label,
    /// The addresses that its value holds, each with its own label.
    pub addresses: Vec<(String, Label)>,
    /// Whether it holds anything.
    pub is_empty: bool,
}

impl Argument {
    /// Builds an argument; `label_of` finds the label of an address in its text.
    pub fn new(name: &str, value: &Value, label: Label, label_of: impl Fn(&str) -> Label) -> Self {
        let texts = atoms(value);
        let found = texts.iter().flat_map(|text| addresses(text));
        Self {
            name: name.to_owned(),
            label,
            addresses: found.map(|address| (address.clone(), label_of(&address))).collect(),
            is_empty: texts.is_empty(),
        }
    }
}

/// The tools that a run may call, fixed before it reads anything that others wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(BTreeSet<String>);

impl AllowList {
    /// Allows these tools.
    pub fn of<T: Into<String>>(tools: impl IntoIterator<Item = T>) -> Self {
        Self(tools.into_iter().map(Into::into).collect())
    }

    /// Allows the tools of a plan, which stands before the first call.
    pub fn of_plan(plan: &Plan) -> Self {
        match &plan.decision {
            PlanDecision::Call { calls } => Self::of(calls.iter().map(|call| call.tool.as_str())),
            _ => Self::default(),
        }
    }

    /// Tells whether the run may call a tool.
    pub fn has(&self, tool: &str) -> bool {
        self.0.contains(tool)
    }
}

/// Why a call does not simply run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The plan, which stood before anything was read, does not name the tool.
    NotPlanned,
    /// The tool declares no flow.
    Undeclared,
    /// A value that says whom or what the call touches came from an untrusted source.
    Origin {
        /// Name of the argument.
        argument: String,
        /// Where its value came from.
        source: Source,
    },
    /// Outgoing content leads to an address that no person and no setting named.
    Address {
        /// Name of the argument.
        argument: String,
        /// The address.
        address: String,
    },
    /// The run has read what must not leave, and this call carries content out.
    Secrecy {
        /// Name of the argument.
        argument: String,
    },
}

impl Reason {
    /// Says it for the person who decides.
    pub fn say(&self) -> String {
        match self {
            Self::NotPlanned => "the plan does not name this tool".to_owned(),
            Self::Undeclared => "the tool does not declare what it touches".to_owned(),
            Self::Origin { argument, source } => {
                format!("`{argument}` comes from {}", source.say())
            }
            Self::Address { argument, address } => {
                format!("`{argument}` leads to {address}, which the request does not name")
            }
            Self::Secrecy { argument } => {
                format!("`{argument}` leaves after restricted data was read")
            }
        }
    }
}

/// What becomes of a call, from the mildest to the strictest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may run.
    Allow,
    /// A person decides, who is shown these reasons.
    Approve(Vec<Reason>),
    /// It must not run.
    Deny(Reason),
}

impl Decision {
    /// Its rank: 0 allows, 1 asks, 2 denies.
    pub fn strictness(&self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::Approve(_) => 1,
            Self::Deny(_) => 2,
        }
    }
}

/// Decides about one call of a run that may call `tools` and has read what is `carries` secret.
pub fn decide(
    tools: &AllowList,
    carries: Secrecy,
    tool: &str,
    flow: Option<&Flow>,
    arguments: &[Argument],
) -> Decision {
    if !tools.has(tool) {
        return Decision::Deny(Reason::NotPlanned);
    }
    let Some(flow) = flow else { return Decision::Approve(vec![Reason::Undeclared]) };
    let mut reasons = Vec::new();
    for argument in arguments.iter().filter(|argument| !argument.is_empty) {
        let name = || argument.name.clone();
        let source = argument.label.source;
        if flow.sinks.contains(&argument.name) && !source.is_trusted() {
            reasons.push(Reason::Origin { argument: name(), source });
        }
        if flow.reach < Reach::External || !flow.content.contains(&argument.name) {
            continue;
        }
        let foreign = argument.addresses.iter().filter(|(_, label)| !label.source.is_trusted());
        reasons.extend(
            foreign
                .map(|(address, _)| Reason::Address { argument: name(), address: address.clone() }),
        );
        if carries.max(argument.label.secrecy) == Secrecy::Restricted {
            reasons.push(Reason::Secrecy { argument: name() });
        }
    }
    if reasons.is_empty() { Decision::Allow } else { Decision::Approve(reasons) }
}
