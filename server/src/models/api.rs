//! Planners over HTTP.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::change::{self, verdict_of};
use super::job::{Training, start_gate, start_training};
use super::{ModelError, Models, pack_of};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, Params};
use crate::state::AppState;
use crate::store::{Model, ModelJob, ModelState, ShadowPlan, TenantTx};

/// Scope of whoever may change which planner plans.
pub const SCOPE: &str = "models:write";

/// Most differences of a list.
const MAX_DIFFERENCES: u16 = 500;

/// What a page with a training's report may do: show itself.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox";

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/planners", get(list))
        .route("/v1/planners/train", post(train))
        .route("/v1/planners/rollback", post(rollback))
        .route("/v1/planners/jobs/{job}", get(progress))
        .route("/v1/planners/jobs/{job}/stop", post(stop))
        .route("/v1/planners/{id}", get(read))
        .route("/v1/planners/{id}/gate", post(gate))
        .route("/v1/planners/{id}/promote", post(promote))
        .route("/v1/planners/{id}/shadow", get(differences).post(shadow))
        .route("/v1/planners/{id}/report", get(report))
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        let (code, detail) = (error.code(), error.to_string());
        let conflict = |title| Self::new(StatusCode::CONFLICT, code, title, detail.clone());
        match error {
            ModelError::Store(error) => error.into(),
            ModelError::Io { .. } | ModelError::Pack(_) => {
                tracing::error!(%detail, "a planner cannot be used");
                Self::internal()
            }
            ModelError::Gone { .. } => conflict("The planner's files are gone"),
            ModelError::GateNeeded(_) => conflict("The gate must run first"),
            ModelError::GateFailed { .. } => conflict("The gate keeps it back"),
            ModelError::Stopped => conflict("It was stopped"),
            ModelError::Unusable(_) | ModelError::Gate(_) | ModelError::Train(_) => {
                Self::invalid(code, detail)
            }
        }
    }
}

/// Reads an identifier; another form is not found rather than malformed.
pub(crate) fn id_of(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found("planner"))
}

/// A planner as the API shows it.
pub(crate) fn view(model: &Model) -> Value {
    json!({
        "id": model.id, "label": model.label, "version": model.version(), "sha256": model.digest,
        "state": model.state.name(), "pack": model.pack, "pack_version": model.pack_version,
        "base": model.base, "size": model.size, "gate": verdict_of(model),
        "report": model.has_report.then(|| format!("/v1/planners/{}/report", model.id)),
        "created_by": model.created_by, "created_at": model.created_at.to_string(),
        "promoted_at": model.promoted_at.map(|at| at.to_string()),
    })
}

/// The planners of a joint venture, the one that plans, and how it came to.
pub(crate) async fn overview(models: &Models, tx: &mut TenantTx) -> Result<Value, Problem> {
    let (version, digest) = models.live(tx).await?;
    let known = tx.models().await?;
    let label = |id: Option<Uuid>| {
        let model = id.and_then(|id| known.iter().find(|model| model.id == id));
        model.map(|model| model.label.clone())
    };
    let history: Vec<Value> = tx
        .promotions()
        .await?
        .iter()
        .map(|one| {
            json!({"planner": one.model, "label": label(one.model), "rollback": one.rollback,
                   "by": one.by, "at": one.at.to_string()})
        })
        .collect();
    let default = models.default_planner();
    Ok(json!({
        "live": { "version": version, "sha256": digest },
        "default": { "version": default.version(), "sha256": default.digest() },
        "rules": models.rules(),
        "planners": known.iter().map(view).collect::<Vec<_>>(),
        "history": history,
        "jobs": tx.model_jobs(10).await?.iter().map(view_job).collect::<Vec<_>>(),
    }))
}

fn view_job(job: &ModelJob) -> Value {
    let state = if job.state == "running" && !job.is_alive() { "lost" } else { &job.state };
    json!({
        "id": job.id, "kind": job.kind, "label": job.label, "planner": job.model, "state": state,
        "share": job.share, "said": job.said, "code": job.code, "message": job.message,
        "started_at": job.started_at.to_string(), "updated_at": job.updated_at.to_string(),
    })
}

