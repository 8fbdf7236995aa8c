//! Whoever turns a prompt into a step: the shipped model, a tenant's own, or a teacher.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use runtime::{Engine, EngineError, Grammar, Places, Prompt, Request};
use serde_json::Value;
use thiserror::Error;

use super::Calibration;

/// Longest step in tokens; the grammar bounds it too.
const MAX_TOKENS: usize = 768;

/// Why no plan was made.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The planner took too long.
    #[error("planning did not finish within {0:?}; try again, or ask for one thing at a time")]
    Timeout(Duration),
    /// The planner failed.
    #[error("the planner failed: {0}")]
    Planner(String),
    /// What the planner said is no step of this request.
    #[error("the planner gave no usable step: {0}")]
    Unusable(String),
}

impl PlanError {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "planner_timeout",
            Self::Planner(_) => "planner_failed",
            Self::Unusable(_) => "planner_unusable",
        }
    }

    /// Tells whether the same request may be planned later: a busy machine, or a planner elsewhere
    /// that did not answer. What the planner says of a request does not change by asking again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Planner(_))
    }
}

/// The words of a planner, one step or several.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// Text that obeys the schema.
    pub text: String,
    /// How sure the planner is, 0 to 1: the smallest probability among the tokens it chose.
    pub confidence: f32,
    /// Tokens of the prompt, of the longest one where there were several steps.
    pub prompt_tokens: usize,
    /// Of these, tokens that an earlier prompt had run already.
    pub cached_tokens: usize,
    /// Tokens that it chose; those that the schema forces are not counted.
    pub decoded_tokens: usize,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            text: String::new(),
            confidence: 1.0,
            prompt_tokens: 0,
            cached_tokens: 0,
            decoded_tokens: 0,
        }
    }
}

impl Words {
    /// The words of the only step that was open; nobody chose them.
    pub fn forced(step: &Value) -> Self {
        Self { text: step.to_string(), ..Self::default() }
    }

    /// Appends the next step; the whole is as sure as its least sure part.
    pub fn add(&mut self, next: &Self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&next.text);
        self.confidence = self.confidence.min(next.confidence);
        if next.prompt_tokens > self.prompt_tokens {
            (self.prompt_tokens, self.cached_tokens) = (next.prompt_tokens, next.cached_tokens);
        }
        self.decoded_tokens += next.decoded_tokens;
    }
}

/// Completes prompts under a JSON Schema.
pub trait Planner: Send + Sync {
    /// Returns the likeliest words that obey `schema`.
    ///
    /// # Errors
    /// [`PlanError::Timeout`] and [`PlanError::Planner`].
    fn complete(&self, prompt: &Prompt, schema: &Value) -> Result<Words, PlanError>;

    /// Returns the version that a run's journal names.
    fn version(&self) -> &str;

    /// Returns the SHA-256 of the model's files, hexadecimal; empty for a planner without files.
    fn digest(&self) -> &str {
        ""
    }

    /// Returns what turns its scores into probabilities; `None` where it was never calibrated.
    fn calibration(&self) -> Option<&Calibration> {
        None
    }

    /// Returns how likely a request, as the planner sees it, asks for each step of a pack; empty for a
    /// planner that has no classifier of that pack's requests.
    fn intents(&self, _pack: &str, _request: &str) -> Vec<(&str, f32)> {
        Vec::new()
    }

    /// Returns which places of a call's arguments each reference of a request may fill; `None` for a
    /// planner that has no classifier of that call's references.
    fn places(&self, _pack: &str, _call: &str, _request: &str) -> Option<Vec<Places<'_>>> {
        None
    }

    /// Returns how likely a request makes each choice among the literals of a call, `PLACE=LITERAL`; `None`
    /// for a planner that has no classifier of that call's choices.
    fn choices(&self, _pack: &str, _call: &str, _request: &str) -> Option<Vec<(&str, f32)>> {
        None
    }

    /// Tells whether it was trained to plan further calls after a first one.
    fn chains(&self) -> bool;

    /// Returns the same planner, which gives up between two tokens once `cancel` is set; `None` for
    /// one that cannot be stopped.
    fn cancelled_by(&self, _cancel: &Arc<AtomicBool>) -> Option<Arc<dyn Planner>> {
        None
    }
}

/// A planner on this machine's own runtime.
#[derive(Debug, Clone)]
pub struct EnginePlanner {
    engine: Arc<Engine>,
    version: String,
    digest: String,
    calibration: Option<Calibration>,
    limit: Duration,
    cancel: Option<Arc<AtomicBool>>,
}

impl EnginePlanner {
    /// Wraps a loaded model. `limit` bounds one completion.
    pub fn new(engine: Arc<Engine>, version: impl Into<String>, limit: Duration) -> Self {
        Self {
            engine,
            version: version.into(),
            digest: String::new(),
            calibration: None,
            limit,
            cancel: None,
        }
    }

    /// Notes the SHA-256 of the model's files, hexadecimal.
    #[must_use]
    pub fn with_digest(self, digest: impl Into<String>) -> Self {
        Self { digest: digest.into(), ..self }
    }

    /// Takes a calibration if it was fitted for these very files; another one says nothing here.
    #[must_use]
    pub fn with_calibration(self, calibration: Option<Calibration>) -> Self {
        let calibration = calibration.filter(|fitted| fitted.planner_sha256 == self.digest);
        Self { calibration, ..self }
    }
}

impl Planner for EnginePlanner {
    fn complete(&self, prompt: &Prompt, schema: &Value) -> Result<Words, PlanError> {
        let grammar = Grammar::from_json_schema(schema);
        let request = Request {
            prompt,
            grammar: &grammar,
            max_tokens: MAX_TOKENS,
            deadline: Some(Instant::now() + self.limit),
            cancel: self.cancel.as_deref(),
        };
        let done = self.engine.generate(&request).map_err(|error| match error {
            EngineError::Deadline { .. } => PlanError::Timeout(self.limit),
            other => PlanError::Planner(other.to_string()),
        })?;
        Ok(Words {
            text: done.text,
            confidence: done.least_probability,
            prompt_tokens: done.usage.prompt_tokens,
            cached_tokens: done.usage.cached_tokens,
            decoded_tokens: done.usage.decoded_tokens,
        })
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    fn intents(&self, pack: &str, request: &str) -> Vec<(&str, f32)> {
        self.engine.intents().score(pack, request).unwrap_or_default()
    }

    fn places(&self, pack: &str, call: &str, request: &str) -> Option<Vec<Places<'_>>> {
        self.engine.intents().places(pack, call, request)
    }

    fn choices(&self, pack: &str, call: &str, request: &str) -> Option<Vec<(&str, f32)>> {
        self.engine.intents().choices(pack, call, request)
    }

    fn chains(&self) -> bool {
        self.engine.tokenizer().special(super::planning::RESULT).is_ok()
    }

    fn cancelled_by(&self, cancel: &Arc<AtomicBool>) -> Option<Arc<dyn Planner>> {
        Some(Arc::new(Self { cancel: Some(Arc::clone(cancel)), ..self.clone() }))
    }
}
