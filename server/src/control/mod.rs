//! What people control of runs over HTTP: budgets and prices, switches, schedules, and effects whose
//! outcome nobody knew. The pages and the command line call the same functions.

mod budget;
mod effect;
mod schedule;
mod switch;

use axum::Router;

use crate::error::Problem;
use crate::state::AppState;

pub use budget::{BudgetBody, PriceBody, budget_view, checked_price};
pub use effect::{effect_view, settle};
pub(crate) use schedule::enable;
pub use schedule::{Missed, ScheduleBody, checked_schedule, first_instant, schedule_view};
pub use switch::{SwitchBody, switch_view};

/// Longest name of an agent, tool, pack, schedule or thread, characters.
pub const MAX_NAME: usize = 128;

/// Scope of what binds every run of the joint venture.
pub const SCOPE: &str = "control:write";

/// Returns the routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .merge(budget::routes())
        .merge(switch::routes())
        .merge(schedule::routes())
        .merge(effect::routes())
}

/// Checks a name that is kept.
///
/// # Errors
/// `invalid_name`.
pub fn checked_name(name: &str, what: &str) -> Result<(), Problem> {
    let long = name.chars().count();
    if (1..=MAX_NAME).contains(&long) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let detail = format!("a {what} has 1 to {MAX_NAME} characters and no control characters");
    Err(Problem::invalid("invalid_name", detail))
}
