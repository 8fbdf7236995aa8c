//! Signing in and out: one-time links, passwords, invitations and keys.
//!
//! Every sign-in makes a new session; one that the browser held for the same joint venture ends, so that a
//! secret that somebody planted in it is worth nothing.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::{Fields, Trouble, show, stale_form};
use crate::access::{MIN_PASSWORD, Refusal, checked_password, sign_in};
use crate::auth::{self, Browser, Caller, MAX_SESSIONS};
use crate::error::Problem;
use crate::state::AppState;
use crate::store::{Place, SignedInBy, StoreError, TenantId, hash_of, same};

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/login", get(login_form).post(login))
        .route("/join", get(join_form).post(join))
        .route("/logout", post(logout))
}

/// `/login`
#[derive(Template, Default)]
#[template(path = "login.html")]
struct LoginPage {
    /// Token of the one-time link, if the address carries one.
    token: String,
    /// What went wrong before.
    fault: String,
    /// Name of the joint venture, as it was typed.
    venture: String,
    /// Name of the member, as it was typed.
    login: String,
}

#[derive(Deserialize)]
struct LoginQuery {
    #[serde(default)]
    token: String,
    #[serde(default)]
    fault: String,
    #[serde(default)]
    jv: String,
}

async fn login_form(Query(query): Query<LoginQuery>) -> Response {
    let fault = match query.fault.as_str() {
        "link" => "This link was used before or has expired. `tessera login NAME` makes a new one.",
        "key" => "This key is not valid.",
        _ => "",
    };
    let fault = fault.to_owned();
    show(&LoginPage { token: query.token, fault, venture: query.jv, ..LoginPage::default() })
}

#[derive(Deserialize)]
struct LoginForm {
    #[serde(default)]
    token: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    venture: String,
    #[serde(default)]
    login: String,
    #[serde(default)]
    password: String,
}

/// Redeems one-time links (several parted by `.`), a key or a password. A link is redeemed by a form, not by
/// opening it, so that a mail scanner does not use it up.
async fn login(
    State(state): State<AppState>,
    Caller(place): Caller,
    headers: HeaderMap,
    Fields(form): Fields<LoginForm>,
) -> Result<Response, Trouble> {
    if !form.password.is_empty() {
        return by_password(&state, &headers, form, &place).await;
    }
    let mut made = Vec::new();
    for token in form.token.split('.').filter(|t| !t.is_empty()).take(MAX_SESSIONS) {
        if let Some(tenant) = state.store.redeem_login_link(&hash_of(token)).await? {
            made.push((tenant, start(&state, tenant, SignedInBy::Link, "owner", &place).await?));
        }
    }
    if !form.key.trim().is_empty()
        && let Some(key) = state.store.find_key(&hash_of(form.key.trim())).await?
    {
        let by = SignedInBy::Key(key.key_id);
        made.push((key.tenant_id, start(&state, key.tenant_id, by, &key.label, &place).await?));
    }
    if made.is_empty() {
        let fault = if form.token.is_empty() { "key" } else { "link" };
        return Ok(Redirect::to(&format!("/login?fault={fault}")).into_response());
    }
    admit(&state, &headers, made).await
}

async fn by_password(
    state: &AppState,
    headers: &HeaderMap,
    form: LoginForm,
    place: &Place,
) -> Result<Response, Trouble> {
    let refused = match sign_in(state, &form.venture, &form.login, &form.password, place).await {
        Ok(made) => return admit(state, headers, vec![made]).await,
        Err(refused) => refused,
    };
    let (status, wait, fault) = match refused {
        Refusal::Problem(problem) => return Err(Trouble(problem)),
        Refusal::Wrong => (
            StatusCode::UNAUTHORIZED,
            None,
            "The joint venture, the name or the password is not right.".to_owned(),
        ),
        Refusal::Wait(wait) => (
            StatusCode::TOO_MANY_REQUESTS,
            Some([(header::RETRY_AFTER, wait.0.to_string())]),
            format!("Too many attempts. Try again in {} seconds.", wait.0),
        ),
    };
    let (venture, login) = (form.venture, form.login);
    let page = LoginPage { fault, venture, login, ..LoginPage::default() };
    Ok((status, wait, show(&page)).into_response())
}

async fn start(
    state: &AppState,
    tenant: TenantId,
    by: SignedInBy,
    subject: &str,
    place: &Place,
) -> Result<String, Problem> {
    let mut tx = state.store.begin(tenant).await?;
    let secret = tx.create_session(by, subject, place).await?;
    tx.commit().await?;
    Ok(secret.text)
}

