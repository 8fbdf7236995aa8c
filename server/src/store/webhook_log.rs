//! The log of deliveries: what was sent to whom, what came back, and sending it again.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{StoreError, TenantTx, WEBHOOKS, instant};

/// Most deliveries that one replay sends.
const MAX_REPLAY: i64 = 10_000;

/// A delivery of an event to an endpoint.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub event: Uuid,
    /// Its type.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// `pending`, `delivered`, `failed` or `held`.
    pub state: String,
    /// Attempts of the present round.
    pub attempts: i32,
    /// Status of the last answer.
    pub last_status: Option<i32>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When the event was written.
    pub created_at: Timestamp,
    /// When it got through or was given up.
    pub finished_at: Option<Timestamp>,
    /// When it is tried next.
    pub next_at: Option<Timestamp>,
}

/// An attempt as it was made.
#[derive(Debug, Clone)]
pub struct LoggedAttempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, milliseconds.
    pub ms: i32,
    /// Status of the answer.
    pub status: Option<i32>,
    /// Why it does not count.
    pub error: Option<String>,
    /// Address and headers that were sent.
    pub request: Value,
    /// Headers of the answer.
    pub response_headers: Option<Value>,
    /// Its body.
    pub response_body: Option<String>,
}

/// What is sent again.
#[derive(Debug, Clone, Copy)]
pub enum Replay {
    /// One event.
    Event(Uuid),
    /// The events written in a span of time.
    Span {
        /// From this instant.
        from: Timestamp,
        /// Before this one.
        to: Timestamp,
        /// Only what did not get through.
        failed_only: bool,
    },
}

#[derive(FromRow)]
struct DeliveryRow {
    event_id: Uuid,
    kind: String,
    subject: String,
    state: String,
    attempts: i32,
    last_status: Option<i32>,
    last_error: Option<String>,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
    next_at: Option<OffsetDateTime>,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            event: row.event_id,
            kind: row.kind,
            subject: row.subject,
            state: row.state,
            attempts: row.attempts,
            last_status: row.last_status,
            last_error: row.last_error,
            created_at: instant(row.created_at),
            finished_at: row.finished_at.map(instant),
            next_at: row.next_at.map(instant),
        }
    }
}

#[derive(FromRow)]
struct AttemptRow {
    at: OffsetDateTime,
    ms: i32,
    status: Option<i32>,
    error: Option<String>,
    request: Value,
    response_headers: Option<Value>,
    response_body: Option<String>,
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

impl TenantTx {
    /// Lists the deliveries of an endpoint, newest first, after `cursor`; of one state on demand.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn deliveries(
        &mut self,
        endpoint: Uuid,
        state: Option<&str>,
        cursor: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows: Vec<DeliveryRow> = sqlx::query_as(
            "select d.event_id, e.type as kind, e.subject, d.state, d.attempts, d.last_status,
                    d.last_error, e.created_at, d.finished_at, q.ready_at as next_at
             from webhook_delivery d
             join webhook_event e on e.tenant_id = $1 and e.event_id = d.event_id
             left join webhook_queue q on q.tenant_id = $1 and q.endpoint_id = d.endpoint_id
                                      and q.event_id = d.event_id
             where d.tenant_id = $1 and d.endpoint_id = $2 and ($3::text is null or d.state = $3)
               and ($4::uuid is null or d.event_id < $4)
             order by d.event_id desc limit $5",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .bind(state)
        .bind(cursor)
        .bind(limit)
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(rows.into_iter().map(Delivery::from).collect())
    }

    /// Returns a delivery with the body that is sent and its attempts, newest first, 50 at most.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delivery(
        &mut self,
        endpoint: Uuid,
        event: Uuid,
    ) -> Result<(Delivery, String, Vec<LoggedAttempt>), StoreError> {
        // The cursor of a list is exclusive; the next identifier makes it inclusive.
        let next = Uuid::from_u128(event.as_u128().saturating_add(1));
        let found = self.deliveries(endpoint, None, Some(next), 1).await?;
        let found = found.into_iter().find(|delivery| delivery.event == event);
        let delivery = found.ok_or(StoreError::NotFound("delivery"))?;
        let body: String = sqlx::query_scalar(
            "select body from webhook_event where tenant_id = $1 and event_id = $2",
        )
        .bind(self.tenant)
        .bind(event)
        .fetch_one(&mut *self.tx)
        .await?;
        let rows: Vec<AttemptRow> = sqlx::query_as(
            "select at, ms, status, error, request, response_headers, response_body
             from webhook_attempt where tenant_id = $1 and endpoint_id = $2 and event_id = $3
             order by attempt_id desc limit 50",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .bind(event)
        .fetch_all(&mut *self.tx)
        .await?;
        let read = |row: AttemptRow| LoggedAttempt {
            at: instant(row.at),
            ms: row.ms,
            status: row.status,
            error: row.error,
            request: row.request,
            response_headers: row.response_headers,
            response_body: row.response_body,
        };
        Ok((delivery, body, rows.into_iter().map(read).collect()))
    }

    /// Sends deliveries again, with the identifier and the body that they had. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ the endpoint is disabled; [`StoreError::NotFound`] ⇐ it never had
    /// this event.
    pub async fn replay(&mut self, endpoint: Uuid, replay: Replay) -> Result<u64, StoreError> {
        if !self.endpoint(endpoint).await?.enabled {
            let message = "the endpoint is disabled; enable it first, which sends what was held";
            return Err(StoreError::Conflict(message.to_owned()));
        }
        // An attempt in hand is fenced off below: what it comes to does not end the new round.
        let (event, from, to, failed_only) = match replay {
            Replay::Event(event) => (Some(event), 0.0, f64::MAX, false),
            Replay::Span { from, to, failed_only } => {
                (None, seconds(from), seconds(to), failed_only)
            }
        };
        let queued = sqlx::query(
            "with again as (
                 update webhook_delivery set state = 'pending', attempts = 0, finished_at = null
                 where tenant_id = $1 and endpoint_id = $2 and event_id in (
                     select d.event_id from webhook_delivery d
                     join webhook_event e on e.tenant_id = $1 and e.event_id = d.event_id
                     where d.tenant_id = $1 and d.endpoint_id = $2
                       and ($3::uuid is null or d.event_id = $3)
                       and extract(epoch from e.created_at) >= $4
                       and extract(epoch from e.created_at) < $5
                       and (not $6 or d.state <> 'delivered')
                     order by d.event_id limit $7)
                 returning event_id)
             insert into webhook_queue (tenant_id, endpoint_id, event_id)
             select $1, $2, event_id from again
             on conflict (tenant_id, endpoint_id, event_id)
             do update set ready_at = now(), taken = webhook_queue.taken + 1",
        )
        .bind(self.tenant)
        .bind(endpoint)
        .bind(event)
        .bind(from)
        .bind(to)
        .bind(failed_only)
        .bind(MAX_REPLAY)
        .execute(&mut *self.tx)
        .await?;
        self.wake(WEBHOOKS);
        if event.is_some() && queued.rows_affected() == 0 {
            return Err(StoreError::NotFound("delivery"));
        }
        Ok(queued.rows_affected())
    }
}
