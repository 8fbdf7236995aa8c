//! Experiments, the units in them, what was observed of units, and the journal of outcomes.

use agents::outcome::design::Design;
use agents::outcome::micros::Micros;
use agents::outcome::readout::Observation;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;

use super::{StoreError, TenantTx, instant};

/// An experiment with where it stands.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The design; its name is that of the experiment.
    pub design: Design,
    /// SHA-256 of the design's canonical form.
    pub sha256: String,
    /// `draft`, `running` or `ended`.
    pub state: String,
    /// Why it was ended before its time, if it was.
    pub end_reason: String,
    /// Who made it.
    pub by: String,
    /// When it was frozen.
    pub started_at: Option<Timestamp>,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct ExperimentRow {
    design: Value,
    design_sha256: String,
    state: String,
    end_reason: String,
    created_by: String,
    started_at: Option<OffsetDateTime>,
    ended_at: Option<OffsetDateTime>,
}

impl ExperimentRow {
    fn read(self) -> Result<Experiment, StoreError> {
        Ok(Experiment {
            design: read("design", self.design)?,
            sha256: self.design_sha256,
            state: self.state,
            end_reason: self.end_reason,
            by: self.created_by,
            started_at: self.started_at.map(instant),
            ended_at: self.ended_at.map(instant),
        })
    }
}

/// Reads a stored document.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    what: &'static str,
    value: Value,
) -> Result<T, StoreError> {
    serde_json::from_value(value)
        .map_err(|error| StoreError::Damaged { what, message: error.to_string() })
}

/// Writes a document for the store.
pub(super) fn written<T: serde::Serialize>(
    what: &'static str,
    value: &T,
) -> Result<Value, StoreError> {
    serde_json::to_value(value)
        .map_err(|error| StoreError::Damaged { what, message: error.to_string() })
}

fn stored(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(at.as_nanosecond())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// What became of observations that were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// New ones.
    pub added: u64,
    /// Ones that were there already, the same.
    pub repeated: u64,
    /// Identifiers that were there with another content; those were not changed.
    pub differing: Vec<String>,
}

