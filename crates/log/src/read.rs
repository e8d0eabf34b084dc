//! Reading one shard.
//!
//! Owns the way from a position to records: the active segment's index or a sealed one's, then the bytes, from memory
//! when they are recent, else from the disk on a blocking thread. Promises order, durability, that each record's
//! checksum is verified, and that damage of other shards is not in the way. Must not know who reads.

use std::io::ErrorKind;
use std::sync::{Arc, PoisonError};

use base::{File, HashKey, PartitionKey, Position, Timestamp};
use bytes::Bytes;

use crate::core::Core;
use crate::files::Kind;
use crate::format::{RECORD_HEADER, RecordView, claimed_len, decode_record, open_record};
use crate::index::{Run, SegmentIndex, runs_from};
use crate::recover::rebuild_index;
use crate::seal::Opener;
use crate::view::{Sealed, ShardState, View};
use crate::{LogError, Missed, ReadLimit, Record, ShardRef, Slice, metrics};

/// Runs nearer to each other than this are read in one go.
const GAP: u64 = 16 << 10;
/// Runs are read in one go up to this.
const SPAN: u64 = 4 << 20;

/// One read of one shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub shard: ShardRef,
    pub from: Position,
    pub limit: ReadLimit,
    /// What was passed over for its age on the way.
    pub missed: Missed,
}

impl Request {
    pub fn new(shard: ShardRef, from: Position, limit: ReadLimit) -> Self {
        Self { shard, from, limit, missed: Missed::default() }
    }
}

enum Source {
    Sealed(Arc<Sealed>),
    Active { segment: Position, file: Arc<dyn File> },
}

impl Source {
    /// Whether retention has deleted it meanwhile, so that what was planned must be planned again.
    fn is_deleted(&self, core: &Core) -> bool {
        matches!(self, Self::Sealed(sealed) if core.view().is_deleted(sealed))
    }
}

/// Where to look.
enum Plan {
    Done(Slice),
    Sealed(Arc<Sealed>),
    /// Runs of the active segment, with their bytes if they are at hand.
    Active {
        segment: Position,
        file: Arc<dyn File>,
        runs: Vec<(Run, Option<Bytes>)>,
    },
}

/// Reads without touching the disk; none when it must be touched.
pub(crate) fn read_recent(core: &Core, mut request: Request) -> Result<Option<Slice>, LogError> {
    let now = core.steady_now();
    // Not in the match itself: the view would stay locked through it, and locking it again waits for a waiting writer.
    let plan = plan(&core.view(), &mut request, now)?;
    match plan {
        Plan::Done(slice) => Ok(Some(slice)),
        Plan::Active { segment, runs, .. } if runs.iter().all(|(_, bytes)| bytes.is_some()) => {
            let runs = runs.into_iter().filter_map(|(run, bytes)| Some((run, bytes?)));
            let mut taking = Taking::new(request);
            for (run, bytes) in runs {
                taking.run(core, segment, run, &bytes)?;
            }
            Ok(Some(taking.finish(core)))
        }
        _ => Ok(None),
    }
}

/// Reads from wherever it lies. Blocks.
pub(crate) fn read_blocking(core: &Core, mut request: Request) -> Result<Slice, LogError> {
    loop {
        let (now, missed) = (core.steady_now(), request.missed);
        let plan = plan(&core.view(), &mut request, now)?;
        let (source, runs) = match plan {
            Plan::Done(slice) => return Ok(slice),
            Plan::Active { segment, file, runs } => {
                (Source::Active { segment, file }, runs.into_iter().map(|(run, _)| run).collect())
            }
            Plan::Sealed(sealed) => match sealed_runs(core, &sealed, &mut request, now)? {
                None => continue,
                Some(runs) => (Source::Sealed(sealed), runs),
            },
        };
        match fetch(core, request, &source, &runs) {
            // It is met again.
            Err(LogError::Io { .. }) if source.is_deleted(core) => request.missed = missed,
            result => return result,
        }
    }
}

/// The position of the first record that arrived at `time` or later. Blocks.
pub(crate) fn position_at(core: &Core, shard: ShardRef, time: Timestamp) -> Result<Position, LogError> {
    let mut from = Position::ZERO;
    loop {
        let sealed = {
            let view = core.view();
            let state = view.shard(shard)?;
            from = from.max(state.opened_at);
            match view.sealed_after(from).filter(|_| from < state.sealed_next) {
                Some(sealed) => Arc::clone(sealed),
                None => {
                    let found = state.runs.iter().find(|r| r.arrival >= time && r.end() > from);
                    return Ok(found.map_or(state.next, |r| r.first));
                }
            }
        };
        let index = match index_of(core, &sealed) {
            Err(LogError::Io { .. }) if core.view().is_deleted(&sealed) => continue,
            index => index?,
        };
        if index.arrivals.is_some_and(|(_, newest)| newest >= time)
            && let Some(run) = index.runs(shard).iter().find(|r| r.arrival >= time)
        {
            return Ok(run.first);
        }
        from = sealed.end;
    }
}

