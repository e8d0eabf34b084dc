//! Reads a segment batch by batch, and tells a torn tail from corruption.

use std::collections::BTreeSet;
use std::io;

use base::{File, Position};

use super::batch::MARK;
use super::record::{RECORD_HEADER, claimed_len};
use super::{BATCH_HEADER, BatchHeader, SEGMENT_HEADER, decode_record};
use crate::ShardRef;

/// What is known of a segment before it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// By which its batches begin.
    pub mark: u64,
    /// The position of its first record.
    pub first: Position,
    /// The first position of the next segment; none for the active one. Whatever lies at or behind it was given up.
    pub end: Option<Position>,
    /// Records before this position were durable when last seen.
    pub at_least: Position,
    /// Shards from this number on do not exist.
    pub shard_limit: u32,
}

/// Positions that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where in the file.
    pub offset: u64,
    /// First lost position.
    pub first: Position,
    /// Last lost position.
    pub last: Position,
    /// Whose records; none when it cannot be told, so that every shard may be concerned.
    pub shards: Option<BTreeSet<ShardRef>>,
}

/// A batch as found.
pub(crate) struct ScannedBatch<'a> {
    pub offset: u64,
    pub header: &'a BatchHeader,
    /// Its records.
    pub body: &'a [u8],
    /// Whether the records are as written. When not, the header is still right, and each record tells for itself.
    pub intact: bool,
}

/// How a scan ended.
#[derive(Debug)]
pub(crate) struct Scan {
    /// After the last valid batch.
    pub offset: u64,
    /// The position that follows.
    pub next: Position,
    /// Where the last group starts: everything before was durable when that was written.
    pub last_group: u64,
    /// Whether bytes that are no batch follow.
    pub torn: bool,
    /// What is lost before `offset`.
    pub damages: Vec<Damage>,
    /// The last group is a change of the catalogue that may be torn, and not all of its copies are there.
    pub completed: bool,
}

/// Where reading goes on after a break.
#[derive(Debug, Clone, Copy)]
struct Later {
    offset: u64,
    first: Position,
    /// It proves that what is missing was durable.
    proof: bool,
    /// Nothing is missing but copies of the change that it brings.
    repeats: bool,
}

enum Found {
    Batch(BatchHeader, bool),
    /// Nothing but zeroes to the end of the file, or no bytes at all.
    End,
    Broken,
}

