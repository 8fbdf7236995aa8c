//! The API's own description: OpenAPI 3.1 at `/v1/openapi.json`.
//!
//! [`operations`] lists what is served, one line an operation; a test reads the routes out of the
//! sources and holds the two against each other, so that neither can change alone.
//!
//! # Source
//! OpenAPI Specification 3.1.1; RFC 9457 for the problems.

mod operations;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use crate::state::AppState;
use crate::store::EVENT_TYPES;

pub use operations::OPERATIONS;

/// Schemas that operations name.
const SCHEMAS: &str = include_str!("schemas.json");

/// Schemas of what reading operations answer. Scalars that may be absent are said to be `null` at times;
/// members may be added.
const ANSWERS: &str = include_str!("answers.json");

/// What is sent to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// JSON of this schema.
    Json(&'static str),
    /// A file, as it is or as the field `file` of a form.
    File,
}

/// One method of one address.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// HTTP method, lower case.
    pub method: &'static str,
    /// Address with `{names}`.
    pub path: &'static str,
    /// Part of the API.
    pub tag: &'static str,
    /// What it does, a sentence.
    pub summary: &'static str,
    /// Scope that its key needs; empty for any key.
    pub scope: &'static str,
    /// Names of its query parameters, from the list of [`PARAMETERS`].
    pub query: &'static [&'static str],
    /// What is sent.
    pub sent: Sent,
    /// Status and schema of each success.
    pub gives: &'static [(u16, &'static str)],
    /// Whether it is called without a key.
    pub open: bool,
}

/// Query parameters: name, type, and what they do.
const PARAMETERS: [(&str, &str, &str); 21] = [
    ("after", "string", "The cursor of the page before: `next` of its answer"),
    ("limit", "integer", "Most items of the page"),
    ("wait", "integer", "Seconds to wait for the end, 60 at most"),
    ("state", "string", "Only what is in this state"),
    ("version", "integer", "A version; the current one when absent"),
    ("start", "string", "From this instant, RFC 3339"),
    ("end", "string", "Before this instant, RFC 3339"),
    ("site_id", "string", "Only this site"),
    ("preview", "boolean", "Only look, and store nothing"),
    ("mapping", "string", "Mapping of the columns, JSON"),
    ("name", "string", "Name of the file"),
    ("purge", "boolean", "Remove for good"),
    ("from", "string", "From this instant, RFC 3339"),
    ("to", "string", "Before this instant, RFC 3339"),
    ("days", "integer", "Days to look back"),
    ("format", "string", "Format of the answer"),
    ("run", "string", "Only of this run"),
    ("unit", "string", "The unit"),
    ("q", "string", "Words to look for"),
    ("before", "integer", "Before this position"),
    ("metric", "string", "Only this measure"),
];

/// Returns the route.
pub fn routes() -> Router<AppState> {
    Router::new().route("/v1/openapi.json", get(served))
}

async fn served() -> impl IntoResponse {
    let cache = [(header::CACHE_CONTROL, "public, max-age=300")];
    (cache, Json(&*DOCUMENT))
}

/// The document.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

fn reference(schema: &str) -> Value {
    match schema {
        "" => json!({ "type": "object" }),
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(operation);
    }
    let webhooks: Map<String, Value> =
        EVENT_TYPES.iter().map(|(name, what)| ((*name).to_owned(), webhook(name, what))).collect();
    // The files are part of the program and a test reads them.
    let mut schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap_or_default();
    schemas.extend(serde_json::from_str::<Map<String, Value>>(ANSWERS).unwrap_or_default());
    json!({
        "openapi": "3.1.1",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "Tessera", "version": env!("CARGO_PKG_VERSION"),
            "summary": "Agents for joint ventures: runs, approvals, datasets, planners and webhooks.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "security": [{ "key": [] }],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer",
                "description": "A key of the joint venture, made by `tessera key new`."}},
            "schemas": schemas,
        },
    })
}

fn described(operation: &Operation) -> Value {
    let mut answers: Map<String, Value> = operation
        .gives
        .iter()
        .map(|(status, schema)| (status.to_string(), answer(*status, schema)))
        .collect();
    answers.insert("default".to_owned(), problem());
    let mut described = json!({
        "operationId": identifier(operation), "tags": [operation.tag],
        "summary": operation.summary, "parameters": parameters(operation), "responses": answers,
    });
    if operation.open {
        described["security"] = json!([]);
    } else if !operation.scope.is_empty() {
        described["description"] = json!(format!("Needs the scope `{}`.", operation.scope));
    }
    match operation.sent {
        Sent::Nothing => {}
        Sent::Json(schema) => {
            let content = json!({ "application/json": { "schema": reference(schema) } });
            described["requestBody"] = json!({ "required": true, "content": content });
        }
        Sent::File => {
            let form = json!({"type": "object", "required": ["file"],
                              "properties": {"file": {"type": "string", "format": "binary"}}});
            let content = json!({"application/octet-stream": {},
                                 "multipart/form-data": {"schema": form}});
            described["requestBody"] = json!({ "required": true, "content": content });
        }
    }
    described
}

fn identifier(operation: &Operation) -> String {
    let words = operation.path.trim_start_matches("/v1/").replace(['{', '}'], "");
    format!("{}_{}", operation.method, words.replace(['/', '-', '.'], "_"))
}

/// A kind of answer: events and pages are no JSON.
fn answer(status: u16, schema: &str) -> Value {
    let description = match status {
        201 => "Made",
        202 => "Begun; the answer says how far it is",
        204 => "Done",
        _ => "As asked",
    };
    match (status, schema) {
        (204, _) => json!({ "description": description }),
        (_, "events") => json!({"description": description, "content": {"text/event-stream": {}}}),
        (_, "page") => json!({"description": description, "content": {"text/html": {}}}),
        (_, "file") => {
            json!({"description": description, "content": {"application/octet-stream": {}}})
        }
        _ => json!({"description": description,
                    "content": {"application/json": {"schema": reference(schema)}}}),
    }
}

fn problem() -> Value {
    json!({"description": "A problem; `code` says which",
           "content": {"application/problem+json": {"schema": reference("Problem")}}})
}

fn parameters(operation: &Operation) -> Value {
    let in_path = operation.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
    });
    let in_query = PARAMETERS.iter().filter(|(name, ..)| operation.query.contains(name));
    let in_query = in_query.map(|(name, kind, what)| {
        let schema = match *kind {
            "integer" => json!({ "type": "integer", "minimum": 0, "maximum": 65535 }),
            kind => json!({ "type": kind }),
        };
        json!({"name": name, "in": "query", "description": what, "schema": schema})
    });
    let mut all: Vec<Value> = in_path.chain(in_query).collect();
    if operation.path == "/v1/agents/{agent}/runs" {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
        all.push(json!({"name": "Idempotency-Key", "in": "header", "schema": schema,
                        "description": "The same request under the same key makes one run"}));
    }
    json!(all)
}

fn webhook(name: &str, what: &str) -> Value {
    let content = json!({ "application/json": { "schema": reference("Event") } });
    json!({"post": {
        "operationId": format!("on_{}", name.replace('.', "_")), "summary": what,
        "requestBody": {"content": content},
        "responses": {"2XX": {"description": "Taken; nothing but success ends the attempts"}},
    }})
}
