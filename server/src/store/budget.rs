//! Budgets: what a step may cost is reserved before it, in the transaction that announces it, and
//! settled with what it did cost in the transaction that notes its end.
//!
//! A reservation is one conditional update of the span's row, so replicas that reserve at the same
//! time cannot pass the limit together. A step reserves once however often it is begun again.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Noted, RunId, StoreError, TenantTx, instant};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Micro-units of the joint venture's currency, by its prices.
    Money,
    /// Tokens that planners read and write.
    Tokens,
    /// Calls of tools.
    Calls,
    /// Milliseconds of planning and of calls.
    WallMs,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 4] = [Self::Money, Self::Tokens, Self::Calls, Self::WallMs];

    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Tokens => "tokens",
            Self::Calls => "calls",
            Self::WallMs => "wall_ms",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.name() == name)
    }
}

/// Over which span a limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Each run by itself.
    Run,
    /// Each day of the joint venture's time zone.
    Day,
    /// All time.
    Total,
}

impl Period {
    /// Returns the stored and published name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Day => "day",
            Self::Total => "total",
        }
    }

    /// Reads a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Run, Self::Day, Self::Total].into_iter().find(|period| period.name() == name)
    }
}

/// What a step is expected to use, or did use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Tokens.
    pub tokens: i64,
    /// Calls.
    pub calls: i64,
    /// Milliseconds.
    pub wall_ms: i64,
}

/// A budget to be set.
#[derive(Debug, Clone)]
pub struct NewBudget {
    /// Agent that it binds; empty for all.
    pub agent: String,
    /// What is limited.
    pub resource: Resource,
    /// Over which span.
    pub period: Period,
    /// Limit in the resource's unit.
    pub most: i64,
}

/// A budget and how much of its present span is gone.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Identifier.
    pub id: Uuid,
    /// What it limits.
    pub rule: NewBudget,
    /// Used in the present span; of a budget by run, 0.
    pub used: i64,
    /// Reserved in the present span by steps that are under way.
    pub reserved: i64,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What a budget was charged with for what belongs to no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    budget: Uuid,
    span: String,
    resource: Resource,
    amount: i64,
}

/// A step that a budget does not allow.
#[derive(Debug, Clone)]
pub struct Exceeded {
    /// The budget's rule.
    pub rule: NewBudget,
    /// Used and reserved so far.
    pub gone: i64,
    /// What the step asked for.
    pub asked: i64,
}

impl Exceeded {
    /// Says which limit would be passed and what to do.
    pub fn reason(&self) -> String {
        let NewBudget { agent, resource, period, most } = &self.rule;
        let whose = if agent.is_empty() { String::new() } else { format!(" of `{agent}`") };
        let unit = match resource {
            Resource::Money => "micro-units of the currency",
            Resource::Tokens => "tokens",
            Resource::Calls => "calls",
            Resource::WallMs => "ms",
        };
        let span = match period {
            Period::Run => "a run",
            Period::Day => "a day",
            Period::Total => "all time",
        };
        format!(
            "the budget{whose} of {most} {unit} for {span} has {} left and this step needs {}; raise the budget, or wait for the next span",
            (most - self.gone).max(0),
            self.asked
        )
    }
}

/// A price in micro-units of the currency.
#[derive(Debug, Clone, FromRow)]
pub struct Price {
    /// `token` (of 1,000), `second`, `call`, or `call:TOOL`.
    pub item: String,
    /// Micro-units.
    pub micros: i64,
}

#[derive(FromRow)]
struct Row {
    budget_id: Uuid,
    agent: String,
    resource: String,
    period: String,
    most: i64,
    span: String,
    used: i64,
    reserved: i64,
    set_by: String,
    set_at: OffsetDateTime,
}

