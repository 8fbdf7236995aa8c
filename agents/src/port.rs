//! The doors outwards: every effect of this crate is one of these traits.
//!
//! The server implements them on its tenant store and its egress client; tests implement them in
//! memory. **Invariant:** an implementation is already bound to one tenant, so nothing here names one.

use std::sync::Arc;

use serde_json::Value;

use crate::tool::{HttpMethod, Table, ToolError, Window};

/// Reads the tables and files that the tenant has uploaded (and the fixtures of its packs).
pub trait DatasetSource: Send + Sync {
    /// Returns the rows of a table whose time column lies in `window`.
    ///
    /// The time column is the first of `start`, `time`, `timestamp`, `ts`, `date`, `at` that the
    /// table has, or the one that its mapping names; a table without one ignores the window.
    ///
    /// # Errors
    /// [`ToolError::NoData`] when the id is unknown; [`ToolError::InvalidInput`] when the dataset
    /// is a file that is not a table.
    fn table(&self, id: &str, window: &Window) -> Result<Table, ToolError>;

    /// Returns the bytes of an uploaded file (XML, DBC, JSON, CSV as uploaded).
    ///
    /// # Errors
    /// [`ToolError::NoData`] when the id is unknown.
    fn file(&self, id: &str) -> Result<Arc<[u8]>, ToolError>;
}

/// One change outside the platform that an `act` tool wants to make.
#[derive(Debug, Clone)]
pub struct EffectRequest {
    /// Name of the tool.
    pub tool: String,
    /// Key under which the effect happens at most once.
    pub idempotency_key: String,
    /// Hash of the canonical arguments, see [`crate::tool::arguments_sha256`].
    pub arguments_sha256: String,
    /// What is to be done; the arguments without `dry_run`.
    pub arguments: Value,
    /// The request that makes it, where the pack says which; the operator's connector makes it else.
    pub call: Option<HttpCall>,
}

/// What became of an [`EffectRequest`].
#[derive(Debug, Clone)]
pub struct EffectOutcome {
    /// Identifier that the other system (or the ledger) gave to the effect.
    pub reference: String,
    /// True when the same key was performed before and nothing was repeated.
    pub repeated: bool,
}

/// Makes changes outside the platform, each at most once per idempotency key.
pub trait EffectPort: Send + Sync {
    /// Performs the effect, or returns the earlier outcome of the same key.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] when the key was used with other arguments;
    /// [`ToolError::Unavailable`] when the other system cannot be reached.
    fn perform(&self, request: &EffectRequest) -> Result<EffectOutcome, ToolError>;
}

/// One request to a web service that a pack declares.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCall {
    /// Name of the system in the pack.
    pub system: String,
    /// Name of the tool that asks.
    pub tool: String,
    /// Method.
    pub method: HttpMethod,
    /// Path and query after the system's address.
    pub path: String,
    /// Headers beside those that show who asks.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Option<Value>,
    /// Longest wait, milliseconds.
    pub timeout_ms: u32,
    /// Longest answer, bytes.
    pub max_bytes: u32,
    /// Key of an act.
    pub idempotency_key: Option<String>,
}

impl HttpCall {
    /// Returns method and path, as a mock names a request.
    pub fn line(&self) -> String {
        format!("{} {}", self.method.name(), self.path)
    }
}

/// What a web service answered.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// Status.
    pub status: u16,
    /// Body, at most as long as was asked for.
    pub body: Vec<u8>,
}

/// One query that only reads.
#[derive(Debug, Clone)]
pub struct Query {
    /// Name of the tool that asks.
    pub tool: String,
    /// One `select`.
    pub text: String,
    /// Values of `$1`, `$2` …
    pub parameters: Vec<Value>,
    /// Most rows.
    pub max_rows: u32,
    /// Longest time, milliseconds.
    pub timeout_ms: u32,
}

/// What a query found.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Cells, `rows × columns`.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more rows than were asked for.
    pub cut: bool,
}

/// Runs queries over tables in memory.
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Runs a query over tables by name.
    ///
    /// # Errors
    /// [`ToolError::Unavailable`] when the query is wrong or takes too long.
    fn query(&self, tables: &[(String, Table)], query: &Query) -> Result<Rows, ToolError>;
}

/// Reaches the systems that a pack declares, with what the tenant has set for them.
pub trait SystemPort: Send + Sync {
    /// Sends a request that changes nothing.
    ///
    /// # Errors
    /// [`ToolError::NotPermitted`] when the host may not be reached or a setting is missing;
    /// [`ToolError::Unavailable`] when there is no answer.
    fn http(&self, call: &HttpCall) -> Result<HttpAnswer, ToolError>;

    /// Runs a query over tables of the tenant.
    ///
    /// # Errors
    /// [`ToolError::Unavailable`] when the query is wrong or takes too long.
    fn tables(&self, tables: &[(String, Table)], query: &Query) -> Result<Rows, ToolError>;
}

/// Where there is no system: packs of native tools need none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSystems;

impl NoSystems {
    fn none<T>() -> Result<T, ToolError> {
        let message = "no system can be reached from here".to_owned();
        Err(ToolError::NotPermitted { message })
    }
}

impl SystemPort for NoSystems {
    fn http(&self, _: &HttpCall) -> Result<HttpAnswer, ToolError> {
        Self::none()
    }

    fn tables(&self, _: &[(String, Table)], _: &Query) -> Result<Rows, ToolError> {
        Self::none()
    }
}
