//! `tessera pack new`, `pack check` and `pack schema`: writing a pack.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use agents::pack::check::{Mistake, Severity, check};
use agents::pack::new::{Wanted, is_id, scaffold};
use agents::pack::{PackFiles, schema};
use agents::synth::LANGS;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use clap::Args;

use super::{CliError, say};

#[derive(Debug, Args)]
pub(super) struct NewCommand {
    /// Name of the pack: small letters, digits and hyphens. Asked for on a terminal when absent.
    id: Option<String>,
    /// Title for people.
    #[arg(long)]
    title: Option<String>,
    /// What the pack does, in one sentence.
    #[arg(long)]
    description: Option<String>,
    /// Languages that it answers in.
    #[arg(long = "languages", value_delimiter = ',', value_name = "LANG,…")]
    languages: Vec<String>,
    /// Folder to make; the name of the pack in the current folder when absent.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CheckCommand {
    /// Name of a shipped pack.
    #[arg(required_unless_present = "folder", conflicts_with = "folder")]
    name: Option<String>,
    /// Folder of a pack.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print the mistakes as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SchemaCommand {
    /// The kind of file; without one the kinds are listed.
    kind: Option<String>,
    /// Write every schema to this folder, each as `KIND.schema.json`.
    #[arg(long, conflicts_with_all = ["kind", "page"])]
    out: Option<PathBuf>,
    /// Write the page that describes every key to this file.
    #[arg(long, conflicts_with = "kind")]
    page: Option<PathBuf>,
}

