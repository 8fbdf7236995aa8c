//! Who decides on approvals: votes, a joint venture's own rules, delegations, and signed links.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{RunId, StoreError, TenantTx, instant};

/// One person's decision.
#[derive(Debug, Clone, FromRow)]
pub struct Vote {
    /// Who decided, as the platform tells actors apart.
    pub voter: String,
    /// Who decided, for people.
    pub subject: String,
    /// Whose right was used: the voter's own or a delegator's.
    pub authority: String,
    /// Role in which it was decided.
    pub role: String,
    /// True when approved.
    pub approved: bool,
    /// Reason given.
    pub reason: String,
    /// `api`, `page` or `link`.
    pub via: String,
    /// Hash of what was decided upon.
    pub binding_sha256: String,
}

/// A rule of a joint venture: above a value of an argument certain roles, or two people.
#[derive(Debug, Clone, FromRow)]
pub struct ApprovalRule {
    /// Identifier.
    #[sqlx(rename = "rule_id")]
    pub id: Uuid,
    /// Tool that it is about; empty for any.
    pub tool: String,
    /// Argument that is compared; empty for none, the rule then always holds.
    pub argument: String,
    /// Largest value for which the rule does not hold, a decimal.
    pub above: String,
    /// Roles that may decide; empty for those of the pack.
    pub roles: Vec<String>,
    /// How many different people must approve.
    pub needed: i32,
    /// Who set it.
    pub set_by: String,
}

/// A right to approve that somebody gave to somebody else for a time.
#[derive(Debug, Clone)]
pub struct Delegation {
    /// Identifier.
    pub id: Uuid,
    /// Who gave it.
    pub giver: String,
    /// Who gave it, for people.
    pub giver_subject: String,
    /// Role of the giver when it was given.
    pub giver_role: String,
    /// Who has it.
    pub taker: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub ends_at: Timestamp,
}

impl TenantTx {
    /// Notes who asked for a run.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_asked_by(&mut self, run: RunId, actor: &str) -> Result<(), StoreError> {
        sqlx::query(
            "update run set asked_by = $3 where tenant_id = $1 and run_id = $2 and asked_by = ''",
        )
        .bind(self.tenant)
        .bind(run)
        .bind(actor)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Returns who asked for a run; empty where nobody noted it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's run.
    pub async fn asked_by(&mut self, run: RunId) -> Result<String, StoreError> {
        sqlx::query_scalar("select asked_by from run where tenant_id = $1 and run_id = $2")
            .bind(self.tenant)
            .bind(run)
            .fetch_optional(&mut *self.tx)
            .await?
            .ok_or(StoreError::NotFound("run"))
    }

    /// Notes a decision; the same person, or the same right, decides once.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ decided already.
    pub async fn add_vote(&mut self, approval: Uuid, vote: &Vote) -> Result<(), StoreError> {
        let made = sqlx::query(
            "insert into approval_vote (tenant_id, approval_id, voter, subject, authority, role,
                                        approved, reason, via, binding_sha256)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(approval)
        .bind(&vote.voter)
        .bind(&vote.subject)
        .bind(&vote.authority)
        .bind(&vote.role)
        .bind(vote.approved)
        .bind(&vote.reason)
        .bind(&vote.via)
        .bind(&vote.binding_sha256)
        .execute(&mut *self.tx)
        .await?;
        if made.rows_affected() == 1 {
            return Ok(());
        }
        let message = "you, or the person whose right you use, decided on this already; another person must decide";
        Err(StoreError::Conflict(message.to_owned()))
    }

