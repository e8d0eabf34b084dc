//! Why a record is no event.

use base::{ErrorKind, Kinded};

/// What is wrong with a record or a file.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The record is not JSON, or not an object with the fields of its format.
    #[error("not a CloudTrail record: {0}")]
    NotARecord(#[from] serde_json::Error),
    /// A field that an event cannot do without is not there.
    #[error("not a CloudTrail record: the field {0} is missing")]
    Missing(&'static str),
    /// A field has a value that cannot be.
    #[error("not a CloudTrail record: {field}: {reason}")]
    Wrong {
        /// The field.
        field: &'static str,
        /// Why its value cannot be.
        reason: String,
    },
    /// The compressed form of the file is broken; what came before is good.
    #[error("cannot be decompressed: {0}")]
    Compression(#[source] std::io::Error),
    /// More than the reader was told to accept.
    #[error("has more than {0} bytes when decompressed")]
    TooLong(u64),
}

impl Kinded for SourceError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
