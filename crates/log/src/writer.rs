//! The one owner of the active segment.
//!
//! Owns the way to an acknowledgement: callers encode their batches on their own tasks; a drain takes what waits as
//! one group, gives positions, writes, syncs once, publishes, and answers in order. While one sync runs the next
//! group gathers. The drain runs on a blocking thread as long as anything waits and then ends.
//!
//! Promises that nothing is published or acknowledged before its sync succeeded. After a failed write or sync it is
//! poisoned: everything that waits is refused, and nothing is written to that file again, because a failed sync leaves
//! unknown what the disk has. [`heal`] goes on in a new segment, from the last position that is durable for certain.
//! What the failed group left in the old file lies behind its end and is never looked at.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::{File, Position, ProducerId, Rng, Timestamp};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::catalogue::{Change, Wish};
use crate::core::Core;
use crate::files::{Files, Kind};
use crate::format::{CONTROL, EncodedBatch, RunEntry, SEGMENT_HEADER, SegmentHeader};
use crate::queue::{AppendJob, Appended, Reply, Turn, answer};
use crate::snapshot::{Snapshot, Stopped};
use crate::view::Durable;
use crate::{Append, LogError, NewRecord, metrics};

/// Smaller batches of a group are joined into one write.
const JOIN_BYTES: usize = 64 << 10;
/// After a group of at most so many bytes, zeroes are written this far ahead. A write within a file's length is synced
/// without the file system's own journal, which takes a third less time; larger groups have little to gain.
const SMALL_GROUP: u64 = 64 << 10;
const AHEAD_BYTES: u64 = 256 << 10;

/// The copies of a change of the catalogue, by the least size of each. Without the change the records of whole shards
/// could not be read, so that damage in one place must not take it: the one in the middle keeps the others so far
/// apart that no page of the disk has parts of both.
const COPIES: [usize; 3] = [0, 4_096, 0];

/// The part of a sync's time that is spent waiting for a fuller group, and bounds of it.
const PATIENCE: u32 = 4;
const MOST_PATIENCE: Duration = Duration::from_micros(500);

/// The active segment, as its writer sees it.
pub(crate) struct Writer {
    pub file: Arc<dyn File>,
    pub first: Position,
    pub mark: u64,
    /// Where the next batch goes; everything before is durable.
    pub offset: u64,
    /// The file has zeroes from `offset` to here.
    zeroed: u64,
    /// A write or sync failed since.
    pub failed: bool,
    /// How long the last sync took.
    sync_took: Duration,
    joined: Vec<u8>,
}

/// A batch on its way to the disk.
struct Placing {
    bytes: Bytes,
    runs: Vec<RunEntry>,
    records_at: u64,
    offset: u64,
    first: Position,
    producer: Option<(ProducerId, Position)>,
    reply: Option<Reply<Appended>>,
}

/// Runs turns until nothing waits.
pub(crate) fn drain(core: &Core) {
    let _guard = Guard(core);
    let mut writer = core.writer();
    while let Some(turn) = core.queue.take(core.config.group_bytes) {
        match turn {
            Turn::Appends(jobs) => {
                let answered = jobs.len();
                writer.append(core, jobs);
                writer.gather(core, answered);
            }
            Turn::Change(wish, reply) => {
                let result = writer.change(core, wish);
                answer(reply, result);
            }
            Turn::Close(reply) => {
                let stopped = Stopped { next: core.view().next };
                let written = core.files.write_stopped(&stopped.encode());
                let written = written.map_err(LogError::io("leaving the mark of a clean stop"));
                answer(reply, written.and_then(|()| core.note_time()));
            }
        }
    }
}

/// Makes a change from a blocking thread.
pub(crate) fn change_blocking(core: &Core, wish: Wish) -> Result<(), LogError> {
    let (reply, answer) = oneshot::channel();
    if core.queue.change(wish, reply)? {
        drain(core);
    }
    answer.blocking_recv().map_err(|_| LogError::Closed)?
}

