//! The keeper of a queue: the one task that applies what became durable.
//!
//! Owns the reading of the shelf from the log, the application of changes in the order of the log, what time brings
//! about (visibility, expiry), and the floor: the position before which the queue needs nothing of its log any more.
//! Promises that the shelf is what the log says: a change whose append failed may or may not be there, so the shelf is
//! then read again; and that the floor is durable before the log may delete what lies before it, for else what was
//! deleted could come back: the record of a deletion lies behind its message and may go first.
//!
//! | table | key → value |
//! |---|---|
//! | `flow.queue_floors` | number of the queue's log, 10 digits → `{"v":1,"floor":position}` |

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::{Batch, Position, Table, Timestamp};
use log::{LogError, Placed, ReadLimit, Record, StreamId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::attempts::Attempts;
use super::change::{self, Change};
use super::dedup::{self, Dedup};
use super::live::{Inner, Job, Live, Phase, Step, arrival, discard};
use super::message::{self, Message};
use super::shelf::Shelf;
use crate::{FlowError, metrics, stored};

const FLOORS: Table = Table("flow.queue_floors");
/// How often all messages are looked at for their age, and the floor is written.
const PERIOD: Duration = Duration::from_secs(10);
/// Messages that are looked at for their age under one lock.
const SLICE: usize = 2_000;
/// What is read of the log at once.
const READ: ReadLimit = ReadLimit { records: 10_000, bytes: 8 << 20 };
/// The longest time that a message can be invisible.
const MOST_INVISIBLE: Duration = Duration::from_secs(43_200);
/// The longest time that a message can be kept back.
const MOST_DELAYED: Duration = Duration::from_secs(900);

#[derive(Serialize, Deserialize)]
struct Floor {
    floor: Position,
}

/// The key of a queue's floor.
pub(super) fn floor_key(stream: StreamId) -> Vec<u8> {
    format!("{:010}", stream.number()).into_bytes()
}

pub(super) const fn floors() -> Table {
    FLOORS
}

/// See the module.
pub(super) struct Keeper {
    live: Arc<Live>,
    jobs: mpsc::Receiver<Job>,
    floor: Position,
    /// When the period is over.
    due: Duration,
}

impl Keeper {
    pub fn new(live: Arc<Live>, jobs: mpsc::Receiver<Job>) -> Self {
        Self { live, jobs, floor: Position::ZERO, due: Duration::ZERO }
    }

    /// Keeps the queue until it is closed.
    pub async fn run(mut self) {
        let stopping = self.live.stopping.clone();
        while !stopping.is_cancelled() {
            if let Err(error) = self.load().await {
                tracing::error!(queue = %self.live.arn, %error, "a queue cannot be read from the log; it is tried again");
                self.live.phase.send_replace(Phase::Failing);
                tokio::select! {
                    () = self.live.shared.env.clock.sleep(Duration::from_secs(1)) => continue,
                    () = stopping.cancelled() => break,
                }
            }
            self.serve().await;
        }
        self.close().await;
    }

    /// Reads the shelf and opens the queue.
    async fn load(&mut self) -> Result<(), FlowError> {
        let live = Arc::clone(&self.live);
        // Closed with the room only, and never while queues are in it.
        let _turn = live.shared.loads.acquire().await;
        let (log, now) = (&live.shared.log, live.shared.now());
        let stored: Option<Floor> = stored::get(&*live.shared.state, FLOORS, &floor_key(live.stream))?;
        self.floor = stored.map_or(Position::ZERO, |floor| floor.floor);
        let mut from = self.floor.max(log.tail(live.slot)?.trim);
        let mut reading = Reading::new(&live, now);
        loop {
            match log.read(live.slot, from, READ).await {
                Ok(slice) if slice.records.is_empty() => break from = slice.next,
                Ok(slice) => {
                    slice.records.iter().for_each(|record| reading.take(record));
                    from = slice.next;
                }
                Err(LogError::Corrupt { last, .. }) => {
                    metrics::queue_lost(live.arn.resource());
                    tracing::error!(queue = %live.arn, until = %last, "a part of a queue's log cannot be read; its messages are lost");
                    from = last.next();
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut inner = live.lock();
        let early = std::mem::take(&mut inner.early);
        let before = std::mem::replace(&mut inner.shelf, reading.shelf);
        (inner.dedup, inner.attempts, inner.purging) = (reading.dedup, Attempts::default(), 0);
        (inner.loaded_to, inner.applied_to) = (from, from);
        for (message, arrival) in early.into_iter().filter(|(message, _)| *message >= from) {
            inner.shelf.arrive(message, arrival);
        }
        inner.shelf.wake(now);
        inner.open = true;
        inner.wake_one();
        live.weigh(inner.weight());
        drop(inner);
        discard(before);
        live.phase.send_replace(Phase::Open);
        Ok(())
    }

    /// Applies what becomes durable, until something did not or the queue is closed.
    async fn serve(&mut self) {
        let (clock, stopping) = (Arc::clone(&self.live.shared.env.clock), self.live.stopping.clone());
        loop {
            let (wait, due) = self.pass_time().await;
            if due {
                self.keep_floor().await;
            }
            let job = tokio::select! {
                job = self.jobs.recv() => job,
                () = clock.sleep(wait) => continue,
                () = stopping.cancelled() => return,
            };
            let Some(job) = job else { return };
            if !self.settle(job).await {
                return self.fail().await;
            }
            while let Ok(job) = self.jobs.try_recv() {
                if !self.settle(job).await {
                    return self.fail().await;
                }
            }
        }
    }

    /// What time brings about; how long until it brings more, and whether the floor is due.
    async fn pass_time(&mut self) -> (Duration, bool) {
        let (live, instant) = (&self.live, self.live.shared.env.clock.instant());
        let all = instant >= self.due;
        if all {
            self.due = instant + PERIOD;
            self.expire_all().await;
        }
        let due = {
            let mut inner = live.lock();
            live.pass(&mut inner);
            // Calls pass the time, too, and may have gone away since.
            inner.wake_one();
            live.weigh(inner.weight());
            inner.shelf.next_due().map(|at| at.since(live.shared.now()))
        };
        let wait = due.unwrap_or(PERIOD).min(self.due.saturating_sub(instant)).max(Duration::from_millis(1));
        (wait, all)
    }

    /// Forgets what is too old, wherever it is, and lets others at the shelf between.
    async fn expire_all(&self) {
        let (live, mut from) = (&self.live, Some(Position::ZERO));
        while let Some(at) = from {
            let (now, retention) = (live.shared.log.believed_time(), live.info().attributes.retention());
            let (expired, next) = live.lock().shelf.expire(now, retention, at, SLICE);
            metrics::queue_expired(live.arn.resource(), expired);
            from = next;
            tokio::task::yield_now().await;
        }
    }

    /// Waits for a change, applies it and answers; whether the shelf is as the log has it.
    async fn settle(&self, job: Job) -> bool {
        let Job { submitted, step, reply } = job;
        let (told, known) = match self.live.shared.log.placed(submitted).await {
            Ok(placed) => {
                self.apply(step, &placed);
                (Ok(placed), true)
            }
            // Another queue's log is gone, so that nothing of the batch was written.
            Err(error @ LogError::ShardNotFound(_)) if !step.elsewhere.is_empty() => {
                self.take_back(step);
                (Err(self.told(error)), true)
            }
            Err(error) => (Err(self.told(error)), false),
        };
        // The caller may have gone away.
        drop(reply.send(told));
        known
    }

    /// What a caller is told of an append that failed: a log that is gone is not what they asked for.
    fn told(&self, error: LogError) -> FlowError {
        match error {
            LogError::ShardNotFound(_) if self.live.is_deleted() => self.live.gone(),
            LogError::ShardNotFound(_) => {
                FlowError::Unavailable(format!("{}: a queue was deleted meanwhile; try again", self.live.arn))
            }
            error => error.into(),
        }
    }

    fn apply(&self, step: Step, placed: &[Placed]) {
        let Some(last) = placed.last() else {
            // A producer's batch that was there already adds nothing.
            return self.take_back(step);
        };
        let now = self.live.shared.now();
        let mut purged = Vec::new();
        let mut inner = self.live.lock();
        inner.applied_to = inner.applied_to.max(last.position.next());
        for (index, head, key) in step.arrivals {
            let Some(at) = placed.get(index) else { continue };
            if let Some(key) = key {
                inner.dedup.taken(key, head.id.clone(), at.position, now);
            }
            let mut arrival = arrival(&head, at.arrival);
            arrival.until = (head.delay_ms > 0).then(|| now + Duration::from_millis(head.delay_ms));
            inner.shelf.arrive(at.position, arrival);
        }
        if let Some((index, changes)) = step.changes
            && let Some(at) = placed.get(index)
        {
            for change in changes {
                if change == Change::Purged {
                    inner.purging = inner.purging.saturating_sub(1);
                    purged.push(inner.shelf.purge(at.position));
                } else {
                    inner.shelf.apply(change, at.position);
                }
            }
        }
        inner.shelf.wake(now);
        inner.wake_one();
        self.live.weigh(inner.weight());
        drop(inner);
        purged.into_iter().for_each(discard);
        self.live.applied.notify_waiters();
        for (index, to, head) in step.elsewhere {
            if let Some(at) = placed.get(index) {
                to.queue().arrived(at.position, arrival(&head, at.arrival));
            }
        }
    }

    /// Makes of a change of which nothing was written as if it had never been decided.
    fn take_back(&self, step: Step) {
        let mut inner = self.live.lock();
        step.arrivals.iter().filter_map(|(_, _, key)| *key).for_each(|key| inner.dedup.abandon(key));
        for change in step.changes.into_iter().flat_map(|(_, changes)| changes) {
            if let Change::Received { message, .. } | Change::Deleted { message } = change {
                inner.shelf.take_back(message);
            }
        }
        inner.wake_one();
        drop(inner);
        self.live.applied.notify_waiters();
    }

    /// Closes the queue for changes and waits until nothing is under way: what is there then is read again.
    async fn fail(&mut self) {
        tracing::warn!(queue = %self.live.arn, "a change of a queue may be lost; the queue is read again from the log");
        self.live.phase.send_replace(Phase::Loading);
        {
            let mut inner = self.live.lock();
            inner.open = false;
            inner.generation += 1;
        }
        self.drain().await;
        self.live.applied.notify_waiters();
    }

    /// Answers what is under way without applying it. What is durable is told so.
    async fn drain(&mut self) {
        while let Ok(Job { submitted, step, reply }) = self.jobs.try_recv() {
            let outcome = self.live.shared.log.placed(submitted).await;
            if let Ok(placed) = &outcome {
                for (index, to, head) in step.elsewhere {
                    if let Some(at) = placed.get(index) {
                        to.queue().arrived(at.position, arrival(&head, at.arrival));
                    }
                }
            }
            drop(reply.send(outcome.map_err(|error| self.told(error))));
        }
    }

    async fn close(&mut self) {
        self.live.phase.send_replace(Phase::Closed);
        {
            let mut inner = self.live.lock();
            inner.open = false;
            inner.wake_all();
        }
        self.live.weigh(0);
        self.live.applied.notify_waiters();
        self.drain().await;
    }

    /// Writes the floor down, then lets the log have what lies before it.
    async fn keep_floor(&mut self) {
        let (shared, now) = (&self.live.shared, self.live.shared.now());
        let floor = {
            let mut inner = self.live.lock();
            // What is on its way may lie before what was applied last.
            if !inner.open || self.live.incoming.load(Ordering::SeqCst) > 0 {
                return;
            }
            floor(&mut inner, now, !self.jobs.is_empty())
        };
        if floor > self.floor {
            let written = match stored::encode("queue's floor", &Floor { floor }) {
                Ok(row) => {
                    let batch = Batch::new().put(FLOORS, floor_key(self.live.stream), row);
                    shared.state.commit(batch).await.map_err(FlowError::from)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                return tracing::warn!(queue = %self.live.arn, %error, "a queue's floor is not written down; its log stays");
            }
            self.floor = floor;
        }
        shared.log.release(self.live.slot, self.floor);
    }
}

/// The position before which a queue needs nothing. While changes of its own wait to be applied, what other queues put
/// behind them is no measure.
fn floor(inner: &mut Inner, now: Timestamp, some_wait: bool) -> Position {
    let known = inner.dedup.oldest(now);
    let first = [inner.shelf.first(), known].into_iter().flatten().min().unwrap_or(inner.applied_to);
    if some_wait { first.min(inner.applied_to) } else { first }
}

/// A shelf as it is read from the log.
struct Reading<'a> {
    live: &'a Live,
    shelf: Shelf,
    dedup: Dedup,
    by_group: bool,
    now: Timestamp,
}

impl<'a> Reading<'a> {
    fn new(live: &'a Live, now: Timestamp) -> Self {
        let fifo = live.info().attributes.fifo;
        let by_group = fifo.is_some_and(|fifo| fifo.deduplicate_by_group);
        Self { live, shelf: Shelf::new(fifo.is_some()), dedup: Dedup::default(), by_group, now }
    }

    fn take(&mut self, record: &Record) {
        let taken = match record.partition_key.as_str() {
            message::KEY => Message::decode(&record.data).map(|message| self.message(record, &message)),
            change::KEY => change::decode(&record.data).map(|changes| {
                for change in changes {
                    match change {
                        Change::Purged => discard(self.shelf.purge(record.position)),
                        change => self.shelf.apply(clamped(change, self.now), record.position),
                    }
                }
            }),
            other => Err(format!("'{other}' is no kind of record of a queue")),
        };
        if let Err(what) = taken {
            metrics::queue_lost(self.live.arn.resource());
            tracing::error!(queue = %self.live.arn, position = %record.position, what, "a record of a queue cannot be read");
        }
    }

    fn message(&mut self, record: &Record, message: &Message) {
        let head = &message.head;
        let mut arrival = arrival(head, record.arrival);
        // Nor is anything kept back for longer than the service allows.
        arrival.until = arrival.until.map(|until| until.min(self.now + MOST_DELAYED));
        self.shelf.arrive(record.position, arrival);
        // What came from another queue was deduplicated there.
        if let (Some(id), None, false) = (&head.dedup, &head.source, head.moved) {
            let group = message.head.group.as_deref().filter(|_| self.by_group);
            // What came with a clock ahead of ours is as old as can be now.
            let at = record.arrival.min(self.now);
            self.dedup.taken(dedup::key(group, id), message.head.id.clone(), record.position, at);
        }
    }
}

/// Nothing is invisible for longer than the service allows, whatever the clock was when that was written.
fn clamped(change: Change, now: Timestamp) -> Change {
    let most = now + MOST_INVISIBLE;
    match change {
        Change::Received { message, receives, at, until } => {
            Change::Received { message, receives, at, until: until.min(most) }
        }
        Change::Deferred { message, receives, until } => Change::Deferred { message, receives, until: until.min(most) },
        other => other,
    }
}

#[cfg(test)]
mod tests;
