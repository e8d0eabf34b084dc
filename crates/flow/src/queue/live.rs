//! One queue at work: its shelf, and the way of every change through the log.
//!
//! Owns the order: a change is decided and handed to the log under one lock, so that changes are written in the order
//! in which they were decided, and applied by the [keeper](super::keeper) in that order once they are durable.
//! Promises that nothing is answered before it is durable and applied; a caller that goes away takes nothing back.
//! Must not know what calls ask for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base::{Arn, Env, Position, Scope, StateStore, TaskGroup, Timestamp};
use bytes::Bytes;
use log::{Append, Log, LogError, NewRecord, Placed, ShardRef, StreamId, Submitted};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::attempts::Attempts;
use super::change::{self, Change};
use super::config::QueueInfo;
use super::dedup::{Dedup, Key};
use super::handle::Handles;
use super::memory::Memory;
use super::message::{self, Head, Message};
use super::shelf::{Arrival, Shelf};
use crate::{FlowError, metrics};

/// Changes of one queue that are on their way to the disk, at most.
pub(super) const MAX_UNDERWAY: usize = 10_000;
/// How long a call waits for a queue that is being read from the log.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages that are too old, and that one call forgets. The keeper sees to the others.
const EXPIRED_AT_ONCE: usize = 1_000;
/// A shelf of more messages is dropped on a thread of its own.
const QUICKLY_DROPPED: usize = 10_000;

/// What all queues share.
pub(super) struct Shared {
    pub env: Env,
    pub log: Log,
    pub state: Arc<dyn StateStore>,
    pub handles: Handles,
    /// The wall clock and the monotonic one when the room was opened.
    pub opened: (Timestamp, Duration),
    /// Nobody waits for messages any more.
    pub no_waiting: CancellationToken,
    /// Queues that are read from the log at once.
    pub loads: Semaphore,
    /// What all shelves take.
    pub memory: Memory,
}

impl Shared {
    /// The time by which visibility and delays are judged: the wall clock of the start, going on by the monotonic one,
    /// so that no jump of the wall clock makes anything visible or keeps it invisible.
    pub fn now(&self) -> Timestamp {
        let (wall, instant) = self.opened;
        wall + self.env.clock.instant().saturating_sub(instant)
    }
}

/// Whether a queue can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its shelf is being read from the log.
    Loading,
    /// That failed, and is tried again.
    Failing,
    /// Yes.
    Open,
    /// It is deleted, or the server stops.
    Closed,
}

/// A queue. Shared by the calls that use it and its keeper.
pub(super) struct Live {
    pub shared: Arc<Shared>,
    pub scope: Scope,
    pub arn: Arn,
    pub stream: StreamId,
    pub slot: ShardRef,
    pub group: TaskGroup,
    pub stopping: CancellationToken,
    info: RwLock<Arc<QueueInfo>>,
    inner: Mutex<Inner>,
    pub phase: watch::Sender<Phase>,
    /// Dead letters of other queues that are on their way.
    pub incoming: AtomicUsize,
    /// Told when changes were applied.
    pub applied: Notify,
    deleted: AtomicBool,
    /// What it takes of the memory of all.
    weight: AtomicUsize,
    jobs: mpsc::Sender<Job>,
}

/// What a queue's lock guards.
pub(super) struct Inner {
    /// Changes are taken.
    pub open: bool,
    /// Grows when the shelf is read again: what was taken from it before is not there any more.
    pub generation: u64,
    pub shelf: Shelf,
    pub dedup: Dedup,
    pub attempts: Attempts,
    /// Everything before this position is on the shelf, as far as this queue put it there itself.
    pub applied_to: Position,
    /// Other queues' dead letters that came while the shelf was being read.
    pub early: Vec<(Position, Arrival)>,
    /// The shelf was read up to here.
    pub loaded_to: Position,
    /// When the queue was last purged.
    pub purged: Option<Timestamp>,
    /// Purges that are on their way to the disk: nothing is handed out meanwhile that could come back elsewhere.
    pub purging: usize,
    /// Those who wait for a message, in their order.
    waiters: BTreeMap<u64, oneshot::Sender<()>>,
    last_waiter: u64,
}

