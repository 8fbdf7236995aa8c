//! The form of the evaluation cases: what can be checked without running them.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::{Bench, Check};
use crate::eval::{self, Case, Expected, Kind};
use crate::pack::{Pack, PackError, Stage};
use crate::synth::LANGS;
use crate::tool::Effect;

/// What a case may decide.
const DECISIONS: [&str; 5] = ["call", "ask", "none", "person", "search"];

/// Fewest cases of a pack that is released; a draft needs one for each tool.
const LEAST_CASES: usize = 60;

/// Fewest cases of each kind but the plain ones.
const LEAST_OF_KIND: usize = 10;

/// Fewest cases that call a tool.
const LEAST_OF_TOOL: usize = 2;

/// One check for each case and one for each promise about how many there are.
pub(super) fn checks<'a>(bench: &'a Bench<'a>) -> Result<Vec<Check<'a>>, PackError> {
    let cases = Rc::new(eval::cases(bench.pack)?);
    let mut seen = BTreeSet::new();
    let mut checks = Vec::new();
    for at in 0..cases.len() {
        let id = cases[at].id.clone();
        let repeated = !seen.insert(id.clone());
        let cases = Rc::clone(&cases);
        checks.push(Check::new(format!("case {id}"), move || {
            if repeated {
                return Err("expected a name of its own, found it twice".to_owned()).into();
            }
            form(bench.pack, &cases[at]).into()
        }));
    }
    let manifest = &bench.pack.manifest;
    let of_tool = if manifest.stage == Stage::Draft { 1 } else { LEAST_OF_TOOL };
    for tool in &bench.pack.tools {
        let calls = |case: &Case| case.expected_calls.iter().any(|call| call.name == tool.name);
        checks.push(count(&cases, &format!("cases that call {}", tool.name), of_tool, calls));
    }
    if manifest.stage == Stage::Draft {
        return Ok(checks);
    }
    checks.push(count(&cases, "cases", LEAST_CASES, |_| true));
    if manifest.languages.iter().any(|lang| lang.starts_with("zh")) {
        checks.push(count(&cases, "cases in Chinese", cases.len().div_ceil(3), |case| {
            case.lang.starts_with("zh")
        }));
    }
    for lang in &manifest.languages {
        checks.push(count(&cases, &format!("cases in {lang}"), 1, move |case| case.lang == *lang));
    }
    for (name, kind) in [
        ("ask", Kind::Ask),
        ("chain", Kind::Chain),
        ("inject", Kind::Inject),
        ("refuse", Kind::Refuse),
    ] {
        let of_kind = move |case: &Case| case.kind == kind;
        checks.push(count(&cases, &format!("cases of kind `{name}`"), LEAST_OF_KIND, of_kind));
    }
    Ok(checks)
}

fn count<'a>(
    cases: &Rc<Vec<Case>>,
    what: &str,
    least: usize,
    which: impl Fn(&Case) -> bool + 'a,
) -> Check<'a> {
    let cases = Rc::clone(cases);
    Check::new(format!("at least {least} {what}"), move || {
        let found = cases.iter().filter(|case| which(case)).count();
        if found >= least { Ok(()) } else { Err(format!("found {found}")) }.into()
    })
}

pub(crate) fn form(pack: &Pack, case: &Case) -> Result<(), String> {
    if case.request.trim().is_empty() {
        return Err("expected a request, found none".to_owned());
    }
    if !LANGS.contains(&case.lang.as_str()) {
        return Err(format!("expected one of {}, found `{}`", LANGS.join(", "), case.lang));
    }
    let stated = !case.decision.is_empty();
    if stated && !DECISIONS.contains(&case.decision.as_str()) {
        return Err(format!("expected one of {}, found `{}`", DECISIONS.join(", "), case.decision));
    }
    // A case that asks may name the call that lacks an argument.
    let fits = match case.decision.as_str() {
        "call" => !case.expected_calls.is_empty(),
        "" | "ask" => true,
        _ => case.expected_calls.is_empty(),
    };
    if !fits {
        return Err(format!(
            "found {} expected calls with the decision `{}`",
            case.expected_calls.len(),
            case.decision
        ));
    }
    for (at, call) in case.expected_calls.iter().enumerate() {
        expected(pack, case, at, call).map_err(|error| format!("call {at}: {error}"))?;
    }
    if let Some(call) = case.expected_calls.iter().find(|call| case.forbidden.contains(&call.name))
    {
        return Err(format!("`{}` is both expected and forbidden", call.name));
    }
    kind(pack, case)
}

fn expected(pack: &Pack, case: &Case, at: usize, call: &Expected) -> Result<(), String> {
    let tool = pack.tool(&call.name).ok_or(format!("the pack has no tool `{}`", call.name))?;
    for (name, value) in call.arguments.as_object().into_iter().flatten() {
        if tool.input_schema["properties"].get(name).is_none() {
            return Err(format!("`{}` has no argument `{name}`", call.name));
        }
        passed_on(pack, case, at, value).map_err(|error| format!("`{name}`: {error}"))?;
    }
    Ok(())
}

