//! Rules, delegations and links of approvals over HTTP.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::link;
use super::{Decider, fills};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, checked_reason, storable};
use crate::state::AppState;
use crate::store::{ApprovalRule, Noted, TenantTx};

const WRITE: &str = "approvals:write";

/// Longest delegation, hours: ninety days.
const MAX_HOURS: u16 = 2160;

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/approvals/{approval}/link", post(make_link))
        .route("/v1/approval-rules", get(rules).post(add_rule))
        .route("/v1/approval-rules/{rule}", delete(remove_rule))
        .route("/v1/delegations", get(delegations).post(delegate))
        .route("/v1/delegations/{delegation}", delete(end_delegation))
}

fn id(text: &str, what: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}

/// Only an owner changes who must decide.
fn owner(key: &Key) -> Result<Decider, Problem> {
    key.permits(WRITE)?;
    let decider = Decider::of_key(key);
    if decider.role == "owner" {
        return Ok(decider);
    }
    Err(super::refused("wrong_role", "only an owner changes the rules of approvals"))
}

async fn note(tx: &mut TenantTx, kind: &str, by: &Decider, detail: Value) -> Result<(), Problem> {
    let (actor, subject) = (by.id.as_str(), by.subject.as_str());
    tx.note(&Noted { kind, run: None, actor, subject, detail }).await?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkBody {
    #[serde(default = "hour")]
    minutes: u32,
}

fn hour() -> u32 {
    60
}

async fn make_link(
    State(state): State<AppState>,
    key: Key,
    Path(approval): Path<String>,
    Body(body): Body<LinkBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(WRITE)?;
    if !(1..=link::MAX_MINUTES).contains(&body.minutes) {
        let detail = format!("minutes must be 1 to {}", link::MAX_MINUTES);
        return Err(Problem::invalid("invalid_minutes", detail));
    }
    let approval = id(&approval, "approval")?;
    let decider = Decider::of_key(&key);
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let token = link::make(&mut tx, approval, &decider, body.minutes, Timestamp::now()).await?;
    note(
        &mut tx,
        "approval.link_made",
        &decider,
        json!({ "approval": approval, "minutes": body.minutes }),
    )
    .await?;
    tx.commit().await?;
    let made = json!({ "path": format!("/decide/{token}"), "minutes": body.minutes });
    Ok((StatusCode::CREATED, Json(made)))
}

fn rule_view(rule: &ApprovalRule) -> Value {
    json!({
        "id": rule.id, "tool": rule.tool, "argument": rule.argument, "above": rule.above,
        "roles": rule.roles, "approvers": rule.needed, "set_by": rule.set_by,
    })
}

async fn rules(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let rules = state.store.begin(key.0.tenant_id).await?.approval_rules().await?;
    Ok(Json(json!({ "rules": rules.iter().map(rule_view).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleBody {
    #[serde(default)]
    tool: String,
    #[serde(default)]
    argument: String,
    #[serde(default)]
    above: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default = "one")]
    approvers: i32,
}

fn one() -> i32 {
    1
}

impl RuleBody {
    fn checked(self, by: &Decider) -> Result<ApprovalRule, Problem> {
        let invalid = |detail: String| Problem::invalid("invalid_rule", detail);
        for text in [&self.tool, &self.argument] {
            storable(text, "rule")?;
            if text.chars().count() > 128 {
                return Err(invalid("a tool or an argument has at most 128 characters".to_owned()));
            }
        }
        let above = if self.above.is_empty() { "0" } else { self.above.as_str() };
        let above: Decimal = above
            .parse()
            .map_err(|_| invalid(format!("`above` must be a decimal, not `{}`", self.above)))?;
        if !(1..=2).contains(&self.approvers) {
            return Err(invalid("`approvers` must be 1 or 2".to_owned()));
        }
        if let Some(role) = self
            .roles
            .iter()
            .find(|role| !matches!(role.as_str(), "owner" | "approver" | "operator"))
        {
            return Err(invalid(format!(
                "`{role}` does not approve; roles are owner, approver and operator"
            )));
        }
        Ok(ApprovalRule {
            id: Uuid::nil(),
            tool: self.tool,
            argument: self.argument,
            above: above.to_string(),
            roles: self.roles,
            needed: self.approvers,
            set_by: by.subject.clone(),
        })
    }
}

async fn add_rule(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<RuleBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let by = owner(&key)?;
    let mut rule = body.checked(&by)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    rule.id = tx.add_approval_rule(&rule).await?;
    note(&mut tx, "approval.rule_added", &by, rule_view(&rule)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(rule_view(&rule))))
}

async fn remove_rule(
    State(state): State<AppState>,
    key: Key,
    Path(rule): Path<String>,
) -> Result<StatusCode, Problem> {
    let by = owner(&key)?;
    let rule = id(&rule, "rule")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.remove_approval_rule(rule).await?;
    note(&mut tx, "approval.rule_removed", &by, json!({ "id": rule })).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delegations(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let all = state.store.begin(key.0.tenant_id).await?.delegations(None).await?;
    let list: Vec<Value> = all
        .iter()
        .map(|given| {
            json!({"id": given.id, "from": given.giver, "from_subject": given.giver_subject,
                   "role": given.giver_role, "to": given.taker, "reason": given.reason,
                   "ends_at": given.ends_at.to_string()})
        })
        .collect();
    Ok(Json(json!({ "delegations": list })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DelegateBody {
    to: String,
    hours: u16,
    reason: String,
}

async fn delegate(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<DelegateBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits(WRITE)?;
    checked_reason(&body.reason)?;
    storable(&body.to, "actor")?;
    let by = Decider::of_key(&key);
    let invalid = |detail: &str| Problem::invalid("invalid_delegation", detail);
    if !fills(&by.role, &[]) && by.role != "operator" {
        return Err(super::refused(
            "wrong_role",
            "your role has no right to approve that you could give",
        ));
    }
    if !(1..=MAX_HOURS).contains(&body.hours) {
        return Err(invalid("`hours` must be 1 to 2160"));
    }
    if body.to == by.id || !(body.to.starts_with("member:") || body.to.starts_with("key:")) {
        return Err(invalid("`to` must name another actor: `member:ID` or `key:ID`"));
    }
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let giver = (by.id.as_str(), by.subject.as_str(), by.role.as_str());
    let made = tx.delegate(giver, &body.to, &body.reason, body.hours).await?;
    let detail = json!({ "id": made, "to": body.to, "role": by.role, "hours": body.hours });
    note(&mut tx, "approval.delegated", &by, detail.clone()).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(detail)))
}

async fn end_delegation(
    State(state): State<AppState>,
    key: Key,
    Path(delegation): Path<String>,
) -> Result<StatusCode, Problem> {
    key.permits(WRITE)?;
    let by = Decider::of_key(&key);
    let delegation = id(&delegation, "delegation")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let own = tx.delegations(None).await?.into_iter().find(|given| given.id == delegation);
    let own = own.ok_or_else(|| Problem::not_found("delegation"))?;
    if own.giver != by.id && by.role != "owner" {
        return Err(super::refused(
            "wrong_role",
            "only who gave a right, or an owner, takes it back",
        ));
    }
    tx.end_delegation(delegation).await?;
    note(&mut tx, "approval.delegation_ended", &by, json!({ "id": delegation })).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
