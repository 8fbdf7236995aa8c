//! What a planner in the shadow would have done, beside what was done.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{RunId, StoreError, TenantTx, instant};

/// The two plans of one request.
#[derive(Debug, Clone)]
pub struct ShadowPlan {
    /// The run.
    pub run: RunId,
    /// The request.
    pub request: String,
    /// `none`, `decision`, `tool`, `arguments`, or `failed` where the shadow made no plan.
    pub differs: String,
    /// What was decided: decision, and calls with their arguments.
    pub live: Value,
    /// What the shadow would have decided.
    pub shadow: Value,
    /// Time of the live plan, milliseconds.
    pub live_ms: f64,
    /// Time of the shadow's plan, milliseconds.
    pub shadow_ms: f64,
    /// When the shadow planned.
    pub at: Timestamp,
}

/// How often a shadow's plans differed, and in what.
#[derive(Debug, Clone, Copy, Default, PartialEq, FromRow)]
pub struct ShadowCounts {
    /// Requests planned.
    pub requests: i64,
    /// Requests on which the two agree.
    pub same: i64,
    /// Requests decided otherwise.
    pub decision: i64,
    /// Requests for which other tools would have been called.
    pub tool: i64,
    /// Requests for which the tools would have been given something else.
    pub arguments: i64,
    /// Requests for which the shadow made no plan.
    pub failed: i64,
    /// Median time of the live plans, milliseconds.
    pub live_ms_p50: f64,
    /// Median time of the shadow's plans, milliseconds.
    pub shadow_ms_p50: f64,
}

impl TenantTx {
    /// Keeps what a shadow would have done with a run, once.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_shadow_plan(
        &mut self,
        model: Uuid,
        plan: &ShadowPlan,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into shadow_plan (tenant_id, model_id, run_id, differs, live, shadow, live_ms,
                                      shadow_ms)
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(model)
        .bind(plan.run)
        .bind(&plan.differs)
        .bind(&plan.live)
        .bind(&plan.shadow)
        .bind(plan.live_ms)
        .bind(plan.shadow_ms)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Counts what a shadow did.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn shadow_counts(&mut self, model: Uuid) -> Result<ShadowCounts, StoreError> {
        Ok(sqlx::query_as(
            "select count(*) as requests,
                    count(*) filter (where differs = 'none') as same,
                    count(*) filter (where differs = 'decision') as decision,
                    count(*) filter (where differs = 'tool') as tool,
                    count(*) filter (where differs = 'arguments') as arguments,
                    count(*) filter (where differs = 'failed') as failed,
                    coalesce(percentile_cont(0.5) within group (order by live_ms), 0) as live_ms_p50,
                    coalesce(percentile_cont(0.5) within group (order by shadow_ms)
                             filter (where differs <> 'failed'), 0) as shadow_ms_p50
             from shadow_plan where tenant_id = $1 and model_id = $2",
        )
        .bind(self.tenant)
        .bind(model)
        .fetch_one(&mut *self.tx)
        .await?)
    }

    /// Lists the newest requests on which a shadow differed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn shadow_differences(
        &mut self,
        model: Uuid,
        limit: u16,
    ) -> Result<Vec<ShadowPlan>, StoreError> {
        type Row = (Uuid, String, String, Value, Value, f64, f64, OffsetDateTime);
        let rows: Vec<Row> = sqlx::query_as(
            "select s.run_id, r.request, s.differs, s.live, s.shadow, s.live_ms, s.shadow_ms,
                    s.created_at
             from shadow_plan s join run r on r.tenant_id = s.tenant_id and r.run_id = s.run_id
             where s.tenant_id = $1 and s.model_id = $2 and s.differs <> 'none'
             order by s.run_id desc limit $3",
        )
        .bind(self.tenant)
        .bind(model)
        .bind(i64::from(limit))
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(run, request, differs, live, shadow, live_ms, shadow_ms, at)| ShadowPlan {
                run,
                request,
                differs,
                live,
                shadow,
                live_ms,
                shadow_ms,
                at: instant(at),
            })
            .collect())
    }
}
