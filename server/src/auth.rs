//! Who calls: an API key, or the sessions of a browser.

use std::convert::Infallible;
use std::time::Instant;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use crate::access::limit::Told;
use crate::access::{Actor, Origin, address_of};
use crate::error::Problem;
use crate::state::AppState;
use crate::store::{FoundKey, Place, SESSION_HOURS, Session, hash_of};

/// Most sessions that one browser may hold, one a joint venture.
pub const MAX_SESSIONS: usize = 16;

/// Longest part of what a browser says of itself that is kept, characters.
const MAX_AGENT: usize = 200;

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

    /// Returns who acts with the key.
    pub fn actor(&self) -> &Actor {
        &self.0.actor
    }
}

impl Session {
    /// Checks that the role of whoever is signed in permits something.
    ///
    /// # Errors
    /// `missing_scope`.
    pub fn permits(&self, scope: &str) -> Result<(), Problem> {
        if self.scopes.iter().any(|s| s == scope) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "missing_scope",
            "Not permitted",
            format!(
                "the role `{}` lacks the scope `{scope}`; an owner of the joint venture can change it",
                self.actor.role.name()
            ),
        ))
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
        let found = found.ok_or_else(Problem::unauthorized)?;
        if let Some(standing) = state.access.limit.take(found.key_id, Instant::now()) {
            if let Some(told) = parts.extensions.get::<Told>() {
                told.tell(standing);
            }
            if !standing.wait.is_zero() {
                return Err(Problem::too_many(standing.limit));
            }
        }
        Ok(Self(found))
    }
}

/// Where a call comes from.
pub struct Caller(pub Place);

impl FromRequestParts<AppState> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self(Place {
            address: address_of(&state.access.origin, &parts.extensions, &parts.headers),
            agent: agent.unwrap_or_default().chars().take(MAX_AGENT).collect(),
        }))
    }
}

/// The sessions of a browser that are still valid, with the secret of each.
pub struct Browser(pub Vec<(String, Session)>);

/// Returns the session secrets of the cookie, which parts them by `.`.
pub fn secrets(origin: &Origin, headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(origin.cookie_name())?.strip_prefix('='))
        .flat_map(|value| value.split('.'))
        .filter(|secret| !secret.is_empty())
        .take(MAX_SESSIONS)
        .map(str::to_owned)
        .collect()
}

/// Returns the cookie that holds these session secrets; an empty list removes it.
pub fn cookie(origin: &Origin, secrets: &[String]) -> String {
    let age = if secrets.is_empty() { 0 } else { u32::from(SESSION_HOURS) * 3600 };
    let secure = if origin.is_secure() { "; Secure" } else { "" };
    format!(
        "{}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}",
        origin.cookie_name(),
        secrets.join(".")
    )
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
    for secret in secrets(&state.access.origin, &parts.headers) {
        if let Some(session) = state.store.find_session(&secret).await? {
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
