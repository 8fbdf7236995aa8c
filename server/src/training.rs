//! Runs as training examples: what a person says of a run, what the joint venture allows, and the
//! examples that may be made of it.
//!
//! **Invariant:** consent is asked for twice, when examples are made and again when a planner is
//! trained on them, because it may have been withdrawn in between.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use agents::event::Event;
use agents::pack::{Pack, PackError};
use agents::plan::{Decision, field};
use agents::synth::card::RunsCard;
use agents::synth::overlap::Reserved;
use agents::synth::{Card, Consent, Example, Labelled, Maker, RightCall, Source, Templates};
use agents::tool::ToolError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::Key;
use crate::error::Problem;
use crate::input::Body;
use crate::state::AppState;
use crate::store::{JudgedRun, Judgement, RunId, RunSource, Store, StoreError, TenantId, TenantTx};

/// Name of the data card in a planner's folder.
pub const CARD_FILE: &str = "datacard.json";

/// What may be right instead of calls.
const DECISIONS: [&str; 5] = ["call", "ask", "none", "person", "search"];

/// Returns the routes of the API.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/runs/{run}/verdict", post(give).get(read))
        .route("/v1/training/consent", get(consents).put(consent))
}

/// What a person says of a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", deny_unknown_fields)]
pub enum Said {
    /// The plan was right.
    Accepted {},
    /// Something else would have been right.
    Corrected {
        /// `call`, `ask`, `none`, `person` or `search`.
        #[serde(default = "call")]
        decision: String,
        /// The right calls, in order.
        #[serde(default)]
        calls: Vec<Call>,
    },
    /// Nothing is said any more.
    Withdrawn {},
}

fn call() -> String {
    "call".to_owned()
}

/// A right call; a value of an earlier result stands as `{"$from": 0, "pointer": "/payment"}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Name of the tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
}

/// Keeps what a person says of a run that has ended.
///
/// # Errors
/// `not_found`; `not_ended`; `invalid_correction` ⇐ the calls break the pack's schemas.
pub async fn judge(
    tx: &mut TenantTx,
    pack: &Pack,
    run: RunId,
    said: &Said,
    by: &str,
) -> Result<(), Problem> {
    if !tx.lock_run(run).await?.status.is_final() {
        let detail = "the run has not ended; judge it when it has";
        return Err(Problem::new(StatusCode::CONFLICT, "not_ended", "Conflict", detail));
    }
    let (judgement, decision, calls) = match said {
        Said::Accepted {} => (Judgement::Accepted, "", json!([])),
        Said::Withdrawn {} => (Judgement::Withdrawn, "", json!([])),
        Said::Corrected { decision, calls } => {
            checked(pack, decision, calls)?;
            let calls = serde_json::to_value(calls).unwrap_or_else(|_| json!([]));
            (Judgement::Corrected, decision.as_str(), calls)
        }
    };
    Ok(tx.judge_run(run, judgement, decision, &calls, by).await?)
}

/// Checks a correction by the schemas of its tools.
fn checked(pack: &Pack, decision: &str, calls: &[Call]) -> Result<(), Problem> {
    let invalid = |detail: String| Problem::invalid("invalid_correction", detail);
    if !DECISIONS.contains(&decision) {
        return Err(invalid(format!("`decision` is one of {}", DECISIONS.join(", "))));
    }
    let calling = matches!(decision, "call" | "ask");
    if calls.is_empty() == calling {
        let detail = if calling {
            "name the right calls"
        } else {
            "this decision makes no call; leave `calls` out"
        };
        return Err(invalid(detail.to_owned()));
    }
    for (at, call) in calls.iter().enumerate() {
        let spec = pack.tool(&call.tool).ok_or_else(|| {
            let names: Vec<&str> = pack.tools.iter().map(|tool| tool.name.as_str()).collect();
            invalid(format!("there is no tool `{}`; there are: {}", call.tool, names.join(", ")))
        })?;
        // What is asked for is absent from the last call.
        let partial = decision == "ask" && at + 1 == calls.len();
        if partial && spec.missing(&call.arguments).is_empty() {
            return Err(invalid(format!("`{}` lacks nothing that could be asked for", call.tool)));
        }
        if partial || field::is_pending(&call.arguments) {
            continue;
        }
        if let Err(error) = spec.check_arguments(&call.arguments) {
            let pointer = match &error {
                ToolError::InvalidInput { pointer, .. } => pointer.clone(),
                _ => String::new(),
            };
            return Err(invalid(format!("call {} `{}`{pointer}: {error}", at + 1, call.tool)));
        }
    }
    Ok(())
}

async fn give(
    State(state): State<AppState>,
    key: Key,
    Path(run): Path<String>,
    Body(said): Body<Said>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:write")?;
    let run = run.parse().map_err(|_| Problem::not_found("run"))?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let pack = tx.get_run(run).await?.pack;
    let agent = state.agents.get(&pack).ok_or_else(|| Problem::not_found("pack"))?;
    judge(&mut tx, agent.pack(), run, &said, &key.0.label).await?;
    let shown = shown(&mut tx, run).await?;
    tx.commit().await?;
    Ok(Json(shown))
}

