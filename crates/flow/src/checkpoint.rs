//! Where every consumer stands: positions kept in the state store, written lazily and together.
//!
//! Owns the checkpoint table: `consumer NUL stream-id / shard` → `{"v":1,"next":position,…}`, where `next` is the first
//! position without a final outcome. A shard that is read in several lanes has a row for each, written and replaced all
//! together when their number changes.
//!
//! Promises: a position set here is durable at most [`LAZINESS`] later, all consumers' positions in one commit, and at
//! once on [`Checkpoints::flush`]; a failed commit is repeated. It is never ahead of the work. So after a crash a
//! consumer starts at or before the first unhandled record and every record is handled **at least once**: whatever had
//! its final outcome in the last moments is handled again. Targets that are journal appends recognise the repetition
//! by their producer id and position and add nothing twice; functions and webhooks may see it.
//!
//! Must not know what consumers do.

mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Batch, Clock, PartitionKey, Position, ShardId, StateError, StateStore, Table, TaskGroup, Write};
use log::StreamId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

pub use place::{Lane, Place, Window};

use crate::metrics;

const TABLE: Table = Table("flow.checkpoints");

/// A checkpoint is durable at most this much later than it was set.
pub const LAZINESS: Duration = Duration::from_millis(200);

const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Rows in one scan.
const PAGE: usize = 1_000;

#[derive(Serialize, Deserialize)]
struct Row {
    v: u32,
    #[serde(flatten)]
    place: Place,
}

/// Every consumer's place. Cloning gives another handle.
#[derive(Clone)]
pub struct Checkpoints {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<dyn StateStore>,
    pending: Mutex<Pending>,
    /// One commit at a time, so that an older one cannot come after what forgets its consumer.
    turn: Semaphore,
    changed: Notify,
}

/// What the store does not have yet.
#[derive(Default)]
struct Pending {
    /// Set since the last commit began.
    dirty: BTreeMap<Vec<u8>, Place>,
    /// In the commit that is under way.
    writing: BTreeMap<Vec<u8>, Place>,
    /// Consumers that are deleted while they still finish something: their places are not kept.
    buried: BTreeSet<String>,
}

impl Checkpoints {
    /// Over this store; positions are written only once [`Checkpoints::run`] runs, or by `flush`.
    pub fn new(state: Arc<dyn StateStore>) -> Self {
        Self {
            inner: Arc::new(Inner {
                state,
                pending: Mutex::default(),
                turn: Semaphore::new(1),
                changed: Notify::new(),
            }),
        }
    }

    /// The position from which `consumer` reads a shard on, if it was there before.
    pub fn get(&self, consumer: &str, stream: StreamId, shard: ShardId) -> Result<Option<Position>, StateError> {
        Ok(self.place(consumer, stream, shard, Lane::WHOLE)?.map(|place| place.next))
    }

    /// The same of a lane of the shard, with all that is known of it.
    pub fn place(
        &self,
        consumer: &str,
        stream: StreamId,
        shard: ShardId,
        lane: Lane,
    ) -> Result<Option<Place>, StateError> {
        let key = key(consumer, stream, shard, lane);
        {
            // A consumer that starts again during a commit must not start before it.
            let pending = self.pending();
            if let Some(place) = pending.dirty.get(&key).or_else(|| pending.writing.get(&key)) {
                return Ok(Some(place.clone()));
            }
        }
        self.inner.state.get(TABLE, &key)?.map(|bytes| decode(&key, &bytes)).transpose()
    }

    /// Whether a consumer has dealt with a record, in however many lanes it reads the shard.
    pub fn is_done(
        &self,
        consumer: &str,
        stream: StreamId,
        shard: ShardId,
        (partition_key, position): (&PartitionKey, Position),
    ) -> Result<bool, StateError> {
        let lanes = self.all_lanes(&key(consumer, stream, shard, Lane::WHOLE))?;
        let own = lanes.iter().filter(|(lane, _)| lane.has(partition_key));
        Ok(own.map(|(_, place)| place).any(|place| position < place.next || place.was_done(partition_key, position)))
    }

    /// The position before which a consumer has dealt with everything of a shard, if it was there before.
    pub fn behind(&self, consumer: &str, stream: StreamId, shard: ShardId) -> Result<Option<Position>, StateError> {
        let lanes = self.all_lanes(&key(consumer, stream, shard, Lane::WHOLE))?;
        Ok(lanes.values().map(|place| place.next).min())
    }

    fn all_lanes(&self, whole: &[u8]) -> Result<BTreeMap<Lane, Place>, StateError> {
        let written = self.written_lanes(whole)?.into_iter().map(|(_, lane, place)| (lane, place));
        let mut lanes: BTreeMap<Lane, Place> = written.collect();
        let pending = self.pending();
        for (key, place) in pending.writing.iter().chain(&pending.dirty).filter(|(key, _)| key.starts_with(whole)) {
            lanes.extend(lane_of(key, whole).map(|lane| (lane, place.clone())));
        }
        Ok(lanes)
    }

