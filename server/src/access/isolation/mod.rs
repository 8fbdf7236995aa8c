//! The self-test of the walls between joint ventures: every route that is served, called by one with the
//! identifiers of another; every table, read under a scope that is not its own; connections used before.
//!
//! A call is right where its answer is the one to an identifier that nothing has, word for word, names
//! nothing of the other joint venture, and changes none of its rows. So a route needs no case of its own,
//! and a new one is tried from the day it is served.

mod calls;
mod seed;
mod served;

use axum::Router;
use serde::Serialize;

use crate::error::Problem;
use crate::store::{Store, TenantId};

pub use calls::{fitting_body, query_of};
pub use seed::{PREFIX, Side, subjects};
pub use served::{Served, served};

/// One kind of trial and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// What was tried, for people.
    pub what: String,
    /// How often.
    pub tries: usize,
    /// True where what was tried is known to have been reached.
    pub reached: bool,
    /// What leaked.
    pub leaks: Vec<String>,
}

/// What the self-test tried and found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Every trial.
    pub trials: Vec<Trial>,
}

impl Report {
    /// Returns what leaked.
    pub fn leaks(&self) -> impl Iterator<Item = (&str, &str)> {
        self.trials.iter().flat_map(|trial| {
            trial.leaks.iter().map(move |leak| (trial.what.as_str(), leak.as_str()))
        })
    }

    /// Returns how often something was tried.
    pub fn tries(&self) -> usize {
        self.trials.iter().map(|trial| trial.tries).sum()
    }

    /// Returns what was tried but not reached: a leak there would not have shown.
    pub fn unreached(&self) -> Vec<&str> {
        self.trials.iter().filter(|t| !t.reached).map(|trial| trial.what.as_str()).collect()
    }

    fn add(&mut self, what: impl Into<String>, tries: usize, leaks: Vec<String>) {
        self.trials.push(Trial { what: what.into(), tries, reached: true, leaks });
    }
}

/// Runs the self-test: `one` calls, `two` is what must not be seen. Where `changes` is false only routes
/// that read are called, so that two joint ventures that are in use may be named.
///
/// # Errors
/// `store_unavailable`; `internal` ⇐ the routes cannot be listed.
pub async fn test(
    store: &Store,
    router: &Router,
    one: &Side,
    two: &Side,
    changes: bool,
) -> Result<Report, Problem> {
    let mut report = Report::default();
    walls(store, &mut report, one.tenant, two.tenant).await?;
    let (rounds, shown) = store.reuse_connections(one.tenant, two.tenant).await?;
    let leaks = if shown == 0 { Vec::new() } else { vec![format!("{shown} foreign rows")] };
    report.add("connections used by both in turn", rounds, leaks);
    calls::routes(store, router, one, two, changes, &mut report).await?;
    Ok(report)
}

/// Runs the self-test on the two joint ventures that are kept for it.
///
/// # Errors
/// As [`test`].
pub async fn on_subjects(store: &Store, router: &Router) -> Result<Report, Problem> {
    let (one, two, faults) = subjects(store).await?;
    let report = test(store, router, &one, &two, true).await;
    one.retire(store).await?;
    two.retire(store).await?;
    let mut report = report?;
    report.add("rows to look for", 2, faults);
    Ok(report)
}

async fn walls(
    store: &Store,
    report: &mut Report,
    one: TenantId,
    two: TenantId,
) -> Result<(), Problem> {
    report.add("the role, views and functions", 4, store.ways_around().await?);
    for wall in store.walls().await? {
        let table = wall.table.clone();
        let mut leaks: Vec<String> = wall.fault().into_iter().collect();
        let unset = store.rows_without_tenant(&table).await?;
        if unset != 0 {
            leaks.push(format!("{unset} rows are shown without a tenant"));
        }
        let mut reached = true;
        for (scope, other) in [(one, two), (two, one)] {
            let mut tx = store.begin(scope).await?;
            let seen = tx.rows_seen(&table, scope).await?;
            if seen.all != seen.own {
                leaks.push(format!("{} rows of others are shown", seen.all - seen.own));
            }
            if seen.own == 0 {
                reached = false;
            }
            if !tx.refuses_to_write_for(&table, other).await? {
                leaks.push("a row can be given to another".to_owned());
            }
        }
        leaks.dedup();
        report.trials.push(Trial { what: format!("table {table}"), tries: 6, reached, leaks });
    }
    Ok(())
}
