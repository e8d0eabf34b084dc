//! Why a configuration is refused.

use base::{ErrorKind, Kinded};

/// A configuration that is refused, with the place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key that does not exist.
    #[error("unknown key '{key}' in {place}; the nearest known one is {nearest}")]
    Unknown {
        /// As given.
        key: String,
        /// File and line, or the environment.
        place: String,
        /// What may have been meant.
        nearest: String,
    },
    /// A value that its key does not take.
    #[error("{key} ({place}): {reason}")]
    Value {
        /// Section and key.
        key: String,
        /// File and line, variable or flag.
        place: String,
        /// What is expected.
        reason: String,
    },
    /// A file that is not TOML.
    #[error("{place}: {reason}")]
    Syntax {
        /// File and line.
        place: String,
        /// What the parser says.
        reason: String,
    },
    /// A file that cannot be read.
    #[error("cannot read the configuration file {path}: {reason}")]
    Unreadable {
        /// As given.
        path: String,
        /// What the system says.
        reason: String,
    },
}

impl Kinded for ConfigError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
