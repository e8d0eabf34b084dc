//! What readers see: only what is durable.
//!
//! Owns, in memory, the catalogue, each shard's tail, the active segment's index, the list of sealed segments and the
//! recent batches. Promises that a batch appears in it whole and only after its fsync. Must not touch the disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base::{File, Position, ProducerId, Timestamp};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::catalogue::{Catalogue, Change, Effect};
use crate::format::{Damage, RunEntry};
use crate::index::{Run, SegmentIndex, place_runs};
use crate::metrics::StreamCounters;
use crate::seal::{Keyring, RecordKey};
use crate::snapshot::Snapshot;
use crate::{LogError, Shard, ShardRef, Stream, StreamKey};

/// A sealed segment.
pub(crate) struct Sealed {
    pub first: Position,
    /// The first position of the next segment.
    pub end: Position,
    /// Its index, until that is on disk.
    pub unsaved: Mutex<Option<Arc<SegmentIndex>>>,
    /// Whose records it holds, once that was asked for.
    pub holds: OnceLock<Holds>,
}

/// What decides over a segment's life.
pub(crate) struct Holds {
    /// Its newest arrival; none when it has no data.
    pub newest: Option<Timestamp>,
    /// Whose records it has: first and last of shards that follow each other, as those of a stream mostly do. There may
    /// be as many of these as segments.
    pub shards: Box<[(ShardRef, ShardRef)]>,
    /// Some of what it lost cannot be told whose it was.
    pub unknown: bool,
}

impl Sealed {
    pub fn new(first: Position, end: Position, unsaved: Option<SegmentIndex>) -> Arc<Self> {
        Arc::new(Self { first, end, unsaved: Mutex::new(unsaved.map(Arc::new)), holds: OnceLock::new() })
    }
}

/// The segment that is written to.
pub(crate) struct Active {
    pub first: Position,
    pub file: Arc<dyn File>,
}

/// What the shards of one stream share.
pub(crate) struct StreamState {
    pub name: StreamKey,
    pub retention: Duration,
    /// Whatever arrived before it stays past its retention.
    pub horizon: Option<Timestamp>,
    /// Opens its sealed records; none when there are none.
    pub record_key: Option<Arc<RecordKey>>,
    /// Whether new records are sealed.
    pub encrypted: bool,
    pub counters: StreamCounters,
}

/// One shard.
pub(crate) struct ShardState {
    pub stream: Arc<StreamState>,
    pub opened_at: Position,
    pub closed: bool,
    /// After its last durable record.
    pub next: Position,
    pub last_arrival: Option<Timestamp>,
    /// Records at or after this position are in the active segment.
    pub sealed_next: Position,
    /// Nobody needs its records before this position.
    pub released: Position,
    /// Where its records lie in the active segment.
    pub runs: Vec<Run>,
    /// Tells those who wait that something is durable, or that the shard is closed or deleted.
    pub changed: Arc<Notify>,
}

/// A batch as it was made durable.
pub(crate) struct Durable<'a> {
    pub first: Position,
    pub arrival: Timestamp,
    pub producer: Option<(ProducerId, Position)>,
    pub runs: &'a [RunEntry],
    /// Where its first record lies in the active segment.
    pub records_at: u64,
}

/// Recent batches in memory, oldest first.
#[derive(Default)]
struct Recent {
    batches: VecDeque<(Position, u64, Bytes)>,
    bytes: usize,
}

/// See the module.
pub(crate) struct View {
    pub catalogue: Catalogue,
    keyring: Keyring,
    shards: Vec<Option<ShardState>>,
    pub producers: HashMap<ProducerId, Position>,
    pub sealed: Vec<Arc<Sealed>>,
    pub active: Active,
    recent: Recent,
    pub next: Position,
    pub last_arrival: Timestamp,
}

impl View {
    /// The state at the start of a segment.
    pub fn restore(snapshot: Snapshot, active: Active, keyring: Keyring) -> Self {
        let mut view = Self {
            catalogue: snapshot.catalogue,
            keyring,
            shards: Vec::new(),
            producers: snapshot.producers,
            sealed: Vec::new(),
            active,
            recent: Recent::default(),
            next: snapshot.next,
            last_arrival: snapshot.last_arrival,
        };
        let streams: Vec<_> = view.catalogue.all().cloned().collect();
        streams.iter().for_each(|s| view.add_stream(s));
        for (slot, next, arrival) in snapshot.tails {
            if let Some(Some(shard)) = view.shards.get_mut(slot.0 as usize) {
                (shard.next, shard.sealed_next, shard.last_arrival) = (next, next, Some(arrival));
            }
        }
        view
    }

