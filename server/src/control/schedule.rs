//! `/v1/schedules`: requests that are made by the clock.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::checked_name;
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{Body, checked};
use crate::jobs::Clock;
use crate::state::AppState;
use crate::store::{Busy, NewSchedule, Schedule, Start, TenantTx};

/// Instants that are shown of a schedule.
const SHOWN: u16 = 50;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/schedules", get(list).post(create))
        .route("/v1/schedules/{schedule}", get(read).patch(change).delete(remove))
}

/// A schedule as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody {
    /// Name, unique in the joint venture.
    pub name: String,
    /// When, as cron reads it, in the joint venture's time zone.
    pub cron: String,
    /// The request.
    pub request: String,
    /// Thread of its runs.
    #[serde(default)]
    pub thread: Option<String>,
    /// What happens when the thread has an open run: `queue`, `reject` or `interrupt`.
    #[serde(default)]
    pub busy: Busy,
    /// `skip` notes instants that passed unseen, `once` makes up for them by one run.
    #[serde(default)]
    pub missed: Missed,
}

/// What is done about instants that passed while no server was running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// They are noted.
    #[default]
    Skip,
    /// They are noted and one run is made.
    Once,
}

/// Checks a schedule.
///
/// # Errors
/// `invalid_schedule`, `invalid_name`, and those of a request.
pub fn checked_schedule(
    body: ScheduleBody,
    timezone: &str,
) -> Result<(NewSchedule, Clock), Problem> {
    checked_name(&body.name, "name")?;
    checked(&body.request)?;
    if let Some(thread) = &body.thread {
        checked_name(thread, "thread")?;
    }
    let clock = Clock::new(&body.cron, timezone)
        .map_err(|detail| Problem::invalid("invalid_schedule", detail))?;
    let new = NewSchedule {
        name: body.name,
        cron: body.cron,
        request: body.request,
        thread: body.thread,
        busy: body.busy,
        make_up: body.missed == Missed::Once,
    };
    Ok((new, clock))
}

/// Returns the first instant of a clock from the database's now on.
///
/// # Errors
/// `invalid_schedule` ⇐ the pattern never comes.
pub async fn first_instant(tx: &mut TenantTx, clock: &Clock) -> Result<Timestamp, Problem> {
    let now = tx.now().await?;
    clock.next(now).ok_or_else(|| {
        Problem::invalid(
            "invalid_schedule",
            "this schedule never comes; look at its days and months",
        )
    })
}

/// Returns a schedule as it is shown.
pub fn schedule_view(schedule: &Schedule, starts: &[Start]) -> Value {
    let rule = &schedule.rule;
    let starts: Vec<Value> = starts
        .iter()
        .map(|start| {
            json!({"planned_at": start.planned_at.to_string(), "outcome": start.outcome,
                   "missed": start.missed, "run": start.run, "said": start.said})
        })
        .collect();
    json!({
        "id": schedule.id, "name": rule.name, "cron": rule.cron, "request": rule.request,
        "thread": rule.thread, "busy": rule.busy, "missed": if rule.make_up { "once" } else { "skip" },
        "enabled": schedule.enabled, "next_at": schedule.next_at.map(|at| at.to_string()),
        "set_by": schedule.by, "set_at": schedule.at.to_string(), "starts": starts,
    })
}

fn id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found("schedule"))
}

async fn list(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let mut views = Vec::new();
    for schedule in tx.schedules().await? {
        let starts = tx.starts(schedule.id, 5).await?;
        views.push(schedule_view(&schedule, &starts));
    }
    Ok(Json(json!({ "schedules": views })))
}

async fn create(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<ScheduleBody>,
) -> Result<impl IntoResponse, Problem> {
    key.permits("runs:write")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let tenant = tx.tenant().await?;
    let (new, clock) = checked_schedule(body, &tenant.timezone)?;
    let next = first_instant(&mut tx, &clock).await?;
    let id = tx.add_schedule(&new, Some(next), &key.0.label).await?;
    let made = tx.schedule(id).await?;
    tx.commit().await?;
    let at = format!("/v1/schedules/{id}");
    Ok((StatusCode::CREATED, [("location", at)], Json(schedule_view(&made, &[]))))
}

async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(schedule): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let id = id(&schedule)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let schedule = tx.schedule(id).await?;
    let starts = tx.starts(id, SHOWN).await?;
    Ok(Json(schedule_view(&schedule, &starts)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    enabled: bool,
}

/// Switches a schedule on or off. Instants that pass while it is off are not missed.
async fn change(
    State(state): State<AppState>,
    key: Key,
    Path(schedule): Path<String>,
    Body(change): Body<Change>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:write")?;
    let id = id(&schedule)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let view = enable(&mut tx, id, change.enabled, &key.0.label).await?;
    tx.commit().await?;
    Ok(Json(view))
}

/// Switches a schedule on or off and returns how it is shown then.
///
/// # Errors
/// `not_found`; `invalid_schedule` ⇐ its pattern or the time zone is not known any more.
pub(crate) async fn enable(
    tx: &mut TenantTx,
    id: Uuid,
    on: bool,
    by: &str,
) -> Result<Value, Problem> {
    let schedule = tx.schedule(id).await?;
    let tenant = tx.tenant().await?;
    let next = if on {
        let clock = Clock::new(&schedule.rule.cron, &tenant.timezone)
            .map_err(|detail| Problem::invalid("invalid_schedule", detail))?;
        Some(first_instant(tx, &clock).await?)
    } else {
        None
    };
    tx.enable_schedule(id, next, by).await?;
    Ok(schedule_view(&tx.schedule(id).await?, &[]))
}

async fn remove(
    State(state): State<AppState>,
    key: Key,
    Path(schedule): Path<String>,
) -> Result<StatusCode, Problem> {
    key.permits("runs:write")?;
    let id = id(&schedule)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.remove_schedule(id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
