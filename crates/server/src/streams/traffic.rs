//! Who counts: every stream's shards, each behind a lock of its own that is held for some nanoseconds.
//!
//! Owns the counters of all shards and, when the service's quotas are on, their buckets. Promises that a shard's memory is bounded (some 2 KiB, and at most sixteen
//! partition keys) and freed by [`Traffic::sweep`] once the shard is forgotten, that counting never waits for the disk,
//! and that nothing is counted of a record which was refused by a quota.
//! What the log refuses afterwards, because it is overloaded, the disk fails or the shard was closed meanwhile, is
//! counted: it was offered.
//! Must not know the wire.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base::{Clock, ShardId};
use log::{Log, Stream, StreamId, StreamKey};

use super::heavy::{Heavy, HeavyKey};
use super::quotas::{Pace, ShardBuckets};
use super::rates::{Amount, BucketNumber, Minute};
use super::spread::{Border, Spread};

/// The counters of all shards.
pub(crate) struct Traffic {
    clock: Arc<dyn Clock>,
    /// Whether the service's quotas hold.
    limited: bool,
    streams: RwLock<HashMap<StreamId, Arc<Shards>>>,
}

/// The counters of one stream's shards.
struct Shards {
    key: StreamKey,
    /// The number of the first one in `shards`.
    first: u32,
    shards: Vec<Option<Arc<Counted>>>,
}

/// One shard. With a thousand shards every record meets another one, and what it touches comes from far away: the lock
/// and the counters of most records are one cache line.
#[repr(C, align(64))]
struct Counted {
    state: Mutex<State>,
    range: RangeInclusive<u128>,
}

/// In this order: the first 48 bytes are all that most records touch.
#[derive(Default)]
#[repr(C)]
struct State {
    /// What was written since the server started.
    into: Amount,
    dice: u64,
    minute: Minute,
    out: Amount,
    refused_in: u64,
    refused_out: u64,
    behind: Duration,
    /// Kept only of shards that were written to.
    keys: Option<Box<Keys>>,
    /// Kept only while quotas hold.
    buckets: Option<Box<ShardBuckets>>,
}

/// What was counted of a shard since the server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// What was written.
    pub into: Amount,
    /// What was read.
    pub out: Amount,
    /// Records that were refused by a quota.
    pub refused_in: u64,
    /// Calls to read that were refused by a quota.
    pub refused_out: u64,
    /// How far behind the tip the last read was.
    pub behind: Duration,
}

#[derive(Default)]
struct Keys {
    heavy: Heavy,
    spread: Spread,
}

/// A shard's keys are counted one by one up to so many records in five seconds; from then on one in [`SAMPLED`], by
/// chance, for all of them. N records are then worth N² / (COUNTED + SAMPLED · (N - COUNTED)) that are counted one by
/// one, which is at least 112 in five seconds and 1,344 in the minute: the standard deviation of a share is at most
/// 1.4 percent of the shard.
const COUNTED: u64 = 256;
const SAMPLED: u64 = 8;

/// A shard's last minute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShardTraffic {
    /// Which shard.
    pub shard: ShardId,
    /// What was written.
    pub into: Amount,
    /// What was read.
    pub out: Amount,
    /// What was counted since the server started.
    pub totals: Totals,
    /// The heaviest partition keys of the last minutes.
    pub heavy: Vec<HeavyKey>,
    /// Where to divide it; none when its range is a single hash key.
    pub border: Option<Border>,
}

/// Counts for one call.
pub(crate) struct Meter {
    shards: Arc<Shards>,
    now: Duration,
    bucket: BucketNumber,
    limited: bool,
}

/// A quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttled;

impl Traffic {
    /// Counts nothing yet; refuses nothing unless `limited`.
    pub fn new(clock: Arc<dyn Clock>, limited: bool) -> Self {
        Self { clock, limited, streams: RwLock::default() }
    }

    /// Counts for a call on this stream.
    pub fn meter(&self, stream: &Stream) -> Meter {
        let now = self.clock.instant();
        Meter { shards: self.shards(stream), now, bucket: BucketNumber::of(now), limited: self.limited }
    }

    /// The pace of a subscription that begins now.
    pub fn pace(&self) -> Pace {
        Pace::new(self.limited)
    }

    /// The last minute of the stream's shards, open and closed, by number.
    pub fn of(&self, stream: &Stream) -> Vec<ShardTraffic> {
        let Meter { shards, now, .. } = self.meter(stream);
        let listed = stream.shards.iter().filter_map(|shard| Some((shard.id, shards.get(shard.id)?)));
        listed.map(|(id, counted)| counted.traffic(id, now)).collect()
    }

    /// Frees the counters of streams and shards that the log does not know any more.
    pub fn sweep(&self, log: &Log) {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|id, shards| match log.stream(&shards.key) {
            Ok(stream) if stream.id == *id => {
                if shards.shards.iter().flatten().count() > stream.shards.len() {
                    *shards = Arc::new(Shards::of(&stream, Some(shards)));
                }
                true
            }
            _ => false,
        });
    }

    fn shards(&self, stream: &Stream) -> Arc<Shards> {
        let last = stream.shards.last().map(|shard| shard.id);
        let covers = |shards: &&Arc<Shards>| last.is_none_or(|id| id.number() < shards.end());
        {
            let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(shards) = streams.get(&stream.id).filter(covers) {
                return Arc::clone(shards);
            }
        }
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let known = streams.get(&stream.id);
        if let Some(shards) = known.filter(covers) {
            return Arc::clone(shards);
        }
        let shards = Arc::new(Shards::of(stream, known.map(|shards| &**shards)));
        streams.insert(stream.id, Arc::clone(&shards));
        shards
    }
}

