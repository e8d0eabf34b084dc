//! The shell around [`super::step`]: reads, waits, calls the handler, sets checkpoints. Decides nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::{Position, ShardId, StateError, Timestamp};
use futures::future::{BoxFuture, Fuse, FusedFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use log::{Log, LogError, ReadLimit, Shard, ShardRef, Slice, Stream, StreamId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::decision::{Action, DropReason, Input, Now, Outcome, Span};
use super::lineage::readable;
use super::step::ShardState;
use super::{Batch, Consumer, DRAIN, Handler, Loop, ShardLag, Start, Turns};
use crate::checkpoint::{Lane, Place};
use crate::metrics;

/// Why a consumer stopped reading. It is started again by its task group.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
}

/// How often a consumer looks whether shards were forgotten. New ones need no looking: they come only where another
/// ends, which its reader tells.
const SWEEP: Duration = Duration::from_secs(600);

/// What a consumer is told from outside.
#[derive(Clone)]
pub(super) struct Word {
    /// It is to end: it begins nothing more, and finishes what its handler holds, however long that takes.
    pub halting: CancellationToken,
    /// All stop: it has no longer than [`DRAIN`] for that.
    pub stopping: CancellationToken,
    /// What waits for its next attempt is to be tried at once.
    pub urged: watch::Receiver<()>,
    /// Which shards are its to read.
    pub turns: Turns,
}

/// Reads all shards of the source, each after its parents, until told to end. When one fails, the others finish what
/// their handlers hold before the error is told: an append whose caller has gone could meet its own repetition, and a
/// function that is called could be called beside itself.
///
/// A shard that is forgotten while it is read, its last records being past retention, counts as read; what was read of
/// it is handled.
pub(super) async fn run(
    context: Loop,
    consumer: Arc<Consumer>,
    handler: Arc<dyn Handler>,
    word: Word,
) -> Result<(), RunError> {
    let (mut running, mut ended) = (BTreeSet::new(), BTreeSet::new());
    let mut shards = FuturesUnordered::new();
    let mut stream: Option<StreamId> = None;
    let word = Word { halting: word.halting.child_token(), ..word };
    let (halting, mut failure) = (word.halting.clone(), None);
    let mut swept = None;
    loop {
        if halting.is_cancelled() && shards.is_empty() {
            return failure.map_or(Ok(()), Err);
        }
        if !halting.is_cancelled() {
            let snapshot = match context.log.stream(&consumer.source) {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    failure = Some(error.into());
                    halting.cancel();
                    continue;
                }
            };
            if stream.replace(snapshot.id).is_some_and(|id| id != snapshot.id) {
                // Deleted and created again under its name: another stream, read from its own start.
                ended.clear();
            }
            let listed: BTreeSet<ShardId> = snapshot.shards.iter().map(|shard| shard.id).collect();
            ended.retain(|shard| listed.contains(shard));
            let listed = (snapshot.id, listed);
            if swept.as_ref() != Some(&listed) {
                match context.checkpoints.sweep(&consumer.id, listed.0, &listed.1).await {
                    Ok(()) => swept = Some(listed),
                    // Rows that stay are swept at the next look.
                    Err(error) => tracing::warn!(consumer = consumer.id, %error, "old checkpoints cannot be removed"),
                }
            }
            for shard in next_shards(&snapshot, &running, &ended) {
                running.insert(shard.id);
                let all = (context.clone(), Arc::clone(&consumer), Arc::clone(&handler));
                shards.push(read_shard(all, snapshot.id, shard.clone(), word.clone()));
            }
        }
        tokio::select! {
            Some((shard, result)) = shards.next(), if !shards.is_empty() => match result {
                Ok(()) => {
                    running.remove(&shard);
                    ended.insert(shard);
                }
                Err(error) => {
                    failure.get_or_insert(error);
                    halting.cancel();
                }
            },
            () = context.env.clock.sleep(SWEEP), if !halting.is_cancelled() => {}
            // With shards under way, they end by themselves.
            () = halting.cancelled(), if shards.is_empty() => {}
        }
    }
}

