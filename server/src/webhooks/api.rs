//! Endpoints of outbound webhooks and the log of their deliveries, over HTTP.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::sign::SigningSecret;
use super::{SCOPE, checked, keys};
use crate::auth::Key;
use crate::egress::Egress;
use crate::error::Problem;
use crate::input::{Body, Params};
use crate::state::AppState;
use crate::store::{
    Delivery, EVENT_TYPES, Endpoint, EndpointSettings, LoggedAttempt, Replay, TenantTx, event_name,
};

/// Hours that the secret before signs on after a rotation.
pub const GRACE_HOURS: i32 = 24;

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/webhooks/event-types", get(event_types))
        .route("/v1/webhooks/endpoints", get(list).post(create))
        .route("/v1/webhooks/endpoints/{endpoint}", get(read).patch(change).delete(delete))
        .route("/v1/webhooks/endpoints/{endpoint}/rotate", post(rotate))
        .route("/v1/webhooks/endpoints/{endpoint}/test", post(test))
        .route("/v1/webhooks/endpoints/{endpoint}/replay", post(replay))
        .route("/v1/webhooks/endpoints/{endpoint}/deliveries", get(deliveries))
        .route("/v1/webhooks/endpoints/{endpoint}/deliveries/{event}", get(delivery))
}

/// Reads an identifier; another form is not found rather than malformed.
pub(super) fn id(text: &str, what: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

fn event_id(text: &str) -> Result<Uuid, Problem> {
    id(text.strip_prefix("evt_").unwrap_or(text), "delivery")
}

fn view(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id, "url": endpoint.url, "description": endpoint.description,
        "events": endpoint.events, "ordered": endpoint.ordered, "enabled": endpoint.enabled,
        "disabled_because": endpoint.disabled_because,
        "failing_since": endpoint.failing_since.map(|at| at.to_string()),
        "created_by": endpoint.created_by, "created_at": endpoint.created_at.to_string(),
    })
}

fn etag(endpoint: &Endpoint) -> String {
    format!("\"{}\"", endpoint.version)
}

fn delivery_view(one: &Delivery) -> Value {
    json!({
        "id": event_name(one.event), "type": one.kind, "subject": one.subject, "state": one.state,
        "attempts": one.attempts, "last_status": one.last_status, "last_error": one.last_error,
        "created_at": one.created_at.to_string(),
        "finished_at": one.finished_at.map(|at| at.to_string()),
        "next_at": one.next_at.map(|at| at.to_string()),
    })
}

fn attempt_view(one: &LoggedAttempt) -> Value {
    json!({
        "at": one.at.to_string(), "ms": one.ms, "status": one.status, "error": one.error,
        "request": one.request, "response_headers": one.response_headers,
        "response_body": one.response_body,
    })
}

async fn event_types(_: Key) -> Json<Value> {
    let types = EVENT_TYPES.iter();
    let types: Vec<Value> =
        types.map(|(name, what)| json!({"type": name, "description": what})).collect();
    Json(json!({ "event_types": types }))
}

