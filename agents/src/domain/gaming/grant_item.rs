//! A grant of items to a player. Creates value in the game, so a person approves it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{cells, orders, players};
use crate::tool::{ToolContext, ToolError, arguments_sha256, decode, warning};

/// The tenant's grant list: `item_id`, `max_quantity`. Without it every item may be granted.
const LIST: &str = "gaming_grant_list";
/// Name of the tenant's ceiling on the number of items of one grant; `max_grant.<item>` is the
/// ceiling of one item and wins.
const LIMIT: &str = "max_grant";

#[derive(Deserialize)]
struct Arguments {
    player_id: String,
    item_id: String,
    quantity: u32,
    reason: String,
    order_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// Checks that the order is the player's, was paid for this item and was not delivered.
fn check_order(args: &Arguments, id: &str, context: &ToolContext<'_>) -> Result<(), ToolError> {
    let order = orders::find(context, id)?;
    let wrong = |message: String| Err(ToolError::invalid("/order_id", message));
    if order.player_id != args.player_id {
        return wrong(format!("order `{id}` belongs to another player"));
    }
    if args.reason != "undelivered_order" {
        return Ok(());
    }
    if order.status != "paid" {
        return wrong(format!("order `{id}` was not paid"));
    }
    if order.delivered {
        return Err(ToolError::not_permitted(format!("order `{id}` was already delivered")));
    }
    if order.item_id != args.item_id {
        return Err(ToolError::not_permitted(format!(
            "order `{id}` is for `{}`; only that item makes it good",
            order.item_id
        )));
    }
    if order.refunded >= order.amount {
        return Err(ToolError::not_permitted(format!("order `{id}` was already refunded in full")));
    }
    Ok(())
}

/// Checks the tenant's grant list and ceilings.
fn check_ceiling(args: &Arguments, context: &ToolContext<'_>) -> Result<(), ToolError> {
    let mut most: Option<f64> = None;
    if let Some(table) = orders::optional(context, LIST)? {
        let (item, quantity) = (table.column("item_id")?, table.column("max_quantity")?);
        let row = table.rows.iter().find(|row| row[item] == args.item_id).ok_or_else(|| {
            ToolError::not_permitted(format!("item `{}` is not on the grant list", args.item_id))
        })?;
        most = Some(cells::number(&row[quantity], "/item_id")?);
    }
    let own = context.limits.get(&format!("{LIMIT}.{}", args.item_id));
    if let Some(text) = own.or_else(|| context.limits.get(LIMIT)) {
        let limit = cells::number(text, "/quantity")?;
        most = Some(most.map_or(limit, |most| most.min(limit)));
    }
    match most {
        Some(most) if f64::from(args.quantity) > most => Err(ToolError::not_permitted(format!(
            "at most {most} of `{}` may be granted at once",
            args.item_id
        ))),
        _ => Ok(()),
    }
}

/// Previews or performs the grant: at most once per order and item, else per exact arguments.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ unknown player or order; [`ToolError::InvalidInput`] ⇐ the order is
/// another player's or unpaid; [`ToolError::NotPermitted`] ⇐ already delivered or refunded, of
/// another item, closed account, not on the grant list or above a ceiling;
/// [`ToolError::NeedsApproval`] ⇐ no approval of these arguments.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let player = players::find(context, &args.player_id)?;
    if let Some(order) = &args.order_id {
        check_order(&args, order, context)?;
    }
    if player.account_status == "closed" {
        return Err(ToolError::not_permitted(format!("account {} is closed", args.player_id)));
    }
    check_ceiling(&args, context)?;
    let hash = arguments_sha256(arguments);
    let key = match &args.order_id {
        Some(order) => format!("grant:{order}:{}", args.item_id),
        None => format!("grant:{}:{}:{}", args.player_id, args.item_id, &hash[..16]),
    };
    let outcome =
        if args.dry_run { None } else { Some(context.perform("grant_item", &key, arguments)?) };
    let status = match &outcome {
        None => "preview",
        Some(outcome) if outcome.repeated => "already_done",
        Some(_) => "done",
    };
    let mut warnings = Vec::new();
    if player.account_status == "suspended" {
        warnings.push(warning("suspended_account", "The account is suspended at the moment."));
    }
    Ok(json!({
        "status": status,
        "player_id": args.player_id,
        "item_id": args.item_id,
        "quantity": args.quantity,
        "grant_id": outcome.map(|outcome| outcome.reference),
        "idempotency_key": key,
        "arguments_sha256": hash,
        "approval_required": true,
        "method": "Grant through the game's endpoint, once per order and item, v1",
        "warnings": warnings,
    }))
}
