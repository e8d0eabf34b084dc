//! Opening: from what a stop or a crash left to a journal that can be written.
//!
//! Owns the decision what the files mean. Promises to keep every batch that was acknowledged, to cut only what nobody
//! was told about, and to read no more than the last snapshot and the segments from there on: one, after a crash at a
//! bad moment two. Must not serve anyone.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Env, File, Position, Timestamp};

use crate::catalogue::Change;
use crate::files::{Files, Kind, Listing, name};
use crate::format::{
    CONTROL, Damage, Known, SEGMENT_HEADER, Scan, ScannedBatch, SegmentHeader, decode_record, scan_segment,
};
use crate::index::{Run, SegmentIndex, place_runs};
use crate::seal::Keyring;
use crate::snapshot::{Seen, Snapshot, Stopped};
use crate::view::{Active, Durable, Sealed, View};
use crate::writer::{Writer, create_segment};
use crate::{LogError, metrics};

/// A journal ready to be written.
pub(crate) struct Recovered {
    pub view: View,
    pub writer: Writer,
    /// Times that have been, by what was written down.
    pub seen: Seen,
}

/// Reads what is there, or starts a new journal.
pub(crate) fn recover(env: &Env, files: &Files, keyring: Keyring) -> Result<Recovered, LogError> {
    files.create_dir()?;
    let mut listing = files.list_and_clean()?;
    let stopped = at_least(files)?;
    drop_unborn(files, &mut listing, stopped)?;
    let Some(&active) = listing.segments.last() else { return begin(env, files, &listing, keyring) };
    let (start, snapshot) = starting_point(files, &listing)?;
    let file = files.open_active(active)?;
    let keys = keyring.clone();
    let mut view = View::restore(snapshot, Active { first: active, file: Arc::clone(&file) }, keyring);
    view.sealed = sealed(&listing, active);
    for segment in view.sealed.clone().iter().filter(|s| s.first >= start) {
        let file = files.open_segment(segment.first).map_err(LogError::io(open_error(segment.first)))?;
        replay(&mut view, files, segment.first, &*file, (Some(segment.end), Position::ZERO))?;
        view.sealed_runs();
    }
    let (scan, header) = replay(&mut view, files, active, &*file, (None, stopped))?;
    check_keys(&view, &keys)?;
    let writer = match header {
        Some(header) if scan.damages.is_empty() && !scan.completed => {
            settle(active, files, &*file, &scan)?;
            Writer::new(file, header, scan.offset)
        }
        _ => {
            rewrite_last_group(&*file, &scan).map_err(LogError::io(settling(active)))?;
            set_aside(env, files, &mut view, active)?
        }
    };
    // Not the later of the two: a clock that was ahead may have stamped the last record.
    let last_arrival = Some(view.last_arrival).filter(|last| *last != Timestamp::default());
    let seen = last_seen(env, files, last_arrival)?;
    Ok(Recovered { view, writer, seen })
}

/// The times that were believed last. Where it was not written down, the last arrival or else the present is, and that is
/// written down at once: at the next start the last arrival may be one that a wrong clock has stamped.
fn last_seen(env: &Env, files: &Files, last_arrival: Option<Timestamp>) -> Result<Seen, LogError> {
    match files.read_clock()?.map(|bytes| Seen::decode(&bytes)) {
        Some(Ok(seen)) => return Ok(seen),
        Some(Err(what)) => {
            metrics::corruption();
            tracing::error!(file = "clock", what, "the time that was written down is corrupt; it is not relied on");
        }
        None => {}
    }
    let believed = last_arrival.unwrap_or_else(|| env.clock.now());
    let seen = Seen { believed, arrivals: None };
    files.write_clock(&seen.encode()).map_err(LogError::io("writing down the time"))?;
    Ok(seen)
}

/// What is sealed must be opened by the master key that was given; better told now than by every read.
fn check_keys(view: &View, keyring: &Keyring) -> Result<(), LogError> {
    view.catalogue.all().try_for_each(|stream| keyring.unwrap(stream).map(drop))
}

fn open_error(first: Position) -> String {
    format!("opening {}", name(first, Kind::Segment))
}

/// A segment whose creation was cut short holds no batch; it is removed, and the one before it is still the last.
fn drop_unborn(files: &Files, listing: &mut Listing, at_least: Position) -> Result<(), LogError> {
    let Some(&last) = listing.segments.last().filter(|last| **last >= at_least) else { return Ok(()) };
    let file = files.open_active(last)?;
    let doing = || format!("reading {}", name(last, Kind::Segment));
    let len = file.len().map_err(LogError::io(doing()))?;
    let mut header = vec![0; len.min(SEGMENT_HEADER) as usize];
    file.read_exact_at(&mut header, 0).map_err(LogError::io(doing()))?;
    if SegmentHeader::decode(&header).is_err() && len <= SEGMENT_HEADER {
        tracing::info!(file = name(last, Kind::Segment), "a segment whose creation was cut short is removed");
        files.remove(last, Kind::Segment)?;
        files.sync_names()?;
        listing.segments.remove(&last);
    }
    Ok(())
}

