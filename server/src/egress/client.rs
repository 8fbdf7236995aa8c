//! Sends requests under rules; the only place that builds a client.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, LOCATION};
use reqwest::{Client, Method, redirect};
use rustls::{ClientConfig, RootCertStore};

use super::resolve::{Guarded, Lookup, System};
use super::rules::{Rules, Target, judged, target};
use super::{Answer, EgressError, Limits, Outgoing, Refusal};
use crate::store::TenantId;

/// Longest time to a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Clients kept; beyond it all are dropped and made anew as they are needed.
const CLIENTS: usize = 256;

/// Whom a client serves, under which rules, and whether to private hosts. No two share connections.
type Owner = (Option<TenantId>, Arc<Rules>, bool);

/// The one way out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Egress {
    lookup: Arc<dyn Lookup>,
    clients: Arc<Mutex<HashMap<Owner, Client>>>,
}

impl Default for Egress {
    fn default() -> Self {
        Self::with_lookup(Arc::new(System))
    }
}

/// Certificates of the system, read once. Where there are none, only TLS fails.
static TLS: LazyLock<Result<ClientConfig, String>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::warn!("this machine has no CA certificates; https cannot be reached");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
});

impl Egress {
    /// Builds one that looks names up elsewhere.
    pub fn with_lookup(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, clients: Arc::default() }
    }

    /// Sends a request for a tenant, or for the operator, under rules.
    ///
    /// # Errors
    /// [`EgressError::Refused`] before anything is sent to the host that is refused.
    pub async fn send(
        &self,
        tenant: Option<TenantId>,
        rules: &Arc<Rules>,
        outgoing: &Outgoing,
    ) -> Result<Answer, EgressError> {
        let limits = outgoing.limits;
        let sent = self.follow(tenant, rules, outgoing);
        tokio::time::timeout(limits.time, sent).await.unwrap_or(Err(EgressError::Late(limits.time)))
    }

    async fn follow(
        &self,
        tenant: Option<TenantId>,
        rules: &Arc<Rules>,
        outgoing: &Outgoing,
    ) -> Result<Answer, EgressError> {
        let mut outgoing = outgoing.clone();
        let mut left = outgoing.limits.redirects;
        loop {
            let at = target(&outgoing.url, rules)?;
            let answer = self.once(tenant, rules, &at, &outgoing).await?;
            let next = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let (true, Some(next)) = (answer.status.is_redirection(), next) else {
                return Ok(answer);
            };
            if left == 0 || outgoing.method != Method::GET {
                return Ok(answer);
            }
            left -= 1;
            let detail = "the answer points to no address";
            let next = at.url.join(next).map_err(|_| Refusal::new("redirect", &at.host, detail))?;
            if next.origin() != at.url.origin() {
                outgoing.headers.remove(AUTHORIZATION);
                outgoing.headers.remove(COOKIE);
            }
            outgoing.url = next.into();
        }
    }

    async fn once(
        &self,
        tenant: Option<TenantId>,
        rules: &Arc<Rules>,
        at: &Target,
        outgoing: &Outgoing,
    ) -> Result<Answer, EgressError> {
        let client = self.client((tenant, Arc::clone(rules), at.private))?;
        let request = client
            .request(outgoing.method.clone(), at.url.clone())
            .headers(outgoing.headers.clone())
            .body(outgoing.body.clone());
        let answer = request.send().await.map_err(broken)?;
        if let Some(peer) = answer.remote_addr() {
            judged(&at.host, peer.ip(), at.private)?;
        }
        read(answer, outgoing.limits).await
    }

    fn client(&self, owner: Owner) -> Result<Client, EgressError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&owner) {
            return Ok(client.clone());
        }
        let (_, rules, private) = &owner;
        let guarded = Guarded {
            lookup: Arc::clone(&self.lookup),
            rules: Arc::clone(rules),
            private: *private,
        };
        let tls = TLS.as_ref().map_err(|error| EgressError::Broken(error.clone()))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .dns_resolver(guarded)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .gzip(true)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(16)
            .user_agent(concat!("Tessera/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(broken)?;
        if clients.len() >= CLIENTS {
            clients.clear();
        }
        clients.insert(owner, client.clone());
        Ok(client)
    }
}

/// Reads a body up to its limit. What is counted is unpacked, so a small bomb is a large answer.
async fn read(mut answer: reqwest::Response, limits: Limits) -> Result<Answer, EgressError> {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    let mut cut = false;
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        let room = limits.body - body.len();
        if chunk.len() > room {
            if !limits.cut {
                return Err(EgressError::TooLong(limits.body));
            }
            body.extend_from_slice(&chunk[..room]);
            cut = true;
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body, cut })
}

/// Finds a refusal of the resolver inside a client's error; anything else loses its address, which
/// may hold a secret.
fn broken(error: reqwest::Error) -> EgressError {
    let mut inner: Option<&(dyn Error + 'static)> = Some(&error);
    let mut last = String::new();
    while let Some(cause) = inner {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return EgressError::Refused(refusal.clone());
        }
        inner = cause.source();
        if inner.is_none() {
            last = cause.to_string();
        }
    }
    let connecting = error.is_connect();
    let error = error.without_url().to_string();
    let said = if last == error { error } else { format!("{error}: {last}") };
    if connecting { EgressError::Unreachable(said) } else { EgressError::Broken(said) }
}
