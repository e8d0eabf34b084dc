//! One record's bytes.

use bytes::{BufMut, BytesMut};

use super::le;
use crate::{NewRecord, ShardRef};

/// Bytes of a record before its hash key, partition key and data.
pub(crate) const RECORD_HEADER: usize = 15;
/// The shard number of control records.
pub(crate) const CONTROL: ShardRef = ShardRef(u32::MAX);
const HAS_HASH_KEY: u8 = 1;

/// A record within the bytes of its run: where its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordView {
    pub shard: ShardRef,
    pub hash_key: Option<u128>,
    /// Offset of the partition key.
    pub key: usize,
    /// Offset of the data.
    pub data: usize,
    /// Offset after the record.
    pub end: usize,
}

/// Bytes that a record takes.
pub(crate) fn encoded_len(record: &NewRecord) -> usize {
    let hash_key = if record.explicit_hash_key.is_some() { 16 } else { 0 };
    RECORD_HEADER + hash_key + record.partition_key.as_str().len() + record.data.len()
}

/// Writes a record. The caller has checked its bounds.
pub(crate) fn encode_record(out: &mut BytesMut, record: &NewRecord) {
    let start = out.len();
    let key = record.partition_key.as_str().as_bytes();
    out.put_u32_le(0);
    out.put_u32_le(record.shard.0);
    out.put_u32_le(record.data.len() as u32);
    out.put_u16_le(key.len() as u16);
    match record.explicit_hash_key {
        None => out.put_u8(0),
        Some(hash_key) => {
            out.put_u8(HAS_HASH_KEY);
            out.put_u128_le(hash_key.0);
        }
    }
    out.put_slice(key);
    out.put_slice(&record.data);
    let crc = crc32c::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the record at `at`; says what is wrong when its bytes were not written so.
pub(crate) fn decode_record(buf: &[u8], at: usize) -> Result<RecordView, &'static str> {
    let rest = buf.get(at..).unwrap_or_default();
    if rest.len() < RECORD_HEADER {
        return Err("the bytes end in a record's header");
    }
    let data_len = le!(u32, rest, 8) as usize;
    let key_len = usize::from(le!(u16, rest, 12));
    let flags = rest[14];
    let hash_len = if flags & HAS_HASH_KEY == 0 { 0 } else { 16 };
    let len = RECORD_HEADER + hash_len + key_len + data_len;
    if rest.len() < len {
        return Err("the bytes end in a record");
    }
    if le!(u32, rest, 0) != crc32c::crc32c(&rest[4..len]) {
        return Err("a record's checksum does not match");
    }
    if flags & !HAS_HASH_KEY != 0 {
        return Err("a record has flags that this program does not know");
    }
    let hash_key = (hash_len > 0).then(|| le!(u128, rest, RECORD_HEADER));
    let key = at + RECORD_HEADER + hash_len;
    Ok(RecordView { shard: ShardRef(le!(u32, rest, 4)), hash_key, key, data: key + key_len, end: at + len })
}