impl Shards {
    /// The counters of a stream's shards; those that are counted already go on.
    fn of(stream: &Stream, known: Option<&Self>) -> Self {
        let first = stream.shards.first().map_or(0, |shard| shard.id.number());
        let last = stream.shards.last().map_or(0, |shard| shard.id.number());
        let mut shards = vec![None; (last - first) as usize + 1];
        for shard in &stream.shards {
            let counted = known
                .and_then(|known| known.shared(shard.id))
                .unwrap_or_else(|| Arc::new(Counted { range: shard.hash_range.clone(), state: Mutex::default() }));
            shards[(shard.id.number() - first) as usize] = Some(counted);
        }
        Self { key: stream.key.clone(), first, shards }
    }

    fn end(&self) -> u32 {
        self.first + self.shards.len() as u32
    }

    fn shared(&self, shard: ShardId) -> Option<Arc<Counted>> {
        let at = shard.number().checked_sub(self.first)?;
        self.shards.get(at as usize)?.clone()
    }

    fn get(&self, shard: ShardId) -> Option<&Counted> {
        let at = shard.number().checked_sub(self.first)?;
        self.shards.get(at as usize)?.as_deref()
    }
}

impl Counted {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traffic(&self, shard: ShardId, now: Duration) -> ShardTraffic {
        let state = self.state();
        let (into, out) = state.minute.sum(now);
        let keys = state.keys.as_deref();
        ShardTraffic {
            shard,
            into,
            out,
            totals: state.totals(),
            heavy: keys.map(|keys| keys.heavy.keys(now)).unwrap_or_default(),
            border: keys.map_or_else(|| Spread::default().border(&self.range), |keys| keys.spread.border(&self.range)),
        }
    }
}

impl State {
    fn totals(&self) -> Totals {
        let Self { into, out, refused_in, refused_out, behind, .. } = *self;
        Totals { into, out, refused_in, refused_out, behind }
    }

    /// True one time in `of`. Steps of a linear congruential generator: nothing but a sample depends on it.
    fn chance(&mut self, of: u64) -> bool {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33).is_multiple_of(of)
    }
}

impl Meter {
    /// Counts a record that goes to a shard, unless a quota refuses it; `hash` is the hash key that led it there,
    /// `bytes` those of its data and key.
    pub fn put(&self, shard: ShardId, key: &str, hash: u128, bytes: usize) -> Result<(), Throttled> {
        let Some(counted) = self.shards.get(shard) else { return Ok(()) };
        let bytes = bytes as u64;
        let mut state = counted.state();
        if self.limited && !state.buckets.get_or_insert_default().put(self.now, bytes) {
            state.refused_in += 1;
            return Err(Throttled);
        }
        let amount = Amount { records: 1, bytes };
        state.into.add(amount);
        let so_far = state.minute.put(self.bucket, amount);
        let weight = if so_far.records <= COUNTED {
            bytes
        } else if state.chance(SAMPLED) {
            bytes * SAMPLED
        } else {
            return Ok(());
        };
        let keys = state.keys.get_or_insert_default();
        keys.heavy.add(self.now, key, fingerprint(key), weight);
        keys.spread.add(self.now, &counted.range, hash, weight);
        Ok(())
    }

    /// Whether a shard's records may be read now; counted by the quota when they may.
    pub fn may_read(&self, shard: ShardId) -> Result<(), Throttled> {
        self.ask(shard, |buckets| buckets.read(self.now))
    }

    /// Whether an iterator of a shard may be made now; counted by the quota when it may.
    pub fn may_iterate(&self, shard: ShardId) -> Result<(), Throttled> {
        self.ask(shard, |buckets| buckets.iterate(self.now))
    }

    /// Counts records that were read from a shard by GetRecords, `behind` its tip.
    pub fn read(&self, shard: ShardId, amount: Amount, behind: Duration) {
        self.count_out(shard, amount, behind);
        let Some(counted) = self.shards.get(shard).filter(|_| self.limited) else { return };
        counted.state().buckets.get_or_insert_default().was_read(self.now, amount.bytes);
    }

    /// Counts records that were pushed to a subscription, which has a quota of its own.
    pub fn pushed(&self, shard: ShardId, amount: Amount, behind: Duration) {
        self.count_out(shard, amount, behind);
    }

    fn count_out(&self, shard: ShardId, amount: Amount, behind: Duration) {
        let Some(counted) = self.shards.get(shard) else { return };
        let mut state = counted.state();
        state.minute.read(self.now, amount);
        state.out.add(amount);
        state.behind = behind;
    }

    fn ask(&self, shard: ShardId, ask: impl FnOnce(&mut ShardBuckets) -> bool) -> Result<(), Throttled> {
        let Some(counted) = self.shards.get(shard).filter(|_| self.limited) else { return Ok(()) };
        let mut state = counted.state();
        if ask(state.buckets.get_or_insert_default()) {
            return Ok(());
        }
        state.refused_out += 1;
        Err(Throttled)
    }
}

/// A quick hash by which partition keys are told apart. Whoever makes keys collide blurs what is shown of their own
/// traffic, nothing else.
fn fingerprint(key: &str) -> u32 {
    let mut hash = key.len() as u64;
    let mut chunks = key.as_bytes().chunks_exact(8);
    let mut mix = |word: u64| hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    for chunk in chunks.by_ref() {
        mix(chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }
    mix(chunks.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    (hash ^ hash >> 32) as u32
}
