//! Who signs a statement: the joint venture by a key that lies sealed, and its parties by keys of their
//! own, of which only the public half is here.

use agents::outcome::receipt::{Countersignature, Handover, Registration, Seal};
use agents::outcome::statement::Kind;
use axum::http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::{Act, conflict, note};
use crate::access::Actor;
use crate::error::Problem;
use crate::store::{PartyKey, SigningKey, StoreError, TenantTx};
use crate::vault::{Place, Vault, VaultError};

/// Table of the secrets, which their ciphertexts are bound to.
pub const TABLE: &str = "signing_key";

fn damaged(message: &str) -> StoreError {
    StoreError::Damaged { what: "signing key", message: message.to_owned() }
}

fn place(tx: &TenantTx, id: Uuid) -> Place {
    Place { tenant: tx.tenant_id(), table: TABLE, row: id }
}

/// Opens a key.
fn opened(tx: &TenantTx, vault: &Vault, key: &SigningKey) -> Result<Seal, Problem> {
    let secret = match (&key.sealed, &key.plain) {
        (Some(sealed), _) => vault.unseal(&place(tx, key.id), sealed)?,
        (None, Some(plain)) => plain.clone(),
        (None, None) => return Err(damaged("it has no secret").into()),
    };
    Ok(Seal::of(&secret).map_err(|error| damaged(&error.to_string()))?)
}

/// Makes a key, with its secret sealed for its row.
fn drawn(tx: &TenantTx, vault: &Vault, version: i32) -> Result<(SigningKey, Seal), Problem> {
    let secret: [u8; 32] = rand::random();
    let seal = Seal::of(&secret).map_err(|error| damaged(&error.to_string()))?;
    let id = Uuid::now_v7();
    let key = SigningKey {
        version,
        id,
        plain: None,
        sealed: Some(vault.seal(&place(tx, id), &secret)?),
        public_key: seal.public(),
        handover: None,
        at: jiff::Timestamp::now(),
    };
    Ok((key, seal))
}

/// The key that signs for the joint venture; made on first use.
///
/// # Errors
/// `vault_unavailable` ⇐ the master key does not open it; `tessera statement rotate-key` makes another.
pub async fn seal(tx: &mut TenantTx, vault: &Vault) -> Result<Seal, Problem> {
    if let Some(key) = tx.signing_keys().await?.last() {
        return opened(tx, vault, key);
    }
    let (first, _) = drawn(tx, vault, 1)?;
    tx.add_signing_key(&first).await?;
    // Another's that came first holds.
    let kept = tx.signing_keys().await?.pop().ok_or_else(|| damaged("it is not kept"))?;
    opened(tx, vault, &kept)
}

/// The keys that sign and signed, oldest first; the first is made where there is none.
///
/// # Errors
/// [`StoreError`]; `vault_unavailable`.
pub async fn keys(tx: &mut TenantTx, vault: &Vault) -> Result<Vec<SigningKey>, Problem> {
    let all = tx.signing_keys().await?;
    if !all.is_empty() {
        return Ok(all);
    }
    seal(tx, vault).await?;
    Ok(tx.signing_keys().await?)
}

/// Seals the keys that an earlier version kept in plain; returns how many there were.
///
/// # Errors
/// [`StoreError`]; `vault_unavailable`.
pub async fn seal_plain(tx: &mut TenantTx, vault: &Vault) -> Result<usize, Problem> {
    let mut done = 0;
    for key in tx.signing_keys().await? {
        if let Some(plain) = &key.plain {
            let sealed = vault.seal(&place(tx, key.id), plain)?;
            tx.seal_signing_key(key.id, &sealed).await?;
            done += 1;
        }
    }
    Ok(done)
}

/// Puts a new key in place of the one that signs. The old one names it, so that who trusts the old one
/// can trust the new; statements that were signed stay as they are. A key that the master key does not
/// open names nobody.
///
/// # Errors
/// `conflict` ⇐ somebody else did it at the same time; `vault_unavailable`.
pub async fn rotate(tx: &mut TenantTx, act: Act<'_>) -> Result<SigningKey, Problem> {
    let before = tx.signing_keys().await?.pop();
    let version = before.as_ref().map_or(1, |key| key.version + 1);
    let (mut next, seal) = drawn(tx, act.vault, version)?;
    if let Some(before) = &before {
        let venture = tx.tenant().await?.slug;
        let sealed = before.sealed.as_deref();
        let shut = sealed.map(|sealed| act.vault.unseal(&place(tx, before.id), sealed));
        if !matches!(shut, Some(Err(VaultError::Shut))) {
            let old = opened(tx, act.vault, before)?;
            next.handover = Some(old.hand_over(&venture, &seal, act.at));
        }
    }
    if !tx.add_signing_key(&next).await? {
        return Err(conflict("conflict", "the key was changed by another at the same time"));
    }
    let payload = json!({
        "public_key": next.public_key, "before": before.map(|key| key.public_key),
        "handed_over": next.handover.is_some(),
    });
    note(tx, "signing_key.rotated", &payload, act.by).await?;
    Ok(next)
}

