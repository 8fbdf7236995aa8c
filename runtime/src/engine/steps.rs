//! One step for many generations: continuous batching without a thread of its own.
//!
//! Each generation asks for its next step and waits. Whoever asks while no step is under way leads: it takes what
//! the others have asked for meanwhile, runs it in one pass of the model, and hands out the results; those who ask
//! during the pass are taken by the next leader. Prompts run in pieces, so that a long one holds nobody up, and
//! where there is more to run than one step takes, those who were served least go first.
//!
//! A panic of a pass fails the generations of that pass only.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::EngineError;
use crate::model::{KvCache, Model, Part, Scratch};

/// Rows of one step.
const ROWS: usize = 256;

/// Rows of a prompt that run in one step.
const PIECE: usize = 192;

/// How long a leader waits for the other generations that are under way: they choose their tokens at this moment,
/// and a step without them would cost as much as one with them.
const GATHER: Duration = Duration::from_micros(400);

/// Whom a step is for, so that room is shared fairly; equal for the generations of one tenant.
pub type Share = u64;

/// What one generation asks for.
struct Ask {
    id: u64,
    share: Share,
    tokens: Vec<u32>,
    cache: KvCache,
}

/// What it gets.
struct Given {
    /// The cache, with the tokens in it unless the pass failed.
    cache: KvCache,
    /// What comes after the last token; `None` ⇐ the pass panicked.
    hidden: Option<Hidden>,
}

/// What the model says after a token.
#[derive(Debug, Clone, Default)]
pub(super) struct Hidden {
    /// `[hidden]`, normed.
    pub(super) state: Vec<f32>,
    /// `[vocab]`; empty where they were not computed with the step.
    pub(super) logits: Vec<f32>,
}

impl From<Vec<f32>> for Hidden {
    fn from(state: Vec<f32>) -> Self {
        Self { state, logits: Vec::new() }
    }
}

#[derive(Default)]
struct State {
    asked: Vec<Ask>,
    given: HashMap<u64, Given>,
    /// Rows run for each share since it last had nothing under way.
    served: HashMap<Share, usize>,
    /// Generations under way, by share.
    active: HashMap<Share, usize>,
    next: u64,
    leading: bool,
    scratch: Scratch,
    steps: u64,
    rows: u64,
}

/// The steps of one model.
#[derive(Default)]
pub(super) struct Steps {
    state: Mutex<State>,
    change: Condvar,
}

/// A generation that is under way; counts as one until it is dropped.
pub(super) struct Seat<'a> {
    steps: &'a Steps,
    share: Share,
}

/// How many steps ran and how many rows they had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Passes of the model.
    pub steps: u64,
    /// Tokens that they ran.
    pub rows: u64,
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}

impl Steps {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place among the generations under way.
    pub(super) fn seat(&self, share: Share) -> Seat<'_> {
        let mut state = self.lock();
        // Who comes anew starts level with who was served least, or it could hold up the others.
        let least = state.served.values().min().copied().unwrap_or(0);
        state.served.entry(share).or_insert(least);
        *state.active.entry(share).or_insert(0) += 1;
        Seat { steps: self, share }
    }

    /// What ran so far.
    pub(super) fn counts(&self) -> StepCounts {
        let state = self.lock();
        StepCounts { steps: state.steps, rows: state.rows }
    }

    /// Leads steps until `id` has its result.
    fn lead<'a>(&'a self, model: &Model, id: u64, mut state: MutexGuard<'a, State>) -> Given {
        state.leading = true;
        loop {
            state = self.gather(state);
            let batch = state.take();
            let mut scratch = std::mem::take(&mut state.scratch);
            state.steps += 1;
            state.rows += batch.iter().map(|ask| ask.tokens.len() as u64).sum::<u64>();
            drop(state);
            let given = pass(model, batch, &mut scratch);
            state = self.lock();
            state.scratch = scratch;
            state.given.extend(given);
            let own = state.given.remove(&id);
            if own.is_some() {
                state.leading = false;
            }
            self.change.notify_all();
            if let Some(own) = own {
                return own;
            }
        }
    }

    /// Waits a moment for the generations that have not asked yet.
    fn gather<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let missing = |state: &mut State| state.asked.len() < state.active.values().sum();
        let waited = self.change.wait_timeout_while(state, GATHER, missing);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    /// Takes what the next step runs: by share, least served first, as long as there is room; one at least.
    fn take(&mut self) -> Vec<Ask> {
        let mut served = self.served.clone();
        let mut batch = Vec::new();
        let mut rows = 0;
        while let Some(at) = (0..self.asked.len())
            .min_by_key(|at| (served.get(&self.asked[*at].share).copied(), self.asked[*at].id))
        {
            let more = self.asked[at].tokens.len();
            if !batch.is_empty() && rows + more > ROWS {
                break;
            }
            let ask = self.asked.remove(at);
            rows += more;
            *served.entry(ask.share).or_default() += more;
            batch.push(ask);
        }
        self.served = served;
        batch
    }
}

