//! What callers send, read in one way: every fault of a body, a query or a header is a [`Problem`].

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use serde::de::DeserializeOwned;

use crate::error::Problem;
use crate::http::MAX_BODY;
use crate::ops::traces::Parent;

/// Longest request of a run, bytes of UTF-8.
pub const MAX_REQUEST: usize = agents::run::MAX_REQUEST_BYTES;

/// Longest reason of a decision, bytes of UTF-8.
const MAX_REASON: usize = 2000;

/// Longest idempotency key, characters.
const MAX_KEY: usize = 255;

/// A JSON body. A missing content type is read as JSON; another one is refused.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body has another type",
                "send JSON with `Content-Type: application/json`",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| unread(&error))?;
        if std::str::from_utf8(&bytes).is_err() {
            return Err(Problem::invalid("invalid_utf8", "the body is not valid UTF-8"));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::invalid("invalid_json", error.to_string()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    // What `curl --data` sends when nothing else is said; such a body is read as what it is.
    kind == "application/x-www-form-urlencoded"
        || kind == "application/json"
        || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Says why a body was not read to its end.
pub(crate) fn unread(error: &BytesRejection) -> Problem {
    let status = error.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!(
            "the limit is {MAX_BODY} bytes for a body and {MAX_REQUEST} for a request; upload long tables as a dataset and name it"
        );
        return Problem::new(status, "body_too_large", "The body is too large", detail);
    }
    Problem::new(status, "body_not_read", "The body could not be read", "send it again")
}

/// The parameters of a query.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(query)| Self(query))
            .map_err(|error| Problem::invalid("invalid_query", error.body_text()))
    }
}

/// Checks a request before a run is made of it.
///
/// # Errors
/// `empty_request`, `request_too_large`, `invalid_text`.
pub fn checked(request: &str) -> Result<(), Problem> {
    if request.trim().is_empty() {
        return Err(Problem::invalid(
            "empty_request",
            "the request is empty; say what you want to know or do",
        ));
    }
    if request.len() > MAX_REQUEST {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            "The request is too large",
            format!(
                "{} bytes; the limit is {MAX_REQUEST}. Upload long tables as a dataset and name it",
                request.len()
            ),
        ));
    }
    storable(request, "request")
}

/// Checks the reason of a decision.
///
/// # Errors
/// `invalid_reason`, `invalid_text`.
pub fn checked_reason(reason: &str) -> Result<(), Problem> {
    if reason.len() > MAX_REASON {
        let detail = format!("{} bytes; the limit is {MAX_REASON}", reason.len());
        return Err(Problem::invalid("invalid_reason", detail));
    }
    storable(reason, "reason")
}

/// Postgres stores every character but this one.
/// Checks that a text can be kept.
///
/// # Errors
/// `invalid_text`.
pub fn storable(text: &str, what: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        let detail = format!("the {what} contains the character U+0000; leave it out");
        return Err(Problem::invalid("invalid_text", detail));
    }
    Ok(())
}

/// Returns the caller's place in a trace of its own, where it states one that reads.
pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    Parent::of(text).map(|_| text)
}

/// Returns the idempotency key of a call. One that cannot be kept is refused: to ignore it would
/// make a second run where the caller relies on one.
///
/// # Errors
/// `invalid_idempotency_key`.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    value
        .to_str()
        .ok()
        .filter(|key| (1..=MAX_KEY).contains(&key.len()))
        .map(|key| Some(key.to_owned()))
        .ok_or_else(|| {
            let detail = format!("send 1 to {MAX_KEY} printable ASCII characters");
            Problem::invalid("invalid_idempotency_key", detail)
        })
}

/// Answers a call to an address with a method that it does not have.
pub async fn wrong_method(uri: axum::http::Uri) -> axum::response::Response {
    let detail = format!("{} does not take this method; see `Allow`", uri.path());
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "The method is not allowed",
        detail,
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn json_is_told_by_its_type() {
        for (kind, json) in [
            ("application/json; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/csv", false),
            ("multipart/form-data; boundary=x", false),
        ] {
            assert_eq!(is_json(&headers(&[("content-type", kind)])), json, "{kind}");
        }
    }
}