    /// The state now, for the start of the next segment.
    pub fn snapshot(&self) -> Snapshot {
        let tails = self.shards.iter().enumerate().filter_map(|(slot, shard)| {
            let shard = shard.as_ref()?;
            Some((ShardRef(slot as u32), shard.next, shard.last_arrival?))
        });
        Snapshot {
            next: self.next,
            last_arrival: self.last_arrival,
            mark: None,
            catalogue: self.catalogue.clone(),
            tails: tails.collect(),
            producers: self.producers.clone(),
        }
    }

    /// The shard of this number.
    pub fn shard(&self, shard: ShardRef) -> Result<&ShardState, LogError> {
        self.shards.get(shard.0 as usize).and_then(Option::as_ref).ok_or(LogError::ShardNotFound(shard))
    }

    /// The key for records of a shard that are to be sealed; none when they are not. Unknown shards are refused later.
    pub fn sealing_key(&self, shard: ShardRef) -> Result<Option<&RecordKey>, LogError> {
        let Ok(ShardState { stream, .. }) = self.shard(shard) else { return Ok(None) };
        match (stream.encrypted, stream.record_key.as_deref()) {
            (true, None) => Err(LogError::NoMasterKey(stream.name.clone())),
            (true, key) => Ok(key),
            (false, _) => Ok(None),
        }
    }

    /// Whether records of any stream are to be sealed.
    pub fn seals(&self) -> bool {
        self.catalogue.all().any(|stream| stream.encrypted)
    }

    /// Applies a durable data batch.
    pub fn apply(&mut self, batch: &Durable<'_>) {
        let mut next = batch.first;
        for (slot, run) in place_runs(batch.runs, batch.first, batch.arrival, batch.records_at) {
            next = run.end();
            if let Some(Some(shard)) = self.shards.get_mut(slot.0 as usize) {
                shard.runs.push(run);
                shard.next = next;
                shard.last_arrival = Some(batch.arrival);
            }
        }
        self.passed(next, batch.arrival);
        if let Some((producer, sequence)) = batch.producer {
            self.producers.insert(producer, sequence);
        }
    }

    /// Positions are lost: those shards' readers must meet them, not stop before them.
    pub fn lose(&mut self, damage: &Damage) {
        let arrival = self.last_arrival;
        for (slot, shard) in self.shards.iter_mut().enumerate() {
            let Some(shard) = shard else { continue };
            if damage.shards.as_ref().is_none_or(|lost| lost.contains(&ShardRef(slot as u32))) {
                shard.next = shard.next.max(damage.last.next());
                shard.last_arrival.get_or_insert(arrival);
            }
        }
    }

    /// Positions before `next` are taken; `arrival` is the last one's.
    pub fn passed(&mut self, next: Position, arrival: Timestamp) {
        (self.next, self.last_arrival) = (next, arrival);
    }

    /// Applies a durable change of the catalogue; those who wait for a closed or deleted shard are told.
    pub fn change(&mut self, change: Change) {
        match self.catalogue.apply(change) {
            Effect::Nothing => tracing::error!("a change of a stream is known whose creation was lost"),
            Effect::Deleted(stream) => self.remove_shards(&stream.shards),
            Effect::Created { stream, replaced } => {
                replaced.iter().for_each(|stream| self.remove_shards(&stream.shards));
                self.add_stream(&stream);
            }
            Effect::Changed { before, after } => {
                let gone = before.shards.iter().filter(|shard| after.shard(shard.id).is_none());
                self.remove_shards(gone);
                self.add_stream(&after);
            }
        }
    }

    /// A stream is there, or is not what it was.
    fn add_stream(&mut self, stream: &Stream) {
        let state = Arc::new(StreamState {
            name: stream.key.clone(),
            retention: stream.retention,
            horizon: stream.horizon,
            // A wrong master key is told when the journal has been read to its end: the stream may be deleted by then.
            record_key: self.keyring.unwrap(stream).ok().flatten().map(Arc::new),
            encrypted: stream.encrypted,
            counters: StreamCounters::of(&stream.key),
        });
        for shard in &stream.shards {
            let slot = shard.slot.0 as usize;
            if self.shards.len() <= slot {
                self.shards.resize_with(slot + 1, || None);
            }
            match &mut self.shards[slot] {
                Some(known) => known.update(Arc::clone(&state), shard),
                unknown => *unknown = Some(ShardState::new(Arc::clone(&state), shard)),
            }
        }
    }

