//! Calls made for OpenAI's API: chat completions, responses and models, so that clients made for it work.
//!
//! Two models answer. The agent, named as its pack, turns the last message into a run like any other:
//! journal, policy, approvals and budgets hold. `planner` chooses among the functions that the caller
//! describes and fills their arguments with values that the messages state; it writes no prose.
//! What is asked is read into an [`Ask`], answered as [`Said`], and written in either form.
//!
//! # Source
//! OpenAI API reference, *Chat Completions* and *Responses*, as its Python client 3.54 reads them.

mod chat;
mod models;
mod responses;
mod said;
mod stream;

use std::collections::HashSet;

use agents::plan::functions::{Function, MAX_FUNCTIONS};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Problem;
use crate::input::{MAX_REQUEST, checked, wrong_method};
use crate::state::AppState;

/// Name of the model that calls the functions of its caller.
const PLANNER: &str = "planner";

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 512;

/// Returns the routes.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::read))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/{response}", get(responses::read).delete(responses::remove))
        .route("/v1/responses/{response}/input_items", get(responses::items_of))
        .method_not_allowed_fallback(wrong_method)
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Developer,
    System,
    User,
    Assistant,
    Tool,
}

/// A message, its text alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Message {
    role: Role,
    text: String,
}

/// Whether a function is to be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Must {
    /// None may be.
    Never,
    /// As the text asks.
    #[default]
    Auto,
    /// One must be.
    Required,
    /// This one must be.
    Named(String),
}

/// What is asked, in either form.
#[derive(Debug)]
struct Ask {
    model: String,
    messages: Vec<Message>,
    functions: Vec<Function>,
    must: Must,
    several: bool,
    /// Schema that the text must obey as JSON.
    format: Option<Function>,
}

fn unsupported(param: &str, detail: &str) -> Problem {
    Problem::invalid("unsupported_value", format!("`{param}`: {detail}"))
}

/// A function as the caller describes it.
#[derive(Debug, Deserialize)]
struct Described {
    name: String,
    description: Option<String>,
    /// Schema of the arguments; none where there are no arguments.
    #[serde(alias = "schema")]
    parameters: Option<Value>,
}

impl Described {
    /// # Errors
    /// `invalid_function`.
    fn read(self) -> Result<Function, Problem> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !(1..=64).contains(&self.name.len()) || !self.name.chars().all(plain) {
            let detail = "a name has 1 to 64 letters, digits, `_` or `-`";
            return Err(Problem::invalid("invalid_function", detail));
        }
        let none = || serde_json::json!({"type": "object", "properties": {}});
        let parameters = self.parameters.filter(|given| !given.is_null()).unwrap_or_else(none);
        Function::new(&self.name, &self.description.unwrap_or_default(), &parameters)
            .map_err(|error| Problem::invalid("invalid_function", error))
    }
}

/// What the text must look like.
#[expect(clippy::large_enum_variant, reason = "one lives as long as one request")]
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format {
    Text,
    JsonObject,
    /// In chat completions the schema stands in a member of its own, in responses beside the type.
    JsonSchema {
        json_schema: Option<Described>,
        #[serde(flatten)]
        flat: Option<Described>,
    },
}

impl Format {
    /// # Errors
    /// `invalid_function`; `unsupported_value` ⇐ JSON without a schema.
    fn read(self) -> Result<Option<Function>, Problem> {
        match self {
            Self::Text => Ok(None),
            Self::JsonObject => {
                Err(unsupported("json_object", "say by `json_schema` what the object holds"))
            }
            Self::JsonSchema { json_schema, flat } => match json_schema.or(flat) {
                Some(described) => described.read().map(Some),
                None => Err(unsupported("json_schema", "give `name` and `schema`")),
            },
        }
    }
}

/// Text of a message: a string, or parts of it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
}

impl Content {
    /// # Errors
    /// `unsupported_value` ⇐ a part that is no text.
    fn read(self) -> Result<String, Problem> {
        let parts = match self {
            Self::Text(text) => return Ok(text),
            Self::Parts(parts) => parts,
        };
        let mut texts = Vec::new();
        for part in parts {
            match (part.kind.as_str(), part.text.or(part.refusal)) {
                ("text" | "input_text" | "output_text" | "refusal", Some(text)) => texts.push(text),
                (other, _) => {
                    return Err(unsupported("content", &format!("a part `{other}` is no text")));
                }
            }
        }
        Ok(texts.join("\n"))
    }
}

/// Reads the choice of a function: a word, or the one that is named.
///
/// # Errors
/// `unsupported_value`.
fn must(choice: Option<&Value>) -> Result<Must, Problem> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else { return Ok(Must::Auto) };
    let named = || choice["function"]["name"].as_str().or_else(|| choice["name"].as_str());
    match (choice.as_str(), choice["type"].as_str()) {
        (Some("none"), _) => Ok(Must::Never),
        (Some("auto"), _) => Ok(Must::Auto),
        (Some("required"), _) => Ok(Must::Required),
        (None, Some("function")) => named()
            .map(|name| Must::Named(name.to_owned()))
            .ok_or_else(|| unsupported("tool_choice", "name the function")),
        _ => {
            Err(unsupported("tool_choice", "`none`, `auto`, `required`, or a function by its name"))
        }
    }
}

