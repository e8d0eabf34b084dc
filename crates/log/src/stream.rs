//! Streams and their shards, as the journal's catalogue knows them.
//!
//! Owns names, hash ranges and lineage. Promises that the hash ranges of a stream's open shards tile the 128-bit space
//! without gap or overlap. Must not know where records lie.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use base::{HashKey, PartitionKey, Position, Scope, ShardId, Timestamp};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::LogError;
use crate::seal::WrappedKey;

/// What a stream is for. Streams of different kinds never share a name space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// A client's data stream.
    Kinesis,
    /// Events put on an event bus.
    Bus,
    /// Events that an archive of an event bus keeps.
    Archive,
    /// Messages published to a topic.
    Topic,
    /// Messages of a queue, and what became of them.
    Queue,
    /// Asynchronous invocations of a function.
    Invocations,
    /// A function's output.
    FunctionLog,
    /// Events of a bus that a target could not take at once.
    Outbox,
    /// What came of the events of a bus.
    Trace,
    /// Records put on a delivery stream.
    Delivery,
    /// Records that an event-source mapping gave up.
    Quarantine,
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kinesis => "kinesis",
            Self::Bus => "bus",
            Self::Archive => "archive",
            Self::Topic => "topic",
            Self::Queue => "queue",
            Self::Invocations => "invocations",
            Self::FunctionLog => "function_log",
            Self::Outbox => "outbox",
            Self::Trace => "trace",
            Self::Delivery => "delivery",
            Self::Quarantine => "quarantine",
        })
    }
}

/// A stream's full name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamKey {
    /// What it is for.
    pub kind: StreamKind,
    /// Where it lives.
    pub scope: Scope,
    /// Its name there, 1 to 512 bytes, validated by its service.
    pub name: String,
}

/// The data stream in which a server keeps the records of calls to it.
pub const AUDIT_STREAM: &str = "tidegate-audit";

impl StreamKey {
    /// Whether it is a server's audit trail: nobody but the server itself writes it. The name is kept free in all regions,
    /// because the one that the server is at home in may be set to another.
    pub fn is_audit_trail(&self) -> bool {
        self.kind == StreamKind::Kinesis && self.name == AUDIT_STREAM
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.scope, self.name)
    }
}

/// A stream's number in the journal, never used again after deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// A shard's number in the journal, never used again: the address for append, read and wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardRef(pub(crate) u32);

impl fmt::Display for ShardRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a stream is created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSpec {
    /// How many shards, 1 to [`MAX_SHARDS`].
    pub shards: u32,
    /// How long records stay readable after their arrival.
    pub retention: Duration,
}

/// The most open shards of one stream: the default limit of an account's shards.
pub const MAX_SHARDS: u32 = 10_000;

/// A stream as it was when asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Stream {
    /// Its full name.
    pub key: StreamKey,
    /// Its number.
    pub id: StreamId,
    /// When it was created.
    pub created: Timestamp,
    /// How long records stay readable after their arrival.
    pub retention: Duration,
    /// Whether records appended from now on are sealed on disk. Older ones stay as they were written.
    pub encrypted: bool,
    /// All shards, open and closed, by shard id. A closed one is here as long as it has readable records.
    pub shards: Vec<Shard>,
    /// What arrived before this was past its retention when that was changed, and stays so.
    pub(crate) horizon: Option<Timestamp>,
    /// The key of its sealed records, wrapped; none before the first time that it was encrypted.
    pub(crate) record_key: Option<WrappedKey>,
    /// Last hash key and place in `shards` of every open shard, in the order of hash keys.
    routes: Vec<(u128, usize)>,
}

/// A stream as it is written into control records and snapshots.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    key: StreamKey,
    id: StreamId,
    created: Timestamp,
    retention_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    horizon: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    encrypted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record_key: Option<WrappedKey>,
    shards: Vec<Shard>,
}

impl From<Stored> for Stream {
    fn from(s: Stored) -> Self {
        Self {
            routes: routes(&s.shards),
            key: s.key,
            id: s.id,
            created: s.created,
            retention: Duration::from_millis(s.retention_ms),
            horizon: s.horizon,
            encrypted: s.encrypted,
            record_key: s.record_key,
            shards: s.shards,
        }
    }
}

