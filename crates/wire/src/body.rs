//! An answer's body: bytes, or frames that come one after another.

use std::fmt;

use bytes::Bytes;
use futures::stream::BoxStream;

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// The frames of an event stream, each to be sent as soon as it is there. Dropping it ends what it comes from.
    Events(BoxStream<'static, Bytes>),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Events(_) => f.write_str("events"),
        }
    }
}
