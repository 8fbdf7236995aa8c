//! The settings of a joint venture over HTTP.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Key;
use crate::error::Problem;
use crate::input::Body;
use crate::models::api::SCOPE;
use crate::state::AppState;
use crate::store::Tenant;

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/v1/settings", get(read).patch(change))
}

fn view(tenant: &Tenant) -> Json<Value> {
    Json(json!({
        "currency": tenant.currency, "timezone": tenant.timezone,
        "abstain_below": tenant.abstain_below,
    }))
}

async fn read(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    Ok(view(&tx.tenant().await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// A share from 0 to 1, or null for the threshold of the planner's calibration. Must be there, so
    /// that an empty body does not reset it.
    #[serde(deserialize_with = "Option::deserialize")]
    abstain_below: Option<f64>,
}

async fn change(
    State(state): State<AppState>,
    key: Key,
    Body(change): Body<Change>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.set_abstain_below(change.abstain_below).await?;
    let tenant = tx.tenant().await?;
    tx.commit().await?;
    Ok(view(&tenant))
}
