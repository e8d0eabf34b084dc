//! One batch's bytes: encoded by its producer's task, completed by the writer.

use base::{Position, ProducerId, Timestamp};
use bytes::{BufMut, Bytes, BytesMut};

use super::le;
use super::record::{encode_record, encode_sealed, encoded_len};
use crate::record::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_DATA_BYTES};
use crate::seal::Sealing;
use crate::{Append, LogError, ShardRef};

/// Bytes of a batch before its table.
pub(crate) const BATCH_HEADER: usize = 80;
const RUN_ENTRY: usize = 12;
/// Bytes by which every batch of a segment begins.
pub(super) const MARK: usize = 8;
const HAS_PRODUCER: u8 = 1;

/// Neighbouring records of one shard in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunEntry {
    pub shard: ShardRef,
    pub records: u32,
    pub bytes: u32,
}

/// A batch that lacks only what the writer knows: positions, group and arrival.
pub(crate) struct EncodedBatch {
    bytes: BytesMut,
    /// Its table.
    pub runs: Vec<RunEntry>,
    /// Records.
    pub records: u32,
    /// The internal producer and its last source position.
    pub producer: Option<(ProducerId, Position)>,
    /// For each record in the order of the batch, its place in the caller's order.
    pub order: Vec<u32>,
}

impl EncodedBatch {
    /// Encodes data records, grouped by shard in stable order, and seals those that are to be.
    pub fn data(append: &Append, sealing: &Sealing) -> Result<Self, LogError> {
        Self::encode(append, sealing, 0)
    }

    /// Encodes one control record.
    pub fn control(append: &Append) -> Result<Self, LogError> {
        Self::encode(append, &Sealing::default(), 1)
    }

    fn encode(append: &Append, sealing: &Sealing, kind: u8) -> Result<Self, LogError> {
        let records = &append.records;
        if records.is_empty() || records.len() > MAX_BATCH_RECORDS {
            let count = records.len();
            return Err(LogError::Invalid(format!("a batch has 1 to {MAX_BATCH_RECORDS} records, not {count}")));
        }
        if let Some(r) = records.iter().find(|r| r.data.len() > MAX_DATA_BYTES) {
            let len = r.data.len();
            return Err(LogError::Invalid(format!("a record's data of {len} bytes exceeds {MAX_DATA_BYTES}")));
        }
        let mut order: Vec<u32> = (0..records.len() as u32).collect();
        order.sort_by_key(|i| records[*i as usize].shard);
        let mut runs: Vec<RunEntry> = Vec::new();
        let mut body = 0;
        for i in &order {
            let record = &records[*i as usize];
            let len = encoded_len(record, sealing.key(record.shard).is_some());
            body += len;
            match runs.last_mut() {
                Some(run) if run.shard == record.shard => {
                    run.records += 1;
                    run.bytes = run.bytes.saturating_add(len as u32);
                }
                _ => runs.push(RunEntry { shard: record.shard, records: 1, bytes: len as u32 }),
            }
        }
        let length = BATCH_HEADER + runs.len() * RUN_ENTRY + body;
        if length > MAX_BATCH_BYTES {
            return Err(LogError::Invalid(format!("a batch of {length} bytes exceeds {MAX_BATCH_BYTES}")));
        }
        let mut bytes = BytesMut::with_capacity(length);
        bytes.put_bytes(0, BATCH_HEADER);
        for run in &runs {
            bytes.put_u32_le(run.shard.0);
            bytes.put_u32_le(run.records);
            bytes.put_u32_le(run.bytes);
        }
        for i in &order {
            let record = &records[*i as usize];
            match sealing.key(record.shard) {
                None => encode_record(&mut bytes, record),
                Some(key) => encode_sealed(&mut bytes, record, key, *i)?,
            }
        }
        let mut batch = Self { bytes, runs, records: records.len() as u32, producer: append.producer, order };
        batch.fill_constant(kind, length);
        Ok(batch)
    }

    fn fill_constant(&mut self, kind: u8, length: usize) {
        let body_crc = crc32c::crc32c(&self.bytes[BATCH_HEADER + self.runs.len() * RUN_ENTRY..]);
        let h = &mut self.bytes[..BATCH_HEADER];
        h[12..16].copy_from_slice(&(length as u32).to_le_bytes());
        h[16..20].copy_from_slice(&body_crc.to_le_bytes());
        h[20..24].copy_from_slice(&self.records.to_le_bytes());
        h[48..52].copy_from_slice(&(self.runs.len() as u32).to_le_bytes());
        h[52] = kind;
        if let Some((producer, sequence)) = self.producer {
            h[53] = HAS_PRODUCER;
            h[56..72].copy_from_slice(&producer.0.to_le_bytes());
            h[72..80].copy_from_slice(&sequence.get().to_le_bytes());
        }
    }

