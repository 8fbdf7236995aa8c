//! Replays calls through the policy layer as a hijacked planner would write them.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeMap;
use std::path::Path;

use agents::policy::flow::{AllowList, Decision, Flow, decide};
use agents::provenance::Ledger;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// One call, and what it gave where that is known.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Value,
    #[serde(default)]
    pub(crate) result: Value,
}

/// Reads a fixture of one JSON object a line.
pub(crate) fn lines<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Reads what the tools declare.
pub(crate) fn flows() -> BTreeMap<String, Flow> {
    toml::from_str(&std::fs::read_to_string(fixture("flows.toml")).unwrap()).unwrap()
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/injection").join(name)
}

/// A run whose planner may have been taken over.
pub(crate) struct Session {
    pub(crate) flows: BTreeMap<String, Flow>,
    pub(crate) tools: AllowList,
    pub(crate) ledger: Ledger,
}

impl Session {
    /// Begins a run that may call these tools.
    pub(crate) fn new(request: &str, tools: AllowList) -> Self {
        Self { flows: flows(), tools, ledger: Ledger::of_request(request) }
    }

    /// Notes what a call gave.
    pub(crate) fn read(&mut self, tool: &str, result: &Value) {
        self.ledger.record(tool, self.flows.get(tool), result);
    }

    /// Notes the attacker's text in what a tool gave.
    pub(crate) fn inject(&mut self, tool: &str, text: &str) {
        self.read(tool, &json!({ "text": text }));
    }

    pub(crate) fn judge(&self, tool: &str, arguments: &Value) -> Decision {
        let flow = self.flows.get(tool);
        let labelled = self.ledger.arguments(flow, arguments);
        decide(&self.tools, self.ledger.carries(), tool, flow, &labelled)
    }

    /// Makes calls until one does not simply run; returns those that ran and what stopped the rest.
    pub(crate) fn replay<'a>(&mut self, calls: &'a [Call]) -> (Vec<&'a Call>, Option<Decision>) {
        let mut ran = Vec::new();
        for call in calls {
            match self.judge(&call.tool, &call.arguments) {
                Decision::Allow => {}
                other => return (ran, Some(other)),
            }
            self.read(&call.tool, &call.result);
            ran.push(call);
        }
        (ran, None)
    }
}
