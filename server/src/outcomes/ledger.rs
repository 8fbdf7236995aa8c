//! What runs cost, what contracts make payable, and how a statement is disputed and settled.

use std::io::{Read as _, Write as _};

use agents::outcome::contract::{Contract, Part};
use agents::outcome::economics::{Costs, Effort, Forecast, Terms, cost, forecast};
use agents::outcome::micros::{Micros, MicrosError};
use agents::outcome::readout::Observation;
use agents::outcome::receipt::Export;
use agents::outcome::statement::{Basis, Corrects, Document, Event, Kind, draw_up, events};
use agents::pack::Kpi;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::signing::{handovers, seal};
use super::{Act, conflict, note};
use crate::error::Problem;
use crate::store::{Resource, RunId, StoreError, TenantTx};

/// Most observations that one dispute may name.
const MOST_DISPUTED: usize = 1_000;

/// What a joint venture's runs cost over some days.
#[derive(Debug, Serialize)]
pub struct Economics {
    /// Days that were added up, today among them.
    pub days: u16,
    /// The price table.
    pub terms: Terms,
    /// Version of the price table; 0 for the one that a joint venture starts with.
    pub terms_version: i32,
    /// Where the prices by which budgets count money say something else than the price table.
    pub budget_prices_differ: Vec<String>,
    /// What the runs took.
    pub effort: Effort,
    /// What that cost.
    pub costs: Costs,
    /// Thirty further days; absent below seven days.
    pub forecast: Option<Forecast>,
}

fn too_large(error: &MicrosError) -> Problem {
    Problem::invalid("amount_too_large", error.to_string())
}

/// Adds up what runs took and cost.
///
/// # Errors
/// `amount_too_large`.
pub async fn economics(tx: &mut TenantTx, days: u16) -> Result<Economics, Problem> {
    let (terms, terms_version) = terms_of(tx).await?;
    let by_day = tx.efforts(days).await?;
    let mut effort = Effort::default();
    // A day without runs cost nothing, and counts; today has not ended, and does not.
    let first = by_day.iter().map(|day| day.ago).max().unwrap_or(0);
    let mut costs_by_day = vec![Micros::ZERO; first as usize];
    for day in &by_day {
        if let Some(place) = (day.ago as usize).checked_sub(1) {
            costs_by_day[place] =
                cost(&terms, &day.effort).map_err(|error| too_large(&error))?.total;
        }
        add(&mut effort, &day.effort);
    }
    Ok(Economics {
        days,
        costs: cost(&terms, &effort).map_err(|error| too_large(&error))?,
        forecast: forecast(&costs_by_day, terms.monthly_budget),
        effort,
        budget_prices_differ: prices_that_differ(tx).await?,
        terms,
        terms_version,
    })
}

/// The price table that holds, with its version.
async fn terms_of(tx: &mut TenantTx) -> Result<(Terms, i32), StoreError> {
    Ok(match tx.terms().await? {
        Some(set) => (set.terms, set.version),
        None => (Terms::standard(&tx.tenant().await?.currency), 0),
    })
}

/// Compares the price table with the prices by which budgets count money before a step. They are two
/// on purpose: a budget must say what a step may cost at most before its split into tokens read and
/// written is known, and may be set tighter; the price table says what it did cost. That they differ
/// unnoticed is what must not be.
///
/// # Errors
/// [`StoreError`].
pub async fn prices_that_differ(tx: &mut TenantTx) -> Result<Vec<String>, StoreError> {
    let (terms, _) = terms_of(tx).await?;
    let prices = tx.prices().await?;
    let set: Vec<(&str, i64)> = prices.iter().map(|p| (p.item.as_str(), p.micros)).collect();
    let counts = tx.budgets().await?.iter().any(|one| one.rule.resource == Resource::Money);
    // Without a budget of money nothing counts by those prices.
    Ok(if counts || !set.is_empty() { terms.differing(&set) } else { Vec::new() })
}

