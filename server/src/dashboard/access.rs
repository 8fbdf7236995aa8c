//! The page of access: members and their roles, keys, sessions, one's own password, and the self-test of
//! the walls between joint ventures.

use std::collections::HashMap;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::sign_in::new_password;
use super::view::{Badge, Frame, when};
use super::{Fields, Trouble, enter, enter_form, frame, show};
use crate::access::api::join_url;
use crate::access::change::{self, By, MemberChange, role_of};
use crate::access::isolation::{self, Trial};
use crate::access::{MIN_PASSWORD, Role, SCOPES};
use crate::auth::{self, Browser, Caller};
use crate::error::Problem;
use crate::http::router;
use crate::state::AppState;
use crate::store::{ApiKey, Member, NewKey, NewMember, OpenSession, Session, SignedInBy, TenantTx};

const WRITE: &str = "access:write";

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/access", get(page))
        .route("/jv/{slug}/access/members", post(add_member))
        .route("/jv/{slug}/access/members/{member}", post(change_member))
        .route("/jv/{slug}/access/keys", post(add_key))
        .route("/jv/{slug}/access/keys/{key}", post(change_key))
        .route("/jv/{slug}/access/sessions/{session}", post(end_session))
        .route("/jv/{slug}/access/password", post(password))
        .route("/jv/{slug}/access/isolation", post(self_test))
}

struct MemberLine {
    id: Uuid,
    login: String,
    about: String,
    role: Role,
    state: Badge,
    disabled: bool,
    service: bool,
}

impl MemberLine {
    fn of(member: &Member) -> Self {
        let kind = if member.service { "service account" } else { "" };
        let about = [member.name.as_str(), member.organisation.as_str(), kind];
        let about: Vec<&str> = about.into_iter().filter(|part| !part.is_empty()).collect();
        Self {
            id: member.id,
            login: member.login.clone(),
            about: about.join(" · "),
            role: member.role,
            state: badge(member.standing.name()),
            disabled: member.disabled_at.is_some(),
            service: member.service,
        }
    }
}

struct KeyLine {
    id: Uuid,
    label: String,
    prefix: String,
    holder: String,
    scopes: String,
    state: Badge,
    used: String,
    ends: String,
    usable: bool,
    whole: bool,
}

impl KeyLine {
    fn of(key: &ApiKey, members: &[Member]) -> Self {
        let holder = key.member.and_then(|id| members.iter().find(|member| member.id == id));
        let all = SCOPES.iter().all(|scope| key.scopes.iter().any(|held| held == scope));
        Self {
            id: key.id,
            label: key.label.clone(),
            prefix: key.prefix.clone(),
            holder: holder.map_or_else(String::new, |member| member.login.clone()),
            scopes: if all { "everything".to_owned() } else { key.scopes.join(", ") },
            state: badge(key.state()),
            used: key.last_used_at.as_ref().map_or_else(|| "never".to_owned(), when),
            ends: key.expires_at.as_ref().map_or_else(|| "never".to_owned(), when),
            usable: matches!(key.state(), "valid" | "replaced"),
            whole: key.state() == "valid",
        }
    }
}

struct SessionLine {
    id: Uuid,
    subject: String,
    place: String,
    seen: String,
    ends: String,
    own: bool,
}

impl SessionLine {
    fn of(open: &OpenSession, session: &Session) -> Self {
        let place = match open.place.agent.as_str() {
            "" => open.place.address.clone(),
            agent => format!("{} · {agent}", open.place.address),
        };
        Self {
            id: open.id,
            subject: open.subject.clone(),
            place,
            seen: when(&open.seen_at),
            ends: when(&open.expires_at),
            own: open.id == session.id,
        }
    }
}

