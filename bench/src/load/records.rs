//! The records that every contender gets: random data under random partition keys, the same sequence for a seed.

use base::{Rng, SeededRng};
use base64::Engine;

/// Records of one size. Keys are uniform over all shards.
pub struct Records {
    rng: SeededRng,
    bytes: usize,
}

impl Records {
    /// Records with `bytes` of data each.
    pub fn of(bytes: usize, seed: u64) -> Self {
        Self { rng: SeededRng::new(seed), bytes }
    }

    /// The next record: partition key and data.
    pub fn next(&self) -> (String, Vec<u8>) {
        let mut data = vec![0; self.bytes];
        self.rng.fill(&mut data);
        (format!("{:016x}", self.rng.u64()), data)
    }

    /// The next record's partition key, and the record as a member of `PutRecords`' list or the fields of a `PutRecord`.
    pub fn next_json(&self) -> (String, String) {
        let (key, data) = self.next();
        let data = base64::engine::general_purpose::STANDARD.encode(data);
        let json = format!(r#""Data":"{data}","PartitionKey":"{key}""#);
        (key, json)
    }
}
