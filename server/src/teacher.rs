//! A teacher behind an OpenAI-compatible API.
//!
//! One question is one call of `chat/completions` without tools. A call that meets a full or failing
//! service is made again, after as long as the service asks for; redirects are not followed, so that a
//! key goes nowhere else. Whoever names the teacher runs this machine, so it may be a private host.

use std::sync::Arc;
use std::time::Duration;

use agents::synth::teacher::{Question, Reply, Teacher, TeacherError};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::egress::{Egress, EgressError, Limits, Outgoing, Rules, target};

/// Calls that one question may take.
const ATTEMPTS: usize = 4;

/// Wait before the second call; it doubles from call to call.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Longest wait that a service may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Longest answer, bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Most tokens of an answer.
const MAX_TOKENS: u32 = 4096;

/// Asks a model over HTTP. Use it on blocking threads only.
#[derive(Debug, Clone)]
pub struct HttpTeacher {
    egress: Egress,
    rules: Arc<Rules>,
    outgoing: Outgoing,
    model: String,
    handle: Handle,
}

/// What one call came to.
enum Outcome {
    Done(Value),
    /// Worth another call, after this long where the service says so.
    Again(TeacherError, Option<Duration>),
    Failed(TeacherError),
}

impl HttpTeacher {
    /// Prepares to ask `model` at the base address of an API (`http://127.0.0.1:8000/v1`). `patience`
    /// bounds one call.
    ///
    /// # Errors
    /// [`TeacherError::Refused`] ⇐ the address is none.
    pub fn new(
        url: &str,
        model: &str,
        key: Option<String>,
        patience: Duration,
        handle: Handle,
    ) -> Result<Self, TeacherError> {
        let base = url.trim_end_matches('/');
        let url = match base.strip_suffix("/chat/completions") {
            Some(_) => base.to_owned(),
            None => format!("{base}/chat/completions"),
        };
        let refused = |detail: String| TeacherError::Refused(detail);
        let rules = Rules::of_operator(&url).map_err(|error| refused(error.to_string()))?;
        target(&url, &rules).map_err(|error| refused(error.to_string()))?;
        let mut headers = header::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        if let Some(key) = key {
            let value = format!("Bearer {key}").parse();
            let value = value.map_err(|_| refused("the key is no text of a header".to_owned()))?;
            headers.insert(header::AUTHORIZATION, value);
        }
        let limits = Limits { time: patience, body: MAX_ANSWER, ..Limits::default() };
        let outgoing = Outgoing { method: Method::POST, url, headers, body: Vec::new(), limits };
        Ok(Self {
            egress: Egress::default(),
            rules: Arc::new(rules),
            outgoing,
            model: model.to_owned(),
            handle,
        })
    }

    async fn answer(&self, question: &Question) -> Result<Reply, TeacherError> {
        let mut wait = FIRST_WAIT;
        for attempt in 0..ATTEMPTS {
            match self.call(question).await {
                Outcome::Done(answer) => return read(&answer, attempt),
                Outcome::Failed(error) => return Err(error),
                Outcome::Again(error, _) if attempt + 1 == ATTEMPTS => return Err(error),
                Outcome::Again(_, asked) => {
                    tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
                    wait *= 2;
                }
            }
        }
        Err(TeacherError::Limited)
    }

    async fn call(&self, question: &Question) -> Outcome {
        let body = json!({
            "model": self.model, "temperature": 0.8, "max_tokens": MAX_TOKENS, "stream": false,
            "messages": [{"role": "system", "content": question.system},
                         {"role": "user", "content": question.user}],
        });
        let outgoing = Outgoing { body: body.to_string().into_bytes(), ..self.outgoing.clone() };
        let answer = match self.egress.send(None, &self.rules, &outgoing).await {
            Ok(answer) => answer,
            Err(EgressError::Refused(refusal)) => {
                return Outcome::Failed(TeacherError::Refused(refusal.to_string()));
            }
            Err(error @ EgressError::TooLong(_)) => {
                return Outcome::Failed(TeacherError::Unreadable(error.to_string()));
            }
            Err(error) => {
                return Outcome::Again(TeacherError::Unavailable(error.to_string()), None);
            }
        };
        let status = answer.status;
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let error = match status {
                StatusCode::TOO_MANY_REQUESTS => TeacherError::Limited,
                _ => TeacherError::Unavailable(status.to_string()),
            };
            let seconds = answer.headers.get(header::RETRY_AFTER);
            let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
            return Outcome::Again(error, seconds.map(Duration::from_secs));
        }
        if !status.is_success() {
            return Outcome::Failed(TeacherError::Refused(status.to_string()));
        }
        match serde_json::from_slice(&answer.body) {
            Ok(answer) => Outcome::Done(answer),
            Err(error) => Outcome::Failed(TeacherError::Unreadable(error.to_string())),
        }
    }
}

fn read(answer: &Value, retries: usize) -> Result<Reply, TeacherError> {
    let text = answer["choices"][0]["message"]["content"].as_str().ok_or_else(|| {
        TeacherError::Unreadable("it has no `choices[0].message.content`".to_owned())
    })?;
    let tokens = |name: &str| answer["usage"][name].as_u64().unwrap_or_default();
    Ok(Reply {
        text: text.to_owned(),
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
        retries,
    })
}

impl Teacher for HttpTeacher {
    fn ask(&self, question: &Question) -> Result<Reply, TeacherError> {
        self.handle.block_on(self.answer(question))
    }

    fn model(&self) -> &str {
        &self.model
    }
}