fn badge(state: &'static str) -> Badge {
    let (word, class) = match state {
        "invited" => ("Invited", "wait"),
        "active" => ("Active", "good"),
        "valid" => ("Valid", "good"),
        "replaced" => ("Ends soon", "ask"),
        "disabled" => ("Disabled", "calm"),
        "revoked" => ("Revoked", "calm"),
        _ => ("Expired", "calm"),
    };
    Badge { word, class }
}

/// What the self-test of isolation found.
struct Tested {
    tries: usize,
    trials: Vec<Trial>,
    leaks: usize,
}

/// What the page shows once, or what went wrong.
#[derive(Default)]
struct Said {
    /// What was just made.
    made: String,
    /// A secret or link, shown only now.
    secret: String,
    /// What went wrong.
    fault: String,
    /// What a self-test found.
    tested: Option<Tested>,
}

/// `/jv/{slug}/access`
#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    frame: Frame,
    role: &'static str,
    reads: bool,
    writes: bool,
    signs_by_password: bool,
    least: usize,
    roles: [&'static str; 5],
    scopes: &'static [&'static str],
    members: Vec<MemberLine>,
    keys: Vec<KeyLine>,
    sessions: Vec<SessionLine>,
    said: Said,
}

async fn shown(
    state: &AppState,
    session: &Session,
    tx: &mut TenantTx,
    status: StatusCode,
    said: Said,
) -> Result<Response, Trouble> {
    let frame = frame(state, session, tx, "access").await?;
    let reads = session.permits("access:read").is_ok();
    let members = if reads { tx.members().await? } else { Vec::new() };
    let keys = if reads { tx.keys().await? } else { Vec::new() };
    let open = tx.sessions().await?;
    let open = open.iter().filter(|open| reads || is_own(open, session));
    Ok((
        status,
        show(&AccessPage {
            frame,
            role: session.actor.role.name(),
            reads,
            writes: session.permits(WRITE).is_ok(),
            signs_by_password: matches!(session.by, SignedInBy::Member(_)),
            least: MIN_PASSWORD,
            roles: Role::ALL.map(Role::name),
            scopes: SCOPES,
            members: members.iter().map(MemberLine::of).collect(),
            keys: keys.iter().map(|key| KeyLine::of(key, &members)).collect(),
            sessions: open.map(|open| SessionLine::of(open, session)).collect(),
            said,
        }),
    )
        .into_response())
}

/// Tells whether a session is of whoever looks at it.
fn is_own(open: &OpenSession, session: &Session) -> bool {
    match session.by {
        SignedInBy::Member(member) => open.member == Some(member),
        SignedInBy::Link | SignedInBy::Key(_) => open.id == session.id,
    }
}

async fn page(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    shown(&state, &session, &mut tx, StatusCode::OK, Said::default()).await
}

fn by(session: &Session) -> By<'_> {
    By { subject: &session.subject, scopes: &session.scopes }
}

/// Shows the page again with what is wrong, in a transaction in which nothing was changed.
async fn refused(
    state: &AppState,
    session: &Session,
    problem: Problem,
) -> Result<Response, Trouble> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    let mut tx = state.store.begin(session.tenant_id).await?;
    let said = Said { fault: problem.detail, ..Said::default() };
    shown(state, session, &mut tx, status, said).await
}

/// Keeps a change and shows the page with what was made.
async fn kept(
    state: &AppState,
    session: &Session,
    tx: TenantTx,
    said: Said,
) -> Result<Response, Trouble> {
    tx.commit().await?;
    let mut tx = state.store.begin(session.tenant_id).await?;
    shown(state, session, &mut tx, StatusCode::OK, said).await
}

#[derive(Deserialize)]
struct MemberForm {
    csrf: String,
    login: String,
    role: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    organisation: String,
    #[serde(default)]
    kind: String,
}

