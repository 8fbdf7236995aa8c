//! The pages of planners: the list with its history, one planner with the gate's verdict and its
//! shadow, and the progress of a training or a gate. All of it works without scripts.

use std::collections::HashMap;

use agents::eval::gate::{Check, Verdict};
use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;

use super::view::{Badge, Frame, cut, when};
use super::{CancelForm, Fields, Trouble, enter, enter_form, frame, show};
use crate::auth::Browser;
use crate::error::Problem;
use crate::models::api::{id_of, report_page};
use crate::models::change::{self, verdict_of};
use crate::models::job::{Training, start_gate, start_training};
use crate::models::{Gated, ModelError, pack_of};
use crate::state::AppState;
use crate::store::{Model, ModelJob, ModelState, ShadowCounts, TenantTx};

/// Differences of a shadow on a page.
const DIFFERENCES: u16 = 50;

/// Jobs that the list looks back to.
const JOBS: u16 = 5;

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/models", get(list))
        .route("/jv/{slug}/models/train", post(train))
        .route("/jv/{slug}/models/rollback", post(rollback))
        .route("/jv/{slug}/models/jobs/{job}", get(job))
        .route("/jv/{slug}/models/jobs/{job}/stop", post(stop))
        .route("/jv/{slug}/models/{id}", get(one))
        .route("/jv/{slug}/models/{id}/gate", post(gate))
        .route("/jv/{slug}/models/{id}/promote", post(promote))
        .route("/jv/{slug}/models/{id}/shadow", post(shadow))
        .route("/jv/{slug}/models/{id}/report", get(report))
}

fn badge(state: ModelState) -> Badge {
    let (word, class) = match state {
        ModelState::Live => ("Plans", "good"),
        ModelState::Shadow => ("Shadow", "wait"),
        ModelState::Candidate => ("Candidate", "calm"),
        ModelState::Retired => ("Retired", "calm"),
    };
    Badge { word, class }
}

fn gate_badge(gated: Option<&Gated>) -> Badge {
    let (word, class) = match gated.map(|gated| gated.verdict.passed) {
        Some(true) => ("Passed", "good"),
        Some(false) => ("Kept back", "ask"),
        None => ("Not run", "calm"),
    };
    Badge { word, class }
}

/// A planner in the list.
struct Line {
    id: String,
    label: String,
    version: String,
    state: Badge,
    gate: Badge,
    share: String,
    at: String,
    by: String,
}

impl Line {
    fn of(model: &Model) -> Self {
        let gated = verdict_of(model);
        Self {
            id: model.id.to_string(),
            label: model.label.clone(),
            version: model.version(),
            state: badge(model.state),
            gate: gate_badge(gated.as_ref()),
            share: gated.map(|g| g.verdict.candidate.share.to_string()).unwrap_or_default(),
            at: when(&model.created_at),
            by: model.created_by.clone(),
        }
    }
}

/// A training or a gate on a page.
struct JobLine {
    id: String,
    title: String,
    running: bool,
    percent: u32,
    said: String,
    fault: String,
}

impl JobLine {
    fn of(job: &ModelJob) -> Self {
        let what = if job.kind == "gate" { "Gate of" } else { "Training of" };
        let lost = job.state == "running" && !job.is_alive();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let percent = (job.share.clamp(0.0, 1.0) * 100.0) as u32;
        Self {
            id: job.id.to_string(),
            title: format!("{what} {}", job.label),
            running: job.is_alive(),
            percent,
            said: job.said.clone(),
            fault: match (&job.message, lost) {
                (Some(message), _) => message.clone(),
                (None, true) => {
                    "It broke off, most likely because the server was stopped. Start it again."
                        .to_owned()
                }
                (None, false) => String::new(),
            },
        }
    }
}

#[derive(Template)]
#[template(path = "models.html")]
struct ListPage {
    frame: Frame,
    lines: Vec<Line>,
    default: String,
    live: String,
    jobs: Vec<JobLine>,
    busy: bool,
    /// What took over, how, who decided, when.
    history: Vec<(String, &'static str, String, String)>,
    minutes: f64,
}

async fn list(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "models").await?;
    let models = state.agents.models();
    let (live, _) = models.live(&mut tx).await?;
    let default = models.default_planner().version().to_owned();
    let known = tx.models().await?;
    let history = tx.promotions().await?.into_iter().rev().map(|one| {
        let model = one.model.and_then(|id| known.iter().find(|model| model.id == id));
        let name = model.map_or_else(|| default.clone(), |model| model.label.clone());
        (name, if one.rollback { "went back" } else { "promoted" }, one.by, when(&one.at))
    });
    let history = history.collect();
    let jobs = tx.model_jobs(JOBS).await?;
    Ok(show(&ListPage {
        frame,
        lines: known.iter().map(Line::of).collect(),
        default,
        live,
        busy: jobs.iter().any(ModelJob::is_alive),
        jobs: jobs.iter().take(1).filter(|job| job.state != "done").map(JobLine::of).collect(),
        history,
        minutes: Training::default().minutes,
    }))
}

