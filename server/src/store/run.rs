//! Runs and their journals.

use agents::audit::json_sha256;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{RunId, RunSource, StoreError, TenantTx, Thread, instant};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Waits for a worker.
    Queued,
    /// A worker drives it.
    Running,
    /// A person must approve a call.
    WaitingApproval,
    /// A person must say whether an effect happened.
    WaitingOutcome,
    /// Ended with a question.
    WaitingInput,
    /// Ended with an answer.
    Done,
    /// Ended without a call.
    Refused,
    /// Ended with an error.
    Failed,
    /// Cancelled.
    Cancelled,
}

impl Status {
    const ALL: [Self; 9] = [
        Self::Queued,
        Self::Running,
        Self::WaitingApproval,
        Self::WaitingOutcome,
        Self::WaitingInput,
        Self::Done,
        Self::Refused,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::WaitingApproval => "waiting_approval",
            Self::WaitingOutcome => "waiting_outcome",
            Self::WaitingInput => "waiting_input",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Tells whether nothing can follow.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running) && !self.waits()
    }

    /// Tells whether a person must act before anything follows.
    pub fn waits(self) -> bool {
        matches!(self, Self::WaitingApproval | Self::WaitingOutcome)
    }
}

/// A run to be made, with its first event.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Name of the agent.
    pub agent: String,
    /// Identifier of the pack.
    pub pack: String,
    /// The request as given.
    pub request: String,
    /// Language of the request.
    pub lang: String,
    /// Where the request came from.
    pub source: RunSource,
    /// Key under which the run is made at most once.
    pub idempotency_key: Option<String>,
    /// Thread whose runs are driven one at a time, if it belongs to one.
    pub thread: Option<Thread>,
    /// `type` of the first event.
    pub first_type: &'static str,
    /// The first event.
    pub first: Value,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Identifier.
    pub id: RunId,
    /// Name of the agent.
    pub agent: String,
    /// Identifier of the pack.
    pub pack: String,
    /// The request as given.
    pub request: String,
    /// Language of the request.
    pub lang: String,
    /// Where it stands.
    pub status: Status,
    /// Version of the planner, once planned.
    pub model: Option<String>,
    /// Thread that it belongs to.
    pub thread: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// One event of a journal.
#[derive(Debug, Clone)]
pub struct RunEvent {
    /// Position, from 1, without gaps.
    pub seq: i64,
    /// `type` name.
    pub kind: String,
    /// The event as JSON.
    pub payload: Value,
    /// When it was appended.
    pub created_at: Timestamp,
}

/// A page of a list and the cursor of the next one.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Rows, newest first.
    pub items: Vec<T>,
    /// Pass to get the next page; `None` at the end.
    pub next: Option<Uuid>,
}

/// Which runs a list shows.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// After this run.
    pub cursor: Option<RunId>,
    /// Words that the request holds, without regard to case; empty for all.
    pub search: String,
    /// Where the run stands.
    pub status: Option<Status>,
    /// Whether the oldest come first.
    pub oldest_first: bool,
}

/// What a run used.
#[derive(Debug, Clone, Copy, Default, FromRow)]
pub struct Usage {
    /// Runs counted.
    pub runs: i64,
    /// Tool calls made.
    pub calls: i64,
    /// Tokens read by the planner.
    pub prompt_tokens: i64,
    /// Tokens chosen by the planner.
    pub decoded_tokens: i64,
}

#[derive(FromRow)]
struct Row {
    run_id: Uuid,
    agent: String,
    pack: String,
    request: String,
    lang: String,
    status: String,
    model: Option<String>,
    thread: Option<String>,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
}

impl Row {
    fn read(self) -> Result<Run, StoreError> {
        let status = Status::of(&self.status)
            .ok_or_else(|| StoreError::Damaged { what: "run", message: self.status.clone() })?;
        Ok(Run {
            id: self.run_id,
            agent: self.agent,
            pack: self.pack,
            request: self.request,
            lang: self.lang,
            status,
            model: self.model,
            thread: self.thread,
            created_at: instant(self.created_at),
            finished_at: self.finished_at.map(instant),
        })
    }
}

/// Cuts the row that only tells whether there are more.
fn page(rows: Vec<Row>, limit: u16) -> Result<Page<Run>, StoreError> {
    let more = rows.len() > usize::from(limit);
    let items: Vec<Run> =
        rows.into_iter().take(usize::from(limit)).map(Row::read).collect::<Result<_, _>>()?;
    let next = if more { items.last().map(|run| run.id) } else { None };
    Ok(Page { items, next })
}

