//! Records that are put on a delivery stream (DirectPut): by calls, by rules, topics and schedules.
//!
//! Owns the log of each delivery stream that has no other source, and its delivery stream as a [`Target`]. Promises
//! that a record is durable when that is answered, that an internal producer's replay adds nothing twice, and that the
//! log keeps a record until it is delivered or backed up, however long that takes; then its segments may go.
//! Must not know where records go.

use std::sync::Arc;

use async_trait::async_trait;
use base::{
    Arn, Delivery, DeliveryStreamName, ErrorKind, Kinded, PartitionKey, Position, ProducerId, Scope, SequenceNumber,
    Target, TargetError,
};
use bytes::Bytes;
use log::{Append, LogError, NewRecord, Stream, StreamKey, StreamKind, StreamSpec};

use super::config::{self, DeliveryStream, not_found};
use super::{Deliveries, delivery_arn};
use crate::needed::{FOREVER, PERIOD, needed_from};
use crate::router::{append_once, before_append, taken_by, target_error};
use crate::{FlowError, metrics};

/// Bytes of a record ("PutRecord", Firehose API Reference).
pub const MAX_RECORD_BYTES: usize = 1_000 << 10;

/// One shard: a delivery stream has one buffer.
const SPEC: StreamSpec = StreamSpec { shards: 1, retention: FOREVER };

/// The log of what is put on a delivery stream. An incarnation has its own, so that nothing comes back under a name.
pub(super) fn log_key(scope: &Scope, stream: &DeliveryStream) -> StreamKey {
    let name = format!("{}/{}", stream.name, stream.incarnation);
    StreamKey { kind: StreamKind::Delivery, scope: scope.clone(), name }
}

/// Such a log has one shard, so every record has the same key.
fn one_key() -> PartitionKey {
    match "r".parse() {
        Ok(key) => key,
        Err(_) => unreachable!("a letter is a valid partition key"),
    }
}

impl Deliveries {
    fn log(&self) -> &log::Log {
        &self.inner.ports.consumers.log
    }

    /// Makes the log of a new delivery stream.
    pub(super) async fn create_log(&self, scope: &Scope, stream: &DeliveryStream) -> Result<Arc<Stream>, FlowError> {
        Ok(self.log().create_stream(&log_key(scope, stream), SPEC).await?)
    }

