//! Experiments, observations and economics on the command line.

use std::path::{Path, PathBuf};

use agents::outcome::design::Design;
use agents::outcome::economics::{Terms, UseCase, screen};
use agents::outcome::micros::Micros;
use agents::outcome::readout::{Observation, ReadOut, Standing};
use agents::pack::Kpi;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use super::open::open;
use super::{CliError, admin, say};
use crate::config::Config;
use crate::error::Problem;
use crate::outcomes::import::{Columns, from_dataset, observe_all};
use crate::outcomes::ledger::{economics as costs, note_effort, set_terms};
use crate::outcomes::{draft, end, enrol, read, start};
use crate::store::TenantTx;

/// Who acts on the command line.
pub(super) const BY: &str = "command line";

#[derive(Debug, Subcommand)]
pub(super) enum ExperimentCommand {
    /// List the experiments.
    List {
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Make a draft of a JSON file, or replace the one of the same name.
    Draft {
        /// File with a design, as `POST /v1/experiments` takes it.
        file: PathBuf,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Freeze a draft before its window begins.
    Start {
        /// Name of the experiment.
        name: String,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// End a running experiment.
    End {
        /// Name of the experiment.
        name: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Add observations of a JSON file, all or nothing.
    Observe {
        /// File with an array of `{"id", "unit", "metric", "at", "value", "weight"}`.
        file: PathBuf,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
    /// Add observations from columns of a dataset, all or nothing.
    Import(ImportCommand),
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
        /// Note that they take part.
        #[arg(long)]
        enrol: bool,
        /// Name of the joint venture.
        #[arg(long)]
        tenant: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct ImportCommand {
    /// Identifier of the dataset.
    dataset: String,
    /// KPI that is observed.
    #[arg(long)]
    metric: String,
    /// Column of the identifier.
    #[arg(long, default_value = "id")]
    id: String,
    /// Column of the unit.
    #[arg(long, default_value = "unit")]
    unit: String,
    /// Column of the instant.
    #[arg(long, default_value = "at")]
    at: String,
    /// Column of the value.
    #[arg(long, default_value = "value")]
    value: String,
    /// Column of the weight of a ratio.
    #[arg(long)]
    weight: Option<String>,
    /// Name of the joint venture.
    #[arg(long)]
    tenant: String,
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
    /// Note the time that people took over a run.
    Effort {
        /// Identifier of the run.
        run: Uuid,
        /// Seconds of review.
        #[arg(long, default_value_t = 0)]
        review: i32,
        /// Seconds of rework.
        #[arg(long, default_value_t = 0)]
        rework: i32,
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

pub(super) fn told(problem: Problem) -> CliError {
    CliError::Input(problem.detail)
}

pub(super) fn loaded<T: DeserializeOwned>(file: &Path) -> Result<T, CliError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::Input(format!("{}: {error}", file.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| CliError::Input(format!("{}: {error}", file.display())))
}

/// Returns the measures of a joint venture's pack.
pub(super) async fn kpis(tx: &mut TenantTx) -> Result<Vec<Kpi>, CliError> {
    let pack = tx.tenant().await?.pack;
    let packs = agents::pack::shipped().map_err(|error| CliError::Pack(error.to_string()))?;
    let own = packs.iter().find(|one| one.manifest.id == pack);
    Ok(own.map(|one| one.manifest.kpis.clone()).unwrap_or_default())
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

pub(super) use with_tenant;

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
        ExperimentCommand::Draft { file, tenant } => {
            let design: Design = loaded(&file)?;
            with_tenant!(config, &tenant, |tx| {
                let kpis = kpis(&mut tx).await?;
                let made = draft(&mut tx, &kpis, &design, BY).await.map_err(told)?;
                say(format_args!("{} is a draft, {}", design.name, made.sha256))?;
            })
        }
        ExperimentCommand::Start { name, tenant } => with_tenant!(config, &tenant, |tx| {
            let begun = start(&mut tx, &name, Timestamp::now(), BY).await.map_err(told)?;
            say(format_args!("{name} is frozen, {}", begun.sha256))?;
        }),
        ExperimentCommand::End { name, reason, tenant } => with_tenant!(config, &tenant, |tx| {
            end(&mut tx, &name, &reason, Timestamp::now(), BY).await.map_err(told)?;
            say(format_args!("{name} has ended"))?;
        }),
        ExperimentCommand::Observe { file, tenant } => {
            let observations: Vec<Observation> = loaded(&file)?;
            with_tenant!(config, &tenant, |tx| {
                add(&mut tx, &observations, BY).await?;
            })
        }
        ExperimentCommand::Import(command) => import(config, command).await,
        ExperimentCommand::Assign { name, units, enrol: joins, tenant } => {
            with_tenant!(config, &tenant, |tx| {
                let one = tx.experiment(&name).await?;
                if one.state == "draft" {
                    return Err(CliError::Input(
                        "a draft assigns nobody; start it first".to_owned(),
                    ));
                }
                if joins && one.state == "ended" {
                    return Err(CliError::Input("it has ended; nobody joins it".to_owned()));
                }
                if joins {
                    enrol(&mut tx, &one.design, &units).await.map_err(told)?;
                }
                for unit in &units {
                    say(format_args!("{unit}\t{}", one.design.arm(unit)))?;
                }
            })
        }
    }
}

async fn add(
    tx: &mut TenantTx,
    observations: &[Observation],
    source: &str,
) -> Result<(), CliError> {
    let kpis = kpis(tx).await?;
    let done = observe_all(tx, &kpis, observations, source, BY).await.map_err(told)?;
    say(format_args!("{} observations are new, {} were there", done.added, done.repeated))
}

async fn import(config: &Config, command: ImportCommand) -> Result<(), CliError> {
    let ImportCommand { dataset, metric, id, unit, at, value, weight, tenant } = command;
    let columns = Columns { dataset, metric, id, unit, at, value, weight };
    let opened = open(config, false).await?;
    let done = async {
        let tenant = admin::find(&opened.store, &tenant).await?;
        let source = columns.source();
        let all = from_dataset(&opened.store, tenant, columns).await.map_err(told)?;
        let mut tx = opened.store.begin(tenant).await?;
        add(&mut tx, &all, &source).await?;
        Ok::<_, CliError>(tx.commit().await?)
    }
    .await;
    opened.close().await?;
    done
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
        EconomicsCommand::Effort { run, review, rework, tenant } => {
            with_tenant!(config, &tenant, |tx| {
                note_effort(&mut tx, run, (review, rework), BY).await.map_err(told)?;
                say(format_args!("{review} s of review and {rework} s of rework are noted"))?;
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
    for one in &found.budget_prices_differ {
        say(format_args!("Note: {one}"))?;
    }
    Ok(())
}
