//! Statements: what a period makes payable, in a form that the other party computes again from the
//! exported events, offline, and that a signature holds.
//!
//! An export has three parts. The *document* says by which contract and design which figures follow.
//! The *events* are every enrolled unit and observation that they follow from. The *receipt* is signed
//! and small: it holds the SHA-256 of the document and of each event in order, so that whoever kept it
//! can name the first event that differs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::contract::{Contract, ContractError, Figures, Part};
use super::design::{Design, sha256};
use super::micros::{Micros, MicrosError};
use super::readout::{Observation, Slice, read_out};

/// Version of the export's form.
pub const FORMAT: u32 = 1;

/// Why a statement cannot be made.
#[derive(Debug, Error)]
pub enum StatementError {
    /// The contract.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The period is no whole month of the window that has ended.
    #[error("{0}")]
    Period(String),
    /// An amount.
    #[error(transparent)]
    Amount(#[from] MicrosError),
}

/// One fact that a statement follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A unit takes part.
    Enrolled {
        /// The unit.
        unit: String,
    },
    /// A value was observed.
    Observed(Observation),
}

impl Event {
    /// Returns the SHA-256 of the canonical form.
    pub fn sha256(&self) -> String {
        sha256(self)
    }

    /// Names the event for a person.
    pub fn name(&self) -> String {
        match self {
            Self::Enrolled { unit } => format!("enrolment of {unit}"),
            Self::Observed(one) => format!("observation {} of {}", one.id, one.unit),
        }
    }
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The statement of a period.
    Statement,
    /// What a period was billed too much or too little, after a dispute.
    CreditNote,
}

/// The statement that a credit note corrects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrects {
    /// Its number.
    pub number: u32,
    /// SHA-256 of its document.
    pub document_sha256: String,
    /// What the parties had got by it and by credit notes since.
    pub parts: Vec<Part>,
    /// Why it is corrected.
    pub reason: String,
}

/// What follows from a contract, a design and the events of a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`FORMAT`].
    pub format: u32,
    /// Statement or credit note.
    pub kind: Kind,
    /// Name of the joint venture.
    pub venture: String,
    /// Number, counted from 1 within the joint venture.
    pub number: u32,
    /// When it was made.
    pub issued_at: Timestamp,
    /// Begin of the period.
    pub from: Timestamp,
    /// End of the period, exclusive.
    pub to: Timestamp,
    /// The contract in full.
    pub contract: Contract,
    /// The design in full.
    pub design: Design,
    /// The figures of the period.
    pub figures: Figures,
    /// What is corrected; absent in a statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<Corrects>,
    /// What the parties get by this document: the parts of the figures, less what they had got before.
    pub payable: Vec<Part>,
}

impl Document {
    /// Returns the SHA-256 of the canonical form.
    pub fn sha256(&self) -> String {
        sha256(self)
    }
}

/// What a statement is made of, beside the events.
#[derive(Debug, Clone)]
pub struct Basis {
    /// Name of the joint venture.
    pub venture: String,
    /// Number of the document.
    pub number: u32,
    /// When it is made.
    pub issued_at: Timestamp,
    /// The period.
    pub from: Timestamp,
    /// Its end, exclusive.
    pub to: Timestamp,
    /// The contract.
    pub contract: Contract,
    /// The design.
    pub design: Design,
    /// What is corrected.
    pub corrects: Option<Corrects>,
}

/// Returns the events of a period in their order: enrolled units by name, then observations by
/// identifier. Only those of the billed metric, of the period and, as covariate, of the time before
/// the start.
pub fn events(basis: &Basis, units: &[String], observations: &[Observation]) -> Vec<Event> {
    let units: BTreeSet<&String> = units.iter().collect();
    let mut seen: Vec<&Observation> = observations
        .iter()
        .filter(|one| one.metric == basis.contract.metric)
        .filter(|one| one.at < basis.design.start || (basis.from <= one.at && one.at < basis.to))
        .collect();
    seen.sort_by(|a, b| a.id.cmp(&b.id));
    let enrolled = units.into_iter().map(|unit| Event::Enrolled { unit: unit.clone() });
    enrolled.chain(seen.into_iter().map(|one| Event::Observed(one.clone()))).collect()
}

fn figures(
    contract: &Contract,
    design: &Design,
    period: (Timestamp, Timestamp),
    events: &[Event],
) -> Result<Figures, ContractError> {
    let mut units = Vec::new();
    let mut observations = Vec::new();
    for event in events {
        match event {
            Event::Enrolled { unit } => units.push(unit.clone()),
            Event::Observed(one) => observations.push(one.clone()),
        }
    }
    let slice = Slice { from: period.0, to: period.1, fixed: true };
    // The period has ended, whenever this is computed again.
    let read = read_out(design, &units, &observations, Some(slice), period.1);
    contract.amount(design, &read)
}

