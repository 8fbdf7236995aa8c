//! Who calls: an API key, or the sessions of a browser.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};

use crate::error::Problem;
use crate::state::AppState;
use crate::store::{FoundKey, Session, hash_of};

/// Name of the cookie that holds a browser's sessions, parted by `.`.
pub const COOKIE: &str = "tessera";

/// Most sessions that one browser may hold, one a joint venture.
pub const MAX_SESSIONS: usize = 16;

/// What a key may be permitted; a person on the pages may do all of it.
pub const SCOPES: [&str; 5] =
    ["runs:read", "runs:write", "approvals:write", "data:write", "models:write"];

/// The key of an API call.
pub struct Key(pub FoundKey);

impl Key {
    /// Checks that the key permits something.
    ///
    /// # Errors
    /// `missing_scope`.
    pub fn permits(&self, scope: &str) -> Result<(), Problem> {
        if self.0.scopes.iter().any(|s| s == scope) {
            Ok(())
        } else {
            Err(Problem::forbidden(scope))
        }
    }
}

impl FromRequestParts<AppState> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let secret = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(Problem::unauthorized)?;
        let found = state.store.find_key(&hash_of(secret.trim())).await?;
        found.map(Self).ok_or_else(Problem::unauthorized)
    }
}

/// The sessions of a browser that are still valid, with the secret of each.
pub struct Browser(pub Vec<(String, Session)>);

/// Returns the session secrets of the cookie.
pub fn secrets(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
        .flat_map(|value| value.split('.'))
        .filter(|secret| !secret.is_empty())
        .take(MAX_SESSIONS)
        .map(str::to_owned)
        .collect()
}

/// Returns the cookie that holds these session secrets; an empty list removes it.
pub fn cookie(secrets: &[String]) -> String {
    let age = if secrets.is_empty() { 0 } else { 12 * 3600 };
    format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}", secrets.join("."))
}

/// Why a page is not shown.
pub enum Refused {
    /// Nobody is signed in.
    SignIn,
    /// The sessions cannot be read.
    Problem(Problem),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn => Redirect::to("/login").into_response(),
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

async fn browser(parts: &Parts, state: &AppState) -> Result<Option<Browser>, Problem> {
    let mut sessions = Vec::new();
    for secret in secrets(&parts.headers) {
        if let Some(session) = state.store.find_session(&hash_of(&secret)).await? {
            sessions.push((secret, session));
        }
    }
    Ok((!sessions.is_empty()).then_some(Browser(sessions)))
}

impl FromRequestParts<AppState> for Browser {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refused> {
        browser(parts, state).await.map_err(Refused::Problem)?.ok_or(Refused::SignIn)
    }
}

impl OptionalFromRequestParts<AppState> for Browser {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &AppState,
    ) -> Result<Option<Self>, Problem> {
        browser(parts, state).await
    }
}