/// Reads a shard in all its lanes, once nobody else of this consumer's name has anything of it or of its parents in
/// hand: a predecessor may still wait for its handler.
async fn read_shard(
    (context, consumer, handler): (Loop, Arc<Consumer>, Arc<dyn Handler>),
    stream: StreamId,
    shard: Shard,
    word: Word,
) -> (ShardId, Result<(), RunError>) {
    let id = shard.id;
    for parent in &shard.parents {
        let of_parent = word.turns.of(stream, *parent);
        if word.halting.run_until_cancelled(of_parent.lock()).await.is_none() {
            return (id, Ok(()));
        }
    }
    let turn = word.turns.of(stream, id);
    let Some(_turn) = word.halting.run_until_cancelled(turn.lock()).await else { return (id, Ok(())) };
    let readers = match readers(&context, &consumer, &handler, stream, &shard).await {
        Ok(readers) => readers,
        Err(error) => return (id, Err(error)),
    };
    let mut lanes: FuturesUnordered<_> = readers.into_iter().map(|reader| reader.run(word.clone())).collect();
    let mut result = Ok(());
    while let Some(ended) = lanes.next().await {
        if let Err(error) = ended {
            word.halting.cancel();
            result = result.and(Err(error));
        }
    }
    (id, result)
}

fn next_shards<'a>(stream: &'a Stream, running: &BTreeSet<ShardId>, ended: &BTreeSet<ShardId>) -> Vec<&'a Shard> {
    let lineage = stream.shards.iter().map(|s| (s.id, s.parents.as_slice()));
    let ids: BTreeSet<ShardId> = readable(lineage, running, ended).into_iter().collect();
    stream.shards.iter().filter(|s| ids.contains(&s.id)).collect()
}

/// What became of a batch.
enum Ended {
    Handled { flight: u64, records: usize, outcome: Outcome },
    PutAway { flight: u64, records: Arc<[log::Record]>, why: DropReason, result: Result<(), String> },
}

/// A reader for each lane of a shard, each from its place on.
async fn readers(
    context: &Loop,
    consumer: &Arc<Consumer>,
    handler: &Arc<dyn Handler>,
    stream: StreamId,
    shard: &Shard,
) -> Result<Vec<Reader>, RunError> {
    let start = match consumer.start {
        Start::At(position) => position,
        Start::TrimHorizon => Position::ZERO,
    };
    let of = consumer.policy.lanes.max(1);
    let places = context.checkpoints.lanes(&consumer.id, stream, shard.id, of, start).await?;
    handler.resume(shard.id, places.iter().find_map(|place| place.window.as_ref()));
    let lanes = (0..of).map(|index| Lane { index, of });
    let reader = |(lane, place): (Lane, Place)| {
        // A bus's start moves on with its rules, so the later of both counts.
        let from = place.next.max(start);
        let window = place.window.as_ref().map(|window| Span { start: window.start, end: window.end });
        Reader {
            context: context.clone(),
            consumer: Arc::clone(consumer),
            handler: Arc::clone(handler),
            stream,
            shard: shard.id,
            lane,
            slot: shard.slot,
            lag: context.lag.enter(&consumer.id, shard.id, lane),
            state: ShardState::new(consumer.policy.clone(), from, window),
            place: Arc::new(place),
        }
    };
    Ok(lanes.zip(places).map(reader).collect())
}

struct Reader {
    context: Loop,
    consumer: Arc<Consumer>,
    handler: Arc<dyn Handler>,
    stream: StreamId,
    shard: ShardId,
    lane: Lane,
    slot: ShardRef,
    lag: ShardLag,
    state: ShardState,
    /// The last place that was set.
    place: Arc<Place>,
}

