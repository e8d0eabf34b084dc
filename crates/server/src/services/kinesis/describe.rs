//! Streams, shown and listed.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Position, Scope, SequenceNumber, ShardId};
use log::{Stream, StreamKind};
use serde::{Deserialize, Serialize};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::stream_arn;
use super::{DataStreams, SERVICE, encryption, invalid, mode, monitoring};
use crate::streams::{Mode, Settings, ShardMetric};

/// Shards of a page of DescribeStream, at most.
const DESCRIBED: usize = 100;
/// Streams of a page of ListStreams, at most.
const LISTED: usize = 100;

pub(super) fn hours(retention: Duration) -> i32 {
    i32::try_from(retention.as_secs() / 3_600).unwrap_or(i32::MAX)
}

fn details(mode: Mode) -> Option<StreamModeDetails> {
    Some(StreamModeDetails { stream_mode: mode.as_str().to_owned(), ..Default::default() })
}

/// A page's length: as asked for, but no more than the service gives.
pub(super) fn limit(asked: Option<i32>, most: usize) -> usize {
    asked.and_then(|asked| usize::try_from(asked).ok()).unwrap_or(most).clamp(1, most)
}

pub(super) fn hash_key_range(shard: &log::Shard) -> HashKeyRange {
    HashKeyRange {
        starting_hash_key: shard.hash_range.start().to_string(),
        ending_hash_key: shard.hash_range.end().to_string(),
        ..Default::default()
    }
}

/// A shard as it is listed.
pub(super) fn shown(shard: &log::Shard) -> Shard {
    let number = |position: Position, time| SequenceNumber::new(position, shard.id, time).to_string();
    let mut parents = shard.parents.iter().map(ToString::to_string);
    Shard {
        shard_id: shard.id.to_string(),
        parent_shard_id: parents.next(),
        adjacent_parent_shard_id: parents.next(),
        hash_key_range: hash_key_range(shard),
        sequence_number_range: SequenceNumberRange {
            starting_sequence_number: number(shard.opened_at, shard.opened),
            ending_sequence_number: shard.closed_at.map(|at| number(at, shard.closed.unwrap_or(shard.opened))),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// The shards that follow a closed one.
pub(super) fn children(stream: &Stream, parent: ShardId) -> Vec<ChildShard> {
    let from = stream.shards.partition_point(|shard| shard.id <= parent);
    let children = stream.shards[from..].iter().filter(|shard| shard.parents.contains(&parent));
    let shown = children.map(|shard| ChildShard {
        shard_id: shard.id.to_string(),
        parent_shards: shard.parents.iter().map(ToString::to_string).collect(),
        hash_key_range: hash_key_range(shard),
        ..Default::default()
    });
    shown.collect()
}

fn enhanced(metrics: &BTreeSet<ShardMetric>) -> Vec<EnhancedMetrics> {
    vec![EnhancedMetrics { shard_level_metrics: Some(monitoring::shown(metrics)) }]
}

/// `KMS` or `NONE`.
pub(super) fn encryption_type(is_encrypted: bool) -> String {
    if is_encrypted { "KMS" } else { "NONE" }.to_owned()
}

fn key_id(stream: &Stream, settings: &Settings) -> Option<String> {
    let named = || settings.key_id.clone().unwrap_or_else(|| encryption::OWN_KEY.to_owned());
    stream.encrypted.then(named)
}

pub(super) fn stream(
    service: &DataStreams,
    call: &Call,
    input: DescribeStreamInput,
) -> Result<DescribeStreamOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "Limit", "ExclusiveStartShardId"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let settings = service.streams.settings.of(stream.id);
    let after = input.exclusive_start_shard_id.as_deref();
    let after = after.map(|text| text.parse::<ShardId>().map_err(|e| invalid(e.to_string()))).transpose()?;
    let mut rest = stream.shards.iter().filter(|shard| after.is_none_or(|after| shard.id > after));
    let shards = rest.by_ref().take(limit(input.limit, DESCRIBED)).map(shown).collect();
    Ok(DescribeStreamOutput {
        stream_description: StreamDescription {
            stream_name: stream.key.name.clone(),
            stream_arn: stream_arn(&call.scope, &stream.key.name),
            stream_status: "ACTIVE".to_owned(),
            stream_mode_details: details(settings.mode),
            shards,
            has_more_shards: rest.next().is_some(),
            retention_period_hours: hours(stream.retention),
            stream_creation_timestamp: stream.created,
            enhanced_monitoring: enhanced(&settings.monitored),
            encryption_type: Some(encryption_type(stream.encrypted)),
            key_id: key_id(&stream, &settings),
            ..Default::default()
        },
        ..Default::default()
    })
}

pub(super) fn summary(
    service: &DataStreams,
    call: &Call,
    input: DescribeStreamSummaryInput,
) -> Result<DescribeStreamSummaryOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let settings = service.streams.settings.of(stream.id);
    Ok(DescribeStreamSummaryOutput {
        stream_description_summary: StreamDescriptionSummary {
            stream_name: stream.key.name.clone(),
            stream_arn: stream_arn(&call.scope, &stream.key.name),
            stream_status: "ACTIVE".to_owned(),
            stream_mode_details: details(settings.mode),
            open_shard_count: i32::try_from(stream.open_shards().len()).unwrap_or(i32::MAX),
            consumer_count: i32::try_from(settings.consumers.len()).ok(),
            retention_period_hours: hours(stream.retention),
            stream_creation_timestamp: stream.created,
            enhanced_monitoring: enhanced(&settings.monitored),
            encryption_type: Some(encryption_type(stream.encrypted)),
            key_id: key_id(&stream, &settings),
            max_record_size_in_kib: i32::try_from(settings.max_record_kib).ok(),
            warm_throughput: mode::warm(&stream, &settings),
            record_distribution_strategy: (settings.mode == Mode::OnDemand).then(|| mode::STRATEGY.to_owned()),
            ..Default::default()
        },
        ..Default::default()
    })
}

/// What a next token says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest {
    scope: Scope,
    after_stream: String,
}

