//! Why a state file could not be opened. What goes wrong later is a [`base::StateError`].

use base::{ErrorKind, Kinded};

/// Why a state file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later version of Tidegate wrote it.
    #[error("{path} has state format {found}, this version reads up to {known}; start the version that wrote it")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The latest format known here.
        known: u32,
    },
    /// Its bytes do not match their checksums or their format.
    #[error("{path} is corrupt ({message}); restore it from a backup")]
    Corrupt {
        /// The file.
        path: String,
        /// What does not match.
        message: String,
    },
    /// The file system failed.
    #[error("cannot open {path}")]
    Io {
        /// The file.
        path: String,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
}

impl Kinded for OpenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Newer { .. } => ErrorKind::Invalid,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }
}