/// A change on its way to the disk.
pub(super) struct Job {
    pub submitted: Submitted,
    pub step: Step,
    pub reply: oneshot::Sender<Result<Vec<Placed>, FlowError>>,
}

/// What happens when a change is durable, by the records of its batch.
#[derive(Default)]
pub(super) struct Step {
    /// Messages that come to this queue.
    pub arrivals: Vec<(usize, Head, Option<Key>)>,
    /// Messages that go to other queues.
    pub elsewhere: Vec<(usize, Incoming, Head)>,
    /// Changes of this queue's messages.
    pub changes: Option<(usize, Vec<Change>)>,
}

/// A dead letter on its way to another queue, which does not let go of its log meanwhile.
pub(super) struct Incoming(Arc<Live>);

impl Incoming {
    /// Where it goes.
    pub fn queue(&self) -> &Arc<Live> {
        &self.0
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.0.incoming.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The outcome of a change that was handed to the log.
pub(super) struct Underway(oneshot::Receiver<Result<Vec<Placed>, FlowError>>);

impl Underway {
    /// Waits until it is durable and applied.
    pub async fn done(self) -> Result<Vec<Placed>, FlowError> {
        self.0.await.map_err(|_| LogError::Closed)?
    }
}

/// A message for another queue, encoded already.
pub(super) struct Letter {
    to: Arc<Live>,
    head: Head,
    data: Bytes,
}

impl Letter {
    pub fn new(to: Arc<Live>, message: Message) -> Result<Self, FlowError> {
        let data = message.encode()?;
        Ok(Self { to, head: message.head, data })
    }
}

/// A batch for the log and what it does, as they are put together.
#[derive(Default)]
pub(super) struct Draft {
    pub records: Vec<NewRecord>,
    pub step: Step,
}

impl Draft {
    /// Adds a message to this queue, encoded already.
    pub fn message(&mut self, live: &Live, head: &Head, data: Bytes, dedup: Option<Key>) -> Result<(), FlowError> {
        self.step.arrivals.push((self.records.len(), head.clone(), dedup));
        self.records.push(record(live.slot, message::KEY, data)?);
        Ok(())
    }

    /// Adds a message to another queue.
    pub fn elsewhere(&mut self, letter: Letter) -> Result<(), FlowError> {
        let Letter { to, head, data } = letter;
        let record = record(to.slot, message::KEY, data)?;
        to.incoming.fetch_add(1, Ordering::SeqCst);
        self.step.elsewhere.push((self.records.len(), Incoming(to), head));
        self.records.push(record);
        Ok(())
    }

    /// Adds changes of this queue's messages.
    pub fn changes(&mut self, live: &Live, changes: Vec<Change>) -> Result<(), FlowError> {
        let data = change::encode(&changes);
        self.step.changes = Some((self.records.len(), changes));
        self.records.push(record(live.slot, change::KEY, data)?);
        Ok(())
    }
}

fn record(shard: ShardRef, key: &str, data: Bytes) -> Result<NewRecord, FlowError> {
    let partition_key = key.parse().map_err(|e: base::InvalidId| FlowError::Invalid(e.to_string()))?;
    Ok(NewRecord { shard, partition_key, explicit_hash_key: None, data })
}

/// A message's arrival on the shelf. One that was sent earlier elsewhere keeps that time.
pub(super) fn arrival(head: &Head, arrived: Timestamp) -> Arrival {
    Arrival {
        sent: head.sent.unwrap_or(arrived),
        until: (head.delay_ms > 0).then(|| arrived + Duration::from_millis(head.delay_ms)),
        group: head.group.clone(),
        receives: head.receives,
        first_received: head.first_received,
    }
}

impl Live {
    pub fn new(
        shared: Arc<Shared>,
        (scope, arn): (Scope, Arn),
        (stream, slot): (StreamId, ShardRef),
        group: TaskGroup,
        info: QueueInfo,
    ) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let (jobs, taking) = mpsc::channel(MAX_UNDERWAY);
        let inner = Inner::new(info.attributes.fifo.is_some());
        let stopping = group.stopping();
        let (info, inner) = (RwLock::new(Arc::new(info)), Mutex::new(inner));
        let phase = watch::Sender::new(Phase::Loading);
        let this = Self {
            shared,
            scope,
            arn,
            stream,
            slot,
            group,
            stopping,
            info,
            inner,
            phase,
            incoming: AtomicUsize::new(0),
            applied: Notify::new(),
            deleted: AtomicBool::new(false),
            weight: AtomicUsize::new(0),
            jobs,
        };
        (Arc::new(this), taking)
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue as it is configured now.
    pub fn info(&self) -> Arc<QueueInfo> {
        Arc::clone(&self.info.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn configure(&self, info: QueueInfo) {
        *self.info.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(info);
    }

    /// Waits until the shelf is there, but not for long. While it cannot be read nobody waits.
    pub async fn ready(&self) -> Result<(), FlowError> {
        self.ready_within(PATIENCE).await
    }

    /// The same with less or more patience.
    pub async fn ready_within(&self, patience: Duration) -> Result<(), FlowError> {
        let mut phase = self.phase.subscribe();
        let settled = tokio::select! {
            biased;
            phase = phase.wait_for(|phase| *phase != Phase::Loading) => phase.map_or(Phase::Closed, |phase| *phase),
            () = self.shared.env.clock.sleep(patience) => Phase::Loading,
        };
        let not_now = |what: &str| Err(FlowError::Unavailable(format!("{} {what}; try again", self.arn)));
        match settled {
            Phase::Open => Ok(()),
            Phase::Loading => not_now("is still being read from the log"),
            Phase::Failing => not_now("cannot be read from the log now"),
            Phase::Closed => Err(self.gone()),
        }
    }

    /// Tells how much memory the queue takes now.
    pub fn weigh(&self, bytes: usize) {
        let before = self.weight.swap(bytes, Ordering::SeqCst);
        self.shared.memory.weigh(before, bytes);
    }

    /// It is being deleted.
    pub fn delete(&self) {
        self.deleted.store(true, Ordering::SeqCst);
    }

    /// Whether it was closed because it is deleted.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::SeqCst)
    }

    /// Why nothing can be done with a closed queue: it is deleted, or only the server stops.
    pub fn gone(&self) -> FlowError {
        if self.is_deleted() {
            return FlowError::NotFound(format!("queue {} does not exist", self.arn));
        }
        FlowError::Unavailable(format!("{} is closed while the server stops; try again", self.arn))
    }

    /// Hands a batch to the log. The lock is held by the caller, who decided on it and saw that the queue is open. On
    /// an error nothing was handed over.
    pub fn begin(&self, inner: &Inner, draft: Draft) -> Result<Underway, FlowError> {
        self.begin_as(inner, Append { producer: None, records: draft.records }, draft.step)
    }

    /// The same for an internal producer's batch.
    pub fn begin_as(&self, inner: &Inner, append: Append, step: Step) -> Result<Underway, FlowError> {
        debug_assert!(inner.open, "changes of a closed queue");
        let permit = self.jobs.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => {
                FlowError::Throttled(format!("{} has {MAX_UNDERWAY} changes under way; try again", self.arn))
            }
            mpsc::error::TrySendError::Closed(()) => self.gone(),
        })?;
        let submitted = self.shared.log.submit(&append)?;
        let (reply, outcome) = oneshot::channel();
        permit.send(Job { submitted, step, reply });
        Ok(Underway(outcome))
    }

    /// Decides under the lock, once the queue is open, and waits for what was handed to the log.
    pub async fn change<R>(
        &self,
        mut decide: impl FnMut(&mut Inner) -> Result<(Option<Underway>, R), FlowError>,
    ) -> Result<(Vec<Placed>, R), FlowError> {
        loop {
            self.ready().await?;
            let (underway, result) = {
                let mut inner = self.lock();
                if !inner.open {
                    continue;
                }
                decide(&mut inner)?
            };
            let placed = match underway {
                Some(underway) => underway.done().await?,
                None => Vec::new(),
            };
            return Ok((placed, result));
        }
    }

    /// Takes in a dead letter of another queue, which is durable.
    pub fn arrived(&self, message: Position, arrival: Arrival) {
        let mut inner = self.lock();
        if !inner.open {
            inner.early.push((message, arrival));
        } else if message >= inner.loaded_to {
            inner.shelf.arrive(message, arrival);
            inner.wake_one();
            self.weigh(inner.weight());
        }
    }

    /// Notes what time brought about: what is due is visible, and the first ones that are too old are gone.
    pub fn pass(&self, inner: &mut Inner) {
        if inner.shelf.wake(self.shared.now()) > 0 {
            inner.wake_one();
        }
        let (now, retention) = (self.shared.log.believed_time(), self.info().attributes.retention());
        metrics::queue_expired(self.arn.resource(), inner.shelf.expire_first(now, retention, EXPIRED_AT_ONCE));
    }

    /// A place in the line of those who wait for a message.
    pub fn wait(self: &Arc<Self>, inner: &mut Inner) -> Waiting {
        let (told, waiting) = oneshot::channel();
        inner.last_waiter += 1;
        inner.waiters.insert(inner.last_waiter, told);
        Waiting { live: Arc::clone(self), place: inner.last_waiter, waiting }
    }
}

impl Inner {
    pub fn new(fifo: bool) -> Self {
        Self {
            open: false,
            generation: 0,
            shelf: Shelf::new(fifo),
            dedup: Dedup::default(),
            attempts: Attempts::default(),
            applied_to: Position::ZERO,
            early: Vec::new(),
            loaded_to: Position::ZERO,
            purged: None,
            purging: 0,
            waiters: BTreeMap::new(),
            last_waiter: 0,
        }
    }

