//! The agents as other agents find and ask them: a card, and the methods that it promises.
//!
//! The card at the well-known address names the agents of the packs. Which joint venture's agent answers
//! is said by the key, and `agent/getAuthenticatedExtendedCard` names its tools. A message becomes a run
//! and a task is that run, so policy, approvals and journal are those of any other.
//!
//! # Source
//! Agent2Agent Protocol 0.3.0, JSON-RPC 2.0 binding.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent::new_run;
use crate::api::{cancel_run, settled};
use crate::approvals::Decider;
use crate::auth::Key;
use crate::control::checked_name;
use crate::error::Problem;
use crate::input::{Body, checked, traceparent, wrong_method};
use crate::packs::id_of;
use crate::state::AppState;
use crate::store::{Busy, RunId, Thread};
use crate::view::RunView;

/// Version of the protocol.
const VERSION: &str = "0.3.0";

/// Longest wait for a run where the caller wants to wait, seconds.
const WAIT: u64 = 60;

/// Returns the routes.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/.well-known/agent-card.json", get(card))
        .route("/a2a", post(called))
        .method_not_allowed_fallback(wrong_method)
}

/// The parts of a card that do not depend on who reads it.
fn frame(state: &AppState, headers: &HeaderMap) -> Value {
    let base = state.access.origin.base(headers);
    json!({
        "protocolVersion": VERSION, "name": "Tessera", "version": env!("CARGO_PKG_VERSION"),
        "url": format!("{base}/a2a"), "preferredTransport": "JSONRPC",
        "capabilities": {"streaming": false, "pushNotifications": false, "stateTransitionHistory": false},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/markdown"],
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "security": [{ "key": [] }],
        "supportsAuthenticatedExtendedCard": true,
    })
}

async fn card(State(state): State<AppState>, headers: HeaderMap) -> Json<Value> {
    let skills: Vec<Value> = state
        .agents
        .packs()
        .map(|pack| {
            let manifest = &pack.manifest;
            json!({"id": manifest.id, "name": manifest.title, "description": manifest.description,
                   "tags": [manifest.id], "examples": manifest.examples})
        })
        .collect();
    let mut card = frame(&state, &headers);
    card["description"] = json!("Agents of joint ventures; the key says whose answers");
    card["skills"] = json!(skills);
    Json(card)
}

async fn own_card(state: &AppState, key: &Key, headers: &HeaderMap) -> Result<Value, Fault> {
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let tenant = tx.tenant().await?;
    let agent = state.agents.get(&tenant.pack).ok_or_else(Problem::internal)?;
    let mut skills = Vec::new();
    for tool in &agent.pack().tools {
        if tx.switched_off(&tenant.pack, Some(&tool.name)).await?.is_none() {
            skills
                .push(json!({"id": tool.name, "name": tool.title, "description": tool.description,
                               "tags": [id_of(&tenant.pack)]}));
        }
    }
    let mut card = frame(state, headers);
    card["name"] = json!(tenant.name);
    card["description"] = json!(agent.pack().manifest.description);
    card["skills"] = json!(skills);
    Ok(card)
}

/// A JSON-RPC error.
struct Fault(i32, String);

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        match problem.status {
            404 => Self(-32001, "there is no such task".to_owned()),
            409 => Self(-32002, problem.detail),
            400..500 => Self(-32602, problem.detail),
            _ => Self(-32603, problem.detail),
        }
    }
}

impl From<crate::store::StoreError> for Fault {
    fn from(error: crate::store::StoreError) -> Self {
        Problem::from(error).into()
    }
}

async fn called(
    State(state): State<AppState>,
    key: Key,
    headers: HeaderMap,
    Body(call): Body<Value>,
) -> Json<Value> {
    let id = call["id"].clone();
    let right = id.is_null() || id.is_string() || id.is_number();
    let method = call["method"].as_str().filter(|_| call["jsonrpc"] == "2.0" && right);
    let Some(method) = method else {
        let error = json!({"code": -32600, "message": "this is no call of JSON-RPC 2.0"});
        return Json(json!({"jsonrpc": "2.0", "id": null, "error": error}));
    };
    let params = &call["params"];
    let done = match method {
        "message/send" => send(&state, &key, &headers, params).await,
        "tasks/get" => task(&state, &key, params, false).await,
        "tasks/cancel" => task(&state, &key, params, true).await,
        "agent/getAuthenticatedExtendedCard" => own_card(&state, &key, &headers).await,
        "message/stream" | "tasks/resubscribe" => {
            Err(Fault(-32004, "the agent does not stream".to_owned()))
        }
        other if other.starts_with("tasks/pushNotificationConfig/") => {
            Err(Fault(-32003, "the agent pushes nothing; webhooks do".to_owned()))
        }
        other => Err(Fault(-32601, format!("there is no method `{other}`"))),
    };
    Json(match done {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(Fault(code, message)) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    })
}

