//! Webhooks out: signed, sent at least once with one identifier, tried again as published, and each
//! endpoint on its own.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use server::egress::Egress;
use server::store::{EndpointSettings, Replay, Store, TenantId, event_name};
use server::vault::Vault;
use server::webhooks::keys;
use server::webhooks::schedule::WAITS;
use server::webhooks::sign::{SigningSecret, Verifying, verify};
use server::webhooks::worker::{Clock, Options, Worker};
use tokio::sync::watch;
use uuid::Uuid;

use crate::ask::Client;
use crate::support::{Folder, Server, output};
use crate::tenancy::{World, new_run};

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    path: String,
    id: String,
    timestamp: String,
    signatures: String,
    body: Bytes,
    at: Instant,
}

impl Got {
    fn verified(&self, key: &str) -> bool {
        let now = self.timestamp.parse().unwrap();
        let signed = (self.id.as_str(), self.timestamp.as_str(), self.signatures.as_str());
        verify(&Verifying::read(key).unwrap(), signed, &self.body, now).is_ok()
    }

    fn kind(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["type"].as_str().unwrap().to_owned()
    }
}

/// Answers with what each path says: `/500`, `/429`, `/410`, `/302`, `/hang`, `/ok`, and
/// `/flaky/N`, which fails N times for each event.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    after: Arc<AtomicUsize>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let (got, after) = (Arc::<Mutex<Vec<Got>>>::default(), Arc::new(AtomicUsize::new(200)));
        let (kept, override_status) = (Arc::clone(&got), Arc::clone(&after));
        let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let text = |name: &str| headers[name].to_str().unwrap().to_owned();
            let one = Got {
                path: uri.path().to_owned(),
                id: text("webhook-id"),
                timestamp: text("webhook-timestamp"),
                signatures: text("webhook-signature"),
                body,
                at: Instant::now(),
            };
            let tries = {
                let mut kept = kept.lock().unwrap();
                kept.push(one.clone());
                kept.iter().filter(|other| other.id == one.id && other.path == one.path).count()
            };
            let set = override_status.load(Ordering::SeqCst);
            async move {
                let words: Vec<&str> = one.path.split('/').skip(1).collect();
                let mut headers = HeaderMap::new();
                let status = match words.as_slice() {
                    ["hang", ..] => {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                        200
                    }
                    ["flaky", times] if tries <= times.parse().unwrap() => 503,
                    ["302"] => {
                        headers.insert("location", HeaderValue::from_static("/elsewhere"));
                        302
                    }
                    ["429"] => {
                        headers.insert("retry-after", HeaderValue::from_static("7"));
                        429
                    }
                    ["set"] => set,
                    [code] => code.parse().unwrap_or(200),
                    _ => 200,
                };
                let status = StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap();
                (status, headers, "x".repeat(20_000)).into_response()
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, got, after }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn at(&self, path: &str) -> Vec<Got> {
        let path = format!("/{path}");
        self.got.lock().unwrap().iter().filter(|got| got.path == path).cloned().collect()
    }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A worker on the store of a world, with a clock that the test moves.
