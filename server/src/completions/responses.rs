//! `/v1/responses`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::said::{Asked, Said, Took, may_ask, note, say};
use super::stream::{events, pieces};
use super::{Ask, Content, Described, Format, Message, Role, functions, must, unsupported};
use crate::auth::Key;
use crate::error::Problem;
use crate::input::Body;
use crate::state::AppState;
use crate::store::TenantId;

/// What is sent.
#[derive(Deserialize)]
pub(super) struct Sent {
    model: String,
    input: Input,
    instructions: Option<String>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    text: Option<Text>,
    previous_response_id: Option<String>,
    metadata: Option<Value>,
    background: Option<bool>,
    store: Option<bool>,
    stream: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Item>),
}

/// An item of the input: a message, a call that was made before, or what a call gave.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<Role>,
    content: Option<Content>,
    output: Option<Content>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    function: Option<Described>,
}

#[derive(Deserialize)]
struct Text {
    format: Option<Format>,
}

impl Item {
    fn read(self) -> Result<Option<Message>, Problem> {
        let text = |content: Option<Content>| {
            Ok::<_, Problem>(content.map(Content::read).transpose()?.unwrap_or_default())
        };
        match (self.kind.as_deref(), self.role) {
            (None | Some("message"), Some(role)) => {
                Ok(Some(Message { role, text: text(self.content)? }))
            }
            (Some("function_call_output"), _) => {
                Ok(Some(Message { role: Role::Tool, text: text(self.output)? }))
            }
            (Some("function_call" | "reasoning"), _) => Ok(None),
            (kind, _) => {
                let kind = kind.unwrap_or("without a type and a role");
                Err(unsupported("input", &format!("an item `{kind}` cannot be read")))
            }
        }
    }
}

/// What is kept of a response.
#[derive(serde::Serialize, Deserialize)]
struct Kept {
    response: Value,
    /// The conversation, this answer included.
    messages: Vec<Message>,
    /// The input as items.
    items: Vec<Value>,
}

/// Reads the identifier of a response; another form is not found rather than malformed.
fn id_of(text: &str) -> Result<Uuid, Problem> {
    let bare = text.strip_prefix("resp_").unwrap_or(text);
    bare.parse().map_err(|_| Problem::not_found("response"))
}

async fn kept(state: &AppState, tenant: TenantId, id: &str) -> Result<Kept, Problem> {
    let kept = state.store.begin(tenant).await?.kept_response(id_of(id)?).await?;
    serde_json::from_value(kept).map_err(|error| {
        tracing::error!(%error, id, "a kept response does not read");
        Problem::internal()
    })
}

impl Sent {
    fn read(self, mut messages: Vec<Message>) -> Result<Ask, Problem> {
        if self.background == Some(true) {
            let detail = "ask the agent by `POST /v1/agents/{agent}/runs`, which goes on by itself";
            return Err(unsupported("background", detail));
        }
        if let Some(text) = self.instructions {
            messages.push(Message { role: Role::Developer, text });
        }
        match self.input {
            Input::Text(text) => messages.push(Message { role: Role::User, text }),
            Input::Items(items) => {
                for item in items {
                    messages.extend(item.read()?);
                }
            }
        }
        let tool = |tool: Tool| match (tool.kind.as_str(), tool.function) {
            ("function", Some(function)) => Ok(function),
            (other, _) => Err(unsupported("tools", &format!("`{other}` is no function"))),
        };
        let tools = self.tools.unwrap_or_default().into_iter().map(tool);
        let ask = Ask {
            model: self.model,
            messages,
            functions: functions(tools.collect::<Result<_, _>>()?)?,
            must: must(self.tool_choice.as_ref())?,
            several: self.parallel_tool_calls.unwrap_or(true),
            format: self.text.and_then(|text| text.format).map(Format::read).transpose()?.flatten(),
        };
        ask.checked()
    }
}

fn usage(took: Took) -> Value {
    json!({"input_tokens": took.prompt, "input_tokens_details": {"cached_tokens": took.cached},
           "output_tokens": took.decoded, "output_tokens_details": {"reasoning_tokens": 0},
           "total_tokens": took.prompt + took.decoded})
}

/// What a response repeats of its request.
struct Frame {
    id: Uuid,
    created: i64,
    echo: Value,
}

