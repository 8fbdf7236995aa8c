//! Approvals: a person's decision on one exact call.

use agents::policy::terms::binding_sha256;
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
    /// Version of the tool that was asked about.
    pub tool_version: String,
    /// Hash of all that the decision is bound to; empty where it was asked before there was one.
    pub binding_sha256: String,
    /// Rule of the pack that asks.
    pub rule: String,
    /// Roles of the pack that may decide; empty for any that may approve.
    pub roles: Vec<String>,
    /// Whether whoever asked may decide.
    pub self_approval: bool,
    /// How many different people must approve.
    pub needed: i32,
    /// Where each argument came from.
    pub origins: Value,
    /// Flows that would not have been allowed without a person.
    pub reasons: Value,
    /// After this instant nobody can approve.
    pub expires_at: Timestamp,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// An approval to be asked for.
#[derive(Debug, Clone, Default)]
pub struct NewApproval {
    /// Position of the call in the plan.
    pub call_index: i32,
    /// Name of the tool.
    pub tool: String,
    /// The exact arguments.
    pub arguments: Value,
    /// Hash that binds the decision to them.
    pub arguments_sha256: String,
    /// `act` or `unsure`.
    pub because: String,
    /// Version of the tool.
    pub tool_version: String,
    /// Rule of the pack that asks.
    pub rule: String,
    /// Roles of the pack that may decide.
    pub roles: Vec<String>,
    /// Whether whoever asked may decide.
    pub self_approval: bool,
    /// How many different people must approve, 1 or 2.
    pub needed: i32,
    /// Where each argument came from.
    pub origins: Value,
    /// Flows that would not have been allowed without a person.
    pub reasons: Value,
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
    tool_version: String,
    binding_sha256: String,
    rule: String,
    roles: Vec<String>,
    self_approval: bool,
    needed: i32,
    origins: Value,
    reasons: Value,
    expires_at: OffsetDateTime,
    created_at: OffsetDateTime,
}

/// The columns of a [`Row`].
macro_rules! approval_columns {
    () => {
        "approval_id, run_id, call_index, tool, arguments, arguments_sha256, because,
         case when status = 'pending' and expires_at <= now() then 'expired' else status end as status,
         decided_by, reason, tool_version, binding_sha256, rule, roles, self_approval, needed, origins,
         reasons, expires_at, created_at"
    };
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
            tool_version: row.tool_version,
            binding_sha256: row.binding_sha256,
            rule: row.rule,
            roles: row.roles,
            self_approval: row.self_approval,
            needed: row.needed,
            origins: row.origins,
            reasons: row.reasons,
            expires_at: instant(row.expires_at),
            created_at: instant(row.created_at),
        }
    }
}

impl TenantTx {
    /// Returns the hash that an approval of this tenant must be bound to.
    pub fn binding(
        &self,
        run: RunId,
        call_index: i32,
        tool: (&str, &str),
        arguments_sha256: &str,
    ) -> String {
        let (scope, run) = (self.tenant.to_string(), run.to_string());
        binding_sha256(&scope, &run, call_index.into(), tool, arguments_sha256)
    }

    /// Asks for an approval that lasts 24 h; asking twice for the same call, arguments and version of
    /// the tool changes nothing, and asking for others takes the earlier question back.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn request_approval(
        &mut self,
        run: RunId,
        new: &NewApproval,
    ) -> Result<(), StoreError> {
        let tool = (new.tool.as_str(), new.tool_version.as_str());
        let binding = self.binding(run, new.call_index, tool, &new.arguments_sha256);
        sqlx::query(
            "update approval set status = 'expired', decided_at = now(), decided_by = 'tessera',
                    reason = 'the call or its tool changed'
             where tenant_id = $1 and run_id = $2 and call_index = $3 and status = 'pending'
               and binding_sha256 <> $4",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(new.call_index)
        .bind(&binding)
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "insert into approval (tenant_id, approval_id, run_id, call_index, tool, arguments,
                                   arguments_sha256, because, status, expires_at, tool_version,
                                   binding_sha256, rule, roles, self_approval, needed, origins, reasons)
             values ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', now() + interval '24 hours', $9, $10,
                     $11, $12, $13, $14, $15, $16)
             on conflict on constraint approval_once do nothing",
        )
        .bind(self.tenant)
        .bind(Uuid::now_v7())
        .bind(run)
        .bind(new.call_index)
        .bind(&new.tool)
        .bind(&new.arguments)
        .bind(&new.arguments_sha256)
        .bind(&new.because)
        .bind(&new.tool_version)
        .bind(&binding)
        .bind(&new.rule)
        .bind(&new.roles)
        .bind(new.self_approval)
        .bind(new.needed.clamp(1, 2))
        .bind(or_empty(&new.origins))
        .bind(or_empty(&new.reasons))
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
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "select ",
            approval_columns!(),
            " from approval
                 where tenant_id = $1 and (not $2 or (status = 'pending' and expires_at > now()))
                 order by approval_id desc limit 500"
        ))
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
        let row: Option<Row> = sqlx::query_as(concat!(
            "select ",
            approval_columns!(),
            " from approval where tenant_id = $1 and approval_id = $2"
        ))
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

/// Lists are stored as lists also where there is nothing.
fn or_empty(list: &Value) -> Value {
    if list.is_null() { Value::Array(Vec::new()) } else { list.clone() }
}
