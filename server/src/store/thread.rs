//! Threads: runs that are driven one at a time, in the order in which they were made.
//!
//! An open run blocks those behind it; when it ends, the same transaction queues the next. A new run
//! locks the open ones before it decides to wait, so an end that is being written is either seen by
//! the new run, or sees it.

use serde::{Deserialize, Serialize};

use super::{RunId, StoreError, TenantTx};

/// What a new run does when its thread has an open one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Busy {
    /// It waits for its turn.
    #[default]
    Queue,
    /// It is not made.
    Reject,
    /// The open ones are cancelled.
    Interrupt,
}

impl Busy {
    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Reject => "reject",
            Self::Interrupt => "interrupt",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Queue, Self::Reject, Self::Interrupt].into_iter().find(|busy| busy.name() == name)
    }
}

/// The thread that a new run joins.
#[derive(Debug, Clone)]
pub struct Thread {
    /// Name, unique in the joint venture; 1 to 128 characters.
    pub name: String,
    /// What happens when it has an open run.
    pub busy: Busy,
}

impl TenantTx {
    /// Lets a new run enter its thread; `true` when it must wait for an open one.
    ///
    /// # Errors
    /// [`StoreError::Busy`] ⇐ it is not to wait; [`StoreError::Database`].
    pub(super) async fn enter_thread(
        &mut self,
        run: RunId,
        thread: &Thread,
    ) -> Result<bool, StoreError> {
        // Two new runs of one thread come one after the other.
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1::text || '/' || $2, 7))")
            .bind(self.tenant)
            .bind(&thread.name)
            .execute(&mut *self.tx)
            .await?;
        if thread.busy == Busy::Interrupt {
            for open in self.open_in(run, &thread.name, false).await? {
                self.cancel_run(open, "a newer run of its thread").await?;
            }
            return Ok(false);
        }
        let open = self.open_in(run, &thread.name, true).await?;
        match open.first() {
            Some(first) if thread.busy == Busy::Reject => {
                Err(StoreError::Busy { thread: thread.name.clone(), run: *first })
            }
            first => Ok(first.is_some()),
        }
    }

    async fn open_in(
        &mut self,
        except: RunId,
        thread: &str,
        lock: bool,
    ) -> Result<Vec<RunId>, StoreError> {
        let text = if lock {
            "select run_id from run
             where tenant_id = $1 and thread = $2 and run_id <> $3
               and status in ('queued', 'running', 'waiting_approval', 'waiting_outcome')
             order by run_id for update"
        } else {
            "select run_id from run
             where tenant_id = $1 and thread = $2 and run_id <> $3
               and status in ('queued', 'running', 'waiting_approval', 'waiting_outcome')
             order by run_id"
        };
        Ok(sqlx::query_scalar(text)
            .bind(self.tenant)
            .bind(thread)
            .bind(except)
            .fetch_all(&mut *self.tx)
            .await?)
    }

    /// Queues the first open run of a thread, unless it or another one is driven or waits already.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(super) async fn advance_thread(&mut self, thread: &str) -> Result<(), StoreError> {
        let next: Option<RunId> = sqlx::query_scalar(
            "insert into run_queue (tenant_id, run_id)
             select $1, head.run_id from (
                 select run_id, status from run
                 where tenant_id = $1 and thread = $2
                   and status in ('queued', 'running', 'waiting_approval', 'waiting_outcome')
                 order by run_id limit 1) head
             where head.status = 'queued' and not exists (
                 select 1 from run other left join run_queue using (tenant_id, run_id)
                 where other.tenant_id = $1 and other.thread = $2
                   and other.status in ('queued', 'running', 'waiting_approval', 'waiting_outcome')
                   and (other.status <> 'queued' or run_queue.run_id is not null))
             on conflict do nothing returning run_id",
        )
        .bind(self.tenant)
        .bind(thread)
        .fetch_optional(&mut *self.tx)
        .await?;
        if let Some(next) = next {
            self.wake(next);
        }
        Ok(())
    }
}
