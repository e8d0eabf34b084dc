//! GetShardIterator and GetRecords.

use std::time::Duration;

use base::{Position, SequenceNumber, ShardId, Timestamp};
use log::{ReadLimit, Slice, Tail};
use serde::{Deserialize, Serialize};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::shard;
use super::describe::{children, encryption_type};
use super::position::Start;
use super::put::rate_exceeded;
use super::{DataStreams, SERVICE, dry_run, failed, invalid};
use crate::streams::{Amount, Throttled};

/// An iterator is of no use afterwards.
const LIFE: Duration = Duration::from_secs(5 * 60);
/// Bytes of one answer's records, at most.
const MAX_BYTES: usize = 10 << 20;
const MAX_RECORDS: usize = 10_000;
/// As the service writes times into messages.
const TIME: &str = "%a %b %d %H:%M:%S UTC %Y";

/// What an iterator says.
#[derive(Serialize, Deserialize)]
pub(super) struct Iterator {
    /// The stream's name and its number, so that one deleted and created again is not taken for the other.
    pub stream: String,
    id: u32,
    shard: ShardId,
    next: Position,
    issued: Timestamp,
}

pub(super) async fn iterator(
    service: &DataStreams,
    call: &Call,
    input: GetShardIteratorInput,
) -> Result<GetShardIteratorOutput, ServiceError> {
    let known =
        ["StreamName", "StreamARN", "ShardId", "ShardIteratorType", "StartingSequenceNumber", "Timestamp", "DryRun"];
    only(SERVICE, &input, &known)?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let shard = shard(&call.scope, &stream, &input.shard_id)?;
    let start = Start {
        kind: &input.shard_iterator_type,
        number: input.starting_sequence_number.as_deref(),
        time: input.timestamp,
        operation: "GetShardIterator",
    };
    let next = start.find(&service.log, call, &stream, shard).await?;
    dry_run(input.dry_run)?;
    let asked = service.streams.traffic.meter(&stream).may_iterate(shard.id);
    asked.map_err(|Throttled| rate_exceeded(call, &stream, shard.id))?;
    let iterator =
        Iterator { stream: stream.key.name.clone(), id: stream.id.number(), shard: shard.id, next, issued: call.now };
    Ok(GetShardIteratorOutput { shard_iterator: Some(service.seal.seal(&iterator).await?) })
}

pub(super) async fn records(
    service: &DataStreams,
    call: &Call,
    input: GetRecordsInput,
) -> Result<GetRecordsOutput, ServiceError> {
    only(SERVICE, &input, &["ShardIterator", "Limit", "StreamARN", "DryRun"])?;
    let Some(iterator) = service.seal.open::<Iterator>(&input.shard_iterator).await? else {
        return Err(invalid("Invalid ShardIterator."));
    };
    if call.now.since(iterator.issued) > LIFE {
        return Err(ServiceError::new(
            "ExpiredIteratorException",
            format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} which is further in \
                 the future than the tolerated delay of {} milliseconds.",
                iterator.issued.format(TIME),
                call.now.format(TIME),
                LIFE.as_millis()
            ),
        ));
    }
    let stream = service.stream(call, Some(&iterator.stream), input.stream_arn.as_deref())?;
    if stream.id.number() != iterator.id {
        return Err(invalid("Invalid ShardIterator: its stream was deleted"));
    }
    dry_run(input.dry_run)?;
    let shard = shard(&call.scope, &stream, &iterator.shard.to_string())?;
    let failed = |error: log::LogError| failed(&call.scope, &stream.key.name, &error);
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).map_or(MAX_RECORDS, |l| l.min(MAX_RECORDS));
    let limit = ReadLimit { records: limit, bytes: MAX_BYTES };
    let meter = service.streams.traffic.meter(&stream);
    meter.may_read(shard.id).map_err(|Throttled| rate_exceeded(call, &stream, shard.id))?;
    let slice = service.log.read(shard.slot, iterator.next, limit).await.map_err(failed)?;
    let tail = service.log.tail(shard.slot).map_err(failed)?;
    let behind = behind(&slice, &tail, service.env.clock.now());
    meter.read(shard.id, Amount::of(&slice.records), behind);
    let child_shards = if slice.at_end {
        // Those that were opened since the stream was looked up, too.
        let stream = service.log.stream(&stream.key).map_err(failed)?;
        Some(children(&stream, shard.id))
    } else {
        None
    };
    let next = Iterator { next: slice.next, issued: call.now, ..iterator };
    Ok(GetRecordsOutput {
        records: shown(shard.id, slice.records),
        next_shard_iterator: if slice.at_end { None } else { Some(service.seal.seal(&next).await?) },
        millis_behind_latest: i64::try_from(behind.as_millis()).ok(),
        child_shards,
        ..Default::default()
    })
}

/// How far a reader is behind the tip of its shard.
pub(super) fn behind(slice: &Slice, tail: &Tail, now: Timestamp) -> Duration {
    match slice.records.last().map(|record| record.arrival).or(tail.last_arrival) {
        Some(arrival) if slice.next < tail.next => now.since(arrival),
        _ => Duration::ZERO,
    }
}

/// Records as they are answered.
pub(super) fn shown(shard: ShardId, records: Vec<log::Record>) -> Vec<Record> {
    let shown = records.into_iter().map(|record| Record {
        sequence_number: SequenceNumber::new(record.position, shard, record.arrival).to_string(),
        approximate_arrival_timestamp: Some(record.arrival),
        data: record.data,
        partition_key: Some(record.partition_key.to_string()),
        // As it was written, whatever the stream is set to by now.
        encryption_type: record.sealed.then(|| encryption_type(true)),
        ..Default::default()
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iterator_of_the_longest_name_fits_the_service_s_limit() {
        let iterator = Iterator {
            stream: "x".repeat(128),
            id: u32::MAX,
            shard: ShardId::new(u32::MAX),
            next: Position::MAX,
            issued: Timestamp::from_millis(i64::MAX),
        };
        let bytes = serde_json::to_vec(&iterator).unwrap().len() + 16;
        assert!(bytes.div_ceil(3) * 4 <= 512, "{bytes}");
    }
}
