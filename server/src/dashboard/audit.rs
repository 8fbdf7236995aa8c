//! The page of the audit chain, with its search.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::view::Frame;
use super::{Trouble, enter, frame, show, view};
use crate::auth::Browser;
use crate::state::AppState;
use crate::store::AuditFilter;

/// Entries on a page.
const PAGE: u16 = 50;

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/jv/{slug}/audit", get(page))
}

struct Line {
    seq: i64,
    kind: String,
    run: String,
    by: String,
    detail: String,
    at: String,
    hash: String,
}

/// `/jv/{slug}/audit`
#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    lines: Vec<Line>,
    search: String,
    next: String,
}

#[derive(Deserialize)]
struct AuditQuery {
    #[serde(default)]
    q: String,
    #[serde(default)]
    before: String,
}

async fn page(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "audit").await?;
    let filter = AuditFilter {
        before: query.before.parse().ok(),
        // No entry holds this character, and no query may.
        search: query.q.replace('\0', "").trim().to_owned(),
    };
    let entries = tx.search_audit(&filter, PAGE).await?;
    let more = entries.last().filter(|_| entries.len() == usize::from(PAGE));
    let next = more.map_or_else(String::new, |last| {
        let q: String = filter.search.bytes().map(|b| format!("%{b:02X}")).collect();
        format!("/jv/{slug}/audit?q={q}&before={}", last.seq)
    });
    let lines = entries.iter().map(|entry| Line {
        seq: entry.seq,
        kind: entry.kind.clone(),
        run: entry.run.clone().unwrap_or_default(),
        by: if entry.subject.is_empty() { entry.actor.clone() } else { entry.subject.clone() },
        detail: said(&entry.detail),
        at: jiff::Timestamp::from_microsecond(entry.micros)
            .map(|at| view::when(&at))
            .unwrap_or_default(),
        hash: entry.sha256.get(..12).unwrap_or_default().to_owned(),
    });
    let lines = lines.collect();
    Ok(show(&AuditPage { frame, lines, search: filter.search, next }))
}

/// Says what an entry holds, one word after the other; hashes are in the export.
fn said(detail: &serde_json::Value) -> String {
    let Some(detail) = detail.as_object() else { return String::new() };
    let shown = detail.iter().filter(|(name, value)| !name.ends_with("sha256") && !value.is_null());
    let said = shown.map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{}: {}", name.replace('_', " "), view::cut(&value, 60))
    });
    said.collect::<Vec<_>>().join(" · ")
}
