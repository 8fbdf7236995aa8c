//! The outbox: events are written in the transaction of what they tell, with a delivery for each
//! endpoint that wants them, and leave from a queue.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{RunId, Store, StoreError, TenantId, TenantTx};

/// The run of a [`super::Wake`] that is about webhooks and no run.
pub const WEBHOOKS: RunId = Uuid::nil();

/// Types of events that leave, with what each tells.
pub const EVENT_TYPES: [(&str, &str); 19] = [
    ("run.completed", "a run ended with an answer"),
    ("run.refused", "a run ended without a call"),
    ("run.failed", "a run ended with an error"),
    ("run.cancelled", "a run was cancelled"),
    ("run.requires_action", "a run waits for input, or for what a person found out"),
    ("approval.requested", "a call waits for a person"),
    ("approval.resolved", "a person decided on a call"),
    ("outcome.recorded", "observations came in"),
    ("outcome.experiment_started", "an experiment was frozen and runs"),
    ("outcome.experiment_ended", "an experiment ended"),
    ("outcome.settled", "a statement or a credit note was made"),
    ("outcome.countersigned", "a party signed a statement"),
    ("outcome.disputed", "a party disputes a statement"),
    ("outcome.dispute_decided", "a dispute was settled or rejected"),
    ("budget.exhausted", "a budget is used up"),
    ("model.promoted", "another planner plans from now on"),
    ("model.rolled_back", "the planner before plans again"),
    ("webhook.endpoint_disabled", "an endpoint is not sent to any more"),
    ("webhook.test", "somebody tests an endpoint"),
];

/// Returns the type under which an event of a journal leaves.
fn told(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "run.answered" => "run.completed",
        "run.refused" => "run.refused",
        "run.failed" => "run.failed",
        "run.cancelled" => "run.cancelled",
        "run.asked" | "outcome.unknown" => "run.requires_action",
        "approval.requested" => "approval.requested",
        "approval.decided" => "approval.resolved",
        _ => return None,
    })
}

/// Returns what of an event of a journal leaves. Thin: receivers read the rest over the API, where
/// it is asked who they are.
fn thin(run: RunId, payload: &Value) -> Value {
    let mut data = json!({ "id": run, "object": "run" });
    for name in ["code", "tool", "index", "because", "approved", "by", "arguments_sha256"] {
        if let (Some(value), Some(data)) = (payload.get(name), data.as_object_mut()) {
            data.insert(name.to_owned(), value.clone());
        }
    }
    data
}

/// A delivery that a worker has taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The event.
    pub event: Uuid,
    /// Fencing token.
    pub taken: i32,
    /// Attempts of this round that failed.
    pub attempts: i32,
    /// The body, as it is signed.
    pub body: String,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It got through.
    Delivered,
    /// It is tried again after this long.
    Again(Duration),
    /// It was the last.
    Failed,
}

impl Settled {
    /// Returns the state of the delivery.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again(_) => "pending",
            Self::Failed => "failed",
        }
    }
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The event.
    pub event: Uuid,
    /// Fencing token of the delivery.
    pub taken: i32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, milliseconds.
    pub ms: i32,
    /// Status of the answer.
    pub status: Option<i32>,
    /// Why there is none, or why it does not count.
    pub error: Option<String>,
    /// Address and headers that were sent.
    pub request: Value,
    /// Headers of the answer.
    pub response_headers: Option<Value>,
    /// Its body, at most 16 KiB.
    pub response_body: Option<String>,
    /// What follows.
    pub settled: Settled,
}

