//! CreateStream and DeleteStream.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::StreamName;
use log::{LogError, StreamKey, StreamSpec};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::{key, stream_arn};
use super::mode::{check_commitment, check_strategy, mode_of, shards_for};
use super::{DataStreams, SERVICE, failed, failed_state, in_use, invalid, not_the_trail, tags, too_many_shards};
use crate::streams::{Mode, Settings};

/// A new stream's retention.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// Shards of a new on-demand stream: 4 MB/s in.
const ON_DEMAND_SHARDS: u32 = 4;

/// Holds a stream's name while it is being created.
struct Creating<'a> {
    names: &'a Mutex<HashSet<StreamKey>>,
    key: &'a StreamKey,
}

impl<'a> Creating<'a> {
    /// None when it is being created already.
    fn begin(names: &'a Mutex<HashSet<StreamKey>>, key: &'a StreamKey) -> Option<Self> {
        let is_first = names.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        is_first.then_some(Self { names, key })
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
    }
}

/// What a call wants a new stream to be.
fn wanted(service: &DataStreams, call: &Call, input: &CreateStreamInput) -> Result<(u32, Settings), ServiceError> {
    let mode = match (&input.stream_mode_details, input.shard_count) {
        (Some(details), _) => mode_of(&details.stream_mode)?,
        (None, Some(_)) => Mode::Provisioned,
        // Without a word the service makes four shards, as it does on demand.
        (None, None) => Mode::OnDemand,
    };
    let mut settings = Settings { mode, ..Settings::default() };
    let count = input.shard_count.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    let shards = match (mode, count) {
        (Mode::Provisioned, Some(count)) => count,
        (Mode::Provisioned, None) => {
            return Err(invalid("ShardCount must be at least 1 for a stream in PROVISIONED mode"));
        }
        (Mode::OnDemand, None) => ON_DEMAND_SHARDS,
        (Mode::OnDemand, Some(_)) => {
            let message = "ShardCount cannot be given for a stream in ON_DEMAND mode";
            return Err(ServiceError::validation(SERVICE, message));
        }
    };
    if let Some(strategy) = &input.record_distribution_strategy {
        check_strategy(strategy, mode)?;
    }
    if let Some(warm) = input.warm_throughput_mibps {
        check_commitment(service, call, mode)?;
        settings.warm_mibps = Some(shards_for(warm)?);
    }
    if let Some(size) = input.max_record_size_in_kib {
        settings.max_record_kib = u32::try_from(size).map_err(|_| invalid("MaxRecordSizeInKiB is negative"))?;
    }
    if let Some(new) = &input.tags {
        tags::check(new)?;
        settings.tags.clone_from(new);
    }
    Ok((shards.max(settings.warm_mibps.unwrap_or(0)), settings))
}

pub(super) async fn stream(
    service: &DataStreams,
    call: &Call,
    input: CreateStreamInput,
) -> Result<CreateStreamOutput, ServiceError> {
    let known = [
        "StreamName",
        "ShardCount",
        "StreamModeDetails",
        "Tags",
        "WarmThroughputMiBps",
        "MaxRecordSizeInKiB",
        "RecordDistributionStrategy",
    ];
    only(SERVICE, &input, &known)?;
    let name: StreamName = input.stream_name.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))?;
    let (shards, settings) = wanted(service, call, &input)?;
    let key = key(&call.scope, name.as_str());
    not_the_trail(&key)?;
    let exists = || in_use(format!("Stream {name} under account {} already exists.", call.scope.account));
    let _creating = Creating::begin(&service.creating, &key).ok_or_else(exists)?;
    if service.log.stream(&key).is_ok() {
        return Err(exists());
    }
    let reserved = service.streams.budget.reserve(&call.scope, shards as usize);
    let _reserved = reserved.map_err(|exceeded| too_many_shards(&call.scope, exceeded))?;
    let table = &service.streams.settings;
    let is_special = settings != Settings::default();
    if is_special {
        table.intend(&key, &settings).await.map_err(|error| failed_state(&error))?;
    }
    match service.log.create_stream(&key, StreamSpec { shards, retention: RETENTION }).await {
        Ok(stream) if is_special => {
            table.fulfil(&stream, settings).await.map_err(|error| failed_state(&error))?;
            Ok(CreateStreamOutput::default())
        }
        Ok(_) => Ok(CreateStreamOutput::default()),
        Err(error) => {
            if is_special {
                table.drop_intention(&key).await.map_err(|error| failed_state(&error))?;
            }
            Err(match error {
                LogError::StreamExists(_) => exists(),
                error => failed(&call.scope, name.as_str(), &error),
            })
        }
    }
}

pub(super) async fn delete(
    service: &DataStreams,
    call: &Call,
    input: DeleteStreamInput,
) -> Result<DeleteStreamOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "EnforceConsumerDeletion"])?;
    let stream = service.stream_to_change(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let name = &stream.key.name;
    let enforced = input.enforce_consumer_deletion.unwrap_or(false);
    let deleting = service.endings.delete(&stream, enforced);
    if deleting.is_none() || (!enforced && !service.streams.settings.of(stream.id).consumers.is_empty()) {
        let arn = stream_arn(&call.scope, name);
        return Err(in_use(format!(
            "DeleteStream can't delete {arn} because there are consumers associated with this data stream. To delete \
             {name} anyway, set the EnforceConsumerDeletion parameter to true to force the deletion of all the \
             consumers that are associated with it."
        )));
    }
    let deleted = service.log.delete_stream(&stream.key).await;
    deleted.map_err(|error| failed(&call.scope, name, &error))?;
    service.streams.settings.forget(&stream).await.map_err(|error| failed_state(&error))?;
    Ok(DeleteStreamOutput::default())
}
