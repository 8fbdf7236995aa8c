//! Signing secrets between the vault and the store: made, shown once, rotated, opened to sign.

use uuid::Uuid;

use super::sign::SigningSecret;
use crate::error::Problem;
use crate::store::{EndpointSecret, StoreError, TenantTx};
use crate::vault::{Place, Vault, VaultError};

/// Table of the secrets, which their ciphertexts are bound to.
const TABLE: &str = "webhook_secret";

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        tracing::error!(%error, "a secret cannot be kept or read");
        Self::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            "vault_unavailable",
            "A secret cannot be kept or read",
            error.to_string(),
        )
    }
}

/// Makes a secret the current one of an endpoint and returns what its receiver needs: the secret
/// itself (`whsec_…`), or the public key (`whpk_…`).
///
/// # Errors
/// `conflict` ⇐ three old ones sign still; `vault_unavailable`.
pub async fn install(
    tx: &mut TenantTx,
    vault: &Vault,
    endpoint: Uuid,
    secret: &SigningSecret,
    grace_hours: i32,
) -> Result<String, Problem> {
    let id = Uuid::now_v7();
    let place = Place { tenant: tx.tenant_id(), table: TABLE, row: id };
    let stored = EndpointSecret {
        id,
        scheme: secret.scheme().to_owned(),
        sealed: vault.seal(&place, secret.text().as_bytes())?,
        public_key: secret.public(),
        expires_at: None,
    };
    tx.add_endpoint_secret(endpoint, &stored, grace_hours).await?;
    Ok(secret.public().unwrap_or_else(|| secret.text()))
}

/// Returns the secrets that sign for an endpoint now.
///
/// # Errors
/// What keeps them shut, as a sentence.
pub async fn signing(
    tx: &mut TenantTx,
    vault: &Vault,
    endpoint: Uuid,
    shift: f64,
) -> Result<Vec<SigningSecret>, String> {
    let tenant = tx.tenant_id();
    let stored = tx.endpoint_secrets(endpoint, shift).await.map_err(|e| e.to_string())?;
    let open = |secret: &EndpointSecret| {
        let place = Place { tenant, table: TABLE, row: secret.id };
        let text = vault.unseal(&place, &secret.sealed).map_err(|error| error.to_string())?;
        let text = String::from_utf8(text).ok();
        text.and_then(|text| SigningSecret::read(&text))
            .ok_or_else(|| "a stored secret is damaged; rotate it".to_owned())
    };
    stored.iter().map(open).collect()
}

/// Seals every secret of a tenant under the newest key; returns how many were not.
///
/// # Errors
/// [`ResealError`].
pub async fn reseal(tx: &mut TenantTx, vault: &Vault) -> Result<usize, ResealError> {
    let tenant = tx.tenant_id();
    let mut changed = 0;
    for (table, row, sealed) in tx.sealed_secrets().await? {
        if vault.is_current(&sealed) {
            continue;
        }
        let known = [
            TABLE,
            super::sources::TABLE,
            crate::outcomes::signing::TABLE,
            crate::packs::settings::TABLE,
        ];
        let table = known.into_iter().find(|one| *one == table).unwrap_or(TABLE);
        let place = Place { tenant, table, row };
        let plain = vault.unseal(&place, &sealed)?;
        tx.reseal(table, row, &vault.seal(&place, &plain)?).await?;
        changed += 1;
    }
    Ok(changed)
}

/// Why secrets are not sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
}
