//! A player's profile and newest orders, without names or contact data.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::orders::{self, Order};
use super::players;
use crate::tool::{ToolContext, ToolError, decode, money, warning};

#[derive(Deserialize)]
struct Arguments {
    player_id: Option<String>,
    order_id: Option<String>,
    #[serde(default = "both")]
    include: Vec<String>,
    #[serde(default = "twenty")]
    limit: usize,
}

fn both() -> Vec<String> {
    vec!["profile".to_owned(), "orders".to_owned()]
}

fn twenty() -> usize {
    20
}

fn told(order: &Order) -> Value {
    json!({
        "order_id": order.order_id,
        "item_id": order.item_id,
        "amount": money::format(order.amount, &order.currency),
        "currency": order.currency,
        "paid_at": order.paid_at.to_string(),
        "payment_status": order.status,
        "delivered": order.delivered,
        "refunded_amount": money::format(order.refunded, &order.currency),
    })
}

/// Paid less refunded, over the paid orders in `currency`.
fn spend(orders: &[Order], currency: &str) -> Result<Decimal, ToolError> {
    let paid = orders.iter().filter(|order| order.status == "paid" && order.currency == currency);
    paid.map(|order| (order.amount, order.refunded)).try_fold(Decimal::ZERO, |sum, (paid, back)| {
        sum.checked_add(paid)
            .and_then(|sum| sum.checked_sub(back))
            .ok_or_else(|| ToolError::invalid("/player_id", "the amounts are too large to add up"))
    })
}

/// Reads a player's record by player or order.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ no such player or order.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let player_id = match (&args.player_id, &args.order_id) {
        (Some(player), _) => player.clone(),
        (None, Some(order)) => orders::find(context, order)?.player_id,
        _ => return Err(ToolError::invalid("", "give player_id or order_id")),
    };
    let player = players::find(context, &player_id)?;
    let orders = orders::of_player(context, &player_id)?;
    let wants = |section: &str| args.include.iter().any(|wanted| wanted == section);
    let mut warnings = Vec::new();
    if orders.iter().any(|order| order.currency != player.currency) {
        warnings.push(warning(
            "other_currencies",
            format!("Orders in other currencies than {} are not in the spend.", player.currency),
        ));
    }
    if wants("orders") && orders.len() > args.limit {
        warnings.push(warning(
            "older_orders",
            format!("The newest {} of {} orders are shown.", args.limit, orders.len()),
        ));
    }
    let newest: Vec<Value> = orders.iter().take(args.limit).map(told).collect();
    Ok(json!({
        "player_id": player_id,
        "profile": wants("profile").then(|| json!({
            "country": player.country,
            "language": player.language,
            "level": player.level,
            "created_at": player.created_at,
            "last_seen_at": player.last_seen_at,
            "account_status": player.account_status,
        })),
        "orders": wants("orders").then_some(newest),
        "lifetime_spend": money::format(spend(&orders, &player.currency)?, &player.currency),
        "currency": player.currency,
        "method": "Keyed read of the player and order tables, allowed columns only",
        "warnings": warnings,
    }))
}
