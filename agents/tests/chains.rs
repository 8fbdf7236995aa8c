//! Plans of several calls: made before the first call runs, their values filled in as results come.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use agents::event::Event;
use agents::pack::{FixtureSource, MemoryEffects, Pack, shipped};
use agents::plan::{PlanError, Planner, Words};
use agents::run::{Agent, CallPorts, MAX_SAME_CALLS, Next, Settings};
use agents::tool::arguments_sha256;
use runtime::{Prompt, Segment};
use serde_json::{Value, json};

/// Says what it is told to, and notes the prompts and schemas that it was given.
struct Script {
    words: Mutex<VecDeque<String>>,
    seen: Mutex<Vec<(Prompt, Value)>>,
}

impl Script {
    fn new(steps: &[Value]) -> Arc<Self> {
        let words = steps.iter().map(Value::to_string).collect();
        Arc::new(Self { words: Mutex::new(words), seen: Mutex::default() })
    }
}

impl Planner for Script {
    fn complete(&self, prompt: &Prompt, schema: &Value) -> Result<Words, PlanError> {
        self.seen.lock().unwrap().push((prompt.clone(), schema.clone()));
        let text = self.words.lock().unwrap().pop_front().expect("no further step was scripted");
        let validator = jsonschema::validator_for(schema).unwrap();
        let step: Value = serde_json::from_str(&text).unwrap();
        assert!(validator.is_valid(&step), "the grammar does not offer {step}");
        Ok(Words {
            text,
            confidence: 0.9,
            prompt_tokens: 10,
            decoded_tokens: 2,
            ..Words::default()
        })
    }

    fn version(&self) -> &str {
        "script"
    }

    fn chains(&self) -> bool {
        true
    }
}

fn pack(id: &str) -> Arc<Pack> {
    Arc::clone(shipped().unwrap().iter().find(|pack| pack.manifest.id == id).unwrap())
}

/// Drives a run until it rests.
fn drive(agent: &Agent, journal: &mut Vec<Event>, effects: &MemoryEffects) {
    let datasets = FixtureSource::of(agent.pack()).unwrap();
    let settings = Settings::default();
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    for _ in 0..40 {
        match agent.next(journal, &settings, now) {
            Next::Append(event) => journal.push(event),
            Next::Execute { started, journaled } => {
                if !journaled {
                    journal.push(started.clone());
                }
                let ports = CallPorts {
                    datasets: &datasets,
                    effects,
                    systems: &agents::port::NoSystems,
                    settings: &settings,
                    now,
                };
                journal.push(agent.execute(&started, journal, &ports));
            }
            Next::Wait { .. } | Next::Done => return,
        }
    }
    panic!("the run does not rest");
}

fn run(pack_id: &str, request: &str, script: &Arc<Script>) -> (Agent, Vec<Event>, MemoryEffects) {
    let agent = Agent::new(pack(pack_id), Arc::clone(script) as Arc<dyn Planner>).unwrap();
    let (mut journal, effects) = (vec![agent.created("run-1", request)], MemoryEffects::default());
    drive(&agent, &mut journal, &effects);
    (agent, journal, effects)
}

fn started(journal: &[Event]) -> Vec<Value> {
    let calls = journal.iter().filter_map(|event| match event {
        Event::CallStarted { arguments, .. } => Some(arguments.clone()),
        _ => None,
    });
    calls.collect()
}

/// Returns the reference of the words of a request that state a value.
fn at(request: &str, words: &str) -> String {
    let mentions = agents::mention::find(request, jiff::civil::date(2026, 11, 24));
    let hit = mentions.iter().find(|mention| mention.text == words);
    format!("${}", hit.unwrap_or_else(|| panic!("`{words}` is not in {mentions:?}")).id)
}

fn loan(request: &str, principal: &str, rate: &str, months: &str) -> Value {
    json!({"step": "loan_schedule", "with": {
        "principal": at(request, principal), "annual_rate_pct": at(request, rate), "months": at(request, months)}})
}

