//! The consumer that fills an archive: what its pattern matches is appended to the archive's log, once.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use base::{Delivery, Kinded, RetryPolicy};
use log::{Log, StreamKey};
use rules::{Engine, Event, Pattern, Scratch};

use crate::consumer::{Batch, Handler, Outcome, Policy};
use crate::metrics;
use crate::producer::from_shard;
use crate::router::append_once;

/// The pattern of an archive, replaced when it is changed.
pub(super) struct Sieve(RwLock<Arc<Engine<()>>>);

impl Sieve {
    pub fn new(pattern: &Pattern) -> Self {
        Self(RwLock::new(Self::engine(pattern)))
    }

    pub fn replace(&self, pattern: &Pattern) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Self::engine(pattern);
    }

    fn engine(pattern: &Pattern) -> Arc<Engine<()>> {
        let mut engine = Engine::default();
        engine.insert((), pattern);
        Arc::new(engine)
    }

    fn current(&self) -> Arc<Engine<()>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes the events of one bus into one archive.
pub(super) struct Keeper {
    pub log: Log,
    pub archive: StreamKey,
    pub sieve: Arc<Sieve>,
}

/// Events are taken as long as the bus has them.
pub(super) fn policy(retention: Duration) -> Policy {
    Policy {
        records: 1_000,
        bytes: 4 << 20,
        weigh: |record| record.data.len(),
        window: Duration::ZERO,
        in_flight: 1,
        retry: RetryPolicy {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            max_attempts: None,
            max_age: None,
        },
        max_age: Some(retention),
        bisect: false,
        lanes: 1,
        tumble: None,
    }
}

#[async_trait]
impl Handler for Keeper {
    async fn handle(&self, batch: &Batch) -> Outcome {
        let (engine, mut scratch) = (self.sieve.current(), Scratch::default());
        let mut taken = Vec::new();
        for record in batch.records.iter() {
            match Event::check(&record.data) {
                Ok(event) if engine.matches(event, &mut scratch).next().is_some() => taken.push(Delivery {
                    position: record.position,
                    payload: record.data.clone(),
                    partition_key: Some(record.partition_key.clone()),
                }),
                Ok(_) => {}
                Err(error) => {
                    let (archive, position) = (&self.archive.name, record.position);
                    tracing::error!(archive, %position, %error, "an event cannot be read; it is not archived");
                    metrics::dropped(&format!("archive:{archive}"), "refused", 1);
                }
            }
        }
        if taken.is_empty() {
            return Outcome::Done;
        }
        let stream = match self.log.stream(&self.archive) {
            Ok(stream) => stream,
            Err(error) => return Outcome::Later(error.to_string()),
        };
        let producer = from_shard(batch.stream, batch.shard, &["archive", &self.archive.name]);
        let appended = append_once(&self.log, &stream, producer, &taken, |delivery| {
            // The partition key was set above; the event's own is never empty.
            let key = delivery.partition_key.clone();
            (key.unwrap_or_else(|| super::replay::fallback_key(delivery.position)), delivery.payload.clone())
        });
        match appended.await {
            Ok(()) => {
                metrics::archived(&self.archive.name, taken.len());
                Outcome::Done
            }
            Err(error) => {
                tracing::warn!(archive = self.archive.name, kind = ?error.kind(), %error, "events wait for their archive");
                Outcome::Later(error.to_string())
            }
        }
    }
}
