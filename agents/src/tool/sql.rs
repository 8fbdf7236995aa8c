//! Runs a tool that is a query with bound parameters.

use serde_json::{Map, Value, json};

use super::body::{SqlBody, Taken};
use super::{ToolContext, ToolError, ToolSpec, Window, http, shape};
use crate::port::{Query, Rows};

/// Runs the tool.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ a single row is wanted and there is none, or a dataset is absent;
/// [`ToolError::Unavailable`] ⇐ the query fails or takes too long.
pub(super) fn run(
    spec: &ToolSpec,
    sql: &SqlBody,
    arguments: &Value,
    context: &ToolContext<'_>,
) -> Result<Value, ToolError> {
    let parameters: Vec<Value> = sql
        .parameters
        .iter()
        .map(|template| shape::fill(template, arguments).unwrap_or(Value::Null))
        .collect();
    let query = Query {
        tool: spec.name.clone(),
        text: sql.query.clone(),
        parameters,
        max_rows: sql.max_rows,
        timeout_ms: sql.timeout_ms,
    };
    let mut tables = Vec::new();
    for (name, template) in &sql.datasets {
        let id = shape::text(template, arguments).ok_or_else(|| {
            ToolError::invalid("", format!("the dataset of `{name}` is not named"))
        })?;
        tables.push((name.clone(), context.datasets.table(&id, &Window::default())?));
    }
    let rows = context.systems.tables(&tables, &query)?;
    result(spec, sql, rows)
}

fn result(spec: &ToolSpec, sql: &SqlBody, rows: Rows) -> Result<Value, ToolError> {
    let may_leave = |name: &String| sql.columns.is_empty() || sql.columns.contains(name);
    let cut = rows.cut;
    let mut objects = rows.rows.into_iter().map(|row| {
        let cells = rows.columns.iter().cloned().zip(row).filter(|(name, _)| may_leave(name));
        Value::Object(cells.collect::<Map<_, _>>())
    });
    if sql.single {
        let first = objects.next();
        let first = first.ok_or_else(|| ToolError::no_data("the query found no row"))?;
        return http::taken(spec, &Taken::default(), first);
    }
    let objects: Vec<Value> = objects.collect();
    let whole = json!({ "rows": objects, "row_count": objects.len(), "cut": cut });
    http::taken(spec, &Taken { max_items: sql.max_rows, ..Taken::default() }, whole)
}
