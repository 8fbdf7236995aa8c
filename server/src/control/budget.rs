//! `/v1/budgets` and `/v1/prices`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{MAX_NAME, SCOPE, checked_name};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::Body;
use crate::outcomes::ledger::prices_that_differ;
use crate::state::AppState;
use crate::store::{Budget, NewBudget, Period, Resource};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/budgets", get(list).put(set))
        .route("/v1/budgets/{budget}", delete(remove))
        .route("/v1/prices", get(prices).put(price))
}

/// A budget as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetBody {
    /// Agent that it binds; all when absent.
    #[serde(default)]
    pub agent: String,
    /// `money`, `tokens`, `calls` or `wall_ms`.
    pub resource: String,
    /// `run`, `day` or `total`.
    pub period: String,
    /// Limit: micro-units of the currency, tokens, calls, milliseconds.
    pub limit: i64,
}

impl BudgetBody {
    /// Reads it.
    ///
    /// # Errors
    /// `invalid_budget`, with what would be right.
    pub fn read(self) -> Result<NewBudget, Problem> {
        let invalid = |detail: &str| Problem::invalid("invalid_budget", detail);
        let resource = Resource::of(&self.resource)
            .ok_or_else(|| invalid("`resource` is `money`, `tokens`, `calls` or `wall_ms`"))?;
        let period = Period::of(&self.period)
            .ok_or_else(|| invalid("`period` is `run`, `day` or `total`"))?;
        if self.limit < 0 {
            return Err(invalid("`limit` is 0 or more"));
        }
        if self.agent.chars().count() > MAX_NAME {
            return Err(invalid("`agent` is the name of an agent, or absent for all"));
        }
        Ok(NewBudget { agent: self.agent, resource, period, most: self.limit })
    }
}

/// Returns a budget as it is shown.
pub fn budget_view(budget: &Budget) -> Value {
    let rule = &budget.rule;
    json!({
        "id": budget.id, "agent": rule.agent, "resource": rule.resource.name(),
        "period": rule.period.name(), "limit": rule.most, "used": budget.used,
        "reserved": budget.reserved, "set_by": budget.by, "set_at": budget.at.to_string(),
    })
}

async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let budgets = state.store.begin(key.0.tenant_id).await?.budgets().await?;
    let views: Vec<Value> = budgets.iter().map(budget_view).collect();
    Ok(Json(json!({ "budgets": views })))
}

async fn set(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<BudgetBody>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    let new = body.read()?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let id = tx.set_budget(&new, &key.0.label).await?;
    let all = tx.budgets().await?;
    tx.commit().await?;
    let set = all.iter().find(|budget| budget.id == id);
    Ok(Json(set.map_or(Value::Null, budget_view)))
}

async fn remove(
    State(state): State<AppState>,
    key: Key,
    Path(budget): Path<String>,
) -> Result<StatusCode, Problem> {
    key.permits(SCOPE)?;
    let id: Uuid = budget.parse().map_err(|_| Problem::not_found("budget"))?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.remove_budget(id, &key.0.label).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A price as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceBody {
    /// `token` (of 1,000), `second`, `call`, or `call:TOOL`.
    pub item: String,
    /// Micro-units of the currency; null removes the price.
    pub micros: Option<i64>,
}

/// Checks a price.
///
/// # Errors
/// `invalid_price`, with what would be right.
pub fn checked_price(item: &str, micros: Option<i64>) -> Result<(), Problem> {
    let known = matches!(item, "token" | "second" | "call")
        || item.strip_prefix("call:").is_some_and(|tool| checked_name(tool, "tool").is_ok());
    if known && micros.is_none_or(|micros| micros >= 0) {
        return Ok(());
    }
    let detail = "`item` is `token` (of 1,000), `second`, `call` or `call:TOOL`, and `micros` is 0 or more micro-units of the currency, or null to remove the price";
    Err(Problem::invalid("invalid_price", detail))
}

async fn prices(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let prices = tx.prices().await?;
    let views: Vec<Value> =
        prices.iter().map(|p| json!({ "item": p.item, "micros": p.micros })).collect();
    let differ = prices_that_differ(&mut tx).await?;
    Ok(Json(json!({ "prices": views, "differ_from_price_table": differ })))
}

async fn price(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<PriceBody>,
) -> Result<Json<Value>, Problem> {
    key.permits(SCOPE)?;
    checked_price(&body.item, body.micros)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.set_price(&body.item, body.micros, &key.0.label).await?;
    tx.commit().await?;
    Ok(Json(json!({ "item": body.item, "micros": body.micros })))
}
