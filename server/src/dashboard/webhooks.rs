//! The pages of webhooks: endpoints with the log of their deliveries. They work without scripts.
//! What comes in is in [`super::sources`].

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use uuid::Uuid;

use super::sources::{self, SourceLine};
use super::view::{Badge, Frame, when};
use super::{CancelForm, Fields, Trouble, enter, enter_form, frame, show};
use crate::auth::Browser;
use crate::egress::Egress;
use crate::error::Problem;
use crate::outcomes::api::kpis_of;
use crate::state::AppState;
use crate::store::{
    Delivery, EVENT_TYPES, EgressRefusal, EgressRule, Endpoint, EndpointSettings, LoggedAttempt,
    Replay, Session, TenantTx, event_name,
};
use crate::webhooks::api::{GRACE_HOURS, test_event};
use crate::webhooks::sign::SigningSecret;
use crate::webhooks::{SCOPE, checked, keys};

/// Deliveries on a page.
const PAGE: usize = 50;

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/webhooks", get(list).post(create))
        .route("/jv/{slug}/webhooks/{endpoint}", get(one))
        .route("/jv/{slug}/webhooks/{endpoint}/{action}", post(act))
        .route("/jv/{slug}/webhooks/{endpoint}/deliveries/{event}", get(delivery).post(again))
        .merge(sources::routes())
}

fn endpoint_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found("webhook endpoint"))
}

fn event_id(text: &str) -> Result<Uuid, Problem> {
    let text = text.strip_prefix("evt_").unwrap_or(text);
    text.parse().map_err(|_| Problem::not_found("delivery"))
}

/// An endpoint on a page.
struct EndpointLine {
    id: String,
    url: String,
    description: String,
    events: String,
    ordered: bool,
    enabled: bool,
    badge: Badge,
    /// Why nothing is sent or what fails, as a sentence; empty when all is well.
    trouble: String,
    made: String,
}

