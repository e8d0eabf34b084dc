//! What a target of a rule does not take at once waits in a log of its own, so that it holds up nobody else.
//!
//! Owns one log for each target that ever needed one, its *outbox*, and the consumer that empties it. Promises: an event
//! in an outbox leaves it only when the target took it, when its retry policy gave it up or when the target is removed
//! from its rule, which is counted, logged and told in the trace; retries are rows of the state store, so a restart
//! forgets none, and at most some ten thousand events of a target wait as rows, the others in the log. An event is put
//! into an outbox once, however often its batch is handled. An outbox works for the target as its rule has it now.
//! Must not know how an attempt is made.
//!
//! A target keeps its outbox for as long as it is its rule's. What waits is sent to the address that the target has
//! when the attempt is made, as it was made for the address that it had. A target that is removed and put again has
//! another outbox: the log of the first is deleted before anything else of it, so that nothing of it comes back.

mod keep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base::{
    Batch, BusName, Delivery, ErrorKind, Kinded, PartitionKey, Position, ProducerId, RuleName, Scope, ShardId,
    TaskGroup,
};
use log::{LogError, ReadLimit, Record, ShardRef, Stream, StreamId, StreamKey, StreamKind, StreamSpec};
use tokio::sync::Semaphore;

use super::BusPorts;
use super::rule::{ActiveTarget, Rule};
use super::sender::Sender;
use super::trace::{Fate, Noted, Trace};
use super::waiting::Waiting;
use crate::consumer::{Consumer, Policy, Running, Start};
use crate::needed::FOREVER;
use crate::producer::{into_stream, producer_id};
use crate::router::append_once;
use crate::spool::{self, Settings, Spool};
use crate::{FlowError, metrics};

/// A removal that failed is tried again after this.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Bytes of a removed outbox that are read to tell what was in it.
const MOST_TOLD: usize = 64 << 20;
/// Attempts of one target at once.
const CONCURRENCY: usize = 32;

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
    known: Mutex<Known>,
    /// Held while one is opened or removed.
    turn: Semaphore,
}

#[derive(Default)]
struct Known {
    /// The targets of each bus as their rules have them now.
    targets: HashMap<(Scope, BusName), HashMap<StreamKey, Arc<ActiveTarget>>>,
    open: HashMap<StreamKey, Open>,
}

struct Open {
    bus: BusName,
    log: OutboxLog,
    live: Arc<Live>,
    /// None once its target is gone.
    running: Option<Running>,
    /// What was in it when its target went was told.
    told: bool,
}

/// Where an outbox lies.
#[derive(Debug, Clone, Copy)]
struct OutboxLog {
    stream: StreamId,
    shard: ShardId,
    slot: ShardRef,
}

impl Outboxes {
    pub fn new(ports: BusPorts, trace: Trace, group: &TaskGroup) -> Self {
        let (known, turn) = (Mutex::default(), Semaphore::new(1));
        Self { inner: Arc::new(Inner { ports, trace, group: group.child(), known, turn }) }
    }

