//! Workers: approvals, lost leases, steps that break or hang, cancelling, and effects that happen once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agents::port::{EffectPort as _, EffectRequest};
use serde_json::{Value, json};
use server::host::Host;
use server::jobs::{Entry, Rules, Step, Stepper, Worker, work};
use server::store::{RunId, Status, Store, StoreError, Tenant};
use tokio::sync::watch;
use uuid::Uuid;

use crate::tenancy::{World, new_run};

fn append(payload: Value) -> Step {
    Step::Append(Entry { kind: payload["type"].as_str().unwrap().to_owned(), payload })
}

/// One act: ask, call, answer with the ledger's reference.
struct Act;

impl Stepper for Act {
    fn step(&self, _: &Tenant, journal: &[Value], host: &Host) -> Step {
        let last = journal.last().unwrap();
        match last["type"].as_str().unwrap() {
            "run.created" => {
                append(json!({ "type": "approval.requested", "index": 0, "tool": "act",
                                            "arguments": { "n": 1 }, "arguments_sha256": "ab" }))
            }
            "approval.requested" => Step::Wait,
            "approval.decided" => append(json!({ "type": "call.started" })),
            "call.started" => {
                let request = EffectRequest {
                    tool: "act".to_owned(),
                    idempotency_key: "once".to_owned(),
                    arguments_sha256: "ab".to_owned(),
                    arguments: json!({ "n": 1 }),
                    call: None,
                };
                let (first, again) =
                    (host.perform(&request).unwrap(), host.perform(&request).unwrap());
                assert!(again.repeated && first.reference == again.reference);
                append(json!({ "type": "run.answered", "text": first.reference }))
            }
            _ => Step::Done,
        }
    }
}

