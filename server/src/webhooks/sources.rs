//! Sources of inbound webhooks over HTTP: made, tried out, paused, and what came from them.

use agents::pack::Kpi;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::SCOPE;
use super::api::id;
use super::inbound::address;
use super::inbound::mapping::{Came, Mapped, Mapping};
use super::inbound::verify::Verifier;
use super::sign::SigningSecret;
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, Params};
use crate::outcomes::api::kpis_of;
use crate::outcomes::known_metric;
use crate::state::AppState;
use crate::store::{Inbound, NewSource, Source, StoreError, TenantId, TenantTx};
use crate::vault::{Place, Vault};

/// Table of the secrets, which their ciphertexts are bound to.
pub(super) const TABLE: &str = "webhook_source";

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/webhooks/sources", get(list).post(create))
        .route("/v1/webhooks/sources/{source}", get(read).patch(change).delete(delete))
        .route("/v1/webhooks/sources/{source}/try", post(try_out))
        .route("/v1/webhooks/sources/{source}/messages", get(messages))
}

/// Reads a part of a source as it is stored.
pub(super) fn stored<T: DeserializeOwned>(
    what: &'static str,
    value: &Value,
) -> Result<T, StoreError> {
    serde_json::from_value(value.clone())
        .map_err(|error| StoreError::Damaged { what, message: error.to_string() })
}

/// Opens the secret of a source.
pub(super) fn secret(vault: &Vault, tenant: TenantId, source: &Source) -> Result<String, Problem> {
    let place = Place { tenant, table: TABLE, row: source.id };
    let plain = vault.unseal(&place, &source.sealed)?;
    Ok(String::from_utf8_lossy(&plain).into_owned())
}

fn view(tenant: TenantId, source: &Source) -> Value {
    json!({
        "id": source.id, "name": source.name, "verifier": source.verifier, "mapping": source.mapping,
        "enabled": source.enabled, "path": format!("/v1/hooks/{}", address(tenant, source.id)),
        "created_by": source.created_by, "created_at": source.created_at.to_string(),
    })
}

fn message_view(one: &Inbound) -> Value {
    json!({
        "id": one.external_id, "outcome": one.outcome, "detail": one.detail, "run": one.run,
        "payload": one.payload, "repeats": one.repeats, "received_at": one.received_at.to_string(),
    })
}

/// A source to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Name for people.
    pub name: String,
    /// How its messages are verified.
    pub verifier: Verifier,
    /// The sender's secret; drawn when absent, where the sender takes one.
    pub secret: Option<String>,
    /// What is made of a message.
    pub mapping: Mapping,
}

/// Checks a mapping, its metric against the measures of the pack.
///
/// # Errors
/// `invalid_mapping`, `unknown_metric`.
fn fits(mapping: &Mapping, kpis: &[Kpi]) -> Result<(), Problem> {
    mapping.checked().map_err(|detail| Problem::invalid("invalid_mapping", detail))?;
    match &mapping.observation {
        Some(observed) => known_metric(kpis, &observed.metric),
        None => Ok(()),
    }
}

/// Makes a source; returns it with its secret.
///
/// # Errors
/// `invalid_source`, `invalid_secret`, `invalid_mapping`, `unknown_metric`, `conflict`.
pub async fn make(
    tx: &mut TenantTx,
    state: &AppState,
    wanted: Wanted,
    by: &str,
) -> Result<(Source, String), Problem> {
    let name = wanted.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 100 || name.contains('\0') {
        let detail = "a source has a name of 1 to 100 characters";
        return Err(Problem::invalid("invalid_source", detail));
    }
    let secret = wanted.secret.unwrap_or_else(|| SigningSecret::new(false).text());
    wanted
        .verifier
        .checked(&secret)
        .map_err(|detail| Problem::invalid("invalid_secret", detail))?;
    fits(&wanted.mapping, &kpis_of(state, tx).await?)?;
    // Drawn wholly at random, unlike other identifiers: it is part of an address that says who may try.
    let id = Uuid::from_bytes(rand::random());
    let place = Place { tenant: tx.tenant_id(), table: TABLE, row: id };
    let new = NewSource {
        id,
        name,
        verifier: json!(wanted.verifier),
        sealed: state.vault.seal(&place, secret.as_bytes())?,
        mapping: json!(wanted.mapping),
    };
    Ok((tx.add_source(&new, by).await?, secret))
}

async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let tenant = key.0.tenant_id;
    let sources = state.store.begin(tenant).await?.sources().await?;
    let sources: Vec<Value> = sources.iter().map(|source| view(tenant, source)).collect();
    Ok(Json(json!({ "sources": sources })))
}

async fn create(
    State(state): State<AppState>,
    key: Key,
    Body(wanted): Body<Wanted>,
) -> Result<impl IntoResponse, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let (source, secret) = make(&mut tx, &state, wanted, &key.0.label).await?;
    tx.commit().await?;
    let mut body = view(key.0.tenant_id, &source);
    body["secret"] = json!(secret);
    let location = format!("/v1/webhooks/sources/{}", source.id);
    Ok((StatusCode::CREATED, [("location", location)], Json(body)))
}

async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(source): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let source = tx.source(id(&source, "webhook source")?).await?;
    Ok(Json(view(key.0.tenant_id, &source)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    enabled: Option<bool>,
    mapping: Option<Mapping>,
}

async fn change(
    State(state): State<AppState>,
    key: Key,
    Path(source): Path<String>,
    Body(change): Body<Change>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let before = tx.source(id(&source, "webhook source")?).await?;
    if let Some(mapping) = &change.mapping {
        fits(mapping, &kpis_of(&state, &mut tx).await?)?;
    }
    let mapping = change.mapping.map_or(before.mapping, |mapping| json!(mapping));
    tx.change_source(before.id, change.enabled.unwrap_or(before.enabled), &mapping).await?;
    let after = tx.source(before.id).await?;
    tx.commit().await?;
    Ok(Json(view(key.0.tenant_id, &after)))
}

async fn delete(
    State(state): State<AppState>,
    key: Key,
    Path(source): Path<String>,
) -> Result<StatusCode, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.delete_source(id(&source, "webhook source")?).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says what a message would come to, and keeps nothing.
async fn try_out(
    State(state): State<AppState>,
    key: Key,
    Path(source): Path<String>,
    Body(payload): Body<Value>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let source = tx.source(id(&source, "webhook source")?).await?;
    let mapping: Mapping = stored("mapping", &source.mapping)?;
    let came = Came { id: "try", at: jiff::Timestamp::now() };
    Ok(Json(match mapping.of(&payload, came) {
        Mapped::Request(request) => json!({ "outcome": "started", "request": request }),
        Mapped::Observation(one) => json!({ "outcome": "observed", "observation": one }),
        Mapped::Skipped(detail) => json!({ "outcome": "skipped", "detail": detail }),
        Mapped::Unmapped(detail) => json!({ "outcome": "unmapped", "detail": detail }),
    }))
}

#[derive(Deserialize)]
struct Cursor {
    after: Option<Uuid>,
    limit: Option<u16>,
}

async fn messages(
    State(state): State<AppState>,
    key: Key,
    Path(source): Path<String>,
    Params(cursor): Params<Cursor>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let limit = usize::from(cursor.limit.unwrap_or(50).clamp(1, 200));
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let source = tx.source(id(&source, "webhook source")?).await?.id;
    let wanted = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut found = tx.inbound(source, cursor.after, wanted).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(|one| one.id) } else { None };
    let list: Vec<Value> = found.iter().map(message_view).collect();
    Ok(Json(json!({ "messages": list, "next": next })))
}
