//! Approvals: a person's decision on one exact call.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{RunId, StoreError, TenantTx, instant};

/// An approval that was asked for.
#[derive(Debug, Clone)]
pub struct Approval {
    /// Identifier.
    pub id: Uuid,
    /// The run that waits.
    pub run_id: RunId,
    /// Position of the call in the plan.
    pub call_index: i32,
    /// Name of the tool.
    pub tool: String,
    /// The exact arguments.
    pub arguments: Value,
    /// Hash that binds the decision to them.
    pub arguments_sha256: String,
    /// Why a person is asked: `act`, or `unsure` for a call that changes nothing.
    pub because: String,
    /// `pending`, `approved`, `rejected` or `expired`.
    pub status: String,
    /// Who decided.
    pub decided_by: Option<String>,
    /// Reason given.
    pub reason: Option<String>,
    /// After this instant nobody can approve.
    pub expires_at: Timestamp,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A decision that was just made.
#[derive(Debug, Clone)]
pub struct Decided {
    /// The run that waited.
    pub run_id: RunId,
    /// Position of the call.
    pub call_index: i32,
    /// Hash of the arguments decided upon.
    pub arguments_sha256: String,
}

#[derive(FromRow)]
struct Row {
    approval_id: Uuid,
    run_id: Uuid,
    call_index: i32,
    tool: String,
    arguments: Value,
    arguments_sha256: String,
    because: String,
    status: String,
    decided_by: Option<String>,
    reason: Option<String>,
    expires_at: OffsetDateTime,
    created_at: OffsetDateTime,
}

impl From<Row> for Approval {
    fn from(row: Row) -> Self {
        Self {
            id: row.approval_id,
            run_id: row.run_id,
            call_index: row.call_index,
            tool: row.tool,
            arguments: row.arguments,
            arguments_sha256: row.arguments_sha256,
            because: row.because,
            status: row.status,
            decided_by: row.decided_by,
            reason: row.reason,
            expires_at: instant(row.expires_at),
            created_at: instant(row.created_at),
        }
    }
}

impl TenantTx {
    /// Asks for an approval that lasts 24 h; asking twice for the same call changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn request_approval(
        &mut self,
        run: RunId,
        call_index: i32,
        tool: &str,
        arguments: &Value,
        arguments_sha256: &str,
        because: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into approval (tenant_id, approval_id, run_id, call_index, tool, arguments,
                                   arguments_sha256, because, status, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', now() + interval '24 hours')
             on conflict (tenant_id, run_id, call_index) do nothing",
        )
        .bind(self.tenant)
        .bind(Uuid::now_v7())
        .bind(run)
        .bind(call_index)
        .bind(tool)
        .bind(arguments)
        .bind(arguments_sha256)
        .bind(because)
        .execute(&mut *self.tx)
        .await?;
        self.wake(run);
        Ok(())
    }

    /// Lists approvals, newest first; only pending ones on demand.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn approvals(&mut self, pending_only: bool) -> Result<Vec<Approval>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select approval_id, run_id, call_index, tool, arguments, arguments_sha256, because,
                    case when status = 'pending' and expires_at <= now() then 'expired'
                         else status end as status,
                    decided_by, reason, expires_at, created_at
             from approval
             where tenant_id = $1 and (not $2 or (status = 'pending' and expires_at > now()))
             order by approval_id desc limit 500",
        )
        .bind(self.tenant)
        .bind(pending_only)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(Approval::from).collect())
    }

    /// Returns an approval.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn get_approval(&mut self, id: Uuid) -> Result<Approval, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select approval_id, run_id, call_index, tool, arguments, arguments_sha256, because, status,
                    decided_by, reason, expires_at, created_at
             from approval where tenant_id = $1 and approval_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_optional(&mut *self.tx)
        .await?;
        row.map(Approval::from).ok_or(StoreError::NotFound("approval"))
    }

    /// Decides a pending approval. The caller appends `approval.decided` with what is returned and
    /// calls [`TenantTx::enqueue`], in the same transaction.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's; [`StoreError::Conflict`] ⇐ already
    /// decided, expired, or its run has ended.
    pub async fn decide_approval(
        &mut self,
        id: Uuid,
        approved: bool,
        by: &str,
        reason: &str,
    ) -> Result<Decided, StoreError> {
        let asked = self.get_approval(id).await?;
        // The run first, then its approval: the order in which every writer takes the two locks.
        if self.lock_run(asked.run_id).await?.status.is_final() {
            let message = "the run of this approval has ended; nothing was changed";
            return Err(StoreError::Conflict(message.to_owned()));
        }
        let row: Option<(Uuid, i32, String)> = sqlx::query_as(
            "update approval set status = $3, decided_by = $4, reason = $5, decided_at = now()
             where tenant_id = $1 and approval_id = $2 and status = 'pending' and expires_at > now()
             returning run_id, call_index, arguments_sha256",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(if approved { "approved" } else { "rejected" })
        .bind(by)
        .bind(reason)
        .fetch_optional(&mut *self.tx)
        .await?;
        let (run_id, call_index, arguments_sha256) = row.ok_or_else(|| {
            StoreError::Conflict("this approval is decided or expired".to_owned())
        })?;
        Ok(Decided { run_id, call_index, arguments_sha256 })
    }

    /// Withdraws what a run still waits for, because `by` ended the run.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn withdraw_approvals(&mut self, run: RunId, by: &str) -> Result<(), StoreError> {
        sqlx::query(
            "update approval set status = 'expired', decided_by = $3, decided_at = now(),
                    reason = 'the run was cancelled'
             where tenant_id = $1 and run_id = $2 and status = 'pending'",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
