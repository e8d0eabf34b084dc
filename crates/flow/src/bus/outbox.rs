//! What a target of a rule does not take at once waits in a log of its own, so that it holds up nobody else.
//!
//! Owns one log for each target that ever needed one, its *outbox*, the consumer that empties it, and the form of what
//! lies there. Promises: an event in an outbox leaves it only when the target took it, when its retry policy gave it up
//! or when the target is removed from its rule; retries are rows of the state store, so a restart forgets none, and at
//! most some ten thousand events of a target wait as rows, the others in the log. An event is put into an outbox once,
//! however often its batch is handled.
//! Must not know how an attempt is made.
//!
//! A target keeps its outbox for as long as it is its rule's. What waits is sent to the address that the target has
//! when the attempt is made, as it was made for the address that it had.
//!
//! ```text
//! data = {"v":1,"position":…,"born":…,"key":…,"payload":bytes of the payload, when the event follows} LF payload event
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base::{
    Batch, BusName, Delivery, ErrorKind, Kinded, PartitionKey, Position, ProducerId, RuleName, Scope, TaskGroup,
    Timestamp,
};
use bytes::{BufMut, Bytes, BytesMut};
use log::{LogError, Stream, StreamKey, StreamKind, StreamSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::BusPorts;
use super::rule::{ActiveTarget, Rule};
use super::sender::Sender;
use super::trace::Trace;
use crate::FlowError;
use crate::consumer::{Consumer, Policy, Running, Start};
use crate::producer::producer_id;
use crate::router::append_once;
use crate::spool::{self, Settings, Spool};

const VERSION: u32 = 1;
/// The longest age of an event is a day; what became too old while the server was down is read and put away, too.
const RETENTION: Duration = Duration::from_secs(26 * 3_600);
/// A removal that failed is tried again after this.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Attempts of one target at once.
const CONCURRENCY: usize = 32;

/// An event that waits for its target.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Where the event lies on its bus.
    pub position: Position,
    /// When it was put there.
    pub born: Timestamp,
    /// What the target gets.
    pub payload: Bytes,
    /// The event as it was put on the bus.
    pub event: Bytes,
    /// Places the record, where the target is sharded.
    pub key: Option<PartitionKey>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    v: u32,
    position: Position,
    born: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<PartitionKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<usize>,
}

impl Waiting {
    fn encode(&self) -> Result<Bytes, FlowError> {
        let (position, born, key) = (self.position, self.born, self.key.clone());
        let payload = (self.payload != self.event).then_some(self.payload.len());
        let header = Header { v: VERSION, position, born, key, payload };
        let header =
            serde_json::to_vec(&header).map_err(|source| FlowError::Encode { what: "waiting event", source })?;
        let mut data = BytesMut::with_capacity(header.len() + 1 + self.payload.len() + self.event.len());
        data.put_slice(&header);
        data.put_u8(b'\n');
        data.put_slice(&self.payload);
        if payload.is_some() {
            data.put_slice(&self.event);
        }
        Ok(data.freeze())
    }

    /// Says what is wrong with data that is no waiting event's.
    pub fn decode(data: &Bytes) -> Result<Self, String> {
        let end = data.iter().position(|b| *b == b'\n').ok_or("it has no header line")?;
        let header: Header = serde_json::from_slice(&data[..end]).map_err(|e| e.to_string())?;
        if header.v != VERSION {
            return Err(format!("format version {} is not {VERSION}", header.v));
        }
        let rest = data.slice(end + 1..);
        let cut = header.payload.unwrap_or(rest.len());
        if cut > rest.len() {
            return Err("its payload is cut off".to_owned());
        }
        let payload = rest.slice(..cut);
        let event = if header.payload.is_some() { rest.slice(cut..) } else { payload.clone() };
        Ok(Self { position: header.position, born: header.born, payload, event, key: header.key })
    }
}

/// A target as its rule has it now.
pub(super) struct Live(RwLock<Arc<ActiveTarget>>);

impl Live {
    pub fn current(&self) -> Arc<ActiveTarget> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, target: Arc<ActiveTarget>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

/// All outboxes. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Outboxes {
    inner: Arc<Inner>,
}

struct Inner {
    ports: BusPorts,
    trace: Trace,
    group: TaskGroup,
    open: Mutex<HashMap<StreamKey, Open>>,
    /// Held while one is opened.
    turn: Semaphore,
}

struct Open {
    live: Arc<Live>,
    /// None while it is being removed.
    running: Option<Running>,
}

impl Outboxes {
    pub fn new(ports: BusPorts, trace: Trace, group: &TaskGroup) -> Self {
        let (open, turn) = (Mutex::default(), Semaphore::new(1));
        Self { inner: Arc::new(Inner { ports, trace, group: group.child(), open, turn }) }
    }

    /// Opens those that were there before, and removes those whose target is gone.
    pub async fn restore(&self, rules: &[(Scope, Rule)]) -> Result<(), FlowError> {
        let log = &self.inner.ports.consumers.log;
        let mut strays: HashMap<StreamKey, Arc<Stream>> =
            log.all_streams(StreamKind::Outbox).into_iter().map(|stream| (stream.key.clone(), stream)).collect();
        for (scope, rule) in rules {
            for target in rule.targets(scope)? {
                if let Some(stream) = strays.remove(&stream_key(scope, &rule.bus, &target.rule, &target.id)) {
                    self.start(&stream, &rule.bus, &target)?;
                }
            }
        }
        for key in strays.into_keys() {
            self.remove(&key).await?;
        }
        Ok(())
    }

