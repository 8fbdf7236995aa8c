//! `tessera pack`: what the packs hold, and whether they keep what they promise.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;

use agents::judge::{JUDGED_AT, Options, Progress, Report, Section, judge};
use agents::pack::{Pack, PackFiles, page, shipped};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{CliError, say};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum PackCommand {
    /// Make a new pack that works against its own mock, for its author to change.
    ///
    /// Asks on a terminal for what no flag says. Ends with 2 when the folder exists.
    New(super::pack_write::NewCommand),
    /// Find every mistake of a pack's files, each with its line, what is wrong and what would be right.
    ///
    /// Ends with 1 when there is an error, and 2 when there is no such pack.
    Check(super::pack_write::CheckCommand),
    /// Watch the folder of a pack: show mistakes and judge what was touched whenever a file is saved, and
    /// the plan of each request typed at the prompt.
    Dev(super::pack_dev::DevCommand),
    /// Print the JSON Schemas of the files of a pack, for editors.
    Schema(super::pack_write::SchemaCommand),
    /// Make tools of what others have described.
    #[command(subcommand)]
    Import(super::pack_import::ImportCommand),
    /// Make one archive of a folder; the same files always give the same bytes.
    ///
    /// Ends with 1 when the pack has mistakes.
    Build(super::pack_seal::BuildCommand),
    /// Make a key that signs packs, and print its public half.
    Key(super::pack_seal::KeyCommand),
    /// Sign an archive.
    Sign(super::pack_seal::SignCommand),
    /// Check every byte of an archive and its signature, and say what the pack asks for.
    ///
    /// Ends with 2 when it is refused, or not signed by a key that `--trust` names.
    Verify(super::pack_seal::VerifyCommand),
    #[command(flatten)]
    Held(super::pack_install::HeldCommand),
    /// List the packs and what each holds.
    List,
    /// Judge a pack by its own vectors, laws, policy, questions, answers and cases.
    ///
    /// Ends with 0 when every section holds, 1 when one does not, and 2 when there is no such pack
    /// or its folder cannot be read.
    Test(TestCommand),
    /// Plan and run the evaluation cases of a pack, or of a file, and count what is right.
    ///
    /// Ends with 1 when a forbidden tool was called, and 2 when there is no such pack or the file
    /// holds no cases.
    Eval(super::eval::EvalCommand),
    /// Make a training set: phrases of the packs rendered, verified and counted on a data card.
    ///
    /// Ends with 2 when there is no such pack or a file cannot be read or written.
    Synth(super::synth::SynthCommand),
    /// Write the generated data of a pack's demo joint venture, and `truth.json`: what was planted in it.
    Demo {
        /// Name of the pack.
        name: String,
        /// Folder to write to; made when absent.
        #[arg(long)]
        out: PathBuf,
        /// Seed; the demo joint ventures have the default one.
        #[arg(long, default_value_t = agents::demo::SEED)]
        seed: u64,
    },
    /// Write the page that describes the packs, made from the packs themselves.
    Docs {
        /// File to write; standard output when absent.
        #[arg(long)]
        write: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct TestCommand {
    /// Pack to judge.
    #[arg(required_unless_present_any = ["all", "folder"])]
    name: Option<String>,
    /// Judge every shipped pack.
    #[arg(long, conflicts_with_all = ["name", "folder"])]
    all: bool,
    /// Read the pack from this folder and not from the program.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Judge only these sections.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Judge only the vectors, invalid cases, laws and answers of this tool.
    #[arg(long)]
    tool: Option<String>,
    /// Seed of the laws' arguments.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// Draws for each law.
    #[arg(
        long,
        default_value_t = Options::default().draws,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    draws: u32,
    /// Print the reports as JSON.
    #[arg(long)]
    json: bool,
}

/// What `--only` may name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// Known answers and calls that must be refused.
    Vectors,
    /// Laws on drawn arguments.
    Laws,
    /// Cases that each rule allows and stops.
    Policy,
    /// Questions whose document must be among the first five.
    Retrieval,
    /// Known answers said in each language.
    Answers,
    /// Form and number of the evaluation cases.
    CasesFormat,
}

impl Part {
    fn sections(self) -> &'static [Section] {
        match self {
            Self::Vectors => &[Section::Vectors, Section::Invalid],
            Self::Laws => &[Section::Laws],
            Self::Policy => &[Section::Policy],
            Self::Retrieval => &[Section::Retrieval],
            Self::Answers => &[Section::Answers],
            Self::CasesFormat => &[Section::CasesFormat],
        }
    }
}

