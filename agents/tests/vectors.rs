//! Every tool of every shipped pack gives its known answers and refuses its invalid cases.
//!
//! `TOOL=name cargo test -p agents --test vectors` narrows to one tool.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use agents::pack::{FixtureSource, MemoryEffects, Pack, shipped};
use agents::tool::{Limits, ToolContext, ToolSpec};

fn faults(pack: &Pack, tool: &ToolSpec) -> Vec<String> {
    let datasets = FixtureSource::of(pack).unwrap();
    let effects = MemoryEffects::default();
    let limits = Limits::default();
    let context = ToolContext {
        datasets: &datasets,
        effects: &effects,
        now: "2026-11-24T00:00:00Z".parse().unwrap(),
        approval: None,
        limits: &limits,
    };
    let mut faults = Vec::new();
    for (i, vector) in tool.vectors.iter().enumerate() {
        match pack.call(&tool.name, &vector.arguments, &context) {
            Ok(result) => faults.extend(
                vector
                    .expect
                    .iter()
                    .filter_map(|e| e.check(&result).err())
                    .map(|e| format!("{} vector {i}: {e}", tool.name)),
            ),
            Err(error) => {
                faults.push(format!("{} vector {i}: {}: {error}", tool.name, error.code()));
            }
        }
    }
    for (i, case) in tool.invalid.iter().enumerate() {
        let schema = tool.check_arguments(&case.arguments);
        if case.semantic && schema.is_err() {
            faults.push(format!("{} invalid {i}: the schema refuses {}", tool.name, case.why));
        }
        match pack.call(&tool.name, &case.arguments, &context) {
            Err(error) if error.code() == case.error => {}
            Err(error) => faults.push(format!(
                "{} invalid {i} ({}): expected {}, got {}: {error}",
                tool.name,
                case.why,
                case.error,
                error.code()
            )),
            Ok(_) => faults.push(format!("{} invalid {i}: accepted: {}", tool.name, case.why)),
        }
    }
    faults
}

fn check(industry: &str) {
    let only = std::env::var("TOOL").ok();
    let pack = shipped().unwrap().iter().find(|pack| pack.manifest.id == industry).unwrap();
    let faults: Vec<_> = pack
        .tools
        .iter()
        .filter(|tool| only.as_ref().is_none_or(|name| *name == tool.name))
        .flat_map(|tool| faults(pack, tool))
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn finance_tools_give_their_known_answers() {
    check("finance");
}

#[test]
fn energy_tools_give_their_known_answers() {
    check("energy");
}

#[test]
fn automotive_tools_give_their_known_answers() {
    check("automotive");
}

#[test]
fn gaming_tools_give_their_known_answers() {
    check("gaming");
}