fn add(sum: &mut Effort, more: &Effort) {
    sum.runs += more.runs;
    sum.accepted += more.accepted;
    sum.corrected += more.corrected;
    sum.prompt_tokens += more.prompt_tokens;
    sum.decoded_tokens += more.decoded_tokens;
    sum.compute_us += more.compute_us;
    sum.review_seconds += more.review_seconds;
    sum.rework_seconds += more.rework_seconds;
    for (tool, calls) in &more.tool_calls {
        *sum.tool_calls.entry(tool.clone()).or_default() += calls;
    }
}

/// Notes the time that people took over a run.
///
/// # Errors
/// `invalid_effort`; `not_found`.
pub async fn note_effort(
    tx: &mut TenantTx,
    run: RunId,
    (review_seconds, rework_seconds): (i32, i32),
    by: &str,
) -> Result<(), Problem> {
    if !(0..=86_400).contains(&review_seconds) || !(0..=864_000).contains(&rework_seconds) {
        let detail = "review takes 0 to 86,400 s, rework 0 to 864,000 s";
        return Err(Problem::invalid("invalid_effort", detail));
    }
    tx.note_effort(run, review_seconds, rework_seconds, by).await?;
    let payload =
        json!({"run": run, "review_seconds": review_seconds, "rework_seconds": rework_seconds});
    Ok(note(tx, "effort.noted", &payload, by).await?)
}

/// Sets the price table.
///
/// # Errors
/// `invalid_terms`.
pub async fn set_terms(tx: &mut TenantTx, terms: &Terms, by: &str) -> Result<(), Problem> {
    terms.check().map_err(|detail| Problem::invalid("invalid_terms", detail))?;
    tx.set_terms(terms, by).await?;
    Ok(note(tx, "terms.set", &json!(terms), by).await?)
}

/// Keeps a contract.
///
/// # Errors
/// `invalid_contract`; `conflict` ⇐ the experiment has not started, or the name is taken.
pub async fn add_contract(tx: &mut TenantTx, contract: &Contract, by: &str) -> Result<(), Problem> {
    let experiment = tx.experiment(&contract.experiment).await?;
    if experiment.state == "draft" {
        return Err(conflict(
            "not_started",
            "a contract needs a frozen experiment; start it first",
        ));
    }
    contract
        .check(&experiment.design)
        .map_err(|error| Problem::invalid("invalid_contract", error.to_string()))?;
    tx.add_contract(contract, by).await?;
    let payload = json!({"contract": contract.name, "sha256": contract.sha256()});
    Ok(note(tx, "contract.made", &payload, by).await?)
}

/// Returns begin and end (exclusive) of a month such as `2026-10`, UTC.
///
/// # Errors
/// `invalid_month`.
pub fn month(text: &str) -> Result<(Timestamp, Timestamp), Problem> {
    let bad = || Problem::invalid("invalid_month", format!("`{text}` is no month such as 2026-10"));
    if text.len() != 7 {
        return Err(bad());
    }
    let first: Date = format!("{text}-01").parse().map_err(|_| bad())?;
    let at = |date: Date| {
        date.to_zoned_datetime(TimeZone::UTC).map(|z| z.timestamp()).map_err(|_| bad())
    };
    let next = first.last_of_month().tomorrow().map_err(|_| bad())?;
    Ok((at(first)?, at(next)?))
}

/// Makes the statement of a period and returns its number.
///
/// # Errors
/// `invalid_period`, `invalid_contract`, `conflict` ⇐ the period has one.
pub async fn state(
    tx: &mut TenantTx,
    contract: &str,
    period: (Timestamp, Timestamp),
    act: Act<'_>,
) -> Result<u32, Problem> {
    let contract = tx.contract(contract).await?.contract;
    make(tx, contract, period, None, act).await
}