async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let endpoints = state.store.begin(key.0.tenant_id).await?.endpoints().await?;
    let endpoints: Vec<Value> = endpoints.iter().map(view).collect();
    Ok(Json(json!({ "endpoints": endpoints })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEndpoint {
    url: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    ordered: bool,
    #[serde(default)]
    scheme: Scheme,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
enum Scheme {
    #[default]
    #[serde(rename = "v1")]
    Hmac,
    #[serde(rename = "v1a")]
    Ed25519,
}

async fn create(
    State(state): State<AppState>,
    key: Key,
    Body(new): Body<NewEndpoint>,
) -> Result<impl IntoResponse, Problem> {
    key.permits(SCOPE)?;
    let NewEndpoint { url, description, events, ordered, scheme } = new;
    let settings = EndpointSettings { url, description, events, ordered };
    let rules = Egress::rules(&state.store, key.0.tenant_id).await?;
    checked(&settings, &rules)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let endpoint = tx.add_endpoint(&settings, &key.0.label).await?;
    let secret = SigningSecret::new(scheme == Scheme::Ed25519);
    let shown = keys::install(&mut tx, &state.vault, endpoint.id, &secret, GRACE_HOURS).await?;
    tx.commit().await?;
    let mut body = view(&endpoint);
    body["secret"] = json!(shown);
    let location = format!("/v1/webhooks/endpoints/{}", endpoint.id);
    let headers = [(header::LOCATION, location), (header::ETAG, etag(&endpoint))];
    Ok((StatusCode::CREATED, headers, Json(body)))
}

async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(endpoint): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let endpoint = tx.endpoint(id(&endpoint, "webhook endpoint")?).await?;
    shown(&mut tx, &endpoint).await
}

/// Answers an endpoint with its ETag and the keys that verify, where they may be known.
async fn shown(
    tx: &mut TenantTx,
    endpoint: &Endpoint,
) -> Result<impl IntoResponse + use<>, Problem> {
    let secrets = tx.endpoint_secrets(endpoint.id, 0.0).await?;
    let secrets: Vec<Value> = secrets
        .iter()
        .map(|secret| {
            json!({"scheme": secret.scheme, "public_key": secret.public_key,
                   "expires_at": secret.expires_at.map(|at| at.to_string())})
        })
        .collect();
    let mut body = view(endpoint);
    body["secrets"] = json!(secrets);
    Ok(([(header::ETAG, etag(endpoint))], Json(body)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    url: Option<String>,
    description: Option<String>,
    events: Option<Vec<String>>,
    ordered: Option<bool>,
    enabled: Option<bool>,
}

async fn change(
    State(state): State<AppState>,
    key: Key,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    Body(change): Body<Change>,
) -> Result<impl IntoResponse, Problem> {
    key.permits(SCOPE)?;
    let endpoint = id(&endpoint, "webhook endpoint")?;
    let rules = Egress::rules(&state.store, key.0.tenant_id).await?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let before = tx.endpoint(endpoint).await?;
    if headers.get(header::IF_MATCH).is_some_and(|tag| tag != "*" && tag != etag(&before).as_str())
    {
        return Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "changed_since",
            "Somebody changed it since",
            "nothing was changed; read it again and send your change with its new `ETag`",
        ));
    }
    let enabled = change.enabled;
    let settings = EndpointSettings {
        url: change.url.unwrap_or(before.url),
        description: change.description.unwrap_or(before.description),
        events: change.events.unwrap_or(before.events),
        ordered: change.ordered.unwrap_or(before.ordered),
    };
    checked(&settings, &rules)?;
    tx.change_endpoint(endpoint, &settings).await?;
    match enabled {
        Some(true) => drop(tx.enable_endpoint(endpoint).await?),
        Some(false) => drop(tx.disable_endpoint(endpoint, "paused").await?),
        None => {}
    }
    let after = tx.endpoint(endpoint).await?;
    let answer = shown(&mut tx, &after).await?;
    tx.commit().await?;
    Ok(answer)
}

async fn delete(
    State(state): State<AppState>,
    key: Key,
    Path(endpoint): Path<String>,
) -> Result<StatusCode, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.delete_endpoint(id(&endpoint, "webhook endpoint")?).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    grace_hours: Option<i32>,
    /// A secret of the caller's own, `whsec_…` or `whsk_…`; a new one is drawn when absent.
    secret: Option<String>,
}

async fn rotate(
    State(state): State<AppState>,
    key: Key,
    Path(endpoint): Path<String>,
    Body(rotation): Body<Rotation>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let hours = rotation.grace_hours.unwrap_or(GRACE_HOURS);
    if !(0..=24 * 7).contains(&hours) {
        let detail = "`grace_hours` is from 0 to 168";
        return Err(Problem::invalid("invalid_grace", detail));
    }
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let endpoint = tx.endpoint(id(&endpoint, "webhook endpoint")?).await?;
    let secret = match rotation.secret {
        Some(text) => SigningSecret::read(&text).ok_or_else(|| {
            let detail = "write `whsec_` and 24 to 64 bytes in base64, or `whsk_` and 32";
            Problem::invalid("invalid_secret", detail)
        })?,
        None => {
            let now = tx.endpoint_secrets(endpoint.id, 0.0).await?;
            SigningSecret::new(now.first().is_some_and(|secret| secret.scheme == "v1a"))
        }
    };
    let shown = keys::install(&mut tx, &state.vault, endpoint.id, &secret, hours).await?;
    tx.commit().await?;
    Ok(Json(json!({ "id": endpoint.id, "secret": shown, "grace_hours": hours })))
}

async fn test(
    State(state): State<AppState>,
    key: Key,
    Path(endpoint): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let endpoint = id(&endpoint, "webhook endpoint")?;
    let event = test_event(&mut tx, endpoint, &key.0.label).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "event": event_name(event) }))))
}

/// Writes an event that tests one endpoint.
///
/// # Errors
/// `not_found`.
pub async fn test_event(tx: &mut TenantTx, endpoint: Uuid, by: &str) -> Result<Uuid, Problem> {
    let data = json!({ "id": endpoint, "object": "webhook_endpoint", "by": by });
    Ok(tx.publish_to(endpoint, "webhook.test", &data).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    event: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    #[serde(default)]
    failed_only: bool,
}

async fn replay(
    State(state): State<AppState>,
    key: Key,
    Path(endpoint): Path<String>,
    Body(body): Body<ReplayBody>,
) -> Result<impl IntoResponse, Problem> {
    key.permits(SCOPE)?;
    let replay = match (body.event, body.from) {
        (Some(event), None) => Replay::Event(event_id(&event)?),
        (None, Some(from)) => {
            let to = body.to.unwrap_or_else(Timestamp::now);
            Replay::Span { from, to, failed_only: body.failed_only }
        }
        _ => {
            let detail = "send either `event`, or `from` with `to` and `failed_only` as you need";
            return Err(Problem::invalid("invalid_replay", detail));
        }
    };
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let count = tx.replay(id(&endpoint, "webhook endpoint")?, replay).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "queued": count }))))
}

#[derive(Deserialize)]
struct Cursor {
    after: Option<String>,
    limit: Option<u16>,
    state: Option<String>,
}

async fn deliveries(
    State(state): State<AppState>,
    key: Key,
    Path(endpoint): Path<String>,
    Params(cursor): Params<Cursor>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let limit = usize::from(cursor.limit.unwrap_or(50).clamp(1, 200));
    let after = cursor.after.as_deref().map(event_id).transpose()?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let endpoint = tx.endpoint(id(&endpoint, "webhook endpoint")?).await?.id;
    let wanted = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut found = tx.deliveries(endpoint, cursor.state.as_deref(), after, wanted).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(|one| event_name(one.event)) } else { None };
    let list: Vec<Value> = found.iter().map(delivery_view).collect();
    Ok(Json(json!({ "deliveries": list, "next": next })))
}

async fn delivery(
    State(state): State<AppState>,
    key: Key,
    Path((endpoint, event)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let endpoint = id(&endpoint, "webhook endpoint")?;
    let (one, body, attempts) = tx.delivery(endpoint, event_id(&event)?).await?;
    let mut view = delivery_view(&one);
    view["body"] = json!(body);
    view["log"] = attempts.iter().map(attempt_view).collect();
    Ok(Json(view))
}