struct Sender {
    clock: Clock,
    vault: Arc<Vault>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn key() -> Arc<Vault> {
    Arc::new(Vault::read("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap())
}

fn sender(store: &Store, patience: Duration) -> Sender {
    let (clock, vault) = (Clock::default(), key());
    let options = Options { patience, clock: clock.clone(), ..Options::default() };
    let worker = Worker::new(store.clone(), Egress::default(), Arc::clone(&vault), options);
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(worker.work(stopped));
    Sender { clock, vault, stop, task }
}

impl Sender {
    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

async fn allow(store: &Store, tenant: TenantId, receiver: &Receiver) {
    let mut tx = store.begin(tenant).await.unwrap();
    let host = format!("127.0.0.1:{}", receiver.port);
    tx.add_egress_rule("private", &host, "operator").await.unwrap();
    tx.commit().await.unwrap();
}

fn settings(url: String, events: &[&str], ordered: bool) -> EndpointSettings {
    let events = events.iter().map(|&kind| kind.to_owned()).collect();
    EndpointSettings { url, description: String::new(), events, ordered }
}

async fn endpoint(
    store: &Store,
    tenant: TenantId,
    settings: EndpointSettings,
    asymmetric: bool,
) -> (Uuid, String) {
    let mut tx = store.begin(tenant).await.unwrap();
    let made = tx.add_endpoint(&settings, "test").await.unwrap();
    let secret = SigningSecret::new(asymmetric);
    let shown = keys::install(&mut tx, &key(), made.id, &secret, 24).await.unwrap();
    tx.commit().await.unwrap();
    (made.id, shown)
}

async fn publish(store: &Store, tenant: TenantId, kind: &str) -> Uuid {
    let mut tx = store.begin(tenant).await.unwrap();
    let event = tx.publish(kind, "x", &json!({ "id": "x" })).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    event
}

async fn state(store: &Store, tenant: TenantId, endpoint: Uuid, event: Uuid) -> (String, i32) {
    let mut tx = store.begin(tenant).await.unwrap();
    let (delivery, _, _) = tx.delivery(endpoint, event).await.unwrap();
    (delivery.state, delivery.attempts)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_told_signed_to_who_wants_it_and_what_is_not_is_not() {
    let world = World::new().await;
    let (store, one) = (&world.store, world.one);
    let receiver = Receiver::start().await;
    allow(store, one, &receiver).await;
    let (_, all) = endpoint(store, one, settings(receiver.url("all"), &[], false), false).await;
    let wanted = settings(receiver.url("approvals"), &["approval.*"], false);
    let (_, public) = endpoint(store, one, wanted, true).await;
    let sender = sender(store, Duration::from_secs(5));

    let mut tx = store.begin(one).await.unwrap();
    let (run, _) = tx.create_run(&new_run("told", "a")).await.unwrap();
    tx.append_event(
        run,
        "approval.requested",
        &json!({"tool": "pay", "arguments": {"to": "secret"}}),
    )
    .await
    .unwrap();
    tx.append_event(run, "call.started", &json!({})).await.unwrap();
    tx.append_event(run, "run.answered", &json!({"answer": "secret"})).await.unwrap();
    tx.commit().await.unwrap();
    // Taken back with its transaction.
    let mut tx = store.begin(one).await.unwrap();
    tx.append_event(run, "run.failed", &json!({})).await.unwrap();
    drop(tx);
    // Another joint venture's runs are told to nobody here.
    let mut tx = store.begin(world.two).await.unwrap();
    let (other, _) = tx.create_run(&new_run("told", "a")).await.unwrap();
    tx.append_event(other, "run.answered", &json!({})).await.unwrap();
    tx.commit().await.unwrap();

    until("three deliveries", async || {
        receiver.at("all").len() + receiver.at("approvals").len() == 3
    })
    .await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let kinds: HashSet<String> = receiver.at("all").iter().map(Got::kind).collect();
    assert_eq!(kinds, HashSet::from(["approval.requested".to_owned(), "run.completed".to_owned()]));
    let approvals = receiver.at("approvals");
    assert_eq!(approvals.len(), 1);
    assert!(approvals[0].verified(&public) && !approvals[0].verified(&all));
    for got in receiver.at("all") {
        assert!(got.verified(&all) && got.body.len() < 2000);
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!((&body["data"]["id"], &body["id"]), (&json!(run), &json!(got.id)));
        assert!(!body.to_string().contains("secret"), "{body}");
    }
    sender.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_as_published_under_one_identifier_until_it_is_given_up() {
    let world = World::new().await;
    let (store, one) = (&world.store, world.one);
    let receiver = Receiver::start().await;
    allow(store, one, &receiver).await;
    let (failing, _) = endpoint(store, one, settings(receiver.url("500"), &[], false), false).await;
    let (moved, _) = endpoint(store, one, settings(receiver.url("302"), &[], false), false).await;
    let (busy, _) = endpoint(store, one, settings(receiver.url("429"), &[], false), false).await;
    let sender = sender(store, Duration::from_secs(5));
    let event = publish(store, one, "run.completed").await;
    for (round, base) in (1..).zip(WAITS) {
        for (endpoint, path) in [(failing, "500"), (moved, "302"), (busy, "429")] {
            until("an attempt", async || {
                let (_, attempts) = state(store, one, endpoint, event).await;
                receiver.at(path).len() == round && attempts == i32::try_from(round).unwrap()
            })
            .await;
        }
        let waits = next_in(store, one, &[failing, moved], event, base).await;
        assert!(waits.iter().all(|share| (0.79..=1.21).contains(share)), "{round}: {waits:?}");
        if round == 1 {
            // Seven seconds were asked for.
            let waits = next_in(store, one, &[busy], event, base).await;
            assert!((1.2..=1.41).contains(&waits[0]), "{waits:?}");
        }
        // Not early: nothing is sent before four fifths of the wait.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(receiver.at("500").len(), round);
        sender.clock.advance(Duration::from_secs(base * 7 / 5 + 1));
    }
    for endpoint in [failing, moved, busy] {
        until("an end", async || state(store, one, endpoint, event).await.0 == "failed").await;
    }
    assert_eq!(receiver.at("elsewhere").len(), 0, "a redirect was followed");
    let got = receiver.at("500");
    assert_eq!(got.len(), 8);
    assert!(got.iter().all(|one| one.id == event_name(event)));
    let times: HashSet<&String> = got.iter().map(|one| &one.timestamp).collect();
    assert_eq!(times.len(), 8, "the timestamp is that of the attempt");

    let (delivery, body, log) =
        store.begin(one).await.unwrap().delivery(failing, event).await.unwrap();
    assert_eq!((delivery.last_status, log.len()), (Some(500), 8));
    assert_eq!(log[0].response_body.as_ref().unwrap().len(), 16 * 1024);
    assert_eq!(body.as_bytes(), &got[0].body[..]);
    assert!(log[0].request["headers"]["webhook-signature"].as_str().unwrap().starts_with("v1,"));
    sender.stop().await;
    world.close().await;
}

/// Returns in how many of the base wait each delivery is tried again.
async fn next_in(
    store: &Store,
    tenant: TenantId,
    endpoints: &[Uuid],
    event: Uuid,
    base: u64,
) -> Vec<f64> {
    let mut shares = Vec::new();
    for endpoint in endpoints {
        let mut tx = store.begin(tenant).await.unwrap();
        let (delivery, _, log) = tx.delivery(*endpoint, event).await.unwrap();
        let wait = delivery.next_at.unwrap().duration_since(log[0].at);
        #[expect(clippy::cast_precision_loss, reason = "hours")]
        shares.push(wait.as_secs_f64() / base as f64);
    }
    shares
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_or_only_fails_is_disabled_with_notice_and_sent_to_again_on_demand()
 {
    let world = World::new().await;
    let (store, one) = (&world.store, world.one);
    let receiver = Receiver::start().await;
    allow(store, one, &receiver).await;
    let (watching, _) =
        endpoint(store, one, settings(receiver.url("notices"), &["webhook.*"], false), false).await;
    let (gone, _) =
        endpoint(store, one, settings(receiver.url("410"), &["run.*"], false), false).await;
    let (set, _) =
        endpoint(store, one, settings(receiver.url("set"), &["run.*"], false), false).await;
    receiver.after.store(500, Ordering::SeqCst);
    let sender = sender(store, Duration::from_secs(5));
    let because = async |id: Uuid| {
        let found = store.begin(one).await.unwrap().endpoint(id).await.unwrap();
        (found.enabled, found.disabled_because)
    };
    let first = publish(store, one, "run.completed").await;
    until("it is gone", async || because(gone).await == (false, Some("gone".to_owned()))).await;
    until("a notice", async || receiver.at("notices").len() == 1).await;
    assert_eq!(state(store, one, gone, first).await.0, "failed");

    // One success within the 120 hours begins them anew.
    until("a failure", async || state(store, one, set, first).await.1 == 1).await;
    sender.clock.advance(Duration::from_secs(119 * 3600));
    until("more", async || state(store, one, set, first).await.1 == 2).await;
    receiver.after.store(200, Ordering::SeqCst);
    sender.clock.advance(Duration::from_secs(600));
    until("a success", async || state(store, one, set, first).await.0 == "delivered").await;
    receiver.after.store(500, Ordering::SeqCst);
    let second = publish(store, one, "run.failed").await;
    until("a failure", async || state(store, one, set, second).await.1 == 1).await;
    assert!(because(set).await.0);
    sender.clock.advance(Duration::from_secs(120 * 3600 + 60));
    until("it only fails", async || because(set).await == (false, Some("failing".to_owned())))
        .await;
    assert_eq!(state(store, one, set, second).await.0, "held");
    until("a notice", async || receiver.at("notices").len() == 2).await;
    let third = publish(store, one, "run.completed").await;
    assert_eq!(state(store, one, set, third).await.0, "held");
    assert!(store.begin(one).await.unwrap().replay(set, Replay::Event(third)).await.is_err());

    receiver.after.store(200, Ordering::SeqCst);
    let mut tx = store.begin(one).await.unwrap();
    assert_eq!(tx.enable_endpoint(set).await.unwrap(), 2);
    tx.commit().await.unwrap();
    for event in [second, third] {
        until("what was held", async || state(store, one, set, event).await.0 == "delivered").await;
    }
    // One and a range again, with the identifiers that they had.
    let before = receiver.at("set").len();
    let mut tx = store.begin(one).await.unwrap();
    assert_eq!(tx.replay(set, Replay::Event(first)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    until("it came again", async || receiver.at("set").len() == before + 1).await;
    assert_eq!(receiver.at("set").last().unwrap().id, event_name(first));
    let span = Replay::Span {
        from: jiff::Timestamp::UNIX_EPOCH,
        to: jiff::Timestamp::now(),
        failed_only: false,
    };
    let mut tx = store.begin(one).await.unwrap();
    assert_eq!(tx.replay(set, span).await.unwrap(), 3);
    tx.commit().await.unwrap();
    until("the range came", async || receiver.at("set").len() == before + 4).await;
    assert!(because(watching).await.0);
    sender.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_nobody_else_and_order_is_kept_where_it_is_asked_for() {
    let world = World::new().await;
    let store = &world.store;
    let receiver = Receiver::start().await;
    for tenant in [world.one, world.two] {
        allow(store, tenant, &receiver).await;
    }
    for number in 0..3 {
        let hanging = settings(receiver.url(&format!("hang/{number}")), &[], false);
        endpoint(store, world.one, hanging, false).await;
    }
    endpoint(store, world.two, settings(receiver.url("ok"), &[], false), false).await;
    let (ordered, _) =
        endpoint(store, world.two, settings(receiver.url("flaky/1"), &[], true), false).await;
    let sender = sender(store, Duration::from_secs(30));
    for _ in 0..40 {
        publish(store, world.one, "run.completed").await;
    }
    until("it hangs", async || !receiver.at("hang/0").is_empty()).await;
    let (mut sent, mut waits) = (Vec::new(), Vec::new());
    for count in 1..=20 {
        let begun = Instant::now();
        sent.push(event_name(publish(store, world.two, "run.completed").await));
        until("it came", async || receiver.at("ok").len() == count).await;
        waits.push(receiver.at("ok").last().unwrap().at.duration_since(begun));
    }
    let slowest = waits.iter().max().unwrap();
    // A hanging receiver takes thirty seconds; a busy machine may take one or two.
    assert!(*slowest < Duration::from_secs(3), "{waits:?}");
    // The first fails; the second waits behind it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.at("flaky/1").len(), 1);
    let begun = Instant::now();
    while receiver.at("flaky/1").len() < 40 && begun.elapsed() < Duration::from_secs(60) {
        sender.clock.advance(Duration::from_secs(7));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    until("all came", async || receiver.at("flaky/1").len() == 40).await;
    let mut order: Vec<String> = receiver.at("flaky/1").into_iter().map(|got| got.id).collect();
    order.dedup();
    assert_eq!(order, sent);
    let mut tx = store.begin(world.two).await.unwrap();
    until("all are noted", async || {
        tx.deliveries(ordered, Some("delivered"), None, 100).await.unwrap().len() == 20
    })
    .await;
    drop(tx);
    sender.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_signs_beside_the_new_one_until_its_grace_is_over() {
    let world = World::new().await;
    let (store, one) = (&world.store, world.one);
    let receiver = Receiver::start().await;
    allow(store, one, &receiver).await;
    let (id, old) = endpoint(store, one, settings(receiver.url("ok"), &[], false), false).await;
    let sender = sender(store, Duration::from_secs(5));
    let mut tx = store.begin(one).await.unwrap();
    let secret = SigningSecret::new(true);
    let new = keys::install(&mut tx, &sender.vault, id, &secret, 2).await.unwrap();
    tx.commit().await.unwrap();
    publish(store, one, "run.completed").await;
    until("it came", async || receiver.at("ok").len() == 1).await;
    let both = &receiver.at("ok")[0];
    assert!(both.verified(&old) && both.verified(&new));
    assert_eq!(both.signatures.split(' ').count(), 2);
    sender.clock.advance(Duration::from_secs(2 * 3600 + 1));
    publish(store, one, "run.completed").await;
    until("it came", async || receiver.at("ok").len() == 2).await;
    let last = &receiver.at("ok")[1];
    assert!(!last.verified(&old) && last.verified(&new));
    // Three old ones at most.
    let mut tx = store.begin(one).await.unwrap();
    for _ in 0..2 {
        let another = SigningSecret::new(false);
        keys::install(&mut tx, &sender.vault, id, &another, 2).await.unwrap();
    }
    let another = SigningSecret::new(false);
    let problem = keys::install(&mut tx, &sender.vault, id, &another, 2).await.unwrap_err();
    assert_eq!(problem.code, "conflict");
    drop(tx);
    sender.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_loses_nothing_and_what_was_in_its_hands_is_sent_again() {
    let world = World::new().await;
    let (store, one) = (&world.store, world.one);
    let receiver = Receiver::start().await;
    allow(store, one, &receiver).await;
    let (id, _) = endpoint(store, one, settings(receiver.url("hang/x"), &[], false), false).await;
    let first = sender(store, Duration::from_secs(30));
    let mut events = Vec::new();
    for _ in 0..100 {
        events.push(publish(store, one, "run.completed").await);
    }
    until("it is in hand", async || !receiver.at("hang/x").is_empty()).await;
    first.task.abort();
    let mut tx = store.begin(one).await.unwrap();
    tx.change_endpoint(id, &settings(receiver.url("ok"), &[], false)).await.unwrap();
    tx.commit().await.unwrap();
    let second = sender(store, Duration::from_secs(5));
    second.clock.advance(Duration::from_secs(100));
    until("all came", async || receiver.at("ok").len() >= 100).await;
    let mut tx = store.begin(one).await.unwrap();
    until("all are noted", async || {
        tx.deliveries(id, Some("delivered"), None, 200).await.unwrap().len() == 100
    })
    .await;
    drop(tx);
    let came: HashSet<String> = receiver.at("ok").into_iter().map(|got| got.id).collect();
    assert_eq!(came, events.into_iter().map(event_name).collect());
    second.stop().await;
    world.close().await;
}

/// A number of the environment: `TESSERA_TEST_EVENTS` and `TESSERA_TEST_RATE` make a measurement of
/// the test below.
fn setting<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_events_with_failing_receivers_none_is_lost_and_each_keeps_its_identifier() {
    let world = World::new().await;
    let (store, one) = (&world.store, world.one);
    let receiver = Receiver::start().await;
    allow(store, one, &receiver).await;
    // One receiver in ten fails: the first attempt of everything that it gets.
    for number in 0..10 {
        let path = if number == 0 { "flaky/1".to_owned() } else { format!("ok/{number}") };
        endpoint(store, one, settings(receiver.url(&path), &[], false), false).await;
    }
    let sender = sender(store, Duration::from_secs(20));
    let mut events = HashSet::new();
    let begun = Instant::now();
    let wanted = setting("TESSERA_TEST_EVENTS", 1_000);
    while events.len() * 10 < wanted {
        let mut tx = store.begin(one).await.unwrap();
        for _ in 0..10 {
            let event = tx.publish("run.completed", "x", &json!({ "id": "x" })).await.unwrap();
            events.insert(event_name(event.unwrap()));
        }
        tx.commit().await.unwrap();
    }
    let sent = events.len() * 10;
    let patience =
        Duration::from_secs(60) + Duration::from_millis(20) * u32::try_from(sent).unwrap();
    let through = async || {
        let got = receiver.got.lock().unwrap();
        let retried = got.iter().filter(|got| got.path == "/flaky/1").count();
        got.len() - retried + retried / 2
    };
    while through().await < sent {
        assert!(begun.elapsed() < patience, "{} of {sent} got through", through().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        // What failed is due at once.
        sender.clock.advance(Duration::from_secs(7));
    }
    let took = begun.elapsed();
    let mut of_path: HashMap<String, HashSet<String>> = HashMap::new();
    for got in receiver.got.lock().unwrap().iter() {
        of_path.entry(got.path.clone()).or_default().insert(got.id.clone());
    }
    assert_eq!(of_path.len(), 10);
    assert!(of_path.values().all(|ids| *ids == events), "an event was lost");
    until("all are settled", async || store.outbox_depth().await.unwrap().0 == 0).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = sent as f64 / took.as_secs_f64();
    let least = setting("TESSERA_TEST_RATE", 20.0);
    assert!(rate > least, "{sent} deliveries in {took:?}: {rate:.0} a second");
    sender.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_made_changed_tested_and_rotated_over_http_and_by_its_joint_venture_alone() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let receiver = Receiver::start().await;
    let host = format!("127.0.0.1:{}", receiver.port);
    let (client, other) = (Client::of(&server, "finance"), Client::of(&server, "energy"));
    let base = "/v1/webhooks/endpoints";
    let new = |url: &str| json!({"url": url, "events": ["run.*", "webhook.test"]}).to_string();
    let (status, problem) = client.post(base, new(&receiver.url("ok"))).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("scheme")), "{problem}");
    let allow = ["egress", "allow", "demo-finance", &host, "--private"];
    assert!(output(&folder.path(), &allow).status.success());
    for (body, code) in [
        (new("https://169.254.169.254/"), "forbidden_address"),
        (new("https://localhost/"), "private_address"),
        (new("ftp://example.com/"), "scheme"),
        (
            json!({"url": "https://example.com/", "events": ["run.flown"]}).to_string(),
            "invalid_event_type",
        ),
        (json!({"url": "https://example.com/", "scheme": "v2"}).to_string(), "invalid_json"),
    ] {
        let (status, problem) = client.post(base, body).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some(code)), "{problem}");
    }
    let (status, made) = client.post(base, new(&receiver.url("ok"))).await;
    assert_eq!(status, 201, "{made}");
    let secret = made["secret"].as_str().unwrap().to_owned();
    let one = format!("{base}/{}", made["id"].as_str().unwrap());
    for path in [one.clone(), format!("{one}/deliveries")] {
        assert_eq!((client.get(&path).await.0, other.get(&path).await.0), (200, 404), "{path}");
    }
    for part in ["test", "rotate", "replay"] {
        assert_eq!(
            other.post(&format!("{one}/{part}"), r#"{"from": "2026-01-01T00:00:00Z"}"#).await.0
                / 100,
            4
        );
    }
    assert!(!client.get(&one).await.1.to_string().contains(&secret), "a secret is shown twice");
    let (status, tested) = client.post(&format!("{one}/test"), "").await;
    assert_eq!(status, 202, "{tested}");
    client.ask("finance", "Is the IBAN DE89370400440532013000 correct?").await;
    until("both came", async || receiver.at("ok").len() == 2).await;
    assert!(receiver.at("ok").iter().all(|got| got.verified(&secret)));
    let log = format!("{one}/deliveries/{}", tested["event"].as_str().unwrap());
    until("it is noted", async || client.get(&log).await.1["state"] == "delivered").await;
    let (_, shown) = client.get(&log).await;
    assert_eq!(shown["log"][0]["status"], 200, "{shown}");

    let tag = |version: &str| {
        let request = client.http.patch(format!("{}{one}", client.base)).bearer_auth(&client.key);
        let request = request.header("if-match", version).body(r#"{"enabled": false}"#);
        async move { request.header("content-type", "application/json").send().await.unwrap() }
    };
    assert_eq!(tag("\"7\"").await.status().as_u16(), 412);
    let changed = tag("\"1\"").await;
    assert_eq!(changed.status().as_u16(), 200);
    assert_eq!(changed.headers()["etag"], "\"3\"");
    let again = json!({ "event": tested["event"] }).to_string();
    let (status, problem) = client.post(&format!("{one}/replay"), again).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_is_rotated_and_the_dump_of_the_database_holds_no_secret() {
    let folder = Folder::new();
    let server = Server::start(&folder.path());
    let client = Client::of(&server, "finance");
    let (_, made) =
        client.post("/v1/webhooks/endpoints", r#"{"url": "https://example.com/"}"#).await;
    let one = format!("/v1/webhooks/endpoints/{}/test", made["id"].as_str().unwrap());
    assert_eq!(server.stop(), Some(0));
    let before = std::fs::read_to_string(folder.path().join("master.key")).unwrap();
    let rotated = output(&folder.path(), &["secrets", "rotate", "--forget"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let after = std::fs::read_to_string(folder.path().join("master.key")).unwrap();
    assert!(before != after && after.trim().lines().count() == 1);
    let server = Server::start(&folder.path());
    let client = Client { base: format!("http://{}", server.address), ..client };
    assert_eq!(client.post(&one, "").await.0, 202);
    let said: HashMap<String, Value> =
        serde_json::from_value(client.get("/v1/egress").await.1).unwrap();
    assert!(said.contains_key("refusals"));
}
