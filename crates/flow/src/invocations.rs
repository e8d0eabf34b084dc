//! Asynchronous invocations: an event is accepted durably, the function is called when it can be.
//!
//! Owns one log stream and one consumer for each function that was ever invoked asynchronously.
//! Promises: what was accepted is given to the function at least once; a failed call is made again after one and then
//! two minutes under the same request id, a call that cannot be made (no environment free) for up to six hours, or as the
//! function's owner configured ("Error handling for an asynchronous invocation", Lambda Developer Guide); then it is told
//! to the function's destination and dead-letter queue, counted and logged. Later events do not wait for earlier ones.
//! Must not know how functions run: they are called through [`Invoke`].
//!
//! A record in the log is a line of JSON `{"v":1,"id":request id,"function":ARN,"context":…,"trace":…}`, then the payload
//! as it came.

mod config;
mod keep;
mod result;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use base::{
    Arn, Batch, Delivery, ErrorKind, FunctionName, Invocation, Invoke, InvokeOutcome, Kinded, PartitionKey, Position,
    ProducerId, Rng, Scope, StateStore, Table, TargetError, TaskGroup,
};
use bytes::{BufMut, Bytes, BytesMut};
use log::{Append, LogError, NewRecord, Record, Stream, StreamId, StreamKey, StreamKind, StreamSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::consumer::{Consumer, Loop, Policy, Running, Start};
use crate::needed::FOREVER;
use crate::producer::stable_uuid;
use crate::router::{append_once, before_append, taken_by, target_error};
use crate::spool::{Attempt, Attempted, End, Settings, Spool, Why};
use crate::{FlowError, metrics, stored};
pub use config::{InvokeConfig, InvokeConfigChange};
use config::{MAX_AGE, qualifier};
pub(crate) use result::Outlets;
use result::{Condition, Told};

const TABLE: Table = Table("flow.invocations");
const VERSION: u32 = 1;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
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
    running: Mutex<HashMap<StreamKey, (StreamId, Running)>>,
    outlets: Mutex<Weak<Outlets>>,
    /// Held while a function's log is made, begun to be read, or removed.
    turn: Semaphore,
}

impl Invocations {
    pub(crate) fn new(consumers: Loop, state: Arc<dyn StateStore>, invoke: Arc<dyn Invoke>, group: &TaskGroup) -> Self {
        let (running, outlets) = (Mutex::default(), Mutex::new(Weak::new()));
        let inner = Inner { consumers, state, invoke, group: group.child(), running, outlets, turn: Semaphore::new(1) };
        Self { inner: Arc::new(inner) }
    }

    /// The rooms that results go to: they stand on this one, so they come later, and are not kept by it.
    pub(crate) fn connect(&self, outlets: &Arc<Outlets>) {
        *self.inner.outlets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(outlets);
    }

