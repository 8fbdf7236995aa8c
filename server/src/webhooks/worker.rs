//! Sends what the outbox holds.
//!
//! One task for each endpoint with something due, so that a receiver that hangs holds up its own
//! events and no others'; a joint venture has at most [`Options::per_tenant`] of them at a time. A
//! delivery is taken for longer than an attempt can last and comes back by itself if the worker dies.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::keys::signing;
use super::schedule::{retry_after, wait};
use super::sign::SigningSecret;
use crate::egress::{Answer, Egress, EgressError, Limits, Outgoing, Rules, note};
use crate::ops::metrics;
use crate::store::{
    Attempt, Endpoint, Settled, Store, StoreError, Taken, TenantId, WEBHOOKS, event_name,
};
use crate::vault::Vault;

/// Longest wait between two looks at the queue; a wake-up of this process ends it early.
const POLL: Duration = Duration::from_millis(250);
/// Longest body of an answer that is kept, bytes.
const MAX_ANSWER: usize = 16 * 1024;
/// Time of nothing but failures after which an endpoint is not sent to any more.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(120);
/// Transactions at a time: the pool is the whole server's.
const CONNECTIONS: usize = 4;
/// Days that the log is kept.
const KEPT_DAYS: i32 = 30;

/// Moves the clock of the worker against the database's, for tests. Seconds.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Moves it ahead.
    pub fn advance(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    #[expect(clippy::cast_precision_loss, reason = "days, not ages")]
    fn shift(&self) -> f64 {
        self.0.load(Ordering::SeqCst) as f64
    }

    fn now(&self) -> Timestamp {
        let shift = SignedDuration::from_secs(self.0.load(Ordering::SeqCst));
        Timestamp::now().saturating_add(shift).unwrap_or(Timestamp::MAX)
    }
}

/// Bounds of the worker.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time for one attempt.
    pub patience: Duration,
    /// Events that one endpoint is sent at a time.
    pub batch: i64,
    /// Endpoints of one joint venture that are sent to at a time.
    pub per_tenant: usize,
    /// Endpoints that are sent to at a time.
    pub in_all: usize,
    /// The clock.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        let patience = Duration::from_secs(30);
        Self { patience, batch: 32, per_tenant: 32, in_all: 512, clock: Clock::default() }
    }
}

/// The worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Worker {
    store: Store,
    egress: Egress,
    vault: Arc<Vault>,
    options: Options,
    busy: Arc<Mutex<HashSet<(TenantId, Uuid)>>>,
    connections: Arc<Semaphore>,
}

