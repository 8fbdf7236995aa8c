//! Costs, statements and disputes on the pages.

use agents::outcome::economics::{Baseline, TokenPrice, UseCase, screen};
use agents::outcome::micros::Micros;
use agents::outcome::readout::Observation;
use agents::outcome::receipt::Countersignature;
use agents::outcome::statement::Event;
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Deserialize;

use super::view::{Frame, when};
use super::{Fields, Trouble, enter, enter_form, frame, show};
use crate::auth::Browser;
use crate::error::Problem;
use crate::outcomes::api::kpis_of;
use crate::outcomes::ledger::{dispute, economics, export, reject, set_terms, settle};
use crate::outcomes::ledger_api::number;
use crate::outcomes::{Act, pdf};
use crate::state::AppState;
use crate::store::{Dispute, Statement, TenantTx};

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/economics", get(costs).post(prices))
        .route("/jv/{slug}/statements/{number}", get(statement))
        .route("/jv/{slug}/statements/{number}/pdf", get(paper))
        .route("/jv/{slug}/statements/{number}/export", get(file))
        .route("/jv/{slug}/statements/{number}/dispute", post(disputed))
        .route("/jv/{slug}/disputes/{dispute}", post(decided))
}

/// A statement in a list.
#[derive(Debug, Clone)]
pub(super) struct StatementLine {
    pub(super) number: u32,
    pub(super) title: String,
    pub(super) period: String,
    pub(super) low: String,
    pub(super) payable: Vec<(String, String)>,
    pub(super) dispute: String,
}

