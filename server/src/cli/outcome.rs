//! Outcomes on the command line: experiments, economics, statements. `statement verify` needs neither
//! a server nor a network.

use std::path::{Path, PathBuf};

use agents::outcome::economics::{Terms, UseCase, screen};
use agents::outcome::micros::Micros;
use agents::outcome::readout::{ReadOut, Standing};
use agents::outcome::receipt::{Export, Kept, Receipt, verify};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::open::open;
use super::{CliError, admin, say};
use crate::config::Config;
use crate::error::Problem;
use crate::outcomes::ledger::{economics as costs, export, month, set_terms, state};
use crate::outcomes::read;
use crate::store::TenantTx;

/// Who acts on the command line.
const BY: &str = "command line";

#[derive(Debug, Subcommand)]
pub(super) enum ExperimentCommand {
    /// List the experiments.
    List {
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Say what an experiment shows.
    Readout {
        /// Name of the experiment.
        name: String,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Say in which arm units are.
    Assign {
        /// Name of the experiment.
        name: String,
        /// Units.
        #[arg(required = true)]
        units: Vec<String>,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum EconomicsCommand {
    /// What runs cost, by accepted task, beside the baseline and a remote model.
    Show {
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
        /// Days to add up.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Set the price table from a JSON file.
    Terms {
        /// File, in the form that `economics show --json` prints as `terms`.
        file: PathBuf,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Say whether a use case is worth its delivery.
    Screen(ScreenCommand),
}

#[derive(Debug, Args)]
pub(super) struct ScreenCommand {
    /// Tasks a month.
    #[arg(long)]
    tasks: u32,
    /// Minutes that a task saves.
    #[arg(long)]
    minutes: Micros,
    /// Wage of an hour.
    #[arg(long)]
    wage: Micros,
    /// What delivery costs in the first year.
    #[arg(long)]
    cost: Micros,
    /// Days until the data can be reached.
    #[arg(long, default_value_t = 0)]
    days_to_data: u32,
}

#[derive(Debug, Subcommand)]
pub(super) enum StatementCommand {
    /// List the statements and credit notes.
    List {
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Make the statement of a month.
    Make {
        /// Name of the contract.
        contract: String,
        /// Month, UTC, such as 2026-10.
        month: String,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Write a statement with its events and receipt to a file.
    Export {
        /// Number of the statement.
        number: i32,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
        /// File to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Compute an exported statement again, offline, and name what differs.
    Verify {
        /// The export.
        file: PathBuf,
        /// Public key that the joint venture gave, hex.
        #[arg(long)]
        key: Option<String>,
        /// The receipt (or whole export) that was kept when the statement came.
        #[arg(long)]
        receipt: Option<PathBuf>,
    },
}

fn told(problem: Problem) -> CliError {
    CliError::Input(problem.detail)
}

fn loaded<T: DeserializeOwned>(file: &Path) -> Result<T, CliError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::Input(format!("{}: {error}", file.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| CliError::Input(format!("{}: {error}", file.display())))
}

/// Runs work on the rows of a joint venture and keeps what it changed.
macro_rules! with_tenant {
    ($config:expr, $slug:expr, |$tx:ident| $work:expr) => {{
        let opened = open($config, false).await?;
        let done = async {
            let tenant = admin::find(&opened.store, $slug).await?;
            let mut $tx = opened.store.begin(tenant).await?;
            let done = $work;
            $tx.commit().await?;
            Ok::<_, CliError>(done)
        }
        .await;
        opened.close().await?;
        done
    }};
}

pub(super) async fn experiment(
    config: &Config,
    command: ExperimentCommand,
) -> Result<(), CliError> {
    match command {
        ExperimentCommand::List { tenant } => with_tenant!(config, &tenant, |tx| {
            for one in tx.experiments(None).await? {
                let design = &one.design;
                say(format_args!(
                    "{}\t{}\t{} to {}\t{}",
                    design.name, one.state, design.start, design.end, one.sha256
                ))?;
            }
        }),
        ExperimentCommand::Readout { name, tenant, json } => with_tenant!(config, &tenant, |tx| {
            let read = read(&mut tx, &name, Timestamp::now()).await.map_err(told)?;
            if json {
                say(json!(read))?;
            } else {
                print(&read)?;
            }
        }),
        ExperimentCommand::Assign { name, units, tenant } => with_tenant!(config, &tenant, |tx| {
            let one = tx.experiment(&name).await?;
            if one.state == "draft" {
                return Err(CliError::Input("a draft assigns nobody; start it first".to_owned()));
            }
            for unit in &units {
                say(format_args!("{unit}\t{}", one.design.arm(unit)))?;
            }
        }),
    }
}

fn print(read: &ReadOut) -> Result<(), CliError> {
    say(format_args!("{}, {} to {}", read.method, read.from, read.to))?;
    say(format_args!("{} in treatment, {} held out", read.units[1], read.units[0]))?;
    if read.standing != Standing::Read {
        say(format_args!("No figures: {}", json!(read.standing).as_str().unwrap_or_default()))?;
    }
    for metric in &read.metrics {
        let found = &metric.improvement;
        say(format_args!(
            "{}: at least {:.6} with 95 % confidence; estimate {:.6}, at most {:.6}; p {:.2e} ({})",
            metric.kpi, found.low, found.estimate, found.high, metric.p_adjusted, metric.method
        ))?;
    }
    for note in &read.notes {
        say(format_args!("Note: {note}"))?;
    }
    Ok(())
}

pub(super) async fn economics(config: &Config, command: EconomicsCommand) -> Result<(), CliError> {
    match command {
        EconomicsCommand::Show { tenant, days, json } => with_tenant!(config, &tenant, |tx| {
            show(&mut tx, days, json).await?;
        }),
        EconomicsCommand::Terms { file, tenant } => {
            let terms: Terms = loaded(&file)?;
            with_tenant!(config, &tenant, |tx| {
                set_terms(&mut tx, &terms, BY).await.map_err(told)?;
                say("The price table is set; the earlier one is kept.")?;
            })
        }
        EconomicsCommand::Screen(screened) => {
            let case = UseCase {
                tasks_per_month: screened.tasks,
                minutes_saved: screened.minutes,
                wage_per_hour: screened.wage,
                delivery_cost: screened.cost,
                days_to_data: screened.days_to_data,
            };
            let said = screen(&case).map_err(|error| CliError::Input(error.to_string()))?;
            say(format_args!("A year saves {}", said.yearly_value))?;
            match said.multiple {
                Some(multiple) => say(format_args!("{multiple} times the delivery cost"))?,
                None => say("Delivery is free")?,
            }
            say(if said.go {
                "Go on.".to_owned()
            } else {
                format!("Leave it: {}", said.reasons.join("; "))
            })
        }
    }
}

async fn show(tx: &mut TenantTx, days: u16, json: bool) -> Result<(), CliError> {
    let found = costs(tx, days).await.map_err(told)?;
    if json {
        return say(json!(found));
    }
    let (costs, currency) = (&found.costs, &found.terms.currency);
    say(format_args!(
        "{} runs in {days} days, {} accepted",
        found.effort.runs, found.effort.accepted
    ))?;
    for (what, amount) in [
        ("compute", Some(costs.compute)),
        ("tokens", Some(costs.tokens)),
        ("tools", Some(costs.tools)),
        ("review", Some(costs.review)),
        ("rework", Some(costs.rework)),
        ("total", Some(costs.total)),
        ("by run", costs.per_run),
        ("by accepted task", costs.per_accepted),
        ("baseline of a task", costs.baseline),
        ("total with the remote model", Some(costs.remote_total)),
        ("thirty further days, at most", found.forecast.map(|forecast| forecast.high)),
    ] {
        match amount {
            Some(amount) => say(format_args!("{what}\t{amount} {currency}"))?,
            None => say(format_args!("{what}\tnot known yet"))?,
        }
    }
    Ok(())
}

pub(super) async fn statement(config: &Config, command: StatementCommand) -> Result<(), CliError> {
    match command {
        StatementCommand::List { tenant } => with_tenant!(config, &tenant, |tx| {
            for one in tx.statements(None).await?.iter().rev() {
                let document = &one.document;
                let parts = document.payable.iter();
                let currency = &document.contract.currency;
                let parts = parts.map(|p| format!("{} {}", p.party, p.amount.money(currency)));
                let parts: Vec<String> = parts.collect();
                say(format_args!(
                    "{}\t{} to {}\t{} {currency}",
                    crate::outcomes::pdf::title(document),
                    document.from,
                    document.to,
                    parts.join(", ")
                ))?;
            }
        }),
        StatementCommand::Make { contract, month: text, tenant } => {
            let period = month(&text).map_err(told)?;
            with_tenant!(config, &tenant, |tx| {
                let made = state(&mut tx, &contract, period, Timestamp::now(), BY).await;
                say(format_args!("Made statement {}", made.map_err(told)?))?;
            })
        }
        StatementCommand::Export { number, tenant, out } => with_tenant!(config, &tenant, |tx| {
            let export = export(&mut tx, number).await.map_err(told)?;
            std::fs::write(&out, format!("{:#}\n", json!(export)))?;
            say(format_args!(
                "Wrote {} with {} events; receipt {}, public key {}",
                out.display(),
                export.events.len(),
                export.receipt.fingerprint(),
                export.receipt.public_key
            ))?;
        }),
        StatementCommand::Verify { file, key, receipt } => {
            check(&file, key.as_deref(), receipt.as_deref())
        }
    }
}

fn check(file: &Path, key: Option<&str>, receipt: Option<&Path>) -> Result<(), CliError> {
    let export: Export = loaded(file)?;
    let kept = receipt.map(kept_receipt).transpose()?;
    let faults = verify(&export, Kept { public_key: key, receipt: kept.as_ref() });
    for fault in &faults {
        say(format_args!("WRONG: {fault}"))?;
    }
    if !faults.is_empty() {
        return Err(CliError::Run(format!("{} does not hold", file.display())));
    }
    let document = &export.document;
    say(format_args!(
        "Holds: {} of {}, {} events, receipt {}",
        crate::outcomes::pdf::title(document),
        document.venture,
        export.events.len(),
        export.receipt.fingerprint()
    ))?;
    for part in &document.payable {
        let currency = &document.contract.currency;
        say(format_args!("{}\t{} {currency}", part.party, part.amount.money(currency)))?;
    }
    if key.is_none() {
        say("The key is the one in the file; pass --key with the key that you were given.")?;
    }
    Ok(())
}

/// Reads a receipt, alone or within an export.
fn kept_receipt(file: &Path) -> Result<Receipt, CliError> {
    match loaded::<Receipt>(file) {
        Ok(receipt) => Ok(receipt),
        Err(error) => loaded::<Export>(file).map(|export| export.receipt).map_err(|_| error),
    }
}
