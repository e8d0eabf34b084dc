//! Messages to subscribers of this server: queues, functions and delivery streams.
//!
//! Owns the handler that hands a batch of messages on, in their order. Promises that a subscriber gets each exactly
//! once: what it gets is an append to a log of the same journal, which knows the position of the message. So an attempt
//! fails only where the journal fails, or the subscriber has no room, and is repeated for as long as the service does
//! it ("Amazon SNS message delivery retries", SNS Developer Guide: endpoints managed by AWS), with its waits of up to
//! twenty seconds; then the message goes to the dead-letter queue. A subscriber that is not there, or does not take a
//! message, is no reason to try again.
//! Must not know how queues, functions and delivery streams work.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, Delivery, Kinded, Position, ProducerId, RetryPolicy, TargetError};
use bytes::Bytes;
use log::Record;

use super::deliver::{Current, Live};
use super::endpoint::Protocol;
use super::envelope::Published;
use super::letter::Letters;
use super::message::Message;
use super::subscription::Subscription;
use crate::consumer::{Batch, Handler, Outcome, Policy};
use crate::delivery::{self, Deliveries};
use crate::invocations::Invocations;
use crate::producer::from_shard;
use crate::roles::{Acting, Denial, Roles};
use crate::{metrics, queue};

/// How long a message is tried: 100,015 attempts over 23 days.
const TRIED_FOR: Duration = Duration::from_secs(23 * 86_400);
/// How much longer a dead-letter queue that takes nothing is waited for.
const GRAVE_TRIED_FOR: Duration = Duration::from_secs(86_400);

/// How the consumer of such a subscription reads.
pub(super) fn policy() -> Policy {
    Policy {
        records: 100,
        bytes: 4 << 20,
        weigh: |record| record.data.len(),
        window: Duration::ZERO,
        in_flight: 1,
        retry: RetryPolicy {
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(20),
            max_attempts: None,
            max_age: None,
        },
        max_age: None,
        bisect: false,
        lanes: 1,
        tumble: None,
    }
}

/// Hands messages on to one subscriber of this server.
pub(super) struct Local {
    pub live: Arc<Live>,
    pub letters: Letters,
    pub invocations: Invocations,
    pub deliveries: Deliveries,
    pub roles: Roles,
}

/// Who hands messages on.
pub(super) const SERVICE: &str = "sns.amazonaws.com";

/// Messages on their way, by their positions.
enum Ready {
    Queue(Vec<(Position, queue::Message)>),
    Function(Vec<Delivery>),
    DeliveryStream(Vec<Delivery>),
}

impl Local {
    async fn hand_on(&self, batch: &Batch) -> Result<(), TargetError> {
        let current = self.live.current();
        let subscription = &current.subscription;
        let topic = self.letters.envelope.topic.resource();
        let Ok(to) = subscription.endpoint.parse::<Arn>() else { return Ok(()) };
        let producer = from_shard(batch.stream, batch.shard, &["subscription", &subscription.id]);
        let mut ready = match subscription.protocol() {
            Protocol::Lambda => Ready::Function(Vec::new()),
            Protocol::Firehose => Ready::DeliveryStream(Vec::new()),
            _ => Ready::Queue(Vec::new()),
        };
        let (mut on_the_way, mut refused) = (Vec::new(), Vec::new());
        let permitted = self.permit(subscription, &to);
        let taken = permitted.as_ref().err().and_then(|_| self.taken(&ready, &to, producer));
        for record in batch.records.iter() {
            let Some(message) = current.wanted(topic, record) else { continue };
            if self.age(record) > TRIED_FOR {
                refused.push((record, message, "it could not be handed on for 23 days".to_owned()));
                continue;
            }
            if let Err(denial) = &permitted {
                // Only an owner can change that, so it is not tried again; what the subscriber has it keeps.
                if taken.is_none_or(|taken| record.position > taken) {
                    refused.push((record, message, denial.message.clone()));
                }
                continue;
            }
            match self.write(&mut ready, &to, &current, record, &message).await {
                Ok(()) => on_the_way.push((record, message)),
                Err(error) if error.kind().is_transient() => return Err(error),
                Err(error) => refused.push((record, message, error.to_string())),
            }
        }
        match self.send(&to, producer, ready).await {
            Ok(()) => on_the_way.iter().for_each(|_| metrics::notified(topic, "delivered")),
            Err(error) if error.kind().is_transient() => return Err(error),
            Err(error) => {
                let why = error.to_string();
                refused.extend(on_the_way.into_iter().map(|(record, message)| (record, message, why.clone())));
            }
        }
        refused.sort_by_key(|(record, ..)| record.position);
        let mut given_up = Vec::with_capacity(refused.len());
        for (record, message, reason) in &refused {
            tracing::error!(topic, %to, position = %record.position, reason, "a notification was given up");
            given_up.push(Published { message, at: record.arrival, position: record.position });
        }
        let Some((newest, ..)) = refused.last() else { return Ok(()) };
        let producer = from_shard(batch.stream, batch.shard, &["dead letters", &subscription.id]);
        match self.letters.bury_once(producer, &given_up, subscription, current.version).await {
            Err(error) if self.age(newest) > TRIED_FOR + GRAVE_TRIED_FOR => {
                given_up.iter().for_each(|_| metrics::notified(topic, "failed"));
                tracing::error!(topic, letters = given_up.len(), %error, "dead letters are lost");
                Ok(())
            }
            buried => buried,
        }
    }

