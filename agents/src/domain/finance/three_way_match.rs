//! Order, receipt and invoice of one line.

use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::{ToolContext, ToolError, decode, money};

#[derive(Deserialize)]
struct Arguments {
    order_quantity: String,
    order_unit_price: String,
    received_quantity: String,
    invoice_quantity: String,
    invoice_unit_price: String,
    currency: String,
    #[serde(default)]
    price_tolerance_pct: f64,
    #[serde(default)]
    quantity_tolerance_pct: f64,
}

struct Variance {
    kind: &'static str,
    amount: Decimal,
    pct: Decimal,
    accepted: bool,
}

/// Returns `part` in percent of `whole`; 100 where there is no whole.
fn percent(part: Decimal, whole: Decimal) -> Decimal {
    (part * Decimal::ONE_HUNDRED).checked_div(whole).unwrap_or(Decimal::ONE_HUNDRED)
}

/// Compares the three papers of a line.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ a negative price.
pub(crate) fn run(arguments: &Value, _: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let ordered = money::parse(&args.order_quantity, "/order_quantity")?;
    let received = money::parse(&args.received_quantity, "/received_quantity")?;
    let invoiced = money::parse(&args.invoice_quantity, "/invoice_quantity")?;
    let order_price = money::parse(&args.order_unit_price, "/order_unit_price")?;
    let price = money::parse(&args.invoice_unit_price, "/invoice_unit_price")?;
    for (value, at) in [(order_price, "/order_unit_price"), (price, "/invoice_unit_price")] {
        if value < Decimal::ZERO {
            return Err(ToolError::invalid(
                at,
                "a price is not negative; send a credit note as its own line",
            ));
        }
    }
    let tolerance = |pct: f64| Decimal::from_f64(pct).unwrap_or_default();
    let (by_price, by_quantity) =
        (tolerance(args.price_tolerance_pct), tolerance(args.quantity_tolerance_pct));
    let mut found: Vec<Variance> = Vec::new();
    let mut note = |kind, amount: Decimal, whole: Decimal, allowed: Option<Decimal>| {
        if amount > Decimal::ZERO {
            let pct = percent(amount, whole);
            let accepted = allowed.is_none_or(|allowed| pct <= allowed);
            found.push(Variance { kind, amount, pct, accepted });
        }
    };
    note("quantity_over_receipt", invoiced - received, received, Some(by_quantity));
    note("quantity_over_order", invoiced - ordered, ordered, Some(by_quantity));
    note("price_over_order", price - order_price, order_price, Some(by_price));
    // What is cheaper or comes later is told, but holds up no payment.
    note("price_under_order", order_price - price, order_price, None);
    note("receipt_under_order", ordered - received, ordered, None);
    let accepted = found.iter().all(|variance| variance.accepted);
    let total = money::round(invoiced * price, &args.currency);
    let payable = if accepted {
        total
    } else {
        money::round(ordered.min(received).min(invoiced) * order_price.min(price), &args.currency)
    };
    let result = match (found.is_empty(), accepted) {
        (true, _) => "match",
        (false, true) => "within_tolerance",
        (false, false) => "exception",
    };
    let variances: Vec<Value> = found
        .iter()
        .map(|variance| {
            json!({
                "kind": variance.kind,
                "amount": variance.amount.normalize().to_string(),
                "pct": variance.pct.round_dp(10).to_f64(),
                "within_tolerance": variance.accepted,
            })
        })
        .collect();
    Ok(json!({
        "result": result,
        "invoiced_amount": money::format(total, &args.currency),
        "payable_amount": money::format(payable, &args.currency),
        "difference": money::format(total - payable, &args.currency),
        "variances": variances,
        "currency": args.currency,
        "method": "Three-way match: lowest of the quantities at the lower price unless every variance is within tolerance",
        "warnings": [],
    }))
}