impl From<Stream> for Stored {
    fn from(s: Stream) -> Self {
        Self {
            key: s.key,
            id: s.id,
            created: s.created,
            retention_ms: millis(s.retention),
            horizon: s.horizon,
            encrypted: s.encrypted,
            record_key: s.record_key,
            shards: s.shards,
        }
    }
}

/// A retention as it is stored.
pub(crate) fn millis(retention: Duration) -> u64 {
    u64::try_from(retention.as_millis()).unwrap_or(u64::MAX)
}

fn routes(shards: &[Shard]) -> Vec<(u128, usize)> {
    let open = shards.iter().enumerate().filter(|(_, s)| s.closed_at.is_none());
    let mut routes: Vec<_> = open.map(|(place, s)| (*s.hash_range.end(), place)).collect();
    routes.sort_unstable();
    routes
}

/// A shard as it was when asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number in the stream.
    pub id: ShardId,
    /// Its number in the journal.
    pub slot: ShardRef,
    /// None for an original shard, one after a split, two after a merge.
    pub parents: Vec<ShardId>,
    /// The hash keys that it takes.
    #[serde(with = "hash_range")]
    pub hash_range: RangeInclusive<u128>,
    /// Its records' positions are greater.
    pub opened_at: Position,
    /// When it was opened.
    pub opened: Timestamp,
    /// Its records' positions are smaller; none while it is open.
    pub closed_at: Option<Position>,
    /// When it was closed by a split or a merge; none while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
}

impl Stream {
    /// Plans a new stream whose `shards` equal parts tile the hash space, as Kinesis divides it.
    pub(crate) fn plan(
        key: StreamKey,
        id: StreamId,
        first_slot: u32,
        spec: StreamSpec,
        at: Position,
        created: Timestamp,
    ) -> Result<Self, LogError> {
        if spec.shards == 0 || spec.shards > MAX_SHARDS {
            return Err(LogError::Invalid(format!("a stream has 1 to {MAX_SHARDS} shards, not {}", spec.shards)));
        }
        let count = u128::from(spec.shards);
        // The whole part of 2^128 / count, which itself has no place in 128 bits.
        let part = if count == 1 { u128::MAX } else { u128::MAX / count + u128::from(u128::MAX % count == count - 1) };
        let shards = (0..spec.shards)
            .map(|n| {
                let last = n + 1 == spec.shards;
                let end = if last { u128::MAX } else { part * u128::from(n + 1) - 1 };
                Shard {
                    id: ShardId::new(n),
                    slot: ShardRef(first_slot + n),
                    parents: Vec::new(),
                    hash_range: part * u128::from(n)..=end,
                    opened_at: at,
                    opened: created,
                    closed_at: None,
                    closed: None,
                }
            })
            .collect::<Vec<_>>();
        let (routes, retention) = (routes(&shards), spec.retention);
        let (horizon, encrypted, record_key) = (None, false, None);
        Ok(Self { routes, key, id, created, retention, horizon, encrypted, record_key, shards })
    }

    /// The shard of this id, open or closed.
    pub fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.place(id).map(|place| &self.shards[place])
    }

    fn place(&self, id: ShardId) -> Option<usize> {
        self.shards.binary_search_by_key(&id, |shard| shard.id).ok()
    }

    /// The shards that take records, in the order of their hash keys.
    pub fn open_shards(&self) -> impl ExactSizeIterator<Item = &Shard> {
        self.routes.iter().map(|(_, place)| &self.shards[*place])
    }

    /// Closes some shards and takes in new ones, which may be closed already themselves.
    pub(crate) fn reshard(&mut self, closed: &[ShardId], opened: Vec<Shard>, at: Position, time: Timestamp) {
        for id in closed {
            if let Some(place) = self.place(*id) {
                let shard = &mut self.shards[place];
                (shard.closed_at, shard.closed) = (Some(at), Some(time));
            }
        }
        self.shards.extend(opened);
        self.shards.sort_by_key(|shard| shard.id);
        self.shards.dedup_by_key(|shard| shard.id);
        self.routes = routes(&self.shards);
    }

    /// Lets go of closed shards, given by id.
    pub(crate) fn forget(&mut self, shards: &[ShardId]) {
        self.shards.retain(|shard| shard.closed_at.is_none() || shards.binary_search(&shard.id).is_err());
        self.routes = routes(&self.shards);
    }

    /// The open shard that takes a record: by the explicit hash key, else by the MD5 of the partition key.
    pub fn shard_for(&self, partition_key: &PartitionKey, explicit: Option<HashKey>) -> &Shard {
        self.route(partition_key, explicit).0
    }

    /// The open shard that takes a record, and the hash key that leads it there.
    pub fn route(&self, partition_key: &PartitionKey, explicit: Option<HashKey>) -> (&Shard, HashKey) {
        let hash = explicit.map_or_else(|| hash_of(partition_key), |h| h.0);
        // The open shards tile the hash space, so there always is a route; the first shard stands in for none.
        let place = self.routes.get(route_of(&self.routes, hash)).map_or(0, |(_, place)| *place);
        (&self.shards[place], HashKey(hash))
    }
}

