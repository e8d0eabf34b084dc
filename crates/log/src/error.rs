//! What can go wrong with the log, in the kinds that every room shares.

use std::sync::Arc;

use base::{ErrorKind, HashKey, Kinded, Position, ShardId};

use crate::{ShardRef, StreamKey};

/// Why the log did not do it. Cheap to clone: one failed group answers every caller that waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// No stream of this name in this scope.
    #[error("stream {0} does not exist")]
    StreamNotFound(StreamKey),
    /// No shard of this number: its stream was deleted, or it never was.
    #[error("shard {0} does not exist; its stream may have been deleted")]
    ShardNotFound(ShardRef),
    /// The stream exists already.
    #[error("stream {0} exists already")]
    StreamExists(StreamKey),
    /// The shard takes no more records.
    #[error("shard {0} is closed; write to its children")]
    ShardClosed(ShardRef),
    /// No shard of this id in this stream: it never was, or it was closed and all its records are past their retention.
    #[error("stream {stream} has no shard {shard}")]
    NoSuchShard {
        /// The stream.
        stream: StreamKey,
        /// The id that was asked for.
        shard: ShardId,
    },
    /// A closed shard cannot be split or merged again.
    #[error("shard {shard} of stream {stream} is closed already; only an open shard can be split or merged")]
    AlreadyClosed {
        /// The stream.
        stream: StreamKey,
        /// The closed shard.
        shard: ShardId,
    },
    /// A split would leave one of the two children without hash keys.
    #[error("shard {shard} of stream {stream} cannot be split at {at}, which must lie inside its hash keys")]
    SplitOutside {
        /// The stream.
        stream: StreamKey,
        /// The shard to be split.
        shard: ShardId,
        /// Where the second child was to start: not above the shard's first hash key, or beyond its last.
        at: HashKey,
    },
    /// Only two shards whose hash keys follow each other can be merged.
    #[error("shards {shard} and {adjacent} of stream {stream} are not adjacent; they cannot be merged")]
    NotAdjacent {
        /// The stream.
        stream: StreamKey,
        /// One.
        shard: ShardId,
        /// The other.
        adjacent: ShardId,
    },
    /// More shards than a stream may have.
    #[error("stream {stream} would have {shards} shards; at most {limit} are possible")]
    TooManyShards {
        /// The stream.
        stream: StreamKey,
        /// How many it would have.
        shards: usize,
        /// The bound: of open shards, or of open and closed ones together.
        limit: usize,
    },
    /// Encryption at rest was asked for, or is in use, and the log was given no master key.
    #[error(
        "stream {0} cannot be encrypted or decrypted without a master key; give the one that it was encrypted with"
    )]
    NoMasterKey(StreamKey),
    /// The log was given another master key than the one that this stream was encrypted with.
    #[error("stream {0} was encrypted with another master key than the one given; give that one")]
    WrongMasterKey(StreamKey),
    /// The caller's input is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// The queue in front of the writer is full.
    #[error("the log's queue of {limit} bytes is full; send again later")]
    Overloaded {
        /// The configured bound.
        limit: usize,
    },
    /// The writer met a failed write or sync and has not recovered yet. Whether the batch survives is not known.
    #[error("the log cannot write: {0}; it recovers by itself once the disk does")]
    Poisoned(Arc<std::io::Error>),
    /// The log is closed or closing.
    #[error("the log is closed")]
    Closed,
    /// Stored bytes do not match their checksum or format. Other shards keep serving.
    #[error("corrupt record data in {file} at byte {offset}: {what}; positions {first} to {last} cannot be read")]
    Corrupt {
        /// The file's name in the journal's folder.
        file: String,
        /// Where in the file.
        offset: u64,
        /// What does not match.
        what: &'static str,
        /// First position that cannot be read.
        first: Position,
        /// Last position that cannot be read; reading goes on after it.
        last: Position,
    },
    /// A file that describes the journal is unusable, so it cannot be opened.
    #[error("cannot open the journal: {file}: {what}")]
    Unusable {
        /// The file's name in the journal's folder.
        file: String,
        /// What is wrong and what can be done.
        what: String,
    },
    /// The file system failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried, on which file.
        doing: String,
        /// The file system's answer.
        source: Arc<std::io::Error>,
    },
}

impl LogError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: Arc::new(source) }
    }
}

impl Kinded for LogError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::StreamNotFound(_) | Self::ShardNotFound(_) | Self::NoSuchShard { .. } => ErrorKind::NotFound,
            Self::StreamExists(_) | Self::ShardClosed(_) | Self::AlreadyClosed { .. } => ErrorKind::Conflict,
            Self::Invalid(_) | Self::SplitOutside { .. } | Self::NotAdjacent { .. } => ErrorKind::Invalid,
            Self::Overloaded { .. } | Self::TooManyShards { .. } => ErrorKind::Throttled,
            Self::Poisoned(_) | Self::Closed | Self::Io { .. } => ErrorKind::Unavailable,
            Self::NoMasterKey(_) | Self::WrongMasterKey(_) => ErrorKind::Unavailable,
            Self::Corrupt { .. } | Self::Unusable { .. } => ErrorKind::Corrupt,
        }
    }
}