fn read<'p, T: Deserialize<'p>>(params: &'p Value) -> Result<T, Fault> {
    T::deserialize(params).map_err(|error| Fault(-32602, error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    message: Message,
    configuration: Option<Configuration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    message_id: String,
    parts: Vec<Part>,
    context_id: Option<String>,
    task_id: Option<String>,
}

#[derive(Deserialize)]
struct Part {
    kind: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Configuration {
    blocking: Option<bool>,
}

async fn send(
    state: &AppState,
    key: &Key,
    headers: &HeaderMap,
    params: &Value,
) -> Result<Value, Fault> {
    key.permits("runs:write")?;
    let Sent { message, configuration } = read(params)?;
    if let Some(task) = &message.task_id {
        // A task is one run and takes no further message; what goes on has its context.
        let run = task.parse().map_err(|_| Problem::not_found("task"))?;
        settled(state, key.0.tenant_id, run, 0).await?;
        return Err(Fault(-32004, "send it without `taskId`, in the same context".to_owned()));
    }
    let text = message.parts.into_iter().map(|part| match (part.kind.as_str(), part.text) {
        ("text", Some(text)) => Ok(text),
        (kind, _) => Err(Fault(-32005, format!("a part `{kind}` is no text"))),
    });
    let text = text.collect::<Result<Vec<String>, Fault>>()?.join("\n");
    checked(&text)?;
    let context = message.context_id.unwrap_or_else(|| Uuid::now_v7().to_string());
    checked_name(&context, "context")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let tenant = tx.tenant().await?;
    if let Some(switch) = tx.switched_off(&tenant.pack, None).await? {
        return Err(Fault(-32004, switch.reason()));
    }
    // The identifier of a message makes a repetition of it the same run.
    let once = Some(message.message_id).filter(|id| (1..=200).contains(&id.len()));
    let once = once.map(|id| format!("a2a:{id}")).filter(|id| id.is_ascii());
    let mut new = new_run(&tenant.pack, &tenant.pack, &text, once);
    if let Some(parent) = traceparent(headers) {
        new.first["traceparent"] = json!(parent);
    }
    new.thread = Some(Thread { name: context, busy: Busy::Queue });
    let (run, _) = tx.create_run(&new).await?;
    tx.set_asked_by(run, &Decider::of_key(key).id).await?;
    tx.commit().await?;
    let waits = configuration.and_then(|c| c.blocking).unwrap_or(true);
    let view = settled(state, key.0.tenant_id, run, if waits { WAIT } else { 0 }).await?;
    Ok(told(&view))
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

async fn task(state: &AppState, key: &Key, params: &Value, cancel: bool) -> Result<Value, Fault> {
    key.permits(if cancel { "runs:write" } else { "runs:read" })?;
    let Named { id } = read(params)?;
    let run: RunId = id.parse().map_err(|_| Problem::not_found("task"))?;
    if cancel {
        cancel_run(&state.store, key.0.tenant_id, run, &key.0.label).await?;
    }
    Ok(told(&settled(state, key.0.tenant_id, run, 0).await?))
}

/// A run as a task.
fn told(view: &RunView) -> Value {
    let state = match view.status {
        "queued" => "submitted",
        "running" => "working",
        "waiting_approval" | "waiting_outcome" | "waiting_input" => "input-required",
        "done" => "completed",
        "refused" => "rejected",
        "cancelled" => "canceled",
        _ => "failed",
    };
    let text = match (view.status, &view.answer, &view.error) {
        ("waiting_approval" | "waiting_outcome", ..) => {
            Some("A person of the joint venture must decide first.".to_owned())
        }
        (_, Some(answer), _) => Some(answer.clone()),
        (_, None, Some(fault)) => Some(fault.message.clone()),
        _ => None,
    };
    let context = view.thread.clone().unwrap_or_else(|| view.id.clone());
    let mut status = json!({ "state": state, "timestamp": jiff::Timestamp::now().to_string() });
    let mut task = json!({"kind": "task", "id": view.id, "contextId": context,
        "metadata": {"status": view.status, "citations": view.citations, "warnings": view.warnings}});
    match text {
        Some(text) if state == "completed" => {
            let part = json!({"kind": "text", "text": text});
            task["artifacts"] =
                json!([{"artifactId": "answer", "name": "answer", "parts": [part]}]);
        }
        Some(text) => {
            status["message"] = json!({"kind": "message", "role": "agent", "taskId": view.id,
                "contextId": context, "messageId": format!("{}-{state}", view.id),
                "parts": [{"kind": "text", "text": text}]});
        }
        None => {}
    }
    task["status"] = status;
    task
}
