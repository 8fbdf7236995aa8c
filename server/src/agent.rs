//! The agents of the shipped packs as workers drive them: a tenant's journal in, one step out.

use std::collections::BTreeMap;
use std::sync::Arc;

use agents::event::Event;
use agents::pack::Pack;
use agents::run::{Agent, CallPorts, Next, Settings};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::host::{Host, Taken};
use crate::jobs::{Entry, Step, Stepper};
use crate::models::shadow::Planned;
use crate::models::{ModelError, Models};
use crate::ops::traces::Ended;
use crate::packs::systems::Systems;
use crate::packs::{Packs, id_of};
use crate::store::{NewRun, RunId, RunSource, Tenant};

/// The agents by the name of their pack, each with the program's own planner; a joint venture's live
/// planner takes its place for the time of a plan.
pub struct Agents {
    by_pack: BTreeMap<String, Arc<Agent>>,
    models: Arc<Models>,
    packs: Option<Packs>,
    shadow: Option<mpsc::Sender<Planned>>,
    traces: Option<mpsc::Sender<Ended>>,
}

impl Agents {
    /// Builds the agent of every shipped pack: indexes documents and compiles templates.
    ///
    /// # Errors
    /// What is wrong with which file of which pack.
    pub fn shipped(models: Models) -> Result<Self, String> {
        let packs = agents::pack::shipped().map_err(ToString::to_string)?;
        let agents = packs.iter().map(|pack| {
            let agent = Agent::new(Arc::clone(pack), Arc::clone(models.default_planner()));
            let agent = agent.map_err(|error| error.to_string())?;
            let agent = agent.with_larger(models.larger().cloned());
            Ok((pack.manifest.id.clone(), Arc::new(agent)))
        });
        let by_pack = agents.collect::<Result<_, String>>()?;
        Ok(Self { by_pack, models: Arc::new(models), packs: None, shadow: None, traces: None })
    }

    /// Tells the shadow of each run that was planned.
    #[must_use]
    pub fn with_shadow(self, shadow: mpsc::Sender<Planned>) -> Self {
        Self { shadow: Some(shadow), ..self }
    }

    /// Drives the packs that joint ventures install as well.
    #[must_use]
    pub fn with_packs(self, packs: Packs) -> Self {
        Self { packs: Some(packs), ..self }
    }

    /// Tells of each run that ended.
    #[must_use]
    pub fn with_traces(self, traces: mpsc::Sender<Ended>) -> Self {
        Self { traces: Some(traces), ..self }
    }

    /// Returns the planners.
    pub fn models(&self) -> &Arc<Models> {
        &self.models
    }

    /// Returns the agent of a pack: a shipped one by its name, one that was installed by its name and
    /// the digest of its contents. The first use of one that was installed reads its archive.
    pub fn get(&self, pack: &str) -> Option<Arc<Agent>> {
        match self.by_pack.get(pack) {
            Some(agent) => Some(Arc::clone(agent)),
            None => self.packs.as_ref()?.agent(pack, self.models.default_planner()),
        }
    }

    /// Returns the systems of an agent's pack, where it declares any.
    fn systems(&self, agent: &Agent) -> Option<Systems> {
        let packs = self.packs.as_ref().filter(|_| !agent.pack().manifest.systems.is_empty())?;
        Some(Systems {
            egress: packs.egress.clone(),
            vault: Arc::clone(&packs.vault),
            pack: Arc::clone(agent.pack()),
        })
    }

    /// Returns the agent of a pack with the planner of a digest. Call it on a blocking thread.
    ///
    /// # Errors
    /// [`ModelError::Pack`] ⇐ the pack is not installed; [`ModelError::Gone`].
    pub fn with_planner(&self, pack: &str, digest: &str) -> Result<Agent, ModelError> {
        let agent = self.get(pack).ok_or_else(|| ModelError::not_installed(pack))?;
        Ok(agent.with_planner(self.models.planner(digest)?))
    }

    /// Returns the settings of a joint venture.
    pub fn settings_of(&self, tenant: &Tenant) -> Settings {
        Settings {
            currency: tenant.currency.clone(),
            timezone: tenant.timezone.clone(),
            abstain_below: tenant.abstain_below.or(self.models.abstain_below()),
            ..Settings::default()
        }
    }

