//! `/v1/switches`: what must not run, effective for the next call.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{SCOPE, checked_name};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, checked_reason};
use crate::state::AppState;
use crate::store::{Switch, SwitchScope};

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/switches", get(list).put(set))
}

/// A switch as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchBody {
    /// `jv`, `pack` or `tool`.
    pub scope: String,
    /// Name of the pack or tool; absent for the joint venture.
    #[serde(default)]
    pub name: String,
    /// True stops, false lets run again.
    pub off: bool,
    /// Why; needed.
    pub why: String,
}

impl SwitchBody {
    /// Checks it and returns what it is about.
    ///
    /// # Errors
    /// `invalid_switch`, `invalid_name`, `invalid_reason`.
    pub fn scope(&self) -> Result<SwitchScope, Problem> {
        let invalid = |detail: &str| Problem::invalid("invalid_switch", detail);
        let scope = SwitchScope::of(&self.scope)
            .ok_or_else(|| invalid("`scope` is `jv`, `pack` or `tool`"))?;
        match scope {
            SwitchScope::Venture if !self.name.is_empty() => {
                return Err(invalid("the switch of the joint venture has no `name`"));
            }
            SwitchScope::Venture => {}
            SwitchScope::Pack | SwitchScope::Tool => checked_name(&self.name, &self.scope)?,
        }
        checked_reason(&self.why)?;
        if self.why.trim().is_empty() {
            return Err(invalid("say in `why` for what reason"));
        }
        Ok(scope)
    }
}

/// Returns a switch as it is shown.
pub fn switch_view(switch: &Switch) -> Value {
    json!({
        "scope": switch.scope.name(), "name": switch.name, "off": switch.off, "why": switch.why,
        "set_by": switch.by, "set_at": switch.at.to_string(),
    })
}

async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let switches = state.store.begin(key.0.tenant_id).await?.switches().await?;
    let views: Vec<Value> = switches.iter().map(switch_view).collect();
    Ok(Json(json!({ "switches": views })))
}

async fn set(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<SwitchBody>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let scope = body.scope()?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.set_switch(scope, &body.name, body.off, &body.why, &key.0.label).await?;
    let all = tx.switches().await?;
    tx.commit().await?;
    let set = all.iter().find(|switch| switch.scope == scope && switch.name == body.name);
    Ok(Json(set.map_or(Value::Null, switch_view)))
}
