//! The one consumer loop: cursor → batch → handle → commit.
//!
//! Owns the reading of a stream by a named consumer: shards are discovered and read in the order of their lineage, each
//! by its own [`step::ShardState`]; this file and `run` only act on what it decides.
//! Promises: every record from the start on is given to the handler at least once unless it is given up by policy, which
//! the handler is told of before the checkpoint passes it, and which is counted and logged; waiting is pushed by the log, never polled; who is told to
//! end finishes what its handler holds, and no successor of its name has the same shard in hand before.
//! Must not know what handlers do.

pub mod decision;
pub mod lineage;
mod run;
pub mod step;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::{Env, Position, RetryPolicy, ShardId, TaskGroup, Timestamp};
use log::{Log, Record, ShardRef, StreamId, StreamKey};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use decision::{DropReason, Outcome, Policy, Span};

use crate::checkpoint::{Checkpoints, Lane, Window};
use crate::metrics;

/// Where a consumer without a checkpoint starts on a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    TrimHorizon,
    /// At a position.
    At(Position),
}

/// Who reads what, and how.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// Unique and for ever the same: names its checkpoints, tasks and metrics, such as `mapping:UUID`.
    pub id: String,
    /// What it reads.
    pub source: StreamKey,
    /// Where it starts on shards that it has no checkpoint for.
    pub start: Start,
    /// How it forms and retries batches.
    pub policy: Policy,
}

/// Whose turn a shard is: one consumer of a name has records of it in hand at a time. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    shards: Arc<Mutex<ShardTurns>>,
}

type ShardTurns = BTreeMap<(StreamId, ShardId), Arc<tokio::sync::Mutex<()>>>;

impl Turns {
    fn of(&self, stream: StreamId, shard: ShardId) -> Arc<tokio::sync::Mutex<()>> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        // Of shards that are gone nobody holds or awaits anything.
        shards.retain(|of, turn| Arc::strong_count(turn) > 1 || *of == (stream, shard));
        Arc::clone(shards.entry((stream, shard)).or_default())
    }
}

/// A batch on its way to a handler.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The stream's number: part of producer ids.
    pub stream: StreamId,
    /// The shard.
    pub shard: ShardId,
    /// The shard's address in the log.
    pub slot: ShardRef,
    /// The part of the shard that is read by itself.
    pub lane: Lane,
    /// The records in order, at least one, but none where a window is closed.
    pub records: Arc<[Record]>,
    /// Attempts including this one.
    pub attempt: u32,
    /// The tumbling window that they are of, and whether it is closed.
    pub window: Option<(Span, bool)>,
}

/// Does the work on batches.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one batch to an outcome. May be called again with the same records.
    async fn handle(&self, batch: &Batch) -> Outcome;

    /// Told of the window that is open where a shard is read from, before its first batch.
    fn resume(&self, _shard: ShardId, _window: Option<&Window>) {}

    /// The window that is open, to be kept with the place up to which the shard's batches are done.
    fn window(&self, _shard: ShardId) -> Option<Window> {
        None
    }

    /// Told when what it reads cannot be read; that is tried again.
    fn cut_off(&self, _why: &str) {}

    /// How old a record may become by the log's time before retention takes it, where it must not: asked ever again,
    /// for it can change. The policy's own bound counts beside it.
    fn readable(&self) -> Option<Duration> {
        None
    }

    /// Puts records away that are given up; `attempt` counts the attempts that were made. Once it is done they are
    /// counted, logged and passed; until then it is asked again and nothing behind them goes on. May be asked again
    /// for what was put away before a crash.
    async fn give_up(&self, _batch: &Batch, _why: &DropReason) -> Result<(), String> {
        Ok(())
    }
}

/// What consumers run on. Cloning gives another handle.
#[derive(Clone)]
pub struct Loop {
    /// Time and randomness.
    pub env: Env,
    /// What they read.
    pub log: Log,
    /// Where they stand.
    pub checkpoints: Checkpoints,
    /// How far behind they are.
    pub lag: Lag,
}

/// A running consumer, with all that runs in its group.
pub struct Running {
    group: TaskGroup,
    halting: CancellationToken,
    released: CancellationToken,
    urge: watch::Sender<()>,
}

/// How long a consumer waits for what its handler holds when all stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

impl Loop {
    /// Starts a consumer in a group of its own; what else belongs to it may run there too.
    pub fn start(&self, group: TaskGroup, consumer: Consumer, handler: Arc<dyn Handler>) -> Running {
        self.start_after(group, consumer, handler, &Turns::default())
    }

    /// The same beside predecessors of its name that were told to end: each shard is read once they have nothing of it
    /// in hand any more. They share `turns`.
    pub fn start_after(
        &self,
        group: TaskGroup,
        consumer: Consumer,
        handler: Arc<dyn Handler>,
        turns: &Turns,
    ) -> Running {
        let again = RetryPolicy {
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(30),
            max_attempts: None,
            max_age: None,
        };
        let (running, consumer, context) = (Running::of(group), Arc::new(consumer), self.clone());
        let word = run::Word {
            halting: running.halting.clone(),
            stopping: running.group.stopping(),
            urged: running.urge.subscribe(),
            turns: turns.clone(),
        };
        running.group.spawn(consumer.id.clone(), base::OnError::Restart(again), move || {
            let (id, halting, told) = (consumer.id.clone(), word.halting.clone(), Arc::clone(&handler));
            let run = run::run(context.clone(), Arc::clone(&consumer), Arc::clone(&handler), word.clone());
            async move {
                match run.await {
                    // It is not started again.
                    Err(error) if halting.is_cancelled() => {
                        tracing::warn!(consumer = id, %error, "a consumer failed while it ended");
                        Ok(())
                    }
                    result => result.inspect_err(|error| told.cut_off(&error.to_string())),
                }
            }
        });
        running
    }
}

