//! The tenant's order table, as the refund tools read it.

use rust_decimal::Decimal;

use crate::tool::{Table, ToolContext, ToolError, Window, money};

/// Names of the order table: the tenant's own, or the small one of the demo.
const TABLES: [&str; 2] = ["gaming_orders", "gaming_orders_small"];

/// One order.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) player_id: String,
    pub(super) amount: Decimal,
    pub(super) currency: String,
    pub(super) status: String,
    pub(super) refunded: Decimal,
}

fn table(context: &ToolContext<'_>) -> Result<Table, ToolError> {
    let mut last = ToolError::no_data("no order table");
    for name in TABLES {
        match context.datasets.table(name, &Window::default()) {
            Ok(table) => return Ok(table),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Finds an order by its id.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no such order; [`ToolError::InvalidInput`] ⇐ the table lacks a column.
pub(super) fn find(context: &ToolContext<'_>, order_id: &str) -> Result<Order, ToolError> {
    let table = table(context)?;
    let id = table.column("order_id")?;
    let row = table
        .rows
        .iter()
        .find(|row| row[id] == order_id)
        .ok_or_else(|| ToolError::no_data(format!("no order `{order_id}`")))?;
    let cell = |name: &str| table.column(name).map(|column| row[column].clone());
    Ok(Order {
        player_id: cell("player_id")?,
        amount: money::parse(&cell("amount")?, "/order_id")?,
        currency: cell("currency")?,
        status: cell("payment_status")?,
        refunded: money::parse(&cell("refunded_amount")?, "/order_id")?,
    })
}
