//! The room of queues: creating, finding, changing and deleting them, and the way to what is in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Arn, Batch, Env, ErrorKind, Kinded, QueueName, Scope, StateStore, TaskGroup, Timestamp};
use log::{Log, LogError, Stream, StreamKey, StreamKind, StreamSpec};
use tokio::sync::Semaphore;

use super::config::{self, Attributes, QueueInfo, RedriveAllow, queue_arn};
use super::handle::Handles;
use super::keeper::{Keeper, floor_key, floors};
use super::live::{Live, Shared};
use super::memory::Memory;
use super::message::Message;
use super::moves::{Moves, without_tasks};
use super::{Counts, Handed, Receive, Received, Registry, Sent, Settled, receive, send, settle};
use crate::{FlowError, stored};

/// How long the log keeps what a queue does not let go before: the longest retention of a message, and a day.
const LOG_RETENTION: Duration = Duration::from_secs(15 * 86_400);
/// How long a deleted queue's keeper may take to end.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Queues that are read from the log at once.
const LOADS: usize = 2;

/// The room. Cloning gives another handle.
#[derive(Clone)]
pub struct Queues {
    inner: Arc<Room>,
}

pub(super) struct Room {
    pub shared: Arc<Shared>,
    pub registry: Registry,
    pub group: TaskGroup,
    pub moves: Moves,
    /// Held while a queue is created or deleted.
    pub turn: Semaphore,
}

/// What came of creating a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    Made(QueueInfo),
    /// There was one of this name.
    Exists(QueueInfo),
}

impl Queues {
    /// Opens the room and every queue that was there before. What is known of messages may take `memory` bytes.
    pub(crate) async fn open(
        env: &Env,
        log: &Log,
        state: &Arc<dyn StateStore>,
        group: &TaskGroup,
        memory: usize,
    ) -> Result<Self, FlowError> {
        let shared = Shared {
            env: env.clone(),
            log: log.clone(),
            state: Arc::clone(state),
            handles: Handles::open(env, &**state).await?,
            opened: (env.clock.now(), env.clock.instant()),
            no_waiting: group.stopping().child_token(),
            loads: Semaphore::new(LOADS),
            memory: Memory::new(memory),
        };
        let room = Room {
            shared: Arc::new(shared),
            registry: Registry::default(),
            group: group.child(),
            moves: Moves::default(),
            turn: Semaphore::new(1),
        };
        let this = Self { inner: Arc::new(room) };
        this.restore().await?;
        super::moves::resume(&this.inner)?;
        Ok(this)
    }

    async fn restore(&self) -> Result<(), FlowError> {
        let shared = &self.inner.shared;
        let known = config::all(&*shared.state)?;
        for stray in shared.log.all_streams(StreamKind::Queue) {
            // Made without ever being answered, or deleted.
            if !known.iter().any(|(_, info)| info.stream == stray.id.number()) {
                shared.log.delete_stream(&stray.key).await?;
            }
        }
        for (scope, mut info) in known {
            let key = stream_key(&scope, &info.name);
            let stream = match shared.log.stream(&key) {
                Err(LogError::StreamNotFound(_)) => {
                    tracing::error!(queue = %queue_arn(&scope, &info.name), "the log of a queue is not there; it begins anew, empty");
                    let stream = shared.log.create_stream(&key, spec()).await?;
                    info.stream = stream.id.number();
                    let row = stored::encode("queue", &info)?;
                    shared.state.commit(Batch::new().put(config::TABLE, config::key(&scope, &info.name), row)).await?;
                    stream
                }
                found => found?,
            };
            self.start(&scope, &stream, info);
        }
        Ok(())
    }

    fn start(&self, scope: &Scope, stream: &Stream, info: QueueInfo) {
        let Some(shard) = stream.shards.first() else { return };
        let (name, arn) = (info.name.clone(), queue_arn(scope, &info.name));
        let group = self.inner.group.child();
        let shared = Arc::clone(&self.inner.shared);
        let (live, jobs) = Live::new(shared, (scope.clone(), arn), (stream.id, shard.slot), group.clone(), info);
        let keeper = Keeper::new(Arc::clone(&live), jobs);
        group.spawn_infallible(format!("queue:{name}"), keeper.run());
        self.inner.registry.insert(name, live);
    }

    fn live(&self, scope: &Scope, name: &QueueName) -> Result<Arc<Live>, FlowError> {
        self.inner.registry.get(scope, name).ok_or_else(|| no_queue(scope, name))
    }

