//! EnableEnhancedMonitoring and DisableEnhancedMonitoring: which metrics of a stream are shown shard by shard.

use std::collections::BTreeSet;

use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::stream_arn;
use super::{DataStreams, SERVICE, invalid};
use crate::streams::{Settings, ShardMetric};

/// The metrics that a call names; `ALL` stands for every one.
fn named(names: &[String]) -> Result<BTreeSet<ShardMetric>, ServiceError> {
    let mut metrics = BTreeSet::new();
    for name in names {
        match ShardMetric::ALL.iter().find(|metric| metric.as_str() == name) {
            Some(metric) => _ = metrics.insert(*metric),
            None if name == "ALL" => metrics.extend(ShardMetric::ALL),
            None => return Err(invalid(format!("{name} is not a shard-level metric"))),
        }
    }
    Ok(metrics)
}

/// The metrics as the service writes them.
pub(super) fn shown(metrics: &BTreeSet<ShardMetric>) -> Vec<String> {
    metrics.iter().map(|metric| metric.as_str().to_owned()).collect()
}

pub(super) async fn enable(
    service: &DataStreams,
    call: &Call,
    input: EnableEnhancedMonitoringInput,
) -> Result<EnhancedMonitoringOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "ShardLevelMetrics"])?;
    let metrics = named(&input.shard_level_metrics)?;
    let stream = (input.stream_name.as_deref(), input.stream_arn.as_deref());
    change(service, call, stream, |settings| settings.monitored.extend(&metrics)).await
}

pub(super) async fn disable(
    service: &DataStreams,
    call: &Call,
    input: DisableEnhancedMonitoringInput,
) -> Result<EnhancedMonitoringOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "ShardLevelMetrics"])?;
    let metrics = named(&input.shard_level_metrics)?;
    let stream = (input.stream_name.as_deref(), input.stream_arn.as_deref());
    change(service, call, stream, |settings| settings.monitored.retain(|metric| !metrics.contains(metric))).await
}

async fn change(
    service: &DataStreams,
    call: &Call,
    (name, arn): (Option<&str>, Option<&str>),
    change: impl Fn(&mut Settings),
) -> Result<EnhancedMonitoringOutput, ServiceError> {
    let stream = service.stream(call, name, arn)?;
    let (before, after) = service
        .set(&stream, |settings| {
            let before = shown(&settings.monitored);
            change(settings);
            Ok((before, shown(&settings.monitored)))
        })
        .await?;
    Ok(EnhancedMonitoringOutput {
        stream_name: Some(stream.key.name.clone()),
        stream_arn: Some(stream_arn(&call.scope, &stream.key.name)),
        current_shard_level_metrics: Some(before),
        desired_shard_level_metrics: Some(after),
    })
}
