//! Outcomes of a joint venture: experiments and what they say, what runs cost, and what the parties
//! owe each other. The rules are in [`agents::outcome`]; here they meet the store.
//!
//! Every change passes [`note`], which joins it to the audit chain.

pub mod api;
pub mod demo;
pub mod import;
pub mod ledger;
pub mod ledger_api;
pub mod pdf;
pub mod signing;

use agents::outcome::design::{Design, Method, sha256};
use agents::outcome::readout::{Observation, ReadOut, read_out};
use agents::pack::Kpi;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

use crate::error::Problem;
use crate::store::{Experiment, Noted, Received, StoreError, TenantTx};
use crate::vault::Vault;

/// Most units or observations of one call.
pub const MOST: usize = 10_000;

/// Who acts, when, and with which master keys. The time is now, but for the generated story of a demo.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// Who.
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// The master keys, under which the key that signs lies.
    pub vault: &'a Vault,
}

impl<'a> Act<'a> {
    /// Somebody acts now.
    pub fn now(by: &'a str, vault: &'a Vault) -> Self {
        Self { by, at: Timestamp::now(), vault }
    }
}

/// The type under which an event of this journal leaves by webhook, if it does.
fn told(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "observations.received" => "outcome.recorded",
        "experiment.started" => "outcome.experiment_started",
        "experiment.ended" => "outcome.experiment_ended",
        "statement.made" | "credit_note.made" => "outcome.settled",
        "statement.countersigned" => "outcome.countersigned",
        "dispute.opened" => "outcome.disputed",
        "dispute.rejected" | "dispute.settled" => "outcome.dispute_decided",
        _ => return None,
    })
}

/// What of an event leaves: names and numbers. Receivers read the rest over the API, where it is asked
/// who they are.
fn thin(kind: &str, seq: i64, payload: &Value) -> Value {
    let mut data = json!({ "object": "outcome_event", "seq": seq, "kind": kind });
    for name in ["experiment", "contract", "number", "statement", "dispute", "credit_note", "party"]
    {
        if let (Some(value), Some(data)) = (payload.get(name), data.as_object_mut()) {
            data.insert(name.to_owned(), value.clone());
        }
    }
    data
}

/// Notes what happened: in full in the journal of outcomes, by its hash in the audit chain, which holds
/// nothing of what contracts and disputes say, and for the endpoints that want to be told.
///
/// # Errors
/// [`StoreError`].
pub async fn note(
    tx: &mut TenantTx,
    kind: &str,
    payload: &Value,
    by: &str,
) -> Result<(), StoreError> {
    let seq = tx.note_outcome(kind, payload, by).await?;
    let detail = json!({ "outcome_event": seq, "payload_sha256": sha256(payload) });
    tx.note(&Noted { kind, subject: by, detail, ..Noted::default() }).await?;
    if let Some(told) = told(kind) {
        tx.publish(told, &seq.to_string(), &thin(kind, seq, payload)).await?;
    }
    Ok(())
}

fn conflict(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, "Conflict", detail)
}

/// Puts a draft in place.
///
/// # Errors
/// `invalid_design`; `conflict` ⇐ an experiment of this name has started.
pub async fn draft(
    tx: &mut TenantTx,
    kpis: &[Kpi],
    design: &Design,
    by: &str,
) -> Result<Experiment, Problem> {
    design.check(kpis).map_err(|error| Problem::invalid("invalid_design", error.to_string()))?;
    tx.put_draft(design, by).await?;
    let payload = json!({"experiment": design.name, "design_sha256": design.sha256()});
    note(tx, "experiment.drafted", &payload, by).await?;
    Ok(tx.experiment(&design.name).await?)
}

/// Freezes a draft. `at` is when: now, but for the generated story of a demo.
///
/// # Errors
/// `too_late` ⇐ the window has begun; `conflict`; `not_found`.
pub async fn start(
    tx: &mut TenantTx,
    name: &str,
    at: Timestamp,
    by: &str,
) -> Result<Experiment, Problem> {
    let draft = tx.experiment(name).await?;
    if draft.state == "draft" && draft.design.start < at {
        let detail = format!(
            "the window began on {}; what is fixed only now was not fixed before. Set a later `start`",
            draft.design.start
        );
        return Err(conflict("too_late", detail));
    }
    let begun = tx.move_experiment(name, "running", "", at).await?;
    let payload = json!({"experiment": name, "design_sha256": begun.sha256});
    note(tx, "experiment.started", &payload, by).await?;
    Ok(begun)
}

