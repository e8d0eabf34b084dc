//! Kinesis Data Streams.
//!
//! Owns the translation between the wire and the log: addressing by name or ARN, the service's limits, shard iterators,
//! subscriptions. What a call changes is changed when it is answered, so a stream and a consumer are ACTIVE as long as
//! they are. Must not know how records or settings are stored.
//!
//! Limits are those of "Quotas and limits" (Kinesis Data Streams Developer Guide).

mod account;
mod address;
mod consumers;
mod create;
mod describe;
mod encryption;
mod endings;
mod mode;
mod monitoring;
mod named;
mod policies;
mod position;
mod put;
mod read;
mod reshard;
mod retention;
mod shards;
mod subscribe;
mod subscriptions;
mod tags;
mod token;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base::{Env, ErrorKind, Kinded, Scope, StateError, StateStore};
use log::{Log, LogError, Stream, StreamKey};
use wire::kinesis::*;
use wire::{Call, ServiceError, ServiceId};

use crate::streams::{Daily, Exceeded, Settings, Streams};
use address::{ConsumerAddress, key, no_stream, stream_name};
use endings::Endings;
pub(crate) use named::{consumer_arn, stream_of_iterator, stream_of_shards};
use subscriptions::Subscriptions;
use token::Seal;

const SERVICE: ServiceId = ServiceId::Kinesis;

/// What SubscribeToShard answers with.
type Events = wire::EventStream<SubscribeToShardOutput, SubscribeToShardEventStream>;

/// The service.
pub(crate) struct DataStreams {
    log: Log,
    env: Env,
    seal: Seal,
    streams: Streams,
    /// Streams that are being created.
    creating: Mutex<HashSet<StreamKey>>,
    endings: Endings,
    subscriptions: Subscriptions,
}

impl DataStreams {
    pub fn new(log: Log, streams: Streams, state: Arc<dyn StateStore>, env: Env) -> Arc<Self> {
        let seal = Seal::new(state, Arc::clone(&env.rng));
        let (creating, endings, subscriptions) = (Mutex::default(), Endings::default(), Subscriptions::default());
        Arc::new(Self { log, env, seal, streams, creating, endings, subscriptions })
    }

    /// The stream that a call names by name, ARN or both.
    fn stream(&self, call: &Call, name: Option<&str>, arn: Option<&str>) -> Result<Arc<Stream>, ServiceError> {
        let name = stream_name(&call.scope, name, arn)?;
        self.log.stream(&key(&call.scope, name.as_str())).map_err(|error| failed(&call.scope, name.as_str(), &error))
    }

    /// The same for a call that writes the stream, takes it or records of it away, or divides it, which nobody does with
    /// the audit trail.
    fn stream_to_change(
        &self,
        call: &Call,
        name: Option<&str>,
        arn: Option<&str>,
    ) -> Result<Arc<Stream>, ServiceError> {
        let stream = self.stream(call, name, arn)?;
        not_the_trail(&stream.key)?;
        Ok(stream)
    }

    /// The stream of a consumer that is registered.
    fn stream_of(&self, call: &Call, consumer: &ConsumerAddress) -> Result<Arc<Stream>, ServiceError> {
        let stream = self.stream(call, Some(&consumer.stream), None)?;
        let settings = self.streams.settings.of(stream.id);
        match settings.consumers.get(&consumer.name) {
            Some(found) if found.epoch == consumer.epoch => Ok(stream),
            _ => Err(consumer.not_found(&call.scope)),
        }
    }

    /// Counts a call whose quota is the account's.
    fn admit(&self, call: &Call, method: &'static str) -> Result<(), ServiceError> {
        if self.streams.calls.account(&call.scope, method) {
            return Ok(());
        }
        Err(limited(format!("Rate exceeded for account {}.", call.scope.account)))
    }

    /// Counts a call whose quota is its stream's.
    fn admit_on(&self, stream: &Stream, method: &'static str) -> Result<(), ServiceError> {
        if self.streams.calls.stream(stream, method) {
            return Ok(());
        }
        let (name, account) = (&stream.key.name, &stream.key.scope.account);
        Err(limited(format!("Rate exceeded for stream {name} under account {account}.")))
    }

    /// Remembers a change with a daily quota, which the stream may not have used up; nothing while quotas are off.
    async fn admit_daily(&self, call: &Call, stream: &Stream, what: Daily) -> Result<(), ServiceError> {
        if !self.streams.calls.hold() {
            return Ok(());
        }
        self.set(stream, |settings| take_daily(settings, call, stream, what)).await
    }

