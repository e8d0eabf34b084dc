//! One `PutRecords`: what is in it, and what comes after its answer.
//!
//! A pure step: the answer and the delay that the policy allows go in, what to do next comes out.

use std::time::Duration;

use anyhow::bail;
use base::ShardId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stream::api::is_busy;

/// Records and bytes of one call: the service's limit, and well below the server's for a body.
const MAX_RECORDS: usize = 500;
const MAX_BYTES: usize = 4 << 20;

/// A record to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: String,
    pub data: Vec<u8>,
}

impl Record {
    fn bytes(&self) -> usize {
        self.key.len() + self.data.len()
    }
}

/// The records of one call.
#[derive(Debug, Default)]
pub struct Batch {
    records: Vec<Record>,
    bytes: usize,
}

/// The answer to a call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Answer {
    records: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    shard_id: Option<ShardId>,
    sequence_number: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
}

/// A record that was put.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    pub shard: ShardId,
    pub sequence: String,
    pub bytes: u64,
}

/// What an answer leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub done: Vec<Done>,
    pub next: Next,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// All are put.
    Done,
    /// What is left in the batch is put again after this time.
    Again { after: Duration },
    /// What is left in the batch will not be put: the first error.
    GiveUp { code: String, message: String },
}

impl Batch {
    /// Whether the record can go with these. One alone always can.
    pub fn fits(&self, record: &Record) -> bool {
        self.records.is_empty() || (self.records.len() < MAX_RECORDS && self.bytes + record.bytes() <= MAX_BYTES)
    }

    pub fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.records.push(record);
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The call's parameters but for the stream.
    pub fn input(&self) -> Value {
        let entry = |record: &Record| json!({ "PartitionKey": record.key, "Data": STANDARD.encode(&record.data) });
        json!({ "Records": self.records.iter().map(entry).collect::<Vec<_>>() })
    }

    /// Keeps what was not put. `delay` is that before another attempt, if there may be one.
    ///
    /// # Errors
    /// The answer does not fit the batch.
    pub fn step(&mut self, answer: Answer, delay: Option<Duration>) -> anyhow::Result<Step> {
        if answer.records.len() != self.records.len() {
            bail!(
                "the server's answer to PutRecords cannot be understood: {} records too many or few",
                answer.records.len().abs_diff(self.records.len())
            );
        }
        let (mut done, mut error) = (Vec::new(), None);
        let records = std::mem::take(self).records;
        for (record, entry) in records.into_iter().zip(answer.records) {
            match (entry.shard_id, entry.sequence_number) {
                (Some(shard), Some(sequence)) => done.push(Done { shard, sequence, bytes: record.bytes() as u64 }),
                _ => {
                    let code = entry.error_code.unwrap_or_else(|| "no code".to_owned());
                    let lasting = !is_busy(&code);
                    // One that does not pass by itself is what has to be told.
                    if error.as_ref().is_none_or(|(_, _, known)| lasting && !known) {
                        error = Some((code, entry.error_message.unwrap_or_default(), lasting));
                    }
                    self.push(record);
                }
            }
        }
        let next = match (error, delay) {
            (None, _) => Next::Done,
            (Some((_, _, false)), Some(after)) => Next::Again { after },
            (Some((code, message, _)), _) => Next::GiveUp { code, message },
        };
        Ok(Step { done, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(data: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for data in data {
            batch.push(Record { key: "k".into(), data: data.as_bytes().into() });
        }
        batch
    }

    fn answer(entries: Value) -> Answer {
        serde_json::from_value(json!({ "FailedRecordCount": 0, "Records": entries })).unwrap()
    }

    fn ok(sequence: &str) -> Value {
        json!({ "ShardId": "shardId-000000000001", "SequenceNumber": sequence })
    }

    #[test]
    fn what_was_too_much_is_put_again_in_its_order() {
        let busy = json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down" });
        let mut left = batch(&["a", "b", "c", "d"]);
        let after = Duration::from_millis(100);
        let step = left.step(answer(json!([busy, ok("1"), busy, ok("2")])), Some(after)).unwrap();
        assert_eq!(step.next, Next::Again { after });
        assert_eq!(step.done[1], Done { shard: ShardId::new(1), sequence: "2".into(), bytes: 2 });
        assert_eq!(left.input()["Records"][1]["Data"], "Yw==");
        assert_eq!((left.len(), left.bytes), (2, 4));
        let step = left.step(answer(json!([ok("3"), busy])), None).unwrap();
        let (code, message) = ("ProvisionedThroughputExceededException".into(), "slow down".into());
        assert_eq!((step.next, left.len()), (Next::GiveUp { code, message }, 1));
    }

    #[test]
    fn an_error_that_does_not_pass_ends_it_at_once() {
        let busy = json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down" });
        let denied = json!({ "ErrorCode": "KMSDisabledException", "ErrorMessage": "no key" });
        let step = batch(&["a", "b"]).step(answer(json!([busy, denied])), Some(Duration::ZERO)).unwrap();
        assert_eq!(step.next, Next::GiveUp { code: "KMSDisabledException".into(), message: "no key".into() });
        assert_eq!(batch(&["a"]).step(answer(json!([ok("1")])), None).unwrap().next, Next::Done);
        assert!(batch(&["a"]).step(answer(json!([])), None).is_err());
    }

    #[test]
    fn a_batch_is_full_by_number_or_bytes() {
        let record = |bytes| Record { key: "k".into(), data: vec![0; bytes] };
        let mut full = Batch::default();
        assert!(full.fits(&record(MAX_BYTES * 2)), "one alone always fits");
        for _ in 0..MAX_RECORDS {
            assert!(full.fits(&record(1)));
            full.push(record(1));
        }
        assert!(!full.fits(&record(1)));
        let mut heavy = batch(&["a"]);
        heavy.push(record(MAX_BYTES - 3));
        assert!(!heavy.fits(&record(0)));
    }
}
