//! A call of a tool as a run.

use agents::event::Event;
use agents::plan::Decision;
use agents::plan::given::changes;
use agents::tool::ToolSpec;
use rmcp::model::{CallToolResult, ContentBlock, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::object;
use crate::agent::new_run;
use crate::api::settled;
use crate::approvals::Decider;
use crate::auth::Key;
use crate::error::Problem;
use crate::input::checked;
use crate::state::AppState;
use crate::store::{RunId, Tenant};
use crate::view::RunView;

/// Longest wait for a run, seconds.
const WAIT: u64 = 60;

/// Asks the agent in words.
const ASK: &str = "agent_ask";
/// Reads a run.
const RUN: &str = "agent_run";

/// Why a call has no result at all.
pub(super) enum Fault {
    /// There is no such tool.
    Unknown(String),
    /// The call cannot be served.
    Problem(Problem),
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<crate::store::StoreError> for Fault {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Problem(error.into())
    }
}

/// Returns the tools that every joint venture has beside those of its pack.
pub(super) fn own_tools(pack: &str) -> Vec<Tool> {
    let text = |name: &str, what: &str| {
        object(json!({"type": "object", "required": [name], "additionalProperties": false,
                      "properties": {name: {"type": "string", "description": what}}}))
    };
    let ask = format!(
        "Asks the agent `{pack}` in words, in English or Chinese; it plans calls of its tools and answers with sources"
    );
    let hints = |title: &str, reads: bool| {
        ToolAnnotations::with_title(title).read_only(reads).destructive(false).open_world(false)
    };
    vec![
        Tool::new(ASK, ask, text("request", "What you want to know or do"))
            .with_annotations(hints("Ask the agent", false)),
        Tool::new(RUN, "Tells how far a run is", text("run", "Identifier of the run"))
            .with_annotations(hints("Read a run", true)),
    ]
}

fn told(text: impl Into<String>) -> Vec<ContentBlock> {
    vec![ContentBlock::text(text.into())]
}

fn refused(text: impl Into<String>) -> CallToolResult {
    CallToolResult::error(told(text))
}

/// Makes a call.
pub(super) async fn call(
    state: &AppState,
    key: &Key,
    name: &str,
    arguments: Map<String, Value>,
) -> Result<CallToolResult, Fault> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
    let tenant = state.store.begin(key.0.tenant_id).await?.tenant().await?;
    let scope = if name == RUN { "runs:read" } else { "runs:write" };
    if let Err(problem) = key.permits(scope) {
        return Ok(refused(problem.detail));
    }
    if name == RUN {
        let Ok(run) = text("run").parse::<RunId>() else {
            return Ok(refused("there is no such run"));
        };
        return match settled(state, key.0.tenant_id, run, 0).await {
            Ok(view) => Ok(CallToolResult::structured(brief(&view))),
            Err(problem) if problem.status == 404 => Ok(refused(problem.detail)),
            Err(problem) => Err(problem.into()),
        };
    }
    let agent = state.agents.get(&tenant.pack).ok_or_else(Problem::internal)?;
    if name == ASK {
        if let Err(problem) = checked(text("request")) {
            return Ok(refused(problem.detail));
        }
        let view = started(state, key, &tenant, text("request"), None).await?;
        return Ok(match view {
            Ok(view) => CallToolResult::structured(brief(&view)),
            Err(why) => refused(why),
        });
    }
    let Some(spec) = agent.pack().tool(name) else { return Err(Fault::Unknown(name.to_owned())) };
    let request = format!("{}: {}", spec.name, Value::Object(arguments.clone()));
    if let Err(problem) = checked(&request) {
        return Ok(refused(problem.detail));
    }
    let view = match started(state, key, &tenant, &request, Some((spec, arguments))).await? {
        Ok(view) => view,
        Err(why) => return Ok(refused(why)),
    };
    Ok(result(&view, spec))
}

/// Makes a run, with its plan where the call is named, and waits until it rests; says why where none is
/// made.
async fn started(
    state: &AppState,
    key: &Key,
    tenant: &Tenant,
    request: &str,
    named: Option<(&ToolSpec, Map<String, Value>)>,
) -> Result<Result<RunView, String>, Fault> {
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let tool = named.as_ref().map(|(spec, _)| spec.name.as_str());
    if let Some(switch) = tx.switched_off(&tenant.pack, tool).await? {
        return Ok(Err(switch.reason()));
    }
    let (run, _) = tx.create_run(&new_run(&tenant.pack, &tenant.pack, request, None)).await?;
    tx.set_asked_by(run, &Decider::of_key(key).id).await?;
    if let Some((spec, arguments)) = named {
        let agent = state.agents.get(&tenant.pack).ok_or_else(Problem::internal)?;
        let settings = state.agents.settings_of(tenant);
        let (run_name, now) = (run.to_string(), jiff::Timestamp::now());
        let plan = agent.planning().given(&run_name, spec, arguments, &settings, now);
        // Nothing is committed, so no run stays.
        match &plan.decision {
            Decision::Ask { missing, .. } => {
                return Ok(Err(format!("missing: {}", missing.join(", "))));
            }
            Decision::Invalid { message, .. } => return Ok(Err(message.clone())),
            _ => {}
        }
        let event = Event::Planned { plan };
        let payload = serde_json::to_value(&event).map_err(|_| Problem::internal())?;
        tx.append_event(run, event.name(), &payload).await?;
    }
    tx.commit().await?;
    Ok(Ok(settled(state, key.0.tenant_id, run, WAIT).await?))
}

/// A run in few words.
fn brief(view: &RunView) -> Value {
    let calls: Vec<Value> = view
        .calls
        .iter()
        .map(|call| json!({"tool": call.tool, "status": call.status, "result": call.result}))
        .collect();
    json!({"run": view.id, "status": view.status, "answer": view.answer, "calls": calls,
           "warnings": view.warnings, "citations": view.citations})
}

/// The result of the one call of a run. What waits is no result of the tool, so it is told as an error
/// where the tool promised a form.
fn result(view: &RunView, spec: &ToolSpec) -> CallToolResult {
    let first = view.calls.first();
    if let Some(result) = first.and_then(|call| call.result.clone()) {
        let result = if changes(spec) {
            json!({"run": view.id, "status": view.status, "result": result})
        } else {
            result
        };
        return CallToolResult::structured(result);
    }
    let waits = json!({"run": view.id, "status": view.status, "tool": spec.name,
        "message": "a person must decide before this happens; `agent_run` tells what became of it"});
    match view.status {
        "waiting_approval" if changes(spec) => CallToolResult::structured(waits),
        "waiting_approval" | "waiting_outcome" | "queued" | "running" => refused(waits.to_string()),
        _ => {
            let fault = first.and_then(|call| call.error.as_ref()).or(view.error.as_ref());
            let text = fault.map(|fault| fault.message.clone()).or_else(|| view.answer.clone());
            refused(text.unwrap_or_else(|| format!("the run {} is {}", view.id, view.status)))
        }
    }
}
