//! The queue of runs: leases, heartbeats and fencing, across tenants, without payload.
//!
//! Every claim has a token of its own, and every write of a worker is made under it: a worker that
//! slept past its lease finds another token there and writes nothing. Times are the database's, so
//! the clocks of the machines do not matter.

use std::time::Duration;

use uuid::Uuid;

use super::{RunId, Store, StoreError, TenantId, TenantTx};

/// The right to drive one run until it ends or the lease runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Tenant of the run.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// Fencing token, made for this claim.
    pub token: Uuid,
    /// Claims of the run since it was queued or made progress, this one included.
    pub attempt: i32,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueueDepth {
    /// Runs that no worker holds.
    pub waiting: i64,
    /// Runs under a live lease.
    pub leased: i64,
}

impl Store {
    /// Takes the oldest run that nobody holds, or whose holder's lease ran out.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn claim_run(&self, lease: Duration) -> Result<Option<Lease>, StoreError> {
        let token = Uuid::now_v7();
        let row: Option<(Uuid, Uuid, i32)> = sqlx::query_as(
            "update run_queue set lease_owner = $1, attempt = attempt + 1,
                    lease_until = now() + make_interval(secs => $2)
             where (tenant_id, run_id) = (
                 select tenant_id, run_id from run_queue
                 where ready_at <= now() and (lease_until is null or lease_until < now())
                 order by ready_at, run_id for update skip locked limit 1)
             returning tenant_id, run_id, attempt",
        )
        .bind(token)
        .bind(lease.as_secs_f64())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(tenant, run, attempt)| Lease { tenant, run, token, attempt }))
    }

    /// Prolongs a lease; `false` when it was lost and the holder must stop.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn heartbeat(&self, held: &Lease, lease: Duration) -> Result<bool, StoreError> {
        let kept = sqlx::query(
            "update run_queue set lease_until = now() + make_interval(secs => $4)
             where tenant_id = $1 and run_id = $2 and lease_owner = $3",
        )
        .bind(held.tenant)
        .bind(held.run)
        .bind(held.token)
        .bind(lease.as_secs_f64())
        .execute(&self.pool)
        .await?;
        Ok(kept.rows_affected() == 1)
    }

    /// Tells whether a lease still holds; writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn holds(&self, held: &Lease) -> Result<bool, StoreError> {
        let found: Option<i32> = sqlx::query_scalar(
            "select 1 from run_queue where tenant_id = $1 and run_id = $2 and lease_owner = $3",
        )
        .bind(held.tenant)
        .bind(held.run)
        .bind(held.token)
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.is_some())
    }

    /// Gives a run back to be claimed again after `delay`; `false` when the lease was lost.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn retry_later(&self, held: &Lease, delay: Duration) -> Result<bool, StoreError> {
        let given = sqlx::query(
            "update run_queue set lease_owner = null, lease_until = null,
                    ready_at = now() + make_interval(secs => $4)
             where tenant_id = $1 and run_id = $2 and lease_owner = $3",
        )
        .bind(held.tenant)
        .bind(held.run)
        .bind(held.token)
        .bind(delay.as_secs_f64())
        .execute(&self.pool)
        .await?;
        Ok(given.rows_affected() == 1)
    }

    /// Notes how long the journal is, and returns the claims since it last grew, this one included.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the lease was lost; [`StoreError::Database`].
    pub async fn note_progress(&self, held: &Lease, events: i64) -> Result<i32, StoreError> {
        let attempt: Option<i32> = sqlx::query_scalar(
            "update run_queue set attempt = case when seen < $4 then 1 else attempt end, seen = $4
             where tenant_id = $1 and run_id = $2 and lease_owner = $3 returning attempt",
        )
        .bind(held.tenant)
        .bind(held.run)
        .bind(held.token)
        .bind(events)
        .fetch_optional(&self.pool)
        .await?;
        attempt.ok_or_else(lost)
    }

    /// Counts what waits and what is held.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        let (waiting, leased) = sqlx::query_as(
            "select count(*) filter (where lease_until is null or lease_until < now()),
                    count(*) filter (where lease_until >= now()) from run_queue",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(QueueDepth { waiting, leased })
    }
}

fn lost() -> StoreError {
    StoreError::Conflict("the lease was lost".to_owned())
}

impl TenantTx {
    /// Puts a run into the queue, again or for the first time. The end of the tenant's transaction
    /// makes it visible to workers.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn enqueue(&mut self, run: RunId) -> Result<(), StoreError> {
        sqlx::query(
            "insert into run_queue (tenant_id, run_id) values ($1, $2)
             on conflict (tenant_id, run_id)
             do update set ready_at = now(), lease_owner = null, lease_until = null",
        )
        .bind(self.tenant)
        .bind(run)
        .execute(&mut *self.tx)
        .await?;
        self.wake(run);
        Ok(())
    }

    /// Locks the lease for the rest of this transaction, so that what is written with it is written
    /// by the one holder.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the lease was lost to another worker.
    pub async fn hold(&mut self, lease: &Lease) -> Result<(), StoreError> {
        let held: Option<i32> = sqlx::query_scalar(
            "select 1 from run_queue
             where tenant_id = $1 and run_id = $2 and lease_owner = $3 for update",
        )
        .bind(self.tenant)
        .bind(lease.run)
        .bind(lease.token)
        .fetch_optional(&mut *self.tx)
        .await?;
        held.map(|_| ()).ok_or_else(lost)
    }

    /// Gives a run that this transaction holds back, to be claimed again after `delay`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn give_back(&mut self, lease: &Lease, delay: Duration) -> Result<(), StoreError> {
        sqlx::query(
            "update run_queue set lease_owner = null, lease_until = null,
                    ready_at = now() + make_interval(secs => $4)
             where tenant_id = $1 and run_id = $2 and lease_owner = $3",
        )
        .bind(self.tenant)
        .bind(lease.run)
        .bind(lease.token)
        .bind(delay.as_secs_f64())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Takes a run out of the queue: it ended, waits for a person, or was cancelled.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn dequeue(&mut self, run: RunId) -> Result<(), StoreError> {
        sqlx::query("delete from run_queue where tenant_id = $1 and run_id = $2")
            .bind(self.tenant)
            .bind(run)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}
