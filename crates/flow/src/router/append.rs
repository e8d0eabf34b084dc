//! The idempotent append that every journal-backed target is made of.

use base::{Arn, Delivery, ErrorKind, Kinded, PartitionKey, Position, ProducerId, TargetError};
use bytes::Bytes;
use log::{Append, Log, LogError, MAX_BATCH_RECORDS, NewRecord, Stream, StreamKey};

use crate::producer::into_stream;

/// Bytes of payload in one append: the log refuses batches over 64 MiB.
const CHUNK_BYTES: usize = 16 << 20;
/// How often shards may close under one batch before it is left to the consumer's back-off.
const ROUTES: u32 = 8;

/// Appends what `producer` has not appended yet. `record` makes a delivery's partition key and data.
///
/// The batch is cut into appends that each name the position of their last source record, so that a replay goes on
/// where the last durable one ended, wherever its own cuts fall.
///
/// An append that meets a closed shard (its stream is being divided) was refused whole. What is not durable yet is
/// routed again, to the shards that took over, under the same producer id and positions. The journal keeps a
/// producer's position by the producer alone, so a replay is recognised whichever shards its records went to, and
/// nothing is there twice or missing across a reshard, with or without a crash in between.
pub(crate) async fn append_once(
    log: &Log,
    stream: &Stream,
    producer: ProducerId,
    batch: &[Delivery],
    record: impl Fn(&Delivery) -> (PartitionKey, Bytes),
) -> Result<(), LogError> {
    let (mut divided, mut held) = (None, None);
    for _ in 1..ROUTES {
        match append_routed(log, divided.as_deref().unwrap_or(stream), producer, batch, &record).await {
            Err(LogError::ShardClosed(_)) => {}
            other => return other,
        }
        if held.is_none() {
            held = Some(log.hold_shards().await);
        }
        divided = match log.stream(&stream.key)? {
            same if same.id == stream.id => Some(same),
            // Deleted and created again under its name it is another stream, which is not what was meant.
            _ => return Err(LogError::StreamNotFound(stream.key.clone())),
        };
    }
    append_routed(log, divided.as_deref().unwrap_or(stream), producer, batch, &record).await
}

async fn append_routed(
    log: &Log,
    stream: &Stream,
    producer: ProducerId,
    batch: &[Delivery],
    record: &impl Fn(&Delivery) -> (PartitionKey, Bytes),
) -> Result<(), LogError> {
    let producer = into_stream(producer, stream.id);
    let appends = cut(stream, producer, log.producer_position(producer), batch, record);
    for append in appends {
        log.append(append).await?;
    }
    Ok(())
}

fn cut(
    stream: &Stream,
    producer: ProducerId,
    done: Option<Position>,
    batch: &[Delivery],
    record: &impl Fn(&Delivery) -> (PartitionKey, Bytes),
) -> Vec<Append> {
    let (mut appends, mut records, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut rest = batch.iter().filter(|d| done.is_none_or(|done| d.position > done)).peekable();
    while let Some(delivery) = rest.next() {
        let (partition_key, data) = record(delivery);
        bytes += data.len();
        let shard = stream.shard_for(&partition_key, None).slot;
        records.push(NewRecord { shard, partition_key, explicit_hash_key: None, data });
        // One source record's deliveries share a position and must not be cut apart.
        let may_cut = rest.peek().is_none_or(|next| next.position > delivery.position);
        let full = bytes >= CHUNK_BYTES || records.len() >= MAX_BATCH_RECORDS;
        if may_cut && (full || rest.peek().is_none()) {
            let producer = Some((producer, delivery.position));
            appends.push(Append { producer, records: std::mem::take(&mut records) });
            bytes = 0;
        }
    }
    appends
}

/// Up to which position a stream has what `producer` appended by [`append_once`].
pub(crate) fn taken_by(log: &Log, stream: &StreamKey, producer: ProducerId) -> Option<Position> {
    let stream = log.stream(stream).ok()?;
    log.producer_position(into_stream(producer, stream.id))
}

/// The error of a target that is a stream of the log. What the log refuses before it takes it, because a shard closed
/// again and again or for want of the key that seals it, is not on its way to the disk.
pub(crate) fn target_error(to: &Arn, error: &LogError) -> TargetError {
    let kind = match error {
        LogError::ShardClosed(_) | LogError::NoMasterKey(_) | LogError::WrongMasterKey(_) => ErrorKind::Throttled,
        error => error.kind(),
    };
    TargetError { kind, message: format!("{to}: {error}") }
}

/// The kind of an error that came before anything was on its way to the disk: what may pass says so.
pub(crate) fn before_append(kind: ErrorKind) -> ErrorKind {
    if kind.is_transient() { ErrorKind::Throttled } else { kind }
}
