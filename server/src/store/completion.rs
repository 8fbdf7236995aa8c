//! What was asked of planners over the OpenAI-compatible calls: metering, and responses that are kept.

use serde_json::Value;
use uuid::Uuid;

use super::{StoreError, TenantTx};

/// How long the content of responses is kept.
const KEPT_DAYS: i32 = 30;

/// A call to be noted.
#[derive(Debug, Clone, Copy)]
pub struct NewCompletion<'a> {
    /// Identifier of the answer.
    pub id: Uuid,
    /// `chat` or `response`.
    pub kind: &'a str,
    /// Model that answered.
    pub model: &'a str,
    /// Who asked.
    pub by: &'a str,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens that an earlier prompt had run already.
    pub cached_tokens: usize,
    /// Tokens that the planner chose.
    pub decoded_tokens: usize,
    /// Wall time, milliseconds.
    pub ms: i64,
    /// What is kept of a response.
    pub kept: Option<&'a Value>,
}

fn whole(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl TenantTx {
    /// Notes a call, and forgets the content of responses that are older than 30 days.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_completion(&mut self, new: &NewCompletion<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "insert into completion (tenant_id, response_id, kind, model, asked_by, prompt_tokens,
                 cached_tokens, decoded_tokens, ms, kept)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(self.tenant)
        .bind(new.id)
        .bind(new.kind)
        .bind(new.model)
        .bind(new.by)
        .bind(whole(new.prompt_tokens))
        .bind(whole(new.cached_tokens))
        .bind(whole(new.decoded_tokens))
        .bind(i32::try_from(new.ms).unwrap_or(i32::MAX))
        .bind(new.kept)
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "update completion set kept = null
             where tenant_id = $1 and kept is not null and created_at < now() - make_interval(days => $2)",
        )
        .bind(self.tenant)
        .bind(KEPT_DAYS)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns what is kept of a response.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent, not kept, or another tenant's.
    pub async fn kept_response(&mut self, id: Uuid) -> Result<Value, StoreError> {
        let kept: Option<Value> = sqlx::query_scalar(
            "select kept from completion
             where tenant_id = $1 and response_id = $2 and kept is not null",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_optional(&mut *self.tx)
        .await?;
        kept.ok_or(StoreError::NotFound("response"))
    }

    /// Forgets the content of a response; what it took stays counted.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent, not kept, or another tenant's.
    pub async fn forget_response(&mut self, id: Uuid) -> Result<(), StoreError> {
        let gone = sqlx::query(
            "update completion set kept = null
             where tenant_id = $1 and response_id = $2 and kept is not null",
        )
        .bind(self.tenant)
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        if gone.rows_affected() == 0 { Err(StoreError::NotFound("response")) } else { Ok(()) }
    }
}