/// A case on which two planners differ.
struct ChangeLine {
    case: String,
    request: String,
    lang: String,
    gained: bool,
    expected: String,
    before: (String, String),
    after: (String, String),
}

/// What the gate found, for a page.
struct VerdictView {
    at: String,
    against: String,
    /// Whether it speaks about what is there now.
    current: bool,
    verdict: Verdict,
    /// Requests by the names of their cases.
    requests: HashMap<String, String>,
}

impl VerdictView {
    /// Name, right, share, forbidden calls and median plan of both sides.
    fn sides(&self) -> [(String, usize, String, usize, String); 2] {
        let sides =
            [("This planner", self.verdict.candidate), (&self.against, self.verdict.against)];
        sides.map(|(name, side)| {
            let ms = format!("{:.1} ms", side.plan_ms_p50);
            (name.to_owned(), side.right, side.share.to_string(), side.forbidden, ms)
        })
    }

    fn checks(&self) -> &[Check] {
        &self.verdict.checks
    }

    fn changes(&self) -> Vec<ChangeLine> {
        let said = |said: &agents::eval::gate::Said| (said.decided.clone(), said.plan.clone());
        let changed = self.verdict.changed.iter().map(|change| ChangeLine {
            case: change.case.clone(),
            request: self.requests.get(&change.case).map(|text| cut(text, 200)).unwrap_or_default(),
            lang: change.lang.clone(),
            gained: change.gained,
            expected: change.expected.clone(),
            before: said(&change.before),
            after: said(&change.after),
        });
        changed.collect()
    }
}

/// A request on which a shadow differed.
struct ShadowLine {
    run: String,
    request: String,
    differs: String,
    live: String,
    shadow: String,
    ms: String,
}

#[derive(Template)]
#[template(path = "model.html")]
struct OnePage {
    frame: Frame,
    line: Line,
    state: &'static str,
    base: String,
    pack: String,
    size: String,
    digest: String,
    promoted: String,
    has_report: bool,
    live: String,
    verdict: Option<VerdictView>,
    may_be_promoted: bool,
    jobs: Vec<JobLine>,
    busy: bool,
    counts: ShadowCounts,
    differences: Vec<ShadowLine>,
}

/// Says what a planner decided, in one line.
fn words(told: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut line = text(&told["decision"]);
    for call in told["calls"].as_array().into_iter().flatten() {
        line += &format!(" {} {}", text(&call["tool"]), call["arguments"]);
    }
    for part in ["tool", "missing", "message"] {
        match &told[part] {
            Value::Null => {}
            Value::String(said) => line += &format!(" {said}"),
            other => line += &format!(" {other}"),
        }
    }
    cut(&line, 400)
}

async fn shadow_of(
    tx: &mut TenantTx,
    model: &Model,
) -> Result<(ShadowCounts, Vec<ShadowLine>), Problem> {
    let counts = tx.shadow_counts(model.id).await?;
    let differences = tx.shadow_differences(model.id, DIFFERENCES).await?;
    let lines = differences.into_iter().map(|plan| ShadowLine {
        run: plan.run.to_string(),
        request: cut(&plan.request, 160),
        differs: plan.differs,
        live: words(&plan.live),
        shadow: words(&plan.shadow),
        ms: format!("{:.0} / {:.0} ms", plan.live_ms, plan.shadow_ms),
    });
    Ok((counts, lines.collect()))
}

