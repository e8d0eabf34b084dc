//! Where every consumer stands: positions kept in the state store, written lazily and together.
//!
//! Owns the checkpoint table: `consumer NUL stream-id / shard` → `{"v":1,"next":position}`, where `next` is the first
//! position without a final outcome.
//!
//! Promises: a position set here is durable at most [`LAZINESS`] later, all consumers' positions in one commit, and at
//! once on [`Checkpoints::flush`]; a failed commit is repeated. It is never ahead of the work. So after a crash a
//! consumer starts at or before the first unhandled record and every record is handled **at least once**: whatever had
//! its final outcome in the last moments is handled again. Targets that are journal appends recognise the repetition
//! by their producer id and position and add nothing twice; functions and webhooks may see it.
//!
//! Must not know what consumers do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Batch, Clock, Position, ShardId, StateError, StateStore, Table, TaskGroup, Write};
use log::StreamId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

use crate::metrics;

const TABLE: Table = Table("flow.checkpoints");

/// A checkpoint is durable at most this much later than it was set.
pub const LAZINESS: Duration = Duration::from_millis(200);

const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Rows in one scan.
const PAGE: usize = 1_000;

#[derive(Serialize, Deserialize)]
struct Row {
    v: u32,
    next: Position,
}

/// Every consumer's place. Cloning gives another handle.
#[derive(Clone)]
pub struct Checkpoints {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<dyn StateStore>,
    pending: Mutex<Pending>,
    /// One commit at a time, so that an older one cannot come after what forgets its consumer.
    turn: Semaphore,
    changed: Notify,
}

/// What the store does not have yet.
#[derive(Default)]
struct Pending {
    /// Set since the last commit began.
    dirty: BTreeMap<Vec<u8>, Position>,
    /// In the commit that is under way.
    writing: BTreeMap<Vec<u8>, Position>,
}

impl Checkpoints {
    /// Over this store; positions are written only once [`Checkpoints::run`] runs, or by `flush`.
    pub fn new(state: Arc<dyn StateStore>) -> Self {
        Self {
            inner: Arc::new(Inner {
                state,
                pending: Mutex::default(),
                turn: Semaphore::new(1),
                changed: Notify::new(),
            }),
        }
    }

    /// The position from which `consumer` reads a shard on, if it was there before.
    pub fn get(&self, consumer: &str, stream: StreamId, shard: ShardId) -> Result<Option<Position>, StateError> {
        let key = key(consumer, stream, shard);
        {
            // A consumer that starts again during a commit must not start before it.
            let pending = self.pending();
            if let Some(next) = pending.dirty.get(&key).or_else(|| pending.writing.get(&key)) {
                return Ok(Some(*next));
            }
        }
        Self::durable(&*self.inner.state, consumer, stream, shard)
    }

    /// The same, as far as it is written: from there on everything is handled again after a crash.
    pub fn durable(
        state: &dyn StateStore,
        consumer: &str,
        stream: StreamId,
        shard: ShardId,
    ) -> Result<Option<Position>, StateError> {
        let Some(bytes) = state.get(TABLE, &key(consumer, stream, shard))? else { return Ok(None) };
        let row: Row = serde_json::from_slice(&bytes)
            .map_err(|e| StateError::Corrupt(format!("checkpoint of {consumer} on {shard}: {e}")))?;
        Ok(Some(row.next))
    }

    /// Remembers that everything before `next` is dealt with.
    pub fn set(&self, consumer: &str, stream: StreamId, shard: ShardId, next: Position) {
        let was_clean = {
            let dirty = &mut self.pending().dirty;
            let was_clean = dirty.is_empty();
            dirty.insert(key(consumer, stream, shard), next);
            was_clean
        };
        if was_clean {
            self.inner.changed.notify_one();
        }
    }

    /// The write that starts a consumer at a position, for the batch that creates it.
    pub fn start_at(consumer: &str, stream: StreamId, shard: ShardId, next: Position) -> Write {
        Write::Put(TABLE, key(consumer, stream, shard), encode(next))
    }

    /// The writes that forget a consumer, for the batch that deletes it. The consumer must have stopped.
    pub async fn forget(&self, consumer: &str) -> Result<Vec<Write>, StateError> {
        self.forget_all(prefix(consumer)).await
    }

    /// The same for its places on one stream.
    pub async fn forget_on(&self, consumer: &str, stream: StreamId) -> Result<Vec<Write>, StateError> {
        self.forget_all(on_stream(consumer, stream)).await
    }

