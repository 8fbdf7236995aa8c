//! One walk through a grammar.

use llguidance::toktrie::SimpleVob;

use super::GrammarError;
use super::compiler::shorten;

/// A place within a grammar. Clones start at the same place and then go their own ways.
#[derive(Clone)]
pub struct Matcher {
    inner: llguidance::Matcher,
}

/// The tokens that may come next.
#[derive(Debug)]
pub struct Mask {
    bits: SimpleVob,
}

impl Mask {
    /// How many tokens may come.
    pub fn count(&self) -> usize {
        self.bits.num_set()
    }

    /// Whether `token` may come.
    pub fn allows(&self, token: u32) -> bool {
        (token as usize) < self.bits.len() && self.bits.is_allowed(token)
    }

    /// Returns the tokens in order.
    pub fn tokens(&self) -> Vec<u32> {
        self.bits.to_list()
    }
}

impl Matcher {
    pub(super) fn new(inner: llguidance::Matcher) -> Self {
        Self { inner }
    }

    /// Returns the tokens that may come next, the end token included where the text may end.
    ///
    /// # Errors
    /// [`GrammarError::Walk`] ⇐ the grammar's limits are exceeded.
    pub fn mask(&mut self) -> Result<Mask, GrammarError> {
        let bits = self.inner.compute_mask_or_eos().map_err(|e| walk(&e))?;
        Ok(Mask { bits })
    }

    /// Moves past `token`.
    ///
    /// # Errors
    /// [`GrammarError::Walk`] ⇐ the grammar forbids it here.
    pub fn consume(&mut self, token: u32) -> Result<(), GrammarError> {
        self.inner.consume_token(token).map_err(|e| walk(&e))
    }

    /// Returns the tokens that must come next, having moved past them; empty where there is a choice.
    ///
    /// # Errors
    /// [`GrammarError::Walk`] ⇐ the grammar's limits are exceeded.
    pub fn forced(&mut self) -> Result<Vec<u32>, GrammarError> {
        if self.is_stopped() {
            return Ok(Vec::new());
        }
        let tokens = self.inner.consume_ff_tokens();
        match self.inner.get_error() {
            Some(error) => Err(walk(&error)),
            None => Ok(tokens),
        }
    }

    /// Whether the text is complete and nothing can follow.
    pub fn is_stopped(&self) -> bool {
        self.inner.is_stopped()
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    /// [`GrammarError::Walk`] ⇐ the matcher failed before.
    pub fn is_accepting(&mut self) -> Result<bool, GrammarError> {
        self.inner.is_accepting().map_err(|e| walk(&e))
    }
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

fn walk(error: &dyn std::fmt::Display) -> GrammarError {
    GrammarError::Walk(shorten(&error.to_string()))
}
