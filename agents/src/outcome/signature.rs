//! What stands beside a receipt: counter-signatures by which parties agree with a statement, and
//! handovers by which the joint venture's key names the next one.
//!
//! Each is signed over the canonical JSON of its other members, as the receipt is. The members of no
//! two of them are alike, so a signature over one is none over another.
//!
//! # Source
//! RFC 8032 (Ed25519); RFC 8785 (JSON Canonicalization Scheme).

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::design::canonical;

/// A key that signs: the joint venture's, or a party's.
pub struct Seal(SigningKey);

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a signing key has 32 bytes")]
pub struct SealError;

impl Seal {
    /// Takes the 32 secret bytes.
    ///
    /// # Errors
    /// [`SealError`] ⇐ another length.
    pub fn of(secret: &[u8]) -> Result<Self, SealError> {
        let secret: [u8; 32] = secret.try_into().map_err(|_| SealError)?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Returns the public key, hex.
    pub fn public(&self) -> String {
        hex::encode(self.0.verifying_key().as_bytes())
    }

    /// Signs what has a place for a signature that is still empty.
    pub(super) fn over<T: Serialize>(&self, unsigned: &T) -> String {
        hex::encode(self.0.sign(&canonical(unsigned)).to_bytes())
    }

    /// Says whose key this is, and shows that whoever says so holds it.
    pub fn register(&self, venture: &str, party: &str) -> Registration {
        let mut made = Registration {
            venture: venture.to_owned(),
            party: party.to_owned(),
            public_key: self.public(),
            signature: String::new(),
        };
        made.signature = self.over(&made);
        made
    }

    /// Agrees with a receipt, given by its SHA-256, for a party.
    pub fn countersign(
        &self,
        party: &str,
        receipt_sha256: &str,
        signed_at: Timestamp,
    ) -> Countersignature {
        let mut made = Countersignature {
            party: party.to_owned(),
            receipt_sha256: receipt_sha256.to_owned(),
            signed_at,
            public_key: self.public(),
            signature: String::new(),
        };
        made.signature = self.over(&made);
        made
    }

    /// Names the key that signs for a joint venture from now on.
    pub fn hand_over(&self, venture: &str, next: &Self, at: Timestamp) -> Handover {
        let mut made = Handover {
            venture: venture.to_owned(),
            public_key: self.public(),
            next_public_key: next.public(),
            at,
            signature: String::new(),
        };
        made.signature = self.over(&made);
        made
    }
}

/// Tells whether a signature is that of a public key over what was signed.
pub(super) fn holds<T: Serialize>(public_key: &str, unsigned: &T, signature: &str) -> bool {
    let signature = hex::decode(signature).ok();
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let key = hex::decode(public_key).ok().and_then(|bytes| bytes.try_into().ok());
    let key = key.and_then(|bytes: [u8; 32]| VerifyingKey::from_bytes(&bytes).ok());
    match (signature, key) {
        (Some(signature), Some(key)) => key.verify_strict(&canonical(unsigned), &signature).is_ok(),
        _ => false,
    }
}

/// The key of a party, said by whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Name of the joint venture.
    pub venture: String,
    /// Name of the party, as contracts have it.
    pub party: String,
    /// Public key, hex.
    pub public_key: String,
    /// Signature by that key, hex; empty while it is made.
    pub signature: String,
}

impl Registration {
    /// Tells whether the key signed it.
    pub fn is_signed(&self) -> bool {
        let unsigned = Self { signature: String::new(), ..self.clone() };
        holds(&self.public_key, &unsigned, &self.signature)
    }
}

/// A party's signature over a receipt: it agrees with the statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Countersignature {
    /// Name of the party, as the contract has it.
    pub party: String,
    /// SHA-256 of the receipt, the joint venture's signature in it.
    pub receipt_sha256: String,
    /// When it was signed, by the clock of who signed.
    pub signed_at: Timestamp,
    /// Public key of the party, hex.
    pub public_key: String,
    /// Signature, hex; empty while it is made.
    pub signature: String,
}

impl Countersignature {
    /// Tells whether the key signed it.
    pub fn is_signed(&self) -> bool {
        let unsigned = Self { signature: String::new(), ..self.clone() };
        holds(&self.public_key, &unsigned, &self.signature)
    }
}

/// The joint venture's key names the next one, so that whoever trusts the first can trust the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// Name of the joint venture.
    pub venture: String,
    /// The key that signs this, hex.
    pub public_key: String,
    /// The key that signs statements from now on, hex.
    pub next_public_key: String,
    /// When.
    pub at: Timestamp,
    /// Signature, hex; empty while it is made.
    pub signature: String,
}

impl Handover {
    /// Tells whether the key that hands over signed it.
    pub fn is_signed(&self) -> bool {
        let unsigned = Self { signature: String::new(), ..self.clone() };
        holds(&self.public_key, &unsigned, &self.signature)
    }
}

/// Tells whether a key is one that is trusted, or one that handovers lead to from there.
pub fn leads_to(trusted: &str, key: &str, venture: &str, handovers: &[Handover]) -> bool {
    let mut at = trusted.trim().to_lowercase();
    // Each handover is taken once at most, so that a ring of them ends.
    for _ in 0..=handovers.len() {
        if at.eq_ignore_ascii_case(key) {
            return true;
        }
        let next = handovers
            .iter()
            .find(|one| one.public_key == at && one.venture == venture && one.is_signed());
        match next {
            Some(one) => at.clone_from(&one.next_public_key),
            None => return false,
        }
    }
    false
}