async fn one(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "models").await?;
    let model = tx.model(id_of(&id)?).await?;
    let models = state.agents.models();
    let pack = pack_of(&tx.tenant().await?.pack)?;
    let basis = models.basis(&mut tx, &pack).await?;
    let cases = agents::eval::cases(&pack).map_err(ModelError::pack)?;
    let verdict = verdict_of(&model).map(|gated| VerdictView {
        requests: cases.into_iter().map(|case| (case.id, case.request)).collect(),
        at: when(&gated.at),
        against: gated.basis.against.clone(),
        current: gated.holds_for(&basis, models.rules()),
        verdict: gated.verdict,
    });
    let jobs = tx.model_jobs(JOBS).await?;
    let (counts, differences) = shadow_of(&mut tx, &model).await?;
    let may = verdict.as_ref().is_some_and(|found| found.current && found.verdict.passed);
    Ok(show(&OnePage {
        frame,
        line: Line::of(&model),
        state: model.state.name(),
        base: model.base.clone(),
        pack: format!("{} {}", model.pack, model.pack_version),
        size: format!("{:.1} MB", model.size as f64 / 1e6),
        digest: model.digest.clone(),
        promoted: model.promoted_at.as_ref().map(when).unwrap_or_default(),
        has_report: model.has_report,
        live: basis.against,
        verdict,
        may_be_promoted: may && model.state != ModelState::Live,
        busy: jobs.iter().any(ModelJob::is_alive),
        jobs: jobs
            .iter()
            .filter(|job| job.model == Some(model.id))
            .take(1)
            .filter(|job| job.state != "done")
            .map(JobLine::of)
            .collect(),
        counts,
        differences,
    }))
}

#[derive(Template)]
#[template(path = "model_job.html")]
struct JobPage {
    frame: Frame,
    job: JobLine,
}

async fn job(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, job)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let job = job.parse().map_err(|_| Problem::not_found("job"))?;
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let known = tx.model_job(job).await?;
    if let (true, Some(model)) = (known.state == "done", known.model) {
        return Ok(Redirect::to(&format!("/jv/{slug}/models/{model}")).into_response());
    }
    let frame = frame(&state, &session, &mut tx, "models").await?;
    Ok(show(&JobPage { frame, job: JobLine::of(&known) }))
}

#[derive(Deserialize)]
struct TrainForm {
    csrf: String,
    #[serde(default)]
    label: String,
    minutes: f64,
}

async fn train(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<TrainForm>,
) -> Result<Response, Trouble> {
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf, "models:write").await?;
    drop(tx);
    let label = Some(form.label.trim().to_owned()).filter(|label| !label.is_empty());
    let wish = Training { label, minutes: form.minutes, ..Training::default() };
    wish.checked().map_err(|detail| Problem::invalid("invalid_training", detail))?;
    let job = start_training(&state, session.tenant_id, wish, &session.subject).await?;
    Ok(Redirect::to(&format!("/jv/{slug}/models/jobs/{job}")).into_response())
}

async fn gate(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(form): Fields<CancelForm>,
) -> Result<Response, Trouble> {
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf, "models:write").await?;
    drop(tx);
    let job = start_gate(&state, session.tenant_id, id_of(&id)?).await?;
    Ok(Redirect::to(&format!("/jv/{slug}/models/jobs/{job}")).into_response())
}

async fn stop(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, job)): Path<(String, String)>,
    Fields(form): Fields<CancelForm>,
) -> Result<Response, Trouble> {
    let (_, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "models:write").await?;
    tx.stop_model_job(job.parse().map_err(|_| Problem::not_found("job"))?).await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/jv/{slug}/models/jobs/{job}")).into_response())
}

async fn promote(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(form): Fields<CancelForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "models:write").await?;
    let pack = pack_of(&tx.tenant().await?.pack)?;
    drop(tx);
    let (models, tenant) = (state.agents.models(), session.tenant_id);
    change::promote(models, &state.store, tenant, &pack, id_of(&id)?, &session.subject).await?;
    Ok(Redirect::to(&format!("/jv/{slug}/models/{id}")).into_response())
}

async fn rollback(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<CancelForm>,
) -> Result<Response, Trouble> {
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf, "models:write").await?;
    drop(tx);
    let (models, tenant) = (state.agents.models(), session.tenant_id);
    change::rollback(models, &state.store, tenant, &session.subject).await?;
    Ok(Redirect::to(&format!("/jv/{slug}/models")).into_response())
}

#[derive(Deserialize)]
struct ShadowForm {
    csrf: String,
    on: bool,
}

async fn shadow(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(form): Fields<ShadowForm>,
) -> Result<Response, Trouble> {
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf, "models:write").await?;
    drop(tx);
    let models = state.agents.models();
    change::shadow(models, &state.store, session.tenant_id, id_of(&id)?, form.on).await?;
    Ok(Redirect::to(&format!("/jv/{slug}/models/{id}#shadow")).into_response())
}

async fn report(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let (_, mut tx) = enter(&state, &browser, &slug).await?;
    Ok(report_page(tx.model_report(id_of(&id)?).await?))
}