/// Runs a `pack` command.
pub(super) async fn pack(config: &Config, command: PackCommand) -> Result<(), CliError> {
    let command = match command {
        PackCommand::Held(command) => return super::pack_install::held(config, command).await,
        other => other,
    };
    let planner = config.planner.clone();
    let runs = match &command {
        PackCommand::Synth(command) => super::synth::runs(config, command).await?,
        _ => Vec::new(),
    };
    // A judgement computes for seconds, which must not hold up the runtime's threads.
    let done = tokio::task::spawn_blocking(move || match command {
        PackCommand::Eval(command) => super::eval::eval(planner.as_deref(), &command),
        PackCommand::Synth(command) => super::synth::synth(&command, &runs),
        PackCommand::New(command) => super::pack_write::new(command),
        PackCommand::Check(command) => super::pack_write::check_pack(&command),
        PackCommand::Dev(command) => super::pack_dev::dev(planner.as_deref(), &command),
        PackCommand::Schema(command) => super::pack_write::schemas(&command),
        PackCommand::Import(command) => super::pack_import::run(&command),
        PackCommand::Build(command) => super::pack_seal::build_pack(&command),
        PackCommand::Key(command) => super::pack_seal::key(&command),
        PackCommand::Sign(command) => super::pack_seal::sign_pack(&command),
        PackCommand::Verify(command) => super::pack_seal::verify(&command),
        // Those of a joint venture were run above.
        PackCommand::Held(_) => Ok(()),
        PackCommand::List => list(),
        PackCommand::Test(command) => test(&command),
        PackCommand::Demo { name, out, seed } => demo(&name, &out, seed),
        PackCommand::Docs { write } => docs(write.as_deref()),
    });
    done.await.map_err(std::io::Error::other)?
}

pub(super) fn packs() -> Result<&'static [Arc<Pack>], CliError> {
    shipped().map_err(|error| CliError::Pack(error.to_string()))
}

fn list() -> Result<(), CliError> {
    say(format_args!(
        "{:<12} {:>8} {:>6} {:>10} {:>6}  title",
        "pack", "version", "tools", "documents", "cases"
    ))?;
    for pack in packs()? {
        let cases = agents::eval::cases(pack).map_err(|error| CliError::Pack(error.to_string()))?;
        let documents = pack.files.below("knowledge/").filter(|(path, _)| path.ends_with(".md"));
        let manifest = &pack.manifest;
        say(format_args!(
            "{:<12} {:>8} {:>6} {:>10} {:>6}  {}",
            manifest.id,
            manifest.version,
            pack.tools.len(),
            documents.count(),
            cases.len(),
            manifest.title
        ))?;
    }
    Ok(())
}

fn demo(name: &str, out: &std::path::Path, seed: u64) -> Result<(), CliError> {
    let demo = agents::demo::generate(name, seed).ok_or_else(|| {
        CliError::Input(format!("there is no generated data for a pack `{name}`"))
    })?;
    std::fs::create_dir_all(out)?;
    let truth = serde_json::to_vec_pretty(&demo.truth).map_err(std::io::Error::other)?;
    let files = demo.datasets.iter().map(|one| (one.file.as_str(), one.bytes.as_slice()));
    for (file, bytes) in files.chain([("truth.json", truth.as_slice())]) {
        std::fs::write(out.join(file), bytes)?;
        say(format_args!("wrote {} ({} bytes)", out.join(file).display(), bytes.len()))?;
    }
    Ok(())
}

fn docs(write: Option<&std::path::Path>) -> Result<(), CliError> {
    let text = page(packs()?).map_err(|error| CliError::Pack(error.to_string()))?;
    match write {
        Some(path) => {
            std::fs::write(path, text)?;
            say(format_args!("wrote {}", path.display()))
        }
        None => {
            use std::io::Write as _;
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            Ok(out.flush()?)
        }
    }
}

/// Reads a pack that is not shipped.
pub(super) fn from_folder(folder: &std::path::Path) -> Result<Arc<Pack>, CliError> {
    let input = |error: agents::pack::PackError| CliError::Input(error.to_string());
    let files = PackFiles::from_folder(folder).map_err(input)?;
    Pack::from_files(&folder.display().to_string(), files).map(Arc::new).map_err(input)
}

