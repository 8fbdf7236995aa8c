//! A payment or statement message in one form, with its control checks.

use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{self, Message};
use crate::tool::{ToolContext, ToolError, decode, warning};

#[derive(Deserialize)]
struct Arguments {
    dataset: Option<String>,
    text: Option<String>,
    expect: Option<String>,
}

/// Reads the message.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the message does not read, is of another type than `expect`, or is
/// XML in the arguments; [`ToolError::NoData`] ⇐ an unknown dataset.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let read = match (&args.text, &args.dataset) {
        (Some(text), _) if message::is_xml(text) => {
            return Err(ToolError::invalid(
                "/text",
                "upload an XML message and name it in `dataset`; text is for short MT messages",
            ));
        }
        (Some(text), _) => message::read(text.as_bytes()),
        (None, Some(id)) => message::read(&context.datasets.file(id)?),
        (None, None) => Err(ToolError::invalid("", "give `text` or `dataset`")),
    };
    let at = if args.text.is_some() { "/text" } else { "/dataset" };
    let message = read.map_err(|error| match error {
        ToolError::InvalidInput { message, .. } => ToolError::invalid(at, message),
        other => other,
    })?;
    if let Some(expected) = args.expect.filter(|kind| kind != message.kind) {
        return Err(ToolError::invalid(
            "/expect",
            format!("the message is {}, not {expected}", message.kind),
        ));
    }
    Ok(report(&message, args.dataset.as_deref().filter(|_| args.text.is_none())))
}

fn report(message: &Message, dataset: Option<&str>) -> Value {
    let statements = &message.statements;
    let balances: Vec<Value> = statements
        .iter()
        .flat_map(|statement| &statement.balances)
        .map(|balance| {
            json!({
                "code": balance.code,
                "amount": balance.amount.to_string(),
                "currency": balance.currency,
                "date": balance.date.to_string(),
            })
        })
        .collect();
    let entries: Vec<Value> = statements
        .iter()
        .flat_map(|statement| &statement.entries)
        .map(|entry| {
            json!({
                "entry_id": entry.id,
                "amount": entry.amount.to_string(),
                "currency": entry.currency,
                "value_date": entry.value_date.to_string(),
                "reference": entry.reference,
                "text": entry.text,
            })
        })
        .collect();
    let checks = message.checks();
    let mut warnings = Vec::new();
    if statements.len() > 1 {
        warnings.push(warning(
            "several_statements",
            format!(
                "The file holds {} statements; the account shown is the first.",
                statements.len()
            ),
        ));
    }
    if checks.iter().any(|check| !check.ok()) {
        warnings.push(warning(
            "check_failed",
            "A control check fails: do not book from this message before the bank has explained it.",
        ));
    }
    json!({
        "message_type": message.kind,
        "message_id": message.id,
        "account": statements.first().and_then(|statement| statement.account.clone()),
        "balances": balances,
        "entries": entries,
        "payments": message.payments.iter().map(payment).collect::<Vec<_>>(),
        "checks": checks
            .iter()
            .map(|check| json!({
                "check": check.name,
                "ok": check.ok(),
                "expected": check.expected,
                "found": check.found,
            }))
            .collect::<Vec<_>>(),
        "result_dataset": dataset,
        "method": format!("{}: read by its tags or local names; no document type or entity is expanded, v1", message.version),
        "warnings": warnings,
    })
}

fn payment(payment: &message::Payment) -> Value {
    json!({
        "payment_id": payment.id,
        "end_to_end_id": payment.end_to_end_id,
        "amount": payment.amount.to_string(),
        "currency": payment.currency,
        "value_date": payment.value_date.map(|date| date.to_string()),
        "debtor_name": payment.debtor.name,
        "debtor_account": payment.debtor.account,
        "debtor_agent_bic": payment.debtor.bic,
        "creditor_name": payment.creditor.name,
        "creditor_account": payment.creditor.account,
        "creditor_agent_bic": payment.creditor.bic,
        "charges": payment.charges,
        "remittance": payment.remittance,
    })
}
