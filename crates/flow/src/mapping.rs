//! Event-source mappings: a stream's records, or a queue's messages, are handed to a function in batches.
//!
//! Owns mappings as configured and one consumer for each enabled one.
//! Promises: per shard, or per lane of it, one batch is under way at a time and in order; a batch is tried again with back-off until the
//! function succeeds or the mapping's limits give it up ("How Lambda processes records from stream and queue-based
//! event sources", Lambda Developer Guide); what is given up is told to a destination or quarantined with its payload
//! before the mapping goes on; a disabled mapping keeps its place; a change lets go nothing that the function holds.
//! Must not know how functions run: they are called through [`Invoke`].

mod config;
mod counts;
mod event;
mod fanout;
mod give_up;
mod handler;
mod lives;
mod permissions;
mod quarantine;
mod queue;
mod settings;
mod status;
mod stuck;
mod tags;
mod window;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Arn, Invoke, RetryPolicy, Scope, StateStore, Target, TaskGroup};
use log::{Log, StreamKey, StreamKind};
use tokio::sync::Semaphore;

pub use fanout::{StreamConsumer, StreamConsumers};
pub use quarantine::{Kept, MAX_AGE, MAX_BYTES, MAX_RECORDS, Origin, Why};
pub use settings::{Mapping, MappingChange, MappingSpec, MappingView, StartingPosition};
pub use status::{MappingStatus, Redriven};
pub use stuck::Stuck;

use crate::FlowError;
use crate::consumer::{Consumer, Loop, Policy, Start};
use crate::queue::Queues;
use crate::roles::Roles;
use crate::stored;
pub(crate) use counts::EventCount;
use counts::EventCounts;
use fanout::{Hold, consumer_of};
use handler::Caller;
use lives::Lives;
use quarantine::Quarantine;

/// Bytes of an invocation's payload, at most.
const MAX_PAYLOAD: usize = 6 << 20;
/// What a stream's retention would take is given up so much before, while its payload can still be read: a call lasts
/// no longer than fifteen minutes.
const BEFORE_RETENTION: Duration = Duration::from_secs(20 * 60);

/// What the mappings work with.
#[derive(Clone)]
pub(crate) struct MappingPorts {
    pub consumers: Loop,
    pub state: Arc<dyn StateStore>,
    pub invoke: Arc<dyn Invoke>,
    pub router: Arc<dyn Target>,
    pub queues: Queues,
    pub fanout: Arc<dyn StreamConsumers>,
    pub roles: Roles,
}

/// The room of event-source mappings. Cloning gives another handle.
#[derive(Clone)]
pub struct Mappings {
    inner: Arc<Inner>,
}

struct Inner {
    ports: MappingPorts,
    group: TaskGroup,
    lives: Mutex<Lives>,
    /// By the mapping's id: of those that were asked for.
    quarantines: Mutex<HashMap<String, Arc<Quarantine>>>,
    /// The ids of those whose settings were not accepted any more when they were to start.
    inactive: Mutex<HashSet<String>>,
    /// One consumer is stopped, started or removed at a time: what runs is what is stored last.
    turn: Semaphore,
}