async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(run): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let run = run.parse().map_err(|_| Problem::not_found("run"))?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.get_run(run).await?;
    shown(&mut tx, run).await.map(Json)
}

async fn shown(tx: &mut TenantTx, run: RunId) -> Result<Value, Problem> {
    Ok(match tx.verdict(run).await? {
        Some(verdict) => json!({
            "run": run, "verdict": verdict.judgement.name(), "decision": verdict.decision,
            "calls": verdict.calls, "by": verdict.by, "at": verdict.at.to_string(),
        }),
        None => json!({ "run": run, "verdict": null }),
    })
}

async fn consents(State(state): State<AppState>, key: Key) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    Ok(Json(json!({ "consent": allowed(&mut tx).await? })))
}

async fn allowed(tx: &mut TenantTx) -> Result<Vec<Value>, Problem> {
    let all = tx.consents().await?;
    let lines = all.iter().map(|one| {
        json!({"source": one.source.name(), "level": one.level.name(), "by": one.by,
               "at": one.at.map(|at| at.to_string())})
    });
    Ok(lines.collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsentBody {
    source: String,
    level: String,
}

async fn consent(
    State(state): State<AppState>,
    key: Key,
    Body(body): Body<ConsentBody>,
) -> Result<Json<Value>, Problem> {
    key.permits("data:write")?;
    let (source, level) = consent_of(&body.source, &body.level)?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.set_consent(source, level, &key.0.label).await?;
    let all = allowed(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(json!({ "consent": all })))
}

/// Reads a source of runs and what is allowed for it.
///
/// # Errors
/// `invalid_consent`.
pub fn consent_of(source: &str, level: &str) -> Result<(RunSource, Consent), Problem> {
    RunSource::of(source).zip(Consent::of(level)).ok_or_else(|| {
        let detail = "`source` is one of api, page, cli; `level` is one of none, own, pooled";
        Problem::invalid("invalid_consent", detail)
    })
}

/// A run that may be trained on, with what is needed to make examples of it.
#[derive(Debug, Clone)]
pub struct Harvested {
    tenant: TenantId,
    timezone: String,
    run: JudgedRun,
    /// The planner's own words, where they were accepted.
    words: String,
}

impl Harvested {
    /// Tells whether the run is of this joint venture.
    pub fn is_of(&self, tenant: TenantId) -> bool {
        self.tenant == tenant
    }
}

/// Reads the judged runs of a pack that a planner may be trained on: of every joint venture that
/// allows it, and those of the joint venture `own` whose planner it will be.
///
/// # Errors
/// [`StoreError`].
pub async fn harvest(
    store: &Store,
    pack: &str,
    own: Option<TenantId>,
) -> Result<Vec<Harvested>, StoreError> {
    let mut all = Vec::new();
    for member in store.directory().await? {
        let mut tx = store.begin(member.tenant_id).await?;
        let tenant = tx.tenant().await?;
        if tenant.pack != pack {
            continue;
        }
        for run in tx.judged_runs(None).await? {
            if !run.consent.permits(own == Some(tenant.id)) {
                continue;
            }
            let words = planned(&mut tx, run.id).await?;
            let timezone = tenant.timezone.clone();
            all.push(Harvested { tenant: tenant.id, timezone, run, words });
        }
    }
    Ok(all)
}

/// Returns what the planner said in a run; nothing where a rule decided before it was asked.
async fn planned(tx: &mut TenantTx, run: RunId) -> Result<String, StoreError> {
    let events = tx.events(run, 0).await?.into_iter();
    let read = events.filter_map(|event| serde_json::from_value::<Event>(event.payload).ok());
    let mut plan = read.filter_map(|event| match event {
        Event::Planned { plan } => Some(plan),
        _ => None,
    });
    // A call with values that its schema refuses was planned wrongly, or was asked for wrongly.
    let usable = |plan: &agents::plan::Plan| !matches!(plan.decision, Decision::Invalid { .. });
    Ok(plan.rfind(usable).map(|plan| plan.output).unwrap_or_default())
}

/// Makes the examples of a pack's harvested runs, verified as every other, and counts on the card what
/// was read and refused.
///
/// # Errors
/// [`PackError`] when a file of the pack is broken.
pub fn of_runs(
    pack: &Pack,
    templates: &Templates,
    runs: &[Harvested],
    reserved: &Arc<Reserved>,
    seed: u64,
    card: &mut Card,
) -> Result<Vec<Example>, PackError> {
    let mut maker = Maker::new(pack, templates, seed)?.checked(Arc::clone(reserved))?;
    let made = examples(&mut maker, runs, card.runs.get_or_insert_default());
    card.checked.add(maker.tally());
    Ok(made)
}

fn examples(maker: &mut Maker<'_>, runs: &[Harvested], card: &mut RunsCard) -> Vec<Example> {
    let mut all = Vec::new();
    for one in runs {
        card.read += 1;
        maker.as_of(one.run.created_at, &one.timezone);
        let source = Source::Run {
            tenant: one.tenant.to_string(),
            run: one.run.id.to_string(),
            consent: one.run.consent,
        };
        let of = Labelled { request: &one.run.request, lang: &one.run.lang, source };
        let made = match one.run.verdict.judgement {
            Judgement::Corrected => {
                let calls: Vec<Call> =
                    serde_json::from_value(one.run.verdict.calls.clone()).unwrap_or_default();
                let right = calls.into_iter().map(|call| RightCall {
                    tool: call.tool,
                    arguments: call.arguments,
                    assumed: BTreeSet::new(),
                });
                let right: Vec<RightCall> = right.collect();
                maker.corrected(&of, &one.run.verdict.decision, &right).map_err(|why| why.kind())
            }
            _ if one.words.is_empty() => Err("decided_by_a_rule"),
            _ => {
                let steps: Result<Vec<Value>, _> =
                    one.words.lines().map(serde_json::from_str).collect();
                match steps {
                    Ok(steps) => maker.labelled(&of, &steps).map_err(|why| why.kind()),
                    Err(_) => Err("unreadable_plan"),
                }
            }
        };
        match made {
            Ok(made) => {
                *card.taken.entry(one.run.consent.name().to_owned()).or_default() += 1;
                all.extend(made);
            }
            Err(why) => *card.rejected.entry(why.to_owned()).or_default() += 1,
        }
    }
    all
}

/// Leaves out the examples whose run may not be trained on now: consent is none or was withdrawn, the
/// verdict was withdrawn, the run is gone, or it is allowed for the planner of its joint venture alone
/// and `own` is another. Returns the rest and how many were left out.
///
/// # Errors
/// [`StoreError`].
pub async fn permitted(
    store: &Store,
    examples: Vec<runtime::train::Example>,
    own: Option<TenantId>,
) -> Result<(Vec<runtime::train::Example>, usize), StoreError> {
    let members = store.directory().await?;
    let mut known: HashMap<String, bool> = HashMap::new();
    let mut kept = Vec::with_capacity(examples.len());
    let mut left_out = 0;
    for example in examples {
        let Some((tenant, run)) = Source::run_of(&example.source) else {
            kept.push(example);
            continue;
        };
        let allowed = match known.get(&example.source) {
            Some(allowed) => *allowed,
            None => {
                let ids: Option<(Uuid, Uuid)> = tenant.parse().ok().zip(run.parse().ok());
                let ids = ids.filter(|(id, _)| members.iter().any(|m| m.tenant_id == *id));
                let allowed = match ids {
                    Some((tenant, run)) => {
                        let mut tx = store.begin(tenant).await?;
                        let judged = tx.judged_runs(Some(run)).await?;
                        judged.iter().any(|one| one.consent.permits(own == Some(tenant)))
                    }
                    None => false,
                };
                known.insert(example.source.clone(), allowed);
                allowed
            }
        };
        if allowed {
            kept.push(example);
        } else {
            left_out += 1;
        }
    }
    Ok((kept, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_is_checked_by_the_schemas_of_its_tools() {
        let packs = agents::pack::shipped().unwrap();
        let pack = packs.iter().find(|pack| pack.manifest.id == "finance").unwrap();
        let check = |decision: &str, calls: Value| {
            let calls: Vec<Call> = serde_json::from_value(calls).unwrap();
            checked(pack, decision, &calls).map_err(|problem| problem.detail)
        };
        let loan = |arguments: Value| json!([{"tool": "loan_schedule", "arguments": arguments}]);
        let whole =
            json!({"principal": "1000", "annual_rate_pct": 5, "months": 12, "currency": "USD"});
        let partial = json!({"principal": "1000", "annual_rate_pct": 5});
        assert_eq!(check("call", loan(whole.clone())), Ok(()));
        assert_eq!(check("ask", loan(partial.clone())), Ok(()));
        assert_eq!(check("none", json!([])), Ok(()));
        for (decision, calls, says) in [
            ("call", loan(partial), "required property"),
            (
                "call",
                loan(
                    json!({"principal": "1", "annual_rate_pct": "x", "months": 1, "currency": "USD"}),
                ),
                "x",
            ),
            ("call", json!([{"tool": "pay", "arguments": {}}]), "there is no tool `pay`"),
            ("call", json!([]), "name the right calls"),
            ("none", loan(whole.clone()), "makes no call"),
            ("ask", loan(whole), "lacks nothing"),
            ("guess", json!([]), "one of"),
        ] {
            let found = check(decision, calls).unwrap_err();
            assert!(found.contains(says), "{found}");
        }
    }
}
