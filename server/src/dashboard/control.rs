//! Budgets, switches, schedules and effects in doubt, on one page.

use agents::event::Outcome;
use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::view::{Frame, when};
use super::{Fields, Trouble, enter, enter_form, frame, run_id, show};
use crate::auth::Browser;
use crate::control::{
    BudgetBody, Missed, SCOPE, ScheduleBody, SwitchBody, checked_price, checked_schedule, enable,
    first_instant, settle,
};
use crate::error::Problem;
use crate::outcomes::ledger::prices_that_differ;
use crate::state::AppState;
use crate::store::{Budget, Busy, Resource, Schedule, Start, Status, Switch, TenantTx};

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/controls", get(page))
        .route("/jv/{slug}/controls/switch", post(switch))
        .route("/jv/{slug}/controls/budget", post(budget))
        .route("/jv/{slug}/controls/price", post(price))
        .route("/jv/{slug}/controls/schedule", post(schedule))
        .route("/jv/{slug}/controls/schedule/{schedule}", post(change_schedule))
        .route("/jv/{slug}/controls/outcome/{run}", post(outcome))
}

struct BudgetLine {
    id: String,
    whose: String,
    what: String,
    most: String,
    used: String,
    reserved: String,
}

/// Writes an amount in the unit that people read.
fn amount(resource: Resource, value: i64, currency: &str) -> String {
    match resource {
        Resource::Money => {
            format!("{currency} {}.{:06}", value / 1_000_000, (value % 1_000_000).abs())
        }
        Resource::Tokens => format!("{value} tokens"),
        Resource::Calls => format!("{value} calls"),
        Resource::WallMs => format!("{:.1} s", value as f64 / 1e3),
    }
}

impl BudgetLine {
    fn of(budget: &Budget, currency: &str) -> Self {
        let rule = &budget.rule;
        let shown = |value| amount(rule.resource, value, currency);
        let what = match rule.resource {
            Resource::Money => "Money",
            Resource::Tokens => "Tokens",
            Resource::Calls => "Calls",
            Resource::WallMs => "Time",
        };
        Self {
            id: budget.id.to_string(),
            whose: if rule.agent.is_empty() { "All agents".to_owned() } else { rule.agent.clone() },
            what: format!("{what} by {}", rule.period.name()),
            most: shown(rule.most),
            used: shown(budget.used),
            reserved: shown(budget.reserved),
        }
    }
}

struct ScheduleLine {
    id: String,
    name: String,
    cron: String,
    request: String,
    enabled: bool,
    next: String,
    starts: Vec<(String, String, String, String)>,
}

impl ScheduleLine {
    fn of(schedule: &Schedule, starts: &[Start]) -> Self {
        let starts = starts.iter().map(|start| {
            let run = start.run.map(|run| run.to_string()).unwrap_or_default();
            (when(&start.planned_at), start.outcome.clone(), start.said.clone(), run)
        });
        Self {
            id: schedule.id.to_string(),
            name: schedule.rule.name.clone(),
            cron: schedule.rule.cron.clone(),
            request: schedule.rule.request.clone(),
            enabled: schedule.enabled,
            next: schedule.next_at.as_ref().map_or_else(|| "Off".to_owned(), when),
            starts: starts.collect(),
        }
    }
}

/// `/jv/{slug}/controls`
#[derive(Template)]
#[template(path = "controls.html")]
struct ControlsPage {
    frame: Frame,
    timezone: String,
    currency: String,
    /// Runs that wait for what a person finds out: identifier and request.
    doubts: Vec<(String, String)>,
    switches: Vec<(String, bool, String, String)>,
    tools: Vec<(String, String)>,
    pack: String,
    budgets: Vec<BudgetLine>,
    prices: Vec<(String, i64)>,
    differ: Vec<String>,
    schedules: Vec<ScheduleLine>,
}

fn switch_line(switch: &Switch) -> (String, bool, String, String) {
    let what = match switch.name.as_str() {
        "" => "Everything".to_owned(),
        name => format!("{} {name}", switch.scope.name()),
    };
    let set = format!("{}, {}", switch.by, when(&switch.at));
    (what, switch.off, switch.why.clone(), set)
}

async fn doubts(tx: &mut TenantTx) -> Result<Vec<(String, String)>, Problem> {
    let filter = crate::store::RunFilter {
        status: Some(Status::WaitingOutcome),
        ..crate::store::RunFilter::default()
    };
    let runs = tx.find_runs(&filter, 50).await?.items;
    Ok(runs.into_iter().map(|run| (run.id.to_string(), run.request)).collect())
}

