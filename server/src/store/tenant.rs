//! Tenants (joint ventures), their API keys, login links and sessions.

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

/// An API key as it is listed; the secret is not stored.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Identifier.
    pub id: Uuid,
    /// Label for people.
    pub label: String,
    /// First characters of the secret.
    pub prefix: String,
    /// What it permits.
    pub scopes: Vec<String>,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A valid key and whose it is.
#[derive(Debug, Clone)]
pub struct FoundKey {
    /// Identifier of the key.
    pub key_id: Uuid,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Label for people; names who acted.
    pub label: String,
    /// What it permits.
    pub scopes: Vec<String>,
}

/// A valid dashboard session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Who is signed in.
    pub subject: String,
    /// Token that every form of the session carries.
    pub csrf: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

type TenantRow = (String, String, String, String, String, Option<f64>, OffsetDateTime);
type KeyRow = (
    Uuid,
    String,
    String,
    Vec<String>,
    Option<OffsetDateTime>,
    Option<OffsetDateTime>,
    OffsetDateTime,
);

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

    async fn tenant_of(&self, hash: &[u8], kind: &str) -> Result<Option<TenantId>, StoreError> {
        Ok(sqlx::query_scalar("select tenant_id from credential where hash = $1 and kind = $2")
            .bind(hash)
            .bind(kind)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Finds the valid key with this hash; `None` for unknown, revoked and expired ones alike.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<FoundKey>, StoreError> {
        let Some(tenant_id) = self.tenant_of(hash, "key").await? else { return Ok(None) };
        let mut tx = self.begin(tenant_id).await?;
        let row: Option<(Uuid, String, Vec<String>)> = sqlx::query_as(
            "select key_id, label, scopes from api_key
             where tenant_id = $1 and hash = $2 and revoked_at is null
               and (expires_at is null or expires_at > now())",
        )
        .bind(tenant_id)
        .bind(hash.as_slice())
        .fetch_optional(&mut *tx.tx)
        .await?;
        Ok(row.map(|(key_id, label, scopes)| FoundKey { key_id, tenant_id, label, scopes }))
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

    /// Finds the session with this hash unless it has ended.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn find_session(&self, hash: &[u8; 32]) -> Result<Option<Session>, StoreError> {
        let Some(tenant_id) = self.tenant_of(hash, "session").await? else { return Ok(None) };
        let mut tx = self.begin(tenant_id).await?;
        let row: Option<(String, String, OffsetDateTime)> = sqlx::query_as(
            "select subject, csrf, expires_at from session
             where tenant_id = $1 and hash = $2 and expires_at > now()",
        )
        .bind(tenant_id)
        .bind(hash.as_slice())
        .fetch_optional(&mut *tx.tx)
        .await?;
        Ok(row.map(|(subject, csrf, ends)| Session {
            tenant_id,
            subject,
            csrf,
            expires_at: instant(ends),
        }))
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

    async fn add_credential(&mut self, hash: &[u8; 32], kind: &str) -> Result<(), StoreError> {
        sqlx::query("insert into credential (hash, kind, tenant_id) values ($1, $2, $3)")
            .bind(hash.as_slice())
            .bind(kind)
            .bind(self.tenant)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Makes an API key; the secret is in the return value and nowhere else.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_key(
        &mut self,
        label: &str,
        scopes: &[String],
        days: Option<u16>,
    ) -> Result<Secret, StoreError> {
        let secret = Secret::new("tsk");
        self.add_credential(&secret.hash, "key").await?;
        sqlx::query(
            "insert into api_key (tenant_id, key_id, label, prefix, hash, scopes, expires_at)
             values ($1, $2, $3, $4, $5, $6, now() + make_interval(days => $7))",
        )
        .bind(self.tenant)
        .bind(Uuid::now_v7())
        .bind(label)
        .bind(secret.prefix())
        .bind(secret.hash.as_slice())
        .bind(scopes)
        .bind(days.map(i32::from))
        .execute(&mut *self.tx)
        .await?;
        Ok(secret)
    }

    /// Lists the keys, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn keys(&mut self) -> Result<Vec<ApiKey>, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(
            "select key_id, label, prefix, scopes, expires_at, revoked_at, created_at
             from api_key where tenant_id = $1 order by key_id desc",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, label, prefix, scopes, expires, revoked, created)| ApiKey {
                id,
                label,
                prefix,
                scopes,
                expires_at: expires.map(instant),
                revoked_at: revoked.map(instant),
                created_at: instant(created),
            })
            .collect())
    }

    /// Revokes a key at once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ another tenant's, absent or already revoked.
    pub async fn revoke_key(&mut self, key: Uuid) -> Result<(), StoreError> {
        let hash: Option<Vec<u8>> = sqlx::query_scalar(
            "update api_key set revoked_at = now()
             where tenant_id = $1 and key_id = $2 and revoked_at is null returning hash",
        )
        .bind(self.tenant)
        .bind(key)
        .fetch_optional(&mut *self.tx)
        .await?;
        let hash = hash.ok_or(StoreError::NotFound("key"))?;
        self.remove_credential(&hash).await
    }

    async fn remove_credential(&mut self, hash: &[u8]) -> Result<(), StoreError> {
        sqlx::query("delete from credential where hash = $1 and tenant_id = $2")
            .bind(hash)
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

    /// Starts a session of `hours`; returns its secret and its CSRF token.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_session(
        &mut self,
        subject: &str,
        hours: u16,
    ) -> Result<(Secret, String), StoreError> {
        let secret = Secret::new("tss");
        let csrf = Secret::new("csrf").text;
        self.add_credential(&secret.hash, "session").await?;
        sqlx::query(
            "insert into session (tenant_id, hash, subject, csrf, expires_at)
             values ($1, $2, $3, $4, now() + make_interval(hours => $5))",
        )
        .bind(self.tenant)
        .bind(secret.hash.as_slice())
        .bind(subject)
        .bind(&csrf)
        .bind(i32::from(hours))
        .execute(&mut *self.tx)
        .await?;
        Ok((secret, csrf))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn end_session(&mut self, hash: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query("delete from session where tenant_id = $1 and hash = $2")
            .bind(self.tenant)
            .bind(hash.as_slice())
            .execute(&mut *self.tx)
            .await?;
        self.remove_credential(hash).await
    }
}

fn refused(error: sqlx::Error, message: &str) -> StoreError {
    match error.as_database_error() {
        Some(found) if found.is_check_violation() => StoreError::Conflict(message.to_owned()),
        _ => error.into(),
    }
}
