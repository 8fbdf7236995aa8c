//! What a joint venture has set for a pack: sealed in its rows, opened for one call.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::store::{PackSetting, StoreError, TenantTx};
use crate::vault::{Place, Vault, VaultError};

/// Table of the ciphertexts.
pub const TABLE: &str = "pack_setting";

/// Why settings cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Returns the settings of a pack by name.
///
/// # Errors
/// [`SettingsError`].
pub async fn read(
    tx: &mut TenantTx,
    vault: &Vault,
    pack: &str,
) -> Result<BTreeMap<String, String>, SettingsError> {
    let tenant = tx.tenant_id();
    let mut values = BTreeMap::new();
    for stored in tx.pack_settings(pack).await? {
        let place = Place { tenant, table: TABLE, row: stored.row };
        let plain = vault.unseal(&place, &stored.sealed)?;
        values.insert(stored.setting, String::from_utf8_lossy(&plain).into_owned());
    }
    Ok(values)
}

/// Keeps settings of a pack, each sealed for a row of its own.
///
/// # Errors
/// [`SettingsError`].
pub async fn keep(
    tx: &mut TenantTx,
    vault: &Vault,
    pack: &str,
    values: &BTreeMap<String, String>,
    by: &str,
) -> Result<(), SettingsError> {
    let tenant = tx.tenant_id();
    for (setting, value) in values {
        let row = Uuid::now_v7();
        let sealed = vault.seal(&Place { tenant, table: TABLE, row }, value.as_bytes())?;
        tx.put_pack_setting(pack, &PackSetting { setting: setting.clone(), row, sealed }, by)
            .await?;
    }
    Ok(())
}
