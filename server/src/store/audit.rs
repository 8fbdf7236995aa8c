//! The audit chain of a joint venture, and the erasure of what it says about people.

use agents::audit::{ERASED, Entry, EventLine, RUN_ENDED};
use serde_json::{Value, json};
use sqlx::FromRow;
use uuid::Uuid;

use super::{RunId, StoreError, TenantTx};

/// What is noted in the chain.
#[derive(Debug, Clone, Default)]
pub struct Noted<'a> {
    /// What happened, such as `approval.decided`.
    pub kind: &'a str,
    /// The run that it is about.
    pub run: Option<RunId>,
    /// Who acted, as the platform tells actors apart; empty for the platform itself.
    pub actor: &'a str,
    /// Who acted, for people.
    pub subject: &'a str,
    /// What it was; nothing that a request or a dataset says.
    pub detail: Value,
}

/// Which entries a search shows.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Below this position; `None` begins at the end.
    pub before: Option<i64>,
    /// Words of the kind, the actor, the run or the detail; empty for all.
    pub search: String,
}

#[derive(FromRow)]
struct Row {
    seq: i64,
    kind: String,
    run_id: Option<Uuid>,
    actor: String,
    subject: String,
    detail: Value,
    micros: i64,
    prev_sha256: String,
    sha256: String,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            seq: row.seq,
            kind: row.kind,
            run: row.run_id.map(|run| run.to_string()),
            actor: row.actor,
            subject: row.subject,
            detail: row.detail,
            micros: row.micros,
            prev_sha256: row.prev_sha256,
            sha256: row.sha256,
        }
    }
}

/// The columns of a [`Row`].
macro_rules! entry_columns {
    () => {
        "seq, kind, run_id, actor, subject, detail,
         (extract(epoch from created_at) * 1000000)::bigint as micros, prev_sha256, sha256"
    };
}

