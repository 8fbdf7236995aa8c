//! The ledger of effects: each idempotency key happens at most once.
//!
//! A line stands before its effect is made. `started` becomes `done`, or `void` where the effect
//! surely did not happen, or `unknown` where nobody can tell; then a person settles it.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{RunId, StoreError, TenantTx, instant};

/// An effect that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewEffect<'a> {
    /// Key under which it happens at most once.
    pub key: &'a str,
    /// Name of the tool.
    pub tool: &'a str,
    /// What is to be done.
    pub arguments: &'a Value,
    /// Hash of the arguments.
    pub arguments_sha256: &'a str,
    /// Identifier that the ledger gives to it.
    pub reference: &'a str,
    /// The run that makes it, if a run does.
    pub run: Option<RunId>,
}

/// One line of the ledger.
#[derive(Debug, Clone)]
pub struct EffectRecord {
    /// Key under which the effect happens at most once.
    pub idempotency_key: String,
    /// Name of the tool.
    pub tool: String,
    /// What is to be done.
    pub arguments: Value,
    /// Hash of the arguments.
    pub arguments_sha256: String,
    /// `started`, `done`, `void` (it did not happen) or `unknown` (a person must find out).
    pub state: String,
    /// Identifier that the ledger gave to it.
    pub reference: String,
    /// The run that began it.
    pub run: Option<RunId>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Seconds since then, by the database's clock.
    pub age_s: f64,
    /// Who settled it, where nobody knew.
    pub settled_by: Option<String>,
}

#[derive(FromRow)]
struct Row {
    idempotency_key: String,
    tool: String,
    arguments: Value,
    arguments_sha256: String,
    state: String,
    reference: String,
    run_id: Option<Uuid>,
    created_at: OffsetDateTime,
    age_s: f64,
    settled_by: Option<String>,
}

impl From<Row> for EffectRecord {
    fn from(row: Row) -> Self {
        Self {
            idempotency_key: row.idempotency_key,
            tool: row.tool,
            arguments: row.arguments,
            arguments_sha256: row.arguments_sha256,
            state: row.state,
            reference: row.reference,
            run: row.run_id,
            created_at: instant(row.created_at),
            age_s: row.age_s,
            settled_by: row.settled_by,
        }
    }
}

impl TenantTx {
    /// Writes the line of an effect before it happens. Returns the earlier line when the key is
    /// known, locked until this transaction ends; one that is `void` is begun again.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn start_effect(
        &mut self,
        new: NewEffect<'_>,
    ) -> Result<Option<EffectRecord>, StoreError> {
        let made = sqlx::query(
            "insert into effect_ledger (tenant_id, idempotency_key, tool, arguments_sha256,
                                        arguments, state, reference, run_id)
             values ($1, $2, $3, $4, $5, 'started', $6, $7)
             on conflict (tenant_id, idempotency_key) do update
             set state = 'started', reference = excluded.reference, run_id = excluded.run_id,
                 created_at = now(), settled_by = null, settled_at = null
             where effect_ledger.state = 'void' and effect_ledger.tool = excluded.tool
               and effect_ledger.arguments_sha256 = excluded.arguments_sha256",
        )
        .bind(self.tenant)
        .bind(new.key)
        .bind(new.tool)
        .bind(new.arguments_sha256)
        .bind(new.arguments)
        .bind(new.reference)
        .bind(new.run)
        .execute(&mut *self.tx)
        .await?;
        if made.rows_affected() == 1 {
            return Ok(None);
        }
        let row: Row = sqlx::query_as(
            "select idempotency_key, tool, arguments, arguments_sha256, state, reference, run_id,
                    created_at, extract(epoch from now() - created_at)::float8 as age_s, settled_by
             from effect_ledger where tenant_id = $1 and idempotency_key = $2 for update",
        )
        .bind(self.tenant)
        .bind(new.key)
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(Some(row.into()))
    }

    /// Notes how an effect ended, `done`, `void` or `unknown`, and under which identifier. What is
    /// done stays done.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ it was never started.
    pub async fn finish_effect(
        &mut self,
        key: &str,
        state: &str,
        reference: &str,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update effect_ledger
             set state = case when state = 'done' then state else $3 end, reference = $4
             where tenant_id = $1 and idempotency_key = $2",
        )
        .bind(self.tenant)
        .bind(key)
        .bind(state)
        .bind(reference)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("effect")) } else { Ok(()) }
    }

    /// Settles an effect whose outcome is not known: it happened, or it did not. Returns its line.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] ⇐ it is known, or was settled otherwise.
    pub async fn settle_effect(
        &mut self,
        key: &str,
        happened: bool,
        by: &str,
    ) -> Result<EffectRecord, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "update effect_ledger
             set state = $3, settled_by = $4, settled_at = now()
             where tenant_id = $1 and idempotency_key = $2
               and (state in ('started', 'unknown') or (state = $3 and settled_by is not null))
             returning idempotency_key, tool, arguments, arguments_sha256, state, reference, run_id,
                    created_at, extract(epoch from now() - created_at)::float8 as age_s, settled_by",
        )
        .bind(self.tenant)
        .bind(key)
        .bind(if happened { "done" } else { "void" })
        .bind(by)
        .fetch_optional(&mut *self.tx)
        .await?;
        match row {
            Some(row) => Ok(row.into()),
            None if self.effect(key).await?.is_some() => Err(StoreError::Conflict(
                "the outcome of this effect is known; nothing was changed".to_owned(),
            )),
            None => Err(StoreError::NotFound("effect")),
        }
    }

    /// Returns the line of a key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn effect(&mut self, key: &str) -> Result<Option<EffectRecord>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select idempotency_key, tool, arguments, arguments_sha256, state, reference, run_id,
                    created_at, extract(epoch from now() - created_at)::float8 as age_s, settled_by
             from effect_ledger where tenant_id = $1 and idempotency_key = $2",
        )
        .bind(self.tenant)
        .bind(key)
        .fetch_optional(&mut *self.tx)
        .await?;
        Ok(row.map(EffectRecord::from))
    }

    /// Lists the newest effects; of one state where it is named. An effect that was begun over five
    /// minutes ago and never ended counts as `unknown`: whoever made it is gone.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn effects(
        &mut self,
        state: Option<&str>,
        limit: u16,
    ) -> Result<Vec<EffectRecord>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select * from (
                 select idempotency_key, tool, arguments, arguments_sha256,
                        case when state = 'started' and created_at < now() - interval '5 minutes'
                             then 'unknown' else state end as state,
                        reference, run_id, created_at,
                        extract(epoch from now() - created_at)::float8 as age_s, settled_by
                 from effect_ledger where tenant_id = $1) line
             where $2::text is null or state = $2
             order by created_at desc limit $3",
        )
        .bind(self.tenant)
        .bind(state)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(EffectRecord::from).collect())
    }
}