    /// Forgets a change that was refused or failed; only changes that were made count.
    async fn made<T>(
        &self,
        call: &Call,
        stream: &Stream,
        what: Daily,
        result: Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        if result.is_err() && self.streams.calls.hold() {
            let forgotten = self.set(stream, |settings| {
                settings.changes.give_back(what, call.now);
                Ok(())
            });
            if let Err(error) = forgotten.await {
                tracing::warn!(stream = %stream.key, %error, "a change that failed counts against its daily quota");
            }
        }
        result
    }

    /// Changes the settings of a stream by looking at them. What is set on a stream that is deleted meanwhile is gone with
    /// it, and is answered so.
    async fn set<R>(
        &self,
        stream: &Stream,
        mut change: impl FnMut(&mut Settings) -> Result<R, ServiceError>,
    ) -> Result<R, ServiceError> {
        let changed = self.streams.settings.update(stream, |settings| change(settings).map_err(Refused)).await;
        let changed = changed.map_err(|Refused(error)| error)?;
        match self.log.stream(&stream.key) {
            Ok(now) if now.id == stream.id => Ok(changed),
            _ => Err(no_stream(&stream.key.scope, &stream.key.name)),
        }
    }
}

/// Refuses what only the server itself does with its audit trail.
fn not_the_trail(key: &StreamKey) -> Result<(), ServiceError> {
    if !key.is_audit_trail() {
        return Ok(());
    }
    let message = format!("Stream {} is the audit trail of Tidegate, which it alone writes and keeps.", key.name);
    Err(ServiceError::of_kind(SERVICE, ErrorKind::Denied, message))
}

fn take_daily(settings: &mut Settings, call: &Call, stream: &Stream, what: Daily) -> Result<(), ServiceError> {
    if settings.changes.take(what, call.now) {
        return Ok(());
    }
    let (name, account) = (&stream.key.name, &call.scope.account);
    Err(limited(format!(
        "{what:?} can be called at most {} times in a rolling 24-hour period for stream {name} under account {account}.",
        what.most()
    )))
}

/// Why a change of settings was not made.
struct Refused(ServiceError);