/// Asks a question on the terminal until the answer fits; without a terminal takes what is offered.
fn asked(
    question: &str,
    offered: Option<&str>,
    fits: impl Fn(&str) -> Result<(), String>,
) -> Result<String, CliError> {
    if !std::io::stdin().is_terminal() {
        let offered = offered.map(str::to_owned);
        return offered.ok_or_else(|| {
            CliError::Input(format!("{question} is needed; without a terminal give it by its flag"))
        });
    }
    loop {
        let mut err = std::io::stderr().lock();
        match offered {
            Some(offered) => write!(err, "{question} [{offered}]: ")?,
            None => write!(err, "{question}: ")?,
        }
        err.flush()?;
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line)? == 0 {
            return Err(CliError::Input(format!("{question} is needed")));
        }
        let answer = match (line.trim(), offered) {
            ("", Some(offered)) => offered,
            (answer, _) => answer,
        };
        match fits(answer) {
            Ok(()) => return Ok(answer.to_owned()),
            Err(fault) => writeln!(err, "{fault}")?,
        }
    }
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn languages_of(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

fn known_languages(text: &str) -> Result<(), String> {
    let all = languages_of(text);
    match all.iter().find(|lang| !LANGS.contains(&lang.as_str())) {
        Some(lang) => Err(format!("`{lang}` is not one of {}", LANGS.join(", "))),
        None if all.is_empty() => Err(format!("name at least one of {}", LANGS.join(", "))),
        None => Ok(()),
    }
}

/// Makes a pack that works.
pub(super) fn new(command: NewCommand) -> Result<(), CliError> {
    let id = match command.id {
        Some(id) => id,
        None => asked("Name of the pack", None, is_id)?,
    };
    is_id(&id).map_err(CliError::Input)?;
    let folder = command.folder.unwrap_or_else(|| PathBuf::from(&id));
    if folder.exists() {
        return Err(CliError::Input(format!("{} exists; name another folder", folder.display())));
    }
    let title = match command.title {
        Some(title) => title,
        None => asked("Title", Some(&id), any)?,
    };
    let description = match command.description {
        Some(description) => description,
        None => {
            asked("What it does, in one sentence", Some("Answers questions about orders."), any)?
        }
    };
    let languages = match command.languages.is_empty() {
        false => command.languages,
        true => languages_of(&asked("Languages", Some("en"), known_languages)?),
    };
    let wanted = Wanted { id, title, description, languages };
    let files = scaffold(&wanted).map_err(CliError::Input)?;
    write(&folder, &files)?;
    let shown = folder.display();
    say(format_args!("made {shown} with a tool that works against its mock; next:"))?;
    say(format_args!("  tessera pack check --folder {shown}"))?;
    say(format_args!("  tessera pack test --folder {shown}"))
}

/// Writes the files of a pack to a folder.
pub(super) fn write(folder: &Path, files: &PackFiles) -> Result<(), CliError> {
    for (path, bytes) in files.below("") {
        let to = folder.join(path);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(to, bytes)?;
    }
    Ok(())
}

/// Returns the files of a folder.
pub(super) fn read(folder: &Path) -> Result<PackFiles, CliError> {
    PackFiles::from_folder(folder).map_err(|error| CliError::Input(error.to_string()))
}

/// Finds the mistakes of a pack; ends with 1 where there is an error.
pub(super) fn check_pack(command: &CheckCommand) -> Result<(), CliError> {
    let (files, shown) = match (&command.folder, &command.name) {
        (Some(folder), _) => (read(folder)?, format!("{}/", folder.display())),
        (None, name) => {
            let pack = super::eval::find(name.as_deref().unwrap_or_default())?;
            (pack.files.clone(), format!("{}/", pack.manifest.id))
        }
    };
    let mistakes = check(&files);
    let errors = mistakes.iter().filter(|one| one.severity == Severity::Error).count();
    if command.json {
        say(serde_json::to_string_pretty(&mistakes).map_err(std::io::Error::other)?)?;
    } else {
        for mistake in &mistakes {
            say(shown_in_source(mistake, &files, &shown))?;
        }
        let warnings = mistakes.len() - errors;
        say(format_args!(
            "{} files, {errors} errors, {warnings} warnings",
            files.below("").count()
        ))?;
    }
    if errors == 0 { Ok(()) } else { Err(CliError::Judged(format!("{shown} has {errors} errors"))) }
}

/// Shows a mistake in the lines that it is about.
pub(super) fn shown_in_source(mistake: &Mistake, files: &PackFiles, prefix: &str) -> String {
    let bytes = files.get(&mistake.file).map(AsRef::as_ref).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let level = match mistake.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let path = format!("{prefix}{}", mistake.file);
    let title = level.primary_title(&mistake.message).id(mistake.code);
    let end = mistake.span.end.min(text.len());
    let start = mistake.span.start.min(end);
    let mut group = if text.is_empty() {
        title.element(annotate_snippets::Origin::path(&path).line(mistake.line))
    } else {
        let snippet = Snippet::source(text.as_ref())
            .path(&path)
            .annotation(AnnotationKind::Primary.span(start..end));
        title.element(snippet)
    };
    if let Some(hint) = &mistake.hint {
        group = group.element(Level::HELP.message(hint));
    }
    let renderer =
        if std::io::stdout().is_terminal() { Renderer::styled() } else { Renderer::plain() };
    format!("{}\n", renderer.render(&[group]))
}

/// Prints or writes the schemas.
pub(super) fn schemas(command: &SchemaCommand) -> Result<(), CliError> {
    let text = |schema| serde_json::to_string_pretty(schema).map_err(std::io::Error::other);
    if let Some(page) = &command.page {
        std::fs::write(page, schema::reference())?;
        say(format_args!("wrote {}", page.display()))?;
    }
    if let Some(out) = &command.out {
        std::fs::create_dir_all(out)?;
        for kind in schema::kinds() {
            let file = out.join(format!("{}.schema.json", kind.name));
            std::fs::write(&file, format!("{}\n", text(&kind.schema)?))?;
            say(format_args!("wrote {}", file.display()))?;
        }
        return Ok(());
    }
    if command.page.is_some() {
        return Ok(());
    }
    match &command.kind {
        None => schema::kinds().iter().try_for_each(|kind| {
            say(format_args!("{:<10} {:<34} {}", kind.name, kind.files, kind.about))
        }),
        Some(name) => {
            let kind = schema::kind(name).ok_or_else(|| {
                let names: Vec<&str> = schema::kinds().iter().map(|kind| kind.name).collect();
                CliError::Input(format!(
                    "there is no kind `{name}`; there are {}",
                    names.join(", ")
                ))
            })?;
            say(text(&kind.schema)?)
        }
    }
}
