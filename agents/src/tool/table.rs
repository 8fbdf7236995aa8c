//! Tables as tools read them: named text columns, rows in file order.

use std::sync::Arc;

use jiff::Timestamp;

use super::ToolError;

/// A half-open time window; either end may be open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// First instant included.
    pub start: Option<Timestamp>,
    /// First instant excluded.
    pub end: Option<Timestamp>,
    /// Keeps only rows of this site, when the table has a column `site_id`.
    pub site_id: Option<String>,
}

impl Window {
    /// Reads `start`, `end` and `site_id` from a tool's arguments.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] when a bound is no RFC 3339 instant or `end` is not after `start`.
    pub fn from_arguments(arguments: &serde_json::Value) -> Result<Self, ToolError> {
        let instant = |key: &str| -> Result<Option<Timestamp>, ToolError> {
            let Some(text) = arguments.get(key).and_then(|v| v.as_str()) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| {
                ToolError::invalid(format!("/{key}"), format!("`{text}` is no RFC 3339 date-time"))
            })
        };
        let window = Self {
            start: instant("start")?,
            end: instant("end")?,
            site_id: arguments.get("site_id").and_then(|v| v.as_str()).map(str::to_owned),
        };
        if let (Some(start), Some(end)) = (window.start, window.end)
            && end <= start
        {
            return Err(ToolError::invalid("/end", "end must be after start"));
        }
        Ok(window)
    }

    /// Tells whether `at` lies inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start.is_none_or(|start| at >= start) && self.end.is_none_or(|end| at < end)
    }
}

/// The rows of a dataset. Cells are the text of the file; an empty cell is an empty string.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Column names of the header, trimmed.
    pub columns: Vec<String>,
    /// Cells, `rows × columns`.
    pub rows: Vec<Vec<String>>,
    /// Identifier and version of what was read, for the citation.
    pub source: Arc<str>,
}

impl Table {
    /// Reads a CSV file with a header line.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] naming the line when a row has another number of cells.
    pub fn from_csv(bytes: &[u8], source: &str) -> Result<Self, ToolError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let bad = |error: csv::Error| ToolError::invalid("", format!("{source}: {error}"));
        let columns = reader
            .headers()
            .map_err(bad)?
            .iter()
            .map(|name| name.trim_start_matches('\u{feff}').to_owned())
            .collect();
        let rows = reader
            .records()
            .map(|row| row.map(|row| row.iter().map(str::to_owned).collect()).map_err(bad))
            .collect::<Result<_, _>>()?;
        Ok(Self { columns, rows, source: source.into() })
    }

    /// Returns the index of a column.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// Returns the index of a column that the tool cannot do without.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] naming the columns that the table has.
    pub fn column(&self, name: &str) -> Result<usize, ToolError> {
        self.find(name).ok_or_else(|| {
            ToolError::invalid(
                "/dataset",
                format!(
                    "{} has no column `{name}`; it has {}",
                    self.source,
                    self.columns.join(", ")
                ),
            )
        })
    }

    /// Names of time columns, the first that a table has being its own.
    pub const TIME_NAMES: [&str; 8] =
        ["start", "time", "timestamp", "ts", "date", "at", "paid_at", "event_time"];

    /// Returns the index of the time column, see [`crate::port::DatasetSource::table`].
    pub fn time_column(&self) -> Option<usize> {
        Self::TIME_NAMES.iter().find_map(|name| self.find(name))
    }

    /// Keeps the rows inside `window`; a date without time counts as its midnight in UTC.
    pub fn within(mut self, window: &Window) -> Self {
        if let Some(site) = &window.site_id
            && let Some(column) = self.find("site_id")
        {
            self.rows.retain(|row| row[column] == *site);
        }
        if (window.start.is_some() || window.end.is_some())
            && let Some(column) = self.time_column()
        {
            self.rows.retain(|row| instant(&row[column]).is_some_and(|at| window.contains(at)));
        }
        self
    }
}

fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let date: jiff::civil::Date = text.parse().ok()?;
        Some(date.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })
}