async fn make(
    tx: &mut TenantTx,
    contract: Contract,
    period: (Timestamp, Timestamp),
    corrects: Option<Corrects>,
    act: Act<'_>,
) -> Result<u32, Problem> {
    let design = tx.experiment(&contract.experiment).await?.design;
    let units = tx.enrolled(&design.name).await?;
    let metrics = [contract.metric.clone()];
    let observations = tx.observations(&metrics, period.1).await?;
    let number = tx.next_statement().await?;
    let seal = seal(tx, act.vault).await?;
    let basis = Basis {
        venture: tx.tenant().await?.slug,
        number,
        issued_at: act.at,
        from: period.0,
        to: period.1,
        contract,
        design,
        corrects,
    };
    let made = tokio::task::spawn_blocking(move || {
        let events = events(&basis, &units, &observations);
        let document = draw_up(basis, &events)
            .map_err(|error| Problem::invalid("invalid_period", error.to_string()))?;
        let export = seal.sign(document, events);
        let packed = packed(&export.events).map_err(|error| {
            tracing::error!(%error, "events cannot be packed");
            Problem::internal()
        })?;
        Ok::<_, Problem>((export, packed))
    });
    let (export, packed) = made.await.map_err(|_| Problem::internal())??;
    tx.add_statement(&export.document, &export.receipt, &packed, act.by).await?;
    let document = &export.document;
    let kind = match document.kind {
        Kind::Statement => "statement.made",
        Kind::CreditNote => "credit_note.made",
    };
    let payload = json!({
        "number": number, "contract": document.contract.name, "payable": document.payable,
        "document_sha256": export.receipt.document_sha256, "receipt": export.receipt.fingerprint(),
    });
    note(tx, kind, &payload, act.by).await?;
    Ok(number)
}

fn packed(events: &[Event]) -> std::io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(&serde_json::to_vec(events)?)?;
    out.finish()
}

/// Returns a statement as both parties keep it.
///
/// # Errors
/// `not_found`.
pub async fn export(tx: &mut TenantTx, number: i32) -> Result<Export, Problem> {
    let kept = tx.statement(number).await?;
    let packed = tx.statement_events(number).await?;
    let damaged = |message: String| StoreError::Damaged { what: "statement", message };
    let mut text = Vec::new();
    GzDecoder::new(packed.as_slice())
        .read_to_end(&mut text)
        .map_err(|error| damaged(error.to_string()))?;
    let events = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    Ok(Export {
        document: kept.document,
        events,
        receipt: kept.receipt,
        countersignatures: tx.countersignatures(number).await?,
        handovers: handovers(tx).await?,
    })
}

/// Opens a dispute: what is wrong, and which observations are, if it is these.
///
/// # Errors
/// `too_late` ⇐ the days of the contract are over; `invalid_dispute`; `conflict` ⇐ one is open.
pub async fn dispute(
    tx: &mut TenantTx,
    number: i32,
    reason: &str,
    observations: &[String],
    at: Timestamp,
    by: &str,
) -> Result<Uuid, Problem> {
    let document = tx.statement(number).await?.document;
    if document.kind == Kind::CreditNote {
        return Err(conflict("is_credit_note", "dispute the statement that it corrects"));
    }
    let days = i64::from(document.contract.dispute_days);
    if at.as_second() - document.issued_at.as_second() > days * 86_400 {
        let detail = format!("the contract allows disputes within {days} days of the statement");
        return Err(conflict("too_late", detail));
    }
    if reason.trim().is_empty() || observations.len() > MOST_DISPUTED {
        let detail = format!("say why, and name {MOST_DISPUTED} observations at most");
        return Err(Problem::invalid("invalid_dispute", detail));
    }
    let export = export(tx, number).await?;
    let has = |id: &String| {
        export.events.iter().any(|event| matches!(event, Event::Observed(one) if one.id == *id))
    };
    if let Some(stranger) = observations.iter().find(|id| !has(id)) {
        let detail = format!("the statement does not follow from an observation `{stranger}`");
        return Err(Problem::invalid("invalid_dispute", detail));
    }
    let id = tx.open_dispute(number, reason, observations, by).await?;
    let payload =
        json!({"dispute": id, "statement": number, "reason": reason, "observations": observations});
    note(tx, "dispute.opened", &payload, by).await?;
    Ok(id)
}

