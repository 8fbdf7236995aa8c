//! Trainings and gates: how far each is, for whoever waits for it, and what became of it.

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{StoreError, TenantTx, instant};

/// Seconds of silence after which a job counts as broken off.
const SILENCE: i64 = 120;

/// A training or a gate that runs, or what became of it.
#[derive(Debug, Clone)]
pub struct ModelJob {
    /// Identifier.
    pub id: Uuid,
    /// `train` or `gate`.
    pub kind: String,
    /// Label of the planner.
    pub label: String,
    /// The planner: of a gate from the start, of a training once it is made.
    pub model: Option<Uuid>,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// Share that is done, 0 to 1.
    pub share: f64,
    /// How it comes along, in words.
    pub said: String,
    /// Code of the fault.
    pub code: Option<String>,
    /// What was wrong.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub updated_at: Timestamp,
}

impl ModelJob {
    /// Tells whether it runs and is heard of. One that is not was most likely ended by a stop of the
    /// server.
    pub fn is_alive(&self) -> bool {
        let silent = Timestamp::now().as_second() - self.updated_at.as_second();
        self.state == "running" && silent <= SILENCE
    }
}

macro_rules! jobs {
    ($rest:literal) => {
        concat!(
            "select job_id, kind, label, model_id, state, share, said, code, message, started_at,
                    updated_at
             from model_job where tenant_id = $1 ",
            $rest
        )
    };
}

fn job(row: &PgRow) -> Result<ModelJob, StoreError> {
    Ok(ModelJob {
        id: row.try_get("job_id")?,
        kind: row.try_get("kind")?,
        label: row.try_get("label")?,
        model: row.try_get("model_id")?,
        state: row.try_get("state")?,
        share: row.try_get("share")?,
        said: row.try_get("said")?,
        code: row.try_get("code")?,
        message: row.try_get("message")?,
        started_at: instant(row.try_get("started_at")?),
        updated_at: instant(row.try_get("updated_at")?),
    })
}

impl TenantTx {
    /// Notes that a job begins. A joint venture has one at a time, because each takes the whole
    /// machine for minutes.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ another one runs.
    pub async fn start_model_job(
        &mut self,
        kind: &str,
        label: &str,
        model: Option<Uuid>,
    ) -> Result<Uuid, StoreError> {
        self.hold_models().await?;
        if let Some(other) = self.model_jobs(1).await?.first().filter(|job| job.is_alive()) {
            return Err(StoreError::Conflict(format!(
                "a {} of `{}` runs ({}); wait for its end or stop it",
                other.kind, other.label, other.id
            )));
        }
        let id = Uuid::now_v7();
        sqlx::query(
            "insert into model_job (tenant_id, job_id, kind, label, model_id, state)
             values ($1, $2, $3, $4, $5, 'running')",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(kind)
        .bind(label)
        .bind(model)
        .execute(&mut *self.tx)
        .await?;
        Ok(id)
    }

    /// Notes how far a job is; tells whether it should go on.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_model_job(
        &mut self,
        id: Uuid,
        share: f64,
        said: &str,
    ) -> Result<bool, StoreError> {
        let stop: Option<bool> = sqlx::query_scalar(
            "update model_job set share = $3, said = $4, updated_at = now()
             where tenant_id = $1 and job_id = $2 and state = 'running' returning stop",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(share)
        .bind(said)
        .fetch_optional(&mut *self.tx)
        .await?;
        Ok(stop == Some(false))
    }

    /// Asks a job to stop.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn stop_model_job(&mut self, id: Uuid) -> Result<(), StoreError> {
        let done =
            sqlx::query("update model_job set stop = true where tenant_id = $1 and job_id = $2")
                .bind(self.tenant)
                .bind(id)
                .execute(&mut *self.tx)
                .await?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("job")) } else { Ok(()) }
    }

    /// Notes that a job came to its end with a planner.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn end_model_job(&mut self, id: Uuid, model: Uuid) -> Result<(), StoreError> {
        sqlx::query(
            "update model_job set state = 'done', share = 1, model_id = $3, updated_at = now()
             where tenant_id = $1 and job_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(model)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Notes that a job failed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn fail_model_job(
        &mut self,
        id: Uuid,
        code: &str,
        message: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update model_job set state = 'failed', code = $3, message = $4, updated_at = now()
             where tenant_id = $1 and job_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(code)
        .bind(message.replace('\0', ""))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns a job.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn model_job(&mut self, id: Uuid) -> Result<ModelJob, StoreError> {
        let row = sqlx::query(jobs!("and job_id = $2"))
            .bind(self.tenant)
            .bind(id)
            .fetch_optional(&mut *self.tx)
            .await?;
        row.as_ref().map(job).transpose()?.ok_or(StoreError::NotFound("job"))
    }

    /// Lists the newest jobs.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn model_jobs(&mut self, limit: u16) -> Result<Vec<ModelJob>, StoreError> {
        let rows = sqlx::query(jobs!("order by job_id desc limit $2"))
            .bind(self.tenant)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.tx)
            .await?;
        rows.iter().map(job).collect()
    }
}
