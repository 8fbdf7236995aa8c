//! Endpoints of outbound webhooks and their secrets.

use jiff::Timestamp;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{StoreError, TenantTx, instant};

/// Most endpoints of a joint venture.
const MAX_ENDPOINTS: i64 = 100;

/// Where events are sent.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Identifier.
    pub id: Uuid,
    /// Address.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Types that it wants, `run.*` for all of a kind; empty for all.
    pub events: Vec<String>,
    /// Whether one event waits for the one before.
    pub ordered: bool,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why nothing is sent: `paused`, `gone` or `failing`.
    pub disabled_because: Option<String>,
    /// Since when nothing got through.
    pub failing_since: Option<Timestamp>,
    /// Grows with each change.
    pub version: i32,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a person sets of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Address.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Types that it wants.
    pub events: Vec<String>,
    /// Whether one event waits for the one before.
    pub ordered: bool,
}

/// A signing secret as it is stored.
#[derive(Debug, Clone)]
pub struct EndpointSecret {
    /// Identifier; the ciphertext is bound to it.
    pub id: Uuid,
    /// `v1` or `v1a`.
    pub scheme: String,
    /// Ciphertext.
    pub sealed: Vec<u8>,
    /// What receivers verify by, where it may be known.
    pub public_key: Option<String>,
    /// End of the grace; `None` for the current one.
    pub expires_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct Row {
    endpoint_id: Uuid,
    url: String,
    description: String,
    events: Vec<String>,
    ordered: bool,
    enabled: bool,
    disabled_because: Option<String>,
    failing_since: Option<OffsetDateTime>,
    version: i32,
    created_by: String,
    created_at: OffsetDateTime,
}

impl From<Row> for Endpoint {
    fn from(row: Row) -> Self {
        Self {
            id: row.endpoint_id,
            url: row.url,
            description: row.description,
            events: row.events,
            ordered: row.ordered,
            enabled: row.enabled,
            disabled_because: row.disabled_because,
            failing_since: row.failing_since.map(instant),
            version: row.version,
            created_by: row.created_by,
            created_at: instant(row.created_at),
        }
    }
}

#[derive(FromRow)]
struct SecretRow {
    secret_id: Uuid,
    scheme: String,
    sealed: Vec<u8>,
    public_key: Option<String>,
    expires_at: Option<OffsetDateTime>,
}

impl From<SecretRow> for EndpointSecret {
    fn from(row: SecretRow) -> Self {
        Self {
            id: row.secret_id,
            scheme: row.scheme,
            sealed: row.sealed,
            public_key: row.public_key,
            expires_at: row.expires_at.map(instant),
        }
    }
}

impl TenantTx {
    /// Makes an endpoint.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ there are 100 already.
    pub async fn add_endpoint(
        &mut self,
        settings: &EndpointSettings,
        by: &str,
    ) -> Result<Endpoint, StoreError> {
        let count: i64 =
            sqlx::query_scalar("select count(*) from webhook_endpoint where tenant_id = $1")
                .bind(self.tenant)
                .fetch_one(&mut *self.tx)
                .await?;
        if count >= MAX_ENDPOINTS {
            let message = format!("there are {MAX_ENDPOINTS} endpoints already; delete one first");
            return Err(StoreError::Conflict(message));
        }
        let row: Row = sqlx::query_as(
            "insert into webhook_endpoint
                 (tenant_id, endpoint_id, url, description, events, ordered, created_by)
             values ($1, $2, $3, $4, $5, $6, $7)
             returning endpoint_id, url, description, events, ordered, enabled, disabled_because,
                       failing_since, version, created_by, created_at",
        )
        .bind(self.tenant)
        .bind(Uuid::now_v7())
        .bind(&settings.url)
        .bind(&settings.description)
        .bind(&settings.events)
        .bind(settings.ordered)
        .bind(by)
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(row.into())
    }

    /// Lists the endpoints, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn endpoints(&mut self) -> Result<Vec<Endpoint>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select endpoint_id, url, description, events, ordered, enabled, disabled_because,
                    failing_since, version, created_by, created_at
             from webhook_endpoint where tenant_id = $1 order by endpoint_id desc",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(Endpoint::from).collect())
    }