async fn add_member(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<MemberForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, WRITE).await?;
    let new = NewMember {
        service: form.kind == "service",
        login: form.login,
        name: form.name,
        organisation: form.organisation,
        role: role_of(&form.role)?,
        by: session.subject.clone(),
    };
    match change::add_member(&mut tx, &by(&session), new).await {
        Ok((_, Some(invite))) => {
            let said = Said {
                made: "Send this link to the new member. It is shown only now, works once and for three days:"
                    .to_owned(),
                secret: join_url(&state, &invite.text),
                ..Said::default()
            };
            kept(&state, &session, tx, said).await
        }
        Ok((_, None)) => {
            let made = "The service account is made; give it a key below.".to_owned();
            kept(&state, &session, tx, Said { made, ..Said::default() }).await
        }
        Err(problem) => refused(&state, &session, problem).await,
    }
}

#[derive(Deserialize)]
struct ChangeForm {
    csrf: String,
    #[serde(rename = "do")]
    what: String,
    #[serde(default)]
    role: String,
}

async fn change_member(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, member)): Path<(String, String)>,
    Fields(form): Fields<ChangeForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, WRITE).await?;
    let member = member.parse().map_err(|_| Problem::not_found("member"))?;
    let by = by(&session);
    let change = match form.what.as_str() {
        "invite" => {
            return match change::invite(&mut tx, &by, member).await {
                Ok(secret) => {
                    let said = Said {
                        made: "Send this link to the member. It is shown only now; the password set by it replaces the one before:"
                            .to_owned(),
                        secret: join_url(&state, &secret.text),
                        ..Said::default()
                    };
                    kept(&state, &session, tx, said).await
                }
                Err(problem) => refused(&state, &session, problem).await,
            };
        }
        "role" => MemberChange { role: Some(role_of(&form.role)?), disabled: None },
        "disable" => MemberChange { role: None, disabled: Some(true) },
        "enable" => MemberChange { role: None, disabled: Some(false) },
        _ => return Err(Problem::invalid("invalid_form", "there is no such change").into()),
    };
    match change::change_member(&mut tx, &by, member, &change).await {
        Ok(_) => {
            tx.commit().await?;
            Ok(Redirect::to(&format!("/jv/{slug}/access")).into_response())
        }
        Err(problem) => refused(&state, &session, problem).await,
    }
}

#[derive(Deserialize)]
struct KeyForm {
    csrf: String,
    label: String,
    #[serde(default)]
    member: String,
    #[serde(default)]
    days: String,
    /// Boxes named `scope:NAME`.
    #[serde(flatten)]
    boxes: HashMap<String, String>,
}

/// Reads a number of days; nothing is never.
fn days_of(text: &str) -> Result<Option<u16>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let days = text.trim().parse().ok().filter(|days| *days > 0);
    days.map(Some).ok_or_else(|| {
        Problem::invalid("invalid_form", "days are a whole number from 1 to 65535, or nothing")
    })
}

fn key_said(secret: String) -> Said {
    let made = "Copy the key. It is shown only now:".to_owned();
    Said { made, secret, ..Said::default() }
}

async fn add_key(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<KeyForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, WRITE).await?;
    let member = match form.member.as_str() {
        "" => None,
        id => Some(id.parse().map_err(|_| Problem::not_found("member"))?),
    };
    let new = NewKey {
        label: form.label,
        scopes: form
            .boxes
            .keys()
            .filter_map(|name| name.strip_prefix("scope:"))
            .map(str::to_owned)
            .collect(),
        days: days_of(&form.days)?,
        member,
        by: session.subject.clone(),
    };
    match change::add_key(&mut tx, &by(&session), new).await {
        Ok((_, secret)) => kept(&state, &session, tx, key_said(secret.text)).await,
        Err(problem) => refused(&state, &session, problem).await,
    }
}

#[derive(Deserialize)]
struct KeyChangeForm {
    csrf: String,
    #[serde(rename = "do")]
    what: String,
}

