//! SplitShard, MergeShards and UpdateShardCount.
//!
//! A change of shards is one durable, atomic step of the log; it is done when it is answered.

use base::{HashKey, ShardId};
use log::{LogError, MAX_SHARDS, Reshard, Stream};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::{no_shard, no_stream, shard_to_change, stream_arn};
use super::{DataStreams, SERVICE, failed, in_use, invalid, limited, too_many_shards};
use crate::streams::{Daily, Mode, PLANS, is_outdated, steps_to};

/// On-demand streams change their shards themselves.
fn check_provisioned(service: &DataStreams, call: &Call, stream: &Stream, what: &str) -> Result<(), ServiceError> {
    if service.streams.settings.of(stream.id).mode == Mode::Provisioned {
        return Ok(());
    }
    let (name, account) = (&stream.key.name, &call.scope.account);
    let message = format!(
        "Request is invalid. Stream {name} under account {account} is in On-Demand mode; {what} is for streams in \
         PROVISIONED mode only."
    );
    Err(ServiceError::validation(SERVICE, message))
}

fn check_open(call: &Call, stream: &Stream, shard: &log::Shard) -> Result<(), ServiceError> {
    if shard.closed_at.is_none() { Ok(()) } else { Err(closed(call, stream, shard.id)) }
}

fn closed(call: &Call, stream: &Stream, shard: ShardId) -> ServiceError {
    let (name, account) = (&stream.key.name, &call.scope.account);
    invalid(format!(
        "Shard {shard} in stream {name} under account {account} has already been merged or split, and thus is not \
         eligible for merging or splitting."
    ))
}

fn not_adjacent(call: &Call, stream: &Stream, shards: (ShardId, ShardId)) -> ServiceError {
    let (name, account) = (&stream.key.name, &call.scope.account);
    invalid(format!(
        "Shards {} and {} in stream {name} under account {account} are not an adjacent pair of shards eligible for \
         merging",
        shards.0, shards.1
    ))
}

/// Makes one change of shards that a call names, when the account may have `additional` more.
async fn apply(
    service: &DataStreams,
    call: &Call,
    stream: &Stream,
    step: Reshard,
    additional: usize,
) -> Result<(), ServiceError> {
    let reserved = service.streams.budget.reserve(&call.scope, additional);
    let _reserved = reserved.map_err(|exceeded| too_many_shards(&call.scope, exceeded))?;
    service.log.reshard(&stream.key, vec![step]).await.map(|_| ()).map_err(|error| match error {
        LogError::AlreadyClosed { shard, .. } => closed(call, stream, shard),
        LogError::NoSuchShard { shard, .. } => no_shard(&call.scope, stream, &shard.to_string()),
        LogError::NotAdjacent { shard, adjacent, .. } => not_adjacent(call, stream, (shard, adjacent)),
        error => failed(&call.scope, &stream.key.name, &error),
    })
}

/// Brings a stream to so many equal shards. The caller names no shards, so when somebody else changes them meanwhile
/// the steps are planned anew, and the call is refused only when that goes on and on.
pub(super) async fn scale(
    service: &DataStreams,
    call: &Call,
    stream: &Stream,
    target: u32,
) -> Result<(), ServiceError> {
    let name = &stream.key.name;
    for _ in 0..PLANS {
        let now = service.stream(call, Some(name), None)?;
        if now.id != stream.id {
            return Err(no_stream(&call.scope, name));
        }
        // Also asked after steps that were made: one may have met a shard of somebody else's that got its child's id.
        let steps = steps_to(&now, target);
        if steps.is_empty() {
            return Ok(());
        }
        let additional = (target as usize).saturating_sub(now.open_shards().len());
        let reserved = service.streams.budget.reserve(&call.scope, additional);
        let _reserved = reserved.map_err(|exceeded| too_many_shards(&call.scope, exceeded))?;
        match service.log.reshard(&stream.key, steps).await {
            Ok(_) => {}
            Err(error) if is_outdated(&error) => {}
            Err(error) => return Err(failed(&call.scope, name, &error)),
        }
    }
    let account = &call.scope.account;
    Err(in_use(format!("Stream {name} under account {account} not ACTIVE, instead in state UPDATING")))
}