    fn outlets(&self) -> Option<Arc<Outlets>> {
        self.inner.outlets.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Accepts a call; `Ok` is its request id, and the event is durable. That the function exists is the caller's to
    /// check.
    pub async fn submit(&self, call: Invocation) -> Result<String, FlowError> {
        let (key, partition_key) = address(&call.function).map_err(|e| FlowError::Invalid(e.message))?;
        let stream = self.stream(&key).await?;
        let id = call.request_id.unwrap_or_else(|| self.inner.consumers.env.rng.uuid());
        let header = Header {
            v: VERSION,
            id: id.clone(),
            function: call.function,
            context: call.client_context,
            trace: call.trace,
        };
        let data = encode(&header, &call.payload)?;
        let shard = stream.shard_for(&partition_key, None).slot;
        let records = vec![NewRecord { shard, partition_key, explicit_hash_key: None, data }];
        self.inner.consumers.log.append(Append { producer: None, records }).await?;
        metrics::invoked_async(&key.name, "received");
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
            let header = Header { v: VERSION, id, function: to.clone(), context: None, trace: None };
            records.insert(delivery.position, encode(&header, &delivery.payload).map_err(failed)?);
        }
        let appended = append_once(&self.inner.consumers.log, &stream, producer, batch, |delivery| {
            (partition_key.clone(), records.get(&delivery.position).cloned().unwrap_or_default())
        });
        appended.await.map_err(|e| target_error(to, &e))?;
        batch.iter().for_each(|_| metrics::invoked_async(&key.name, "received"));
        Ok(())
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

    /// The function's stream with its consumer running, made at the first event.
    async fn stream(&self, key: &StreamKey) -> Result<Arc<Stream>, FlowError> {
        let log = &self.inner.consumers.log;
        if let Ok(stream) = log.stream(key)
            && self.is_running(&stream)
        {
            return Ok(stream);
        }
        // Not beside a deletion: nothing may begin to read what is about to go.
        let _turn = self.inner.turn.acquire().await;
        let stream = match log.stream(key) {
            Err(LogError::StreamNotFound(_)) => self.create(key).await?,
            other => other?,
        };
        self.ensure_running(&stream)?;
        Ok(stream)
    }

    fn is_running(&self, stream: &Stream) -> bool {
        self.running().get(&stream.key).is_some_and(|(id, _)| *id == stream.id)
    }

    async fn create(&self, key: &StreamKey) -> Result<Arc<Stream>, FlowError> {
        // Known before it can hold anything, so that no event is forgotten by a restart.
        let function = key.name.parse::<FunctionName>().map_err(|e| FlowError::Invalid(e.to_string()))?;
        let row = stored::encode("function's queue", &Known { function })?;
        self.inner.state.commit(Batch::new().put(TABLE, stored::key(&key.scope, &[&key.name]), row)).await?;
        let spec = StreamSpec { shards: 1, retention: FOREVER };
        Ok(self.inner.consumers.log.ensure_stream(key, spec).await?)
    }

    fn ensure_running(&self, stream: &Stream) -> Result<(), FlowError> {
        if self.is_running(stream) {
            return Ok(());
        }
        let Some(shard) = stream.shards.first() else { return Ok(()) };
        let id = consumer_id(&stream.key);
        let (concurrency, at_most) = (CONCURRENCY, CONCURRENCY);
        let settings = Settings { id: id.clone(), slot: shard.slot, stream: stream.id, concurrency, at_most };
        let group = self.inner.group.child();
        let caller = Caller::new(self, stream.key.name.clone());
        let spool = Spool::start(&self.inner.consumers, &self.inner.state, &group, settings, caller)?;
        let consumer = Consumer {
            id,
            source: stream.key.clone(),
            start: Start::TrimHorizon,
            // How old an event may become is the spool's to say: what is too old is told, not passed over.
            policy: Policy { max_age: None, ..Policy::each_record(CONCURRENCY, MAX_AGE) },
        };
        let running = self.inner.consumers.start(group, consumer, Arc::new(spool));
        self.running().insert(stream.key.clone(), (stream.id, running));
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, HashMap<StreamKey, (StreamId, Running)>> {
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

fn encode(header: &Header, payload: &Bytes) -> Result<Bytes, FlowError> {
    let header =
        serde_json::to_vec(header).map_err(|source| FlowError::Encode { what: "asynchronous invocation", source })?;
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
        trace: header.trace,
    })
}

/// How often a success is told once more, which takes two minutes; then it is not told, which is counted and logged.
const TELL_AGAIN: u32 = 7;

/// Successes of a function that wait for the permission to be told, at most: what waits takes the place of events.
const MOST_UNTOLD: usize = 1_000;

/// Bytes of answers of failed calls that are kept until it is decided about their events, for a function's events
/// together; those of further ones are told without.
const MOST_ANSWERS: usize = 32 << 20;

/// What is known of an event's calls. Lost in a restart: the count that is told is called approximate.
#[derive(Default)]
struct Calls {
    count: u32,
    /// How the function answered at last; only until it is decided whether it is called again.
    outcome: Option<InvokeOutcome>,
    /// It was not called, as no environment is left to the function.
    stopped: bool,
    /// It was called, and only its destination does not know yet.
    success: Option<Success>,
}

/// A success that is to be told.
struct Success {
    outcome: InvokeOutcome,
    /// How often that was tried.
    told: u32,
}

/// Calls the function for one record.
struct Caller {
    room: Invocations,
    function: String,
    calls: Mutex<HashMap<Position, Calls>>,
}

impl Caller {
    fn new(room: &Invocations, function: String) -> Self {
        Self { room: room.clone(), function, calls: Mutex::default() }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Position, Calls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the function's owner decided about a call.
    fn config(&self, call: &Invocation) -> InvokeConfig {
        let qualifier = qualifier(&call.function);
        let Some(scope) = call.function.scope() else { return InvokeConfig::none(qualifier) };
        let Ok(function) = self.function.parse() else { return InvokeConfig::none(qualifier) };
        match self.room.config(&scope, &function, Some(qualifier)) {
            Ok(config) => config.unwrap_or_else(|| InvokeConfig::none(qualifier)),
            Err(error) => {
                let function = &self.function;
                tracing::error!(function, %error, "the configuration of asynchronous invocations cannot be read");
                InvokeConfig::none(qualifier)
            }
        }
    }

    fn config_of(&self, record: &Record) -> InvokeConfig {
        decode(&record.data).map_or_else(|_| InvokeConfig::none(""), |call| self.config(&call))
    }

    async fn is_stopped(&self, call: &Invocation) -> bool {
        self.room.inner.invoke.is_stopped(&call.function).await
    }

    /// Tells of a success, where that is wanted. A destination that does not take it now is asked again a few times: the
    /// event waits for that as one does that waits for a call, and no other event with it.
    async fn succeeded(&self, record: &Record, call: &Invocation, success: Success) -> Attempted {
        if let Some(to) = self.config(call).on_success
            && let Err(error) = self.tell_success(&to, record, call, &success.outcome).await
        {
            let is_denied = error.kind == ErrorKind::Denied;
            if (is_denied || error.kind.is_transient()) && self.keep(record, success, is_denied) {
                return Attempted::Later(error.message);
            }
            self.untold("destination", &to, &error.message);
        }
        self.calls().remove(&record.position);
        metrics::invoked_async(&self.function, "done");
        Attempted::Done
    }

    /// Keeps a success that is to be told again, if it may be and there is room for it.
    fn keep(&self, record: &Record, success: Success, is_denied: bool) -> bool {
        let mut calls = self.calls();
        let bytes = |calls: &Calls| calls.success.as_ref().map_or(0, |success| success.outcome.payload.len());
        let kept: usize = calls.values().map(bytes).sum();
        let waiting = calls.values().filter(|calls| calls.success.is_some()).count();
        // A permission is waited for as long as the event lives.
        let again = if is_denied { waiting < MOST_UNTOLD } else { success.told < TELL_AGAIN };
        let may = again && kept + success.outcome.payload.len() <= MOST_ANSWERS;
        if may {
            let told = success.told + 1;
            calls.entry(record.position).or_default().success = Some(Success { told, ..success });
        }
        may
    }

    async fn tell_success(
        &self,
        to: &Arn,
        record: &Record,
        call: &Invocation,
        outcome: &InvokeOutcome,
    ) -> Result<(), TargetError> {
        let stopping = || TargetError { kind: ErrorKind::Unavailable, message: "the server is stopping".to_owned() };
        let outlets = self.room.outlets().ok_or_else(stopping)?;
        let told = Told {
            record,
            call,
            condition: Condition::Success,
            attempts: self.calls().get(&record.position).map_or(1, |calls| calls.count),
            outcome: Some(outcome),
            reason: "",
            now: self.room.inner.consumers.env.clock.now(),
        };
        outlets.tell(to, &told).await
    }

    fn told_too_late(&self, record: &Record, call: &Invocation, end: &End, told: u32) {
        if let Some(to) = self.config(call).on_success {
            self.untold("destination", &to, &format!("{}, after {told} times", end.reason));
        }
        self.calls().remove(&record.position);
        metrics::invoked_async(&self.function, "done");
    }

    fn untold(&self, way: &'static str, to: &Arn, reason: &str) {
        metrics::untold(&self.function, way);
        tracing::error!(function = self.function, way, %to, reason, "a result is not told");
    }
}

#[async_trait]
impl Attempt for Caller {
    async fn attempt(&self, record: &Record) -> Attempted {
        let call = match decode(&record.data) {
            Ok(call) => call,
            Err(reason) => return Attempted::Refused(format!("the event cannot be read: {reason}")),
        };
        // It was called already, and its destination is asked again.
        let untold = self.calls().get_mut(&record.position).and_then(|calls| calls.success.take());
        if let Some(success) = untold {
            return self.succeeded(record, &call, success).await;
        }
        let outcome = match self.room.inner.invoke.invoke(call.clone()).await {
            Ok(outcome) => outcome,
            Err(error) if error.kind == ErrorKind::Throttled && self.is_stopped(&call).await => {
                self.calls().entry(record.position).or_default().stopped = true;
                return Attempted::Refused(error.message);
            }
            Err(error) if error.kind.is_transient() => return Attempted::Later(error.message),
            Err(error) => return Attempted::Refused(error.message),
        };
        self.calls().entry(record.position).or_default().count += 1;
        match outcome.failure() {
            None => self.succeeded(record, &call, Success { outcome, told: 0 }).await,
            Some(failure) => {
                let mut calls = self.calls();
                let kept: usize = calls.values().filter_map(|c| Some(c.outcome.as_ref()?.payload.len())).sum();
                if kept + outcome.payload.len() <= MOST_ANSWERS {
                    calls.entry(record.position).or_default().outcome = Some(outcome);
                }
                Attempted::Failed(failure)
            }
        }
    }

    fn delay(&self, attempts: u32, _rng: &dyn Rng) -> Option<Duration> {
        DELAYS.get(attempts.saturating_sub(1) as usize).copied()
    }

    fn max_age(&self) -> Duration {
        MAX_AGE
    }

    fn delay_of(&self, record: &Record, attempts: u32, rng: &dyn Rng) -> Option<Duration> {
        self.delay(attempts, rng).filter(|_| attempts <= self.config_of(record).retries())
    }

    fn max_age_of(&self, record: &Record) -> Duration {
        self.config_of(record).age()
    }

    fn retried(&self, record: &Record, reason: &str) {
        if let Some(calls) = self.calls().get_mut(&record.position) {
            calls.outcome = None;
            if calls.success.is_some() {
                tracing::debug!(function = self.function, position = %record.position, reason, "a success is told later");
                return;
            }
        }
        metrics::invoked_async(&self.function, "retried");
        tracing::warn!(function = self.function, position = %record.position, reason, "an asynchronous invocation is tried again");
    }

    fn gave_up(&self, record: &Record, reason: &str) {
        self.calls().remove(&record.position);
        metrics::invoked_async(&self.function, "dropped");
        tracing::error!(function = self.function, position = %record.position, reason, "an asynchronous invocation was given up");
    }

    async fn give_up_rest(&self, record: &Record, end: &End, done: &mut Vec<String>) -> Result<(), String> {
        let Ok(call) = decode(&record.data) else {
            self.gave_up(record, &end.reason);
            return Ok(());
        };
        let untold = self.calls().get_mut(&record.position).and_then(|calls| calls.success.take());
        if let Some(success) = untold {
            // Too old to be told again, and no failure.
            self.told_too_late(record, &call, end, success.told);
            return Ok(());
        }
        let (config, grave) = (self.config(&call), self.room.inner.invoke.dead_letters(&call.function).await);
        let (outcome, stopped) =
            self.calls().get(&record.position).map_or((None, false), |c| (c.outcome.clone(), c.stopped));
        let is_refused = end.why == Why::Refused;
        let told = Told {
            record,
            call: &call,
            condition: match end.why {
                Why::Age => Condition::EventAgeExceeded,
                Why::Refused if stopped || self.is_stopped(&call).await => Condition::ZeroReservedConcurrency,
                Why::Refused | Why::Attempts => Condition::RetriesExhausted,
            },
            // A call that was refused is none.
            attempts: end.attempts - u32::from(is_refused).min(end.attempts),
            outcome: outcome.as_ref(),
            reason: &end.reason,
            now: self.room.inner.consumers.env.clock.now(),
        };
        let mut waits = None;
        for (way, to) in [("dead_letter", grave), ("destination", config.on_failure)] {
            let Some(to) = to.filter(|_| !done.iter().any(|done| done == way)) else { continue };
            let outlets = self.room.outlets().ok_or("the server is stopping")?;
            let put =
                if way == "dead_letter" { outlets.bury(&to, &told).await } else { outlets.tell(&to, &told).await };
            match put {
                Ok(()) => {}
                // What has to be permitted first is tried again, and holds up no other way.
                Err(error) if error.kind.is_transient() || error.kind == ErrorKind::Denied => {
                    waits = waits.or(Some(error.message));
                    continue;
                }
                Err(error) => self.untold(way, &to, &error.message),
            }
            done.push(way.to_owned());
        }
        if let Some(reason) = waits {
            return Err(reason);
        }
        self.gave_up(record, &end.reason);
        Ok(())
    }
}