/// What the mark of a clean stop vouches for.
fn at_least(files: &Files) -> Result<Position, LogError> {
    let Some(bytes) = files.read_stopped()? else { return Ok(Position::ZERO) };
    match Stopped::decode(&bytes) {
        Ok(stopped) => Ok(stopped.next),
        Err(what) => {
            metrics::corruption();
            tracing::error!(file = "stopped", what, "the mark of the last clean stop is corrupt; it is not relied on");
            Ok(Position::ZERO)
        }
    }
}

/// A new journal.
fn begin(env: &Env, files: &Files, listing: &Listing, keyring: Keyring) -> Result<Recovered, LogError> {
    let first = Position::new(1);
    if let Some(later) = listing.snapshots.iter().chain(&listing.indexes).find(|p| **p > first) {
        let what = "the segments that it belongs to are missing; restore them, or move the journal's folder aside";
        return Err(LogError::Unusable { file: name(*later, Kind::Snapshot), what: what.into() });
    }
    let snapshot = Snapshot { next: first, ..Snapshot::default() };
    let (file, header) =
        create_segment(files, &*env.rng, snapshot.clone()).map_err(LogError::io("creating the first segment"))?;
    let view = View::restore(snapshot, Active { first, file: Arc::clone(&file) }, keyring);
    let seen = last_seen(env, files, None)?;
    Ok(Recovered { view, writer: Writer::new(file, header, SEGMENT_HEADER), seen })
}

/// The newest usable snapshot, and the segment that it stands before.
fn starting_point(files: &Files, listing: &Listing) -> Result<(Position, Snapshot), LogError> {
    for &segment in listing.segments.iter().rev() {
        let what = match files.read(segment, Kind::Snapshot)? {
            None => "it is missing",
            Some(bytes) => match Snapshot::decode(&bytes) {
                Ok(snapshot) if snapshot.next == segment => return Ok((segment, snapshot)),
                Ok(_) => "its position is not the one in its name",
                Err(what) => what,
            },
        };
        if segment == Position::new(1) {
            return Ok((segment, Snapshot { next: segment, ..Snapshot::default() }));
        }
        metrics::corruption();
        let file = name(segment, Kind::Snapshot);
        tracing::error!(file, what, "a snapshot cannot be used; an older one is");
    }
    let what = "no snapshot can be used; restore the file, or move the journal's folder aside".to_owned();
    Err(LogError::Unusable { file: "*.snap".into(), what })
}

/// The sealed segments. Each ends where the next one starts, or where one started that retention has deleted.
fn sealed(listing: &Listing, active: Position) -> Vec<Arc<Sealed>> {
    let end = |first: Position| listing.segments.union(&listing.gone).find(|p| **p > first).copied();
    let before = listing.segments.iter().filter(|s| **s < active);
    before.map(|&first| Sealed::new(first, end(first).unwrap_or(active), None)).collect()
}

/// Applies a segment's batches. Where it ends is known, or at least what was durable when last seen.
fn replay(
    view: &mut View,
    files: &Files,
    first: Position,
    file: &dyn File,
    (end, at_least): (Option<Position>, Position),
) -> Result<(Scan, Option<SegmentHeader>), LogError> {
    if view.next != first {
        let what = format!("its records start at {first}, but those before it end at {}", view.next);
        tracing::error!(file = name(first, Kind::Segment), what, "records are missing before a segment");
        view.passed(first, view.last_arrival);
    }
    let (mark, header) = segment_mark(files, first, file)?;
    let known = Known { mark, first, end, at_least, shard_limit: view.catalogue.shard_limit() };
    let mut last_change = None;
    let replay = |batch: ScannedBatch<'_>| replay_batch(view, &mut last_change, first, &batch).map_err(Failure);
    let scan = scan_segment::<Failure>(file, known, replay).map_err(|Failure(e)| e)?;
    for damage in &scan.damages {
        metrics::corruption();
        let Damage { offset, first: from, last, .. } = damage;
        let file = name(first, Kind::Segment);
        tracing::error!(file, offset, %from, %last, "the journal is corrupt here; other shards keep serving");
        view.catalogue.skip_stream();
        view.lose(damage);
    }
    view.passed(scan.next, view.last_arrival);
    Ok((scan, header))
}

/// Carries both the scan's own failures and a batch's.
struct Failure(LogError);

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(LogError::io("reading a segment")(error))
    }
}

