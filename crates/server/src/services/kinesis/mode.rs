//! UpdateStreamMode, UpdateStreamWarmThroughput, UpdateStreamRecordDistributionStrategy and UpdateMaxRecordSize.
//!
//! An on-demand stream keeps at least as many open shards as it is to be warm for: a shard takes 1 MiB a second.

use log::Stream;
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::stream_arn;
use super::reshard::scale;
use super::{DataStreams, SERVICE, failed_state, invalid};
use crate::streams::{Daily, Mode, Settings};

/// MiB a second that a stream can be warm for, at most: 10 GiB.
const MAX_WARM: i32 = 10 << 10;

pub(super) fn mode_of(text: &str) -> Result<Mode, ServiceError> {
    [Mode::Provisioned, Mode::OnDemand]
        .into_iter()
        .find(|mode| mode.as_str() == text)
        .ok_or_else(|| invalid(format!("{text} is not a stream mode")))
}

/// The open shards that take so many MiB a second.
pub(super) fn shards_for(mibps: i32) -> Result<u32, ServiceError> {
    if mibps > MAX_WARM {
        return Err(invalid(format!("WarmThroughputMiBps can be at most {MAX_WARM}, not {mibps}")));
    }
    u32::try_from(mibps).map_err(|_| invalid("WarmThroughputMiBps is negative"))
}

/// Warm throughput is for on-demand streams of accounts with a commitment.
pub(super) fn check_commitment(service: &DataStreams, call: &Call, mode: Mode) -> Result<(), ServiceError> {
    if mode == Mode::Provisioned {
        let message = "WarmThroughputMiBps is for streams in ON_DEMAND mode only";
        return Err(ServiceError::validation(SERVICE, message));
    }
    let commitment = service.streams.accounts.commitment(&call.scope).map_err(|error| failed_state(&error))?;
    if commitment.is_some_and(|commitment| commitment.holds(call.now)) {
        return Ok(());
    }
    let message = format!(
        "WarmThroughputMiBps needs MinimumThroughputBillingCommitment, which the account {} has not enabled in {}; \
         enable it with UpdateAccountSettings",
        call.scope.account, call.scope.region
    );
    Err(ServiceError::validation(SERVICE, message))
}

/// What a stream is warm for, when that is shown.
pub(super) fn warm(stream: &Stream, settings: &Settings) -> Option<WarmThroughputObject> {
    let target = settings.warm_mibps.filter(|_| settings.mode == Mode::OnDemand)?;
    Some(WarmThroughputObject {
        target_mibps: i32::try_from(target).ok(),
        current_mibps: i32::try_from(stream.open_shards().len()).ok(),
    })
}

pub(super) async fn stream_mode(
    service: &DataStreams,
    call: &Call,
    input: UpdateStreamModeInput,
) -> Result<UpdateStreamModeOutput, ServiceError> {
    only(SERVICE, &input, &["StreamARN", "StreamModeDetails", "WarmThroughputMiBps"])?;
    let stream = service.stream_to_change(call, None, Some(&input.stream_arn))?;
    let mode = mode_of(&input.stream_mode_details.stream_mode)?;
    let warm = match input.warm_throughput_mibps {
        Some(warm) => {
            check_commitment(service, call, mode)?;
            Some(shards_for(warm)?)
        }
        None => None,
    };
    // First what may be refused.
    let is_switch = service.streams.settings.of(stream.id).mode != mode;
    if is_switch {
        service.admit_daily(call, &stream, Daily::UpdateStreamMode).await?;
    }
    let switched = switch(service, call, &stream, mode, warm).await;
    if is_switch {
        service.made(call, &stream, Daily::UpdateStreamMode, switched).await?
    } else {
        switched?
    }
    Ok(UpdateStreamModeOutput::default())
}

async fn switch(
    service: &DataStreams,
    call: &Call,
    stream: &Stream,
    mode: Mode,
    warm: Option<u32>,
) -> Result<(), ServiceError> {
    warm_up(service, call, stream, warm).await?;
    service
        .set(stream, |settings| {
            settings.mode = mode;
            settings.warm_mibps = warm.or(settings.warm_mibps.filter(|_| mode == Mode::OnDemand));
            Ok(())
        })
        .await
}

pub(super) async fn warm_throughput(
    service: &DataStreams,
    call: &Call,
    input: UpdateStreamWarmThroughputInput,
) -> Result<UpdateStreamWarmThroughputOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "WarmThroughputMiBps"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    check_commitment(service, call, service.streams.settings.of(stream.id).mode)?;
    let target = shards_for(input.warm_throughput_mibps)?;
    warm_up(service, call, &stream, Some(target)).await?;
    service
        .set(&stream, |settings| {
            settings.warm_mibps = Some(target);
            Ok(())
        })
        .await?;
    let stream = service.stream(call, Some(&stream.key.name), None)?;
    Ok(UpdateStreamWarmThroughputOutput {
        stream_name: Some(stream.key.name.clone()),
        stream_arn: Some(stream_arn(&call.scope, &stream.key.name)),
        warm_throughput: warm(&stream, &service.streams.settings.of(stream.id)),
    })
}

/// Opens the shards that a stream is to have at least.
async fn warm_up(service: &DataStreams, call: &Call, stream: &Stream, target: Option<u32>) -> Result<(), ServiceError> {
    match target {
        Some(target) if target as usize > stream.open_shards().len() => scale(service, call, stream, target).await,
        _ => Ok(()),
    }
}

/// Producers choose where a record goes, by its partition key. The other strategy is not available, so this one is all
/// that an on-demand stream can be set to.
pub(super) const STRATEGY: &str = "USER_PARTITION_KEY";

/// Refuses a strategy that is not there, and any for a stream whose owner decides over its shards.
pub(super) fn check_strategy(strategy: &str, mode: Mode) -> Result<(), ServiceError> {
    if mode == Mode::Provisioned {
        return Err(invalid("RecordDistributionStrategy is for streams in ON_DEMAND mode only"));
    }
    if strategy == STRATEGY {
        return Ok(());
    }
    Err(ServiceError::not_done(SERVICE, &format!("RecordDistributionStrategy {strategy}")))
}

pub(super) fn record_distribution_strategy(
    service: &DataStreams,
    call: &Call,
    input: UpdateStreamRecordDistributionStrategyInput,
) -> Result<UpdateStreamRecordDistributionStrategyOutput, ServiceError> {
    only(SERVICE, &input, &["StreamARN", "RecordDistributionStrategy"])?;
    let stream = service.stream(call, None, Some(&input.stream_arn))?;
    check_strategy(&input.record_distribution_strategy, service.streams.settings.of(stream.id).mode)?;
    Ok(UpdateStreamRecordDistributionStrategyOutput::default())
}

pub(super) async fn max_record_size(
    service: &DataStreams,
    call: &Call,
    input: UpdateMaxRecordSizeInput,
) -> Result<UpdateMaxRecordSizeOutput, ServiceError> {
    only(SERVICE, &input, &["StreamARN", "MaxRecordSizeInKiB"])?;
    // The API knows no other way to name the stream.
    let stream = service.stream(call, None, input.stream_arn.as_deref())?;
    let kib = u32::try_from(input.max_record_size_in_kib).map_err(|_| invalid("MaxRecordSizeInKiB is negative"))?;
    service
        .set(&stream, |settings| {
            settings.max_record_kib = kib;
            Ok(())
        })
        .await?;
    Ok(UpdateMaxRecordSizeOutput::default())
}
