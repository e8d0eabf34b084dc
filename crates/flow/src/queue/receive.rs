//! Receiving: messages are handed out, and those that were received too often go to the dead-letter queue.
//!
//! Promises: what is answered is durable, so a restart neither shows a message again before its time nor lowers its
//! count; a dead letter leaves its queue and enters the other in one append, so it is always in exactly one of them.
//! Must not know who receives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Position, Timestamp};
use log::{LogError, ReadLimit, Record};
use tokio_util::sync::CancellationToken;

use super::Registry;
use super::attempts::AttemptKey;
use super::change::Change;
use super::handle::Receipt;
use super::live::{Draft, Inner, Letter, Live};
use super::message::Message;
use super::received::Received;
use super::shelf::{Holding, Taken};
use crate::{FlowError, metrics};

/// Messages of one queue that can be with consumers at once ("ReceiveMessage", SQS API Reference).
const MAX_IN_FLIGHT: usize = 120_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Receive {
    /// At most so many messages, 1 to 10.
    pub max: usize,
    /// They are invisible for so long; the queue says when absent.
    pub visibility: Option<Duration>,
    /// How long to wait for a message; the queue says when absent.
    pub wait: Option<Duration>,
    /// Names the attempt, so that it can be repeated (FIFO).
    pub attempt: Option<String>,
    /// Cancelled when whoever asked is gone: what waits for a message then ends, and takes none.
    pub left: CancellationToken,
}

/// What came of a receive.
#[derive(Debug)]
pub(crate) struct Handed {
    /// The messages.
    pub received: Vec<Received>,
    /// They are invisible until then, by the time of the room.
    pub until: Timestamp,
    /// There was another one that its consumer did not admit.
    pub full: bool,
}

impl Handed {
    fn nothing() -> Self {
        Self { received: Vec::new(), until: Timestamp::from_millis(0), full: false }
    }
}

/// Messages on their way to a consumer. Dropped before they are handed to the log, they are put back.
pub(super) struct Taking<'a> {
    live: &'a Live,
    generation: u64,
    taken: Vec<Taken>,
}

impl<'a> Taking<'a> {
    /// Messages that were just taken from the shelf of this generation.
    pub fn new(live: &'a Live, generation: u64, taken: Vec<Taken>) -> Self {
        Self { live, generation, taken }
    }

    pub fn messages(&self) -> &[Taken] {
        &self.taken
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// They are handed to the log: they are not put back.
    pub fn keep(&mut self) {
        self.taken.clear();
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut inner = self.live.lock();
        if inner.generation == self.generation {
            self.taken.iter().for_each(|taken| inner.shelf.put_back(taken));
            inner.wake_one();
        }
    }
}

/// Receives messages; none when none came in time.
pub(super) async fn receive(live: &Arc<Live>, others: &Registry, ask: &Receive) -> Result<Vec<Received>, FlowError> {
    Ok(receive_while(live, others, ask, |_| true).await?.received)
}

/// The same, but only as long as `admits` says so of each message, in order. The first that it does not want and those
/// behind stay as if nobody had asked for them, dead letters aside.
pub(super) async fn receive_while(
    live: &Arc<Live>,
    others: &Registry,
    ask: &Receive,
    mut admits: impl FnMut(&Received) -> bool + Send,
) -> Result<Handed, FlowError> {
    let clock = Arc::clone(&live.shared.env.clock);
    let queue_wait = Duration::from_secs(live.info().attributes.wait_s.into());
    let wait = ask.wait.unwrap_or(queue_wait);
    let deadline = clock.instant() + wait;
    if let Some(again) = repeat(live, ask).await? {
        return Ok(Handed { received: again, ..Handed::nothing() });
    }
    loop {
        live.ready().await?;
        let left = deadline.saturating_sub(clock.instant());
        let (taking, waiting) = {
            let mut inner = live.lock();
            if !inner.open {
                continue;
            }
            let taking = take(live, &mut inner, ask, !wait.is_zero())?;
            let waiting = (taking.taken.is_empty() && !left.is_zero()).then(|| live.wait(&mut inner));
            (taking, waiting)
        };
        if let Some(mut waiting) = waiting {
            // Whoever is gone takes nothing, though there be something now.
            tokio::select! {
                biased;
                () = ask.left.cancelled() => return Ok(Handed::nothing()),
                () = waiting.told() => {}
                () = clock.sleep(left) => {}
                () = live.stopping.cancelled() => return Ok(Handed::nothing()),
                () = live.shared.no_waiting.cancelled() => return Ok(Handed::nothing()),
            }
            continue;
        }
        if taking.taken.is_empty() {
            return Ok(Handed::nothing());
        }
        let handed = hand_out(live, others, ask, taking, &mut admits).await?;
        if !handed.received.is_empty() {
            metrics::queue_received(live.arn.resource(), handed.received.len());
        }
        if !handed.received.is_empty() || handed.full {
            return Ok(handed);
        }
    }
}

fn take<'a>(live: &'a Live, inner: &mut Inner, ask: &Receive, waits: bool) -> Result<Taking<'a>, FlowError> {
    let generation = inner.generation;
    live.pass(inner);
    let room = MAX_IN_FLIGHT.saturating_sub(inner.shelf.counts().in_flight);
    if room == 0 && live.info().attributes.fifo.is_none() && !waits {
        let message = format!("{} has {MAX_IN_FLIGHT} messages in flight; delete some first", live.arn);
        return Err(FlowError::LimitExceeded(message));
    }
    let taken = if inner.purging > 0 { Vec::new() } else { inner.shelf.take(ask.max.min(room)) };
    if !taken.is_empty() {
        inner.wake_one();
    }
    Ok(Taking::new(live, generation, taken))
}