impl Row {
    fn read(self) -> Result<(String, Budget), StoreError> {
        let damaged =
            |message: &str| StoreError::Damaged { what: "budget", message: message.to_owned() };
        let rule = NewBudget {
            agent: self.agent,
            resource: Resource::of(&self.resource).ok_or_else(|| damaged(&self.resource))?,
            period: Period::of(&self.period).ok_or_else(|| damaged(&self.period))?,
            most: self.most,
        };
        let budget = Budget {
            id: self.budget_id,
            rule,
            used: self.used,
            reserved: self.reserved,
            by: self.set_by,
            at: instant(self.set_at),
        };
        Ok((self.span, budget))
    }
}

/// Returns what a step costs: tokens by the thousand and milliseconds by the second, rounded up.
fn cost(prices: &[Price], tool: Option<&str>, amounts: Amounts) -> i64 {
    let price = |item: &str| prices.iter().find(|price| price.item == item).map(|p| p.micros);
    let share = |micros: i64, amount: i64, whole: i64| {
        let all = i128::from(micros) * i128::from(amount);
        i64::try_from((all + i128::from(whole) - 1) / i128::from(whole)).unwrap_or(i64::MAX)
    };
    let call = tool.and_then(|tool| price(&format!("call:{tool}"))).or_else(|| price("call"));
    share(price("token").unwrap_or(0), amounts.tokens, 1000)
        .saturating_add(share(price("second").unwrap_or(0), amounts.wall_ms, 1000))
        .saturating_add(call.unwrap_or(0).saturating_mul(amounts.calls))
}

fn amount_of(resource: Resource, prices: &[Price], tool: Option<&str>, amounts: Amounts) -> i64 {
    match resource {
        Resource::Money => cost(prices, tool, amounts),
        Resource::Tokens => amounts.tokens,
        Resource::Calls => amounts.calls,
        Resource::WallMs => amounts.wall_ms,
    }
}

