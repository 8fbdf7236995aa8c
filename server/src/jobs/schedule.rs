//! The clock of schedules: makes the runs whose instant has come, once, and says which were missed.
//!
//! Every replica looks once a second. Whoever takes a due row makes its run in the same transaction
//! that sets the next instant, so a replica that dies in between changes nothing and no two start the
//! same instant. Times are the database's: a jump of a machine's clock starts nothing.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use super::Clock;
use crate::agent::new_run;
use crate::store::{Due, NewRun, Schedule, StartOutcome, Store, StoreError, TenantTx, Thread};

/// Wait between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Lateness from which an instant counts as missed, seconds.
const LATE_S: i64 = 60;

/// Schedules that one look starts.
const BATCH: u16 = 100;

/// Starts what is due until `stop` turns true.
pub async fn watch(store: Store, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(error) = look(&store).await {
            tracing::error!(%error, "the schedules cannot be looked at");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Starts what is due now.
///
/// # Errors
/// [`StoreError::Database`]; what was started before it stays.
pub async fn look(store: &Store) -> Result<(), StoreError> {
    for due in store.due_schedules(BATCH).await? {
        match start(store, due).await {
            Ok(()) => {}
            // The run was not made, and with it nothing else of the transaction.
            Err(error @ (StoreError::Busy { .. } | StoreError::Conflict(_))) => {
                refuse(store, due, &error.to_string()).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is to be done about a due row.
struct Turn {
    schedule: Schedule,
    pack: String,
    planned: Timestamp,
    late: bool,
    /// Instants after `planned` that have passed as well.
    passed: i32,
    next: Option<Timestamp>,
}

async fn turn(tx: &mut TenantTx, id: Uuid) -> Result<Option<Turn>, StoreError> {
    let Some(planned) = tx.take_due(id).await? else { return Ok(None) };
    let schedule = tx.schedule(id).await?;
    let tenant = tx.tenant().await?;
    let now = tx.now().await?;
    // A zone or pattern that is not known any more takes the schedule off the clock.
    let (passed, next) = match Clock::new(&schedule.rule.cron, &tenant.timezone) {
        Ok(clock) => clock.pass(planned, now),
        Err(_) => (0, None),
    };
    let late = now.as_second() - planned.as_second() > LATE_S;
    Ok(Some(Turn { schedule, pack: tenant.pack, planned, late, passed, next }))
}

async fn start(store: &Store, due: Due) -> Result<(), StoreError> {
    let mut tx = store.begin(due.tenant_id).await?;
    let Some(turn) = turn(&mut tx, due.schedule_id).await? else { return Ok(()) };
    let rule = &turn.schedule.rule;
    let missed = if turn.late { turn.passed + 1 } else { turn.passed };
    let said = if missed == 0 {
        String::new()
    } else {
        format!("{missed} planned times passed while no server was running")
    };
    tx.set_due(due.schedule_id, turn.next).await?;
    if turn.late && !rule.make_up {
        let outcome = StartOutcome::Missed;
        tx.note_start(due.schedule_id, turn.planned, outcome, (missed, &said), None).await?;
        return tx.commit().await;
    }
    let key = format!("schedule:{}:{}", due.schedule_id, turn.planned);
    let mut new = NewRun {
        thread: rule.thread.clone().map(|name| Thread { name, busy: rule.busy }),
        ..new_run(&turn.pack, &turn.pack, &rule.request, Some(key))
    };
    new.first["schedule"] = json!(rule.name);
    let (run, _) = tx.create_run(&new).await?;
    let outcome = StartOutcome::Started;
    tx.note_start(due.schedule_id, turn.planned, outcome, (missed, &said), Some(run)).await?;
    tx.commit().await
}

async fn refuse(store: &Store, due: Due, why: &str) -> Result<(), StoreError> {
    let mut tx = store.begin(due.tenant_id).await?;
    let Some(turn) = turn(&mut tx, due.schedule_id).await? else { return Ok(()) };
    tx.set_due(due.schedule_id, turn.next).await?;
    let outcome = StartOutcome::Refused;
    tx.note_start(due.schedule_id, turn.planned, outcome, (turn.passed, why), None).await?;
    tx.commit().await
}