    /// Opens those that were there before, and removes those whose target is gone.
    pub async fn restore(&self, rules: &[(Scope, Rule)]) -> Result<(), FlowError> {
        let (ports, log) = (&self.inner.ports, &self.inner.ports.consumers.log);
        let mut strays: HashMap<StreamKey, Arc<Stream>> =
            log.all_streams(StreamKind::Outbox).into_iter().map(|stream| (stream.key.clone(), stream)).collect();
        for (scope, rule) in rules {
            let Ok(targets) = rule.targets(scope) else {
                // It does nothing, and what waits for it stays; the bus tells of it.
                rule.targets.iter().for_each(|target| {
                    strays.remove(&stream_key(scope, &rule.bus, &rule.name, &target.id));
                });
                continue;
            };
            for target in targets {
                let (key, target) = (stream_key(scope, &rule.bus, &target.rule, &target.id), Arc::new(target));
                let of_bus = (scope.clone(), rule.bus.clone());
                self.known().targets.entry(of_bus).or_default().insert(key.clone(), Arc::clone(&target));
                if let Some(stream) = strays.remove(&key) {
                    self.keep_log(&key).await?;
                    self.start(&stream, &rule.bus, &target)?;
                }
            }
        }
        for key in strays.into_keys() {
            log.delete_stream(&key).await?;
        }
        let there: HashSet<u32> = log.all_streams(StreamKind::Outbox).iter().map(|stream| stream.id.number()).collect();
        let writes = spool::sweep(&*ports.state, CONSUMERS, |log| there.contains(&log))?;
        if !writes.is_empty() {
            ports.state.commit(Batch { preconditions: Vec::new(), writes }).await?;
        }
        self.inner.group.spawn_infallible("release-outboxes", self.clone().release_logs());
        Ok(())
    }

    /// Takes the targets of a bus as they are now: what waits for one that is gone is dropped with it.
    pub fn configure(&self, scope: &Scope, bus: &BusName, rules: &[Rule]) -> Result<(), FlowError> {
        let mut targets = HashMap::new();
        for rule in rules {
            // One that is not accepted any more has no outbox open.
            for target in rule.targets(scope).unwrap_or_default() {
                targets.insert(stream_key(scope, bus, &target.rule, &target.id), Arc::new(target));
            }
        }
        let mut gone = Vec::new();
        let mut known = self.known();
        for (key, open) in known.open.iter_mut().filter(|(key, open)| key.scope == *scope && open.bus == *bus) {
            match targets.get(key) {
                Some(target) if open.running.is_some() => open.live.replace(Arc::clone(target)),
                // Put again before its old outbox is removed.
                Some(_) => {}
                None => gone.extend(open.running.take().map(|running| (key.clone(), open.log, running))),
            }
        }
        if targets.is_empty() {
            known.targets.remove(&(scope.clone(), bus.clone()));
        } else {
            known.targets.insert((scope.clone(), bus.clone()), targets);
        }
        drop(known);
        for (key, log, running) in gone {
            running.cancel();
            self.inner.group.spawn_infallible(format!("remove-outbox:{key}"), self.clone().close(key, log, running));
        }
        Ok(())
    }

    /// Up to which position of the bus a producer's events are in a target's outbox.
    pub fn passed(
        &self,
        (scope, bus): (&Scope, &BusName),
        target: &ActiveTarget,
        producer: ProducerId,
    ) -> Option<Position> {
        let key = stream_key(scope, bus, &target.rule, &target.id);
        let stream = self.known().open.get(&key).filter(|open| open.running.is_some())?.log.stream;
        self.inner.ports.consumers.log.producer_position(into_stream(of_outbox(producer), stream))
    }

    /// Puts events into a target's outbox; what `producer` put there before is not put again. `false` when the target
    /// is not its rule's any more: they are given up with it.
    pub async fn put(
        &self,
        (scope, bus): (&Scope, &BusName),
        target: &ActiveTarget,
        producer: ProducerId,
        waiting: &[Waiting],
    ) -> Result<bool, FlowError> {
        let Some(stream) = self.stream(scope, bus, target).await? else {
            let positions = waiting.iter().map(|event| event.position).collect();
            self.given_up((scope, bus), target, positions).await;
            return Ok(false);
        };
        let delivery = |event: &Waiting| {
            Ok(Delivery { position: event.position, payload: event.encode()?, partition_key: event.key.clone() })
        };
        let deliveries = waiting.iter().map(delivery).collect::<Result<Vec<_>, FlowError>>()?;
        let key: PartitionKey = target.id.parse().map_err(|e: base::InvalidId| FlowError::Invalid(e.to_string()))?;
        let log = &self.inner.ports.consumers.log;
        let producer = of_outbox(producer);
        append_once(log, &stream, producer, &deliveries, |d| (key.clone(), d.payload.clone())).await?;
        Ok(true)
    }

