//! The planner as one object: text in, text that obeys a grammar out.
//!
//! An [`Engine`] is immutable but for its caches, so one `Arc<Engine>` serves all threads. Generation
//! is greedy and runs on the caller's thread; call it from a blocking task.

mod files;
mod generate;
mod packed;
mod steps;

pub use files::ModelFiles;
pub use generate::{Choice, Completion, Finish, Request, Timings, Trace, Usage};
pub use packed::pack;
pub use steps::{Share, StepCounts};

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use steps::Steps;

use crate::config::{ConfigError, MoeConfig};
use crate::gguf::{Gguf, tokenizer_json};
use crate::grammar::{GrammarCompiler, GrammarError};
use crate::intent::{IntentError, Intents};
use crate::model::{Model, ModelError, Scratch};
use crate::prefix::PrefixCache;
use crate::tokenizer::{Prompt, Tokenizer, TokenizerError};

/// Keys and values kept of past prompts, bytes.
const PREFIX_BYTES: usize = 256 << 20;

/// Scratch buffers kept for coming requests.
const MAX_SCRATCH: usize = 8;

/// Why a model cannot be loaded or a request not be served.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights are refused, or the sequence does not fit the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer is refused, or the prompt names a token it does not have.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The grammar cannot be compiled or followed.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The classifier of requests is refused.
    #[error(transparent)]
    Intents(#[from] IntentError),
    /// A model file cannot be opened.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// Tokenizer and weights do not belong together, or no token ends a text.
    #[error("the model files do not fit each other: {0}")]
    Mismatch(String),
    /// The prompt has no token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The request's deadline passed.
    #[error("the deadline passed after {decoded_tokens} decoded tokens")]
    Deadline {
        /// Tokens decoded by then.
        decoded_tokens: usize,
    },
    /// A fault of the runtime stopped the step that this request was in.
    #[error("the step of this request failed inside the runtime; try again")]
    Failed,
    /// The caller cancelled.
    #[error("the request was cancelled")]
    Cancelled,
}

/// How likely the model finds a given completion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Natural logarithm of the completion's probability, without any grammar.
    pub log_prob: f32,
    /// Tokens of the completion.
    pub tokens: usize,
}

/// A loaded planner.
#[derive(Debug)]
pub struct Engine {
    model: Model,
    tokenizer: Tokenizer,
    grammars: GrammarCompiler,
    intents: Intents,
    end: u32,
    prefixes: Mutex<PrefixCache>,
    scratch: Mutex<Vec<Scratch>>,
    /// Steps that generations share; only where reading the weights is what a step costs.
    steps: Option<Steps>,
}

impl Engine {
    /// Loads a planner from its files.
    ///
    /// # Errors
    /// [`EngineError::Config`], [`EngineError::Model`], [`EngineError::Tokenizer`] ⇐ a file is
    /// refused; [`EngineError::Mismatch`] ⇐ they do not fit each other.
    pub fn load(files: &ModelFiles) -> Result<Self, EngineError> {
        let config = MoeConfig::from_json(&files.config)?;
        let weights: Vec<&[u8]> = files.weights.iter().map(AsRef::as_ref).collect();
        let intents =
            files.intents.as_deref().map_or_else(|| Ok(Intents::default()), Intents::from_bytes)?;
        let tokenizer = Tokenizer::from_bytes(&files.tokenizer)?;
        Self::of(Model::load(config, &weights)?, tokenizer, intents)
    }

    /// Loads a model from one GGUF file, with the vocabulary that the file carries.
    ///
    /// # Errors
    /// [`EngineError::Model`] ⇐ the file is damaged, or of a family or number format that is not read;
    /// [`EngineError::Tokenizer`], [`EngineError::Mismatch`] ⇐ its vocabulary cannot be used.
    pub fn from_gguf(path: &Path) -> Result<Self, EngineError> {
        let file = Gguf::open(path).map_err(ModelError::Gguf)?;
        let text = tokenizer_json(&file).map_err(ModelError::Gguf)?;
        let tokenizer = Tokenizer::from_bytes(text.as_bytes())?;
        Self::of(Model::from_gguf(&file)?, tokenizer, Intents::default())
    }