fn plan(view: &View, request: &mut Request, now: Timestamp) -> Result<Plan, LogError> {
    let state = view.shard(request.shard)?;
    request.from = request.from.max(state.opened_at);
    request.missed.deleted |= request.from < view.oldest().min(state.sealed_next);
    if request.from < state.sealed_next
        && let Some(sealed) = view.sealed_after(request.from)
    {
        return Ok(Plan::Sealed(Arc::clone(sealed)));
    }
    let (runs, _, expired) = select(&state.runs, *request, state, now);
    request.missed.records += expired;
    if runs.is_empty() {
        let next = request.from.max(state.next);
        let at_end = state.closed && next >= state.next;
        return Ok(Plan::Done(Slice { records: Vec::new(), next, at_end, missed: request.missed }));
    }
    let segment = view.active.first;
    let runs = runs.into_iter().map(|run| (run, view.recall(segment, &run))).collect();
    Ok(Plan::Active { segment, file: Arc::clone(&view.active.file), runs })
}

/// The runs that a request needs; the position after those that are past their retention, and how many records of these
/// there are.
fn select(runs: &[Run], request: Request, state: &ShardState, now: Timestamp) -> (Vec<Run>, Position, u64) {
    let (mut taken, mut passed, mut expired) = (Vec::new(), Position::ZERO, 0);
    let (mut records, mut bytes) = (0, 0);
    for run in runs_from(runs, request.from) {
        if state.expired(run.arrival, now) {
            passed = run.end();
            expired += passed.get() - run.first.max(request.from).get();
            continue;
        }
        if records >= request.limit.records.max(1) || (records > 0 && bytes >= request.limit.bytes) {
            break;
        }
        let count = run.end().get() - run.first.max(request.from).get();
        records += count as usize;
        bytes += (run.bytes as usize).saturating_sub(RECORD_HEADER * run.records as usize);
        taken.push(*run);
    }
    (taken, passed, expired)
}

/// The runs of a sealed segment that a request needs. None, with the request moved on, when there are none.
fn sealed_runs(
    core: &Core,
    sealed: &Sealed,
    request: &mut Request,
    now: Timestamp,
) -> Result<Option<Vec<Run>>, LogError> {
    let index = match index_of(core, sealed) {
        // Retention deleted it meanwhile.
        Err(LogError::Io { .. }) if core.view().is_deleted(sealed) => return Ok(None),
        index => index?,
    };
    let view = core.view();
    let state = view.shard(request.shard)?;
    if index.arrivals.is_some_and(|(_, newest)| state.expired(newest, now)) {
        request.missed.records += select(index.runs(request.shard), *request, state, now).2;
        request.from = sealed.end;
        return Ok(None);
    }
    let (mut runs, passed, expired) = select(index.runs(request.shard), *request, state, now);
    let from = request.from.max(passed);
    if let Some(damage) = index.damage(request.shard, from) {
        if runs.first().is_none_or(|run| damage.first < run.first.max(from)) {
            let first = damage.first.max(from);
            let what = "a batch's header or checksum does not match";
            return Err(core.corrupt((sealed.first, damage.offset), what, first, damage.last));
        }
        runs.retain(|run| run.first < damage.first);
    }
    request.missed.records += expired;
    if runs.is_empty() {
        request.from = sealed.end;
        return Ok(None);
    }
    Ok(Some(runs))
}

/// A sealed segment's index: from memory, from its file, or from the segment.
pub(crate) fn index_of(core: &Core, sealed: &Sealed) -> Result<Arc<SegmentIndex>, LogError> {
    if let Some(index) = &*sealed.unsaved.lock().unwrap_or_else(PoisonError::into_inner) {
        return Ok(Arc::clone(index));
    }
    if let Some(index) = core.indexes.get(sealed.first) {
        return Ok(index);
    }
    let stored = match core.files.read(sealed.first, Kind::Index)? {
        None => Err("it is missing"),
        Some(bytes) => SegmentIndex::decode(&bytes)
            .and_then(|i| if (i.first, i.end) == (sealed.first, sealed.end) { Ok(i) } else { Err("it is another's") }),
    };
    let index = match stored {
        Ok(index) => Arc::new(index),
        Err(what) => {
            metrics::index_rebuilt();
            tracing::warn!(segment = %sealed.first, what, "a segment's index is built again from the segment");
            let limit = core.view().catalogue.shard_limit();
            let index = Arc::new(rebuild_index(&core.files, sealed.first, sealed.end, limit)?);
            *sealed.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&index));
            core.upkeep.notify_one();
            index
        }
    };
    core.indexes.insert(&index);
    Ok(index)
}

