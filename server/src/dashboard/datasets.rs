//! The pages of datasets: the list, the upload, the import's progress, and a dataset with its rows,
//! refused lines and versions. All of it works without scripts.

use agents::dataset::{Format, Kind};
use agents::tool::Window;
use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Deserialize;

use super::view::{Frame, when};
use super::{CancelForm, Fields, Trouble, enter, enter_form, frame, mapping, show};
use crate::auth::Browser;
use crate::dataset::api::restored;
use crate::dataset::{AT_WORK, Reference, checked_id, keep, page, receive};
use crate::error::Problem;
use crate::state::AppState;
use crate::store::{Dataset, Import};

/// Rows shown of a dataset.
const SHOWN: usize = 20;
/// Refused lines on a page.
const REJECTS: i64 = 100;

/// Returns the routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route(
            "/jv/{slug}/datasets",
            // The upload counts its own bytes.
            get(list).merge(post(upload).layer(DefaultBodyLimit::disable())),
        )
        .route("/jv/{slug}/datasets/{id}", get(one))
        .route("/jv/{slug}/datasets/{id}/mapping", get(mapping::form).post(mapping::map))
        .route("/jv/{slug}/datasets/{id}/imports/{import}", get(progress))
        .route("/jv/{slug}/datasets/{id}/file", get(download))
        .route("/jv/{slug}/datasets/{id}/restore", post(restore))
        .route("/jv/{slug}/datasets/{id}/delete", post(delete))
}

/// A dataset in the list.
struct Line {
    id: String,
    version: i32,
    format: &'static str,
    rows: u64,
    rows_said: String,
    refused: u64,
    span: String,
    at: String,
    created: Timestamp,
}

pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut said = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            said.push(',');
        }
        said.push(digit);
    }
    said
}

fn instant(micros: i64) -> String {
    Timestamp::from_microsecond(micros).as_ref().map(when).unwrap_or_default()
}

impl Line {
    fn of(known: &Dataset) -> Self {
        let report = known.report.clone().unwrap_or_default();
        let format = known.mapping.as_ref().and_then(|mapping| mapping.format);
        Self {
            id: known.id.clone(),
            version: known.version,
            format: format.map_or("Not read yet", Format::title),
            rows: report.rows,
            rows_said: if format == Some(Format::File) {
                String::new()
            } else {
                grouped(report.rows)
            },
            refused: report.refused,
            span: report.times.map_or_else(String::new, |(first, last)| {
                let day = |micros| instant(micros).chars().take(10).collect::<String>();
                format!("{} – {}", day(first), day(last))
            }),
            at: when(&known.created_at),
            created: known.created_at,
        }
    }
}

#[derive(Template)]
#[template(path = "datasets.html")]
struct ListPage {
    frame: Frame,
    lines: Vec<Line>,
    deleted: Vec<(String, String)>,
    search: String,
    sort: String,
    fault: String,
    wanted: String,
    limit: usize,
}

impl ListPage {
    /// Names of the orders: name, word, chosen.
    fn orders(&self) -> [(&'static str, &'static str, bool); 3] {
        [
            ("", "By name", ""),
            ("newest", "Newest first", "newest"),
            ("rows", "Most rows first", "rows"),
        ]
        .map(|(name, word, key)| (name, word, self.sort == key))
    }
}

#[derive(Deserialize, Default)]
struct ListQuery {
    #[serde(default)]
    q: String,
    #[serde(default)]
    sort: String,
}

async fn list(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Trouble> {
    list_page(&state, &browser, &slug, query, (String::new(), String::new())).await
}

async fn list_page(
    state: &AppState,
    browser: &Browser,
    slug: &str,
    query: ListQuery,
    (fault, wanted): (String, String),
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(state, browser, slug).await?;
    let frame = frame(state, &session, &mut tx, "datasets").await?;
    let word = query.q.trim().to_lowercase();
    let mut lines: Vec<Line> = tx.datasets(false).await?.iter().map(Line::of).collect();
    lines.retain(|line| line.id.to_lowercase().contains(&word));
    match query.sort.as_str() {
        "newest" => lines.sort_by_key(|line| std::cmp::Reverse(line.created)),
        "rows" => lines.sort_by_key(|line| std::cmp::Reverse(line.rows)),
        _ => {}
    }
    let deleted = tx.datasets(true).await?;
    let deleted = deleted
        .iter()
        .map(|known| (known.id.clone(), known.deleted_at.as_ref().map(when).unwrap_or_default()));
    let status = if fault.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let page = ListPage {
        frame,
        lines,
        deleted: deleted.collect(),
        search: query.q.trim().to_owned(),
        sort: query.sort,
        fault,
        wanted,
        limit: agents::dataset::MAX_BYTES >> 20,
    };
    Ok((status, show(&page)).into_response())
}

/// Makes an identifier of a file's name.
fn id_of(file: &str) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let text: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-".contains(c) { c.to_ascii_lowercase() } else { '_' }
        })
        .take(60)
        .collect();
    text.trim_matches(['_', '-']).to_owned()
}