    /// Returns an endpoint and keeps others from changing it until this transaction ends.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's, alike.
    pub async fn endpoint(&mut self, id: Uuid) -> Result<Endpoint, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select endpoint_id, url, description, events, ordered, enabled, disabled_because,
                    failing_since, version, created_by, created_at
             from webhook_endpoint where tenant_id = $1 and endpoint_id = $2 for no key update",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_optional(&mut *self.tx)
        .await?;
        row.map(Endpoint::from).ok_or(StoreError::NotFound("webhook endpoint"))
    }

    /// Changes what a person sets of an endpoint.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn change_endpoint(
        &mut self,
        id: Uuid,
        settings: &EndpointSettings,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update webhook_endpoint set url = $3, description = $4, events = $5, ordered = $6,
                    version = version + 1
             where tenant_id = $1 and endpoint_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(&settings.url)
        .bind(&settings.description)
        .bind(&settings.events)
        .bind(settings.ordered)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            Err(StoreError::NotFound("webhook endpoint"))
        } else {
            Ok(())
        }
    }

    /// Deletes an endpoint with its secrets, deliveries and what waits for it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_endpoint(&mut self, id: Uuid) -> Result<(), StoreError> {
        self.clear_endpoint_queue(id).await?;
        let gone =
            sqlx::query("delete from webhook_endpoint where tenant_id = $1 and endpoint_id = $2")
                .bind(self.tenant)
                .bind(id)
                .execute(&mut *self.tx)
                .await?;
        if gone.rows_affected() == 0 {
            Err(StoreError::NotFound("webhook endpoint"))
        } else {
            Ok(())
        }
    }

    pub(super) async fn clear_endpoint_queue(&mut self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query("delete from webhook_queue where tenant_id = $1 and endpoint_id = $2")
            .bind(self.tenant)
            .bind(id)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Stops sending to an endpoint; what waits is held. `false` when it was stopped already.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn disable_endpoint(&mut self, id: Uuid, because: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "update webhook_endpoint set enabled = false, disabled_because = $3, version = version + 1
             where tenant_id = $1 and endpoint_id = $2 and enabled",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(because)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        self.clear_endpoint_queue(id).await?;
        sqlx::query(
            "update webhook_delivery set state = 'held'
             where tenant_id = $1 and endpoint_id = $2 and state = 'pending'",
        )
        .bind(self.tenant)
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        Ok(true)
    }

    /// Sends to an endpoint again, what was held first. Returns how much that is.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn enable_endpoint(&mut self, id: Uuid) -> Result<u64, StoreError> {
        sqlx::query(
            "update webhook_endpoint set enabled = true, disabled_because = null,
                    failing_since = null, version = version + 1
             where tenant_id = $1 and endpoint_id = $2 and not enabled",
        )
        .bind(self.tenant)
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        let queued = sqlx::query(
            "with again as (
                 update webhook_delivery set state = 'pending', attempts = 0, finished_at = null
                 where tenant_id = $1 and endpoint_id = $2 and state = 'held' returning event_id)
             insert into webhook_queue (tenant_id, endpoint_id, event_id)
             select $1, $2, event_id from again on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        self.wake(super::WEBHOOKS);
        Ok(queued.rows_affected())
    }

    /// Makes a secret the current one of an endpoint; the one before signs on until `grace_hours` are over.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ three old ones sign still.
    pub async fn add_endpoint_secret(
        &mut self,
        endpoint: Uuid,
        secret: &EndpointSecret,
        grace_hours: i32,
    ) -> Result<(), StoreError> {
        let old: i64 = sqlx::query_scalar(
            "select count(*) from webhook_secret
             where tenant_id = $1 and endpoint_id = $2 and expires_at > now()",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .fetch_one(&mut *self.tx)
        .await?;
        if old >= 3 {
            let message = "three old secrets sign still; wait until the grace of one is over";
            return Err(StoreError::Conflict(message.to_owned()));
        }
        sqlx::query(
            "update webhook_secret set expires_at = now() + make_interval(hours => $3)
             where tenant_id = $1 and endpoint_id = $2 and expires_at is null",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .bind(grace_hours)
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "delete from webhook_secret
             where tenant_id = $1 and endpoint_id = $2 and expires_at <= now()",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "insert into webhook_secret (tenant_id, endpoint_id, secret_id, scheme, sealed, public_key)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .bind(secret.id)
        .bind(&secret.scheme)
        .bind(&secret.sealed)
        .bind(&secret.public_key)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns the secrets that sign now, the current one first. `shift` moves the clock, seconds.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn endpoint_secrets(
        &mut self,
        endpoint: Uuid,
        shift: f64,
    ) -> Result<Vec<EndpointSecret>, StoreError> {
        let rows: Vec<SecretRow> = sqlx::query_as(
            "select secret_id, scheme, sealed, public_key, expires_at from webhook_secret
             where tenant_id = $1 and endpoint_id = $2
               and (expires_at is null or expires_at > now() + make_interval(secs => $3))
             order by expires_at desc nulls first",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .bind(shift)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(EndpointSecret::from).collect())
    }
}
