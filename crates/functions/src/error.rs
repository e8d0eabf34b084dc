//! What can go wrong with functions as such; how a call of one ends is an outcome, not an error.

use std::io;
use std::path::{Path, PathBuf};

use base::{Arn, ErrorKind, FunctionName, Kinded, StateError};

use crate::PackageError;

/// Why a function was not created, found, changed or called.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// There is no such function.
    #[error("function not found: {0}")]
    NotFound(Arn),
    /// The name is taken.
    #[error("function already exists: {0}")]
    Exists(FunctionName),
    /// The caller's revision is not the latest one.
    #[error("the revision id {given} of function {name} is not the latest; get the function and try again")]
    RevisionMismatch {
        /// The function.
        name: FunctionName,
        /// The revision that the caller meant.
        given: String,
    },
    /// Another call changed the function at the same moment.
    #[error("function {0} is being changed by another call; try again")]
    Changing(FunctionName),
    /// Something of a function that is not there; the message names it.
    #[error("{0}")]
    Missing(String),
    /// Something of a function that is there already, or still needed; the message names it.
    #[error("{0}")]
    Taken(String),
    /// A policy that would be longer than policies may be.
    #[error("The final policy size ({0}) is bigger than the limit (20480).")]
    PolicyTooLong(usize),
    /// There is as much code as there may be.
    #[error("Code storage limit exceeded.")]
    StorageFull(u64),
    /// A setting is out of its range; the message names it.
    #[error("{0}")]
    Invalid(String),
    /// The uploaded archive cannot be used.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// What the function needs is not there, such as the interpreter.
    #[error("{0}")]
    Unavailable(String),
    /// A stored function cannot be read back.
    #[error("the stored function {key} cannot be read: {reason}")]
    Corrupt {
        /// The key in the state store.
        key: String,
        /// Why.
        reason: String,
    },
    /// The state store failed.
    #[error("state of functions: {0}")]
    State(#[from] StateError),
    /// The file system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

impl FunctionError {
    /// Names the path that an operation failed on.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl Kinded for FunctionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::Missing(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::RevisionMismatch { .. } | Self::Changing(_) | Self::Taken(_) => ErrorKind::Conflict,
            Self::Invalid(_) | Self::PolicyTooLong(_) | Self::StorageFull(_) => ErrorKind::Invalid,
            Self::Package(error) => error.kind(),
            Self::Unavailable(_) | Self::Io { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::State(error) => error.kind(),
        }
    }
}
