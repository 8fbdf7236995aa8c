//! `tessera doctor`: self-tests of this installation.

use std::sync::Arc;

use axum::Router;
use clap::{Args, Subcommand};
use tokio::sync::watch;

use super::admin::find;
use super::open::open;
use super::{CliError, say};
use crate::access::Access;
use crate::access::isolation::{Report, Side, on_subjects, test};
use crate::agent::Agents;
use crate::config::Config;
use crate::egress::Egress;
use crate::error::Problem;
use crate::http::router;
use crate::models::Models;
use crate::state::AppState;
use crate::store::{Store, TenantId};

#[derive(Debug, Subcommand)]
pub(super) enum DoctorCommand {
    /// Call every route as one joint venture with the identifiers of another, read every table under a
    /// scope that is not its own, and report what leaked; ends with 1 where something did.
    Isolation(Isolation),
}

#[derive(Debug, Args)]
pub(super) struct Isolation {
    /// Joint venture that calls; only routes that read are then called.
    #[arg(long, requires = "other", value_name = "NAME")]
    tenant: Option<String>,
    /// Joint venture that must not be seen.
    #[arg(long, requires = "tenant", value_name = "NAME")]
    other: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn doctor(config: &Config, command: DoctorCommand) -> Result<(), CliError> {
    let DoctorCommand::Isolation(wish) = command;
    let opened = open(config, false).await?;
    let done = isolation(config, &opened.store, &wish).await;
    opened.close().await?;
    done
}

async fn isolation(config: &Config, store: &Store, wish: &Isolation) -> Result<(), CliError> {
    let models = Models::open(config).map_err(CliError::Planner)?;
    let agents = Arc::new(Agents::shipped(models).map_err(CliError::Pack)?);
    let (_stop, stopped) = watch::channel(false);
    let access = Arc::new(Access::default());
    let (egress, vault) = (Egress::default(), Arc::new(config.vault()?));
    let state = AppState { store: store.clone(), agents, egress, vault, access, stopped };
    let router = router(state);
    let named = wish.tenant.as_deref().zip(wish.other.as_deref());
    let report = match named {
        Some((one, two)) => {
            let (one, two) = (find(store, one).await?, find(store, two).await?);
            between(store, &router, one, two).await
        }
        None => on_subjects(store, &router).await,
    };
    let report = report.map_err(CliError::Refused)?;
    print(&report, wish.json)?;
    let leaks = report.leaks().count();
    if leaks == 0 { Ok(()) } else { Err(CliError::Leaked(leaks)) }
}

/// Tries what reads between two joint ventures that are in use.
async fn between(
    store: &Store,
    router: &Router,
    one: TenantId,
    two: TenantId,
) -> Result<Report, Problem> {
    let one = Side::of(store, one, "").await?;
    let two = Side::of(store, two, "").await?;
    let report = test(store, router, &one, &two, false).await;
    one.retire(store).await?;
    two.retire(store).await?;
    report
}

fn print(report: &Report, json: bool) -> Result<(), CliError> {
    if json {
        let text = serde_json::to_string_pretty(report).map_err(std::io::Error::other)?;
        return say(text);
    }
    for trial in &report.trials {
        let outcome = match (trial.leaks.len(), trial.reached) {
            (0, true) => "held".to_owned(),
            (0, false) => "held, with nothing there to find".to_owned(),
            (leaks, _) => format!("{leaks} LEAKS"),
        };
        say(format_args!("{:<64} {:>5}  {outcome}", trial.what, trial.tries))?;
    }
    for (what, leak) in report.leaks() {
        say(format_args!("LEAK  {what}: {leak}"))?;
    }
    say(format_args!(
        "{} trials of {} routes, tables and ways; {} leaks",
        report.tries(),
        report.trials.len(),
        report.leaks().count()
    ))
}