/// The first route that ends at `hash` or after it. Most streams' shards are of one size, so it is looked for where it
/// would be then: one place instead of ten that the processor cannot foresee.
fn route_of(routes: &[(u128, usize)], hash: u128) -> usize {
    let guess = (((hash >> 64) * routes.len() as u128) >> 64) as usize;
    let ends_after = |place: usize| routes.get(place).is_some_and(|(end, _)| *end >= hash);
    if ends_after(guess) && (guess == 0 || !ends_after(guess - 1)) {
        return guess;
    }
    routes.partition_point(|(end, _)| *end < hash)
}

fn hash_of(key: &PartitionKey) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_str().as_bytes()).into())
}

mod hash_range {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(range: &RangeInclusive<u128>, s: S) -> Result<S::Ok, S::Error> {
        (range.start().to_string(), range.end().to_string()).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<RangeInclusive<u128>, D::Error> {
        let (start, end) = <(String, String)>::deserialize(d)?;
        let key = |v: &str| v.parse::<u128>().map_err(serde::de::Error::custom);
        Ok(key(&start)?..=key(&end)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(shards: u32) -> Stream {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let key = StreamKey { kind: StreamKind::Kinesis, scope, name: "s".into() };
        let spec = StreamSpec { shards, retention: Duration::from_secs(86_400) };
        Stream::plan(key, StreamId(1), 7, spec, Position::new(1), Timestamp::from_millis(5)).unwrap()
    }

    #[test]
    fn ranges_are_those_of_the_service_and_tile_the_space() {
        let ends: Vec<_> = stream(3).shards.iter().map(|s| s.hash_range.end().to_string()).collect();
        assert_eq!(ends[0], "113427455640312821154458202477256070484");
        assert_eq!(ends[1], "226854911280625642308916404954512140969");
        for count in [1, 2, 3, 7, 1_000, 4_096] {
            let stream = stream(count);
            let mut next = Some(0);
            for shard in &stream.shards {
                assert_eq!(Some(*shard.hash_range.start()), next);
                next = shard.hash_range.end().checked_add(1);
            }
            assert_eq!(next, None, "the last shard ends the space");
        }
    }

    #[test]
    fn records_are_routed_by_md5_or_by_the_explicit_key() {
        let stream = stream(4);
        // md5("a") = 0cc175b9c0f1b6a831c399e269772661
        assert_eq!(stream.shard_for(&"a".parse().unwrap(), None).id, ShardId::new(0));
        let last = stream.shard_for(&"a".parse().unwrap(), Some(HashKey(u128::MAX)));
        assert_eq!((last.id, last.slot), (ShardId::new(3), ShardRef(10)));
        let text = serde_json::to_string(&stream).unwrap();
        assert_eq!(serde_json::from_str::<Stream>(&text).unwrap(), stream);
    }

    proptest! {
        #[test]
        fn a_route_is_the_first_that_ends_late_enough(
            ends in prop_oneof![
                proptest::collection::btree_set(any::<u128>(), 0..20),
                (1u32..2_000).prop_map(|n| stream(n).routes.iter().map(|(end, _)| *end).collect()),
            ],
            hash: u128,
        ) {
            let routes: Vec<_> = ends.into_iter().chain([u128::MAX]).map(|end| (end, 0)).collect();
            for hash in routes.iter().flat_map(|(end, _)| [*end, end.wrapping_add(1)]).chain([hash, 0]) {
                prop_assert_eq!(Some(route_of(&routes, hash)), routes.iter().position(|(end, _)| *end >= hash));
            }
        }
    }
}