impl Reader {
    /// Until the shard is read to its end or the consumer ends.
    async fn run(mut self, mut word: Word) -> Result<(), RunError> {
        let mut reading: Fuse<BoxFuture<'static, Result<Slice, LogError>>> = Fuse::terminated();
        let mut flights: FuturesUnordered<BoxFuture<'static, Ended>> = FuturesUnordered::new();
        let mut timer: Fuse<BoxFuture<'static, ()>> = Fuse::terminated();
        let mut timer_at = None;
        let mut deadline: Fuse<BoxFuture<'static, ()>> = Fuse::terminated();
        let (mut input, mut failure, mut told) = (Input::Tick, None, false);
        word.urged.mark_unchanged();
        loop {
            let actions = self.step(input);
            self.lag.set(self.state.oldest());
            for action in actions {
                match action {
                    Action::Read { from, limit } => reading = self.read(from, limit).boxed().fuse(),
                    Action::Deliver { flight, records, attempt, window } => {
                        flights.push(self.deliver(flight, self.batch(records, attempt, window)));
                    }
                    Action::GiveUp { flight, records, attempts, window, why } => {
                        flights.push(self.give_up(flight, self.batch(records, attempts, window), why));
                    }
                    Action::Commit(next) => self.commit(next),
                    Action::End => return failure.map_or(Ok(()), Err),
                }
            }
            let wake_at = self.state.wake_at(self.now());
            if wake_at != timer_at {
                timer_at = wake_at;
                timer = wake_at.map_or_else(Fuse::terminated, |at| {
                    let clock = &self.context.env.clock;
                    clock.sleep(at.saturating_sub(clock.instant())).fuse()
                });
            }
            input = tokio::select! {
                biased;
                Some(ended) = flights.next() => self.ended(ended),
                () = word.stopping.cancelled(), if deadline.is_terminated() => {
                    deadline = self.context.env.clock.sleep(DRAIN).fuse();
                    Input::Stop
                }
                () = word.halting.cancelled(), if !told => {
                    told = true;
                    Input::Stop
                }
                Ok(()) = word.urged.changed() => Input::Urge,
                slice = &mut reading => match slice {
                    Ok(slice) => Input::Read(slice),
                    Err(LogError::ShardNotFound(_)) if self.is_forgotten() => {
                        let (consumer, shard) = (&self.consumer.id, self.shard);
                        tracing::warn!(consumer, %shard, "a shard was forgotten before it was read to its end");
                        Input::Gone
                    }
                    Err(error) => {
                        failure = Some(error.into());
                        Input::Stop
                    }
                },
                () = &mut timer => {
                    timer_at = None;
                    Input::Tick
                }
                () = &mut deadline => return failure.map_or(Ok(()), Err),
            };
        }
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let now = self.now();
        self.state.keep_for(self.handler.readable());
        self.state.step(now, &*self.context.env.rng, input)
    }

    fn now(&self) -> Now {
        let Loop { env, log, .. } = &self.context;
        let (believed, wall, instant) = (log.believed_time(), env.clock.now(), env.clock.instant());
        // In this order: what comes in between arrived later.
        let settled = self.tumbles().then(|| log.settled());
        let all_read = |_: &Timestamp| log.tail(self.slot).is_ok_and(|tail| tail.next <= self.state.next());
        Now { believed, wall, instant, settled: settled.filter(all_read) }
    }

    fn tumbles(&self) -> bool {
        self.consumer.policy.tumble.is_some()
    }

    /// Everything before `next` is dealt with, and this is the window that is open there.
    fn commit(&mut self, next: Position) {
        let window = (self.lane.index == 0).then(|| self.handler.window(self.shard)).flatten();
        self.place = Arc::new(self.place.moved(next, window));
        let place = Place::clone(&self.place);
        self.context.checkpoints.set(&self.consumer.id, self.stream, self.shard, self.lane, place);
    }

    /// Whether the stream is still there and does not list the shard any more.
    fn is_forgotten(&self) -> bool {
        let now = self.context.log.stream(&self.consumer.source);
        now.is_ok_and(|now| now.id == self.stream && now.shards.iter().all(|listed| listed.id != self.shard))
    }

    fn read(&self, from: Position, limit: ReadLimit) -> impl Future<Output = Result<Slice, LogError>> + Send + use<> {
        let (log, slot, id) = (self.context.log.clone(), self.slot, self.consumer.id.clone());
        let (lane, place, tumbles) = (self.lane, Arc::clone(&self.place), self.tumbles());
        async move {
            let mut from = from;
            loop {
                let slice = match lane.of {
                    1 => read_on(&log, slot, from, limit, &id).await?,
                    _ => read_lane(&log, slot, from, limit, &id, lane).await?,
                };
                // Of what other lanes have, the place is told as well; and how far a window can be complete.
                let tells = (lane.of > 1 || tumbles) && slice.next > from;
                if !slice.records.is_empty() || slice.at_end || tells {
                    return Ok(without(slice, &place));
                }
                from = slice.next;
                log.wait(slot, from).await?;
            }
        }
    }

    fn batch(&self, records: Arc<[log::Record]>, attempt: u32, window: Option<(Span, bool)>) -> Batch {
        let Self { stream, shard, slot, lane, .. } = *self;
        Batch { stream, shard, slot, lane, records, attempt, window }
    }

