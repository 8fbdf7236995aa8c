//! What the platform itself costs a run: the store, the queue, the journal and the workers, with a
//! stub in place of model and tool, on a private database with full durability.
//!
//! `cargo bench -p server --bench runs [-- RUNS]` prints one JSON object: the commit time of Postgres
//! alone, a run from its creation to its answer one at a time, what of it is not commit time, runs a
//! second with eight workers, and the bytes that a run leaves in the store. With a Python that has
//! `langgraph` and `langgraph-checkpoint-postgres` in `PEER_PYTHON`, the same graph runs there on the
//! same database in the same go (`runs_peer.py`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark stops at the first surprise and prints its figures"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::agent::new_run;
use server::host::Host;
use server::jobs::{Entry, Rules, Step, Stepper, Worker};
use server::postgres::{Cluster, checked_folder};
use server::store::{NewTenant, Status, Store, Tenant, TenantId};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;

/// Events of a run, each with a commit of its own.
const COMMITS: usize = 5;
const WORKERS: usize = 8;

/// One plan, one call, one answer, with payloads of the usual size.
struct Stub;

impl Stepper for Stub {
    fn step(&self, _: &Tenant, journal: &[Value], _: &Host) -> Step {
        let payload = match journal.len() {
            1 => json!({ "type": "plan.made", "plan": {
                "model": "stub", "prompt_tokens": 250, "decoded_tokens": 12, "ms": 0.0,
                "calls": [{ "tool": "loan_schedule", "arguments": { "principal": "200000",
                    "annual_rate_pct": 6.0, "months": 360 }, "effect": "pure" }] } }),
            2 => json!({ "type": "call.started", "index": 0, "tool": "loan_schedule",
                "arguments": { "principal": "200000", "annual_rate_pct": 6.0, "months": 360 },
                "effect": "pure" }),
            3 => json!({ "type": "call.finished", "index": 0, "tool": "loan_schedule", "ms": 0.1,
                "result": { "payment": "1199.10", "total_interest": "231676.38",
                    "method": "annuity", "warnings": [] } }),
            4 => json!({ "type": "run.answered", "text": "The payment is 1,199.10 a month.",
                "citations": [], "warnings": [] }),
            _ => return Step::Done,
        };
        Step::Append(Entry { kind: payload["type"].as_str().unwrap().to_owned(), payload })
    }
}

fn quantile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = (share * (times.len() - 1) as f64).round() as usize;
    (times[at] * 100.0).round() / 100.0
}

/// Times one insert of 400 bytes with its commit, alone on a connection; ms.
async fn commits(url: &str) -> Vec<f64> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("create table if not exists public.bench_commit (payload text)")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut times = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        sqlx::query("insert into public.bench_commit values ($1)")
            .bind("x".repeat(400))
            .execute(&mut connection)
            .await
            .unwrap();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times
}

async fn make(store: &Store, tenant: TenantId) -> uuid::Uuid {
    let mut tx = store.begin(tenant).await.unwrap();
    let new =
        new_run("bench", "bench", "What is the payment on 200,000 at 6% over 360 months?", None);
    let (run, _) = tx.create_run(&new).await.unwrap();
    tx.commit().await.unwrap();
    run
}

async fn until_done(store: &Store, tenant: TenantId, run: uuid::Uuid) {
    let mut wakes = store.wakes();
    loop {
        let mut tx = store.begin(tenant).await.unwrap();
        if tx.get_run(run).await.unwrap().status == Status::Done {
            return;
        }
        drop(tx);
        drop(tokio::time::timeout(Duration::from_millis(50), wakes.recv()).await);
    }
}

/// Returns the bytes that the tables and indexes of runs take.
async fn size(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(
        "select sum(pg_total_relation_size(format('tessera.%I', name)::regclass))::bigint
         from unnest(array['run', 'run_event', 'run_queue', 'usage']) name",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap()
}

/// Runs the peer, where its Python is named.
fn peer(url: &str, runs: usize) -> Value {
    let Some(python) = std::env::var_os("PEER_PYTHON") else { return Value::Null };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/runs_peer.py");
    let out =
        std::process::Command::new(python).args([script, url, &runs.to_string()]).output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| {
        json!(String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or("no output"))
    })
}

#[tokio::main]
async fn main() {
    let asked = std::env::args().skip(1).find_map(|text| text.parse::<usize>().ok());
    let many = asked.unwrap_or(2_000);
    let folder = tempfile::Builder::new().prefix("tessera-bench-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let cluster =
        Cluster::start(&checked_folder(&folder.path().join("data")).unwrap()).await.unwrap();
    let address = cluster.address().await.unwrap();
    Store::migrate(&address).await.unwrap();
    let store = Store::connect(&address).await.unwrap();
    let new = NewTenant {
        slug: "bench".to_owned(),
        name: "bench".to_owned(),
        pack: "bench".to_owned(),
        currency: "USD".to_owned(),
        timezone: "UTC".to_owned(),
    };
    let tenant = store.create_tenant(&new).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let worker = Worker {
        store: store.clone(),
        stepper: Arc::new(Stub),
        rules: Rules::default(),
        connector: None,
    };
    let workers: Vec<_> =
        (0..WORKERS).map(|_| tokio::spawn(worker.clone().work(stopped.clone()))).collect();

    let mut commit_ms = commits(&address.owner).await;
    let mut one_ms = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        let run = make(&store, tenant).await;
        until_done(&store, tenant, run).await;
        one_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let before = size(&address.owner).await;
    let begun = Instant::now();
    let makers = (0..WORKERS).map(|maker| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut runs = Vec::new();
            for _ in (maker..many).step_by(WORKERS) {
                runs.push(make(&store, tenant).await);
            }
            for run in runs {
                until_done(&store, tenant, run).await;
            }
        })
    });
    for maker in makers.collect::<Vec<_>>() {
        maker.await.unwrap();
    }
    let took = begun.elapsed().as_secs_f64();
    let grown = size(&address.owner).await - before;
    stop.send(true).unwrap();
    for worker in workers {
        worker.await.unwrap();
    }
    let (commit, one) = (quantile(&mut commit_ms, 0.5), quantile(&mut one_ms, 0.5));
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let figures = json!({
        "commit_ms_p50": commit, "commits_a_run": COMMITS, "run_ms_p50": one,
        "run_ms_p99": quantile(&mut one_ms, 0.99),
        "platform_ms_p50": ((one - COMMITS as f64 * commit) * 100.0).round() / 100.0,
        "runs": many, "runs_per_s": (many as f64 / took).round(),
        "bytes_a_run": grown / i64::try_from(many).unwrap(),
        "langgraph": peer(&address.owner, many.min(400)),
    });
    println!("{figures:#}");
    store.close().await;
    cluster.stop().await.unwrap();
}