fn day(at: &Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn line(kept: &Statement, disputes: &[Dispute]) -> StatementLine {
    let document = &kept.document;
    let currency = &document.contract.currency;
    let own = disputes.iter().find(|d| u32::try_from(d.statement) == Ok(document.number));
    StatementLine {
        number: document.number,
        title: pdf::title(document),
        period: format!("{} to {}", day(&document.from), day(&document.to)),
        low: document.figures.low.to_string(),
        payable: document
            .payable
            .iter()
            .map(|part| (part.party.clone(), format!("{} {currency}", part.amount.money(currency))))
            .collect(),
        dispute: own.map_or_else(String::new, |dispute| match dispute.credit_note {
            Some(note) => format!("settled by credit note {note}"),
            None => dispute.state.clone(),
        }),
    }
}

/// The statements, newest first.
pub(super) async fn lines(tx: &mut TenantTx) -> Result<Vec<StatementLine>, Problem> {
    let disputes = tx.disputes().await?;
    Ok(tx.statements(None).await?.iter().map(|kept| line(kept, &disputes)).collect())
}

/// `/jv/{slug}/economics`
#[derive(Template)]
#[template(path = "economics.html")]
struct EconomicsPage {
    frame: Frame,
    days: u16,
    runs: u64,
    accepted: u64,
    corrected: u64,
    currency: String,
    parts: Vec<(&'static str, String)>,
    verdict: String,
    forecast: String,
    compute: String,
    wage: String,
    remote: TokenPrice,
    fees: String,
    baseline: Option<Baseline>,
    budget: String,
    version: i32,
    differ: Vec<String>,
    asked: Screened,
    /// What the screen says of the use case that was asked about.
    screen: Vec<String>,
}

/// The use case of the screen, as it was typed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Screened {
    tasks: String,
    minutes: String,
    saved_wage: String,
    delivery: String,
    days: String,
}

impl Screened {
    /// Says whether it is worth its delivery; nothing while nothing is asked.
    fn said(&self) -> Vec<String> {
        if self.tasks.trim().is_empty() {
            return Vec::new();
        }
        let read = || {
            let whole = |text: &str, what: &str| {
                let text = if text.trim().is_empty() { "0" } else { text.trim() };
                let read = text.parse::<u32>();
                read.map_err(|_| format!("{what}: `{text}` is no whole number"))
            };
            let money =
                |text: &str, what: &str| amount(text, what).map_err(|problem| problem.detail);
            let case = UseCase {
                tasks_per_month: whole(&self.tasks, "tasks")?,
                minutes_saved: money(&self.minutes, "minutes")?,
                wage_per_hour: money(&self.saved_wage, "wage")?,
                delivery_cost: money(&self.delivery, "delivery")?,
                days_to_data: whole(&self.days, "days")?,
            };
            screen(&case).map_err(|error| error.to_string())
        };
        match read() {
            Err(fault) => vec![fault],
            Ok(found) => {
                let times = found.multiple.map(|m| format!(", {m} times its delivery"));
                let first = format!(
                    "A year saves {}{}: {}.",
                    found.yearly_value,
                    times.unwrap_or_default(),
                    if found.go { "go on" } else { "leave it" }
                );
                [vec![first], found.reasons].concat()
            }
        }
    }
}

async fn costs(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Query(asked): Query<Screened>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "outcomes").await?;
    let found = economics(&mut tx, 30).await?;
    let (costs, terms) = (&found.costs, &found.terms);
    let currency = terms.currency.clone();
    let shown = |amount: Option<Micros>| match amount {
        Some(amount) => format!("{amount} {currency}"),
        None => "not known yet".to_owned(),
    };
    let parts = vec![
        ("Compute", shown(Some(costs.compute))),
        ("Tokens of the local planner", shown(Some(costs.tokens))),
        ("Fees of tools", shown(Some(costs.tools))),
        ("Review by people", shown(Some(costs.review))),
        ("Rework by people", shown(Some(costs.rework))),
        ("All of it", shown(Some(costs.total))),
        ("By run", shown(costs.per_run)),
        ("By accepted task", shown(costs.per_accepted)),
        ("A task without the agent", shown(costs.baseline)),
        ("All of it with the remote model", shown(Some(costs.remote_total))),
    ];
    let share = costs.share_of_baseline.map(|share| format!("{:.1} %", 100.0 * share.float()));
    let verdict = match (costs.gate_holds, share) {
        (Some(true), Some(share)) => format!(
            "An accepted task costs {share} of the baseline: under a quarter, as it should."
        ),
        (Some(false), Some(share)) => {
            format!("An accepted task costs {share} of the baseline: above a quarter.")
        }
        (None, Some(share)) => format!(
            "An accepted task costs {share} of the baseline so far; 200 accepted tasks are needed to decide by it."
        ),
        _ => "Accept runs on their pages, note review times, and set a baseline to compare with."
            .to_owned(),
    };
    let forecast = found.forecast.map_or_else(
        || "A forecast needs seven days with runs behind it.".to_owned(),
        |f| {
            let warning = if f.may_exceed { " This may exceed the budget." } else { "" };
            format!(
                "Thirty days like these cost {} ({} to {}).{warning}",
                shown(Some(f.expected)),
                f.low,
                f.high
            )
        },
    );
    let fees = terms.tool_fees.iter().map(|(tool, fee)| format!("{tool} {fee}"));
    Ok(show(&EconomicsPage {
        frame,
        days: found.days,
        runs: found.effort.runs,
        accepted: found.effort.accepted,
        corrected: found.effort.corrected,
        parts,
        verdict,
        forecast,
        compute: terms.compute_per_hour.to_string(),
        wage: terms.wage_per_hour.to_string(),
        remote: terms.remote.clone(),
        fees: fees.collect::<Vec<_>>().join("\n"),
        baseline: terms.baseline.clone(),
        budget: terms.monthly_budget.map(|b| b.to_string()).unwrap_or_default(),
        version: found.terms_version,
        differ: found.budget_prices_differ.clone(),
        screen: asked.said(),
        asked,
        currency,
    }))
}

#[derive(Deserialize)]
struct PricesForm {
    csrf: String,
    compute: String,
    wage: String,
    remote: String,
    prompt: String,
    decoded: String,
    #[serde(default)]
    fees: String,
    #[serde(default)]
    baseline: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    budget: String,
}

/// Reads an amount of a form.
fn amount(text: &str, what: &str) -> Result<Micros, Problem> {
    let read = text.trim().parse();
    read.map_err(|error| Problem::invalid("invalid_terms", format!("{what}: {error}")))
}

