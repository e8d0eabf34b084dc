//! Records that are handled each on its own: several at once, failing ones later, none in another's way.
//!
//! Owns the durable retry queue of the consumers whose order does not matter (a topic's subscription, a function's
//! asynchronous invocations): a [`Handler`] that makes one attempt per record and parks what did not succeed as a row
//! `consumer NUL stream / position` → `{"v":1,"due":…,"attempts":…,"postponed":…,"error":…,"end":…}` in the state store. The record itself
//! stays in the log and is read again when its time comes.
//!
//! Promises: a record leaves the queue only when it was done, refused or given up, also across restarts; an attempt
//! that takes long is parked too, so that it holds up neither the checkpoint nor the records behind it; no more attempts
//! run at once than [`Settings::concurrency`], or while there is a backlog that is taken [`Settings::at_most`]; at most
//! [`MAX_PARKED`] records wait, beyond which the log is not read on.
//!
//! Must not know what an attempt does.

mod queue;
mod slots;
mod width;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{Position, Rng, StateError, StateStore, TaskGroup, Timestamp};
use futures::future::FutureExt;
use log::{LogError, ReadLimit, Record, ShardRef, StreamId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::consumer::{Batch, Handler, Loop, Outcome};
use crate::metrics;
use queue::{Entry, Queue, Row};
pub(crate) use queue::{due, first, forget, forget_on, sweep, waiting};
use slots::{Slot, Slots};
use width::Sign;

/// Records of one consumer that wait for another attempt, at most.
pub(crate) const MAX_PARKED: usize = 10_000;

/// An attempt that takes longer goes on outside the consumer's window.
const GRACE: Duration = Duration::from_secs(1);

/// The state store is asked again after this long.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Characters of an error that are kept with what waits.
const MAX_ERROR: usize = 200;

/// How one attempt ended.
#[derive(Debug)]
pub(crate) enum Attempted {
    /// It succeeded.
    Done,
    /// It failed; the attempt counts.
    Failed(String),
    /// It failed, and whom it was made to asks not to be tried again sooner than this.
    FailedFor(String, Duration),
    /// It could not be made now; it does not count.
    Later(String),
    /// It will never succeed.
    Refused(String),
}

/// Why a record is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// No attempt is left.
    Attempts,
    /// It is too old.
    Age,
    /// It will never succeed.
    Refused,
}

/// How a record's way ended without success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// What ended it.
    pub why: Why,
    /// Attempts that were made.
    pub attempts: u32,
    /// What was wrong at last.
    pub reason: String,
}

/// What is attempted.
#[async_trait]
pub(crate) trait Attempt: Send + Sync + 'static {
    /// One attempt for one record.
    async fn attempt(&self, record: &Record) -> Attempted;

    /// The wait after the `attempts`-th attempt failed; `None` gives the record up.
    fn delay(&self, attempts: u32, rng: &dyn Rng) -> Option<Duration>;

    /// A record older than this is given up instead of being tried again.
    fn max_age(&self) -> Duration;

    /// The wait of one record, where records differ in it.
    fn delay_of(&self, _record: &Record, attempts: u32, rng: &dyn Rng) -> Option<Duration> {
        self.delay(attempts, rng)
    }

    /// The age of one record, where records differ in it; never more than that of all.
    fn max_age_of(&self, _record: &Record) -> Duration {
        self.max_age()
    }

    /// When a record's age began.
    fn born(&self, record: &Record) -> Timestamp {
        record.arrival
    }

    /// Told of every record that is tried again.
    fn retried(&self, record: &Record, reason: &str);

    /// Told of every record that is given up.
    fn gave_up(&self, record: &Record, reason: &str);

    /// Does what is to be done with a record that is given up, such as writing it to a dead-letter queue. An error
    /// keeps it: this is called again a little later, without another attempt.
    async fn give_up(&self, record: &Record, end: &End) -> Result<(), String> {
        self.gave_up(record, &end.reason);
        Ok(())
    }

    /// The same where it has several parts: those that are `done` are kept with the record, and are not done again.
    async fn give_up_rest(&self, record: &Record, end: &End, _done: &mut Vec<String>) -> Result<(), String> {
        self.give_up(record, end).await
    }
}

