//! Deciding on approvals: who may, what the decision is bound to, how many must agree.
//!
//! The API, the pages and signed links all end in [`decide`], which checks everything again inside one
//! transaction, notes the vote, and, once enough people agree, journals the decision, puts the run back
//! in the queue and appends to the audit chain: all or nothing.

pub mod api;
pub mod link;

use agents::tool::arguments_sha256;
use axum::http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::access::Actor;
use crate::agent::Agents;
use crate::auth::Key;
use crate::error::Problem;
use crate::input::checked_reason;
use crate::store::{Approval, Noted, RunId, Session, Standing, Status, StoreError, TenantTx, Vote};

/// Who decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decider {
    /// Tells one actor from another for good.
    pub id: String,
    /// Name for people.
    pub subject: String,
    /// Role in the joint venture.
    pub role: String,
    /// `api`, `page` or `link`.
    pub via: &'static str,
}

impl Decider {
    /// Whoever holds a key.
    pub fn of_key(key: &Key) -> Self {
        Self::of(key.actor(), "api")
    }

    /// Whoever is signed in.
    pub fn of_session(session: &Session) -> Self {
        Self::of(&session.actor, "page")
    }

    fn of(actor: &Actor, via: &'static str) -> Self {
        Self {
            id: actor.id.clone(),
            subject: actor.subject.clone(),
            role: actor.role.name().to_owned(),
            via,
        }
    }
}

/// What is decided.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// True to approve.
    pub approved: bool,
    /// Why; may be empty.
    pub reason: &'a str,
}

/// What a decision came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It stands, and the run goes on or ends.
    Decided(RunId),
    /// Another person must agree.
    Waits {
        /// The run.
        run: RunId,
        /// People who must agree.
        needed: i32,
    },
    /// Nothing: the tool changed since, and the run asks again about the one of now.
    AskedAgain(RunId),
}

impl Outcome {
    /// Returns the run.
    pub fn run(&self) -> RunId {
        match self {
            Self::Decided(run) | Self::Waits { run, .. } | Self::AskedAgain(run) => *run,
        }
    }
}

fn refused(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, "You may not decide this", detail)
}

fn conflict(message: impl Into<String>) -> Problem {
    StoreError::Conflict(message.into()).into()
}

/// Tells whether a role of the joint venture may decide where the pack, or a rule, wants one of these;
/// empty is any that may approve at all.
fn fills(role: &str, wanted: &[String]) -> bool {
    let held: &[&str] = match role {
        "owner" => &["owner", "admin", "approver"],
        "approver" => &["approver"],
        "operator" => &["operator"],
        _ => &[],
    };
    match wanted {
        [] => matches!(role, "owner" | "approver"),
        wanted => wanted.iter().any(|wanted| held.contains(&wanted.as_str())),
    }
}

/// Returns the role in which an actor may act now; `None` once the member is disabled or the key has
/// ended. A right that was lent, or put into a link, lasts no longer than that of who gave it.
async fn role_now(tx: &mut TenantTx, actor: &str, role: &str) -> Result<Option<String>, Problem> {
    match actor.split_once(':').map(|(kind, id)| (kind, id.parse::<Uuid>())) {
        Some(("member", Ok(id))) => {
            let member = tx.member(id).await?;
            let active = member.standing == Standing::Active;
            Ok(active.then(|| member.role.name().to_owned()))
        }
        Some(("key", Ok(id))) => {
            let ended = matches!(tx.key(id).await?.state(), "revoked" | "expired");
            Ok((!ended).then(|| role.to_owned()))
        }
        _ => Ok(Some(role.to_owned())),
    }
}

/// Returns whose right the decider uses: their own, or that of somebody who gave it to them.
async fn authority(
    tx: &mut TenantTx,
    asked: &Approval,
    decider: &Decider,
    asker: &str,
) -> Result<(String, String), Problem> {
    let rules = tx.approval_rules_for(&asked.tool, &asked.arguments).await?;
    let may = |role: &str| {
        fills(role, &asked.roles)
            && rules.iter().all(|rule| rule.roles.is_empty() || fills(role, &rule.roles))
    };
    if may(&decider.role) {
        return Ok((decider.id.clone(), decider.role.clone()));
    }
    for given in tx.delegations(Some(&decider.id)).await? {
        let Some(role) = role_now(tx, &given.giver, &given.giver_role).await? else { continue };
        if may(&role) && given.giver != asker {
            return Ok((given.giver, role));
        }
    }
    let wanted = match asked.roles.as_slice() {
        [] => "approver or owner".to_owned(),
        roles => roles.join(" or "),
    };
    Err(refused(
        "wrong_role",
        format!(
            "this wants a person whose role is {wanted}, and yours is {}; nobody gave you their right",
            decider.role
        ),
    ))
}

/// What is answered to a decision on a version of a tool that is gone.
pub fn tool_changed() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "tool_changed",
        "Conflict",
        "the tool changed after this was asked, so nothing was decided; the run asks again for the new version",
    )
}