    fn deliver(&self, flight: u64, batch: Batch) -> BoxFuture<'static, Ended> {
        let handler = Arc::clone(&self.handler);
        async move {
            let outcome = handler.handle(&batch).await;
            Ended::Handled { flight, records: batch.records.len(), outcome }
        }
        .boxed()
    }

    fn give_up(&self, flight: u64, batch: Batch, why: DropReason) -> BoxFuture<'static, Ended> {
        let handler = Arc::clone(&self.handler);
        async move {
            let result = handler.give_up(&batch, &why).await;
            Ended::PutAway { flight, records: batch.records, why, result }
        }
        .boxed()
    }

    fn ended(&self, ended: Ended) -> Input {
        match ended {
            Ended::Handled { flight, records, outcome } => {
                self.note(records, &outcome);
                Input::Finished { flight, outcome }
            }
            Ended::PutAway { flight, records, why, result } => {
                match &result {
                    Ok(()) => self.report(&records, &why),
                    Err(reason) => {
                        let (consumer, shard, count) = (&self.consumer.id, self.shard, records.len());
                        tracing::warn!(consumer, %shard, count, reason, "what is given up cannot be put away yet");
                    }
                }
                Input::PutAway { flight, result }
            }
        }
    }

    fn note(&self, records: usize, outcome: &Outcome) {
        let (consumer, shard) = (&self.consumer.id, self.shard);
        match outcome {
            Outcome::Done => metrics::handled(consumer, records),
            Outcome::Later(reason) => {
                metrics::retried(consumer, "later");
                tracing::warn!(consumer, %shard, records, reason, "a batch is put off");
            }
            Outcome::Failed { reason, .. } => {
                metrics::retried(consumer, "failed");
                tracing::warn!(consumer, %shard, records, reason, "a batch failed");
            }
            Outcome::Refused(_) => {}
        }
    }

    fn report(&self, records: &[log::Record], why: &DropReason) {
        let label = match why {
            DropReason::Expired => "expired",
            DropReason::Attempts(_) => "attempts",
            DropReason::Refused(_) => "refused",
        };
        metrics::dropped(&self.consumer.id, label, records.len());
        let (first, last) = (records.first().map(|r| r.position), records.last().map(|r| r.position));
        let (consumer, shard, count) = (&self.consumer.id, self.shard, records.len());
        tracing::error!(consumer, %shard, count, ?first, ?last, ?why, "records were given up");
    }
}

/// Reads; steps over records that the log knows to be corrupt, never in silence.
async fn read_on(log: &Log, slot: ShardRef, from: Position, limit: ReadLimit, id: &str) -> Result<Slice, LogError> {
    let mut from = from;
    loop {
        match log.read(slot, from, limit).await {
            Ok(slice) => {
                tell_missed(&slice, from, id);
                return Ok(slice);
            }
            Err(error @ LogError::Corrupt { .. }) => {
                let LogError::Corrupt { last, .. } = &error else { return Err(error) };
                let next = last.next().max(from.next());
                metrics::dropped(id, "corrupt", 1);
                tracing::error!(consumer = id, %error, "corrupt records are left out");
                from = next;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Nothing goes in silence: who stood at a position had a right to what was there. From the start on there is none.
fn tell_missed(slice: &Slice, from: Position, id: &str) {
    if from == Position::ZERO || slice.missed.is_nothing() {
        return;
    }
    metrics::dropped(id, "retention", usize::try_from(slice.missed.records).unwrap_or(usize::MAX));
    let (records, perhaps_more, next) = (slice.missed.records, slice.missed.deleted, slice.next);
    tracing::error!(consumer = id, records, perhaps_more, %from, %next, "retention took records before they were read");
}

/// Reads what a lane has: on and on while others have it all, until there is enough or nothing more.
async fn read_lane(
    log: &Log,
    slot: ShardRef,
    from: Position,
    limit: ReadLimit,
    id: &str,
    lane: Lane,
) -> Result<Slice, LogError> {
    let (mut all, mut bytes) = (Slice { next: from, ..Slice::default() }, 0);
    loop {
        let slice = read_on(log, slot, all.next, limit, id).await?;
        let nothing = slice.records.is_empty();
        (all.next, all.at_end) = (slice.next, slice.at_end);
        let own = slice.records.into_iter().filter(|record| lane.has(&record.partition_key));
        all.records.extend(own.inspect(|record| bytes += record.data.len()));
        if nothing || all.at_end || all.records.len() >= limit.records || bytes >= limit.bytes {
            return Ok(all);
        }
    }
}

/// What is left when a former lane has dealt with some of it.
fn without(mut slice: Slice, place: &Place) -> Slice {
    if !place.before.is_empty() {
        slice.records.retain(|record| !place.was_done(&record.partition_key, record.position));
    }
    slice
}
