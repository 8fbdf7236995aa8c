//! What people change of outcomes on the pages: experiments, observations, contracts, statements,
//! signatures, and the time that people took.

use agents::outcome::contract::Contract;
use agents::outcome::design::Design;
use agents::outcome::receipt::{Countersignature, Registration};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::post;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Fields, Trouble, enter_form, run_id};
use crate::auth::Browser;
use crate::error::Problem;
use crate::input::checked_reason;
use crate::outcomes::api::{SCOPE, kpis_of};
use crate::outcomes::import::{Columns, from_dataset, observe_all};
use crate::outcomes::ledger::{add_contract, month, note_effort, state as make};
use crate::outcomes::ledger_api::number;
use crate::outcomes::signing::{countersign, register, rotate};
use crate::outcomes::{Act, draft, end, start};
use crate::state::AppState;

/// What whoever changes money needs.
const MONEY: &str = "approvals:write";

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/outcomes/experiments", post(drafted))
        .route("/jv/{slug}/outcomes/observations", post(imported))
        .route("/jv/{slug}/outcomes/contracts", post(contract))
        .route("/jv/{slug}/outcomes/statements", post(statement))
        .route("/jv/{slug}/outcomes/party-keys", post(party_key))
        .route("/jv/{slug}/outcomes/key", post(rotated))
        .route("/jv/{slug}/experiments/{name}/{action}", post(moved))
        .route("/jv/{slug}/statements/{number}/countersign", post(countersigned))
        .route("/jv/{slug}/economics/effort", post(effort))
}

/// Reads a document that was pasted.
fn pasted<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| {
        Problem::invalid("invalid_json", format!("this is no {what} in JSON: {error}"))
    })
}

fn to(slug: &str, rest: &str) -> Response {
    Redirect::to(&format!("/jv/{slug}/{rest}")).into_response()
}

#[derive(Deserialize)]
struct Pasted {
    csrf: String,
    #[serde(default)]
    document: String,
}

async fn drafted(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<Pasted>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let design: Design = pasted(&form.document, "design")?;
    let kpis = kpis_of(&state, &mut tx).await?;
    draft(&mut tx, &kpis, &design, &session.subject).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, &format!("experiments/{}", design.name)))
}

#[derive(Deserialize)]
struct MoveForm {
    csrf: String,
    #[serde(default)]
    reason: String,
}

async fn moved(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, name, action)): Path<(String, String, String)>,
    Fields(form): Fields<MoveForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let (now, by) = (Timestamp::now(), session.subject.as_str());
    match action.as_str() {
        "start" => start(&mut tx, &name, now, by).await?,
        "end" => {
            checked_reason(&form.reason)?;
            end(&mut tx, &name, &form.reason, now, by).await?
        }
        _ => return Err(Problem::not_found("action").into()),
    };
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, &format!("experiments/{name}")))
}

#[derive(Deserialize)]
struct ImportForm {
    csrf: String,
    #[serde(default)]
    dataset: String,
    #[serde(default)]
    metric: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    at: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    weight: String,
}

async fn imported(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<ImportForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, SCOPE).await?;
    let text = |text: &str| text.trim().to_owned();
    let columns = Columns {
        dataset: text(&form.dataset),
        metric: text(&form.metric),
        id: text(&form.id),
        unit: text(&form.unit),
        at: text(&form.at),
        value: text(&form.value),
        weight: Some(text(&form.weight)).filter(|column| !column.is_empty()),
    };
    let source = columns.source();
    let all = from_dataset(&state.store, tx.tenant_id(), columns).await?;
    let kpis = kpis_of(&state, &mut tx).await?;
    observe_all(&mut tx, &kpis, &all, &source, &session.subject).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, "outcomes"))
}

async fn contract(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<Pasted>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, MONEY).await?;
    let contract: Contract = pasted(&form.document, "contract")?;
    add_contract(&mut tx, &contract, &session.subject).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, "outcomes"))
}

#[derive(Deserialize)]
struct StatementForm {
    csrf: String,
    #[serde(default)]
    contract: String,
    #[serde(default)]
    month: String,
}

async fn statement(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<StatementForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, MONEY).await?;
    let period = month(form.month.trim())?;
    let act = Act::now(&session.subject, &state.vault);
    let made = make(&mut tx, &form.contract, period, act).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, &format!("statements/{made}")))
}

async fn party_key(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<Pasted>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, MONEY).await?;
    let new: Registration = pasted(&form.document, "registration of a key")?;
    register(&mut tx, &session.actor, &new).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, "outcomes"))
}

#[derive(Deserialize)]
struct Bare {
    csrf: String,
}

async fn rotated(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<Bare>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, MONEY).await?;
    rotate(&mut tx, Act::now(&session.subject, &state.vault)).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, "outcomes"))
}

async fn countersigned(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, text)): Path<(String, String)>,
    Fields(form): Fields<Pasted>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, MONEY).await?;
    let new: Countersignature = pasted(&form.document, "signature")?;
    let number = number(&text)?;
    countersign(&mut tx, number, &new, &session.subject).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, &format!("statements/{number}")))
}

#[derive(Deserialize)]
struct EffortForm {
    csrf: String,
    #[serde(default)]
    run: String,
    #[serde(default)]
    review: String,
    #[serde(default)]
    rework: String,
}

async fn effort(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<EffortForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, MONEY).await?;
    let seconds = |text: &str| match text.trim() {
        "" => Ok(0),
        text => text.parse::<i32>().map(|minutes| minutes.saturating_mul(60)).map_err(|_| {
            Problem::invalid("invalid_effort", format!("`{text}` is no number of minutes"))
        }),
    };
    let took = (seconds(&form.review)?, seconds(&form.rework)?);
    note_effort(&mut tx, run_id(form.run.trim())?, took, &session.subject).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(to(&slug, "economics"))
}
