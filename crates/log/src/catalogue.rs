//! Which streams there are, and the control records that change it.
//!
//! Owns the numbering of streams and shards. Promises that numbers are never given twice and that applying the
//! journal's control records in order, from any snapshot on, gives the same catalogue. Must not know files.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Scope;
use serde::{Deserialize, Serialize};

use crate::{LogError, ShardRef, Stream, StreamId, StreamKey, StreamKind};

/// A change of the catalogue, as it stands in a control record (JSON with a version).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Change {
    /// A stream with its shards, planned whole before it is written.
    Create { v: u8, stream: Stream },
    /// A stream and its records are gone.
    Delete { v: u8, id: StreamId },
}

const VERSION: u8 = 1;

impl Change {
    pub fn create(stream: Stream) -> Self {
        Self::Create { v: VERSION, stream }
    }

    pub fn delete(id: StreamId) -> Self {
        Self::Delete { v: VERSION, id }
    }

    /// The control record's data.
    pub fn encode(&self) -> Result<Vec<u8>, LogError> {
        serde_json::to_vec(self)
            .map_err(|e| LogError::Invalid(format!("a change of the catalogue has no JSON form: {e}")))
    }

    /// Reads a control record's data; none when it was written by a later version.
    pub fn decode(data: &[u8]) -> Option<Self> {
        let change: Self = serde_json::from_slice(data).ok()?;
        let (Self::Create { v, .. } | Self::Delete { v, .. }) = &change;
        (*v == VERSION).then_some(change)
    }
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

    /// The numbers that the next new stream and its first shard get.
    pub fn next_numbers(&self) -> (StreamId, u32) {
        (StreamId(self.next_stream), self.next_slot)
    }

    /// Applies a change; the streams that came and went.
    pub fn apply(&mut self, change: Change) -> (Option<Arc<Stream>>, Option<Arc<Stream>>) {
        match change {
            Change::Create { stream, .. } => {
                self.next_stream = self.next_stream.max(stream.id.0 + 1);
                for shard in &stream.shards {
                    self.reserve(shard.slot);
                }
                let stream = Arc::new(stream);
                let gone = self.streams.insert(stream.key.clone(), Arc::clone(&stream));
                (Some(stream), gone)
            }
            Change::Delete { id, .. } => {
                let key = self.streams.values().find(|s| s.id == id).map(|s| s.key.clone());
                (None, key.and_then(|key| self.streams.remove(&key)))
            }
        }
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
