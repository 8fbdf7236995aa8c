//! Greedy generation under a grammar.
//!
//! Tokens that the grammar forces are only noted; they run through the model together with the next
//! token that has to be chosen, in one step of several rows. Forced tokens at the end never run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::steps::{Hidden, Seat, Share};
use super::{Engine, EngineError};
use crate::grammar::{Grammar, Mask, Matcher};
use crate::kernel::softmax;
use crate::model::{KvCache, Scratch};
use crate::tokenizer::Prompt;

/// Of so many tokens one must be allowed for all rows of the head to be read at once.
const FEW_TOKENS: usize = 2;

/// One generation.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What stands before.
    pub prompt: &'a Prompt,
    /// What the text must obey.
    pub grammar: &'a Grammar,
    /// Most tokens of the text, forced ones included.
    pub max_tokens: usize,
    /// When to give up; checked between tokens.
    pub deadline: Option<Instant>,
    /// Set by another thread to give up; checked between tokens.
    pub cancel: Option<&'a AtomicBool>,
}

/// How a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The text is complete under its grammar.
    Complete,
    /// `max_tokens` was reached first; the text may be cut off.
    Length,
}

/// What a generation consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, tokens whose keys and values were there from an earlier prompt.
    pub cached_tokens: usize,
    /// Tokens of the text that the grammar forced.
    pub forced_tokens: usize,
    /// Tokens of the text that the model chose.
    pub decoded_tokens: usize,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the call to the first hidden state: encoding, grammar, prompt.
    pub prefill: Duration,
    /// All after that.
    pub decode: Duration,
}

/// A generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The text, without special tokens.
    pub text: String,
    /// How it ended.
    pub finish: Finish,
    /// Geometric mean of the probabilities of the tokens the model chose (the end among them), each among those the
    /// grammar allowed; 1 if it chose none.
    pub confidence: f32,
    /// Smallest of these probabilities; 1 if it chose none.
    pub least_probability: f32,
    /// What was consumed.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
}

/// One token of a generation and what it was chosen from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The token; the end token where the text ended by choice.
    pub token: u32,
    /// Tokens that the grammar allowed, in ascending order; empty where it forced this one.
    pub allowed: Vec<u32>,
}

/// A generation token by token, for comparing this engine with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Tokens of the text in order.
    pub choices: Vec<Choice>,
}

/// State of a generation under way.
struct Run<'a> {
    engine: &'a Engine,
    request: &'a Request<'a>,
    /// Chosen or forced and not yet run through the model.
    pending: Vec<u32>,
    output: Vec<u32>,
    log_prob: f64,
    choices: u32,
    least: f32,
    usage: Usage,
    /// Filled where somebody wants to see every choice.
    trace: Option<Vec<Choice>>,
}

/// How tokens run through the model.
enum Passes<'a> {
    /// On this thread, whatever others do.
    Own(&'a mut Scratch),
    /// In steps with others.
    Shared(Seat<'a>),
}

/// What the grammar leaves open.
enum Next {
    Choose(Mask),
    Stop(Finish),
}

impl Engine {
    /// Generates text that obeys the grammar, taking the likeliest allowed token each time.
    ///
    /// # Errors
    /// [`EngineError::EmptyPrompt`]; [`EngineError::Tokenizer`] ⇐ an unknown special token;
    /// [`EngineError::Grammar`] ⇐ it cannot be compiled or grows past its limits;
    /// [`EngineError::Model`] ⇐ too long; [`EngineError::Deadline`]; [`EngineError::Cancelled`].
    pub fn generate(&self, request: &Request<'_>) -> Result<Completion, EngineError> {
        self.generate_for(0, request)
    }

    /// Generates as [`Engine::generate`] does, for one of several that share the machine: where more is asked
    /// than a step takes, room is shared equally between the values of `share`.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub fn generate_for(
        &self,
        share: Share,
        request: &Request<'_>,
    ) -> Result<Completion, EngineError> {
        let prompt = self.tokenizer.encode_prompt(request.prompt)?;
        self.run(share, request, &prompt, None).map(|(completion, _)| completion)
    }

    /// Generates as [`Engine::generate`] does and returns every token with what it was chosen from.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub fn trace(&self, request: &Request<'_>) -> Result<(Completion, Trace), EngineError> {
        let prompt = self.tokenizer.encode_prompt(request.prompt)?;
        let (completion, choices) = self.run(0, request, &prompt, Some(Vec::new()))?;
        Ok((completion, Trace { prompt, choices: choices.unwrap_or_default() }))
    }

    fn run(
        &self,
        share: Share,
        request: &Request<'_>,
        prompt: &[u32],
        trace: Option<Vec<Choice>>,
    ) -> Result<(Completion, Option<Vec<Choice>>), EngineError> {
        let started = Instant::now();
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let matcher = self.grammars.matcher(request.grammar)?;
        let run = Run {
            engine: self,
            request,
            pending: Vec::new(),
            output: Vec::new(),
            log_prob: 0.0,
            choices: 0,
            least: 1.0,
            usage: Usage { prompt_tokens: prompt.len(), ..Usage::default() },
            trace,
        };
        match &self.steps {
            Some(steps) => run.finish(started, prompt, matcher, Passes::Shared(steps.seat(share))),
            None => self
                .with_scratch(|scratch| run.finish(started, prompt, matcher, Passes::Own(scratch))),
        }
    }
}

