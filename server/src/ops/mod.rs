//! What operators see of the server: health, figures for Prometheus, and logs. None of it tells a
//! joint venture, a run or an address that a caller chose.

pub mod logs;
pub mod metrics;
pub mod traces;

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::egress::address::{Reach, reach};
use crate::state::AppState;

/// Headers by which a proxy says for whom it asks.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Returns the routes of health, and those of figures for callers from this machine or its network.
pub fn routes() -> Router<AppState> {
    health().route("/metrics", get(near))
}

/// Returns the routes for a listener of the operators' own, which answers anybody who reaches it.
pub fn own_routes() -> Router<AppState> {
    health().route("/metrics", get(figures))
}

fn health() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
}

async fn alive() -> impl IntoResponse {
    Json(json!({ "status": "ok" }))
}

/// Ready while the database answers and nobody has asked the server to stop.
async fn ready(State(state): State<AppState>) -> impl IntoResponse {
    let because = if *state.stopped.borrow() {
        Some("stopping")
    } else {
        state.store.ping().await.err().map(|_| "database")
    };
    match because {
        None => (StatusCode::OK, Json(json!({ "status": "ok" }))),
        Some(because) => {
            let body = json!({ "status": "unavailable", "because": because });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

/// Tells whether a call comes from this machine or its network, by itself: what a proxy hands on may
/// come from anywhere.
fn is_near(peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    peer.is_some_and(|peer| reach(peer) == Reach::Private)
        && !FORWARDED.iter().any(|name| headers.contains_key(*name))
}

async fn near(State(state): State<AppState>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    if !is_near(peer, request.headers()) {
        return crate::error::Problem::not_found("address").into_response();
    }
    figures(State(state)).await.into_response()
}

async fn figures(State(state): State<AppState>) -> impl IntoResponse {
    metrics::gather(&state.store).await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_callers_from_this_network_that_no_proxy_hands_on() {
        let peer = |text: &str| Some(text.parse().unwrap());
        let (plain, mut handed) = (HeaderMap::new(), HeaderMap::new());
        handed.insert("x-forwarded-for", "10.0.0.1".parse().unwrap());
        for (from, near) in [
            (peer("127.0.0.1"), true),
            (peer("10.1.2.3"), true),
            (peer("::ffff:192.168.1.1"), true),
            (peer("8.8.8.8"), false),
            (None, false),
        ] {
            assert_eq!(is_near(from, &plain), near, "{from:?}");
            assert!(!is_near(from, &handed));
        }
    }
}
