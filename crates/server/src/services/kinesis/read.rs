//! GetShardIterator and GetRecords.

use std::time::Duration;

use base::{Position, SequenceNumber, ShardId, Timestamp};
use log::{ReadLimit, Shard, Stream};
use serde::{Deserialize, Serialize};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::describe::hash_key_range;
use super::{DataStreams, SERVICE, failed, invalid, shard};

/// An iterator is of no use afterwards.
const LIFE: Duration = Duration::from_secs(5 * 60);
/// Bytes of one answer's records, at most.
const MAX_BYTES: usize = 10 << 20;
const MAX_RECORDS: usize = 10_000;

/// What an iterator says.
#[derive(Serialize, Deserialize)]
struct Iterator {
    /// The stream's name and its number, so that one deleted and created again is not taken for the other.
    stream: String,
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
    let known = ["StreamName", "StreamARN", "ShardId", "ShardIteratorType", "StartingSequenceNumber", "Timestamp"];
    only(SERVICE, &input, &known)?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let shard = shard(call, &stream, &input.shard_id)?;
    let next = start(service, call, &stream, shard, &input).await?;
    let iterator =
        Iterator { stream: stream.key.name.clone(), id: stream.id.number(), shard: shard.id, next, issued: call.now };
    Ok(GetShardIteratorOutput { shard_iterator: Some(service.seal.seal(&iterator).await?) })
}

async fn start(
    service: &DataStreams,
    call: &Call,
    stream: &Stream,
    shard: &Shard,
    input: &GetShardIteratorInput,
) -> Result<Position, ServiceError> {
    let failed = |error: log::LogError| failed(&call.scope, &stream.key.name, &error);
    match input.shard_iterator_type.as_str() {
        "TRIM_HORIZON" => Ok(Position::ZERO),
        "LATEST" => Ok(service.log.tail(shard.slot).map_err(failed)?.next),
        kind @ ("AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER") => {
            let text = input.starting_sequence_number.as_deref();
            let text = text.ok_or_else(|| invalid(format!("StartingSequenceNumber must be given for {kind}")))?;
            let number: SequenceNumber = text.parse().map_err(|_| {
                invalid(format!(
                    "StartingSequenceNumber {text} used in GetShardIterator on shard {} is invalid",
                    shard.id
                ))
            })?;
            if number.shard() != shard.id {
                return Err(invalid(format!(
                    "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {}",
                    number.shard(),
                    shard.id
                )));
            }
            // Numbers are given out from the shard's opening on; any other is of another stream.
            let end = service.log.tail(shard.slot).map_err(failed)?.next;
            if !(shard.opened_at..end).contains(&number.position()) {
                let name = &stream.key.name;
                return Err(invalid(format!(
                    "StartingSequenceNumber {text} was not given out on {} of {name}",
                    shard.id
                )));
            }
            Ok(if kind == "AT_SEQUENCE_NUMBER" { number.position() } else { number.position().next() })
        }
        "AT_TIMESTAMP" => {
            let time = input.timestamp.ok_or_else(|| invalid("Timestamp must be given for AT_TIMESTAMP"))?;
            if time > call.now {
                return Err(invalid(format!(
                    "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
                     timestampInMillis: {}, currentTimestampInMillis: {}",
                    time.millis(),
                    call.now.millis()
                )));
            }
            service.log.position_at(shard.slot, time).await.map_err(failed)
        }
        other => Err(invalid(format!("ShardIteratorType {other} is not valid"))),
    }
}

pub(super) async fn records(
    service: &DataStreams,
    call: &Call,
    input: GetRecordsInput,
) -> Result<GetRecordsOutput, ServiceError> {
    only(SERVICE, &input, &["ShardIterator", "Limit", "StreamARN"])?;
    let Some(iterator) = service.seal.open::<Iterator>(&input.shard_iterator).await? else {
        return Err(invalid("Invalid ShardIterator."));
    };
    if call.now.since(iterator.issued) > LIFE {
        return Err(ServiceError::new(
            "ExpiredIteratorException",
            format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} which is further in \
                 the future than the tolerated delay of {} milliseconds.",
                iterator.issued,
                call.now,
                LIFE.as_millis()
            ),
        ));
    }
    let stream = service.stream(call, Some(&iterator.stream), input.stream_arn.as_deref())?;
    if stream.id.number() != iterator.id {
        return Err(invalid("Invalid ShardIterator: its stream was deleted"));
    }
    let shard = shard(call, &stream, &iterator.shard.to_string())?;
    let failed = |error: log::LogError| failed(&call.scope, &stream.key.name, &error);
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).map_or(MAX_RECORDS, |l| l.min(MAX_RECORDS));
    let limit = ReadLimit { records: limit, bytes: MAX_BYTES };
    let slice = service.log.read(shard.slot, iterator.next, limit).await.map_err(failed)?;
    let tail = service.log.tail(shard.slot).map_err(failed)?;
    let last = slice.records.last().map(|record| record.arrival);
    let behind = match last.or(tail.last_arrival) {
        Some(arrival) if slice.next < tail.next => service.env.clock.now().since(arrival),
        _ => Duration::ZERO,
    };
    let next = Iterator { next: slice.next, issued: call.now, ..iterator };
    let records = slice.records.into_iter().map(|record| Record {
        sequence_number: SequenceNumber::new(record.position, shard.id, record.arrival).to_string(),
        approximate_arrival_timestamp: Some(record.arrival),
        data: record.data,
        partition_key: Some(record.partition_key.to_string()),
        ..Default::default()
    });
    Ok(GetRecordsOutput {
        records: records.collect(),
        next_shard_iterator: if slice.at_end { None } else { Some(service.seal.seal(&next).await?) },
        millis_behind_latest: i64::try_from(behind.as_millis()).ok(),
        child_shards: slice.at_end.then(|| children(&stream, shard.id)),
        ..Default::default()
    })
}

fn children(stream: &Stream, parent: ShardId) -> Vec<ChildShard> {
    let children = stream.shards.iter().filter(|shard| shard.parents.contains(&parent));
    let shown = children.map(|shard| ChildShard {
        shard_id: shard.id.to_string(),
        parent_shards: shard.parents.iter().map(ToString::to_string).collect(),
        hash_key_range: hash_key_range(shard),
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