/// What the parties get by a document: the parts, less what they had got before.
fn payable(figures: &Figures, before: Option<&Corrects>) -> Result<Vec<Part>, MicrosError> {
    let had = |party: &str| {
        let parts = before.map(|corrects| corrects.parts.as_slice()).unwrap_or_default();
        parts.iter().find(|part| part.party == party).map_or(Micros::ZERO, |part| part.amount)
    };
    let less = |part: &Part| {
        Ok(Part { party: part.party.clone(), amount: part.amount.minus(had(&part.party))? })
    };
    figures.parts.iter().map(less).collect()
}

/// Makes the document of a period.
///
/// # Errors
/// [`StatementError::Contract`] ⇐ the contract does not fit the design; [`StatementError::Period`] ⇐
/// it has not ended or lies outside the window.
pub fn draw_up(basis: Basis, events: &[Event]) -> Result<Document, StatementError> {
    basis.contract.check(&basis.design)?;
    let Basis { venture, number, issued_at, from, to, contract, design, corrects } = basis;
    if from >= to || from < design.start || to > design.end || issued_at < to {
        return Err(StatementError::Period(format!(
            "a period must have ended and lie within the window of the experiment, {} to {}",
            design.start, design.end
        )));
    }
    let figures = figures(&contract, &design, (from, to), events)?;
    let payable = payable(&figures, corrects.as_ref())?;
    let kind = if corrects.is_some() { Kind::CreditNote } else { Kind::Statement };
    let format = FORMAT;
    Ok(Document {
        format,
        kind,
        venture,
        number,
        issued_at,
        from,
        to,
        contract,
        design,
        figures,
        corrects,
        payable,
    })
}

/// Computes a document again; returns the first thing that does not follow, in words.
///
/// # Errors
/// [`StatementError`] ⇐ the contract or the amounts cannot be used at all.
pub fn recompute(document: &Document, events: &[Event]) -> Result<Option<String>, StatementError> {
    document.contract.check(&document.design)?;
    let period = (document.from, document.to);
    let mut own = figures(&document.contract, &document.design, period, events)?;
    let said = &document.figures;
    // The last digit of a bound may differ between machines, whose logarithms do; everything that
    // follows from it is then computed from the bound as it was stated.
    let close = |a: Micros, b: Micros| (a.0 - b.0).abs() <= 1;
    if close(own.low, said.low) && close(own.estimate, said.estimate) && close(own.high, said.high)
    {
        own = Figures { low: said.low, estimate: said.estimate, high: said.high, ..own };
        let gain = own.low.max(Micros::ZERO).times(own.volume)?;
        own.gain =
            gain.times(document.contract.value_per_unit)?.rounded(&document.contract.currency)?;
        own.amount = document.contract.held(own.gain);
        own.parts = document.contract.parts(own.amount)?;
    }
    let differs = |what: &str, own: String, said: String| {
        Some(format!("{what}: the events give {own}, the document says {said}"))
    };
    let pairs = [
        ("units in control", own.control.to_string(), said.control.to_string()),
        ("units in treatment", own.treatment.to_string(), said.treatment.to_string()),
        ("standing", format!("{:?}", own.standing), format!("{:?}", said.standing)),
        ("lower bound", own.low.to_string(), said.low.to_string()),
        ("improvement", own.estimate.to_string(), said.estimate.to_string()),
        ("upper bound", own.high.to_string(), said.high.to_string()),
        ("volume", own.volume.to_string(), said.volume.to_string()),
        ("gain", own.gain.to_string(), said.gain.to_string()),
        ("amount", own.amount.to_string(), said.amount.to_string()),
    ];
    for (what, own, said) in pairs {
        if own != said {
            return Ok(differs(what, own, said));
        }
    }
    let parts = |parts: &[Part]| {
        let all: Vec<String> = parts.iter().map(|p| format!("{} {}", p.party, p.amount)).collect();
        all.join(", ")
    };
    if own.parts != said.parts {
        return Ok(differs("parts", parts(&own.parts), parts(&said.parts)));
    }
    let due = payable(&own, document.corrects.as_ref())?;
    if due != document.payable {
        return Ok(differs("payable", parts(&due), parts(&document.payable)));
    }
    Ok(None)
}
