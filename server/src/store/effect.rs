//! The ledger of effects: each idempotency key happens at most once.

use serde_json::Value;
use sqlx::FromRow;

use super::{StoreError, TenantTx};

/// One line of the ledger.
#[derive(Debug, Clone, FromRow)]
pub struct EffectRecord {
    /// Key under which the effect happens at most once.
    pub idempotency_key: String,
    /// Name of the tool.
    pub tool: String,
    /// Hash of the arguments.
    pub arguments_sha256: String,
    /// `started`, `done` or `unknown` (a person must find out).
    pub state: String,
    /// Identifier that the ledger gave to it.
    pub reference: String,
}

impl TenantTx {
    /// Writes the line of an effect before it happens. Returns the earlier line when the key is known.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn start_effect(
        &mut self,
        key: &str,
        tool: &str,
        arguments: &Value,
        arguments_sha256: &str,
        reference: &str,
    ) -> Result<Option<EffectRecord>, StoreError> {
        let made = sqlx::query(
            "insert into effect_ledger (tenant_id, idempotency_key, tool, arguments_sha256,
                                        arguments, state, reference)
             values ($1, $2, $3, $4, $5, 'started', $6) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(key)
        .bind(tool)
        .bind(arguments_sha256)
        .bind(arguments)
        .bind(reference)
        .execute(&mut *self.tx)
        .await?;
        if made.rows_affected() == 1 {
            return Ok(None);
        }
        let earlier = sqlx::query_as(
            "select idempotency_key, tool, arguments_sha256, state, reference
             from effect_ledger where tenant_id = $1 and idempotency_key = $2",
        )
        .bind(self.tenant)
        .bind(key)
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(Some(earlier))
    }

    /// Notes how an effect ended: `done` or `unknown`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ it was never started.
    pub async fn finish_effect(&mut self, key: &str, known: bool) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update effect_ledger set state = $3 where tenant_id = $1 and idempotency_key = $2",
        )
        .bind(self.tenant)
        .bind(key)
        .bind(if known { "done" } else { "unknown" })
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("effect")) } else { Ok(()) }
    }

    /// Lists the newest effects.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn effects(&mut self, limit: u16) -> Result<Vec<EffectRecord>, StoreError> {
        Ok(sqlx::query_as(
            "select idempotency_key, tool, arguments_sha256, state, reference
             from effect_ledger where tenant_id = $1 order by created_at desc limit $2",
        )
        .bind(self.tenant)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.tx)
        .await?)
    }
}
