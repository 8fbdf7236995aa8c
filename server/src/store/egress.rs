//! Hosts that a joint venture may reach, and what was refused.

use jiff::Timestamp;
use sqlx::FromRow;
use time::OffsetDateTime;

use super::{StoreError, TenantTx, instant};

/// Most rules of a joint venture.
const MAX_RULES: i64 = 200;

/// A host that a joint venture may reach.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct EgressRule {
    /// `only`: when there are any, nothing else is reached; `private`: allowed although it is inside.
    pub kind: String,
    /// The host, as [`crate::egress::Pattern`] shows it.
    pub pattern: String,
    /// Who decided.
    pub decided_by: String,
}

/// Requests that were refused on one day for one reason.
#[derive(Debug, Clone)]
pub struct EgressRefusal {
    /// What they were for: `webhook`, `teacher`, …
    pub purpose: String,
    /// Host; empty where the address had none.
    pub host: String,
    /// Why, as [`crate::egress::Refusal`] codes it.
    pub code: String,
    /// How many.
    pub count: i64,
    /// The first of the day.
    pub first_at: Timestamp,
    /// The last of the day.
    pub last_at: Timestamp,
}

#[derive(FromRow)]
struct RefusalRow {
    purpose: String,
    host: String,
    code: String,
    count: i64,
    first_at: OffsetDateTime,
    last_at: OffsetDateTime,
}

impl TenantTx {
    /// Returns the rules, in order of kind and pattern.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn egress_rules(&mut self) -> Result<Vec<EgressRule>, StoreError> {
        Ok(sqlx::query_as(
            "select kind, pattern, decided_by from egress_rule where tenant_id = $1
             order by kind, pattern",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Adds a rule; one that is there stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ there are 200 already.
    pub async fn add_egress_rule(
        &mut self,
        kind: &str,
        pattern: &str,
        by: &str,
    ) -> Result<(), StoreError> {
        let count: i64 =
            sqlx::query_scalar("select count(*) from egress_rule where tenant_id = $1")
                .bind(self.tenant)
                .fetch_one(&mut *self.tx)
                .await?;
        if count >= MAX_RULES {
            let message = format!("there are {MAX_RULES} hosts already; remove one first");
            return Err(StoreError::Conflict(message));
        }
        sqlx::query(
            "insert into egress_rule (tenant_id, kind, pattern, decided_by) values ($1, $2, $3, $4)
             on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(kind)
        .bind(pattern)
        .bind(by)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_egress_rule(
        &mut self,
        kind: &str,
        pattern: &str,
    ) -> Result<(), StoreError> {
        let gone = sqlx::query(
            "delete from egress_rule where tenant_id = $1 and kind = $2 and pattern = $3",
        )
        .bind(self.tenant)
        .bind(kind)
        .bind(pattern)
        .execute(&mut *self.tx)
        .await?;
        if gone.rows_affected() == 0 { Err(StoreError::NotFound("host")) } else { Ok(()) }
    }

    /// Counts a refusal.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_egress_refusal(
        &mut self,
        purpose: &str,
        host: &str,
        code: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into egress_refusal (tenant_id, purpose, host, code) values ($1, $2, $3, $4)
             on conflict (tenant_id, day, purpose, host, code)
             do update set count = egress_refusal.count + 1, last_at = now()",
        )
        .bind(self.tenant)
        .bind(purpose)
        .bind(host)
        .bind(code)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns the newest refusals.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn egress_refusals(&mut self) -> Result<Vec<EgressRefusal>, StoreError> {
        let rows: Vec<RefusalRow> = sqlx::query_as(
            "select purpose, host, code, count, first_at, last_at from egress_refusal
             where tenant_id = $1 order by last_at desc limit 100",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?;
        let read = |row: RefusalRow| EgressRefusal {
            purpose: row.purpose,
            host: row.host,
            code: row.code,
            count: row.count,
            first_at: instant(row.first_at),
            last_at: instant(row.last_at),
        };
        Ok(rows.into_iter().map(read).collect())
    }
}
