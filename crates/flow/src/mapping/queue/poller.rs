//! Receives a mapping's messages in batches, calls the function with them and deletes what it dealt with.
//!
//! One gatherer fills one batch after the other; as many as the [pace](super::pace) allows are under way. Decides
//! nothing that could be decided in the modules beside it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Arn, Env, Invocation, Invoke, QueueName, RetryPolicy, Scope};
use bytes::Bytes;
use futures::future::{BoxFuture, Fuse, FusedFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use rules::{Engine, Event, Scratch};
use tokio_util::sync::CancellationToken;

use super::answer::failures;
use super::batch::Batch;
use super::elsewhere::Elsewhere;
use super::event::{Surroundings, for_filter, payload, weigh};
use super::pace::{Pace, Sign};
use crate::consumer::DRAIN;
use crate::mapping::counts::{EventCount, EventCounts};
use crate::mapping::handler::engine;
use crate::mapping::permissions::Permissions;
use crate::mapping::settings::Mapping;
use crate::mapping::stuck::Progress;
use crate::mapping::{MAX_PAYLOAD, MappingPorts, consumer_id};
use crate::queue::{Queues, Receive, Received, Settled, queue_of};
use crate::{FlowError, metrics};

/// Messages received at once.
const CHUNK: usize = 1_000;
/// How long the first message of a batch is waited for before it is asked for again.
const LONG: Duration = Duration::from_secs(86_400);
/// A message that was received less than this ago is as good as new.
const FRESH: Duration = Duration::from_secs(1);
/// A batch that cannot be deleted is tried again so often.
const DELETIONS: u32 = 8;

/// Between attempts, when the queue or the function cannot be reached.
const AGAIN: RetryPolicy = RetryPolicy {
    first_delay: Duration::from_millis(200),
    max_delay: Duration::from_secs(10),
    max_attempts: None,
    max_age: None,
};

/// How a call ended.
enum Called {
    Done(Bytes),
    Failed(String),
    Later(String),
}

/// What a poller is told from outside, and tells.
pub(super) struct Word {
    /// It is to begin nothing more, and to finish what is under way, however long that takes.
    pub halting: CancellationToken,
    /// All stop: it has a few seconds for that.
    pub stopping: CancellationToken,
    /// Cancelled by it when all that it has is with the function.
    pub release: CancellationToken,
}

/// See the module.
pub(super) struct Poller {
    /// Names it in metrics and the log.
    id: String,
    scope: Scope,
    name: QueueName,
    around: Surroundings,
    function: Arn,
    size: usize,
    window: Duration,
    /// `None` lets everything through.
    filters: Option<Engine<usize>>,
    report_item_failures: bool,
    pace: Mutex<Pace>,
    /// Batches that the function has now.
    calling: AtomicUsize,
    elsewhere: Arc<Elsewhere>,
    last: Arc<Progress>,
    counts: EventCounts,
    permissions: Permissions,
    env: Env,
    queues: Queues,
    invoke: Arc<dyn Invoke>,
}

impl Poller {
    pub fn new(
        scope: &Scope,
        mapping: &Mapping,
        ports: &MappingPorts,
        last: Arc<Progress>,
        elsewhere: Arc<Elsewhere>,
    ) -> Result<Self, FlowError> {
        let unknown = || FlowError::Invalid(format!("Unrecognized event source: {}", mapping.source));
        let (_, name) = queue_of(&mapping.source).ok_or_else(unknown)?;
        Ok(Self {
            id: consumer_id(&mapping.id),
            scope: scope.clone(),
            around: Surroundings {
                queue: mapping.source.clone(),
                region: scope.region.clone(),
                // A queue is what its name says.
                fifo: name.as_str().ends_with(".fifo"),
            },
            name,
            function: mapping.function.clone(),
            size: mapping.batch_size as usize,
            window: Duration::from_secs(mapping.window_secs.into()),
            filters: engine(&mapping.filters)?,
            report_item_failures: mapping.report_item_failures,
            pace: Mutex::new(Pace::new(mapping.max_concurrency)),
            calling: AtomicUsize::new(0),
            elsewhere,
            last,
            counts: EventCounts::new(mapping),
            permissions: Permissions::new(mapping, ports),
            env: ports.consumers.env.clone(),
            queues: ports.queues.clone(),
            invoke: Arc::clone(&ports.invoke),
        })
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until it is told to end, and what is under way then has ended.
    pub async fn run(self: Arc<Self>, word: Word) {
        let mut gathering: Fuse<BoxFuture<'static, Batch>> = Fuse::terminated();
        let mut under_way: FuturesUnordered<BoxFuture<'static, Sign>> = FuturesUnordered::new();
        let start = |batch: Batch| {
            let (this, halting) = (Arc::clone(&self), word.halting.clone());
            async move { this.handle(batch, &halting).await }.boxed()
        };
        while !word.halting.is_cancelled() {
            if gathering.is_terminated() && under_way.len() + self.elsewhere.count() < self.pace().allows() {
                let (this, halting) = (Arc::clone(&self), word.halting.clone());
                gathering = async move { this.gather(&halting).await }.boxed().fuse();
            }
            tokio::select! {
                biased;
                () = word.halting.cancelled() => {}
                Some(sign) = under_way.next(), if !under_way.is_empty() => {
                    let some_wait = self.queues.has_visible(&self.around.queue);
                    self.pace().note(sign, some_wait);
                }
                batch = &mut gathering => if !batch.is_empty() {
                    under_way.push(start(batch));
                },
                () = self.elsewhere.one_ended(), if gathering.is_terminated() => {}
            }
        }
        let rest = async {
            if !gathering.is_terminated() {
                self.release(gathering.await).await;
            }
            // What the function has not been called with is given back before a successor looks.
            while under_way.len() > self.calling.load(Ordering::Relaxed) {
                under_way.next().await;
            }
            self.elsewhere.add(under_way.len());
            word.release.cancel();
            while under_way.next().await.is_some() {
                self.elsewhere.end_one();
            }
        };
        let deadline = async {
            word.stopping.cancelled().await;
            self.env.clock.sleep(DRAIN).await;
        };
        tokio::select! {
            () = rest => {}
            () = deadline => {
                tracing::warn!(consumer = self.id, "a function did not end in time; its messages become visible again");
            }
        }
    }

    /// Receives until the batch is full, its time is up or nothing more is wanted.
    async fn gather(&self, stopping: &CancellationToken) -> Batch {
        let (clock, mut batch) = (&self.env.clock, Batch::new());
        let (mut deadline, mut failures) = (None, 0);
        loop {
            let now = clock.instant();
            let left = deadline.map_or(LONG, |at: Duration| at.saturating_sub(now));
            if batch.messages.len() >= self.size || left.is_zero() || stopping.is_cancelled() {
                return batch;
            }
            let wait = self.hold(&mut batch, left).await;
            let received = match self.permissions.read() {
                Ok(()) => self.receive(&mut batch, wait, stopping).await,
                Err(denial) => Err(FlowError::Denied(denial.message)),
            };
            match received {
                Ok(true) => return batch,
                Ok(false) if batch.is_empty() => {
                    // All of them may have gone while they were waited for; and without a queue nothing is waited for.
                    deadline = None;
                    if clock.instant().saturating_sub(now) < wait {
                        self.pause(FRESH, stopping).await;
                    }
                }
                Ok(false) => deadline = deadline.or(Some(clock.instant() + self.window)),
                Err(_) if !batch.is_empty() => return batch,
                Err(error) => {
                    failures += 1;
                    metrics::retried(&self.id, "later");
                    tracing::warn!(consumer = self.id, %error, failures, "messages cannot be received; it is tried again");
                    self.last.set(format!("PROBLEM: {error}"));
                    self.pause(self.delay(failures), stopping).await;
                }
            }
        }
    }

    /// Takes into the batch what there is, or comes within a time. Whether the payload is full.
    async fn receive(&self, batch: &mut Batch, wait: Duration, left: &CancellationToken) -> Result<bool, FlowError> {
        let ask = Receive {
            max: (self.size - batch.messages.len()).min(CHUNK),
            wait: Some(wait),
            left: left.clone(),
            ..Receive::default()
        };
        let (mut taken, room) = (0, MAX_PAYLOAD.saturating_sub(batch.bytes));
        let mut first = batch.is_empty();
        let handed = self.queues.receive_while(&self.around.queue, &ask, |one| {
            let weight = weigh(&self.around, one);
            // It may have been long ago that a first message began to be waited for.
            let admitted = match std::mem::take(&mut first) {
                // One that is too long for any event is handed over alone: the call says what is wrong with it.
                true => self.permissions.look().is_ok(),
                false => taken + weight <= room,
            };
            taken += if admitted { weight } else { 0 };
            admitted
        });
        let handed = handed.await?;
        self.counts.add(EventCount::Polled, handed.received.len());
        let full = handed.full;
        batch.take(handed, taken);
        Ok(full)
    }

    /// Keeps what was gathered invisible; for how long more can be waited for, `left` at most.
    async fn hold(&self, batch: &mut Batch, left: Duration) -> Duration {
        if batch.is_empty() {
            return left;
        }
        let margin = self.visibility() / 3;
        self.keep(batch, margin).await;
        left.min(batch.until.since(self.queues.now()).saturating_sub(margin)).max(Duration::from_millis(1))
    }

    /// The whole way of a batch.
    async fn handle(&self, mut batch: Batch, stopping: &CancellationToken) -> Sign {
        self.filter(&mut batch).await;
        let mut attempts = 0;
        loop {
            let timeout = self.invoke.timeout(&self.function).await.unwrap_or_default();
            self.keep(&mut batch, timeout.saturating_sub(FRESH)).await;
            let records = batch.messages.len();
            if records == 0 {
                return Sign::Taken;
            }
            if stopping.is_cancelled() {
                self.release(batch).await;
                return Sign::Busy;
            }
            attempts += 1;
            self.calling.fetch_add(1, Ordering::Relaxed);
            let called = self.call(&batch).await;
            self.calling.fetch_sub(1, Ordering::Relaxed);
            match called {
                Called::Done(answer) => {
                    self.wait_to_delete(&mut batch, stopping).await;
                    return self.done(&batch, &answer).await;
                }
                Called::Failed(reason) => return self.failed(records, &reason),
                Called::Later(reason) => {
                    if attempts == 1 {
                        self.pace().note(Sign::Busy, true);
                    }
                    metrics::retried(&self.id, "later");
                    self.counts.add(EventCount::FailedInvoke, records);
                    tracing::warn!(consumer = self.id, records, reason, attempts, "a batch is put off");
                    self.last.set(format!("PROBLEM: {reason}"));
                    // Half the time that they are invisible, so that they can be kept so over the next pause, too.
                    let delay = self.delay(attempts).min(self.visibility() / 2);
                    self.keep(&mut batch, delay + timeout.max(FRESH)).await;
                    self.pause(delay, stopping).await;
                }
            }
        }
    }

    /// Deletes the messages that no filter wants, as the service does, and leaves them out.
    async fn filter(&self, batch: &mut Batch) {
        let Some(filters) = &self.filters else { return };
        let mut scratch = Scratch::default();
        // One that is nested too deep to be looked at is wanted by none.
        let unwanted = batch.without(|one: &Received| {
            for_filter(&self.around, one).is_ok_and(|view| {
                Event::check(&view).is_ok_and(|event| filters.matches(event, &mut scratch).next().is_some())
            })
        });
        drop(scratch);
        if !unwanted.is_empty() {
            self.counts.add(EventCount::FilteredOut, unwanted.len());
            self.delete(unwanted.into_iter().map(|one| one.handle).collect()).await;
        }
    }

    async fn call(&self, batch: &Batch) -> Called {
        let payload = match payload(&self.around, &batch.messages) {
            Ok(payload) => payload,
            Err(error) => return Called::Failed(error.to_string()),
        };
        let call = Invocation {
            function: self.function.clone(),
            payload,
            request_id: None,
            client_context: None,
            want_log: false,
            trace: None,
        };
        match self.invoke.invoke(call).await {
            Err(error) if error.kind == base::ErrorKind::Invalid => Called::Failed(error.message),
            Err(error) => Called::Later(error.message),
            Ok(outcome) => {
                self.counts.add(EventCount::Invoked, batch.messages.len());
                match outcome.failure() {
                    Some(failure) => Called::Failed(failure),
                    None => Called::Done(outcome.payload),
                }
            }
        }
    }

    /// The function answered: what it dealt with is deleted.
    async fn done(&self, batch: &Batch, answer: &[u8]) -> Sign {
        let records = batch.messages.len();
        let ids = batch.messages.iter().map(|one| one.message.head.id.as_str());
        let failed = if self.report_item_failures { failures(answer, ids) } else { Ok(Default::default()) };
        let failed = match failed {
            Ok(failed) => failed,
            Err(reason) => return self.failed(records, &reason),
        };
        let handles = batch.handles_but(&failed);
        metrics::handled(&self.id, handles.len());
        let deleted = self.delete(handles).await;
        self.counts.add(EventCount::Deleted, deleted);
        if failed.is_empty() {
            self.last.set("OK");
            return Sign::Taken;
        }
        self.failed(failed.len(), "the function reported failed items")
    }

    /// They stay in the queue, and become visible when their time is up.
    fn failed(&self, records: usize, reason: &str) -> Sign {
        metrics::retried(&self.id, "failed");
        self.counts.add(EventCount::FailedInvoke, records);
        tracing::warn!(consumer = self.id, records, reason, "a batch failed");
        self.last.set("PROBLEM: Function call failed");
        Sign::Failed
    }

    /// What is dealt with is kept invisible for as long as it may not be deleted, so that it is not handed over again.
    async fn wait_to_delete(&self, batch: &mut Batch, stopping: &CancellationToken) {
        let mut denials = 0;
        while let Err(denial) = self.permissions.delete() {
            denials += 1;
            let messages = batch.messages.len();
            tracing::warn!(consumer = self.id, messages, %denial, denials, "messages that were dealt with are not deleted yet");
            self.last.set(format!("PROBLEM: {denial}"));
            let delay = self.delay(denials).min(self.visibility() / 2).max(AGAIN.first_delay);
            self.keep(batch, delay + FRESH).await;
            if stopping.is_cancelled() || batch.is_empty() {
                return;
            }
            self.pause(delay, stopping).await;
        }
    }

    /// Deletes messages; how many. What cannot be deleted comes back.
    async fn delete(&self, handles: Vec<String>) -> usize {
        let mut failures = 0;
        if handles.is_empty() {
            return 0;
        }
        if let Err(denial) = self.permissions.delete() {
            let messages = handles.len();
            tracing::error!(consumer = self.id, %denial, messages, "messages that were dealt with come back");
            return 0;
        }
        loop {
            match self.queues.settle(&self.scope, &self.name, &handles).await {
                Ok(settled) => {
                    let late = settled.iter().filter(|settled| **settled != Settled::Done).count();
                    if late > 0 {
                        tracing::warn!(
                            consumer = self.id,
                            late,
                            "messages were visible again before the function ended"
                        );
                    }
                    return settled.len() - late;
                }
                Err(error) if failures < DELETIONS => {
                    failures += 1;
                    tracing::warn!(consumer = self.id, %error, failures, "messages cannot be deleted; it is tried again");
                    self.env.clock.sleep(self.delay(failures)).await;
                }
                Err(error) => {
                    let messages = handles.len();
                    tracing::error!(consumer = self.id, %error, messages, "messages that were dealt with come back");
                    return 0;
                }
            }
        }
    }

    fn visibility(&self) -> Duration {
        let seconds = self.queues.get(&self.scope, &self.name).map(|info| info.attributes.visibility_s);
        // Without a queue nothing can be kept.
        Duration::from_secs(seconds.unwrap_or_default().into())
    }

    /// Sees to it that a batch's messages are invisible for so long, as far as the queue hides messages at all. Leaves
    /// out those that are no longer ours.
    async fn keep(&self, batch: &mut Batch, need: Duration) {
        let visibility = self.visibility();
        let now = self.queues.now();
        if batch.is_empty() || batch.until.since(now) >= need.min(visibility) {
            return;
        }
        let asked: Vec<_> = batch.handles().into_iter().map(|handle| (handle, visibility)).collect();
        match self.queues.defer(&self.scope, &self.name, &asked).await {
            Ok(settled) => {
                let lost = batch.kept(now + visibility, &settled);
                if lost > 0 {
                    tracing::warn!(consumer = self.id, lost, "messages of a batch are visible again, or deleted");
                }
            }
            // Then they are handed over as they are: at least once.
            Err(error) => tracing::warn!(consumer = self.id, %error, "messages cannot be kept invisible for longer"),
        }
    }

    /// Makes messages visible again at once.
    async fn release(&self, batch: Batch) {
        let asked: Vec<_> = batch.handles().into_iter().map(|handle| (handle, Duration::ZERO)).collect();
        if asked.is_empty() {
            return;
        }
        if let Err(error) = self.queues.defer(&self.scope, &self.name, &asked).await {
            tracing::warn!(consumer = self.id, %error, "messages become visible again only when their time is up");
        }
    }

    fn delay(&self, failures: u32) -> Duration {
        AGAIN.next_delay(failures, Duration::ZERO, &*self.env.rng).unwrap_or(AGAIN.max_delay)
    }

    async fn pause(&self, time: Duration, stopping: &CancellationToken) {
        tokio::select! {
            () = self.env.clock.sleep(time) => {}
            () = stopping.cancelled() => {}
        }
    }
}
