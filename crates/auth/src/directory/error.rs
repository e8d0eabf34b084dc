//! Why the directory is not changed, in IAM's words.

use base::{ErrorKind, Kinded};

use crate::PolicyError;

/// Why not. The display text is IAM's message, which clients compare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// `NoSuchEntity`.
    #[error("{0}")]
    NoSuchEntity(String),
    /// `EntityAlreadyExists`.
    #[error("{0}")]
    EntityAlreadyExists(String),
    /// `DeleteConflict`.
    #[error("{0}")]
    DeleteConflict(String),
    /// `LimitExceeded`.
    #[error("{0}")]
    LimitExceeded(String),
    /// `InvalidInput`.
    #[error("{0}")]
    InvalidInput(String),
    /// `ValidationError`.
    #[error("{0}")]
    Validation(String),
    /// `MalformedPolicyDocument`, or `LimitExceeded` for one that is too long.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl DirectoryError {
    /// IAM's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchEntity(_) => "NoSuchEntity",
            Self::EntityAlreadyExists(_) => "EntityAlreadyExists",
            Self::DeleteConflict(_) => "DeleteConflict",
            Self::LimitExceeded(_) | Self::Policy(PolicyError::TooLong { .. }) => "LimitExceeded",
            Self::InvalidInput(_) => "InvalidInput",
            Self::Validation(_) => "ValidationError",
            Self::Policy(PolicyError::Malformed { .. }) => "MalformedPolicyDocument",
        }
    }

    /// What a quota's excess is answered with.
    pub(super) fn quota(name: &str, limit: usize) -> Self {
        Self::LimitExceeded(format!("Cannot exceed quota for {name}: {limit}"))
    }
}

impl Kinded for DirectoryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchEntity(_) => ErrorKind::NotFound,
            Self::EntityAlreadyExists(_) | Self::DeleteConflict(_) | Self::LimitExceeded(_) => ErrorKind::Conflict,
            Self::InvalidInput(_) | Self::Validation(_) => ErrorKind::Invalid,
            Self::Policy(error) => error.kind(),
        }
    }
}
