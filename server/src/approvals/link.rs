//! Signed links: one decision by one named person, once, for a short time. Opening a link changes
//! nothing; the form on its page does, so a scanner of mails does not use it up.
//!
//! The token is `PAYLOAD.SIGNATURE` in base64url: a JSON object, and its HMAC-SHA256 under a key of the
//! joint venture that never leaves the database.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::Decider;
use crate::error::Problem;
use crate::store::{Store, TenantId, TenantTx};

/// Longest life of a link, minutes.
pub const MAX_MINUTES: u32 = 24 * 60;

/// Longest token that is read, bytes.
const MAX_TOKEN: usize = 2048;

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The joint venture.
    pub tenant: TenantId,
    /// The approval that may be decided.
    pub approval: Uuid,
    /// Makes the link one of its own.
    pub nonce: Uuid,
    /// When it ends, seconds of Unix time.
    pub ends: i64,
    /// Who decides with it.
    pub actor: String,
    /// Who decides with it, for people.
    pub subject: String,
    /// In which role.
    pub role: String,
}

impl Claim {
    /// Returns who decides with the link.
    pub fn decider(&self) -> Decider {
        Decider {
            id: self.actor.clone(),
            subject: self.subject.clone(),
            role: self.role.clone(),
            via: "link",
        }
    }
}

/// Makes a link with which `decider` can decide on an approval, once, within `minutes`.
///
/// # Errors
/// `not_found` ⇐ no such approval; `store_unavailable`.
pub async fn make(
    tx: &mut TenantTx,
    approval: Uuid,
    decider: &Decider,
    minutes: u32,
    now: Timestamp,
) -> Result<String, Problem> {
    tx.get_approval(approval).await?;
    let claim = Claim {
        tenant: tx.tenant_id(),
        approval,
        nonce: Uuid::new_v4(),
        ends: now.as_second() + i64::from(minutes.clamp(1, MAX_MINUTES)) * 60,
        actor: decider.id.clone(),
        subject: decider.subject.clone(),
        role: decider.role.clone(),
    };
    Ok(signed(&claim, &tx.link_key().await?))
}

fn signed(claim: &Claim, key: &[u8]) -> String {
    // A claim is a plain structure; its JSON cannot fail.
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claim).unwrap_or_default());
    let signature = mac(&payload, key).map(|mac| mac.finalize().into_bytes().to_vec());
    format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap_or_default()))
}

fn mac(payload: &str, key: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(payload.as_bytes());
    Some(mac)
}

/// Reads the claim of a token whose signature and time hold.
fn read(token: &str, key: &[u8], now: Timestamp) -> Option<Claim> {
    let (payload, signature) = token.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    // Compares in constant time.
    mac(payload, key)?.verify_slice(&signature).ok()?;
    let claim = unverified(token)?;
    (claim.ends > now.as_second()).then_some(claim)
}

fn unverified(token: &str) -> Option<Claim> {
    let (payload, _) = token.split_once('.').filter(|_| token.len() <= MAX_TOKEN)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// Opens a link: returns what it says and a transaction of its joint venture.
///
/// # Errors
/// `not_found` ⇐ a token that is malformed, expired, not signed by this server, or of somebody who may
/// not act any more, alike.
pub async fn open(
    store: &Store,
    token: &str,
    now: Timestamp,
) -> Result<(Claim, TenantTx), Problem> {
    let lost =
        || Problem::not_found("link; it has expired or is not whole. Open the approvals page");
    // The tenant is read unverified only to find the key under which the token must be signed.
    let named = unverified(token).ok_or_else(lost)?;
    let mut tx = store.begin(named.tenant).await?;
    // A tenant that does not exist has no row and gets no key.
    tx.tenant().await.map_err(|_| lost())?;
    let key = tx.link_key().await?;
    let mut claim = read(token, &key, now).ok_or_else(lost)?;
    let role = super::role_now(&mut tx, &claim.actor, &claim.role).await.ok().flatten();
    claim.role = role.ok_or_else(lost)?;
    Ok((claim, tx))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            tenant: Uuid::from_u128(1),
            approval: Uuid::from_u128(2),
            nonce: Uuid::from_u128(3),
            ends: 1_000,
            actor: "member:1".to_owned(),
            subject: "ann".to_owned(),
            role: "approver".to_owned(),
        }
    }

    #[test]
    fn a_link_holds_until_its_end_under_its_own_key_and_unchanged() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let token = signed(&claim(), &[7; 32]);
        assert_eq!(read(&token, &[7; 32], at(999)), Some(claim()));
        assert_eq!(read(&token, &[7; 32], at(1_000)), None, "ended");
        assert_eq!(read(&token, &[8; 32], at(999)), None, "another key");
        let stronger = Claim { role: "owner".to_owned(), ..claim() };
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&stronger).unwrap());
        let (_, signature) = token.split_once('.').unwrap();
        assert_eq!(read(&format!("{payload}.{signature}"), &[7; 32], at(999)), None, "changed");
        for broken in ["", ".", "a.b", &token[..token.len() - 2], &format!("{token}AA")] {
            assert_eq!(read(broken, &[7; 32], at(999)), None, "{broken}");
        }
    }
}
