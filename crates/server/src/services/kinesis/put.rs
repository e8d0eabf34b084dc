//! PutRecord and PutRecords.

use base::{HashKey, PartitionKey, SequenceNumber, ShardId};
use log::{Append, LogError, NewRecord, Placed, Stream};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::{DataStreams, SERVICE, failed, invalid};

/// Bytes of a record's data and partition key, at most: a stream's default.
const MAX_RECORD: usize = 1 << 20;
/// Bytes of all data and partition keys of one call, at most.
const MAX_CALL: usize = 10 << 20;
const NOT_ENCRYPTED: &str = "NONE";

pub(super) async fn one(
    service: &DataStreams,
    call: &Call,
    input: PutRecordInput,
) -> Result<PutRecordOutput, ServiceError> {
    let known = ["StreamName", "StreamARN", "Data", "PartitionKey", "ExplicitHashKey", "SequenceNumberForOrdering"];
    only(SERVICE, &input, &known)?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let record = Entry { data: input.data, key: input.partition_key, hash: input.explicit_hash_key, number: None };
    let (record, shard) = record.read(&stream)?;
    if let Some(text) = input.sequence_number_for_ordering {
        // Records of a shard are always in the order of their calls, so there is nothing to do for a number that was
        // given out; any other is refused, as the service does.
        let given: SequenceNumber = text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))?;
        let tail = service.log.tail(record.shard).map_err(|e| failed(&call.scope, &stream.key.name, &e))?;
        if given.position() >= tail.next {
            return Err(invalid(format!("SequenceNumberForOrdering {text} was not given out on {shard}")));
        }
    }
    let appended = service.log.append(Append { producer: None, records: vec![record] }).await;
    let placed = appended.map_err(|error| match error {
        LogError::Overloaded { .. } => ServiceError::new(
            "ProvisionedThroughputExceededException",
            rate_exceeded(call, &stream, &shard.to_string()),
        ),
        error => failed(&call.scope, &stream.key.name, &error),
    })?;
    let Some(Placed { position, arrival }) = placed.first().copied() else {
        return Err(ServiceError::new("InternalFailureException", "the log placed no record").with_status(500));
    };
    Ok(PutRecordOutput {
        shard_id: shard.to_string(),
        sequence_number: SequenceNumber::new(position, shard, arrival).to_string(),
        encryption_type: Some(NOT_ENCRYPTED.to_owned()),
        ..Default::default()
    })
}

pub(super) async fn many(
    service: &DataStreams,
    call: &Call,
    input: PutRecordsInput,
) -> Result<PutRecordsOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "Records"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let (mut records, mut ids, mut bytes) = (Vec::with_capacity(input.records.len()), Vec::new(), 0);
    for (n, entry) in input.records.into_iter().enumerate() {
        let (data, key, hash) = (entry.data, entry.partition_key, entry.explicit_hash_key);
        let (record, shard) = Entry { data, key, hash, number: Some(n + 1) }.read(&stream)?;
        bytes += record.data.len() + record.partition_key.as_str().len();
        records.push(record);
        ids.push(shard);
    }
    if bytes > MAX_CALL {
        return Err(invalid(format!(
            "Records size exceeds 10 MB limit: the records of a call have {bytes} bytes, at most {MAX_CALL} are allowed"
        )));
    }
    match service.log.append(Append { producer: None, records }).await {
        Ok(placed) => {
            let answers =
                placed.into_iter().zip(ids).map(|(Placed { position, arrival }, shard)| PutRecordsResultEntry {
                    shard_id: Some(shard.to_string()),
                    sequence_number: Some(SequenceNumber::new(position, shard, arrival).to_string()),
                    ..Default::default()
                });
            Ok(answer(0, answers.collect()))
        }
        Err(LogError::Overloaded { .. }) => {
            let refused = ids.into_iter().map(|shard| PutRecordsResultEntry {
                error_code: Some("ProvisionedThroughputExceededException".to_owned()),
                error_message: Some(rate_exceeded(call, &stream, &shard.to_string())),
                ..Default::default()
            });
            let refused: Vec<_> = refused.collect();
            Ok(answer(refused.len(), refused))
        }
        Err(error) => Err(failed(&call.scope, &stream.key.name, &error)),
    }
}

fn answer(failures: usize, records: Vec<PutRecordsResultEntry>) -> PutRecordsOutput {
    PutRecordsOutput {
        failed_record_count: i32::try_from(failures).ok(),
        records,
        encryption_type: Some(NOT_ENCRYPTED.to_owned()),
        ..Default::default()
    }
}

fn rate_exceeded(call: &Call, stream: &Stream, shard: &str) -> String {
    format!("Rate exceeded for shard {shard} in stream {} under account {}.", stream.key.name, call.scope.account)
}

/// A record as it came.
struct Entry {
    data: bytes::Bytes,
    key: Option<String>,
    hash: Option<String>,
    /// Which record of the call it is, from 1; none when the call has one.
    number: Option<usize>,
}

impl Entry {
    /// The record, and the shard that it goes to.
    fn read(self, stream: &Stream) -> Result<(NewRecord, ShardId), ServiceError> {
        let Some(key) = &self.key else { return Err(self.violated("partitionKey", "null", "Member must not be null")) };
        if self.data.len() + key.len() > MAX_RECORD {
            let rule =
                format!("Member must have length less than or equal to {MAX_RECORD}, the partition key included");
            return Err(self.violated("data", "", &rule));
        }
        let partition_key: PartitionKey = key.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))?;
        let explicit_hash_key = self.hash.map(|text| {
            text.parse::<HashKey>().map_err(|_| {
                let range = format!("[0, {}]", u128::MAX);
                invalid(format!(
                    "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: {range}. Specified value was {text}"
                ))
            })
        });
        let explicit_hash_key = explicit_hash_key.transpose()?;
        let shard = stream.shard_for(&partition_key, explicit_hash_key);
        Ok((NewRecord { shard: shard.slot, partition_key, explicit_hash_key, data: self.data }, shard.id))
    }

    fn violated(&self, member: &str, value: &str, rule: &str) -> ServiceError {
        let place = self.number.map(|number| format!("records.{number}.member.")).unwrap_or_default();
        let value = if value.is_empty() { String::new() } else { format!("{value} ") };
        let what = format!("Value {value}at '{place}{member}' failed to satisfy constraint: {rule}");
        ServiceError::validation(SERVICE, format!("1 validation error detected: {what}"))
    }
}