impl Store {
    /// Returns the endpoints for which something is due, by a clock that is `shift` seconds ahead.
    ///
    /// Walks from endpoint to endpoint in the index, so that one with a long queue costs as much as any.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn due_endpoints(&self, shift: f64) -> Result<Vec<(TenantId, Uuid)>, StoreError> {
        Ok(sqlx::query_as(
            "with recursive seen as (
                 (select tenant_id, endpoint_id from webhook_queue
                  order by tenant_id, endpoint_id limit 1)
                 union all
                 select next.tenant_id, next.endpoint_id from seen, lateral (
                     select q.tenant_id, q.endpoint_id from webhook_queue q
                     where (q.tenant_id, q.endpoint_id) > (seen.tenant_id, seen.endpoint_id)
                     order by q.tenant_id, q.endpoint_id limit 1) next)
             select tenant_id, endpoint_id from seen where exists (
                 select from webhook_queue q
                 where q.tenant_id = seen.tenant_id and q.endpoint_id = seen.endpoint_id
                   and q.ready_at <= now() + make_interval(secs => $1))",
        )
        .bind(shift)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Counts the deliveries that wait, and how long the oldest has been due, seconds.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn outbox_depth(&self) -> Result<(i64, f64), StoreError> {
        Ok(sqlx::query_as(
            "select count(*), coalesce(extract(epoch from now() - min(ready_at))::float8, 0)
             from webhook_queue where ready_at <= now()",
        )
        .fetch_one(&self.pool)
        .await?)
    }
}

impl TenantTx {
    /// Tells the endpoints what happened to a run, where an event of its journal is one that leaves.
    pub(super) async fn tell(
        &mut self,
        run: RunId,
        kind: &str,
        payload: &Value,
    ) -> Result<(), StoreError> {
        match told(kind) {
            Some(told) => self.publish(told, &run.to_string(), &thin(run, payload)).await.map(drop),
            None => Ok(()),
        }
    }

