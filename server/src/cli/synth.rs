//! `tessera pack synth`: a training set of packs, verified, with its data card.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agents::pack::Pack;
use agents::synth::overlap::{Reserved, Taken};
use agents::synth::set::{self, Options, SetError, Sifted};
use agents::synth::teacher::{School, TeacherError};
use agents::synth::{Card, Example, Maker, Report, Templates};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::open::open;
use super::{CliError, say};
use crate::config::Config;
use crate::store::Store;
use crate::teacher::HttpTeacher;
use crate::training::{self, Harvested, harvest};

/// Shortest text of another source that is compared, bytes.
const SHORTEST: usize = 24;

#[derive(Debug, Args)]
pub(super) struct SynthCommand {
    /// Packs: names of shipped ones, or folders.
    #[arg(required_unless_present = "all")]
    packs: Vec<String>,
    /// Every shipped pack.
    #[arg(long, conflicts_with = "packs")]
    all: bool,
    /// File of examples; its data card is written beside it.
    #[arg(long, default_value = "examples.jsonl")]
    out: PathBuf,
    /// Examples to make, a tool.
    #[arg(long, default_value_t = 2400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Seed; the same seed and packs give the same set.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Files or folders of texts (JSON, JSON lines or plain) that no example may share a run of words
    /// with, beside the evaluation cases of every pack.
    #[arg(long)]
    against: Vec<PathBuf>,
    #[command(flatten)]
    teacher: TeacherOptions,
    /// Add the accepted and corrected runs of joint ventures that allow it.
    #[arg(long)]
    from_runs: bool,
    /// Joint venture whose own planner the set is for: its runs count also where it allows no other
    /// planner.
    #[arg(long, requires = "from_runs")]
    tenant: Option<String>,
    /// Write nothing: list the phrases that cannot be read back or do not run, and those near an
    /// evaluation case or another phrase.
    #[arg(long)]
    check: bool,
    /// Print the data card, or what `--check` finds, as one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct TeacherOptions {
    /// Base address of an OpenAI-compatible API whose model is asked for other wordings.
    #[arg(long = "teacher", value_name = "URL", requires = "model")]
    url: Option<String>,
    /// Name of that model.
    #[arg(long = "teacher-model", id = "model", value_name = "NAME")]
    model: Option<String>,
    /// Key of that API.
    #[arg(long = "teacher-key", env = "TESSERA_TEACHER_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Wordings to ask for, a tool and language, and as many requests of several steps.
    #[arg(long = "teacher-count", default_value_t = 20)]
    wordings: usize,
    /// Longest wait for one answer, seconds.
    #[arg(long = "teacher-patience", default_value_t = 120)]
    patience: u64,
    /// Requests, one a line or as `{\"request\": …}`, whose steps the teacher says; for one pack.
    #[arg(long, requires = "url")]
    label: Option<PathBuf>,
}

impl TeacherOptions {
    fn teacher(&self) -> Result<Option<HttpTeacher>, CliError> {
        let (Some(url), Some(model)) = (&self.url, &self.model) else { return Ok(None) };
        let patience = Duration::from_secs(self.patience);
        HttpTeacher::new(url, model, self.key.clone(), patience, Handle::current())
            .map(Some)
            .map_err(|error| CliError::Input(error.to_string()))
    }