    pub(super) fn of_arn(&self, arn: &Arn) -> Option<Arc<Live>> {
        self.inner.registry.of_arn(arn)
    }

    /// Creates a queue, unless there is one of this name.
    pub async fn create(
        &self,
        scope: &Scope,
        name: &QueueName,
        attributes: Attributes,
        tags: BTreeMap<String, String>,
    ) -> Result<Created, FlowError> {
        let _turn = self.inner.turn.acquire().await;
        if let Some(live) = self.inner.registry.get(scope, name) {
            return Ok(Created::Exists((*live.info()).clone()));
        }
        self.check_redrive(scope, name, &attributes)?;
        let (shared, key) = (&self.inner.shared, stream_key(scope, name));
        match shared.log.delete_stream(&key).await {
            // Of a queue that was made or deleted only in part.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let stream = shared.log.create_stream(&key, spec()).await?;
        if attributes.encrypted {
            shared.log.set_encryption(&key, true).await?;
        }
        let now = shared.env.clock.now();
        let (name, stream_number) = (name.clone(), stream.id.number());
        let info = QueueInfo { name, stream: stream_number, created: now, modified: now, attributes, tags };
        let row = stored::encode("queue", &info)?;
        shared.state.commit(Batch::new().put(config::TABLE, config::key(scope, &info.name), row)).await?;
        self.start(scope, &stream, info.clone());
        Ok(Created::Made(info))
    }

    /// Deletes a queue with all its messages.
    pub async fn delete(&self, scope: &Scope, name: &QueueName) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        let (live, shared) = (self.live(scope, name)?, &self.inner.shared);
        let batch = Batch::new().delete(config::TABLE, config::key(scope, name));
        let batch = without_tasks(&self.inner, &live, batch.delete(floors(), floor_key(live.stream)))?;
        shared.state.commit(batch).await?;
        live.delete();
        self.inner.registry.remove(scope, name);
        if !live.group.stop(CLOSE_DEADLINE).await {
            tracing::warn!(queue = %live.arn, "the keeper of a deleted queue has not ended yet");
        }
        match shared.log.delete_stream(&stream_key(scope, name)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A queue's configuration.
    pub fn get(&self, scope: &Scope, name: &QueueName) -> Result<Arc<QueueInfo>, FlowError> {
        Ok(self.live(scope, name)?.info())
    }

    /// Whether the queue of this ARN is there, and is a FIFO queue.
    pub(crate) fn is_fifo(&self, arn: &Arn) -> bool {
        self.of_arn(arn).is_some_and(|live| live.info().attributes.fifo.is_some())
    }

    /// The queues of a scope, by name.
    pub fn list(&self, scope: &Scope) -> Vec<Arc<QueueInfo>> {
        self.inner.registry.of_scope(scope).iter().map(|live| live.info()).collect()
    }

    /// Changes a queue's attributes or tags by looking at them.
    pub async fn update(
        &self,
        scope: &Scope,
        name: &QueueName,
        mut change: impl FnMut(&mut QueueInfo) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        let (live, shared) = (self.live(scope, name)?, &self.inner.shared);
        let before = live.info();
        let mut info = (*before).clone();
        change(&mut info)?;
        if info.attributes.redrive != before.attributes.redrive {
            self.check_redrive(scope, name, &info.attributes)?;
        }
        if info.attributes != before.attributes {
            info.modified = shared.env.clock.now();
        }
        if info.attributes.encrypted != before.attributes.encrypted {
            shared.log.set_encryption(&stream_key(scope, name), info.attributes.encrypted).await?;
        }
        let row = stored::encode("queue", &info)?;
        shared.state.commit(Batch::new().put(config::TABLE, config::key(scope, name), row)).await?;
        live.configure(info);
        Ok(())
    }

    /// Whether a queue may send its dead letters where its attributes say.
    fn check_redrive(&self, scope: &Scope, name: &QueueName, attributes: &Attributes) -> Result<(), FlowError> {
        let Some(redrive) = &attributes.redrive else { return Ok(()) };
        let target = self.of_arn(&redrive.target).filter(|target| target.scope == *scope);
        let target = target.ok_or_else(|| FlowError::Invalid("Dead letter target does not exist.".to_owned()))?;
        let info = target.info();
        if info.attributes.fifo.is_some() != attributes.fifo.is_some() {
            return Err(FlowError::Invalid("Dead-letter queue must be same type of queue as the source.".to_owned()));
        }
        let source = queue_arn(scope, name);
        if source == redrive.target {
            return Err(FlowError::Invalid("a queue cannot be its own dead-letter queue".to_owned()));
        }
        if !info.attributes.admits(&source) {
            let rule = if info.attributes.redrive_allow == Some(RedriveAllow::None) { "denyAll" } else { "byQueue" };
            let message = format!("the dead-letter queue's RedriveAllowPolicy ({rule}) does not permit this source");
            return Err(FlowError::Invalid(message));
        }
        Ok(())
    }

    /// The queues of a scope whose dead letters go to this one, by name.
    pub fn sources(&self, scope: &Scope, name: &QueueName) -> Result<Vec<Arc<QueueInfo>>, FlowError> {
        let arn = self.live(scope, name)?.arn.clone();
        let names = |info: &Arc<QueueInfo>| info.attributes.redrive.as_ref().is_some_and(|r| r.target == arn);
        Ok(self.list(scope).into_iter().filter(names).collect())
    }

    /// Sends messages, all or none. Their ids, and what limits them, are the caller's to check.
    pub async fn send(&self, scope: &Scope, name: &QueueName, messages: Vec<Message>) -> Result<Vec<Sent>, FlowError> {
        send::send(&*self.live(scope, name)?, messages).await
    }

    /// Receives messages; none when none came in time.
    pub async fn receive(&self, scope: &Scope, name: &QueueName, ask: &Receive) -> Result<Vec<Received>, FlowError> {
        receive::receive(&self.live(scope, name)?, &self.inner.registry, ask).await
    }

    /// Receives messages as long as `admits` says so of each, in order: the first that it does not want and those behind
    /// are left, and not counted as received.
    pub(crate) async fn receive_while(
        &self,
        queue: &Arn,
        ask: &Receive,
        admits: impl FnMut(&Received) -> bool + Send,
    ) -> Result<Handed, FlowError> {
        let live = self.of_arn(queue).ok_or_else(|| no_queue_of(queue))?;
        receive::receive_while(&live, &self.inner.registry, ask, admits).await
    }

    /// Whether a queue has messages that wait to be received.
    pub(crate) fn has_visible(&self, queue: &Arn) -> bool {
        self.of_arn(queue).is_some_and(|live| live.lock().shelf.has_visible())
    }

    /// The time by which messages become visible.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.shared.now()
    }

    /// Deletes messages by their receipt handles.
    pub async fn settle(&self, scope: &Scope, name: &QueueName, handles: &[String]) -> Result<Vec<Settled>, FlowError> {
        settle::delete(&*self.live(scope, name)?, handles).await
    }

    /// Sets how long messages stay invisible from now on, by their receipt handles.
    pub async fn defer(
        &self,
        scope: &Scope,
        name: &QueueName,
        asked: &[(String, Duration)],
    ) -> Result<Vec<Settled>, FlowError> {
        settle::defer(&*self.live(scope, name)?, asked).await
    }

    /// Deletes all messages.
    pub async fn purge(&self, scope: &Scope, name: &QueueName) -> Result<(), FlowError> {
        settle::purge(&*self.live(scope, name)?).await
    }

    /// How many messages there are.
    pub async fn counts(&self, scope: &Scope, name: &QueueName) -> Result<Counts, FlowError> {
        let live = self.live(scope, name)?;
        live.ready().await?;
        let mut inner = live.lock();
        live.pass(&mut inner);
        Ok(inner.shelf.counts())
    }

    /// Ends all waits for messages, and begins no more: the server stops.
    pub fn stop_waiting(&self) {
        self.inner.shared.no_waiting.cancel();
    }

    pub(super) fn room(&self) -> &Arc<Room> {
        &self.inner
    }
}

fn no_queue_of(arn: &Arn) -> FlowError {
    FlowError::NotFound(format!("queue {arn} does not exist"))
}

fn no_queue(scope: &Scope, name: &QueueName) -> FlowError {
    no_queue_of(&queue_arn(scope, name))
}

fn stream_key(scope: &Scope, name: &QueueName) -> StreamKey {
    StreamKey { kind: StreamKind::Queue, scope: scope.clone(), name: name.to_string() }
}

fn spec() -> StreamSpec {
    StreamSpec { shards: 1, retention: LOG_RETENTION }
}