impl TenantTx {
    /// Appends an entry to the chain, in this transaction, and returns its position. Call it last:
    /// the writers of one tenant wait for each other from here to the commit.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note(&mut self, noted: &Noted<'_>) -> Result<i64, StoreError> {
        let run = noted.run.map(|run| run.to_string());
        let body = Entry::body_sha256(
            noted.kind,
            run.as_deref(),
            noted.actor,
            noted.subject,
            &noted.detail,
        );
        sqlx::query(
            "select pg_advisory_xact_lock(hashtextextended('audit ' || $1::text, 7310977))",
        )
        .bind(self.tenant)
        .execute(&mut *self.tx)
        .await?;
        // The same link as `agents::audit` computes; the time is read once.
        Ok(sqlx::query_scalar(
            "insert into audit_entry (tenant_id, seq, kind, run_id, actor, subject, detail,
                                      prev_sha256, sha256, created_at)
             select $1, n.seq, $2, $3, $4, $5, $6, n.prev,
                    encode(sha256(convert_to(concat_ws(E'\\n', 'entry.1', $1::text, n.seq, $7::text,
                        (extract(epoch from n.at) * 1000000)::bigint, n.prev), 'UTF8')), 'hex'), n.at
             from (select t.at, coalesce(last.seq, 0) + 1 as seq,
                          coalesce(last.sha256, repeat('0', 64)) as prev
                   from (select clock_timestamp() as at offset 0) t
                   left join lateral (select seq, sha256 from audit_entry where tenant_id = $1
                                      order by seq desc limit 1) last on true offset 0) n
             returning seq",
        )
        .bind(self.tenant)
        .bind(noted.kind)
        .bind(noted.run)
        .bind(noted.actor)
        .bind(noted.subject)
        .bind(&noted.detail)
        .bind(body)
        .fetch_one(&mut *self.tx)
        .await?)
    }

    /// Closes the journal of a run that has ended: notes its number of events and the last hash.
    pub(super) async fn close_journal(&mut self, run: RunId, kind: &str) -> Result<(), StoreError> {
        let (events, head): (i64, String) = sqlx::query_as(
            "select seq, sha256 from run_event where tenant_id = $1 and run_id = $2
             order by seq desc limit 1",
        )
        .bind(self.tenant)
        .bind(run)
        .fetch_one(&mut *self.tx)
        .await?;
        let (asked_by, model): (String, Option<String>) =
            sqlx::query_as("select asked_by, model from run where tenant_id = $1 and run_id = $2")
                .bind(self.tenant)
                .bind(run)
                .fetch_one(&mut *self.tx)
                .await?;
        let detail = json!({
            "events": events, "journal_sha256": head, "ended": kind, "model": model,
            "program": env!("CARGO_PKG_VERSION"),
        });
        let noted =
            Noted { kind: RUN_ENDED, run: Some(run), actor: &asked_by, subject: "", detail };
        self.note(&noted).await.map(drop)
    }

    /// Returns entries in the order of the chain, after a position.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn audit_entries(
        &mut self,
        after: i64,
        limit: u16,
    ) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "select ",
            entry_columns!(),
            " from audit_entry where tenant_id = $1 and seq > $2 order by seq limit $3"
        ))
        .bind(self.tenant)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(Entry::from).collect())
    }

    /// Returns the newest entries that match.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn search_audit(
        &mut self,
        filter: &AuditFilter,
        limit: u16,
    ) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "select ",
            entry_columns!(),
            " from audit_entry
             where tenant_id = $1 and ($2::bigint is null or seq < $2)
               and ($3 = '' or position(lower($3) in lower(concat_ws(' ', kind, subject, actor,
                                                          run_id::text, detail::text))) > 0)
             order by seq desc limit $4"
        ))
        .bind(self.tenant)
        .bind(filter.before)
        .bind(&filter.search)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(Entry::from).collect())
    }

    /// Returns events of all runs in order of run and position, after an event.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn audit_events(
        &mut self,
        after: (RunId, i64),
        limit: u16,
    ) -> Result<Vec<EventLine>, StoreError> {
        type Line = (Uuid, i64, String, i64, Value, bool, String, String);
        let rows: Vec<Line> = sqlx::query_as(
            "select run_id, seq, type, (extract(epoch from created_at) * 1000000)::bigint, payload,
                    erased_at is not null, payload_sha256, sha256
             from run_event where tenant_id = $1 and (run_id, seq) > ($2, $3)
             order by run_id, seq limit $4",
        )
        .bind(self.tenant)
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.tx)
        .await?;
        let lines = rows.into_iter().map(
            |(run, seq, kind, micros, payload, erased, payload_sha256, sha256)| EventLine {
                run: run.to_string(),
                seq,
                kind,
                micros,
                payload: if erased { Value::Null } else { payload },
                payload_sha256,
                sha256,
            },
        );
        Ok(lines.collect())
    }

    /// Lists ended runs whose request, journal, approvals or verdict hold a text; what is erased does
    /// not hold it any more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn runs_that_mention(&mut self, subject: &str) -> Result<Vec<RunId>, StoreError> {
        Ok(sqlx::query_scalar(
            "select run_id from run r
             where tenant_id = $1 and finished_at is not null
               and (position(lower($2) in lower(request)) > 0
                 or exists (select from run_event e where e.tenant_id = $1 and e.run_id = r.run_id
                            and position(lower($2) in lower(e.payload::text)) > 0)
                 or exists (select from run_verdict v where v.tenant_id = $1 and v.run_id = r.run_id
                            and position(lower($2) in lower(v.calls::text)) > 0))
             order by run_id",
        )
        .bind(self.tenant)
        .bind(subject)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Lists ended runs that ended more than `days` ago and still say something.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn runs_past(&mut self, days: i32) -> Result<Vec<RunId>, StoreError> {
        Ok(sqlx::query_scalar(
            "select run_id from run r
             where tenant_id = $1 and finished_at < now() - make_interval(days => $2)
               and exists (select from run_event e where e.tenant_id = $1 and e.run_id = r.run_id
                           and e.erased_at is null)
             order by run_id limit 1000",
        )
        .bind(self.tenant)
        .bind(days)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Erases what an ended run says: request, payloads, approvals, verdict, effects' arguments and
    /// shadow plans. Hashes, times, and who decided stay. The caller notes why.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the run has not ended; [`StoreError::NotFound`].
    pub async fn erase_run(
        &mut self,
        run: RunId,
        actor: (&str, &str),
        why: &str,
    ) -> Result<(), StoreError> {
        if !self.lock_run(run).await?.status.is_final() {
            let message = "the run has not ended; cancel it before its content is erased";
            return Err(StoreError::Conflict(message.to_owned()));
        }
        for statement in [
            "update effect_ledger set arguments = '{}'
             where tenant_id = $1 and idempotency_key in
                   (select payload #>> '{arguments,idempotency_key}' from run_event
                    where tenant_id = $1 and run_id = $2)",
            "update run set request = '(erased)' where tenant_id = $1 and run_id = $2",
            "update run_event set payload = jsonb_build_object('type', type, 'erased', true),
                    erased_at = now()
             where tenant_id = $1 and run_id = $2 and erased_at is null",
            "update approval set arguments = '{}', origins = '[]', reasons = '[]', reason = null,
                    erased_at = now()
             where tenant_id = $1 and run_id = $2",
            "update run_verdict set calls = '[]', verdict = 'withdrawn'
             where tenant_id = $1 and run_id = $2",
            "update shadow_plan set live = '{}', shadow = '{}' where tenant_id = $1 and run_id = $2",
        ] {
            sqlx::query(statement).bind(self.tenant).bind(run).execute(&mut *self.tx).await?;
        }
        let detail = json!({ "why": why });
        let (actor, subject) = actor;
        self.note(&Noted { kind: ERASED, run: Some(run), actor, subject, detail }).await?;
        self.wake(run);
        Ok(())
    }

    /// Returns for how many days content is kept; `None` for ever.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn retention(&mut self) -> Result<Option<i32>, StoreError> {
        Ok(sqlx::query_scalar("select days from retention where tenant_id = $1")
            .bind(self.tenant)
            .fetch_optional(&mut *self.tx)
            .await?)
    }

    /// Sets for how many days content is kept; `None` for ever.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_retention(&mut self, days: Option<i32>, by: &str) -> Result<(), StoreError> {
        sqlx::query("delete from retention where tenant_id = $1")
            .bind(self.tenant)
            .execute(&mut *self.tx)
            .await?;
        let Some(days) = days else { return Ok(()) };
        sqlx::query("insert into retention (tenant_id, days, set_by) values ($1, $2, $3)")
            .bind(self.tenant)
            .bind(days)
            .bind(by)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}
