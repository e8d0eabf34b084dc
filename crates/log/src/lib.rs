//! The durable, sharded log: one journal that holds every stream.
//!
//! Owns the journal's files. Promises that an acknowledged batch survives power loss, that a shard's records are read
//! in the order of their positions, that nothing is read before it is durable, and that damage is found and named.
//! Must not know any service, protocol or consumer.

mod catalogue;
mod clock;
mod config;
mod core;
mod error;
mod files;
mod format;
mod index;
mod index_cache;
mod journal;
mod metrics;
mod queue;
mod read;
mod record;
mod recover;
mod reshard;
mod retention;
mod seal;
mod snapshot;
mod stream;
mod upkeep;
mod view;
mod writer;

pub use config::LogConfig;
pub use error::LogError;
pub use journal::{HeldShards, Log, Submitted};
pub use record::{
    Append, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_DATA_BYTES, Missed, NewRecord, Placed, ReadLimit, Record, Slice,
    Tail,
};
pub use reshard::{MAX_LINEAGE, Reshard};
pub use stream::{AUDIT_STREAM, MAX_SHARDS, Shard, ShardRef, Stream, StreamId, StreamKey, StreamKind, StreamSpec};
