//! The handle through which every other room uses the log.
//!
//! Owns nothing but the way in: it checks, encodes on the caller's task, queues, and waits for the answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::{Env, Position, ProducerId, Scope, Timestamp};
use tokio::sync::{RwLockReadGuard, oneshot};

use crate::catalogue::Wish;
use crate::core::Core;
use crate::files::Files;
use crate::format::EncodedBatch;
use crate::queue::{AppendJob, Appended};
use crate::read::{self, Request};
use crate::recover::recover;
use crate::seal::{Keyring, Sealing};
use crate::{
    Append, LogConfig, LogError, Placed, ReadLimit, Reshard, ShardRef, Slice, Stream, StreamKey, StreamKind,
    StreamSpec, Tail, metrics, retention, upkeep, writer,
};

/// While it is there, no shard is split or merged.
#[must_use = "shards are held only as long as this is kept"]
#[derive(Debug)]
pub struct HeldShards<'a>(#[expect(dead_code, reason = "kept for its end")] RwLockReadGuard<'a, ()>);

/// A batch on its way to the disk: see [`Log::submit`].
#[must_use = "its outcome is not known yet"]
#[derive(Debug)]
pub struct Submitted {
    started: Duration,
    /// The writer's answer, and where each record stands in the batch.
    waiting: Option<(Answer, Vec<u32>)>,
}

type Answer = oneshot::Receiver<Result<Appended, LogError>>;

/// The journal of all streams. Cloning gives another handle to the same one. It must be opened within a tokio runtime,
/// on whose blocking threads it writes and reads.
#[derive(Clone)]
pub struct Log {
    core: Arc<Core>,
}

impl Log {
    /// Opens or creates the journal in `dir` and recovers what a crash left. Nobody else may have it open.
    pub async fn open(env: &Env, dir: &Path, config: LogConfig) -> Result<Self, LogError> {
        config.check()?;
        let (files, opening) = (Files::new(Arc::clone(&env.fs), dir), env.clone());
        let keyring = Keyring::new(config.master_key.as_ref());
        let keys = keyring.clone();
        let opened = tokio::task::spawn_blocking(move || recover(&opening, &files, keys).map(|r| (r, files))).await;
        let (recovered, files) = opened.map_err(|_| LogError::Closed)??;
        let core = Arc::new(Core::new(env, config, files, keyring, recovered));
        upkeep::start(&core);
        Ok(Self { core })
    }

    /// Creates a stream durably.
    pub async fn create_stream(&self, key: &StreamKey, spec: StreamSpec) -> Result<Arc<Stream>, LogError> {
        self.change(Wish::Create(key.clone(), spec)).await?;
        self.stream(key)
    }

    /// The stream of this name, created when there is none. An existing one keeps its shards and retention.
    pub async fn ensure_stream(&self, key: &StreamKey, spec: StreamSpec) -> Result<Arc<Stream>, LogError> {
        match self.stream(key) {
            Err(LogError::StreamNotFound(_)) => {}
            found => return found,
        }
        match self.create_stream(key, spec).await {
            Err(LogError::StreamExists(_)) => self.stream(key),
            created => created,
        }
    }

    /// Deletes a stream with all its records.
    pub async fn delete_stream(&self, key: &StreamKey) -> Result<(), LogError> {
        self.change(Wish::Delete(key.clone())).await
    }

    /// Splits and merges shards, durably and all at once: every step closes its parents and opens its children, and a
    /// child that one step opens may be the parent of a later one. Children's ids go on from the stream's highest, in
    /// the order of the steps. Whoever appends afterwards to a closed shard is refused with
    /// [`LogError::ShardClosed`], and positions in a child are greater than in its parents. A step that breaks a rule
    /// (see [`Reshard`]) refuses them all. The stream as it is then.
    pub async fn reshard(&self, key: &StreamKey, steps: Vec<Reshard>) -> Result<Arc<Stream>, LogError> {
        if !steps.is_empty() {
            let _alone = self.core.shards.write().await;
            self.change(Wish::Reshard(key.clone(), steps)).await?;
        }
        self.stream(key)
    }

