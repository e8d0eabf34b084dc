//! What goes into the log and what comes out.

use base::{HashKey, PartitionKey, Position, ProducerId, Timestamp};
use bytes::Bytes;

use crate::ShardRef;

/// One atomic batch.
#[derive(Debug, Clone)]
pub struct Append {
    /// An internal producer and the position of the last source record in this batch. A batch whose position is not
    /// greater than the producer's last adds nothing. The source is a stream of this journal, too: the producer is
    /// forgotten once what it read last is deleted.
    pub producer: Option<(ProducerId, Position)>,
    /// The records, in order. At most [`MAX_BATCH_RECORDS`] and [`MAX_BATCH_BYTES`].
    pub records: Vec<NewRecord>,
}

/// The most records in one batch.
pub const MAX_BATCH_RECORDS: usize = 100_000;
/// The most bytes of one encoded batch.
pub const MAX_BATCH_BYTES: usize = 64 << 20;
/// The most bytes of one record's data: the greatest record size that Kinesis can be set to, and what a log of this
/// server's own says about such a record when it keeps one.
pub const MAX_DATA_BYTES: usize = (10 << 20) + (64 << 10);

/// A record to append.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Where it goes.
    pub shard: ShardRef,
    /// The key that placed it there.
    pub partition_key: PartitionKey,
    /// The hash key that its producer gave instead of the partition key's.
    pub explicit_hash_key: Option<HashKey>,
    /// The payload.
    pub data: Bytes,
}

/// Where an appended record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its place in the journal.
    pub position: Position,
    /// When it arrived, by the wall clock. A clock that is set back does not show for an hour: until then time goes on
    /// as before.
    pub arrival: Timestamp,
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the journal.
    pub position: Position,
    /// When it arrived.
    pub arrival: Timestamp,
    /// The key that placed it.
    pub partition_key: PartitionKey,
    /// The hash key that its producer gave, if any.
    pub explicit_hash_key: Option<HashKey>,
    /// The payload.
    pub data: Bytes,
    /// Whether it lies sealed on disk: its stream was encrypted when it was appended.
    pub sealed: bool,
}

/// How much to read at most. At least one record is returned when there is one, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Records.
    pub records: usize,
    /// Bytes of data and partition keys.
    pub bytes: usize,
}

/// Records of one shard, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// May be fewer than the limit though more follow; empty when none is readable yet.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next: Position,
    /// The shard is closed and nothing follows.
    pub at_end: bool,
    /// What lies between where was read from and the first of the records, and is past its retention.
    pub missed: Missed,
}

/// Records that nobody may read any more, though they are where was read from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missed {
    /// Those that are still there.
    pub records: u64,
    /// Retention has deleted something behind where was read from: there may have been more.
    pub deleted: bool,
}

impl Missed {
    /// Nothing was missed.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// The ends of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// After the last durable record of this shard; the shard's opening when it has none.
    pub next: Position,
    /// When the last durable record arrived; none when the shard never had one.
    pub last_arrival: Option<Timestamp>,
    /// Reading from here gives everything that is readable.
    pub trim: Position,
}
