//! Members, keys and sessions over HTTP. Reading needs the scope `access:read`, changing `access:write`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::change::{self, By, MemberChange, role_of};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::Body;
use crate::state::AppState;
use crate::store::{ApiKey, Member, NewKey, NewMember, OpenSession, TenantTx};

const READ: &str = "access:read";
const WRITE: &str = "access:write";

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/members", get(members).post(add_member))
        .route("/v1/members/{member}", get(member).patch(change_member))
        .route("/v1/members/{member}/invite", post(invite))
        .route("/v1/members/{member}/sessions", delete(end_sessions))
        .route("/v1/keys", get(keys).post(add_key))
        .route("/v1/keys/{key}", get(key).delete(revoke))
        .route("/v1/keys/{key}/rotate", post(rotate))
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/{session}", delete(end_session))
}

fn id(text: &str, what: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

async fn begin(state: &AppState, key: &Key, scope: &str) -> Result<TenantTx, Problem> {
    key.permits(scope)?;
    Ok(state.store.begin(key.0.tenant_id).await?)
}

fn by(key: &Key) -> By<'_> {
    By { subject: &key.0.label, scopes: &key.0.scopes }
}

fn member_view(member: &Member) -> Value {
    json!({
        "id": member.id, "kind": if member.service { "service" } else { "person" },
        "login": member.login, "name": member.name, "organisation": member.organisation,
        "role": member.role, "scopes": member.role.scopes(), "state": member.standing.name(),
        "created_by": member.created_by, "created_at": member.created_at.to_string(),
    })
}

fn key_view(key: &ApiKey) -> Value {
    let text = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": key.id, "label": key.label, "prefix": key.prefix, "scopes": key.scopes,
        "member": key.member, "state": key.state(), "successor": key.successor,
        "created_by": key.created_by, "created_at": key.created_at.to_string(),
        "expires_at": text(key.expires_at), "revoked_at": text(key.revoked_at),
        "last_used_at": text(key.last_used_at),
    })
}

fn session_view(session: &OpenSession) -> Value {
    json!({
        "id": session.id, "subject": session.subject, "member": session.member,
        "address": session.place.address, "agent": session.place.agent,
        "created_at": session.created_at.to_string(), "seen_at": session.seen_at.to_string(),
        "expires_at": session.expires_at.to_string(),
    })
}

async fn members(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    let members = begin(&state, &key, READ).await?.members().await?;
    Ok(Json(json!({ "members": members.iter().map(member_view).collect::<Vec<_>>() })))
}

async fn member(
    State(state): State<AppState>,
    key: Key,
    Path(member): Path<String>,
) -> Result<Json<Value>, Problem> {
    let mut tx = begin(&state, &key, READ).await?;
    Ok(Json(member_view(&tx.member(id(&member, "member")?).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberBody {
    login: String,
    role: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    name: String,
    #[serde(default)]
    organisation: String,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Person,
    Service,
}

/// Returns the address at which an invitation is used.
pub(crate) fn join_url(state: &AppState, secret: &str) -> String {
    format!("{}/join?token={secret}", state.access.origin.public().unwrap_or_default())
}

async fn add_member(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<MemberBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let mut tx = begin(&state, &key, WRITE).await?;
    let new = NewMember {
        service: body.kind == Kind::Service,
        login: body.login,
        name: body.name,
        organisation: body.organisation,
        role: role_of(&body.role)?,
        by: key.0.label.clone(),
    };
    let (made, invite) = change::add_member(&mut tx, &by(&key), new).await?;
    let mut view = member_view(&tx.member(made).await?);
    tx.commit().await?;
    if let Some(invite) = invite {
        view["invite"] = json!(join_url(&state, &invite.text));
    }
    Ok((StatusCode::CREATED, Json(view)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    role: Option<String>,
    disabled: Option<bool>,
}

async fn change_member(
    State(state): State<AppState>,
    key: Key,
    Path(member): Path<String>,
    Body(body): Body<ChangeBody>,
) -> Result<Json<Value>, Problem> {
    let mut tx = begin(&state, &key, WRITE).await?;
    let role = body.role.as_deref().map(role_of).transpose()?;
    let change = MemberChange { role, disabled: body.disabled };
    let changed =
        change::change_member(&mut tx, &by(&key), id(&member, "member")?, &change).await?;
    tx.commit().await?;
    Ok(Json(member_view(&changed)))
}

async fn invite(
    State(state): State<AppState>,
    key: Key,
    Path(member): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let mut tx = begin(&state, &key, WRITE).await?;
    let secret = change::invite(&mut tx, &by(&key), id(&member, "member")?).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(json!({ "invite": join_url(&state, &secret.text) }))))
}

async fn end_sessions(
    State(state): State<AppState>,
    key: Key,
    Path(member): Path<String>,
) -> Result<Json<Value>, Problem> {
    let mut tx = begin(&state, &key, WRITE).await?;
    let member = tx.member(id(&member, "member")?).await?;
    let ended = tx.end_sessions_of(member.id).await?;
    tx.commit().await?;
    Ok(Json(json!({ "ended": ended })))
}

async fn keys(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    let keys = begin(&state, &key, READ).await?.keys().await?;
    Ok(Json(json!({ "keys": keys.iter().map(key_view).collect::<Vec<_>>() })))
}

async fn key(
    State(state): State<AppState>,
    caller: Key,
    Path(key): Path<String>,
) -> Result<Json<Value>, Problem> {
    let mut tx = begin(&state, &caller, READ).await?;
    Ok(Json(key_view(&tx.key(id(&key, "key")?).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    label: String,
    #[serde(default)]
    scopes: Vec<String>,
    days: Option<u16>,
    member: Option<Uuid>,
}

fn with_secret(key: &ApiKey, secret: &str) -> (StatusCode, Json<Value>) {
    let mut view = key_view(key);
    view["secret"] = json!(secret);
    (StatusCode::CREATED, Json(view))
}

async fn add_key(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<KeyBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let mut tx = begin(&state, &key, WRITE).await?;
    let new = NewKey {
        label: body.label,
        scopes: body.scopes,
        days: body.days,
        member: body.member,
        by: key.0.label.clone(),
    };
    let (made, secret) = change::add_key(&mut tx, &by(&key), new).await?;
    tx.commit().await?;
    Ok(with_secret(&made, &secret.text))
}

async fn revoke(
    State(state): State<AppState>,
    caller: Key,
    Path(key): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = begin(&state, &caller, WRITE).await?;
    change::revoke_key(&mut tx, &by(&caller), id(&key, "key")?).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    grace_hours: Option<u32>,
    days: Option<u16>,
}

async fn rotate(
    State(state): State<AppState>,
    caller: Key,
    Path(key): Path<String>,
    Body(body): Body<RotateBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let mut tx = begin(&state, &caller, WRITE).await?;
    let key = id(&key, "key")?;
    let (made, secret) =
        change::rotate_key(&mut tx, &by(&caller), key, body.grace_hours, body.days).await?;
    tx.commit().await?;
    Ok(with_secret(&made, &secret.text))
}

async fn sessions(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    let sessions = begin(&state, &key, READ).await?.sessions().await?;
    Ok(Json(json!({ "sessions": sessions.iter().map(session_view).collect::<Vec<_>>() })))
}

async fn end_session(
    State(state): State<AppState>,
    key: Key,
    Path(session): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = begin(&state, &key, WRITE).await?;
    tx.end_session(id(&session, "session")?).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
