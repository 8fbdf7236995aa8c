//! What a run does about failures, told by its journal alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agents::event::{Event, Outcome};
use agents::pack::Pack;
use agents::plan::{CallPlan, Decision, Plan, PlanError, Planner, Words};
use agents::port::{DatasetSource, EffectOutcome, EffectPort, EffectRequest};
use agents::run::{Agent, CallPorts, MAX_RETRIES, MAX_SAME_CALLS, Next, Settings};
use agents::tool::{Effect, Table, ToolError, Window, arguments_sha256};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A planner that never answers.
struct Away;

impl Planner for Away {
    fn complete(&self, _: &runtime::Prompt, _: &Value) -> Result<Words, PlanError> {
        Err(PlanError::Timeout(Duration::from_secs(1)))
    }

    fn version(&self) -> &str {
        "away"
    }

    fn chains(&self) -> bool {
        false
    }
}

struct Nothing;

impl DatasetSource for Nothing {
    fn table(&self, _: &str, _: &Window) -> Result<Table, ToolError> {
        Err(ToolError::no_data("none"))
    }

    fn file(&self, _: &str) -> Result<Arc<[u8]>, ToolError> {
        Err(ToolError::no_data("none"))
    }
}

/// Fails as it is told, one answer after the other, then makes the effect.
struct Fails(Mutex<Vec<ToolError>>);

impl EffectPort for Fails {
    fn perform(&self, _: &EffectRequest) -> Result<EffectOutcome, ToolError> {
        match self.0.lock().unwrap().pop() {
            Some(error) => Err(error),
            None => Ok(EffectOutcome { reference: "R-1".to_owned(), repeated: false }),
        }
    }
}

fn agent() -> Agent {
    let packs = agents::pack::shipped().unwrap();
    let finance = packs.iter().find(|pack| pack.manifest.id == "finance").unwrap();
    Agent::new(Arc::clone(finance), Arc::new(Away)).unwrap()
}

fn act(pack: &Pack) -> CallPlan {
    let tool = pack.tool("open_case").unwrap();
    let known = tool.vectors.iter().find(|vector| vector.arguments["idempotency_key"].is_string());
    let mut arguments = known.unwrap().arguments.clone();
    arguments.as_object_mut().unwrap().remove("dry_run");
    CallPlan { tool: tool.name.clone(), arguments, effect: Effect::Act, origins: Vec::new() }
}

/// Steps until nothing more is decided by itself and returns the journal.
fn driven(agent: &Agent, mut journal: Vec<Event>, effects: &Fails) -> Vec<Event> {
    let (settings, now) = (Settings::default(), Timestamp::UNIX_EPOCH);
    let ports = CallPorts {
        datasets: &Nothing,
        effects,
        systems: &agents::port::NoSystems,
        settings: &settings,
        now,
    };
    loop {
        assert!(journal.len() < 50, "the run does not end: {journal:#?}");
        match agent.next(&journal, &settings, now) {
            Next::Append(event) if event.name() == "approval.requested" => {
                let Event::ApprovalRequested { index, ref arguments, .. } = event else {
                    panic!("{event:?}")
                };
                let decided = Event::ApprovalDecided {
                    index,
                    approved: true,
                    by: "ada".to_owned(),
                    reason: String::new(),
                    arguments_sha256: arguments_sha256(arguments),
                };
                journal.extend([event, decided]);
            }
            Next::Append(event) => journal.push(event),
            Next::Execute { started, journaled } => {
                if !journaled {
                    journal.push(started.clone());
                }
                journal.push(agent.execute(&started, &journal, &ports));
            }
            Next::Wait { .. } | Next::Done => return journal,
        }
    }
}

fn begun(agent: &Agent, calls: Vec<CallPlan>) -> Vec<Event> {
    let created = agent.created("run-1", "a request");
    vec![created, Event::Planned { plan: Plan::by_policy(Decision::Call { calls }, agent.pack()) }]
}

fn kinds(journal: &[Event]) -> Vec<&'static str> {
    journal.iter().map(Event::name).collect()
}

fn unavailable() -> ToolError {
    ToolError::Unavailable { message: "away".to_owned() }
}

fn unknown(repeatable: bool) -> ToolError {
    ToolError::OutcomeUnknown {
        idempotency_key: "k".to_owned(),
        repeatable,
        message: "?".to_owned(),
    }
}

#[test]
fn what_passes_is_tried_again_a_few_times_and_then_told() {
    let agent = agent();
    let none = Fails(Mutex::default());
    let journal = driven(&agent, vec![agent.created("run-1", "a loan of 100 at 5%")], &none);
    let tries = u32::try_from(kinds(&journal).iter().filter(|k| **k == "step.retried").count());
    assert_eq!(tries.unwrap(), MAX_RETRIES);
    let last = journal.last().unwrap();
    assert!(matches!(last, Event::Failed { code, .. } if code == "planner_timeout"), "{last:?}");

    let calls = vec![act(agent.pack())];
    let twice = Fails(Mutex::new(vec![unavailable(), unavailable()]));
    let journal = driven(&agent, begun(&agent, calls.clone()), &twice);
    assert_eq!(journal.last().unwrap().name(), "run.answered", "{:?}", kinds(&journal));
    let always = Fails(Mutex::new((0..9).map(|_| unavailable()).collect()));
    let journal = driven(&agent, begun(&agent, calls), &always);
    let last = journal.last().unwrap();
    assert!(matches!(last, Event::Failed { code, .. } if code == "unavailable"), "{last:?}");
}

#[test]
fn an_unknown_outcome_waits_for_a_person_and_follows_what_is_found() {
    let agent = agent();
    let calls = vec![act(agent.pack())];
    let once = || Fails(Mutex::new(vec![unknown(false)]));
    let journal = driven(&agent, begun(&agent, calls.clone()), &once());
    assert_eq!(journal.last().unwrap().name(), "outcome.unknown", "{:?}", kinds(&journal));
    for (outcome, end) in [
        (Outcome::Happened, "run.answered"),
        (Outcome::Repeat, "run.answered"),
        (Outcome::Abandon, "run.failed"),
    ] {
        let mut journal = journal.clone();
        let (by, reason) = ("ada".to_owned(), String::new());
        journal.push(Event::OutcomeSettled { index: 0, outcome, by, reason });
        let journal = driven(&agent, journal, &Fails(Mutex::default()));
        assert_eq!(journal.last().unwrap().name(), end, "{outcome:?}: {:?}", kinds(&journal));
    }
    // Where asking again under the same key cannot make it twice, nobody is asked.
    let keyed = Fails(Mutex::new(vec![unknown(true)]));
    let journal = driven(&agent, begun(&agent, calls), &keyed);
    assert_eq!(journal.last().unwrap().name(), "run.answered", "{:?}", kinds(&journal));
}

#[test]
fn the_same_call_over_and_over_is_stopped() {
    let agent = agent();
    let arguments =
        json!({"principal": "100000", "annual_rate_pct": 5, "months": 12, "currency": "USD"});
    let call = CallPlan {
        tool: "loan_schedule".to_owned(),
        arguments,
        effect: Effect::Pure,
        origins: Vec::new(),
    };
    let many = vec![call; MAX_SAME_CALLS + 1];
    let journal = driven(&agent, begun(&agent, many), &Fails(Mutex::default()));
    let made = kinds(&journal).iter().filter(|kind| **kind == "call.finished").count();
    assert_eq!(made, MAX_SAME_CALLS);
    let last = journal.last().unwrap();
    assert!(matches!(last, Event::Failed { code, .. } if code == "repeated_call"), "{last:?}");
}
