//! PutRecord and PutRecords.

use std::sync::Arc;

use base::{HashKey, PartitionKey, SequenceNumber, ShardId};
use log::{Append, LogError, NewRecord, Placed, Stream};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::no_stream;
use super::describe::encryption_type;
use super::{DataStreams, SERVICE, dry_run, failed, invalid};
use crate::streams::Meter;

/// Bytes of all data and partition keys of one call, at most.
const MAX_CALL: usize = 10 << 20;
/// How often records are routed again because a shard was split or merged on their way. Once is enough unless the
/// callers of changes go away while they wait.
const MAX_ROUTES: usize = 8;
const THROTTLED: &str = "ProvisionedThroughputExceededException";

pub(super) async fn one(
    service: &DataStreams,
    call: &Call,
    input: PutRecordInput,
) -> Result<PutRecordOutput, ServiceError> {
    let known =
        ["StreamName", "StreamARN", "Data", "PartitionKey", "ExplicitHashKey", "SequenceNumberForOrdering", "DryRun"];
    only(SERVICE, &input, &known)?;
    let stream = service.stream_to_change(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let record = Entry { data: input.data, key: input.partition_key, hash: input.explicit_hash_key, number: None };
    let (record, mut place) = record.read(&stream, max_record(service, &stream))?;
    if let Some(text) = input.sequence_number_for_ordering {
        // Records of a shard are always in the order of their calls, so there is nothing to do for a number that was
        // given out; any other is refused, as the service does.
        let given = text.parse().ok().map(SequenceNumber::position);
        let tail = service.log.tail(record.shard).map_err(|e| failed(&call.scope, &stream.key.name, &e))?;
        if given.is_none_or(|given| given >= tail.next) {
            return Err(invalid(format!(
                "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {} under account {} is invalid.",
                stream.key.name, call.scope.account
            )));
        }
    }
    dry_run(input.dry_run)?;
    let meter = service.streams.traffic.meter(&stream);
    place.admit(&meter, &record);
    let records = Vec::from_iter(place.admitted.then_some(record));
    let to = if place.admitted { vec![&mut place] } else { Vec::new() };
    let (stream, placed) = append(service, call, stream, records, to).await?;
    let shard = place.shard;
    let Some(Placed { position, arrival }) = placed.first().copied() else {
        return Err(rate_exceeded(call, &stream, shard));
    };
    Ok(PutRecordOutput {
        shard_id: shard.to_string(),
        sequence_number: SequenceNumber::new(position, shard, arrival).to_string(),
        encryption_type: Some(encryption_type(stream.encrypted)),
        ..Default::default()
    })
}

pub(super) async fn many(
    service: &DataStreams,
    call: &Call,
    input: PutRecordsInput,
) -> Result<PutRecordsOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "Records", "DryRun"])?;
    let stream = service.stream_to_change(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let max_record = max_record(service, &stream);
    let count = input.records.len();
    let (mut records, mut places, mut bytes) = (Vec::with_capacity(count), Vec::with_capacity(count), 0);
    for (n, entry) in input.records.into_iter().enumerate() {
        let (data, key, hash) = (entry.data, entry.partition_key, entry.explicit_hash_key);
        let (record, place) = Entry { data, key, hash, number: Some(n + 1) }.read(&stream, max_record)?;
        bytes += record.data.len() + record.partition_key.as_str().len();
        records.push(record);
        places.push(place);
    }
    if bytes > MAX_CALL {
        return Err(invalid(format!(
            "Records size exceeds 10 MB limit: the records of a call have {bytes} bytes, at most {MAX_CALL} are allowed"
        )));
    }
    dry_run(input.dry_run)?;
    let meter = service.streams.traffic.meter(&stream);
    for (record, place) in records.iter().zip(&mut places) {
        place.admit(&meter, record);
    }
    let mut each = places.iter();
    records.retain(|_| each.next().is_some_and(|place| place.admitted));
    let to = places.iter_mut().filter(|place| place.admitted).collect();
    let (stream, placed) = append(service, call, stream, records, to).await?;
    let mut placed = placed.into_iter();
    let answers: Vec<_> = places
        .into_iter()
        .map(|place| match if place.admitted { placed.next() } else { None } {
            Some(Placed { position, arrival }) => PutRecordsResultEntry {
                shard_id: Some(place.shard.to_string()),
                sequence_number: Some(SequenceNumber::new(position, place.shard, arrival).to_string()),
                ..Default::default()
            },
            None => PutRecordsResultEntry {
                error_code: Some(THROTTLED.to_owned()),
                error_message: Some(rate_exceeded(call, &stream, place.shard).message),
                ..Default::default()
            },
        })
        .collect();
    let failures = answers.iter().filter(|answer| answer.error_code.is_some()).count();
    Ok(PutRecordsOutput {
        failed_record_count: i32::try_from(failures).ok(),
        records: answers,
        encryption_type: Some(encryption_type(stream.encrypted)),
        ..Default::default()
    })
}