    /// Takes the targets of a bus as they are now: what waits for one that is gone is dropped with it.
    pub fn configure(&self, scope: &Scope, bus: &BusName, rules: &[Rule]) -> Result<(), FlowError> {
        let mut targets = HashMap::new();
        for rule in rules {
            for target in rule.targets(scope)? {
                targets.insert(stream_key(scope, bus, &target.rule, &target.id), target);
            }
        }
        let of_bus = format!("{bus}/");
        let mut gone = Vec::new();
        for (key, open) in self.open().iter_mut() {
            // Names of buses have slashes, names of rules and targets have none.
            let is_of_bus = key.name.strip_prefix(&of_bus).is_some_and(|rest| rest.matches('/').count() == 1);
            if key.scope == *scope && is_of_bus {
                match targets.remove(key) {
                    Some(target) => open.live.replace(Arc::new(target)),
                    None => gone.extend(open.running.take().map(|running| (key.clone(), running))),
                }
            }
        }
        for (key, running) in gone {
            self.inner.group.spawn_infallible(format!("remove-outbox:{key}"), self.clone().close(key, running));
        }
        Ok(())
    }

    /// Puts events into a target's outbox; what `producer` put there before is not put again.
    pub async fn put(
        &self,
        (scope, bus): (&Scope, &BusName),
        target: &ActiveTarget,
        producer: ProducerId,
        waiting: &[Waiting],
    ) -> Result<(), FlowError> {
        let stream = self.stream(scope, bus, target).await?;
        let delivery = |event: &Waiting| {
            Ok(Delivery { position: event.position, payload: event.encode()?, partition_key: event.key.clone() })
        };
        let deliveries = waiting.iter().map(delivery).collect::<Result<Vec<_>, FlowError>>()?;
        let key: PartitionKey = target.id.parse().map_err(|e: base::InvalidId| FlowError::Invalid(e.to_string()))?;
        let producer = producer_id(&[b"outbox", &producer.0.to_be_bytes()]);
        let log = &self.inner.ports.consumers.log;
        Ok(append_once(log, &stream, producer, &deliveries, |d| (key.clone(), d.payload.clone())).await?)
    }

    async fn stream(&self, scope: &Scope, bus: &BusName, target: &ActiveTarget) -> Result<Arc<Stream>, FlowError> {
        let (key, log) = (stream_key(scope, bus, &target.rule, &target.id), &self.inner.ports.consumers.log);
        if let Some(open) = self.open().get(&key) {
            return match open.running {
                Some(_) => Ok(log.stream(&key)?),
                None => Err(FlowError::Unavailable(format!("{key} is being removed"))),
            };
        }
        let _turn = self.inner.turn.acquire().await.map_err(|_| LogError::Closed)?;
        let stream = log.ensure_stream(&key, StreamSpec { shards: 1, retention: RETENTION }).await?;
        if !self.open().contains_key(&key) {
            self.start(&stream, bus, target)?;
        }
        Ok(stream)
    }

    fn start(&self, stream: &Stream, bus: &BusName, target: &ActiveTarget) -> Result<(), FlowError> {
        let Some(shard) = stream.shards.first() else { return Ok(()) };
        let (ports, id) = (&self.inner.ports, consumer_id(&stream.key));
        let live = Arc::new(Live(RwLock::new(Arc::new(target.clone()))));
        let sender = Sender {
            scope: stream.key.scope.clone(),
            bus: bus.clone(),
            live: Arc::clone(&live),
            ports: ports.clone(),
            trace: self.inner.trace.clone(),
            from: (stream.id, shard.id),
        };
        let settings = Settings { id: id.clone(), slot: shard.slot, stream: stream.id, concurrency: CONCURRENCY };
        let group = self.inner.group.child();
        let spool = Spool::start(&ports.consumers, &ports.state, &group, settings, sender)?;
        // The spool knows how old an event may be, and puts away what is older.
        let policy = Policy { max_age: None, ..Policy::each_record(CONCURRENCY, RETENTION) };
        let consumer = Consumer { id, source: stream.key.clone(), start: Start::TrimHorizon, policy };
        let running = ports.consumers.start(group, consumer, Arc::new(spool));
        self.open().insert(stream.key.clone(), Open { live, running: Some(running) });
        Ok(())
    }

    /// Ends what runs for an outbox and removes it. Until that is done its target, put again, gets nothing.
    async fn close(self, key: StreamKey, running: Running) {
        running.stop().await;
        while let Err(error) = self.remove(&key).await {
            tracing::warn!(outbox = %key, %error, "the outbox of a removed target cannot be removed yet");
            tokio::select! {
                () = self.inner.ports.consumers.env.clock.sleep(RETRY_DELAY) => {}
                // It is removed at the next start.
                () = self.inner.group.stopping().cancelled_owned() => return,
            }
        }
        self.open().remove(&key);
    }

    async fn remove(&self, key: &StreamKey) -> Result<(), FlowError> {
        let (ports, id) = (&self.inner.ports, consumer_id(key));
        let mut batch = Batch::new();
        batch.writes.extend(ports.consumers.checkpoints.forget(&id).await?);
        batch.writes.extend(spool::forget(&*ports.state, &id)?);
        ports.state.commit(batch).await?;
        match ports.consumers.log.delete_stream(key).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<StreamKey, Open>> {
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the consumer that empties an outbox.
pub(super) fn consumer_id(key: &StreamKey) -> String {
    format!("outbox:{}/{}", key.scope, key.name)
}

/// The log of a target's outbox.
pub(super) fn stream_key(scope: &Scope, bus: &BusName, rule: &RuleName, target: &str) -> StreamKey {
    StreamKey { kind: StreamKind::Outbox, scope: scope.clone(), name: format!("{bus}/{rule}/{target}") }
}