impl Running {
    /// What runs in a group of its own, and ends when it is told so by [`Running::halting`].
    pub(crate) fn of(group: TaskGroup) -> Self {
        let (halting, released) = (group.stopping().child_token(), CancellationToken::new());
        Self { group, halting, released, urge: watch::Sender::new(()) }
    }

    /// Cancelled when it is to begin nothing more.
    pub(crate) fn halting(&self) -> CancellationToken {
        self.halting.clone()
    }

    /// To be cancelled when it has nothing in hand any more that a successor could want, but still has to finish.
    pub(crate) fn release(&self) -> CancellationToken {
        self.released.clone()
    }

    /// Asks it to begin nothing more; its handler finishes what it holds, however long that takes.
    pub(crate) fn halt(&self) {
        self.halting.cancel();
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.group.is_idle()
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn over(&self) {
        self.group.finished().await;
    }

    /// Waits until it has ended, or a successor need not wait for it.
    pub(crate) async fn released(&self) {
        tokio::select! {
            () = self.over() => {}
            () = self.released.cancelled() => {}
        }
    }

    /// What waits for its next attempt is tried at once.
    pub(crate) fn urge(&self) {
        self.urge.send_replace(());
    }

    /// Asks it to stop, and does not wait for it: it begins nothing more.
    pub fn cancel(&self) {
        self.group.stopping().cancel();
    }

    /// Stops it; its handler is given a few seconds to finish what it holds.
    pub async fn stop(self) {
        // Past the loop's own drain time only the scheduling of the task is left.
        if !self.group.stop(DRAIN + Duration::from_secs(1)).await {
            tracing::warn!("a consumer did not stop in time");
        }
    }
}

/// How far behind every consumer is. Nothing runs while nobody looks: ages are computed by [`Lag::publish`].
#[derive(Clone, Default)]
pub struct Lag {
    shards: Arc<Mutex<ShardLags>>,
}

/// By consumer, shard and lane: the arrival of the oldest open record in milliseconds, or [`CAUGHT_UP`].
type ShardLags = BTreeMap<(String, ShardId, Lane), Arc<AtomicI64>>;

/// There is no open record.
const CAUGHT_UP: i64 = i64::MIN;

impl Lag {
    /// Sets the iterator-age gauges to what they are `now`: zero when caught up, growing while stuck.
    pub fn publish(&self, now: Timestamp) {
        let shards = self.shards();
        let mut lanes = shards.iter().peekable();
        while let Some(((consumer, shard, _), oldest)) = lanes.next() {
            let mut greatest = age(oldest, now);
            while let Some((_, oldest)) = lanes.next_if(|((name, of, _), _)| name == consumer && of == shard) {
                greatest = greatest.max(age(oldest, now));
            }
            metrics::iterator_age(consumer, *shard, greatest);
        }
    }

    /// The greatest age over a consumer's shards, if it runs.
    pub fn of(&self, consumer: &str, now: Timestamp) -> Option<Duration> {
        self.shards().iter().filter(|((name, ..), _)| name == consumer).map(|(_, oldest)| age(oldest, now)).max()
    }

    fn enter(&self, consumer: &str, shard: ShardId, lane: Lane) -> ShardLag {
        let oldest = Arc::new(AtomicI64::new(CAUGHT_UP));
        let key = (consumer.to_owned(), shard, lane);
        self.shards().insert(key.clone(), Arc::clone(&oldest));
        ShardLag { lag: self.clone(), key, oldest }
    }

    fn shards(&self) -> MutexGuard<'_, ShardLags> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn age(oldest: &AtomicI64, now: Timestamp) -> Duration {
    match oldest.load(Ordering::Relaxed) {
        CAUGHT_UP => Duration::ZERO,
        ms => now.since(Timestamp::from_millis(ms)),
    }
}

/// One shard's entry, there as long as the shard is read.
struct ShardLag {
    lag: Lag,
    key: (String, ShardId, Lane),
    oldest: Arc<AtomicI64>,
}

impl ShardLag {
    fn set(&self, oldest: Option<Timestamp>) {
        self.oldest.store(oldest.map_or(CAUGHT_UP, Timestamp::millis), Ordering::Relaxed);
    }
}

impl Drop for ShardLag {
    fn drop(&mut self) {
        let mut shards = self.lag.shards();
        // A consumer that was stopped and started again has a newer entry.
        if shards.get(&self.key).is_some_and(|entry| Arc::ptr_eq(entry, &self.oldest)) {
            shards.remove(&self.key);
            metrics::iterator_age(&self.key.0, self.key.1, Duration::ZERO);
        }
    }
}