async fn prices(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<PricesForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) =
        enter_form(&state, &browser, &slug, &form.csrf, "approvals:write").await?;
    let mut terms = economics(&mut tx, 1).await?.terms;
    terms.compute_per_hour = amount(&form.compute, "compute")?;
    terms.wage_per_hour = amount(&form.wage, "wage")?;
    terms.remote = TokenPrice {
        name: form.remote.trim().to_owned(),
        prompt_per_million: amount(&form.prompt, "tokens read")?,
        decoded_per_million: amount(&form.decoded, "tokens written")?,
    };
    terms.tool_fees.clear();
    for line in form.fees.lines().filter(|line| !line.trim().is_empty()) {
        let (tool, fee) = line.trim().rsplit_once(' ').ok_or_else(|| {
            Problem::invalid("invalid_terms", "a line of fees is `tool 0.05`".to_owned())
        })?;
        terms.tool_fees.insert(tool.trim().to_owned(), amount(fee, tool)?);
    }
    terms.baseline = match form.baseline.trim() {
        "" => None,
        text => Some(Baseline {
            cost_per_task: amount(text, "baseline")?,
            source: form.source.trim().to_owned(),
        }),
    };
    terms.monthly_budget = match form.budget.trim() {
        "" => None,
        text => Some(amount(text, "budget")?),
    };
    set_terms(&mut tx, &terms, &session.subject).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(Redirect::to(&format!("/jv/{slug}/economics")).into_response())
}

/// `/jv/{slug}/statements/{number}`
#[derive(Template)]
#[template(path = "statement.html")]
struct StatementPage {
    frame: Frame,
    line: StatementLine,
    issued: String,
    contract: String,
    experiment: String,
    method: String,
    metric: String,
    units: String,
    estimate: String,
    high: String,
    volume: String,
    worth: String,
    gain: String,
    floor: String,
    cap: String,
    amount: String,
    parts: Vec<(String, String, String)>,
    corrects: Option<(u32, String)>,
    events: usize,
    document_sha256: String,
    public_key: String,
    fingerprint: String,
    signed: Vec<Countersignature>,
    dispute: Option<DisputePart>,
    may_dispute: bool,
}

/// A dispute of the statement.
struct DisputePart {
    id: String,
    state: String,
    reason: String,
    observations: String,
    answer: String,
    by: String,
    at: String,
    open: bool,
    /// The observations to correct, as JSON.
    corrected: String,
}

async fn statement(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, text)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "outcomes").await?;
    let number = number(&text)?;
    let kept = tx.statement(number).await.map_err(Problem::from)?;
    let disputes = tx.disputes().await.map_err(Problem::from)?;
    let dispute = match disputes.iter().find(|d| d.statement == number) {
        Some(dispute) => Some(dispute_part(&mut tx, dispute).await?),
        None => None,
    };
    let signed = tx.countersignatures(number).await.map_err(Problem::from)?;
    Ok(show(&statement_page(frame, &kept, line(&kept, &disputes), signed, dispute)))
}

fn statement_page(
    frame: Frame,
    kept: &Statement,
    line: StatementLine,
    signed: Vec<Countersignature>,
    dispute: Option<DisputePart>,
) -> StatementPage {
    let document = &kept.document;
    let (contract, figures) = (&document.contract, &document.figures);
    let money =
        |amount: Micros| format!("{} {}", amount.money(&contract.currency), contract.currency);
    let part = |((party, stated), due): ((&agents::outcome::contract::Party, &_), &_)| {
        let (stated, due): (&agents::outcome::contract::Part, &agents::outcome::contract::Part) =
            (stated, due);
        (format!("{} ({})", party.name, party.share), money(stated.amount), money(due.amount))
    };
    let both = contract.parties.iter().zip(&figures.parts).zip(&document.payable);
    let bound = |bound: Option<Micros>| bound.map(money).unwrap_or_default();
    StatementPage {
        frame,
        issued: when(&document.issued_at),
        contract: contract.name.clone(),
        experiment: document.design.name.clone(),
        method: document.design.method.label().to_owned(),
        metric: contract.metric.replace('_', " "),
        units: format!("{} in treatment, {} held out", figures.treatment, figures.control),
        estimate: figures.estimate.to_string(),
        high: figures.high.to_string(),
        volume: figures.volume.to_string(),
        worth: money(contract.value_per_unit),
        gain: money(figures.gain),
        floor: bound(contract.floor),
        cap: bound(contract.cap),
        amount: money(figures.amount),
        parts: both.map(part).collect(),
        corrects: document.corrects.as_ref().map(|c| (c.number, c.reason.clone())),
        events: kept.receipt.events.len(),
        document_sha256: kept.receipt.document_sha256.clone(),
        public_key: kept.receipt.public_key.clone(),
        fingerprint: kept.receipt.fingerprint(),
        may_dispute: document.corrects.is_none() && dispute.as_ref().is_none_or(|d| !d.open),
        signed,
        dispute,
        line,
    }
}

