//! The chain of hashes over what happened: its canonical form, and how an export is checked offline.
//!
//! There are two levels. Each event of a run carries the hash of its payload and of the event before it,
//! so a journal is a chain of its own and its writers need no lock but that of the run. The end of a run
//! is an entry of the joint venture's chain, with the number of events and the hash of the last. Other
//! entries say who decided what, who erased what, and who changed the rules.
//! A payload may be erased: its hash stays in the chain, and an entry says that it was erased.
//!
//! # Source
//! RFC 8785 (JSON Canonicalization Scheme) for hashed JSON; Haber and Stornetta, *How to Time-Stamp a
//! Digital Document*, Journal of Cryptology 3(2), 1991, for linking.

mod verify;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use verify::{Broken, Verified, Verifier};

/// The hash before the first link.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Kind of the entry that closes a run's journal.
pub const RUN_ENDED: &str = "run.ended";

/// Kind of the entry that says that payloads were erased.
pub const ERASED: &str = "payload.erased";

/// Version of the exported form.
pub const FORMAT: u32 = 1;

/// Returns the SHA-256 of a JSON value in its canonical form, lower-case hexadecimal.
pub fn json_sha256(value: &Value) -> String {
    hex::encode(Sha256::digest(serde_json_canonicalizer::to_vec(value).unwrap_or_default()))
}

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Export {
        /// [`FORMAT`].
        format: u32,
        /// Identifier of the joint venture.
        tenant: String,
        /// Its name in addresses.
        name: String,
        /// When it was made, RFC 3339.
        at: String,
    },
    /// A link of the joint venture's chain.
    Entry(Entry),
    /// A link of a run's chain.
    Event(EventLine),
    /// The last line; without it the export was cut off.
    End {
        /// Entries written.
        entries: u64,
        /// Events written.
        events: u64,
        /// Hash of the last entry, [`GENESIS`] without one.
        head: String,
    },
}

/// A link of a joint venture's chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Position, from 1, without gaps.
    pub seq: i64,
    /// What happened, such as [`RUN_ENDED`] or `approval.decided`.
    pub kind: String,
    /// The run that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Who acted, as the platform tells actors apart.
    pub actor: String,
    /// Who acted, for people.
    pub subject: String,
    /// What it was.
    pub detail: Value,
    /// When, microseconds of Unix time.
    pub micros: i64,
    /// Hash of the entry before.
    pub prev_sha256: String,
    /// Hash of this entry.
    pub sha256: String,
}

impl Entry {
    /// Returns the hash of what the entry says.
    pub fn body_sha256(
        kind: &str,
        run: Option<&str>,
        actor: &str,
        subject: &str,
        detail: &Value,
    ) -> String {
        json_sha256(&json!({
            "kind": kind, "run": run, "actor": actor, "subject": subject, "detail": detail,
        }))
    }

    /// Returns the hash that the entry must have in the chain of `tenant`.
    pub fn expected(&self, tenant: &str) -> String {
        let body = Self::body_sha256(
            &self.kind,
            self.run.as_deref(),
            &self.actor,
            &self.subject,
            &self.detail,
        );
        link(&[
            "entry.1",
            tenant,
            &self.seq.to_string(),
            &body,
            &self.micros.to_string(),
            &self.prev_sha256,
        ])
    }
}

/// A link of a run's chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventLine {
    /// The run.
    pub run: String,
    /// Position, from 1, without gaps.
    pub seq: i64,
    /// `type` name.
    pub kind: String,
    /// When, microseconds of Unix time.
    pub micros: i64,
    /// The event as JSON; null once it was erased.
    pub payload: Value,
    /// Hash of the payload as it was.
    pub payload_sha256: String,
    /// Hash of this event and all before it; empty for events of before there was a chain.
    pub sha256: String,
}

impl EventLine {
    /// Returns the hash that the event must have after `prev`.
    pub fn expected(&self, prev: &str) -> String {
        let (seq, micros) = (self.seq.to_string(), self.micros.to_string());
        link(&["event.1", &self.run, &seq, &self.kind, &micros, &self.payload_sha256, prev])
    }
}

/// Returns the hash of fields that hold no line break. The store computes the same in its insert.
fn link(fields: &[&str]) -> String {
    hex::encode(Sha256::digest(fields.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_disregards_the_order_of_names_and_the_way_numbers_are_written() {
        let one: Value = serde_json::from_str(r#"{"b": 1.0, "a": [1e2, "ü"]}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"a": [100, "\u00fc"], "b": 1}"#).unwrap();
        assert_eq!(json_sha256(&one), json_sha256(&two));
        assert_eq!(
            json_sha256(&json!({})),
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "SHA-256 of the two characters {{}}"
        );
    }
}