fn accepted(job: Uuid) -> Response {
    let at = format!("/v1/planners/jobs/{job}");
    let body = json!({ "job": job, "state": "running", "progress": at });
    (StatusCode::ACCEPTED, [(header::LOCATION, at)], Json(body)).into_response()
}

async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    overview(state.agents.models(), &mut tx).await.map(Json)
}

async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let model = state.store.begin(key.0.tenant_id).await?.model(id_of(&id)?).await?;
    Ok(Json(view(&model)))
}

async fn train(
    State(state): State<AppState>,
    key: Key,
    Body(wish): Body<Training>,
) -> Result<Response, Problem> {
    key.permits(SCOPE)?;
    wish.checked().map_err(|detail| Problem::invalid("invalid_training", detail))?;
    Ok(accepted(start_training(&state, key.0.tenant_id, wish, &key.0.label).await?))
}

async fn gate(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    key.permits(SCOPE)?;
    Ok(accepted(start_gate(&state, key.0.tenant_id, id_of(&id)?).await?))
}

async fn promote(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let (tenant, id) = (key.0.tenant_id, id_of(&id)?);
    let pack = pack_of(&state.store.begin(tenant).await?.tenant().await?.pack)?;
    let models = state.agents.models();
    let model = change::promote(models, &state.store, tenant, &pack, id, &key.0.label).await?;
    Ok(Json(view(&model)))
}

async fn rollback(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let tenant = key.0.tenant_id;
    change::rollback(state.agents.models(), &state.store, tenant, &key.0.label).await?;
    let mut tx = state.store.begin(tenant).await?;
    overview(state.agents.models(), &mut tx).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shadow {
    on: bool,
}

async fn shadow(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Body(wish): Body<Shadow>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let models = state.agents.models();
    let tenant = key.0.tenant_id;
    let model = change::shadow(models, &state.store, tenant, id_of(&id)?, wish.on).await?;
    Ok(Json(view(&model)))
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<u16>,
}

async fn differences(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
    Params(query): Params<Limit>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let id = id_of(&id)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let model = tx.model(id).await?;
    let counts = tx.shadow_counts(id).await?;
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_DIFFERENCES);
    let differences = tx.shadow_differences(id, limit).await?;
    let one = |plan: &ShadowPlan| {
        json!({"run": plan.run, "request": plan.request, "differs": plan.differs,
               "live": plan.live, "shadow": plan.shadow, "live_ms": plan.live_ms,
               "shadow_ms": plan.shadow_ms, "at": plan.at.to_string()})
    };
    Ok(Json(json!({
        "planner": model.id, "on": model.state == ModelState::Shadow, "requests": counts.requests,
        "same": counts.same, "decision": counts.decision, "tool": counts.tool,
        "arguments": counts.arguments, "failed": counts.failed, "live_ms_p50": counts.live_ms_p50,
        "shadow_ms_p50": counts.shadow_ms_p50,
        "differences": differences.iter().map(one).collect::<Vec<_>>(),
    })))
}

/// Answers with a training's report, which may run nothing and load nothing.
pub(crate) fn report_page(report: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, REPORT_POLICY),
    ];
    (headers, report).into_response()
}

async fn report(
    State(state): State<AppState>,
    key: Key,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    key.permits("runs:read")?;
    let report = state.store.begin(key.0.tenant_id).await?.model_report(id_of(&id)?).await?;
    Ok(report_page(report))
}

async fn progress(
    State(state): State<AppState>,
    key: Key,
    Path(job): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let job = job.parse().map_err(|_| Problem::not_found("job"))?;
    Ok(Json(view_job(&state.store.begin(key.0.tenant_id).await?.model_job(job).await?)))
}

async fn stop(
    State(state): State<AppState>,
    key: Key,
    Path(job): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let job = job.parse().map_err(|_| Problem::not_found("job"))?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.stop_model_job(job).await?;
    let known = tx.model_job(job).await?;
    tx.commit().await?;
    Ok(Json(view_job(&known)))
}
