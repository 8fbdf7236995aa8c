//! Sources of inbound webhooks, and what came from them, each once.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{RunId, StoreError, TenantTx, instant};

/// Most sources of a joint venture.
const MAX_SOURCES: i64 = 100;

/// Where messages come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Identifier, drawn at random: it is part of the address.
    pub id: Uuid,
    /// Name for people.
    pub name: String,
    /// How its signatures are verified.
    pub verifier: Value,
    /// The secret, encrypted.
    pub sealed: Vec<u8>,
    /// How a request is made of a payload.
    pub mapping: Value,
    /// Whether messages are taken.
    pub enabled: bool,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A source to be made.
#[derive(Debug, Clone)]
pub struct NewSource {
    /// Identifier; the ciphertext is bound to it.
    pub id: Uuid,
    /// Name for people.
    pub name: String,
    /// How its signatures are verified.
    pub verifier: Value,
    /// The secret, encrypted.
    pub sealed: Vec<u8>,
    /// How a request is made of a payload.
    pub mapping: Value,
}

/// A message that came in and was verified.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Identifier.
    pub id: Uuid,
    /// What its sender calls it.
    pub external_id: String,
    /// `started`, `observed`, `skipped`, `unmapped` or `refused`.
    pub outcome: String,
    /// Which observation was made of it, or why it did nothing.
    pub detail: String,
    /// The run that it started.
    pub run: Option<RunId>,
    /// The message; emptied after thirty days.
    pub payload: String,
    /// How often it came again.
    pub repeats: i32,
    /// When it came first.
    pub received_at: Timestamp,
}

/// What a message came to.
#[derive(Debug, Clone)]
pub struct NewInbound<'a> {
    /// The source.
    pub source: Uuid,
    /// What its sender calls it.
    pub external_id: &'a str,
    /// The message.
    pub payload: &'a str,
}

#[derive(FromRow)]
struct SourceRow {
    source_id: Uuid,
    name: String,
    verifier: Value,
    sealed: Vec<u8>,
    mapping: Value,
    enabled: bool,
    created_by: String,
    created_at: OffsetDateTime,
}

impl From<SourceRow> for Source {
    fn from(row: SourceRow) -> Self {
        Self {
            id: row.source_id,
            name: row.name,
            verifier: row.verifier,
            sealed: row.sealed,
            mapping: row.mapping,
            enabled: row.enabled,
            created_by: row.created_by,
            created_at: instant(row.created_at),
        }
    }
}

#[derive(FromRow)]
struct InboundRow {
    inbound_id: Uuid,
    external_id: String,
    outcome: String,
    detail: String,
    run_id: Option<Uuid>,
    payload: String,
    repeats: i32,
    received_at: OffsetDateTime,
}

impl From<InboundRow> for Inbound {
    fn from(row: InboundRow) -> Self {
        Self {
            id: row.inbound_id,
            external_id: row.external_id,
            outcome: row.outcome,
            detail: row.detail,
            run: row.run_id,
            payload: row.payload,
            repeats: row.repeats,
            received_at: instant(row.received_at),
        }
    }
}

impl TenantTx {
    /// Makes a source.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the name is taken, or there are 100 already.
    pub async fn add_source(&mut self, new: &NewSource, by: &str) -> Result<Source, StoreError> {
        let count: i64 =
            sqlx::query_scalar("select count(*) from webhook_source where tenant_id = $1")
                .bind(self.tenant)
                .fetch_one(&mut *self.tx)
                .await?;
        if count >= MAX_SOURCES {
            let message = format!("there are {MAX_SOURCES} sources already; delete one first");
            return Err(StoreError::Conflict(message));
        }
        let row: Option<SourceRow> = sqlx::query_as(
            "insert into webhook_source (tenant_id, source_id, name, verifier, sealed, mapping, created_by)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant_id, name) do nothing
             returning source_id, name, verifier, sealed, mapping, enabled, created_by, created_at",
        )
        .bind(self.tenant)
        .bind(new.id)
        .bind(&new.name)
        .bind(&new.verifier)
        .bind(&new.sealed)
        .bind(&new.mapping)
        .bind(by)
        .fetch_optional(&mut *self.tx)
        .await?;
        let taken = || StoreError::Conflict(format!("there is a source `{}` already", new.name));
        row.map(Source::from).ok_or_else(taken)
    }

    /// Lists the sources, in order of their names.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sources(&mut self) -> Result<Vec<Source>, StoreError> {
        let rows: Vec<SourceRow> = sqlx::query_as(
            "select source_id, name, verifier, sealed, mapping, enabled, created_by, created_at
             from webhook_source where tenant_id = $1 order by name",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(Source::from).collect())
    }

