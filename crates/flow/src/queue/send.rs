//! Sending: messages become records of the queue's log.
//!
//! Owns deduplication ids and the answers to repeated messages. Must not know limits of size or number: those are the
//! service's.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use base::{Delivery, ErrorKind, Kinded, Position, ProducerId, TargetError};
use bytes::Bytes;
use log::{Append, Placed};
use sha2::{Digest, Sha256};

use super::dedup::{self, First, Key};
use super::live::{Draft, Live, Underway};
use super::message::{Head, Message, is_text};
use crate::producer::{into_stream, stable_uuid};
use crate::router::before_append;
use crate::{FlowError, metrics};

/// How long an internal producer, which has others to see to, waits for a queue that is being read from the log.
const PRODUCERS_PATIENCE: Duration = Duration::from_millis(100);

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message's id; of a repeated message, the first one's.
    pub id: String,
    /// Its place in the order of the queue.
    pub sequence: Position,
}

/// An internal producer and where it stands after a batch, if it is one that sends.
type Producer = Option<(ProducerId, Position)>;

/// A message that is ready to be appended.
struct Ready {
    head: Head,
    data: Bytes,
    key: Option<Key>,
}

/// What becomes of a message of a call.
enum Fate {
    /// It is this record of the batch.
    New(usize),
    /// It was sent before.
    Known(Sent),
    /// It is the same as an earlier one of the call.
    Same(usize),
}

/// Sends messages, all or none of them.
pub(super) async fn send(live: &Live, messages: Vec<Message>) -> Result<Vec<Sent>, FlowError> {
    let ready = messages.into_iter().map(|message| prepare(live, message)).collect::<Result<Vec<_>, _>>()?;
    let (placed, fates) = put(live, &ready, None).await.map_err(|unsent| unsent.error)?;
    let mut sent: Vec<Sent> = Vec::with_capacity(fates.len());
    for (fate, message) in fates.into_iter().zip(&ready) {
        sent.push(match fate {
            Fate::New(record) => {
                let sequence = placed.get(record).map_or(Position::ZERO, |placed| placed.position);
                Sent { id: message.head.id.clone(), sequence }
            }
            Fate::Known(sent) => sent,
            Fate::Same(index) => sent[index].clone(),
        });
    }
    Ok(sent)
}

/// Why messages were not sent.
struct Unsent {
    error: FlowError,
    /// Some may be on their way to the disk all the same.
    underway: bool,
}

impl From<FlowError> for Unsent {
    fn from(error: FlowError) -> Self {
        Self { error, underway: false }
    }
}

/// Puts into the log what was not sent before, and waits until it is durable and applied.
async fn put(live: &Live, ready: &[Ready], producer: Producer) -> Result<(Vec<Placed>, Vec<Fate>), Unsent> {
    loop {
        match producer {
            Some(_) => live.ready_within(PRODUCERS_PATIENCE).await?,
            None => live.ready().await?,
        }
        let mut applied = std::pin::pin!(live.applied.notified());
        applied.as_mut().enable();
        let (underway, fates) = match decide(live, ready, producer)? {
            Decision::Closed => continue,
            // What becomes of the other one is known when it is applied.
            Decision::Repeats => {
                applied.await;
                continue;
            }
            Decision::Made(underway, fates) => (underway, fates),
        };
        let placed = match underway {
            Some(underway) => underway.done().await.map_err(|error| Unsent { error, underway: true })?,
            None => Vec::new(),
        };
        metrics::queue_sent(live.arn.resource(), placed.len());
        return Ok((placed, fates));
    }
}

