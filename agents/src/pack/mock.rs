//! The systems of a pack as its own mocks answer: what known answers and cases run against.

use std::sync::OnceLock;

use serde_json::Value;

use super::Pack;
use crate::port::{Engine, HttpAnswer, HttpCall, Query, Rows, SystemPort};
use crate::tool::body::{Body, Mock};
use crate::tool::{Table, ToolError, equal};

/// The engine of queries over tables. The program that links this crate sets it.
static ENGINE: OnceLock<Box<dyn Engine>> = OnceLock::new();

/// Sets the engine that queries over tables run on, once for the program; later ones are ignored.
pub fn use_engine(engine: Box<dyn Engine>) {
    drop(ENGINE.set(engine));
}

/// Runs a query over tables on the engine of the program.
///
/// # Errors
/// [`ToolError::Unavailable`] ⇐ there is none, or the query fails.
pub fn query_tables(tables: &[(String, Table)], query: &Query) -> Result<Rows, ToolError> {
    let engine = ENGINE.get().ok_or_else(|| ToolError::Unavailable {
        message: "this program has no engine for queries over datasets".to_owned(),
    })?;
    engine.query(tables, query)
}

/// Answers by the mocks of a pack's tools. Nothing leaves the program.
#[derive(Debug, Clone, Copy)]
pub struct MockSystems<'a>(&'a Pack);

impl<'a> MockSystems<'a> {
    /// Takes the mocks of a pack.
    pub fn of(pack: &'a Pack) -> Self {
        Self(pack)
    }

    fn mocks(&self, tool: &str) -> &'a [Mock] {
        match self.0.tool(tool).and_then(|spec| spec.body.as_ref()) {
            Some(Body::Http(http)) => &http.mock,
            _ => &[],
        }
    }
}

impl SystemPort for MockSystems<'_> {
    fn http(&self, call: &HttpCall) -> Result<HttpAnswer, ToolError> {
        let line = call.line();
        let body = call.body.as_ref().unwrap_or(&Value::Null);
        let fits = |mock: &&Mock| {
            mock.request.as_ref().is_none_or(|wanted| *wanted == line)
                && mock.body.as_ref().is_none_or(|wanted| equal(wanted, body))
        };
        let mock = self.mocks(&call.tool).iter().find(fits).ok_or_else(|| {
            let message =
                format!("no mock of `{}` answers `{line}` with the body {body}", call.tool);
            ToolError::Unavailable { message }
        })?;
        let body = if mock.answer.is_null() { Vec::new() } else { mock.answer.to_string().into() };
        let too_long = body.len() > call.max_bytes as usize;
        if too_long {
            let message = format!("the answer is longer than {} bytes", call.max_bytes);
            return Err(ToolError::Unavailable { message });
        }
        Ok(HttpAnswer { status: mock.status, body })
    }

    fn tables(&self, tables: &[(String, Table)], query: &Query) -> Result<Rows, ToolError> {
        query_tables(tables, query)
    }
}
