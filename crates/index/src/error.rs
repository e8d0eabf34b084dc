//! Why the index as a whole cannot work. What is wrong with one request is answered in its response.

use base::{ErrorKind, Kinded};

/// The embedded index cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file system failed.
    #[error("the search index in {dir} cannot be read or written: {source}")]
    Io {
        /// The index's folder.
        dir: String,
        /// What failed.
        source: std::io::Error,
    },
}

impl Kinded for IndexError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }
}