impl Worker {
    /// Builds it.
    pub fn new(store: Store, egress: Egress, vault: Arc<Vault>, options: Options) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        Self { store, egress, vault, options, busy: Arc::default(), connections }
    }

    /// Works until `stop` turns true; attempts in hand are then left to the next start.
    pub async fn work(self, mut stop: watch::Receiver<bool>) {
        let mut wakes = self.store.wakes();
        let mut swept: Option<Instant> = None;
        let mut tasks = tokio::task::JoinSet::new();
        while !*stop.borrow() {
            if swept.is_none_or(|at| at.elapsed() > Duration::from_secs(3600)) {
                self.sweep().await;
                swept = Some(Instant::now());
            }
            match self.store.due_endpoints(self.options.clock.shift()).await {
                Ok(due) => {
                    for (tenant, endpoint) in self.admit(due) {
                        let own = self.clone();
                        tasks.spawn(async move { own.serve(tenant, endpoint).await });
                    }
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be read"),
            }
            let woken = async {
                loop {
                    match wakes.recv().await {
                        Ok(wake) if wake.run != WEBHOOKS => {}
                        _ => return,
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = woken => {}
                Some(_) = tasks.join_next() => {}
                _ = stop.changed() => {}
            }
        }
        // What was taken comes back to the queue by itself.
        tasks.abort_all();
    }

    /// Chooses whom to serve now, and marks them as busy.
    fn admit(&self, due: Vec<(TenantId, Uuid)>) -> Vec<(TenantId, Uuid)> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_tenant: HashMap<TenantId, usize> = HashMap::new();
        for (tenant, _) in busy.iter() {
            *of_tenant.entry(*tenant).or_default() += 1;
        }
        let mut chosen = Vec::new();
        for one in due {
            let count = of_tenant.entry(one.0).or_default();
            if busy.len() < self.options.in_all
                && *count < self.options.per_tenant
                && busy.insert(one)
            {
                *count += 1;
                chosen.push(one);
            }
        }
        chosen
    }

    async fn sweep(&self) {
        let pruned = async {
            for member in self.store.directory().await? {
                let mut tx = self.store.begin(member.tenant_id).await?;
                tx.prune_webhooks(KEPT_DAYS).await?;
                tx.commit().await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = pruned.await {
            tracing::warn!(%error, "old deliveries are kept for now");
        }
    }

    /// Sends what is due to one endpoint until nothing is.
    async fn serve(&self, tenant: TenantId, endpoint: Uuid) {
        let _done = Done(self, (tenant, endpoint));
        loop {
            match self.batch(tenant, endpoint).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%tenant, %endpoint, %error, "deliveries are tried again later");
                    // Not at once again, whatever the reason is.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    return;
                }
            }
        }
    }

    /// Sends one batch; false when nothing was due.
    async fn batch(&self, tenant: TenantId, id: Uuid) -> Result<bool, StoreError> {
        let shift = self.options.clock.shift();
        let turn = self.connections.acquire().await;
        let rules = Egress::rules(&self.store, tenant).await?;
        let mut tx = self.store.begin(tenant).await?;
        let endpoint = match tx.endpoint(id).await {
            Ok(endpoint) if endpoint.enabled => endpoint,
            Ok(_) | Err(StoreError::NotFound(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let lease = self.options.patience * 2 + Duration::from_secs(30);
        let limit = self.options.batch;
        let taken = tx.take_deliveries(id, endpoint.ordered, limit, lease, shift).await?;
        let secrets = signing(&mut tx, &self.vault, id, shift).await;
        tx.commit().await?;
        drop(turn);
        if taken.is_empty() {
            return Ok(false);
        }
        let attempts =
            taken.iter().map(|one| self.attempt(tenant, &endpoint, &rules, &secrets, one));
        let attempts = join_all(attempts).await;
        self.settle(tenant, &endpoint, &attempts).await?;
        Ok(true)
    }

    async fn settle(
        &self,
        tenant: TenantId,
        endpoint: &Endpoint,
        attempts: &[Attempt],
    ) -> Result<(), StoreError> {
        let _turn = self.connections.acquire().await;
        let mut tx = self.store.begin(tenant).await?;
        let shift = self.options.clock.shift();
        let failing = tx.settle_deliveries(endpoint.id, attempts, shift).await?;
        let gone = attempts.iter().any(|attempt| attempt.status == Some(410));
        let since = failing.map(|since| self.options.clock.now().duration_since(since));
        let because = match since {
            _ if gone => Some("gone"),
            Some(since) if since >= GIVE_UP => Some("failing"),
            _ => None,
        };
        if let Some(because) = because
            && tx.disable_endpoint(endpoint.id, because).await?
        {
            tracing::warn!(%tenant, endpoint = %endpoint.id, because, "an endpoint is disabled");
            let data = json!({"id": endpoint.id, "object": "webhook_endpoint", "because": because,
                              "failing_since": failing.map(|at| at.to_string())});
            tx.publish("webhook.endpoint_disabled", &endpoint.id.to_string(), &data).await?;
        }
        tx.commit().await
    }

    async fn attempt(
        &self,
        tenant: TenantId,
        endpoint: &Endpoint,
        rules: &Arc<Rules>,
        secrets: &Result<Vec<SigningSecret>, String>,
        taken: &Taken,
    ) -> Attempt {
        let (at, begun) = (self.options.clock.now(), Instant::now());
        let outgoing = secrets.as_ref().map_err(Clone::clone);
        let outgoing = outgoing.and_then(|secrets| self.outgoing(endpoint, secrets, taken, at));
        let (request, sent) = match outgoing {
            Ok(outgoing) => {
                let sent = self.egress.send(Some(tenant), rules, &outgoing).await;
                (shown(&outgoing), sent)
            }
            Err(error) => (json!({}), Err(EgressError::Broken(error))),
        };
        if let Err(EgressError::Refused(refusal)) = &sent
            && let Err(error) = note(&self.store, tenant, "webhook", refusal).await
        {
            tracing::error!(%error, "a refusal was not noted");
        }
        let ms = i32::try_from(begun.elapsed().as_millis()).unwrap_or(i32::MAX);
        let attempt = conclude(taken, at, ms, request, sent);
        metrics::observe(metrics::ATTEMPT_SECONDS, &[], begun.elapsed().as_secs_f64());
        metrics::count(metrics::ATTEMPTS, &[attempt.settled.name()]);
        attempt
    }

    fn outgoing(
        &self,
        endpoint: &Endpoint,
        secrets: &[SigningSecret],
        taken: &Taken,
        at: Timestamp,
    ) -> Result<Outgoing, String> {
        if secrets.is_empty() {
            return Err("the endpoint has no secret; rotate it".to_owned());
        }
        let (id, seconds) = (event_name(taken.event), at.as_second());
        let body = taken.body.as_bytes();
        let signatures: Vec<String> =
            secrets.iter().map(|secret| secret.sign(&id, seconds, body)).collect();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [
            ("webhook-id", id),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ] {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let limits =
            Limits { time: self.options.patience, body: MAX_ANSWER, cut: true, redirects: 0 };
        let (method, url, body) = (Method::POST, endpoint.url.clone(), body.to_vec());
        Ok(Outgoing { method, url, headers, body, limits })
    }
}

/// Marks an endpoint as not busy, however its task ends.
struct Done<'a>(&'a Worker, (TenantId, Uuid));

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

fn shown(outgoing: &Outgoing) -> Value {
    json!({ "method": "POST", "url": outgoing.url, "headers": shown_headers(&outgoing.headers) })
}

fn shown_headers(headers: &HeaderMap) -> Value {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).replace('\0', "");
    // A receiver may send many and long ones; the log keeps what a person reads.
    let pairs = headers.iter().take(64).map(|(name, value)| {
        let value: String = text(value).chars().take(1024).collect();
        (name.as_str().to_owned(), Value::String(value))
    });
    Value::Object(pairs.collect())
}

/// Says what an attempt came to. Nothing but 2xx is a success; a redirect is none.
fn conclude(
    taken: &Taken,
    at: Timestamp,
    ms: i32,
    request: Value,
    sent: Result<Answer, EgressError>,
) -> Attempt {
    let mut attempt = Attempt {
        event: taken.event,
        taken: taken.taken,
        at,
        ms,
        status: None,
        error: None,
        request,
        response_headers: None,
        response_body: None,
        settled: Settled::Delivered,
    };
    let mut asked = None;
    match sent {
        Ok(answer) => {
            let status = answer.status;
            attempt.status = Some(status.as_u16().into());
            attempt.response_headers = Some(shown_headers(&answer.headers));
            let body = String::from_utf8_lossy(&answer.body).replace('\0', "\u{fffd}");
            attempt.response_body = Some(body);
            if status.is_success() {
                return attempt;
            }
            attempt.error = Some(match status.as_u16() {
                300..400 => "the receiver redirects; give the address it points to".to_owned(),
                410 => "the receiver says that it is gone".to_owned(),
                code => format!("the receiver answered {code}"),
            });
            if status.as_u16() == 410 {
                attempt.settled = Settled::Failed;
                return attempt;
            }
            let header = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            asked = header.and_then(|value| retry_after(value, at));
        }
        Err(error) => attempt.error = Some(error.to_string()),
    }
    let failed = usize::try_from(taken.attempts).unwrap_or_default() + 1;
    attempt.settled = match wait(failed, asked, rand::random()) {
        Some(wait) => Settled::Again(wait),
        None => Settled::Failed,
    };
    attempt
}