/// Rejects an open dispute.
///
/// # Errors
/// `not_found`; `conflict` ⇐ it is decided.
pub async fn reject(tx: &mut TenantTx, id: Uuid, answer: &str, by: &str) -> Result<(), Problem> {
    open_dispute(tx, id).await?;
    tx.decide_dispute(id, None, answer, by).await?;
    Ok(note(tx, "dispute.rejected", &json!({"dispute": id, "answer": answer}), by).await?)
}

async fn open_dispute(tx: &mut TenantTx, id: Uuid) -> Result<crate::store::Dispute, Problem> {
    let found = tx.disputes().await?.into_iter().find(|dispute| dispute.id == id);
    let dispute = found.ok_or_else(|| Problem::not_found("dispute"))?;
    if dispute.state == "open" {
        Ok(dispute)
    } else {
        Err(conflict("conflict", "the dispute is decided"))
    }
}

/// Settles an open dispute: the corrected observations are kept as further revisions, the period is
/// computed again, and a credit note says what changes. Returns its number.
///
/// # Errors
/// `not_found`; `conflict`; `invalid_correction` ⇐ an observation is of another unit, metric or
/// statement.
pub async fn settle(
    tx: &mut TenantTx,
    kpis: &[Kpi],
    id: Uuid,
    corrected: &[Observation],
    answer: &str,
    act: Act<'_>,
) -> Result<u32, Problem> {
    let dispute = open_dispute(tx, id).await?;
    let export = export(tx, dispute.statement).await?;
    let wrong = |detail: String| Problem::invalid("invalid_correction", detail);
    if corrected.is_empty() {
        return Err(wrong("give the corrected observations".to_owned()));
    }
    for one in corrected {
        let same = export.events.iter().any(|event| {
            matches!(event, Event::Observed(o)
                if o.id == one.id && o.unit == one.unit && o.metric == one.metric && o.at == one.at)
        });
        let known = kpis.iter().any(|kpi| kpi.id == one.metric);
        if !same || !known || one.weight.0 < 0 {
            return Err(wrong(format!(
                "`{}` is no observation of the statement with this unit, metric and instant, or its weight is below 0",
                one.id
            )));
        }
        tx.regrade(one, "re-grade").await?;
    }
    let before = had(tx, &export.document).await?;
    let corrects = Corrects {
        number: export.document.number,
        document_sha256: export.receipt.document_sha256.clone(),
        parts: before,
        reason: dispute.reason.clone(),
    };
    let Document { contract, from, to, .. } = export.document;
    let number = make(tx, contract, (from, to), Some(corrects), act).await?;
    let credit = i32::try_from(number).unwrap_or(i32::MAX);
    tx.decide_dispute(id, Some(credit), answer, act.by).await?;
    let payload = json!({"dispute": id, "credit_note": number, "corrected": corrected.len()});
    note(tx, "dispute.settled", &payload, act.by).await?;
    Ok(number)
}

/// What the parties have got for a period so far: its statement and every credit note of it.
async fn had(tx: &mut TenantTx, document: &Document) -> Result<Vec<Part>, Problem> {
    let number = i32::try_from(document.number).unwrap_or(i32::MAX);
    let mut parts = document.payable.clone();
    for note in tx.statements(None).await?.iter().filter(|s| s.corrects == Some(number)) {
        for (part, more) in parts.iter_mut().zip(&note.document.payable) {
            part.amount = part.amount.plus(more.amount).map_err(|error| too_large(&error))?;
        }
    }
    Ok(parts)
}
