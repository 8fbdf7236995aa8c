//! The workers: they lease runs from the queue and drive each to its end, its question or its approval.
//!
//! What comes next is decided by a [`Stepper`] from the journal alone, so a worker that dies anywhere
//! is replaced by another that reads the journal and goes on. Every append happens under the lease, in
//! one transaction with the run's status, its budgets and the switches: a worker that lost its lease
//! writes nothing, and a call that may not be made is not announced.
//!
//! While a step is under way the worker watches its lease. A run that was cancelled, here or by
//! another replica, is left within a poll, and the step is told by [`Host::cancel`].

mod append;
mod cron;
mod rules;
pub mod schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agents::run::MAX_RETRIES;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use append::status_after;
pub use cron::Clock;
pub use rules::Rules;

use crate::connector::Connector;
use crate::fault;
use crate::host::Host;
use crate::store::{Lease, Run, RunId, Status, Store, StoreError, Tenant};

/// One event to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `type` name.
    pub kind: String,
    /// The event as JSON.
    pub payload: Value,
}

impl Entry {
    fn failed(code: &str, message: impl Into<String>) -> Self {
        let payload = json!({ "type": "run.failed", "code": code, "message": message.into() });
        Self { kind: "run.failed".to_owned(), payload }
    }

    fn text(&self, name: &str) -> &str {
        self.payload.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn index(&self) -> Option<i64> {
        self.payload.get("index").and_then(Value::as_i64)
    }
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

    /// Hears that a run has ended. Must return at once.
    fn ended(&self, _tenant: &Tenant, _run: RunId) {}
}

/// Who drives runs, and by which rules.
#[derive(Clone)]
pub struct Worker {
    /// The tenant store.
    pub store: Store,
    /// Decides and calls.
    pub stepper: Arc<dyn Stepper>,
    /// Limits.
    pub rules: Rules,
    /// Makes effects; without one the ledger is where they take place.
    pub connector: Option<Arc<Connector>>,
}

/// Drives runs by the usual rules until `stop` turns true, then ends after the step in hand.
pub async fn work(store: Store, stepper: Arc<dyn Stepper>, stop: watch::Receiver<bool>) {
    Worker { store, stepper, rules: Rules::default(), connector: None }.work(stop).await;
}

/// How the wait for a step ended.
enum Waited {
    /// It came to something; the journal comes back with it.
    Stepped(Vec<Value>, Step),
    /// It panicked or took too long: code and message.
    Broke(&'static str, String),
    /// The lease is gone: cancelled, or another worker has the run.
    Lost,
}

/// A run that is driven.
struct Driven {
    lease: Lease,
    tenant: Arc<Tenant>,
    run: Run,
    status: Status,
    /// Whether steps may hold reservations.
    bound: bool,
    /// When the last event was written that was there at the claim.
    still_since: Option<Timestamp>,
}

impl Worker {
    /// Drives runs until `stop` turns true, then ends after the step in hand.
    pub async fn work(self, mut stop: watch::Receiver<bool>) {
        let mut wakes = self.store.wakes();
        while !*stop.borrow() {
            match self.store.claim_run(self.rules.lease).await {
                Ok(Some(lease)) => {
                    fault::point("run.claimed");
                    self.drive(lease, &stop).await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the queue cannot be read"),
            }
            tokio::select! {
                () = tokio::time::sleep(self.rules.poll) => {}
                _ = wakes.recv() => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn drive(&self, lease: Lease, stop: &watch::Receiver<bool>) {
        let Err(error) = self.steps(lease, stop).await else { return };
        tracing::warn!(run = %lease.run, %error, "a run was put back");
        let wait = if error.is_transient() {
            self.rules.poll
        } else {
            self.rules.wait(lease.attempt.unsigned_abs())
        };
        self.put_back(&lease, wait).await;
    }

    /// Gives a run back. While the database is away this is tried as long as the lease may last;
    /// after that another worker takes the run by itself.
    async fn put_back(&self, lease: &Lease, wait: Duration) {
        let begun = Instant::now();
        while self.store.retry_later(lease, wait).await.is_err()
            && begun.elapsed() < self.rules.lease
        {
            tokio::time::sleep(self.rules.poll).await;
        }
    }

    async fn steps(&self, lease: Lease, stop: &watch::Receiver<bool>) -> Result<(), StoreError> {
        let mut tx = self.store.begin(lease.tenant).await?;
        let tenant = Arc::new(tx.tenant().await?);
        let run = tx.get_run(lease.run).await?;
        let events = tx.events(lease.run, 0).await?;
        let still_since = events.last().map(|event| event.created_at);
        let mut journal: Vec<Value> = events.into_iter().map(|event| event.payload).collect();
        // A reservation is gone with its budget, so where there is none nothing is to be settled.
        let (bound, switched) = tx.controlled().await?;
        drop(tx);
        let mut driven = Driven { lease, tenant, status: run.status, run, bound, still_since };
        let controlled = bound || switched;
        if let Some(entry) = self.barred(&driven, &journal, controlled).await? {
            return self.append(&mut driven, entry).await.map(drop);
        }
        let until = Instant::now() + self.rules.run;
        loop {
            if let Some(entry) = self.spent(&journal, until) {
                return self.append(&mut driven, entry).await.map(drop);
            }
            if *stop.borrow() {
                self.put_back(&lease, Duration::ZERO).await;
                return Ok(());
            }
            if journal.len() == 1 {
                fault::point("plan.making");
            }
            let before = Situation::of(&journal);
            let step = match self.step(&driven, journal).await {
                Waited::Lost => return Ok(()),
                Waited::Broke(code, message) => {
                    let entry = before.after_break(code, &message);
                    return self.append(&mut driven, entry).await.map(drop);
                }
                Waited::Stepped(back, step) => {
                    journal = back;
                    step
                }
            };
            match step {
                Step::Append(entry) => match self.append(&mut driven, entry).await? {
                    None => return Ok(()),
                    Some(entry) => journal.push(entry.payload),
                },
                Step::Retry(why) => return Err(StoreError::Conflict(why)),
                Step::Wait | Step::Done => {
                    let mut tx = self.store.begin(lease.tenant).await?;
                    tx.hold(&lease).await?;
                    tx.dequeue(lease.run).await?;
                    return tx.commit().await;
                }
            }
        }
    }

    /// Returns how a run ends that may not go on: it kills its servers, or is switched off or out of
    /// budget before it is planned.
    async fn barred(
        &self,
        driven: &Driven,
        journal: &[Value],
        controlled: bool,
    ) -> Result<Option<Entry>, StoreError> {
        let lease = &driven.lease;
        if lease.attempt > 1 {
            let events = i64::try_from(journal.len()).unwrap_or(i64::MAX);
            let often = self.store.note_progress(lease, events).await? > self.rules.attempts;
            let still =
                driven.still_since.map_or(0, |at| Timestamp::now().as_second() - at.as_second());
            if often && u64::try_from(still).unwrap_or(0) > self.rules.stuck.as_secs() {
                let message = format!(
                    "the server stopped {} times over this step of the run; see its log",
                    self.rules.attempts
                );
                return Ok(Some(Entry::failed("abandoned", message)));
            }
        }
        if controlled { self.gate(driven, journal).await } else { Ok(None) }
    }

    /// Returns how a run ends that used up its events or its time.
    fn spent(&self, journal: &[Value], until: Instant) -> Option<Entry> {
        if journal.len() >= self.rules.events {
            let message = format!("the run has {} steps, the most there may be", journal.len());
            return Some(Entry::failed("step_limit", message));
        }
        (Instant::now() >= until).then(|| {
            let message = format!("the run took longer than {} s", self.rules.run.as_secs());
            Entry::failed("run_timeout", message)
        })
    }

    /// Makes one step on a blocking thread and waits for it, for the lease, and for the time limit.
    async fn step(&self, driven: &Driven, journal: Vec<Value>) -> Waited {
        let cancel = Arc::new(AtomicBool::new(false));
        let host = Host::new(self.store.clone(), driven.lease.tenant, Handle::current())
            .for_run(driven.lease, Arc::clone(&cancel))
            .with_connector(self.connector.clone());
        let (stepper, tenant) = (Arc::clone(&self.stepper), Arc::clone(&driven.tenant));
        let task = tokio::task::spawn_blocking(move || {
            let step = stepper.step(&tenant, &journal, &host);
            (journal, step)
        });
        let waited = tokio::select! {
            done = task => match done {
                Ok((journal, step)) => Waited::Stepped(journal, step),
                Err(error) => {
                    tracing::error!(run = %driven.lease.run, %error, "a step panicked");
                    Waited::Broke("step_panicked", "a step of the run broke off; see the server's log".to_owned())
                }
            },
            () = self.lease_lost(&driven.lease) => Waited::Lost,
            () = tokio::time::sleep(self.rules.step) => {
                let message = format!("a step took longer than {} s", self.rules.step.as_secs());
                Waited::Broke("step_timeout", message)
            }
        };
        // Whoever goes on without the result tells the step to stop.
        cancel.store(true, Ordering::Relaxed);
        waited
    }

    /// Prolongs a lease until it is lost. Ends then.
    async fn lease_lost(&self, lease: &Lease) {
        let mut beaten = Instant::now();
        let mut wakes = self.store.wakes();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.rules.poll) => {}
                wake = wakes.recv() => if wake.is_ok_and(|wake| wake.run != lease.run) { continue },
            }
            let kept = if beaten.elapsed() >= self.rules.lease / 3 {
                beaten = Instant::now();
                self.store.heartbeat(lease, self.rules.lease).await
            } else {
                self.store.holds(lease).await
            };
            if matches!(kept, Ok(false)) {
                return;
            }
        }
    }
}

/// Where a journal stands when a step begins.
struct Situation {
    /// Position of the call under way; `None` while planning.
    index: Option<i64>,
    /// Further tries of it so far.
    tries: u32,
}

impl Situation {
    fn of(journal: &[Value]) -> Self {
        let text = |event: &Value, name: &str| {
            event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let last = journal.last().unwrap_or(&Value::Null);
        let calls = matches!(
            text(last, "type").as_str(),
            "call.started" | "step.retried" | "outcome.settled"
        );
        let index = last.get("index").and_then(Value::as_i64).filter(|_| calls);
        let again = journal.iter().filter(|event| {
            text(event, "type") == "step.retried"
                && event.get("index").and_then(Value::as_i64) == index
        });
        Self { index, tries: u32::try_from(again.count()).unwrap_or(u32::MAX) }
    }

    /// What follows on a step that broke: another try, or the end.
    fn after_break(&self, code: &str, message: &str) -> Entry {
        if self.tries >= MAX_RETRIES {
            return Entry::failed(
                code,
                format!("{message}; it was tried {} times", self.tries + 1),
            );
        }
        let mut payload = json!({
            "type": "step.retried", "attempt": self.tries + 1, "code": code, "message": message,
        });
        if let Some(index) = self.index {
            payload["index"] = json!(index);
        }
        Entry { kind: "step.retried".to_owned(), payload }
    }
}
