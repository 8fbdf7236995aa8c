//! A planner with a classifier of requests: it bounds the steps that the decoder chooses from.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::sync::{Arc, Mutex};

use agents::pack::{Pack, shipped};
use agents::plan::{Decision, Plan, PlanError, Planner, Planning, Words};
use agents::run::Settings;
use runtime::{Prompt, Segment};
use serde_json::{Value, json};

/// Scores as it is told to, one table a part of the request, and calls each open tool with nothing.
struct Classified {
    scores: Vec<(&'static str, Vec<(&'static str, f32)>)>,
    seen: Mutex<Vec<(Prompt, Vec<String>)>>,
}

impl Classified {
    fn new(scores: &[(&'static str, &[(&'static str, f32)])]) -> Arc<Self> {
        let scores = scores.iter().map(|(of, scores)| (*of, scores.to_vec())).collect();
        Arc::new(Self { scores, seen: Mutex::default() })
    }
}

impl Planner for Classified {
    fn complete(&self, prompt: &Prompt, schema: &Value) -> Result<Words, PlanError> {
        let open: Vec<String> = schema["anyOf"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|step| step["properties"]["step"]["const"].as_str().map(str::to_owned))
            .collect();
        let text = json!({ "step": open[0], "with": {} }).to_string();
        self.seen.lock().unwrap().push((prompt.clone(), open));
        Ok(Words {
            text,
            confidence: 0.99,
            prompt_tokens: 9,
            decoded_tokens: 1,
            ..Words::default()
        })
    }

    fn version(&self) -> &str {
        "classified"
    }

    fn intents(&self, pack: &str, request: &str) -> Vec<(&str, f32)> {
        assert_eq!(pack, "energy");
        let of = |words: &str| request.contains(words);
        self.scores.iter().find(|(words, _)| of(words)).map_or(Vec::new(), |(_, s)| s.clone())
    }

    fn chains(&self) -> bool {
        true
    }
}

fn plan(planner: &Arc<Classified>, request: &str) -> Plan {
    let pack: &Arc<Pack> =
        shipped().unwrap().iter().find(|pack| pack.manifest.id == "energy").unwrap();
    let planning =
        Planning::new(Arc::clone(pack), Arc::clone(planner) as Arc<dyn Planner>).unwrap();
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    planning.plan("run-1", request, &Settings::default(), now).unwrap()
}

#[test]
fn a_step_without_arguments_is_taken_without_the_decoder() {
    let scores: &[(&str, f32)] = &[("person", 0.8), ("ev_charge_plan", 0.1), ("none", 0.0)];
    let planner = Classified::new(&[("", scores)]);
    let plan = plan(&planner, "Open breaker 7 for me");
    assert_eq!(plan.decision, Decision::Person);
    assert!((plan.confidence - 0.8).abs() < 1e-6);
    assert_eq!(plan.decoded_tokens, 0);
    assert!(planner.seen.lock().unwrap().is_empty(), "the decoder had nothing to choose");
}

#[test]
fn only_the_tool_that_is_meant_is_open_and_its_card_has_company() {
    let scores: &[(&str, f32)] =
        &[("interval_stats", 0.1), ("openadr_event_parse", 0.9), ("none", 0.0)];
    let planner = Classified::new(&[("", scores)]);
    let plan = plan(&planner, "What does this signal want of us?");
    assert!(
        matches!(plan.decision, Decision::Ask { ref tool, .. } if tool == "openadr_event_parse")
    );
    assert_eq!(plan.shortlist, ["interval_stats", "openadr_event_parse"]);
    let seen = planner.seen.lock().unwrap();
    assert_eq!(seen[0].1, ["openadr_event_parse"]);
    let Segment::Text(cards) = &seen[0].0.segments[1] else { panic!("{:?}", seen[0].0) };
    assert_eq!(cards.lines().count(), 2);
}

#[test]
fn two_tools_are_called_in_the_order_of_the_request() {
    let both: &[(&str, f32)] = &[("interval_stats", 0.8), ("tariff_bill", 0.9)];
    let planner = Classified::new(&[
        ("first the total of the day, then its bill", both),
        ("total of", &[("interval_stats", 0.9), ("tariff_bill", 0.3)]),
        ("its bill", &[("interval_stats", 0.1), ("tariff_bill", 0.9)]),
    ]);
    plan(&planner, "first the total of the day, then its bill");
    assert_eq!(planner.seen.lock().unwrap()[0].1, ["interval_stats"]);
}
