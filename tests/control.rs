//! Budgets, switches, threads and schedules, on the store and its workers.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use server::jobs::schedule::look;
use server::store::{
    Amounts, Busy, NewBudget, NewRun, NewSchedule, Period, Resource, RunId, Status, StoreError,
    SwitchScope, Thread,
};
use uuid::Uuid;

use crate::ask::Client;
use crate::jobs::Bench;
use crate::support::{Folder, Server, output};
use crate::tenancy::new_run;

fn budget(resource: Resource, period: Period, most: i64) -> NewBudget {
    NewBudget { agent: String::new(), resource, period, most }
}

async fn set_budgets(bench: &Bench, budgets: &[NewBudget]) -> Vec<Uuid> {
    let mut tx = bench.world.store.begin(bench.world.one).await.unwrap();
    for old in tx.budgets().await.unwrap() {
        tx.remove_budget(old.id, "seed").await.unwrap();
    }
    let mut ids = Vec::new();
    for budget in budgets {
        ids.push(tx.set_budget(budget, "ada").await.unwrap());
    }
    tx.commit().await.unwrap();
    ids
}

async fn gone(bench: &Bench, id: Uuid) -> (i64, i64) {
    let mut tx = bench.world.store.begin(bench.world.one).await.unwrap();
    let all = tx.budgets().await.unwrap();
    let budget = all.iter().find(|budget| budget.id == id).unwrap();
    (budget.used, budget.reserved)
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_and_switches_stop_a_run_before_the_call_and_say_why() {
    let bench = Bench::new().await;
    a_budget_of_calls_stops_a_looping_run(&bench).await;
    a_day_s_budget_is_shared_and_never_passed(&bench).await;
    money_is_counted_by_prices(&bench).await;
    a_switch_holds_from_the_next_call_on(&bench).await;
    bench.close().await;
}

async fn a_budget_of_calls_stops_a_looping_run(bench: &Bench) {
    set_budgets(bench, &[budget(Resource::Calls, Period::Run, 3)]).await;
    for _ in 0..2 {
        let run = bench.run("loop").await;
        let failed = bench.failure(run).await;
        assert_eq!(failed["code"], "budget_exceeded", "{failed}");
        let made = bench.journal(run).await;
        assert_eq!(made.iter().filter(|event| event["type"] == "call.finished").count(), 3);
    }
}

async fn a_day_s_budget_is_shared_and_never_passed(bench: &Bench) {
    let ids = set_budgets(bench, &[budget(Resource::Calls, Period::Day, 5)]).await;
    let runs: Vec<RunId> = futures_util::future::join_all((0..4).map(|_| bench.run("loop"))).await;
    let mut calls = 0;
    for run in runs {
        assert_eq!(bench.failure(run).await["code"], "budget_exceeded");
        let made = bench.journal(run).await;
        calls += made.iter().filter(|event| event["type"] == "call.finished").count();
    }
    assert_eq!(calls, 5, "four runs at a time made more or fewer calls than the budget");
    assert_eq!(gone(bench, ids[0]).await, (5, 0), "something stays reserved");
    let refused = bench.run("loop").await;
    assert_eq!(bench.failure(refused).await["code"], "budget_exceeded");
    assert_eq!(bench.journal(refused).await.len(), 2, "a call was announced");
}

async fn money_is_counted_by_prices(bench: &Bench) {
    let ids = set_budgets(bench, &[budget(Resource::Money, Period::Total, 2_500)]).await;
    let mut tx = bench.world.store.begin(bench.world.one).await.unwrap();
    tx.set_price("call:spin", Some(1_000), "ada").await.unwrap();
    tx.commit().await.unwrap();
    let run = bench.run("loop").await;
    let failed = bench.failure(run).await;
    assert_eq!(failed["code"], "budget_exceeded", "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("500 left"), "{failed}");
    assert_eq!(gone(bench, ids[0]).await, (2_000, 0));

    // What is reserved twice for one step counts once, and what is not settled is freed.
    let mut tx = bench.world.store.begin(bench.world.one).await.unwrap();
    let step = ("call:9", Some("spin"));
    let one = Amounts { tokens: 0, calls: 1, wall_ms: 0 };
    tx.set_budget(&budget(Resource::Money, Period::Total, 3_500), "ada").await.unwrap();
    assert!(tx.reserve(run, "energy", step, one).await.unwrap().is_none());
    assert!(tx.reserve(run, "energy", step, one).await.unwrap().is_none());
    let over = tx.reserve(run, "energy", ("call:10", Some("spin")), one).await.unwrap().unwrap();
    assert_eq!((over.gone, over.asked), (3_000, 1_000));
    tx.set_status(run, Status::Failed).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(gone(bench, ids[0]).await, (2_000, 0));
}

async fn a_switch_holds_from_the_next_call_on(bench: &Bench) {
    set_budgets(bench, &[]).await;
    for (scope, name) in
        [(SwitchScope::Tool, "spin"), (SwitchScope::Pack, "energy"), (SwitchScope::Venture, "")]
    {
        let mut tx = bench.world.store.begin(bench.world.one).await.unwrap();
        tx.set_switch(scope, name, true, "a recall", "ada").await.unwrap();
        tx.commit().await.unwrap();
        let run = bench.run("loop").await;
        let failed = bench.failure(run).await;
        assert_eq!(failed["code"], "switched_off", "{failed}");
        let message = failed["message"].as_str().unwrap();
        assert!(message.contains("ada") && message.contains("a recall"), "{message}");
        let mut tx = bench.world.store.begin(bench.world.one).await.unwrap();
        tx.set_switch(scope, name, false, "over", "bob").await.unwrap();
        tx.commit().await.unwrap();
    }
    let fine = bench.run("fine").await;
    bench.until(fine, Status::Done).await;
}

fn in_thread(request: &str, name: &str, busy: Busy) -> NewRun {
    let thread = Some(Thread { name: name.to_owned(), busy });
    NewRun { thread, ..new_run(&Uuid::now_v7().to_string(), request) }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_thread_wait_are_refused_or_take_over() {
    let bench = Bench::new().await;
    let open = bench.run_of(in_thread("hang", "t", Busy::Queue)).await.unwrap();
    let behind = bench.run_of(in_thread("fine", "t", Busy::Queue)).await.unwrap();
    let last = bench.run_of(in_thread("fine", "t", Busy::Queue)).await.unwrap();
    let beside = bench.run_of(in_thread("fine", "u", Busy::Queue)).await.unwrap();
    bench.until(beside, Status::Done).await;
    assert_eq!(bench.journal(behind).await.len(), 1, "a run of the thread did not wait");
    let refused = bench.run_of(in_thread("fine", "t", Busy::Reject)).await;
    assert!(matches!(refused, Err(StoreError::Busy { run, .. }) if run == open));
    server::api::cancel_run(&bench.world.store, bench.world.one, open, "ada").await.unwrap();
    bench.until(behind, Status::Done).await;
    bench.until(last, Status::Done).await;

    let open = bench.run_of(in_thread("hang", "t", Busy::Queue)).await.unwrap();
    let waits = bench.run_of(in_thread("fine", "t", Busy::Queue)).await.unwrap();
    let newest = bench.run_of(in_thread("fine", "t", Busy::Interrupt)).await.unwrap();
    bench.until(newest, Status::Done).await;
    bench.until(open, Status::Cancelled).await;
    bench.until(waits, Status::Cancelled).await;

    // Many at once: all end, and no two were driven at a time.
    let made = (0..12).map(|_| bench.run_of(in_thread("fine", "many", Busy::Queue)));
    for run in futures_util::future::join_all(made).await {
        bench.until(run.unwrap(), Status::Done).await;
    }
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_starts_each_instant_once_and_says_what_it_missed() {
    let bench = Bench::new().await;
    let (store, tenant) = (&bench.world.store, bench.world.one);
    let rule = |name: &str, make_up: bool| NewSchedule {
        name: name.to_owned(),
        cron: "* * * * *".to_owned(),
        request: "fine".to_owned(),
        thread: None,
        busy: Busy::Queue,
        make_up,
    };
    let mut tx = store.begin(tenant).await.unwrap();
    let now = tx.now().await.unwrap();
    let before = |seconds| Some(now - SignedDuration::from_secs(seconds));
    let due = tx.add_schedule(&rule("due", false), before(1), "ada").await.unwrap();
    let skips = tx.add_schedule(&rule("skips", false), before(3_600), "ada").await.unwrap();
    let makes_up = tx.add_schedule(&rule("makes up", true), before(3_600), "ada").await.unwrap();
    tx.commit().await.unwrap();
    let looks = futures_util::future::join_all((0..8).map(|_| look(store))).await;
    assert!(looks.into_iter().all(|look| look.is_ok()));

    let mut tx = store.begin(tenant).await.unwrap();
    for (schedule, outcome, missed) in
        [(due, "started", 0..=0), (skips, "missed", 60..=61), (makes_up, "started", 60..=61)]
    {
        let starts = tx.starts(schedule, 10).await.unwrap();
        assert_eq!(starts.len(), 1, "{starts:?}");
        assert_eq!(starts[0].outcome, outcome);
        assert!(missed.contains(&starts[0].missed), "{starts:?}");
        assert_eq!(starts[0].run.is_some(), outcome == "started");
        let next = tx.schedule(schedule).await.unwrap().next_at.unwrap();
        assert!(next > now && next <= now + SignedDuration::from_secs(121), "{next}");
    }
    let run = tx.starts(due, 1).await.unwrap()[0].run.unwrap();
    drop(tx);
    bench.until(run, Status::Done).await;
    bench.close().await;
}

#[tokio::test]
async fn controls_are_reached_over_http_and_from_the_command_line() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let put = async |path: &str, body: serde_json::Value| {
        let request = client.http.put(format!("{}{path}", client.base)).bearer_auth(&client.key);
        let answer = request.body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
    };
    let (status, set) =
        put("/v1/budgets", json!({"resource": "calls", "period": "day", "limit": 1})).await;
    assert_eq!((status, &set["limit"]), (200, &json!(1)), "{set}");
    for body in [
        json!({"resource": "gold", "period": "day", "limit": 1}),
        json!({"resource": "calls", "period": "week", "limit": 1}),
        json!({"resource": "calls", "period": "day", "limit": -1}),
    ] {
        let (status, problem) = put("/v1/budgets", body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_budget")), "{problem}");
    }
    let question = "What is the monthly payment on a 200,000 loan at 6% over 360 months?";
    assert_eq!(client.ask("finance", question).await["status"], "done");
    let refused = client.ask("finance", question).await;
    assert_eq!(refused["error"]["code"], "budget_exceeded", "{refused:#}");

    let off = output(
        &folder.path(),
        &["switch", "off", "demo-finance", "pack", "finance", "--why", "audit"],
    );
    assert!(off.status.success(), "{off:?}");
    let body = json!({ "request": question }).to_string();
    let (status, problem) = client.post("/v1/agents/finance/runs", body).await;
    assert_eq!((status, &problem["code"]), (409, &json!("switched_off")), "{problem}");
    let (_, switches) = client.get("/v1/switches").await;
    assert_eq!(switches["switches"][0]["why"], "audit", "{switches}");

    let schedule = json!({"name": "daily", "cron": "0 9 * * *", "request": question}).to_string();
    let (status, made) = client.post("/v1/schedules", schedule).await;
    assert_eq!(status, 201, "{made}");
    let next: Timestamp = made["next_at"].as_str().unwrap().parse().unwrap();
    assert!(next > Timestamp::now());
    let wrong = json!({"name": "x", "cron": "soon", "request": "a"}).to_string();
    let (status, problem) = client.post("/v1/schedules", wrong).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_schedule")), "{problem}");
    let never = json!({"name": "x", "cron": "0 0 30 2 *", "request": "a"}).to_string();
    let (status, problem) = client.post("/v1/schedules", never).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_schedule")), "{problem}");
    let listed = output(&folder.path(), &["schedule", "list", "demo-finance"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("daily"), "{listed:?}");

    // Another joint venture sees and reaches none of it.
    let other = Client::of(&server, "energy");
    assert_eq!(other.get("/v1/budgets").await.1["budgets"], json!([]));
    let path = format!("/v1/schedules/{}", made["id"].as_str().unwrap());
    assert_eq!(other.get(&path).await.0, 404);
    assert_eq!(client.get(&path).await.0, 200);
}