    /// The log of a target's outbox, opened when it is first needed; none when the target is gone.
    async fn stream(
        &self,
        scope: &Scope,
        bus: &BusName,
        target: &ActiveTarget,
    ) -> Result<Option<Arc<Stream>>, FlowError> {
        let (key, log) = (stream_key(scope, bus, &target.rule, &target.id), &self.inner.ports.consumers.log);
        if self.known().open.get(&key).is_some_and(|open| open.running.is_some()) {
            return Ok(Some(log.stream(&key)?));
        }
        let _turn = self.inner.turn.acquire().await.map_err(|_| LogError::Closed)?;
        self.clear(&key).await?;
        if self.known().current(scope, bus, &key).is_none() {
            return Ok(None);
        }
        let stream = log.ensure_stream(&key, StreamSpec { shards: 1, retention: FOREVER }).await?;
        if !self.known().open.contains_key(&key) {
            self.start(&stream, bus, target)?;
        }
        Ok(Some(stream))
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
        let (concurrency, at_most) = (CONCURRENCY, CONCURRENCY);
        let settings = Settings { id: id.clone(), slot: shard.slot, stream: stream.id, concurrency, at_most };
        let group = self.inner.group.child();
        let spool = Spool::start(&ports.consumers, &ports.state, &group, settings, sender)?;
        // The spool knows how old an event may be, and puts away what is older.
        let policy = Policy { max_age: None, ..Policy::each_record(CONCURRENCY, FOREVER) };
        let consumer = Consumer { id, source: stream.key.clone(), start: Start::TrimHorizon, policy };
        let running = ports.consumers.start(group, consumer, Arc::new(spool));
        let (key, log) = (&stream.key, OutboxLog { stream: stream.id, shard: shard.id, slot: shard.slot });
        let mut known = self.known();
        // Whoever opens it may have looked at the rule before it was changed.
        let running = match known.current(&key.scope, bus, key) {
            Some(current) => {
                live.replace(current);
                Some(running)
            }
            None => {
                running.cancel();
                let name = format!("remove-outbox:{key}");
                self.inner.group.spawn_infallible(name, self.clone().close(key.clone(), log, running));
                None
            }
        };
        known.open.insert(key.clone(), Open { bus: bus.clone(), log, live, running, told: false });
        Ok(())
    }

    /// Removes the outbox of a target that is gone: its log, what runs for it, and what is kept of it, in this order,
    /// so that nothing of it is read again whatever ends the process.
    async fn close(self, key: StreamKey, log: OutboxLog, running: Running) {
        running.stop().await;
        while let Err(error) = self.remove(&key, log).await {
            tracing::warn!(outbox = %key, %error, "the outbox of a removed target cannot be removed yet");
            tokio::select! {
                () = self.inner.ports.consumers.env.clock.sleep(RETRY_DELAY) => {}
                // It is removed at the next start.
                () = self.inner.group.stopping().cancelled_owned() => return,
            }
        }
    }

    async fn remove(&self, key: &StreamKey, log: OutboxLog) -> Result<(), FlowError> {
        {
            let _turn = self.inner.turn.acquire().await.map_err(|_| LogError::Closed)?;
            self.clear(key).await?;
        }
        let (ports, id) = (&self.inner.ports, consumer_id(key));
        let mut batch = Batch::new();
        batch.writes.extend(ports.consumers.checkpoints.forget_on(&id, log.stream).await?);
        batch.writes.extend(spool::forget_on(&*ports.state, &id, log.stream)?);
        if batch.writes.is_empty() {
            return Ok(());
        }
        Ok(ports.state.commit(batch).await?)
    }

