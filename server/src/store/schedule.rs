//! Schedules: requests that are made by the clock, and what became of each planned instant.
//!
//! `schedule_due` says when each schedule is next; it is read across tenants and holds no more than
//! identifiers and times. Whoever starts an instant holds that row, and the key of `schedule_start`
//! lets no instant start twice. The clock is the database's.

use jiff::Timestamp;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Busy, RunId, Store, StoreError, TenantId, TenantTx, instant};

/// A schedule to be made.
#[derive(Debug, Clone)]
pub struct NewSchedule {
    /// Name, unique in the joint venture; 1 to 128 characters.
    pub name: String,
    /// When, as cron reads it, in the joint venture's time zone.
    pub cron: String,
    /// The request that is made.
    pub request: String,
    /// Thread of its runs.
    pub thread: Option<String>,
    /// What happens when the thread has an open run.
    pub busy: Busy,
    /// Whether one run makes up for instants that passed unseen; else they are only noted.
    pub make_up: bool,
}

/// A schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Identifier.
    pub id: Uuid,
    /// What it does.
    pub rule: NewSchedule,
    /// Whether it is on.
    pub enabled: bool,
    /// When it is next, while it is on.
    pub next_at: Option<Timestamp>,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A schedule whose instant has come.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct Due {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The schedule.
    pub schedule_id: Uuid,
}

/// What became of an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOutcome {
    /// A run was made.
    Started,
    /// It passed while no server was there.
    Missed,
    /// The run could not be made.
    Refused,
}

impl StartOutcome {
    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Missed => "missed",
            Self::Refused => "refused",
        }
    }
}

/// What became of one planned instant.
#[derive(Debug, Clone)]
pub struct Start {
    /// The instant.
    pub planned_at: Timestamp,
    /// `started`, `missed` or `refused`.
    pub outcome: String,
    /// Instants that passed unseen and are told by this line.
    pub missed: i32,
    /// The run.
    pub run: Option<RunId>,
    /// Why not, or what was left out.
    pub said: String,
}

#[derive(FromRow)]
struct Row {
    schedule_id: Uuid,
    name: String,
    cron: String,
    request: String,
    thread: Option<String>,
    busy: String,
    missed: String,
    enabled: bool,
    next_at: Option<OffsetDateTime>,
    set_by: String,
    set_at: OffsetDateTime,
}

impl From<Row> for Schedule {
    fn from(row: Row) -> Self {
        Self {
            id: row.schedule_id,
            rule: NewSchedule {
                name: row.name,
                cron: row.cron,
                request: row.request,
                thread: row.thread,
                busy: Busy::of(&row.busy).unwrap_or_default(),
                make_up: row.missed == "once",
            },
            enabled: row.enabled,
            next_at: row.next_at.map(instant),
            by: row.set_by,
            at: instant(row.set_at),
        }
    }
}

