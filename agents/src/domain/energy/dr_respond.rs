//! The site's answer to a demand-response event. Binds the customer, so a person approves it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::number;
use crate::tool::{ToolContext, ToolError, Window, arguments_sha256, decode};

/// Dataset in which a tenant registers the sites that may answer: `site_id, max_reduction_kw`.
const SITES: &str = "energy_sites";
/// Name of the tenant's own ceiling, kW; it can only lower the site's.
const LIMIT: &str = "dr_max_reduction_kw";

#[derive(Deserialize)]
struct Arguments {
    event_id: String,
    site_id: String,
    response: String,
    committed_reduction_kw: Option<f64>,
    #[serde(default)]
    dry_run: bool,
}

/// Returns the largest reduction that the site may promise, kW.
fn ceiling(context: &ToolContext<'_>, site: &str) -> Result<f64, ToolError> {
    let unknown = || ToolError::no_data(format!("no site `{site}` in the table {SITES}"));
    let table = context.datasets.table(SITES, &Window::default())?;
    let (id, most) = (table.column("site_id")?, table.column("max_reduction_kw")?);
    let row = table.rows.iter().find(|row| row[id] == site).ok_or_else(unknown)?;
    let site_limit = number::cell(&row[most], "/site_id")?;
    match context.limits.get(LIMIT) {
        Some(text) => Ok(number::cell(text, "")?.min(site_limit)),
        None => Ok(site_limit),
    }
}

/// Previews or sends the answer, at most once per event and site.
///
/// # Errors
/// [`ToolError::NoData`] ⇐ unknown site; [`ToolError::NotPermitted`] ⇐ above the ceiling;
/// [`ToolError::NeedsApproval`] ⇐ no approval of these arguments; the port's errors.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let opts_in = args.response == "opt_in";
    let promised = args.committed_reduction_kw.filter(|_| opts_in);
    let most = ceiling(context, &args.site_id)?;
    if promised.is_some_and(|kw| kw > most) {
        return Err(ToolError::not_permitted(format!(
            "site `{}` may promise {most} kW at most; lower committed_reduction_kw",
            args.site_id
        )));
    }
    let key = format!("dr:{}:{}", args.event_id, args.site_id);
    let outcome = if args.dry_run {
        None
    } else {
        context.require_approval(arguments)?;
        Some(context.perform("dr_respond", &key, arguments)?)
    };
    let status = match &outcome {
        None => "preview",
        Some(outcome) if outcome.repeated => "already_done",
        Some(_) => "done",
    };
    Ok(json!({
        "status": status,
        "event_id": args.event_id,
        "site_id": args.site_id,
        "response": args.response,
        "committed_reduction_kw": promised,
        "report_id": outcome.map(|outcome| outcome.reference),
        "idempotency_key": key,
        "arguments_sha256": arguments_sha256(arguments),
        "approval_required": true,
        "method": "OpenADR 3.1 report, v1",
        "warnings": [],
    }))
}
