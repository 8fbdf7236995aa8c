//! Price tables, what runs took, contracts, statements with their receipts, and disputes.

use std::collections::BTreeMap;

use agents::outcome::contract::Contract;
use agents::outcome::economics::{Effort, Terms};
use agents::outcome::receipt::Receipt;
use agents::outcome::statement::{Document, Kind};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::outcome::{read, written};
use super::{RunId, StoreError, TenantTx, instant};

/// A price table as it was set.
#[derive(Debug, Clone)]
pub struct SetTerms {
    /// Number, from 1.
    pub version: i32,
    /// The table.
    pub terms: Terms,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What the runs of one day took.
#[derive(Debug, Clone, Default)]
pub struct DayEffort {
    /// Days before today, 0 for today (UTC).
    pub ago: u32,
    /// What they took.
    pub effort: Effort,
}

#[derive(FromRow)]
struct EffortRow {
    ago: i32,
    runs: i64,
    accepted: i64,
    corrected: i64,
    prompt_tokens: i64,
    decoded_tokens: i64,
    compute_us: i64,
    review_seconds: i64,
    rework_seconds: i64,
}

/// A contract as it is kept.
#[derive(Debug, Clone)]
pub struct KeptContract {
    /// The contract.
    pub contract: Contract,
    /// SHA-256 of its canonical form.
    pub sha256: String,
    /// Who made it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A statement or credit note, without the events.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What is stated.
    pub document: Document,
    /// What was signed.
    pub receipt: Receipt,
    /// Number of the statement that is corrected.
    pub corrects: Option<i32>,
    /// Who made it.
    pub by: String,
}

/// A dispute of a statement.
#[derive(Debug, Clone)]
pub struct Dispute {
    /// Identifier.
    pub id: Uuid,
    /// Number of the statement.
    pub statement: i32,
    /// What is said to be wrong.
    pub reason: String,
    /// Identifiers of the observations that are said to be wrong.
    pub observations: Vec<String>,
    /// `open`, `rejected` or `settled`.
    pub state: String,
    /// What was answered.
    pub answer: String,
    /// Number of the credit note that settled it.
    pub credit_note: Option<i32>,
    /// Who opened it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Who decided it.
    pub decided_by: Option<String>,
}

#[derive(FromRow)]
struct StatementRow {
    document: Value,
    receipt: Value,
    corrects: Option<i32>,
    created_by: String,
}

#[derive(FromRow)]
struct DisputeRow {
    dispute_id: Uuid,
    statement: i32,
    reason: String,
    observations: Value,
    state: String,
    answer: String,
    credit_note: Option<i32>,
    opened_by: String,
    opened_at: OffsetDateTime,
    decided_by: Option<String>,
}

fn number(document: &Document) -> i32 {
    i32::try_from(document.number).unwrap_or(i32::MAX)
}

fn whole(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl TenantTx {
    /// Returns the price table that holds now, if one was set.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn terms(&mut self) -> Result<Option<SetTerms>, StoreError> {
        let row: Option<(i32, Value, String, OffsetDateTime)> = sqlx::query_as(
            "select version, body, set_by, set_at from economic_terms
             where tenant_id = $1 order by version desc limit 1",
        )
        .bind(self.tenant)
        .fetch_optional(&mut *self.tx)
        .await?;
        row.map(|(version, body, by, at)| {
            Ok(SetTerms { version, terms: read("price table", body)?, by, at: instant(at) })
        })
        .transpose()
    }

    /// Sets a price table; the earlier ones are kept.
    ///
    /// # Errors
    /// [`StoreError::Database`], also when two are set at a time: one of them then fails.
    pub async fn set_terms(&mut self, terms: &Terms, by: &str) -> Result<(), StoreError> {
        sqlx::query(
            "insert into economic_terms (tenant_id, version, body, set_by)
             select $1, coalesce(max(version), 0) + 1, $2, $3
             from economic_terms where tenant_id = $1",
        )
        .bind(self.tenant)
        .bind(written("price table", terms)?)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Notes the time that people took over a run, in place of what was noted before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ there is no such run.
    pub async fn note_effort(
        &mut self,
        run: RunId,
        review_seconds: i32,
        rework_seconds: i32,
        by: &str,
    ) -> Result<(), StoreError> {
        self.get_run(run).await?;
        sqlx::query(
            "insert into run_effort (tenant_id, run_id, review_seconds, rework_seconds, noted_by)
             values ($1, $2, $3, $4, $5)
             on conflict (tenant_id, run_id) do update
             set review_seconds = excluded.review_seconds, rework_seconds = excluded.rework_seconds,
                 noted_by = excluded.noted_by, noted_at = now()",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(review_seconds)
        .bind(rework_seconds)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns what the runs of the last `days` took, by day, newest first; tool calls are those whose
    /// result is in the journal.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn efforts(&mut self, days: u16) -> Result<Vec<DayEffort>, StoreError> {
        let rows: Vec<EffortRow> = sqlx::query_as(
            "select (now() at time zone 'UTC')::date - (u.created_at at time zone 'UTC')::date as ago,
                    count(*) as runs,
                    count(*) filter (where v.verdict = 'accepted') as accepted,
                    count(*) filter (where v.verdict = 'corrected') as corrected,
                    coalesce(sum(u.prompt_tokens), 0)::bigint as prompt_tokens,
                    coalesce(sum(u.decoded_tokens), 0)::bigint as decoded_tokens,
                    coalesce(sum(round(u.plan_ms * 1000)), 0)::bigint as compute_us,
                    coalesce(sum(e.review_seconds), 0)::bigint as review_seconds,
                    coalesce(sum(e.rework_seconds), 0)::bigint as rework_seconds
             from usage u
             left join run_verdict v on v.tenant_id = u.tenant_id and v.run_id = u.run_id
             left join run_effort e on e.tenant_id = u.tenant_id and e.run_id = u.run_id
             where u.tenant_id = $1
               and (u.created_at at time zone 'UTC')::date > (now() at time zone 'UTC')::date - $2
             group by 1 order by 1",
        )
        .bind(self.tenant)
        .bind(i32::from(days))
        .fetch_all(&mut *self.tx)
        .await?;
        let calls: Vec<(i32, String, i64)> = sqlx::query_as(
            "select (now() at time zone 'UTC')::date - (u.created_at at time zone 'UTC')::date as ago,
                    coalesce(c.payload ->> 'tool', '') as tool, count(*)
             from usage u
             join run_event c on c.tenant_id = u.tenant_id and c.run_id = u.run_id
                              and c.type = 'call.finished'
             where u.tenant_id = $1
               and (u.created_at at time zone 'UTC')::date > (now() at time zone 'UTC')::date - $2
             group by 1, 2",
        )
        .bind(self.tenant)
        .bind(i32::from(days))
        .fetch_all(&mut *self.tx)
        .await?;
        let day = |row: EffortRow| {
            let own = calls.iter().filter(|call| call.0 == row.ago);
            let tool_calls: BTreeMap<String, u64> =
                own.map(|(_, tool, n)| (tool.clone(), whole(*n))).collect();
            DayEffort {
                ago: u32::try_from(row.ago).unwrap_or(0),
                effort: Effort {
                    runs: whole(row.runs),
                    accepted: whole(row.accepted),
                    corrected: whole(row.corrected),
                    prompt_tokens: whole(row.prompt_tokens),
                    decoded_tokens: whole(row.decoded_tokens),
                    compute_us: whole(row.compute_us),
                    tool_calls,
                    review_seconds: whole(row.review_seconds),
                    rework_seconds: whole(row.rework_seconds),
                },
            }
        };
        Ok(rows.into_iter().map(day).collect())
    }

    /// Keeps a contract; it never changes after.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ there is one of this name.
    pub async fn add_contract(&mut self, contract: &Contract, by: &str) -> Result<(), StoreError> {
        let done = sqlx::query(
            "insert into contract (tenant_id, name, experiment, body, body_sha256, created_by)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(&contract.name)
        .bind(&contract.experiment)
        .bind(written("contract", contract)?)
        .bind(contract.sha256())
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            let message =
                format!("there is a contract {}; a new one takes another name", contract.name);
            return Err(StoreError::Conflict(message));
        }
        Ok(())
    }

    /// Returns the contracts, newest first; one where `name` is given.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn contracts(&mut self, name: Option<&str>) -> Result<Vec<KeptContract>, StoreError> {
        let rows: Vec<(Value, String, String, OffsetDateTime)> = sqlx::query_as(
            "select body, body_sha256, created_by, created_at from contract
             where tenant_id = $1 and ($2::text is null or name = $2)
             order by created_at desc, name limit 500",
        )
        .bind(self.tenant)
        .bind(name)
        .fetch_all(&mut *self.tx)
        .await?;
        let kept = |(body, sha256, by, at)| {
            Ok(KeptContract { contract: read("contract", body)?, sha256, by, at: instant(at) })
        };
        rows.into_iter().map(kept).collect()
    }

    /// Returns a contract.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn contract(&mut self, name: &str) -> Result<KeptContract, StoreError> {
        self.contracts(Some(name)).await?.pop().ok_or(StoreError::NotFound("contract"))
    }

    /// Returns the number that the next statement takes. Statements are made one at a time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn next_statement(&mut self) -> Result<u32, StoreError> {
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1::text, 10))")
            .bind(self.tenant)
            .execute(&mut *self.tx)
            .await?;
        let next: i32 = sqlx::query_scalar(
            "select coalesce(max(number), 0) + 1 from statement where tenant_id = $1",
        )
        .bind(self.tenant)
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(u32::try_from(next).unwrap_or(u32::MAX))
    }

    /// Keeps a statement with its receipt and its events, gzipped.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the period has a statement.
    pub async fn add_statement(
        &mut self,
        document: &Document,
        receipt: &Receipt,
        events: &[u8],
        by: &str,
    ) -> Result<(), StoreError> {
        let kind = match document.kind {
            Kind::Statement => "statement",
            Kind::CreditNote => "credit_note",
        };
        let at = |at: Timestamp| {
            OffsetDateTime::from_unix_timestamp(at.as_second())
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        };
        let corrects = document.corrects.as_ref().map(|c| i32::try_from(c.number).unwrap_or(0));
        let done = sqlx::query(
            "insert into statement (tenant_id, number, contract, kind, corrects, from_at, to_at,
                                    document, receipt, events, created_by)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(number(document))
        .bind(&document.contract.name)
        .bind(kind)
        .bind(corrects)
        .bind(at(document.from))
        .bind(at(document.to))
        .bind(written("statement", document)?)
        .bind(written("receipt", receipt)?)
        .bind(events)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict(
                "this period of the contract has a statement; dispute that one instead".to_owned(),
            ));
        }
        Ok(())
    }

    /// Returns the statements and credit notes, newest first; one where `number` is given.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn statements(&mut self, number: Option<i32>) -> Result<Vec<Statement>, StoreError> {
        let rows: Vec<StatementRow> = sqlx::query_as(
            "select document, receipt, corrects, created_by from statement
             where tenant_id = $1 and ($2::integer is null or number = $2)
             order by number desc limit 500",
        )
        .bind(self.tenant)
        .bind(number)
        .fetch_all(&mut *self.tx)
        .await?;
        let statement = |row: StatementRow| {
            Ok(Statement {
                document: read("statement", row.document)?,
                receipt: read("receipt", row.receipt)?,
                corrects: row.corrects,
                by: row.created_by,
            })
        };
        rows.into_iter().map(statement).collect()
    }

    /// Returns a statement.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn statement(&mut self, number: i32) -> Result<Statement, StoreError> {
        self.statements(Some(number)).await?.pop().ok_or(StoreError::NotFound("statement"))
    }

    /// Returns the events of a statement, gzipped.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn statement_events(&mut self, number: i32) -> Result<Vec<u8>, StoreError> {
        let found: Option<Vec<u8>> =
            sqlx::query_scalar("select events from statement where tenant_id = $1 and number = $2")
                .bind(self.tenant)
                .bind(number)
                .fetch_optional(&mut *self.tx)
                .await?;
        found.ok_or(StoreError::NotFound("statement"))
    }

    /// Opens a dispute of a statement.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ one is open.
    pub async fn open_dispute(
        &mut self,
        statement: i32,
        reason: &str,
        observations: &[String],
        by: &str,
    ) -> Result<Uuid, StoreError> {
        let id = Uuid::now_v7();
        let done = sqlx::query(
            "insert into dispute (tenant_id, dispute_id, statement, reason, observations, opened_by)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(statement)
        .bind(reason)
        .bind(written("dispute", &observations)?)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict("this statement has an open dispute".to_owned()));
        }
        Ok(id)
    }

    /// Decides an open dispute: settled by a credit note, or rejected without one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ it is decided.
    pub async fn decide_dispute(
        &mut self,
        id: Uuid,
        credit_note: Option<i32>,
        answer: &str,
        by: &str,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update dispute set state = case when $3::integer is null then 'rejected' else 'settled' end,
                    credit_note = $3, answer = $4, decided_by = $5, decided_at = now()
             where tenant_id = $1 and dispute_id = $2 and state = 'open'",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(credit_note)
        .bind(answer)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict("the dispute is decided".to_owned()));
        }
        Ok(())
    }

    /// Returns the disputes, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn disputes(&mut self) -> Result<Vec<Dispute>, StoreError> {
        let rows: Vec<DisputeRow> = sqlx::query_as(
            "select dispute_id, statement, reason, observations, state, answer, credit_note,
                    opened_by, opened_at, decided_by
             from dispute where tenant_id = $1 order by opened_at desc limit 500",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        let dispute = |row: DisputeRow| {
            Ok(Dispute {
                id: row.dispute_id,
                statement: row.statement,
                reason: row.reason,
                observations: read("dispute", row.observations)?,
                state: row.state,
                answer: row.answer,
                credit_note: row.credit_note,
                by: row.opened_by,
                at: instant(row.opened_at),
                decided_by: row.decided_by,
            })
        };
        rows.into_iter().map(dispute).collect()
    }
}
