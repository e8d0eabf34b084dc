//! The header of a segment file.

use base::Position;

use super::le;

/// Bytes before the first batch.
pub(crate) const SEGMENT_HEADER: u64 = 40;
const LEN: usize = SEGMENT_HEADER as usize;
const MAGIC: &[u8; 8] = b"TIDEGATE";
const VERSION: u32 = 1;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub first: Position,
    /// Begins every batch of this segment.
    pub mark: u64,
}

impl SegmentHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; LEN] {
        let mut header = [0; LEN];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&self.first.get().to_le_bytes());
        header[24..32].copy_from_slice(&self.mark.to_le_bytes());
        let crc = crc32c::crc32c(&header[..LEN - 4]);
        header[LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Reads a header; says what is wrong with it.
    pub fn decode(header: &[u8]) -> Result<Self, &'static str> {
        if header.len() < LEN {
            return Err("the file ends in its header");
        }
        if &header[..8] != MAGIC {
            return Err("it does not begin as a segment");
        }
        if le!(u32, header, LEN - 4) != crc32c::crc32c(&header[..LEN - 4]) {
            return Err("the header's checksum does not match");
        }
        if le!(u32, header, 8) != VERSION {
            return Err("it has a format version that this program does not know");
        }
        Ok(Self { first: Position::new(le!(u64, header, 16)), mark: le!(u64, header, 24) })
    }
}