impl Frame {
    fn of(id: Uuid, sent: &Value) -> Self {
        let or = |name: &str, default: Value| match sent.get(name) {
            Some(given) if !given.is_null() => given.clone(),
            _ => default,
        };
        let echo = json!({
            "model": sent["model"], "instructions": or("instructions", Value::Null),
            "tools": or("tools", json!([])), "tool_choice": or("tool_choice", json!("auto")),
            "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
            "metadata": or("metadata", json!({})), "store": or("store", json!(true)),
            "previous_response_id": or("previous_response_id", Value::Null),
            "text": or("text", json!({"format": {"type": "text"}})),
            "temperature": null, "top_p": null, "max_output_tokens": or("max_output_tokens", Value::Null),
            "truncation": "disabled", "background": false,
        });
        Self { id, created: Timestamp::now().as_second(), echo }
    }

    fn response(&self, status: &str, output: &[Value], took: Option<Took>) -> Value {
        let mut response = self.echo.clone();
        response["id"] = json!(format!("resp_{}", self.id.simple()));
        response["object"] = json!("response");
        response["created_at"] = json!(self.created);
        response["status"] = json!(status);
        response["output"] = json!(output);
        response["error"] = Value::Null;
        response["incomplete_details"] = Value::Null;
        response["usage"] = took.map_or(Value::Null, usage);
        if status == "completed" {
            response["completed_at"] = json!(Timestamp::now().as_second());
        }
        response
    }
}

/// The items of an answer.
fn items(said: &Said) -> Vec<Value> {
    let mut items: Vec<Value> = said
        .calls
        .iter()
        .map(|call| {
            let id = Uuid::now_v7().simple().to_string();
            json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": format!("call_{id}"),
                   "name": call.name, "arguments": call.arguments.to_string(), "status": "completed"})
        })
        .collect();
    let part = match (&said.text, &said.refusal) {
        (Some(text), _) => {
            json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
        }
        (None, Some(refusal)) => json!({"type": "refusal", "refusal": refusal}),
        (None, None) => return items,
    };
    items.push(json!({"type": "message", "id": format!("msg_{}", Uuid::now_v7().simple()),
                      "role": "assistant", "status": "completed", "content": [part]}));
    items
}

/// Numbers the events of a stream.
#[derive(Default)]
struct Numbered {
    events: Vec<Event>,
    next: u64,
}

impl Numbered {
    fn push(&mut self, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.next);
        self.next += 1;
        self.events.push(Event::default().event(kind).data(data.to_string()));
    }

    fn item(&mut self, index: usize, item: &Value) {
        let mut open = item.clone();
        open["status"] = json!("in_progress");
        let id = item["id"].clone();
        if item["type"] == "function_call" {
            open["arguments"] = json!("");
            self.push("response.output_item.added", json!({"output_index": index, "item": open}));
            let arguments = item["arguments"].as_str().unwrap_or_default();
            for piece in pieces(arguments) {
                let data = json!({"item_id": id, "output_index": index, "delta": piece});
                self.push("response.function_call_arguments.delta", data);
            }
            let data = json!({"item_id": id, "output_index": index, "name": item["name"], "arguments": arguments});
            self.push("response.function_call_arguments.done", data);
        } else {
            open["content"] = json!([]);
            self.push("response.output_item.added", json!({"output_index": index, "item": open}));
            self.part(&id, index, &item["content"][0]);
        }
        self.push("response.output_item.done", json!({"output_index": index, "item": item}));
    }

    fn part(&mut self, id: &Value, index: usize, part: &Value) {
        let (name, told) = if part["type"] == "refusal" {
            ("response.refusal", "refusal")
        } else {
            ("response.output_text", "text")
        };
        let at = json!({"item_id": id, "output_index": index, "content_index": 0});
        let with = |more: Value| {
            let mut data = at.clone();
            if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
                data.extend(more);
            }
            data
        };
        let mut empty = part.clone();
        empty[told] = json!("");
        self.push("response.content_part.added", with(json!({ "part": empty })));
        let text = part[told].as_str().unwrap_or_default();
        for piece in pieces(text) {
            self.push(&format!("{name}.delta"), with(json!({"delta": piece, "logprobs": []})));
        }
        let mut done = with(json!({"logprobs": []}));
        done[told] = json!(text);
        self.push(&format!("{name}.done"), done);
        self.push("response.content_part.done", with(json!({ "part": part })));
    }
}

/// Takes out of a value what Postgres cannot keep.
fn keepable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "")),
        Value::Array(items) => items.into_iter().map(keepable).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name.replace('\0', ""), keepable(value)))
            .collect(),
        other => other,
    }
}