    fn of(model: Model, tokenizer: Tokenizer, intents: Intents) -> Result<Self, EngineError> {
        let config = model.config();
        let (vocab, logits) = (tokenizer.vocab_size(), config.vocab_size);
        if vocab > logits {
            return Err(EngineError::Mismatch(format!(
                "the tokenizer has {vocab} tokens, the model {logits}"
            )));
        }
        let by_config =
            config.eos_token_id.as_ref().and_then(|ids| ids.as_slice().first().copied());
        let end = by_config.or_else(|| tokenizer.end_token()).ok_or_else(|| {
            EngineError::Mismatch("no end token: set eos_token_id in config.json".to_owned())
        })?;
        let grammars = GrammarCompiler::new(&tokenizer, logits, end)?;
        let steps = model.is_tiled().then(Steps::default);
        Ok(Self {
            model,
            steps,
            tokenizer,
            grammars,
            intents,
            end,
            prefixes: Mutex::new(PrefixCache::new(PREFIX_BYTES)),
            scratch: Mutex::new(Vec::new()),
        })
    }

    /// Classifiers of what requests ask for; empty where the planner has none.
    pub fn intents(&self) -> &Intents {
        &self.intents
    }

    /// Shape of the model.
    pub fn config(&self) -> &MoeConfig {
        self.model.config()
    }

    /// The vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The token that ends a text.
    pub fn end_token(&self) -> u32 {
        self.end
    }

    /// The grammars compiled so far; use it to check a grammar before it is needed.
    pub fn grammars(&self) -> &GrammarCompiler {
        &self.grammars
    }

    /// Returns how likely the model finds `completion` after `prompt`, each token given those before.
    ///
    /// # Errors
    /// [`EngineError::EmptyPrompt`]; [`EngineError::Tokenizer`]; [`EngineError::Model`] ⇐ too long.
    pub fn score(&self, prompt: &Prompt, completion: &str) -> Result<Score, EngineError> {
        let mut tokens = self.tokenizer.encode_prompt(prompt)?;
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let start = tokens.len();
        tokens.extend(self.tokenizer.encode(completion)?);
        let d = self.config().hidden_size;
        let mut log_prob = 0.0;
        self.with_scratch(|s| {
            self.model.forward(&tokens, &mut self.model.cache(), s, |offset, hidden| {
                for (row, hidden) in hidden.chunks_exact(d).enumerate() {
                    let next = offset + row + 1;
                    if next >= start && next < tokens.len() {
                        let logits = self.model.logits(hidden);
                        log_prob += log_softmax(&logits, tokens[next] as usize);
                    }
                }
            })
        })?;
        Ok(Score { log_prob, tokens: tokens.len() - start })
    }

    /// Returns the logits after each of `tokens`.
    ///
    /// # Shapes
    /// `[n, vocab_size]`, row-major.
    ///
    /// # Errors
    /// [`EngineError::Model`] ⇐ an id outside the vocabulary, or too many.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let mut out = Vec::with_capacity(tokens.len() * self.config().vocab_size);
        self.with_scratch(|s| {
            self.model.forward(tokens, &mut self.model.cache(), s, |_, hidden| {
                out.extend(self.model.logits(hidden));
            })
        })?;
        Ok(out)
    }

    /// Steps that generations shared so far; nothing where each runs alone.
    pub fn step_counts(&self) -> StepCounts {
        self.steps.as_ref().map(Steps::counts).unwrap_or_default()
    }

    fn prefixes(&self) -> MutexGuard<'_, PrefixCache> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends buffers of an earlier request, so that a request allocates little.
    fn with_scratch<T>(&self, f: impl FnOnce(&mut Scratch) -> T) -> T {
        let kept = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = kept.unwrap_or_default();
        let out = f(&mut scratch);
        let mut pool = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < MAX_SCRATCH {
            pool.push(scratch);
        }
        out
    }
}

fn log_softmax(logits: &[f32], at: usize) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|l| (l - max).exp()).sum();
    logits[at] - max - sum.ln()
}
