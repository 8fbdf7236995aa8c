//! The connector: a service of the operator that makes the effects of `act` tools.
//!
//! Each effect is one `POST` of JSON with its key in `Idempotency-Key`. What an answer means is
//! decided here once: done, refused, surely not done, or unknown. A connector that keeps to the key
//! may be called again under the same key; any other is never called twice, and a person settles
//! what is unknown.
//!
//! # Source
//! RFC 9110, sections 9.2.2 and 15; IETF draft *The Idempotency-Key HTTP Header Field*.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::egress::{Egress, EgressError, Limits, Outgoing, Rules, target};
use crate::store::TenantId;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest answer that is read, bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What became of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It happened, under this identifier of the other system where it gave one.
    Done(Option<String>),
    /// It was refused for good.
    Refused(String),
    /// It surely did not happen; trying again may help.
    NotDone(String),
    /// It may have happened.
    Unknown(String),
}

/// One effect to be made.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Joint venture; part of the key, because keys are unique within one only.
    pub tenant: TenantId,
    /// Name of the tool.
    pub tool: &'a str,
    /// What is to be done.
    pub arguments: &'a serde_json::Value,
    /// Key of the ledger.
    pub key: &'a str,
    /// Identifier that the ledger gave.
    pub reference: &'a str,
}

/// A configured connector.
#[derive(Debug, Clone)]
pub struct Connector {
    egress: Egress,
    rules: Arc<Rules>,
    url: String,
    keyed: bool,
}

impl Connector {
    /// Prepares calls of `url`, which the operator names, so that it may be a private host. `keyed`
    /// says that it makes each key's effect once, however often it is called.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn new(url: &str, keyed: bool) -> Result<Self, String> {
        let wrong = |refusal: crate::egress::Refusal| format!("`{url}`: {refusal}");
        let rules = Rules::of_operator(url).map_err(wrong)?;
        target(url, &rules).map_err(wrong)?;
        Ok(Self { egress: Egress::default(), rules: Arc::new(rules), url: url.to_owned(), keyed })
    }

    /// Tells whether a key's effect happens once however often it is asked for.
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Makes an effect.
    pub async fn make(&self, wanted: Wanted<'_>) -> Made {
        let key = format!("{}/{}", wanted.tenant, wanted.key);
        let body = json!({
            "tool": wanted.tool, "arguments": wanted.arguments, "idempotency_key": key,
            "reference": wanted.reference,
        });
        let Ok(header) = HeaderValue::from_str(&key) else {
            return Made::NotDone("the key is no text of a header".to_owned());
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("idempotency-key", header);
        // A success counts even where its body is too long to be read.
        let limits = Limits { time: PATIENCE, body: MAX_ANSWER, cut: true, redirects: 0 };
        let (method, url, body) = (Method::POST, self.url.clone(), body.to_string().into_bytes());
        let outgoing = Outgoing { method, url, headers, body, limits };
        match self.egress.send(None, &self.rules, &outgoing).await {
            Ok(answer) => judged(answer.status, &answer.body),
            // Nothing was sent where no connection stood.
            Err(error @ EgressError::Unreachable(_)) => {
                Made::NotDone(format!("the connector cannot be reached: {error}"))
            }
            Err(error) => Made::Unknown(format!("the connector did not answer: {error}")),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    reference: Option<String>,
}

/// Says what an answer means. A success counts even where its body does not read.
pub(crate) fn judged(status: StatusCode, body: &[u8]) -> Made {
    let said = || {
        let text = String::from_utf8_lossy(body);
        format!("it answered {status}: {}", text.chars().take(200).collect::<String>())
    };
    match status.as_u16() {
        200..300 => {
            let answer = serde_json::from_slice::<Answer>(body).ok();
            Made::Done(answer.and_then(|answer| answer.reference))
        }
        // Not begun: too early, too many, or not serving.
        425 | 429 | 503 => Made::NotDone(said()),
        // 409: the same key is under way there.
        408 | 409 | 300..400 | 500.. => Made::Unknown(said()),
        _ => Made::Refused(said()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_leaves_no_doubt_counts_as_done_or_not_done() {
        for (status, body, made) in [
            (201, r#"{"reference": "R-1"}"#, Made::Done(Some("R-1".to_owned()))),
            (200, "not json", Made::Done(None)),
        ] {
            assert_eq!(judged(StatusCode::from_u16(status).unwrap(), body.as_bytes()), made);
        }
        for (status, class) in [
            (400, "refused"),
            (404, "refused"),
            (408, "unknown"),
            (409, "unknown"),
            (302, "unknown"),
            (429, "not done"),
            (500, "unknown"),
            (502, "unknown"),
            (503, "not done"),
        ] {
            let found = match judged(StatusCode::from_u16(status).unwrap(), b"") {
                Made::Done(_) => "done",
                Made::Refused(_) => "refused",
                Made::NotDone(_) => "not done",
                Made::Unknown(_) => "unknown",
            };
            assert_eq!(found, class, "{status}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_at_the_start() {
        assert!(Connector::new("ftp://x", true).is_err());
        assert!(Connector::new("nowhere", true).is_err());
        assert!(Connector::new("http://127.0.0.1:1/effects", false).is_ok());
    }
}
