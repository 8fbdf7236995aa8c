//! The pages of inbound webhooks: what may come in, what came, and which runs and observations were
//! made of it.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::view::{Badge, Frame, cut, when};
use super::webhooks::SecretPage;
use super::{Fields, Trouble, enter, enter_form, frame, show};
use crate::auth::Browser;
use crate::error::Problem;
use crate::state::AppState;
use crate::store::{Inbound, Source, TenantId};
use crate::webhooks::SCOPE;
use crate::webhooks::inbound::address;
use crate::webhooks::inbound::mapping::{Condition, Mapping, Observed};
use crate::webhooks::sources::{Wanted, make};

/// Messages on a page.
const PAGE: usize = 50;

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/sources", post(create))
        .route("/jv/{slug}/sources/{source}", get(one))
        .route("/jv/{slug}/sources/{source}/{action}", post(act))
}

fn source_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found("webhook source"))
}

/// A source on a page.
pub(super) struct SourceLine {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) path: String,
    pub(super) makes: String,
    pub(super) when: String,
    pub(super) enabled: bool,
    pub(super) badge: Badge,
    pub(super) made: String,
}

impl SourceLine {
    pub(super) fn of(tenant: TenantId, source: &Source) -> Self {
        let kind = source.verifier["kind"].as_str().unwrap_or_default();
        let kind = match kind {
            "standard" => "Standard Webhooks",
            "github" => "GitHub",
            "stripe" => "Stripe",
            "slack" => "Slack",
            "hmac" => "HMAC",
            _ => "Bearer token",
        };
        let mapping: Option<Mapping> = serde_json::from_value(source.mapping.clone()).ok();
        let conditions = mapping.iter().flat_map(|mapping| &mapping.when);
        let conditions: Vec<String> =
            conditions.map(|one| format!("{} = {}", one.pointer, one.equals)).collect();
        Self {
            id: source.id.to_string(),
            name: source.name.clone(),
            kind: kind.to_owned(),
            path: format!("/v1/hooks/{}", address(tenant, source.id)),
            makes: mapping.as_ref().map(makes).unwrap_or_default(),
            when: conditions.join(" and "),
            enabled: source.enabled,
            badge: match source.enabled {
                true => Badge { word: "Listens", class: "good" },
                false => Badge { word: "Paused", class: "calm" },
            },
            made: format!("{}, {}", source.created_by, when(&source.created_at)),
        }
    }
}

/// Says what a mapping makes of a message.
fn makes(mapping: &Mapping) -> String {
    let Some(one) = &mapping.observation else { return format!("Asks: {}", mapping.request) };
    let mut said = format!("Notes {} of {}: {}", one.metric, one.unit, one.value);
    for (name, text) in [("weight", &one.weight), ("at", &one.at), ("id", &one.id)] {
        if let Some(text) = text {
            said.push_str(&format!(", {name} {text}"));
        }
    }
    said
}

#[derive(Deserialize)]
struct SourceForm {
    csrf: String,
    name: String,
    kind: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    header: String,
    #[serde(default)]
    request: String,
    /// KPI that is observed; empty where something is asked.
    #[serde(default)]
    metric: String,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    weight: String,
    #[serde(default)]
    at: String,
    #[serde(default)]
    id: String,
    /// Lines `/pointer = value`.
    #[serde(default)]
    when: String,
}

/// Reads lines of conditions; a value that is no JSON is text.
fn conditions(text: &str) -> Result<Vec<Condition>, Problem> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (pointer, value) = line.split_once('=').ok_or_else(|| {
                let detail = format!("`{line}` is no condition; write `/type = invoice.paid`");
                Problem::invalid("invalid_mapping", detail)
            })?;
            let value = value.trim();
            let equals = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok(Condition { pointer: pointer.trim().to_owned(), equals })
        })
        .collect()
}