/// One event of the journal of outcomes.
#[derive(Debug, Clone)]
pub struct OutcomeEvent {
    /// Number within the joint venture, from 1.
    pub seq: i64,
    /// Type, such as `experiment.started`.
    pub kind: String,
    /// What happened.
    pub payload: Value,
    /// Who did it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl TenantTx {
    /// Appends to the journal of outcomes and returns the number of the event.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_outcome(
        &mut self,
        kind: &str,
        payload: &Value,
        by: &str,
    ) -> Result<i64, StoreError> {
        // One writer of a joint venture's journal at a time, until the transaction ends.
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1::text, 9))")
            .bind(self.tenant)
            .execute(&mut *self.tx)
            .await?;
        Ok(sqlx::query_scalar(
            "insert into outcome_event (tenant_id, seq, type, payload, by_whom)
             select $1, coalesce(max(seq), 0) + 1, $2, $3, $4 from outcome_event where tenant_id = $1
             returning seq",
        )
        .bind(self.tenant)
        .bind(kind)
        .bind(payload)
        .bind(by)
        .fetch_one(&mut *self.tx)
        .await?)
    }

    /// Returns the newest events of the journal of outcomes, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn outcome_events(&mut self, limit: u16) -> Result<Vec<OutcomeEvent>, StoreError> {
        let rows: Vec<(i64, String, Value, String, OffsetDateTime)> = sqlx::query_as(
            "select seq, type, payload, by_whom, created_at from outcome_event
             where tenant_id = $1 order by seq desc limit $2",
        )
        .bind(self.tenant)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.tx)
        .await?;
        let event =
            |(seq, kind, payload, by, at)| OutcomeEvent { seq, kind, payload, by, at: instant(at) };
        Ok(rows.into_iter().map(event).collect())
    }

    /// Puts a draft in place, new or over an earlier draft of the same name.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ an experiment of this name has started.
    pub async fn put_draft(&mut self, design: &Design, by: &str) -> Result<(), StoreError> {
        let done = sqlx::query(
            "insert into experiment (tenant_id, name, design, design_sha256, created_by)
             values ($1, $2, $3, $4, $5)
             on conflict (tenant_id, name) do update
             set design = excluded.design, design_sha256 = excluded.design_sha256,
                 created_by = excluded.created_by
             where experiment.state = 'draft'",
        )
        .bind(self.tenant)
        .bind(&design.name)
        .bind(written("design", design)?)
        .bind(design.sha256())
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!(
                "the experiment {} has started and is frozen; end it and make one of another name",
                design.name
            )));
        }
        Ok(())
    }

    /// Freezes a draft (`running`), or ends a running experiment (`ended`), at an instant.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ it is in another state; [`StoreError::NotFound`].
    pub async fn move_experiment(
        &mut self,
        name: &str,
        to: &'static str,
        reason: &str,
        at: Timestamp,
    ) -> Result<Experiment, StoreError> {
        let from = if to == "running" { "draft" } else { "running" };
        let done = sqlx::query(
            "update experiment
             set state = $3, end_reason = $4,
                 started_at = case when $3 = 'running' then $6 else started_at end,
                 ended_at = case when $3 = 'ended' then $6 else ended_at end
             where tenant_id = $1 and name = $2 and state = $5",
        )
        .bind(self.tenant)
        .bind(name)
        .bind(to)
        .bind(reason)
        .bind(from)
        .bind(stored(at))
        .execute(&mut *self.tx)
        .await?;
        let now = self.experiment(name).await?;
        if done.rows_affected() == 0 {
            let message = format!("the experiment {name} is {}, not {from}", now.state);
            return Err(StoreError::Conflict(message));
        }
        Ok(now)
    }

    /// Returns an experiment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn experiment(&mut self, name: &str) -> Result<Experiment, StoreError> {
        let found = self.experiments(Some(name)).await?.pop();
        found.ok_or(StoreError::NotFound("experiment"))
    }

    /// Returns the experiments, newest first; one where `name` is given.
    ///
    /// # Errors
    /// [`StoreError::Database`]; [`StoreError::Damaged`].
    pub async fn experiments(&mut self, name: Option<&str>) -> Result<Vec<Experiment>, StoreError> {
        let rows: Vec<ExperimentRow> = sqlx::query_as(
            "select design, design_sha256, state, end_reason, created_by, started_at, ended_at
             from experiment where tenant_id = $1 and ($2::text is null or name = $2)
             order by created_at desc, name limit 500",
        )
        .bind(self.tenant)
        .bind(name)
        .fetch_all(&mut *self.tx)
        .await?;
        rows.into_iter().map(ExperimentRow::read).collect()
    }

    /// Notes that units take part, each once.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn enrol(&mut self, design: &Design, units: &[String]) -> Result<u64, StoreError> {
        let arms: Vec<&str> = units.iter().map(|unit| design.arm(unit).name()).collect();
        let done = sqlx::query(
            "insert into experiment_unit (tenant_id, experiment, unit, arm)
             select $1, $2, unit, arm from unnest($3::text[], $4::text[]) as given (unit, arm)
             on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(&design.name)
        .bind(units)
        .bind(arms)
        .execute(&mut *self.tx)
        .await?;
        Ok(done.rows_affected())
    }

    /// Returns the units that take part, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn enrolled(&mut self, experiment: &str) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "select unit from experiment_unit where tenant_id = $1 and experiment = $2 order by unit",
        )
        .bind(self.tenant)
        .bind(experiment)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Adds observations. The same one sent twice counts once; one whose identifier is known with
    /// another content is not taken and is named.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn observe(
        &mut self,
        observations: &[Observation],
        source: &str,
    ) -> Result<Received, StoreError> {
        let added = self.insert(observations, 1, source).await?;
        let sent = observations.len() as u64;
        if added == sent {
            return Ok(Received { added, ..Received::default() });
        }
        // A later revision is a correction; what was sent first is compared with what was first kept.
        let kept = self.first_revisions(observations).await?;
        let differs = |one: &&Observation| {
            kept.iter().any(|k| k.id == one.id && k.metric == one.metric && k != *one)
        };
        let differing: Vec<String> =
            observations.iter().filter(differs).map(|one| one.id.clone()).collect();
        let repeated = sent - added - differing.len() as u64;
        Ok(Received { added, repeated, differing })
    }

    /// Adds a further revision of one observation; earlier ones stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ there is no such observation.
    pub async fn regrade(&mut self, one: &Observation, source: &str) -> Result<(), StoreError> {
        let last: Option<i32> = sqlx::query_scalar(
            "select max(revision) from observation
             where tenant_id = $1 and metric = $2 and observation_id = $3",
        )
        .bind(self.tenant)
        .bind(&one.metric)
        .bind(&one.id)
        .fetch_one(&mut *self.tx)
        .await?;
        let last = last.ok_or(StoreError::NotFound("observation"))?;
        match self.insert(std::slice::from_ref(one), last + 1, source).await? {
            1 => Ok(()),
            _ => {
                Err(StoreError::Conflict("it was corrected by another at the same time".to_owned()))
            }
        }
    }

    async fn insert(
        &mut self,
        observations: &[Observation],
        revision: i32,
        source: &str,
    ) -> Result<u64, StoreError> {
        let texts = |one: fn(&Observation) -> &String| -> Vec<&String> {
            observations.iter().map(one).collect()
        };
        let numbers =
            |one: fn(&Observation) -> i64| -> Vec<i64> { observations.iter().map(one).collect() };
        let at: Vec<OffsetDateTime> = observations.iter().map(|o| stored(o.at)).collect();
        let done = sqlx::query(
            "insert into observation (tenant_id, metric, observation_id, revision, unit, at,
                                      value_micros, weight_micros, source)
             select $1, metric, id, $2, unit, at, value, weight, $3
             from unnest($4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::bigint[], $9::bigint[])
                  as given (metric, id, unit, at, value, weight)
             on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(revision)
        .bind(source)
        .bind(texts(|o| &o.metric))
        .bind(texts(|o| &o.id))
        .bind(texts(|o| &o.unit))
        .bind(at)
        .bind(numbers(|o| o.value.0))
        .bind(numbers(|o| o.weight.0))
        .execute(&mut *self.tx)
        .await?;
        Ok(done.rows_affected())
    }

    /// Returns what was first kept under the identifiers of these observations.
    async fn first_revisions(
        &mut self,
        named: &[Observation],
    ) -> Result<Vec<Observation>, StoreError> {
        let ids: Vec<&str> = named.iter().map(|one| one.id.as_str()).collect();
        let metrics: Vec<&str> = named.iter().map(|one| one.metric.as_str()).collect();
        let rows: Vec<ObservationRow> = sqlx::query_as(
            "select observation_id, unit, metric, at, value_micros, weight_micros from observation
             where tenant_id = $1 and revision = 1 and (metric, observation_id) in
                   (select * from unnest($2::text[], $3::text[]))",
        )
        .bind(self.tenant)
        .bind(metrics)
        .bind(ids)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(ObservationRow::read).collect())
    }

    /// Returns the observations of metrics up to an instant, in their last revision, by identifier.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn observations(
        &mut self,
        metrics: &[String],
        before: Timestamp,
    ) -> Result<Vec<Observation>, StoreError> {
        let rows: Vec<ObservationRow> = sqlx::query_as(
            "select distinct on (metric, observation_id)
                    observation_id, unit, metric, at, value_micros, weight_micros
             from observation where tenant_id = $1 and metric = any($2)
             order by metric, observation_id, revision desc",
        )
        .bind(self.tenant)
        .bind(metrics)
        .fetch_all(&mut *self.tx)
        .await?;
        // The last revision may lie elsewhere in time than the first.
        let all = rows.into_iter().map(ObservationRow::read);
        Ok(all.filter(|one| one.at < before).collect())
    }
}

#[derive(FromRow)]
struct ObservationRow {
    observation_id: String,
    unit: String,
    metric: String,
    at: OffsetDateTime,
    value_micros: i64,
    weight_micros: i64,
}

impl ObservationRow {
    fn read(self) -> Observation {
        Observation {
            id: self.observation_id,
            unit: self.unit,
            metric: self.metric,
            at: instant(self.at),
            value: Micros(self.value_micros),
            weight: Micros(self.weight_micros),
        }
    }
}
