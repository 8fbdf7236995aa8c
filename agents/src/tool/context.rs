//! What a running tool may see and do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ToolError;
use crate::port::{DatasetSource, EffectOutcome, EffectPort, EffectRequest, HttpCall, SystemPort};

/// A person's consent to one exact call.
#[derive(Debug, Clone)]
pub struct Approval {
    /// Who approved, as shown in the result.
    pub approved_by: String,
    /// Hash of the arguments that were approved, see [`arguments_sha256`].
    pub arguments_sha256: String,
}

/// Ceilings of the tenant, by the name that its policy gives them (e.g. `max_refund.USD`).
#[derive(Debug, Clone, Default)]
pub struct Limits(pub BTreeMap<String, String>);

impl Limits {
    /// Returns the ceiling `name`, if the tenant has one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The surroundings of one tool call. Bound to one tenant; carries no ambient authority.
pub struct ToolContext<'a> {
    /// Uploaded tables and files.
    pub datasets: &'a dyn DatasetSource,
    /// Where an act takes effect.
    pub effects: &'a dyn EffectPort,
    /// Systems that the pack declares.
    pub systems: &'a dyn SystemPort,
    /// The instant that counts as now.
    pub now: Timestamp,
    /// Approval that the platform bound to this call, if any.
    pub approval: Option<&'a Approval>,
    /// Ceilings of the tenant.
    pub limits: &'a Limits,
}

impl ToolContext<'_> {
    /// Returns who approved exactly these arguments.
    ///
    /// # Errors
    /// [`ToolError::NeedsApproval`] when no approval is bound to the hash of `arguments`.
    pub fn require_approval(&self, arguments: &Value) -> Result<String, ToolError> {
        let hash = arguments_sha256(arguments);
        match self.approval {
            Some(approval) if approval.arguments_sha256 == hash => Ok(approval.approved_by.clone()),
            _ => Err(ToolError::NeedsApproval { arguments_sha256: hash }),
        }
    }

    /// Performs an approved effect through the port; at most once per `idempotency_key`.
    ///
    /// # Errors
    /// [`ToolError::NeedsApproval`] without an approval of these arguments, and the port's errors.
    pub fn perform(
        &self,
        tool: &str,
        idempotency_key: &str,
        arguments: &Value,
    ) -> Result<EffectOutcome, ToolError> {
        self.perform_by(tool, idempotency_key, arguments, None)
    }

    /// As [`ToolContext::perform`], by a request that the pack declares.
    ///
    /// # Errors
    /// As [`ToolContext::perform`].
    pub(super) fn perform_by(
        &self,
        tool: &str,
        idempotency_key: &str,
        arguments: &Value,
        call: Option<HttpCall>,
    ) -> Result<EffectOutcome, ToolError> {
        self.require_approval(arguments)?;
        self.effects.perform(&EffectRequest {
            tool: tool.to_owned(),
            idempotency_key: idempotency_key.to_owned(),
            arguments_sha256: arguments_sha256(arguments),
            arguments: without_dry_run(arguments),
            call,
        })
    }
}

fn without_dry_run(arguments: &Value) -> Value {
    let mut arguments = arguments.clone();
    if let Some(object) = arguments.as_object_mut() {
        object.remove("dry_run");
    }
    arguments
}

/// Returns the SHA-256, in lower-case hex, of the arguments without `dry_run` as canonical JSON.
///
/// # Source
/// RFC 8785 (JSON Canonicalization Scheme).
pub fn arguments_sha256(arguments: &Value) -> String {
    let canonical =
        serde_json_canonicalizer::to_vec(&without_dry_run(arguments)).unwrap_or_default();
    hex::encode(Sha256::digest(&canonical))
}