async fn page(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "controls").await?;
    let tenant = tx.tenant().await?;
    let mut schedules = Vec::new();
    for schedule in tx.schedules().await? {
        let starts = tx.starts(schedule.id, 3).await?;
        schedules.push(ScheduleLine::of(&schedule, &starts));
    }
    let tools = state.agents.get(&tenant.pack).map(|agent| {
        let tools = agent.pack().tools.iter();
        tools.map(|tool| (tool.name.clone(), tool.title.clone())).collect()
    });
    let budgets = tx.budgets().await?;
    Ok(show(&ControlsPage {
        frame,
        doubts: doubts(&mut tx).await?,
        switches: tx.switches().await?.iter().map(switch_line).collect(),
        tools: tools.unwrap_or_default(),
        pack: tenant.pack,
        budgets: budgets.iter().map(|b| BudgetLine::of(b, &tenant.currency)).collect(),
        prices: tx.prices().await?.into_iter().map(|p| (p.item, p.micros)).collect(),
        differ: prices_that_differ(&mut tx).await?,
        schedules,
        timezone: tenant.timezone,
        currency: tenant.currency,
    }))
}

fn back(slug: &str) -> Response {
    Redirect::to(&format!("/jv/{slug}/controls")).into_response()
}

#[derive(Deserialize)]
struct SwitchForm {
    csrf: String,
    /// `jv`, `pack NAME` or `tool NAME`.
    what: String,
    off: bool,
    why: String,
}

async fn switch(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<SwitchForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let (scope, name) = form.what.split_once(' ').unwrap_or((form.what.as_str(), ""));
    let body =
        SwitchBody { scope: scope.to_owned(), name: name.to_owned(), off: form.off, why: form.why };
    let scope = body.scope()?;
    tx.set_switch(scope, &body.name, body.off, &body.why, &session.subject).await?;
    tx.commit().await?;
    Ok(back(&slug))
}

#[derive(Deserialize)]
struct BudgetForm {
    csrf: String,
    #[serde(default)]
    remove: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    period: String,
    #[serde(default)]
    limit: i64,
}

async fn budget(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<BudgetForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    if form.remove.is_empty() {
        let BudgetForm { resource, period, limit, .. } = form;
        let new = BudgetBody { agent: String::new(), resource, period, limit }.read()?;
        tx.set_budget(&new, &session.subject).await?;
    } else {
        let id = form.remove.parse().map_err(|_| Problem::not_found("budget"))?;
        tx.remove_budget(id, &session.subject).await?;
    }
    tx.commit().await?;
    Ok(back(&slug))
}

#[derive(Deserialize)]
struct PriceForm {
    csrf: String,
    item: String,
    #[serde(default)]
    micros: String,
}

async fn price(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<PriceForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let micros = match form.micros.trim() {
        "" => None,
        // What is no number is refused as a price below 0 is.
        text => Some(text.parse().unwrap_or(-1)),
    };
    checked_price(&form.item, micros)?;
    tx.set_price(&form.item, micros, &session.subject).await?;
    tx.commit().await?;
    Ok(back(&slug))
}

#[derive(Deserialize)]
struct ScheduleForm {
    csrf: String,
    name: String,
    cron: String,
    request: String,
    #[serde(default)]
    thread: String,
    #[serde(default)]
    busy: Busy,
    #[serde(default)]
    missed: Missed,
}

async fn schedule(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<ScheduleForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "runs:write").await?;
    let body = ScheduleBody {
        name: form.name,
        cron: form.cron,
        request: form.request,
        thread: Some(form.thread).filter(|thread| !thread.is_empty()),
        busy: form.busy,
        missed: form.missed,
    };
    let (new, clock) = checked_schedule(body, &tx.tenant().await?.timezone)?;
    let next = first_instant(&mut tx, &clock).await?;
    tx.add_schedule(&new, Some(next), &session.subject).await?;
    tx.commit().await?;
    Ok(back(&slug))
}

#[derive(Deserialize)]
struct ChangeForm {
    csrf: String,
    /// `on`, `off` or `remove`.
    change: String,
}

async fn change_schedule(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, schedule)): Path<(String, String)>,
    Fields(form): Fields<ChangeForm>,
) -> Result<Response, Trouble> {
    let id = schedule.parse().map_err(|_| Problem::not_found("schedule"))?;
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "runs:write").await?;
    if form.change == "remove" {
        tx.remove_schedule(id).await?;
    } else {
        enable(&mut tx, id, form.change == "on", &session.subject).await?;
    }
    tx.commit().await?;
    Ok(back(&slug))
}

#[derive(Deserialize)]
struct OutcomeForm {
    csrf: String,
    outcome: Outcome,
    #[serde(default)]
    reason: String,
}

async fn outcome(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, run)): Path<(String, String)>,
    Fields(form): Fields<OutcomeForm>,
) -> Result<Response, Trouble> {
    let run = run_id(&run)?;
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf, "approvals:write").await?;
    drop(tx);
    let (tenant, by) = (session.tenant_id, session.subject.as_str());
    settle(&state.store, tenant, run, form.outcome, by, form.reason.trim()).await?;
    Ok(Redirect::to(&format!("/jv/{slug}/runs/{run}")).into_response())
}
