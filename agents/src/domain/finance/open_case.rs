//! A case in the tenant's case system. Binds the time of analysts, so a person approves it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::{ToolContext, ToolError, arguments_sha256, decode, money, warning};

#[derive(Deserialize)]
struct Arguments {
    case_type: String,
    amount: Option<String>,
    idempotency_key: String,
    #[serde(default)]
    dry_run: bool,
}

/// Previews or opens the case, at most once per key.
///
/// # Errors
/// [`ToolError::NeedsApproval`] ⇐ no approval of these arguments; [`ToolError::InvalidInput`] ⇐ the
/// key was used with other arguments; the port's errors.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    if let Some(amount) = &args.amount {
        money::parse(amount, "/amount")?;
    }
    let (outcome, approved_by) = if args.dry_run {
        (None, None)
    } else {
        let by = context.require_approval(arguments)?;
        (Some(context.perform("open_case", &args.idempotency_key, arguments)?), Some(by))
    };
    let status = match &outcome {
        None => "dry_run",
        Some(outcome) if outcome.repeated => "already_open",
        Some(_) => "opened",
    };
    let confidential = matches!(args.case_type.as_str(), "aml_alert" | "sanctions_hit");
    let mut warnings = Vec::new();
    if confidential {
        warnings.push(warning(
            "no_tipping_off",
            "Sealed: the person concerned must not learn that this case exists.",
        ));
    }
    Ok(json!({
        "status": status,
        "case_id": outcome.map(|outcome| outcome.reference),
        "confidential": confidential,
        "arguments_sha256": arguments_sha256(arguments),
        "approved_by": approved_by,
        "method": "Approval bound to the SHA-256 of the canonical arguments (RFC 8785), once per key, v1",
        "warnings": warnings,
    }))
}
