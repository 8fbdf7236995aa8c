//! Secrets of keys, links and sessions: shown once, stored as SHA-256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// A new secret and what is stored of it.
#[derive(Clone)]
pub struct Secret {
    /// The secret, shown once: a kind, an underscore and 256 random bits in base64url.
    pub text: String,
    /// Its SHA-256. No slow hash is needed for 256 random bits.
    pub hash: [u8; 32],
}

impl Secret {
    /// Makes a secret of a kind (`tsk` for keys, `tsl` for links, `tss` for sessions).
    pub fn new(kind: &str) -> Self {
        let text = format!("{kind}_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        Self { hash: hash_of(&text), text }
    }

    /// Returns the start by which a person tells keys apart.
    pub fn prefix(&self) -> &str {
        self.text.get(..12).unwrap_or(&self.text)
    }
}

/// Returns the SHA-256 of a secret.
pub fn hash_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}