    fn requests(&self) -> Result<Vec<String>, CliError> {
        let Some(path) = &self.label else { return Ok(Vec::new()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::Input(format!("cannot read {}: {error}", path.display())))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let read = |line: &str| match serde_json::from_str::<Value>(line) {
            Ok(value) if value["request"].is_string() => {
                value["request"].as_str().unwrap_or_default().to_owned()
            }
            _ => line.trim().to_owned(),
        };
        Ok(lines.map(read).collect())
    }
}

/// What a pack's examples are made of.
struct Material {
    pack: Arc<Pack>,
    sifted: Sifted,
    /// Examples that are no phrase's.
    further: Vec<Example>,
}

/// Judged runs by pack.
pub(super) type Runs = Vec<(String, Vec<Harvested>)>;

/// Reads the runs that a set may be made of.
pub(super) async fn runs(config: &Config, command: &SynthCommand) -> Result<Runs, CliError> {
    if !command.from_runs {
        return Ok(Runs::new());
    }
    let packs = chosen(command)?;
    let opened = open(config, false).await?;
    let read = read_runs(&opened.store, &packs, command.tenant.as_deref()).await;
    opened.close().await?;
    read
}

async fn read_runs(
    store: &Store,
    packs: &[Arc<Pack>],
    tenant: Option<&str>,
) -> Result<Runs, CliError> {
    let own = match tenant {
        Some(slug) => Some(super::admin::find(store, slug).await?),
        None => None,
    };
    let mut all = Runs::new();
    for pack in packs {
        let id = &pack.manifest.id;
        all.push((id.clone(), harvest(store, id, own).await?));
    }
    Ok(all)
}

/// Makes the examples of a pack's runs.
fn of_runs(
    pack: &Pack,
    templates: &Templates,
    runs: &Runs,
    reserved: &Arc<Reserved>,
    card: &mut Card,
) -> Result<Vec<Example>, CliError> {
    let found = runs.iter().find(|(id, _)| *id == pack.manifest.id);
    let Some((_, runs)) = found else { return Ok(Vec::new()) };
    training::of_runs(pack, templates, runs, reserved, 0, card).map_err(|error| broken(&error))
}

/// Runs `tessera pack synth`.
pub(super) fn synth(command: &SynthCommand, runs: &Runs) -> Result<(), CliError> {
    let packs = chosen(command)?;
    if command.teacher.label.is_some() && packs.len() != 1 {
        return Err(CliError::Input("--label needs exactly one pack".to_owned()));
    }
    let mut card = Card::new(command.seed, command.count as usize);
    let reserved = Arc::new(reserved(&packs, &command.against, &mut card)?);
    let teacher = command.teacher.teacher()?;
    let mut all = Vec::new();
    for pack in packs {
        let mut templates = Templates::of(&pack).map_err(|error| broken(&error))?;
        let mut further = Vec::new();
        if let Some(teacher) = &teacher {
            (templates, further) =
                taught(command, &pack, &templates, (teacher, &reserved), &mut card)?;
        }
        further.extend(of_runs(&pack, &templates, runs, &reserved, &mut card)?);
        let sifted = set::sifted(&pack, &templates, &reserved);
        all.push(Material { pack, sifted, further });
    }
    if command.check {
        check(command, &all, &reserved)
    } else {
        make(command, all, &reserved, card)
    }
}

/// Asks the teacher about a pack: further phrases, and examples of the requests that it labels.
fn taught(
    command: &SynthCommand,
    pack: &Arc<Pack>,
    templates: &Templates,
    (teacher, reserved): (&HttpTeacher, &Arc<Reserved>),
    card: &mut Card,
) -> Result<(Templates, Vec<Example>), CliError> {
    let refused = |error: TeacherError| CliError::Input(error.to_string());
    let mut school = School::new(teacher, pack).map_err(|error| broken(&error))?;
    let mut maker = Maker::new(pack, templates, command.seed)
        .and_then(|maker| maker.checked(Arc::clone(reserved)))
        .map_err(|error| broken(&error))?;
    let mut taken = Taken::of(templates, reserved, set::TODAY);
    let count = command.teacher.wordings;
    let further = school.labels(&mut maker, &command.teacher.requests()?).map_err(refused)?;
    let all = school.phrases(&mut maker, templates, &mut taken, count).map_err(refused)?;
    card.checked.add(maker.tally());
    card.teacher.get_or_insert_default().add(&school.card);
    Ok((all, further))
}

fn broken(error: &agents::pack::PackError) -> CliError {
    CliError::Input(error.to_string())
}

fn chosen(command: &SynthCommand) -> Result<Vec<Arc<Pack>>, CliError> {
    if command.all {
        return Ok(super::pack::packs()?.to_vec());
    }
    let one = |name: &String| {
        let folder = Path::new(name);
        if folder.join("pack.toml").is_file() {
            super::pack::from_folder(folder)
        } else {
            super::eval::find(name)
        }
    };
    command.packs.iter().map(one).collect()
}

/// Collects what no example may be near to: the cases of the shipped packs and of those given, and
/// the texts of other files.
fn reserved(
    packs: &[Arc<Pack>],
    against: &[PathBuf],
    card: &mut Card,
) -> Result<Reserved, CliError> {
    let mut all = super::pack::packs()?.to_vec();
    all.extend(
        packs
            .iter()
            .filter(|pack| !all.iter().any(|one| Arc::ptr_eq(one, pack)))
            .cloned()
            .collect::<Vec<_>>(),
    );
    let (mut reserved, cases) = set::reserve(&all).map_err(|error| broken(&error))?;
    card.overlap.cases = cases;
    for path in against {
        let mut texts = Vec::new();
        texts_of(path, &mut texts)?;
        for (name, text) in &texts {
            reserved.add_outside(name, text, set::TODAY);
        }
        card.overlap.outside += texts.len();
    }
    Ok(reserved)
}

/// Reads the texts of a file, or of the files below a folder.
fn texts_of(path: &Path, texts: &mut Vec<(String, String)>) -> Result<(), CliError> {
    let fail = |error| CliError::Input(format!("cannot read {}: {error}", path.display()));
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(fail)?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        paths.sort();
        return paths.iter().try_for_each(|path| texts_of(path, texts));
    }
    let text = String::from_utf8_lossy(&std::fs::read(path).map_err(fail)?).into_owned();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => strings(&name, &value, texts),
        Err(_) => {
            for line in text.lines() {
                match serde_json::from_str::<Value>(line) {
                    Ok(value) => strings(&name, &value, texts),
                    Err(_) => strings(&name, &Value::from(line), texts),
                }
            }
        }
    }
    Ok(())
}

