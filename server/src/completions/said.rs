//! Answering: by a run of the agent, or by the planner over the caller's functions.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

use agents::plan::functions::{Choosing, Chosen, Function, FunctionCall, choose};
use agents::plan::{PlanError, Words};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Ask, Must, PLANNER};
use crate::agent::new_run;
use crate::api::{cancel_run, settled};
use crate::approvals::Decider;
use crate::auth::Key;
use crate::error::Problem;
use crate::input::{idempotency_key, traceparent};
use crate::packs::id_of;
use crate::state::AppState;
use crate::store::{Amounts, NewCompletion, RunId, Store, TenantId};

/// Longest wait for a run, below the time after which a call is ended.
const WAIT: u64 = 80;

/// What a choice is expected to take, before it is known.
const EXPECTED: Amounts = Amounts { tokens: 1_000, calls: 0, wall_ms: 1_000 };

/// Planners that work for these calls at a time; runs have workers of their own.
static AT_WORK: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));

/// What an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Took {
    pub(super) prompt: usize,
    pub(super) cached: usize,
    pub(super) decoded: usize,
    pub(super) ms: i64,
}

/// What the headers of a call say of it.
#[derive(Debug)]
pub(super) struct Asked {
    idempotency: Option<String>,
    traceparent: Option<String>,
}

impl Asked {
    /// # Errors
    /// `invalid_idempotency_key`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let traceparent = traceparent(headers).map(str::to_owned);
        Ok(Self { idempotency: idempotency_key(headers)?, traceparent })
    }
}

/// An answer, in neither form yet.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) calls: Vec<FunctionCall>,
    pub(super) took: Took,
    /// The run behind it: identifier, status, citations, warnings.
    pub(super) run: Option<Value>,
}

/// Cancels what nobody waits for any more.
struct Leaving<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Leaving<F> {
    fn cancels(cancel: F) -> Self {
        Self(Some(cancel))
    }

    /// Lets stand what has come to its end.
    fn done(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Leaving<F> {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            cancel();
        }
    }
}

/// Answers, charges the budgets and notes what it took; ends the work when the caller is gone.
///
/// # Errors
/// `not_found` ⇐ no such model; `missing_scope`; `switched_off`; `budget_exceeded`; `planner_timeout`,
/// `planner_failed`, `planner_unusable`; what ended the run as its own code.
pub(super) async fn say(
    state: &AppState,
    key: &Key,
    ask: &Ask,
    asked: &Asked,
) -> Result<Said, Problem> {
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let tenant = tx.tenant().await?;
    if let Some(switch) = tx.switched_off(&tenant.pack, None).await? {
        let code = "switched_off";
        return Err(Problem::new(StatusCode::CONFLICT, code, "Switched off", switch.reason()));
    }
    drop(tx);
    if ask.model == id_of(&tenant.pack) {
        by_agent(state, key, ask, &tenant.pack, asked).await
    } else if ask.model == PLANNER {
        by_planner(state, key, ask, (&tenant.pack, &tenant.timezone)).await
    } else {
        Err(Problem::not_found("model; `GET /v1/models` lists them"))
    }
}

/// Checks before an answer begins that there is such a model and the key may ask it, so that a stream
/// does not begin with an error.
///
/// # Errors
/// `missing_scope`; `not_found`.
pub(super) async fn may_ask(state: &AppState, key: &Key, model: &str) -> Result<(), Problem> {
    key.permits("runs:write")?;
    let tenant = state.store.begin(key.0.tenant_id).await?.tenant().await?;
    if model == PLANNER || model == id_of(&tenant.pack) {
        return Ok(());
    }
    Err(Problem::not_found("model; `GET /v1/models` lists them"))
}

