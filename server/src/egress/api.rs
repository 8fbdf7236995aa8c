//! Hosts that may be reached, over HTTP. Only the command line of the server's machine allows a
//! private one, because it opens the machine's network.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Pattern;
use crate::auth::Key;
use crate::error::Problem;
use crate::input::Body;
use crate::state::AppState;
use crate::store::TenantTx;

/// Scope that changes what is reached.
const SCOPE: &str = "webhooks:write";

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/egress", get(read))
        .route("/v1/egress/hosts", axum::routing::post(add))
        .route("/v1/egress/hosts/{host}", delete(remove))
}

/// Reads a host as a person writes it.
///
/// # Errors
/// `invalid_host`.
pub fn pattern(text: &str) -> Result<Pattern, Problem> {
    text.trim().parse().map_err(|detail: String| Problem::invalid("invalid_host", detail))
}

async fn view(tx: &mut TenantTx) -> Result<Json<Value>, Problem> {
    let rules: Vec<Value> = tx
        .egress_rules()
        .await?
        .iter()
        .map(|rule| json!({"host": rule.pattern, "kind": rule.kind, "by": rule.decided_by}))
        .collect();
    let refusals: Vec<Value> = tx
        .egress_refusals()
        .await?
        .iter()
        .map(|refusal| {
            json!({"purpose": refusal.purpose, "host": refusal.host, "code": refusal.code,
                   "count": refusal.count, "first_at": refusal.first_at.to_string(),
                   "last_at": refusal.last_at.to_string()})
        })
        .collect();
    Ok(Json(json!({ "hosts": rules, "refusals": refusals })))
}

async fn read(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    view(&mut state.store.begin(key.0.tenant_id).await?).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHost {
    host: String,
}

async fn add(
    State(state): State<AppState>,
    key: Key,
    Body(new): Body<NewHost>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(SCOPE)?;
    let pattern = pattern(&new.host)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.add_egress_rule("only", &pattern.to_string(), &key.0.label).await?;
    let shown = view(&mut tx).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, shown))
}

async fn remove(
    State(state): State<AppState>,
    key: Key,
    Path(host): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let pattern = pattern(&host).map_err(|_| Problem::not_found("host"))?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.remove_egress_rule("only", &pattern.to_string()).await?;
    let shown = view(&mut tx).await?;
    tx.commit().await?;
    Ok(shown)
}