fn stored(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(at.as_nanosecond())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

impl Store {
    /// Lists schedules whose instant has come, the longest overdue first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn due_schedules(&self, limit: u16) -> Result<Vec<Due>, StoreError> {
        Ok(sqlx::query_as(
            "select tenant_id, schedule_id from schedule_due where next_at <= now()
             order by next_at limit $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?)
    }
}

impl TenantTx {
    /// Returns the database's time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn now(&mut self) -> Result<Timestamp, StoreError> {
        let now: OffsetDateTime =
            sqlx::query_scalar("select now()").fetch_one(&mut *self.tx).await?;
        Ok(instant(now))
    }

    /// Makes a schedule that is first due at `next`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the name is taken.
    pub async fn add_schedule(
        &mut self,
        new: &NewSchedule,
        next: Option<Timestamp>,
        by: &str,
    ) -> Result<Uuid, StoreError> {
        let id = Uuid::now_v7();
        let made = sqlx::query(
            "insert into schedule (tenant_id, schedule_id, name, cron, request, thread, busy, missed, set_by)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(&new.name)
        .bind(&new.cron)
        .bind(&new.request)
        .bind(&new.thread)
        .bind(new.busy.name())
        .bind(if new.make_up { "once" } else { "skip" })
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        if made.rows_affected() == 0 {
            let message =
                format!("there is a schedule `{}`; remove it or take another name", new.name);
            return Err(StoreError::Conflict(message));
        }
        self.set_due(id, next).await?;
        Ok(id)
    }

    /// Says when a schedule is next; `None` takes it off the clock.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_due(&mut self, id: Uuid, next: Option<Timestamp>) -> Result<(), StoreError> {
        match next {
            Some(next) => {
                sqlx::query(
                    "insert into schedule_due (tenant_id, schedule_id, next_at) values ($1, $2, $3)
                     on conflict (tenant_id, schedule_id) do update set next_at = excluded.next_at",
                )
                .bind(self.tenant)
                .bind(id)
                .bind(stored(next))
                .execute(&mut *self.tx)
                .await?
            }
            None => {
                sqlx::query("delete from schedule_due where tenant_id = $1 and schedule_id = $2")
                    .bind(self.tenant)
                    .bind(id)
                    .execute(&mut *self.tx)
                    .await?
            }
        };
        Ok(())
    }

    /// Takes the row of a due schedule for this transaction and returns its instant; `None` when
    /// another replica has it or it is not due any more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_due(&mut self, id: Uuid) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<OffsetDateTime> = sqlx::query_scalar(
            "select next_at from schedule_due
             where tenant_id = $1 and schedule_id = $2 and next_at <= now()
             for update skip locked",
        )
        .bind(self.tenant)
        .bind(id)
        .fetch_optional(&mut *self.tx)
        .await?;
        Ok(at.map(instant))
    }

    /// Lists the schedules by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn schedules(&mut self) -> Result<Vec<Schedule>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select schedule_id, name, cron, request, thread, busy, missed, enabled, next_at,
                    set_by, set_at
             from schedule left join schedule_due using (tenant_id, schedule_id)
             where tenant_id = $1 order by name",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(Schedule::from).collect())
    }

    /// Returns a schedule.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn schedule(&mut self, id: Uuid) -> Result<Schedule, StoreError> {
        let all = self.schedules().await?;
        all.into_iter().find(|one| one.id == id).ok_or(StoreError::NotFound("schedule"))
    }

    /// Switches a schedule on, first due at `next`, or off.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn enable_schedule(
        &mut self,
        id: Uuid,
        next: Option<Timestamp>,
        by: &str,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update schedule set enabled = $3, set_by = $4, set_at = now()
             where tenant_id = $1 and schedule_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(next.is_some())
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("schedule"));
        }
        self.set_due(id, next).await
    }

    /// Removes a schedule and its history; its runs stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn remove_schedule(&mut self, id: Uuid) -> Result<(), StoreError> {
        self.set_due(id, None).await?;
        let gone = sqlx::query("delete from schedule where tenant_id = $1 and schedule_id = $2")
            .bind(self.tenant)
            .bind(id)
            .execute(&mut *self.tx)
            .await?;
        if gone.rows_affected() == 0 { Err(StoreError::NotFound("schedule")) } else { Ok(()) }
    }

    /// Notes what became of an instant; `false` when that was noted before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_start(
        &mut self,
        schedule: Uuid,
        planned_at: Timestamp,
        outcome: StartOutcome,
        (missed, said): (i32, &str),
        run: Option<RunId>,
    ) -> Result<bool, StoreError> {
        let made = sqlx::query(
            "insert into schedule_start (tenant_id, schedule_id, planned_at, outcome, missed, run_id, said)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(schedule)
        .bind(stored(planned_at))
        .bind(outcome.name())
        .bind(missed)
        .bind(run)
        .bind(said)
        .execute(&mut *self.tx)
        .await?;
        Ok(made.rows_affected() == 1)
    }

    /// Lists what became of a schedule's instants, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn starts(&mut self, schedule: Uuid, limit: u16) -> Result<Vec<Start>, StoreError> {
        let rows: Vec<(OffsetDateTime, String, i32, Option<Uuid>, String)> = sqlx::query_as(
            "select planned_at, outcome, missed, run_id, said from schedule_start
             where tenant_id = $1 and schedule_id = $2 order by planned_at desc limit $3",
        )
        .bind(self.tenant)
        .bind(schedule)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(at, outcome, missed, run, said)| Start {
                planned_at: instant(at),
                outcome,
                missed,
                run,
                said,
            })
            .collect())
    }
}
