//! `tessera dataset`: uploaded tables and files of a joint venture, from the machine of the server.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use agents::dataset::{Format, MAX_BYTES, Mapping, Progress};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::admin::find;
use super::open::open;
use super::{CliError, say};
use crate::config::Config;
use crate::dataset::api::{restored, view};
use crate::dataset::{Job, Outcome, Preview, Reference, Upload, import, preview};
use crate::store::{Dataset, Store, TenantId};

/// Marks of the progress bar: thousandths of the file.
const MARKS: u64 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum DatasetCommand {
    /// Import a file: CSV, XLSX, Green Button, camt.053, DBC, company facts or any other.
    Import(ImportCommand),
    /// List the datasets of a joint venture.
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Show a dataset: columns, versions, and how the file was read.
    Show {
        /// Dataset, or `ID:vN` for a version.
        id: String,
        #[command(flatten)]
        of: Of,
    },
    /// List the refused lines: line, column, value, reason, what would be right.
    Rejects {
        /// Dataset, or `ID:vN` for a version.
        id: String,
        #[command(flatten)]
        of: Of,
    },
    /// Go back to an earlier version, or bring a deleted dataset back.
    Restore {
        /// Dataset, or `ID:vN` for a version; the one before the current when none is named.
        id: String,
        #[command(flatten)]
        of: Of,
    },
    /// Delete a dataset; `restore` brings it back.
    Delete {
        /// Dataset.
        id: String,
        /// Remove every version and file for good.
        #[arg(long)]
        purge: bool,
        #[command(flatten)]
        of: Of,
    },
}