async fn upload(
    State(state): State<AppState>,
    browser: Browser,
    Path(slug): Path<String>,
    request: Request,
) -> Result<Response, Trouble> {
    // Who may not upload here is told before the file is read.
    enter(&state, &browser, &slug).await?;
    let permit = AT_WORK.acquire().await.map_err(|_| Problem::internal())?;
    let form = match receive(request, "").await {
        Ok(form) => form,
        Err(problem) => {
            let again = (problem.detail, String::new());
            return list_page(&state, &browser, &slug, ListQuery::default(), again).await;
        }
    };
    let csrf = form.fields.get("csrf").map_or("", String::as_str);
    let (session, tx) = enter_form(&state, &browser, &slug, csrf, "data:write").await?;
    drop(tx);
    let wanted = form.fields.get("id").map_or("", |id| id.trim()).to_owned();
    let Some(file) = form.file.filter(|file| !file.bytes.is_empty()) else {
        let again = ("choose a file that is not empty".to_owned(), wanted);
        return list_page(&state, &browser, &slug, ListQuery::default(), again).await;
    };
    let id = if wanted.is_empty() { id_of(&file.name) } else { wanted.clone() };
    if let Err(error) = checked_id(&id) {
        let again = (error.to_string(), wanted);
        return list_page(&state, &browser, &slug, ListQuery::default(), again).await;
    }
    let hash = keep(&state.store, session.tenant_id, &file).await?;
    drop(permit);
    let name: String = file.name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let to = format!("/jv/{slug}/datasets/{id}/mapping?file={hash}&name={name}");
    Ok(Redirect::to(&to).into_response())
}

#[derive(Template)]
#[template(path = "dataset_import.html")]
struct ImportPage {
    frame: Frame,
    id: String,
    file: String,
    running: bool,
    stalled: bool,
    percent: u32,
    rows: String,
    refused: String,
    message: String,
}

/// Seconds of silence after which an import counts as broken off.
const SILENCE: i64 = 120;

async fn progress(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id, import)): Path<(String, String, String)>,
) -> Result<Response, Trouble> {
    let import = import.parse().map_err(|_| Problem::not_found("import"))?;
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let import: Import = tx.import(import).await?;
    if import.dataset != id {
        return Err(Problem::not_found("import").into());
    }
    if import.state == "done" {
        let said = if import.repeated { "?said=same" } else { "?said=done" };
        return Ok(Redirect::to(&format!("/jv/{slug}/datasets/{id}{said}")).into_response());
    }
    let frame = frame(&state, &session, &mut tx, "datasets").await?;
    let silent = Timestamp::now().as_second() - import.updated_at.as_second() > SILENCE;
    let running = import.state == "running";
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
    let percent = (import.share.clamp(0.0, 1.0) * 100.0) as u32;
    Ok(show(&ImportPage {
        frame,
        id,
        file: import.file_name,
        running: running && !silent,
        stalled: running && silent,
        percent,
        rows: grouped(import.rows.unsigned_abs()),
        refused: grouped(import.refused.unsigned_abs()),
        message: import.message.unwrap_or_default(),
    }))
}

#[derive(Template)]
#[template(path = "dataset.html")]
struct OnePage {
    frame: Frame,
    line: Line,
    current: bool,
    said: &'static str,
    file_name: String,
    size: String,
    sites: u64,
    zone: String,
    first: String,
    last: String,
    notes: Vec<String>,
    columns: Vec<(String, String, &'static str, String, &'static str)>,
    names: Vec<String>,
    rows: Vec<(u64, Vec<String>)>,
    next: String,
    rejects: Vec<agents::dataset::Reject>,
    more_rejects: String,
    faults: u64,
    versions: Vec<(i32, String, String, String, bool)>,
}

#[derive(Deserialize, Default)]
struct OneQuery {
    #[serde(default)]
    version: Option<i32>,
    #[serde(default)]
    said: String,
    #[serde(default)]
    after: String,
    #[serde(default)]
    rejects: i32,
}