    /// Bytes that it takes on disk.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes before its first record.
    pub fn records_offset(&self) -> usize {
        BATCH_HEADER + self.runs.len() * RUN_ENTRY
    }

    /// Completes the header: the batch is ready for the disk.
    pub fn complete(mut self, mark: u64, first: Position, group: Position, arrival: Timestamp) -> Bytes {
        let table_end = self.records_offset();
        let h = &mut self.bytes[..table_end];
        h[..8].copy_from_slice(&mark.to_le_bytes());
        h[24..32].copy_from_slice(&first.get().to_le_bytes());
        h[32..40].copy_from_slice(&group.get().to_le_bytes());
        h[40..48].copy_from_slice(&arrival.millis().to_le_bytes());
        let crc = crc32c::crc32c(&h[12..]);
        h[8..12].copy_from_slice(&crc.to_le_bytes());
        self.bytes.freeze()
    }
}

/// What a batch says of itself, checked against its header checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub length: u32,
    pub body_crc: u32,
    pub first: Position,
    pub group: Position,
    pub arrival: Timestamp,
    pub records: u32,
    pub control: bool,
    pub producer: Option<(ProducerId, Position)>,
    pub runs: Vec<RunEntry>,
}

impl BatchHeader {
    /// How many bytes header and table take, from the header's first bytes; none when this is no batch.
    pub fn extent(h: &[u8], mark: u64) -> Option<usize> {
        if h.len() < BATCH_HEADER || le!(u64, h, 0) != mark {
            return None;
        }
        let (length, records, runs) = (le!(u32, h, 12) as usize, le!(u32, h, 20) as usize, le!(u32, h, 48) as usize);
        let extent = BATCH_HEADER + runs.checked_mul(RUN_ENTRY)?;
        let plausible =
            (1..=MAX_BATCH_RECORDS).contains(&records) && (1..=records).contains(&runs) && length <= MAX_BATCH_BYTES;
        (plausible && extent < length).then_some(extent)
    }

    /// Reads header and table, which must be all there.
    pub fn decode(h: &[u8], mark: u64) -> Option<Self> {
        let extent = Self::extent(h, mark)?;
        let h = h.get(..extent)?;
        if le!(u32, h, 8) != crc32c::crc32c(&h[12..]) {
            return None;
        }
        let runs: Vec<_> = h[BATCH_HEADER..]
            .chunks_exact(RUN_ENTRY)
            .map(|e| RunEntry { shard: ShardRef(le!(u32, e, 0)), records: le!(u32, e, 4), bytes: le!(u32, e, 8) })
            .collect();
        let header = Self {
            length: le!(u32, h, 12),
            body_crc: le!(u32, h, 16),
            first: Position::new(le!(u64, h, 24)),
            group: Position::new(le!(u64, h, 32)),
            arrival: Timestamp::from_millis(le!(i64, h, 40)),
            records: le!(u32, h, 20),
            control: h[52] == 1,
            producer: (h[53] & HAS_PRODUCER != 0)
                .then(|| (ProducerId(le!(u128, h, 56)), Position::new(le!(u64, h, 72)))),
            runs,
        };
        header.adds_up(extent, h).then_some(header)
    }

    /// A checksum proves that the bytes are as written; this, that they were written by rules that we know.
    fn adds_up(&self, extent: usize, h: &[u8]) -> bool {
        let records: u64 = self.runs.iter().map(|r| u64::from(r.records)).sum();
        let bytes: u64 = self.runs.iter().map(|r| u64::from(r.bytes)).sum();
        h[52] <= 1
            && h[53] <= HAS_PRODUCER
            && self.group <= self.first
            && self.first.get().checked_add(records).is_some()
            && records == u64::from(self.records)
            && extent as u64 + bytes == u64::from(self.length)
            && self.runs.windows(2).all(|w| w[0].shard < w[1].shard)
    }

    /// The position after its last record.
    pub fn next(&self) -> Position {
        Position::new(self.first.get() + u64::from(self.records))
    }

    /// Bytes of header and table.
    pub fn extent_len(&self) -> usize {
        BATCH_HEADER + self.runs.len() * RUN_ENTRY
    }
}
