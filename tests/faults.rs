//! What is left after a crash: at every named point, at random moments, with the database away, with a
//! second replica, and while the server stops. The effects are counted by a service of this process,
//! outside the killed one and its database.

mod rig;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde_json::json;
use server::fault::POINTS;

use rig::{Kind, Rig};

/// Random kills of the short version; `TESSERA_KILLS` sets another number.
const KILLS: usize = 8;

fn kills() -> usize {
    std::env::var("TESSERA_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

/// Whether every point is tried with every kind of connector.
fn whole_matrix() -> bool {
    std::env::var_os("TESSERA_CRASH_MATRIX").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_loses_no_run_and_makes_no_effect_twice() {
    let kinds: &[Kind] =
        if whole_matrix() { &[Kind::Keyed, Kind::Plain, Kind::Ledger] } else { &[Kind::Plain] };
    for kind in kinds {
        let rig = Rig::new(*kind).await;
        let mut questions = 0;
        for point in POINTS {
            if *kind == Kind::Ledger
                && matches!(point, "effect.started" | "effect.made" | "effect.noted")
            {
                continue;
            }
            questions += usize::from(one_crash(&rig, point).await);
        }
        // Only where the effect may or may not have happened is a person asked.
        let expected = if *kind == Kind::Plain { 2 } else { 0 };
        assert_eq!(questions, expected, "{kind:?}: a person was asked too often or not at all");
        rig.close().await;
    }
}

/// Crashes a server at `point` while it drives one act; `true` when a person was asked for the outcome.
async fn one_crash(rig: &Rig, point: &str) -> bool {
    let mut server = rig.start(&[(server::fault::VARIABLE, &format!("{point}:1"))]).await;
    let key = format!("crash-{point}");
    drop(rig.ask(&key).await);
    let begun = Instant::now();
    while !server.has_ended() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{point} was never passed");
        let _ = rig.approve_all().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let server = rig.start(&[]).await;
    // The same key finds the run, or makes it where the crash came before it was stored.
    let run = rig.ask(&key).await.expect("the server answers");
    let id = run["id"].as_str().unwrap().to_owned();
    let mut asked = false;
    let begun = Instant::now();
    loop {
        let _ = rig.approve_all().await;
        let view = rig.get(&format!("/v1/runs/{id}")).await.unwrap();
        match view["status"].as_str().unwrap() {
            "done" => break,
            "waiting_outcome" => {
                asked = true;
                rig.settle_truly(&id).await;
            }
            "failed" | "refused" | "cancelled" | "waiting_input" => panic!("{point}: {view:#}"),
            _ => {}
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{point}: the run is lost: {view:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.check(&id, point).await;
    drop(server);
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn random_kills_lose_no_run_and_make_each_effect_once() {
    random_kills(Kind::Keyed, kills().div_ceil(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_kills_ask_a_person_where_a_call_may_not_be_repeated() {
    random_kills(Kind::Plain, kills() / 2).await;
}

/// Kills a server at random moments of runs with acts and prints what was found.
async fn random_kills(kind: Kind, kills: usize) {
    let rig = Rig::new(kind).await;
    let begun = Instant::now();
    let mut server = rig.start(&[]).await;
    let customers = rig.customers(4);
    for _ in 0..kills {
        let alive = rand::rng().random_range(0..2_000);
        tokio::time::sleep(Duration::from_millis(alive)).await;
        server.kill();
        server = rig.start(&[]).await;
    }
    let asked = customers.stop().await;
    let mut questions = 0;
    for key in &asked {
        let run = rig.ask(key).await.expect("the server answers");
        questions += usize::from(rig.until_done(run["id"].as_str().unwrap()).await);
    }
    let listed = rig.all_runs().await;
    assert_eq!(listed.len(), asked.len(), "a run was lost, or made twice");
    for run in &listed {
        rig.check(run, "random kills").await;
    }
    let (calls, effects) = rig.counts();
    assert_eq!(effects, asked.len(), "effects are missing or were made without a run");
    drop(server);
    rig.close().await;
    let report = BTreeMap::from([
        ("connector", json!(format!("{kind:?}"))),
        ("kills", json!(kills)),
        ("runs", json!(asked.len())),
        ("calls of the connector", json!(calls)),
        ("effects", json!(effects)),
        ("lost", json!(0)),
        ("twice", json!(0)),
        ("asked a person", json!(questions)),
        ("seconds", json!(begun.elapsed().as_secs())),
    ]);
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, format!("{}\n", json!(report)).as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_replica_is_overtaken_and_what_it_does_later_is_fenced_off() {
    let rig = Rig::new(Kind::Keyed).await;
    let first = rig.start(&[]).await;
    let run = rig.ask("paused").await.unwrap();
    let id = run["id"].as_str().unwrap().to_owned();
    rig.slow_down(Duration::from_millis(1_500));
    rig.until(&id, "waiting_approval").await;
    assert_eq!(rig.approve_all().await.unwrap(), 1);
    rig.until_called().await;
    // The effect is being made. The replica sleeps past its lease while another one takes over.
    first.signal("-STOP");
    let second = rig.start(&[]).await;
    rig.until_done(&id).await;
    let before = rig.journal_of(&id).await;
    first.signal("-CONT");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.journal_of(&id).await, before, "the replica wrote after it lost the run");
    rig.check(&id, "paused").await;
    drop((first, second));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_is_told_as_503_and_work_goes_on_once_it_is_back() {
    for rig in [Rig::private().await, Rig::new(Kind::Keyed).await] {
        let server = rig.start(&[]).await;
        let run = rig.ask("before").await.unwrap();
        let id = run["id"].as_str().unwrap().to_owned();
        rig.until(&id, "waiting_approval").await;
        rig.kill_database();
        if rig.is_shared() {
            // While nobody starts it again, every answer is a problem document.
            for path in ["/v1/runs", "/v1/approvals", "/v1/me"] {
                let (status, problem) = rig.raw_get(path).await.expect("the server stays up");
                assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")));
            }
            rig.revive_database().await;
        }
        let back = Instant::now();
        while rig.raw_get("/v1/runs").await.expect("the server stays up").0 != 200 {
            assert!(back.elapsed() < Duration::from_secs(10), "it did not come back in 10 s");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("answers again after {:.1} s", back.elapsed().as_secs_f64());
        rig.until_done(&id).await;
        rig.check(&id, "a killed database").await;
        let after = rig.ask("after").await.unwrap();
        rig.until_done(after["id"].as_str().unwrap()).await;
        drop(server);
        rig.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_requests_end_and_another_replica_takes_the_runs() {
    let rig = Rig::new(Kind::Keyed).await;
    let mut first = rig.start(&[]).await;
    rig.slow_down(Duration::from_millis(800));
    let mut ids = Vec::new();
    for number in 0..6 {
        let run = rig.ask(&format!("drain-{number}")).await.unwrap();
        ids.push(run["id"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        rig.until(id, "waiting_approval").await;
    }
    rig.approve_all().await.unwrap();
    // Requests under way when the stop comes must be answered.
    let waiting: Vec<_> = ids.iter().map(|id| tokio::spawn(rig.waiting_get(id))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    first.signal("-TERM");
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), Some(200), "a request under way was cut off");
    }
    let code = first.ended_within(Duration::from_secs(25)).await;
    assert_eq!(code, Some(0), "after {:?}", begun.elapsed());
    let second = rig.start(&[]).await;
    for id in &ids {
        rig.until_done(id).await;
        rig.check(id, "a stop").await;
    }
    drop(second);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_work_and_loses_none_that_was_taken() {
    let Some(rig) = Rig::on_small_disk().await else {
        println!("left out: this user may not mount a small disk");
        return;
    };
    let server = rig.start(&[]).await;
    let mut taken = vec!["early".to_owned()];
    rig.ask("early").await.unwrap();
    rig.fill_disk();
    let mut refused = 0;
    for number in 0..60 {
        let key = format!("full-{number}");
        let (status, problem) = rig.try_ask(&key).await.expect("the server stays up");
        if status == 202 {
            taken.push(key);
        } else {
            assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{problem}");
            refused += 1;
            if refused == 5 {
                break;
            }
        }
    }
    assert!(refused > 0, "the disk was not full");
    rig.empty_disk();
    let freed = Instant::now();
    while !matches!(rig.try_ask("late").await, Some((202 | 200, _))) {
        assert!(freed.elapsed() < Duration::from_secs(10), "it did not come back in 10 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{} runs taken, {refused} refused, back after {:?}", taken.len(), freed.elapsed());
    taken.push("late".to_owned());
    for key in &taken {
        let run = rig.ask(key).await.unwrap();
        let id = run["id"].as_str().unwrap();
        rig.until_done(id).await;
        rig.check(id, "a full disk").await;
    }
    drop(server);
    rig.unmount().await;
}
