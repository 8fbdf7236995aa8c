//! Dated cash flows and the rates that make them balance.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::tool::{Table, ToolContext, ToolError, Window, money};

/// An amount on a day; negative when paid out.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) date: Date,
    pub(super) amount: Decimal,
}

/// Most steps of a root search; bisection alone reaches the precision of a double in fewer.
const MAX_STEPS: usize = 200;

/// Reads the columns `date` and `amount` of a dataset.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no row in the window; [`ToolError::InvalidInput`] ⇐ a cell does not read.
pub(super) fn read(
    context: &ToolContext<'_>,
    id: &str,
    window: &Window,
) -> Result<Vec<Flow>, ToolError> {
    let table: Table = context.datasets.table(id, window)?;
    let (date, amount) = (table.column("date")?, table.column("amount")?);
    let flows: Vec<Flow> = table
        .rows
        .iter()
        .map(|row| {
            let day = row[date].parse().map_err(|_| {
                ToolError::invalid("/dataset", format!("`{}` is no date", row[date]))
            })?;
            Ok(Flow { date: day, amount: money::parse(&row[amount], "/dataset")? })
        })
        .collect::<Result<_, ToolError>>()?;
    if flows.is_empty() {
        return Err(ToolError::no_data(format!("`{id}` has no flow in this window")));
    }
    Ok(flows)
}

/// Returns the days from `from` to `to`.
pub(super) fn days(from: Date, to: Date) -> f64 {
    f64::from((to - from).get_days())
}

/// Finds a root of `f` between `low` and `high`, where it changes its sign, by bisection.
/// `None` ⇐ it does not change its sign.
pub(super) fn root(f: impl Fn(f64) -> f64, low: f64, high: f64) -> Option<f64> {
    let (mut low, mut high) = (low, high);
    let (at_low, at_high) = (f(low), f(high));
    if !at_low.is_finite() || !at_high.is_finite() || at_low * at_high > 0.0 {
        return None;
    }
    for _ in 0..MAX_STEPS {
        let middle = f64::midpoint(low, high);
        let value = f(middle);
        if value == 0.0 || (high - low).abs() < 1e-15 {
            return Some(middle);
        }
        if (value > 0.0) == (at_low > 0.0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(f64::midpoint(low, high))
}