/// How a spool works.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The consumer's id.
    pub id: String,
    /// The log's only shard.
    pub slot: ShardRef,
    /// The log.
    pub stream: StreamId,
    /// Attempts at once, when nothing waits or little is taken.
    pub concurrency: usize,
    /// Attempts at once while others wait for their turn and most succeed. The consumer must hand in as many records.
    pub at_most: usize,
}

/// The handler. Cloning gives another handle.
pub(crate) struct Spool<A> {
    inner: Arc<Inner<A>>,
}

impl<A> Clone for Spool<A> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<A> {
    consumers: Loop,
    attempt: A,
    settings: Settings,
    group: TaskGroup,
    stopping: CancellationToken,
    slots: Arc<Slots>,
    queue: Queue,
}

impl<A: Attempt> Spool<A> {
    /// Reads back what waits and starts retrying it in `group`.
    pub fn start(
        consumers: &Loop,
        state: &Arc<dyn StateStore>,
        group: &TaskGroup,
        settings: Settings,
        attempt: A,
    ) -> Result<Self, StateError> {
        let queue = Queue::load(Arc::clone(state), &settings.id, settings.stream)?;
        let inner = Inner {
            consumers: consumers.clone(),
            attempt,
            group: group.clone(),
            stopping: group.stopping(),
            slots: Slots::new(settings.concurrency, settings.at_most),
            queue,
            settings,
        };
        let this = Self { inner: Arc::new(inner) };
        group.spawn_infallible(format!("{}/retries", this.inner.settings.id), this.clone().retry_when_due());
        Ok(this)
    }

    /// Attempts parked records when their time comes.
    async fn retry_when_due(self) {
        let inner = &self.inner;
        loop {
            let Some(position) = inner.queue.next_due(&*inner.consumers.env.clock, &inner.stopping).await else {
                return;
            };
            let place = tokio::select! {
                place = inner.slots.repetition() => place,
                () = inner.stopping.cancelled() => return,
            };
            let this = self.clone();
            inner.group.spawn_infallible(format!("{}/retry", inner.settings.id), async move {
                tokio::select! {
                    slot = this.inner.slots.turn() => {
                        if let Some(mut slot) = slot {
                            this.retry(position, &mut slot).await;
                        }
                    }
                    // The row is durable.
                    () = this.inner.stopping.cancelled() => {}
                }
                drop(place);
            });
        }
    }

    async fn retry(&self, position: Position, slot: &mut Slot) {
        let inner = &self.inner;
        let Some(row) = inner.queue.row(position) else { return };
        let limit = ReadLimit { records: 1, bytes: usize::MAX };
        let record = match inner.consumers.log.read(inner.settings.slot, position, limit).await {
            Ok(slice) => slice.records.into_iter().find(|r| r.position == position),
            // It will never be read again, and would hold its log for ever.
            Err(error @ LogError::Corrupt { .. }) => {
                metrics::dropped(&inner.settings.id, "corrupt", 1);
                tracing::error!(consumer = inner.settings.id, %position, %error, "a record that waits for a retry is corrupt");
                return self.remove(position).await;
            }
            Err(error) => {
                let (consumer, now) = (&inner.settings.id, inner.consumers.env.clock.now());
                tracing::warn!(consumer, %position, %error, "a record that waits for a retry cannot be read now");
                return inner.queue.again_at(position, Row { due: now + STORE_RETRY, ..row });
            }
        };
        let Some(record) = record else {
            tracing::error!(consumer = inner.settings.id, %position, "a record expired before its retry");
            return self.remove(position).await;
        };
        let next = tokio::select! {
            next = self.once_more(&record, row, slot) => next,
            // The row is durable: the attempt is made again after the restart.
            () = inner.stopping.cancelled() => return,
        };
        self.settle_parked(&record, next).await;
    }

