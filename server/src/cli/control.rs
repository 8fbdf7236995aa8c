//! Budgets, prices, switches, schedules and the ledger of effects on the command line.

use agents::event::Outcome;
use clap::Subcommand;
use uuid::Uuid;

use super::open::open;
use super::{CliError, admin, say};
use crate::config::Config;
use crate::control::{
    BudgetBody, Missed, ScheduleBody, SwitchBody, checked_price, checked_schedule, enable,
    first_instant, settle,
};
use crate::error::Problem;
use crate::outcomes::ledger::prices_that_differ;
use crate::store::{Busy, Store, SwitchScope, TenantTx};

/// Who is named in what is kept.
const BY: &str = "command line";

#[derive(Debug, Subcommand)]
pub(super) enum BudgetCommand {
    /// List the budgets of a joint venture, with what is used and reserved, and its prices.
    List {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Set a budget.
    Set {
        /// Name of the joint venture.
        tenant: String,
        /// `money`, `tokens`, `calls` or `wall_ms`.
        resource: String,
        /// `run`, `day` or `total`.
        period: String,
        /// Micro-units of the currency, tokens, calls, or milliseconds.
        limit: i64,
        /// Agent that it binds; all when absent.
        #[arg(long, default_value = "")]
        agent: String,
    },
    /// Remove a budget.
    Remove {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the budget.
        budget: Uuid,
    },
    /// Set a price in micro-units of the currency, or remove it.
    Price {
        /// Name of the joint venture.
        tenant: String,
        /// `token` (of 1,000), `second`, `call`, or `call:TOOL`.
        item: String,
        /// Micro-units; without it the price is removed.
        micros: Option<i64>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum SwitchCommand {
    /// List what was switched off and on.
    List {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Stop a joint venture, a pack or a tool, from the next call on.
    Off {
        /// Name of the joint venture.
        tenant: String,
        /// `jv`, `pack` or `tool`.
        scope: String,
        /// Name of the pack or tool.
        #[arg(default_value = "")]
        name: String,
        /// Why.
        #[arg(long)]
        why: String,
    },
    /// Let it run again.
    On {
        /// Name of the joint venture.
        tenant: String,
        /// `jv`, `pack` or `tool`.
        scope: String,
        /// Name of the pack or tool.
        #[arg(default_value = "")]
        name: String,
        /// Why.
        #[arg(long)]
        why: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// List the schedules of a joint venture and what became of their last times.
    List {
        /// Name of the joint venture.
        tenant: String,
    },
    /// Make requests by the clock of the joint venture's time zone.
    Add {
        /// Name of the joint venture.
        tenant: String,
        /// Name of the schedule.
        name: String,
        /// When, as cron reads it, such as `0 9 * * MON-FRI`.
        cron: String,
        /// The request.
        request: String,
        /// Thread of its runs.
        #[arg(long)]
        thread: Option<String>,
        /// When the thread has an open run: `queue`, `reject` or `interrupt`.
        #[arg(long, default_value = "queue")]
        busy: String,
        /// Make one run for times that passed while no server was running.
        #[arg(long)]
        make_up: bool,
    },
    /// Switch a schedule on.
    On {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the schedule.
        schedule: Uuid,
    },
    /// Switch a schedule off.
    Off {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the schedule.
        schedule: Uuid,
    },
    /// Remove a schedule; its runs stay.
    Remove {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the schedule.
        schedule: Uuid,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum EffectCommand {
    /// List the newest effects of a joint venture.
    List {
        /// Name of the joint venture.
        tenant: String,
        /// Only those in this state: `started`, `done`, `void` or `unknown`.
        #[arg(long)]
        state: Option<String>,
    },
    /// Say what became of the effect that a run waits for.
    Settle {
        /// Name of the joint venture.
        tenant: String,
        /// Identifier of the run.
        run: Uuid,
        /// `happened`, `repeat` (it did not; make it now) or `abandon` (it did not; leave it).
        outcome: String,
        /// What was found.
        #[arg(long, default_value = "")]
        reason: String,
    },
}

fn told(problem: Problem) -> CliError {
    CliError::Input(problem.detail)
}

async fn enter(store: &Store, slug: &str) -> Result<TenantTx, CliError> {
    Ok(store.begin(admin::find(store, slug).await?).await?)
}

pub(super) async fn budget(config: &Config, command: BudgetCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = on_budget(&opened.store, command).await;
    opened.close().await?;
    done
}

async fn on_budget(store: &Store, command: BudgetCommand) -> Result<(), CliError> {
    match command {
        BudgetCommand::List { tenant } => {
            let mut tx = enter(store, &tenant).await?;
            for budget in tx.budgets().await? {
                let rule = &budget.rule;
                let agent = if rule.agent.is_empty() { "all" } else { rule.agent.as_str() };
                say(format_args!(
                    "{}\t{agent}\t{}\t{}\tlimit {}\tused {}\treserved {}",
                    budget.id,
                    rule.resource.name(),
                    rule.period.name(),
                    rule.most,
                    budget.used,
                    budget.reserved
                ))?;
            }
            for price in tx.prices().await? {
                say(format_args!("price\t{}\t{} micro-units", price.item, price.micros))?;
            }
            for one in prices_that_differ(&mut tx).await? {
                say(format_args!("Note: {one}"))?;
            }
            Ok(())
        }
        BudgetCommand::Set { tenant, resource, period, limit, agent } => {
            let new = BudgetBody { agent, resource, period, limit }.read().map_err(told)?;
            let mut tx = enter(store, &tenant).await?;
            let id = tx.set_budget(&new, BY).await?;
            tx.commit().await?;
            say(id)
        }
        BudgetCommand::Remove { tenant, budget } => {
            let mut tx = enter(store, &tenant).await?;
            tx.remove_budget(budget, BY).await?;
            tx.commit().await?;
            say(format_args!("removed {budget}"))
        }
        BudgetCommand::Price { tenant, item, micros } => {
            checked_price(&item, micros).map_err(told)?;
            let mut tx = enter(store, &tenant).await?;
            tx.set_price(&item, micros, BY).await?;
            tx.commit().await?;
            match micros {
                Some(micros) => say(format_args!("{item}\t{micros} micro-units")),
                None => say(format_args!("{item} has no price")),
            }
        }
    }
}

pub(super) async fn switch(config: &Config, command: SwitchCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = on_switch(&opened.store, command).await;
    opened.close().await?;
    done
}

async fn on_switch(store: &Store, command: SwitchCommand) -> Result<(), CliError> {
    let (tenant, body) = match command {
        SwitchCommand::List { tenant } => {
            let mut tx = enter(store, &tenant).await?;
            for switch in tx.switches().await? {
                let scope = switch.scope.name();
                let stands = if switch.off { "off" } else { "on" };
                let (name, by, at) = (&switch.name, &switch.by, &switch.at);
                say(format_args!("{scope}\t{name}\t{stands}\t{by}\t{at}\t{}", switch.why))?;
            }
            return Ok(());
        }
        SwitchCommand::Off { tenant, scope, name, why } => {
            (tenant, SwitchBody { scope, name, off: true, why })
        }
        SwitchCommand::On { tenant, scope, name, why } => {
            (tenant, SwitchBody { scope, name, off: false, why })
        }
    };
    let scope: SwitchScope = body.scope().map_err(told)?;
    let mut tx = enter(store, &tenant).await?;
    tx.set_switch(scope, &body.name, body.off, &body.why, BY).await?;
    tx.commit().await?;
    say(if body.off { "switched off" } else { "switched on" })
}

pub(super) async fn schedule(config: &Config, command: ScheduleCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = on_schedule(&opened.store, command).await;
    opened.close().await?;
    done
}

async fn on_schedule(store: &Store, command: ScheduleCommand) -> Result<(), CliError> {
    match command {
        ScheduleCommand::List { tenant } => {
            let mut tx = enter(store, &tenant).await?;
            for schedule in tx.schedules().await? {
                let rule = &schedule.rule;
                let next = schedule.next_at.map_or_else(|| "off".to_owned(), |at| at.to_string());
                say(format_args!("{}\t{}\t{}\tnext {next}", schedule.id, rule.name, rule.cron))?;
                for start in tx.starts(schedule.id, 5).await? {
                    let run = start.run.map(|run| run.to_string()).unwrap_or_default();
                    let (at, outcome, said) = (&start.planned_at, &start.outcome, &start.said);
                    say(format_args!("\t{at}\t{outcome}\t{run}\t{said}"))?;
                }
            }
            Ok(())
        }
        ScheduleCommand::Add { tenant, name, cron, request, thread, busy, make_up } => {
            let busy = Busy::of(&busy).ok_or_else(|| {
                CliError::Input("--busy is `queue`, `reject` or `interrupt`".to_owned())
            })?;
            let missed = if make_up { Missed::Once } else { Missed::Skip };
            let body = ScheduleBody { name, cron, request, thread, busy, missed };
            let mut tx = enter(store, &tenant).await?;
            let timezone = tx.tenant().await?.timezone;
            let (new, clock) = checked_schedule(body, &timezone).map_err(told)?;
            let next = first_instant(&mut tx, &clock).await.map_err(told)?;
            let id = tx.add_schedule(&new, Some(next), BY).await?;
            tx.commit().await?;
            say(format_args!("{id}\tfirst at {next}"))
        }
        ScheduleCommand::On { tenant, schedule } => turn(store, &tenant, schedule, true).await,
        ScheduleCommand::Off { tenant, schedule } => turn(store, &tenant, schedule, false).await,
        ScheduleCommand::Remove { tenant, schedule } => {
            let mut tx = enter(store, &tenant).await?;
            tx.remove_schedule(schedule).await?;
            tx.commit().await?;
            say(format_args!("removed {schedule}"))
        }
    }
}

async fn turn(store: &Store, tenant: &str, schedule: Uuid, on: bool) -> Result<(), CliError> {
    let mut tx = enter(store, tenant).await?;
    enable(&mut tx, schedule, on, BY).await.map_err(told)?;
    tx.commit().await?;
    say(if on { "switched on" } else { "switched off" })
}

pub(super) async fn effect(config: &Config, command: EffectCommand) -> Result<(), CliError> {
    let opened = open(config, false).await?;
    let done = on_effect(&opened.store, command).await;
    opened.close().await?;
    done
}

async fn on_effect(store: &Store, command: EffectCommand) -> Result<(), CliError> {
    match command {
        EffectCommand::List { tenant, state } => {
            let mut tx = enter(store, &tenant).await?;
            for effect in tx.effects(state.as_deref(), 200).await? {
                let run = effect.run.map(|run| run.to_string()).unwrap_or_default();
                let (state, tool, key) = (&effect.state, &effect.tool, &effect.idempotency_key);
                say(format_args!("{state}\t{tool}\t{key}\t{}\t{run}", effect.reference))?;
            }
            Ok(())
        }
        EffectCommand::Settle { tenant, run, outcome, reason } => {
            let outcome = Outcome::of(&outcome).ok_or_else(|| {
                CliError::Input("the outcome is `happened`, `repeat` or `abandon`".to_owned())
            })?;
            let tenant = admin::find(store, &tenant).await?;
            settle(store, tenant, run, outcome, BY, &reason).await.map_err(told)?;
            say("settled")
        }
    }
}
