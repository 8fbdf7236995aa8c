//! The partner dashboard: pages that work without scripts; a small script makes a run's page live.

mod access;
mod audit;
mod control;
mod datasets;
mod inbox;
mod mapping;
mod markdown;
mod models;
mod outcomes;
mod outcomes_forms;
mod outcomes_ledger;
mod sign_in;
mod sources;
mod trace;
mod training;
mod view;
mod webhooks;

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::access::Access;
use crate::agent::new_run;
use crate::api::cancel_run;
use crate::approvals;
use crate::auth::Browser;
use crate::error::Problem;
use crate::input::checked;
use crate::live;
use crate::state::AppState;
use crate::store::{NewRun, RunFilter, RunSource, Session, TenantTx, same};
use crate::view::RunView;
use trace::Tools;
use view::{
    Frame, LivePart, PackPage, ProblemPage, RunLine, RunPage, RunsPage, ToolLine, Venture,
    VenturesPage,
};

/// Runs on a page.
const PAGE: u16 = 25;

const STYLE: &str = include_str!("../../assets/app.css");
const SCRIPT: &str = include_str!("../../assets/app.js");

/// Returns the routes of the pages.
pub fn routes(access: Arc<Access>) -> Router<AppState> {
    Router::new()
        .route("/", get(ventures))
        .route("/jv/{slug}", get(runs))
        .route("/jv/{slug}/runs", post(ask))
        .route("/jv/{slug}/runs/{run}", get(run))
        .route("/jv/{slug}/runs/{run}/live", get(run_live))
        .route("/jv/{slug}/runs/{run}/events", get(run_events))
        .route("/jv/{slug}/runs/{run}/cancel", post(cancel))
        .route("/jv/{slug}/pack", get(pack))
        .merge(control::routes())
        .merge(sign_in::routes())
        .merge(access::routes())
        .merge(datasets::routes())
        .merge(inbox::routes())
        .merge(audit::routes())
        .merge(training::routes())
        .merge(models::routes())
        .merge(outcomes::routes())
        .merge(webhooks::routes())
        .route("/assets/app.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/assets/app.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(access, own_forms))
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    // Pages name the edition in the address, so a browser never mixes two.
    let cache = "public, max-age=31536000, immutable";
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], text)
}

/// Returns a short digest of the style sheet and the script, for their addresses.
fn edition() -> &'static str {
    static EDITION: LazyLock<String> = LazyLock::new(|| {
        let digest = Sha256::new().chain_update(STYLE).chain_update(SCRIPT).finalize();
        hex::encode(&digest[..6])
    });
    &EDITION
}

/// Refuses what another site sends: signing in or out must be this browser's own wish.
async fn own_forms(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads || access.origin.is_own(request.headers()) {
        return next.run(request).await;
    }
    let problem = Problem::new(
        StatusCode::FORBIDDEN,
        "foreign_form",
        "This form came from another site",
        "nothing was changed; open the page here and send it again",
    );
    Trouble(problem).into_response()
}

async fn wrong_method(uri: Uri) -> Response {
    let detail = format!("{} is reached by a form of a page; go back to the page", uri.path());
    Trouble(Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address is not a page",
        detail,
    ))
    .into_response()
}

/// The fields of a form; what cannot be read is told on a page.
struct Fields<T>(T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, state: &S) -> Result<Self, Trouble> {
        match Form::<T>::from_request(request, state).await {
            Ok(Form(fields)) => Ok(Self(fields)),
            Err(error) => Err(Trouble(Problem::new(
                error.status(),
                "invalid_form",
                "The form could not be read",
                "nothing was changed; a field is missing, too long or not valid UTF-8. Go back and send it again",
            ))),
        }
    }
}

/// A problem as a page.
struct Trouble(Problem);

impl<E: Into<Problem>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let page = ProblemPage {
            status: self.0.status,
            title: self.0.title.to_owned(),
            detail: self.0.detail,
        };
        (status, show(&page)).into_response()
    }
}

fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Answers addresses that nothing serves.
pub async fn lost(uri: Uri) -> Response {
    let detail = format!("there is nothing at {}; the way back is the first page", uri.path());
    let page = ProblemPage { status: 404, title: "Not found".to_owned(), detail };
    (StatusCode::NOT_FOUND, show(&page)).into_response()
}