impl TenantTx {
    /// Sets a budget; one for the same agent, resource and period is replaced and keeps what is used.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_budget(&mut self, new: &NewBudget, by: &str) -> Result<Uuid, StoreError> {
        let id: Uuid = sqlx::query_scalar(
            "insert into budget (tenant_id, budget_id, agent, resource, period, most, set_by)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (tenant_id, agent, resource, period)
             do update set most = excluded.most, set_by = excluded.set_by, set_at = now()
             returning budget_id",
        )
        .bind(self.tenant)
        .bind(Uuid::now_v7())
        .bind(&new.agent)
        .bind(new.resource.name())
        .bind(new.period.name())
        .bind(new.most)
        .bind(by)
        .fetch_one(&mut *self.tx)
        .await?;
        // A new limit may be used up anew, and is then told anew.
        sqlx::query(
            "update budget_spend set told_at = null
             where tenant_id = $1 and budget_id = $2 and told_at is not null",
        )
        .bind(self.tenant)
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        let detail = json!({
            "budget": id, "agent": new.agent, "resource": new.resource.name(),
            "period": new.period.name(), "limit": new.most,
        });
        self.note_money("budget.set", by, detail).await?;
        Ok(id)
    }

    /// Notes in the audit chain who changed what runs may spend.
    async fn note_money(&mut self, kind: &str, by: &str, detail: Value) -> Result<(), StoreError> {
        self.note(&Noted { kind, subject: by, detail, ..Noted::default() }).await.map(drop)
    }

    /// Removes a budget and what was counted for it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn remove_budget(&mut self, id: Uuid, by: &str) -> Result<(), StoreError> {
        let gone = sqlx::query("delete from budget where tenant_id = $1 and budget_id = $2")
            .bind(self.tenant)
            .bind(id)
            .execute(&mut *self.tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(StoreError::NotFound("budget"));
        }
        self.note_money("budget.removed", by, json!({ "budget": id })).await
    }

    /// Lists the budgets that bind an agent (all of them without one) with the span that a run is in.
    async fn budgets_of(
        &mut self,
        agent: Option<&str>,
        run: Option<RunId>,
    ) -> Result<Vec<(String, Budget)>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select line.budget_id, line.agent, line.resource, line.period, line.most, line.span,
                    coalesce(spend.used, 0) as used, coalesce(spend.reserved, 0) as reserved,
                    line.set_by, line.set_at
             from (select budget.*, case period
                       when 'day' then to_char(now() at time zone tenant.timezone, 'YYYY-MM-DD')
                       when 'run' then coalesce($3::uuid::text, '')
                       else 'total' end as span
                   from budget join tenant using (tenant_id)
                   where budget.tenant_id = $1 and ($2::text is null or agent in ('', $2))) line
             left join budget_spend spend using (tenant_id, budget_id, span)
             order by line.budget_id",
        )
        .bind(self.tenant)
        .bind(agent)
        .bind(run)
        .fetch_all(&mut *self.tx)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Lists the budgets and how much of their present span is gone.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn budgets(&mut self) -> Result<Vec<Budget>, StoreError> {
        let all = self.budgets_of(None, None).await?;
        Ok(all.into_iter().map(|(_, budget)| budget).collect())
    }

    /// Sets a price; `None` removes it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_price(
        &mut self,
        item: &str,
        micros: Option<i64>,
        by: &str,
    ) -> Result<(), StoreError> {
        match micros {
            Some(micros) => {
                sqlx::query(
                    "insert into price (tenant_id, item, micros, set_by) values ($1, $2, $3, $4)
                     on conflict (tenant_id, item) do update
                     set micros = excluded.micros, set_by = excluded.set_by, set_at = now()",
                )
                .bind(self.tenant)
                .bind(item)
                .bind(micros)
                .bind(by)
                .execute(&mut *self.tx)
                .await?
            }
            None => {
                sqlx::query("delete from price where tenant_id = $1 and item = $2")
                    .bind(self.tenant)
                    .bind(item)
                    .execute(&mut *self.tx)
                    .await?
            }
        };
        self.note_money("price.set", by, json!({ "item": item, "micros": micros })).await
    }

    /// Lists the prices.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn prices(&mut self) -> Result<Vec<Price>, StoreError> {
        Ok(sqlx::query_as("select item, micros from price where tenant_id = $1 order by item")
            .bind(self.tenant)
            .fetch_all(&mut *self.tx)
            .await?)
    }

    async fn prices_for(&mut self, budgets: &[(String, Budget)]) -> Result<Vec<Price>, StoreError> {
        let money = budgets.iter().any(|(_, budget)| budget.rule.resource == Resource::Money);
        if money { self.prices().await } else { Ok(Vec::new()) }
    }

    /// Reserves what a step is expected to use from every budget that binds the agent, or says which
    /// one does not allow it; then nothing stays reserved for the step.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn reserve(
        &mut self,
        run: RunId,
        agent: &str,
        (step, tool): (&str, Option<&str>),
        expected: Amounts,
    ) -> Result<Option<Exceeded>, StoreError> {
        let budgets = self.budgets_of(Some(agent), Some(run)).await?;
        let prices = self.prices_for(&budgets).await?;
        for (span, budget) in budgets {
            let asked = amount_of(budget.rule.resource, &prices, tool, expected);
            if self.reserve_one(run, step, &span, &budget, asked).await? {
                continue;
            }
            self.settle(run, (step, tool), Amounts::default()).await?;
            let gone = budget.used + budget.reserved;
            self.tell_exhausted(&span, &budget).await?;
            return Ok(Some(Exceeded { rule: budget.rule, gone, asked }));
        }
        Ok(None)
    }

    async fn reserve_one(
        &mut self,
        run: RunId,
        step: &str,
        span: &str,
        budget: &Budget,
        asked: i64,
    ) -> Result<bool, StoreError> {
        let held = sqlx::query(
            "insert into budget_hold (tenant_id, run_id, step, budget_id, span, amount)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(step)
        .bind(budget.id)
        .bind(span)
        .bind(asked)
        .execute(&mut *self.tx)
        .await?;
        if held.rows_affected() == 0 {
            return Ok(true);
        }
        // The insert alone passes the limit where nothing was spent yet, so it asks as well.
        let reserved = sqlx::query(
            "insert into budget_spend (tenant_id, budget_id, span, reserved)
             select $1::uuid, $2::uuid, $3::text, $4::bigint where $4::bigint <= $5::bigint
             on conflict (tenant_id, budget_id, span) do update
             set reserved = budget_spend.reserved + $4::bigint
             where budget_spend.used + budget_spend.reserved + $4::bigint <= $5::bigint",
        )
        .bind(self.tenant)
        .bind(budget.id)
        .bind(span)
        .bind(asked)
        .bind(budget.rule.most)
        .execute(&mut *self.tx)
        .await?;
        if reserved.rows_affected() == 1 {
            return Ok(true);
        }
        sqlx::query(
            "delete from budget_hold
             where tenant_id = $1 and run_id = $2 and step = $3 and budget_id = $4",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(step)
        .bind(budget.id)
        .execute(&mut *self.tx)
        .await?;
        Ok(false)
    }

    /// Replaces what a step had reserved by what it used. A step that reserved nothing is not counted.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn settle(
        &mut self,
        run: RunId,
        (step, tool): (&str, Option<&str>),
        used: Amounts,
    ) -> Result<(), StoreError> {
        let holds: Vec<(Uuid, String, i64, String)> = sqlx::query_as(
            "delete from budget_hold hold using budget
             where hold.tenant_id = $1 and hold.run_id = $2 and hold.step = $3
               and budget.tenant_id = hold.tenant_id and budget.budget_id = hold.budget_id
             returning hold.budget_id, hold.span, hold.amount, budget.resource",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(step)
        .fetch_all(&mut *self.tx)
        .await?;
        if holds.is_empty() {
            return Ok(());
        }
        let money = holds.iter().any(|(.., resource)| resource == Resource::Money.name());
        let prices = if money { self.prices().await? } else { Vec::new() };
        let mut holds = holds;
        holds.sort();
        for (budget, span, amount, resource) in holds {
            let used = Resource::of(&resource).map_or(0, |r| amount_of(r, &prices, tool, used));
            sqlx::query(
                "update budget_spend set reserved = reserved - $4, used = used + $5
                 where tenant_id = $1 and budget_id = $2 and span = $3",
            )
            .bind(self.tenant)
            .bind(budget)
            .bind(&span)
            .bind(amount)
            .bind(used)
            .execute(&mut *self.tx)
            .await?;
        }
        Ok(())
    }

    /// Charges the budgets of a day and in total for what belongs to no run, before it is used, or says
    /// which one does not allow it; then nothing is charged. [`TenantTx::correct`] replaces it by what was
    /// used.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn charge(
        &mut self,
        agent: &str,
        expected: Amounts,
    ) -> Result<Result<Vec<Charge>, Exceeded>, StoreError> {
        let budgets = self.budgets_of(Some(agent), None).await?;
        let prices = self.prices_for(&budgets).await?;
        let mut charges: Vec<Charge> = Vec::new();
        for (span, budget) in budgets.into_iter().filter(|(_, b)| b.rule.period != Period::Run) {
            let asked = amount_of(budget.rule.resource, &prices, None, expected);
            let charged = sqlx::query(
                "insert into budget_spend (tenant_id, budget_id, span, used)
                 select $1::uuid, $2::uuid, $3::text, $4::bigint where $4::bigint <= $5::bigint
                 on conflict (tenant_id, budget_id, span) do update
                 set used = budget_spend.used + $4::bigint
                 where budget_spend.used + budget_spend.reserved + $4::bigint <= $5::bigint",
            )
            .bind(self.tenant)
            .bind(budget.id)
            .bind(&span)
            .bind(asked)
            .bind(budget.rule.most)
            .execute(&mut *self.tx)
            .await?;
            if charged.rows_affected() == 0 {
                self.correct(&charges, Amounts::default()).await?;
                self.tell_exhausted(&span, &budget).await?;
                let gone = budget.used + budget.reserved;
                return Ok(Err(Exceeded { rule: budget.rule, gone, asked }));
            }
            let resource = budget.rule.resource;
            charges.push(Charge { budget: budget.id, span, resource, amount: asked });
        }
        Ok(Ok(charges))
    }

    /// Tells the endpoints once in each span that a budget allows nothing more.
    async fn tell_exhausted(&mut self, span: &str, budget: &Budget) -> Result<(), StoreError> {
        let first = sqlx::query(
            "insert into budget_spend (tenant_id, budget_id, span, told_at) values ($1, $2, $3, now())
             on conflict (tenant_id, budget_id, span) do update set told_at = now()
             where budget_spend.told_at is null",
        )
        .bind(self.tenant)
        .bind(budget.id)
        .bind(span)
        .execute(&mut *self.tx)
        .await?;
        if first.rows_affected() == 0 {
            return Ok(());
        }
        let rule = &budget.rule;
        let told = json!({
            "object": "budget", "id": budget.id, "agent": rule.agent, "resource": rule.resource.name(),
            "period": rule.period.name(), "span": span, "limit": rule.most,
            "used": budget.used, "reserved": budget.reserved,
        });
        self.publish("budget.exhausted", &budget.id.to_string(), &told).await.map(drop)
    }

    /// Replaces what was charged by what was used.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn correct(&mut self, charges: &[Charge], used: Amounts) -> Result<(), StoreError> {
        let money = charges.iter().any(|charge| charge.resource == Resource::Money);
        let prices = if money { self.prices().await? } else { Vec::new() };
        for charge in charges {
            let used = amount_of(charge.resource, &prices, None, used);
            sqlx::query(
                "update budget_spend set used = greatest(0, used + $4)
                 where tenant_id = $1 and budget_id = $2 and span = $3",
            )
            .bind(self.tenant)
            .bind(charge.budget)
            .bind(&charge.span)
            .bind(used - charge.amount)
            .execute(&mut *self.tx)
            .await?;
        }
        Ok(())
    }

    /// Frees what a run that has ended still holds, and forgets what it spent of budgets by run.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(super) async fn release_budget(&mut self, run: RunId) -> Result<(), StoreError> {
        let bound: bool =
            sqlx::query_scalar("select exists (select from budget where tenant_id = $1)")
                .bind(self.tenant)
                .fetch_one(&mut *self.tx)
                .await?;
        if !bound {
            return Ok(());
        }
        sqlx::query(
            "with freed as (
                 delete from budget_hold where tenant_id = $1 and run_id = $2
                 returning budget_id, span, amount)
             update budget_spend spend set reserved = spend.reserved - freed.amount
             from (select budget_id, span, sum(amount)::bigint as amount from freed
                   group by budget_id, span) freed
             where spend.tenant_id = $1 and spend.budget_id = freed.budget_id
               and spend.span = freed.span",
        )
        .bind(self.tenant)
        .bind(run)
        .execute(&mut *self.tx)
        .await?;
        sqlx::query("delete from budget_spend where tenant_id = $1 and span = $2")
            .bind(self.tenant)
            .bind(run.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(item: &str, micros: i64) -> Price {
        Price { item: item.to_owned(), micros }
    }

    #[test]
    fn money_is_counted_by_the_thousand_tokens_the_second_and_the_tool() {
        let prices =
            [price("token", 2_000), price("second", 10), price("call", 5), price("call:x", 700)];
        let amounts = Amounts { tokens: 1500, calls: 1, wall_ms: 100 };
        assert_eq!(cost(&prices, Some("x"), amounts), 3_000 + 1 + 700);
        assert_eq!(cost(&prices, Some("y"), amounts), 3_000 + 1 + 5);
        assert_eq!(cost(&[], Some("x"), amounts), 0);
        let most = Amounts { tokens: i64::MAX, calls: i64::MAX, wall_ms: 0 };
        assert_eq!(cost(&prices, Some("x"), most), i64::MAX, "a sum must not wrap");
    }
}
