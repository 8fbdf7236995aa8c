//! `tessera model trace`: plans of this engine, token by token.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agents::pack::{Pack, shipped};
use agents::plan::{PlanError, Planner, Planning, Words};
use agents::run::Settings;
use agents::synth::{Maker, Templates};
use clap::Args;
use runtime::engine::{Choice, Trace};
use runtime::{Engine, Grammar, Prompt, Request};
use serde_json::{Value, json};

use super::super::{CliError, say};
use crate::planner;

/// Longest step in tokens.
const MAX_TOKENS: usize = 768;

#[derive(Debug, Args)]
pub(in crate::cli) struct TraceCommand {
    /// File to write, one JSON object a line: the prompt's pieces and tokens, the schema, and each
    /// token of the plan with the tokens that the grammar allowed in its place.
    #[arg(long)]
    out: PathBuf,
    /// Plans to write, spread evenly over the packs.
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// Seed of the requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A planner that keeps the trace of every step.
struct Recorder {
    engine: Engine,
    lines: Mutex<Vec<Value>>,
}

impl Planner for Recorder {
    fn complete(&self, prompt: &Prompt, schema: &Value) -> Result<Words, PlanError> {
        let grammar = Grammar::from_json_schema(schema);
        let request = Request {
            prompt,
            grammar: &grammar,
            max_tokens: MAX_TOKENS,
            deadline: None,
            cancel: None,
        };
        let traced = self.engine.trace(&request);
        let (done, trace) = traced.map_err(|error| PlanError::Planner(error.to_string()))?;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line(prompt, schema, &trace));
        Ok(Words {
            text: done.text,
            confidence: done.least_probability,
            prompt_tokens: done.usage.prompt_tokens,
            cached_tokens: done.usage.cached_tokens,
            decoded_tokens: done.usage.decoded_tokens,
        })
    }

    fn version(&self) -> &'static str {
        "traced"
    }

    fn intents(&self, pack: &str, request: &str) -> Vec<(&str, f32)> {
        self.engine.intents().score(pack, request).unwrap_or_default()
    }

    fn chains(&self) -> bool {
        self.engine.tokenizer().special("result").is_ok()
    }
}

fn line(prompt: &Prompt, schema: &Value, trace: &Trace) -> Value {
    let choice = |choice: &Choice| json!({ "token": choice.token, "allowed": choice.allowed });
    let choices: Vec<Value> = trace.choices.iter().map(choice).collect();
    json!({ "prompt": prompt.to_json(), "tokens": trace.prompt, "schema": schema, "choices": choices })
}

/// Plans requests made from the packs' phrases and writes their traces.
pub(in crate::cli) fn trace(folder: Option<&Path>, command: &TraceCommand) -> Result<(), CliError> {
    let fail = |error: &dyn std::fmt::Display| CliError::Planner(error.to_string());
    let files = planner::files(folder).map_err(|e| fail(&e))?;
    let engine = Engine::load(&files).map_err(|e| fail(&e))?;
    let recorder = Arc::new(Recorder { engine, lines: Mutex::default() });
    let packs = shipped().map_err(|error| CliError::Pack(error.to_string()))?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(&command.out)?);
    let mut written = 0;
    for (position, pack) in packs.iter().enumerate() {
        let until = command.count * (position + 1) / packs.len();
        for line in plans(pack, &recorder, until - written, command.seed)? {
            writeln!(file, "{line}")?;
            written += 1;
        }
    }
    file.flush()?;
    say(format_args!("{}: {written} plans", command.out.display()))
}

/// Plans requests of one pack until `count` steps are there.
fn plans(
    pack: &Arc<Pack>,
    recorder: &Arc<Recorder>,
    count: usize,
    seed: u64,
) -> Result<Vec<Value>, CliError> {
    let broken = |error: agents::pack::PackError| CliError::Pack(error.to_string());
    let templates = Templates::of(pack).map_err(broken)?;
    let mut maker = Maker::new(pack, &templates, seed).map_err(broken)?;
    let planner = Arc::clone(recorder) as Arc<dyn Planner>;
    let planning = Planning::new(Arc::clone(pack), planner).map_err(broken)?;
    let mut lines = Vec::with_capacity(count);
    for case in maker.cases(count, false) {
        if lines.len() >= count {
            break;
        }
        // A plan that cannot be read back has its tokens all the same.
        drop(planning.plan(&case.id, &case.request, &Settings::default(), maker.now()));
        lines.append(&mut recorder.lines.lock().unwrap_or_else(PoisonError::into_inner));
    }
    lines.truncate(count);
    Ok(lines)
}