/// The session of the joint venture in the address.
async fn enter(
    state: &AppState,
    browser: &Browser,
    slug: &str,
) -> Result<(Session, TenantTx), Problem> {
    for (_, session) in &browser.0 {
        let mut tx = state.store.begin(session.tenant_id).await?;
        if tx.tenant().await?.slug == slug {
            return Ok((session.clone(), tx));
        }
    }
    Err(Problem::not_found("joint venture among those that you are signed in to"))
}

/// As [`enter`], for a form: its token must be the session's, and the role must permit what it does.
async fn enter_form(
    state: &AppState,
    browser: &Browser,
    slug: &str,
    csrf: &str,
    scope: &str,
) -> Result<(Session, TenantTx), Problem> {
    let (session, tx) = enter(state, browser, slug).await?;
    if same(&session.csrf, csrf) {
        session.permits(scope)?;
        return Ok((session, tx));
    }
    Err(stale_form())
}

fn stale_form() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "stale_form",
        "This form is not valid any more",
        "nothing was changed; go back, reload the page and send it again",
    )
}

async fn frame(
    state: &AppState,
    session: &Session,
    tx: &mut TenantTx,
    here: &'static str,
) -> Result<Frame, Problem> {
    let tenant = tx.tenant().await?;
    let pending = tx.approvals(true).await?.len();
    let pack = state
        .agents
        .get(&tenant.pack)
        .map_or_else(|| tenant.pack.clone(), |a| a.pack().manifest.title.clone());
    Ok(Frame {
        slug: tenant.slug,
        name: tenant.name,
        pack,
        subject: session.subject.clone(),
        csrf: session.csrf.clone(),
        pending,
        here,
    })
}

async fn ventures(State(state): State<AppState>, browser: Browser) -> Result<Response, Trouble> {
    let mut ventures: Vec<Venture> = Vec::new();
    for (_, session) in &browser.0 {
        let mut tx = state.store.begin(session.tenant_id).await?;
        let tenant = tx.tenant().await?;
        if ventures.iter().any(|v| v.slug == tenant.slug) {
            continue;
        }
        let manifest = state.agents.get(&tenant.pack).map(|agent| agent.pack().manifest.clone());
        let last = tx.list_runs(None, 1).await?.items.first().map(RunLine::of);
        ventures.push(Venture {
            pack: manifest.as_ref().map_or_else(|| tenant.pack.clone(), |m| m.title.clone()),
            about: manifest.map(|m| m.description).unwrap_or_default(),
            slug: tenant.slug,
            name: tenant.name,
            pending: tx.approvals(true).await?.len(),
            last,
        });
    }
    ventures.sort_by(|a, b| a.name.cmp(&b.name));
    let csrf = browser.0.first().map_or_else(String::new, |(_, session)| session.csrf.clone());
    Ok(show(&VenturesPage { csrf, ventures }))
}

#[derive(Deserialize, Default)]
struct RunsQuery {
    #[serde(default)]
    q: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    order: String,
    #[serde(default)]
    after: String,
}

async fn runs(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Query(query): Query<RunsQuery>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    runs_page(&state, &session, &mut tx, &query, None).await
}

async fn runs_page(
    state: &AppState,
    session: &Session,
    tx: &mut TenantTx,
    query: &RunsQuery,
    refused: Option<(String, String)>,
) -> Result<Response, Trouble> {
    let frame = frame(state, session, tx, "runs").await?;
    let oldest = query.order == "oldest";
    let filter = RunFilter {
        cursor: query.after.parse().ok(),
        // No request holds this character, and no query may.
        search: query.q.replace('\0', "").trim().to_owned(),
        status: crate::store::Status::of(&query.status),
        oldest_first: oldest,
    };
    let page = tx.find_runs(&filter, PAGE).await?;
    let next = page.next.map_or_else(String::new, |after| {
        let q: String = query.q.bytes().map(|b| format!("%{b:02X}")).collect();
        format!(
            "/jv/{}?q={q}&status={}&order={}&after={after}",
            frame.slug,
            filter.status.map_or("", |s| s.name()),
            if oldest { "oldest" } else { "" }
        )
    });
    let tenant = tx.tenant().await?;
    let examples = state
        .agents
        .get(&tenant.pack)
        .map(|a| a.pack().manifest.examples.clone())
        .unwrap_or_default();
    let status = if refused.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = RunsPage {
        frame,
        examples,
        runs: page.items.iter().map(RunLine::of).collect(),
        search: filter.search,
        status: filter.status.map(|s| s.name().to_owned()).unwrap_or_default(),
        oldest,
        next,
        refused,
    };
    Ok((status, show(&page)).into_response())
}

