//! Log formats, read into events.
//!
//! Owns the reading of CloudTrail: from the bytes of a log file, compressed or not, to one event a record as AWS puts it
//! on an account's event bus; and a generator of plausible records for demonstrations and load. Promises bounded memory
//! whatever the size of a file, and that a broken record is named with its place while the others go on.
//! Must not know buses, HTTP or the file system: it is fed bytes.

pub mod cloudtrail;
mod error;
pub mod generate;
mod splitter;
mod unpack;

pub use error::SourceError;
pub use splitter::Piece;
pub use unpack::Records;
