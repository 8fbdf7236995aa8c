//! What a worker writes: one event with all that follows from it, in one transaction.

use agents::policy::terms::Terms;
use serde_json::Value;

use super::{Driven, Entry, Worker};
use crate::fault;
use crate::store::{Amounts, Exceeded, NewApproval, Run, Status, StoreError, Switch, TenantTx};

/// Tokens that a plan is expected to read and write.
const PLAN_TOKENS: i64 = 2048;

/// Time that a plan or a call is expected to take, ms.
const STEP_MS: i64 = 1000;

/// Returns where a run stands after an event.
pub fn status_after(kind: &str) -> Status {
    match kind {
        "approval.requested" => Status::WaitingApproval,
        "outcome.unknown" => Status::WaitingOutcome,
        "run.asked" => Status::WaitingInput,
        "run.answered" => Status::Done,
        "run.refused" => Status::Refused,
        "run.failed" => Status::Failed,
        "run.cancelled" => Status::Cancelled,
        _ => Status::Running,
    }
}

fn switched_off(switch: &Switch) -> Entry {
    Entry::failed("switched_off", switch.reason())
}

fn exceeded(exceeded: &Exceeded) -> Entry {
    Entry::failed("budget_exceeded", exceeded.reason())
}

/// Returns how a run ends whose next step is switched off or not in the budget; else the step's
/// costs are reserved.
async fn refused(
    tx: &mut TenantTx,
    run: &Run,
    step: (&str, Option<&str>),
    expected: Amounts,
    (bound, switched): (bool, bool),
) -> Result<Option<Entry>, StoreError> {
    if switched && let Some(switch) = tx.switched_off(&run.pack, step.1).await? {
        return Ok(Some(switched_off(&switch)));
    }
    if !bound {
        return Ok(None);
    }
    let over = tx.reserve(run.id, &run.agent, step, expected).await?;
    Ok(over.as_ref().map(exceeded))
}

