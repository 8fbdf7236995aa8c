//! Tenants (joint ventures), their login links, and the credentials by which one is found.

use jiff::Timestamp;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Secret, Store, StoreError, TenantId, TenantTx, instant};

/// A joint venture to be made.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Name in addresses: `[a-z0-9][a-z0-9-]{0,62}`.
    pub slug: String,
    /// Name for people.
    pub name: String,
    /// Identifier of its pack.
    pub pack: String,
    /// ISO 4217 code assumed where a request names none.
    pub currency: String,
    /// IANA time zone assumed where a request names none.
    pub timezone: String,
}

/// A joint venture.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Identifier.
    pub id: TenantId,
    /// Name in addresses.
    pub slug: String,
    /// Name for people.
    pub name: String,
    /// Identifier of its pack.
    pub pack: String,
    /// ISO 4217 code assumed where a request names none.
    pub currency: String,
    /// IANA time zone assumed where a request names none.
    pub timezone: String,
    /// Confidence below which plans are not acted on without a person: 0 is off, and `None` takes the
    /// threshold of the planner's calibration.
    pub abstain_below: Option<f64>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One line of the directory: enough to address a tenant, nothing of what it holds.
#[derive(Debug, Clone, FromRow)]
pub struct Membership {
    /// Name in addresses.
    pub slug: String,
    /// Identifier.
    pub tenant_id: TenantId,
}

type TenantRow = (String, String, String, String, String, Option<f64>, OffsetDateTime);
impl Store {
    /// Makes a joint venture.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the slug is taken or malformed.
    pub async fn create_tenant(&self, new: &NewTenant) -> Result<TenantId, StoreError> {
        let id = Uuid::now_v7();
        let mut tx = self.begin(id).await?;
        let listed = sqlx::query(
            "insert into directory (slug, tenant_id) values ($1, $2) on conflict do nothing",
        )
        .bind(&new.slug)
        .bind(id)
        .execute(&mut *tx.tx)
        .await
        .map_err(|error| refused(error, "a slug, name, currency or time zone is malformed"))?;
        if listed.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!("the name `{}` is taken", new.slug)));
        }
        sqlx::query(
            "insert into tenant (tenant_id, slug, name, pack, currency, timezone)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id)
        .bind(&new.slug)
        .bind(&new.name)
        .bind(&new.pack)
        .bind(&new.currency)
        .bind(&new.timezone)
        .execute(&mut *tx.tx)
        .await
        .map_err(|error| refused(error, "a slug, name, currency or time zone is malformed"))?;
        tx.commit().await?;
        Ok(id)
    }

    /// Lists every tenant's name and identifier, for administration on this machine.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn directory(&self) -> Result<Vec<Membership>, StoreError> {
        Ok(sqlx::query_as("select slug, tenant_id from directory order by slug")
            .fetch_all(&self.pool)
            .await?)
    }

    /// Finds whose credential this is.
    pub(super) async fn tenant_of(
        &self,
        hash: &[u8],
        kind: &str,
    ) -> Result<Option<TenantId>, StoreError> {
        Ok(sqlx::query_scalar("select tenant_id from credential where hash = $1 and kind = $2")
            .bind(hash)
            .bind(kind)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Uses a login link up and returns its tenant; `None` for unknown, used and expired ones.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn redeem_login_link(&self, hash: &[u8; 32]) -> Result<Option<TenantId>, StoreError> {
        let Some(tenant_id) = self.tenant_of(hash, "link").await? else { return Ok(None) };
        let mut tx = self.begin(tenant_id).await?;
        let used = sqlx::query(
            "update login_link set used_at = now()
             where tenant_id = $1 and hash = $2 and used_at is null and expires_at > now()",
        )
        .bind(tenant_id)
        .bind(hash.as_slice())
        .execute(&mut *tx.tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok((used == 1).then_some(tenant_id))
    }
}

impl TenantTx {
    /// Returns the tenant's own row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ no such tenant.
    pub async fn tenant(&mut self) -> Result<Tenant, StoreError> {
        let row: Option<TenantRow> = sqlx::query_as(
            "select slug, name, pack, currency, timezone, abstain_below, created_at
             from tenant where tenant_id = $1",
        )
        .bind(self.tenant)
        .fetch_optional(&mut *self.tx)
        .await?;
        let (slug, name, pack, currency, timezone, abstain_below, at) =
            row.ok_or(StoreError::NotFound("joint venture"))?;
        let (id, created_at) = (self.tenant, instant(at));
        Ok(Tenant { id, slug, name, pack, currency, timezone, abstain_below, created_at })
    }

    /// Sets the confidence below which plans are not acted on without a person.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ no share from 0 to 1.
    pub async fn set_abstain_below(&mut self, share: Option<f64>) -> Result<(), StoreError> {
        sqlx::query("update tenant set abstain_below = $2 where tenant_id = $1")
            .bind(self.tenant)
            .bind(share)
            .execute(&mut *self.tx)
            .await
            .map_err(|error| refused(error, "abstain_below must be a number from 0 to 1"))?;
        Ok(())
    }

    /// Routes a credential to this tenant.
    pub(super) async fn add_credential(
        &mut self,
        hash: &[u8; 32],
        kind: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("insert into credential (hash, kind, tenant_id) values ($1, $2, $3)")
            .bind(hash.as_slice())
            .bind(kind)
            .bind(self.tenant)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Ends credentials of this tenant.
    pub(super) async fn remove_credentials(
        &mut self,
        hashes: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        sqlx::query("delete from credential where hash = any($1) and tenant_id = $2")
            .bind(hashes)
            .bind(self.tenant)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Makes a link that signs one person in once, within `minutes`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_login_link(&mut self, minutes: u16) -> Result<Secret, StoreError> {
        let secret = Secret::new("tsl");
        self.add_credential(&secret.hash, "link").await?;
        sqlx::query(
            "insert into login_link (tenant_id, hash, expires_at)
             values ($1, $2, now() + make_interval(mins => $3))",
        )
        .bind(self.tenant)
        .bind(secret.hash.as_slice())
        .bind(i32::from(minutes))
        .execute(&mut *self.tx)
        .await?;
        Ok(secret)
    }
}

pub(super) fn refused(error: sqlx::Error, message: &str) -> StoreError {
    match error.as_database_error() {
        Some(found) if found.is_check_violation() => StoreError::Conflict(message.to_owned()),
        _ => error.into(),
    }
}
