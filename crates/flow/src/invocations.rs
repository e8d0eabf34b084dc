//! Asynchronous invocations: an event is accepted durably, the function is called when it can be.
//!
//! Owns one log stream and one consumer for each function that was ever invoked asynchronously.
//! Promises: what was accepted is given to the function at least once; a failed call is made again after one and then
//! two minutes under the same request id, a call that cannot be made (no environment free) for up to six hours
//! ("Error handling for an asynchronous invocation", Lambda Developer Guide); then it is dropped, counted and logged.
//! Later events do not wait for earlier ones.
//! Must not know how functions run: they are called through [`Invoke`].
//!
//! A record in the log is a line of JSON `{"v":1,"id":request id,"function":ARN,"context":…}`, then the payload as it
//! came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::{
    Arn, Batch, Delivery, ErrorKind, FunctionName, Invocation, Invoke, Kinded, PartitionKey, Position, ProducerId, Rng,
    Scope, StateStore, Table, TargetError, TaskGroup,
};
use bytes::{BufMut, Bytes, BytesMut};
use log::{Append, LogError, NewRecord, Record, Stream, StreamKey, StreamKind, StreamSpec};
use serde::{Deserialize, Serialize};

use crate::consumer::{Consumer, Loop, Policy, Running, Start};
use crate::producer::stable_uuid;
use crate::router::{append_once, before_append, taken_by, target_error};
use crate::spool::{self, Attempt, Attempted, Settings, Spool};
use crate::{FlowError, metrics, stored};

const TABLE: Table = Table("flow.invocations");
const VERSION: u32 = 1;

/// How long an event is kept: the service's longest, six hours, and some room for what is under way.
const RETENTION: Duration = Duration::from_secs(8 * 3_600);
/// An event older than this is dropped.
const MAX_AGE: Duration = Duration::from_secs(6 * 3_600);
/// The waits before the second and third call.
const DELAYS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
/// Calls of one function at once. Functions have their own limit; this bounds memory.
const CONCURRENCY: usize = 32;

#[derive(Serialize, Deserialize)]
struct Known {
    function: FunctionName,
}

#[derive(Serialize, Deserialize)]
struct Header {
    v: u32,
    id: String,
    function: Arn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<String>,
}

/// The room of asynchronous invocations. Cloning gives another handle.
#[derive(Clone)]
pub struct Invocations {
    inner: Arc<Inner>,
}

struct Inner {
    consumers: Loop,
    state: Arc<dyn StateStore>,
    invoke: Arc<dyn Invoke>,
    group: TaskGroup,
    running: Mutex<HashMap<StreamKey, Running>>,
}

