//! Why the index as a whole cannot work. What is wrong with one request is answered in its response.

use std::io;

use base::{ErrorKind, Kinded};
use tantivy::TantivyError;

/// The embedded index cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file system failed.
    #[error("the search index in {dir} cannot be read or written: {source}")]
    Io {
        /// The index's folder.
        dir: String,
        /// What failed.
        source: io::Error,
    },
}

impl Kinded for IndexError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }
}

/// One index cannot do its work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The file system failed.
    #[error("the index cannot be read or written: {0}")]
    Io(String),
    /// tantivy failed.
    #[error("the index failed: {0}")]
    Tantivy(String),
    /// A file does not hold what it should.
    #[error("{file} is corrupt: {reason}")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The index was deleted meanwhile.
    #[error("no such index [{0}]")]
    Gone(String),
    /// The service is stopping.
    #[error("the search service is stopping")]
    Stopping,
    /// A thread of the index ended without an answer.
    #[error("a worker of the index ended without an answer")]
    Lost,
}

impl Kinded for EngineError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(_) | Self::Tantivy(_) | Self::Stopping => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Gone(_) => ErrorKind::NotFound,
            Self::Lost => ErrorKind::Internal,
        }
    }
}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<TantivyError> for EngineError {
    fn from(error: TantivyError) -> Self {
        Self::Tantivy(error.to_string())
    }
}
