//! The whole of what the server serves, with the limits and headers that hold everywhere.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;

use crate::access::limit::limited;
use crate::access::secured;
use crate::error::Problem;
use crate::input::wrong_method;
use crate::state::AppState;
use crate::{
    a2a, access, api, approvals, audit, completions, control, dashboard, dataset, egress, mcp,
    models, openapi, ops, outcomes, settings, training, webhooks,
};

/// Largest body that is read, bytes. A larger one is answered with 413 and not read on.
pub const MAX_BODY: usize = 256 * 1024;

/// Longest time to the first byte of an answer: above the longest wait that a caller may ask for.
const PATIENCE: Duration = Duration::from_secs(90);

/// The same for a file on its way in, which a slow line takes long to bring.
const UPLOAD_PATIENCE: Duration = Duration::from_mins(30);

/// Builds the router.
pub fn router(state: AppState) -> Router {
    let id = HeaderName::from_static("x-request-id");
    let access = Arc::clone(&state.access);
    Router::new()
        .merge(ops::routes())
        .merge(api::routes())
        .merge(access::api::routes().method_not_allowed_fallback(wrong_method))
        .merge(completions::routes())
        .merge(mcp::routes(&state))
        .merge(a2a::routes())
        .merge(dataset::api::routes().method_not_allowed_fallback(wrong_method))
        .merge(training::routes().method_not_allowed_fallback(wrong_method))
        .merge(models::api::routes().method_not_allowed_fallback(wrong_method))
        .merge(control::routes().method_not_allowed_fallback(wrong_method))
        .merge(outcomes::api::routes().method_not_allowed_fallback(wrong_method))
        .merge(approvals::api::routes().method_not_allowed_fallback(wrong_method))
        .merge(audit::api::routes().method_not_allowed_fallback(wrong_method))
        .merge(egress::api::routes().method_not_allowed_fallback(wrong_method))
        .merge(webhooks::api::routes().method_not_allowed_fallback(wrong_method))
        .merge(webhooks::sources::routes().method_not_allowed_fallback(wrong_method))
        .merge(webhooks::inbound::routes().method_not_allowed_fallback(wrong_method))
        .merge(openapi::routes().method_not_allowed_fallback(wrong_method))
        .merge(settings::routes().method_not_allowed_fallback(wrong_method))
        .merge(dashboard::routes(Arc::clone(&access)))
        .fallback(dashboard::lost)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(from_fn(limited))
        .layer(from_fn(patient))
        .layer(from_fn(ops::metrics::measured))
        .layer(from_fn_with_state(access, secured))
        .layer(PropagateRequestIdLayer::new(id.clone()))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(ops::logs::span)
                .on_response(DefaultOnResponse::new().level(Level::INFO)),
        )
        .layer(SetRequestIdLayer::new(id, MakeRequestUuid))
        .with_state(state)
}

/// Ends what takes too long.
async fn patient(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let file = request.method() == Method::POST && path.contains("/datasets");
    let limit = if file { UPLOAD_PATIENCE } else { PATIENCE };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}
