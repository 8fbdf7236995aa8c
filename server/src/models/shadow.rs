//! The shadow: a planner that plans each run beside the live one, after it and for comparison only.
//! Nothing that it plans is executed, and no run waits for it.

use std::sync::Arc;

use agents::eval::Difference;
use agents::event::Event;
use agents::plan::{Decision, Plan};
use agents::run::Next;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{ModelError, blocking};
use crate::agent::Agents;
use crate::store::{ModelState, RunId, ShadowPlan, Store, TenantId};

/// Runs that may wait for the shadow; further ones are not planned by it.
const WAITING: usize = 1024;

/// A run that the live planner has planned.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Its tenant.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
}

/// Makes the way from the workers to the shadow.
pub fn channel() -> (mpsc::Sender<Planned>, mpsc::Receiver<Planned>) {
    mpsc::channel(WAITING)
}

/// Plans what comes in until `stop` turns true, one run at a time: the shadow must not take more than
/// one core from the live planner.
pub async fn work(
    store: Store,
    agents: Arc<Agents>,
    mut planned: mpsc::Receiver<Planned>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let one = tokio::select! {
            one = planned.recv() => one,
            changed = stop.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(one) = one else { return };
        if let Err(error) = beside(&store, &agents, one).await {
            tracing::warn!(run = %one.run, %error, "the shadow did not plan a run");
        }
    }
}

/// Plans one run by the shadow of its joint venture, if it has one.
async fn beside(store: &Store, agents: &Arc<Agents>, one: Planned) -> Result<(), ModelError> {
    let mut tx = store.begin(one.tenant).await?;
    let Some(model) = tx.model_in(ModelState::Shadow).await? else { return Ok(()) };
    let tenant = tx.tenant().await?;
    let journal = tx.events(one.run, 0).await?;
    drop(tx);
    let read = |at: usize| -> Option<Event> {
        serde_json::from_value(journal.get(at)?.payload.clone()).ok()
    };
    let (Some(created), Some(Event::Planned { plan: live })) = (read(0), read(1)) else {
        return Ok(());
    };
    let Event::Created { request, .. } = &created else { return Ok(()) };
    let (request, agents) = (request.clone(), Arc::clone(agents));
    let settings = agents.settings_of(&tenant);
    let digest = model.digest.clone();
    let next = blocking(move || {
        let agent = agents.with_planner(&tenant.pack, &digest)?;
        Ok(agent.next(&[created], &settings, Timestamp::now()))
    })
    .await;
    let failed = |code: &str, message: &str| {
        ("failed", json!({ "decision": "failed", "code": code, "message": message }), 0.0)
    };
    let (differs, shadow, shadow_ms) = match next {
        Ok(Next::Append(Event::Planned { plan })) => {
            let differs = Difference::of(&live.decision, &plan.decision).name();
            (differs, told(&plan), plan.ms)
        }
        Ok(Next::Append(Event::Failed { code, message })) => failed(&code, &message),
        Ok(_) => return Ok(()),
        Err(error) => failed(error.code(), &error.to_string()),
    };
    let plan = ShadowPlan {
        run: one.run,
        request,
        differs: differs.to_owned(),
        live: told(&live),
        shadow,
        live_ms: live.ms,
        shadow_ms,
        at: Timestamp::now(),
    };
    let mut tx = store.begin(one.tenant).await?;
    tx.add_shadow_plan(model.id, &plan).await?;
    Ok(tx.commit().await?)
}

/// Returns what two plans are compared by, for people.
fn told(plan: &Plan) -> Value {
    let decision = &plan.decision;
    match decision {
        Decision::Call { calls } => {
            let calls: Vec<Value> = calls
                .iter()
                .map(|call| json!({ "tool": call.tool, "arguments": call.arguments }))
                .collect();
            json!({ "decision": "call", "calls": calls })
        }
        // A decision is a plain structure; its JSON cannot fail.
        other => serde_json::to_value(other).unwrap_or_default(),
    }
}
