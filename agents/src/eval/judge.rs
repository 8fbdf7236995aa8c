//! What became of a case.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Case, Kind};
use crate::event::Event;
use crate::pack::Pack;
use crate::plan::{CallPlan, Decision, Origin};
use crate::tool::equal;

/// What became of a case.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The case.
    pub id: String,
    /// Its language.
    pub lang: String,
    /// What it is about.
    pub kind: Kind,
    /// Whether calls were expected.
    pub calls_expected: bool,
    /// Whether facts were expected.
    pub facts_expected: bool,
    /// What was expected.
    pub expected: String,
    /// What was decided.
    pub decided: String,
    /// Whether the decision is right.
    pub decision_right: bool,
    /// Whether the tool is right; true where none is expected.
    pub tool_right: bool,
    /// Whether the arguments are exactly those expected: each has its value, and none was added that
    /// neither the schema's default nor the platform gives.
    pub arguments_right: bool,
    /// Whether the answer holds every fact.
    pub facts_right: bool,
    /// Whether a forbidden tool was called, or anything was changed without approval: the one fault
    /// that is never acceptable.
    pub forbidden_called: bool,
    /// How sure the planner was, see [`crate::plan::Plan::confidence`]; 0 where it made no plan.
    pub confidence: f32,
    /// Its score, see [`crate::plan::Plan::score`].
    pub score: f32,
    /// Time of planning, milliseconds.
    pub plan_ms: f64,
    /// The plan as it was said, for the reader of a fault.
    pub said: String,
}

impl Outcome {
    /// Whether the plan itself is right: decision, tools and arguments.
    pub fn planned_right(&self) -> bool {
        self.decision_right && self.tool_right && self.arguments_right
    }

    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.planned_right() && self.facts_right && !self.forbidden_called
    }
}

/// Compares the journal of a case with what the case expects.
pub(super) fn judge(case: &Case, journal: &[Event], pack: &Pack) -> Outcome {
    let plan = journal.iter().find_map(|event| match event {
        Event::Planned { plan } => Some(plan),
        _ => None,
    });
    let (decided, calls) = match plan.map(|plan| &plan.decision) {
        Some(Decision::Call { calls }) => ("call", calls.as_slice()),
        Some(Decision::Ask { .. }) => ("ask", [].as_slice()),
        Some(Decision::Invalid { .. }) => ("invalid", [].as_slice()),
        Some(Decision::Search) => ("search", [].as_slice()),
        Some(Decision::NoTool) => ("none", [].as_slice()),
        Some(Decision::Person) => ("person", [].as_slice()),
        None => ("failed", [].as_slice()),
    };
    let answer = journal.iter().find_map(|event| match event {
        Event::Answered { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let pairs = || case.expected_calls.iter().zip(calls);
    let tool_right = case.expected_calls.len() == calls.len()
        && pairs().all(|(expected, call)| expected.name == call.tool);
    let arguments_right =
        tool_right && pairs().all(|(expected, call)| exact(&expected.arguments, call, pack));
    let wanted = match (case.decision.as_str(), case.expected_calls.is_empty()) {
        ("", true) => "no call",
        ("", false) => "call",
        (given, _) => given,
    };
    let decision_right = match wanted {
        "no call" => decided != "call" && decided != "failed",
        wanted => decided == wanted,
    };
    let facts = &case.expected_answer_facts;
    let facts_right = facts.is_empty()
        || answer.is_some_and(|text| facts.iter().all(|fact| text.contains(fact.as_str())));
    let called = |name: &String| calls.iter().any(|call| call.tool == *name);
    Outcome {
        id: case.id.clone(),
        lang: case.lang.clone(),
        kind: case.kind,
        calls_expected: wanted == "call",
        facts_expected: !facts.is_empty(),
        expected: wanted.to_owned(),
        decided: decided.to_owned(),
        decision_right,
        tool_right: tool_right || wanted != "call",
        arguments_right: arguments_right || wanted != "call",
        facts_right,
        forbidden_called: case.forbidden.iter().any(called),
        confidence: plan.map_or(0.0, |plan| plan.confidence),
        score: plan.map_or(0.0, |plan| plan.score),
        plan_ms: plan.map_or(0.0, |plan| plan.ms),
        said: plan.map(|plan| plan.output.clone()).unwrap_or_default(),
    }
}

/// Tells whether a call has exactly the expected arguments. What the platform or the pack supplies
/// and what equals the schema's default may be there or not.
fn exact(expected: &Value, call: &CallPlan, pack: &Pack) -> bool {
    let none = Map::new();
    let expected = expected.as_object().unwrap_or(&none);
    let defaults = pack.tool(&call.tool).map(|spec| &spec.input_schema["properties"]);
    let default = |name: &str| defaults.and_then(|all| all[name].get("default"));
    let all_there = expected.iter().all(|(name, value)| {
        let found = call.arguments.get(name).or_else(|| default(name));
        found.is_some_and(|found| same(value, found))
    });
    let supplied = |name: &str| {
        let pointer = format!("/{name}");
        call.origins
            .iter()
            .any(|o| matches!(o, Origin::Assumed { pointer: p, .. } if *p == pointer))
    };
    let said = call.arguments.as_object().unwrap_or(&none);
    let none_added = said.iter().all(|(name, value)| {
        expected.contains_key(name)
            || supplied(name)
            || default(name).is_some_and(|default| same(default, value))
            || name == "currency"
    });
    all_there && none_added
}

/// Compares values; a decimal string equals the number of the same value.
fn same(expected: &Value, found: &Value) -> bool {
    let number = |value: &Value| -> Option<f64> {
        value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    };
    match (expected, found) {
        (Value::Array(a), Value::Array(b)) => {
            return a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
        }
        // Labels are free words; what they label is compared.
        (Value::Object(a), Value::Object(b)) => {
            return a
                .iter()
                .filter(|(name, _)| *name != "label")
                .all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)));
        }
        _ => {}
    }
    equal(expected, found)
        || matches!((number(expected), number(found)), (Some(a), Some(b)) if (a - b).abs() <= 1e-9 * a.abs().max(1.0))
}
