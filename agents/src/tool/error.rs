//! The errors of a tool call, by the codes of the contract.

use thiserror::Error;

/// Why a tool call gave no result. The codes are part of the tool contract.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ToolError {
    /// A rule of the schema or of the tool is broken by the arguments.
    #[error("{message}")]
    InvalidInput {
        /// JSON pointer of the offending argument; empty for the whole object.
        pointer: String,
        /// What is wrong and what would be right, for a person.
        message: String,
    },
    /// The dataset, window or record is empty or unknown.
    #[error("{message}")]
    NoData {
        /// What was looked for, for a person.
        message: String,
    },
    /// A role, policy or limit of the tenant forbids the call.
    #[error("{message}")]
    NotPermitted {
        /// Which rule forbids it, for a person.
        message: String,
    },
    /// An act was called without an approval that is bound to the same arguments.
    #[error("a person must approve these exact arguments first")]
    NeedsApproval {
        /// Hash that the approval must carry.
        arguments_sha256: String,
    },
    /// The system behind the tool cannot be reached or did not answer in time.
    #[error("{message}")]
    Unavailable {
        /// What failed and whether trying again helps.
        message: String,
    },
    /// The effect was begun and nobody knows whether it happened; it must not be repeated unasked.
    #[error("{message}")]
    OutcomeUnknown {
        /// Key of the effect.
        idempotency_key: String,
        /// Whether asking again under the same key cannot make it twice.
        repeatable: bool,
        /// What is known, for the person who finds out.
        message: String,
    },
}

impl ToolError {
    /// Builds an [`ToolError::InvalidInput`] about the argument at `pointer` (e.g. `/months`).
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidInput { pointer: pointer.into(), message: message.into() }
    }

    /// Builds a [`ToolError::NoData`].
    pub fn no_data(message: impl Into<String>) -> Self {
        Self::NoData { message: message.into() }
    }

    /// Builds a [`ToolError::NotPermitted`].
    pub fn not_permitted(message: impl Into<String>) -> Self {
        Self::NotPermitted { message: message.into() }
    }

    /// Returns the stable code of the contract.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidInput { .. } => "invalid_input",
            Self::NoData { .. } => "no_data",
            Self::NotPermitted { .. } => "not_permitted",
            Self::NeedsApproval { .. } => "needs_approval",
            Self::Unavailable { .. } => "unavailable",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
        }
    }

    /// Tells whether the same call may be made again by itself and may then succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::OutcomeUnknown { repeatable: true, .. })
    }
}
