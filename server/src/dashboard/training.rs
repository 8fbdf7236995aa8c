//! Verdicts on runs and consent to train on them, on the pages.

use agents::synth::Consent;
use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::view::{Frame, when};
use super::{Fields, Trouble, enter, enter_form, frame, run_id, show};
use crate::auth::Browser;
use crate::error::Problem;
use crate::state::AppState;
use crate::store::{Allowed, RunSource, Status, TenantTx};
use crate::training::{Call, Said, consent_of, judge};
use crate::view::RunView;

/// Decisions that a correction may name, as people read them.
const DECISIONS: [(&str, &str); 5] = [
    ("call", "Make these calls"),
    ("ask", "Ask for what the last call lacks"),
    ("search", "Answer from the documents"),
    ("none", "Say that nothing here serves it"),
    ("person", "Hand it to a person"),
];

/// What may be allowed, as people read it.
const LEVELS: [(&str, &str); 3] =
    [("none", "Nothing"), ("own", "Only our own planner"), ("pooled", "Any planner")];

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/runs/{run}/verdict", post(verdict))
        .route("/jv/{slug}/training", get(page).post(consent))
}

/// What is said of a run, and the form to say it.
#[derive(Debug, Clone)]
pub(super) struct VerdictPart {
    /// Empty while nothing is said.
    pub(super) said: String,
    /// The calls to correct, as JSON.
    pub(super) calls: String,
    /// Decisions by name and words.
    pub(super) decisions: [(&'static str, &'static str); 5],
}

/// Builds the verdict part of a run that has ended.
pub(super) async fn part(
    tx: &mut TenantTx,
    view: &RunView,
    status: Status,
) -> Result<Option<VerdictPart>, Problem> {
    if !status.is_final() {
        return Ok(None);
    }
    let verdict = tx.verdict(view.id.parse().map_err(|_| Problem::not_found("run"))?).await?;
    let said = verdict.as_ref().map_or_else(String::new, |verdict| {
        format!("{} by {}, {}.", verdict.judgement.name(), verdict.by, when(&verdict.at))
    });
    let calls = match verdict {
        Some(verdict) if verdict.decision == "call" => format!("{:#}", verdict.calls),
        _ => {
            let made = view.calls.iter();
            let made = made.map(|c| Call { tool: c.tool.clone(), arguments: c.arguments.clone() });
            serde_json::to_string_pretty(&made.collect::<Vec<_>>()).unwrap_or_default()
        }
    };
    Ok(Some(VerdictPart { said, calls, decisions: DECISIONS }))
}

#[derive(Deserialize)]
struct VerdictForm {
    csrf: String,
    verdict: String,
    #[serde(default)]
    decision: String,
    #[serde(default)]
    calls: String,
}

impl VerdictForm {
    fn said(self) -> Result<Said, Problem> {
        match self.verdict.as_str() {
            "accepted" => Ok(Said::Accepted {}),
            "withdrawn" => Ok(Said::Withdrawn {}),
            "corrected" => {
                // The box shows the calls that were made; a decision without calls leaves them out.
                let calling = matches!(self.decision.as_str(), "call" | "ask");
                let calls = if calling { self.calls.as_str() } else { "[]" };
                let calls = serde_json::from_str(calls).map_err(|error| {
                    let detail = format!("the calls are not a JSON array of calls: {error}");
                    Problem::invalid("invalid_correction", detail)
                })?;
                Ok(Said::Corrected { decision: self.decision, calls })
            }
            _ => Err(Problem::invalid("invalid_verdict", "accept, correct or take back")),
        }
    }
}

async fn verdict(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, run)): Path<(String, String)>,
    Fields(form): Fields<VerdictForm>,
) -> Result<Response, Trouble> {
    let run = run_id(&run)?;
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "runs:write").await?;
    let pack = tx.get_run(run).await?.pack;
    let agent = state.agents.get(&pack).ok_or_else(|| Problem::not_found("pack"))?;
    judge(&mut tx, agent.pack(), run, &form.said()?, &session.subject).await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/jv/{slug}/runs/{run}")).into_response())
}

/// One source of runs.
struct Line {
    source: &'static str,
    title: &'static str,
    level: &'static str,
    decided: String,
    levels: [(&'static str, &'static str); 3],
}

impl Line {
    fn of(allowed: &Allowed) -> Self {
        let level = LEVELS.iter().find(|(name, _)| *name == allowed.level.name());
        let at = allowed.at.as_ref().map(when);
        Self {
            source: allowed.source.name(),
            title: match allowed.source {
                RunSource::Api => "From the API",
                RunSource::Page => "From these pages",
                RunSource::Cli => "From the command line",
            },
            level: level.map_or(Consent::None.name(), |(_, words)| words),
            decided: at.map_or_else(String::new, |at| format!("{}, {at}", allowed.by)),
            levels: LEVELS,
        }
    }
}

/// `/jv/{slug}/training`
#[derive(Template)]
#[template(path = "training.html")]
struct TrainingPage {
    frame: Frame,
    lines: Vec<Line>,
    usable: usize,
}

async fn page(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "training").await?;
    let lines = tx.consents().await?.iter().map(Line::of).collect();
    let usable = tx.judged_runs(None).await?.len();
    Ok(show(&TrainingPage { frame, lines, usable }))
}

#[derive(Deserialize)]
struct ConsentForm {
    csrf: String,
    source: String,
    level: String,
}

async fn consent(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<ConsentForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "data:write").await?;
    let (source, level) = consent_of(&form.source, &form.level)?;
    tx.set_consent(source, level, &session.subject).await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/jv/{slug}/training")).into_response())
}
