//! The agent API, version 1: JSON in, JSON out, problems by RFC 9457.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent::new_run;
use crate::auth::Key;
use crate::error::Problem;
use crate::live;
use crate::state::AppState;
use crate::store::{RunId, Status, Store, TenantId};
use crate::view::RunView;

/// Longest request of a run, bytes of UTF-8.
pub const MAX_REQUEST: usize = agents::run::MAX_REQUEST_BYTES;

/// Longest wait that a caller may ask for, seconds.
const MAX_WAIT: u64 = 60;

/// Returns the routes below `/v1`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/me", get(me))
        .route("/v1/packs", get(packs))
        .route("/v1/packs/{pack}/tools", get(tools))
        .route("/v1/agents/{agent}/runs", post(create))
        .route("/v1/runs", get(list))
        .route("/v1/runs/{run}", get(read))
        .route("/v1/runs/{run}/events", get(events))
        .route("/v1/runs/{run}/cancel", post(cancel))
        .route("/v1/approvals", get(approvals))
        .route("/v1/approvals/{approval}", post(decide))
        .route("/v1/{*rest}", get(nothing).post(nothing).put(nothing).delete(nothing))
}

async fn nothing() -> Problem {
    Problem::not_found("address; see docs/api.md")
}

/// Reads a JSON body with one kind of answer for everything that can be wrong with it.
fn body<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Problem::invalid("invalid_utf8", "the body is not valid UTF-8"));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::invalid("invalid_json", error.to_string()))
}

/// Reads an identifier; another form is not found rather than malformed.
fn id(text: &str, what: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

async fn me(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    let tenant = state.store.begin(key.0.tenant_id).await?.tenant().await?;
    Ok(Json(json!({
        "tenant": tenant.slug, "name": tenant.name, "pack": tenant.pack, "currency": tenant.currency,
        "timezone": tenant.timezone, "key": key.0.label, "scopes": key.0.scopes,
    })))
}

async fn packs(State(state): State<AppState>, _: Key) -> Json<Value> {
    let packs: Vec<Value> = state
        .agents
        .packs()
        .map(|pack| {
            let m = &pack.manifest;
            json!({"id": m.id, "version": m.version, "title": m.title, "description": m.description,
                   "languages": m.languages, "examples": m.examples, "tools": pack.tools.len()})
        })
        .collect();
    Json(json!({ "packs": packs }))
}

async fn tools(
    State(state): State<AppState>,
    _: Key,
    Path(pack): Path<String>,
) -> Result<Json<Value>, Problem> {
    let agent = state.agents.get(&pack).ok_or_else(|| Problem::not_found("pack"))?;
    let tools: Vec<Value> = agent
        .pack()
        .tools
        .iter()
        .map(|tool| {
            json!({"name": tool.name, "title": tool.title, "description": tool.description, "effect": tool.effect,
                   "method": tool.method, "inputSchema": tool.input_schema, "outputSchema": tool.output_schema})
        })
        .collect();
    Ok(Json(json!({ "tools": tools })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRunBody {
    request: String,
}

#[derive(Deserialize)]
struct Wait {
    /// Seconds to wait for the run's end.
    #[serde(default)]
    wait: u64,
}

/// Checks a request before a run is made of it.
///
/// # Errors
/// `empty_request`, `request_too_large`.
pub fn checked(request: &str) -> Result<(), Problem> {
    if request.trim().is_empty() {
        return Err(Problem::invalid(
            "empty_request",
            "the request is empty; say what you want to know or do",
        ));
    }
    if request.len() > MAX_REQUEST {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            "The request is too large",
            format!(
                "{} bytes; the limit is {MAX_REQUEST}. Upload long tables as a dataset and name it",
                request.len()
            ),
        ));
    }
    Ok(())
}

async fn create(
    State(state): State<AppState>,
    key: Key,
    Path(agent): Path<String>,
    Query(wait): Query<Wait>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<impl IntoResponse, Problem> {
    key.permits("runs:write")?;
    let body: NewRunBody = body(&bytes)?;
    checked(&body.request)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let tenant = tx.tenant().await?;
    // Every joint venture has one agent, named as its pack.
    if agent != tenant.pack {
        return Err(Problem::not_found(&format!(
            "agent; this joint venture has `{}`",
            tenant.pack
        )));
    }
    let idempotency =
        headers.get("idempotency-key").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (run, made) =
        tx.create_run(&new_run(&agent, &tenant.pack, &body.request, idempotency)).await?;
    tx.commit().await?;
    let view = settled(&state.store, key.0.tenant_id, run, wait.wait.min(MAX_WAIT)).await?;
    let status = if made { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, [("location", format!("/v1/runs/{run}"))], Json(view)))
}

/// Waits up to `seconds` for the run to rest and returns it.
async fn settled(
    store: &Store,
    tenant: TenantId,
    run: RunId,
    seconds: u64,
) -> Result<RunView, Problem> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut wakes = store.wakes();
    loop {
        let mut tx = store.begin(tenant).await?;
        let row = tx.get_run(run).await?;
        let rests = row.status.is_final() || row.status == Status::WaitingApproval;
        if rests || Instant::now() >= deadline {
            return Ok(RunView::of(&row, &tx.events(run, 0).await?));
        }
        drop(tx);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = wakes.recv() => {}
        }
    }
}

