//! Where a shard's records lie in a sealed segment.
//!
//! Owns the index file. Promises that a loaded index is exactly what was written; a missing or damaged one is rebuilt
//! from its segment. Must not know how records are read.
//!
//! ```text
//! index file  NNNNNNNNNNNNNNNNNNNN.idx     beside the segment of the same number; little-endian, CRC is CRC32C
//!      0  magic          8   "TIDEIDX1"
//!      8  first          8   position, as in the name
//!     16  end            8   first position of the next segment
//!     24  oldest         8   smallest arrival, milliseconds since 1970, signed
//!     32  newest         8   greatest arrival
//!     40  shards         4   entries in the directory
//!     44  damages        4   bytes of the damage list
//!     48  runs           8   entries in the list of runs
//!     56  zero           4
//!     60  crc            4   of bytes 0..60, the directory and the damage list
//!   directory, 16 bytes a shard, ascending
//!      0  shard          4
//!      4  first run      4   place in the list of runs
//!      8  runs           4
//!     12  crc            4   of these runs
//!   damage list              JSON: what the segment lost
//!   runs, 28 bytes each, by shard, then by position
//!      0  first          8   position of the first record
//!      8  arrival        8
//!     16  offset         4   of the first record in the segment
//!     20  bytes          4
//!     24  records        4
//! ```

use std::collections::{BTreeMap, BTreeSet};

use base::{Position, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ShardRef;
use crate::format::{Damage, RunEntry, le};

/// Neighbouring records of one shard in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub first: Position,
    pub arrival: Timestamp,
    pub offset: u32,
    pub bytes: u32,
    pub records: u32,
}

impl Run {
    /// The position after its last record.
    pub fn end(&self) -> Position {
        Position::new(self.first.get() + u64::from(self.records))
    }
}

/// Where the runs of a batch lie whose first record is at `records_at` of the segment.
pub(crate) fn place_runs(
    table: &[RunEntry],
    first: Position,
    arrival: Timestamp,
    records_at: u64,
) -> impl Iterator<Item = (ShardRef, Run)> + '_ {
    let (mut first, mut at) = (first, records_at);
    table.iter().map(move |entry| {
        let run = Run { first, arrival, offset: at as u32, bytes: entry.bytes, records: entry.records };
        (first, at) = (run.end(), at + u64::from(entry.bytes));
        (entry.shard, run)
    })
}

/// The runs at or after a position; the first may begin before it.
pub(crate) fn runs_from(runs: &[Run], from: Position) -> &[Run] {
    &runs[runs.partition_point(|r| r.end() <= from)..]
}

/// The index of one sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    pub first: Position,
    pub end: Position,
    /// Smallest and greatest arrival; none when the segment holds no data.
    pub arrivals: Option<(Timestamp, Timestamp)>,
    pub damages: Vec<Damage>,
    directory: Vec<(ShardRef, u32, u32)>,
    runs: Vec<Run>,
}

const MAGIC: &[u8; 8] = b"TIDEIDX1";
const HEADER: usize = 64;
const ENTRY: usize = 16;
const RUN: usize = 28;

#[derive(Serialize, Deserialize)]
struct StoredDamage {
    offset: u64,
    first: Position,
    last: Position,
    shards: Option<BTreeSet<ShardRef>>,
}

impl SegmentIndex {
    /// Puts the runs of all shards together.
    pub fn build(first: Position, end: Position, by_shard: BTreeMap<ShardRef, Vec<Run>>, damages: Vec<Damage>) -> Self {
        let arrivals = || by_shard.values().flatten().map(|r| r.arrival);
        let arrivals = arrivals().min().zip(arrivals().max());
        // Made at once in its full size: a segment of many shards has hundreds of thousands of runs.
        let runs = Vec::with_capacity(by_shard.values().map(Vec::len).sum());
        let mut index = Self { first, end, arrivals, damages, directory: Vec::new(), runs };
        for (shard, mut runs) in by_shard {
            if !runs.is_empty() {
                index.directory.push((shard, index.runs.len() as u32, runs.len() as u32));
                index.runs.append(&mut runs);
            }
        }
        index
    }

    /// The runs of one shard.
    pub fn runs(&self, shard: ShardRef) -> &[Run] {
        self.directory.binary_search_by_key(&shard, |e| e.0).map_or(&[], |place| {
            let (_, first, count) = self.directory[place];
            &self.runs[first as usize..(first + count) as usize]
        })
    }

