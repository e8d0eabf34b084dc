//! Telling of records that are given up: the message that a mapping's on-failure destination gets.
//!
//! Owns that message ("Capturing discarded batches for a Kinesis Data Streams event source", Lambda Developer Guide) and
//! which destinations may be chosen. Promises that a batch is told at least once, and no more often when it is given up
//! again after a crash as it was: the destination knows the shard's producer and the batch's last record.
//! Must not know when a batch is given up.

use base::{Arn, Delivery, Scope, SequenceNumber, Target, TargetError, Timestamp};
use log::Record;
use serde_json::{Value, json};

use super::Mappings;
use super::stuck::Answered;
use crate::FlowError;
use crate::consumer::{Batch, DropReason};
use crate::producer::{from_shard, stable_uuid};

/// A batch that is given up.
pub(super) struct Lost<'a> {
    pub mapping: &'a str,
    pub function: &'a Arn,
    pub source: &'a Arn,
    pub batch: &'a Batch,
    /// Those of its records that the mapping's filters let through, at least one.
    pub records: &'a [&'a Record],
    pub why: &'a DropReason,
    /// How the function answered last.
    pub answered: Option<Answered>,
    pub now: Timestamp,
}

impl Lost<'_> {
    /// Tells `to`, durably.
    pub async fn tell(&self, router: &dyn Target, to: &Arn) -> Result<(), TargetError> {
        let Some(last) = self.records.last() else { return Ok(()) };
        let lane = self.batch.lane;
        let lane = if lane.of == 1 { String::new() } else { format!("{}/{}", lane.index, lane.of) };
        let producer = from_shard(self.batch.stream, self.batch.shard, &["mapping", self.mapping, &lane]);
        let id = stable_uuid(producer, last.position);
        let payload = self.document(&id).to_string().into();
        let delivery = Delivery { position: last.position, payload, partition_key: None };
        router.deliver(to, producer, &[delivery]).await
    }

    fn document(&self, id: &str) -> Value {
        let (first, last) = (self.records.first(), self.records.last());
        let number = |record: &&Record| SequenceNumber::new(record.position, self.batch.shard, record.arrival);
        let number = |record: Option<&&Record>| record.map(|record| number(record).to_string());
        let arrival = |record: Option<&&Record>| record.map(|record| record.arrival.to_iso_millis());
        let condition = match self.why {
            DropReason::Expired => "RecordAgeExceeded",
            DropReason::Attempts(_) | DropReason::Refused(_) => "RetryAttemptsExhausted",
        };
        let mut document = json!({
            "requestContext": {
                "requestId": self.answered.as_ref().map_or(id, |answered| &answered.request_id),
                "functionArn": self.function.to_string(),
                "condition": condition,
                "approximateInvokeCount": self.batch.attempt,
            },
            "version": "1.0",
            "timestamp": self.now.to_iso_millis(),
            "KinesisBatchInfo": {
                "shardId": self.batch.shard.to_string(),
                "startSequenceNumber": number(first),
                "endSequenceNumber": number(last),
                "approximateArrivalOfFirstRecord": arrival(first),
                "approximateArrivalOfLastRecord": arrival(last),
                "batchSize": self.records.len(),
                "streamArn": self.source.to_string(),
            },
        });
        if let Some(answered) = &self.answered {
            let mut context = json!({ "statusCode": 200, "executedVersion": answered.version });
            if let Some(error) = &answered.error {
                context["functionError"] = Value::from(error.as_str());
            }
            document["responseContext"] = context;
        }
        document
    }
}

impl Mappings {
    /// Whether `to` can be told of what a mapping of this account and region gives up.
    pub(super) async fn check_destination(&self, scope: &Scope, to: &Arn) -> Result<(), FlowError> {
        let invalid = |why: &str| Err(FlowError::Invalid(format!("the on-failure destination {to} {why}")));
        match to.service() {
            "sqs" | "sns" if to.resource().ends_with(".fifo") => return invalid("is FIFO; it must be standard"),
            "sqs" | "sns" => {}
            "s3" => return invalid("is a bucket, which is not available in this version of Tidegate"),
            _ => return invalid("is not the ARN of a queue or a topic"),
        }
        if to.scope().as_ref() != Some(scope) {
            return invalid("is not in this account and region");
        }
        match self.inner.ports.router.check(to).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind.is_transient() => Err(FlowError::Unavailable(error.message)),
            Err(error) => invalid(&format!("cannot be used: {}", error.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{Position, ShardId};
    use bytes::Bytes;

    use super::*;
    use crate::consumer::Batch;

    #[test]
    fn the_message_is_the_one_that_is_documented() {
        // The numbers of streams and shards are the log's; a batch of any shard does.
        let shard = ShardId::new(1);
        let record = |position, ms| Record {
            position: Position::new(position),
            arrival: Timestamp::from_millis(ms),
            partition_key: "k".parse().unwrap(),
            explicit_hash_key: None,
            data: Bytes::new(),
            sealed: false,
        };
        let records = [record(5, 1_573_691_884_835), record(9, 1_573_691_885_580)];
        let number = |r: &Record| SequenceNumber::new(r.position, shard, r.arrival).to_string();
        let (first, last) = (number(&records[0]), number(&records[1]));
        let function: Arn = "arn:aws:lambda:us-east-2:123456789012:function:myfunction".parse().unwrap();
        let source: Arn = "arn:aws:kinesis:us-east-2:123456789012:stream/mystream".parse().unwrap();
        let batch = Batch {
            stream: serde_json::from_str("7").unwrap(),
            slot: serde_json::from_str("7").unwrap(),
            shard,
            records: records.to_vec().into(),
            attempt: 3,
            lane: crate::checkpoint::Lane::WHOLE,
            window: None,
        };
        let records: Vec<&Record> = records.iter().collect();
        let answered =
            Answered { request_id: "c9b8fa9f".into(), version: "$LATEST".into(), error: Some("Unhandled".into()) };
        let lost = Lost {
            mapping: "m",
            function: &function,
            source: &source,
            batch: &batch,
            records: &records,
            why: &DropReason::Attempts("no".into()),
            answered: Some(answered),
            now: "2019-11-14T00:38:06.021Z".parse().unwrap(),
        };
        let expected = json!({
            "requestContext": {
                "requestId": "c9b8fa9f",
                "functionArn": "arn:aws:lambda:us-east-2:123456789012:function:myfunction",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 3
            },
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "version": "1.0",
            "timestamp": "2019-11-14T00:38:06.021Z",
            "KinesisBatchInfo": {
                "shardId": "shardId-000000000001",
                "startSequenceNumber": first,
                "endSequenceNumber": last,
                "approximateArrivalOfFirstRecord": "2019-11-14T00:38:04.835Z",
                "approximateArrivalOfLastRecord": "2019-11-14T00:38:05.580Z",
                "batchSize": 2,
                "streamArn": "arn:aws:kinesis:us-east-2:123456789012:stream/mystream"
            }
        });
        assert_eq!(lost.document("x"), expected);
        let expired = Lost { why: &DropReason::Expired, answered: None, ..lost };
        let document = expired.document("x");
        assert_eq!(document["requestContext"]["condition"], "RecordAgeExceeded");
        assert_eq!(
            (&document["requestContext"]["requestId"], &document["responseContext"]),
            (&json!("x"), &Value::Null)
        );
    }
}
