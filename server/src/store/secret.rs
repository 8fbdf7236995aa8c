//! Secrets of keys, links, invitations and sessions: shown once, stored as SHA-256.

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
    /// Makes a secret of a kind (`tsk` for keys, `tsl` for links, `tsi` for invitations, `tss` for
    /// sessions).
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

/// Returns the token that every form of a session carries. It follows from the session's secret, so the
/// database holds nothing that it could be made from.
pub fn form_token(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash_of(&format!("form of {secret}")))
}

/// Compares two texts in a time that tells nothing about where they differ.
pub fn same(one: &str, other: &str) -> bool {
    hash_of(one) == hash_of(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_token_belongs_to_one_session_and_is_not_its_secret() {
        let (one, two) = (Secret::new("tss"), Secret::new("tss"));
        let token = form_token(&one.text);
        assert!(token.len() == 43 && token == form_token(&one.text));
        assert_ne!(token, form_token(&two.text));
        assert!(!one.text.contains(&token));
        assert!(same(&token, &form_token(&one.text)) && !same(&token, ""));
    }
}
