//! The agents of the shipped packs as workers drive them: a tenant's journal in, one step out.

use std::collections::BTreeMap;
use std::sync::Arc;

use agents::event::Event;
use agents::pack::Pack;
use agents::plan::Planner;
use agents::run::{Agent, CallPorts, Next, Settings};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::host::Host;
use crate::jobs::{Entry, Step, Stepper};
use crate::store::{NewRun, RunSource, Tenant};

/// The agents by the name of their pack.
pub struct Agents(BTreeMap<String, Agent>);

impl Agents {
    /// Builds the agent of every shipped pack: indexes documents and compiles templates.
    ///
    /// # Errors
    /// What is wrong with which file of which pack.
    pub fn shipped(planner: &Arc<dyn Planner>) -> Result<Self, String> {
        let packs = agents::pack::shipped().map_err(ToString::to_string)?;
        let agents = packs.iter().map(|pack| {
            let agent = Agent::new(Arc::clone(pack), Arc::clone(planner));
            Ok((pack.manifest.id.clone(), agent.map_err(|error| error.to_string())?))
        });
        agents.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the agent of a pack.
    pub fn get(&self, pack: &str) -> Option<&Agent> {
        self.0.get(pack)
    }

    /// Returns the packs, in order of their names.
    pub fn packs(&self) -> impl Iterator<Item = &Arc<Pack>> {
        self.0.values().map(Agent::pack)
    }
}

/// Returns the run that a request over the API makes, with the first event of its journal.
///
/// The store writes the identifier of the run into the event, which is not known before.
pub fn new_run(agent: &str, pack: &str, request: &str, idempotency_key: Option<String>) -> NewRun {
    let lang = agents::lang::detect(request);
    NewRun {
        agent: agent.to_owned(),
        pack: pack.to_owned(),
        request: request.to_owned(),
        lang: lang.to_owned(),
        source: RunSource::Api,
        idempotency_key,
        first_type: "run.created",
        first: json!({
            "type": "run.created", "run": "", "request": request, "pack": pack, "lang": lang,
        }),
    }
}

fn append(event: &Event) -> Step {
    // An event is a plain structure; its JSON cannot fail.
    let payload = serde_json::to_value(event).unwrap_or(Value::Null);
    Step::Append(Entry { kind: event.name().to_owned(), payload })
}

fn failed(code: &str, message: String) -> Step {
    append(&Event::Failed { code: code.to_owned(), message })
}

impl Stepper for Agents {
    fn step(&self, tenant: &Tenant, journal: &[Value], host: &Host) -> Step {
        let Some(agent) = self.0.get(&tenant.pack) else {
            return failed("unknown_pack", format!("the pack `{}` is not installed", tenant.pack));
        };
        let read: Result<Vec<Event>, _> =
            journal.iter().map(|event| serde_json::from_value(event.clone())).collect();
        let events = match read {
            Ok(events) => events,
            Err(error) => {
                return failed("damaged_journal", format!("the journal does not read: {error}"));
            }
        };
        let settings = Settings {
            currency: tenant.currency.clone(),
            timezone: tenant.timezone.clone(),
            ..Settings::default()
        };
        let now = Timestamp::now();
        match agent.next(&events, &settings, now) {
            Next::Append(event) => append(&event),
            Next::Execute { started, journaled: false } => append(&started),
            Next::Execute { started, journaled: true } => {
                let ports = CallPorts { datasets: host, effects: host, settings: &settings, now };
                append(&agent.execute(&started, &events, &ports))
            }
            Next::Wait { .. } => Step::Wait,
            Next::Done => Step::Done,
        }
    }
}
