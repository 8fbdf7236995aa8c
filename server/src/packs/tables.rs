//! Queries over datasets: SQLite in memory, one database for one query, with nothing in it but the tables
//! of that query.
//!
//! The text of a query is a pack author's. Nothing is reached by it: no file, no other database, no
//! extension; it may only select, and time, rows, columns and memory have limits.

use std::time::{Duration, Instant};

use agents::port::{Engine, Query, Rows};
use agents::tool::{Table, ToolError};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value as Cell, ValueRef};
use rusqlite::{Connection, params_from_iter};
use serde_json::Value;

/// Cells that are loaded for one query.
const MAX_CELLS: usize = 2_000_000;

/// Most memory of all queries together, bytes.
const MEMORY: i64 = 512 << 20;

/// The engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tables;

fn failed(query: &Query, error: &rusqlite::Error) -> ToolError {
    let message = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => {
            format!("the query of `{}` took longer than {} ms", query.tool, query.timeout_ms)
        }
        Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) => {
            format!("the query of `{}` may only select from its own tables", query.tool)
        }
        Some(rusqlite::ErrorCode::OutOfMemory) => {
            format!("the query of `{}` needs more memory than it may have", query.tool)
        }
        _ => format!("the query of `{}` is wrong: {error}", query.tool),
    };
    // Another try comes to the same, so it is none of the errors that pass.
    ToolError::not_permitted(message)
}

/// What a query may do, once its tables are loaded.
fn allowed(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        AuthAction::Function { function_name } => match function_name {
            // Functions that reach out of the database or make a value of any size.
            "load_extension" | "readfile" | "writefile" | "edit" | "randomblob" | "zeroblob"
            | "fts3_tokenizer" => Authorization::Deny,
            _ => Authorization::Allow,
        },
        _ => Authorization::Deny,
    }
}

fn open(query: &Query) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open_in_memory()?;
    db.pragma_update(None, "hard_heap_limit", MEMORY)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, 4 << 20),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10),
        (Limit::SQLITE_LIMIT_COLUMN, 200),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 20),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        db.set_limit(limit, most)?;
    }
    let deadline = Instant::now() + Duration::from_millis(query.timeout_ms.min(10_000).into());
    db.progress_handler(1_000, Some(move || Instant::now() > deadline))?;
    Ok(db)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

fn load(db: &Connection, name: &str, table: &Table) -> Result<(), rusqlite::Error> {
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("{} text", quoted(column))).collect();
    db.execute_batch(&format!("create table {} ({})", quoted(name), columns.join(", ")))?;
    let places = vec!["?"; table.columns.len()].join(", ");
    let mut insert = db.prepare(&format!("insert into {} values ({places})", quoted(name)))?;
    for row in &table.rows {
        insert.execute(params_from_iter(row))?;
    }
    Ok(())
}

/// A value of a call as a parameter.
struct Given<'a>(&'a Value);

impl rusqlite::ToSql for Given<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Owned(Cell::Null),
            Value::Bool(flag) => ToSqlOutput::Owned(Cell::Integer((*flag).into())),
            Value::Number(number) => ToSqlOutput::Owned(match number.as_i64() {
                Some(whole) => Cell::Integer(whole),
                None => Cell::Real(number.as_f64().unwrap_or_default()),
            }),
            Value::String(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            other => ToSqlOutput::Owned(Cell::Text(other.to_string())),
        })
    }
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
    }
}

impl Engine for Tables {
    fn query(&self, tables: &[(String, Table)], query: &Query) -> Result<Rows, ToolError> {
        let cells: usize =
            tables.iter().map(|(_, table)| table.rows.len() * table.columns.len()).sum();
        if cells > MAX_CELLS {
            return Err(ToolError::not_permitted(format!(
                "the datasets of `{}` have {cells} cells; a query reads at most {MAX_CELLS}",
                query.tool
            )));
        }
        // What follows a semicolon would be left out without a word.
        if query.text.trim_end().trim_end_matches(';').contains(';') {
            let message = format!("the query of `{}` is more than one statement", query.tool);
            return Err(ToolError::not_permitted(message));
        }
        let run = || {
            let db = open(query)?;
            db.execute_batch("begin")?;
            for (name, table) in tables {
                load(&db, name, table)?;
            }
            db.execute_batch("commit")?;
            db.authorizer(Some(allowed))?;
            selected(&db, query)
        };
        run().map_err(|error| failed(query, &error))
    }
}

fn selected(db: &Connection, query: &Query) -> Result<Rows, rusqlite::Error> {
    let mut statement = db.prepare(&query.text)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    for (at, value) in query.parameters.iter().enumerate() {
        if let Some(place) = statement.parameter_index(&format!("${}", at + 1))? {
            statement.raw_bind_parameter(place, Given(value))?;
        }
    }
    let mut found = Rows { columns, ..Rows::default() };
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if found.rows.len() == query.max_rows as usize {
            found.cut = true;
            break;
        }
        let cells = (0..found.columns.len()).map(|at| row.get_ref(at).map(cell));
        found.rows.push(cells.collect::<Result<_, _>>()?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(text: &str, parameters: Vec<Value>) -> Result<Rows, ToolError> {
        let csv = b"sku,qty,place\nA-1,5,north\nB-2,7,south\nC-3,40,north\n";
        let stock = Table::from_csv(csv, "stock").unwrap();
        let query = Query {
            tool: "t".to_owned(),
            text: text.to_owned(),
            parameters,
            max_rows: 2,
            timeout_ms: 300,
        };
        Tables.query(&[("stock".to_owned(), stock)], &query)
    }

    #[test]
    fn a_query_binds_its_parameters_and_gives_rows_up_to_its_limit() {
        let found = ask(
            "select place, sum(cast(qty as integer)) as total from stock where cast(qty as integer) >= $1 group by place order by place",
            vec![json!(5)],
        )
        .unwrap();
        assert_eq!(found.columns, ["place", "total"]);
        assert_eq!(found.rows, [vec![json!("north"), json!(45)], vec![json!("south"), json!(7)]]);
        assert!(ask("select sku from stock", vec![]).unwrap().cut);
        // A value is never part of the text.
        let hostile = json!("x' or '1'='1");
        assert!(
            ask("select sku from stock where sku = $1", vec![hostile]).unwrap().rows.is_empty()
        );
    }

    #[test]
    fn a_query_reaches_nothing_but_its_tables() {
        for text in [
            "attach '/etc/passwd' as x",
            "delete from stock",
            "create table x (a)",
            "pragma database_list",
            "select load_extension('x')",
            "select randomblob(100000000)",
            "vacuum into '/tmp/x'",
            "select * from nothing",
            "select 1; delete from stock",
            "insert into stock values (1, 2, 3)",
            "select writefile('/tmp/x', 'y')",
        ] {
            let error = ask(text, vec![]).unwrap_err();
            assert_eq!(error.code(), "not_permitted", "{text}: {error}");
        }
    }

    #[test]
    fn a_query_that_does_not_end_is_ended() {
        let begun = Instant::now();
        let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
        let error = ask(endless, vec![]).unwrap_err();
        assert!(error.to_string().contains("longer than 300 ms"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5));
        let large = "select length(group_concat(a.sku || b.sku || c.sku, printf('%.*c', 100000, 'x'))) from stock a, stock b, stock c, stock d, stock e";
        assert!(ask(large, vec![]).is_err());
    }
}
