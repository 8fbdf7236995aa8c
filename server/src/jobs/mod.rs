//! The workers: they lease runs from the queue and drive each to its end, its question or its approval.
//!
//! What comes next is decided by a [`Stepper`] from the journal alone, so a worker that dies anywhere
//! is replaced by another that reads the journal and goes on. Every append happens under the lease, in
//! one transaction with the run's status: a worker that lost its lease writes nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;

use crate::host::Host;
use crate::store::{Lease, RunId, Status, Store, StoreError, Tenant, TenantTx};

/// How long a lease lasts without a heartbeat.
const LEASE: Duration = Duration::from_secs(15);
/// Wait between two looks at an empty queue; a wake-up of this process ends it early.
const POLL: Duration = Duration::from_millis(250);
/// Claims after which a run that keeps killing its workers is given up.
const MAX_ATTEMPTS: i32 = 5;

/// One event to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `type` name.
    pub kind: String,
    /// The event as JSON.
    pub payload: Value,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Append this and step again.
    Append(Entry),
    /// A person must decide first.
    Wait,
    /// The run is over.
    Done,
    /// Nothing was decided, for this reason; the run is given back and tried again.
    Retry(String),
}

/// Decides the next step of a run and makes its calls.
pub trait Stepper: Send + Sync + 'static {
    /// Returns what comes next after `journal`. When the journal ends with `call.started` the call is
    /// made here. Runs on a blocking thread.
    fn step(&self, tenant: &Tenant, journal: &[Value], host: &Host) -> Step;

    /// Hears that a plan stands in the journal. Must return at once.
    fn planned(&self, _tenant: &Tenant, _run: RunId) {}
}

/// Drives runs until `stop` turns true, then ends after the step in hand.
pub async fn work(store: Store, stepper: Arc<dyn Stepper>, mut stop: watch::Receiver<bool>) {
    let owner = Uuid::now_v7();
    let mut wakes = store.wakes();
    while !*stop.borrow() {
        match store.claim_run(owner, LEASE).await {
            Ok(Some(lease)) => {
                if let Err(error) = drive(&store, &stepper, lease).await {
                    tracing::warn!(run = %lease.run, %error, "a run was put back");
                    // When even this fails the lease runs out and another worker takes the run.
                    drop(store.retry_later(&lease, Duration::from_secs(1)).await);
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the queue cannot be read"),
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = wakes.recv() => {}
            _ = stop.changed() => {}
        }
    }
}

async fn drive(store: &Store, stepper: &Arc<dyn Stepper>, lease: Lease) -> Result<(), StoreError> {
    let beat = tokio::spawn(heartbeat(store.clone(), lease));
    let driven = steps(store, stepper, lease).await;
    beat.abort();
    driven
}

async fn heartbeat(store: Store, lease: Lease) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        if matches!(store.heartbeat(&lease, LEASE).await, Ok(false)) {
            return;
        }
    }
}

async fn steps(store: &Store, stepper: &Arc<dyn Stepper>, lease: Lease) -> Result<(), StoreError> {
    let mut tx = store.begin(lease.tenant).await?;
    let tenant = Arc::new(tx.tenant().await?);
    let mut journal: Vec<Value> =
        tx.events(lease.run, 0).await?.into_iter().map(|event| event.payload).collect();
    drop(tx);
    if lease.attempt > MAX_ATTEMPTS {
        let payload = json!({
            "type": "run.failed", "code": "abandoned",
            "message": format!("the run failed {MAX_ATTEMPTS} times without an end; see the server's log"),
        });
        return append(store, lease, &Entry { kind: "run.failed".to_owned(), payload })
            .await
            .map(drop);
    }
    loop {
        let (stepping, own) = (Arc::clone(stepper), Arc::clone(&tenant));
        let host = Host::new(store.clone(), lease.tenant, Handle::current());
        let (back, step) = tokio::task::spawn_blocking(move || {
            let step = stepping.step(&own, &journal, &host);
            (journal, step)
        })
        .await
        .map_err(|error| StoreError::Conflict(format!("a step panicked: {error}")))?;
        journal = back;
        match step {
            Step::Append(entry) => {
                let rests = append(store, lease, &entry).await?;
                if entry.kind == "plan.made" {
                    stepper.planned(&tenant, lease.run);
                }
                if rests {
                    return Ok(());
                }
                journal.push(entry.payload);
            }
            Step::Retry(why) => return Err(StoreError::Conflict(why)),
            Step::Wait | Step::Done => {
                let mut tx = store.begin(lease.tenant).await?;
                tx.hold(&lease).await?;
                tx.dequeue(lease.run).await?;
                return tx.commit().await;
            }
        }
    }
}

/// Appends under the lease; true when the worker has nothing more to do.
async fn append(store: &Store, lease: Lease, entry: &Entry) -> Result<bool, StoreError> {
    let mut tx = store.begin(lease.tenant).await?;
    tx.hold(&lease).await?;
    tx.append_event(lease.run, &entry.kind, &entry.payload).await?;
    if entry.kind == "plan.made" {
        meter(&mut tx, lease, &entry.payload).await?;
    }
    let status = status_after(&entry.kind);
    if entry.kind == "approval.requested" {
        ask(&mut tx, lease, &entry.payload).await?;
    }
    tx.set_status(lease.run, status).await?;
    let rests = status != Status::Running;
    if rests {
        tx.dequeue(lease.run).await?;
    }
    tx.commit().await?;
    Ok(rests)
}

/// Notes which planner decided and what the plan used.
async fn meter(tx: &mut TenantTx, lease: Lease, payload: &Value) -> Result<(), StoreError> {
    let plan = payload.get("plan").unwrap_or(&Value::Null);
    let count = |name: &str| plan.get(name).and_then(Value::as_i64).unwrap_or_default();
    let calls = plan.get("calls").and_then(Value::as_array).map_or(0, Vec::len);
    let ms = plan.get("ms").and_then(Value::as_f64).unwrap_or_default();
    if let Some(model) = plan.get("model").and_then(Value::as_str) {
        tx.set_model(lease.run, model).await?;
    }
    let calls = i32::try_from(calls).unwrap_or(i32::MAX);
    tx.record_usage(lease.run, calls, count("prompt_tokens"), count("decoded_tokens"), ms).await
}

async fn ask(tx: &mut TenantTx, lease: Lease, payload: &Value) -> Result<(), StoreError> {
    let text = |name: &str| payload.get(name).and_then(Value::as_str).unwrap_or_default();
    let index = payload.get("index").and_then(Value::as_i64).unwrap_or_default();
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    let arguments = payload.get("arguments").unwrap_or(&Value::Null);
    let because = match text("because") {
        "" => "act",
        because => because,
    };
    let sha256 = text("arguments_sha256");
    tx.request_approval(lease.run, index, text("tool"), arguments, sha256, because).await
}

/// Returns where a run stands after an event.
pub fn status_after(kind: &str) -> Status {
    match kind {
        "approval.requested" => Status::WaitingApproval,
        "run.asked" => Status::WaitingInput,
        "run.answered" => Status::Done,
        "run.refused" => Status::Refused,
        "run.failed" => Status::Failed,
        "run.cancelled" => Status::Cancelled,
        _ => Status::Running,
    }
}
