//! SubscribeToShard: a shard's records, pushed to a registered consumer as soon as they are durable.
//!
//! Promises that a subscription lives for five minutes, that there is one of a consumer on a shard (a later call takes
//! over, and so does an event-source mapping), and that it ends when its shard, its stream or its consumer does. Must not
//! know how events get to the client.

use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Position, SequenceNumber};
use flow::mapping::StreamConsumer;
use futures::StreamExt;
use futures::stream;
use log::{Log, LogError, ReadLimit, Shard, Slice, Stream};
use wire::kinesis::*;
use wire::{Call, EventStream, ServiceError, only};

use super::address::{ConsumerAddress, consumer, shard};
use super::describe::children;
use super::position::Start;
use super::read::{behind, shown};
use super::subscriptions::{Subscription, another};
use super::{DataStreams, Events, SERVICE, dry_run, failed, in_use};
use crate::streams::{Amount, Pace, Streams};

/// A subscription is over afterwards.
const LIFE: Duration = Duration::from_secs(5 * 60);
/// An event is sent at least this often, without records if there are none.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Of one event. A single greater record is sent nevertheless; clients take frames up to 16 MiB.
const EVENT: ReadLimit = ReadLimit { records: 10_000, bytes: 1 << 20 };

pub(super) async fn shard_of(
    service: &DataStreams,
    call: &Call,
    input: SubscribeToShardInput,
) -> Result<Events, ServiceError> {
    only(SERVICE, &input, &["ConsumerARN", "ShardId", "StartingPosition", "DryRun"])?;
    let consumer = consumer(&call.scope, &input.consumer_arn)?;
    let stream = service.stream_of(call, &consumer)?;
    let shard = shard(&call.scope, &stream, &input.shard_id)?;
    let position = &input.starting_position;
    let start = Start {
        kind: &position.r#type,
        number: position.sequence_number.as_deref(),
        time: position.timestamp,
        operation: "SubscribeToShard",
    };
    let next = start.find(&service.log, call, &stream, shard).await?;
    dry_run(input.dry_run)?;
    let reads_as = StreamConsumer { stream: stream.key.clone(), name: consumer.name.clone(), epoch: consumer.epoch };
    if service.streams.fanout.is_taken(&reads_as) {
        return Err(in_use(another(&call.scope, &consumer, shard.id)));
    }
    let now = service.env.clock.instant();
    let subscription = service.subscriptions.begin(&call.scope, &stream, &consumer, shard.id, now)?;
    let reader = Reader {
        log: service.log.clone(),
        streams: service.streams.clone(),
        clock: Arc::clone(&service.env.clock),
        call: call.clone(),
        shard: shard.clone(),
        stream: Arc::clone(&stream),
        consumer,
        reads_as,
        subscription,
        pace: service.streams.traffic.pace(),
        next,
        ends: now + LIFE,
        ended: false,
    };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.event().await?;
        Some((event.map(SubscribeToShardEventStream::SubscribeToShardEvent), reader))
    });
    Ok(EventStream { output: SubscribeToShardOutput::default(), events: events.boxed() })
}

/// One subscription while it lasts.
struct Reader {
    log: Log,
    streams: Streams,
    clock: Arc<dyn Clock>,
    call: Call,
    shard: Shard,
    stream: Arc<Stream>,
    consumer: ConsumerAddress,
    /// The same, as mappings name it: one that takes it ends the subscription.
    reads_as: StreamConsumer,
    subscription: Subscription,
    pace: Pace,
    next: Position,
    /// When its life is over, on the monotonic clock.
    ends: Duration,
    ended: bool,
}

/// What came while there was nothing to read.
enum Woken {
    /// Something to read, the shard's end, or the consumer's.
    Readable,
    /// Nothing, for a heartbeat.
    Silence,
    /// Another call took over.
    TakenOver,
    /// The end of the subscription's life.
    Over,
}

impl Reader {
    /// The next event; none when the subscription has ended.
    async fn event(&mut self) -> Option<Result<SubscribeToShardEvent, ServiceError>> {
        if self.ended {
            return None;
        }
        let event = self.next_event().await;
        // An error is the last thing that is said, and so are the children of a shard that ended.
        self.ended = !matches!(&event, Some(Ok(event)) if event.child_shards.is_none());
        event
    }

