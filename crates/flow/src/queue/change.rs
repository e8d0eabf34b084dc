//! What becomes of messages, as the records of the queue's log that hold it.
//!
//! Owns their form. Promises that what is read back is what was written, and that anything else is refused. Must not
//! know what a change does.
//!
//! ```text
//! partition key "s"; data, little-endian:
//!    0  version      1   1
//!    1  changes, one after the other, each with its kind in front
//!         1 received   message 8, receives 4, at 8, until 8    handed to a consumer, invisible until then
//!         2 deferred   message 8, receives 4, until 8          invisible until then, if it was not received since
//!         3 deleted    message 8                               gone
//!         4 purged                                             everything before this record is gone
//! ```
//! A message is named by its place in the journal; times are milliseconds since 1970.

use base::{Position, Timestamp};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The partition key of a record of changes.
pub(super) const KEY: &str = "s";
const VERSION: u8 = 1;

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Handed to a consumer.
    Received {
        /// Which message.
        message: Position,
        /// How often it was received, this time included.
        receives: u32,
        /// When.
        at: Timestamp,
        /// It is invisible until then.
        until: Timestamp,
    },
    /// The receipt's holder asked for another time.
    Deferred {
        /// Which message.
        message: Position,
        /// Of which receive; a later one's time is not touched.
        receives: u32,
        /// It is invisible until then.
        until: Timestamp,
    },
    /// Dealt with, or moved elsewhere.
    Deleted {
        /// Which message.
        message: Position,
    },
    /// All that was there is deleted.
    Purged,
}

/// The record's data.
pub(super) fn encode(changes: &[Change]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + changes.len() * 29);
    out.put_u8(VERSION);
    for change in changes {
        match *change {
            Change::Received { message, receives, at, until } => {
                out.put_u8(1);
                out.put_u64_le(message.get());
                out.put_u32_le(receives);
                out.put_i64_le(at.millis());
                out.put_i64_le(until.millis());
            }
            Change::Deferred { message, receives, until } => {
                out.put_u8(2);
                out.put_u64_le(message.get());
                out.put_u32_le(receives);
                out.put_i64_le(until.millis());
            }
            Change::Deleted { message } => {
                out.put_u8(3);
                out.put_u64_le(message.get());
            }
            Change::Purged => out.put_u8(4),
        }
    }
    out.freeze()
}

/// Says what is wrong with data that holds no changes.
pub(super) fn decode(mut data: &[u8]) -> Result<Vec<Change>, String> {
    let short = |_| "it ends within a change".to_owned();
    let version = data.try_get_u8().map_err(short)?;
    if version != VERSION {
        return Err(format!("format version {version} is not {VERSION}"));
    }
    let mut changes = Vec::new();
    while data.has_remaining() {
        let kind = data.get_u8();
        if kind == 4 {
            changes.push(Change::Purged);
            continue;
        }
        let message = Position::new(data.try_get_u64_le().map_err(short)?);
        let time = |data: &mut &[u8]| data.try_get_i64_le().map(Timestamp::from_millis).map_err(short);
        changes.push(match kind {
            1 => {
                let receives = data.try_get_u32_le().map_err(short)?;
                Change::Received { message, receives, at: time(&mut data)?, until: time(&mut data)? }
            }
            2 => {
                let receives = data.try_get_u32_le().map_err(short)?;
                Change::Deferred { message, receives, until: time(&mut data)? }
            }
            3 => Change::Deleted { message },
            kind => return Err(format!("a change of kind {kind} is not known")),
        });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change() -> impl Strategy<Value = Change> {
        (any::<u64>(), any::<u32>(), any::<i64>(), any::<i64>(), 0..4).prop_map(
            |(message, receives, at, until, kind)| {
                let (message, at, until) =
                    (Position::new(message), Timestamp::from_millis(at), Timestamp::from_millis(until));
                match kind {
                    0 => Change::Received { message, receives, at, until },
                    1 => Change::Deferred { message, receives, until },
                    2 => Change::Deleted { message },
                    _ => Change::Purged,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn reads_back_as_written(changes in proptest::collection::vec(change(), 0..20)) {
            prop_assert_eq!(decode(&encode(&changes)).unwrap(), changes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(data: Vec<u8>) {
            let _ = decode(&data);
        }
    }

    #[test]
    fn the_form_is_pinned() {
        let deleted = Change::Deleted { message: Position::new(258) };
        assert_eq!(encode(&[deleted, Change::Purged])[..], [1, 3, 2, 1, 0, 0, 0, 0, 0, 0, 4]);
    }
}
