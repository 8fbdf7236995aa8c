//! One workshop slot for one vehicle. Binds the workshop and the customer, so a person approves it.

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::instant::Instant;
use crate::tool::{ToolContext, ToolError, arguments_sha256, decode, warning};

/// Name of the tenant's own ceiling on the length of a booking, minutes.
const LIMIT: &str = "booking_max_duration_min";

#[derive(Deserialize)]
struct Arguments {
    start: String,
    duration_min: i64,
    idempotency_key: String,
    #[serde(default)]
    dry_run: bool,
}

/// Previews or books the slot, at most once per idempotency key.
///
/// # Errors
/// [`ToolError::InvalidInput`] ⇐ the slot ends outside the calendar; [`ToolError::NotPermitted`] ⇐
/// longer than the tenant allows; [`ToolError::NeedsApproval`] ⇐ no approval of these arguments; the
/// port's errors.
pub(crate) fn run(arguments: &Value, context: &ToolContext<'_>) -> Result<Value, ToolError> {
    let args: Arguments = decode(arguments)?;
    let start = Instant::parse(&args.start, "/start")?;
    let end = start
        .at
        .checked_add(SignedDuration::from_mins(args.duration_min))
        .map_err(|error| ToolError::invalid("/start", error.to_string()))?;
    let most = context.limits.get(LIMIT).and_then(|text| text.parse::<i64>().ok());
    if let Some(most) = most.filter(|most| args.duration_min > *most) {
        return Err(ToolError::not_permitted(format!(
            "bookings above {most} minutes are not permitted; split the work"
        )));
    }
    let mut warnings = Vec::new();
    if start.at < context.now {
        warnings.push(warning("start_in_past", "The slot begins in the past."));
    }
    let (status, reference, by) = if args.dry_run {
        ("dry_run", None, None)
    } else {
        let by = context.require_approval(arguments)?;
        let key = format!("service:{}", args.idempotency_key);
        let outcome = context.perform("book_service", &key, arguments)?;
        let status = if outcome.repeated { "already_booked" } else { "booked" };
        (status, Some(outcome.reference), Some(by))
    };
    Ok(json!({
        "status": status,
        "booking_id": reference,
        "start": args.start,
        "end": start.write(end),
        "arguments_sha256": arguments_sha256(arguments),
        "approved_by": by,
        "method": "Approval bound to the SHA-256 of the canonical arguments (RFC 8785); once per idempotency key; end = start + duration",
        "warnings": warnings,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{FixtureSource, MemoryEffects};
    use crate::tool::{Approval, Limits};

    fn slot(start: &str) -> Value {
        json!({
            "vehicle_id": "VAN-3", "bay_id": "B1", "start": start, "duration_min": 90,
            "reason": "misfire", "idempotency_key": "van-3-november",
        })
    }

    #[test]
    fn a_slot_is_booked_once_and_only_with_an_approval_of_that_very_slot() {
        let (datasets, effects) = (FixtureSource::default(), MemoryEffects::default());
        let (nine, ten) = (slot("2026-11-26T09:00:00+08:00"), slot("2026-11-26T10:00:00+08:00"));
        let approval =
            Approval { approved_by: "Li".to_owned(), arguments_sha256: arguments_sha256(&nine) };
        let limits = Limits::default();
        let context = ToolContext {
            datasets: &datasets,
            effects: &effects,
            systems: &crate::port::NoSystems,
            now: "2026-11-24T00:00:00Z".parse().unwrap(),
            approval: Some(&approval),
            limits: &limits,
        };
        assert_eq!(run(&ten, &context).unwrap_err().code(), "needs_approval");
        assert_eq!(effects.count(), 0);
        let booked = run(&nine, &context).unwrap();
        assert_eq!((&booked["status"], &booked["approved_by"]), (&json!("booked"), &json!("Li")));
        let again = run(&nine, &context).unwrap();
        assert_eq!(again["status"], "already_booked");
        assert_eq!(again["booking_id"], booked["booking_id"]);
        assert_eq!(effects.count(), 1);
    }

    #[test]
    fn a_tenant_may_bound_the_length_of_a_booking() {
        let (datasets, effects) = (FixtureSource::default(), MemoryEffects::default());
        let limits = Limits([(LIMIT.to_owned(), "60".to_owned())].into());
        let context = ToolContext {
            datasets: &datasets,
            effects: &effects,
            systems: &crate::port::NoSystems,
            now: "2026-11-24T00:00:00Z".parse().unwrap(),
            approval: None,
            limits: &limits,
        };
        let error = run(&slot("2026-11-26T09:00:00Z"), &context).unwrap_err();
        assert_eq!(error.code(), "not_permitted");
    }
}