async fn dispute_part(tx: &mut TenantTx, dispute: &Dispute) -> Result<DisputePart, Problem> {
    let open = dispute.state == "open";
    let mut corrected: Vec<Observation> = Vec::new();
    if open {
        let named = |one: &Observation| dispute.observations.contains(&one.id);
        let events = export(tx, dispute.statement).await?.events.into_iter();
        corrected.extend(events.filter_map(|event| match event {
            Event::Observed(one) if named(&one) => Some(one),
            _ => None,
        }));
    }
    Ok(DisputePart {
        id: dispute.id.to_string(),
        state: match dispute.credit_note {
            Some(note) => format!("settled by credit note {note}"),
            None => dispute.state.clone(),
        },
        reason: dispute.reason.clone(),
        observations: dispute.observations.join(", "),
        answer: dispute.answer.clone(),
        by: dispute.by.clone(),
        at: when(&dispute.at),
        open,
        corrected: serde_json::to_string_pretty(&corrected).unwrap_or_default(),
    })
}

async fn paper(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, text)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let (_, mut tx) = enter(&state, &browser, &slug).await?;
    let number = number(&text)?;
    let kept = tx.statement(number).await.map_err(Problem::from)?;
    let signed = tx.countersignatures(number).await.map_err(Problem::from)?;
    Ok(pdf::response(&kept, &signed).into_response())
}

async fn file(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, text)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let (_, mut tx) = enter(&state, &browser, &slug).await?;
    let number = number(&text)?;
    let export = export(&mut tx, number).await?;
    let name = format!("attachment; filename=\"statement-{number}.json\"");
    let headers = [(header::CONTENT_DISPOSITION, name)];
    Ok((headers, axum::Json(serde_json::json!(export))).into_response())
}

#[derive(Deserialize)]
struct DisputeForm {
    csrf: String,
    reason: String,
    #[serde(default)]
    observations: String,
}

async fn disputed(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, text)): Path<(String, String)>,
    Fields(form): Fields<DisputeForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) =
        enter_form(&state, &browser, &slug, &form.csrf, "approvals:write").await?;
    crate::input::checked_reason(&form.reason)?;
    let parts = form.observations.split(|sign: char| sign == ',' || sign.is_whitespace());
    let named: Vec<String> = parts.filter(|id| !id.is_empty()).map(str::to_owned).collect();
    let (number, now) = (number(&text)?, Timestamp::now());
    dispute(&mut tx, number, &form.reason, &named, now, &session.subject).await?;
    tx.commit().await.map_err(Problem::from)?;
    Ok(Redirect::to(&format!("/jv/{slug}/statements/{number}")).into_response())
}

#[derive(Deserialize)]
struct DecideForm {
    csrf: String,
    decision: String,
    answer: String,
    #[serde(default)]
    corrected: String,
}

async fn decided(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(form): Fields<DecideForm>,
) -> Result<Response, Trouble> {
    let id = id.parse().map_err(|_| Problem::not_found("dispute"))?;
    let (session, mut tx) =
        enter_form(&state, &browser, &slug, &form.csrf, "approvals:write").await?;
    crate::input::checked_reason(&form.answer)?;
    let to = if form.decision == "settle" {
        let corrected: Vec<Observation> =
            serde_json::from_str(&form.corrected).map_err(|error| {
                let detail =
                    format!("the corrected observations are no JSON array of them: {error}");
                Problem::invalid("invalid_correction", detail)
            })?;
        let kpis = kpis_of(&state, &mut tx).await?;
        let act = Act::now(&session.subject, &state.vault);
        let note = settle(&mut tx, &kpis, id, &corrected, &form.answer, act).await?;
        format!("/jv/{slug}/statements/{note}")
    } else {
        reject(&mut tx, id, &form.answer, &session.subject).await?;
        format!("/jv/{slug}/outcomes")
    };
    tx.commit().await.map_err(Problem::from)?;
    Ok(Redirect::to(&to).into_response())
}