async fn one(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Query(query): Query<OneQuery>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(&state, &browser, &slug).await?;
    let frame = frame(&state, &session, &mut tx, "datasets").await?;
    let known = tx.dataset(&id, query.version).await?;
    let versions = tx.dataset_versions(&id).await?;
    let rejects = tx.rejects(&id, known.version, query.rejects, REJECTS).await?;
    drop(tx);
    let reference = Reference { id: id.clone(), version: Some(known.version) };
    let window = Window::default();
    let rows =
        page(&state.store, session.tenant_id, &reference, &window, &query.after, SHOWN).await?;
    let at = format!("/jv/{slug}/datasets/{id}?version={}", known.version);
    let full = i64::try_from(rejects.len()).is_ok_and(|count| count == REJECTS);
    let last = rejects.last().filter(|_| full).map(|(ordinal, _)| *ordinal);
    Ok(show(&OnePage {
        said: match query.said.as_str() {
            "done" => "Imported. This is now the current version.",
            "same" => "This file was here already under the same mapping; nothing new was stored.",
            "restored" => "This is the current version again.",
            _ => "",
        },
        next: rows.next.map(|next| format!("{at}&after={next}#rows")).unwrap_or_default(),
        names: rows.columns,
        rows: rows.rows.into_iter().map(|row| (row.line, row.cells)).collect(),
        more_rejects: last.map(|last| format!("{at}&rejects={last}#rejects")).unwrap_or_default(),
        rejects: rejects.into_iter().map(|(_, reject)| reject).collect(),
        versions: versions
            .iter()
            .map(|v| {
                let rows = v.report.as_ref().map(|r| grouped(r.rows)).unwrap_or_default();
                let by = format!("{}, {}", when(&v.created_at), v.created_by);
                (v.version, v.file_name.clone(), rows, by, v.current)
            })
            .collect(),
        ..one_page(frame, &known)
    }))
}

/// What a page says of a version, without its rows and its neighbours.
fn one_page(frame: Frame, known: &Dataset) -> OnePage {
    let report = known.report.clone().unwrap_or_default();
    let read_by = known.mapping.clone().unwrap_or_default();
    let columns = read_by.kept().map(|(_, column)| {
        let name = column.target().to_owned();
        let unit = match (&column.unit, &column.to) {
            (Some(unit), Some(to)) => format!("{unit} → {to}"),
            (Some(unit), None) => unit.clone(),
            _ => String::new(),
        };
        let role = if read_by.time.as_deref() == Some(&name) {
            "time column"
        } else if read_by.site.as_deref() == Some(&name) {
            "site column"
        } else {
            ""
        };
        (name, column.source.clone(), column.kind.map_or("text", Kind::name), unit, role)
    });
    OnePage {
        current: known.current,
        said: "",
        file_name: known.file_name.clone(),
        size: format!("{} bytes", grouped(known.size.unsigned_abs())),
        sites: report.sites,
        zone: read_by.timezone.clone().unwrap_or_default(),
        first: report.times.map(|(first, _)| instant(first)).unwrap_or_default(),
        last: report.times.map(|(_, last)| instant(last)).unwrap_or_default(),
        notes: report.notes.iter().map(|note| note.message.clone()).collect(),
        columns: columns.collect(),
        names: Vec::new(),
        rows: Vec::new(),
        next: String::new(),
        rejects: Vec::new(),
        more_rejects: String::new(),
        faults: report.faults,
        versions: Vec::new(),
        line: Line::of(known),
        frame,
    }
}

async fn download(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Query(query): Query<OneQuery>,
) -> Result<Response, Trouble> {
    let (_, mut tx) = enter(&state, &browser, &slug).await?;
    let known = tx.dataset(&id, query.version).await?;
    let bytes = tx.original(&known).await?;
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = known.file_name.chars().map(safe).collect();
    let name = if name.is_empty() { id } else { name };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, bytes).into_response())
}

#[derive(Deserialize)]
struct RestoreForm {
    csrf: String,
    #[serde(default)]
    version: Option<i32>,
}

async fn restore(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(form): Fields<RestoreForm>,
) -> Result<Response, Trouble> {
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf, "data:write").await?;
    drop(tx);
    restored(&state.store, session.tenant_id, &id, form.version).await?;
    Ok(Redirect::to(&format!("/jv/{slug}/datasets/{id}?said=restored")).into_response())
}

async fn delete(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(form): Fields<CancelForm>,
) -> Result<Response, Trouble> {
    let (_, mut tx) = enter_form(&state, &browser, &slug, &form.csrf, "data:write").await?;
    tx.delete_dataset(&id).await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/jv/{slug}/datasets#deleted")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_dataset_a_name_that_tools_can_take() {
        for (file, id) in [
            ("Load 2026 (plant 2).CSV", "load_2026__plant_2"),
            ("camt.053.001.07.xml", "camt_053_001_07"),
            ("用電.csv", ""),
        ] {
            assert_eq!(id_of(file), id);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
