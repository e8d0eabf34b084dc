//! Which streams there are, and the control records that change it.
//!
//! Owns the numbering of streams and shards. Promises that numbers are never given twice and that applying the
//! journal's control records in order, from any snapshot on, gives the same catalogue. Must not know files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Position, Scope, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::reshard::{self, Resharded};
use crate::seal::WrappedKey;
use crate::stream::millis;
use crate::{LogError, Reshard, Shard, ShardRef, Stream, StreamId, StreamKey, StreamKind, StreamSpec};

/// A change of the catalogue, as it stands in a control record (JSON with a version).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Change {
    /// A stream with its shards, planned whole before it is written.
    Create { v: u8, stream: Stream },
    /// A stream and its records are gone.
    Delete { v: u8, id: StreamId },
    /// Splits and merges, planned whole: shards that are closed and new ones, some of which may be closed already.
    Reshard { v: u8, id: StreamId, closed: Vec<ShardId>, opened: Vec<Shard>, at: Position, time: Timestamp },
    /// Records stay readable for another time, but for those that arrived before the horizon.
    Retain {
        v: u8,
        id: StreamId,
        retention_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        horizon: Option<Timestamp>,
    },
    /// Records appended from now on are sealed, or are not. The key stays for ever, for those that were.
    Encrypt { v: u8, id: StreamId, on: bool, key: Option<WrappedKey> },
    /// Closed shards without readable records are gone; by id.
    Forget { v: u8, id: StreamId, shards: Vec<ShardId> },
}

const VERSION: u8 = 1;

impl Change {
    /// The control record's data.
    pub fn encode(&self) -> Result<Vec<u8>, LogError> {
        serde_json::to_vec(self)
            .map_err(|e| LogError::Invalid(format!("a change of the catalogue has no JSON form: {e}")))
    }

    /// Reads a control record's data; none when it was written by a later version.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let change: Self = serde_json::from_slice(data).ok()?;
        let (Self::Create { v, .. }
        | Self::Delete { v, .. }
        | Self::Reshard { v, .. }
        | Self::Retain { v, .. }
        | Self::Encrypt { v, .. }
        | Self::Forget { v, .. }) = &change;
        (*v == VERSION).then_some(change)
    }
}

/// What a caller wants changed.
#[derive(Debug)]
pub(crate) enum Wish {
    Create(StreamKey, StreamSpec),
    Delete(StreamKey),
    Reshard(StreamKey, Vec<Reshard>),
    Retain(StreamKey, Duration),
    /// The key is for a stream that never was encrypted.
    Encrypt(StreamKey, StreamId, bool, Option<WrappedKey>),
    Forget(StreamId, Vec<ShardId>),
}

/// What an applied change did.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Nothing that is known of: it concerns a stream whose creation was lost.
    Nothing,
    Created {
        stream: Arc<Stream>,
        replaced: Option<Arc<Stream>>,
    },
    Deleted(Arc<Stream>),
    Changed {
        before: Arc<Stream>,
        after: Arc<Stream>,
    },
}

/// All streams.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Catalogue {
    #[serde(with = "as_list")]
    streams: BTreeMap<StreamKey, Arc<Stream>>,
    next_stream: u32,
    next_slot: u32,
}

impl Catalogue {
    /// The stream of this name.
    pub fn stream(&self, key: &StreamKey) -> Result<&Arc<Stream>, LogError> {
        self.streams.get(key).ok_or_else(|| LogError::StreamNotFound(key.clone()))
    }

    /// The streams of a kind in a scope, by name.
    pub fn of_kind<'a>(&'a self, kind: StreamKind, scope: &'a Scope) -> impl Iterator<Item = &'a Arc<Stream>> {
        let from = StreamKey { kind, scope: scope.clone(), name: String::new() };
        self.streams.range(from..).take_while(move |(k, _)| k.kind == kind && k.scope == *scope).map(|(_, s)| s)
    }