/// Returns the packs that a command is about.
fn chosen(command: &TestCommand) -> Result<Vec<Arc<Pack>>, CliError> {
    if command.all {
        return Ok(packs()?.to_vec());
    }
    if let Some(folder) = &command.folder {
        let pack = from_folder(folder)?;
        return match command.name.as_ref().filter(|name| **name != pack.manifest.id) {
            Some(name) => Err(CliError::Input(format!(
                "{} holds the pack `{}` and not `{name}`",
                folder.display(),
                pack.manifest.id
            ))),
            None => Ok(vec![pack]),
        };
    }
    let name = command.name.as_deref().unwrap_or_default();
    let known = packs()?;
    match known.iter().find(|pack| pack.manifest.id == name) {
        Some(pack) => Ok(vec![Arc::clone(pack)]),
        None => {
            let names: Vec<&str> = known.iter().map(|pack| pack.manifest.id.as_str()).collect();
            Err(CliError::Input(format!(
                "there is no pack `{name}`; there are: {}",
                names.join(", ")
            )))
        }
    }
}

fn options(command: &TestCommand) -> Options {
    let wanted = |section: &Section| {
        command.only.is_empty() || command.only.iter().any(|part| part.sections().contains(section))
    };
    Options {
        sections: Section::ALL.into_iter().filter(wanted).collect(),
        seed: command.seed,
        draws: command.draws,
        tool: command.tool.clone(),
    }
}

fn test(command: &TestCommand) -> Result<(), CliError> {
    let packs = chosen(command)?;
    if let Some(tool) = &command.tool
        && packs.iter().all(|pack| pack.tool(tool).is_none())
    {
        return Err(CliError::Input(format!("no chosen pack has a tool `{tool}`")));
    }
    let options = options(command);
    let mut reports = Vec::new();
    for pack in &packs {
        let report = watched(pack, &options, command.json)?;
        if !command.json {
            tell(&report, command)?;
        }
        reports.push(report);
    }
    if command.json {
        let text = serde_json::to_string_pretty(&reports).map_err(std::io::Error::other)?;
        say(text)?;
    }
    let failed: Vec<&str> = reports
        .iter()
        .filter(|report| !report.holds())
        .map(|report| report.pack.as_str())
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(CliError::Judged(failed.join(", "))) }
}

/// Judges a pack with a bar on a terminal, and with a line a section elsewhere.
fn watched(pack: &Pack, options: &Options, quiet: bool) -> Result<Report, CliError> {
    let terminal = std::io::stderr().is_terminal();
    // A bar on something else than a terminal draws nothing.
    let bar = ProgressBar::new(0).with_style(style());
    let mut before = None;
    let report = judge(pack, options, &mut |progress: Progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        if before.replace(progress.section) != Some(progress.section) {
            bar.set_message(progress.section.name());
            if !terminal && !quiet {
                // A line that cannot be written must not end the judgement.
                drop(say(format_args!("{}: {} …", pack.manifest.id, progress.section.name())));
            }
        }
    });
    bar.finish_and_clear();
    report.map_err(|error| CliError::Pack(error.to_string()))
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos:>4} of {len}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn tell(report: &Report, command: &TestCommand) -> Result<(), CliError> {
    let mut laws = String::new();
    if report.sections.iter().any(|tally| tally.section == Section::Laws) {
        laws = format!("; laws from seed {}, {} draws each", command.seed, command.draws);
    }
    say(format_args!("\n{} {} as of {}{laws}", report.pack, report.version, &JUDGED_AT[..10]))?;
    let line = |name: &str, counts: [usize; 4], ms: f64, verdict: &str| {
        let [passed, failed, skipped, total] = counts;
        say(format_args!(
            "{name:<14} {passed:>7} {failed:>7} {skipped:>8} {total:>7} {:>8.2} s  {verdict}",
            ms / 1e3
        ))
    };
    say(format_args!(
        "{:<14} {:>7} {:>7} {:>8} {:>7} {:>10}",
        "section", "passed", "failed", "skipped", "total", "time"
    ))?;
    let (mut sums, mut time) = ([0; 4], 0.0);
    for tally in &report.sections {
        let counts = [tally.passed, tally.failed, tally.skipped, tally.total];
        let verdict = match (tally.holds, tally.failed) {
            (true, 0) => "holds",
            (true, _) => "holds (nine in ten suffice)",
            (false, _) => "FAILS",
        };
        line(tally.section.name(), counts, tally.ms, verdict)?;
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        time += tally.ms;
    }
    line("total", sums, time, if report.holds() { "holds" } else { "FAILS" })?;
    for tally in &report.sections {
        let found = tally.faults.iter().map(|fault| ("✗", fault));
        for (mark, finding) in found.chain(tally.skips.iter().map(|skip| ("–", skip))) {
            say(format_args!(
                "{mark} {}: {}: {}",
                tally.section.name(),
                finding.check,
                finding.message
            ))?;
        }
    }
    Ok(())
}
