//! The evaluation cases of the finance pack are sound: what each expects is what its tools say.
//!
//! `SHOW=1 cargo test -p agents --test cases_finance -- --nocapture` prints the answers.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise; answers are shown on demand"
)]

use std::sync::Arc;

use agents::answer::Answers;
use agents::eval::{Case, Kind, cases};
use agents::pack::{FixtureSource, MemoryEffects, Pack, shipped};
use agents::policy::Policy;
use agents::port::DatasetSource;
use agents::tool::{Limits, Table, ToolContext, ToolError, Window};
use serde_json::{Value, json};

fn finance() -> &'static Pack {
    shipped().unwrap().iter().find(|pack| pack.manifest.id == "finance").unwrap()
}

/// The datasets of a case in place of, or beside, the pack's own.
struct Beside<'c>(&'c Case, FixtureSource);

impl DatasetSource for Beside<'_> {
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError> {
        Ok(Table::from_csv(&self.file(id)?, id)?.within(window))
    }

    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError> {
        match self.0.datasets.get(id) {
            Some(text) => Ok(text.as_bytes().into()),
            None => self.1.file(id),
        }
    }
}

/// Puts results of earlier calls where the arguments point at them.
fn resolved(value: &Value, results: &[Value]) -> Value {
    match value {
        Value::Object(object) => match (object.get("$from"), object.get("pointer")) {
            (Some(call), Some(pointer)) => {
                let call = usize::try_from(call.as_u64().unwrap()).unwrap();
                results[call].pointer(pointer.as_str().unwrap()).unwrap().clone()
            }
            _ => object.iter().map(|(k, v)| (k.clone(), resolved(v, results))).collect(),
        },
        Value::Array(items) => items.iter().map(|item| resolved(item, results)).collect(),
        other => other.clone(),
    }
}

/// Adds what the platform supplies where a request does not say it.
fn filled(tool: &str, mut arguments: Value, case: &Case) -> Value {
    let object = arguments.as_object_mut().unwrap();
    let schema = &finance().tool(tool).unwrap().input_schema;
    let required = schema["required"].as_array().unwrap();
    let mut put = |name: &str, value: &str, wanted: bool| {
        if wanted && !object.contains_key(name) {
            object.insert(name.to_owned(), json!(value));
        }
    };
    put("currency", "USD", required.contains(&json!("currency")) || tool == "open_case");
    put("summary", &case.request, tool == "open_case");
    put("idempotency_key", &format!("case-{}", case.id), tool == "open_case");
    if let Some(items) = object.get_mut("transactions").and_then(Value::as_array_mut) {
        for (i, item) in items.iter_mut().enumerate() {
            item["transaction_id"] = json!(format!("T{}", i + 1));
        }
    }
    arguments
}

/// Runs the calls of a case; returns what does not hold.
fn faults(case: &Case, answers: &Answers) -> Vec<String> {
    let (effects, limits) = (MemoryEffects::default(), Limits::default());
    let datasets = Beside(case, FixtureSource::of(finance()).unwrap());
    let context = ToolContext {
        datasets: &datasets,
        effects: &effects,
        systems: &agents::port::NoSystems,
        now: "2026-11-24T00:00:00Z".parse().unwrap(),
        approval: None,
        limits: &limits,
    };
    let (mut results, mut text): (Vec<Value>, String) = (Vec::new(), String::new());
    for call in &case.expected_calls {
        let arguments = filled(&call.name, resolved(&call.arguments, &results), case);
        match finance().call(&call.name, &arguments, &context) {
            Ok(result) => {
                let said = answers.say(&call.name, &arguments, &result, &case.lang);
                text.push_str(&said.unwrap());
                text.push('\n');
                results.push(result);
            }
            // An act waits for a person; until then there is no answer to hold a fact.
            Err(ToolError::NeedsApproval { .. }) => {}
            Err(error) => return vec![format!("{}: {}: {error}", case.id, call.name)],
        }
    }
    if std::env::var("SHOW").is_ok() {
        println!("=== {} {}\n{text}", case.id, case.request);
    }
    let missing = case.expected_answer_facts.iter().filter(|fact| !text.contains(fact.as_str()));
    missing.map(|fact| format!("{}: `{fact}` is not in: {text}", case.id)).collect()
}

#[test]
fn the_tools_say_the_facts_that_each_case_expects() {
    let answers = Answers::of(finance()).unwrap();
    let all = cases(finance()).unwrap();
    let faults: Vec<String> = all.iter().flat_map(|case| faults(case, &answers)).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn an_order_in_untrusted_text_is_forbidden_every_act_that_the_policy_names() {
    let policy = Policy::of(finance()).unwrap();
    let named: Vec<&String> = policy.rules.iter().flat_map(|rule| &rule.forbidden_tools).collect();
    for case in cases(finance()).unwrap().iter().filter(|case| case.kind == Kind::Inject) {
        for tool in named.iter().copied().chain([&"open_case".to_owned()]) {
            assert!(case.forbidden.contains(tool), "{} does not forbid {tool}", case.id);
        }
    }
}
