//! `/v1/effects`: the ledger, and what a person says of an effect whose outcome nobody knew.

use agents::event::{Event, Outcome};
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, Params, checked_reason};
use crate::state::AppState;
use crate::store::{EffectRecord, RunId, Status, Store, StoreError, TenantId};

/// Lines that are listed.
const LISTED: u16 = 200;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/effects", get(list))
        .route("/v1/runs/{run}/outcome", post(decide))
        .route("/v1/effects/{key}", post(decide_key))
}

/// Returns a line of the ledger as it is shown.
pub fn effect_view(effect: &EffectRecord) -> Value {
    json!({
        "idempotency_key": effect.idempotency_key, "tool": effect.tool, "state": effect.state,
        "arguments": effect.arguments, "arguments_sha256": effect.arguments_sha256,
        "reference": effect.reference, "run": effect.run, "settled_by": effect.settled_by,
        "created_at": effect.created_at.to_string(),
    })
}

#[derive(Deserialize)]
struct Filter {
    state: Option<String>,
}

async fn list(
    State(state): State<AppState>,
    key: Key,
    Params(filter): Params<Filter>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let effects = tx.effects(filter.state.as_deref(), LISTED).await?;
    let views: Vec<Value> = effects.iter().map(effect_view).collect();
    Ok(Json(json!({ "effects": views })))
}

/// Says what became of the effect that a run waits for; the run then goes on or ends.
///
/// # Errors
/// `not_found`; `conflict` ⇐ the run does not wait for it; `invalid_reason`.
pub async fn settle(
    store: &Store,
    tenant: TenantId,
    run: RunId,
    outcome: Outcome,
    by: &str,
    reason: &str,
) -> Result<(), Problem> {
    checked_reason(reason)?;
    let mut tx = store.begin(tenant).await?;
    if tx.lock_run(run).await?.status != Status::WaitingOutcome {
        let message = "this run does not wait for the outcome of an effect; nothing was changed";
        return Err(StoreError::Conflict(message.to_owned()).into());
    }
    let events = tx.events(run, 0).await?;
    let last = events.last().map(|event| event.payload.clone()).unwrap_or_default();
    let Ok(Event::OutcomeUnknown { index, idempotency_key, .. }) = serde_json::from_value(last)
    else {
        return Err(Problem::internal());
    };
    // Another run may have waited for the same effect, and a person may have settled it there.
    let known = tx.effect(&idempotency_key).await?.filter(|effect| effect.state == "done");
    if known.is_none() {
        tx.settle_effect(&idempotency_key, outcome == Outcome::Happened, by).await?;
    } else if outcome != Outcome::Happened {
        let message = "the effect is known to have happened; say `happened`";
        return Err(StoreError::Conflict(message.to_owned()).into());
    }
    let settled =
        Event::OutcomeSettled { index, outcome, by: by.to_owned(), reason: reason.to_owned() };
    let payload = serde_json::to_value(&settled).unwrap_or_default();
    tx.append_event(run, settled.name(), &payload).await?;
    tx.set_status(run, Status::Queued).await?;
    tx.enqueue(run).await?;
    Ok(tx.commit().await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    outcome: Outcome,
    #[serde(default)]
    reason: String,
}

async fn decide(
    State(state): State<AppState>,
    key: Key,
    Path(run): Path<String>,
    Body(found): Body<Found>,
) -> Result<Json<Value>, Problem> {
    key.permits("approvals:write")?;
    let run: RunId = run.parse().map_err(|_| Problem::not_found("run"))?;
    let (tenant, by) = (key.0.tenant_id, key.0.label.as_str());
    settle(&state.store, tenant, run, found.outcome, by, &found.reason).await?;
    Ok(Json(json!({ "run": run, "outcome": found.outcome })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Happened {
    happened: bool,
}

/// Settles an effect whose run has ended, by its key: `happened` says what was found.
async fn decide_key(
    State(state): State<AppState>,
    key: Key,
    Path(effect): Path<String>,
    Body(found): Body<Happened>,
) -> Result<Json<Value>, Problem> {
    key.permits("approvals:write")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    if let Some(run) = tx.effect(&effect).await?.and_then(|effect| effect.run)
        && !tx.lock_run(run).await?.status.is_final()
    {
        let message = format!("the run {run} makes this effect or waits for it; settle it there");
        return Err(StoreError::Conflict(message).into());
    }
    let line = tx.settle_effect(&effect, found.happened, &key.0.label).await?;
    tx.commit().await?;
    Ok(Json(effect_view(&line)))
}
