//! `tessera pack import`: tools from what others have described.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use agents::pack::check::{Severity, check};
use agents::pack::import::openapi::{Wanted, import, operations};
use agents::pack::import::{MAX_DOCUMENT_BYTES, document};
use agents::pack::{Pack, PackFiles};
use clap::{Args, Subcommand};

use super::{CliError, pack_write, say};

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Make tools of an OpenAPI 3.0 or 3.1 document, in JSON or YAML.
    ///
    /// Reads become tools of effect `read`, everything else `act`, which a person approves. Ends with 2
    /// when the document is refused or a file would be written over.
    Openapi(OpenapiCommand),
}

#[derive(Debug, Args)]
pub(super) struct OpenapiCommand {
    /// The document.
    file: PathBuf,
    /// Folder of the pack that gets the tools.
    #[arg(long, required_unless_present = "list")]
    folder: Option<PathBuf>,
    /// Only list the operations.
    #[arg(long)]
    list: bool,
    /// Operation to import, by its identifier or as `GET /path`; may be given several times. All when
    /// absent.
    #[arg(long = "operation", value_name = "OPERATION")]
    operations: Vec<String>,
    /// Name of the system in `pack.toml`; made from the title of the document when absent.
    #[arg(long)]
    system: Option<String>,
}

fn refused(error: impl std::fmt::Display) -> CliError {
    CliError::Input(error.to_string())
}

pub(super) fn run(command: &ImportCommand) -> Result<(), CliError> {
    match command {
        ImportCommand::Openapi(command) => openapi(command),
    }
}

fn openapi(command: &OpenapiCommand) -> Result<(), CliError> {
    let shown = command.file.display();
    let size =
        std::fs::metadata(&command.file).map_err(|error| refused(format!("{shown}: {error}")))?;
    if size.len() > MAX_DOCUMENT_BYTES as u64 {
        return Err(refused(format!(
            "{shown} has {} bytes; the limit is {MAX_DOCUMENT_BYTES}",
            size.len()
        )));
    }
    let read = document(&std::fs::read(&command.file)?).map_err(refused)?;
    if command.list {
        return operations(&read).map_err(refused)?.into_iter().try_for_each(|one| {
            say(format_args!("{:<32} {:<6} {}  {}", one.id, one.method, one.path, one.summary))
        });
    }
    let folder = command.folder.clone().unwrap_or_default();
    let files = pack_write::read(&folder)?;
    let pack = Pack::from_files(&folder.display().to_string(), files.clone()).map_err(refused)?;
    let existing: BTreeSet<String> = pack.tools.iter().map(|tool| tool.name.clone()).collect();
    let wanted = Wanted { operations: command.operations.clone(), system: command.system.clone() };
    let out = import(&read, &wanted, &pack.manifest, &existing).map_err(refused)?;
    if let Some(path) = out.files.keys().find(|path| files.get(path).is_some()) {
        return Err(refused(format!("{path} exists; remove or rename it first")));
    }
    let text = |path: &str| {
        files.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    let mut changed: BTreeMap<String, String> = out.files.clone();
    if !out.manifest.is_empty() {
        changed.insert("pack.toml".to_owned(), text("pack.toml") + &out.manifest);
    }
    let mut cases = text("evals/cases.jsonl");
    if !cases.is_empty() && !cases.ends_with('\n') {
        cases.push('\n');
    }
    changed.insert("evals/cases.jsonl".to_owned(), cases + &out.cases);
    // Nothing is written that would break the pack.
    let errors: Vec<String> = check(&files.with(changed.clone()))
        .into_iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| format!("{}:{}: {}", one.file, one.line, one.message))
        .collect();
    if !errors.is_empty() {
        return Err(refused(format!(
            "nothing was written, because the pack would have mistakes:\n{}",
            errors.join("\n")
        )));
    }
    let all: PackFiles = changed.into_iter().collect();
    pack_write::write(&folder, &all)?;
    for note in &out.notes {
        say(format_args!("note: {note}"))?;
    }
    say(format_args!("{} tools: {}", out.tools.len(), out.tools.join(", ")))?;
    say(format_args!(
        "next: read the tools, then `tessera pack test --folder {}`",
        folder.display()
    ))
}