/// Bytes of a record's data and partition key, at most.
fn max_record(service: &DataStreams, stream: &Stream) -> usize {
    service.streams.settings.of(stream.id).max_record_kib as usize * 1_024
}

/// Where a record goes.
struct Place {
    shard: ShardId,
    /// The hash key that leads there.
    hash: HashKey,
    /// Whether the shard's quota lets it in.
    admitted: bool,
}

impl Place {
    /// Counts the record, unless a quota refuses it.
    fn admit(&mut self, meter: &Meter, record: &NewRecord) {
        let key = record.partition_key.as_str();
        self.admitted = meter.put(self.shard, key, self.hash.0, record.data.len() + key.len()).is_ok();
    }

    /// Leads a record to the shard that has its hash key now. Another one than before has a quota of its own.
    fn route_again(&mut self, stream: &Stream, meter: &Meter, record: &mut NewRecord) {
        let shard = stream.route(&record.partition_key, Some(self.hash)).0;
        if shard.id != self.shard {
            (record.shard, self.shard) = (shard.slot, shard.id);
            self.admit(meter, record);
        }
    }
}

/// Appends admitted records in one batch; nowhere when the log is overloaded. When a shard was closed meanwhile, nothing
/// was written, and they go to the shards that took over, which may not admit all of them. The stream as it was then,
/// and where those are that are still admitted.
async fn append(
    service: &DataStreams,
    call: &Call,
    mut stream: Arc<Stream>,
    records: Vec<NewRecord>,
    mut places: Vec<&mut Place>,
) -> Result<(Arc<Stream>, Vec<Placed>), ServiceError> {
    let name = stream.key.name.clone();
    let mut batch = Append { producer: None, records };
    let mut held = None;
    for _ in 0..MAX_ROUTES {
        match service.log.try_append(&batch).await {
            Ok(placed) => return Ok((stream, placed)),
            Err(LogError::Overloaded { .. }) => return Ok((stream, Vec::new())),
            Err(LogError::ShardClosed(_)) => {}
            Err(error) => return Err(failed(&call.scope, &name, &error)),
        }
        if held.is_none() {
            held = Some(service.log.hold_shards().await);
        }
        let now = service.stream(call, Some(&name), None)?;
        if now.id != stream.id {
            return Err(no_stream(&call.scope, &name));
        }
        stream = now;
        let meter = service.streams.traffic.meter(&stream);
        for (record, place) in batch.records.iter_mut().zip(&mut places) {
            place.route_again(&stream, &meter, record);
        }
        let mut each = places.iter();
        batch.records.retain(|_| each.next().is_some_and(|place| place.admitted));
        places.retain(|place| place.admitted);
    }
    let message = format!("the shards of stream {name} change too fast; send the records again");
    Err(ServiceError::new("ServiceUnavailable", message).with_status(503))
}

/// What a shard answers that is written to or read from too fast.
pub(super) fn rate_exceeded(call: &Call, stream: &Stream, shard: ShardId) -> ServiceError {
    let (name, account) = (&stream.key.name, &call.scope.account);
    ServiceError::new(THROTTLED, format!("Rate exceeded for shard {shard} in stream {name} under account {account}."))
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
    /// The record and where it goes, before it is admitted there.
    fn read(self, stream: &Stream, max: usize) -> Result<(NewRecord, Place), ServiceError> {
        let Some(key) = &self.key else { return Err(self.violated("partitionKey", "null", "Member must not be null")) };
        if self.data.len() + key.len() > max {
            let rule = format!("Member must have length less than or equal to {max}, the partition key included");
            return Err(self.violated("data", "", &rule));
        }
        let partition_key: PartitionKey = key.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))?;
        let explicit_hash_key = self.hash.map(|text| {
            text.parse::<HashKey>().map_err(|_| {
                invalid(format!(
                    "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was \
                     {text}"
                ))
            })
        });
        let explicit_hash_key = explicit_hash_key.transpose()?;
        let (shard, hash) = stream.route(&partition_key, explicit_hash_key);
        let place = Place { shard: shard.id, hash, admitted: false };
        Ok((NewRecord { shard: shard.slot, partition_key, explicit_hash_key, data: self.data }, place))
    }

    fn violated(&self, member: &str, value: &str, rule: &str) -> ServiceError {
        let place = self.number.map(|number| format!("records.{number}.member.")).unwrap_or_default();
        let value = if value.is_empty() { String::new() } else { format!("{value} ") };
        let what = format!("Value {value}at '{place}{member}' failed to satisfy constraint: {rule}");
        ServiceError::validation(SERVICE, format!("1 validation error detected: {what}"))
    }
}