/// Reads runs from a file, neighbours in one go.
fn fetch(core: &Core, request: Request, source: &Source, runs: &[Run]) -> Result<Slice, LogError> {
    let (segment, file) = match source {
        Source::Active { segment, file } => (*segment, Arc::clone(file)),
        Source::Sealed(sealed) => {
            let doing = || format!("opening segment {}", sealed.first);
            (sealed.first, core.files.open_segment(sealed.first).map_err(LogError::io(doing()))?)
        }
    };
    let mut taking = Taking::new(request);
    let mut rest = runs;
    while let Some(first) = rest.first() {
        let start = u64::from(first.offset);
        let mut end = start;
        let near = rest.iter().take_while(|run| {
            let (at, until) = (u64::from(run.offset), u64::from(run.offset) + u64::from(run.bytes));
            let near = at <= end + GAP && (until - start <= SPAN || end == start);
            end = if near { until } else { end };
            near
        });
        let count = near.count();
        let mut buf = vec![0; (end - start) as usize];
        match file.read_exact_at(&mut buf, start) {
            // A file cut short: what is missing reads as zeroes, which are no records.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {}
            read => read.map_err(LogError::io(format!("reading segment {segment}")))?,
        }
        let buf = Bytes::from(buf);
        for run in &rest[..count] {
            let at = (u64::from(run.offset) - start) as usize;
            taking.run(core, segment, *run, &buf.slice(at..at + run.bytes as usize))?;
        }
        rest = &rest[count..];
    }
    Ok(taking.finish(core))
}

/// Records being taken, up to the limit.
struct Taking {
    request: Request,
    records: Vec<Record>,
    bytes: usize,
    next: Position,
    full: bool,
    /// With the stream's key, once a sealed record was met.
    opener: Option<Opener>,
}

impl Taking {
    fn new(request: Request) -> Self {
        Self { request, records: Vec::new(), bytes: 0, next: request.from, full: false, opener: None }
    }

    /// Takes the records of a run from `from` on. Damage is an error only when nothing was taken before it: else it
    /// is met by the next read.
    fn run(&mut self, core: &Core, segment: Position, run: Run, bytes: &Bytes) -> Result<(), LogError> {
        let mut at = 0;
        for n in 0..u64::from(run.records) {
            if self.full {
                return Ok(());
            }
            let position = Position::new(run.first.get() + n);
            if position < self.request.from {
                at = skip(bytes, at);
                continue;
            }
            let taken = match decode_record(bytes, at) {
                Ok(view) => {
                    self.find_key(core, &view)?;
                    self.take(&view, position, run.arrival, bytes).map(|record| (record, view.end))
                }
                Err(what) => Err(what),
            };
            match taken {
                Ok((record, end)) => {
                    at = end;
                    self.push(record);
                }
                Err(_) if !self.records.is_empty() => self.full = true,
                Err(what) => {
                    let place = (segment, u64::from(run.offset) + at as u64);
                    return Err(core.corrupt(place, what, position, position));
                }
            }
        }
        Ok(())
    }

    /// Gets the stream's key for its first sealed record.
    fn find_key(&mut self, core: &Core, view: &RecordView) -> Result<(), LogError> {
        if view.sealed && self.opener.is_none() {
            self.opener = core.view().shard(self.request.shard)?.stream.record_key.clone().map(Opener::new);
        }
        Ok(())
    }

    fn take(
        &mut self,
        view: &RecordView,
        position: Position,
        arrival: Timestamp,
        bytes: &Bytes,
    ) -> Result<Record, &'static str> {
        if view.shard != self.request.shard {
            return Err("a record of another shard lies here");
        }
        let (hash_key, key, data) = if view.sealed {
            let opener = self.opener.as_mut().ok_or("a record is sealed, and the key of its stream is lost")?;
            let content = open_record(&bytes[view.data..view.end], view.shard, opener)?;
            (content.hash_key, content.partition_key, content.data)
        } else {
            (view.hash_key, bytes.slice(view.key..view.data), bytes.slice(view.data..view.end))
        };
        let key = std::str::from_utf8(&key).map_err(|_| "a partition key is not UTF-8")?;
        let partition_key: PartitionKey = key.parse().map_err(|_| "a partition key is not valid")?;
        let (explicit_hash_key, sealed) = (hash_key.map(HashKey), view.sealed);
        Ok(Record { position, arrival, partition_key, explicit_hash_key, data, sealed })
    }

    fn push(&mut self, record: Record) {
        let bytes = record.data.len() + record.partition_key.as_str().len();
        if !self.records.is_empty() && self.bytes + bytes > self.request.limit.bytes {
            self.full = true;
            return;
        }
        self.bytes += bytes;
        self.next = record.position.next();
        self.records.push(record);
        self.full = self.records.len() >= self.request.limit.records;
    }

    fn finish(self, core: &Core) -> Slice {
        let view = core.view();
        let at_end = view.shard(self.request.shard).is_ok_and(|state| {
            state.stream.counters.records_out.increment(self.records.len() as u64);
            state.stream.counters.bytes_out.increment(self.bytes as u64);
            state.closed && self.next >= state.next
        });
        Slice { records: self.records, next: self.next, at_end, missed: self.request.missed }
    }
}

/// Passes over a record that is not wanted, by the length that it claims.
fn skip(bytes: &[u8], at: usize) -> usize {
    let header = bytes.get(at..at + RECORD_HEADER);
    header.and_then(claimed_len).map_or(bytes.len(), |len| (at + len).min(bytes.len()))
}
