//! The inbox of approvals: what waits, with arguments, origin and consequence; one decision or several
//! at once, by mouse or keyboard; and the page that a signed link opens.

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::trace::Tools;
use super::view::{self, Ask, Frame};
use super::{Fields, Trouble, enter, enter_form, frame, show};
use crate::approvals::{Decider, Decision, Outcome, decide, link, tool_changed};
use crate::auth::Browser;
use crate::error::Problem;
use crate::state::AppState;
use crate::store::{Approval, TenantTx};

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jv/{slug}/approvals", get(inbox).post(decide_many))
        .route("/jv/{slug}/approvals/{approval}", post(decide_one))
        .route("/decide/{token}", get(open_link).post(decide_by_link))
}

/// A decided approval.
#[derive(Debug, Clone)]
struct Past {
    tool: String,
    outcome: String,
    by: String,
    reason: String,
    at: String,
    run: String,
}

/// `/jv/{slug}/approvals`
#[derive(Template)]
#[template(path = "approvals.html")]
struct InboxPage {
    frame: Frame,
    asks: Vec<Ask>,
    past: Vec<Past>,
    /// What the last batch came to.
    said: Vec<String>,
}

/// `/decide/{token}`
#[derive(Template)]
#[template(path = "decide.html")]
struct LinkPage {
    venture: String,
    subject: String,
    token: String,
    ask: Option<Ask>,
    said: String,
}

/// Builds the form of an approval with the request behind it and who agreed so far.
async fn ask_of(state: &AppState, tx: &mut TenantTx, approval: &Approval) -> Result<Ask, Problem> {
    let pack = tx.tenant().await?.pack;
    let agent = state.agents.get(&pack);
    let tools = Tools::of(agent.as_ref().map(|agent| agent.pack().as_ref()));
    // A rule that was added since holds as well.
    let needed = tx.approvers_needed(&approval.tool, &approval.arguments).await?;
    let approval = &Approval { needed: approval.needed.max(needed), ..approval.clone() };
    let mut ask = Ask::of(approval, &[], tools);
    ask.request = tx.get_run(approval.run_id).await?.request;
    let votes = tx.votes(approval.id).await?;
    ask.agreed = votes.into_iter().filter(|vote| vote.approved).map(|vote| vote.subject).collect();
    Ok(ask)
}

async fn inbox(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "approvals").await?;
    page(&state, &mut tx, frame, Vec::new()).await
}

async fn page(
    state: &AppState,
    tx: &mut TenantTx,
    frame: Frame,
    said: Vec<String>,
) -> Result<Response, Trouble> {
    let all = tx.approvals(false).await?;
    let (waiting, past): (Vec<_>, Vec<_>) = all.iter().partition(|a| a.status == "pending");
    let past = past.iter().map(|a| Past {
        tool: a.tool.clone(),
        outcome: a.status.clone(),
        by: a.decided_by.clone().unwrap_or_default(),
        reason: a.reason.clone().unwrap_or_default(),
        at: view::when(&a.created_at),
        run: a.run_id.to_string(),
    });
    let past = past.collect();
    let mut asks = Vec::new();
    for approval in waiting {
        asks.push(ask_of(state, tx, approval).await?);
    }
    Ok(show(&InboxPage { frame, asks, past, said }))
}

#[derive(Deserialize)]
struct DecideForm {
    csrf: String,
    decision: String,
    #[serde(default)]
    reason: String,
}

async fn decide_one(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, approval)): Path<(String, String)>,
    Fields(form): Fields<DecideForm>,
) -> Result<Response, Trouble> {
    let approval = approval.parse().map_err(|_| Problem::not_found("approval"))?;
    let (session, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "runs:write").await?;
    let decision = Decision { approved: form.decision == "approve", reason: form.reason.trim() };
    let decider = Decider::of_session(&session);
    let outcome = decide(&mut tx, &state.agents, approval, decision, &decider).await?;
    tx.commit().await?;
    match outcome {
        Outcome::Decided(run) => {
            Ok(Redirect::to(&format!("/jv/{slug}/runs/{run}")).into_response())
        }
        Outcome::Waits { .. } => Ok(Redirect::to(&format!("/jv/{slug}/approvals")).into_response()),
        Outcome::AskedAgain(_) => Err(tool_changed().into()),
    }
}

