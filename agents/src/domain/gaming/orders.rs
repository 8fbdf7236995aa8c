//! The tenant's order table, as the support tools read it.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::cells;
use crate::tool::{Table, ToolContext, ToolError, Window, money};

/// Names of the order table: the tenant's own, that of the demo, or the small one; a demo has both.
const TABLES: [&str; 3] = ["gaming_orders", "demo_orders", "gaming_orders_small"];

/// One order.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) order_id: String,
    pub(super) player_id: String,
    pub(super) item_id: String,
    pub(super) amount: Decimal,
    pub(super) currency: String,
    pub(super) paid_at: Timestamp,
    /// `paid` or `failed`.
    pub(super) status: String,
    pub(super) delivered: bool,
    pub(super) refunded: Decimal,
}

/// Returns a table, or `None` ⇐ the tenant has none of this name.
///
/// # Errors
/// Those of the source, save that the dataset is unknown.
pub(super) fn optional(context: &ToolContext<'_>, name: &str) -> Result<Option<Table>, ToolError> {
    match context.datasets.table(name, &Window::default()) {
        Ok(table) => Ok(Some(table)),
        Err(ToolError::NoData { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the first of several tables that holds `value` in `column`; where none does, the first
/// that the tenant has.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ the tenant has none of them; [`ToolError::InvalidInput`] ⇐ one lacks the
/// column; the source's errors.
pub(super) fn holding(
    context: &ToolContext<'_>,
    names: &[&str],
    column: &str,
    value: &str,
) -> Result<Table, ToolError> {
    let mut first = None;
    for name in names {
        let Some(table) = optional(context, name)? else { continue };
        let at = table.column(column)?;
        if table.rows.iter().any(|row| row[at] == value) {
            return Ok(table);
        }
        first = first.or(Some(table));
    }
    first
        .ok_or_else(|| ToolError::no_data(format!("no dataset `{}`", names.first().unwrap_or(&""))))
}

fn order(table: &Table, row: &[String]) -> Result<Order, ToolError> {
    let cell = |name: &str| table.column(name).map(|column| row[column].clone());
    let status = cell("payment_status")?;
    if !matches!(status.as_str(), "paid" | "failed") {
        return Err(ToolError::invalid(
            "/order_id",
            format!("payment_status `{status}` is neither paid nor failed"),
        ));
    }
    let delivered = cell("delivered")?;
    Ok(Order {
        order_id: cell("order_id")?,
        player_id: cell("player_id")?,
        item_id: cell("item_id")?,
        amount: money::parse(&cell("amount")?, "/order_id")?,
        currency: cell("currency")?,
        paid_at: cells::instant(&cell("paid_at")?, "/order_id")?,
        status,
        delivered: matches!(delivered.to_ascii_lowercase().as_str(), "true" | "1" | "yes"),
        refunded: money::parse(&cell("refunded_amount")?, "/order_id")?,
    })
}

/// Finds an order by its id.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no such order; [`ToolError::InvalidInput`] ⇐ the table lacks a column
/// or holds a cell that cannot be read.
pub(super) fn find(context: &ToolContext<'_>, order_id: &str) -> Result<Order, ToolError> {
    let table = holding(context, &TABLES, "order_id", order_id)?;
    let id = table.column("order_id")?;
    let row = table
        .rows
        .iter()
        .find(|row| row[id] == order_id)
        .ok_or_else(|| ToolError::no_data(format!("no order `{order_id}`")))?;
    order(&table, row)
}

/// Returns the orders of a player, newest first; empty ⇐ there are none.
///
/// # Errors
/// As [`find`], save that a player without orders is no error.
pub(super) fn of_player(
    context: &ToolContext<'_>,
    player_id: &str,
) -> Result<Vec<Order>, ToolError> {
    let table = holding(context, &TABLES, "player_id", player_id)?;
    let id = table.column("player_id")?;
    let rows = table.rows.iter().filter(|row| row[id] == player_id);
    let mut orders = rows.map(|row| order(&table, row)).collect::<Result<Vec<_>, _>>()?;
    orders.sort_by(|a, b| b.paid_at.cmp(&a.paid_at).then_with(|| a.order_id.cmp(&b.order_id)));
    Ok(orders)
}