    /// The rows of a shard's lanes, by the key of the whole.
    fn written_lanes(&self, whole: &[u8]) -> Result<Vec<(Vec<u8>, Lane, Place)>, StateError> {
        let mut lanes = Vec::new();
        for (key, bytes) in self.inner.state.scan(TABLE, whole, None, PAGE)? {
            if let Some(lane) = lane_of(&key, whole) {
                let place = decode(&key, &bytes)?;
                lanes.push((key, lane, place));
            }
        }
        Ok(lanes)
    }

    /// The position that is written: from there on everything is handled again after a crash.
    pub fn durable(
        state: &dyn StateStore,
        consumer: &str,
        stream: StreamId,
        shard: ShardId,
    ) -> Result<Option<Position>, StateError> {
        let key = key(consumer, stream, shard, Lane::WHOLE);
        let place = state.get(TABLE, &key)?.map(|bytes| decode(&key, &bytes)).transpose()?;
        Ok(place.map(|place: Place| place.next))
    }

    /// The places from which a shard is read in so many lanes. Those of another number of lanes are replaced, durably;
    /// nobody may read the shard for this consumer meanwhile. Without any it is read from `start`.
    pub async fn lanes(
        &self,
        consumer: &str,
        stream: StreamId,
        shard: ShardId,
        of: u32,
        start: Position,
    ) -> Result<Vec<Place>, StateError> {
        let now = |index| self.place(consumer, stream, shard, Lane { index, of });
        let places: Vec<Option<Place>> = (0..of).map(now).collect::<Result<_, _>>()?;
        if places.iter().all(Option::is_some) {
            return Ok(places.into_iter().flatten().collect());
        }
        // Rows of lanes are written before anybody reads in them: without any there never were lanes.
        let whole = key(consumer, stream, shard, Lane::WHOLE);
        if of == 1 && self.inner.state.scan(TABLE, &whole, None, 1)?.is_empty() {
            return Ok(vec![Place::at(start)]);
        }
        self.flush().await?;
        let mut former: BTreeMap<Lane, Place> = BTreeMap::new();
        let mut batch = Batch::new();
        for (key, lane, place) in self.written_lanes(&whole)? {
            former.insert(lane, place);
            batch = batch.delete(TABLE, key);
        }
        let former_of = former.keys().next().map_or(1, |lane| lane.of);
        let place = |index| former.get(&Lane { index, of: former_of }).cloned().unwrap_or_else(|| Place::at(start));
        let former: Vec<Place> = (0..former_of).map(place).collect();
        let places = Place::divided(&former, of);
        for (index, place) in (0..of).zip(&places) {
            batch = batch.put(TABLE, key(consumer, stream, shard, Lane { index, of }), encode(place));
        }
        self.inner.state.commit(batch).await?;
        Ok(places)
    }

    /// Remembers what is dealt with of a lane of a shard.
    pub fn set(&self, consumer: &str, stream: StreamId, shard: ShardId, lane: Lane, place: Place) {
        let was_clean = {
            let mut pending = self.pending();
            if pending.buried.contains(consumer) {
                return;
            }
            let dirty = &mut pending.dirty;
            let was_clean = dirty.is_empty();
            dirty.insert(key(consumer, stream, shard, lane), place);
            was_clean
        };
        if was_clean {
            self.inner.changed.notify_one();
        }
    }

    /// The write that starts a consumer at a position, for the batch that creates it.
    pub fn start_at(consumer: &str, stream: StreamId, shard: ShardId, next: Position) -> Write {
        Write::Put(TABLE, key(consumer, stream, shard, Lane::WHOLE), encode(&Place::at(next)))
    }

    /// From now on no place of a consumer is kept.
    pub fn bury(&self, consumer: &str) {
        self.pending().buried.insert(consumer.to_owned());
    }

    /// Places of a consumer are kept again.
    pub fn dig_up(&self, consumer: &str) {
        self.pending().buried.remove(consumer);
    }

    /// The writes that forget a consumer, for the batch that deletes it. The consumer must have stopped, or be buried.
    pub async fn forget(&self, consumer: &str) -> Result<Vec<Write>, StateError> {
        self.forget_all(prefix(consumer)).await
    }

    /// The same for its places on one stream.
    pub async fn forget_on(&self, consumer: &str, stream: StreamId) -> Result<Vec<Write>, StateError> {
        self.forget_all(on_stream(consumer, stream)).await
    }