impl Mappings {
    pub(crate) fn new(ports: MappingPorts, group: &TaskGroup) -> Self {
        let inner = Inner {
            ports,
            group: group.child(),
            lives: Mutex::default(),
            quarantines: Mutex::default(),
            inactive: Mutex::default(),
            turn: Semaphore::new(1),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the consumers of all enabled mappings.
    pub(crate) fn restore(&self) -> Result<(), FlowError> {
        for (scope, mapping) in config::all(&*self.inner.ports.state)? {
            if mapping.enabled {
                let what = format!("the event source mapping {} of {}", mapping.id, mapping.function);
                if stored::or_inactive(self.run(&scope, &mapping), what)?.is_none() {
                    self.inactive().insert(mapping.id);
                }
            }
        }
        self.inner.group.spawn_infallible("quarantines", self.clone().keep_quarantines());
        Ok(())
    }

    fn run(&self, scope: &Scope, mapping: &Mapping) -> Result<(), FlowError> {
        if queue::is_queue(&mapping.source) {
            return self.run_queue(scope, mapping);
        }
        let ports = &self.inner.ports;
        let source = source_key(&mapping.source)?;
        let policy = policy(mapping);
        let Some((turns, _)) = self.inherited(&mapping.id) else { return Ok(()) };
        let (progress, quarantine) = (Arc::default(), self.quarantine(scope, &mapping.id));
        let mut handler = Caller::new(scope, mapping, ports, &progress, &quarantine)?;
        handler.counts = EventCounts::new(mapping);
        handler.hold = Hold::new(&ports.fanout, &mapping.source);
        let id = consumer_id(&mapping.id);
        let consumer = Consumer { id, source, start: Start::TrimHorizon, policy };
        let started = ports.consumers.start_after(self.inner.group.child(), consumer, Arc::new(handler), &turns);
        self.begun(&mapping.id, started, progress);
        Ok(())
    }

    fn quarantine(&self, scope: &Scope, id: &str) -> Arc<Quarantine> {
        let MappingPorts { consumers, state, .. } = &self.inner.ports;
        let mut quarantines = self.inner.quarantines.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Quarantine::new(&consumers.env, &consumers.log, state, scope, id));
        Arc::clone(quarantines.entry(id.to_owned()).or_insert_with(new))
    }

    async fn drop_quarantine(&self, scope: &Scope, id: &str) -> Result<(), FlowError> {
        let quarantine = self.quarantine(scope, id);
        self.inner.quarantines.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        quarantine.delete().await
    }

    /// Makes what runs what is stored, whoever changed it meanwhile.
    async fn settle(&self, scope: &Scope, id: &str) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        self.halt(id).await;
        match config::stored(&*self.inner.ports.state, scope, id)? {
            Some(mapping) if mapping.enabled => self.run(scope, &mapping)?,
            _ => {}
        }
        self.inactive().remove(id);
        Ok(())
    }

    fn inactive(&self) -> MutexGuard<'_, HashSet<String>> {
        self.inner.inactive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn policy(mapping: &Mapping) -> Policy {
    let tumble = (mapping.tumbling_secs > 0).then(|| Duration::from_secs(mapping.tumbling_secs.into()));
    Policy {
        records: mapping.batch_size as usize,
        bytes: MAX_PAYLOAD - event::FRAME - if tumble.is_some() { window::ROOM } else { 0 },
        weigh: event::weigh,
        window: Duration::from_secs(mapping.window_secs.into()),
        in_flight: 1,
        retry: RetryPolicy {
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(60),
            max_attempts: mapping.max_retries.map(|retries| retries.saturating_add(1)),
            max_age: None,
        },
        max_age: mapping.max_age(),
        bisect: mapping.bisect,
        lanes: mapping.parallelization,
        tumble,
    }
}

/// How old a record of a stream may become while its payload can surely be read, as the stream's retention is now; none
/// when the stream is gone: then what was read of it has no bound but the mapping's.
fn readable(log: &Log, source: &StreamKey) -> Option<Duration> {
    let retention = log.stream(source).map(|stream| stream.retention).ok()?;
    Some(retention.saturating_sub(BEFORE_RETENTION.min(retention / 2)))
}

fn consumer_id(id: &str) -> String {
    format!("mapping:{id}")
}

/// The stream of a Kinesis stream's ARN, or of its consumer's.
fn source_key(arn: &Arn) -> Result<StreamKey, FlowError> {
    if let Some(consumer) = consumer_of(arn) {
        return Ok(consumer.stream);
    }
    let name = arn.resource_of("stream").filter(|name| arn.service() == "kinesis" && !name.contains('/'));
    let key = arn.scope().zip(name).map(|(scope, name)| StreamKey {
        kind: StreamKind::Kinesis,
        scope,
        name: name.to_owned(),
    });
    key.ok_or_else(|| {
        FlowError::Invalid(format!(
            "Unrecognized event source: {arn}; only Kinesis streams, their consumers and SQS queues can be one"
        ))
    })
}