async fn change_key(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, key)): Path<(String, String)>,
    Fields(form): Fields<KeyChangeForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, WRITE).await?;
    let key = key.parse().map_err(|_| Problem::not_found("key"))?;
    match form.what.as_str() {
        "rotate" => match change::rotate_key(&mut tx, &by(&session), key, None, None).await {
            Ok((_, secret)) => kept(&state, &session, tx, key_said(secret.text)).await,
            Err(problem) => refused(&state, &session, problem).await,
        },
        "revoke" => {
            change::revoke_key(&mut tx, &by(&session), key).await?;
            tx.commit().await?;
            Ok(Redirect::to(&format!("/jv/{slug}/access")).into_response())
        }
        _ => Err(Problem::invalid("invalid_form", "there is no such change").into()),
    }
}

#[derive(Deserialize)]
struct EndForm {
    csrf: String,
}

async fn end_session(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(form): Fields<EndForm>,
) -> Result<Response, Trouble> {
    // Everyone may end their own.
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "runs:read").await?;
    let id = id.parse().map_err(|_| Problem::not_found("session"))?;
    let open = tx.sessions().await?;
    let own = open.iter().any(|open| open.id == id && is_own(open, &session));
    if !own {
        session.permits(WRITE)?;
    }
    tx.end_session(id).await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/jv/{slug}/access")).into_response())
}

/// One self-test at a time: both would change the rows that the other compares.
static SELF_TEST: Mutex<()> = Mutex::const_new(());

/// Runs the self-test of isolation on its own two joint ventures.
async fn self_test(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<EndForm>,
) -> Result<Response, Trouble> {
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf, WRITE).await?;
    drop(tx);
    let Ok(_one) = SELF_TEST.try_lock() else {
        let problem = Problem::new(
            StatusCode::CONFLICT,
            "conflict",
            "Conflict",
            "a self-test is running; look again in a minute",
        );
        return refused(&state, &session, problem).await;
    };
    let report = isolation::on_subjects(&state.store, &router(state.clone())).await?;
    let tested =
        Tested { tries: report.tries(), leaks: report.leaks().count(), trials: report.trials };
    let mut tx = state.store.begin(session.tenant_id).await?;
    let said = Said { tested: Some(tested), ..Said::default() };
    shown(&state, &session, &mut tx, StatusCode::OK, said).await
}

#[derive(Deserialize)]
struct PasswordForm {
    csrf: String,
    current: String,
    password: String,
    again: String,
}

/// Changes one's own password; every session of the member ends, and this browser gets a new one.
async fn password(
    State(state): State<AppState>,
    browser: Browser,
    Caller(place): Caller,
    Path(slug): Path<String>,
    Fields(form): Fields<PasswordForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "runs:read").await?;
    let SignedInBy::Member(member) = session.by else {
        return Err(Problem::invalid("invalid_form", "only a member has a password").into());
    };
    let stored = tx.password_of(member).await?;
    drop(tx);
    let hasher = &state.access.hasher;
    if !hasher.verify(&form.current, stored.as_deref()).await? {
        let problem = Problem::invalid("wrong_password", "the present password is not right");
        return refused(&state, &session, problem).await;
    }
    if let Err(problem) = new_password(&form.password, &form.again, &[&session.subject, &slug]) {
        return refused(&state, &session, problem).await;
    }
    let stored = hasher.hash(&form.password).await?;
    let mut tx = state.store.begin(session.tenant_id).await?;
    tx.set_password(member, &stored).await?;
    let secret = tx.create_session(session.by, &session.subject, &place).await?;
    tx.commit().await?;
    let others = browser.0.iter().filter(|(_, held)| held.tenant_id != session.tenant_id);
    let mut secrets: Vec<String> = others.map(|(secret, _)| secret.clone()).collect();
    secrets.push(secret.text);
    let cookie = auth::cookie(&state.access.origin, &secrets);
    let back = Redirect::to(&format!("/jv/{slug}/access"));
    Ok(([(axum::http::header::SET_COOKIE, cookie)], back).into_response())
}
