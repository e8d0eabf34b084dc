//! Requests as bytes.

/// What a request asks.
#[derive(Clone, Copy)]
pub enum Api {
    Produce,
    Fetch,
    Metadata,
    CreateTopics,
}

impl Api {
    fn key_and_version(self) -> (i16, i16) {
        match self {
            Self::Produce => (0, 7),
            Self::Fetch => (1, 4),
            Self::Metadata => (3, 1),
            Self::CreateTopics => (19, 4),
        }
    }
}

/// A request under construction; numbers are big-endian.
pub struct Frame(Vec<u8>);

impl Frame {
    /// The length, filled in by [`Self::done`], and the header.
    pub fn new(api: Api) -> Self {
        let (key, version) = api.key_and_version();
        Self(vec![0; 4]).i16(key).i16(version).i32(0).text("bench")
    }

    pub fn i8(mut self, value: i8) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i16(mut self, value: i16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i32(mut self, value: i32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i64(mut self, value: i64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn text(self, text: &str) -> Self {
        let mut out = self.i16(text.len() as i16);
        out.0.extend_from_slice(text.as_bytes());
        out
    }

    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut out = self.i32(bytes.len() as i32);
        out.0.extend_from_slice(bytes);
        out
    }

    /// The finished request.
    pub fn done(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// One record batch, version 2, uncompressed, without producer id. `now_ms` is its create time.
pub fn record_batch(records: &[(String, Vec<u8>)], now_ms: i64) -> Vec<u8> {
    let mut body =
        Vec::with_capacity(records.iter().map(|(key, data)| key.len() + data.len() + 16).sum::<usize>() + 64);
    body.extend_from_slice(&0_i16.to_be_bytes()); // attributes
    body.extend_from_slice(&(records.len() as i32 - 1).to_be_bytes()); // last offset, relative
    body.extend_from_slice(&now_ms.to_be_bytes()); // first time
    body.extend_from_slice(&now_ms.to_be_bytes()); // last time
    body.extend_from_slice(&(-1_i64).to_be_bytes()); // producer id
    body.extend_from_slice(&(-1_i16).to_be_bytes()); // producer epoch
    body.extend_from_slice(&(-1_i32).to_be_bytes()); // first sequence
    body.extend_from_slice(&(records.len() as i32).to_be_bytes());
    let mut record = Vec::new();
    for (n, (key, data)) in records.iter().enumerate() {
        record.clear();
        record.push(0); // attributes
        varint(&mut record, 0); // time, relative
        varint(&mut record, n as i64); // offset, relative
        varint(&mut record, key.len() as i64);
        record.extend_from_slice(key.as_bytes());
        varint(&mut record, data.len() as i64);
        record.extend_from_slice(data);
        varint(&mut record, 0); // headers
        varint(&mut body, record.len() as i64);
        body.extend_from_slice(&record);
    }
    let mut out = Vec::with_capacity(body.len() + 21);
    out.extend_from_slice(&0_i64.to_be_bytes()); // first offset: the broker's to give
    out.extend_from_slice(&(body.len() as i32 + 9).to_be_bytes());
    out.extend_from_slice(&(-1_i32).to_be_bytes()); // leader epoch
    out.push(2); // magic
    out.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// Zigzag, seven bits a byte, the lowest first.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_is_zigzag() {
        let encoded = |value| {
            let mut out = Vec::new();
            varint(&mut out, value);
            out
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(-1), [1]);
        assert_eq!(encoded(1), [2]);
        assert_eq!(encoded(200), [0x90, 0x03]);
    }

    #[test]
    fn a_batch_says_its_length_and_checksum() {
        let batch = record_batch(&[("k".into(), b"data".to_vec())], 7);
        assert_eq!(i32::from_be_bytes(batch[8..12].try_into().unwrap()) as usize, batch.len() - 12);
        assert_eq!(batch[16], 2);
        assert_eq!(u32::from_be_bytes(batch[17..21].try_into().unwrap()), crc32c::crc32c(&batch[21..]));
        // length, attributes, time, offset, key, data, headers
        assert_eq!(batch[61..], [22, 0, 0, 0, 2, b'k', 8, b'd', b'a', b't', b'a', 0]);
    }
}