impl Run<'_> {
    fn finish(
        mut self,
        started: Instant,
        prompt: &[u32],
        mut matcher: Matcher,
        mut passes: Passes<'_>,
    ) -> Result<(Completion, Option<Vec<Choice>>), EngineError> {
        self.check()?;
        let (mut hidden, mut cache) = self.prefill(prompt, &mut passes)?;
        let prefill = started.elapsed();
        let finish = loop {
            let mask = match self.advance(&mut matcher)? {
                Next::Stop(finish) => break finish,
                Next::Choose(mask) => mask,
            };
            self.check()?;
            if !self.pending.is_empty() {
                hidden = self.pass(&self.pending, &mut cache, &mut passes)?;
                self.pending.clear();
            }
            let token = self.choose(&mask, &hidden);
            if let Some(trace) = &mut self.trace {
                trace.push(Choice { token, allowed: mask.tokens().to_vec() });
            }
            if token == self.engine.end {
                break Finish::Complete;
            }
            matcher.consume(token)?;
            self.usage.decoded_tokens += 1;
            self.append(token);
        };
        #[expect(clippy::cast_possible_truncation, reason = "a probability")]
        let confidence = (self.log_prob / f64::from(self.choices.max(1))).exp() as f32;
        let completion = Completion {
            text: self.engine.tokenizer.decode(&self.output)?,
            finish,
            confidence,
            least_probability: self.least,
            usage: self.usage,
            timings: Timings { prefill, decode: started.elapsed().saturating_sub(prefill) },
        };
        Ok((completion, self.trace))
    }

    /// Runs what no earlier prompt has run of the prompt, and keeps it for later prompts.
    fn prefill(
        &mut self,
        prompt: &[u32],
        passes: &mut Passes<'_>,
    ) -> Result<(Hidden, KvCache), EngineError> {
        let engine = self.engine;
        let found = engine.prefixes().find(prompt);
        let mut cache = found.unwrap_or_else(|| engine.model.cache());
        self.usage.cached_tokens = cache.len();
        let hidden = self.pass(&prompt[cache.len()..], &mut cache, passes)?;
        cache.freeze();
        engine.prefixes().store(prompt, cache.clone());
        Ok((hidden, cache))
    }

    fn pass(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
        passes: &mut Passes<'_>,
    ) -> Result<Hidden, EngineError> {
        let model = &self.engine.model;
        match passes {
            Passes::Own(scratch) => Ok(model.forward_last(tokens, cache, scratch)?.into()),
            Passes::Shared(seat) => seat.run(model, tokens, cache, || self.check()),
        }
    }

    /// Notes what the grammar forces, up to the next choice or the end.
    fn advance(&mut self, matcher: &mut Matcher) -> Result<Next, EngineError> {
        loop {
            let forced = matcher.forced()?;
            let any = !forced.is_empty();
            for token in forced {
                if token == self.engine.end {
                    return Ok(Next::Stop(Finish::Complete));
                }
                if self.output.len() >= self.request.max_tokens {
                    return Ok(Next::Stop(Finish::Length));
                }
                self.forced(token);
            }
            if matcher.is_stopped() {
                return Ok(Next::Stop(Finish::Complete));
            }
            if any {
                continue;
            }
            let mask = matcher.mask()?;
            // One allowed token is as good as forced.
            let only = if mask.count() == 1 { mask.tokens().first().copied() } else { None };
            if only == Some(self.engine.end) {
                return Ok(Next::Stop(Finish::Complete));
            }
            if self.output.len() >= self.request.max_tokens {
                return Ok(Next::Stop(Finish::Length));
            }
            let Some(token) = only else { return Ok(Next::Choose(mask)) };
            matcher.consume(token)?;
            self.forced(token);
        }
    }

    fn forced(&mut self, token: u32) {
        self.usage.forced_tokens += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(Choice { token, allowed: Vec::new() });
        }
        self.append(token);
    }

    fn append(&mut self, token: u32) {
        self.pending.push(token);
        self.output.push(token);
    }

    /// Takes the likeliest allowed token. Where few are allowed, only their rows of the head are read.
    fn choose(&mut self, mask: &Mask, hidden: &Hidden) -> u32 {
        let model = &self.engine.model;
        let allowed = mask.tokens();
        let few =
            hidden.logits.is_empty() && allowed.len() * FEW_TOKENS < model.config().vocab_size;
        let mut probabilities: Vec<f32> = if few {
            allowed.iter().map(|token| model.logit(&hidden.state, *token)).collect()
        } else if hidden.logits.is_empty() {
            let logits = model.logits(&hidden.state);
            allowed.iter().map(|token| logits[*token as usize]).collect()
        } else {
            allowed.iter().map(|token| hidden.logits[*token as usize]).collect()
        };
        softmax(&mut probabilities);
        let mut best = 0;
        for (at, p) in probabilities.iter().enumerate() {
            if *p > probabilities[best] {
                best = at;
            }
        }
        let probability = probabilities.get(best).copied().unwrap_or(1.0);
        self.least = self.least.min(probability);
        self.choices += 1;
        self.log_prob += f64::from(probability.max(f32::MIN_POSITIVE)).ln();
        allowed.get(best).copied().unwrap_or(self.engine.end)
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.request.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Err(EngineError::Cancelled);
        }
        if self.request.deadline.is_some_and(|at| Instant::now() >= at) {
            return Err(EngineError::Deadline { decoded_tokens: self.usage.decoded_tokens });
        }
        Ok(())
    }
}