    /// Bytes of memory that the queue takes, roughly.
    pub fn weight(&self) -> usize {
        self.shelf.weight() + self.dedup.weight()
    }

    /// Tells one of those who wait, when there is something to be had. Whoever takes of it tells the next.
    pub fn wake_one(&mut self) {
        if self.purging > 0 || !self.shelf.has_visible() {
            return;
        }
        while let Some((_, waiter)) = self.waiters.pop_first() {
            if waiter.send(()).is_ok() {
                return;
            }
        }
    }

    /// Tells all who wait.
    pub fn wake_all(&mut self) {
        for (_, waiter) in std::mem::take(&mut self.waiters) {
            // Who went away does not wait any more.
            let _ = waiter.send(());
        }
    }
}

/// Drops a shelf that nobody needs any more. The lock must not be held.
pub(super) fn discard(shelf: Shelf) {
    if shelf.len() > QUICKLY_DROPPED {
        tokio::task::spawn_blocking(move || drop(shelf));
    }
}

/// One who waits for a message. When they were told and went away, the next is told.
pub(super) struct Waiting {
    live: Arc<Live>,
    place: u64,
    waiting: oneshot::Receiver<()>,
}

impl Waiting {
    /// Completes when there may be a message.
    pub async fn told(&mut self) {
        // Who told is gone only with the queue, and then there is no reason to wait either.
        let _ = (&mut self.waiting).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.live.lock();
        if inner.waiters.remove(&self.place).is_none() {
            inner.wake_one();
        }
    }
}

#[cfg(test)]
mod tests;
