//! The command line.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage or input; 3 the data folder or database cannot be
//! used; 4 the port cannot be used.

mod access;
mod admin;
mod ask;
mod audit;
mod backup;
mod bench;
mod config;
mod consent;
mod control;
mod dataset;
mod demo;
mod doctor;
mod egress;
mod eval;
mod model;
mod open;
mod outcome;
mod pack;
mod pack_dev;
mod pack_import;
mod pack_install;
mod pack_seal;
mod pack_write;
mod secrets;
mod serve;
mod statement;
mod synth;
mod webhook;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use thiserror::Error;

use crate::config::{Config, File, USUAL};
use crate::dataset::ImportError;
use crate::error::Problem;
use crate::models::ModelError;
use crate::postgres::ClusterError;
use crate::store::StoreError;
use crate::vault::VaultError;

/// Tessera: agents for joint ventures, on this machine.
#[derive(Debug, Parser)]
#[command(name = "tessera", version)]
struct Cli {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server (the default).
    Serve,
    /// Check or describe the file of settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// List or make joint ventures.
    #[command(subcommand)]
    Tenant(admin::TenantCommand),
    /// Make, list, rotate or revoke API keys.
    #[command(subcommand)]
    Key(access::KeyCommand),
    /// Invite, list, change or disable members.
    #[command(subcommand)]
    Member(access::MemberCommand),
    /// Ask an agent and wait for its answer.
    Ask(ask::AskCommand),
    /// Import, list, show, restore or delete datasets.
    #[command(subcommand)]
    Dataset(dataset::DatasetCommand),
    /// Say which hosts a joint venture may reach.
    #[command(subcommand)]
    Egress(egress::EgressCommand),
    /// Train, export and calibrate planners, judge and promote them.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// List, judge and describe the packs.
    #[command(subcommand)]
    Pack(pack::PackCommand),
    /// Set, list or remove budgets and prices.
    #[command(subcommand)]
    Budget(control::BudgetCommand),
    /// Stop a joint venture, a pack or a tool, or let it run again.
    #[command(subcommand)]
    Switch(control::SwitchCommand),
    /// Make requests by the clock.
    #[command(subcommand)]
    Schedule(control::ScheduleCommand),
    /// List effects, and say what became of those that nobody knows about.
    #[command(subcommand)]
    Effect(control::EffectCommand),
    /// Write everything that the server holds to an empty folder.
    Backup {
        /// The folder; it is made.
        folder: PathBuf,
    },
    /// Restore a backup into an empty data folder or database.
    Restore {
        /// Folder of the backup.
        folder: PathBuf,
    },
    /// List, read and assign experiments.
    #[command(subcommand)]
    Experiment(outcome::ExperimentCommand),
    /// Show what runs cost, set prices, screen a use case.
    #[command(subcommand)]
    Economics(outcome::EconomicsCommand),
    /// List, make, export and verify statements.
    #[command(subcommand)]
    Statement(statement::StatementCommand),
    /// Export the audit chain, check an export offline, erase content.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Rotate the master key of the secrets at rest.
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    /// Add, test and replay endpoints of webhooks.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Time this installation, beside a peer.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Test this installation.
    #[command(subcommand)]
    Doctor(doctor::DoctorCommand),
    /// Make a one-time login link for a joint venture.
    Login {
        /// Name of the joint venture.
        tenant: String,
    },
}