    /// Deletes the log of an outbox whose target is gone, and tells what was in it. The turn is held.
    async fn clear(&self, key: &StreamKey) -> Result<(), FlowError> {
        let gone = |open: &&mut Open| open.running.is_none();
        let (bus, log, target, told) = match self.known().open.get_mut(key).filter(gone) {
            Some(open) => (open.bus.clone(), open.log, open.live.current(), std::mem::replace(&mut open.told, true)),
            None => return Ok(()),
        };
        if !told && let Err(error) = self.tell(key, &bus, log, &target).await {
            tracing::warn!(outbox = %key, %error, "what waited for a removed target cannot be read; it is dropped uncounted");
        }
        match self.inner.ports.consumers.log.delete_stream(key).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.known().open.remove(key);
        Ok(())
    }

    /// Tells what is dropped with an outbox.
    async fn tell(
        &self,
        key: &StreamKey,
        bus: &BusName,
        log: OutboxLog,
        target: &ActiveTarget,
    ) -> Result<(), FlowError> {
        let (ports, id) = (&self.inner.ports, consumer_id(key));
        let parked = spool::waiting(&*ports.state, &id, log.stream)?;
        let begun = ports.consumers.checkpoints.get(&id, log.stream, log.shard)?.unwrap_or(Position::ZERO);
        let mut from = parked.first().map_or(begun, |first| begun.min(*first));
        let mut left = MOST_TOLD;
        while left > 0 {
            let limit = ReadLimit { records: 5_000, bytes: 4 << 20 };
            let slice = ports.consumers.log.read(log.slot, from, limit).await?;
            if slice.records.is_empty() {
                return Ok(());
            }
            left = left.saturating_sub(slice.records.iter().map(|record| record.data.len() + 64).sum());
            let waits = |record: &&Record| record.position >= begun || parked.contains(&record.position);
            let waiting = slice.records.iter().filter(waits).filter_map(|record| Waiting::decode(&record.data).ok());
            let positions: Vec<Position> = waiting.map(|waiting| waiting.position).collect();
            if !positions.is_empty() {
                self.given_up((&key.scope, bus), target, positions).await;
            }
            from = slice.next;
        }
        tracing::error!(outbox = %key, "more waited for a removed target than is counted");
        Ok(())
    }

    /// Counts events that are given up with their target.
    async fn given_up(&self, (scope, bus): (&Scope, &BusName), target: &ActiveTarget, positions: Vec<Position>) {
        let (rule, id, events) = (&target.rule, &target.id, positions.len());
        tracing::error!(%bus, %rule, target = id, events, "events waited for a target that was removed; it does not get them");
        metrics::target_failed(bus.as_str(), rule.as_str(), events);
        let error = Some("NO_RESOURCE: the target was removed from its rule".to_owned());
        let (rule, target, fate) = (rule.clone(), id.clone(), Fate::GivenUp);
        self.inner.trace.outcome(scope, bus, &Noted { rule, target, positions, fate, error, outbox: None }).await;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// A target as its rule has it now.
    fn current(&self, scope: &Scope, bus: &BusName, key: &StreamKey) -> Option<Arc<ActiveTarget>> {
        self.targets.get(&(scope.clone(), bus.clone()))?.get(key).cloned()
    }
}

/// What all names of consumers that empty outboxes begin with.
const CONSUMERS: &str = "outbox:";

/// The name of the consumer that empties an outbox.
pub(super) fn consumer_id(key: &StreamKey) -> String {
    format!("{CONSUMERS}{}/{}", key.scope, key.name)
}

/// A producer on its way to an outbox.
fn of_outbox(producer: ProducerId) -> ProducerId {
    producer_id(&[b"outbox", &producer.0.to_be_bytes()])
}

/// The log of a target's outbox.
pub(super) fn stream_key(scope: &Scope, bus: &BusName, rule: &RuleName, target: &str) -> StreamKey {
    StreamKey { kind: StreamKind::Outbox, scope: scope.clone(), name: format!("{bus}/{rule}/{target}") }
}