    /// The shards that have records here.
    pub fn shards(&self) -> impl Iterator<Item = ShardRef> + '_ {
        self.directory.iter().map(|e| e.0)
    }

    /// The first damage that concerns a shard at or after `from`.
    pub fn damage(&self, shard: ShardRef, from: Position) -> Option<&Damage> {
        let concerned = |d: &&Damage| d.last >= from && d.shards.as_ref().is_none_or(|s| s.contains(&shard));
        self.damages.iter().find(concerned)
    }

    /// Bytes of memory that it takes.
    pub fn size(&self) -> usize {
        HEADER + self.directory.len() * 12 + self.runs.len() * size_of::<Run>()
    }

    /// The index file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let damages: Vec<_> = self.damages.iter().map(StoredDamage::from).collect();
        // A list of numbers always has a JSON form.
        let damages = serde_json::to_vec(&damages).unwrap_or_default();
        let (oldest, newest) = self.arrivals.unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER + self.directory.len() * ENTRY + damages.len() + self.runs.len() * RUN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.first.get().to_le_bytes());
        out.extend_from_slice(&self.end.get().to_le_bytes());
        out.extend_from_slice(&oldest.millis().to_le_bytes());
        out.extend_from_slice(&newest.millis().to_le_bytes());
        out.extend_from_slice(&(self.directory.len() as u32).to_le_bytes());
        out.extend_from_slice(&(damages.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.runs.len() as u64).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        let mut runs = Vec::with_capacity(self.runs.len() * RUN);
        for (shard, first, count) in &self.directory {
            let start = runs.len();
            for run in &self.runs[*first as usize..(*first + *count) as usize] {
                encode_run(run, &mut runs);
            }
            for number in [shard.0, *first, *count, crc32c::crc32c(&runs[start..])] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out.extend_from_slice(&damages);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..HEADER - 4]), &out[HEADER..]);
        out[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
        out.append(&mut runs);
        out
    }

    /// Reads an index file; says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEADER || &bytes[..8] != MAGIC {
            return Err("it does not begin as an index");
        }
        let (shards, damages) = (le!(u32, bytes, 40) as usize, le!(u32, bytes, 44) as usize);
        let count = usize::try_from(le!(u64, bytes, 48)).map_err(|_| "it claims too many runs")?;
        let table = HEADER + shards.saturating_mul(ENTRY);
        let head = table.saturating_add(damages);
        if head.checked_add(count.saturating_mul(RUN)) != Some(bytes.len()) {
            return Err("its length is not what its header says");
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEADER - 4]), &bytes[HEADER..head]);
        if le!(u32, bytes, HEADER - 4) != crc {
            return Err("its checksum does not match");
        }
        let damages: Vec<StoredDamage> =
            serde_json::from_slice(&bytes[table..head]).map_err(|_| "its damage list is not readable")?;
        let mut directory = Vec::with_capacity(shards);
        let mut runs = Vec::with_capacity(count);
        for e in bytes[HEADER..table].chunks_exact(ENTRY) {
            let (first, len) = (le!(u32, e, 4), le!(u32, e, 8));
            let raw = bytes[head..].get(first as usize * RUN..(first as usize + len as usize) * RUN);
            let raw = raw.ok_or("its directory points outside")?;
            if first as usize != runs.len() || crc32c::crc32c(raw) != le!(u32, e, 12) {
                return Err("the checksum of its runs does not match");
            }
            directory.push((ShardRef(le!(u32, e, 0)), first, len));
            runs.extend(raw.chunks_exact(RUN).map(decode_run));
        }
        if runs.len() != count {
            return Err("its directory does not cover its runs");
        }
        let arrivals = (count > 0)
            .then(|| (Timestamp::from_millis(le!(i64, bytes, 24)), Timestamp::from_millis(le!(i64, bytes, 32))));
        Ok(Self {
            first: Position::new(le!(u64, bytes, 8)),
            end: Position::new(le!(u64, bytes, 16)),
            arrivals,
            damages: damages.into_iter().map(Damage::from).collect(),
            directory,
            runs,
        })
    }
}

fn encode_run(run: &Run, out: &mut Vec<u8>) {
    out.extend_from_slice(&run.first.get().to_le_bytes());
    out.extend_from_slice(&run.arrival.millis().to_le_bytes());
    for number in [run.offset, run.bytes, run.records] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn decode_run(raw: &[u8]) -> Run {
    Run {
        first: Position::new(le!(u64, raw, 0)),
        arrival: Timestamp::from_millis(le!(i64, raw, 8)),
        offset: le!(u32, raw, 16),
        bytes: le!(u32, raw, 20),
        records: le!(u32, raw, 24),
    }
}

impl From<&Damage> for StoredDamage {
    fn from(d: &Damage) -> Self {
        Self { offset: d.offset, first: d.first, last: d.last, shards: d.shards.clone() }
    }
}

impl From<StoredDamage> for Damage {
    fn from(d: StoredDamage) -> Self {
        Self { offset: d.offset, first: d.first, last: d.last, shards: d.shards }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> SegmentIndex {
        let run = |first, records| Run {
            first: Position::new(first),
            arrival: Timestamp::from_millis(first as i64),
            offset: first as u32 * 100,
            bytes: 70,
            records,
        };
        let by_shard = [(ShardRef(3), vec![run(1, 2), run(9, 1)]), (ShardRef(7), vec![run(3, 6)])].into();
        let damage = Damage {
            offset: 44,
            first: Position::new(10),
            last: Position::new(11),
            shards: Some([ShardRef(3)].into()),
        };
        SegmentIndex::build(Position::new(1), Position::new(12), by_shard, vec![damage])
    }

    #[test]
    fn reads_back_as_written() {
        let index = sample();
        assert_eq!(SegmentIndex::decode(&index.encode()), Ok(index.clone()));
        assert_eq!(runs_from(index.runs(ShardRef(3)), Position::new(2)).len(), 2);
        assert_eq!(runs_from(index.runs(ShardRef(3)), Position::new(3)).len(), 1);
        assert!(index.runs(ShardRef(4)).is_empty());
        assert!(index.damage(ShardRef(7), Position::ZERO).is_none());
        assert!(index.damage(ShardRef(3), Position::new(12)).is_none());
    }

    proptest! {
        #[test]
        fn any_changed_or_missing_byte_is_detected(place: prop::sample::Index, change in 1u8.., cut: bool) {
            let mut bytes = sample().encode();
            let place = place.index(bytes.len());
            if cut { bytes.truncate(place) } else { bytes[place] ^= change }
            prop_assert!(SegmentIndex::decode(&bytes).is_err());
        }
    }
}
