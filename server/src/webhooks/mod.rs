//! Webhooks both ways, by Standard Webhooks.
//!
//! Out: [`crate::store::TenantTx::publish`] writes an event into the outbox in the transaction of what
//! it tells; [`worker`] sends it, signed by [`sign`], when [`schedule`] says, through the one
//! [`crate::egress`]. Every event gets through at least once, with the same identifier on each attempt,
//! or is given up and stands in the log, from which it can be sent again. In: [`inbound`].

pub mod api;
pub mod inbound;
pub mod keys;
pub mod schedule;
pub mod sign;
pub mod sources;
pub mod worker;

use crate::egress::{Rules, target};
use crate::error::Problem;
use crate::store::{EVENT_TYPES, EndpointSettings};

/// Scope that changes webhooks.
pub const SCOPE: &str = "webhooks:write";

/// Longest description, bytes.
const MAX_DESCRIPTION: usize = 500;

/// Checks what a person sets of an endpoint, and its address under the joint venture's rules.
///
/// # Errors
/// `invalid_url` and the other codes of [`crate::egress::target`]; `invalid_event_type`,
/// `invalid_description`.
pub fn checked(settings: &EndpointSettings, rules: &Rules) -> Result<(), Problem> {
    if settings.url.len() > 2000 {
        return Err(Problem::invalid("invalid_url", "the address is longer than 2000 bytes"));
    }
    target(&settings.url, rules)
        .map_err(|refusal| Problem::invalid(refusal.code, refusal.detail))?;
    if settings.description.len() > MAX_DESCRIPTION || settings.description.contains('\0') {
        let detail = format!("write at most {MAX_DESCRIPTION} bytes without U+0000");
        return Err(Problem::invalid("invalid_description", detail));
    }
    for wanted in &settings.events {
        let known = EVENT_TYPES.iter().any(|(kind, _)| match wanted.strip_suffix('*') {
            Some(start) => start.ends_with('.') && kind.starts_with(start),
            None => kind == wanted,
        });
        if !known {
            let names: Vec<&str> = EVENT_TYPES.iter().map(|(kind, _)| *kind).collect();
            let detail = format!(
                "there is no event type `{wanted}`; there are {}, and `run.*` for all of a kind",
                names.join(", ")
            );
            return Err(Problem::invalid("invalid_event_type", detail));
        }
    }
    Ok(())
}