impl From<StateError> for Refused {
    fn from(error: StateError) -> Self {
        Self(failed_state(&error))
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidArgumentException", message)
}

fn no_resource(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ResourceNotFoundException", message)
}

fn in_use(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ResourceInUseException", message)
}

fn limited(message: impl Into<String>) -> ServiceError {
    ServiceError::new("LimitExceededException", message)
}

fn failed(scope: &Scope, name: &str, error: &LogError) -> ServiceError {
    match error {
        LogError::TooManyShards { .. } => limited(error.to_string()),
        LogError::NoMasterKey(_) | LogError::WrongMasterKey(_) => {
            ServiceError::new("KMSInvalidStateException", error.to_string())
        }
        _ if error.kind() == ErrorKind::NotFound => no_stream(scope, name),
        _ => ServiceError::from_kinded(SERVICE, error),
    }
}

/// Ends a call that only asked whether it would succeed.
fn dry_run(asked: Option<bool>) -> Result<(), ServiceError> {
    if asked != Some(true) {
        return Ok(());
    }
    let message = "The request would have succeeded, but the DryRun parameter was specified.";
    Err(ServiceError::new("DryRunOperationException", message))
}

fn failed_state(error: &StateError) -> ServiceError {
    ServiceError::from_kinded(SERVICE, error)
}

fn too_many_shards(scope: &Scope, exceeded: Exceeded) -> ServiceError {
    let Exceeded { in_use, limit, additional } = exceeded;
    let (account, region) = (&scope.account, &scope.region);
    limited(format!(
        "This request would exceed the shard limit for the account {account} in {region}. Current shard count for the \
         account: {in_use}. Limit: {limit}. Number of additional shards that would have resulted from this request: \
         {additional}. The limit is streams.max_shards in Tidegate's configuration."
    ))
}

/// One method an operation, named alike: `create_stream` is done by `create::stream(self, call, input)`.
macro_rules! operations {
    ($($method:ident: $Input:ident -> $Output:ident = $module:ident::$function:ident $(. $await:ident)?;)+) => {
        #[async_trait]
        impl Kinesis for DataStreams {
            $(async fn $method(&self, call: &Call, input: $Input) -> Result<$Output, ServiceError> {
                self.admit(call, stringify!($method))?;
                $module::$function(self, call, input)$(.$await)?
            })+
        }
    };
}

operations! {
    add_tags_to_stream: AddTagsToStreamInput -> AddTagsToStreamOutput = tags::add_to_stream.await;
    create_stream: CreateStreamInput -> CreateStreamOutput = create::stream.await;
    delete_resource_policy: DeleteResourcePolicyInput -> DeleteResourcePolicyOutput = policies::delete.await;
    decrease_stream_retention_period: DecreaseStreamRetentionPeriodInput -> DecreaseStreamRetentionPeriodOutput
        = retention::decrease.await;
    delete_stream: DeleteStreamInput -> DeleteStreamOutput = create::delete.await;
    deregister_stream_consumer: DeregisterStreamConsumerInput -> DeregisterStreamConsumerOutput
        = consumers::deregister.await;
    describe_account_settings: DescribeAccountSettingsInput -> DescribeAccountSettingsOutput = account::describe;
    describe_limits: DescribeLimitsInput -> DescribeLimitsOutput = account::limits;
    describe_stream: DescribeStreamInput -> DescribeStreamOutput = describe::stream;
    describe_stream_consumer: DescribeStreamConsumerInput -> DescribeStreamConsumerOutput = consumers::describe;
    describe_stream_summary: DescribeStreamSummaryInput -> DescribeStreamSummaryOutput = describe::summary;
    disable_enhanced_monitoring: DisableEnhancedMonitoringInput -> DisableEnhancedMonitoringOutput
        = monitoring::disable.await;
    enable_enhanced_monitoring: EnableEnhancedMonitoringInput -> EnableEnhancedMonitoringOutput
        = monitoring::enable.await;
    get_records: GetRecordsInput -> GetRecordsOutput = read::records.await;
    get_shard_iterator: GetShardIteratorInput -> GetShardIteratorOutput = read::iterator.await;
    increase_stream_retention_period: IncreaseStreamRetentionPeriodInput -> IncreaseStreamRetentionPeriodOutput
        = retention::increase.await;
    list_shards: ListShardsInput -> ListShardsOutput = shards::list.await;
    list_stream_consumers: ListStreamConsumersInput -> ListStreamConsumersOutput = consumers::list.await;
    list_streams: ListStreamsInput -> ListStreamsOutput = describe::list.await;
    get_resource_policy: GetResourcePolicyInput -> GetResourcePolicyOutput = policies::get;
    list_tags_for_resource: ListTagsForResourceInput -> ListTagsForResourceOutput = tags::of_resource;
    list_tags_for_stream: ListTagsForStreamInput -> ListTagsForStreamOutput = tags::of_stream;
    merge_shards: MergeShardsInput -> MergeShardsOutput = reshard::merge.await;
    put_record: PutRecordInput -> PutRecordOutput = put::one.await;
    put_records: PutRecordsInput -> PutRecordsOutput = put::many.await;
    put_resource_policy: PutResourcePolicyInput -> PutResourcePolicyOutput = policies::put.await;
    register_stream_consumer: RegisterStreamConsumerInput -> RegisterStreamConsumerOutput = consumers::register.await;
    remove_tags_from_stream: RemoveTagsFromStreamInput -> RemoveTagsFromStreamOutput = tags::remove_from_stream.await;
    split_shard: SplitShardInput -> SplitShardOutput = reshard::split.await;
    start_stream_encryption: StartStreamEncryptionInput -> StartStreamEncryptionOutput = encryption::start.await;
    stop_stream_encryption: StopStreamEncryptionInput -> StopStreamEncryptionOutput = encryption::stop.await;
    subscribe_to_shard: SubscribeToShardInput -> Events = subscribe::shard_of.await;
    tag_resource: TagResourceInput -> TagResourceOutput = tags::tag_resource.await;
    untag_resource: UntagResourceInput -> UntagResourceOutput = tags::untag_resource.await;
    update_account_settings: UpdateAccountSettingsInput -> UpdateAccountSettingsOutput = account::update.await;
    update_max_record_size: UpdateMaxRecordSizeInput -> UpdateMaxRecordSizeOutput = mode::max_record_size.await;
    update_shard_count: UpdateShardCountInput -> UpdateShardCountOutput = reshard::count.await;
    update_stream_mode: UpdateStreamModeInput -> UpdateStreamModeOutput = mode::stream_mode.await;
    update_stream_record_distribution_strategy: UpdateStreamRecordDistributionStrategyInput
        -> UpdateStreamRecordDistributionStrategyOutput = mode::record_distribution_strategy;
    update_stream_warm_throughput: UpdateStreamWarmThroughputInput -> UpdateStreamWarmThroughputOutput
        = mode::warm_throughput.await;
}
