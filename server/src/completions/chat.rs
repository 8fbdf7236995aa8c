//! `POST /v1/chat/completions`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
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

/// What is sent. Sampling is left out: a planner takes the likeliest token that its grammar allows.
#[derive(Deserialize)]
pub(super) struct Sent {
    model: String,
    messages: Vec<SentMessage>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    response_format: Option<Format>,
    n: Option<u32>,
    logprobs: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct SentMessage {
    role: Role,
    content: Option<Content>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(rename = "type")]
    kind: String,
    function: Option<Described>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Sent {
    fn read(self) -> Result<Ask, Problem> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(unsupported("n", "a planner gives one answer"));
        }
        if self.logprobs == Some(true) {
            return Err(unsupported("logprobs", "they are not told"));
        }
        let message = |sent: SentMessage| {
            let text = sent.content.map(Content::read).transpose()?.unwrap_or_default();
            Ok(Message { role: sent.role, text })
        };
        let tool = |tool: Tool| match (tool.kind.as_str(), tool.function) {
            ("function", Some(function)) => Ok(function),
            (other, _) => Err(unsupported("tools", &format!("`{other}` is no function"))),
        };
        let tools = self.tools.unwrap_or_default().into_iter().map(tool);
        let ask = Ask {
            model: self.model,
            messages: self.messages.into_iter().map(message).collect::<Result<_, Problem>>()?,
            functions: functions(tools.collect::<Result<_, _>>()?)?,
            must: must(self.tool_choice.as_ref())?,
            several: self.parallel_tool_calls.unwrap_or(true),
            format: self.response_format.map(Format::read).transpose()?.flatten(),
        };
        ask.checked()
    }
}

fn usage(took: Took) -> Value {
    json!({"prompt_tokens": took.prompt, "completion_tokens": took.decoded,
           "total_tokens": took.prompt + took.decoded,
           "prompt_tokens_details": {"cached_tokens": took.cached},
           "completion_tokens_details": {"reasoning_tokens": 0}})
}

fn finish(said: &Said) -> &'static str {
    if said.calls.is_empty() { "stop" } else { "tool_calls" }
}

fn call_id() -> String {
    format!("call_{}", Uuid::now_v7().simple())
}

/// The answer of one who does not stream.
fn whole(id: &str, model: &str, said: &Said) -> Value {
    let calls = said.calls.iter().map(|call| {
        json!({"id": call_id(), "type": "function",
               "function": {"name": call.name, "arguments": call.arguments.to_string()}})
    });
    let mut message = json!({"role": "assistant", "content": said.text, "refusal": said.refusal, "annotations": []});
    if !said.calls.is_empty() {
        message["tool_calls"] = calls.collect();
    }
    let mut answer = json!({
        "id": id, "object": "chat.completion", "created": Timestamp::now().as_second(), "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish(said), "logprobs": null}],
        "usage": usage(said.took), "service_tier": "default",
    });
    if let Some(run) = &said.run {
        answer["tessera"] = run.clone();
    }
    answer
}

/// What the chunks of one answer share.
struct Chunks {
    id: String,
    created: i64,
    model: String,
    usage: bool,
}

impl Chunks {
    fn chunk(&self, choices: &Value, usage: &Value) -> Event {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model, "choices": choices,
        });
        if self.usage {
            chunk["usage"] = usage.clone();
        }
        Event::default().data(chunk.to_string())
    }

    fn delta(&self, delta: &Value, finish: Option<&str>) -> Event {
        let choice =
            json!([{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null}]);
        self.chunk(&choice, &Value::Null)
    }

    fn rest(&self, said: &Said) -> Vec<Event> {
        let mut all = Vec::new();
        for piece in pieces(said.text.as_deref().unwrap_or_default()) {
            all.push(self.delta(&json!({ "content": piece }), None));
        }
        for piece in pieces(said.refusal.as_deref().unwrap_or_default()) {
            all.push(self.delta(&json!({ "refusal": piece }), None));
        }
        for (index, call) in said.calls.iter().enumerate() {
            let head = json!({"index": index, "id": call_id(), "type": "function",
                              "function": {"name": call.name, "arguments": ""}});
            all.push(self.delta(&json!({ "tool_calls": [head] }), None));
            for piece in pieces(&call.arguments.to_string()) {
                let more = json!({"index": index, "function": {"arguments": piece}});
                all.push(self.delta(&json!({ "tool_calls": [more] }), None));
            }
        }
        all.push(self.delta(&json!({}), Some(finish(said))));
        if self.usage {
            all.push(self.chunk(&json!([]), &usage(said.took)));
        }
        all.push(Event::default().data("[DONE]"));
        all
    }
}

pub(super) async fn create(
    State(state): State<AppState>,
    key: Key,
    headers: HeaderMap,
    Body(sent): Body<Sent>,
) -> Result<Response, Problem> {
    may_ask(&state, &key, &sent.model).await?;
    let asked = Asked::of(&headers)?;
    let streams = sent.stream == Some(true);
    let usage = sent.stream_options.as_ref().is_some_and(|o| o.include_usage == Some(true));
    let ask = sent.read()?;
    let id = Uuid::now_v7();
    let named = format!("chatcmpl-{}", id.simple());
    if !streams {
        let said = say(&state, &key, &ask, &asked).await?;
        note(&state, &key, (id, "chat", &ask.model), said.took, None).await?;
        return Ok(Json(whole(&named, &ask.model, &said)).into_response());
    }
    let created = Timestamp::now().as_second();
    let chunks = Chunks { id: named, created, model: ask.model.clone(), usage };
    let first = chunks.delta(&json!({"role": "assistant", "content": ""}), None);
    let rest = async move {
        let said = async {
            let said = say(&state, &key, &ask, &asked).await?;
            note(&state, &key, (id, "chat", &ask.model), said.took, None).await?;
            Ok::<Said, Problem>(said)
        };
        match said.await {
            Ok(said) => chunks.rest(&said),
            Err(problem) => {
                vec![Event::default().data(json!({ "error": problem.as_error() }).to_string())]
            }
        }
    };
    Ok(events(vec![first], rest).into_response())
}
