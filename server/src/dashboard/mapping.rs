//! The mapping screen of a dataset: what the columns of a file mean, for a person to confirm.

use agents::dataset::{Column, DecimalMark, Encoding, Format, Kind, Mapping, Order, known_units};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::datasets::grouped;
use super::view::Frame;
use super::{Fields, Trouble, enter, enter_form, frame, show};
use crate::auth::Browser;
use crate::dataset::{AT_WORK, Job, Preview, Upload, begin, preview, run};
use crate::error::Problem;
use crate::state::AppState;
use crate::store::Session;

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
            orders: Order::ALL.map(|o| (o.name(), o.title(), o == order)).to_vec(),
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
pub(super) struct Source {
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

pub(super) async fn form(
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

pub(super) async fn map(
    State(state): State<AppState>,
    browser: Browser,
    Path((slug, id)): Path<(String, String)>,
    Fields(fields): Fields<Vec<(String, String)>>,
) -> Result<Response, Trouble> {
    let field = |name: &str| {
        fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let (session, tx) = enter_form(&state, &browser, &slug, &field("csrf"), "data:write").await?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
