//! Where the values of a call came from, and how far each can be trusted.
//!
//! A value carries a [`Label`]. What is derived from several values takes the least trusted source
//! and the highest secrecy of them ([`Label::join`]), so a chain of tools can make a value only less
//! trusted and never more. [`crate::policy::flow`] decides from labels alone and never from what a
//! text says; no wording can therefore talk it into anything.
//!
//! Two kinds of planners meet here. The platform's own points at spans and results, so the labels of
//! its calls follow from the plan ([`of_call`]). A planner that writes values freely (a hosted model, an
//! MCP client) is believed nothing: [`Ledger`] looks up which trusted text states the value whole.
//!
//! # Source
//! Denning, *A Lattice Model of Secure Information Flow*, CACM 19(5), 1976; Debenedetti et al.,
//! *Defeating Prompt Injections by Design*, arXiv 2503.18813; Costa et al., *Securing AI Agents with
//! Information-Flow Control*, arXiv 2505.23643.

mod address;
mod ledger;
mod stated;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{CallPlan, Origin};
use crate::policy::flow::Argument;
use crate::tool::Effect;

pub use address::addresses;
pub use ledger::Ledger;
pub use stated::{atoms, states};

/// Who stands behind a value, from the least trusted to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Text that anyone may have written: a document, a page, a message, or nobody knows.
    Document,
    /// Rows that a partner uploaded.
    Dataset,
    /// What a tool computed or read.
    Tool,
    /// A record that the tenant's own people keep, or an identifier that one of its systems issued
    /// for what a person named.
    Directory,
    /// The tenant's configuration, the clock, or a rule of the pack.
    Tenant,
    /// The words of the person who asked.
    Person,
}

impl Source {
    /// Every source, the least trusted first.
    pub const ALL: [Self; 6] =
        [Self::Document, Self::Dataset, Self::Tool, Self::Directory, Self::Tenant, Self::Person];

    /// Tells whether a value from here may say whom or what a call touches without a person.
    pub fn is_trusted(self) -> bool {
        self >= Self::Directory
    }

    /// Names the source for people.
    pub fn say(self) -> &'static str {
        match self {
            Self::Document => "text that anyone may have written",
            Self::Dataset => "an uploaded dataset",
            Self::Tool => "the result of a tool",
            Self::Directory => "a record of the joint venture",
            Self::Tenant => "the joint venture's settings",
            Self::Person => "the request",
        }
    }
}

/// Who may learn a value, from everyone to few.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secrecy {
    /// Anyone.
    Public,
    /// The tenant and whom a person names.
    #[default]
    Internal,
    /// Nobody outside without a person's consent: card and passport numbers, credentials.
    Restricted,
}

/// What is known about a value beside the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The least trusted source that had a part in it.
    pub source: Source,
    /// The highest secrecy of what had a part in it.
    pub secrecy: Secrecy,
    /// Positions of the calls whose results had a part in it, from 0.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub calls: BTreeSet<usize>,
}

impl Label {
    /// A value straight from a source.
    pub fn of(source: Source) -> Self {
        Self { source, secrecy: Secrecy::Internal, calls: BTreeSet::new() }
    }

    /// The label of what is derived from both.
    #[must_use]
    pub fn join(mut self, other: &Self) -> Self {
        self.source = self.source.min(other.source);
        self.secrecy = self.secrecy.max(other.secrecy);
        self.calls.extend(&other.calls);
        self
    }

    /// The label of what is derived from all; what is derived from nothing is the pack's own.
    pub fn all<'a>(labels: impl IntoIterator<Item = &'a Self>) -> Self {
        labels.into_iter().fold(Self::of(Source::Person), Self::join)
    }
}

/// Returns the arguments of a planned call with their labels. `results` are those of the calls before
/// it. An argument whose origin the plan does not state counts as anyone's.
pub fn of_call(call: &CallPlan, results: &[Label]) -> Vec<Argument> {
    let Some(arguments) = call.arguments.as_object() else { return Vec::new() };
    let stated = arguments.iter().filter(|(_, value)| !matches!(value, Value::Null));
    stated
        .map(|(name, value)| {
            let below = format!("/{name}");
            let mine = call.origins.iter().filter(|origin| {
                let pointer = origin.pointer();
                pointer == below || pointer.starts_with(&format!("{below}/"))
            });
            let labels: Vec<Label> = mine.map(|origin| label_of(origin, results)).collect();
            let label = match labels.is_empty() {
                true => Label::of(Source::Document),
                false => Label::all(&labels),
            };
            Argument::new(name, value, label.clone(), |_| label.clone())
        })
        .collect()
}

fn label_of(origin: &Origin, results: &[Label]) -> Label {
    match origin {
        Origin::Request { .. } => Label::of(Source::Person),
        // The literals are the pack's; the planner chose before it read anything but the request.
        Origin::Choice { .. } | Origin::Assumed { .. } => Label::of(Source::Tenant),
        Origin::Result { call, .. } => {
            let unknown = || Label::of(Source::Document);
            let mut label = results.get(*call).cloned().unwrap_or_else(unknown);
            label.calls.insert(*call);
            label
        }
    }
}

/// Returns the label of a call's result: at best a tool's, and no better than its arguments; what was
/// read is at best a dataset's.
pub fn of_result(effect: Effect, arguments: &[Argument]) -> Label {
    let best = match effect {
        Effect::Pure => Source::Tool,
        Effect::Read | Effect::Propose | Effect::Act => Source::Dataset,
    };
    Label::all(arguments.iter().map(|argument| &argument.label)).join(&Label::of(best))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_derived_from_several_values_is_as_trusted_as_the_least_of_them() {
        let person = Label::of(Source::Person);
        let mut text = Label { secrecy: Secrecy::Restricted, ..Label::of(Source::Document) };
        text.calls.insert(2);
        let both = person.clone().join(&text);
        assert_eq!(both, text.join(&person), "the order does not matter");
        assert_eq!(both.source, Source::Document);
        assert_eq!(both.secrecy, Secrecy::Restricted);
        assert_eq!(both.calls, BTreeSet::from([2]));
    }

    #[test]
    fn an_argument_without_an_origin_counts_as_anyones() {
        let call = CallPlan {
            tool: "refund_request".to_owned(),
            arguments: serde_json::json!({"order_id": "ord-1", "amount": "5", "reason": "goodwill"}),
            effect: Effect::Act,
            origins: vec![
                Origin::Request { pointer: "/order_id".to_owned(), text: "ord-1".to_owned() },
                Origin::Result { pointer: "/amount".to_owned(), call: 0, field: "x".to_owned() },
            ],
        };
        let arguments = of_call(&call, &[Label::of(Source::Dataset)]);
        let source = |name: &str| {
            arguments.iter().find(|argument| argument.name == name).map(|a| a.label.source)
        };
        assert_eq!(source("order_id"), Some(Source::Person));
        assert_eq!(source("amount"), Some(Source::Dataset));
        assert_eq!(source("reason"), Some(Source::Document));
        assert_eq!(of_result(Effect::Pure, &arguments).source, Source::Document);
        assert_eq!(of_result(Effect::Pure, &arguments[..1]).source, Source::Tool);
    }
}
