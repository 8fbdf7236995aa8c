//! Experiments, units and observations over HTTP.

use agents::outcome::design::Design;
use agents::outcome::micros::Micros;
use agents::outcome::readout::Observation;
use agents::pack::Kpi;
use agents::port::DatasetSource as _;
use agents::tool::{Table, Window};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{MOST, draft, end, enrol, observe, read, start};
use crate::auth::Key;
use crate::error::Problem;
use crate::host::Host;
use crate::input::{Body, Params, checked_reason};
use crate::state::AppState;
use crate::store::{Experiment, Received, TenantId, TenantTx};

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
    let done = observe(&mut tx, &kpis, body.observations, "api").await?;
    refuse_changed(&done)?;
    tx.commit().await?;
    let status = if done.added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, received(&done)))
}

/// All or nothing: one observation that is known otherwise refuses the call.
fn refuse_changed(done: &Received) -> Result<(), Problem> {
    if done.differing.is_empty() {
        return Ok(());
    }
    let some: Vec<&str> = done.differing.iter().take(5).map(String::as_str).collect();
    let detail = format!(
        "{} observations are known with another content, the first of them {}; nothing was added. \
         What was billed is corrected by a dispute",
        done.differing.len(),
        some.join(", ")
    );
    Err(super::conflict("observation_differs", detail))
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

/// Which columns of a dataset are what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportBody {
    dataset: String,
    metric: String,
    id: String,
    unit: String,
    at: String,
    value: String,
    weight: Option<String>,
}

fn cells(table: &Table, body: &ImportBody) -> Result<Vec<Observation>, Problem> {
    let column = |name: &str| {
        table.columns.iter().position(|column| column == name).ok_or_else(|| {
            let detail = format!("no column `{name}`; there are {}", table.columns.join(", "));
            Problem::invalid("unknown_column", detail)
        })
    };
    let (id, unit) = (column(&body.id)?, column(&body.unit)?);
    let (at, value) = (column(&body.at)?, column(&body.value)?);
    let weight = body.weight.as_deref().map(column).transpose()?;
    let row = |(i, row): (usize, &Vec<String>)| {
        let bad = |what: &str, cell: &str| {
            let detail = format!("row {}: `{cell}` is no {what}", i + 1);
            Problem::invalid("invalid_observation", detail)
        };
        let number =
            |cell: &String| cell.parse::<Micros>().map_err(|_| bad("decimal number", cell));
        Ok(Observation {
            id: row[id].clone(),
            unit: row[unit].clone(),
            metric: body.metric.clone(),
            at: row[at].parse().map_err(|_| bad("instant", &row[at]))?,
            value: number(&row[value])?,
            weight: weight.map_or(Ok(Micros::ONE), |weight| number(&row[weight]))?,
        })
    };
    table.rows.iter().enumerate().map(row).collect()
}

async fn import(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<ImportBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let tenant = key.0.tenant_id;
    let source = format!("dataset {}", body.dataset);
    let observations = table(&state, tenant, body).await?;
    let mut tx = state.store.begin(tenant).await?;
    let kpis = kpis_of(&state, &mut tx).await?;
    let mut sum = Received::default();
    for part in observations.chunks(MOST) {
        let done = observe(&mut tx, &kpis, part.to_vec(), &source).await?;
        sum.added += done.added;
        sum.repeated += done.repeated;
        sum.differing.extend(done.differing);
    }
    refuse_changed(&sum)?;
    tx.commit().await?;
    let status = if sum.added > 0 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, received(&sum)))
}

async fn table(
    state: &AppState,
    tenant: TenantId,
    body: ImportBody,
) -> Result<Vec<Observation>, Problem> {
    let host = Host::new(state.store.clone(), tenant, tokio::runtime::Handle::current());
    let read = move || {
        let table = host
            .table(&body.dataset, &Window::default())
            .map_err(|error| Problem::invalid("unreadable_dataset", error.to_string()))?;
        cells(&table, &body)
    };
    tokio::task::spawn_blocking(read).await.map_err(|_| Problem::internal())?
}
