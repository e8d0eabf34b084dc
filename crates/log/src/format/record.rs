//! One record's bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::le;
use crate::seal::{AppendKey, NONCE, Opener, TAG};
use crate::{LogError, NewRecord, ShardRef};

/// Bytes of a record before its hash key, partition key and data.
pub(crate) const RECORD_HEADER: usize = 15;
/// The shard number of control records.
pub(crate) const CONTROL: ShardRef = ShardRef(u32::MAX);
const HAS_HASH_KEY: u8 = 1;
const SEALED: u8 = 2;
/// Bytes of a sealed record's content before its hash key, partition key and data.
const CONTENT_HEADER: usize = 3;

/// A record within the bytes of its run: where its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordView {
    pub shard: ShardRef,
    /// Its data is sealed: the keys and the data within are got by [`open_record`].
    pub sealed: bool,
    pub hash_key: Option<u128>,
    /// Offset of the partition key.
    pub key: usize,
    /// Offset of the data.
    pub data: usize,
    /// Offset after the record.
    pub end: usize,
}

/// Bytes that a record takes.
pub(crate) fn encoded_len(record: &NewRecord, sealed: bool) -> usize {
    let hash_key = if record.explicit_hash_key.is_some() { 16 } else { 0 };
    let seal = if sealed { NONCE + CONTENT_HEADER + TAG } else { 0 };
    RECORD_HEADER + seal + hash_key + record.partition_key.as_str().len() + record.data.len()
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

/// Writes a record whose hash key, partition key and data are sealed. The caller has checked its bounds, and numbers
/// the records of the append.
pub(crate) fn encode_sealed(
    out: &mut BytesMut,
    record: &NewRecord,
    key: &AppendKey,
    number: u32,
) -> Result<(), LogError> {
    let start = out.len();
    let partition_key = record.partition_key.as_str().as_bytes();
    out.put_u32_le(0);
    out.put_u32_le(record.shard.0);
    out.put_u32_le((encoded_len(record, true) - RECORD_HEADER) as u32);
    out.put_u16_le(0);
    out.put_u8(SEALED);
    out.put_slice(&key.nonce(number));
    let content = out.len();
    out.put_u16_le(partition_key.len() as u16);
    match record.explicit_hash_key {
        None => out.put_u8(0),
        Some(hash_key) => {
            out.put_u8(HAS_HASH_KEY);
            out.put_u128_le(hash_key.0);
        }
    }
    out.put_slice(partition_key);
    out.put_slice(&record.data);
    let tag = key.seal(record.shard, number, &mut out[content..])?;
    out.put_slice(&tag);
    let crc = crc32c::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// What a sealed record holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub hash_key: Option<u128>,
    pub partition_key: Bytes,
    pub data: Bytes,
}

/// Opens the data of a sealed record; says what is wrong when it was not sealed so.
pub(crate) fn open_record(sealed: &[u8], shard: ShardRef, opener: &mut Opener) -> Result<Content, &'static str> {
    const SHORT: &str = "a sealed record is too short";
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(SHORT)?;
    let (content, tag) = rest.split_last_chunk::<TAG>().filter(|(c, _)| c.len() >= CONTENT_HEADER).ok_or(SHORT)?;
    let mut content = BytesMut::from(content);
    opener.open(shard, nonce, &mut content, tag).map_err(|_| "a sealed record was changed, or is another shard's")?;
    let content = content.freeze();
    let (key_len, flags) = (usize::from(le!(u16, content, 0)), content[2]);
    let hash_len = if flags & HAS_HASH_KEY == 0 { 0 } else { 16 };
    let key_at = CONTENT_HEADER + hash_len;
    let data_at = key_at + key_len;
    if content.len() < data_at || flags & !HAS_HASH_KEY != 0 {
        return Err("a sealed record's content has a form that this program does not know");
    }
    let hash_key = (hash_len > 0).then(|| le!(u128, content, CONTENT_HEADER));
    Ok(Content { hash_key, partition_key: content.slice(key_at..data_at), data: content.slice(data_at..) })
}

/// The bytes that a record claims to take by its header, all of which must be there; none when it has flags that this
/// program does not know.
pub(crate) fn claimed_len(header: &[u8]) -> Option<usize> {
    let flags = header[14];
    let hash_len = if flags & HAS_HASH_KEY == 0 { 0 } else { 16 };
    let len = RECORD_HEADER + hash_len + usize::from(le!(u16, header, 12)) + le!(u32, header, 8) as usize;
    matches!(flags, 0 | HAS_HASH_KEY | SEALED).then_some(len)
}

/// Reads the record at `at`; says what is wrong when its bytes were not written so.
pub(crate) fn decode_record(buf: &[u8], at: usize) -> Result<RecordView, &'static str> {
    let rest = buf.get(at..).unwrap_or_default();
    if rest.len() < RECORD_HEADER {
        return Err("the bytes end in a record's header");
    }
    let (data_len, key_len, flags) = (le!(u32, rest, 8) as usize, usize::from(le!(u16, rest, 12)), rest[14]);
    let hash_len = if flags & HAS_HASH_KEY == 0 { 0 } else { 16 };
    let len = RECORD_HEADER + hash_len + key_len + data_len;
    if rest.len() < len {
        return Err("the bytes end in a record");
    }
    if le!(u32, rest, 0) != crc32c::crc32c(&rest[4..len]) {
        return Err("a record's checksum does not match");
    }
    if !matches!(flags, 0 | HAS_HASH_KEY | SEALED) {
        return Err("a record has flags that this program does not know");
    }
    let hash_key = (hash_len > 0).then(|| le!(u128, rest, RECORD_HEADER));
    let (shard, sealed) = (ShardRef(le!(u32, rest, 4)), flags == SEALED);
    let key = at + RECORD_HEADER + hash_len;
    Ok(RecordView { shard, sealed, hash_key, key, data: key + key_len, end: at + len })
}