fn prepare(live: &Live, mut message: Message) -> Result<Ready, FlowError> {
    let attributes = &live.info().attributes;
    let mut key = None;
    if let Some(fifo) = attributes.fifo {
        if message.head.dedup.is_none() && fifo.content_based_deduplication {
            message.head.dedup = Some(hex(&Sha256::digest(&message.body)));
        }
        let group = message.head.group.as_deref().filter(|_| fifo.deduplicate_by_group);
        key = message.head.dedup.as_deref().map(|id| dedup::key(group, id));
    }
    let data = message.encode()?;
    Ok(Ready { head: message.head, data, key })
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// What becomes of a call's messages.
enum Decision {
    /// The queue is not open.
    Closed,
    /// One repeats another that is on its way to the disk.
    Repeats,
    /// They are on their way, unless there is nothing new among them.
    Made(Option<Underway>, Vec<Fate>),
}

/// Hands to the log what was not sent before.
fn decide(live: &Live, ready: &[Ready], producer: Producer) -> Result<Decision, FlowError> {
    let (mut draft, mut fates, mut in_call) = (Draft::default(), Vec::with_capacity(ready.len()), HashMap::new());
    let mut inner = live.lock();
    if !inner.open {
        return Ok(Decision::Closed);
    }
    let now = live.shared.now();
    for (index, Ready { head, data, key }) in ready.iter().enumerate() {
        let known = key.and_then(|key| inner.dedup.first(key, now));
        if let Some(earlier) = key.and_then(|key| in_call.get(&key)) {
            fates.push(Fate::Same(*earlier));
            continue;
        }
        match known {
            Some(First::Underway) => return Ok(Decision::Repeats),
            Some(First::Taken(id, sequence)) => fates.push(Fate::Known(Sent { id, sequence })),
            None => {
                fates.push(Fate::New(draft.records.len()));
                draft.message(live, head, data.clone(), *key)?;
            }
        }
        in_call.extend(key.map(|key| (key, index)));
    }
    if draft.records.is_empty() {
        return Ok(Decision::Made(None, fates));
    }
    let keys: Vec<Key> = draft.step.arrivals.iter().filter_map(|(_, _, key)| *key).collect();
    live.shared.memory.admit()?;
    let Draft { records, step } = draft;
    let underway = live.begin_as(&inner, Append { producer, records }, step)?;
    keys.into_iter().for_each(|key| inner.dedup.underway(key, now));
    Ok(Decision::Made(Some(underway), fates))
}

/// Takes what an internal producer has not delivered yet. Each delivery becomes a message whose id is the same at every
/// replay; in a FIFO queue its partition key is its group.
pub(super) async fn deliver(live: &Arc<Live>, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
    let message = |delivery: &Delivery| Ok((delivery.position, from_delivery(live, producer, delivery)?));
    let messages = batch.iter().map(message).collect::<Result<Vec<_>, TargetError>>()?;
    take(live, producer, messages).await
}

/// Takes messages that an internal producer has not delivered yet, by the positions of what they were made of. The
/// queue's own delay is theirs.
pub(super) async fn take(
    live: &Arc<Live>,
    producer: ProducerId,
    messages: Vec<(Position, Message)>,
) -> Result<(), TargetError> {
    /// Bytes of payload in one append: the log refuses batches over 64 MiB.
    const CHUNK_BYTES: usize = 16 << 20;
    let failed = |error: FlowError| TargetError { kind: error.kind(), message: format!("{}: {error}", live.arn) };
    let (into, delay_ms) = (into_stream(producer, live.stream), u64::from(live.info().attributes.delay_s) * 1_000);
    let mut rest = messages.into_iter().peekable();
    while rest.peek().is_some() {
        let (mut ready, mut bytes, mut last) = (Vec::new(), 0, Position::ZERO);
        let done = live.shared.log.producer_position(into);
        // One source record's messages share a position and must not be cut apart.
        while let Some((position, mut message)) = rest.next_if(|(p, _)| bytes < CHUNK_BYTES || *p == last) {
            (bytes, last) = (bytes + message.body.len(), position);
            message.head.delay_ms = delay_ms;
            if done.is_none_or(|done| position > done) {
                ready.push(prepare(live, message).map_err(failed)?);
            }
        }
        if !ready.is_empty() {
            put(live, &ready, Some((into, last))).await.map_err(|Unsent { error, underway }| {
                let error = failed(error);
                let kind = if underway { error.kind } else { before_append(error.kind) };
                TargetError { kind, ..error }
            })?;
        }
    }
    Ok(())
}

/// Up to which position the queue has what an internal producer delivered.
pub(super) fn taken(live: &Live, producer: ProducerId) -> Option<Position> {
    live.shared.log.producer_position(into_stream(producer, live.stream))
}

fn from_delivery(live: &Live, producer: ProducerId, delivery: &Delivery) -> Result<Message, TargetError> {
    let attributes = &live.info().attributes;
    let id = stable_uuid(producer, delivery.position);
    let mut head = Head { id: id.clone(), sender: "tidegate".to_owned(), ..Head::default() };
    head.group = delivery.partition_key.as_ref().map(ToString::to_string);
    if attributes.fifo.is_some_and(|fifo| !fifo.content_based_deduplication) {
        head.dedup = Some(id);
    }
    let message = Message { head, body: delivery.payload.clone() };
    fits(live, &message)?;
    Ok(message)
}

/// Whether the queue takes a message.
pub(super) fn fits(live: &Live, message: &Message) -> Result<(), TargetError> {
    let invalid = |what: &str| TargetError { kind: ErrorKind::Invalid, message: format!("{}: {what}", live.arn) };
    let attributes = &live.info().attributes;
    let own = message.head.attributes.iter().map(|(name, a)| name.len() + a.data_type.len() + a.value.len());
    if message.body.len() + own.sum::<usize>() > attributes.max_message_bytes as usize {
        return Err(invalid(&format!("a message has more than {} bytes", attributes.max_message_bytes)));
    }
    let texts = message.head.attributes.values().filter(|a| !a.data_type.starts_with("Binary"));
    if !std::str::from_utf8(&message.body).is_ok_and(is_text) || !texts.map(|a| &a.value).all(|text| is_text(text)) {
        return Err(invalid("a message must be UTF-8 text without control characters but tab and line ends"));
    }
    if attributes.fifo.is_some() && message.head.group.is_none() {
        return Err(invalid("a FIFO queue takes no message without a group"));
    }
    Ok(())
}
