//! One attempt to give a waiting event to its target, and what becomes of one that is given up.
//!
//! Owns the retry policy of a rule's target: by default 185 retries within 24 hours, with exponential back-off and
//! jitter ("How EventBridge retries delivering events", EventBridge User Guide). Must not know where events wait.

use std::time::Duration;

use async_trait::async_trait;
use base::{BusName, Delivery, Kinded, Position, RetryPolicy, Rng, Scope, ShardId, Timestamp};
use log::{Record, StreamId};

use super::BusPorts;
use super::letter::{self, Lost};
use super::outbox::Live;
use super::rule::ActiveTarget;
use super::trace::{Fate, Noted, Trace};
use super::waiting::Waiting;
use crate::metrics;
use crate::producer::from_shard;
use crate::spool::{Attempt, Attempted, End};

/// The waits between attempts: with them 185 retries take about a day.
const BACKOFF: RetryPolicy = RetryPolicy {
    first_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(600),
    max_attempts: None,
    max_age: None,
};

/// Sends what waits for one target. One that receives by an append was tried before its event came here.
pub(super) struct Sender {
    pub scope: Scope,
    pub bus: BusName,
    pub live: std::sync::Arc<Live>,
    pub ports: BusPorts,
    pub trace: Trace,
    /// The outbox.
    pub from: (StreamId, ShardId),
}

impl Sender {
    async fn note(&self, target: &ActiveTarget, waiting: &Waiting, record: Position, fate: Fate, error: Option<&str>) {
        let outcome = Noted {
            rule: target.rule.clone(),
            target: target.id.clone(),
            positions: vec![waiting.position],
            fate,
            error: error.map(str::to_owned),
            outbox: Some(record),
        };
        self.trace.outcome(&self.scope, &self.bus, &outcome).await;
    }

    async fn give(&self, target: &ActiveTarget, waiting: &Waiting, record: &Record) -> Attempted {
        if let Err(denial) = target.permit(&self.ports.roles) {
            return Attempted::Refused(letter::denied(&denial));
        }
        if target.is_slow() {
            let destinations = &self.ports.destinations;
            let texts = (&waiting.event, &waiting.payload);
            return destinations.call(&self.scope, &target.arn, &target.http, texts).await;
        }
        // Attempts are made in no order, so each record has a producer of its own.
        let position = record.position.get().to_string();
        let producer = from_shard(self.from.0, self.from.1, &["retry", &position]);
        let (payload, partition_key) = (waiting.payload.clone(), waiting.key.clone());
        let delivery = Delivery { position: record.position, payload, partition_key };
        match self.ports.router.deliver(&target.arn, producer, &[delivery]).await {
            Ok(()) => Attempted::Done,
            Err(error) if error.kind().is_transient() => {
                Attempted::Failed(letter::coded(letter::error_code(error.kind), &error.message))
            }
            Err(error) => Attempted::Refused(letter::coded(letter::error_code(error.kind), &error.message)),
        }
    }
}

#[async_trait]
impl Attempt for Sender {
    async fn attempt(&self, record: &Record) -> Attempted {
        let waiting = match Waiting::decode(&record.data) {
            Ok(waiting) => waiting,
            Err(reason) => return Attempted::Refused(format!("the event cannot be read: {reason}")),
        };
        if let Some(end) = waiting.end {
            return Attempted::Refused(end.reason);
        }
        let target = self.live.current();
        let outcome = self.give(&target, &waiting, record).await;
        match &outcome {
            Attempted::Done => {
                metrics::target_delivered(self.bus.as_str(), target.rule.as_str(), 1);
                self.note(&target, &waiting, record.position, Fate::Delivered, None).await;
            }
            Attempted::Failed(reason) | Attempted::FailedFor(reason, _) | Attempted::Later(reason) => {
                self.note(&target, &waiting, record.position, Fate::Failed, Some(reason)).await;
            }
            // What becomes of it is noted when it is put away.
            Attempted::Refused(_) => {}
        }
        outcome
    }

    fn delay(&self, attempts: u32, rng: &dyn Rng) -> Option<Duration> {
        let target = self.live.current();
        let retries = attempts - u32::from(target.is_slow());
        (retries < target.max_attempts).then_some(())?;
        BACKOFF.next_delay(attempts, Duration::ZERO, rng)
    }

    fn max_age(&self) -> Duration {
        self.live.current().max_age
    }

    fn born(&self, record: &Record) -> Timestamp {
        Waiting::decode(&record.data).map_or(record.arrival, |waiting| waiting.born)
    }

    fn retried(&self, record: &Record, reason: &str) {
        let target = self.live.current();
        metrics::target_retried(self.bus.as_str(), target.rule.as_str());
        let (bus, rule, id, position) = (&self.bus, &target.rule, &target.id, record.position);
        tracing::warn!(%bus, %rule, target = id, %position, reason, "an event is sent to its target again later");
    }

    fn gave_up(&self, record: &Record, reason: &str) {
        let target = self.live.current();
        metrics::target_failed(self.bus.as_str(), target.rule.as_str(), 1);
        let (bus, rule, id, arn, position) = (&self.bus, &target.rule, &target.id, &target.arn, record.position);
        tracing::error!(%bus, %rule, target = id, %arn, %position, reason, "a target did not get an event");
    }

    async fn give_up(&self, record: &Record, end: &End) -> Result<(), String> {
        let target = self.live.current();
        let Ok(waiting) = Waiting::decode(&record.data) else {
            self.gave_up(record, &end.reason);
            return Ok(());
        };
        // They are given up in no order, so each record has a producer of its own.
        let position = record.position.get().to_string();
        let producer = from_shard(self.from.0, self.from.1, &["dead letter", &position]);
        let lost = Lost { at: record.position, position: waiting.position, event: waiting.event.clone() };
        let own = || End { attempts: end.attempts + u32::from(!target.is_slow()), ..end.clone() };
        let counted = waiting.end.clone().unwrap_or_else(own);
        let fate = letter::put_away(&self.ports.dead_letters, &target, producer, vec![lost], &counted).await?;
        self.note(&target, &waiting, record.position, fate, Some(&counted.reason)).await;
        self.gave_up(record, &counted.reason);
        Ok(())
    }
}