/// A drain that panics must not leave its callers waiting for ever: it is a defect of ours, and the log is closed.
struct Guard<'a>(&'a Core);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the log's writer panicked; the log is closed, a restart recovers it");
            self.0.queue.poison(&LogError::Closed);
        }
    }
}

/// Makes a poisoned writer work again in a new segment; nothing to do for a sound one.
pub(crate) fn heal(core: &Core) -> Result<(), LogError> {
    let mut writer = core.writer();
    if !writer.failed {
        return Ok(());
    }
    // What the failed group left needs no room. That it cannot be cut does no harm: it lies behind the segment's end.
    let cut = writer.file.set_len(writer.offset).and_then(|()| writer.file.sync_data());
    if let Err(error) = cut {
        tracing::warn!(%error, "the failed segment could not be cut to what is durable");
    }
    writer.roll(core).map_err(LogError::io("going on in a new segment"))?;
    writer.failed = false;
    core.queue.heal();
    metrics::writer_recovery();
    tracing::info!(segment = %writer.first, "the log writes again");
    Ok(())
}

impl Writer {
    pub fn new(file: Arc<dyn File>, header: SegmentHeader, offset: u64) -> Self {
        Self {
            file,
            first: header.first,
            mark: header.mark,
            offset,
            zeroed: offset,
            failed: false,
            sync_took: Duration::ZERO,
            joined: Vec::new(),
        }
    }

    fn append(&mut self, core: &Core, jobs: Vec<AppendJob>) {
        let next = match self.prepare(core) {
            Ok(next) => next,
            Err(error) => {
                let error = self.poison(core, error);
                return jobs.into_iter().for_each(|job| answer(job.reply, Err(error.clone())));
            }
        };
        let arriving = core.arriving();
        let arrival = arriving.at;
        let (mut group, mut known) = (Vec::with_capacity(jobs.len()), Vec::new());
        self.place(core, jobs, (next, arrival), &mut group, &mut known);
        let result = if group.is_empty() { Ok(()) } else { self.write(core, &group, arrival) };
        drop(arriving);
        match result {
            Ok(()) => {
                let durable = group.into_iter().filter_map(|p| Some((p.reply?, Some((p.first, arrival)))));
                answer_all(core, durable.chain(known.into_iter().map(|reply| (reply, None))).collect());
            }
            Err(error) => {
                let error = self.poison(core, error);
                let replies = group.into_iter().filter_map(|p| p.reply).chain(known);
                replies.for_each(|reply| answer(reply, Err(error.clone())));
            }
        }
    }

    /// Those just answered come back at once, if they are clients in a loop: a moment's patience makes one group of
    /// them and of those who wait, where two half as large would take turns.
    fn gather(&self, core: &Core, answered: usize) {
        let patience = (self.sync_took / PATIENCE).min(MOST_PATIENCE);
        if !patience.is_zero() {
            core.queue.gather(answered, patience);
        }
    }

    /// Goes on in a new segment when this one is full; the group's first position.
    fn prepare(&mut self, core: &Core) -> io::Result<Position> {
        let next = core.view().next;
        if self.offset >= core.config.segment_bytes && next > self.first {
            self.roll(core)?;
        }
        Ok(next)
    }

