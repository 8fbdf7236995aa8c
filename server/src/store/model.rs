//! Planners of a joint venture, and the history of which of them planned.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{RunId, StoreError, TenantTx, instant};

/// What a planner is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelState {
    /// Nothing yet.
    Candidate,
    /// Plans the runs.
    Live,
    /// Plans each run beside the live one, for comparison only.
    Shadow,
    /// Planned before.
    Retired,
}

impl ModelState {
    const ALL: [Self; 4] = [Self::Candidate, Self::Live, Self::Shadow, Self::Retired];

    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Live => "live",
            Self::Shadow => "shadow",
            Self::Retired => "retired",
        }
    }
}

/// A planner to be registered.
#[derive(Debug, Clone, Copy)]
pub struct NewModel<'a> {
    /// Name for people; the next of `v1`, `v2`, … when absent.
    pub label: Option<&'a str>,
    /// Identifier of the pack that it was made for.
    pub pack: &'a str,
    /// Version of that pack.
    pub pack_version: &'a str,
    /// Version of the planner that it continues; empty where that is not known.
    pub base: &'a str,
    /// Digest of its files.
    pub digest: &'a str,
    /// Their size in bytes.
    pub size: usize,
    /// Report of its training, a page of HTML.
    pub report: Option<&'a str>,
    /// Who adds it.
    pub by: &'a str,
}

/// A planner of a joint venture.
#[derive(Debug, Clone)]
pub struct Model {
    /// Identifier.
    pub id: Uuid,
    /// Name for people.
    pub label: String,
    /// Identifier of the pack that it was made for.
    pub pack: String,
    /// Version of that pack.
    pub pack_version: String,
    /// Version of the planner that it continues; empty where that is not known.
    pub base: String,
    /// Digest of its files.
    pub digest: String,
    /// Their size in bytes.
    pub size: i64,
    /// What it is used for.
    pub state: ModelState,
    /// What the gate found last.
    pub verdict: Option<Value>,
    /// Whether there is a report of its training.
    pub has_report: bool,
    /// Who added it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was promoted last.
    pub promoted_at: Option<Timestamp>,
}

impl Model {
    /// Returns the version that a run's journal names.
    pub fn version(&self) -> String {
        format!("model-{}", &self.digest[..12])
    }
}

/// One line of the history of who planned.
#[derive(Debug, Clone)]
pub struct Promotion {
    /// The planner that took over; none for the program's own.
    pub model: Option<Uuid>,
    /// Whether it was gone back to.
    pub rollback: bool,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

macro_rules! models {
    ($rest:literal) => {
        concat!(
            "select model_id, label, pack, pack_version, base, digest, size, state, verdict,
                    report is not null as has_report, created_by, created_at, promoted_at
             from model where tenant_id = $1 ",
            $rest
        )
    };
}

fn model(row: &PgRow) -> Result<Model, StoreError> {
    let state: String = row.try_get("state")?;
    Ok(Model {
        id: row.try_get("model_id")?,
        label: row.try_get("label")?,
        pack: row.try_get("pack")?,
        pack_version: row.try_get("pack_version")?,
        base: row.try_get("base")?,
        digest: row.try_get("digest")?,
        size: row.try_get("size")?,
        state: ModelState::ALL
            .into_iter()
            .find(|known| known.name() == state)
            .ok_or(StoreError::Damaged { what: "model", message: state })?,
        verdict: row.try_get("verdict")?,
        has_report: row.try_get("has_report")?,
        created_by: row.try_get("created_by")?,
        created_at: instant(row.try_get("created_at")?),
        promoted_at: row.try_get::<Option<OffsetDateTime>, _>("promoted_at")?.map(instant),
    })
}

impl TenantTx {
    /// Registers a planner as a candidate. Files that are registered already give the earlier one
    /// and `false`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the label is taken or malformed.
    pub async fn add_model(&mut self, new: &NewModel<'_>) -> Result<(Model, bool), StoreError> {
        self.hold_models().await?;
        let known = self.models().await?;
        if let Some(same) = known.iter().find(|known| known.digest == new.digest) {
            return Ok((same.clone(), false));
        }
        let numbers = || (known.len() + 1..).map(|number| format!("v{number}"));
        let taken = |label: &String| known.iter().any(|known| known.label == *label);
        let label = match new.label {
            Some(label) => label.trim().to_owned(),
            None => numbers().find(|label| !taken(label)).unwrap_or_default(),
        };
        if taken(&label) || !(1..=60).contains(&label.chars().count()) || label.contains('\0') {
            return Err(StoreError::Conflict(format!(
                "`{label}` cannot name a new planner; use 1 to 60 characters that name no other"
            )));
        }
        let id = Uuid::now_v7();
        sqlx::query(
            "insert into model (tenant_id, model_id, label, pack, pack_version, base, digest, size,
                                state, report, created_by)
             values ($1, $2, $3, $4, $5, $6, $7, $8, 'candidate', $9, $10)",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(&label)
        .bind(new.pack)
        .bind(new.pack_version)
        .bind(new.base)
        .bind(new.digest)
        .bind(i64::try_from(new.size).unwrap_or(i64::MAX))
        .bind(new.report.map(|report| report.replace('\0', "")))
        .bind(new.by)
        .execute(&mut *self.tx)
        .await?;
        Ok((self.model(id).await?, true))
    }

