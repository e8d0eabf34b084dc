//! Why the directory cannot be opened, or is not changed.

use auth::directory::DirectoryError;
use base::{ErrorKind, Kinded, StateError};

/// Why not.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum IdentityError {
    /// A rule of the directory's forbids it; in IAM's words.
    #[error(transparent)]
    Refused(#[from] DirectoryError),
    /// The state store did not read or write.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row is not one that this version wrote.
    #[error("the row {key} of identities cannot be read: {reason}")]
    Corrupt {
        /// The row's key.
        key: String,
        /// What is wrong, without the content.
        reason: String,
    },
    /// A secret was changed on disk, or sealed under another master key.
    #[error("the secret of the access key {0} cannot be opened: it was changed, or sealed under another master key")]
    Sealed(String),
    /// The server is stopping.
    #[error("identities are not changed any more: the server is stopping")]
    Stopping,
}

impl Kinded for IdentityError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(error) => error.kind(),
            Self::State(error) => error.kind(),
            Self::Corrupt { .. } | Self::Sealed(_) => ErrorKind::Corrupt,
            Self::Stopping => ErrorKind::Unavailable,
        }
    }
}
