//! What is known at the start of a segment, so that recovery reads no older one.
//!
//! Owns the snapshot file, the mark of a clean stop and the last time seen. Promises that a loaded one is exactly what was written.
//!
//! ```text
//! snapshot  NNNNNNNNNNNNNNNNNNNN.snap   written before the segment of the same number is first used; has its mark, too
//! stopped   stopped                     written at a clean stop: what is durable for certain
//! clock     clock                       written at a clean stop and on a period: the times that were believed
//!      0  magic    8   "TIDESNP1", "TIDESTP1" or "TIDECLK1", little-endian below
//!      8  length   4   of the JSON
//!     12  crc      4   CRC32C of the JSON
//!     16  JSON
//! ```
//! `clock` is `{"believed":…,"arrivals":{"time":…,"wall":…}}`, all in milliseconds since 1970; `arrivals` may be absent.
//! The mark of a clean stop stays true for ever, as a lower bound, so it need not be removed at the next start.

use std::collections::HashMap;

use base::{Position, ProducerId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ShardRef;
use crate::catalogue::Catalogue;
use crate::format::le;

const SNAPSHOT: &[u8; 8] = b"TIDESNP1";
const STOPPED: &[u8; 8] = b"TIDESTP1";
const CLOCK: &[u8; 8] = b"TIDECLK1";
const HEADER: usize = 16;

/// The journal's state between two segments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// The next record's position: the segment's first.
    pub next: Position,
    /// The last arrival of all.
    pub last_arrival: Timestamp,
    /// By which the batches of the segment begin; the first programs did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u64>,
    /// Streams and numbering.
    pub catalogue: Catalogue,
    /// Each shard that has had records: the position after its last one, and when that arrived.
    pub tails: Vec<(ShardRef, Position, Timestamp)>,
    /// Each internal producer's last source position.
    #[serde(with = "producers")]
    pub producers: HashMap<ProducerId, Position>,
}

/// What was durable at a clean stop.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Stopped {
    /// The next record's position.
    pub next: Position,
}

/// The time, when it was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// By which retention was judged.
    pub believed: Timestamp,
    /// By which arrivals were stamped; the first programs did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrived>,
}

/// The time of arrival, when it was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrived {
    /// What a record was stamped with.
    pub time: Timestamp,
    /// What the wall clock showed, believed or not.
    pub wall: Timestamp,
}

impl Seen {
    pub fn encode(&self) -> Vec<u8> {
        encode(CLOCK, self)
    }

    /// Says what is wrong with a time that cannot be used.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        decode(CLOCK, bytes)
    }
}

impl Snapshot {
    pub fn encode(&self) -> Vec<u8> {
        encode(SNAPSHOT, self)
    }

    /// Says what is wrong with a snapshot that cannot be used.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        decode(SNAPSHOT, bytes)
    }
}

impl Stopped {
    pub fn encode(&self) -> Vec<u8> {
        encode(STOPPED, self)
    }

    /// Says what is wrong with a mark that cannot be used.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        decode(STOPPED, bytes)
    }
}

fn encode(magic: &[u8; 8], value: &impl Serialize) -> Vec<u8> {
    // Plain data with text keys always has a JSON form.
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut out = Vec::with_capacity(HEADER + json.len());
    out.extend_from_slice(magic);
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&json).to_le_bytes());
    out.extend_from_slice(&json);
    out
}

fn decode<T: DeserializeOwned>(magic: &[u8; 8], bytes: &[u8]) -> Result<T, &'static str> {
    if bytes.len() < HEADER || &bytes[..8] != magic {
        return Err("it does not begin as it should");
    }
    let json = &bytes[HEADER..];
    if le!(u32, bytes, 8) as usize != json.len() {
        return Err("its length is not what its header says");
    }
    if le!(u32, bytes, 12) != crc32c::crc32c(json) {
        return Err("its checksum does not match");
    }
    serde_json::from_slice(json).map_err(|_| "its content is not readable by this program")
}

mod producers {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(map: &HashMap<ProducerId, Position>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map.iter().map(|(id, position)| (format!("{:x}", id.0), position)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<HashMap<ProducerId, Position>, D::Error> {
        let list = Vec::<(String, Position)>::deserialize(d)?;
        let id = |text: &str| u128::from_str_radix(text, 16).map(ProducerId).map_err(serde::de::Error::custom);
        list.iter().map(|(text, position)| Ok((id(text)?, *position))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Snapshot {
        Snapshot {
            next: Position::new(9),
            tails: vec![(ShardRef(1), Position::new(9), Timestamp::from_millis(3))],
            producers: [(ProducerId(u128::MAX), Position::new(4))].into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn reads_back_as_written() {
        let read = Snapshot::decode(&sample().encode()).unwrap();
        assert_eq!((read.next, read.tails, read.producers), (sample().next, sample().tails, sample().producers));
        assert_eq!(Stopped::decode(&Stopped { next: Position::new(7) }.encode()).unwrap().next, Position::new(7));
    }

    proptest! {
        #[test]
        fn any_changed_or_missing_byte_is_detected(place: prop::sample::Index, change in 1u8.., cut: bool) {
            let mut bytes = sample().encode();
            let place = place.index(bytes.len());
            if cut { bytes.truncate(place) } else { bytes[place] ^= change }
            prop_assert!(Snapshot::decode(&bytes).is_err());
        }
    }
}
