//! What went wrong, in the few words that every room shares.

/// The kind of a failure. One table in `wire` maps kind and service to the AWS error code and HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller's input is wrong; the same call will fail again.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already, or is in a state that forbids the call.
    Conflict,
    /// A limit is reached; the same call may succeed later.
    Throttled,
    /// The caller may not do this.
    Denied,
    /// Not now: starting, stopping, poisoned or out of space; the same call may succeed later.
    Unavailable,
    /// Stored bytes do not match their checksum or format.
    Corrupt,
    /// A defect of ours.
    Internal,
}

impl ErrorKind {
    /// Whether the same call may succeed later without being changed.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable)
    }
}

/// Implemented by every crate's error enum.
pub trait Kinded: std::error::Error {
    /// The kind of this failure.
    fn kind(&self) -> ErrorKind;
}

/// A string is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} '{value}' is not valid: {rule}")]
pub struct InvalidId {
    /// The type's name in words, such as "stream name".
    pub what: &'static str,
    /// The refused value, cut to a printable length.
    pub value: String,
    /// What a valid value looks like.
    pub rule: &'static str,
}

impl InvalidId {
    /// Names the refused value; long values are cut so that an error never carries a payload.
    pub fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        let value = match value.char_indices().nth(300) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value.to_owned(),
        };
        Self { what, value, rule }
    }
}

impl Kinded for InvalidId {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