    /// Writes an event and a delivery for each endpoint that wants it; `None` when none does. It leaves
    /// if and only if this transaction is committed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn publish(
        &mut self,
        kind: &str,
        subject: &str,
        data: &Value,
    ) -> Result<Option<Uuid>, StoreError> {
        // The lock lets others publish, and keeps the endpoint from being deleted in between.
        let wanting: Vec<(Uuid, bool)> = sqlx::query_as(
            "select endpoint_id, enabled from webhook_endpoint
             where tenant_id = $1 and coalesce(disabled_because, '') <> 'gone'
               and (events = '{}' or exists (
                   select from unnest(events) wanted
                   where wanted = $2
                      or (right(wanted, 2) = '.*'
                          and starts_with($2, left(wanted, length(wanted) - 1)))))
             order by endpoint_id for key share",
        )
        .bind(self.tenant)
        .bind(kind)
        .fetch_all(&mut *self.tx)
        .await?;
        if wanting.is_empty() {
            return Ok(None);
        }
        let event = self.write_event(kind, subject, data).await?;
        for enabled in [true, false] {
            let endpoints: Vec<Uuid> =
                wanting.iter().filter(|(_, is)| *is == enabled).map(|(id, _)| *id).collect();
            self.deliver(event, &endpoints, enabled).await?;
        }
        Ok(Some(event))
    }

    /// Writes an event for one endpoint, whatever it wants.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn publish_to(
        &mut self,
        endpoint: Uuid,
        kind: &str,
        data: &Value,
    ) -> Result<Uuid, StoreError> {
        let enabled = self.endpoint(endpoint).await?.enabled;
        let event = self.write_event(kind, &endpoint.to_string(), data).await?;
        self.deliver(event, &[endpoint], enabled).await?;
        Ok(event)
    }

    async fn write_event(
        &mut self,
        kind: &str,
        subject: &str,
        data: &Value,
    ) -> Result<Uuid, StoreError> {
        let (event, now) = (Uuid::now_v7(), Timestamp::now());
        let body = json!({
            "id": event_name(event), "object": "event", "type": kind, "timestamp": now.to_string(),
            "created_at": now.as_second(), "data": data,
        });
        sqlx::query(
            "insert into webhook_event (tenant_id, event_id, type, subject, body)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(self.tenant)
        .bind(event)
        .bind(kind)
        .bind(subject)
        .bind(body.to_string())
        .execute(&mut *self.tx)
        .await?;
        Ok(event)
    }

    async fn deliver(
        &mut self,
        event: Uuid,
        endpoints: &[Uuid],
        enabled: bool,
    ) -> Result<(), StoreError> {
        if endpoints.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into webhook_delivery (tenant_id, endpoint_id, event_id, state)
             select $1, id, $2, $4 from unnest($3::uuid[]) id",
        )
        .bind(self.tenant)
        .bind(event)
        .bind(endpoints)
        .bind(if enabled { "pending" } else { "held" })
        .execute(&mut *self.tx)
        .await?;
        if !enabled {
            return Ok(());
        }
        sqlx::query(
            "insert into webhook_queue (tenant_id, endpoint_id, event_id)
             select $1, id, $2 from unnest($3::uuid[]) id",
        )
        .bind(self.tenant)
        .bind(event)
        .bind(endpoints)
        .execute(&mut *self.tx)
        .await?;
        self.wake(WEBHOOKS);
        Ok(())
    }

    /// Takes up to `limit` due deliveries of an endpoint for `lease`; of an ordered one only the oldest,
    /// and only when it is due.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_deliveries(
        &mut self,
        endpoint: Uuid,
        ordered: bool,
        limit: i64,
        lease: Duration,
        shift: f64,
    ) -> Result<Vec<Taken>, StoreError> {
        let chosen = if ordered {
            "(select event_id from webhook_queue where tenant_id = $1 and endpoint_id = $2
              order by event_id limit least($4, 1))"
        } else {
            "(select event_id from webhook_queue where tenant_id = $1 and endpoint_id = $2
                and ready_at <= now() + make_interval(secs => $5)
              order by ready_at, event_id limit $4 for update skip locked)"
        };
        let statement = format!(
            "with mine as (
                 update webhook_queue set taken = taken + 1,
                        ready_at = now() + make_interval(secs => $5 + $3)
                 where tenant_id = $1 and endpoint_id = $2 and event_id in {chosen}
                   and ready_at <= now() + make_interval(secs => $5)
                 returning event_id, taken)
             select mine.event_id, mine.taken, d.attempts, e.body from mine
             join webhook_delivery d on d.tenant_id = $1 and d.endpoint_id = $2
                                    and d.event_id = mine.event_id
             join webhook_event e on e.tenant_id = $1 and e.event_id = mine.event_id
             order by mine.event_id"
        );
        let rows: Vec<(Uuid, i32, i32, String)> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(self.tenant)
            .bind(endpoint)
            .bind(lease.as_secs_f64())
            .bind(limit)
            .bind(shift)
            .fetch_all(&mut *self.tx)
            .await?;
        let read = |(event, taken, attempts, body)| Taken { event, taken, attempts, body };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Notes attempts and what follows from each, unless another worker has taken the delivery since.
    /// Returns since when nothing got through to the endpoint.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn settle_deliveries(
        &mut self,
        endpoint: Uuid,
        attempts: &[Attempt],
        shift: f64,
    ) -> Result<Option<Timestamp>, StoreError> {
        for attempt in attempts {
            self.write_attempt(endpoint, attempt).await?;
        }
        let events: Vec<Uuid> = attempts.iter().map(|a| a.event).collect();
        let taken: Vec<i32> = attempts.iter().map(|a| a.taken).collect();
        let statuses: Vec<Option<i32>> = attempts.iter().map(|a| a.status).collect();
        let errors: Vec<Option<String>> = attempts.iter().map(|a| a.error.clone()).collect();
        let states: Vec<&str> = attempts.iter().map(|a| a.settled.name()).collect();
        let waits: Vec<f64> = attempts
            .iter()
            .map(|a| match a.settled {
                Settled::Again(wait) => wait.as_secs_f64(),
                Settled::Delivered | Settled::Failed => 0.0,
            })
            .collect();
        sqlx::query(
            "with settled as (
                 select * from unnest($3::uuid[], $4::int[], $5::text[], $6::float8[], $7::int[], $8::text[])
                     as t (event_id, taken, state, wait, status, error)),
             gone as (
                 delete from webhook_queue q using settled s
                 where q.tenant_id = $1 and q.endpoint_id = $2 and q.event_id = s.event_id
                   and q.taken = s.taken and s.state <> 'pending' returning q.event_id),
             later as (
                 update webhook_queue q set ready_at = now() + make_interval(secs => $9 + s.wait)
                 from settled s
                 where q.tenant_id = $1 and q.endpoint_id = $2 and q.event_id = s.event_id
                   and q.taken = s.taken and s.state = 'pending' returning q.event_id)
             update webhook_delivery d
             set state = s.state, attempts = d.attempts + 1, last_status = s.status, last_error = s.error,
                 finished_at = case when s.state <> 'pending' then now() end
             from settled s
             where d.tenant_id = $1 and d.endpoint_id = $2 and d.event_id = s.event_id
               and d.event_id in (select event_id from gone union all select event_id from later)",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .bind(&events)
        .bind(&taken)
        .bind(&states)
        .bind(&waits)
        .bind(&statuses)
        .bind(&errors)
        .bind(shift)
        .execute(&mut *self.tx)
        .await?;
        let through = attempts.iter().any(|a| a.settled == Settled::Delivered);
        self.note_health(endpoint, through, shift).await
    }

    async fn write_attempt(&mut self, endpoint: Uuid, made: &Attempt) -> Result<(), StoreError> {
        // An endpoint that was deleted meanwhile has no log any more.
        sqlx::query(
            "insert into webhook_attempt (tenant_id, endpoint_id, event_id, attempt_id, at, ms, status,
                                          error, request, response_headers, response_body)
             select $1, $2, $3, $4, to_timestamp($5), $6, $7, $8, $9, $10, $11
             where exists (select from webhook_delivery
                           where tenant_id = $1 and endpoint_id = $2 and event_id = $3)",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .bind(made.event)
        .bind(Uuid::now_v7())
        .bind(made.at.as_duration().as_secs_f64())
        .bind(made.ms)
        .bind(made.status)
        .bind(&made.error)
        .bind(&made.request)
        .bind(&made.response_headers)
        .bind(&made.response_body)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    async fn note_health(
        &mut self,
        endpoint: Uuid,
        through: bool,
        shift: f64,
    ) -> Result<Option<Timestamp>, StoreError> {
        let changed = if through {
            "update webhook_endpoint set failing_since = null
             where tenant_id = $1 and endpoint_id = $2 and failing_since is not null and $3 >= 0"
        } else {
            "update webhook_endpoint set failing_since = now() + make_interval(secs => $3)
             where tenant_id = $1 and endpoint_id = $2 and failing_since is null"
        };
        sqlx::query(changed)
            .bind(self.tenant)
            .bind(endpoint)
            .bind(shift)
            .execute(&mut *self.tx)
            .await?;
        let since: Option<Option<time::OffsetDateTime>> = sqlx::query_scalar(
            "select failing_since from webhook_endpoint where tenant_id = $1 and endpoint_id = $2",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .fetch_optional(&mut *self.tx)
        .await?;
        Ok(since.flatten().map(super::instant))
    }

    /// Deletes events that are older than `days` and wait for nothing, with their deliveries and
    /// attempts, and the payloads of what came in before that.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn prune_webhooks(&mut self, days: i32) -> Result<u64, StoreError> {
        let gone = sqlx::query(
            "delete from webhook_event e
             where tenant_id = $1 and created_at < now() - make_interval(days => $2)
               and not exists (select from webhook_delivery d
                               where d.tenant_id = $1 and d.event_id = e.event_id
                                 and d.state = 'pending')",
        )
        .bind(self.tenant)
        .bind(days)
        .execute(&mut *self.tx)
        .await?;
        for statement in [
            // The identifier stays, so that a message is never taken twice.
            "update webhook_inbound set payload = ''
             where tenant_id = $1 and received_at < now() - make_interval(days => $2) and payload <> ''",
            "delete from egress_refusal
             where tenant_id = $1 and last_at < now() - make_interval(days => $2)",
        ] {
            sqlx::query(statement).bind(self.tenant).bind(days).execute(&mut *self.tx).await?;
        }
        Ok(gone.rows_affected())
    }
}

/// Returns the identifier of an event as receivers see it, the same on every attempt.
pub fn event_name(event: Uuid) -> String {
    format!("evt_{}", event.simple())
}