impl EndpointLine {
    fn of(endpoint: &Endpoint) -> Self {
        let because = endpoint.disabled_because.as_deref().unwrap_or_default();
        let since = endpoint.failing_since.as_ref().map(when);
        let (word, class, trouble) = match (because, since) {
            ("gone", _) => ("Gone", "bad", "The receiver answered 410. Nothing is sent any more.".to_owned()),
            ("failing", _) => (
                "Switched off",
                "bad",
                "Nothing got through for five days. What was meant for it is held and is sent when you switch it on.".to_owned(),
            ),
            ("paused", _) => ("Paused", "calm", "What is meant for it is held.".to_owned()),
            (_, Some(since)) => ("Failing", "ask", format!("Nothing has got through since {since}.")),
            _ => ("Sending", "good", String::new()),
        };
        let events = match endpoint.events.as_slice() {
            [] => "everything".to_owned(),
            some => some.join(", "),
        };
        Self {
            id: endpoint.id.to_string(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            events,
            ordered: endpoint.ordered,
            enabled: endpoint.enabled,
            badge: Badge { word, class },
            trouble,
            made: format!("{}, {}", endpoint.created_by, when(&endpoint.created_at)),
        }
    }
}

/// `/jv/{slug}/webhooks`
#[derive(Template)]
#[template(path = "webhooks.html")]
struct WebhooksPage {
    frame: Frame,
    endpoints: Vec<EndpointLine>,
    sources: Vec<SourceLine>,
    hosts: Vec<EgressRule>,
    refusals: Vec<EgressRefusal>,
    types: &'static [(&'static str, &'static str)],
    kpis: Vec<String>,
    fault: String,
    url: String,
}

async fn list(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    page(&state, &session, &mut tx, String::new(), String::new()).await
}

async fn page(
    state: &AppState,
    session: &Session,
    tx: &mut TenantTx,
    fault: String,
    url: String,
) -> Result<Response, Trouble> {
    let frame = frame(state, session, tx, "webhooks").await?;
    let status = if fault.is_empty() { 200 } else { 422 };
    let measured = kpis_of(state, tx).await?.into_iter().filter(|kpi| kpi.measure.is_some());
    let page = WebhooksPage {
        frame,
        endpoints: tx.endpoints().await?.iter().map(EndpointLine::of).collect(),
        sources: tx.sources().await?.iter().map(|s| SourceLine::of(tx.tenant_id(), s)).collect(),
        hosts: tx.egress_rules().await?,
        refusals: tx.egress_refusals().await?,
        types: &EVENT_TYPES,
        kpis: measured.map(|kpi| kpi.id).collect(),
        fault,
        url,
    };
    let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    Ok((status, show(&page)).into_response())
}

#[derive(Deserialize)]
struct EndpointForm {
    csrf: String,
    url: String,
    #[serde(default)]
    description: String,
    /// Types, parted by commas or spaces; empty for all.
    #[serde(default)]
    events: String,
    ordered: Option<String>,
    asymmetric: Option<String>,
}

impl EndpointForm {
    fn settings(&self) -> EndpointSettings {
        let words = self.events.split([',', ' ', '\n']).map(str::trim);
        EndpointSettings {
            url: self.url.trim().to_owned(),
            description: self.description.trim().to_owned(),
            events: words.filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            ordered: self.ordered.is_some(),
        }
    }
}

/// A secret, shown once.
#[derive(Template)]
#[template(path = "webhook_secret.html")]
pub(super) struct SecretPage {
    pub(super) frame: Frame,
    /// What it is for.
    pub(super) title: String,
    pub(super) secret: String,
    /// What to do with it, one sentence.
    pub(super) hint: String,
    /// Address to give to a sender; empty for an endpoint.
    pub(super) address: String,
    /// Where the page leads on.
    pub(super) next: String,
}

async fn create(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<EndpointForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let settings = form.settings();
    let rules = Egress::rules(&state.store, session.tenant_id).await?;
    if let Err(problem) = checked(&settings, &rules) {
        // What was written is kept in the box.
        return page(&state, &session, &mut tx, problem.detail, form.url).await;
    }
    let endpoint = tx.add_endpoint(&settings, &session.subject).await?;
    let secret = SigningSecret::new(form.asymmetric.is_some());
    let shown = keys::install(&mut tx, &state.vault, endpoint.id, &secret, GRACE_HOURS).await?;
    let page = secret_page(&state, &session, &mut tx, &endpoint, shown).await?;
    tx.commit().await?;
    Ok(page)
}

async fn secret_page(
    state: &AppState,
    session: &Session,
    tx: &mut TenantTx,
    endpoint: &Endpoint,
    secret: String,
) -> Result<Response, Problem> {
    let frame = frame(state, session, tx, "webhooks").await?;
    let next = format!("/jv/{}/webhooks/{}", frame.slug, endpoint.id);
    let hint = if secret.starts_with("whpk_") {
        "The receiver verifies by this public key; the private one stays here."
    } else {
        "Give it to the receiver, which verifies by it. It is shown only now."
    };
    let title = format!("The secret of {}", endpoint.url);
    let (hint, address) = (hint.to_owned(), String::new());
    Ok(show(&SecretPage { frame, title, secret, hint, address, next }))
}

/// A delivery on a page.
struct DeliveryLine {
    id: String,
    kind: String,
    badge: Badge,
    attempts: i32,
    outcome: String,
    at: String,
    next: String,
}

impl DeliveryLine {
    fn of(one: &Delivery) -> Self {
        let (word, class) = match one.state.as_str() {
            "delivered" => ("Got through", "good"),
            "failed" => ("Given up", "bad"),
            "held" => ("Held", "calm"),
            _ if one.attempts > 0 => ("Tries again", "ask"),
            _ => ("Waits", "wait"),
        };
        let status = one.last_status.map(|status| status.to_string()).unwrap_or_default();
        Self {
            id: event_name(one.event),
            kind: one.kind.clone(),
            badge: Badge { word, class },
            attempts: one.attempts,
            outcome: one.last_error.clone().unwrap_or(status),
            at: when(&one.created_at),
            next: one.next_at.as_ref().map(when).unwrap_or_default(),
        }
    }
}

/// `/jv/{slug}/webhooks/{endpoint}`
#[derive(Template)]
#[template(path = "webhook.html")]
struct WebhookPage {
    frame: Frame,
    line: EndpointLine,
    secrets: Vec<(String, String, String)>,
    deliveries: Vec<DeliveryLine>,
    states: [(&'static str, &'static str); 5],
    state: String,
    next: String,
    said: &'static str,
}

const STATES: [(&str, &str); 5] = [
    ("", "All"),
    ("pending", "Waiting"),
    ("delivered", "Got through"),
    ("failed", "Given up"),
    ("held", "Held"),
];

#[derive(Deserialize, Default)]
struct LogQuery {
    #[serde(default)]
    state: String,
    #[serde(default)]
    after: String,
    #[serde(default)]
    said: String,
}

async fn one(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, endpoint)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let endpoint = tx.endpoint(endpoint_id(&endpoint)?).await?;
    let wanted = STATES.iter().map(|(name, _)| *name).find(|name| *name == query.state);
    let wanted = wanted.filter(|name| !name.is_empty());
    let after = event_id(&query.after).ok();
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut found = tx.deliveries(endpoint.id, wanted, after, limit).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map_or_else(String::new, |last| {
        let (state, after) = (wanted.unwrap_or_default(), event_name(last.event));
        format!("/jv/{slug}/webhooks/{}?state={state}&after={after}", endpoint.id)
    });
    let secrets = tx.endpoint_secrets(endpoint.id, 0.0).await?;
    let secrets = secrets.iter().map(|secret| {
        let until = secret.expires_at.as_ref().map(when);
        let until = until.map_or_else(|| "signs".to_owned(), |at| format!("signs until {at}"));
        (secret.scheme.clone(), secret.public_key.clone().unwrap_or_default(), until)
    });
    Ok(show(&WebhookPage {
        line: EndpointLine::of(&endpoint),
        secrets: secrets.collect(),
        deliveries: found.iter().map(DeliveryLine::of).collect(),
        states: STATES,
        state: wanted.unwrap_or_default().to_owned(),
        next,
        said: match query.said.as_str() {
            "test" => "A test event is on its way; reload to see what came of it.",
            "replay" => "What matched is sent again, under the identifiers that it had.",
            _ => "",
        },
        frame: frame(&state, &session, &mut tx, "webhooks").await?,
    }))
}