    /// Keeps the shards of all streams as they are until it is dropped: splits and merges wait. For one whose append
    /// met a closed shard, so that it does not meet another and another. (A change whose caller went away may still
    /// be on its way.)
    pub async fn hold_shards(&self) -> HeldShards<'_> {
        HeldShards(self.core.shards.read().await)
    }

    /// Changes how long records stay readable after their arrival, durably. It holds for the records that are there,
    /// too: with a shorter time older ones cannot be read any more at once, and with a longer one those stay longer
    /// that can still be read. What was past its retention before never comes back.
    pub async fn set_retention(&self, key: &StreamKey, retention: Duration) -> Result<Arc<Stream>, LogError> {
        self.change(Wish::Retain(key.clone(), retention)).await?;
        self.stream(key)
    }

    /// Starts or stops encryption at rest, durably: data and keys of the records of every append that begins
    /// afterwards are sealed on disk, or are not. Those that are there stay as they are; all are read alike. Needs
    /// [`LogConfig::master_key`].
    pub async fn set_encryption(&self, key: &StreamKey, on: bool) -> Result<Arc<Stream>, LogError> {
        let stream = self.stream(key)?;
        if on {
            // Before the change is queued: it takes effect though its caller may go away.
            self.core.seals.store(true, Ordering::Release);
        }
        let new = (on && stream.record_key.is_none()).then(|| self.core.keyring.draw(&stream, &*self.core.env.rng));
        self.change(Wish::Encrypt(key.clone(), stream.id, on, new.transpose()?)).await?;
        self.stream(key)
    }

    /// The stream of this name.
    pub fn stream(&self, key: &StreamKey) -> Result<Arc<Stream>, LogError> {
        self.core.view().catalogue.stream(key).cloned()
    }

    /// The streams of a kind in a scope, by name.
    pub fn streams(&self, kind: StreamKind, scope: &Scope) -> Vec<Arc<Stream>> {
        self.core.view().catalogue.of_kind(kind, scope).cloned().collect()
    }

    /// The streams of a kind in all scopes.
    pub fn all_streams(&self, kind: StreamKind) -> Vec<Arc<Stream>> {
        self.core.view().catalogue.all().filter(|stream| stream.key.kind == kind).cloned().collect()
    }

    /// Appends one atomic batch; `Ok` after its group's fsync, with a place per record in request order. Empty when
    /// the producer's last position is not smaller than the batch's (it is there already, durably), or when there are
    /// no records.
    pub async fn append(&self, append: Append) -> Result<Vec<Placed>, LogError> {
        self.try_append(&append).await
    }

    /// The same for a caller that needs the records again when a shard is closed, to send them to its children.
    pub async fn try_append(&self, append: &Append) -> Result<Vec<Placed>, LogError> {
        let submitted = self.submit(append)?;
        let placed = self.placed(submitted).await?;
        if !placed.is_empty() {
            self.count(append);
        }
        Ok(placed)
    }

    /// Hands a batch to the writer without waiting: batches get their positions in the order of these calls. An error
    /// means that it was not taken; what becomes of one that was is told by [`Log::placed`], and whoever drops that
    /// takes nothing back.
    pub fn submit(&self, append: &Append) -> Result<Submitted, LogError> {
        let started = self.core.env.clock.instant();
        if append.records.is_empty() {
            return Ok(Submitted { started, waiting: None });
        }
        let mut batch = EncodedBatch::data(append, &self.sealing(append)?)?;
        let order = std::mem::take(&mut batch.order);
        let (reply, answer) = oneshot::channel();
        let start = self.core.queue.append(AppendJob { batch, reply })?;
        self.drain(start);
        Ok(Submitted { started, waiting: Some((answer, order)) })
    }

    /// The outcome of a batch that was handed over, as [`Log::append`] answers it.
    pub async fn placed(&self, submitted: Submitted) -> Result<Vec<Placed>, LogError> {
        let Some((answer, order)) = submitted.waiting else { return Ok(Vec::new()) };
        let Some((first, arrival)) = answer.await.map_err(|_| LogError::Closed)?? else { return Ok(Vec::new()) };
        metrics::put_latency(self.core.env.clock.instant().saturating_sub(submitted.started));
        let mut placed = vec![Placed { position: first, arrival }; order.len()];
        for (n, place) in order.into_iter().enumerate() {
            placed[place as usize].position = Position::new(first.get() + n as u64);
        }
        Ok(placed)
    }

    /// The last durable source position of an internal producer; none when that source record was deleted since.
    pub fn producer_position(&self, producer: ProducerId) -> Option<Position> {
        self.core.view().producers.get(&producer).copied()
    }

    /// The position that the next durable record has at least.
    pub fn next_position(&self) -> Position {
        self.core.view().next
    }

    /// Durable, unexpired records of a shard from `from` on.
    pub async fn read(&self, shard: ShardRef, from: Position, limit: ReadLimit) -> Result<Slice, LogError> {
        let request = Request::new(shard, from, limit);
        if let Some(slice) = read::read_recent(&self.core, request)? {
            return Ok(slice);
        }
        let core = Arc::clone(&self.core);
        self.blocking(move || read::read_blocking(&core, request)).await
    }

    /// Returns once a durable record at or after `from` exists, or the shard is closed or deleted.
    pub async fn wait(&self, shard: ShardRef, from: Position) -> Result<(), LogError> {
        loop {
            let changed = {
                let view = self.core.view();
                let state = view.shard(shard)?;
                if state.closed || (state.last_arrival.is_some() && state.next > from) {
                    return Ok(());
                }
                Arc::clone(&state.changed)
            };
            let mut notified = std::pin::pin!(changed.notified());
            notified.as_mut().enable();
            // Whatever happened before `enable` is seen here, whatever happens after it wakes.
            match self.core.view().shard(shard) {
                Ok(state) if !(state.closed || (state.last_arrival.is_some() && state.next > from)) => {}
                _ => return Ok(()),
            }
            notified.await;
            if self.core.view().shard(shard).is_err() {
                return Ok(());
            }
        }
    }

    /// Says that nobody needs the records of a shard before a position any more, though they are not past their
    /// retention: segments that hold nothing else go. Kept in memory only, so it is said again after a start; what was
    /// released may be readable until its segment goes.
    pub fn release(&self, shard: ShardRef, before: Position) {
        self.core.publish().release(shard, before);
    }

    /// The time by which retention is judged: the wall clock, but for its jumps.
    pub fn believed_time(&self) -> Timestamp {
        self.core.steady_now()
    }

    /// Whatever arrived before this time can be read: the time of arrival of what comes now, or of what the disk has not
    /// taken yet.
    pub fn settled(&self) -> Timestamp {
        self.core.settled()
    }

    /// The ends of a shard.
    pub fn tail(&self, shard: ShardRef) -> Result<Tail, LogError> {
        let view = self.core.view();
        let state = view.shard(shard)?;
        let trim = view.oldest().max(state.opened_at.next());
        Ok(Tail { next: state.next, last_arrival: state.last_arrival, trim })
    }

    /// The position of the first record that arrived at `time` or later; the shard's end when there is none.
    pub async fn position_at(&self, shard: ShardRef, time: Timestamp) -> Result<Position, LogError> {
        let core = Arc::clone(&self.core);
        self.blocking(move || read::position_at(&core, shard, time)).await
    }

    /// Deletes segments whose records are all past their retention or of deleted streams, and forgets closed shards
    /// once their records and their retention are past. Idempotent; it also runs by itself on a period.
    pub async fn enforce_retention(&self) -> Result<(), LogError> {
        let core = Arc::clone(&self.core);
        self.blocking(move || retention::enforce(&core)).await
    }

    /// Refuses further appends, finishes those accepted and leaves a mark of the clean stop.
    pub async fn close(&self) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        self.drain(self.core.queue.close(reply)?);
        let result = answer.await.map_err(|_| LogError::Closed)?;
        self.core.tasks.stop(CLOSE_DEADLINE).await;
        result
    }

    fn sealing(&self, append: &Append) -> Result<Sealing, LogError> {
        if !self.core.seals.load(Ordering::Acquire) {
            return Ok(Sealing::default());
        }
        let view = self.core.view();
        Sealing::new(&append.records, &*self.core.env.rng, |shard| view.sealing_key(shard))
    }

    async fn change(&self, wish: Wish) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        let start = self.core.queue.change(wish, reply)?;
        self.drain(start);
        answer.await.map_err(|_| LogError::Closed)?
    }

    fn drain(&self, start: bool) {
        if start {
            let core = Arc::clone(&self.core);
            self.core.runtime.spawn_blocking(move || writer::drain(&core));
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.core.runtime.spawn_blocking(work).await.map_err(|_| LogError::Closed)?
    }

    fn count(&self, append: &Append) {
        let view = self.core.view();
        // A batch is nearly always of one stream: its neighbours' counts are added up before they are told.
        let mut rest = &append.records[..];
        while let Some(first) = rest.first() {
            let Ok(stream) = view.shard(first.shard).map(|s| &s.stream) else { return };
            let same = |r: &&crate::NewRecord| view.shard(r.shard).is_ok_and(|s| Arc::ptr_eq(&s.stream, stream));
            let count = rest.iter().take_while(same).count();
            let bytes: usize = rest[..count].iter().map(|r| r.data.len() + r.partition_key.as_str().len()).sum();
            stream.counters.records_in.increment(count as u64);
            stream.counters.bytes_in.increment(bytes as u64);
            rest = &rest[count..];
        }
    }
}

/// How long the upkeep may take to end.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
