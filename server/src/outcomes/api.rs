//! Experiments, units and observations over HTTP.

use agents::outcome::design::Design;
use agents::outcome::readout::Observation;
use agents::pack::Kpi;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::import::{Columns, from_dataset, observe_all};
use super::{MOST, draft, end, enrol, read, start};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, Params, checked_reason};
use crate::state::AppState;
use crate::store::{Experiment, Received, TenantTx};

/// What a key needs to change experiments and to send observations.
pub const SCOPE: &str = "data:write";

/// What a key needs to read.
pub(super) const READ: &str = "runs:read";

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/experiments", get(list).post(put))
        .route("/v1/experiments/{name}", get(one))
        .route("/v1/experiments/{name}/start", post(begin))
        .route("/v1/experiments/{name}/end", post(finish))
        .route("/v1/experiments/{name}/assignments", get(assignment).post(assign))
        .route("/v1/experiments/{name}/readout", get(readout))
        .route("/v1/observations", get(observations).post(send))
        .route("/v1/observations/import", post(import))
        .route("/v1/kpis", get(kpis))
        .merge(super::ledger_api::routes())
}

/// The KPIs of the joint venture's pack.
pub(crate) async fn kpis_of(state: &AppState, tx: &mut TenantTx) -> Result<Vec<Kpi>, Problem> {
    let pack = tx.tenant().await?.pack;
    let agent = state.agents.get(&pack).ok_or_else(|| Problem::not_found("pack"))?;
    Ok(agent.pack().manifest.kpis.clone())
}

pub(super) fn view(experiment: &Experiment) -> Value {
    let at = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "name": experiment.design.name, "state": experiment.state, "design": experiment.design,
        "design_sha256": experiment.sha256, "by": experiment.by,
        "started_at": at(experiment.started_at), "ended_at": at(experiment.ended_at),
        "end_reason": experiment.end_reason,
    })
}

async fn kpis(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    Ok(Json(json!({ "kpis": kpis_of(&state, &mut tx).await? })))
}

async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let all = tx.experiments(None).await?;
    Ok(Json(json!({ "experiments": all.iter().map(view).collect::<Vec<_>>() })))
}

async fn put(
    State(state): State<AppState>,
    key: Key,
    Body(design): Body<Design>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let kpis = kpis_of(&state, &mut tx).await?;
    let made = draft(&mut tx, &kpis, &design, &key.0.label).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view(&made))))
}

async fn one(
    State(state): State<AppState>,
    key: Key,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    Ok(Json(view(&tx.experiment(&name).await?)))
}

async fn begin(
    State(state): State<AppState>,
    key: Key,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let begun = start(&mut tx, &name, Timestamp::now(), &key.0.label).await?;
    tx.commit().await?;
    Ok(Json(view(&begun)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    /// Why it ends before its time.
    reason: String,
}

async fn finish(
    State(state): State<AppState>,
    key: Key,
    Path(name): Path<String>,
    Body(ending): Body<Ending>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    checked_reason(&ending.reason)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let ended = end(&mut tx, &name, &ending.reason, Timestamp::now(), &key.0.label).await?;
    tx.commit().await?;
    Ok(Json(view(&ended)))
}

#[derive(Deserialize)]
struct OneUnit {
    unit: String,
}

async fn assignment(
    State(state): State<AppState>,
    key: Key,
    Path(name): Path<String>,
    Params(asked): Params<OneUnit>,
) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let design = started(&mut tx, &name).await?.design;
    Ok(Json(json!({ "unit": asked.unit, "arm": design.arm(&asked.unit) })))
}

/// A design that may still change assigns nobody.
async fn started(tx: &mut TenantTx, name: &str) -> Result<Experiment, Problem> {
    let experiment = tx.experiment(name).await?;
    if experiment.state == "draft" {
        let detail = "a draft assigns nobody, because its seed may change; start it first";
        return Err(super::conflict("not_started", detail));
    }
    Ok(experiment)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitsBody {
    units: Vec<String>,
}

async fn assign(
    State(state): State<AppState>,
    key: Key,
    Path(name): Path<String>,
    Body(body): Body<UnitsBody>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let experiment = started(&mut tx, &name).await?;
    if experiment.state == "ended" {
        return Err(super::conflict("already_ended", "the experiment has ended; nobody joins it"));
    }
    let added = enrol(&mut tx, &experiment.design, &body.units).await?;
    tx.commit().await?;
    let arm = |unit: &String| json!({ "unit": unit, "arm": experiment.design.arm(unit) });
    Ok(Json(json!({
        "enrolled": added, "assignments": body.units.iter().map(arm).collect::<Vec<_>>(),
    })))
}

async fn readout(
    State(state): State<AppState>,
    key: Key,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    Ok(Json(json!(read(&mut tx, &name, Timestamp::now()).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObservationsBody {
    observations: Vec<Observation>,
}

fn received(of: &Received) -> Json<Value> {
    Json(json!({ "added": of.added, "repeated": of.repeated, "differing": of.differing }))
}

async fn send(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<ObservationsBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let kpis = kpis_of(&state, &mut tx).await?;
    if body.observations.len() > MOST {
        return Err(Problem::invalid("too_many", format!("{MOST} observations a call at most")));
    }
    let done = observe_all(&mut tx, &kpis, &body.observations, "api", &key.0.label).await?;
    tx.commit().await?;
    let status = if done.added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, received(&done)))
}

#[derive(Deserialize)]
struct Which {
    metric: String,
}

async fn observations(
    State(state): State<AppState>,
    key: Key,
    Params(which): Params<Which>,
) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let all = tx.observations(&[which.metric], Timestamp::MAX).await?;
    let (shown, total) = (&all[..all.len().min(MOST)], all.len());
    Ok(Json(json!({ "observations": shown, "total": total })))
}

async fn import(
    State(state): State<AppState>,
    key: Key,
    Body(columns): Body<Columns>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let observations = from_dataset(&state.store, key.0.tenant_id, columns.clone()).await?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let kpis = kpis_of(&state, &mut tx).await?;
    let sum = observe_all(&mut tx, &kpis, &observations, &columns.source(), &key.0.label).await?;
    tx.commit().await?;
    let status = if sum.added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, received(&sum)))
}
