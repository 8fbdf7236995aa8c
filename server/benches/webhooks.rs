//! Webhooks under load: how soon an event reaches its receiver, and how many get through, with a receiver
//! in ten that fails and one of another joint venture that never answers.
//!
//! `cargo bench -p server --bench webhooks [-- DELIVERIES]` prints one JSON object and ends with an error
//! where a delivery was lost or came under another identifier. First events are written at a steady rate
//! and the time from commit to arrival is taken; then all others as fast as they are sent.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark stops at the first surprise and prints its figures"
)]

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::json;
use server::egress::Egress;
use server::postgres::{Cluster, checked_folder};
use server::store::{EndpointSettings, NewTenant, Store, TenantId, event_name};
use server::vault::Vault;
use server::webhooks::keys;
use server::webhooks::sign::SigningSecret;
use server::webhooks::worker::{Clock, Options, Worker};
use tokio::sync::watch;

/// Receivers of the joint venture that is measured; the first fails each event once.
const RECEIVERS: usize = 10;
/// Events a second of the steady part, each to all receivers, and how long it lasts.
const STEADY: u64 = 20;
const SECONDS: u64 = 20;

/// First arrival and number of arrivals by receiver and identifier.
type Arrivals = HashMap<(usize, String), (Instant, usize)>;

/// What came: first arrival and number of arrivals by receiver and identifier.
#[derive(Clone, Default)]
struct Came {
    all: Arc<Mutex<Arrivals>>,
    through: Arc<AtomicUsize>,
}

async fn take(State(came): State<Came>, uri: Uri, headers: HeaderMap) -> StatusCode {
    let path = uri.path().trim_start_matches('/');
    if path == "hang" {
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    let receiver: usize = path.parse().unwrap_or(usize::MAX);
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let tries = {
        let mut all = came.all.lock().unwrap();
        let one = all.entry((receiver, id)).or_insert((Instant::now(), 0));
        one.1 += 1;
        one.1
    };
    if receiver == 0 && tries == 1 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    came.through.fetch_add(1, Ordering::SeqCst);
    StatusCode::OK
}

async fn tenant(store: &Store, slug: &str, port: u16, vault: &Vault, paths: &[String]) -> TenantId {
    let new = NewTenant {
        slug: slug.to_owned(),
        name: slug.to_owned(),
        pack: "bench".to_owned(),
        currency: "USD".to_owned(),
        timezone: "UTC".to_owned(),
    };
    let tenant = store.create_tenant(&new).await.unwrap();
    let mut tx = store.begin(tenant).await.unwrap();
    tx.add_egress_rule("private", &format!("127.0.0.1:{port}"), "bench").await.unwrap();
    for path in paths {
        let url = format!("http://127.0.0.1:{port}/{path}");
        let settings = EndpointSettings {
            url,
            description: String::new(),
            events: Vec::new(),
            ordered: false,
        };
        let made = tx.add_endpoint(&settings, "bench").await.unwrap();
        keys::install(&mut tx, vault, made.id, &SigningSecret::new(false), 24).await.unwrap();
    }
    tx.commit().await.unwrap();
    tenant
}

/// Writes events in one transaction; returns their identifiers.
async fn publish(store: &Store, tenant: TenantId, count: usize) -> Vec<String> {
    let mut tx = store.begin(tenant).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..count {
        let event = tx.publish("run.completed", "x", &json!({ "id": "x" })).await.unwrap();
        ids.push(event_name(event.unwrap()));
    }
    tx.commit().await.unwrap();
    ids
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
    (times[at] * 10.0).round() / 10.0
}

/// Writes events at a steady rate; returns the times to their first arrivals, ms.
async fn steady(store: &Store, tenant: TenantId, came: &Came) -> Vec<f64> {
    let mut committed: HashMap<String, Instant> = HashMap::new();
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / STEADY));
    for _ in 0..STEADY * SECONDS {
        tick.tick().await;
        let ids = publish(store, tenant, 1).await;
        committed.extend(ids.into_iter().map(|id| (id, Instant::now())));
    }
    let expected = committed.len() * RECEIVERS;
    while came.all.lock().unwrap().len() < expected {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let all = came.all.lock().unwrap();
    let times = all.iter().filter_map(|((_, id), (at, _))| {
        Some(at.saturating_duration_since(*committed.get(id)?).as_secs_f64() * 1e3)
    });
    times.collect()
}

#[tokio::main]
async fn main() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let asked = std::env::args().skip(1).find_map(|text| text.parse::<usize>().ok());
    let many = asked.unwrap_or(100_000);
    let folder = tempfile::Builder::new().prefix("tessera-bench-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let cluster =
        Cluster::start(&checked_folder(&folder.path().join("data")).unwrap()).await.unwrap();
    let address = cluster.address().await.unwrap();
    Store::migrate(&address).await.unwrap();
    let store = Store::connect(&address).await.unwrap();
    let came = Came::default();
    let app = Router::new().fallback(take).with_state(came.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let vault = Arc::new(Vault::read("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap());
    let paths: Vec<String> = (0..RECEIVERS).map(|number| number.to_string()).collect();
    let own = tenant(&store, "bench", port, &vault, &paths).await;
    let other = tenant(&store, "hangs", port, &vault, &["hang".to_owned()]).await;
    let clock = Clock::default();
    let options = Options { clock: clock.clone(), ..Options::default() };
    let worker = Worker::new(store.clone(), Egress::default(), vault, options);
    let (stop, stopped) = watch::channel(false);
    let worker = tokio::spawn(worker.work(stopped));

    // The other joint venture's receiver hangs with all that it may be sent at a time.
    publish(&store, other, 200).await;
    let mut times = steady(&store, own, &came).await;
    let first = came.all.lock().unwrap().len();
    let begun = Instant::now();
    let events = many / RECEIVERS;
    let mut written = 0;
    while written < events {
        written += publish(&store, own, 50.min(events - written)).await.len();
        // What failed is due at once.
        clock.advance(Duration::from_secs(1));
    }
    let wrote = begun.elapsed().as_secs_f64();
    let sent = first + events * RECEIVERS;
    let mut last = (0, Instant::now());
    loop {
        let through = came.through.load(Ordering::SeqCst);
        if through >= sent {
            break;
        }
        if through > last.0 {
            last = (through, Instant::now());
        }
        assert!(last.1.elapsed() < Duration::from_secs(120), "{through} of {sent} got through");
        tokio::time::sleep(Duration::from_millis(100)).await;
        clock.advance(Duration::from_secs(7));
    }
    let took = begun.elapsed().as_secs_f64();
    let all = came.all.lock().unwrap().clone();
    // Each event reached each receiver, the failing one twice or more under one identifier.
    let lost = sent - all.len();
    let twice = all.iter().filter(|((receiver, _), _)| *receiver == 0);
    let once = twice.filter(|(_, (_, tries))| *tries < 2).count();
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let figures = json!({
        "steady_events_per_s": STEADY, "receivers": RECEIVERS,
        "first_attempt_ms_p50": quantile(&mut times, 0.5), "first_attempt_ms_p99": quantile(&mut times, 0.99),
        "deliveries": events * RECEIVERS, "lost": lost, "not_retried": once,
        "written_in_s": wrote.round(), "deliveries_per_s": (events as f64 * RECEIVERS as f64 / took).round(),
    });
    println!("{figures:#}");
    stop.send(true).unwrap();
    worker.await.unwrap();
    store.close().await;
    cluster.stop().await.unwrap();
    assert_eq!((lost, once), (0, 0));
}
