//! Streams and shards, shown and listed.

use std::time::Duration;

use base::{Position, SequenceNumber, ShardId, Timestamp};
use log::{Stream, StreamKind};
use serde::{Deserialize, Serialize};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::{DataStreams, SERVICE, invalid, stream_arn};

/// Shards of a page of DescribeStream when the caller names no limit.
const DESCRIBED: usize = 100;
/// Streams of a page of ListStreams when the caller names no limit.
const LISTED: usize = 100;
/// Shards of a page of ListShards when the caller names no limit.
const SHARDS: usize = 1_000;
/// A next token of ListShards is of no use afterwards.
const TOKEN_LIFE: Duration = Duration::from_secs(300);

fn hours(retention: Duration) -> i32 {
    i32::try_from(retention.as_secs() / 3_600).unwrap_or(i32::MAX)
}

fn mode() -> Option<StreamModeDetails> {
    Some(StreamModeDetails { stream_mode: "PROVISIONED".to_owned(), ..Default::default() })
}

fn limit(limit: Option<i32>, default: usize) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default).max(1)
}

pub(super) fn hash_key_range(shard: &log::Shard) -> HashKeyRange {
    HashKeyRange {
        starting_hash_key: shard.hash_range.start().to_string(),
        ending_hash_key: shard.hash_range.end().to_string(),
        ..Default::default()
    }
}