    /// Another attempt, unless the record was given up already or is too old for one.
    async fn once_more(&self, record: &Record, row: Row, slot: &mut Slot) -> Option<Row> {
        if let Some(end) = row.end.clone() {
            return self.part(record, row, end).await;
        }
        let outcome = self.attempt(record).await;
        sign(&outcome).into_iter().for_each(|sign| slot.note(sign));
        self.next(record, row, outcome).await
    }

    /// One attempt; `None` for a record that is too old.
    async fn attempt(&self, record: &Record) -> Option<Attempted> {
        if self.is_too_old(record) {
            return None;
        }
        Some(self.inner.attempt.attempt(record).await)
    }

    fn is_too_old(&self, record: &Record) -> bool {
        let attempt = &self.inner.attempt;
        self.inner.consumers.env.clock.now().since(attempt.born(record)) > attempt.max_age_of(record)
    }

    /// What becomes of a record after an attempt: its next row, or none when nothing is left to do.
    async fn next(&self, record: &Record, row: Row, outcome: Option<Attempted>) -> Option<Row> {
        let inner = &self.inner;
        let (now, rng) = (inner.consumers.env.clock.now(), &*inner.consumers.env.rng);
        let (delay, attempts, reason) = match outcome {
            Some(Attempted::Done) => return None,
            Some(Attempted::Refused(reason)) => {
                let end = End { why: Why::Refused, attempts: row.attempts + 1, reason };
                return self.part(record, row, end).await;
            }
            Some(Attempted::Failed(reason)) => {
                (inner.attempt.delay_of(record, row.attempts + 1, rng), row.attempts + 1, reason)
            }
            Some(Attempted::FailedFor(reason, wait)) => {
                let delay = inner.attempt.delay_of(record, row.attempts + 1, rng).map(|delay| delay.max(wait));
                (delay, row.attempts + 1, reason)
            }
            Some(Attempted::Later(reason)) => {
                // As Lambda's queue does: from one second to five minutes.
                let ceiling = 1_000u64 << row.postponed.min(9);
                let delay = Duration::from_millis(ceiling.min(300_000) / 2 + rng.below(ceiling.min(300_000) / 2 + 1));
                (Some(delay), row.attempts, reason)
            }
            None => {
                let reason = row.error.clone().unwrap_or_else(|| "it is too old for an attempt".to_owned());
                let end = End { why: Why::Age, attempts: row.attempts, reason };
                return self.part(record, row, end).await;
            }
        };
        let why = if delay.is_none() { Why::Attempts } else { Why::Age };
        match delay.filter(|_| !self.is_too_old(record)) {
            Some(delay) => {
                inner.attempt.retried(record, &reason);
                let postponed = if attempts == row.attempts { row.postponed + 1 } else { 0 };
                let error = Some(reason.chars().take(MAX_ERROR).collect());
                // Whatever wait was asked for, it is given up while the log still has it.
                let last = inner.attempt.born(record) + inner.attempt.max_age_of(record) + Duration::from_millis(1);
                Some(Row { due: (now + delay).min(last.max(now)), attempts, postponed, error, ..row })
            }
            None => self.part(record, row, End { why, attempts, reason }).await,
        }
    }

    /// Gives a record up, or keeps it as a row that is to be given up.
    async fn part(&self, record: &Record, mut row: Row, end: End) -> Option<Row> {
        let inner = &self.inner;
        let reason = inner.attempt.give_up_rest(record, &end, &mut row.done).await.err()?;
        let (consumer, position) = (&inner.settings.id, record.position);
        tracing::warn!(consumer, %position, reason, "a record that is given up cannot be put away yet");
        let (due, postponed) =
            (inner.consumers.env.clock.now() + STORE_RETRY * (1 << row.postponed.min(6)), row.postponed + 1);
        Some(Row { due, postponed, end: Some(end), ..row })
    }