impl Worker {
    /// Looks before the first step after a claim whether it may be made. A plan's costs are reserved
    /// here; a call's stand since it was announced.
    pub(super) async fn gate(
        &self,
        driven: &Driven,
        journal: &[Value],
    ) -> Result<Option<Entry>, StoreError> {
        let text = |event: &Value, name: &str| {
            event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let last = journal.last().unwrap_or(&Value::Null);
        let kind = text(last, "type");
        let index = last.get("index").and_then(Value::as_i64);
        let planning = kind == "run.created" || (kind == "step.retried" && index.is_none());
        let calling = matches!(kind.as_str(), "call.started" | "step.retried" | "outcome.settled");
        if !planning && !calling {
            return Ok(None);
        }
        let mut tx = self.store.begin(driven.lease.tenant).await?;
        let entry = if planning {
            let expected = Amounts { tokens: PLAN_TOKENS, calls: 0, wall_ms: STEP_MS };
            let both = (true, true);
            refused(&mut tx, &driven.run, ("plan", None), expected, both).await?
        } else {
            let announced = journal.iter().rev().find(|event| {
                text(event, "type") == "call.started"
                    && event.get("index").and_then(Value::as_i64) == index
            });
            let tool = announced.map(|event| text(event, "tool"));
            tx.switched_off(&driven.run.pack, tool.as_deref()).await?.as_ref().map(switched_off)
        };
        tx.commit().await?;
        Ok(entry)
    }

    /// Appends under the lease what a step came to, or how the run ends instead where a call may not
    /// be made. Returns what was appended; `None` when the worker has nothing more to do.
    pub(super) async fn append(
        &self,
        driven: &mut Driven,
        entry: Entry,
    ) -> Result<Option<Entry>, StoreError> {
        let lease = driven.lease;
        let mut tx = self.store.begin(lease.tenant).await?;
        tx.hold(&lease).await?;
        let entry = self.admitted(&mut tx, driven, entry).await?;
        tx.append_event(lease.run, &entry.kind, &entry.payload).await?;
        settled(&mut tx, driven, &entry).await?;
        let status = status_after(&entry.kind);
        if status != driven.status {
            tx.set_status(lease.run, status).await?;
        }
        let again = entry.kind == "step.retried";
        let rests = status != Status::Running;
        if rests {
            tx.dequeue(lease.run).await?;
        } else if again {
            let tries = entry.payload.get("attempt").and_then(Value::as_u64).unwrap_or(1);
            let wait = self.rules.wait(u32::try_from(tries).unwrap_or(u32::MAX));
            tx.give_back(&lease, wait).await?;
        }
        match entry.kind.as_str() {
            "plan.made" => fault::point("plan.unwritten"),
            "call.finished" => fault::point("call.unwritten"),
            _ => {}
        }
        tx.commit().await?;
        driven.status = status;
        if status.is_final() {
            self.stepper.ended(&driven.tenant, lease.run);
        }
        match entry.kind.as_str() {
            "plan.made" => {
                fault::point("plan.written");
                self.stepper.planned(&driven.tenant, lease.run);
            }
            "call.started" => fault::point("call.announced"),
            "run.answered" => fault::point("answer.written"),
            _ => {}
        }
        Ok((!rests && !again).then_some(entry))
    }

    /// Lets a call be announced, or says how the run ends instead.
    async fn admitted(
        &self,
        tx: &mut TenantTx,
        driven: &mut Driven,
        entry: Entry,
    ) -> Result<Entry, StoreError> {
        if entry.kind != "call.started" {
            return Ok(entry);
        }
        let step = format!("call:{}", entry.index().unwrap_or_default());
        let tool = entry.payload.get("tool").and_then(Value::as_str);
        let expected = Amounts { tokens: 0, calls: 1, wall_ms: STEP_MS };
        let controls = tx.controlled().await?;
        driven.bound |= controls.0;
        let instead = refused(tx, &driven.run, (&step, tool), expected, controls).await?;
        Ok(instead.unwrap_or(entry))
    }
}

/// Notes what follows from an event beside the journal: what was used, and what a person is asked.
async fn settled(tx: &mut TenantTx, driven: &Driven, entry: &Entry) -> Result<(), StoreError> {
    let run = driven.lease.run;
    match entry.kind.as_str() {
        "plan.made" => planned(tx, driven, &entry.payload).await,
        "approval.requested" => ask(tx, driven, entry).await,
        "call.finished" | "call.failed" | "outcome.unknown" if driven.bound => {
            let step = format!("call:{}", entry.index().unwrap_or_default());
            let ms = entry.payload.get("ms").and_then(Value::as_f64).unwrap_or_default();
            let used = Amounts { tokens: 0, calls: 1, wall_ms: whole(ms) };
            tx.settle(run, (&step, Some(entry.text("tool"))), used).await
        }
        _ => Ok(()),
    }
}

/// Rounds milliseconds up.
fn whole(ms: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a time of a step; the cast saturates")]
    let whole = ms.ceil() as i64;
    whole
}

/// Notes which planner decided and what the plan used.
async fn planned(tx: &mut TenantTx, driven: &Driven, payload: &Value) -> Result<(), StoreError> {
    let run = driven.lease.run;
    let plan = payload.get("plan").unwrap_or(&Value::Null);
    let count = |name: &str| plan.get(name).and_then(Value::as_i64).unwrap_or_default();
    let calls = plan.get("calls").and_then(Value::as_array).map_or(0, Vec::len);
    let ms = plan.get("ms").and_then(Value::as_f64).unwrap_or_default();
    if let Some(model) = plan.get("model").and_then(Value::as_str) {
        tx.set_model(run, model).await?;
    }
    let (read, written) = (count("prompt_tokens"), count("decoded_tokens"));
    let used = Amounts { tokens: read + written, calls: 0, wall_ms: whole(ms) };
    if driven.bound {
        tx.settle(run, ("plan", None), used).await?;
    }
    let calls = i32::try_from(calls).unwrap_or(i32::MAX);
    tx.record_usage(run, calls, read, written, ms).await
}

async fn ask(tx: &mut TenantTx, driven: &Driven, entry: &Entry) -> Result<(), StoreError> {
    let index = i32::try_from(entry.index().unwrap_or_default()).unwrap_or(i32::MAX);
    let arguments = entry.payload.get("arguments").unwrap_or(&Value::Null);
    let because = match entry.text("because") {
        "" => "act",
        because => because,
    };
    let sha256 = entry.text("arguments_sha256");
    let terms: Terms = serde_json::from_value(entry.payload.clone()).unwrap_or_default();
    let list = |name: &str| entry.payload.get(name).cloned().unwrap_or_default();
    let new = NewApproval {
        call_index: index,
        tool: entry.text("tool").to_owned(),
        arguments: arguments.clone(),
        arguments_sha256: sha256.to_owned(),
        because: because.to_owned(),
        tool_version: terms.tool_version,
        rule: terms.rule,
        roles: terms.roles,
        self_approval: terms.self_approval,
        needed: tx.approvers_needed(entry.text("tool"), arguments).await?,
        origins: list("origins"),
        reasons: list("reasons"),
    };
    tx.request_approval(driven.lease.run, &new).await
}
