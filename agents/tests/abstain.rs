//! What a planner is not sure of: a person confirms what only reads, takes over what would change
//! something, or a larger planner plans in its place.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::sync::Arc;

use agents::event::{Because, Event};
use agents::pack::{FixtureSource, MemoryEffects, shipped};
use agents::plan::{Calibration, Knot, PlanError, Planner, Words};
use agents::run::{Agent, CallPorts, Next, Settings};
use runtime::Prompt;
use serde_json::{Value, json};

const READ: &str = "Is the IBAN DE89370400440532013000 correct?";
const ACT: &str = "Log INV-1005 as a reconciliation break.";

/// Calls one tool with one score.
struct Script {
    name: &'static str,
    step: Value,
    score: f32,
    calibration: Option<Calibration>,
}

impl Script {
    fn new(name: &'static str, step: Value, score: f32) -> Self {
        Self { name, step, score, calibration: None }
    }
}

impl Planner for Script {
    fn complete(&self, _: &Prompt, schema: &Value) -> Result<Words, PlanError> {
        if self.step.is_null() {
            return Err(PlanError::Planner("it is away".to_owned()));
        }
        assert!(jsonschema::validator_for(schema).unwrap().is_valid(&self.step), "{}", self.step);
        let text = self.step.to_string();
        Ok(Words {
            text,
            confidence: self.score,
            prompt_tokens: 10,
            decoded_tokens: 2,
            ..Words::default()
        })
    }

    fn version(&self) -> &str {
        self.name
    }

    fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    fn chains(&self) -> bool {
        false
    }
}

fn read(score: f32) -> Script {
    let step = json!({"step": "id_validate", "with": {"items": [{"kind": "iban", "value": "$1"}]}});
    Script::new("small", step, score)
}

fn act(score: f32, dry_run: Option<bool>) -> Script {
    let mut with = json!({"case_type": "reconciliation_break", "subject_id": "$1"});
    if let Some(flag) = dry_run {
        with["dry_run"] = json!(flag);
    }
    Script::new("small", json!({"step": "open_case", "with": with}), score)
}

fn agent(planner: Script) -> Agent {
    let pack = shipped().unwrap().iter().find(|pack| pack.manifest.id == "finance").unwrap();
    Agent::new(Arc::clone(pack), Arc::new(planner)).unwrap()
}

fn below(threshold: f64) -> Settings {
    Settings { abstain_below: Some(threshold), ..Settings::default() }
}

/// Drives a run until it rests.
fn drive(agent: &Agent, journal: &mut Vec<Event>, settings: &Settings) {
    let datasets = FixtureSource::of(agent.pack()).unwrap();
    let effects = MemoryEffects::default();
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    for _ in 0..40 {
        match agent.next(journal, settings, now) {
            Next::Append(event) => journal.push(event),
            Next::Execute { started, journaled } => {
                if !journaled {
                    journal.push(started.clone());
                }
                let ports = CallPorts {
                    datasets: &datasets,
                    effects: &effects,
                    systems: &agents::port::NoSystems,
                    settings,
                    now,
                };
                journal.push(agent.execute(&started, journal, &ports));
            }
            Next::Wait { .. } | Next::Done => return,
        }
    }
    panic!("the run does not rest");
}

fn run(agent: &Agent, request: &str, settings: &Settings) -> Vec<Event> {
    let mut journal = vec![agent.created("run-1", request)];
    drive(agent, &mut journal, settings);
    journal
}

fn plan(journal: &[Event]) -> &agents::plan::Plan {
    match &journal[1] {
        Event::Planned { plan } => plan,
        other => panic!("{other:?}"),
    }
}

/// A person's answer to what the journal ends with.
fn decide(journal: &mut Vec<Event>, approved: bool) {
    let Some(Event::ApprovalRequested { index, arguments_sha256, because, .. }) = journal.last()
    else {
        panic!("nothing is asked: {journal:#?}");
    };
    assert_eq!(*because, Because::Unsure);
    let (index, arguments_sha256) = (*index, arguments_sha256.clone());
    let (by, reason) = ("asker".to_owned(), String::new());
    journal.push(Event::ApprovalDecided { index, approved, by, reason, arguments_sha256 });
}

#[test]
fn a_sure_plan_runs_at_once() {
    let journal = run(&agent(read(0.9)), READ, &below(0.9));
    assert!(matches!(journal.last(), Some(Event::Answered { .. })), "{journal:#?}");
}

