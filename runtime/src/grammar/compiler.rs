//! Compiling grammars against a vocabulary, once each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use llguidance::ParserFactory;
use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use toktrie_hf_tokenizers::ByteTokenizer;

use super::{Grammar, Matcher, Source};
use crate::tokenizer::Tokenizer;

/// Compiled grammars kept; a tenant's tool shortlists vary, so there may be many.
const MAX_COMPILED: usize = 256;

/// Characters of a compiler message that are passed on.
const MAX_MESSAGE: usize = 400;

/// Why a grammar cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The compiler does not know a keyword, or the grammar is malformed.
    #[error(
        "the grammar cannot be compiled: {0}; leave out what it names and validate that afterwards"
    )]
    Compile(String),
    /// The vocabulary cannot be used for grammars.
    #[error("the tokenizer cannot serve grammars: {0}")]
    Vocabulary(String),
    /// The grammar became too costly, or a token was offered that it forbids.
    #[error("the grammar stopped the generation: {0}")]
    Walk(String),
}

/// Keeps the compiled form of each grammar for one vocabulary.
pub struct GrammarCompiler {
    factory: ParserFactory,
    compiled: Mutex<HashMap<Grammar, Matcher>>,
}

impl GrammarCompiler {
    /// Prepares a vocabulary for `logits` ids, of which `end` ends a text.
    ///
    /// # Errors
    /// [`GrammarError::Vocabulary`] ⇐ the tokenizer is not byte-level or has more ids than logits.
    pub fn new(tokenizer: &Tokenizer, logits: usize, end: u32) -> Result<Self, GrammarError> {
        let fail = |e: &dyn std::fmt::Display| GrammarError::Vocabulary(shorten(&e.to_string()));
        if end as usize >= tokenizer.vocab_size() {
            return Err(fail(&format!("end token {end} is not in the vocabulary")));
        }
        let mut bytes =
            ByteTokenizer::from_tokenizer(tokenizer.library().clone()).map_err(|e| fail(&e))?;
        bytes.set_eos_token(end);
        let env = bytes.into_tok_env(Some(logits)).map_err(|e| fail(&e))?;
        let abilities =
            InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let mut factory = ParserFactory::new(&env, abilities, &SlicedBiasComputer::json_slices())
            .map_err(|e| fail(&e))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory, compiled: Mutex::new(HashMap::new()) })
    }

    /// Returns a matcher at the grammar's start, compiling it if it is new.
    ///
    /// # Errors
    /// [`GrammarError::Compile`] ⇐ the grammar is malformed, too large or uses what is not supported.
    ///
    /// # Cost
    /// About a millisecond for a tool's schema the first time, microseconds after.
    pub fn matcher(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        let kept =
            self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(grammar).cloned();
        if let Some(matcher) = kept {
            return Ok(matcher);
        }
        // Compiled without the lock: a slow schema must not hold up other requests.
        let matcher = self.compile(grammar)?;
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= MAX_COMPILED {
            compiled.clear();
        }
        compiled.insert(grammar.clone(), matcher.clone());
        Ok(matcher)
    }

    fn compile(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        let fail = |e: &dyn std::fmt::Display| GrammarError::Compile(shorten(&e.to_string()));
        let source = match &grammar.source {
            Source::JsonSchema(text) => {
                TopLevelGrammar::from_json_schema(serde_json::from_str(text).map_err(|e| fail(&e))?)
            }
            Source::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        };
        let inner = llguidance::Matcher::new(self.factory.create_parser(source));
        // A bad grammar does not fail at construction; it leaves a matcher in error.
        match inner.get_error() {
            Some(error) => Err(fail(&error)),
            None => Ok(Matcher::new(inner)),
        }
    }
}

impl std::fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrammarCompiler").finish_non_exhaustive()
    }
}

/// The first line of a message, at a length fit for an answer.
pub(super) fn shorten(message: &str) -> String {
    let line = message.lines().find(|l| !l.trim().is_empty()).unwrap_or("unknown reason");
    line.chars().take(MAX_MESSAGE).collect()
}
