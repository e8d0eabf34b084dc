//! Event-source mappings: a stream's records, or a queue's messages, are handed to a function in batches.
//!
//! Owns mappings as configured and one consumer for each enabled one.
//! Promises: per shard one batch is under way at a time and in order; a batch is tried again with back-off until the
//! function succeeds or the mapping's limits give it up ("How Lambda processes records from stream and queue-based
//! event sources", Lambda Developer Guide); a disabled mapping keeps its place.
//! Must not know how functions run: they are called through [`Invoke`].

mod config;
mod event;
mod handler;
mod queue;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Arn, Invoke, RetryPolicy, Scope, StateStore, TaskGroup};
use log::{StreamKey, StreamKind};
use tokio::sync::Semaphore;

pub use config::{Mapping, MappingChange, MappingSpec, MappingView, StartingPosition};

use crate::FlowError;
use crate::consumer::{Consumer, Loop, Policy, Running, Start};
use crate::queue::Queues;
use crate::stored;
use handler::{Caller, LastResult};

/// Bytes of an invocation's payload, at most.
const MAX_PAYLOAD: usize = 6 << 20;

/// What the mappings work with.
#[derive(Clone)]
pub(crate) struct MappingPorts {
    pub consumers: Loop,
    pub state: Arc<dyn StateStore>,
    pub invoke: Arc<dyn Invoke>,
    pub queues: Queues,
}

/// The room of event-source mappings. Cloning gives another handle.
#[derive(Clone)]
pub struct Mappings {
    inner: Arc<Inner>,
}

struct Inner {
    ports: MappingPorts,
    group: TaskGroup,
    /// By the mapping's id.
    running: Mutex<HashMap<String, (Running, Arc<LastResult>)>>,
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
            running: Mutex::default(),
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
        Ok(())
    }

    fn run(&self, scope: &Scope, mapping: &Mapping) -> Result<(), FlowError> {
        if queue::is_queue(&mapping.source) {
            return self.run_queue(scope, mapping);
        }
        let ports = &self.inner.ports;
        let source = source_key(&mapping.source)?;
        // A stream that was deleted is waited for by the consumer itself.
        let retention = ports.consumers.log.stream(&source).map(|stream| stream.retention).ok();
        let own = mapping.max_age_secs.map(|secs| Duration::from_secs(secs.into()));
        let policy = Policy {
            records: mapping.batch_size as usize,
            bytes: MAX_PAYLOAD - event::FRAME,
            weigh: event::weigh,
            window: Duration::from_secs(mapping.window_secs.into()),
            in_flight: 1,
            retry: RetryPolicy {
                first_delay: Duration::from_millis(200),
                max_delay: Duration::from_secs(30),
                max_attempts: mapping.max_retries.map(|retries| retries.saturating_add(1)),
                max_age: None,
            },
            max_age: [own, retention].into_iter().flatten().min(),
            bisect: mapping.bisect,
        };
        let mut running = self.running();
        if running.contains_key(&mapping.id) {
            return Ok(());
        }
        let last = Arc::new(LastResult::default());
        let handler = Caller::new(scope, mapping, Arc::clone(&ports.invoke), Arc::clone(&last))?;
        let id = consumer_id(&mapping.id);
        let consumer = Consumer { id, source, start: Start::TrimHorizon, policy };
        let started = ports.consumers.start(self.inner.group.child(), consumer, Arc::new(handler));
        running.insert(mapping.id.clone(), (started, last));
        Ok(())
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

    async fn halt(&self, id: &str) {
        let running = self.running().remove(id);
        if let Some((running, _)) = running {
            running.stop().await;
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, (Running, Arc<LastResult>)>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inactive(&self) -> MutexGuard<'_, HashSet<String>> {
        self.inner.inactive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn consumer_id(id: &str) -> String {
    format!("mapping:{id}")
}

/// The stream of a Kinesis stream's ARN.
fn source_key(arn: &Arn) -> Result<StreamKey, FlowError> {
    let name = arn.resource_of("stream").filter(|_| arn.service() == "kinesis");
    let key = arn.scope().zip(name).map(|(scope, name)| StreamKey {
        kind: StreamKind::Kinesis,
        scope,
        name: name.to_owned(),
    });
    key.ok_or_else(|| {
        FlowError::Invalid(format!("Unrecognized event source: {arn}; only Kinesis streams and SQS queues can be one"))
    })
}
