//! Packs that a joint venture has installed, and what it has set for them.

use jiff::Timestamp;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{StoreError, TenantTx, instant};

/// A version of a pack that a joint venture has.
#[derive(Debug, Clone)]
pub struct PackRelease {
    /// Digest of its contents.
    pub digest: String,
    /// Name of the pack.
    pub pack: String,
    /// Its version.
    pub version: String,
    /// Public key of whoever signed it.
    pub signer: Option<String>,
    /// What was consented to.
    pub permissions: Value,
    /// Who installed it.
    pub installed_by: String,
    /// When.
    pub installed_at: Timestamp,
    /// When it became the live one for the last time.
    pub live_at: Timestamp,
}

type Row = (String, String, String, Option<String>, Value, String, OffsetDateTime, OffsetDateTime);

impl From<Row> for PackRelease {
    fn from(row: Row) -> Self {
        let (digest, pack, version, signer, permissions, installed_by, at, live) = row;
        let (installed_at, live_at) = (instant(at), instant(live));
        Self { digest, pack, version, signer, permissions, installed_by, installed_at, live_at }
    }
}

/// A stored setting.
#[derive(Debug, Clone)]
pub struct PackSetting {
    /// Its name in the pack.
    pub setting: String,
    /// Its row, to which the ciphertext is bound.
    pub row: Uuid,
    /// The ciphertext.
    pub sealed: Vec<u8>,
}

impl TenantTx {
    /// Lists the versions of packs that the joint venture has, the one that was live last first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn pack_releases(&mut self) -> Result<Vec<PackRelease>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select digest, pack, version, signer, permissions, installed_by, installed_at, live_at
             from pack_release where tenant_id = $1 order by live_at desc, digest",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(PackRelease::from).collect())
    }

    /// Makes a version the live one, from the next run on; runs that are under way keep theirs.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_pack_release(&mut self, new: &PackRelease) -> Result<(), StoreError> {
        sqlx::query(
            "insert into pack_release
                 (tenant_id, digest, pack, version, signer, permissions, installed_by)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (tenant_id, digest) do update set live_at = clock_timestamp()",
        )
        .bind(self.tenant)
        .bind(&new.digest)
        .bind(&new.pack)
        .bind(&new.version)
        .bind(&new.signer)
        .bind(&new.permissions)
        .bind(&new.installed_by)
        .execute(&mut *self.tx)
        .await?;
        self.set_pack(&format!("{}@{}", new.pack, new.digest)).await
    }

    /// Sets which pack new runs of the joint venture take.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_pack(&mut self, reference: &str) -> Result<(), StoreError> {
        sqlx::query("update tenant set pack = $2 where tenant_id = $1")
            .bind(self.tenant)
            .bind(reference)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Returns what is set for a pack.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn pack_settings(&mut self, pack: &str) -> Result<Vec<PackSetting>, StoreError> {
        let rows: Vec<(String, Uuid, Vec<u8>)> = sqlx::query_as(
            "select setting, setting_id, sealed from pack_setting
             where tenant_id = $1 and pack = $2 order by setting",
        )
        .bind(self.tenant)
        .bind(pack)
        .fetch_all(&mut *self.tx)
        .await?;
        let made = |(setting, row, sealed)| PackSetting { setting, row, sealed };
        Ok(rows.into_iter().map(made).collect())
    }

    /// Keeps a setting of a pack in place of an earlier one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn put_pack_setting(
        &mut self,
        pack: &str,
        new: &PackSetting,
        by: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into pack_setting (tenant_id, pack, setting, setting_id, sealed, set_by)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (tenant_id, pack, setting)
             do update set setting_id = $4, sealed = $5, set_by = $6, set_at = now()",
        )
        .bind(self.tenant)
        .bind(pack)
        .bind(&new.setting)
        .bind(new.row)
        .bind(&new.sealed)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
