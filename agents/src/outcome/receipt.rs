//! The signed receipt of a statement, and its check without the platform that made it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::design::sha256;
pub use super::signature::{Countersignature, Handover, Registration, Seal, SealError};
use super::signature::{holds, leads_to};
use super::statement::{Document, Event, FORMAT, Kind, recompute};

/// What a signature holds. It is made over the canonical JSON of the other members.
///
/// # Source
/// RFC 8032 (Ed25519); RFC 8785 (JSON Canonicalization Scheme).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Version of the export's form.
    pub format: u32,
    /// Name of the joint venture.
    pub venture: String,
    /// Statement or credit note.
    pub kind: Kind,
    /// Its number.
    pub number: u32,
    /// When it was made.
    pub issued_at: Timestamp,
    /// SHA-256 of the document.
    pub document_sha256: String,
    /// SHA-256 of the contract.
    pub contract_sha256: String,
    /// SHA-256 of the frozen design.
    pub design_sha256: String,
    /// SHA-256 of each event, in order.
    pub events: Vec<String>,
    /// Public key of the joint venture, hex.
    pub public_key: String,
    /// Signature, hex; empty while it is made.
    pub signature: String,
}

/// A statement as both parties keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// What is stated.
    pub document: Document,
    /// What it follows from.
    pub events: Vec<Event>,
    /// What holds both.
    pub receipt: Receipt,
    /// Parties that agree with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub countersignatures: Vec<Countersignature>,
    /// How the joint venture's keys followed each other, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handovers: Vec<Handover>,
}

impl Seal {
    /// Signs a document and its events.
    pub fn sign(&self, document: Document, events: Vec<Event>) -> Export {
        let mut receipt = Receipt {
            format: FORMAT,
            venture: document.venture.clone(),
            kind: document.kind,
            number: document.number,
            issued_at: document.issued_at,
            document_sha256: document.sha256(),
            contract_sha256: document.contract.sha256(),
            design_sha256: document.design.sha256(),
            events: events.iter().map(Event::sha256).collect(),
            public_key: self.public(),
            signature: String::new(),
        };
        receipt.signature = self.over(&receipt);
        Export { document, events, receipt, countersignatures: vec![], handovers: vec![] }
    }
}

impl Receipt {
    /// Tells whether the signature is that of the public key over the other members.
    pub fn is_signed(&self) -> bool {
        let unsigned = Self { signature: String::new(), ..self.clone() };
        holds(&self.public_key, &unsigned, &self.signature)
    }

    /// Returns the SHA-256 of the receipt with its signature, which parties counter-sign.
    pub fn sha256(&self) -> String {
        sha256(self)
    }

    /// Returns a digest of the receipt to read out over the phone: 16 hex digits.
    pub fn fingerprint(&self) -> String {
        self.sha256().chars().take(16).collect()
    }
}

/// What the reader of a statement holds beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kept<'a> {
    /// A public key that the joint venture gave, hex: the one that signed, or an earlier one.
    pub public_key: Option<&'a str>,
    /// The receipt that was kept when the statement came.
    pub receipt: Option<&'a Receipt>,
    /// Parties that must have signed, each with its public key, hex.
    pub parties: &'a [(String, String)],
}

/// Checks an export; returns every fault in words, the first event that differs first. An empty list
/// means that the statement follows from its events and is what was signed.
pub fn verify(export: &Export, kept: Kept<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let (document, receipt) = (&export.document, kept.receipt.unwrap_or(&export.receipt));
    faults.extend(first_difference(&export.events, &receipt.events));
    if kept.receipt.is_some_and(|kept| *kept != export.receipt) {
        faults.push("the receipt is another than the one that you kept".to_owned());
    }
    if document.format != FORMAT {
        faults.push(format!("format {}; this program reads {FORMAT}", document.format));
    }
    for (what, found, held) in [
        (
            "contract (parties, shares, price, floor or cap)",
            document.contract.sha256(),
            &receipt.contract_sha256,
        ),
        ("design", document.design.sha256(), &receipt.design_sha256),
        ("document", document.sha256(), &receipt.document_sha256),
    ] {
        if found != *held {
            faults.push(format!("the {what} is not what was signed"));
        }
    }
    if !receipt.is_signed() {
        faults.push(
            "the signature does not hold: the receipt was changed; compare with the copy that you kept (--receipt)"
                .to_owned(),
        );
    }
    let trusts =
        |key: &str| leads_to(key, &receipt.public_key, &receipt.venture, &export.handovers);
    if kept.public_key.is_some_and(|key| !trusts(key)) {
        faults.push(format!("signed by another key, {}", receipt.public_key));
    }
    faults.extend(strange_countersignatures(export, receipt));
    for (party, key) in kept.parties {
        let theirs = |one: &&Countersignature| {
            one.party == *party && one.public_key.eq_ignore_ascii_case(key.trim())
        };
        if !export.countersignatures.iter().any(|one| theirs(&one)) {
            faults.push(format!("{party} has not signed it with the key {key}"));
        }
    }
    match recompute(document, &export.events) {
        Ok(None) => {}
        Ok(Some(fault)) => faults.push(fault),
        Err(error) => faults.push(format!("the statement cannot be computed again: {error}")),
    }
    faults
}

/// Names the counter-signatures that are not those of a party over this receipt.
fn strange_countersignatures(export: &Export, receipt: &Receipt) -> Vec<String> {
    let held = receipt.sha256();
    let parties = &export.document.contract.parties;
    let fault = |one: &Countersignature| {
        let party = &one.party;
        if parties.iter().all(|known| known.name != *party) {
            Some(format!("{party} signed it and is no party of the contract"))
        } else if one.receipt_sha256 != held {
            Some(format!("the signature of {party} is over another receipt"))
        } else if !one.is_signed() {
            Some(format!("the signature of {party} does not hold"))
        } else {
            None
        }
    };
    export.countersignatures.iter().filter_map(fault).collect()
}

/// Names the first event that is not the one that was signed.
fn first_difference(events: &[Event], signed: &[String]) -> Option<String> {
    for (i, (event, hash)) in events.iter().zip(signed).enumerate() {
        if event.sha256() != *hash {
            return Some(format!("event {} differs from what was signed: {}", i + 1, event.name()));
        }
    }
    match events.len().cmp(&signed.len()) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some(format!(
            "event {} is missing: {} were signed and {} are here",
            events.len() + 1,
            signed.len(),
            events.len()
        )),
        std::cmp::Ordering::Greater => {
            Some(format!("event {} was added: {}", signed.len() + 1, events[signed.len()].name()))
        }
    }
}