impl Invocations {
    pub(crate) fn new(consumers: Loop, state: Arc<dyn StateStore>, invoke: Arc<dyn Invoke>, group: &TaskGroup) -> Self {
        let inner = Inner { consumers, state, invoke, group: group.child(), running: Mutex::new(HashMap::new()) };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the consumers of all functions that were invoked asynchronously before.
    pub(crate) async fn restore(&self) -> Result<(), FlowError> {
        for (scope, known) in stored::list_scoped::<Known>(&*self.inner.state, TABLE)? {
            self.stream(&stream_key(&scope, known.function.as_str())).await?;
        }
        Ok(())
    }

    /// Accepts an event for a function; `Ok` is its request id, and the event is durable. That the function exists is
    /// the caller's to check.
    pub async fn submit(
        &self,
        function: &Arn,
        payload: Bytes,
        client_context: Option<String>,
    ) -> Result<String, FlowError> {
        let (key, partition_key) = address(function).map_err(|e| FlowError::Invalid(e.message))?;
        let stream = self.stream(&key).await?;
        let id = self.inner.consumers.env.rng.uuid();
        let data = encode(id.clone(), function, client_context, &payload)?;
        let shard = stream.shard_for(&partition_key, None).slot;
        let records = vec![NewRecord { shard, partition_key, explicit_hash_key: None, data }];
        self.inner.consumers.log.append(Append { producer: None, records }).await?;
        Ok(id)
    }

    /// Accepts a batch from an internal producer; a replay adds nothing twice and keeps the request ids.
    pub(crate) async fn enqueue(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        let (key, partition_key) = address(to)?;
        self.check(to).await?;
        let failed = |error: FlowError| TargetError { kind: error.kind(), message: format!("{to}: {error}") };
        let stream = self
            .stream(&key)
            .await
            .map_err(failed)
            .map_err(|error| TargetError { kind: before_append(error.kind), ..error })?;
        let mut records = HashMap::new();
        for delivery in batch {
            let id = stable_uuid(producer, delivery.position);
            records.insert(delivery.position, encode(id, to, None, &delivery.payload).map_err(failed)?);
        }
        let appended = append_once(&self.inner.consumers.log, &stream, producer, batch, |delivery| {
            (partition_key.clone(), records.get(&delivery.position).cloned().unwrap_or_default())
        });
        appended.await.map_err(|e| target_error(to, &e))
    }

    /// Whether the function exists.
    pub(crate) async fn check(&self, function: &Arn) -> Result<(), TargetError> {
        let checked = self.inner.invoke.check(function).await;
        checked.map_err(|e| TargetError { kind: before_append(e.kind), message: e.message })
    }

    /// Up to which position a function's queue has what `producer` appended.
    pub(crate) fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        taken_by(&self.inner.consumers.log, &address(to).ok()?.0, producer)
    }