    async fn settle_parked(&self, record: &Record, next: Option<Row>) {
        match next {
            None => self.remove(record.position).await,
            Some(row) => {
                // Kept in memory whatever the store says: at worst a restart makes one attempt too many.
                if let Err(error) = self.inner.queue.put(record.position, row.clone(), Entry::Waiting).await {
                    tracing::warn!(consumer = self.inner.settings.id, %error, "a retry is not noted durably");
                    self.inner.queue.again_at(record.position, row);
                }
            }
        }
    }

    async fn remove(&self, position: Position) {
        while let Err(error) = self.inner.queue.remove(position).await {
            tracing::warn!(consumer = self.inner.settings.id, %error, "a finished retry cannot be removed yet");
            tokio::select! {
                () = self.inner.consumers.env.clock.sleep(STORE_RETRY) => {}
                () = self.inner.stopping.cancelled() => return,
            }
        }
    }

    async fn first_attempt(&self, record: &Record) -> Result<(), String> {
        let inner = &self.inner;
        let now = inner.consumers.env.clock.now();
        let row = Row::first(now);
        let mut slot = inner.slots.turn().await.ok_or("the server is stopping")?;
        let mut attempt = {
            let (this, record) = (self.clone(), record.clone());
            async move { this.attempt(&record).await }.boxed()
        };
        let quick = tokio::select! {
            outcome = &mut attempt => Some(outcome),
            () = inner.consumers.env.clock.sleep(GRACE) => None,
        };
        if let Some(outcome) = quick {
            sign(&outcome).into_iter().for_each(|sign| slot.note(sign));
            let Some(row) = self.next(record, row, outcome).await else { return Ok(()) };
            return inner.queue.put(record.position, row, Entry::Waiting).await.map_err(|e| e.to_string());
        }
        if let Err(error) = inner.queue.put(record.position, row.clone(), Entry::Running).await {
            // Not parked, so it stays in the window: its outcome is awaited here.
            tracing::warn!(consumer = inner.settings.id, %error, "a slow attempt cannot be parked");
            let Some(row) = self.next(record, row, attempt.await).await else { return Ok(()) };
            return inner.queue.put(record.position, row, Entry::Waiting).await.map_err(|e| e.to_string());
        }
        let (this, record) = (self.clone(), record.clone());
        inner.group.spawn_infallible(format!("{}/slow", inner.settings.id), async move {
            tokio::select! {
                outcome = attempt => {
                    sign(&outcome).into_iter().for_each(|sign| slot.note(sign));
                    let next = this.next(&record, row, outcome).await;
                    this.settle_parked(&record, next).await;
                }
                () = this.inner.stopping.cancelled() => {}
            }
            drop(slot);
        });
        Ok(())
    }
}

/// What an attempt tells of how much the other side takes.
fn sign(outcome: &Option<Attempted>) -> Option<Sign> {
    match outcome.as_ref()? {
        Attempted::Done | Attempted::Refused(_) => Some(Sign::Taken),
        Attempted::Failed(_) => Some(Sign::Failed),
        Attempted::FailedFor(..) => Some(Sign::TooMany),
        Attempted::Later(_) => None,
    }
}

#[async_trait]
impl<A: Attempt> Handler for Spool<A> {
    async fn handle(&self, batch: &Batch) -> Outcome {
        tokio::select! {
            () = self.inner.queue.room(MAX_PARKED) => {}
            () = self.inner.stopping.cancelled() => return Outcome::Later("the server is stopping".to_owned()),
        }
        for record in batch.records.iter() {
            // After a crash the checkpoint can be behind the queue.
            if self.inner.queue.row(record.position).is_some() {
                continue;
            }
            if let Err(reason) = self.first_attempt(record).await {
                return Outcome::Later(reason);
            }
        }
        Outcome::Done
    }
}