    /// Returns the packs, in order of their names.
    pub fn packs(&self) -> impl Iterator<Item = &Arc<Pack>> {
        self.by_pack.values().map(|agent| agent.pack())
    }

    /// Returns the agent that plans a new run: with the planner that it took before, or takes now.
    fn planning(&self, pack: &str, created: &Value, host: &Host) -> Result<Agent, Step> {
        let default = self.models.default_planner();
        let taken = host.take_planner(run_of(created), default.version());
        let digest = match taken.map_err(|error| Step::Retry(error.to_string()))? {
            Taken::Default => default.digest().to_owned(),
            Taken::Model(digest) => digest,
            Taken::Gone(version) => {
                let message = format!(
                    "the planner {version}, with which this run began, is not here any more; ask again"
                );
                return Err(failed("planner_gone", message));
            }
        };
        self.with_planner(pack, &digest).map_err(|error| failed(error.code(), error.to_string()))
    }
}

/// Returns the run that its first event names.
fn run_of(created: &Value) -> RunId {
    let run = created.get("run").and_then(Value::as_str).unwrap_or_default();
    run.parse().unwrap_or_default()
}

/// Returns the run that a request over the API makes, with the first event of its journal.
///
/// The store writes the identifier of the run into the event, which is not known before.
pub fn new_run(agent: &str, pack: &str, request: &str, idempotency_key: Option<String>) -> NewRun {
    let lang = agents::lang::detect(request);
    NewRun {
        agent: id_of(agent).to_owned(),
        pack: pack.to_owned(),
        request: request.to_owned(),
        lang: lang.to_owned(),
        source: RunSource::Api,
        idempotency_key,
        thread: None,
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
        // A run keeps the version of the pack with which it began.
        let pack = journal.first().and_then(|created| created["pack"].as_str());
        let pack = pack.filter(|pack| !pack.is_empty()).unwrap_or(&tenant.pack);
        let Some(agent) = self.get(pack) else {
            return failed("unknown_pack", format!("the pack `{}` is not installed", id_of(pack)));
        };
        let read: Result<Vec<Event>, _> =
            journal.iter().map(|event| serde_json::from_value(event.clone())).collect();
        let events = match read {
            Ok(events) => events,
            Err(error) => {
                return failed("damaged_journal", format!("the journal does not read: {error}"));
            }
        };
        let settings = self.settings_of(tenant);
        let now = Timestamp::now();
        let own;
        let mut agent = agent.as_ref();
        // Only the plan needs a planner; what follows is in the journal.
        let plans = matches!(
            events.last(),
            Some(Event::Created { .. } | Event::Retried { index: None, .. })
        );
        if let Some(created) = journal.first().filter(|_| plans) {
            own = match self.planning(pack, created, host) {
                Ok(planning) => planning.cancelled_by(host.cancel()),
                Err(step) => return step,
            };
            agent = &own;
        }
        match agent.next(&events, &settings, now) {
            Next::Append(event) => append(&event),
            Next::Execute { started, journaled: false } => append(&started),
            Next::Execute { started, journaled: true } => {
                let host = &host.with_systems(self.systems(agent));
                let ports = CallPorts {
                    datasets: host,
                    effects: host,
                    systems: host,
                    settings: &settings,
                    now,
                };
                append(&agent.execute(&started, &events, &ports))
            }
            Next::Wait { .. } => Step::Wait,
            Next::Done => Step::Done,
        }
    }

    fn ended(&self, tenant: &Tenant, run: RunId) {
        if let Some(traces) = &self.traces
            && traces.try_send((tenant.id, run)).is_err()
        {
            tracing::warn!(%run, "the trace of a run was not told: too many wait");
        }
    }

    fn planned(&self, tenant: &Tenant, run: RunId) {
        let Some(shadow) = &self.shadow else { return };
        if shadow.try_send(Planned { tenant: tenant.id, run }).is_err() {
            tracing::warn!(%run, "too many runs wait for the shadow; this one is left out");
        }
    }
}
