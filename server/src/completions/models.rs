//! The models that a key may name.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::PLANNER;
use crate::auth::Key;
use crate::error::Problem;
use crate::packs::id_of;
use crate::state::AppState;

async fn all(state: &AppState, key: &Key) -> Result<Vec<Value>, Problem> {
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let tenant = tx.tenant().await?;
    let (version, _) = state.agents.models().live(&mut tx).await?;
    let made = tenant.created_at.as_second();
    let model = |id: &str, what: &str| {
        json!({"id": id, "object": "model", "created": made, "owned_by": tenant.slug,
               "description": what, "planner": version})
    };
    Ok(vec![
        model(id_of(&tenant.pack), "The agent of the joint venture; a message becomes a run"),
        model(PLANNER, "Chooses among the functions of the caller and fills their arguments"),
    ])
}

pub(super) async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    let data = all(&state, &key).await?;
    Ok(Json(json!({ "object": "list", "data": data })))
}

pub(super) async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(model): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = all(&state, &key).await?.into_iter().find(|one| one["id"] == model);
    found.map(Json).ok_or_else(|| Problem::not_found("model; `GET /v1/models` lists them"))
}
