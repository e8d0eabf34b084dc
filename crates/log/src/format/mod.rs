//! The journal's bytes, version 1.
//!
//! Owns the layout of segments, batches and records, and the reading of a segment that may be damaged. Promises that
//! every byte is covered by a checksum or by an explicit bound, that no length is believed before it is checked, and
//! that whatever it accepts was written whole. Must not know files' life (roll, retention) or who reads.
//!
//! All numbers are little-endian. CRC is CRC32C.
//!
//! ```text
//! segment file  NNNNNNNNNNNNNNNNNNNN.seg      named by the first position that it may hold, 20 digits
//!
//!   header, 40 bytes
//!      0  magic          8   "TIDEGATE"
//!      8  version        4   1
//!     12  zero           4
//!     16  first          8   position, as in the name
//!     24  mark           8   random, begins every batch of this segment
//!     32  zero           4
//!     36  header crc     4   of bytes 0..36
//!   batches, one after the other; the file ends after the last one, or in zeroes
//!
//! batch
//!   header, 80 bytes
//!      0  mark           8   of the segment
//!      8  header crc     4   of bytes 12..80 and the table
//!     12  length         4   of the whole batch, at most 64 MiB
//!     16  body crc       4   of the records
//!     20  records        4   1 to 100,000
//!     24  first          8   position of the first record; the others count on
//!     32  group          8   first position of its group: everything before was durable when this was written
//!     40  arrival        8   milliseconds since 1970, signed
//!     48  runs           4   entries in the table
//!     52  kind           1   0 data, 1 control
//!     53  flags          1   bit 0: has a producer
//!     54  zero           2
//!     56  producer      16   internal producer, or zero
//!     72  sequence       8   last source position in this batch, or zero
//!   table, 12 bytes a run, ascending by shard, each shard once
//!      0  shard          4
//!      4  records        4
//!      8  bytes          4
//!   records, run after run, in the order given by the producer
//!      0  record crc     4   of the rest of the record
//!      4  shard          4   as in the table; a control record has 4,294,967,295
//!      8  data length    4
//!     12  key length     2
//!     14  flags          1   0, or 1: has an explicit hash key, or 2: sealed
//!     15  hash key    0/16
//!         partition key      UTF-8
//!         data
//!   data of a sealed record, which has neither hash key nor partition key outside
//!      0  salt          20   of the append's key, which HKDF-SHA256 makes of the stream's
//!     20  number         4   of the record in its append: the first bytes of the nonce, whose others are zero
//!     24  content            AES-256-GCM, which authenticates stream id (4) and shard (4), too
//!           0  key length     2
//!           2  flags          1   bit 0: has an explicit hash key
//!           3  hash key    0/16
//!              partition key      UTF-8
//!              data
//!         tag           16
//! ```
//! The shard stands in the table and in each record: whichever of the two is damaged, the other still tells whose
//! records are lost, so that the other shards keep serving.
//!
//! **Torn or corrupt.** A group is written only after the group before it is durable. So when the bytes at some place
//! are no valid batch, and a batch behind it says in `group` that it was written later, then what is missing was
//! durable once: that is corruption. Without such proof it is the torn tail of the last group, which nobody was told
//! about, and it is cut. The mark is secret and differs from segment to segment, so that no client can make a record
//! whose data would be taken for a batch.

mod batch;
mod record;
mod scan;
mod segment;

pub(crate) use batch::{BATCH_HEADER, BatchHeader, EncodedBatch, RunEntry};
pub(crate) use record::{CONTROL, RECORD_HEADER, RecordView, claimed_len, decode_record, open_record};
pub(crate) use scan::{Damage, Known, Scan, ScannedBatch, scan_segment};
pub(crate) use segment::{SEGMENT_HEADER, SegmentHeader};

#[cfg(test)]
mod tests;

/// Reads a little-endian number at `at`. The caller has checked the bounds.
macro_rules! le {
    ($ty:ty, $buf:expr, $at:expr) => {{
        let mut raw = [0; size_of::<$ty>()];
        raw.copy_from_slice(&$buf[$at..$at + size_of::<$ty>()]);
        <$ty>::from_le_bytes(raw)
    }};
}
pub(crate) use le;
