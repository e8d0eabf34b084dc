//! What flow can refuse or fail at.

use base::{ErrorKind, Kinded, StateError};
use log::LogError;

/// An error of the routing, mapping, fan-out and delivery rooms.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The caller's input is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The named thing does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The named thing exists already or is in a state that forbids the call.
    #[error("{0}")]
    Conflict(String),
    /// A limit on the number of things is reached.
    #[error("{0}")]
    LimitExceeded(String),
    /// Too much at once; the same call may succeed later.
    #[error("{0}")]
    Throttled(String),
    /// A limit that the service answers with a code of its own.
    #[error("{message}")]
    Limit {
        /// Of what there may be no more: `Topic`, `Subscription`, `FilterPolicy` or `Tag`.
        of: &'static str,
        /// What is too many.
        message: String,
    },
    /// The caller may not.
    #[error("{0}")]
    Denied(String),
    /// Not now; the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// The log did not do it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state store did not do it.
    #[error(transparent)]
    State(#[from] StateError),
    /// A stored document cannot be read back.
    #[error("stored {what} cannot be read: {source}")]
    Corrupt {
        /// The table and key.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A document could not be written as JSON, which is a defect of ours.
    #[error("a {what} could not be encoded: {source}")]
    Encode {
        /// What was to be encoded.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// Writing to the backup bucket failed.
    #[error("cannot write {path}: {source}")]
    Backup {
        /// The object's path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Kinded for FlowError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::LimitExceeded(_) | Self::Limit { .. } | Self::Throttled(_) => ErrorKind::Throttled,
            Self::Denied(_) => ErrorKind::Denied,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Log(e) => e.kind(),
            Self::State(e) => e.kind(),
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Encode { .. } => ErrorKind::Internal,
            Self::Backup { .. } => ErrorKind::Unavailable,
        }
    }
}