    /// Returns a source.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's, alike.
    pub async fn source(&mut self, id: Uuid) -> Result<Source, StoreError> {
        let row: Option<SourceRow> = sqlx::query_as(
            "select source_id, name, verifier, sealed, mapping, enabled, created_by, created_at
             from webhook_source where tenant_id = $1 and source_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_optional(&mut *self.tx)
        .await?;
        row.map(Source::from).ok_or(StoreError::NotFound("webhook source"))
    }

    /// Sets whether messages of a source are taken, and how requests are made of them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn change_source(
        &mut self,
        id: Uuid,
        enabled: bool,
        mapping: &Value,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update webhook_source set enabled = $3, mapping = $4
             where tenant_id = $1 and source_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(enabled)
        .bind(mapping)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("webhook source")) } else { Ok(()) }
    }

    /// Deletes a source and the record of what came from it; the runs stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_source(&mut self, id: Uuid) -> Result<(), StoreError> {
        let gone =
            sqlx::query("delete from webhook_source where tenant_id = $1 and source_id = $2")
                .bind(self.tenant)
                .bind(id)
                .execute(&mut *self.tx)
                .await?;
        if gone.rows_affected() == 0 { Err(StoreError::NotFound("webhook source")) } else { Ok(()) }
    }

    /// Notes a message. `false` when it was here before; it then waits for another transaction that
    /// takes the same message at this moment.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn receive(&mut self, new: &NewInbound<'_>) -> Result<bool, StoreError> {
        let first: bool = sqlx::query_scalar(
            "insert into webhook_inbound
                 (tenant_id, source_id, external_id, inbound_id, outcome, payload)
             values ($1, $2, $3, $4, 'skipped', $5)
             on conflict (tenant_id, source_id, external_id)
             do update set repeats = webhook_inbound.repeats + 1
             returning repeats = 0",
        )
        .bind(self.tenant)
        .bind(new.source)
        .bind(new.external_id)
        .bind(Uuid::now_v7())
        .bind(new.payload)
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(first)
    }

    /// Says what a message came to, in the transaction that received it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn conclude_inbound(
        &mut self,
        new: &NewInbound<'_>,
        outcome: &str,
        detail: &str,
        run: Option<RunId>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update webhook_inbound set outcome = $4, detail = $5, run_id = $6
             where tenant_id = $1 and source_id = $2 and external_id = $3",
        )
        .bind(self.tenant)
        .bind(new.source)
        .bind(new.external_id)
        .bind(outcome)
        .bind(detail)
        .bind(run)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Lists what came from a source, newest first, after `cursor`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn inbound(
        &mut self,
        source: Uuid,
        cursor: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Inbound>, StoreError> {
        let rows: Vec<InboundRow> = sqlx::query_as(
            "select inbound_id, external_id, outcome, detail, run_id, payload, repeats, received_at
             from webhook_inbound
             where tenant_id = $1 and source_id = $2 and ($3::uuid is null or inbound_id < $3)
             order by inbound_id desc limit $4",
        )
        .bind(self.tenant)
        .bind(source)
        .bind(cursor)
        .bind(limit)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(Inbound::from).collect())
    }

    /// Returns every ciphertext of the tenant as (table, row, bytes).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sealed_secrets(&mut self) -> Result<Vec<(String, Uuid, Vec<u8>)>, StoreError> {
        Ok(sqlx::query_as(
            "select 'webhook_secret', secret_id, sealed from webhook_secret where tenant_id = $1
             union all
             select 'webhook_source', source_id, sealed from webhook_source where tenant_id = $1
             union all
             select 'signing_key', key_id, sealed from signing_key
             where tenant_id = $1 and sealed is not null
             union all
             select 'pack_setting', setting_id, sealed from pack_setting where tenant_id = $1",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Puts another ciphertext of the same secret into its row.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn reseal(
        &mut self,
        table: &str,
        row: Uuid,
        sealed: &[u8],
    ) -> Result<(), StoreError> {
        let statement = match table {
            "webhook_source" => {
                "update webhook_source set sealed = $3 where tenant_id = $1 and source_id = $2"
            }
            "signing_key" => {
                "update signing_key set sealed = $3 where tenant_id = $1 and key_id = $2"
            }
            "pack_setting" => {
                "update pack_setting set sealed = $3 where tenant_id = $1 and setting_id = $2"
            }
            _ => "update webhook_secret set sealed = $3 where tenant_id = $1 and secret_id = $2",
        };
        sqlx::query(statement)
            .bind(self.tenant)
            .bind(row)
            .bind(sealed)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}