    /// Keeps others from changing which planner plans until this transaction ends.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn hold_models(&mut self) -> Result<(), StoreError> {
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 7310979))")
            .bind(self.tenant.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Lists the planners, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn models(&mut self) -> Result<Vec<Model>, StoreError> {
        let rows = sqlx::query(models!("order by model_id desc"))
            .bind(self.tenant)
            .fetch_all(&mut *self.tx)
            .await?;
        rows.iter().map(model).collect()
    }

    /// Returns a planner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn model(&mut self, id: Uuid) -> Result<Model, StoreError> {
        let row = sqlx::query(models!("and model_id = $2"))
            .bind(self.tenant)
            .bind(id)
            .fetch_optional(&mut *self.tx)
            .await?;
        row.as_ref().map(model).transpose()?.ok_or(StoreError::NotFound("planner"))
    }

    /// Returns the planner in a state that only one can have: live or shadow.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn model_in(&mut self, state: ModelState) -> Result<Option<Model>, StoreError> {
        let row = sqlx::query(models!("and state = $2"))
            .bind(self.tenant)
            .bind(state.name())
            .fetch_optional(&mut *self.tx)
            .await?;
        row.as_ref().map(model).transpose()
    }

    /// Returns the report of a planner's training.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ there is none.
    pub async fn model_report(&mut self, id: Uuid) -> Result<String, StoreError> {
        sqlx::query_scalar("select report from model where tenant_id = $1 and model_id = $2")
            .bind(self.tenant)
            .bind(id)
            .fetch_optional(&mut *self.tx)
            .await?
            .flatten()
            .ok_or(StoreError::NotFound("training report"))
    }

    /// Sets what a planner is used for. The caller holds [`TenantTx::hold_models`] and has freed the
    /// place that only one can have.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_model_state(&mut self, id: Uuid, state: ModelState) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update model set state = $3,
                    promoted_at = case when $3 = 'live' then now() else promoted_at end
             where tenant_id = $1 and model_id = $2",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(state.name())
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("planner")) } else { Ok(()) }
    }

    /// Notes what the gate found.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_verdict(&mut self, id: Uuid, verdict: &Value) -> Result<(), StoreError> {
        let done =
            sqlx::query("update model set verdict = $3 where tenant_id = $1 and model_id = $2")
                .bind(self.tenant)
                .bind(id)
                .bind(verdict)
                .execute(&mut *self.tx)
                .await?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("planner")) } else { Ok(()) }
    }

    /// Appends to the history of who planned.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_promotion(
        &mut self,
        model: Option<Uuid>,
        rollback: bool,
        by: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into model_promotion (tenant_id, promotion_id, model_id, rollback, decided_by)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(self.tenant)
        .bind(Uuid::now_v7())
        .bind(model)
        .bind(rollback)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns the history of who planned, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn promotions(&mut self) -> Result<Vec<Promotion>, StoreError> {
        let rows: Vec<(Option<Uuid>, bool, String, OffsetDateTime)> = sqlx::query_as(
            "select model_id, rollback, decided_by, created_at from model_promotion
             where tenant_id = $1 order by promotion_id",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(model, rollback, by, at)| Promotion { model, rollback, by, at: instant(at) })
            .collect())
    }

    /// Notes which planner a run takes, unless it took one before, and returns the one that it took.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn take_planner(&mut self, run: RunId, version: &str) -> Result<String, StoreError> {
        sqlx::query_scalar(
            "update run set model = coalesce(model, $3) where tenant_id = $1 and run_id = $2
             returning model",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(version)
        .fetch_optional(&mut *self.tx)
        .await?
        .ok_or(StoreError::NotFound("run"))
    }
}
