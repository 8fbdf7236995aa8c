//! Workers: approvals, lost leases and effects that happen once.

use std::sync::Arc;
use std::time::Duration;

use agents::port::{EffectPort as _, EffectRequest};
use serde_json::{Value, json};
use server::host::Host;
use server::jobs::{Entry, Step, Stepper, work};
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
    let dead = Uuid::now_v7();
    while store.claim_run(dead, Duration::from_secs(600)).await.unwrap().is_some() {}

    let mut tx = store.begin(world.one).await.unwrap();
    let (run, _) = tx.create_run(&new_run("act", "act")).await.unwrap();
    tx.commit().await.unwrap();
    let lost = store.claim_run(dead, Duration::ZERO).await.unwrap().unwrap();
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
    let effects = tx.effects(10).await.unwrap();
    assert_eq!(effects.iter().filter(|effect| effect.idempotency_key == "once").count(), 1);
    drop(tx);
    stop.send(true).unwrap();
    worker.await.unwrap();
    world.close().await;
}
