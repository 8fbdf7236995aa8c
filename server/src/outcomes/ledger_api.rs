//! Economics, contracts, statements and disputes over HTTP.

use agents::outcome::contract::Contract;
use agents::outcome::economics::{Terms, UseCase, screen};
use agents::outcome::readout::Observation;
use agents::outcome::receipt::{Countersignature, Registration};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::api::{READ, kpis_of};
use super::ledger::{
    add_contract, dispute, economics, export, month, note_effort, reject, set_terms, settle,
    state as make,
};
use super::signing::{countersign, keys, register, rotate};
use super::{Act, pdf};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, Params, checked_reason};
use crate::state::AppState;
use crate::store::{Dispute, KeptContract, PartyKey, SigningKey, Statement};

/// What a key needs to change prices, contracts and statements: money is approved, not written.
const SCOPE: &str = "approvals:write";

/// Days that are added up when nothing is said, and at most.
const DAYS: (u16, u16) = (30, 366);

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/economics", get(costs))
        .route("/v1/economics/terms", put(prices))
        .route("/v1/economics/screen", post(screened))
        .route("/v1/economics/runs/{run}", put(effort))
        .route("/v1/contracts", get(contracts).post(contract))
        .route("/v1/contracts/{name}", get(one_contract))
        .route("/v1/statements", get(statements).post(statement))
        .route("/v1/statements/key", get(public_key).post(rotated))
        .route("/v1/party-keys", get(party_keys).post(party_key))
        .route("/v1/statements/{number}", get(one_statement))
        .route("/v1/statements/{number}/export", get(exported))
        .route("/v1/statements/{number}/receipt", get(receipt))
        .route("/v1/statements/{number}/countersignatures", post(countersigned))
        .route("/v1/statements/{number}/pdf", get(paper))
        .route("/v1/statements/{number}/disputes", post(disputed))
        .route("/v1/disputes", get(disputes))
        .route("/v1/disputes/{id}", post(decided))
        .route("/v1/outcome_events", get(events))
}

#[derive(Deserialize)]
struct Days {
    days: Option<u16>,
}

async fn costs(
    State(state): State<AppState>,
    key: Key,
    Params(asked): Params<Days>,
) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let days = asked.days.unwrap_or(DAYS.0).clamp(1, DAYS.1);
    Ok(Json(json!(economics(&mut tx, days).await?)))
}

async fn prices(
    State(state): State<AppState>,
    key: Key,
    Body(terms): Body<Terms>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    set_terms(&mut tx, &terms, &key.0.label).await?;
    tx.commit().await?;
    Ok(Json(json!(terms)))
}

async fn screened(key: Key, Body(case): Body<UseCase>) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let screen =
        screen(&case).map_err(|error| Problem::invalid("amount_too_large", error.to_string()))?;
    Ok(Json(json!(screen)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EffortBody {
    #[serde(default)]
    review_seconds: i32,
    #[serde(default)]
    rework_seconds: i32,
}

async fn effort(
    State(state): State<AppState>,
    key: Key,
    Path(run): Path<String>,
    Body(body): Body<EffortBody>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let run: Uuid = run.parse().map_err(|_| Problem::not_found("run"))?;
    let (review, rework) = (body.review_seconds, body.rework_seconds);
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    note_effort(&mut tx, run, (review, rework), &key.0.label).await?;
    tx.commit().await?;
    Ok(Json(json!({ "run": run, "review_seconds": review, "rework_seconds": rework })))
}

fn contract_view(kept: &KeptContract) -> Value {
    json!({
        "contract": kept.contract, "sha256": kept.sha256, "by": kept.by, "at": kept.at.to_string(),
    })
}

async fn contracts(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let all = state.store.begin(key.0.tenant_id).await?.contracts(None).await?;
    Ok(Json(json!({ "contracts": all.iter().map(contract_view).collect::<Vec<_>>() })))
}

async fn one_contract(
    State(state): State<AppState>,
    key: Key,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let kept = state.store.begin(key.0.tenant_id).await?.contract(&name).await?;
    Ok(Json(contract_view(&kept)))
}

async fn contract(
    State(state): State<AppState>,
    key: Key,
    Body(contract): Body<Contract>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    add_contract(&mut tx, &contract, &key.0.label).await?;
    let kept = tx.contract(&contract.name).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(contract_view(&kept))))
}

fn statement_view(kept: &Statement) -> Value {
    json!({
        "number": kept.document.number, "document": kept.document, "by": kept.by,
        "document_sha256": kept.receipt.document_sha256, "public_key": kept.receipt.public_key,
        "receipt": kept.receipt.fingerprint(),
    })
}

/// Reads the number of a statement; another form is not found rather than malformed.
pub(crate) fn number(text: &str) -> Result<i32, Problem> {
    text.parse().map_err(|_| Problem::not_found("statement"))
}

async fn statements(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let all = state.store.begin(key.0.tenant_id).await?.statements(None).await?;
    Ok(Json(json!({ "statements": all.iter().map(statement_view).collect::<Vec<_>>() })))
}