/// Checks that an approval still speaks of what would run.
async fn unchanged(
    tx: &mut TenantTx,
    agents: &Agents,
    asked: &Approval,
) -> Result<Result<(), Problem>, Problem> {
    if asked.status != "pending" {
        return Ok(Err(conflict("this approval is decided or expired")));
    }
    let hash = arguments_sha256(&asked.arguments);
    let tool = (asked.tool.as_str(), asked.tool_version.as_str());
    let bound = tx.binding(asked.run_id, asked.call_index, tool, &hash);
    if hash != asked.arguments_sha256 || (bound != asked.binding_sha256) {
        return Ok(Err(conflict(
            "what is stored is not what was asked about; cancel the run and ask again",
        )));
    }
    let pack = tx.tenant().await?.pack;
    let now = agents.get(&pack).and_then(|agent| Some(agent.pack().tool(&asked.tool)?.version()));
    if now.is_some_and(|now| now != asked.tool_version) {
        return Ok(Err(tool_changed()));
    }
    Ok(Ok(()))
}

/// Decides, in this transaction; the caller commits.
///
/// # Errors
/// `not_found`; `conflict` ⇐ decided, expired, used twice, changed, or the run has ended;
/// `self_approval`; `wrong_role`; `invalid_reason`.
pub async fn decide(
    tx: &mut TenantTx,
    agents: &Agents,
    approval: Uuid,
    decision: Decision<'_>,
    decider: &Decider,
) -> Result<Outcome, Problem> {
    checked_reason(decision.reason)?;
    let run = tx.get_approval(approval).await?.run_id;
    // The run first, then its approval: the order in which every writer takes the two locks.
    if tx.lock_run(run).await?.status.is_final() {
        return Err(conflict("the run of this approval has ended; nothing was changed"));
    }
    let asked = tx.get_approval(approval).await?;
    let same = unchanged(tx, agents, &asked).await?;
    if same.as_ref().is_err_and(|problem| problem.code == "tool_changed") {
        tx.enqueue(run).await?;
        return Ok(Outcome::AskedAgain(run));
    }
    same?;
    let asker = tx.asked_by(run).await?;
    let own = !asker.is_empty() && asker == decider.id;
    if own && decision.approved && !asked.self_approval {
        return Err(refused(
            "self_approval",
            "you asked for this yourself; another person must approve it",
        ));
    }
    // What changes nothing, and taking back what one asked for, needs no other right than asking.
    let (authority, role) = match authority(tx, &asked, decider, &asker).await {
        Ok(found) => found,
        Err(_) if own || asked.because == "unsure" => (decider.id.clone(), decider.role.clone()),
        Err(problem) => return Err(problem),
    };
    let vote = Vote {
        voter: decider.id.clone(),
        subject: decider.subject.clone(),
        authority,
        role,
        approved: decision.approved,
        reason: decision.reason.to_owned(),
        via: decider.via.to_owned(),
        binding_sha256: asked.binding_sha256.clone(),
    };
    tx.add_vote(approval, &vote).await?;
    let needed = asked.needed.max(tx.approvers_needed(&asked.tool, &asked.arguments).await?);
    let votes = tx.votes(approval).await?;
    let agreed = votes.iter().filter(|vote| vote.approved).count();
    let outcome = if decision.approved && i32::try_from(agreed).unwrap_or(i32::MAX) < needed {
        Outcome::Waits { run, needed }
    } else {
        settle(tx, &asked, decision, &votes).await?;
        Outcome::Decided(run)
    };
    let detail = json!({
        "approval": approval, "tool": asked.tool, "tool_version": asked.tool_version,
        "arguments_sha256": asked.arguments_sha256, "binding_sha256": asked.binding_sha256,
        "approved": decision.approved, "role": vote.role, "authority": vote.authority,
        "via": vote.via, "agreed": agreed, "needed": needed,
    });
    let kind = match outcome {
        Outcome::Decided(_) => "approval.decided",
        Outcome::Waits { .. } | Outcome::AskedAgain(_) => "approval.voted",
    };
    let (actor, subject) = (decider.id.as_str(), decider.subject.as_str());
    tx.note(&Noted { kind, run: Some(run), actor, subject, detail }).await?;
    Ok(outcome)
}

/// Makes the decision final: journals it and puts the run back in the queue.
async fn settle(
    tx: &mut TenantTx,
    asked: &Approval,
    decision: Decision<'_>,
    votes: &[Vote],
) -> Result<(), Problem> {
    let mut names: Vec<&str> = Vec::new();
    for vote in votes.iter().filter(|vote| vote.approved == decision.approved) {
        names.push(&vote.subject);
    }
    let by = names.join(" and ");
    let decided = tx.decide_approval(asked.id, decision.approved, &by, decision.reason).await?;
    let payload = json!({
        "type": "approval.decided", "index": decided.call_index, "approved": decision.approved,
        "by": by, "reason": decision.reason, "arguments_sha256": decided.arguments_sha256,
    });
    tx.append_event(decided.run_id, "approval.decided", &payload).await?;
    tx.set_status(decided.run_id, Status::Queued).await?;
    Ok(tx.enqueue(decided.run_id).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_fills_the_strong_roles_and_an_operator_only_his_own() {
        let wanted = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert!(fills("owner", &wanted(&["approver", "admin"])));
        assert!(fills("approver", &wanted(&["approver", "admin"])));
        assert!(!fills("approver", &wanted(&["owner"])));
        assert!(!fills("operator", &wanted(&["approver", "admin"])));
        assert!(!fills("operator", &[]) && !fills("viewer", &[]) && !fills("analyst", &[]));
        assert!(fills("approver", &[]) && fills("operator", &wanted(&["operator"])));
    }
}
