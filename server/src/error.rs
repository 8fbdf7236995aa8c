//! What a caller over HTTP is told when something is refused or fails. The body also carries an
//! `error` member, so that clients made for OpenAI's API read it.
//!
//! # Source
//! RFC 9457, *Problem Details for HTTP APIs*.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::store::StoreError;

/// A problem: a stable code, what happened, and what to do.
#[derive(Debug, Clone)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code, part of the API.
    pub code: &'static str,
    /// What happened, the same for every occurrence of the code.
    pub title: &'static str,
    /// What is wrong here and what would be right.
    pub detail: String,
}

impl Problem {
    /// Builds a problem.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status: status.as_u16(), code, title, detail: detail.into() }
    }

    /// No valid credential.
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "No valid key",
            "send `Authorization: Bearer KEY` with a key that is neither revoked nor expired; `tessera key new` makes one",
        )
    }

    /// The key does not permit it.
    pub fn forbidden(scope: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "missing_scope",
            "Not permitted",
            format!("this key lacks the scope `{scope}`"),
        )
    }

    /// The key makes too many calls.
    pub fn too_many(per_minute: u32) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            "Too many calls",
            format!(
                "a key makes {per_minute} calls a minute at most; nothing was done, wait as long as `Retry-After` says"
            ),
        )
    }

    /// Nothing is there, or it is another tenant's.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "Not found",
            format!("there is no such {what}"),
        )
    }

    /// The program is at fault; the log has more under the request's identifier.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed",
            "nothing that you sent is at fault; the server's log says more under the `x-request-id` of this answer",
        )
    }

    /// The input breaks a rule.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The input cannot be used", detail)
    }
}

impl Problem {
    /// Returns the class of the error as clients of OpenAI's API know it.
    fn kind(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::not_found(what),
            StoreError::Conflict(message) => {
                Self::new(StatusCode::CONFLICT, "conflict", "Conflict", message)
            }
            busy @ StoreError::Busy { .. } => {
                Self::new(StatusCode::CONFLICT, "thread_busy", "Conflict", busy.to_string())
            }
            other => {
                tracing::error!(error = %other, "the store failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "The database did not answer",
                    "nothing was changed; try again in a moment",
                )
            }
        }
    }
}

impl Problem {
    /// Returns it as clients of OpenAI's API read an error.
    pub fn as_error(&self) -> Value {
        json!({"message": self.detail, "type": self.kind(), "code": self.code, "param": null})
    }

    /// Tells whether the same call would fail again however often it is sent.
    fn stays(&self) -> bool {
        self.status == 409 || matches!(self.code, "budget_exceeded" | "run_timeout" | "run_failed")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let error = self.as_error();
        let body = json!({
            "status": self.status, "code": self.code, "title": self.title, "detail": self.detail,
            "error": error,
        });
        let mut response = (status, kind, Json(body)).into_response();
        if self.stays() {
            // Clients made for OpenAI's API send a conflict or a failure again by themselves.
            let never = header::HeaderValue::from_static("false");
            response.headers_mut().insert("x-should-retry", never);
        }
        response
    }
}