fn strings(name: &str, value: &Value, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) if text.len() >= SHORTEST => {
            texts.push((name.to_owned(), text.clone()));
        }
        Value::Array(items) => items.iter().for_each(|item| strings(name, item, texts)),
        Value::Object(object) => object.values().for_each(|item| strings(name, item, texts)),
        _ => {}
    }
}

fn check(
    command: &SynthCommand,
    all: &[Material],
    reserved: &Arc<Reserved>,
) -> Result<(), CliError> {
    let mut reports = Vec::new();
    for Material { pack, sifted, .. } in all {
        let report =
            set::check(pack, sifted, reserved, command.seed).map_err(|error| broken(&error))?;
        if !command.json {
            list(pack, sifted, &report)?;
        }
        reports.push(json!({
            "pack": pack.manifest.id, "phrases": sifted.phrases, "dropped": sifted.dropped,
            "rejected": rejected(&report),
        }));
    }
    if command.json {
        say(serde_json::to_string_pretty(&reports).map_err(std::io::Error::other)?)?;
    }
    Ok(())
}

fn rejected(report: &Report) -> Vec<Value> {
    let lines = report.rejected.iter().map(|((group, why), (times, text))| {
        json!({"group": group, "why": why.kind(), "detail": why.detail(), "times": times,
               "text": text})
    });
    lines.collect()
}

fn list(pack: &Pack, sifted: &Sifted, report: &Report) -> Result<(), CliError> {
    for ((group, why), (times, text)) in &report.rejected {
        say(format_args!("{group}\t{times}\t{}: {}\t{text}", why.kind(), why.detail()))?;
    }
    for one in &sifted.dropped {
        let how = serde_json::to_value(one.how).map_err(std::io::Error::other)?;
        let how = how.as_str().unwrap_or_default().replace('_', " ");
        let score = one.resemblance.map_or_else(String::new, |score| format!(" {score:.2}"));
        say(format_args!("{}\t{}\t{how}{score}: {}\t{}", one.group, one.lang, one.to, one.phrase))?;
    }
    let failed: usize = report.rejected.values().map(|(times, _)| times).sum();
    say(format_args!(
        "{}: {} phrases, {failed} cannot be read back or do not run, {} are near a case or another phrase",
        pack.manifest.id,
        sifted.phrases,
        sifted.dropped.len()
    ))
}

/// The files of a set: examples, and the card in three forms.
struct Files {
    out: BufWriter<std::fs::File>,
    digest: Sha256,
    path: PathBuf,
}

impl Files {
    fn create(path: &Path) -> Result<Self, CliError> {
        let fail = |error| CliError::Input(format!("cannot write {}: {error}", path.display()));
        let file = std::fs::File::create(path).map_err(fail)?;
        Ok(Self { out: BufWriter::new(file), digest: Sha256::new(), path: path.to_owned() })
    }

    fn write(&mut self, example: &Example) -> std::io::Result<()> {
        let line = format!("{}\n", example.to_json());
        self.digest.update(line.as_bytes());
        self.out.write_all(line.as_bytes())
    }

    fn finish(mut self, card: &mut Card) -> Result<PathBuf, CliError> {
        self.out.flush()?;
        card.sha256 = hex::encode(self.digest.finalize());
        card.date(Timestamp::now());
        let text = serde_json::to_string_pretty(card).map_err(std::io::Error::other)?;
        let page = card.to_markdown();
        let json = card_path(&self.path);
        std::fs::write(&json, text + "\n")?;
        std::fs::write(json.with_extension("html"), html(&page))?;
        std::fs::write(json.with_extension("md"), page)?;
        Ok(json)
    }
}