/// A request under way.
struct Call {
    state: AppState,
    key: Key,
    ask: Ask,
    frame: Frame,
    /// The input as items, where the response is to be kept.
    keep: Option<Vec<Value>>,
    asked: Asked,
}

impl Call {
    /// Answers and keeps the response; returns it with what was said.
    async fn answer(self) -> Result<(Value, Vec<Value>), Problem> {
        let said = say(&self.state, &self.key, &self.ask, &self.asked).await?;
        let output = items(&said);
        let mut response = self.frame.response("completed", &output, Some(said.took));
        if let Some(run) = &said.run {
            response["tessera"] = run.clone();
        }
        let model = self.ask.model.clone();
        let kept = self.keep.map(|items| {
            let text = said.text.clone().or(said.refusal.clone()).unwrap_or_default();
            let mut messages = self.ask.messages;
            messages.push(Message { role: Role::Assistant, text });
            let kept = Kept { response: response.clone(), messages, items };
            keepable(json!(kept))
        });
        let id = (self.frame.id, "response", model.as_str());
        note(&self.state, &self.key, id, said.took, kept.as_ref()).await?;
        Ok((response, output))
    }
}

pub(super) async fn create(
    State(state): State<AppState>,
    key: Key,
    headers: HeaderMap,
    Body(body): Body<Value>,
) -> Result<Response, Problem> {
    let sent: Sent = Sent::deserialize(&body)
        .map_err(|error| Problem::invalid("invalid_json", error.to_string()))?;
    may_ask(&state, &key, &sent.model).await?;
    let before = match &sent.previous_response_id {
        Some(id) => kept(&state, key.0.tenant_id, id).await?.messages,
        None => Vec::new(),
    };
    if sent.metadata.as_ref().is_some_and(|m| !m.is_object() && !m.is_null()) {
        return Err(unsupported("metadata", "an object of strings"));
    }
    let (streams, keeps) = (sent.stream == Some(true), sent.store != Some(false));
    let given = match &body["input"] {
        Value::Array(items) => items.clone(),
        text => vec![json!({"type": "message", "role": "user",
                            "content": [{"type": "input_text", "text": text}]})],
    };
    let ask = sent.read(before)?;
    let frame = Frame::of(Uuid::now_v7(), &body);
    let asked = Asked::of(&headers)?;
    let mut numbered = Numbered::default();
    let begun = frame.response("in_progress", &[], None);
    let failing = frame.response("failed", &[], None);
    let call = Call { state, key, ask, frame, keep: keeps.then_some(given), asked };
    if !streams {
        return Ok(Json(call.answer().await?.0).into_response());
    }
    numbered.push("response.created", json!({ "response": begun }));
    numbered.push("response.in_progress", json!({ "response": begun }));
    let first = std::mem::take(&mut numbered.events);
    let rest = async move {
        match call.answer().await {
            Ok((response, output)) => {
                for (index, item) in output.iter().enumerate() {
                    numbered.item(index, item);
                }
                numbered.push("response.completed", json!({ "response": response }));
            }
            Err(problem) => {
                let mut failed = failing;
                failed["error"] = json!({"code": "server_error", "message": problem.detail});
                numbered.push("response.failed", json!({ "response": failed }));
            }
        }
        numbered.events
    };
    Ok(events(first, rest).into_response())
}

pub(super) async fn read(
    State(state): State<AppState>,
    key: Key,
    Path(response): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    Ok(Json(kept(&state, key.0.tenant_id, &response).await?.response))
}

pub(super) async fn items_of(
    State(state): State<AppState>,
    key: Key,
    Path(response): Path<String>,
) -> Result<Json<Value>, Problem> {
    key.permits("runs:read")?;
    let kept = kept(&state, key.0.tenant_id, &response).await?;
    let numbered = kept.items.into_iter().enumerate().map(|(at, mut item)| {
        if item["id"].is_null() {
            item["id"] = json!(format!("msg_{at}"));
        }
        item
    });
    let data: Vec<Value> = numbered.collect();
    let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    let (first, last) = (id(data.first()), id(data.last()));
    Ok(Json(
        json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": false}),
    ))
}

pub(super) async fn remove(
    State(state): State<AppState>,
    key: Key,
    Path(response): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    key.permits("runs:write")?;
    let mut tx = state.store.begin(key.0.tenant_id).await?;
    tx.forget_response(id_of(&response)?).await?;
    tx.commit().await?;
    let gone = json!({"id": response, "object": "response.deleted", "deleted": true});
    Ok((StatusCode::OK, Json(gone)))
}