    async fn next_event(&mut self) -> Option<Result<SubscribeToShardEvent, ServiceError>> {
        loop {
            if let Err(error) = self.still_registered() {
                return Some(Err(error));
            }
            if self.streams.fanout.is_taken(&self.reads_as) {
                return Some(Err(self.subscription.taken_over()));
            }
            // With the service's quotas: what was pushed too fast is waited for.
            let pause = self.pace.pause(self.clock.instant());
            if !pause.is_zero() {
                tokio::select! {
                    () = self.clock.sleep(pause) => {}
                    () = self.subscription.until_orphaned() => continue,
                }
            }
            let slice = match self.log.read(self.shard.slot, self.next, EVENT).await {
                Ok(slice) => slice,
                Err(error) => return Some(Err(self.failed(&error))),
            };
            let moved = slice.next > self.next;
            self.next = slice.next;
            if self.subscription.is_taken_over() {
                return Some(Err(self.subscription.taken_over()));
            }
            if self.clock.instant() >= self.ends {
                return None;
            }
            if !slice.records.is_empty() || slice.at_end {
                return Some(self.shown(slice));
            }
            if moved {
                continue;
            }
            match self.wait().await {
                Ok(Woken::Readable) => {}
                Ok(Woken::Silence) => return Some(self.shown(Slice { next: self.next, ..Slice::default() })),
                Ok(Woken::TakenOver) => return Some(Err(self.subscription.taken_over())),
                Ok(Woken::Over) => return None,
                Err(error) => return Some(Err(self.failed(&error))),
            }
        }
    }

    async fn wait(&self) -> Result<Woken, LogError> {
        let left = self.ends.saturating_sub(self.clock.instant());
        tokio::select! {
            readable = self.log.wait(self.shard.slot, self.next) => readable.map(|()| Woken::Readable),
            () = self.subscription.until_taken_over() => Ok(Woken::TakenOver),
            () = self.streams.fanout.until_taken(&self.reads_as) => Ok(Woken::TakenOver),
            () = self.subscription.until_orphaned() => Ok(Woken::Readable),
            () = self.clock.sleep(HEARTBEAT.min(left)) => Ok(if left > HEARTBEAT { Woken::Silence } else { Woken::Over }),
        }
    }

    fn still_registered(&self) -> Result<(), ServiceError> {
        let settings = self.streams.settings.of(self.stream.id);
        match settings.consumers.get(&self.consumer.name) {
            Some(found) if found.epoch == self.consumer.epoch => Ok(()),
            _ => Err(self.consumer.not_found(&self.call.scope)),
        }
    }

    fn failed(&self, error: &LogError) -> ServiceError {
        failed(&self.call.scope, &self.stream.key.name, error)
    }

    /// Records as an event. The last event of a shard has its children and no number to go on from.
    fn shown(&mut self, slice: Slice) -> Result<SubscribeToShardEvent, ServiceError> {
        let tail = self.log.tail(self.shard.slot).map_err(|error| self.failed(&error))?;
        let behind = behind(&slice, &tail, self.clock.now());
        let (meter, amount) = (self.streams.traffic.meter(&self.stream), Amount::of(&slice.records));
        meter.pushed(self.shard.id, amount, behind);
        self.pace.pushed(self.clock.instant(), amount.bytes);
        let is_end = slice.at_end && slice.records.is_empty();
        let stream = if is_end { self.log.stream(&self.stream.key) } else { Ok(Arc::clone(&self.stream)) };
        let stream = stream.map_err(|error| self.failed(&error))?;
        // A number that this shard gave out: of the last record that was passed, or of the shard's opening.
        let last = Position::new(self.next.min(tail.next).get().saturating_sub(1)).max(self.shard.opened_at);
        let arrival = slice.records.last().map(|record| record.arrival).or(tail.last_arrival);
        let number = SequenceNumber::new(last, self.shard.id, arrival.unwrap_or(self.shard.opened));
        Ok(SubscribeToShardEvent {
            records: shown(self.shard.id, slice.records),
            continuation_sequence_number: (!is_end).then(|| number.to_string()),
            millis_behind_latest: i64::try_from(behind.as_millis()).unwrap_or(i64::MAX),
            child_shards: is_end.then(|| children(&stream, self.shard.id)),
            ..Default::default()
        })
    }
}