async fn until(store: &Store, tenant: Uuid, run: RunId, status: Status) {
    for _ in 0..200 {
        let mut tx = store.begin(tenant).await.unwrap();
        if tx.get_run(run).await.unwrap().status == status {
            return;
        }
        drop(tx);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the run never became {}", status.name());
}

#[tokio::test]
async fn a_run_survives_a_dead_worker_waits_for_a_person_and_acts_once() {
    let world = World::new().await;
    let store = &world.store;
    // The seeded runs are taken off the queue by a worker that then "dies".
    while store.claim_run(Duration::from_secs(600)).await.unwrap().is_some() {}

    let mut tx = store.begin(world.one).await.unwrap();
    let (run, _) = tx.create_run(&new_run("act", "act")).await.unwrap();
    tx.commit().await.unwrap();
    let lost = store.claim_run(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(lost.run, run);

    let (stop, stopped) = watch::channel(false);
    let worker = tokio::spawn(work(store.clone(), Arc::new(Act), stopped));
    until(store, world.one, run, Status::WaitingApproval).await;

    let mut tx = store.begin(world.one).await.unwrap();
    assert!(
        matches!(tx.hold(&lost).await, Err(StoreError::Conflict(_))),
        "a lost lease still writes"
    );
    drop(tx);
    let mut tx = store.begin(world.one).await.unwrap();
    let pending = tx.approvals(true).await.unwrap();
    let asked = pending.iter().find(|approval| approval.run_id == run).unwrap();
    tx.decide_approval(asked.id, true, "ada", "").await.unwrap();
    let twice = tx.decide_approval(asked.id, false, "bob", "").await;
    assert!(matches!(twice, Err(StoreError::Conflict(_))));
    tx.append_event(run, "approval.decided", &json!({ "type": "approval.decided" })).await.unwrap();
    tx.enqueue(run).await.unwrap();
    tx.commit().await.unwrap();
    until(store, world.one, run, Status::Done).await;

    let mut tx = store.begin(world.one).await.unwrap();
    let events = tx.events(run, 0).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let effects = tx.effects(None, 10).await.unwrap();
    assert_eq!(effects.iter().filter(|effect| effect.idempotency_key == "once").count(), 1);
    drop(tx);
    stop.send(true).unwrap();
    worker.await.unwrap();
    world.close().await;
}

/// Rules with short waits.
fn quick() -> Rules {
    Rules {
        lease: Duration::from_millis(900),
        poll: Duration::from_millis(50),
        step: Duration::from_millis(600),
        backoff: Duration::from_millis(20),
        events: 40,
        ..Rules::default()
    }
}

/// What a request makes the stub do: `panic`, `hang`, `loop`, or answer.
#[derive(Default)]
struct Stub {
    told_to_stop: AtomicUsize,
}

impl Stepper for Stub {
    fn step(&self, _: &Tenant, journal: &[Value], host: &Host) -> Step {
        let request = journal[0]["request"].as_str().unwrap().split(' ').next().unwrap();
        let last = journal.last().unwrap()["type"].as_str().unwrap();
        let index = journal.iter().filter(|event| event["type"] == "call.finished").count();
        match (request, last) {
            ("panic", _) => panic!("a planner may panic"),
            ("hang", _) => {
                while !host.cancel().load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                self.told_to_stop.fetch_add(1, Ordering::Relaxed);
                Step::Done
            }
            ("loop", "call.started") => append(json!({
                "type": "call.finished", "index": index, "tool": "spin", "result": {}, "ms": 1.0,
            })),
            ("loop", _) => append(json!({
                "type": "call.started", "index": index, "tool": "spin", "arguments": {}, "effect": "pure",
            })),
            _ => append(json!({ "type": "run.answered", "text": "ok" })),
        }
    }
}

/// A world with workers on the stub, and its runs.
pub(crate) struct Bench {
    pub(crate) world: World,
    stub: Arc<Stub>,
    stop: watch::Sender<bool>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        while world.store.claim_run(Duration::from_secs(600)).await.unwrap().is_some() {}
        let stub = Arc::new(Stub::default());
        let (stop, stopped) = watch::channel(false);
        let worker = Worker {
            store: world.store.clone(),
            stepper: Arc::clone(&stub) as _,
            rules: quick(),
            connector: None,
        };
        let workers = (0..2).map(|_| tokio::spawn(worker.clone().work(stopped.clone()))).collect();
        Self { world, stub, stop, workers }
    }

    pub(crate) async fn run(&self, request: &str) -> RunId {
        self.run_of(new_run(&Uuid::now_v7().to_string(), request)).await.unwrap()
    }

    pub(crate) async fn run_of(&self, new: server::store::NewRun) -> Result<RunId, StoreError> {
        let mut tx = self.world.store.begin(self.world.one).await?;
        let (run, _) = tx.create_run(&new).await?;
        tx.commit().await?;
        Ok(run)
    }

    pub(crate) async fn until(&self, run: RunId, status: Status) {
        until(&self.world.store, self.world.one, run, status).await;
    }

    /// Returns the journal of a run.
    pub(crate) async fn journal(&self, run: RunId) -> Vec<Value> {
        let mut tx = self.world.store.begin(self.world.one).await.unwrap();
        tx.events(run, 0).await.unwrap().into_iter().map(|event| event.payload).collect()
    }

    /// Waits for the end of a run that fails and returns the code.
    pub(crate) async fn failure(&self, run: RunId) -> Value {
        self.until(run, Status::Failed).await;
        self.journal(run).await.last().unwrap().clone()
    }

    pub(crate) async fn close(self) {
        self.stop.send(true).unwrap();
        for worker in self.workers {
            worker.await.unwrap();
        }
        self.world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_panics_hangs_or_loops_ends_its_own_run_only() {
    let bench = Bench::new().await;
    let (panics, loops) = (bench.run("panic").await, bench.run("loop").await);
    let fine = bench.run("fine").await;
    bench.until(fine, Status::Done).await;
    let failed = bench.failure(panics).await;
    assert_eq!(failed["code"], "step_panicked", "{failed}");
    let retries = bench.journal(panics).await;
    assert_eq!(retries.iter().filter(|e| e["type"] == "step.retried").count(), 3, "{retries:?}");
    let failed = bench.failure(loops).await;
    assert_eq!(failed["code"], "step_limit", "{failed}");
    let hangs = bench.run("hang").await;
    let failed = bench.failure(hangs).await;
    assert_eq!(failed["code"], "step_timeout", "{failed}");
    assert_eq!(bench.stub.told_to_stop.load(Ordering::Relaxed), 4, "a step was not told to stop");
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_with_one_key_make_one_run() {
    let bench = Bench::new().await;
    let made = (0..50).map(|_| bench.run_of(new_run("the same", "fine")));
    let mut runs: Vec<RunId> =
        futures_util::future::join_all(made).await.into_iter().map(Result::unwrap).collect();
    runs.dedup();
    assert_eq!(runs.len(), 1);
    bench.until(runs[0], Status::Done).await;
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_stops_the_work_under_way_within_a_second() {
    let bench = Bench::new().await;
    let run = bench.run("hang").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let begun = Instant::now();
    server::api::cancel_run(&bench.world.store, bench.world.one, run, "ada").await.unwrap();
    while bench.stub.told_to_stop.load(Ordering::Relaxed) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(1), "the step goes on after its run ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let kinds: Vec<Value> =
        bench.journal(run).await.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["run.created", "run.cancelled"], "something was written after the end");
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_past_its_lease_writes_nothing() {
    let bench = Bench::new().await;
    bench.stop.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let store = &bench.world.store;
    let run = bench.run("fine").await;
    let slept = store.claim_run(Duration::from_millis(1)).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let new = store.claim_run(Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!((slept.run, new.run), (run, run));
    assert!(!store.heartbeat(&slept, Duration::from_secs(60)).await.unwrap());
    assert!(!store.retry_later(&slept, Duration::ZERO).await.unwrap());
    assert!(store.holds(&new).await.unwrap() && !store.holds(&slept).await.unwrap());
    let request = EffectRequest {
        tool: "act".to_owned(),
        idempotency_key: "slept".to_owned(),
        arguments_sha256: "ab".to_owned(),
        arguments: json!({}),
        call: None,
    };
    let host = |lease| {
        Host::new(store.clone(), bench.world.one, tokio::runtime::Handle::current())
            .for_run(lease, Arc::default())
    };
    let (late, timely) = (host(slept), host(new));
    let asked = request.clone();
    let refused = tokio::task::spawn_blocking(move || late.perform(&asked)).await.unwrap();
    assert!(refused.unwrap_err().is_transient(), "an effect was begun without the lease");
    let mut tx = store.begin(bench.world.one).await.unwrap();
    assert!(tx.effect("slept").await.unwrap().is_none());
    drop(tx);
    let made = tokio::task::spawn_blocking(move || timely.perform(&request)).await.unwrap();
    assert!(!made.unwrap().repeated);
    bench.world.close().await;
}
