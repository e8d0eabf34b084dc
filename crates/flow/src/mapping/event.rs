//! The event that a function gets for a batch of records.
//!
//! Owns its JSON ("Using Lambda to process records from Amazon Kinesis Data Streams", Lambda Developer Guide), its
//! size, and the view of a record that filters see. Pure.

use std::borrow::Cow;

use base::{Arn, PartitionKey, Region, SequenceNumber, ShardId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use log::Record;
use serde::Serialize;
use serde_json::value::RawValue;

/// Bytes around the records.
pub(super) const FRAME: usize = 64;
/// Bytes around one record's data and key, with room for ARNs of ordinary length.
const RECORD_FRAME: usize = 1_024;

/// At most what a record takes in the event.
pub(super) fn weigh(record: &Record) -> usize {
    // A key's characters may need escapes of six bytes each.
    record.data.len().div_ceil(3) * 4 + record.partition_key.as_str().len() * 6 + RECORD_FRAME
}

/// What is the same for all records of a mapping.
pub(super) struct Surroundings {
    /// The stream, or the consumer that it is read as.
    pub source: Arn,
    pub role: Arn,
    pub region: Region,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a> {
    records: Vec<EventRecord<'a>>,
    #[serde(flatten)]
    tumbling: Option<Tumbling<'a>>,
}

/// What an event says of a tumbling window beside its records.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tumbling<'a> {
    pub window: Bounds,
    pub state: &'a RawValue,
    pub shard_id: String,
    #[serde(rename = "eventSourceARN")]
    pub event_source_arn: &'a Arn,
    pub is_final_invoke_for_window: bool,
    pub is_window_terminated_early: bool,
}

/// When a window begins and ends.
#[derive(Serialize)]
pub(super) struct Bounds {
    pub start: String,
    pub end: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventRecord<'a> {
    kinesis: Kinesis<'a>,
    event_source: &'static str,
    event_version: &'static str,
    #[serde(rename = "eventID")]
    event_id: String,
    event_name: &'static str,
    invoke_identity_arn: &'a Arn,
    aws_region: &'a Region,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a Arn,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kinesis<'a> {
    kinesis_schema_version: &'static str,
    partition_key: &'a str,
    sequence_number: String,
    data: String,
    approximate_arrival_timestamp: f64,
}

/// The payload for these records of a shard.
pub(super) fn payload(
    around: &Surroundings,
    shard: ShardId,
    records: &[&Record],
    tumbling: Option<Tumbling<'_>>,
) -> Result<Bytes, serde_json::Error> {
    let records = records.iter().map(|record| {
        let sequence_number = SequenceNumber::new(record.position, shard, record.arrival).to_string();
        EventRecord {
            event_id: format!("{shard}:{sequence_number}"),
            kinesis: Kinesis {
                kinesis_schema_version: "1.0",
                partition_key: record.partition_key.as_str(),
                sequence_number,
                data: BASE64.encode(&record.data),
                approximate_arrival_timestamp: record.arrival.secs_f64(),
            },
            event_source: "aws:kinesis",
            event_version: "1.0",
            event_name: "aws:kinesis:record",
            invoke_identity_arn: &around.role,
            aws_region: &around.region,
            event_source_arn: &around.source,
        }
    });
    Ok(serde_json::to_vec(&Event { records: records.collect(), tumbling })?.into())
}

/// A record as filter patterns see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Filtered<'a> {
    partition_key: &'a PartitionKey,
    sequence_number: String,
    approximate_arrival_timestamp: f64,
    data: FilteredData<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum FilteredData<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

/// A record as filter patterns see it, as JSON: its data as JSON where it is JSON, else as text.
pub(super) fn for_filter(shard: ShardId, record: &Record) -> serde_json::Result<Vec<u8>> {
    let data = serde_json::from_slice(&record.data)
        .map_or_else(|_| FilteredData::Text(String::from_utf8_lossy(&record.data)), FilteredData::Json);
    serde_json::to_vec(&Filtered {
        partition_key: &record.partition_key,
        sequence_number: SequenceNumber::new(record.position, shard, record.arrival).to_string(),
        approximate_arrival_timestamp: record.arrival.secs_f64(),
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Position, Scope, Timestamp};
    use serde_json::{Value, json};

    #[test]
    fn the_event_is_the_one_that_handlers_know() {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let around = Surroundings {
            source: Arn::new("kinesis", &scope, "stream/events"),
            role: Arn::global("iam", &scope.account, "role/r"),
            region: scope.region.clone(),
        };
        let record = Record {
            position: Position::new(7),
            arrival: Timestamp::from_millis(1_545_084_650_987),
            partition_key: "1".parse().unwrap(),
            explicit_hash_key: None,
            data: Bytes::from_static(b"Hello"),
            sealed: false,
        };
        let bytes = payload(&around, ShardId::new(6), &[&record], None).unwrap();
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        let number = SequenceNumber::new(record.position, ShardId::new(6), record.arrival).to_string();
        let expected = json!({"Records": [{
            "kinesis": {
                "kinesisSchemaVersion": "1.0", "partitionKey": "1", "sequenceNumber": number,
                "data": "SGVsbG8=", "approximateArrivalTimestamp": 1_545_084_650.987
            },
            "eventSource": "aws:kinesis", "eventVersion": "1.0",
            "eventID": format!("shardId-000000000006:{number}"), "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/r", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/events"
        }]});
        assert_eq!(event, expected);
        assert!(bytes.len() <= FRAME + weigh(&record));
    }
}