/// Reads all batches of a segment in order.
pub(crate) fn scan_segment<E: From<io::Error>>(
    file: &dyn File,
    known: Known,
    mut on_batch: impl FnMut(ScannedBatch<'_>) -> Result<(), E>,
) -> Result<Scan, E> {
    let mut window = Window { len: file.len()?, file, mark: known.mark, start: 0, buf: Vec::new() };
    let (offset, next, damages) = (SEGMENT_HEADER, known.first, Vec::new());
    let mut scan = Scan { offset, next, last_group: 0, torn: false, damages, completed: false };
    let mut group = known.first;
    loop {
        if known.end.is_some_and(|end| scan.next >= end) {
            return Ok(scan);
        }
        let found = window.batch_at(scan.offset, scan.next)?;
        if let Found::Batch(header, _) = &found
            && header.group > group
        {
            (group, scan.last_group) = (header.group, scan.offset);
        }
        match found {
            Found::Batch(header, true) => deliver(&mut window, &mut scan, &header, true, &mut on_batch)?,
            Found::Batch(header, false) if proven(&mut window, &scan, known, header.next())? => {
                deliver(&mut window, &mut scan, &header, false, &mut on_batch)?;
            }
            Found::End if scan.next >= known.end.unwrap_or(known.at_least) => return Ok(scan),
            Found::Batch(..) | Found::Broken | Found::End => {
                let Some(later) = after_break(&mut window, &scan, known)? else {
                    scan.torn = scan.offset < window.len;
                    return Ok(scan);
                };
                if later.proof {
                    let damage = damage(&mut window, &scan, later, known)?;
                    scan.damages.push(damage);
                } else {
                    scan.completed = true;
                }
                (scan.offset, scan.next) = (later.offset, later.first);
            }
        }
    }
}

fn deliver<E: From<io::Error>>(
    window: &mut Window<'_>,
    scan: &mut Scan,
    header: &BatchHeader,
    intact: bool,
    on_batch: &mut impl FnMut(ScannedBatch<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let body = &window.bytes(scan.offset, header.length as usize)?[header.extent_len()..];
    on_batch(ScannedBatch { offset: scan.offset, header, body, intact })?;
    scan.offset += u64::from(header.length);
    scan.next = header.next();
    Ok(())
}

/// What is lost between a break and where reading goes on.
fn damage(window: &mut Window<'_>, scan: &Scan, later: Later, known: Known) -> io::Result<Damage> {
    let shards = match later.repeats {
        true => Some([super::CONTROL].into()),
        false => salvage(window, scan.offset, later.offset, known, later.first.get() - scan.next.get())?,
    };
    let last = Position::new(later.first.get().saturating_sub(1));
    Ok(Damage { offset: scan.offset, first: scan.next, last, shards })
}

/// Whether a batch with damaged records, whose positions end before `next`, was durable once.
fn proven(window: &mut Window<'_>, scan: &Scan, known: Known, next: Position) -> io::Result<bool> {
    let expected = known.end.unwrap_or(known.at_least);
    Ok(next <= expected || later_batch(window, scan, known)?.is_some_and(|later| later.proof))
}

/// Where reading goes on after a break that is proven to be corruption, or that a copy makes good; none when it is a
/// torn tail.
fn after_break(window: &mut Window<'_>, scan: &Scan, known: Known) -> io::Result<Option<Later>> {
    if let Some(found) = later_batch(window, scan, known)? {
        return Ok(Some(found));
    }
    let expected = known.end.unwrap_or(known.at_least);
    let (offset, proof, repeats) = (window.len.max(scan.offset), true, false);
    Ok((scan.next < expected).then_some(Later { offset, first: expected, proof, repeats }))
}

/// The next valid batch behind the break, if one proves that what is missing was durable, or if itself is a copy of
/// the change that the break begins with: a change is a group of its own.
fn later_batch(window: &mut Window<'_>, scan: &Scan, known: Known) -> io::Result<Option<Later>> {
    let expected = known.end.unwrap_or(known.at_least);
    let (mut at, mut nearest, mut copy) = (scan.offset + 1, None, false);
    while let Some(offset) = window.find_mark(at)? {
        at = offset + 1;
        let Found::Batch(header, true) = window.batch_at(offset, Position::ZERO)? else { continue };
        if header.first <= scan.next || known.end.is_some_and(|end| header.first >= end) {
            continue;
        }
        at = offset + u64::from(header.length);
        let nearest = nearest.get_or_insert_with(|| {
            copy = header.control && header.group == scan.next;
            let repeats = header.control && header.group <= scan.next;
            Later { offset, first: header.first, proof: false, repeats }
        });
        if header.group > scan.next || nearest.first <= expected {
            return Ok(Some(Later { proof: true, ..*nearest }));
        }
    }
    Ok(nearest.filter(|_| copy))
}

/// Whose records lie between two offsets; none when not all of the `lost` ones are found.
fn salvage(
    window: &mut Window<'_>,
    from: u64,
    to: u64,
    known: Known,
    lost: u64,
) -> io::Result<Option<BTreeSet<ShardRef>>> {
    let (mut shards, mut found, mut at) = (BTreeSet::new(), 0, from);
    while at + RECORD_HEADER as u64 <= to {
        let Some(len) = window.record_at(at, to)? else {
            at += 1;
            continue;
        };
        let view = decode_record(window.bytes(at, len)?, 0).map(|v| v.shard);
        match view {
            Ok(shard) if shard.0 < known.shard_limit || shard == super::CONTROL => {
                shards.insert(shard);
                found += 1;
                at += len as u64;
            }
            _ => at += 1,
        }
    }
    Ok((found == lost).then_some(shards))
}

/// A part of a file in memory, moved along as the scan goes.
struct Window<'a> {
    file: &'a dyn File,
    mark: u64,
    len: u64,
    start: u64,
    buf: Vec<u8>,
}

const WINDOW: usize = 1 << 20;

impl Window<'_> {
    /// Exactly `len` bytes at `offset`, which must be within the file.
    fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let end = offset + len as u64;
        if offset < self.start || end > self.start + self.buf.len() as u64 {
            let size = (self.len.saturating_sub(offset)).min(len.max(WINDOW) as u64) as usize;
            self.buf.resize(size, 0);
            self.start = offset;
            if let Err(e) = self.file.read_exact_at(&mut self.buf, offset) {
                self.buf.clear();
                return Err(e);
            }
        }
        let at = (offset - self.start) as usize;
        self.buf.get(at..at + len).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn left(&self, offset: u64) -> usize {
        usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX)
    }

    /// The batch at `offset`, which must begin at `first` unless that is zero.
    fn batch_at(&mut self, offset: u64, first: Position) -> io::Result<Found> {
        let left = self.left(offset);
        if left < BATCH_HEADER {
            return self.end_or_broken(offset);
        }
        let mark = self.mark;
        let Some(extent) = BatchHeader::extent(self.bytes(offset, BATCH_HEADER)?, mark).filter(|e| *e <= left) else {
            return self.end_or_broken(offset);
        };
        let Some(header) = BatchHeader::decode(self.bytes(offset, extent)?, mark) else { return Ok(Found::Broken) };
        let length = header.length as usize;
        if length > left || (first != Position::ZERO && header.first != first) {
            return Ok(Found::Broken);
        }
        let intact = crc32c::crc32c(&self.bytes(offset, length)?[extent..]) == header.body_crc;
        Ok(Found::Batch(header, intact))
    }

    fn end_or_broken(&mut self, mut offset: u64) -> io::Result<Found> {
        while offset < self.len {
            let len = self.left(offset).min(WINDOW);
            if self.bytes(offset, len)?.iter().any(|b| *b != 0) {
                return Ok(Found::Broken);
            }
            offset += len as u64;
        }
        Ok(Found::End)
    }

    /// The next place at or after `offset` that begins by the mark.
    fn find_mark(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        while self.left(offset) >= BATCH_HEADER {
            let len = self.left(offset).min(WINDOW);
            let mark = self.mark.to_le_bytes();
            if let Some(at) = self.bytes(offset, len)?.windows(MARK).position(|w| w == mark) {
                return Ok(Some(offset + at as u64));
            }
            offset += (len - (MARK - 1)) as u64;
        }
        Ok(None)
    }

    /// The length that the record at `offset` claims, if it fits before `to`.
    fn record_at(&mut self, offset: u64, to: u64) -> io::Result<Option<usize>> {
        let len = claimed_len(self.bytes(offset, RECORD_HEADER)?);
        Ok(len.filter(|len| offset + *len as u64 <= to))
    }
}
