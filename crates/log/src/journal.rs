//! The handle through which every other room uses the log.

use std::path::Path;
use std::sync::Arc;

use base::{Env, Position, ProducerId, Scope, Timestamp};

use crate::{
    Append, LogConfig, LogError, Placed, ReadLimit, ShardRef, Slice, Stream, StreamKey, StreamKind, StreamSpec, Tail,
};

/// The journal of all streams. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Log {}

impl Log {
    /// Opens or creates the journal in `dir` and recovers what a crash left.
    pub async fn open(_env: &Env, _dir: &Path, _config: LogConfig) -> Result<Self, LogError> {
        Err(LogError::Closed)
    }

    /// Creates a stream durably.
    pub async fn create_stream(&self, _key: &StreamKey, _spec: StreamSpec) -> Result<Arc<Stream>, LogError> {
        Err(LogError::Closed)
    }

    /// The stream of this name, created when there is none.
    pub async fn ensure_stream(&self, _key: &StreamKey, _spec: StreamSpec) -> Result<Arc<Stream>, LogError> {
        Err(LogError::Closed)
    }

    /// Deletes a stream with all its records.
    pub async fn delete_stream(&self, _key: &StreamKey) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    /// The stream of this name.
    pub fn stream(&self, _key: &StreamKey) -> Result<Arc<Stream>, LogError> {
        Err(LogError::Closed)
    }

    /// The streams of a kind in a scope, by name.
    pub fn streams(&self, _kind: StreamKind, _scope: &Scope) -> Vec<Arc<Stream>> {
        Vec::new()
    }

    /// Appends one atomic batch; `Ok` after its group's fsync, with a place per record in request order. Empty when
    /// the producer's last position is not smaller than the batch's: it is there already, durably.
    pub async fn append(&self, _append: Append) -> Result<Vec<Placed>, LogError> {
        Err(LogError::Closed)
    }

    /// The last durable source position of an internal producer.
    pub fn producer_position(&self, _producer: ProducerId) -> Option<Position> {
        None
    }

    /// Durable, unexpired records of a shard from `from` on.
    pub async fn read(&self, _shard: ShardRef, _from: Position, _limit: ReadLimit) -> Result<Slice, LogError> {
        Err(LogError::Closed)
    }

    /// Returns once a durable record at or after `from` exists, or the shard is closed or deleted.
    pub async fn wait(&self, _shard: ShardRef, _from: Position) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    /// The ends of a shard.
    pub fn tail(&self, _shard: ShardRef) -> Result<Tail, LogError> {
        Err(LogError::Closed)
    }

    /// The position of the first record that arrived at `time` or later; the tail when there is none.
    pub async fn position_at(&self, _shard: ShardRef, _time: Timestamp) -> Result<Position, LogError> {
        Err(LogError::Closed)
    }

    /// Deletes segments whose records are all past their retention or of deleted streams. Idempotent.
    pub async fn enforce_retention(&self) -> Result<(), LogError> {
        Err(LogError::Closed)
    }

    /// Refuses further appends, finishes those accepted and leaves a mark of the clean stop.
    pub async fn close(&self) -> Result<(), LogError> {
        Err(LogError::Closed)
    }
}