    /// Deletes the log of a delivery stream, if it has one.
    pub(super) async fn delete_log(&self, scope: &Scope, stream: &DeliveryStream) -> Result<(), FlowError> {
        if stream.source.is_some() {
            return Ok(());
        }
        match self.log().delete_stream(&log_key(scope, stream)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Deletes the logs of delivery streams that were made or deleted only in part.
    pub(super) async fn restore_logs(&self, known: &[(Scope, DeliveryStream)]) -> Result<(), FlowError> {
        let direct: Vec<_> = known.iter().filter(|(_, stream)| stream.source.is_none()).collect();
        for stray in self.log().all_streams(StreamKind::Delivery) {
            if !direct.iter().any(|(scope, stream)| log_key(scope, stream) == stray.key) {
                self.log().delete_stream(&stray.key).await?;
            }
        }
        for (scope, stream) in direct {
            let key = log_key(scope, stream);
            if let Err(LogError::StreamNotFound(_)) = self.log().stream(&key) {
                let delivery_stream = delivery_arn(scope, &stream.name);
                tracing::error!(%delivery_stream, "the log of a delivery stream is not there; it begins anew, empty");
                self.log().create_stream(&key, SPEC).await?;
            }
        }
        Ok(())
    }

    /// The log of a delivery stream that takes records.
    fn open(&self, scope: &Scope, name: &DeliveryStreamName) -> Result<Arc<Stream>, FlowError> {
        let stream = self.get(scope, name)?;
        if let Some(source) = &stream.source {
            return Err(FlowError::Invalid(format!(
                "This operation is not permitted on KinesisStreamAsSource delivery stream type. Put the record on \
                 {source}."
            )));
        }
        self.log().stream(&log_key(scope, &stream)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => not_found(scope, name),
            _ => error.into(),
        })
    }

    /// Puts records on a delivery stream, all or none; `Ok` means that they are durable. Each one's id is the sequence
    /// number in its document's id.
    pub async fn put(
        &self,
        scope: &Scope,
        name: &DeliveryStreamName,
        records: Vec<Bytes>,
    ) -> Result<Vec<SequenceNumber>, FlowError> {
        let stream = self.open(scope, name)?;
        let Some(shard) = stream.shards.first() else { return Err(not_found(scope, name)) };
        let bytes = records.iter().map(Bytes::len).sum();
        let partition_key = one_key();
        let record =
            |data| NewRecord { shard: shard.slot, partition_key: partition_key.clone(), explicit_hash_key: None, data };
        let append = Append { producer: None, records: records.into_iter().map(record).collect() };
        let placed = self.log().append(append).await.map_err(|error| match error {
            LogError::ShardNotFound(_) => not_found(scope, name),
            error => error.into(),
        })?;
        metrics::delivery_put(name.as_str(), placed.len(), bytes);
        Ok(placed.iter().map(|placed| SequenceNumber::new(placed.position, shard.id, placed.arrival)).collect())
    }

    fn of_arn(&self, to: &Arn) -> Result<(DeliveryStreamName, Arc<Stream>), TargetError> {
        let invalid =
            || TargetError { kind: ErrorKind::Invalid, message: format!("{to} is not the ARN of a delivery stream") };
        let name = to.resource_of("deliverystream").filter(|_| to.service() == "firehose").ok_or_else(invalid)?;
        let (scope, name) = to.scope().zip(name.parse().ok()).ok_or_else(invalid)?;
        let stream = self
            .open(&scope, &name)
            .map_err(|error| TargetError { kind: before_append(error.kind()), message: format!("{to}: {error}") })?;
        Ok((name, stream))
    }

    /// Whether a delivery stream is there and records can be put on it.
    pub(crate) fn check(&self, to: &Arn) -> Result<(), TargetError> {
        self.of_arn(to).map(drop)
    }

    /// Takes a batch of an internal producer; a replay adds nothing twice. A batch with a record that is too large is
    /// refused before any of it is taken.
    pub(crate) async fn take(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        let (name, stream) = self.of_arn(to)?;
        batch.iter().try_for_each(|delivery| fits(to, &delivery.payload))?;
        let key = one_key();
        let appended =
            append_once(self.log(), &stream, producer, batch, |delivery| (key.clone(), delivery.payload.clone()));
        appended.await.map_err(|e| target_error(to, &e))?;
        metrics::delivery_put(name.as_str(), batch.len(), batch.iter().map(|d| d.payload.len()).sum());
        Ok(())
    }

    /// Up to which position a producer's records are on a delivery stream.
    pub(crate) fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        let (_, stream) = self.of_arn(to).ok()?;
        taken_by(self.log(), &stream.key, producer)
    }

    /// Lets the logs go as far as they are delivered, on a period.
    pub(super) async fn release_logs(self) {
        let (clock, stopping) = (&self.inner.ports.consumers.env.clock, self.inner.group.stopping());
        loop {
            if let Err(error) = self.release() {
                tracing::warn!(%error, "the logs of delivery streams cannot be shortened now");
            }
            tokio::select! {
                () = clock.sleep(PERIOD) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    fn release(&self) -> Result<(), FlowError> {
        for (scope, stream) in config::all(self.state())?.iter().filter(|(_, stream)| stream.source.is_none()) {
            // One that is being deleted has none.
            let Ok(log) = self.log().stream(&log_key(scope, stream)) else { continue };
            for shard in &log.shards {
                let consumer = stream.consumer_id(scope);
                self.log().release(shard.slot, needed_from(self.state(), &consumer, log.id, shard.id)?);
            }
        }
        Ok(())
    }
}

/// Whether a delivery stream takes so large a record.
pub(crate) fn fits(to: &Arn, record: &Bytes) -> Result<(), TargetError> {
    let bytes = record.len();
    if bytes <= MAX_RECORD_BYTES {
        return Ok(());
    }
    let message = format!("{to}: a record has at most {MAX_RECORD_BYTES} bytes, not {bytes}");
    Err(TargetError { kind: ErrorKind::Invalid, message })
}

/// Delivery streams as targets: `arn:aws:firehose:REGION:ACCOUNT:deliverystream/NAME`. The payload becomes the record.
pub struct DeliveryTarget {
    deliveries: Deliveries,
}

impl DeliveryTarget {
    /// Over the room of delivery streams.
    pub fn new(deliveries: Deliveries) -> Self {
        Self { deliveries }
    }
}

#[async_trait]
impl Target for DeliveryTarget {
    async fn deliver(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        self.deliveries.take(to, producer, batch).await
    }

    async fn check(&self, to: &Arn) -> Result<(), TargetError> {
        self.deliveries.check(to)
    }

    fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        self.deliveries.taken(to, producer)
    }
}
