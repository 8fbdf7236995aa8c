//! `tessera bench plan`: how fast a model plans here, beside llama.cpp's server where its binary is named.
//!
//! Both run the same GGUF file, the same prompts and the same schema, greedily, one program after the other in
//! every round. The prompts are letters: what is measured is time, not sense.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, header};
use runtime::export::{Numbers, gguf};
use runtime::{Engine, Grammar, Prompt, Request};
use serde::Serialize;
use serde_json::{Value, json};

use super::{CliError, say};
use crate::config::Config;
use crate::egress::{Egress, Limits, Outgoing, Rules};
use crate::planner;

/// Longest that the peer may take to load the model, or to answer once.
const PATIENCE: Duration = Duration::from_secs(300);

/// Plans that each caller asks for, one after the other.
const EACH: usize = 2;

/// Warm plans of a round.
const WARM: usize = 3;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Time plans: alone with a new and with a known beginning, and for several callers at once.
    Plan(Plan),
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    /// GGUF file; the shipped planner in eight bits where none is named.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Binary of llama.cpp's server to run beside.
    #[arg(long, value_name = "BINARY")]
    llama_server: Option<PathBuf>,
    /// Further arguments of that server.
    #[arg(
        long,
        value_name = "ARGUMENTS",
        default_value = "-kvu -fa off",
        allow_hyphen_values = true
    )]
    llama_arguments: String,
    /// Rounds; medians are printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Numbers of callers at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16])]
    callers: Vec<usize>,
    /// Characters that all prompts of a case begin with.
    #[arg(long, default_value_t = 2048)]
    shared: usize,
    /// Characters of each prompt's own.
    #[arg(long, default_value_t = 64)]
    own: usize,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 48)]
    output: usize,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Medians of one program.
#[derive(Debug, Default, Serialize)]
struct Figures {
    /// Seconds of a plan whose prompt begins like none before.
    cold_s: f64,
    /// Seconds of a plan whose beginning is known.
    warm_s: f64,
    /// Callers and their plans a second in all.
    plans_per_s: Vec<(usize, f64)>,
    /// Most memory held at once, MiB.
    peak_mib: u64,
}

/// What plans one prompt.
trait Plans: Sync {
    fn plan(&self, prompt: &str) -> Result<(), CliError>;
    fn peak_mib(&self) -> u64;
}

pub(super) async fn bench(_: &Config, command: BenchCommand) -> Result<(), CliError> {
    let BenchCommand::Plan(wish) = command;
    let handle = tokio::runtime::Handle::current();
    let joined = tokio::task::spawn_blocking(move || plan(&wish, &handle)).await;
    joined.map_err(|error| CliError::Run(error.to_string()))?
}

fn plan(wish: &Plan, handle: &tokio::runtime::Handle) -> Result<(), CliError> {
    let folder = tempfile::tempdir()?;
    let path = match &wish.model {
        Some(path) => path.clone(),
        None => shipped(folder.path())?,
    };
    let runs = wish.rounds * if wish.llama_server.is_some() { 2 } else { 1 };
    let bar = ProgressBar::new(runs.into()).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {msg}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..wish.rounds as usize {
        bar.set_message("ours");
        // Loaded anew each round, so that both start with nothing known.
        ours.push(measure(&Ours::load(&path, wish.output)?, wish, round)?);
        bar.inc(1);
        if let Some(binary) = &wish.llama_server {
            bar.set_message("llama.cpp");
            let peer = Peer::start(binary, &path, wish, handle.clone())?;
            theirs.push(measure(&peer, wish, round)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let (ours, theirs) = (median(&ours), (!theirs.is_empty()).then(|| median(&theirs)));
    if wish.json {
        return say(json!({"model": path, "ours": ours, "llama_cpp": theirs}));
    }
    print(&path, &ours, theirs.as_ref())
}

/// Writes the shipped planner as a GGUF file of eight bits.
fn shipped(folder: &Path) -> Result<PathBuf, CliError> {
    let files = planner::files(None).map_err(|error| CliError::Planner(error.to_string()))?;
    let path = folder.join("planner.gguf");
    gguf(&files, "tessera-planner", Numbers::Q8, &path)
        .map_err(|error| CliError::Planner(error.to_string()))?;
    Ok(path)
}

fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["tool", "query", "limit"],
        "properties": {
            "tool": {"enum": ["search_library", "open_document", "send_message"]},
            "query": {"type": "string", "maxLength": 24},
            "limit": {"type": "integer", "minimum": 1, "maximum": 50},
        },
    })
}