    async fn forget_all(&self, prefix: Vec<u8>) -> Result<Vec<Write>, StateError> {
        self.pending().dirty.retain(|key, _| !key.starts_with(&prefix));
        // A commit under way may bring a row, or fail and put its positions back.
        let _turn = self.inner.turn.acquire().await;
        self.pending().dirty.retain(|key, _| !key.starts_with(&prefix));
        let mut writes = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.inner.state.scan(TABLE, &prefix, after.as_deref(), PAGE)?;
            let full = rows.len() == PAGE;
            after = rows.last().map(|(key, _)| key.clone());
            writes.extend(rows.into_iter().map(|(key, _)| Write::Delete(TABLE, key)));
            if !full {
                return Ok(writes);
            }
        }
    }

    /// Forgets a consumer's places on all shards but the `listed` ones of this stream: their streams are deleted or their
    /// records are past retention, so nothing is left to read there.
    pub async fn sweep(&self, consumer: &str, stream: StreamId, listed: &BTreeSet<ShardId>) -> Result<(), StateError> {
        let keep: BTreeSet<Vec<u8>> = listed.iter().map(|shard| key(consumer, stream, *shard, Lane::WHOLE)).collect();
        let kept = |row: &[u8]| keep.contains(row) || keep.contains(before_lane(row));
        let prefix = prefix(consumer);
        let _turn = self.inner.turn.acquire().await;
        let (mut batch, mut after) = (Batch::new(), None::<Vec<u8>>);
        loop {
            let rows = self.inner.state.scan(TABLE, &prefix, after.as_deref(), PAGE)?;
            let full = rows.len() == PAGE;
            after = rows.last().map(|(key, _)| key.clone());
            for (key, _) in rows {
                if !kept(&key) {
                    batch = batch.delete(TABLE, key);
                }
            }
            if !full {
                break;
            }
        }
        if batch.writes.is_empty() {
            return Ok(());
        }
        self.pending().dirty.retain(|key, _| !key.starts_with(&prefix) || kept(key));
        self.inner.state.commit(batch).await
    }

    /// Makes durable all that was set.
    pub async fn flush(&self) -> Result<(), StateError> {
        let _turn = self.inner.turn.acquire().await;
        let writes: Vec<Write> = {
            let mut pending = self.pending();
            // Empty but after a flush whose caller went away: its positions count again, unless set anew.
            let mut taken = std::mem::take(&mut pending.writing);
            taken.append(&mut pending.dirty);
            pending.writing = taken;
            pending.writing.iter().map(|(key, place)| Write::Put(TABLE, key.clone(), encode(place))).collect()
        };
        if writes.is_empty() {
            return Ok(());
        }
        let result = self.inner.state.commit(Batch { preconditions: Vec::new(), writes }).await;
        let mut pending = self.pending();
        let written = std::mem::take(&mut pending.writing);
        if result.is_err() {
            metrics::checkpoint_failure();
            for (key, place) in written {
                pending.dirty.entry(key).or_insert(place);
            }
        }
        result
    }

    /// Writes positions until the group stops. Idle while nobody sets any.
    pub fn run(&self, group: &TaskGroup, clock: Arc<dyn Clock>) {
        let (this, stopping) = (self.clone(), group.stopping());
        group.spawn_infallible("checkpoints", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = this.inner.changed.notified() => {}
                }
                let mut delay = LAZINESS;
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        () = clock.sleep(delay) => {}
                    }
                    match this.flush().await {
                        Ok(()) => break,
                        Err(error) => {
                            tracing::warn!(%error, "checkpoints cannot be written; trying again");
                            delay = RETRY_DELAY;
                        }
                    }
                }
            }
        });
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(place: &Place) -> Vec<u8> {
    // Numbers and a text cannot fail to serialise.
    serde_json::to_vec(&Row { v: 1, place: place.clone() }).unwrap_or_default()
}

fn decode(key: &[u8], bytes: &[u8]) -> Result<Place, StateError> {
    let row: Row = serde_json::from_slice(bytes).map_err(|e| {
        StateError::Corrupt(format!("checkpoint {}: {e}", String::from_utf8_lossy(key).replace('\0', " on ")))
    })?;
    Ok(row.place)
}

fn prefix(consumer: &str) -> Vec<u8> {
    [consumer.as_bytes(), b"\0"].concat()
}

fn on_stream(consumer: &str, stream: StreamId) -> Vec<u8> {
    let mut prefix = prefix(consumer);
    prefix.extend_from_slice(format!("{:010}/", stream.number()).as_bytes());
    prefix
}

fn key(consumer: &str, stream: StreamId, shard: ShardId, lane: Lane) -> Vec<u8> {
    let mut key = on_stream(consumer, stream);
    key.extend_from_slice(shard.to_string().as_bytes());
    key.extend_from_slice(lane.suffix().as_bytes());
    key
}

/// The lane of a key, where it is of the shard with the key of the whole, and not of one whose number begins alike.
fn lane_of(key: &[u8], whole: &[u8]) -> Option<Lane> {
    std::str::from_utf8(key.get(whole.len()..)?).ok().and_then(Lane::from_suffix)
}

/// The key of the shard of a lane's key.
fn before_lane(key: &[u8]) -> &[u8] {
    key.iter().rposition(|b| *b == b'/').map_or(key, |at| &key[..at])
}