    /// All streams.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.streams.values()
    }

    /// Turns a wish into a change at a position of the journal, at the `time` of an arrival and of `judged`, by which
    /// retention is judged; none when all is as wished already.
    pub fn plan(
        &self,
        wish: Wish,
        at: Position,
        time: Timestamp,
        judged: Timestamp,
    ) -> Result<Option<Change>, LogError> {
        let v = VERSION;
        let change = match wish {
            Wish::Create(key, _) if self.streams.contains_key(&key) => return Err(LogError::StreamExists(key)),
            Wish::Create(key, spec) => {
                let stream = Stream::plan(key, StreamId(self.next_stream), self.next_slot, spec, at, time)?;
                Change::Create { v, stream }
            }
            Wish::Delete(key) => Change::Delete { v, id: self.stream(&key)?.id },
            Wish::Reshard(key, steps) => {
                let stream = self.stream(&key)?;
                let Resharded { closed, opened } = reshard::plan(stream, &steps, self.next_slot, at, time)?;
                Change::Reshard { v, id: stream.id, closed, opened, at, time }
            }
            Wish::Retain(key, retention) => {
                let (stream, retention_ms) = (self.stream(&key)?, millis(retention));
                if millis(stream.retention) == retention_ms {
                    return Ok(None);
                }
                // What is past its retention now must not come back with a longer one.
                let horizon = stream.horizon.max(Some(judged - stream.retention));
                Change::Retain { v, id: stream.id, retention_ms, horizon }
            }
            Wish::Encrypt(key, id, on, new) => {
                let stream = self.stream(&key)?;
                if stream.id != id {
                    return Err(LogError::StreamNotFound(key));
                }
                if stream.encrypted == on {
                    return Ok(None);
                }
                let key = if stream.record_key.is_none() { new } else { None };
                Change::Encrypt { v, id, on, key }
            }
            Wish::Forget(id, shards) => {
                let Some(stream) = self.of_id(id) else { return Ok(None) };
                let closed = |id: &ShardId| stream.shard(*id).is_some_and(|shard| shard.closed_at.is_some());
                let mut shards: Vec<_> = shards.into_iter().filter(closed).collect();
                shards.sort_unstable();
                if shards.is_empty() {
                    return Ok(None);
                }
                Change::Forget { v, id, shards }
            }
        };
        Ok(Some(change))
    }

    fn of_id(&self, id: StreamId) -> Option<&Arc<Stream>> {
        self.streams.values().find(|stream| stream.id == id)
    }

    /// Applies a change.
    pub fn apply(&mut self, change: Change) -> Effect {
        match change {
            Change::Create { stream, .. } => {
                self.next_stream = self.next_stream.max(stream.id.0 + 1);
                stream.shards.iter().for_each(|shard| self.reserve(shard.slot));
                let stream = Arc::new(stream);
                let replaced = self.streams.insert(stream.key.clone(), Arc::clone(&stream));
                Effect::Created { stream, replaced }
            }
            Change::Delete { id, .. } => {
                let key = self.of_id(id).map(|stream| stream.key.clone());
                key.and_then(|key| self.streams.remove(&key)).map_or(Effect::Nothing, Effect::Deleted)
            }
            Change::Reshard { id, closed, opened, at, time, .. } => {
                opened.iter().for_each(|shard| self.reserve(shard.slot));
                self.replace(id, |stream| stream.reshard(&closed, opened, at, time))
            }
            Change::Retain { id, retention_ms, horizon, .. } => self.replace(id, |stream| {
                stream.retention = Duration::from_millis(retention_ms);
                stream.horizon = stream.horizon.max(horizon);
            }),
            Change::Encrypt { id, on, key, .. } => self.replace(id, |stream| {
                stream.encrypted = on;
                stream.record_key = key.or_else(|| stream.record_key.take());
            }),
            Change::Forget { id, shards, .. } => self.replace(id, |stream| stream.forget(&shards)),
        }
    }

    fn replace(&mut self, id: StreamId, change: impl FnOnce(&mut Stream)) -> Effect {
        let Some(stream) = self.streams.values_mut().find(|stream| stream.id == id) else { return Effect::Nothing };
        let before = Arc::clone(stream);
        change(Arc::make_mut(stream));
        Effect::Changed { before, after: Arc::clone(stream) }
    }

    /// Never gives this number to another shard.
    pub fn reserve(&mut self, slot: ShardRef) {
        self.next_slot = self.next_slot.max(slot.0.saturating_add(1));
    }

    /// Skips a stream's number: a change that cannot be read may have used it.
    pub fn skip_stream(&mut self) {
        self.next_stream += 1;
    }

    /// Shards from this number on do not exist.
    pub fn shard_limit(&self) -> u32 {
        self.next_slot
    }
}

mod as_list {
    use serde::{Deserializer, Serializer};

    use super::*;

    pub fn serialize<S: Serializer>(map: &BTreeMap<StreamKey, Arc<Stream>>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<StreamKey, Arc<Stream>>, D::Error> {
        let list = Vec::<Arc<Stream>>::deserialize(d)?;
        Ok(list.into_iter().map(|s| (s.key.clone(), s)).collect())
    }
}