#[derive(Deserialize)]
struct AskForm {
    csrf: String,
    request: String,
}

async fn ask(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<AskForm>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "runs:write").await?;
    if let Err(problem) = checked(&form.request) {
        // What was written is kept in the box.
        let refused = Some((form.request, problem.detail));
        return runs_page(&state, &session, &mut tx, &RunsQuery::default(), refused).await;
    }
    let pack = tx.tenant().await?.pack;
    let new = NewRun { source: RunSource::Page, ..new_run(&pack, &pack, &form.request, None) };
    let (run, _) = tx.create_run(&new).await?;
    tx.set_asked_by(run, &approvals::Decider::of_session(&session).id).await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/jv/{slug}/runs/{run}")).into_response())
}

fn run_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found("run"))
}

async fn live_part(
    state: &AppState,
    tx: &mut TenantTx,
    slug: &str,
    csrf: &str,
    run: Uuid,
) -> Result<(RunView, LivePart), Problem> {
    let row = tx.get_run(run).await?;
    let view = RunView::of(&row, &tx.events(run, 0).await?);
    let pending = tx.approvals(true).await?;
    let approval = pending.iter().find(|approval| approval.run_id == run);
    let agent = state.agents.get(&row.pack);
    let tools = Tools::of(agent.as_ref().map(|agent| agent.pack().as_ref()));
    let mut live = LivePart::of(slug, csrf, &view, row.status.is_final(), approval, tools);
    live.verdict = training::part(tx, &view, row.status).await?;
    Ok((view, live))
}

async fn run(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, run)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let run = run_id(&run)?;
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "runs").await?;
    let (view, live) = live_part(&state, &mut tx, &slug, &session.csrf, run).await?;
    let at = view::when(&tx.get_run(run).await?.created_at);
    // A page that waits for a person does not reload itself: a reason may be half written.
    let reload = !live.ended && live.ask.is_none() && !live.lapsed;
    let ended = live.ended;
    let live = markdown::Html::rendered(live.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The page cannot be shown",
            error.to_string(),
        )
    })?);
    Ok(show(&RunPage {
        frame,
        request: view.request,
        lang: view.lang,
        missing: view.missing.join(", ").replace('_', " "),
        at,
        id: run.to_string(),
        ended,
        reload,
        live,
    }))
}

async fn run_live(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, run)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let run = run_id(&run)?;
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let (_, live) = live_part(&state, &mut tx, &slug, &session.csrf, run).await?;
    Ok(show(&live))
}

async fn run_events(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, run)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = run_id(&run)?;
    let (session, _) = enter(&state, &browser, &slug).await?;
    Ok(live::journal(state, session.tenant_id, run, &headers).await?.into_response())
}

#[derive(Deserialize)]
struct CancelForm {
    csrf: String,
}

async fn cancel(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, run)): Path<(String, String)>,
    Fields(form): Fields<CancelForm>,
) -> Result<Response, Trouble> {
    let id = run_id(&run)?;
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf, "runs:write").await?;
    drop(tx);
    cancel_run(&state.store, session.tenant_id, id, &session.subject).await?;
    Ok(Redirect::to(&format!("/jv/{slug}/runs/{run}")).into_response())
}

async fn pack(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "pack").await?;
    let tenant = tx.tenant().await?;
    let agent = state.agents.get(&tenant.pack).ok_or_else(|| Problem::not_found("pack"))?;
    let tools = agent.pack().tools.iter().map(|tool| ToolLine {
        name: tool.name.clone(),
        title: tool.title.clone(),
        about: tool.description.clone(),
        effect: view::effect(tool.effect),
        method: tool.method.clone(),
    });
    let documents =
        agent.knowledge().documents().iter().map(|d| {
            (d.title.clone(), d.language.clone(), d.source.clone(), d.review_by.to_string())
        });
    Ok(show(&PackPage {
        frame,
        version: agent.pack().manifest.version.clone(),
        about: agent.pack().manifest.description.clone(),
        tools: tools.collect(),
        documents: documents.collect(),
    }))
}