/// Letters that differ by `seed` from the first few on.
fn letters(count: usize, seed: usize) -> String {
    let mut state = seed as u64 + 1;
    let letter = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0))
    };
    (0..count).map(letter).collect()
}

fn measure(plans: &impl Plans, wish: &Plan, round: usize) -> Result<Figures, CliError> {
    let timed = |prompt: String| -> Result<f64, CliError> {
        let start = Instant::now();
        plans.plan(&prompt)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let beginning = letters(wish.shared, 1000 + round);
    let prompt = |seed: usize| format!("{beginning}{}", letters(wish.own, seed));
    let cold_s = timed(prompt(0))?;
    let mut warm = (1..=WARM).map(|i| timed(prompt(i))).collect::<Result<Vec<_>, _>>()?;
    warm.sort_by(f64::total_cmp);
    let mut plans_per_s = Vec::new();
    for callers in &wish.callers {
        let start = Instant::now();
        let one = |caller: usize| {
            (0..EACH).try_for_each(|i| plans.plan(&prompt(100 + caller * EACH + i)))
        };
        std::thread::scope(|scope| {
            let one = &one;
            let threads: Vec<_> =
                (0..*callers).map(|caller| scope.spawn(move || one(caller))).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(CliError::Run("a caller panicked".to_owned())))
            })
        })?;
        plans_per_s.push((*callers, (callers * EACH) as f64 / start.elapsed().as_secs_f64()));
    }
    Ok(Figures { cold_s, warm_s: warm[WARM / 2], plans_per_s, peak_mib: plans.peak_mib() })
}

fn median(rounds: &[Figures]) -> Figures {
    let middle = |of: &dyn Fn(&Figures) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let callers = rounds.first().map(|first| first.plans_per_s.clone()).unwrap_or_default();
    let rate =
        |(i, (callers, _)): (usize, &(usize, f64))| (*callers, middle(&|f| f.plans_per_s[i].1));
    Figures {
        cold_s: middle(&|f| f.cold_s),
        warm_s: middle(&|f| f.warm_s),
        plans_per_s: callers.iter().enumerate().map(rate).collect(),
        peak_mib: rounds.iter().map(|f| f.peak_mib).max().unwrap_or_default(),
    }
}

fn print(path: &Path, ours: &Figures, theirs: Option<&Figures>) -> Result<(), CliError> {
    say(path.display())?;
    say(format_args!("{:>24} {:>10} {:>10} {:>8}", "", "ours", "llama.cpp", "ratio"))?;
    let line = |what: &str, ours: f64, theirs: Option<f64>| match theirs {
        Some(theirs) => {
            say(format_args!("{what:>24} {ours:>10.3} {theirs:>10.3} {:>7.2}x", ours / theirs))
        }
        None => say(format_args!("{what:>24} {ours:>10.3}")),
    };
    line("cold plan, s", ours.cold_s, theirs.map(|t| t.cold_s))?;
    line("warm plan, s", ours.warm_s, theirs.map(|t| t.warm_s))?;
    for (i, (callers, rate)) in ours.plans_per_s.iter().enumerate() {
        let what = format!("{callers} callers, plans/s");
        line(&what, *rate, theirs.map(|t| t.plans_per_s[i].1))?;
    }
    line("peak memory, MiB", ours.peak_mib as f64, theirs.map(|t| t.peak_mib as f64))
}

