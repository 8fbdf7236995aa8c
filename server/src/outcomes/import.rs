//! Observations from a dataset, and observations all or nothing.

use agents::outcome::micros::Micros;
use agents::outcome::readout::Observation;
use agents::pack::Kpi;
use agents::port::DatasetSource as _;
use agents::tool::{Table, Window};
use serde::Deserialize;

use super::{MOST, conflict, observe};
use crate::error::Problem;
use crate::host::Host;
use crate::store::{Received, Store, TenantId, TenantTx};

/// Which columns of a dataset are what.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The dataset.
    pub dataset: String,
    /// KPI that is observed.
    pub metric: String,
    /// Column of the identifier.
    pub id: String,
    /// Column of the unit.
    pub unit: String,
    /// Column of the instant.
    pub at: String,
    /// Column of the value.
    pub value: String,
    /// Column of the weight; every weight is 1 where absent.
    pub weight: Option<String>,
}

impl Columns {
    /// Says where the observations come from.
    pub fn source(&self) -> String {
        format!("dataset {}", self.dataset)
    }
}

/// One observation that is known otherwise refuses the call.
fn refuse_changed(done: &Received) -> Result<(), Problem> {
    if done.differing.is_empty() {
        return Ok(());
    }
    let some: Vec<&str> = done.differing.iter().take(5).map(String::as_str).collect();
    let detail = format!(
        "{} observations are known with another content, the first of them {}; nothing was added. \
         What was billed is corrected by a dispute",
        done.differing.len(),
        some.join(", ")
    );
    Err(conflict("observation_differs", detail))
}

/// Adds observations, all or nothing: one that is known with another content refuses all of them.
///
/// # Errors
/// `observation_differs`, and those of [`observe`].
pub async fn observe_all(
    tx: &mut TenantTx,
    kpis: &[Kpi],
    observations: &[Observation],
    source: &str,
    by: &str,
) -> Result<Received, Problem> {
    let mut sum = Received::default();
    for part in observations.chunks(MOST) {
        let done = observe(tx, kpis, part.to_vec(), source, by).await?;
        sum.added += done.added;
        sum.repeated += done.repeated;
        sum.differing.extend(done.differing);
    }
    refuse_changed(&sum)?;
    Ok(sum)
}

fn cells(table: &Table, columns: &Columns) -> Result<Vec<Observation>, Problem> {
    let column = |name: &str| {
        table.columns.iter().position(|column| column == name).ok_or_else(|| {
            let detail = format!("no column `{name}`; there are {}", table.columns.join(", "));
            Problem::invalid("unknown_column", detail)
        })
    };
    let (id, unit) = (column(&columns.id)?, column(&columns.unit)?);
    let (at, value) = (column(&columns.at)?, column(&columns.value)?);
    let weight = columns.weight.as_deref().map(column).transpose()?;
    let row = |(i, row): (usize, &Vec<String>)| {
        let bad = |what: &str, cell: &str| {
            let detail = format!("row {}: `{cell}` is no {what}", i + 1);
            Problem::invalid("invalid_observation", detail)
        };
        let number =
            |cell: &String| cell.parse::<Micros>().map_err(|_| bad("decimal number", cell));
        Ok(Observation {
            id: row[id].clone(),
            unit: row[unit].clone(),
            metric: columns.metric.clone(),
            at: row[at].parse().map_err(|_| bad("instant", &row[at]))?,
            value: number(&row[value])?,
            weight: weight.map_or(Ok(Micros::ONE), |weight| number(&row[weight]))?,
        })
    };
    table.rows.iter().enumerate().map(row).collect()
}

/// Reads the observations of a dataset.
///
/// # Errors
/// `unreadable_dataset`, `unknown_column`, `invalid_observation`.
pub async fn from_dataset(
    store: &Store,
    tenant: TenantId,
    columns: Columns,
) -> Result<Vec<Observation>, Problem> {
    let host = Host::new(store.clone(), tenant, tokio::runtime::Handle::current());
    let read = move || {
        let table = host
            .table(&columns.dataset, &Window::default())
            .map_err(|error| Problem::invalid("unreadable_dataset", error.to_string()))?;
        cells(&table, &columns)
    };
    tokio::task::spawn_blocking(read).await.map_err(|_| Problem::internal())?
}