/// What becomes of a message that was taken, unless it is deleted before that is decided.
enum Way {
    Out(Received),
    Dead(Letter),
}

/// Makes durable that messages are handed out, or that they are dead letters now.
async fn hand_out(
    live: &Arc<Live>,
    others: &Registry,
    ask: &Receive,
    mut taking: Taking<'_>,
    admits: &mut (impl FnMut(&Received) -> bool + Send),
) -> Result<Handed, FlowError> {
    let info = live.info();
    let bodies = read(live, &taking.taken, taking.generation).await?;
    let now = live.shared.now();
    let until = now + ask.visibility.unwrap_or(Duration::from_secs(info.attributes.visibility_s.into()));
    let mut ways = ways(live, others, &taking, bodies, now)?;
    let admitted = ways.iter().position(|(_, way)| matches!(way, Way::Out(one) if !admits(one))).unwrap_or(ways.len());
    let refused = ways.split_off(admitted);
    let full = !refused.is_empty();
    let (mut draft, mut changes, mut received, mut dead) = (Draft::default(), Vec::new(), Vec::new(), Vec::new());
    let underway = {
        let mut inner = live.lock();
        if !inner.open || inner.generation != taking.generation || inner.purging > 0 {
            return Ok(Handed::nothing());
        }
        // What was deleted while its body was read is not handed out, nor does it go elsewhere.
        for (taken, way) in ways.into_iter().filter(|(taken, _)| inner.shelf.is_taken(taken)) {
            let message = taken.message;
            match way {
                Way::Out(one) => {
                    changes.push(Change::Received { message, receives: one.receives, at: now, until });
                    received.push(one);
                }
                Way::Dead(letter) => {
                    draft.elsewhere(letter)?;
                    changes.push(Change::Deleted { message });
                    dead.push(message);
                }
            }
        }
        if changes.is_empty() {
            return Ok(Handed { received, until, full });
        }
        draft.changes(live, changes)?;
        let underway = live.begin(&inner, draft)?;
        taking.keep();
        refused.iter().for_each(|(taken, _)| inner.shelf.put_back(taken));
        dead.iter().for_each(|message| inner.shelf.leave(*message));
        if let Some(id) = ask.attempt.as_deref().filter(|_| !received.is_empty()) {
            let receipts = received.iter().map(|r| Receipt { message: r.sequence, receives: r.receives });
            inner.attempts.note(AttemptKey::of(id), receipts.collect(), now);
        }
        if full {
            inner.wake_one();
        }
        underway
    };
    drop(taking);
    underway.done().await?;
    metrics::queue_dead_letters(live.arn.resource(), dead.len());
    Ok(Handed { received, until, full })
}

/// Where each message goes: to the consumer, or, after as many receives in this queue as its policy says, to the
/// dead-letter queue.
fn ways(
    live: &Arc<Live>,
    others: &Registry,
    taking: &Taking<'_>,
    mut bodies: BTreeMap<Position, Message>,
    now: Timestamp,
) -> Result<Vec<(Taken, Way)>, FlowError> {
    let info = live.info();
    let dead_letters = info.attributes.redrive.as_ref().and_then(|redrive| {
        let queue = others.of_arn(&redrive.target).filter(|queue| queue.stream != live.stream)?;
        queue.info().attributes.admits(&live.arn).then_some((queue, redrive.max_receives))
    });
    let mut ways = Vec::with_capacity(taking.taken.len());
    for taken in taking.taken.iter().copied() {
        let Taken { message: at, sent, receives, first_received, .. } = taken;
        let Some(message) = bodies.remove(&at) else { continue };
        let received_here = receives.saturating_sub(message.head.receives);
        if let Some((queue, _)) = dead_letters.as_ref().filter(|(_, max)| received_here >= *max) {
            let letter = dead_letter(live, message, (sent, receives, first_received));
            ways.push((taken, Way::Dead(Letter::new(Arc::clone(queue), letter)?)));
            continue;
        }
        let (receives, first_received) = (receives + 1, first_received.unwrap_or(now));
        let handle = live.shared.handles.write(live.stream, Receipt { message: at, receives });
        let received = Received { message, handle, sequence: at, sent, receives, first_received };
        ways.push((taken, Way::Out(received)));
    }
    Ok(ways)
}