async fn one_statement(
    State(state): State<AppState>,
    key: Key,
    Path(text): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let kept = tx.statement(number(&text)?).await?;
    let mut view = statement_view(&kept);
    view["countersignatures"] = json!(tx.countersignatures(number(&text)?).await?);
    Ok(Json(view))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewStatement {
    contract: String,
    /// Month, UTC, such as `2026-10`.
    month: String,
}

async fn statement(
    State(state): State<AppState>,
    key: Key,
    Body(new): Body<NewStatement>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let period = month(&new.month)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let act = Act::now(&key.0.label, &state.vault);
    let made = make(&mut tx, &new.contract, period, act).await?;
    let kept = tx.statement(i32::try_from(made).unwrap_or(i32::MAX)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(statement_view(&kept))))
}

async fn public_key(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let all = keys(&mut tx, &state.vault).await?;
    tx.commit().await?;
    let public = all.last().map(|key| key.public_key.as_str());
    Ok(Json(json!({
        "algorithm": "ed25519", "public_key": public,
        "keys": all.iter().map(key_view).collect::<Vec<_>>(),
    })))
}

fn key_view(key: &SigningKey) -> Value {
    json!({
        "version": key.version, "public_key": key.public_key, "since": key.at.to_string(),
        "handover": key.handover,
    })
}

async fn rotated(
    State(state): State<AppState>,
    key: Key,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let next = rotate(&mut tx, Act::now(&key.0.label, &state.vault)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(key_view(&next))))
}

fn party_key_view(key: &PartyKey) -> Value {
    json!({
        "version": key.version, "registration": key.registration, "by": key.by,
        "at": key.at.to_string(),
    })
}

async fn party_keys(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let all = state.store.begin(key.0.tenant_id).await?.party_keys().await?;
    Ok(Json(json!({ "party_keys": all.iter().map(party_key_view).collect::<Vec<_>>() })))
}

async fn party_key(
    State(state): State<AppState>,
    key: Key,
    Body(new): Body<Registration>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let version = register(&mut tx, key.actor(), &new).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(json!({ "party": new.party, "version": version }))))
}

async fn countersigned(
    State(state): State<AppState>,
    key: Key,
    Path(text): Path<String>,
    Body(new): Body<Countersignature>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let number = number(&text)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    countersign(&mut tx, number, &new, &key.0.label).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(json!({ "statement": number, "party": new.party }))))
}

async fn exported(
    State(state): State<AppState>,
    key: Key,
    Path(text): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    key.permits(READ)?;
    let number = number(&text)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let export = export(&mut tx, number).await?;
    let name = format!("attachment; filename=\"statement-{number}.json\"");
    Ok(([(header::CONTENT_DISPOSITION, name)], Json(json!(export))))
}

async fn receipt(
    State(state): State<AppState>,
    key: Key,
    Path(text): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    Ok(Json(json!(tx.statement(number(&text)?).await?.receipt)))
}

async fn paper(
    State(state): State<AppState>,
    key: Key,
    Path(text): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    key.permits(READ)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let number = number(&text)?;
    let kept = tx.statement(number).await?;
    Ok(pdf::response(&kept, &tx.countersignatures(number).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DisputeBody {
    reason: String,
    #[serde(default)]
    observations: Vec<String>,
}

async fn disputed(
    State(state): State<AppState>,
    key: Key,
    Path(text): Path<String>,
    Body(body): Body<DisputeBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    checked_reason(&body.reason)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let (number, now) = (number(&text)?, Timestamp::now());
    let id = dispute(&mut tx, number, &body.reason, &body.observations, now, &key.0.label).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(json!({ "dispute": id, "statement": number }))))
}

fn dispute_view(one: &Dispute) -> Value {
    json!({
        "id": one.id, "statement": one.statement, "state": one.state, "reason": one.reason,
        "observations": one.observations, "answer": one.answer, "credit_note": one.credit_note,
        "by": one.by, "at": one.at.to_string(), "decided_by": one.decided_by,
    })
}

async fn disputes(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let all = state.store.begin(key.0.tenant_id).await?.disputes().await?;
    Ok(Json(json!({ "disputes": all.iter().map(dispute_view).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    /// Corrected observations, in full; none rejects the dispute.
    #[serde(default)]
    corrected: Vec<Observation>,
    answer: String,
}

async fn decided(
    State(state): State<AppState>,
    key: Key,
    Path(text): Path<String>,
    Body(body): Body<Decision>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    checked_reason(&body.answer)?;
    let id: Uuid = text.parse().map_err(|_| Problem::not_found("dispute"))?;
    let by = key.0.label.as_str();
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let credit_note = if body.corrected.is_empty() {
        reject(&mut tx, id, &body.answer, by).await?;
        None
    } else {
        let kpis = kpis_of(&state, &mut tx).await?;
        let act = Act::now(by, &state.vault);
        Some(settle(&mut tx, &kpis, id, &body.corrected, &body.answer, act).await?)
    };
    tx.commit().await?;
    Ok(Json(json!({ "dispute": id, "credit_note": credit_note })))
}

async fn events(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits(READ)?;
    let all = state.store.begin(key.0.tenant_id).await?.outcome_events(500).await?;
    let event = |e: &crate::store::OutcomeEvent| json!({"seq": e.seq, "type": e.kind, "payload": e.payload, "by": e.by, "at": e.at.to_string()});
    Ok(Json(json!({ "events": all.iter().map(event).collect::<Vec<_>>() })))
}