/// `last_change` is the group of the control record applied last: what else is in it are its copies.
fn replay_batch(
    view: &mut View,
    last_change: &mut Option<Position>,
    segment: Position,
    batch: &ScannedBatch<'_>,
) -> Result<(), LogError> {
    let header = batch.header;
    if !batch.intact {
        metrics::corruption();
        let file = name(segment, Kind::Segment);
        tracing::error!(
            file,
            offset = batch.offset,
            "a batch is corrupt; each of its records is tested when it is read"
        );
    }
    if header.control {
        view.passed(header.next(), header.arrival);
        let Ok(record) = decode_record(batch.body, 0) else {
            // Logged above. If no copy is left, the number that it may have given must not be given again.
            view.catalogue.skip_stream();
            return Ok(());
        };
        if last_change.replace(header.group) != Some(header.group) {
            let data = &batch.body[record.data..record.end];
            view.change(Change::decode(data).ok_or_else(|| unknown_change(segment))?);
        }
        return Ok(());
    }
    for run in &header.runs {
        view.catalogue.reserve(run.shard);
    }
    view.apply(&Durable {
        first: header.first,
        arrival: header.arrival,
        producer: header.producer,
        runs: &header.runs,
        records_at: batch.offset + header.extent_len() as u64,
    });
    Ok(())
}

fn unknown_change(segment: Position) -> LogError {
    let what = "a control record was written by a later version; start that version".to_owned();
    LogError::Unusable { file: name(segment, Kind::Segment), what }
}

/// By which the batches of a segment begin: from its header, or if that is damaged from its snapshot, which may be gone,
/// or its first batch.
fn segment_mark(files: &Files, first: Position, file: &dyn File) -> Result<(u64, Option<SegmentHeader>), LogError> {
    let doing = || format!("reading {}", name(first, Kind::Segment));
    let len = file.len().map_err(LogError::io(doing()))?;
    let mut start = vec![0; len.min(SEGMENT_HEADER + 8) as usize];
    file.read_exact_at(&mut start, 0).map_err(LogError::io(doing()))?;
    let what = match SegmentHeader::decode(&start) {
        Ok(header) if header.first == first => return Ok((header.mark, Some(header))),
        Ok(_) => "its position is not the one in its name",
        Err(what) => what,
    };
    metrics::corruption();
    tracing::error!(file = name(first, Kind::Segment), what, "a segment's header is corrupt");
    let snapshot = files.read(first, Kind::Snapshot)?.and_then(|bytes| Snapshot::decode(&bytes).ok());
    let batch = || start.get(SEGMENT_HEADER as usize..)?.try_into().ok().map(u64::from_le_bytes);
    Ok((snapshot.and_then(|s| s.mark).or_else(batch).unwrap_or_default(), None))
}

/// Cuts a torn tail, and makes durable what is kept.
fn settle(active: Position, files: &Files, file: &dyn File, scan: &Scan) -> Result<(), LogError> {
    if scan.torn {
        tracing::info!(file = name(active, Kind::Segment), offset = scan.offset, "a torn tail is cut");
    }
    file.set_len(scan.offset).and_then(|()| rewrite_last_group(file, scan)).map_err(LogError::io(settling(active)))?;
    files.sync_names()
}

fn settling(active: Position) -> String {
    format!("making the last group of {} durable", name(active, Kind::Segment))
}

/// Groups before the last one are durable, because it was written after them. The last one is written again: after a
/// failed sync the system may take its pages for clean though the disk never got them.
fn rewrite_last_group(file: &dyn File, scan: &Scan) -> std::io::Result<()> {
    let end = scan.offset.min(file.len()?);
    let len = usize::try_from(end.saturating_sub(scan.last_group)).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
    let mut group = vec![0; len];
    file.read_exact_at(&mut group, scan.last_group)?;
    file.write_all_at(&group, scan.last_group)?;
    file.sync_data()
}

/// A damaged segment is kept as it is, for whoever may restore it, and sealed; writing goes on in a new one.
fn set_aside(env: &Env, files: &Files, view: &mut View, active: Position) -> Result<Writer, LogError> {
    if view.next == active {
        // Nothing readable at all: the position after it is as good as any, and its name stays its own.
        view.passed(active.next(), view.last_arrival);
    }
    let (file, header) = create_segment(files, &*env.rng, view.snapshot())
        .map_err(LogError::io("creating a segment after a damaged one"))?;
    view.sealed.push(Sealed::new(active, view.next, None));
    view.sealed_runs();
    view.active = Active { first: header.first, file: Arc::clone(&file) };
    Ok(Writer::new(file, header, SEGMENT_HEADER))
}

/// Builds a sealed segment's index from the segment.
pub(crate) fn rebuild_index(
    files: &Files,
    first: Position,
    end: Position,
    shard_limit: u32,
) -> Result<SegmentIndex, LogError> {
    let file = files.open_segment(first).map_err(LogError::io(open_error(first)))?;
    let (mark, _) = segment_mark(files, first, &*file)?;
    let known = Known { mark, first, end: Some(end), at_least: end, shard_limit };
    let mut by_shard: BTreeMap<_, Vec<Run>> = BTreeMap::new();
    let scan = scan_segment::<Failure>(&*file, known, |batch| {
        let (header, records_at) = (batch.header, batch.offset + batch.header.extent_len() as u64);
        for (shard, run) in place_runs(&header.runs, header.first, header.arrival, records_at) {
            if shard != CONTROL {
                by_shard.entry(shard).or_default().push(run);
            }
        }
        Ok(())
    })
    .map_err(|Failure(e)| e)?;
    Ok(SegmentIndex::build(first, end, by_shard, scan.damages))
}
