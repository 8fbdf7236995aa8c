//! Logs on standard error: JSON, one object a line, unless a person looks at a terminal. Every line of
//! a call has its request id.

use std::io::IsTerminal as _;

use axum::http::Request;
use tracing::{Span, info_span};
use tracing_subscriber::EnvFilter;

/// Starts to log. `TESSERA_LOG` filters (`info`, `server=debug,warn`), `TESSERA_LOG_FORMAT` is `json` or
/// `text`.
pub fn start() {
    let filter = std::env::var("TESSERA_LOG").ok().filter(|text| !text.is_empty());
    let filter = EnvFilter::new(filter.as_deref().unwrap_or("info,sqlx=warn"));
    let json = match std::env::var("TESSERA_LOG_FORMAT").as_deref() {
        Ok("text") => false,
        Ok("json") => true,
        _ => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as in tests, keeps the first.
    drop(if json {
        builder.json().flatten_event(true).with_span_list(false).try_init()
    } else {
        builder.try_init()
    });
}

/// Returns the span of a call: its request id, and its address without what it may hold in secret.
pub fn span<B>(request: &Request<B>) -> Span {
    let id = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    info_span!(
        "request",
        request_id = id.unwrap_or_default(),
        method = %request.method(),
        path = shown(request.uri().path()),
    )
}

/// The address of a source is known to its sender alone.
fn shown(path: &str) -> &str {
    if path.starts_with("/v1/hooks/") { "/v1/hooks/…" } else { path }
}
