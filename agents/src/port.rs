//! The doors outwards: every effect of this crate is one of these traits.
//!
//! The server implements them on its tenant store and its egress client; tests implement them in
//! memory. **Invariant:** an implementation is already bound to one tenant, so nothing here names one.

use std::sync::Arc;

use serde_json::Value;

use crate::tool::{Table, ToolError, Window};

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