#[derive(Deserialize)]
struct Cursor {
    after: Option<Uuid>,
    limit: Option<u16>,
}

async fn list(
    State(state): State<AppState>,
    key: Key,
    Query(cursor): Query<Cursor>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let limit = cursor.limit.unwrap_or(50).clamp(1, 200);
    let page = state.store.begin(key.0.tenant_id).await?.list_runs(cursor.after, limit).await?;
    let runs: Vec<Value> = page
        .items
        .iter()
        .map(|run| {
            json!({"id": run.id, "agent": run.agent, "status": run.status.name(), "request": run.request,
                   "lang": run.lang, "created_at": run.created_at.to_string()})
        })
        .collect();
    Ok(Json(json!({ "runs": runs, "next": page.next })))
}

async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(run): Path<String>,
) -> Result<Json<RunView>, Problem> {
    key.permits("runs:read")?;
    settled(&state.store, key.0.tenant_id, id(&run, "run")?, 0).await.map(Json)
}

async fn events(
    State(state): State<AppState>,
    key: Key,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    key.permits("runs:read")?;
    live::journal(state.store, key.0.tenant_id, id(&run, "run")?, &headers).await
}

/// Cancels a run that has not ended.
///
/// # Errors
/// `not_found`; `already_ended`.
pub async fn cancel_run(
    store: &Store,
    tenant: TenantId,
    run: RunId,
    by: &str,
) -> Result<(), Problem> {
    let mut tx = store.begin(tenant).await?;
    if tx.get_run(run).await?.status.is_final() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "already_ended",
            "Conflict",
            "the run has ended; nothing was changed",
        ));
    }
    // Off the queue first: a worker that holds its lease then writes nothing more.
    tx.dequeue(run).await?;
    tx.append_event(run, "run.cancelled", &json!({"type": "run.cancelled", "by": by})).await?;
    tx.set_status(run, Status::Cancelled).await?;
    Ok(tx.commit().await?)
}

async fn cancel(
    State(state): State<AppState>,
    key: Key,
    Path(run): Path<String>,
) -> Result<Json<RunView>, Problem> {
    key.permits("runs:write")?;
    let run = id(&run, "run")?;
    cancel_run(&state.store, key.0.tenant_id, run, &key.0.label).await?;
    settled(&state.store, key.0.tenant_id, run, 0).await.map(Json)
}

async fn approvals(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let pending = state.store.begin(key.0.tenant_id).await?.approvals(true).await?;
    let list: Vec<Value> = pending
        .iter()
        .map(|a| {
            json!({"id": a.id, "run": a.run_id, "tool": a.tool, "arguments": a.arguments,
                   "arguments_sha256": a.arguments_sha256, "expires_at": a.expires_at.to_string()})
        })
        .collect();
    Ok(Json(json!({ "approvals": list })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    approved: bool,
    #[serde(default)]
    reason: String,
}

/// Decides an approval, journals it and puts the run back in the queue, all or nothing.
///
/// # Errors
/// `not_found`; `conflict` ⇐ decided already, or expired.
pub async fn decide_on(
    store: &Store,
    tenant: TenantId,
    approval: Uuid,
    approved: bool,
    by: &str,
    reason: &str,
) -> Result<RunId, Problem> {
    let mut tx = store.begin(tenant).await?;
    let decided = tx.decide_approval(approval, approved, by, reason).await?;
    let payload = json!({
        "type": "approval.decided", "index": decided.call_index, "approved": approved, "by": by,
        "reason": reason, "arguments_sha256": decided.arguments_sha256,
    });
    tx.append_event(decided.run_id, "approval.decided", &payload).await?;
    tx.set_status(decided.run_id, Status::Queued).await?;
    tx.enqueue(decided.run_id).await?;
    tx.commit().await?;
    Ok(decided.run_id)
}

async fn decide(
    State(state): State<AppState>,
    key: Key,
    Path(approval): Path<String>,
    Query(wait): Query<Wait>,
    bytes: Bytes,
) -> Result<Json<RunView>, Problem> {
    key.permits("approvals:write")?;
    let decision: Decision = body(&bytes)?;
    let approval = id(&approval, "approval")?;
    let tenant = key.0.tenant_id;
    let run = decide_on(
        &state.store,
        tenant,
        approval,
        decision.approved,
        &key.0.label,
        &decision.reason,
    )
    .await?;
    settled(&state.store, tenant, run, wait.wait.min(MAX_WAIT)).await.map(Json)
}