/// A value passed on must come from an earlier call and from a place that its result has.
fn passed_on(pack: &Pack, case: &Case, at: usize, value: &Value) -> Result<(), String> {
    match value {
        Value::Object(map) => {
            let Some(from) = map.get("$from") else {
                return map.values().try_for_each(|value| passed_on(pack, case, at, value));
            };
            let from = from.as_u64().and_then(|from| usize::try_from(from).ok());
            let earlier = from.filter(|from| *from < at).and_then(|i| case.expected_calls.get(i));
            let Some(earlier) = earlier else {
                return Err(format!("expected `$from` to name an earlier call, found {value}"));
            };
            let pointer = map.get("pointer").and_then(Value::as_str).unwrap_or_default();
            let tool = pack.tool(&earlier.name);
            if tool.is_some_and(|tool| leads_somewhere(&tool.output_schema, pointer)) {
                return Ok(());
            }
            Err(format!("the result of `{}` has no `{pointer}`", earlier.name))
        }
        Value::Array(items) => items.iter().try_for_each(|v| passed_on(pack, case, at, v)),
        _ => Ok(()),
    }
}

fn leads_somewhere(schema: &Value, pointer: &str) -> bool {
    let mut at = schema;
    let Some(steps) = pointer.strip_prefix('/') else { return false };
    for step in steps.split('/') {
        let next = match step.parse::<usize>() {
            Ok(_) => at.get("items"),
            Err(_) => at.get("properties").and_then(|properties| properties.get(step)),
        };
        let Some(next) = next else { return false };
        at = next;
    }
    true
}

/// What a case of a kind must have to be one.
fn kind(pack: &Pack, case: &Case) -> Result<(), String> {
    let decided = |allowed: &[&str]| {
        if allowed.contains(&case.decision.as_str()) {
            return Ok(());
        }
        Err(format!("expected the decision {}, found `{}`", allowed.join(" or "), case.decision))
    };
    match case.kind {
        Kind::Plain => Ok(()),
        Kind::Ask => decided(&["ask"]),
        Kind::Refuse => decided(&["none", "person"]),
        Kind::Chain if case.expected_calls.len() < 2 => {
            Err(format!("expected several calls, found {}", case.expected_calls.len()))
        }
        Kind::Chain => Ok(()),
        Kind::Inject => {
            let mut acts = pack.tools.iter().filter(|tool| tool.effect == Effect::Act);
            match acts.find(|tool| !case.forbidden.contains(&tool.name)) {
                Some(tool) => Err(format!("expected the act `{}` to be forbidden", tool.name)),
                None => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pack::shipped;

    fn faults(case: Value) -> Result<(), String> {
        let pack = shipped().unwrap().iter().find(|p| p.manifest.id == "energy").unwrap();
        form(pack, &serde_json::from_value(case).unwrap())
    }

    #[test]
    fn a_value_is_passed_on_only_from_an_earlier_result_that_has_it() {
        let chain = |from: usize, pointer: &str| {
            json!({
                "id": "c", "request": "r", "lang": "en", "decision": "call", "kind": "chain",
                "expected_calls": [
                    { "name": "interval_stats", "arguments": { "dataset": "d" } },
                    { "name": "carbon_scope2", "arguments": {
                        "electricity_kwh": { "$from": from, "pointer": pointer } } },
                ],
            })
        };
        assert_eq!(faults(chain(0, "/energy_kwh")), Ok(()));
        assert!(faults(chain(0, "/no_such_place")).unwrap_err().contains("no_such_place"));
        assert!(faults(chain(1, "/energy_kwh")).unwrap_err().contains("earlier call"));
    }

    #[test]
    fn an_injection_must_forbid_every_act() {
        let case = |forbidden: Value| {
            json!({
                "id": "i", "request": "r", "lang": "en", "decision": "none", "kind": "inject",
                "forbidden": forbidden,
            })
        };
        assert_eq!(faults(case(json!(["dr_respond"]))), Ok(()));
        assert!(faults(case(json!([]))).unwrap_err().contains("dr_respond"));
    }

    #[test]
    fn a_decision_to_call_names_its_calls() {
        let case = json!({ "id": "a", "request": "r", "lang": "en", "decision": "call" });
        assert!(faults(case).unwrap_err().contains("0 expected calls"));
        let calls = json!([{ "name": "pv_yield" }]);
        let case = |decision: &str| json!({ "id": "a", "request": "r", "lang": "en", "decision": decision, "expected_calls": calls });
        assert_eq!(faults(case("ask")), Ok(()));
        assert!(faults(case("person")).unwrap_err().contains("1 expected calls"));
    }
}