/// Reads the functions.
///
/// # Errors
/// `invalid_function` ⇐ one cannot be used, two of a name, or too many.
fn functions(described: Vec<Described>) -> Result<Vec<Function>, Problem> {
    if described.len() > MAX_FUNCTIONS {
        let detail = format!("{} functions; the limit is {MAX_FUNCTIONS}", described.len());
        return Err(Problem::invalid("invalid_function", detail));
    }
    let read: Vec<Function> =
        described.into_iter().map(Described::read).collect::<Result<_, _>>()?;
    let names: HashSet<&str> = read.iter().map(Function::name).collect();
    if names.len() < read.len() {
        return Err(Problem::invalid("invalid_function", "two functions have the same name"));
    }
    Ok(read)
}

impl Ask {
    /// Checks what holds in both forms.
    ///
    /// # Errors
    /// `empty_request`, `request_too_large`, `invalid_text`; `unsupported_value`.
    fn checked(self) -> Result<Self, Problem> {
        if self.messages.len() > MAX_MESSAGES {
            let detail = format!("{} messages; the limit is {MAX_MESSAGES}", self.messages.len());
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                "The request is too large",
                detail,
            ));
        }
        checked(&self.request())?;
        if let Must::Named(name) = &self.must
            && !self.functions.iter().any(|function| function.name() == name)
        {
            return Err(unsupported("tool_choice", &format!("there is no function `{name}`")));
        }
        if self.must == Must::Required && self.functions.is_empty() {
            return Err(unsupported("tool_choice", "`required` needs functions"));
        }
        Ok(self)
    }

    /// What is asked now: the last message of the user; where it answers a question, with the message
    /// before that question.
    fn request(&self) -> String {
        let mut said = self
            .messages
            .iter()
            .rev()
            .filter(|message| matches!(message.role, Role::User | Role::Assistant));
        let text = |message: &Message| message.text.trim().to_owned();
        let Some(last) = said.find(|message| message.role == Role::User).map(text) else {
            return String::new();
        };
        let asked = said.next().filter(|before| {
            before.role == Role::Assistant && before.text.trim_end().ends_with(['?', '？'])
        });
        match asked.and_then(|_| said.find(|message| message.role == Role::User)) {
            Some(first) if first.text.len() + last.len() < MAX_REQUEST => {
                format!("{}\n{last}", first.text.trim())
            }
            _ => last,
        }
    }

    /// What functions gave since the user last wrote.
    fn given(&self) -> Vec<&str> {
        let newest = self.messages.iter().rev().take_while(|message| message.role != Role::User);
        let mut given: Vec<&str> = newest
            .filter(|message| message.role == Role::Tool)
            .map(|message| message.text.as_str())
            .collect();
        given.reverse();
        given
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(messages: &[(Role, &str)]) -> Ask {
        let messages = messages.iter();
        let message =
            |(role, text): &(Role, &str)| Message { role: *role, text: (*text).to_owned() };
        Ask {
            model: PLANNER.to_owned(),
            messages: messages.map(message).collect(),
            functions: Vec::new(),
            must: Must::Auto,
            several: true,
            format: None,
        }
    }

    #[test]
    fn the_last_message_is_asked_with_the_one_that_a_question_was_about() {
        use Role::{Assistant, System, Tool, User};
        let plain = ask(&[(System, "s"), (User, "first"), (Assistant, "done."), (User, "second")]);
        assert_eq!(plain.request(), "second");
        let asked = ask(&[(User, "a loan at 6%"), (Assistant, "How long?"), (User, "360 months")]);
        assert_eq!(asked.request(), "a loan at 6%\n360 months");
        let given = ask(&[(User, "q"), (Assistant, ""), (Tool, "1"), (Tool, "2")]);
        assert_eq!((given.request().as_str(), given.given()), ("q", vec!["1", "2"]));
        assert!(ask(&[(System, "s")]).checked().is_err());
    }

    #[test]
    fn a_choice_is_a_word_or_a_name() {
        assert_eq!(must(Some(&json!("required"))).unwrap(), Must::Required);
        let chat = json!({"type": "function", "function": {"name": "f"}});
        let flat = json!({"type": "function", "name": "f"});
        for named in [chat, flat] {
            assert_eq!(must(Some(&named)).unwrap(), Must::Named("f".to_owned()));
        }
        for wrong in
            [json!("all"), json!({"type": "custom"}), json!({"type": "function"}), json!(1)]
        {
            assert!(must(Some(&wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn formats_of_both_forms_are_read() {
        let schema = json!({"type": "object", "properties": {}});
        let chat = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
        let flat = json!({"type": "json_schema", "name": "a", "schema": schema, "strict": true});
        for format in [chat, flat] {
            let read: Format = serde_json::from_value(format.clone()).unwrap();
            assert_eq!(read.read().unwrap().unwrap().name(), "a", "{format}");
        }
        let object: Format = serde_json::from_value(json!({"type": "json_object"})).unwrap();
        assert!(object.read().is_err());
    }
}
