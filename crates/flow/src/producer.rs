//! Names for internal producers, so that a replay adds nothing twice.
//!
//! Owns the hash from names to [`ProducerId`]. Promises that the same parts always give the same id, in every version,
//! because ids are kept in the journal. Must not know what the parts mean.
//!
//! ```text
//! id = first 16 bytes, big endian, of SHA-256( for each part: length as u32 big endian, bytes )
//! ```

use base::{ProducerId, ShardId};
use log::StreamId;
use sha2::{Digest, Sha256};

/// The id of the producer that these parts name.
pub fn producer_id(parts: &[&[u8]]) -> ProducerId {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    ProducerId(u128::from_be_bytes(id))
}

/// One source shard on its way through one rule or subscription. The stream's number stands for this incarnation of
/// the source: one deleted and created again is another producer.
pub fn from_shard(stream: StreamId, shard: ShardId, way: &[&str]) -> ProducerId {
    let (stream, shard) = (stream.number().to_be_bytes(), shard.number().to_be_bytes());
    let mut parts: Vec<&[u8]> = vec![b"shard", &stream, &shard];
    parts.extend(way.iter().map(|part| part.as_bytes()));
    producer_id(&parts)
}

/// The same producer for one incarnation of a destination stream.
pub fn into_stream(producer: ProducerId, destination: StreamId) -> ProducerId {
    producer_id(&[b"into", &producer.0.to_be_bytes(), &destination.number().to_be_bytes()])
}

/// An id for what one producer makes of one source record, in the form of a UUID: the same at every replay.
pub fn stable_uuid(producer: ProducerId, position: base::Position) -> String {
    let hash = producer_id(&[b"uuid", &producer.0.to_be_bytes(), &position.get().to_be_bytes()]).0;
    // Version 8 (own construction) and variant bits, RFC 9562.
    let id = (hash & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_pinned_and_parts_do_not_run_together() {
        // Ids are kept in journals: a change here would deliver everything again.
        assert_eq!(producer_id(&[b"a", b"b"]).0, 0x1627_5ef0_f5d0_eb9d_d9e0_a532_7754_9fda);
        assert_ne!(producer_id(&[b"ab", b""]), producer_id(&[b"a", b"b"]));
    }

    #[test]
    fn a_stable_uuid_has_the_form_of_one() {
        let id = stable_uuid(ProducerId(7), base::Position::new(9));
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
        assert_eq!(id, stable_uuid(ProducerId(7), base::Position::new(9)));
        assert_ne!(id, stable_uuid(ProducerId(7), base::Position::new(10)));
    }
}