    /// Forgets a deleted function's events. Calls under way end as they will.
    pub async fn remove(&self, scope: &Scope, function: &FunctionName) -> Result<(), FlowError> {
        let key = stream_key(scope, function.as_str());
        let running = self.running().remove(&key);
        if let Some(running) = running {
            running.stop().await;
        }
        let id = consumer_id(&key);
        let mut batch = Batch::new().delete(TABLE, stored::key(scope, &[function.as_str()]));
        batch.writes.extend(self.inner.consumers.checkpoints.forget(&id).await?);
        batch.writes.extend(spool::forget(&*self.inner.state, &id)?);
        self.inner.state.commit(batch).await?;
        match self.inner.consumers.log.delete_stream(&key).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The function's stream with its consumer running, made at the first event.
    async fn stream(&self, key: &StreamKey) -> Result<Arc<Stream>, FlowError> {
        let stream = match self.inner.consumers.log.stream(key) {
            Err(LogError::StreamNotFound(_)) => self.create(key).await?,
            other => other?,
        };
        self.ensure_running(&stream)?;
        Ok(stream)
    }

    async fn create(&self, key: &StreamKey) -> Result<Arc<Stream>, FlowError> {
        // Known before it can hold anything, so that no event is forgotten by a restart.
        let function = key.name.parse::<FunctionName>().map_err(|e| FlowError::Invalid(e.to_string()))?;
        let row = stored::encode("function's queue", &Known { function })?;
        self.inner.state.commit(Batch::new().put(TABLE, stored::key(&key.scope, &[&key.name]), row)).await?;
        let spec = StreamSpec { shards: 1, retention: RETENTION };
        Ok(self.inner.consumers.log.ensure_stream(key, spec).await?)
    }

    fn ensure_running(&self, stream: &Stream) -> Result<(), FlowError> {
        let mut running = self.running();
        if running.contains_key(&stream.key) {
            return Ok(());
        }
        let Some(shard) = stream.shards.first() else { return Ok(()) };
        let id = consumer_id(&stream.key);
        let (concurrency, at_most) = (CONCURRENCY, CONCURRENCY);
        let settings = Settings { id: id.clone(), slot: shard.slot, stream: stream.id, concurrency, at_most };
        let group = self.inner.group.child();
        let caller = Caller { invoke: Arc::clone(&self.inner.invoke), function: stream.key.name.clone() };
        let spool = Spool::start(&self.inner.consumers, &self.inner.state, &group, settings, caller)?;
        let consumer = Consumer {
            id,
            source: stream.key.clone(),
            start: Start::TrimHorizon,
            policy: Policy::each_record(CONCURRENCY, MAX_AGE),
        };
        running.insert(stream.key.clone(), self.inner.consumers.start(group, consumer, Arc::new(spool)));
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, HashMap<StreamKey, Running>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn consumer_id(key: &StreamKey) -> String {
    format!("invocations:{}/{}", key.scope, key.name)
}

fn stream_key(scope: &Scope, function: &str) -> StreamKey {
    StreamKey { kind: StreamKind::Invocations, scope: scope.clone(), name: function.to_owned() }
}

/// The stream of a function's ARN and the one key that all its records have.
fn address(function: &Arn) -> Result<(StreamKey, PartitionKey), TargetError> {
    let invalid = || TargetError { kind: ErrorKind::Invalid, message: format!("{function} is not a function's ARN") };
    let resource = function.resource_of("function").filter(|_| function.service() == "lambda").ok_or_else(invalid)?;
    let name = resource.split(':').next().unwrap_or(resource);
    let scope = function.scope().ok_or_else(invalid)?;
    Ok((stream_key(&scope, name), name.parse().map_err(|_| invalid())?))
}

fn encode(id: String, function: &Arn, context: Option<String>, payload: &Bytes) -> Result<Bytes, FlowError> {
    let header = Header { v: VERSION, id, function: function.clone(), context };
    let header =
        serde_json::to_vec(&header).map_err(|source| FlowError::Encode { what: "asynchronous invocation", source })?;
    let mut data = BytesMut::with_capacity(header.len() + 1 + payload.len());
    data.put_slice(&header);
    data.put_u8(b'\n');
    data.put_slice(payload);
    Ok(data.freeze())
}

fn decode(data: &Bytes) -> Result<Invocation, String> {
    let end = data.iter().position(|b| *b == b'\n').ok_or("it has no header line")?;
    let header: Header = serde_json::from_slice(&data[..end]).map_err(|e| e.to_string())?;
    if header.v != VERSION {
        return Err(format!("format version {} is not {VERSION}", header.v));
    }
    Ok(Invocation {
        function: header.function,
        payload: data.slice(end + 1..),
        request_id: Some(header.id),
        client_context: header.context,
        want_log: false,
    })
}

/// Calls the function for one record.
struct Caller {
    invoke: Arc<dyn Invoke>,
    function: String,
}

#[async_trait]
impl Attempt for Caller {
    async fn attempt(&self, record: &Record) -> Attempted {
        let call = match decode(&record.data) {
            Ok(call) => call,
            Err(reason) => return Attempted::Refused(format!("the event cannot be read: {reason}")),
        };
        match self.invoke.invoke(call).await {
            Ok(outcome) => match outcome.failure() {
                None => {
                    metrics::invoked_async(&self.function, "done");
                    Attempted::Done
                }
                Some(failure) => Attempted::Failed(failure),
            },
            Err(error) if error.kind.is_transient() => Attempted::Later(error.message),
            Err(error) => Attempted::Refused(error.message),
        }
    }

    fn delay(&self, attempts: u32, _rng: &dyn Rng) -> Option<Duration> {
        DELAYS.get(attempts.saturating_sub(1) as usize).copied()
    }

    fn max_age(&self) -> Duration {
        MAX_AGE
    }

    fn retried(&self, record: &Record, reason: &str) {
        metrics::invoked_async(&self.function, "retried");
        tracing::warn!(function = self.function, position = %record.position, reason, "an asynchronous invocation is tried again");
    }

    fn gave_up(&self, record: &Record, reason: &str) {
        metrics::invoked_async(&self.function, "dropped");
        tracing::error!(function = self.function, position = %record.position, reason, "an asynchronous invocation was given up");
    }
}