#[test]
fn an_unsure_reading_is_shown_and_runs_once_it_is_confirmed() {
    let (agent, settings) = (agent(read(0.6)), below(0.9));
    let mut journal = run(&agent, READ, &settings);
    match journal.last() {
        Some(Event::ApprovalRequested { tool, arguments, .. }) => {
            assert_eq!(tool, "id_validate");
            assert_eq!(arguments["items"][0]["value"], "DE89370400440532013000");
        }
        other => panic!("{other:?}"),
    }
    let mut refused = journal.clone();
    decide(&mut journal, true);
    drive(&agent, &mut journal, &settings);
    assert!(matches!(journal.last(), Some(Event::Answered { .. })), "{journal:#?}");
    decide(&mut refused, false);
    drive(&agent, &mut refused, &settings);
    match refused.last() {
        Some(Event::Refused { reason, .. }) => assert_eq!(reason, "rejected"),
        other => panic!("{other:?}"),
    }
    assert!(!refused.iter().any(|event| matches!(event, Event::CallStarted { .. })));
}

#[test]
fn an_unsure_act_goes_to_a_person_who_sees_what_was_understood() {
    let journal = run(&agent(act(0.6, None)), ACT, &below(0.9));
    match journal.last() {
        Some(Event::Refused { reason, text }) => {
            assert_eq!(reason, "unsure");
            assert!(text.contains("INV-1005") && text.contains("60 %"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let asked = |event: &Event| matches!(event, Event::ApprovalRequested { .. });
    assert!(!journal.iter().any(asked), "{journal:#?}");
    // A sure one waits for its approval as every act does.
    let journal = run(&agent(act(0.95, None)), ACT, &below(0.9));
    match journal.last() {
        Some(Event::ApprovalRequested { because, .. }) => assert_eq!(*because, Because::Act),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unsure_preview_changes_nothing_so_it_is_only_confirmed() {
    let mut journal = run(&agent(act(0.6, Some(true))), ACT, &below(0.9));
    decide(&mut journal, true);
}

#[test]
fn a_tenant_switches_it_off_or_takes_the_planners_own_threshold() {
    assert!(matches!(
        run(&agent(read(0.1)), READ, &below(0.0)).last(),
        Some(Event::Answered { .. })
    ));
    let own = Settings { abstain_below: None, ..Settings::default() };
    // Never calibrated: there is no threshold of its own, and its score is what it says.
    let journal = run(&agent(read(0.1)), READ, &own);
    assert_eq!((plan(&journal).confidence, plan(&journal).abstain_below), (0.1, 0.0));
    let calibrated = |score: f32| {
        let knot = |score, right| Knot { plans: 50, score, right };
        let calibration = Some(Calibration {
            planner_sha256: String::new(),
            examples: 100,
            right: 60,
            knots: vec![knot(0.5, 0.2), knot(1.0, 0.8)],
            abstain_below: 0.75,
            risk: 0.05,
            coverage: 0.5,
        });
        agent(Script { calibration, ..read(score) })
    };
    let journal = run(&calibrated(0.75), READ, &own);
    let made = plan(&journal);
    assert!((made.confidence - 0.5).abs() < 1e-6 && (made.score - 0.75).abs() < 1e-6, "{made:?}");
    assert!(made.is_unsure() && matches!(journal.last(), Some(Event::ApprovalRequested { .. })));
    assert!(!plan(&run(&calibrated(0.99), READ, &own)).is_unsure());
    assert!(!plan(&run(&calibrated(0.75), READ, &below(0.4))).is_unsure(), "the tenant's wins");
}

#[test]
fn a_larger_planner_plans_what_the_smaller_is_not_sure_of_and_the_journal_says_so() {
    let larger = |step: Value| -> Arc<dyn Planner> { Arc::new(Script::new("large", step, 0.97)) };
    let right = read(0.0).step;
    let cascade = agent(read(0.6)).with_larger(Some(larger(right.clone())));
    let journal = run(&cascade, READ, &below(0.9));
    assert!(matches!(journal.last(), Some(Event::Answered { .. })), "{journal:#?}");
    let made = plan(&journal);
    assert_eq!(made.model, "large");
    let before = made.handed_over.as_ref().unwrap();
    assert_eq!((before.model.as_str(), before.confidence), ("small", 0.6));
    assert_eq!(before.output, right.to_string());

    let sure = agent(read(0.95)).with_larger(Some(larger(Value::Null)));
    let journal = run(&sure, READ, &below(0.9));
    assert_eq!((plan(&journal).model.as_str(), &plan(&journal).handed_over), ("small", &None));

    // Where the larger one fails, a person is asked as if there were none.
    let away = agent(read(0.6)).with_larger(Some(larger(Value::Null)));
    let journal = run(&away, READ, &below(0.9));
    assert!(matches!(journal.last(), Some(Event::ApprovalRequested { .. })), "{journal:#?}");
}