/// Gives the browser its new sessions beside those that it holds of other joint ventures.
async fn admit(
    state: &AppState,
    headers: &HeaderMap,
    made: Vec<(TenantId, String)>,
) -> Result<Response, Trouble> {
    let origin = &state.access.origin;
    let mut kept = Vec::new();
    for secret in auth::secrets(origin, headers) {
        let Some(session) = state.store.find_session(&secret).await? else { continue };
        if made.iter().any(|(tenant, _)| *tenant == session.tenant_id) {
            let mut tx = state.store.begin(session.tenant_id).await?;
            tx.end_session(session.id).await?;
            tx.commit().await?;
        } else {
            kept.push(secret);
        }
    }
    kept.extend(made.into_iter().map(|(_, secret)| secret));
    let from = kept.len().saturating_sub(MAX_SESSIONS);
    let cookie = auth::cookie(origin, kept.get(from..).unwrap_or_default());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// `/join`
#[derive(Template)]
#[template(path = "join.html")]
struct JoinPage {
    token: String,
    fault: String,
    venture: String,
    login: String,
    least: usize,
}

#[derive(Deserialize)]
struct JoinQuery {
    #[serde(default)]
    token: String,
}

fn used_up() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "This invitation cannot be used",
        "it was used before, has expired, or a newer one was made; an owner of the joint venture makes a new one",
    )
}

async fn join_form(
    State(state): State<AppState>,
    Query(query): Query<JoinQuery>,
) -> Result<Response, Trouble> {
    let invited = state.store.find_invite(&hash_of(&query.token)).await?;
    let invited = invited.ok_or_else(used_up)?;
    Ok(show(&JoinPage {
        token: query.token,
        fault: String::new(),
        venture: invited.tenant,
        login: invited.login,
        least: MIN_PASSWORD,
    }))
}

#[derive(Deserialize)]
struct JoinForm {
    token: String,
    password: String,
    again: String,
}

async fn join(
    State(state): State<AppState>,
    Caller(place): Caller,
    headers: HeaderMap,
    Fields(form): Fields<JoinForm>,
) -> Result<Response, Trouble> {
    let hash = hash_of(&form.token);
    let invited = state.store.find_invite(&hash).await?.ok_or_else(used_up)?;
    let names = [invited.login.as_str(), invited.slug.as_str(), invited.tenant.as_str()];
    if let Err(problem) = new_password(&form.password, &form.again, &names) {
        let page = JoinPage {
            token: form.token,
            fault: problem.detail,
            venture: invited.tenant,
            login: invited.login,
            least: MIN_PASSWORD,
        };
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, show(&page)).into_response());
    }
    let stored = state.access.hasher.hash(&form.password).await?;
    let mut tx = state.store.begin(invited.tenant_id).await?;
    let member = tx.redeem_invite(&hash, &stored).await.map_err(|error| match error {
        StoreError::NotFound(_) => used_up(),
        other => other.into(),
    })?;
    let by = SignedInBy::Member(member);
    let secret = tx.create_session(by, &invited.login, &place).await?;
    tx.commit().await?;
    admit(&state, &headers, vec![(invited.tenant_id, secret.text)]).await
}

/// Checks a new password that was typed twice.
///
/// # Errors
/// `weak_password`.
pub(super) fn new_password(password: &str, again: &str, names: &[&str]) -> Result<(), Problem> {
    if !same(password, again) {
        return Err(Problem::invalid("weak_password", "the two passwords differ; type it again"));
    }
    checked_password(password, names)
}

#[derive(Deserialize)]
struct LogoutForm {
    #[serde(default)]
    csrf: String,
}

async fn logout(
    State(state): State<AppState>,
    browser: Option<Browser>,
    Fields(form): Fields<LogoutForm>,
) -> Result<Response, Trouble> {
    let sessions = browser.map(|browser| browser.0).unwrap_or_default();
    // The page may be of any of the sessions that the browser holds.
    if !sessions.is_empty() && !sessions.iter().any(|(_, held)| same(&held.csrf, &form.csrf)) {
        return Err(Trouble(stale_form()));
    }
    for (_, session) in sessions {
        let mut tx = state.store.begin(session.tenant_id).await?;
        match tx.end_session(session.id).await {
            // Ended meanwhile, elsewhere.
            Ok(()) | Err(StoreError::NotFound(_)) => tx.commit().await?,
            Err(error) => return Err(error.into()),
        }
    }
    let gone = auth::cookie(&state.access.origin, &[]);
    Ok(([(header::SET_COOKIE, gone)], Redirect::to("/login")).into_response())
}
