//! Tools that are declared and not programmed: a request to a web service, or a query.
//!
//! A tool without a body is native and looked up in [`crate::domain`]. Every kind runs through the
//! same checks, policy, approvals and effects; what it reaches is a port.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a tool does its work. Absent for a native tool of a shipped pack.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A request to a web service.
    Http(HttpBody),
    /// A query with bound parameters.
    Sql(SqlBody),
}

impl Body {
    /// Returns the name in lists.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Sql(_) => "sql",
        }
    }

    /// Returns the system of the pack that it reaches.
    pub fn system(&self) -> Option<&str> {
        match self {
            Self::Http(http) => Some(&http.system),
            Self::Sql(_) => None,
        }
    }

    /// Returns the names of the arguments that its templates use.
    pub fn arguments(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut texts: Vec<&Value> = Vec::new();
        let owned: Vec<Value>;
        match self {
            Self::Http(http) => {
                let plain = http.query.values().chain(http.headers.values()).chain([&http.path]);
                owned = plain.map(|text| Value::String(text.clone())).collect();
                texts.extend(&owned);
                texts.extend(&http.body);
            }
            Self::Sql(sql) => {
                owned = sql.datasets.values().map(|text| Value::String(text.clone())).collect();
                texts.extend(&owned);
                texts.extend(&sql.parameters);
            }
        }
        texts.into_iter().for_each(|value| super::shape::names(value, &mut names));
        names
    }
}

/// Method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Reads.
    Get,
    /// Makes something, or asks with a body.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

impl HttpMethod {
    /// Returns the method as it is sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request to a web service. In `path`, `query`, `headers` and `body` a text `{name}` stands for an
/// argument, `{name.part}` for a part of one; what is left out of a call is left out of the request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpBody {
    /// The system of `pack.toml` that is asked.
    pub system: String,
    /// Method.
    pub method: HttpMethod,
    /// Path after the address of the system, `/orders/{order_id}`; each value is percent-encoded.
    pub path: String,
    /// Parameters of the address; an array gives one for each of its values.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body, sent as JSON.
    #[serde(default)]
    pub body: Option<Value>,
    /// What of the answer becomes the result.
    #[serde(default)]
    pub answer: Taken,
    /// Longest wait in milliseconds, at most 30,000; 10,000 when absent.
    #[serde(default = "HttpBody::default_timeout")]
    #[schemars(range(min = 1, max = 30_000))]
    pub timeout_ms: u32,
    /// Longest answer in bytes, at most 4,194,304; 262,144 when absent.
    #[serde(default = "HttpBody::default_bytes")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub max_bytes: u32,
    /// Answers of a test, tried in order.
    #[serde(default)]
    pub mock: Vec<Mock>,
}

impl HttpBody {
    fn default_timeout() -> u32 {
        10_000
    }

    fn default_bytes() -> u32 {
        262_144
    }
}

/// What of an answer becomes the result of the tool. What the output schema does not name is dropped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// JSON pointer of the part that is taken; the whole answer when empty.
    #[serde(default)]
    pub at: String,
    /// Property of the result that holds what was taken, where it is an array or a single value.
    #[serde(default)]
    pub into: Option<String>,
    /// Properties of the result by JSON pointers into what was taken; all of them when empty.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Most items that are kept of an array, at most 1,000; 50 when absent.
    #[serde(default = "Taken::default_items")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_items: u32,
}

impl Taken {
    fn default_items() -> u32 {
        50
    }
}

impl Default for Taken {
    fn default() -> Self {
        Self {
            at: String::new(),
            into: None,
            fields: BTreeMap::new(),
            max_items: Self::default_items(),
        }
    }
}

/// A query with bound parameters over datasets of the joint venture. It only reads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlBody {
    /// Tables of the query by name: the dataset that each is, `{argument}` or a fixed identifier. Every
    /// cell is text, as it was uploaded; `cast` makes numbers.
    pub datasets: BTreeMap<String, String>,
    /// One `select`, with `$1`, `$2` … for its parameters.
    pub query: String,
    /// Values of the parameters in order, `{argument}` or a literal; `null` where the call has none.
    #[serde(default)]
    pub parameters: Vec<Value>,
    /// Columns that may leave the query; those that it selects when empty.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Most rows, at most 1,000; 100 when absent.
    #[serde(default = "SqlBody::default_rows")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_rows: u32,
    /// Longest time in milliseconds, at most 10,000; 2,000 when absent.
    #[serde(default = "SqlBody::default_timeout")]
    #[schemars(range(min = 1, max = 10_000))]
    pub timeout_ms: u32,
    /// Whether the first row is the result itself; else the rows are its `rows`.
    #[serde(default)]
    pub single: bool,
}

impl SqlBody {
    fn default_rows() -> u32 {
        100
    }

    fn default_timeout() -> u32 {
        2_000
    }
}

/// What a system answers in a test. The first whose conditions all hold is taken.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mock {
    /// The request, as `GET /orders/17?expand=lines`; any when absent.
    #[serde(default)]
    pub request: Option<String>,
    /// Body of the request; any when absent.
    #[serde(default)]
    pub body: Option<Value>,
    /// Status of the answer.
    #[serde(default = "Mock::default_status")]
    #[schemars(range(min = 100, max = 599))]
    pub status: u16,
    /// Body of the answer.
    #[serde(default)]
    pub answer: Value,
}

impl Mock {
    fn default_status() -> u16 {
        200
    }
}