impl SourceForm {
    fn wanted(&self) -> Result<Wanted, Problem> {
        let verifier = match self.kind.as_str() {
            "hmac" => {
                let header = match self.header.trim() {
                    "" => "x-signature",
                    header => header,
                };
                json!({ "kind": "hmac", "header": header, "encoding": "hex" })
            }
            kind => json!({ "kind": kind }),
        };
        let verifier = serde_json::from_value(verifier).map_err(|_| {
            Problem::invalid("invalid_source", "choose one of the ways to sign that are listed")
        })?;
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let secret = given(&self.secret);
        let observation = given(&self.metric).map(|metric| Observed {
            metric,
            unit: self.unit.trim().to_owned(),
            value: self.value.trim().to_owned(),
            weight: given(&self.weight),
            at: given(&self.at),
            id: given(&self.id),
        });
        let request = given(&self.request).unwrap_or_default();
        let mapping = Mapping { request, observation, when: conditions(&self.when)? };
        Ok(Wanted { name: self.name.clone(), verifier, secret, mapping })
    }
}

async fn create(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<SourceForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let (source, secret) = make(&mut tx, &state, form.wanted()?, &session.subject).await?;
    let frame = frame(&state, &session, &mut tx, "webhooks").await?;
    let tenant = tx.tenant_id();
    tx.commit().await?;
    Ok(show(&SecretPage {
        title: format!("The address and secret of {}", source.name),
        hint: "The sender signs with this secret. It is shown only now.".to_owned(),
        secret,
        address: format!("/v1/hooks/{}", address(tenant, source.id)),
        next: format!("/jv/{slug}/sources/{}", source.id),
        frame,
    }))
}

/// A message on a page.
struct MessageLine {
    id: String,
    badge: Badge,
    detail: String,
    run: String,
    repeats: i32,
    at: String,
    payload: String,
}

impl MessageLine {
    fn of(one: &Inbound) -> Self {
        let (word, class) = match one.outcome.as_str() {
            "started" => ("Started a run", "good"),
            "observed" => ("Noted", "good"),
            "unmapped" => ("Nothing in it", "ask"),
            "refused" => ("Not taken", "bad"),
            _ => ("Not meant", "calm"),
        };
        Self {
            id: one.external_id.clone(),
            badge: Badge { word, class },
            detail: one.detail.clone(),
            run: one.run.map(|run| run.to_string()).unwrap_or_default(),
            repeats: one.repeats,
            at: when(&one.received_at),
            payload: cut(&one.payload, 4000),
        }
    }
}

/// `/jv/{slug}/sources/{source}`
#[derive(Template)]
#[template(path = "webhook_source.html")]
struct SourcePage {
    frame: Frame,
    line: SourceLine,
    messages: Vec<MessageLine>,
    next: String,
}

#[derive(Deserialize, Default)]
struct After {
    #[serde(default)]
    after: String,
}

async fn one(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, source)): Path<(String, String)>,
    Query(query): Query<After>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let source = tx.source(source_id(&source)?).await?;
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut found = tx.inbound(source.id, query.after.parse().ok(), limit).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more);
    Ok(show(&SourcePage {
        next: next.map_or_else(String::new, |last| {
            format!("/jv/{slug}/sources/{}?after={}", source.id, last.id)
        }),
        line: SourceLine::of(tx.tenant_id(), &source),
        messages: found.iter().map(MessageLine::of).collect(),
        frame: frame(&state, &session, &mut tx, "webhooks").await?,
    }))
}

#[derive(Deserialize)]
struct ActionForm {
    csrf: String,
}

async fn act(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, source, action)): Path<(String, String, String)>,
    Fields(form): Fields<ActionForm>,
) -> Result<Response, Trouble> {
    let (_, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let source = tx.source(source_id(&source)?).await?;
    let mut to = format!("/jv/{slug}/sources/{}", source.id);
    match action.as_str() {
        "pause" => tx.change_source(source.id, false, &source.mapping).await?,
        "enable" => tx.change_source(source.id, true, &source.mapping).await?,
        "delete" => {
            tx.delete_source(source.id).await?;
            to = format!("/jv/{slug}/webhooks");
        }
        _ => return Err(Problem::not_found("action").into()),
    }
    tx.commit().await?;
    Ok(Redirect::to(&to).into_response())
}
