//! Logs on standard error: JSON, one object a line, unless a person looks at a terminal. Every line of
//! a call has its request id.

use std::io::IsTerminal as _;

use axum::http::Request;
use tracing::{Span, info_span};
use tracing_subscriber::EnvFilter;

use super::traces::Parent;
use crate::config::LogFormat;

/// Starts to log what a filter lets through (`info`, `server=debug,warn`).
pub fn start(filter: &str, format: Option<LogFormat>) {
    let filter = EnvFilter::new(filter);
    let json = match format {
        Some(format) => format == LogFormat::Json,
        None => !std::io::stderr().is_terminal(),
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
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let parent = header("traceparent").and_then(Parent::of);
    info_span!(
        "request",
        request_id = header("x-request-id").unwrap_or_default(),
        trace_id = parent.map(|parent| parent.trace),
        method = %request.method(),
        path = shown(request.uri().path()),
    )
}

/// The address of a source is known to its sender alone.
fn shown(path: &str) -> &str {
    if path.starts_with("/v1/hooks/") { "/v1/hooks/…" } else { path }
}