    /// Whether messages may be handed to the subscriber: with the subscription's role, or without one by its own policy.
    fn permit(&self, subscription: &Subscription, to: &Arn) -> Result<(), Denial> {
        let topic = &self.letters.envelope.topic;
        let Some(role) = &subscription.role else { return self.roles.permit_service(SERVICE, topic, to) };
        let acting = Acting { service: SERVICE, role, session: topic.resource(), source: topic };
        self.roles.permit_delivery(&acting, to)
    }

    fn taken(&self, ready: &Ready, to: &Arn, producer: ProducerId) -> Option<Position> {
        match ready {
            Ready::Queue(_) => self.letters.queues.taken_by(to, producer),
            Ready::Function(_) => self.invocations.taken(to, producer),
            Ready::DeliveryStream(_) => self.deliveries.taken(to, producer),
        }
    }

    fn age(&self, record: &Record) -> Duration {
        self.letters.clock.now().since(record.arrival)
    }

    async fn write(
        &self,
        ready: &mut Ready,
        to: &Arn,
        current: &Current,
        record: &Record,
        message: &Message,
    ) -> Result<(), TargetError> {
        let published = Published { message, at: record.arrival, position: record.position };
        match ready {
            Ready::Queue(messages) => {
                let letter = self.letters.write(&published, &current.subscription, current.version).await?;
                self.letters.queues.fits(to, &letter)?;
                messages.push((record.position, letter));
            }
            Ready::Function(deliveries) => {
                let (envelope, version) = (&self.letters.envelope, current.version);
                let event = envelope.function_event(&published, &current.subscription, version).await;
                let event = event.map_err(|message| TargetError { kind: base::ErrorKind::Unavailable, message })?;
                let (position, payload) = (record.position, event.to_string().into());
                deliveries.push(Delivery { position, payload, partition_key: None });
            }
            Ready::DeliveryStream(deliveries) => {
                let subscription = &current.subscription;
                let payload: Bytes = if subscription.raw {
                    message.text_for(Protocol::Firehose).to_owned().into()
                } else {
                    self.letters.envelope.record(&published, subscription).into()
                };
                delivery::fits(to, &payload)?;
                deliveries.push(Delivery { position: record.position, payload, partition_key: None });
            }
        }
        Ok(())
    }

    async fn send(&self, to: &Arn, producer: ProducerId, ready: Ready) -> Result<(), TargetError> {
        match ready {
            Ready::Queue(messages) if messages.is_empty() => Ok(()),
            Ready::Function(deliveries) | Ready::DeliveryStream(deliveries) if deliveries.is_empty() => Ok(()),
            Ready::Queue(messages) => self.letters.queues.take(to, producer, messages).await,
            Ready::Function(deliveries) => self.invocations.enqueue(to, producer, &deliveries).await,
            Ready::DeliveryStream(deliveries) => self.deliveries.take(to, producer, &deliveries).await,
        }
    }
}

#[async_trait]
impl Handler for Local {
    async fn handle(&self, batch: &Batch) -> Outcome {
        match self.hand_on(batch).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Later(error.to_string()),
        }
    }
}