#[derive(Deserialize)]
struct ActionForm {
    csrf: String,
    /// Hours that a replay looks back.
    hours: Option<i64>,
    failed_only: Option<String>,
}

async fn act(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, endpoint, action)): Path<(String, String, String)>,
    Fields(form): Fields<ActionForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let endpoint = tx.endpoint(endpoint_id(&endpoint)?).await?;
    let mut to = format!("/jv/{slug}/webhooks/{}", endpoint.id);
    match action.as_str() {
        "test" => {
            test_event(&mut tx, endpoint.id, &session.subject).await?;
            to += "?said=test";
        }
        "pause" => drop(tx.disable_endpoint(endpoint.id, "paused").await?),
        "enable" => drop(tx.enable_endpoint(endpoint.id).await?),
        "replay" => {
            let hours = form.hours.unwrap_or(24).clamp(1, 24 * 31);
            let now = Timestamp::now();
            let from = now.saturating_sub(SignedDuration::from_hours(hours));
            let from = from.unwrap_or(Timestamp::UNIX_EPOCH);
            let failed_only = form.failed_only.is_some();
            tx.replay(endpoint.id, Replay::Span { from, to: now, failed_only }).await?;
            to += "?said=replay";
        }
        "rotate" => {
            let now = tx.endpoint_secrets(endpoint.id, 0.0).await?;
            let secret = SigningSecret::new(now.first().is_some_and(|s| s.scheme == "v1a"));
            let shown =
                keys::install(&mut tx, &state.vault, endpoint.id, &secret, GRACE_HOURS).await?;
            let page = secret_page(&state, &session, &mut tx, &endpoint, shown).await?;
            tx.commit().await?;
            return Ok(page);
        }
        "delete" => {
            tx.delete_endpoint(endpoint.id).await?;
            to = format!("/jv/{slug}/webhooks");
        }
        _ => return Err(Problem::not_found("action").into()),
    }
    tx.commit().await?;
    Ok(Redirect::to(&to).into_response())
}

/// An attempt on a page.
struct AttemptLine {
    at: String,
    ms: i32,
    outcome: String,
    good: bool,
    request: String,
    headers: String,
    body: String,
}

fn lines(headers: Option<&serde_json::Value>) -> String {
    let pairs = headers.and_then(serde_json::Value::as_object);
    let pairs = pairs.into_iter().flatten();
    let line = |(name, value): (&String, &serde_json::Value)| {
        format!("{name}: {}\n", value.as_str().unwrap_or_default())
    };
    pairs.map(line).collect()
}

impl AttemptLine {
    fn of(one: &LoggedAttempt) -> Self {
        let url = one.request["url"].as_str().unwrap_or_default();
        let status = one.status.map_or_else(|| "no answer".to_owned(), |s| s.to_string());
        Self {
            at: when(&one.at),
            ms: one.ms,
            outcome: one.error.clone().unwrap_or(status),
            good: one.error.is_none(),
            request: format!("POST {url}\n{}", lines(one.request.get("headers"))),
            headers: lines(one.response_headers.as_ref()),
            body: one.response_body.clone().unwrap_or_default(),
        }
    }
}

/// `/jv/{slug}/webhooks/{endpoint}/deliveries/{event}`
#[derive(Template)]
#[template(path = "webhook_delivery.html")]
struct DeliveryPage {
    frame: Frame,
    endpoint: EndpointLine,
    line: DeliveryLine,
    run: String,
    body: String,
    attempts: Vec<AttemptLine>,
}

async fn delivery(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, endpoint, event)): Path<(String, String, String)>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let endpoint = tx.endpoint(endpoint_id(&endpoint)?).await?;
    let (found, body, attempts) = tx.delivery(endpoint.id, event_id(&event)?).await?;
    let of_run = found.kind.starts_with("run.") || found.kind.starts_with("approval.");
    let body = match serde_json::from_str::<serde_json::Value>(&body) {
        Ok(value) => format!("{value:#}"),
        Err(_) => body,
    };
    Ok(show(&DeliveryPage {
        endpoint: EndpointLine::of(&endpoint),
        line: DeliveryLine::of(&found),
        run: if of_run { found.subject } else { String::new() },
        body,
        attempts: attempts.iter().map(AttemptLine::of).collect(),
        frame: frame(&state, &session, &mut tx, "webhooks").await?,
    }))
}

async fn again(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, endpoint, event)): Path<(String, String, String)>,
    Fields(form): Fields<CancelForm>,
) -> Result<Response, Trouble> {
    let (_, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let (endpoint, event) = (endpoint_id(&endpoint)?, event_id(&event)?);
    tx.replay(endpoint, Replay::Event(event)).await?;
    tx.commit().await?;
    let to = format!("/jv/{slug}/webhooks/{endpoint}?said=replay");
    Ok(Redirect::to(&to).into_response())
}
