//! The one consumer loop: cursor → batch → handle → commit.
//!
//! Owns the reading of a stream by a named consumer: shards are discovered and read in the order of their lineage, each
//! by its own [`step::ShardState`]; this file and `run` only act on what it decides.
//! Promises: every record from the start on is given to the handler at least once unless it is dropped by policy, which
//! is counted and logged; waiting is pushed by the log, never polled; stopping finishes what the handler holds.
//! Must not know what handlers do.

pub mod lineage;
mod run;
pub mod step;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::{Env, Position, RetryPolicy, ShardId, TaskGroup, Timestamp};
use log::{Log, Record, ShardRef, StreamId, StreamKey};

pub use step::{DropReason, Outcome, Policy};

use crate::checkpoint::Checkpoints;
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

/// A batch on its way to a handler.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The stream's number: part of producer ids.
    pub stream: StreamId,
    /// The shard.
    pub shard: ShardId,
    /// The shard's address in the log.
    pub slot: ShardRef,
    /// The records in order, at least one.
    pub records: Arc<[Record]>,
    /// Attempts including this one.
    pub attempt: u32,
}

/// Does the work on batches.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one batch to an outcome. May be called again with the same records.
    async fn handle(&self, batch: &Batch) -> Outcome;

    /// Told of records that were given up, already counted and logged.
    fn dropped(&self, _shard: ShardId, _records: &[Record], _why: &DropReason) {}
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
}

/// How long a stopping consumer waits for what its handler holds.
const DRAIN: Duration = Duration::from_secs(5);

impl Loop {
    /// Starts a consumer in a group of its own; what else belongs to it may run there too.
    pub fn start(&self, group: TaskGroup, consumer: Consumer, handler: Arc<dyn Handler>) -> Running {
        let again = RetryPolicy {
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(30),
            max_attempts: None,
            max_age: None,
        };
        let (context, stopping, consumer) = (self.clone(), group.stopping(), Arc::new(consumer));
        group.spawn(consumer.id.clone(), base::OnError::Restart(again), move || {
            run::run(context.clone(), Arc::clone(&consumer), Arc::clone(&handler), stopping.clone())
        });
        Running { group }
    }
}

impl Running {
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
    oldest: Arc<Mutex<BTreeMap<(String, ShardId), Option<Timestamp>>>>,
}

impl Lag {
    /// Sets the iterator-age gauges to what they are `now`: zero when caught up, growing while stuck.
    pub fn publish(&self, now: Timestamp) {
        for ((consumer, shard), oldest) in self.oldest.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            metrics::iterator_age(consumer, *shard, oldest.map_or(Duration::ZERO, |t| now.since(t)));
        }
    }

    /// The greatest age over a consumer's shards, if it runs.
    pub fn of(&self, consumer: &str, now: Timestamp) -> Option<Duration> {
        let oldest = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        let ages = oldest.iter().filter(|((name, _), _)| name == consumer);
        ages.map(|(_, t)| t.map_or(Duration::ZERO, |t| now.since(t))).max()
    }

    fn set(&self, consumer: &str, shard: ShardId, oldest: Option<Timestamp>) {
        let mut all = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&(consumer.to_owned(), shard)) {
            Some(entry) => *entry = oldest,
            None => _ = all.insert((consumer.to_owned(), shard), oldest),
        }
    }

    fn clear(&self, consumer: &str, shard: ShardId) {
        let removed = self.oldest.lock().unwrap_or_else(PoisonError::into_inner).remove(&(consumer.to_owned(), shard));
        if removed.is_some() {
            metrics::iterator_age(consumer, shard, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests;
