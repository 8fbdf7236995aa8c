//! The audit chain, erasure and retention over HTTP.

use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::approvals::Decider;
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, Params, checked_reason, storable};
use crate::state::AppState;
use crate::store::{AuditFilter, Noted};

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/audit", get(search))
        .route("/v1/audit/export", get(export))
        .route("/v1/audit/erase", post(erase))
        .route("/v1/retention", get(retention).put(set_retention))
}

#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    q: String,
    before: Option<i64>,
    limit: Option<u16>,
}

async fn search(
    State(state): State<AppState>,
    key: Key,
    Params(query): Params<Query>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    storable(&query.q, "search")?;
    let limit = query.limit.unwrap_or(50).clamp(1, 200);
    let filter = AuditFilter { before: query.before, search: query.q.trim().to_owned() };
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let entries = tx.search_audit(&filter, limit).await?;
    let full = entries.len() == usize::from(limit);
    let next = entries.last().filter(|_| full).map(|entry| entry.seq);
    Ok(Json(json!({ "entries": entries, "next": next })))
}

/// Answers with an export that is written while it is read.
async fn export(State(state): State<AppState>, key: Key) -> Result<Response, Problem> {
    key.permits("runs:read")?;
    let by = Decider::of_key(&key);
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let (actor, subject) = (by.id.as_str(), by.subject.as_str());
    tx.note(&Noted { kind: "audit.exported", run: None, actor, subject, detail: json!({}) })
        .await?;
    tx.commit().await?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let (out, pieces) = mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(error) = super::export(&mut tx, &out).await {
            tracing::warn!(%error, "an export of the audit chain ended early");
            // Nobody reads any more is no error.
            drop(out.send(Err(std::io::Error::other("the store failed"))).await);
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.ndjson\""),
    ];
    Ok((headers, Stream::from_stream(ReceiverStream::new(pieces))).into_response())
}

fn owner(key: &Key) -> Result<Decider, Problem> {
    let by = Decider::of_key(key);
    if by.role == "owner" { Ok(by) } else { Err(Problem::forbidden("access:write")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EraseBody {
    subject: String,
    reason: String,
}

async fn erase(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<EraseBody>,
) -> Result<Json<Value>, Problem> {
    let by = owner(&key)?;
    checked_reason(&body.reason)?;
    storable(&body.subject, "subject")?;
    let subject = body.subject.trim();
    if subject.chars().count() < 3 {
        let detail = "the subject must have at least three characters, or every run would match";
        return Err(Problem::invalid("invalid_subject", detail));
    }
    let who = (by.id.as_str(), by.subject.as_str());
    let erased =
        super::erase_subject(&state.store, key.0.tenant_id, subject, who, &body.reason).await?;
    Ok(Json(json!({ "erased": erased.runs })))
}

async fn retention(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let days = state.store.begin(key.0.tenant_id).await?.retention().await?;
    Ok(Json(json!({ "days": days })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionBody {
    days: Option<i32>,
}

async fn set_retention(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<RetentionBody>,
) -> Result<Json<Value>, Problem> {
    let by = owner(&key)?;
    if body.days.is_some_and(|days| !(1..=36_500).contains(&days)) {
        return Err(Problem::invalid(
            "invalid_days",
            "`days` must be 1 to 36500, or null for ever",
        ));
    }
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    super::set_retention(&mut tx, body.days, (&by.id, &by.subject)).await?;
    tx.commit().await?;
    Ok(Json(json!({ "days": body.days })))
}