async fn by_agent(
    state: &AppState,
    key: &Key,
    ask: &Ask,
    pack: &str,
    asked: &Asked,
) -> Result<Said, Problem> {
    if !ask.functions.is_empty() || ask.format.is_some() {
        let detail =
            format!("the agent has its own tools; ask the model `{PLANNER}` for calls of yours");
        return Err(super::unsupported("tools", &detail));
    }
    let tenant = key.0.tenant_id;
    let mut new = new_run(pack, pack, &ask.request(), asked.idempotency.clone());
    if let Some(parent) = &asked.traceparent {
        new.first["traceparent"] = json!(parent);
    }
    let mut tx = state.store.begin(tenant).await?;
    let (run, _) = tx.create_run(&new).await?;
    tx.set_asked_by(run, &Decider::of_key(key).id).await?;
    tx.commit().await?;
    let (store, by) = (state.store.clone(), key.0.label.clone());
    let gone = Leaving::cancels(move || drop(tokio::spawn(forsake(store, tenant, run, by))));
    let view = settled(state, tenant, run, WAIT).await?;
    if matches!(view.status, "queued" | "running") {
        return Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "run_timeout",
            "The run took too long",
            format!(
                "the run did not rest within {WAIT} seconds and was cancelled; use `POST /v1/agents/{pack}/runs` for long runs"
            ),
        ));
    }
    gone.done();
    let plan = view.plan.as_ref();
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a run")]
    let took = Took {
        prompt: plan.map_or(0, |plan| plan.prompt_tokens),
        cached: 0,
        decoded: plan.map_or(0, |plan| plan.decoded_tokens),
        ms: view.timings.total_ms as i64,
    };
    let text = match (view.status, &view.answer, &view.error) {
        (_, Some(answer), _) => answer.clone(),
        ("failed", None, Some(fault)) => {
            let status = match fault.code.as_str() {
                "budget_exceeded" => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            let code =
                if fault.code == "budget_exceeded" { "budget_exceeded" } else { "run_failed" };
            return Err(Problem::new(status, code, "The run failed", fault.message.clone()));
        }
        ("waiting_approval" | "waiting_outcome", ..) => format!(
            "`{}` waits for a person. Nothing was done yet; the run {} goes on once it is decided.",
            view.calls
                .iter()
                .find(|call| call.result.is_none())
                .map_or("A call", |call| &call.tool),
            view.id
        ),
        _ => format!("The run {} ended without an answer ({}).", view.id, view.status),
    };
    let run = json!({"id": view.id, "status": view.status, "citations": view.citations, "warnings": view.warnings});
    let refused = view.status == "refused";
    let (text, refusal) = if refused { (None, Some(text)) } else { (Some(text), None) };
    Ok(Said { text, refusal, calls: Vec::new(), took, run: Some(run) })
}

/// Cancels a run whose caller is gone, unless it rests.
async fn forsake(store: Store, tenant: TenantId, run: RunId, by: String) {
    let open = async {
        let status = store.begin(tenant).await?.get_run(run).await?.status;
        Ok::<bool, Problem>(!status.is_final() && !status.waits())
    };
    if matches!(open.await, Ok(true))
        && let Err(problem) = cancel_run(&store, tenant, run, &by).await
    {
        tracing::info!(%run, code = problem.code, "a run whose caller left was not cancelled");
    }
}

async fn by_planner(
    state: &AppState,
    key: &Key,
    ask: &Ask,
    (agent, timezone): (&str, &str),
) -> Result<Said, Problem> {
    let given = ask.given();
    if !given.is_empty() {
        // The planner writes no prose: what the functions gave is the answer.
        return Ok(Said { text: Some(given.join("\n")), ..Said::default() });
    }
    let Some((functions, must)) = offered(ask) else {
        let text = format!(
            "I call functions and write no prose. Describe functions, or ask the model `{agent}`."
        );
        return Ok(Said { text: Some(text), ..Said::default() });
    };
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let (_, digest) = state.agents.models().live(&mut tx).await?;
    let charged = tx.charge(agent, EXPECTED).await?;
    // Also where nothing was charged: that is told.
    tx.commit().await?;
    let charges = charged.map_err(|over| {
        let (status, title) = (StatusCode::TOO_MANY_REQUESTS, "The budget is used up");
        Problem::new(status, "budget_exceeded", title, over.reason())
    })?;
    let begun = Instant::now();
    let chosen = chosen(state, ask, digest, functions, must, timezone).await;
    let ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    let words = chosen.as_ref().map(|(_, words)| words.clone()).unwrap_or_default();
    let took = Took {
        prompt: words.prompt_tokens,
        cached: words.cached_tokens,
        decoded: words.decoded_tokens,
        ms,
    };
    let tokens = i64::try_from(took.prompt + took.decoded).unwrap_or(i64::MAX);
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.correct(&charges, Amounts { tokens, calls: 0, wall_ms: ms }).await?;
    tx.commit().await?;
    Ok(told(ask, chosen?.0, took))
}