impl TenantTx {
    /// Makes a run, its first event and its place in the queue, behind an open run of its thread. With
    /// a known idempotency key the earlier run is returned and `false`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the key was used with another request; [`StoreError::Busy`] ⇐ its
    /// thread has an open run and the run is not to wait.
    pub async fn create_run(&mut self, new: &NewRun) -> Result<(RunId, bool), StoreError> {
        let id = Uuid::now_v7();
        let digest = hex::encode(Sha256::digest(format!("{}\n{}", new.agent, new.request)));
        let made = sqlx::query(
            "insert into run (tenant_id, run_id, agent, pack, request, lang, status, idempotency_key, request_sha256, source, thread)
             values ($1, $2, $3, $4, $5, $6, 'queued', $7, $8, $9, $10) on conflict (tenant_id, idempotency_key) do nothing",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(&new.agent)
        .bind(&new.pack)
        .bind(&new.request)
        .bind(&new.lang)
        .bind(&new.idempotency_key)
        .bind(&digest)
        .bind(new.source.name())
        .bind(new.thread.as_ref().map(|thread| &thread.name))
        .execute(&mut *self.tx)
        .await?;
        if made.rows_affected() == 0 {
            let (earlier, asked): (Uuid, String) = sqlx::query_as(
                "select run_id, request_sha256 from run where tenant_id = $1 and idempotency_key = $2",
            )
            .bind(self.tenant)
            .bind(&new.idempotency_key)
            .fetch_one(&mut *self.tx)
            .await?;
            if asked != digest {
                let message = "this idempotency key was used with another request; use a new key";
                return Err(StoreError::Conflict(message.to_owned()));
            }
            return Ok((earlier, false));
        }
        let mut first = new.first.clone();
        if let Some(first) = first.as_object_mut() {
            first.insert("run".to_owned(), Value::String(id.to_string()));
        }
        self.append_event(id, new.first_type, &first).await?;
        let waits = match &new.thread {
            Some(thread) => self.enter_thread(id, thread).await?,
            None => false,
        };
        if !waits {
            self.enqueue(id).await?;
        }
        Ok((id, true))
    }

    /// Returns a run; reads the primary key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's, alike.
    pub async fn get_run(&mut self, run: RunId) -> Result<Run, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select run_id, agent, pack, request, lang, status, model, thread, created_at, finished_at
             from run where tenant_id = $1 and run_id = $2",
        )
        .bind(self.tenant)
        .bind(run)
        .fetch_optional(&mut *self.tx)
        .await?;
        row.ok_or(StoreError::NotFound("run"))?.read()
    }

    /// As [`TenantTx::get_run`], and keeps other writers of the run out until this transaction ends.
    /// What is decided from the status it returns stays true.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's, alike.
    pub async fn lock_run(&mut self, run: RunId) -> Result<Run, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select run_id, agent, pack, request, lang, status, model, thread, created_at, finished_at
             from run where tenant_id = $1 and run_id = $2 for update",
        )
        .bind(self.tenant)
        .bind(run)
        .fetch_optional(&mut *self.tx)
        .await?;
        row.ok_or(StoreError::NotFound("run"))?.read()
    }

    /// Lists runs, newest first, after `cursor`; identifiers are in order of time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn list_runs(
        &mut self,
        cursor: Option<RunId>,
        limit: u16,
    ) -> Result<Page<Run>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select run_id, agent, pack, request, lang, status, model, thread, created_at, finished_at
             from run where tenant_id = $1 and ($2::uuid is null or run_id < $2)
             order by run_id desc limit $3",
        )
        .bind(self.tenant)
        .bind(cursor)
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *self.tx)
        .await?;
        page(rows, limit)
    }

    /// Lists the runs that match, in order of time, after the filter's cursor.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn find_runs(
        &mut self,
        filter: &RunFilter,
        limit: u16,
    ) -> Result<Page<Run>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select run_id, agent, pack, request, lang, status, model, thread, created_at, finished_at
             from run
             where tenant_id = $1
               and ($2::uuid is null or ($5 and run_id > $2) or (not $5 and run_id < $2))
               and ($3 = '' or position(lower($3) in lower(request)) > 0)
               and ($4::text is null or status = $4)
             order by case when $5 then run_id end asc, case when not $5 then run_id end desc
             limit $6",
        )
        .bind(self.tenant)
        .bind(filter.cursor)
        .bind(&filter.search)
        .bind(filter.status.map(Status::name))
        .bind(filter.oldest_first)
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *self.tx)
        .await?;
        page(rows, limit)
    }

    /// Appends an event to a journal and returns its position. Two writers cannot take the same one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's run.
    pub async fn append_event(
        &mut self,
        run: RunId,
        kind: &str,
        payload: &Value,
    ) -> Result<i64, StoreError> {
        // The row lock keeps writers of one run in order; positions then have no gaps.
        let locked: Option<i32> =
            sqlx::query_scalar("select 1 from run where tenant_id = $1 and run_id = $2 for update")
                .bind(self.tenant)
                .bind(run)
                .fetch_optional(&mut *self.tx)
                .await?;
        locked.ok_or(StoreError::NotFound("run"))?;
        // The same link as `agents::audit` computes; the time is read once.
        let seq = sqlx::query_scalar(
            "insert into run_event (tenant_id, run_id, seq, type, payload, payload_sha256, sha256, created_at)
             select $1, $2, n.seq, $3, $4, $5,
                    encode(sha256(convert_to(concat_ws(E'\\n', 'event.1', $2::text, n.seq, $3::text,
                        (extract(epoch from n.at) * 1000000)::bigint, $5::text, n.prev), 'UTF8')), 'hex'),
                    n.at
             from (select t.at, coalesce(last.seq, 0) + 1 as seq,
                          coalesce(nullif(last.sha256, ''), repeat('0', 64)) as prev
                   from (select clock_timestamp() as at offset 0) t
                   left join lateral (select seq, sha256 from run_event
                                      where tenant_id = $1 and run_id = $2
                                      order by seq desc limit 1) last on true offset 0) n
             returning seq",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(kind)
        .bind(payload)
        .bind(json_sha256(payload))
        .fetch_one(&mut *self.tx)
        .await?;
        self.tell(run, kind, payload).await?;
        self.wake(run);
        Ok(seq)
    }

    /// Returns the events after a position, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`]; another tenant's run has no events.
    pub async fn events(&mut self, run: RunId, after: i64) -> Result<Vec<RunEvent>, StoreError> {
        let rows: Vec<(i64, String, Value, OffsetDateTime)> = sqlx::query_as(
            "select seq, type, payload, created_at from run_event
             where tenant_id = $1 and run_id = $2 and seq > $3 order by seq",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(after)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(seq, kind, payload, at)| RunEvent {
                seq,
                kind,
                payload,
                created_at: instant(at),
            })
            .collect())
    }

    /// Sets where a run stands. A final status also sets when it ended, frees what it had reserved,
    /// lets the next run of its thread go on, and closes its journal in the audit chain; so the last
    /// event is appended before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's run.
    pub async fn set_status(&mut self, run: RunId, status: Status) -> Result<(), StoreError> {
        let ended = if status.is_final() { self.has_ended(run).await? } else { true };
        let thread: Option<Option<String>> = sqlx::query_scalar(
            "update run set status = $3,
                    finished_at = case when $4 then coalesce(finished_at, now()) end
             where tenant_id = $1 and run_id = $2 returning thread",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(status.name())
        .bind(status.is_final())
        .fetch_optional(&mut *self.tx)
        .await?;
        self.wake(run);
        let thread = thread.ok_or(StoreError::NotFound("run"))?;
        if status.is_final() {
            self.release_budget(run).await?;
            if let Some(thread) = thread {
                self.advance_thread(&thread).await?;
            }
            if !ended {
                self.close_journal(run, status.name()).await?;
            }
        }
        Ok(())
    }

    async fn has_ended(&mut self, run: RunId) -> Result<bool, StoreError> {
        let ended = "select finished_at is not null from run where tenant_id = $1 and run_id = $2";
        let ended = sqlx::query_scalar(ended).bind(self.tenant).bind(run);
        Ok(ended.fetch_optional(&mut *self.tx).await?.unwrap_or(false))
    }

    /// Cancels a run; `false` when it had ended, and nothing was changed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's run.
    pub async fn cancel_run(&mut self, run: RunId, by: &str) -> Result<bool, StoreError> {
        // Off the queue first, which waits for what a worker is writing: a worker that held the run
        // then writes nothing more, and the status read next is the last one.
        self.dequeue(run).await?;
        if self.lock_run(run).await?.status.is_final() {
            return Ok(false);
        }
        // What nobody approved must not be approved any more.
        self.withdraw_approvals(run, by).await?;
        let payload = serde_json::json!({ "type": "run.cancelled", "by": by });
        self.append_event(run, "run.cancelled", &payload).await?;
        self.set_status(run, Status::Cancelled).await?;
        Ok(true)
    }

    /// Notes which planner decided.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_model(&mut self, run: RunId, model: &str) -> Result<(), StoreError> {
        sqlx::query("update run set model = $3 where tenant_id = $1 and run_id = $2")
            .bind(self.tenant)
            .bind(run)
            .bind(model)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Notes what a run used, once.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn record_usage(
        &mut self,
        run: RunId,
        calls: i32,
        prompt_tokens: i64,
        decoded_tokens: i64,
        plan_ms: f64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into usage (tenant_id, run_id, calls, prompt_tokens, decoded_tokens, plan_ms)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(calls)
        .bind(prompt_tokens)
        .bind(decoded_tokens)
        .bind(plan_ms)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns what the tenant used in the last `days`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn usage(&mut self, days: u16) -> Result<Usage, StoreError> {
        Ok(sqlx::query_as(
            "select count(*) as runs, coalesce(sum(calls), 0)::bigint as calls,
                    coalesce(sum(prompt_tokens), 0)::bigint as prompt_tokens,
                    coalesce(sum(decoded_tokens), 0)::bigint as decoded_tokens
             from usage where tenant_id = $1 and created_at > now() - make_interval(days => $2)",
        )
        .bind(self.tenant)
        .bind(i32::from(days))
        .fetch_one(&mut *self.tx)
        .await?)
    }
}