/// How the keys followed each other, oldest first.
///
/// # Errors
/// [`StoreError`].
pub async fn handovers(tx: &mut TenantTx) -> Result<Vec<Handover>, StoreError> {
    Ok(tx.signing_keys().await?.into_iter().filter_map(|key| key.handover).collect())
}

fn forbidden(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "not_your_party", "Not permitted", detail)
}

/// Registers the public key of a party. Only a member whose organisation the party is may, and only
/// with a signature by the key itself: nobody else can sign for the party afterwards.
///
/// # Errors
/// `not_your_party`; `unknown_party` ⇐ no contract has it; `invalid_registration` ⇐ it is signed by
/// another key or for another joint venture.
pub async fn register(
    tx: &mut TenantTx,
    actor: &Actor,
    new: &Registration,
) -> Result<i32, Problem> {
    let member = actor.id.strip_prefix("member:").and_then(|id| id.parse().ok());
    let Some(member) = member else {
        return Err(forbidden(
            "the key of a party is registered by a member of that party, signed in or by a key of their own"
                .to_owned(),
        ));
    };
    let organisation = tx.member(member).await?.organisation;
    if organisation.trim() != new.party {
        return Err(forbidden(format!(
            "your organisation is `{organisation}`; only members of `{}` register its key",
            new.party
        )));
    }
    let contracts = tx.contracts(None).await?;
    if !contracts.iter().any(|kept| kept.contract.parties.iter().any(|p| p.name == new.party)) {
        let detail = format!("no contract has a party `{}`", new.party);
        return Err(Problem::invalid("unknown_party", detail));
    }
    if new.venture != tx.tenant().await?.slug || !new.is_signed() {
        let detail = "it must name this joint venture and be signed by the key that it names; `tessera statement keygen` makes one";
        return Err(Problem::invalid("invalid_registration", detail));
    }
    let version = tx.add_party_key(new, &actor.subject).await?;
    let payload = json!({"party": new.party, "version": version, "public_key": new.public_key});
    note(tx, "party_key.registered", &payload, &actor.subject).await?;
    Ok(version)
}

/// Keeps a party's signature over the receipt of a statement.
///
/// # Errors
/// `not_found`; `invalid_countersignature` ⇐ it is over another receipt, or not by the party's key;
/// `conflict` ⇐ the party has signed, or a dispute is open.
pub async fn countersign(
    tx: &mut TenantTx,
    number: i32,
    new: &Countersignature,
    by: &str,
) -> Result<(), Problem> {
    let kept = tx.statement(number).await?;
    let wrong = |detail: String| Problem::invalid("invalid_countersignature", detail);
    let Some(key) = key_of(tx, &new.party).await? else {
        let detail = format!("`{}` has registered no key; its member does that first", new.party);
        return Err(wrong(detail));
    };
    if !kept.document.contract.parties.iter().any(|party| party.name == new.party) {
        return Err(wrong(format!("`{}` is no party of this statement's contract", new.party)));
    }
    if new.receipt_sha256 != kept.receipt.sha256() {
        return Err(wrong(format!("it is over another receipt than that of statement {number}")));
    }
    if new.public_key != key.registration.public_key || !new.is_signed() {
        let detail = format!("it is not signed by the key that `{}` registered last", new.party);
        return Err(wrong(detail));
    }
    let open = tx.disputes().await?;
    if open.iter().any(|one| one.statement == number && one.state == "open") {
        return Err(conflict("disputed", "a dispute of this statement is open; decide it first"));
    }
    tx.add_countersignature(number, new, by).await?;
    let kind = match kept.document.kind {
        Kind::Statement => "statement",
        Kind::CreditNote => "credit_note",
    };
    let payload = json!({
        "number": number, "kind": kind, "party": new.party, "public_key": new.public_key,
        "receipt_sha256": new.receipt_sha256, "signature": new.signature,
    });
    Ok(note(tx, "statement.countersigned", &payload, by).await?)
}

/// The key that holds for a party.
async fn key_of(tx: &mut TenantTx, party: &str) -> Result<Option<PartyKey>, StoreError> {
    let keys = tx.party_keys().await?;
    Ok(keys.into_iter().rfind(|key| key.registration.party == party))
}
