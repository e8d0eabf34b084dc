//! Kinesis Data Streams.
//!
//! Owns the translation between the wire and the log: addressing by name or ARN, the service's limits, shard iterators.
//! Must not know how records are stored.
//!
//! Limits are those of "Quotas and limits" (Kinesis Data Streams Developer Guide).

mod describe;
mod put;
mod read;
mod token;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, Env, ErrorKind, Kinded, Scope, ShardId, StateStore, StreamName};
use log::{Log, LogError, Shard, Stream, StreamKey, StreamKind, StreamSpec};
use wire::kinesis::*;
use wire::{Call, ServiceError, ServiceId, only};

use token::Seal;

const SERVICE: ServiceId = ServiceId::Kinesis;
/// A new stream's retention.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// Open shards of an account in one region, at most.
const MAX_SHARDS: usize = log::MAX_SHARDS as usize;

/// The service.
pub(crate) struct DataStreams {
    log: Log,
    env: Env,
    seal: Seal,
}

impl DataStreams {
    pub fn new(log: Log, state: Arc<dyn StateStore>, env: Env) -> Arc<Self> {
        Arc::new(Self { log, seal: Seal::new(state, Arc::clone(&env.rng)), env })
    }

    /// The stream that a call names by name, ARN or both.
    fn stream(&self, call: &Call, name: Option<&str>, arn: Option<&str>) -> Result<Arc<Stream>, ServiceError> {
        let name = stream_name(&call.scope, name, arn)?;
        self.log.stream(&key(&call.scope, name.as_str())).map_err(|error| failed(&call.scope, name.as_str(), &error))
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidArgumentException", message)
}

fn not_found(scope: &Scope, name: &str) -> ServiceError {
    let message = format!("Stream {name} under account {} not found.", scope.account);
    ServiceError::new("ResourceNotFoundException", message)
}

fn failed(scope: &Scope, name: &str, error: &LogError) -> ServiceError {
    match error.kind() {
        ErrorKind::NotFound => not_found(scope, name),
        _ => ServiceError::from_kinded(SERVICE, error),
    }
}

fn key(scope: &Scope, name: &str) -> StreamKey {
    StreamKey { kind: StreamKind::Kinesis, scope: scope.clone(), name: name.to_owned() }
}

fn stream_arn(scope: &Scope, name: &str) -> String {
    Arn::new("kinesis", scope, format!("stream/{name}")).to_string()
}

fn stream_name(scope: &Scope, name: Option<&str>, arn: Option<&str>) -> Result<StreamName, ServiceError> {
    let from_arn = match arn {
        None => None,
        Some(text) => {
            let arn: Arn = text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
            let in_arn = arn.resource_of("stream").filter(|_| arn.service() == "kinesis").map(str::to_owned);
            let in_arn = in_arn.ok_or_else(|| invalid(format!("{arn} is not the ARN of a stream")))?;
            if arn.scope().as_ref() != Some(scope) {
                return Err(not_found(scope, &in_arn));
            }
            Some(in_arn)
        }
    };
    let text = match (name, from_arn) {
        (Some(name), Some(other)) if name != other => {
            return Err(invalid(format!("StreamARN and StreamName do not match: {other} and {name}")));
        }
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => name,
        (None, None) => return Err(invalid("StreamName or StreamARN must be provided")),
    };
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

/// The shard of this name.
fn shard<'a>(call: &Call, stream: &'a Stream, text: &str) -> Result<&'a Shard, ServiceError> {
    let found = text.parse::<ShardId>().ok().and_then(|id| stream.shards.iter().find(|shard| shard.id == id));
    found.ok_or_else(|| {
        let (name, account) = (&stream.key.name, &call.scope.account);
        let message = format!("Shard {text} in stream {name} under account {account} does not exist");
        ServiceError::new("ResourceNotFoundException", message)
    })
}

