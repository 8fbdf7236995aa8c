//! A refund of one paid order. Moves money, so a person approves it.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::orders;
use crate::tool::{ToolContext, ToolError, arguments_sha256, decode, money};

#[derive(Deserialize)]
struct Arguments {
    order_id: String,
    amount: String,
    currency: String,
    #[serde(default)]
    dry_run: bool,
}

/// Previews or performs the refund, at most once per order and amount.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ unknown order; [`ToolError::InvalidInput`] ⇐ another currency, or more
/// than is left; [`ToolError::NotPermitted`] ⇐ above the tenant's ceiling `max_refund.<currency>`;
/// [`ToolError::NeedsApproval`] ⇐ no approval of these arguments.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let amount = money::parse(&args.amount, "/amount")?;
    let order = orders::find(context, &args.order_id)?;
    if order.status != "paid" {
        return Err(ToolError::invalid(
            "/order_id",
            format!("order `{}` was not paid", args.order_id),
        ));
    }
    if order.currency != args.currency {
        return Err(ToolError::invalid(
            "/currency",
            format!("the order is in {}; the refund must be too", order.currency),
        ));
    }
    let left = order.amount - order.refunded;
    if amount <= Decimal::ZERO || amount > left {
        return Err(ToolError::invalid(
            "/amount",
            format!("the order has {} left to refund", money::format(left, &args.currency)),
        ));
    }
    if let Some(most) = context.limits.get(&format!("max_refund.{}", args.currency))
        && amount > money::parse(most, "")?
    {
        return Err(ToolError::not_permitted(format!(
            "refunds above {most} {} are not permitted",
            args.currency
        )));
    }
    let key = format!("refund:{}:{}", args.order_id, amount.normalize());
    let outcome = if args.dry_run {
        None
    } else {
        Some(context.perform("refund_request", &key, arguments)?)
    };
    let status = match &outcome {
        None => "preview",
        Some(outcome) if outcome.repeated => "already_done",
        Some(_) => "done",
    };
    Ok(json!({
        "status": status,
        "order_id": args.order_id,
        "player_id": order.player_id,
        "amount": money::format(amount, &args.currency),
        "currency": args.currency,
        "refundable_amount": money::format(left, &args.currency),
        "remaining_after": money::format(left - amount, &args.currency),
        "refund_id": outcome.map(|outcome| outcome.reference),
        "idempotency_key": key,
        "arguments_sha256": arguments_sha256(arguments),
        "approval_required": true,
        "method": "Refund through the payment provider, once per order and amount, v1",
        "warnings": [],
    }))
}