/// Decides what was ticked; each on its own, so that one that is refused keeps no other back.
async fn decide_many(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Fields(form): Fields<Vec<(String, String)>>,
) -> Result<Response, Trouble> {
    let field = |name: &str| {
        let found = form.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let (session, tx) = enter_form(&state, &browser, &slug, &field("csrf"), "runs:write").await?;
    drop(tx);
    let reason = field("reason");
    let decision = Decision { approved: field("decision") == "approve", reason: reason.trim() };
    let decider = Decider::of_session(&session);
    let ticked = form.iter().filter(|(key, _)| key == "approval");
    let ticked: Vec<Uuid> = ticked.filter_map(|(_, value)| value.parse().ok()).collect();
    let mut said = Vec::new();
    for approval in &ticked {
        let mut tx = state.store.begin(session.tenant_id).await?;
        match decide(&mut tx, &state.agents, *approval, decision, &decider).await {
            Ok(outcome) => {
                tx.commit().await?;
                let word = if decision.approved { "approved" } else { "turned down" };
                said.push(match outcome {
                    Outcome::Decided(_) => format!("{word}: {approval}"),
                    Outcome::Waits { .. } => {
                        format!("{word}, another person must agree: {approval}")
                    }
                    Outcome::AskedAgain(_) => {
                        format!("not decided: {approval}: {}", tool_changed().detail)
                    }
                });
            }
            Err(problem) => said.push(format!("not decided: {approval}: {}", problem.detail)),
        }
    }
    if said.is_empty() {
        said.push("Nothing was ticked, so nothing was decided.".to_owned());
    }
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "approvals").await?;
    page(&state, &mut tx, frame, said).await
}

async fn open_link(
    State(state): State<AppState>,
    Path(token): Path<String>,
) -> Result<Response, Trouble> {
    let (claim, mut tx) = link::open(&state.store, &token, Timestamp::now()).await?;
    let approval = tx.get_approval(claim.approval).await?;
    let venture = tx.tenant().await?.name;
    let open = approval.status == "pending";
    let ask = if open { Some(ask_of(&state, &mut tx, &approval).await?) } else { None };
    let said = if open { String::new() } else { format!("This was {} already.", approval.status) };
    Ok(show(&LinkPage { venture, subject: claim.subject, token, ask, said }))
}

#[derive(Deserialize)]
struct LinkForm {
    decision: String,
    #[serde(default)]
    reason: String,
}

async fn decide_by_link(
    State(state): State<AppState>,
    Path(token): Path<String>,
    Fields(form): Fields<LinkForm>,
) -> Result<Response, Trouble> {
    let (claim, mut tx) = link::open(&state.store, &token, Timestamp::now()).await?;
    tx.use_link(claim.nonce, claim.approval).await?;
    let decision = Decision { approved: form.decision == "approve", reason: form.reason.trim() };
    let outcome =
        decide(&mut tx, &state.agents, claim.approval, decision, &claim.decider()).await?;
    let venture = tx.tenant().await?.name;
    tx.commit().await?;
    let said = match (outcome, decision.approved) {
        (Outcome::Waits { .. }, _) => "Noted. Another person must agree before anything happens.",
        (Outcome::AskedAgain(_), _) => {
            "Nothing was decided: the tool changed since, and is asked about anew."
        }
        (_, true) => "Approved. It runs now, once, with exactly these arguments.",
        (_, false) => "Turned down. Nothing is done.",
    };
    let page = LinkPage {
        venture,
        subject: claim.subject,
        token: String::new(),
        ask: None,
        said: said.to_owned(),
    };
    Ok(show(&page))
}