#[test]
fn a_later_call_gets_the_value_that_an_earlier_one_gave() {
    let request = "Monthly payment on 200,000 at 6% over 360 months? Then borrow what is paid in total, 3% over 12 months.";
    let script = Script::new(&[
        loan(request, "200,000", "6%", "360 months"),
        json!({"step": "loan_schedule", "with": {
            "principal": "#1.total_paid", "annual_rate_pct": at(request, "3%"), "months": at(request, "12 months")}}),
        json!({"step": "end"}),
    ]);
    let (_, journal, _) = run("finance", request, &script);
    let calls = started(&journal);
    assert_eq!(calls.len(), 2, "{journal:#?}");
    let first = journal.iter().find_map(|event| match event {
        Event::CallFinished { index: 0, result, .. } => Some(result.clone()),
        _ => None,
    });
    assert_eq!(calls[1]["principal"], first.unwrap()["total_paid"]);
    let Some(Event::Answered { text, citations, .. }) = journal.last() else {
        panic!("{journal:?}")
    };
    assert!(text.contains("1,199.10"), "{text}");
    assert!(text.contains("36,5"), "the second payment is missing: {text}");
    assert!(!citations.is_empty());
}

#[test]
fn the_whole_plan_stands_before_the_first_call_runs() {
    let request = "Loan of 200,000 at 6% over 360 months, and one of 100,000 at 5% over 120 months";
    let script = Script::new(&[
        loan(request, "200,000", "6%", "360 months"),
        loan(request, "100,000", "5%", "120 months"),
        json!({"step": "end"}),
    ]);
    let (_, journal, _) = run("finance", request, &script);
    let plans = journal.iter().filter(|event| matches!(event, Event::Planned { .. })).count();
    assert_eq!((plans, started(&journal).len()), (1, 2));
    // The planner was never shown a figure of a result, only its name.
    for (prompt, _) in script.seen.lock().unwrap().iter() {
        for segment in &prompt.segments {
            if let Segment::Text(text) = segment {
                assert!(!text.contains("1199"), "{text}");
            }
        }
    }
    let (prompt, schema) = script.seen.lock().unwrap()[1].clone();
    assert!(prompt.segments.contains(&Segment::Special("result".to_owned())));
    assert!(
        prompt
            .segments
            .iter()
            .any(|s| matches!(s, Segment::Text(t) if t.contains("#1.total_paid")))
    );
    assert!(schema.to_string().contains("#1.total_paid"));
}

#[test]
fn an_act_is_approved_with_the_values_that_it_will_really_get() {
    let request = "Loan of 200,000 at 6% over 360 months";
    let script = Script::new(&[
        loan(request, "200,000", "6%", "360 months"),
        json!({"step": "loan_schedule", "with": {"principal": "#1.total_interest",
            "annual_rate_pct": at(request, "6%"), "months": at(request, "360 months")}}),
        json!({"step": "end"}),
    ]);
    let (agent, journal, _) = run("finance", request, &script);
    let calls = started(&journal);
    let hash = arguments_sha256(&calls[1]);
    assert_ne!(hash, arguments_sha256(&calls[0]));
    assert!(!calls[1].to_string().contains("$from"), "{}", calls[1]);
    // The answer is rebuilt from the journal alone.
    let again = agent.next(
        &journal[..journal.len() - 1],
        &Settings::default(),
        "2026-11-24T12:00:00Z".parse().unwrap(),
    );
    assert_eq!(again, Next::Append(journal.last().unwrap().clone()));
}

#[test]
fn a_plan_has_an_end_even_if_the_planner_does_not() {
    let request = "Loan of 200,000 at 6% over 360 months";
    let step = loan(request, "200,000", "6%", "360 months");
    let script = Script::new(&vec![step; 6]);
    let (_, journal, _) = run("finance", request, &script);
    // The same call again and again stops the run before there is nothing left to stop.
    assert_eq!(started(&journal).len(), MAX_SAME_CALLS);
    assert!(
        matches!(journal.last(), Some(Event::Failed { code, .. }) if code == "repeated_call"),
        "{:?}",
        journal.last()
    );
}
