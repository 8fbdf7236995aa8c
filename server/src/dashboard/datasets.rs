//! The pages of datasets: the list, the upload, the mapping to confirm, the import's progress, and a
//! dataset with its rows, refused lines and versions. All of it works without scripts.

use agents::dataset::{Column, DecimalMark, Encoding, Format, Kind, Mapping, Order, known_units};
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
use super::{CancelForm, Fields, Trouble, enter, enter_form, frame, show};
use crate::auth::Browser;
use crate::dataset::api::restored;
use crate::dataset::{
    AT_WORK, Job, Preview, Reference, Upload, begin, checked_id, keep, page, preview, receive, run,
};
use crate::error::Problem;
use crate::state::AppState;
use crate::store::{Dataset, Import, Session};

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
        .route("/jv/{slug}/datasets/{id}/mapping", get(mapping_form).post(map))
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

fn grouped(number: u64) -> String {
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
    let (session, tx) = enter_form(&state, &browser, &slug, csrf).await?;
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

/// A column on the mapping screen.
struct MapRow {
    at: usize,
    source: String,
    examples: String,
    name: String,
    kinds: Vec<(&'static str, bool)>,
    unit: String,
    to: String,
    orders: Vec<(&'static str, &'static str, bool)>,
    skip: bool,
}

#[derive(Template)]
#[template(path = "dataset_mapping.html")]
struct MappingPage {
    frame: Frame,
    id: String,
    file: String,
    file_name: String,
    version: Option<i32>,
    exists: bool,
    format: &'static str,
    formats: Vec<(&'static str, &'static str, bool)>,
    is_text: bool,
    encodings: Vec<(&'static str, bool)>,
    delimiters: [(&'static str, &'static str, bool); 4],
    decimal_comma: bool,
    header_line: String,
    sheets: Vec<(String, bool)>,
    zone: String,
    rows: Vec<MapRow>,
    times: Vec<(usize, String, bool)>,
    sites: Vec<(usize, String, bool)>,
    sample: Vec<Vec<String>>,
    notes: Vec<String>,
    units: Vec<&'static str>,
    kept: String,
    refused: String,
    fault: String,
    rejects: Vec<agents::dataset::Reject>,
}

fn map_rows(preview: &Preview) -> Vec<MapRow> {
    let mapping = &preview.inference.mapping;
    let columns = mapping.columns.iter().zip(&preview.inference.columns).enumerate();
    let row = |(at, (column, seen)): (usize, (&Column, &agents::dataset::Profile))| {
        let kind = column.kind.unwrap_or(Kind::Text);
        let order = column.format.unwrap_or(Order::Ymd);
        MapRow {
            at,
            source: column.source.clone(),
            examples: seen.examples.join(" · "),
            name: column.target().to_owned(),
            kinds: Kind::ALL.map(|known| (known.name(), known == kind)).to_vec(),
            unit: column.unit.clone().unwrap_or_default(),
            to: column.to.clone().unwrap_or_default(),
            orders: Order::ALL.map(|o| (o.name(), o.example(), o == order)).to_vec(),
            skip: column.skip,
        }
    };
    columns.map(row).collect()
}

fn mapping_page(
    frame: Frame,
    id: &str,
    source: &Source,
    exists: bool,
    preview: Preview,
    fault: Option<String>,
) -> MappingPage {
    let mapping = preview.inference.mapping.clone();
    let format = mapping.format.unwrap_or(Format::File);
    let role = |role: &Option<String>, kinds: &[Kind]| {
        let fits =
            |column: &Column| kinds.is_empty() || column.kind.is_some_and(|k| kinds.contains(&k));
        let columns = mapping.columns.iter().enumerate().filter(|(_, column)| fits(column));
        columns
            .map(|(at, c)| (at, c.source.clone(), role.as_deref() == Some(c.target()) && !c.skip))
            .collect()
    };
    let mut notes: Vec<String> =
        preview.inference.notes.iter().map(|note| note.message.clone()).collect();
    let report = preview.report.as_ref();
    notes.extend(report.into_iter().flat_map(|r| r.notes.iter().map(|n| n.message.clone())));
    let sign = mapping.delimiter.unwrap_or(',');
    MappingPage {
        id: id.to_owned(),
        file: source.file.clone(),
        file_name: source.name.clone(),
        version: source.version,
        exists,
        format: format.title(),
        formats: Format::ALL.map(|f| (f.name(), f.title(), f == format)).to_vec(),
        is_text: format == Format::Csv,
        encodings: Encoding::ALL.map(|e| (e.name(), mapping.encoding == Some(e))).to_vec(),
        delimiters: [(",", "comma"), (";", "semicolon"), ("tab", "tab"), ("|", "bar")]
            .map(|(v, word)| (v, word, v == sign.to_string() || (v == "tab" && sign == '\t'))),
        decimal_comma: mapping.decimal == Some(DecimalMark::Comma),
        header_line: mapping.header_line.map(|line| line.to_string()).unwrap_or_default(),
        sheets: preview
            .inference
            .sheets
            .iter()
            .map(|sheet| (sheet.clone(), mapping.sheet.as_ref() == Some(sheet)))
            .collect(),
        zone: mapping.timezone.clone().unwrap_or_default(),
        rows: map_rows(&preview),
        times: role(&mapping.time, &[Kind::Time, Kind::Date]),
        sites: role(&mapping.site, &[]),
        sample: preview.inference.sample.clone(),
        notes,
        units: known_units().collect(),
        kept: report.map(|report| grouped(report.rows)).unwrap_or_default(),
        refused: report.map(|report| grouped(report.refused)).unwrap_or_default(),
        fault: fault.or(preview.fault).unwrap_or_default(),
        rejects: preview.rejects.into_iter().take(20).collect(),
        frame,
    }
}

/// Where the bytes on a mapping screen come from: an upload, or a version.
#[derive(Debug, Clone, Deserialize, Default)]
struct Source {
    #[serde(default)]
    file: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: Option<i32>,
}

/// Loads the bytes to be mapped, and the mapping that they have so far.
async fn load(
    state: &AppState,
    session: &Session,
    id: &str,
    source: &mut Source,
) -> Result<(Upload, Mapping), Problem> {
    let mut tx = state.store.begin(session.tenant_id).await?;
    if !source.file.is_empty() {
        let bytes = tx.file(&source.file).await?;
        return Ok((Upload::new(&source.name, bytes), Mapping::default()));
    }
    let known = tx.dataset(id, source.version).await?;
    source.version = Some(known.version);
    source.name.clone_from(&known.file_name);
    let bytes = tx.original(&known).await?;
    Ok((Upload::new(&known.file_name, bytes), known.mapping.unwrap_or_default()))
}

async fn mapping_form(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Query(source): Query<Source>,
) -> Result<Response, Trouble> {
    screen(&state, &browser, &slug, &id, source, None, None).await
}

async fn screen(
    state: &AppState,
    browser: &Browser,
    slug: &str,
    id: &str,
    mut source: Source,
    wish: Option<Mapping>,
    fault: Option<String>,
) -> Result<Response, Trouble> {
    let (session, mut tx) = enter(state, browser, slug).await?;
    let frame = frame(state, &session, &mut tx, "datasets").await?;
    let exists = tx.dataset(id, None).await.is_ok();
    drop(tx);
    let (upload, before) = load(state, &session, id, &mut source).await?;
    let tenant = session.tenant_id;
    let wish = wish.unwrap_or(before);
    let looked = preview(&state.store, tenant, id, upload.clone(), wish).await;
    let (preview, fault) = match looked {
        Ok(preview) => (preview, fault),
        // What was wished does not fit; the page then shows what was inferred, and why.
        Err(error) => {
            let plain = preview(&state.store, tenant, id, upload, Mapping::default()).await;
            (plain.map_err(Problem::from)?, Some(error.to_string()))
        }
    };
    let status = if fault.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = mapping_page(frame, id, &source, exists, preview, fault);
    Ok((status, show(&page)).into_response())
}

/// Reads the mapping of the form.
fn wish_of(fields: &[(String, String)]) -> Result<Mapping, String> {
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.trim());
    let named = |name: &str| field(name).filter(|value| !value.is_empty());
    fn word<T: serde::de::DeserializeOwned>(what: &str, value: &str) -> Result<T, String> {
        serde_json::from_value(serde_json::Value::String(value.to_owned()))
            .map_err(|_| format!("`{value}` is no {what}"))
    }
    let mut mapping = Mapping {
        format: named("format").map(|value| word("format", value)).transpose()?,
        encoding: named("encoding").map(|value| word("encoding", value)).transpose()?,
        delimiter: named("delimiter")
            .and_then(|sign| if sign == "tab" { Some('\t') } else { sign.chars().next() }),
        header_line: named("header_line")
            .map(|line| line.parse().map_err(|_| format!("`{line}` is no line number")))
            .transpose()?,
        decimal: named("decimal").map(|value| word("decimal mark", value)).transpose()?,
        sheet: named("sheet").map(str::to_owned),
        timezone: named("timezone").map(str::to_owned),
        ..Mapping::default()
    };
    for at in 0..agents::dataset::MAX_COLUMNS {
        let Some(source) = field(&format!("source{at}")) else { break };
        let part = |name: &str| field(&format!("{name}{at}"));
        mapping.columns.push(Column {
            source: source.to_owned(),
            name: part("name").map(str::to_owned),
            kind: part("type").map(|value| word("type", value)).transpose()?,
            unit: part("unit").map(str::to_owned),
            to: part("to").map(str::to_owned),
            format: part("order").map(|value| word("order of dates", value)).transpose()?,
            skip: part("skip").is_some(),
        });
    }
    // The form chooses columns by place, since their names may change in the same form.
    let role = |name: &str| {
        let at = field(name)?;
        let column = at.parse().ok().and_then(|at: usize| mapping.columns.get(at));
        Some(column.map_or_else(String::new, |column| column.target().to_owned()))
    };
    let (time, site) = (role("time"), role("site"));
    (mapping.time, mapping.site) = (time, site);
    Ok(mapping)
}

async fn map(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(fields): Fields<Vec<(String, String)>>,
) -> Result<Response, Trouble> {
    let field = |name: &str| {
        fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let (session, tx) = enter_form(&state, &browser, &slug, &field("csrf")).await?;
    drop(tx);
    let mut source = Source {
        file: field("file"),
        name: field("file_name"),
        version: field("version").parse().ok(),
    };
    let mut wish = match wish_of(&fields) {
        Ok(wish) => wish,
        Err(fault) => return screen(&state, &browser, &slug, &id, source, None, Some(fault)).await,
    };
    let action = field("action");
    if action == "reshape" {
        // Taken apart another way, the file may have other columns.
        wish.columns.clear();
        (wish.time, wish.site) = (None, None);
    }
    if action != "import" {
        return screen(&state, &browser, &slug, &id, source, Some(wish), None).await;
    }
    let (upload, _) = load(&state, &session, &id, &mut source).await?;
    // Checked here, so that a fault is told on the screen and not after it.
    let looked = agents::dataset::infer(&upload.bytes, &upload.name, &wish, "UTC");
    if let Err(error) = looked {
        return screen(&state, &browser, &slug, &id, source, Some(wish), Some(error.to_string()))
            .await;
    }
    let job = Job { id: id.clone(), upload, wish, by: session.subject.clone() };
    let noted = begin(&state.store, session.tenant_id, &job).await?;
    let (store, tenant) = (state.store.clone(), session.tenant_id);
    tokio::spawn(async move {
        let Ok(_permit) = AT_WORK.acquire().await else { return };
        if let Err(error) = run(&store, tenant, job, noted, &mut |_| {}).await {
            tracing::info!(%error, "an import came to nothing");
        }
    });
    Ok(Redirect::to(&format!("/jv/{slug}/datasets/{id}/imports/{noted}")).into_response())
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
    let mapping = known.mapping.clone().unwrap_or_default();
    let columns = mapping.kept().map(|(_, column)| {
        let name = column.target().to_owned();
        let unit = match (&column.unit, &column.to) {
            (Some(unit), Some(to)) => format!("{unit} → {to}"),
            (Some(unit), None) => unit.clone(),
            _ => String::new(),
        };
        let role = if mapping.time.as_deref() == Some(&name) {
            "time column"
        } else if mapping.site.as_deref() == Some(&name) {
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
        zone: mapping.timezone.clone().unwrap_or_default(),
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
    let (session, tx) = enter_form(&state, &browser, &slug, &form.csrf).await?;
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
    let (_, mut tx) = enter_form(&state, &browser, &slug, &form.csrf).await?;
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

    #[test]
    fn the_form_chooses_the_time_column_by_its_place() {
        let fields = [
            ("source0", "When"),
            ("name0", "start"),
            ("type0", "time"),
            ("order0", "dmy"),
            ("source1", "Use"),
            ("name1", "energy_kwh"),
            ("type1", "decimal"),
            ("unit1", "Wh"),
            ("to1", "kWh"),
            ("skip1", "1"),
            ("time", "0"),
            ("site", ""),
            ("delimiter", "tab"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let wish = wish_of(&fields).unwrap();
        assert_eq!(wish.time.as_deref(), Some("start"));
        assert_eq!(wish.site.as_deref(), Some(""));
        assert_eq!(wish.delimiter, Some('\t'));
        assert!(wish.columns[1].skip && wish.columns[0].format == Some(Order::Dmy));
        let bad =
            [("source0".to_owned(), "a".to_owned()), ("type0".to_owned(), "number".to_owned())];
        assert!(wish_of(&bad).is_err());
    }
}
