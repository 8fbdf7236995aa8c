//! How long a million readings take to be imported, and a year of one site to be read.
//!
//! `cargo bench -p server --bench datasets` starts a private database in a temporary folder, makes
//! 1,000,000 quarter-hour readings of 28 sites from a fixed seed, in order of time as a meter system
//! exports them, imports the file as an upload would be, and reads the year of single sites the way a
//! tool does. It prints one JSON object.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark stops at the first surprise and prints its figures"
)]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use agents::dataset::Mapping;
use agents::port::DatasetSource as _;
use agents::tool::{Limits, ToolContext, Window};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use server::dataset::{Job, Upload, import};
use server::host::Host;
use server::postgres::{Cluster, checked_folder};
use server::store::{NewTenant, Store};

const ROWS: usize = 1_000_000;
const SITES: usize = 28;
const READS: usize = 25;
/// 2025-01-01T00:00:00Z
const FIRST: i64 = 1_735_689_600;

fn readings() -> String {
    let mut chance = StdRng::seed_from_u64(20_261_124);
    let mut text = String::with_capacity(ROWS * 42);
    text.push_str("start,site_id,load_kw\n");
    for row in 0..ROWS {
        let (step, site) = (i64::try_from(row / SITES).unwrap(), row % SITES);
        let at = Timestamp::from_second(FIRST + step * 900).unwrap();
        let load: f64 = 180.0 + 40.0 * chance.random::<f64>();
        writeln!(text, "{at},site-{site:02},{load:.2}").unwrap();
    }
    text
}

fn spread(mut times: Vec<f64>) -> serde_json::Value {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = (share * (times.len() - 1) as f64).round() as usize;
        (times[at] * 10.0).round() / 10.0
    };
    serde_json::json!({ "min": at(0.0), "median": at(0.5), "p95": at(0.95), "max": at(1.0) })
}

/// Reads the year of one site after another, as a table and through a whole call of a tool; ms.
fn reads(host: &Host) -> (Vec<f64>, Vec<f64>) {
    let packs = agents::pack::shipped().unwrap();
    let energy = packs.iter().find(|pack| pack.manifest.id == "energy").unwrap();
    let limits = Limits::default();
    let context = ToolContext {
        datasets: host,
        effects: host,
        systems: &agents::port::NoSystems,
        now: Timestamp::now(),
        approval: None,
        limits: &limits,
    };
    let (mut reads, mut calls) = (Vec::new(), Vec::new());
    for read in 0..READS {
        let (start, end) = (FIRST, FIRST + 365 * 86_400);
        let instant = |second| Timestamp::from_second(second).unwrap();
        let site = format!("site-{:02}", read % SITES);
        let window = Window {
            start: Some(instant(start)),
            end: Some(instant(end)),
            site_id: Some(site.clone()),
        };
        let begun = Instant::now();
        let table = host.table("readings", &window).unwrap();
        reads.push(begun.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(table.rows.len(), 365 * 96);
        let arguments = serde_json::json!({
            "dataset": "readings", "site_id": site, "start": instant(start).to_string(),
            "end": instant(end).to_string(),
        });
        let begun = Instant::now();
        energy.call("interval_stats", &arguments, &context).unwrap();
        calls.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    (reads, calls)
}

#[tokio::main]
async fn main() {
    let folder = tempfile::Builder::new().prefix("tessera-bench-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let cluster =
        Cluster::start(&checked_folder(&folder.path().join("data")).unwrap()).await.unwrap();
    let address = cluster.address().await.unwrap();
    Store::migrate(&address).await.unwrap();
    let store = Store::connect(&address).await.unwrap();
    let tenant = store
        .create_tenant(&NewTenant {
            slug: "bench".to_owned(),
            name: "bench".to_owned(),
            pack: "energy".to_owned(),
            currency: "USD".to_owned(),
            timezone: "UTC".to_owned(),
        })
        .await
        .unwrap();
    let text = readings();
    let bytes = text.len();
    let job = |text: String| Job {
        id: "readings".to_owned(),
        upload: Upload::new("readings.csv", text.into_bytes()),
        wish: Mapping::default(),
        by: "bench".to_owned(),
    };

    let begun = Instant::now();
    let done = import(&store, tenant, job(text.clone()), &mut |_| {}).await.unwrap();
    let import_s = begun.elapsed().as_secs_f64();
    assert_eq!((done.report.rows, done.report.refused), (ROWS as u64, 0));
    let begun = Instant::now();
    let again = import(&store, tenant, job(text), &mut |_| {}).await.unwrap();
    let again_s = begun.elapsed().as_secs_f64();
    assert!(again.repeated);

    let host = Host::new(store.clone(), tenant, tokio::runtime::Handle::current());
    let (reads, calls) = tokio::task::spawn_blocking(move || reads(&host)).await.unwrap();
    let figures = serde_json::json!({
        "rows": ROWS, "sites": SITES, "file_mib": bytes >> 20,
        "import_s": (import_s * 100.0).round() / 100.0,
        "same_file_again_s": (again_s * 100.0).round() / 100.0,
        "read_a_year_of_one_site_ms": spread(reads),
        "interval_stats_over_that_year_ms": spread(calls),
        "profile": if cfg!(debug_assertions) { "with debug assertions" } else { "release" },
    });
    println!("{figures:#}");
    store.close().await;
    cluster.stop().await.unwrap();
}