    async fn forget_all(&self, prefix: Vec<u8>) -> Result<Vec<Write>, StateError> {
        self.pending().dirty.retain(|key, _| !key.starts_with(&prefix));
        // A commit under way may bring a row, or fail and put its positions back.
        let _turn = self.inner.turn.acquire().await;
        self.pending().dirty.retain(|key, _| !key.starts_with(&prefix));
        let mut writes = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.inner.state.scan(TABLE, &prefix, after.as_deref(), PAGE)?;
            let full = rows.len() == PAGE;
            after = rows.last().map(|(key, _)| key.clone());
            writes.extend(rows.into_iter().map(|(key, _)| Write::Delete(TABLE, key)));
            if !full {
                return Ok(writes);
            }
        }
    }

    /// Forgets a consumer's places on all shards but the `listed` ones of this stream: their streams are deleted or their
    /// records are past retention, so nothing is left to read there.
    pub async fn sweep(&self, consumer: &str, stream: StreamId, listed: &BTreeSet<ShardId>) -> Result<(), StateError> {
        let keep: BTreeSet<Vec<u8>> = listed.iter().map(|shard| key(consumer, stream, *shard)).collect();
        let prefix = prefix(consumer);
        let _turn = self.inner.turn.acquire().await;
        let (mut batch, mut after) = (Batch::new(), None::<Vec<u8>>);
        loop {
            let rows = self.inner.state.scan(TABLE, &prefix, after.as_deref(), PAGE)?;
            let full = rows.len() == PAGE;
            after = rows.last().map(|(key, _)| key.clone());
            for (key, _) in rows {
                if !keep.contains(&key) {
                    batch = batch.delete(TABLE, key);
                }
            }
            if !full {
                break;
            }
        }
        if batch.writes.is_empty() {
            return Ok(());
        }
        self.pending().dirty.retain(|key, _| !key.starts_with(&prefix) || keep.contains(key));
        self.inner.state.commit(batch).await
    }

    /// Makes durable all that was set.
    pub async fn flush(&self) -> Result<(), StateError> {
        let _turn = self.inner.turn.acquire().await;
        let writes: Vec<Write> = {
            let mut pending = self.pending();
            // Empty but after a flush whose caller went away: its positions count again, unless set anew.
            let mut taken = std::mem::take(&mut pending.writing);
            taken.append(&mut pending.dirty);
            pending.writing = taken;
            pending.writing.iter().map(|(key, next)| Write::Put(TABLE, key.clone(), encode(*next))).collect()
        };
        if writes.is_empty() {
            return Ok(());
        }
        let result = self.inner.state.commit(Batch { preconditions: Vec::new(), writes }).await;
        let mut pending = self.pending();
        let written = std::mem::take(&mut pending.writing);
        if result.is_err() {
            metrics::checkpoint_failure();
            for (key, next) in written {
                pending.dirty.entry(key).or_insert(next);
            }
        }
        result
    }

    /// Writes positions until the group stops. Idle while nobody sets any.
    pub fn run(&self, group: &TaskGroup, clock: Arc<dyn Clock>) {
        let (this, stopping) = (self.clone(), group.stopping());
        group.spawn_infallible("checkpoints", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = this.inner.changed.notified() => {}
                }
                let mut delay = LAZINESS;
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        () = clock.sleep(delay) => {}
                    }
                    match this.flush().await {
                        Ok(()) => break,
                        Err(error) => {
                            tracing::warn!(%error, "checkpoints cannot be written; trying again");
                            delay = RETRY_DELAY;
                        }
                    }
                }
            }
        });
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(next: Position) -> Vec<u8> {
    // Two numbers cannot fail to serialise.
    serde_json::to_vec(&Row { v: 1, next }).unwrap_or_default()
}

fn prefix(consumer: &str) -> Vec<u8> {
    [consumer.as_bytes(), b"\0"].concat()
}

fn on_stream(consumer: &str, stream: StreamId) -> Vec<u8> {
    let mut prefix = prefix(consumer);
    prefix.extend_from_slice(format!("{:010}/", stream.number()).as_bytes());
    prefix
}

fn key(consumer: &str, stream: StreamId, shard: ShardId) -> Vec<u8> {
    let mut key = on_stream(consumer, stream);
    key.extend_from_slice(shard.to_string().as_bytes());
    key
}
