//! What comes in: verified over the bytes that came, taken once, and a run or an observation is made of
//! it in the same transaction. A message is answered with success only after that is committed, so that a sender
//! whose message was not kept sends it again.

pub mod mapping;
pub mod verify;

use agents::outcome::readout::Observation;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use self::mapping::{Came, Mapped, Mapping};
use self::verify::Verifier;
use super::sources;
use crate::agent::new_run;
use crate::error::Problem;
use crate::input::checked;
use crate::ops::metrics;
use crate::outcomes::api::kpis_of;
use crate::outcomes::observe;
use crate::state::AppState;
use crate::store::{NewInbound, RunId, Source, TenantId, TenantTx};

/// Longest message, bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Returns the route that senders call.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/hooks/{address}", post(receive))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
}

/// Returns the last part of a source's address: tenant and source, so that the tenant is known before
/// anything is read.
pub fn address(tenant: TenantId, source: Uuid) -> String {
    URL_SAFE_NO_PAD.encode([tenant.as_bytes().as_slice(), source.as_bytes()].concat())
}

fn parties(address: &str) -> Option<(TenantId, Uuid)> {
    let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(address).ok()?.try_into().ok()?;
    let (tenant, source) = bytes.split_at(16);
    Some((Uuid::from_slice(tenant).ok()?, Uuid::from_slice(source).ok()?))
}

async fn receive(
    State(state): State<AppState>,
    Path(address): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let body = body.map_err(|error| {
        let detail = format!("a message is at most {MAX_MESSAGE} bytes");
        Problem::new(error.status(), "body_not_read", "The message could not be read", detail)
    })?;
    let unknown = || Problem::not_found("webhook source");
    let (tenant, source) = parties(&address).ok_or_else(unknown)?;
    let mut tx = state.store.begin(tenant).await?;
    let source = tx.source(source).await?;
    if !source.enabled {
        return Err(unknown());
    }
    let verifier: Verifier = sources::stored("verifier", &source.verifier)?;
    let secret = sources::secret(&state.vault, tenant, &source)?;
    let now = Timestamp::now().as_second();
    let identity = verifier.verify(&secret, &headers, &body, now).map_err(|error| {
        tracing::warn!(%tenant, source = %source.id, %error, "a message is not believed");
        metrics::count(metrics::INBOUND, &["unverified"]);
        let title = "The message is not believed";
        Problem::new(StatusCode::UNAUTHORIZED, "unverified", title, error.to_string())
    })?;
    let payload: Value = serde_json::from_slice(&body)
        .map_err(|error| Problem::invalid("invalid_json", error.to_string()))?;
    let text = String::from_utf8_lossy(&body);
    if text.contains('\0') {
        let detail = "the message contains the character U+0000; leave it out";
        return Err(Problem::invalid("invalid_text", detail));
    }
    if verifier == (Verifier::Slack {}) && payload["type"] == "url_verification" {
        return Ok((StatusCode::OK, Json(json!({ "challenge": payload["challenge"] }))));
    }
    let external_id = identity.of(&body, &payload);
    let new = NewInbound { source: source.id, external_id: &external_id, payload: &text };
    let answer = take(&state, &mut tx, &source, &new, &payload).await?;
    tx.commit().await?;
    metrics::count(metrics::INBOUND, &[answer["outcome"].as_str().unwrap_or_default()]);
    Ok((StatusCode::OK, Json(answer)))
}

/// What a message came to, why, and the run that it started.
type Done = (&'static str, String, Option<RunId>);

/// Takes a message once and makes the run or the observation of it.
async fn take(
    state: &AppState,
    tx: &mut TenantTx,
    source: &Source,
    new: &NewInbound<'_>,
    payload: &Value,
) -> Result<Value, Problem> {
    if !tx.receive(new).await? {
        return Ok(json!({ "id": new.external_id, "outcome": "repeated" }));
    }
    let mapping: Mapping = sources::stored("mapping", &source.mapping)?;
    let came = Came { id: new.external_id, at: Timestamp::now() };
    let (outcome, detail, run) = match mapping.of(payload, came) {
        Mapped::Skipped(detail) => ("skipped", detail, None),
        Mapped::Unmapped(detail) => ("unmapped", detail, None),
        Mapped::Observation(one) => note(state, tx, source, one).await?,
        Mapped::Request(request) => match checked(&request) {
            Err(problem) => ("unmapped", problem.detail, None),
            Ok(()) => {
                let pack = tx.tenant().await?.pack;
                let (run, _) = tx.create_run(&new_run(&pack, &pack, &request, None)).await?;
                ("started", String::new(), Some(run))
            }
        },
    };
    tx.conclude_inbound(new, outcome, &detail, run).await?;
    Ok(json!({ "id": new.external_id, "outcome": outcome, "detail": detail, "run": run }))
}

/// Keeps an observation. One that cannot be kept is said to the sender as taken, since sending it again
/// would change nothing, and stands in the list of what came.
async fn note(
    state: &AppState,
    tx: &mut TenantTx,
    source: &Source,
    one: Observation,
) -> Result<Done, Problem> {
    let (metric, id) = (one.metric.clone(), one.id.clone());
    let kpis = kpis_of(state, tx).await?;
    let by = format!("webhook {}", source.name);
    let received = match observe(tx, &kpis, vec![one], &by, &by).await {
        Ok(received) => received,
        Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY.as_u16() => {
            return Ok(("refused", problem.detail, None));
        }
        Err(problem) => return Err(problem),
    };
    let known = "is known with another content; what was billed is corrected by a dispute";
    Ok(match received.differing.first() {
        Some(id) => ("refused", format!("the observation {id} of {metric} {known}"), None),
        None if received.added == 0 => ("observed", format!("{metric} {id}, as before"), None),
        None => ("observed", format!("{metric} {id}"), None),
    })
}