    /// Gives the batches their positions. Those of unknown shards are refused; those that are there already wait for
    /// the group, which may hold what they repeat.
    fn place(
        &self,
        core: &Core,
        jobs: Vec<AppendJob>,
        (group_first, arrival): (Position, Timestamp),
        group: &mut Vec<Placing>,
        known: &mut Vec<Reply<Appended>>,
    ) {
        let view = core.view();
        let (mut next, mut offset) = (group_first, self.offset);
        let mut sequences: HashMap<ProducerId, Position> = HashMap::new();
        for AppendJob { batch, reply } in jobs {
            let unknown = batch.runs.iter().find_map(|run| match view.shard(run.shard) {
                Ok(shard) if shard.closed => Some(LogError::ShardClosed(run.shard)),
                Ok(_) => None,
                Err(error) => Some(error),
            });
            if let Some(error) = unknown {
                answer(reply, Err(error));
                continue;
            }
            if let Some((producer, sequence)) = batch.producer {
                let last = sequences.get(&producer).or_else(|| view.producers.get(&producer));
                if last.is_some_and(|last| sequence <= *last) {
                    known.push(reply);
                    continue;
                }
                sequences.insert(producer, sequence);
            }
            let placed = Placing::new(batch, self.mark, next, group_first, offset, arrival, Some(reply));
            next = placed.next();
            offset += placed.bytes.len() as u64;
            group.push(placed);
        }
    }

    /// Makes a group durable and publishes it.
    fn write(&mut self, core: &Core, group: &[Placing], arrival: Timestamp) -> io::Result<()> {
        let end = self.write_durably(core, group)?;
        self.offset = end;
        {
            let mut view = core.publish();
            for placed in group {
                view.apply(&placed.durable(arrival));
                view.remember(placed.offset, placed.bytes.clone(), core.config.tail_cache_bytes);
            }
        }
        let view = core.view();
        group.iter().for_each(|placed| view.notify(&placed.runs));
        Ok(())
    }

    fn write_durably(&mut self, core: &Core, group: &[Placing]) -> io::Result<u64> {
        let (start, mut at) = (self.offset, self.offset);
        self.joined.clear();
        for placed in group {
            if placed.bytes.len() > JOIN_BYTES {
                at = self.flush(at)?;
                self.file.write_all_at(&placed.bytes, at)?;
                at += placed.bytes.len() as u64;
            } else {
                self.joined.extend_from_slice(&placed.bytes);
            }
        }
        let end = at + self.joined.len() as u64;
        self.reach_ahead(end, end - start, core.config.segment_bytes);
        self.flush(at)?;
        let started = core.env.clock.instant();
        self.file.sync_data()?;
        self.sync_took = core.env.clock.instant().saturating_sub(started);
        metrics::fsync_latency(self.sync_took);
        metrics::group(group.len(), end - start);
        Ok(end)
    }

    /// Puts zeroes behind a small group that ends where none are left.
    fn reach_ahead(&mut self, end: u64, group: u64, segment_bytes: u64) {
        let ahead = (end + AHEAD_BYTES).min(segment_bytes);
        if end > self.zeroed && group <= SMALL_GROUP && ahead > end {
            self.joined.resize(self.joined.len() + (ahead - end) as usize, 0);
            self.zeroed = ahead;
        }
    }

    fn flush(&mut self, at: u64) -> io::Result<u64> {
        if !self.joined.is_empty() {
            self.file.write_all_at(&self.joined, at)?;
        }
        let end = at + self.joined.len() as u64;
        self.joined.clear();
        Ok(end)
    }

    fn change(&mut self, core: &Core, wish: Wish) -> Result<(), LogError> {
        let next = self.prepare(core).map_err(|e| self.poison(core, e))?;
        let (arrival, judged) = (core.arrival(), core.steady_now());
        let Some(change) = core.view().catalogue.plan(wish, next, arrival, judged)? else { return Ok(()) };
        let key_drawn = matches!(change, Change::Encrypt { key: Some(_), .. });
        let data = change.encode()?;
        let (mut copies, mut end, mut offset) = (Vec::with_capacity(COPIES.len()), next, self.offset);
        for at_least in COPIES {
            let batch = EncodedBatch::control(&control_append(&data, at_least)?)?;
            let placed = Placing::new(batch, self.mark, end, next, offset, arrival, None);
            (end, offset) = (placed.next(), offset + placed.bytes.len() as u64);
            copies.push(placed);
        }
        self.offset = self.write_durably(core, &copies).map_err(|e| self.poison(core, e))?;
        let mut view = core.publish();
        view.passed(end, arrival);
        view.change(change);
        drop(view);
        if key_drawn {
            // Without its key nothing of the stream could be read: the snapshot keeps it a second time.
            self.roll(core).map_err(|e| self.poison(core, e))?;
        }
        Ok(())
    }