#[async_trait]
impl Kinesis for DataStreams {
    async fn create_stream(&self, call: &Call, input: CreateStreamInput) -> Result<CreateStreamOutput, ServiceError> {
        only(SERVICE, &input, &["StreamName", "ShardCount", "StreamModeDetails"])?;
        if input.stream_mode_details.as_ref().is_some_and(|mode| mode.stream_mode != "PROVISIONED") {
            let message = "the stream mode ON_DEMAND is not available in this version of Tidegate; create the stream \
                           PROVISIONED, with a ShardCount";
            return Err(invalid(message));
        }
        let shards = input.shard_count.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        let shards = shards.ok_or_else(|| invalid("ShardCount must be at least 1 for a PROVISIONED stream"))?;
        let name: StreamName = input.stream_name.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))?;
        let streams = self.log.streams(StreamKind::Kinesis, &call.scope);
        let open = |stream: &Arc<Stream>| stream.shards.iter().filter(|shard| shard.closed_at.is_none()).count();
        let in_use: usize = streams.iter().map(open).sum();
        if in_use + shards as usize > MAX_SHARDS {
            let message = format!(
                "This request would exceed the shard limit for the account {} in {}. Current shard count for the \
                 account: {in_use}. Limit: {MAX_SHARDS}. Number of additional shards that would have resulted from \
                 this request: {shards}.",
                call.scope.account, call.scope.region
            );
            return Err(ServiceError::new("LimitExceededException", message));
        }
        let spec = StreamSpec { shards, retention: RETENTION };
        match self.log.create_stream(&key(&call.scope, name.as_str()), spec).await {
            Ok(_) => Ok(CreateStreamOutput::default()),
            Err(LogError::StreamExists(_)) => {
                let message = format!("Stream {name} under account {} already exists.", call.scope.account);
                Err(ServiceError::new("ResourceInUseException", message))
            }
            Err(error) => Err(failed(&call.scope, name.as_str(), &error)),
        }
    }

    async fn delete_stream(&self, call: &Call, input: DeleteStreamInput) -> Result<DeleteStreamOutput, ServiceError> {
        // `EnforceConsumerDeletion` is about registered consumers; none can be registered, so both values do the same.
        only(SERVICE, &input, &["StreamName", "StreamARN", "EnforceConsumerDeletion"])?;
        let name = stream_name(&call.scope, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let deleted = self.log.delete_stream(&key(&call.scope, name.as_str())).await;
        deleted.map_err(|error| failed(&call.scope, name.as_str(), &error))?;
        Ok(DeleteStreamOutput::default())
    }

    async fn describe_stream(
        &self,
        call: &Call,
        input: DescribeStreamInput,
    ) -> Result<DescribeStreamOutput, ServiceError> {
        describe::stream(self, call, &input)
    }

    async fn describe_stream_summary(
        &self,
        call: &Call,
        input: DescribeStreamSummaryInput,
    ) -> Result<DescribeStreamSummaryOutput, ServiceError> {
        describe::summary(self, call, &input)
    }

    async fn list_streams(&self, call: &Call, input: ListStreamsInput) -> Result<ListStreamsOutput, ServiceError> {
        describe::list(self, call, input)
    }

    async fn list_shards(&self, call: &Call, input: ListShardsInput) -> Result<ListShardsOutput, ServiceError> {
        describe::shards(self, call, input).await
    }

    async fn put_record(&self, call: &Call, input: PutRecordInput) -> Result<PutRecordOutput, ServiceError> {
        put::one(self, call, input).await
    }

    async fn put_records(&self, call: &Call, input: PutRecordsInput) -> Result<PutRecordsOutput, ServiceError> {
        put::many(self, call, input).await
    }

    async fn get_shard_iterator(
        &self,
        call: &Call,
        input: GetShardIteratorInput,
    ) -> Result<GetShardIteratorOutput, ServiceError> {
        read::iterator(self, call, input).await
    }

    async fn get_records(&self, call: &Call, input: GetRecordsInput) -> Result<GetRecordsOutput, ServiceError> {
        read::records(self, call, input).await
    }
}