pub(super) async fn list(
    service: &DataStreams,
    call: &Call,
    input: ListStreamsInput,
) -> Result<ListStreamsOutput, ServiceError> {
    let after = match (input.next_token, input.exclusive_start_stream_name) {
        (Some(_), Some(_)) => {
            return Err(invalid("NextToken and ExclusiveStartStreamName cannot be provided together."));
        }
        (Some(token), None) => {
            let rest: Rest = service.seal.open_next(call.now, &token).await?;
            if rest.scope != call.scope {
                return Err(invalid("Invalid NextToken."));
            }
            rest.after_stream
        }
        (None, name) => name.unwrap_or_default(),
    };
    let streams = service.log.streams(StreamKind::Kinesis, &call.scope);
    let mut rest = streams.iter().filter(|stream| stream.key.name > after);
    let page: Vec<_> = rest.by_ref().take(limit(input.limit, LISTED)).collect();
    let has_more_streams = rest.next().is_some();
    let next_token = match page.last().filter(|_| has_more_streams) {
        Some(last) => {
            let rest = Rest { scope: call.scope.clone(), after_stream: last.key.name.clone() };
            Some(service.seal.seal_next(call.now, rest).await?)
        }
        None => None,
    };
    let summary = |stream: &Stream| StreamSummary {
        stream_name: stream.key.name.clone(),
        stream_arn: stream_arn(&call.scope, &stream.key.name),
        stream_status: "ACTIVE".to_owned(),
        stream_mode_details: details(service.streams.settings.of(stream.id).mode),
        stream_creation_timestamp: Some(stream.created),
        ..Default::default()
    };
    Ok(ListStreamsOutput {
        stream_names: page.iter().map(|stream| stream.key.name.clone()).collect(),
        next_token,
        stream_summaries: Some(page.into_iter().map(|stream| summary(stream)).collect()),
        has_more_streams,
        ..Default::default()
    })
}