/// What every command takes.
#[derive(Debug, Args)]
pub(super) struct Of {
    /// Name of the joint venture.
    #[arg(long)]
    tenant: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ImportCommand {
    /// The file.
    file: PathBuf,
    /// Name that tools will be given.
    #[arg(long)]
    id: String,
    /// JSON file with the parts of the mapping that should not be inferred.
    #[arg(long)]
    mapping: Option<PathBuf>,
    /// Show what the import would come to, and store nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    of: Of,
}

/// Runs a `dataset` command.
pub(super) async fn dataset(config: &Config, command: DatasetCommand) -> Result<(), CliError> {
    // A file that cannot be read is told before a database is started.
    let read = match &command {
        DatasetCommand::Import(command) => {
            crate::dataset::checked_id(&command.id)?;
            Some((read_file(&command.file)?, read_mapping(command.mapping.as_deref())?))
        }
        _ => None,
    };
    let opened = open(config, false).await?;
    let done = on(&opened.store, command, read).await;
    opened.close().await?;
    done
}

async fn on(
    store: &Store,
    command: DatasetCommand,
    read: Option<(Upload, Mapping)>,
) -> Result<(), CliError> {
    match command {
        DatasetCommand::Import(command) => {
            let tenant = find(store, &command.of.tenant).await?;
            let Some((upload, wish)) = read else { return Ok(()) };
            if command.dry_run {
                let looked = preview(store, tenant, &command.id, upload, wish).await?;
                return tell_preview(&looked, command.of.json);
            }
            let job = Job { id: command.id, upload, wish, by: "command line".to_owned() };
            tell_outcome(&with_bar(store, tenant, job).await?, command.of.json)
        }
        DatasetCommand::List { of } => {
            let tenant = find(store, &of.tenant).await?;
            let all = store.begin(tenant).await?.datasets(false).await?;
            if of.json {
                return say(serde_json::Value::Array(all.iter().map(view).collect()));
            }
            if all.is_empty() {
                return say("no datasets yet; `tessera dataset import FILE` brings one");
            }
            all.iter().try_for_each(|known| say(line(known)))
        }
        DatasetCommand::Show { id, of } => show(store, &id, &of).await,
        DatasetCommand::Rejects { id, of } => rejects(store, &id, &of).await,
        DatasetCommand::Restore { id, of } => {
            let tenant = find(store, &of.tenant).await?;
            let reference = Reference::of(&id);
            let known = restored(store, tenant, &reference.id, reference.version).await?;
            say(format_args!("{} is now version {}", known.id, known.version))
        }
        DatasetCommand::Delete { id, purge, of } => {
            let mut tx = store.begin(find(store, &of.tenant).await?).await?;
            if purge {
                tx.purge_dataset(&id).await?;
            } else {
                tx.delete_dataset(&id).await?;
            }
            tx.commit().await?;
            if purge {
                say(format_args!("removed {id} for good"))
            } else {
                say(format_args!(
                    "deleted {id}; `tessera dataset restore {id} --tenant {}` brings it back",
                    of.tenant
                ))
            }
        }
    }
}

fn read_file(path: &Path) -> Result<Upload, CliError> {
    let fault = |error: std::io::Error| CliError::Input(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(fault)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() > MAX_BYTES {
        return Err(CliError::Input(format!(
            "{}: the limit of a file is {MAX_BYTES} bytes",
            path.display()
        )));
    }
    Ok(Upload::new(&path.to_string_lossy(), bytes))
}

fn read_mapping(path: Option<&Path>) -> Result<Mapping, CliError> {
    let Some(path) = path else { return Ok(Mapping::default()) };
    let fault = |error: String| CliError::Input(format!("{}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))
}

async fn with_bar(store: &Store, tenant: TenantId, job: Job) -> Result<Outcome, CliError> {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(MARKS).with_style(style);
    let begun = std::time::Instant::now();
    let mut tell = |progress: Progress| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of the marks"
        )]
        bar.set_position((progress.share.clamp(0.0, 1.0) * MARKS as f64) as u64);
        bar.set_message(format!(
            "{} rows  {} refused  {:.0} s",
            progress.rows,
            progress.refused,
            begun.elapsed().as_secs_f64()
        ));
    };
    let done = import(store, tenant, job, &mut tell).await;
    bar.finish_and_clear();
    Ok(done?)
}

fn instant(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map(|at| at.to_string()).unwrap_or_default()
}

fn line(known: &Dataset) -> String {
    let report = known.report.clone().unwrap_or_default();
    let format = known.mapping.as_ref().and_then(|m| m.format).map_or("unread", Format::name);
    format!(
        "{}\tv{}\t{format}\t{} rows\t{} refused\t{}",
        known.id, known.version, report.rows, report.refused, known.file_name
    )
}

fn tell_outcome(outcome: &Outcome, json: bool) -> Result<(), CliError> {
    if json {
        return say(serde_json::to_value(outcome).unwrap_or_default());
    }
    let report = &outcome.report;
    if outcome.repeated {
        say(format_args!(
            "{} version {} holds this file already; nothing new was stored",
            outcome.id, outcome.version
        ))?;
    } else {
        say(format_args!("imported {} version {}", outcome.id, outcome.version))?;
    }
    say(format_args!("{} rows, {} lines refused", report.rows, report.refused))?;
    if let Some((first, last)) = report.times {
        say(format_args!("from {} to {}", instant(first), instant(last)))?;
    }
    for note in &report.notes {
        say(format_args!("note: {}", note.message))?;
    }
    if report.faults > 0 {
        say(format_args!("`tessera dataset rejects {}` lists what was refused", outcome.id))?;
    }
    Ok(())
}

fn tell_mapping(mapping: &Mapping) -> Result<(), CliError> {
    for (_, column) in mapping.kept() {
        let unit = match (&column.unit, &column.to) {
            (Some(unit), Some(to)) => format!("{unit} → {to}"),
            (Some(unit), None) => unit.clone(),
            _ => String::new(),
        };
        let kind = column.kind.map_or("text", agents::dataset::Kind::name);
        let mut role = String::new();
        if mapping.time.as_deref() == Some(column.target()) {
            role.push_str(" time column");
        }
        if mapping.site.as_deref() == Some(column.target()) {
            role.push_str(" site column");
        }
        say(format_args!("  {} → {}\t{kind}\t{unit}{role}", column.source, column.target()))?;
    }
    if let Some(zone) = &mapping.timezone {
        say(format_args!("  times without an offset are read in {zone}"))?;
    }
    Ok(())
}

fn tell_preview(preview: &Preview, json: bool) -> Result<(), CliError> {
    if json {
        return say(serde_json::to_value(preview).unwrap_or_default());
    }
    let mapping = &preview.inference.mapping;
    say(format_args!("format: {}", mapping.format.map_or("file", Format::name)))?;
    tell_mapping(mapping)?;
    for note in &preview.inference.notes {
        say(format_args!("note: {}", note.message))?;
    }
    if let Some(report) = &preview.report {
        say(format_args!("{} rows, {} lines refused", report.rows, report.refused))?;
        for note in &report.notes {
            say(format_args!("note: {}", note.message))?;
        }
    }
    if let Some(fault) = &preview.fault {
        say(format_args!("no table: {fault}"))?;
    }
    for reject in preview.rejects.iter().take(20) {
        say(tabbed(reject))?;
    }
    say("nothing was stored")
}

fn tabbed(reject: &agents::dataset::Reject) -> String {
    let clean = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!(
        "line {}\t{}\t{}\t{}\t{}",
        reject.line,
        clean(&reject.column),
        clean(&reject.value),
        reject.reason,
        reject.fix
    )
}

async fn show(store: &Store, id: &str, of: &Of) -> Result<(), CliError> {
    let tenant = find(store, &of.tenant).await?;
    let reference = Reference::of(id);
    let mut tx = store.begin(tenant).await?;
    let known = tx.dataset(&reference.id, reference.version).await?;
    let versions = tx.dataset_versions(&reference.id).await?;
    if of.json {
        let mut shown = view(&known);
        shown["mapping"] = serde_json::to_value(&known.mapping).unwrap_or_default();
        shown["versions"] = versions.iter().map(view).collect();
        return say(shown);
    }
    say(line(&known))?;
    if let Some(mapping) = &known.mapping {
        tell_mapping(mapping)?;
    }
    if let Some(report) = &known.report {
        if let Some((first, last)) = report.times {
            say(format_args!("  from {} to {}", instant(first), instant(last)))?;
        }
        for note in &report.notes {
            say(format_args!("  note: {}", note.message))?;
        }
    }
    say("versions:")?;
    versions.iter().try_for_each(|version| {
        let mark = if version.current { "*" } else { " " };
        say(format_args!(
            "{mark} v{}\t{}\t{}",
            version.version, version.created_at, version.file_name
        ))
    })
}

async fn rejects(store: &Store, id: &str, of: &Of) -> Result<(), CliError> {
    let tenant = find(store, &of.tenant).await?;
    let reference = Reference::of(id);
    let mut tx = store.begin(tenant).await?;
    let known = tx.dataset(&reference.id, reference.version).await?;
    let all = i64::try_from(agents::dataset::MAX_REJECTS).unwrap_or(i64::MAX);
    let found = tx.rejects(&known.id, known.version, 0, all).await?;
    if of.json {
        let list: Vec<_> = found.iter().map(|(_, reject)| reject).collect();
        return say(serde_json::to_value(list).unwrap_or_default());
    }
    if found.is_empty() {
        return say(format_args!("no line of {} version {} was refused", known.id, known.version));
    }
    if std::io::stdout().is_terminal() {
        say("line\tcolumn\tvalue\treason\twhat would be right")?;
    }
    found.iter().try_for_each(|(_, reject)| say(tabbed(reject)))
}
