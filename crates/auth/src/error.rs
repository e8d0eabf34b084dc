//! What is wrong with a policy document.

use std::fmt;

use base::{ErrorKind, Kinded};

/// How much of a refused value is shown back, in characters.
const SHOWN: usize = 200;

/// Why a document is refused. The display text begins with the service's message, which clients and their tests
/// compare; so it does not follow the lower-case form of other messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// IAM's `MalformedPolicyDocument`.
    #[error("{text} ({place}: {reason})")]
    Malformed {
        /// The service's message.
        text: String,
        /// Where, such as `Statement[2].Condition.StringLike`.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// IAM's `LimitExceeded`.
    #[error("Cannot exceed quota for {quota}: {limit}")]
    TooLong {
        /// The service's name of the quota.
        quota: &'static str,
        /// Characters, white space not counted.
        limit: usize,
    },
}

impl PolicyError {
    pub(crate) fn malformed(text: impl Into<String>, place: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::Malformed { text: text.into(), place: place.to_string(), reason: reason.into() }
    }

    /// What IAM says of most mistakes.
    pub(crate) fn syntax(place: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::malformed("Syntax errors in policy.", place, reason)
    }

    /// What IAM says of values that it can read but not use.
    pub(crate) fn legacy(place: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::malformed("The policy failed legacy parsing", place, reason)
    }
}

impl Kinded for PolicyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed { .. } => ErrorKind::Invalid,
            Self::TooLong { .. } => ErrorKind::Conflict,
        }
    }
}

/// A refused value as it is shown back.
pub(crate) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("'{}…'", &value[..end]),
        None => format!("'{value}'"),
    }
}