/// Runs one pass; where it panics, gives the caches back without a result.
fn pass(model: &Model, mut batch: Vec<Ask>, scratch: &mut Scratch) -> Vec<(u64, Given)> {
    let lengths: Vec<usize> = batch.iter().map(|ask| ask.cache.len()).collect();
    let mut parts: Vec<Part<'_>> =
        batch.iter_mut().map(|ask| Part { tokens: &ask.tokens, cache: &mut ask.cache }).collect();
    let results = catch_unwind(AssertUnwindSafe(|| {
        let hidden = model.step(&mut parts, scratch).ok()?;
        // Of several, the head is read once for all as well.
        let logits = if parts.len() > 1 { model.logits(&hidden) } else { Vec::new() };
        Some((hidden, logits))
    }));
    drop(parts);
    let (d, vocab) = (model.config().hidden_size, model.config().vocab_size);
    let results = results.ok().flatten();
    let each = batch.into_iter().zip(lengths).enumerate().map(|(i, (mut ask, length))| {
        let hidden = results.as_ref().map(|(hidden, logits)| Hidden {
            state: hidden[i * d..][..d].to_vec(),
            logits: logits.get(i * vocab..(i + 1) * vocab).unwrap_or_default().to_vec(),
        });
        if hidden.is_none() {
            ask.cache.truncate(length);
        }
        (ask.id, Given { cache: ask.cache, hidden })
    });
    each.collect()
}

impl Seat<'_> {
    /// Runs `tokens` after what `cache` holds and returns the hidden state after the last; `check` is asked before
    /// each piece whether to go on.
    ///
    /// # Errors
    /// [`EngineError::Model`] ⇐ they do not fit the model; [`EngineError::Failed`] ⇐ the pass panicked; what
    /// `check` returns.
    pub(super) fn run(
        &self,
        model: &Model,
        tokens: &[u32],
        cache: &mut KvCache,
        check: impl Fn() -> Result<(), EngineError>,
    ) -> Result<Hidden, EngineError> {
        model.check(tokens, cache)?;
        cache.reserve(tokens.len());
        let mut hidden = Hidden::default();
        for piece in tokens.chunks(PIECE) {
            check()?;
            hidden = self.piece(model, piece, cache)?;
        }
        Ok(hidden)
    }

    fn piece(
        &self,
        model: &Model,
        tokens: &[u32],
        cache: &mut KvCache,
    ) -> Result<Hidden, EngineError> {
        let mut state = self.steps.lock();
        let id = state.next;
        state.next += 1;
        let own = std::mem::replace(cache, model.cache());
        state.asked.push(Ask { id, share: self.share, tokens: tokens.to_vec(), cache: own });
        self.steps.change.notify_all();
        let given = loop {
            if let Some(given) = state.given.remove(&id) {
                break given;
            }
            if !state.leading {
                break self.steps.lead(model, id, state);
            }
            state = self.steps.change.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        *cache = given.cache;
        given.hidden.ok_or(EngineError::Failed)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.steps.lock();
        if let Some(count) = state.active.get_mut(&self.share) {
            *count -= 1;
            if *count == 0 {
                state.active.remove(&self.share);
                state.served.remove(&self.share);
            }
        }
        self.steps.change.notify_all();
    }
}