/// Returns the functions that may be called and whether one must be; `None` where there is none.
fn offered(ask: &Ask) -> Option<(Vec<Function>, bool)> {
    if let Some(format) = &ask.format {
        return Some((vec![format.clone()], true));
    }
    match &ask.must {
        Must::Never => None,
        _ if ask.functions.is_empty() => None,
        Must::Auto => Some((ask.functions.clone(), false)),
        Must::Required => Some((ask.functions.clone(), true)),
        Must::Named(name) => {
            let named = ask.functions.iter().filter(|one| one.name() == name);
            Some((named.cloned().collect(), true))
        }
    }
}

async fn chosen(
    state: &AppState,
    ask: &Ask,
    digest: String,
    functions: Vec<Function>,
    must: bool,
    timezone: &str,
) -> Result<(Chosen, Words), Problem> {
    let busy = |_| Problem::internal();
    let _place = AT_WORK.acquire().await.map_err(busy)?;
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    let _gone = Leaving::cancels(move || flag.store(true, Ordering::Relaxed));
    let models = Arc::clone(state.agents.models());
    let (text, timezone) = (ask.request(), timezone.to_owned());
    let several = ask.several && ask.format.is_none();
    let work = tokio::task::spawn_blocking(move || {
        let planner = models.planner(&digest).map_err(|error| {
            Problem::new(StatusCode::CONFLICT, error.code(), "No planner", error.to_string())
        })?;
        let planner = planner.cancelled_by(&cancel).unwrap_or(planner);
        let now = jiff::Timestamp::now();
        let how = Choosing { must, several, timezone: &timezone, now };
        choose(&*planner, &text, &functions, how).map_err(|error| failed(&error))
    });
    work.await.map_err(|_| Problem::internal())?
}

fn failed(error: &PlanError) -> Problem {
    let (status, title) = match error {
        PlanError::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "The planner took too long"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "The planner failed"),
    };
    Problem::new(status, error.code(), title, error.to_string())
}

/// Says what was chosen.
fn told(ask: &Ask, chosen: Chosen, took: Took) -> Said {
    let said = Said { took, ..Said::default() };
    let forced = ask.format.is_some() || matches!(ask.must, Must::Required | Must::Named(_));
    match chosen {
        Chosen::Calls(mut calls) if ask.format.is_some() => {
            let text = calls.pop().map(|call| call.arguments.to_string());
            Said { text, ..said }
        }
        Chosen::Calls(calls) => Said { calls, ..said },
        Chosen::None => {
            Said { text: Some("None of the functions fits this message.".to_owned()), ..said }
        }
        Chosen::Lacks { name, missing, fault } if fault.is_empty() => {
            let what =
                format!("`{name}` needs what the message does not state: {}", missing.join(", "));
            if forced {
                Said { refusal: Some(format!("{what}.")), ..said }
            } else {
                Said { text: Some(format!("{what}. What is it?")), ..said }
            }
        }
        Chosen::Lacks { name, fault, .. } => {
            Said { refusal: Some(format!("`{name}` cannot be called so: {fault}")), ..said }
        }
    }
}

/// Notes what an answer took, and keeps it where it is to be kept.
///
/// # Errors
/// `store_unavailable`.
pub(super) async fn note(
    state: &AppState,
    key: &Key,
    (id, kind, model): (Uuid, &str, &str),
    took: Took,
    kept: Option<&Value>,
) -> Result<(), Problem> {
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    let new = NewCompletion {
        id,
        kind,
        model,
        by: &key.0.label,
        prompt_tokens: took.prompt,
        cached_tokens: took.cached,
        decoded_tokens: took.decoded,
        ms: took.ms,
        kept,
    };
    tx.add_completion(&new).await?;
    Ok(tx.commit().await?)
}