/// Returns where the data card of a file of examples lies: `examples.datacard.json` beside
/// `examples.jsonl`.
pub(super) fn card_path(examples: &Path) -> PathBuf {
    examples.with_extension("datacard.json")
}

fn html(markdown: &str) -> String {
    let parser = pulldown_cmark::Parser::new_ext(markdown, pulldown_cmark::Options::ENABLE_TABLES);
    let mut body = String::new();
    pulldown_cmark::html::push_html(&mut body, parser);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Data card</title>\
         <style>body{{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}}\
         table{{border-collapse:collapse;margin:1rem 0}}td,th{{border:1px solid #bbb;padding:.2rem .6rem;text-align:left}}\
         </style></head><body>\n{body}</body></html>\n"
    )
}

fn make(
    command: &SynthCommand,
    all: Vec<Material>,
    reserved: &Arc<Reserved>,
    mut card: Card,
) -> Result<(), CliError> {
    let options = Options { per_tool: command.count as usize, seed: command.seed };
    let tools: usize = all.iter().map(|one| one.sifted.templates.tools.len()).sum();
    if tools == 0 {
        return Err(CliError::Input("no chosen pack has phrases in `synth/`".to_owned()));
    }
    let bar = ProgressBar::new((options.per_tool * tools) as u64).with_style(style());
    let mut files = Files::create(&command.out)?;
    let mut before = 0;
    for Material { pack, sifted, further } in all {
        bar.set_message(pack.manifest.id.clone());
        let mut last = 0;
        let made =
            set::make(&pack, sifted, reserved, options, &mut card, &mut |asked, examples| {
                last = before + asked;
                bar.set_position(last as u64);
                examples.iter().try_for_each(|example| files.write(example))
            });
        made.map_err(|error| match error {
            SetError::Pack(error) => broken(&error),
            SetError::Write(error) => CliError::Io(error),
        })?;
        for example in &further {
            card.count(example);
            files.write(example)?;
        }
        before = last;
    }
    bar.finish_and_clear();
    let json = files.finish(&mut card)?;
    if command.json {
        return say(serde_json::to_string_pretty(&card).map_err(std::io::Error::other)?);
    }
    tell(&card, &command.out, &json)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos} of {len} examples  {msg}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn tell(card: &Card, out: &Path, json: &Path) -> Result<(), CliError> {
    for (split, count) in &card.by_split {
        say(format_args!("{split}\t{count}"))?;
    }
    for (why, rejection) in &card.rejected {
        say(format_args!("left out, {}\t{}", why.replace('_', " "), rejection.count))?;
    }
    say(format_args!("left out, same as another\t{}", card.repeated))?;
    let overlap = &card.overlap;
    say(format_args!(
        "phrases dropped: {} near one of {} cases, {} near one of {} outside texts, {} say what another says",
        overlap.phrases_near_cases,
        overlap.cases,
        overlap.phrases_near_outside,
        overlap.outside,
        overlap.duplicate_phrases
    ))?;
    if let Some(teacher) = &card.teacher {
        let rejected: usize = teacher.rejected.values().sum();
        let failed: usize = teacher.failed.values().sum();
        say(format_args!(
            "teacher {}: {} taken, {rejected} left out, {failed} questions without an answer, {} + {} tokens",
            teacher.model, teacher.taken, teacher.prompt_tokens, teacher.completion_tokens
        ))?;
    }
    if let Some(runs) = &card.runs {
        let taken: usize = runs.taken.values().sum();
        say(format_args!("judged runs: {} let in by consent, {taken} taken", runs.read))?;
    }
    say(format_args!(
        "calls run for {} of {} requests that have complete ones",
        card.checked.run, card.checked.complete
    ))?;
    say(format_args!(
        "Examples: {} in {}  Data card: {}",
        card.examples,
        out.display(),
        json.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_from_json_lines_and_plain_files_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let long = "a text that is long enough to be compared";
        let lines = format!("{}\n{}\n", json!({"q": [[{"content": long}]]}), json!({"id": "x"}));
        std::fs::write(folder.path().join("a.json"), lines).unwrap();
        std::fs::write(folder.path().join("b.txt"), format!("{long}\nshort\n")).unwrap();
        let mut texts = Vec::new();
        texts_of(folder.path(), &mut texts).unwrap();
        let found: Vec<(&str, &str)> =
            texts.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert_eq!(found, [("a.json", long), ("b.txt", long)]);
        assert!(texts_of(&folder.path().join("absent"), &mut texts).is_err());
    }
}