fn shown(shard: &log::Shard) -> Shard {
    let number = |position: Position| SequenceNumber::new(position, shard.id, shard.opened).to_string();
    let mut parents = shard.parents.iter().map(ToString::to_string);
    Shard {
        shard_id: shard.id.to_string(),
        parent_shard_id: parents.next(),
        adjacent_parent_shard_id: parents.next(),
        hash_key_range: hash_key_range(shard),
        sequence_number_range: SequenceNumberRange {
            starting_sequence_number: number(shard.opened_at),
            ending_sequence_number: shard.closed_at.map(number),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn shard_id(text: &str) -> Result<ShardId, ServiceError> {
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

pub(super) fn stream(
    service: &DataStreams,
    call: &Call,
    input: &DescribeStreamInput,
) -> Result<DescribeStreamOutput, ServiceError> {
    only(SERVICE, input, &["StreamName", "StreamARN", "Limit", "ExclusiveStartShardId"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let after = input.exclusive_start_shard_id.as_deref().map(shard_id).transpose()?;
    let mut rest = stream.shards.iter().filter(|shard| after.is_none_or(|after| shard.id > after));
    let shards = rest.by_ref().take(limit(input.limit, DESCRIBED)).map(shown).collect();
    Ok(DescribeStreamOutput {
        stream_description: StreamDescription {
            stream_name: stream.key.name.clone(),
            stream_arn: stream_arn(&call.scope, &stream.key.name),
            stream_status: "ACTIVE".to_owned(),
            stream_mode_details: mode(),
            shards,
            has_more_shards: rest.next().is_some(),
            retention_period_hours: hours(stream.retention),
            stream_creation_timestamp: stream.created,
            enhanced_monitoring: vec![EnhancedMetrics { shard_level_metrics: Some(Vec::new()) }],
            encryption_type: Some("NONE".to_owned()),
            ..Default::default()
        },
        ..Default::default()
    })
}

pub(super) fn summary(
    service: &DataStreams,
    call: &Call,
    input: &DescribeStreamSummaryInput,
) -> Result<DescribeStreamSummaryOutput, ServiceError> {
    only(SERVICE, input, &["StreamName", "StreamARN"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let open = stream.shards.iter().filter(|shard| shard.closed_at.is_none()).count();
    Ok(DescribeStreamSummaryOutput {
        stream_description_summary: StreamDescriptionSummary {
            stream_name: stream.key.name.clone(),
            stream_arn: stream_arn(&call.scope, &stream.key.name),
            stream_status: "ACTIVE".to_owned(),
            stream_mode_details: mode(),
            open_shard_count: i32::try_from(open).unwrap_or(i32::MAX),
            consumer_count: Some(0),
            retention_period_hours: hours(stream.retention),
            stream_creation_timestamp: stream.created,
            enhanced_monitoring: vec![EnhancedMetrics { shard_level_metrics: Some(Vec::new()) }],
            encryption_type: Some("NONE".to_owned()),
            ..Default::default()
        },
        ..Default::default()
    })
}

pub(super) fn list(
    service: &DataStreams,
    call: &Call,
    input: ListStreamsInput,
) -> Result<ListStreamsOutput, ServiceError> {
    // The next token is the last name: the service's two ways to go on are one.
    let after = input.next_token.or(input.exclusive_start_stream_name).unwrap_or_default();
    let streams = service.log.streams(StreamKind::Kinesis, &call.scope);
    let mut rest = streams.iter().filter(|stream| stream.key.name > after);
    let page: Vec<_> = rest.by_ref().take(limit(input.limit, LISTED)).collect();
    let has_more_streams = rest.next().is_some();
    let summary = |stream: &Stream| StreamSummary {
        stream_name: stream.key.name.clone(),
        stream_arn: stream_arn(&call.scope, &stream.key.name),
        stream_status: "ACTIVE".to_owned(),
        stream_mode_details: mode(),
        stream_creation_timestamp: Some(stream.created),
        ..Default::default()
    };
    Ok(ListStreamsOutput {
        stream_names: page.iter().map(|stream| stream.key.name.clone()).collect(),
        next_token: page.last().filter(|_| has_more_streams).map(|stream| stream.key.name.clone()),
        stream_summaries: Some(page.into_iter().map(|stream| summary(stream)).collect()),
        has_more_streams,
        ..Default::default()
    })
}

/// What a next token of ListShards says.
#[derive(Serialize, Deserialize)]
struct Rest {
    stream: String,
    /// The stream's number: one deleted and created again, or of another region, is not taken for it.
    id: u32,
    after: ShardId,
    /// The filter's type and time.
    filter: Option<(String, Option<Timestamp>)>,
    issued: Timestamp,
}

pub(super) async fn shards(
    service: &DataStreams,
    call: &Call,
    input: ListShardsInput,
) -> Result<ListShardsOutput, ServiceError> {
    let known = [
        "StreamName",
        "StreamARN",
        "NextToken",
        "ExclusiveStartShardId",
        "MaxResults",
        "StreamCreationTimestamp",
        "ShardFilter",
    ];
    only(SERVICE, &input, &known)?;
    let max = limit(input.max_results, SHARDS);
    let (stream, after, filter) = match &input.next_token {
        Some(token) => {
            let others = input.stream_name.is_some()
                || input.exclusive_start_shard_id.is_some()
                || input.shard_filter.is_some()
                || input.stream_creation_timestamp.is_some();
            if others {
                return Err(invalid("NextToken and StreamName cannot be provided together."));
            }
            let rest: Option<Rest> = service.seal.open(token).await?;
            let rest = rest.ok_or_else(|| invalid("Invalid NextToken."))?;
            if call.now.since(rest.issued) > TOKEN_LIFE {
                return Err(ServiceError::new("ExpiredNextTokenException", "the next token is older than 300 seconds"));
            }
            let stream = service.stream(call, Some(&rest.stream), input.stream_arn.as_deref())?;
            if stream.id.number() != rest.id {
                return Err(invalid("Invalid NextToken."));
            }
            (stream, Some(rest.after), rest.filter)
        }
        None => {
            let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
            if input
                .stream_creation_timestamp
                .is_some_and(|time| time.millis() / 1_000 != stream.created.millis() / 1_000)
            {
                return Err(super::not_found(&call.scope, &stream.key.name));
            }
            let mut after = input.exclusive_start_shard_id.as_deref().map(shard_id).transpose()?;
            let filter = match input.shard_filter {
                Some(filter) if filter.r#type == "AFTER_SHARD_ID" => {
                    let id = filter.shard_id.ok_or_else(|| invalid("ShardId must be given for AFTER_SHARD_ID"))?;
                    after = after.max(Some(shard_id(&id)?));
                    None
                }
                Some(filter) => Some((filter.r#type, filter.timestamp)),
                None => None,
            };
            (stream, after, filter)
        }
    };
    let mut found = Vec::new();
    for shard in stream.shards.iter().filter(|shard| after.is_none_or(|after| shard.id > after)) {
        if wanted(shard, filter.as_ref())? {
            found.push(shard);
        }
    }
    let more = found.len() > max;
    found.truncate(max);
    let next_token = match found.last().filter(|_| more) {
        Some(last) => {
            let (name, id) = (stream.key.name.clone(), stream.id.number());
            let rest = Rest { stream: name, id, after: last.id, filter, issued: call.now };
            Some(service.seal.seal(&rest).await?)
        }
        None => None,
    };
    Ok(ListShardsOutput { shards: Some(found.into_iter().map(shown).collect()), next_token })
}

/// Whether a filter lets a shard through. No shard can be closed yet, so the filters that differ in closed shards only
/// let all through.
fn wanted(shard: &log::Shard, filter: Option<&(String, Option<Timestamp>)>) -> Result<bool, ServiceError> {
    let Some((kind, time)) = filter else { return Ok(true) };
    let time = || time.ok_or_else(|| invalid(format!("Timestamp must be given for {kind}")));
    match kind.as_str() {
        "AT_TRIM_HORIZON" | "FROM_TRIM_HORIZON" => Ok(true),
        "AT_LATEST" => Ok(shard.closed_at.is_none()),
        "FROM_TIMESTAMP" => time().map(|_| true),
        "AT_TIMESTAMP" => time().map(|time| shard.opened <= time),
        other => Err(invalid(format!("the shard filter type {other} is not valid"))),
    }
}