    /// Returns the decisions on an approval, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn votes(&mut self, approval: Uuid) -> Result<Vec<Vote>, StoreError> {
        Ok(sqlx::query_as(
            "select voter, subject, authority, role, approved, reason, via, binding_sha256
             from approval_vote where tenant_id = $1 and approval_id = $2 order by decided_at, voter",
        )
        .bind(self.tenant)
        .bind(approval)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Adds a rule and returns its identifier.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ a value that the schema refuses.
    pub async fn add_approval_rule(&mut self, rule: &ApprovalRule) -> Result<Uuid, StoreError> {
        let id = Uuid::now_v7();
        sqlx::query(
            "insert into approval_rule (tenant_id, rule_id, tool, argument, above, roles, needed, set_by)
             values ($1, $2, $3, $4, $5::text::numeric, $6, $7, $8)",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(&rule.tool)
        .bind(&rule.argument)
        .bind(&rule.above)
        .bind(&rule.roles)
        .bind(rule.needed)
        .bind(&rule.set_by)
        .execute(&mut *self.tx)
        .await?;
        Ok(id)
    }

    /// Lists the rules, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn approval_rules(&mut self) -> Result<Vec<ApprovalRule>, StoreError> {
        Ok(sqlx::query_as(
            "select rule_id, tool, argument, above::text as above, roles, needed, set_by
             from approval_rule where tenant_id = $1 order by rule_id",
        )
        .bind(self.tenant)
        .fetch_all(&mut *self.tx)
        .await?)
    }

    /// Takes a rule away.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent or another tenant's.
    pub async fn remove_approval_rule(&mut self, rule: Uuid) -> Result<(), StoreError> {
        let gone = sqlx::query("delete from approval_rule where tenant_id = $1 and rule_id = $2")
            .bind(self.tenant)
            .bind(rule)
            .execute(&mut *self.tx)
            .await?;
        if gone.rows_affected() == 0 { Err(StoreError::NotFound("rule")) } else { Ok(()) }
    }

    /// Gives a right to approve to somebody else, for `hours`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn delegate(
        &mut self,
        (giver, subject, role): (&str, &str, &str),
        taker: &str,
        reason: &str,
        hours: u16,
    ) -> Result<Uuid, StoreError> {
        let id = Uuid::now_v7();
        sqlx::query(
            "insert into approval_delegation (tenant_id, delegation_id, giver, giver_subject,
                                              giver_role, taker, reason, ends_at)
             values ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(hours => $8))",
        )
        .bind(self.tenant)
        .bind(id)
        .bind(giver)
        .bind(subject)
        .bind(role)
        .bind(taker)
        .bind(reason)
        .bind(i32::from(hours))
        .execute(&mut *self.tx)
        .await?;
        Ok(id)
    }

    /// Lists the delegations that hold now; of one taker, or of all.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn delegations(
        &mut self,
        taker: Option<&str>,
    ) -> Result<Vec<Delegation>, StoreError> {
        type Row = (Uuid, String, String, String, String, String, OffsetDateTime);
        let rows: Vec<Row> = sqlx::query_as(
            "select delegation_id, giver, giver_subject, giver_role, taker, reason, ends_at
             from approval_delegation
             where tenant_id = $1 and ($2::text is null or taker = $2) and ended_at is null
               and ends_at > now()
             order by delegation_id",
        )
        .bind(self.tenant)
        .bind(taker)
        .fetch_all(&mut *self.tx)
        .await?;
        let read =
            rows.into_iter().map(|(id, giver, giver_subject, giver_role, taker, reason, ends)| {
                Delegation {
                    id,
                    giver,
                    giver_subject,
                    giver_role,
                    taker,
                    reason,
                    ends_at: instant(ends),
                }
            });
        Ok(read.collect())
    }

    /// Ends a delegation at once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] ⇐ absent, ended, or another tenant's.
    pub async fn end_delegation(&mut self, id: Uuid) -> Result<(), StoreError> {
        let ended = sqlx::query(
            "update approval_delegation set ended_at = now()
             where tenant_id = $1 and delegation_id = $2 and ended_at is null and ends_at > now()",
        )
        .bind(self.tenant)
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        if ended.rows_affected() == 0 { Err(StoreError::NotFound("delegation")) } else { Ok(()) }
    }

    /// Returns the key under which the tenant's links are signed, which is made at its first use.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn link_key(&mut self) -> Result<Vec<u8>, StoreError> {
        let made: [u8; 32] = rand::random();
        sqlx::query("insert into link_key (tenant_id, key) values ($1, $2) on conflict do nothing")
            .bind(self.tenant)
            .bind(made.as_slice())
            .execute(&mut *self.tx)
            .await?;
        Ok(sqlx::query_scalar("select key from link_key where tenant_id = $1")
            .bind(self.tenant)
            .fetch_one(&mut *self.tx)
            .await?)
    }

    /// Uses a link up; a second use is refused.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] ⇐ used before.
    pub async fn use_link(&mut self, nonce: Uuid, approval: Uuid) -> Result<(), StoreError> {
        let made = sqlx::query(
            "insert into approval_link_use (tenant_id, nonce, approval_id) values ($1, $2, $3)
             on conflict do nothing",
        )
        .bind(self.tenant)
        .bind(nonce)
        .bind(approval)
        .execute(&mut *self.tx)
        .await?;
        if made.rows_affected() == 1 {
            return Ok(());
        }
        Err(StoreError::Conflict("this link was used before; open the approvals page".to_owned()))
    }
}

impl ApprovalRule {
    /// Tells whether the rule holds for a call. A value that cannot be compared counts as above.
    pub fn holds(&self, tool: &str, arguments: &Value) -> bool {
        if !self.tool.is_empty() && self.tool != tool {
            return false;
        }
        if self.argument.is_empty() {
            return true;
        }
        let Some(value) = arguments.get(&self.argument) else {
            // Another tool may know no such argument; the one that is named must say it.
            return !self.tool.is_empty();
        };
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match (text.parse::<Decimal>(), self.above.parse::<Decimal>()) {
            (Ok(value), Ok(above)) => value > above,
            _ => true,
        }
    }
}

impl TenantTx {
    /// Returns the tenant's rules that hold for a call.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn approval_rules_for(
        &mut self,
        tool: &str,
        arguments: &Value,
    ) -> Result<Vec<ApprovalRule>, StoreError> {
        let all = self.approval_rules().await?;
        Ok(all.into_iter().filter(|rule| rule.holds(tool, arguments)).collect())
    }

    /// Returns how many different people must approve a call.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn approvers_needed(
        &mut self,
        tool: &str,
        arguments: &Value,
    ) -> Result<i32, StoreError> {
        let rules = self.approval_rules_for(tool, arguments).await?;
        Ok(rules.iter().map(|rule| rule.needed).max().unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_holds_above_its_value_and_where_nothing_can_be_compared() {
        let rule = |tool: &str, argument: &str| ApprovalRule {
            id: Uuid::nil(),
            tool: tool.to_owned(),
            argument: argument.to_owned(),
            above: "100".to_owned(),
            roles: Vec::new(),
            needed: 2,
            set_by: String::new(),
        };
        let amount = rule("refund_request", "amount");
        assert!(!amount.holds("refund_request", &json!({"amount": "100.00"})));
        assert!(amount.holds("refund_request", &json!({"amount": "100.01"})));
        assert!(amount.holds("refund_request", &json!({"amount": 820_000})));
        assert!(amount.holds("refund_request", &json!({"amount": "1e999"})));
        assert!(amount.holds("refund_request", &json!({})));
        assert!(!amount.holds("grant_item", &json!({"amount": "500"})));
        assert!(!rule("", "amount").holds("grant_item", &json!({"quantity": 500})));
        assert!(rule("", "").holds("grant_item", &json!({})));
    }
}