    /// Seals the active segment and goes on in a new one.
    pub fn roll(&mut self, core: &Core) -> io::Result<()> {
        let (snapshot, index) = {
            let view = core.view();
            (view.snapshot(), view.active_index())
        };
        let (file, header) = create_segment(&core.files, &*core.env.rng, snapshot)?;
        core.publish().roll(Arc::clone(&file), index);
        *self = Self {
            joined: std::mem::take(&mut self.joined),
            sync_took: self.sync_took,
            ..Self::new(file, header, SEGMENT_HEADER)
        };
        core.upkeep.notify_one();
        Ok(())
    }

    fn poison(&mut self, core: &Core, error: io::Error) -> LogError {
        tracing::error!(%error, segment = %self.first, "a write or sync of the journal failed; it is given up");
        metrics::writer_failure();
        self.failed = true;
        let error = LogError::Poisoned(Arc::new(error));
        core.queue.poison(&error);
        core.upkeep.notify_one();
        error
    }
}

/// Answers a durable group. A task does it: whoever wakes others from outside the runtime does so one by one, each with
/// the runtime's lock and perhaps a system call, while a task puts them all into its own thread's queue.
fn answer_all(core: &Core, answers: Vec<(Reply<Appended>, Appended)>) {
    let tell = |answers: Vec<_>| answers.into_iter().for_each(|(reply, appended)| answer(reply, Ok(appended)));
    if answers.len() == 1 {
        return tell(answers);
    }
    core.runtime.spawn(async move { tell(answers) });
}

/// Creates a segment after the snapshot that it starts from, which gets its mark, too: without one of the two nothing
/// in the segment could be found.
pub(crate) fn create_segment(
    files: &Files,
    rng: &dyn Rng,
    snapshot: Snapshot,
) -> io::Result<(Arc<dyn File>, SegmentHeader)> {
    // Never zero: an empty place must not look like a batch.
    let mut mark = [0; 8];
    rng.fill(&mut mark);
    let header = SegmentHeader { first: snapshot.next, mark: u64::from_le_bytes(mark) | 1 };
    let snapshot = Snapshot { mark: Some(header.mark), ..snapshot };
    files.write(header.first, Kind::Snapshot, &snapshot.encode())?;
    Ok((files.create_segment(header.first, &header.encode())?, header))
}

/// A change as the one record of a control batch, of this size at least: JSON may end in blanks.
fn control_append(change: &[u8], at_least: usize) -> Result<Append, LogError> {
    let partition_key = "catalogue".parse().map_err(|e| LogError::Invalid(format!("control record: {e}")))?;
    let mut data = change.to_vec();
    data.resize(change.len().max(at_least), b' ');
    let record = NewRecord { shard: CONTROL, partition_key, explicit_hash_key: None, data: data.into() };
    Ok(Append { producer: None, records: vec![record] })
}

impl Placing {
    fn new(
        batch: EncodedBatch,
        mark: u64,
        first: Position,
        group: Position,
        offset: u64,
        arrival: Timestamp,
        reply: Option<Reply<Appended>>,
    ) -> Self {
        let (runs, producer) = (batch.runs.clone(), batch.producer);
        let records_at = offset + batch.records_offset() as u64;
        Self { bytes: batch.complete(mark, first, group, arrival), runs, records_at, offset, first, producer, reply }
    }

    fn next(&self) -> Position {
        Position::new(self.first.get() + self.runs.iter().map(|r| u64::from(r.records)).sum::<u64>())
    }

    fn durable(&self, arrival: Timestamp) -> Durable<'_> {
        Durable { first: self.first, arrival, producer: self.producer, runs: &self.runs, records_at: self.records_at }
    }
}