/// Why a command ended early.
#[derive(Debug, Error)]
pub enum CliError {
    /// The private cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A dataset cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A planner cannot be used, or stays a candidate.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A shipped pack is broken.
    #[error("a shipped pack is broken: {0}")]
    Pack(String),
    /// The planner cannot be loaded.
    #[error("the planner cannot be loaded: {0}")]
    Planner(String),
    /// The master key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Nothing can listen there.
    #[error("cannot listen on {address}: {source}; hint: pass another --port")]
    Port {
        /// Host and port.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// An argument names nothing.
    #[error("{0}")]
    Input(String),
    /// The run ended with an error, which was printed.
    #[error("the run failed: {0}")]
    Run(String),
    /// A pack does not keep what it promises; the faults were printed.
    #[error("these packs do not hold: {0}")]
    Judged(String),
    /// A backup cannot be taken or put back.
    #[error("{0}")]
    Backup(String),
    /// An audit chain has a link that does not hold.
    #[error("the chain is broken: {0}")]
    Broken(String),
    /// One joint venture could see or change what is another's; the leaks were printed.
    #[error("{0} leaks between joint ventures; the lines marked LEAK name them")]
    Leaked(usize),
    /// A change was refused.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl CliError {
    fn code(&self) -> u8 {
        match self {
            Self::Input(_)
            | Self::Refused(_)
            | Self::Import(ImportError::Dataset(_) | ImportError::Id(_))
            | Self::Model(ModelError::Unusable(_) | ModelError::Gate(_)) => 2,
            Self::Cluster(_)
            | Self::Store(StoreError::Database(_))
            | Self::Vault(_)
            | Self::Model(ModelError::Store(StoreError::Database(_)))
            | Self::Import(ImportError::Store(StoreError::Database(_))) => 3,
            Self::Port { .. } => 4,
            Self::Store(_)
            | Self::Leaked(_)
            | Self::Import(_)
            | Self::Model(_)
            | Self::Pack(_)
            | Self::Planner(_)
            | Self::Run(_)
            | Self::Judged(_)
            | Self::Backup(_)
            | Self::Broken(_)
            | Self::Io(_) => 1,
        }
    }
}

/// Runs a command line and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let file = match file_of(&arguments) {
        Ok(file) => file,
        Err(error) => return fail(&error),
    };
    let cli = match parsed(&file, arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            return if error.print().is_ok() { ExitCode::from(code) } else { ExitCode::FAILURE };
        }
    };
    agents::pack::use_engine(Box::new(crate::packs::tables::Tables));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&CliError::Io(error)),
    };
    let done = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::serve(&cli.config).await,
            Command::Config(command) => config::config(&cli.config, command),
            Command::Tenant(command) => admin::tenant(&cli.config, command).await,
            Command::Key(command) => access::key(&cli.config, command).await,
            Command::Member(command) => access::member(&cli.config, command).await,
            Command::Ask(command) => ask::ask(&cli.config, command).await,
            Command::Dataset(command) => dataset::dataset(&cli.config, command).await,
            Command::Egress(command) => egress::egress(&cli.config, command).await,
            Command::Model(command) => model::model(&cli.config, command).await,
            Command::Pack(command) => pack::pack(&cli.config, command).await,
            Command::Budget(command) => control::budget(&cli.config, command).await,
            Command::Switch(command) => control::switch(&cli.config, command).await,
            Command::Schedule(command) => control::schedule(&cli.config, command).await,
            Command::Effect(command) => control::effect(&cli.config, command).await,
            Command::Backup { folder } => backup::backup(&cli.config, &folder).await,
            Command::Restore { folder } => backup::restore(&cli.config, &folder).await,
            Command::Experiment(command) => outcome::experiment(&cli.config, command).await,
            Command::Economics(command) => outcome::economics(&cli.config, command).await,
            Command::Statement(command) => statement::statement(&cli.config, command).await,
            Command::Audit(command) => audit::audit(&cli.config, command).await,
            Command::Secrets(command) => secrets::secrets(&cli.config, command).await,
            Command::Webhook(command) => webhook::webhook(&cli.config, command).await,
            Command::Bench(command) => bench::bench(&cli.config, command).await,
            Command::Doctor(command) => doctor::doctor(&cli.config, command).await,
            Command::Login { tenant } => admin::login(&cli.config, &tenant).await,
        }
    });
    // A step that hangs must not hold up the end; what it does is fenced off.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Returns the file of settings that is in use: the one that is named, or the usual one if it is there.
///
/// The command line is read for its name alone; what is wrong with the rest is said when all is known.
fn file_of(arguments: &[OsString]) -> Result<File, CliError> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(arguments);
    let checks = |matches: &clap::ArgMatches| matches.subcommand_name() == Some("config");
    let named = match &matches {
        // A broken file is for these commands to judge.
        Ok(matches) if checks(matches) => return Ok(File::default()),
        Ok(matches) => matches.try_get_one::<PathBuf>("config").ok().flatten().cloned(),
        Err(_) => None,
    };
    let usual = Path::new(USUAL);
    match named {
        Some(named) => File::read(&named).map_err(CliError::Input),
        None if usual.exists() => File::read(usual).map_err(CliError::Input),
        None => Ok(File::default()),
    }
}

/// Reads a command line whose defaults are those of a file.
fn parsed<T: Into<OsString> + Clone>(
    file: &File,
    arguments: impl IntoIterator<Item = T>,
) -> Result<Cli, clap::Error> {
    let matches = file.defaults(Cli::command()).try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

fn fail(error: &CliError) -> ExitCode {
    // Nothing is left to tell it to when even standard error is closed.
    drop(writeln!(std::io::stderr(), "error: {error}"));
    ExitCode::from(error.code())
}

/// Prints one line.
fn say(line: impl std::fmt::Display) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
