//! Datasets as tools and people read them: the rows of a window, a page at a time or at once.

use agents::dataset::{Row, decode, import_table};
use agents::tool::{Table, ToolError, Window};

use crate::store::{Dataset, Store, StoreError, TenantId, Wanted};

/// Chunks that are fetched at a time for a page.
const CHUNKS: i64 = 4;

/// A dataset as it is named: `load`, or `load:v3` for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Dataset.
    pub id: String,
    /// Version; the current one when absent.
    pub version: Option<i32>,
}

impl Reference {
    /// Reads a name. A colon is in no identifier, so what follows it is a version.
    pub fn of(name: &str) -> Self {
        match name.rsplit_once(":v") {
            Some((id, version)) if version.parse::<i32>().is_ok_and(|version| version > 0) => {
                Self { id: id.to_owned(), version: version.parse().ok() }
            }
            _ => Self { id: name.to_owned(), version: None },
        }
    }
}

/// Rows of a page, with where the next one begins.
#[derive(Debug, Clone)]
pub struct Page {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows, by site and then by line within each part of the file.
    pub rows: Vec<Row>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

fn damaged(message: &str) -> StoreError {
    StoreError::Damaged { what: "chunk", message: message.to_owned() }
}

fn wanted(window: &Window) -> Wanted {
    Wanted {
        site: window.site_id.clone(),
        start: window.start.map(jiff::Timestamp::as_microsecond),
        end: window.end.map(jiff::Timestamp::as_microsecond),
        ..Wanted::default()
    }
}

/// Tells rows of the window from others in the same chunk.
struct Filter {
    wanted: Wanted,
    site: Option<usize>,
    timed: bool,
}

impl Filter {
    fn of(known: &Dataset, wanted: Wanted) -> Self {
        let mapping = known.mapping.as_ref();
        let site = mapping.and_then(|mapping| {
            let site = mapping.site.as_deref()?;
            mapping.kept().position(|(_, column)| column.target() == site)
        });
        Self { site, timed: mapping.is_some_and(|mapping| mapping.time.is_some()), wanted }
    }

    fn keeps(&self, row: &Row) -> bool {
        let Wanted { site, start, end, .. } = &self.wanted;
        let here = match (self.site, site) {
            (Some(at), Some(site)) => row.cells.get(at).is_some_and(|cell| cell == site),
            _ => true,
        };
        // A table without a time column ignores the window; a row without a time is outside it.
        let bounded = self.timed && (start.is_some() || end.is_some());
        here && (!bounded
            || row.time.is_some_and(|time| {
                start.is_none_or(|start| time >= start) && end.is_none_or(|end| time < end)
            }))
    }
}

fn columns(known: &Dataset) -> Vec<String> {
    known
        .report
        .as_ref()
        .map(|report| report.columns.iter().map(|column| column.name.clone()).collect())
        .unwrap_or_default()
}

/// Reads the rows of a window, in order of the file. Waits for the store with `wait`, so it belongs
/// on a blocking thread.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ unknown dataset or version; [`ToolError::InvalidInput`] ⇐ a file without
/// rows; [`ToolError::Unavailable`].
pub fn open_table(
    store: &Store,
    tenant: TenantId,
    name: &str,
    window: &Window,
    wait: &tokio::runtime::Handle,
) -> Result<Table, ToolError> {
    let reference = Reference::of(name);
    let (known, chunks, legacy) = wait
        .block_on(async {
            let mut tx = store.begin(tenant).await?;
            let known = tx.dataset(&reference.id, reference.version).await?;
            if known.report.is_none() {
                let zone = tx.tenant().await?.timezone;
                let bytes = tx.original(&known).await?;
                return Ok((known, Vec::new(), Some((bytes, zone))));
            }
            let chunks = tx.chunks(&known.id, known.version, &wanted(window)).await?;
            Ok((known, chunks, None))
        })
        .map_err(|error| dataset_fault(name, error))?;
    if let Some((bytes, zone)) = legacy {
        return Ok(import_table(&bytes, name, &zone)?.0.within(window));
    }
    if known.mapping.as_ref().is_some_and(|m| m.format == Some(agents::dataset::Format::File)) {
        return Err(ToolError::invalid(
            "/dataset",
            format!("`{name}` is a file and not a table; upload it as CSV or a workbook"),
        ));
    }
    let filter = Filter::of(&known, wanted(window));
    let mut rows = Vec::new();
    for (_, body) in chunks {
        let decoded = decode(&body).map_err(|why| dataset_fault(name, damaged(why)))?;
        rows.extend(decoded.into_iter().filter(|row| filter.keeps(row)));
    }
    rows.sort_by_key(|row| row.line);
    Ok(Table {
        columns: columns(&known),
        rows: rows.into_iter().map(|row| row.cells).collect(),
        source: format!("{}:v{}", known.id, known.version).into(),
    })
}

/// Returns the file of a dataset as it was uploaded.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn original(store: &Store, tenant: TenantId, name: &str) -> Result<Vec<u8>, StoreError> {
    let reference = Reference::of(name);
    let mut tx = store.begin(tenant).await?;
    let known = tx.dataset(&reference.id, reference.version).await?;
    tx.original(&known).await
}

/// Says a fault of the store to a tool.
pub(crate) fn dataset_fault(name: &str, error: StoreError) -> ToolError {
    match error {
        StoreError::NotFound(_) => ToolError::no_data(format!("no dataset `{name}`")),
        error => {
            tracing::error!(%error, "a tool could not read a dataset");
            ToolError::Unavailable { message: "the store did not answer; try again".to_owned() }
        }
    }
}

/// Reads a page of the rows of a window from `cursor` on.
///
/// # Errors
/// [`StoreError::NotFound`]; a cursor that is none begins at the first row.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    reference: &Reference,
    window: &Window,
    cursor: &str,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut tx = store.begin(tenant).await?;
    let known = tx.dataset(&reference.id, reference.version).await?;
    let (from, mut skip) = cursor
        .split_once('.')
        .and_then(|(chunk, row)| Some((chunk.parse::<i32>().ok()?, row.parse::<usize>().ok()?)))
        .unwrap_or_default();
    let mut wanted = Wanted { from, limit: Some(CHUNKS), ..wanted(window) };
    let filter = Filter::of(&known, wanted.clone());
    let mut page = Page { columns: columns(&known), rows: Vec::new(), next: None };
    loop {
        let chunks = tx.chunks(&known.id, known.version, &wanted).await?;
        let Some((last, _)) = chunks.last() else { return Ok(page) };
        let (last, mut first) = (*last, true);
        for (at, body) in &chunks {
            let rows = decode(body).map_err(damaged)?;
            // The rows passed over are those of the cursor's own chunk.
            let skipped = if first && *at == from { std::mem::take(&mut skip) } else { 0 };
            first = false;
            for (row, content) in rows.into_iter().enumerate().skip(skipped) {
                if !filter.keeps(&content) {
                    continue;
                }
                if page.rows.len() == limit {
                    page.next = Some(format!("{at}.{row}"));
                    return Ok(page);
                }
                page.rows.push(content);
            }
        }
        wanted.from = last.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_after_a_colon() {
        for (name, id, version) in [
            ("load", "load", None),
            ("load:v3", "load", Some(3)),
            ("load:v0", "load:v0", None),
            ("load:vx", "load:vx", None),
            ("test.dbc", "test.dbc", None),
        ] {
            assert_eq!(Reference::of(name), Reference { id: id.to_owned(), version }, "{name}");
        }
    }
}