/// A message as it enters a dead-letter queue. In a standard queue it is as old as it was ("Using dead-letter queues in
/// Amazon SQS", Developer Guide).
fn dead_letter(live: &Live, message: Message, was: (Timestamp, u32, Option<Timestamp>)) -> Message {
    let (sent, receives, first_received) = was;
    let mut letter = message;
    letter.head.sent = live.info().attributes.fifo.is_none().then_some(sent);
    letter.head.source = Some(live.arn.clone());
    (letter.head.receives, letter.head.first_received, letter.head.delay_ms) = (receives, first_received, 0);
    letter.head.moved = false;
    letter
}

/// The bodies of messages. What cannot be read is lost, and is taken off the shelf of this generation.
pub(super) async fn read(
    live: &Live,
    taken: &[Taken],
    generation: u64,
) -> Result<BTreeMap<Position, Message>, FlowError> {
    read_at(live, taken.iter().map(|taken| taken.message).collect(), generation).await
}

async fn read_at(
    live: &Live,
    mut positions: Vec<Position>,
    generation: u64,
) -> Result<BTreeMap<Position, Message>, FlowError> {
    positions.sort_unstable();
    let (mut bodies, mut lost) = (BTreeMap::new(), Vec::new());
    let limit = if positions.len() == 1 { 1 } else { 2 * positions.len() };
    for position in &positions {
        if bodies.contains_key(position) {
            continue;
        }
        let read = live.shared.log.read(live.slot, *position, ReadLimit { records: limit, bytes: 2 << 20 }).await;
        let records: Vec<Record> = match read {
            Ok(slice) => slice.records,
            Err(LogError::Corrupt { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for record in records.into_iter().filter(|record| positions.binary_search(&record.position).is_ok()) {
            match Message::decode(&record.data) {
                Ok(message) => drop(bodies.insert(record.position, message)),
                Err(what) => {
                    tracing::error!(queue = %live.arn, position = %record.position, what, "a message cannot be read")
                }
            }
        }
        if !bodies.contains_key(position) {
            lost.push(*position);
        }
    }
    if !lost.is_empty() {
        let mut inner = live.lock();
        for message in lost {
            metrics::queue_lost(live.arn.resource());
            tracing::error!(queue = %live.arn, position = %message, "a message's record is damaged or gone; it is given up");
            if inner.generation == generation {
                inner.shelf.remove(message);
            }
        }
    }
    Ok(bodies)
}

/// What an earlier attempt of this id got, as long as all of it is still held as it was, for as long again.
async fn repeat(live: &Arc<Live>, ask: &Receive) -> Result<Option<Vec<Received>>, FlowError> {
    let Some(id) = ask.attempt.as_deref().map(AttemptKey::of) else { return Ok(None) };
    let visible_s = live.info().attributes.visibility_s;
    let visibility = ask.visibility.unwrap_or(Duration::from_secs(visible_s.into()));
    let changed = live.change(|inner| {
        live.pass(inner);
        let now = live.shared.now();
        let receipts = inner.attempts.before(id, now).unwrap_or_default();
        let held = |r: &Receipt| inner.shelf.holding(r.message, r.receives) == Holding::Held;
        if receipts.is_empty() || !receipts.iter().all(held) {
            return Ok((None, None));
        }
        let deferred =
            |r: &Receipt| Change::Deferred { message: r.message, receives: r.receives, until: now + visibility };
        let changes: Vec<_> = receipts.iter().map(deferred).collect();
        let mut draft = Draft::default();
        draft.changes(live, changes.clone())?;
        let underway = live.begin(inner, draft)?;
        // At once, so that nothing becomes visible before that is durable.
        let at = inner.applied_to;
        changes.into_iter().for_each(|change| inner.shelf.apply(change, at));
        let facts = receipts.iter().filter_map(|receipt| {
            let (_, first_received) = inner.shelf.received(receipt.message)?;
            Some((*receipt, inner.shelf.sent(receipt.message)?, first_received))
        });
        Ok((Some(underway), Some((facts.collect::<Vec<_>>(), inner.generation))))
    });
    let (_, Some((facts, generation))) = changed.await? else { return Ok(None) };
    let positions = facts.iter().map(|(receipt, ..)| receipt.message).collect();
    let mut bodies = read_at(live, positions, generation).await?;
    let again = facts.into_iter().filter_map(|(receipt, sent, first_received)| {
        Some(Received {
            message: bodies.remove(&receipt.message)?,
            handle: live.shared.handles.write(live.stream, receipt),
            sequence: receipt.message,
            sent,
            receives: receipt.receives,
            first_received: first_received.unwrap_or(sent),
        })
    });
    Ok(Some(again.collect()))
}