/// Ends a running experiment; nothing else of it can be changed.
///
/// # Errors
/// `conflict`; `not_found`.
pub async fn end(
    tx: &mut TenantTx,
    name: &str,
    reason: &str,
    at: Timestamp,
    by: &str,
) -> Result<Experiment, Problem> {
    let ended = tx.move_experiment(name, "ended", reason, at).await?;
    note(tx, "experiment.ended", &json!({"experiment": name, "reason": reason}), by).await?;
    Ok(ended)
}

/// Checks a name of a unit or observation.
fn named(text: &str, what: &str) -> Result<(), Problem> {
    let most = agents::outcome::design::MAX_ID;
    if text.trim().is_empty() || text.len() > most || text.contains('\0') {
        return Err(Problem::invalid(
            "invalid_id",
            format!("each {what} has 1 to {most} bytes and no U+0000"),
        ));
    }
    Ok(())
}

/// Notes that units take part and returns how many are new.
///
/// # Errors
/// `invalid_id`, `too_many`, `conflict` ⇐ not running, or its units are periods.
pub async fn enrol(tx: &mut TenantTx, design: &Design, units: &[String]) -> Result<u64, Problem> {
    if design.method != Method::Randomised {
        return Err(conflict("no_units", "the units of this experiment are periods of time"));
    }
    if units.len() > MOST {
        return Err(Problem::invalid("too_many", format!("{MOST} units a call at most")));
    }
    for unit in units {
        named(unit, "unit")?;
    }
    Ok(tx.enrol(design, units).await?)
}

/// Checks that a KPI can be observed.
///
/// # Errors
/// `unknown_metric`, with those that can.
pub fn known_metric(kpis: &[Kpi], metric: &str) -> Result<(), Problem> {
    if kpis.iter().any(|kpi| kpi.id == metric && kpi.measure.is_some()) {
        return Ok(());
    }
    let known = kpis.iter().filter(|kpi| kpi.measure.is_some()).map(|kpi| kpi.id.as_str());
    let detail =
        format!("no metric `{metric}`; there are {}", known.collect::<Vec<_>>().join(", "));
    Err(Problem::invalid("unknown_metric", detail))
}

/// Adds observations. That they came is noted with the SHA-256 of all that were sent.
///
/// # Errors
/// `unknown_metric`, `invalid_id`, `invalid_observation`, `too_many`.
pub async fn observe(
    tx: &mut TenantTx,
    kpis: &[Kpi],
    mut observations: Vec<Observation>,
    source: &str,
    by: &str,
) -> Result<Received, Problem> {
    if observations.len() > MOST {
        return Err(Problem::invalid("too_many", format!("{MOST} observations a call at most")));
    }
    let latest = Timestamp::now() + SignedDuration::from_hours(24);
    for one in &mut observations {
        named(&one.id, "observation")?;
        named(&one.unit, "unit")?;
        known_metric(kpis, &one.metric)?;
        if one.weight.0 < 0 || one.at > latest {
            let detail = format!("observation {}: a weight below 0, or a day ahead of now", one.id);
            return Err(Problem::invalid("invalid_observation", detail));
        }
        // The store keeps microseconds; what is compared and hashed later must be what is sent now.
        let rounded = one.at.round(TimestampRound::new().smallest(Unit::Microsecond));
        one.at = rounded.unwrap_or(one.at);
    }
    let received = tx.observe(&observations, source).await?;
    if received.added > 0 {
        let payload = json!({
            "source": source, "added": received.added, "sent": observations.len(),
            "sent_sha256": sha256(&observations),
        });
        note(tx, "observations.received", &payload, by).await?;
    }
    Ok(received)
}

/// Reads an experiment as of an instant.
///
/// # Errors
/// `not_found`; `conflict` ⇐ it has not started.
pub async fn read(tx: &mut TenantTx, name: &str, now: Timestamp) -> Result<ReadOut, Problem> {
    let experiment = tx.experiment(name).await?;
    if experiment.state == "draft" {
        return Err(conflict("not_started", "a draft says nothing; start it first"));
    }
    let design = experiment.design;
    let units = tx.enrolled(name).await?;
    let metrics: Vec<String> = design.metrics.iter().map(|metric| metric.kpi.clone()).collect();
    let until = experiment.ended_at.unwrap_or(design.end).min(design.end);
    let observations = tx.observations(&metrics, until).await?;
    // Reading is arithmetic over every observation; the workers of the server must not wait for it.
    let read = move || read_out(&design, &units, &observations, None, now);
    tokio::task::spawn_blocking(read).await.map_err(|_| Problem::internal())
}