/// Most memory that a process held at once, MiB; 0 where the system does not tell.
fn peak_mib(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}

struct Ours {
    engine: Engine,
    grammar: Grammar,
    output: usize,
}

impl Ours {
    fn load(path: &Path, output: usize) -> Result<Self, CliError> {
        let engine =
            Engine::from_gguf(path).map_err(|error| CliError::Planner(error.to_string()))?;
        Ok(Self { engine, grammar: Grammar::from_json_schema(&schema()), output })
    }
}

impl Plans for Ours {
    fn plan(&self, prompt: &str) -> Result<(), CliError> {
        let prompt = Prompt::new().text(prompt);
        let request = Request {
            prompt: &prompt,
            grammar: &self.grammar,
            max_tokens: self.output,
            deadline: None,
            cancel: None,
        };
        self.engine.generate(&request).map_err(|error| CliError::Run(error.to_string()))?;
        Ok(())
    }

    fn peak_mib(&self) -> u64 {
        peak_mib("self")
    }
}

/// llama.cpp's server, which ends with this value.
struct Peer {
    child: Child,
    egress: Egress,
    rules: Arc<Rules>,
    base: String,
    output: usize,
    handle: tokio::runtime::Handle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Peer {
    fn start(
        binary: &Path,
        model: &Path,
        wish: &Plan,
        handle: tokio::runtime::Handle,
    ) -> Result<Self, CliError> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let slots = wish.callers.iter().copied().max().unwrap_or(1).max(1);
        let context = (wish.shared + wish.own + wish.output + 64) * slots;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let child = Command::new(binary)
            .arg("-m")
            .arg(model)
            .args(["-t", &threads.to_string(), "-np", &slots.to_string()])
            .args(["-c", &context.to_string(), "--host", "127.0.0.1"])
            .args(["--port", &port.to_string(), "--no-webui"])
            .args(wish.llama_arguments.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| CliError::Input(format!("{}: {error}", binary.display())))?;
        let base = format!("http://127.0.0.1:{port}");
        let rules = Rules::of_operator(&base).map_err(|error| CliError::Run(error.to_string()))?;
        let (egress, rules) = (Egress::default(), Arc::new(rules));
        let mut peer = Self { child, egress, rules, base, output: wish.output, handle };
        let start = Instant::now();
        while !matches!(peer.call(Method::GET, "/health", Vec::new()), Ok(answer) if answer["status"] == "ok")
        {
            if let Some(status) = peer.child.try_wait()? {
                return Err(CliError::Run(format!("{} ended with {status}", binary.display())));
            }
            if start.elapsed() > PATIENCE {
                return Err(CliError::Run(format!("{} loads no model", binary.display())));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(peer)
    }

    fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Value, CliError> {
        let mut headers = header::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        let limits = Limits { time: PATIENCE, ..Limits::default() };
        let outgoing =
            Outgoing { method, url: format!("{}{path}", self.base), headers, body, limits };
        let sent = self.handle.block_on(self.egress.send(None, &self.rules, &outgoing));
        let answer = sent.map_err(|error| CliError::Run(format!("llama.cpp: {error}")))?;
        if !answer.status.is_success() {
            return Err(CliError::Run(format!("llama.cpp answers {}", answer.status)));
        }
        serde_json::from_slice(&answer.body).map_err(|error| CliError::Run(error.to_string()))
    }
}

impl Plans for Peer {
    fn plan(&self, prompt: &str) -> Result<(), CliError> {
        let body = json!({
            "prompt": prompt, "n_predict": self.output, "temperature": 0.0, "cache_prompt": true,
            "json_schema": schema(),
        });
        self.call(Method::POST, "/completion", body.to_string().into_bytes()).map(|_| ())
    }

    fn peak_mib(&self) -> u64 {
        peak_mib(&self.child.id().to_string())
    }
}