    fn remove_shards<'a>(&mut self, shards: impl IntoIterator<Item = &'a Shard>) {
        for shard in shards {
            if let Some(state) = self.shards.get_mut(shard.slot.0 as usize).and_then(Option::take) {
                state.changed.notify_waiters();
            }
        }
    }

    /// Tells those who wait for these shards.
    pub fn notify(&self, runs: &[RunEntry]) {
        for run in runs {
            if let Ok(shard) = self.shard(run.shard) {
                shard.changed.notify_waiters();
            }
        }
    }

    /// Keeps a batch at hand for readers at the tail.
    pub fn remember(&mut self, offset: u64, bytes: Bytes, limit: usize) {
        self.recent.bytes += bytes.len();
        self.recent.batches.push_back((self.active.first, offset, bytes));
        while self.recent.bytes > limit {
            let Some((_, _, bytes)) = self.recent.batches.pop_front() else { break };
            self.recent.bytes -= bytes.len();
        }
    }

    /// The bytes of a run, if they are at hand.
    pub fn recall(&self, segment: Position, run: &Run) -> Option<Bytes> {
        let batches = &self.recent.batches;
        let place = (segment, u64::from(run.offset));
        let after = batches.partition_point(|(s, offset, _)| (*s, *offset) <= place);
        let (s, offset, bytes) = batches.get(after.checked_sub(1)?)?;
        let start = (place.1 - offset) as usize;
        let end = start + run.bytes as usize;
        (*s == segment && end <= bytes.len()).then(|| bytes.slice(start..end))
    }

    /// The index of the active segment, as it is sealed.
    pub fn active_index(&self) -> SegmentIndex {
        let by_shard: BTreeMap<_, _> = self
            .shards
            .iter()
            .enumerate()
            .filter_map(|(slot, shard)| Some((ShardRef(slot as u32), shard.as_ref()?.runs.clone())))
            .collect();
        SegmentIndex::build(self.active.first, self.next, by_shard, Vec::new())
    }

    /// Goes on in a new segment; the old one is sealed, unless it held nothing.
    pub fn roll(&mut self, file: Arc<dyn File>, index: SegmentIndex) {
        if self.next > self.active.first {
            self.sealed.push(Sealed::new(self.active.first, self.next, Some(index)));
        }
        self.active = Active { first: self.next, file };
        self.sealed_runs();
        self.forget_producers();
    }

    /// A producer whose last source record was deleted has nothing left to repeat.
    fn forget_producers(&mut self) {
        let oldest = self.oldest();
        self.producers.retain(|_, last| *last >= oldest);
    }

    /// The first position that is still on the disk, or would be.
    pub fn oldest(&self) -> Position {
        self.sealed.first().map_or(self.active.first, |segment| segment.first)
    }

    /// Whether retention has deleted a segment.
    pub fn is_deleted(&self, segment: &Sealed) -> bool {
        self.sealed.binary_search_by_key(&segment.first, |s| s.first).is_err()
    }

    /// Nobody needs a shard's records before a position. A shard that is gone needs none at all.
    pub fn release(&mut self, shard: ShardRef, before: Position) {
        if let Some(Some(state)) = self.shards.get_mut(shard.0 as usize) {
            state.released = state.released.max(before);
        }
    }

    /// What was read or written so far lies in sealed segments.
    pub fn sealed_runs(&mut self) {
        for shard in self.shards.iter_mut().flatten() {
            shard.sealed_next = shard.next;
            shard.runs = Vec::new();
        }
    }

    /// The first sealed segment that ends after a position.
    pub fn sealed_after(&self, from: Position) -> Option<&Arc<Sealed>> {
        self.sealed.get(self.sealed.partition_point(|s| s.end <= from))
    }
}

impl ShardState {
    fn new(stream: Arc<StreamState>, shard: &Shard) -> Self {
        Self {
            stream,
            opened_at: shard.opened_at,
            closed: shard.closed_at.is_some(),
            next: shard.opened_at.next(),
            last_arrival: None,
            sealed_next: shard.opened_at.next(),
            released: Position::ZERO,
            runs: Vec::new(),
            changed: Arc::new(Notify::new()),
        }
    }

    fn update(&mut self, stream: Arc<StreamState>, shard: &Shard) {
        self.stream = stream;
        if shard.closed_at.is_some() && !std::mem::replace(&mut self.closed, true) {
            self.changed.notify_waiters();
        }
    }

    /// Whether a record that arrived then is past its retention. Before its arrival, by a clock set back, it is not.
    pub fn expired(&self, arrival: Timestamp, now: Timestamp) -> bool {
        now.since(arrival) > self.stream.retention || self.stream.horizon.is_some_and(|horizon| arrival < horizon)
    }
}