pub(super) async fn split(
    service: &DataStreams,
    call: &Call,
    input: SplitShardInput,
) -> Result<SplitShardOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "ShardToSplit", "NewStartingHashKey"])?;
    let stream = service.stream_to_change(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    check_provisioned(service, call, &stream, "SplitShard")?;
    let shard = shard_to_change(&call.scope, &stream, &input.shard_to_split)?;
    check_open(call, &stream, shard)?;
    let (start, end) = (*shard.hash_range.start(), *shard.hash_range.end());
    let text = &input.new_starting_hash_key;
    let inside = |at: &HashKey| at.0 > start.saturating_add(1) && at.0 < end;
    let at = text.parse::<HashKey>().ok().filter(inside).ok_or_else(|| {
        invalid(format!(
            "NewStartingHashKey {text} used in SplitShard() on shard {} in stream {} under account {} is not both \
             greater than one plus the shard's StartingHashKey {start} and less than the shard's EndingHashKey {end}.",
            shard.id, stream.key.name, call.scope.account
        ))
    })?;
    apply(service, call, &stream, Reshard::Split { shard: shard.id, at }, 1).await?;
    Ok(SplitShardOutput::default())
}

pub(super) async fn merge(
    service: &DataStreams,
    call: &Call,
    input: MergeShardsInput,
) -> Result<MergeShardsOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "ShardToMerge", "AdjacentShardToMerge"])?;
    let stream = service.stream_to_change(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    check_provisioned(service, call, &stream, "MergeShards")?;
    let shard = shard_to_change(&call.scope, &stream, &input.shard_to_merge)?;
    let adjacent = shard_to_change(&call.scope, &stream, &input.adjacent_shard_to_merge)?;
    check_open(call, &stream, shard)?;
    check_open(call, &stream, adjacent)?;
    let step = Reshard::Merge { shard: shard.id, adjacent: adjacent.id };
    apply(service, call, &stream, step, 0).await?;
    Ok(MergeShardsOutput::default())
}

pub(super) async fn count(
    service: &DataStreams,
    call: &Call,
    input: UpdateShardCountInput,
) -> Result<UpdateShardCountOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "TargetShardCount", "ScalingType"])?;
    let stream = service.stream_to_change(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    check_provisioned(service, call, &stream, "UpdateShardCount")?;
    let target = u32::try_from(input.target_shard_count).map_err(|_| invalid("TargetShardCount is negative"))?;
    let now = stream.open_shards().len();
    let counts = format!("Current open shard count: {now} Target shard count: {target}");
    if target as usize > now * 2 {
        let message = "UpdateShardCount cannot scale up over double your current open shard count.";
        return Err(invalid(format!("{message} {counts}")));
    }
    if (target as usize) * 2 < now {
        let message = "UpdateShardCount cannot scale down below half your current open shard count.";
        return Err(invalid(format!("{message} {counts}")));
    }
    if target > MAX_SHARDS {
        let message = format!("Target shard count or number of open shards cannot be greater than {MAX_SHARDS}.");
        return Err(limited(format!("{message} {counts}")));
    }
    service.admit_daily(call, &stream, Daily::UpdateShardCount).await?;
    let scaled = scale(service, call, &stream, target).await;
    service.made(call, &stream, Daily::UpdateShardCount, scaled).await?;
    Ok(UpdateShardCountOutput {
        stream_name: Some(stream.key.name.clone()),
        stream_arn: Some(stream_arn(&call.scope, &stream.key.name)),
        current_shard_count: i32::try_from(now).ok(),
        target_shard_count: Some(input.target_shard_count),
    })
}
