//! What a tool is: its contract, its errors, the context it runs in, and how a call is checked.
//!
//! A call passes, in this order: the whole input schema ([`ToolSpec::check_arguments`]), the tool's
//! own semantic rules, its data, permission, and approval. So `invalid_input` wins over `no_data`,
//! which wins over `not_permitted`, which wins over `needs_approval`.

pub mod body;
mod context;
mod error;
mod http;
pub mod money;
mod shape;
mod spec;
mod sql;
mod table;

pub use body::{Body, HttpMethod};
pub use context::{Approval, Limits, ToolContext, arguments_sha256};
pub use error::ToolError;
pub(crate) use spec::equal;
pub use spec::{Effect, Expectation, InvalidCase, ToolSpec, Vector, decode, warning};
pub use table::{Table, Window};

use serde_json::Value;

/// The body of a native tool: checked arguments in, an object of the output schema out.
pub type NativeFn = fn(&Value, &ToolContext<'_>) -> Result<Value, ToolError>;
