//! The agent API, version 1: JSON in, JSON out, problems by RFC 9457.

use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent::new_run;
use crate::approvals;
use crate::auth::Key;
use crate::control::checked_name;
use crate::error::Problem;
use crate::fault;
use crate::input::{Body, Params, checked, idempotency_key, traceparent, wrong_method};
use crate::live;
use crate::packs::id_of;
use crate::state::AppState;
use crate::store::{Busy, RunId, Store, TenantId, Thread};
use crate::view::RunView;

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
        .route("/v1/approvals", get(waiting))
        .route("/v1/approvals/{approval}", post(decide))
        .route("/v1/{*rest}", any(nothing))
        .method_not_allowed_fallback(wrong_method)
}

async fn nothing() -> Problem {
    Problem::not_found("address; see docs/api.md")
}

/// Reads an identifier; another form is not found rather than malformed.
fn id(text: &str, what: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

async fn me(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    let tenant = state.store.begin(key.0.tenant_id).await?.tenant().await?;
    Ok(Json(json!({
        "tenant": tenant.slug, "name": tenant.name, "pack": id_of(&tenant.pack), "currency": tenant.currency,
        "timezone": tenant.timezone, "key": key.0.label, "scopes": key.0.scopes,
        "actor": key.actor(),
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
    /// Language of the answer; told from the request when absent.
    lang: Option<Lang>,
    /// Thread whose runs are driven one at a time.
    thread: Option<String>,
    /// What happens when the thread has an open run.
    #[serde(default)]
    busy: Busy,
}

#[derive(Deserialize, Clone, Copy)]
enum Lang {
    #[serde(rename = "en")]
    En,
    #[serde(rename = "zh-Hant")]
    Hant,
    #[serde(rename = "zh-Hans")]
    Hans,
}

impl Lang {
    fn name(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Hant => "zh-Hant",
            Self::Hans => "zh-Hans",
        }
    }
}

#[derive(Deserialize)]
struct Wait {
    /// Seconds to wait for the run's end.
    #[serde(default)]
    wait: u64,
}

async fn create(
    State(state): State<AppState>,
    key: Key,
    Path(agent): Path<String>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
    Body(body): Body<NewRunBody>,
) -> Result<impl IntoResponse, Problem> {
    key.permits("runs:write")?;
    checked(&body.request)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let tenant = tx.tenant().await?;
    // Every joint venture has one agent, named as its pack.
    if agent != id_of(&tenant.pack) {
        return Err(Problem::not_found(&format!(
            "agent; this joint venture has `{}`",
            id_of(&tenant.pack)
        )));
    }
    let mut new = new_run(&agent, &tenant.pack, &body.request, idempotency_key(&headers)?);
    if let Some(lang) = body.lang {
        new.lang = lang.name().to_owned();
        new.first["lang"] = json!(lang.name());
    }
    if let Some(parent) = traceparent(&headers) {
        new.first["traceparent"] = json!(parent);
    }
    if let Some(name) = body.thread {
        checked_name(&name, "thread")?;
        new.thread = Some(Thread { name, busy: body.busy });
    }
    if let Some(switch) = tx.switched_off(&tenant.pack, None).await? {
        let code = "switched_off";
        return Err(Problem::new(StatusCode::CONFLICT, code, "Switched off", switch.reason()));
    }
    let (run, made) = tx.create_run(&new).await?;
    tx.set_asked_by(run, &approvals::Decider::of_key(&key).id).await?;
    tx.commit().await?;
    fault::point("run.stored");
    let view = settled(&state, key.0.tenant_id, run, wait.wait.min(MAX_WAIT)).await?;
    let status = if made { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, [("location", format!("/v1/runs/{run}"))], Json(view)))
}

/// Waits up to `seconds` for the run to rest, or for the server to stop, and returns it.
pub(crate) async fn settled(
    state: &AppState,
    tenant: TenantId,
    run: RunId,
    seconds: u64,
) -> Result<RunView, Problem> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut wakes = state.store.wakes();
    let mut stopped = state.stopped.clone();
    loop {
        let mut tx = state.store.begin(tenant).await?;
        let row = tx.get_run(run).await?;
        let rests = row.status.is_final() || row.status.waits();
        if rests || Instant::now() >= deadline || *stopped.borrow() {
            return Ok(RunView::of(&row, &tx.events(run, 0).await?));
        }
        drop(tx);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = wakes.recv() => {}
            _ = stopped.changed() => {}
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
    Params(cursor): Params<Cursor>,
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
    settled(&state, key.0.tenant_id, id(&run, "run")?, 0).await.map(Json)
}

async fn events(
    State(state): State<AppState>,
    key: Key,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    key.permits("runs:read")?;
    live::journal(state, key.0.tenant_id, id(&run, "run")?, &headers).await
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
    if !tx.cancel_run(run, by).await? {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "already_ended",
            "Conflict",
            "the run has ended; nothing was changed",
        ));
    }
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
    settled(&state, key.0.tenant_id, run, 0).await.map(Json)
}

async fn waiting(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let pending = state.store.begin(key.0.tenant_id).await?.approvals(true).await?;
    let list: Vec<Value> = pending
        .iter()
        .map(|a| {
            json!({"id": a.id, "run": a.run_id, "tool": a.tool, "arguments": a.arguments,
                   "arguments_sha256": a.arguments_sha256, "because": a.because,
                   "tool_version": a.tool_version, "binding_sha256": a.binding_sha256,
                   "rule": a.rule, "roles": a.roles, "self_approval": a.self_approval,
                   "approvers": a.needed, "origins": a.origins, "reasons": a.reasons,
                   "expires_at": a.expires_at.to_string()})
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

async fn decide(
    State(state): State<AppState>,
    key: Key,
    Path(approval): Path<String>,
    Params(wait): Params<Wait>,
    Body(decision): Body<Decision>,
) -> Result<Json<RunView>, Problem> {
    let approval = id(&approval, "approval")?;
    let tenant = key.0.tenant_id;
    let mut tx = state.store.begin(tenant).await?;
    if let Err(problem) = key.permits("approvals:write") {
        // What changes nothing may be confirmed by whoever may ask.
        key.permits("runs:write").map_err(|_| problem)?;
        if tx.get_approval(approval).await?.because != "unsure" {
            return Err(Problem::forbidden("approvals:write"));
        }
    }
    let decision = approvals::Decision { approved: decision.approved, reason: &decision.reason };
    let decider = approvals::Decider::of_key(&key);
    let decided = approvals::decide(&mut tx, &state.agents, approval, decision, &decider).await?;
    fault::point("approval.unwritten");
    tx.commit().await?;
    fault::point("approval.written");
    let run = decided.run();
    if matches!(decided, approvals::Outcome::AskedAgain(_)) {
        return Err(approvals::tool_changed());
    }
    settled(&state, tenant, run, wait.wait.min(MAX_WAIT)).await.map(Json)
}
