//! Messages for queues: those of subscribed queues, and dead letters.
//!
//! Owns their form. Promises that a message that is given up is in its subscription's dead-letter queue, if it has one,
//! before it is let go; what cannot be put there is counted and logged. It may be there twice after a crash.
//! Must not know why a message was given up.

use std::sync::Arc;

use base::{Arn, Clock, ErrorKind, Kinded, ProducerId, TargetError};

use super::envelope::{Envelope, Published};
use super::local::SERVICE;
use super::sign::SignatureVersion;
use super::subscription::Subscription;
use crate::dead_letter::{DeadLetters, Letter};
use crate::metrics;
use crate::queue::{self, Head, Queues};

/// Attributes of a message that is delivered raw, at most ("Amazon SNS raw message delivery", SNS Developer Guide).
const MAX_RAW_ATTRIBUTES: usize = 10;

/// Writes messages for queues. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Letters {
    pub envelope: Envelope,
    pub queues: Queues,
    pub graves: DeadLetters,
    pub clock: Arc<dyn Clock>,
}

impl Letters {
    /// A message as a queue gets it: raw with its attributes, or as a notification.
    pub async fn write(
        &self,
        published: &Published<'_>,
        subscription: &Subscription,
        version: SignatureVersion,
    ) -> Result<queue::Message, TargetError> {
        let failed = |kind| move |message| TargetError { kind, message };
        let message = published.message;
        let mut head = Head {
            id: message.id.clone(),
            sender: "tidegate".to_owned(),
            group: message.group.clone(),
            dedup: message.dedup.clone(),
            ..Head::default()
        };
        if !subscription.raw {
            let body = self.envelope.notification(published, subscription, version).await;
            let body = serde_json::Value::Object(body.map_err(failed(ErrorKind::Unavailable))?);
            return Ok(queue::Message { head, body: body.to_string().into() });
        }
        if message.attributes.len() > MAX_RAW_ATTRIBUTES {
            let text = format!("a raw message has at most {MAX_RAW_ATTRIBUTES} attributes");
            return Err(failed(ErrorKind::Invalid)(text));
        }
        let attribute = |(name, a): (&String, &super::Attribute)| {
            (name.clone(), queue::Attribute { data_type: a.data_type.clone(), value: a.value.clone() })
        };
        head.attributes = message.attributes.iter().map(attribute).collect();
        let text = message.text_for(subscription.protocol()).to_owned();
        Ok(queue::Message { head, body: text.into() })
    }

    /// Puts messages that were given up where their subscription wants them, all in one append and each once however
    /// often it is tried, in the order of their positions; `Err` when that may work later.
    pub async fn bury_once(
        &self,
        producer: ProducerId,
        given_up: &[Published<'_>],
        subscription: &Subscription,
        version: SignatureVersion,
    ) -> Result<(), TargetError> {
        let topic = &self.envelope.topic;
        let mut letters = Vec::with_capacity(given_up.len());
        let Some(grave) = &subscription.dead_letters else {
            given_up.iter().for_each(|_| metrics::notified(topic.resource(), "failed"));
            return Ok(());
        };
        if self.is_closed(grave) {
            given_up.iter().for_each(|_| metrics::notified(topic.resource(), "failed"));
            return Ok(());
        }
        for published in given_up {
            letters.push((published.position, self.letter(grave, published, subscription, version).await?));
        }
        let outcome = match self.graves.send_once(grave, producer, letters).await {
            Ok(()) => "dead_lettered",
            Err(error) if error.kind().is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(%topic, queue = %grave, letters = given_up.len(), %error, "dead letters are lost");
                "failed"
            }
        };
        given_up.iter().for_each(|_| metrics::notified(topic.resource(), outcome));
        Ok(())
    }

    /// Puts a message that was given up where its subscription wants it; `Err` when that may work later.
    pub async fn bury(
        &self,
        published: &Published<'_>,
        subscription: &Subscription,
        version: SignatureVersion,
    ) -> Result<(), TargetError> {
        let topic = &self.envelope.topic;
        let Some(grave) = &subscription.dead_letters else {
            metrics::notified(topic.resource(), "failed");
            return Ok(());
        };
        if self.is_closed(grave) {
            metrics::notified(topic.resource(), "failed");
            return Ok(());
        }
        match self.put(grave, published, subscription, version).await {
            Ok(()) => metrics::notified(topic.resource(), "dead_lettered"),
            Err(error) if error.kind().is_transient() => return Err(error),
            Err(error) => {
                metrics::notified(topic.resource(), "failed");
                tracing::error!(%topic, queue = %grave, position = %published.position, %error, "a dead letter is lost");
            }
        }
        Ok(())
    }

    /// Whether the queue's policy keeps the topic out, so that letters for it are lost.
    fn is_closed(&self, grave: &Arn) -> bool {
        let topic = &self.envelope.topic;
        let denied = self.graves.permit(SERVICE, topic, grave).err();
        if let Some(error) = &denied {
            tracing::error!(%topic, queue = %grave, %error, "a dead letter is lost");
        }
        denied.is_some()
    }

    async fn put(
        &self,
        grave: &Arn,
        published: &Published<'_>,
        subscription: &Subscription,
        version: SignatureVersion,
    ) -> Result<(), TargetError> {
        let letter = self.letter(grave, published, subscription, version).await?;
        let sent = self.graves.send(grave, letter).await;
        sent.map_err(|e| TargetError { kind: e.kind(), message: e.to_string() })
    }

    async fn letter(
        &self,
        grave: &Arn,
        published: &Published<'_>,
        subscription: &Subscription,
        version: SignatureVersion,
    ) -> Result<Letter, TargetError> {
        let letter = match self.write(published, subscription, version).await {
            // A raw message with too many attributes goes without its rawness.
            Err(error) if !error.kind().is_transient() => {
                let whole = Subscription { raw: false, ..subscription.clone() };
                self.write(published, &whole, version).await?
            }
            written => written?,
        };
        let queue::Message { head, body } = letter;
        let id = published.message.id.clone();
        let is_fifo = grave.resource().ends_with(".fifo");
        let order = head.group.filter(|_| is_fifo).map(|group| (group, head.dedup.unwrap_or_else(|| id.clone())));
        Ok(Letter { id, body, attributes: head.attributes, order })
    }
}
