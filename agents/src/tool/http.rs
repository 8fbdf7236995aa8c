//! Runs a tool that is a request to a web service.

use serde_json::{Map, Value, json};

use super::body::{HttpBody, Taken};
use super::{Effect, ToolContext, ToolError, ToolSpec, shape, warning};
use crate::port::{HttpAnswer, HttpCall};

/// Most characters of an answer that an error repeats. They are a stranger's words.
const REPEATED: usize = 200;

/// Builds the request of a call.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the path needs an argument that is absent, or a header would not be
/// one line.
pub(super) fn request(
    spec: &ToolSpec,
    http: &HttpBody,
    arguments: &Value,
) -> Result<HttpCall, ToolError> {
    let mut path = shape::path(&http.path, arguments)?;
    let query = shape::query(&http.query, arguments);
    if !query.is_empty() {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&query);
    }
    let mut headers = Vec::new();
    for (name, words) in &http.headers {
        let Some(value) = shape::text(words, arguments) else { continue };
        if value.chars().any(char::is_control) {
            let detail = format!("the header `{name}` cannot hold line breaks");
            return Err(ToolError::invalid("", detail));
        }
        headers.push((name.clone(), value));
    }
    Ok(HttpCall {
        system: http.system.clone(),
        tool: spec.name.clone(),
        method: http.method,
        path,
        headers,
        body: http.body.as_ref().and_then(|template| shape::fill(template, arguments)),
        timeout_ms: http.timeout_ms,
        max_bytes: http.max_bytes,
        idempotency_key: None,
    })
}

/// Runs the tool.
///
/// # Errors
/// What the answer's status means, and [`ToolError::Unavailable`] where it is not what the tool promises.
pub(super) fn run(
    spec: &ToolSpec,
    http: &HttpBody,
    arguments: &Value,
    context: &ToolContext<'_>,
) -> Result<Value, ToolError> {
    let mut call = request(spec, http, arguments)?;
    if spec.effect == Effect::Act {
        return act(spec, call, arguments, context);
    }
    call.idempotency_key = None;
    let answer = context.systems.http(&call)?;
    let body = judged(&call.system, &answer)?;
    taken(spec, &http.answer, body)
}

/// Makes the effect, at most once for its key. The answer's words are not kept: a repeated call must
/// give the same result.
fn act(
    spec: &ToolSpec,
    mut call: HttpCall,
    arguments: &Value,
    context: &ToolContext<'_>,
) -> Result<Value, ToolError> {
    let mut result = Map::new();
    if arguments["dry_run"] == Value::Bool(true) {
        result.insert("dry_run".to_owned(), Value::Bool(true));
        result.insert("request".to_owned(), json!(call.line()));
    } else {
        let key = arguments["idempotency_key"].as_str().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| {
            ToolError::invalid("/idempotency_key", "an act needs a key under which it happens once")
        })?;
        call.idempotency_key = Some(key.to_owned());
        let done = context.perform_by(&spec.name, key, arguments, Some(call))?;
        result.insert("reference".to_owned(), json!(done.reference));
        result.insert("repeated".to_owned(), json!(done.repeated));
    }
    let mut whole = Value::Object(result);
    shape::trim(&mut whole, &spec.output_schema, 1);
    Ok(completed(spec, whole, Vec::new()))
}

/// Says what a status means, in the errors of the contract, and reads the body.
fn judged(system: &str, answer: &HttpAnswer) -> Result<Value, ToolError> {
    let said = || {
        let text = String::from_utf8_lossy(&answer.body);
        let text: String = text.chars().filter(|c| !c.is_control()).take(REPEATED).collect();
        format!("`{system}` answered {}: {text}", answer.status)
    };
    match answer.status {
        204 => Ok(Value::Null),
        200..300 => serde_json::from_slice(&answer.body).map_err(|error| ToolError::Unavailable {
            message: format!("`{system}` answered with something that is no JSON: {error}"),
        }),
        400 | 409 | 422 => Err(ToolError::invalid("", said())),
        404 | 410 => Err(ToolError::no_data(said())),
        401 | 403 => Err(ToolError::not_permitted(format!(
            "`{system}` refuses the credentials of this joint venture (status {}); check its settings",
            answer.status
        ))),
        _ => Err(ToolError::Unavailable { message: said() }),
    }
}

/// Returns the result that an answer's body makes.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ the part that is taken is absent; [`ToolError::Unavailable`] ⇐ it is no object
/// and nothing says where it belongs.
pub(super) fn taken(spec: &ToolSpec, take: &Taken, body: Value) -> Result<Value, ToolError> {
    let part = match take.at.as_str() {
        "" => body,
        at => body.pointer(at).cloned().ok_or_else(|| {
            ToolError::no_data(format!("the answer for `{}` has nothing at {at}", spec.name))
        })?,
    };
    let mut whole = if take.fields.is_empty() {
        part
    } else {
        let found = take.fields.iter().map(|(name, pointer)| {
            (name.clone(), part.pointer(pointer).cloned().unwrap_or(Value::Null))
        });
        Value::Object(found.collect())
    };
    if let Some(name) = &take.into {
        whole = Value::Object(Map::from_iter([(name.clone(), whole)]));
    }
    if !whole.is_object() {
        return Err(ToolError::Unavailable {
            message: format!(
                "the answer for `{}` is no object; name a property for it in `answer.into`",
                spec.name
            ),
        });
    }
    let cut = shape::trim(&mut whole, &spec.output_schema, take.max_items as usize);
    let message =
        format!("Only a part of the answer is kept: {} items of each list.", take.max_items);
    let warnings = if cut { vec![warning("cut", message)] } else { Vec::new() };
    Ok(completed(spec, whole, warnings))
}

fn completed(spec: &ToolSpec, mut whole: Value, warnings: Vec<Value>) -> Value {
    if let Some(map) = whole.as_object_mut() {
        shape::complete(map, &spec.output_schema, &spec.method, warnings);
    }
    whole
}
