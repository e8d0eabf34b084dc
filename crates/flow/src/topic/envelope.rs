//! What surrounds a message on its way to a subscriber.
//!
//! Owns the documents that subscribers read: notifications and confirmations ("HTTP/HTTPS notification JSON format",
//! SNS Developer Guide) and the event of functions ("Using AWS Lambda with Amazon SNS", Lambda Developer Guide).
//! Messages of FIFO topics have their sequence number in place of a signature.
//! Must not know how they are sent.

use std::sync::Arc;

use base::{Arn, Position, Timestamp};
use serde_json::{Map, Value, json};

use super::message::Message;
use super::sign::{SignatureVersion, Signatures};
use super::subscription::Subscription;

/// Writes what a topic's subscribers read. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Envelope {
    pub topic: Arn,
    /// The server's own address.
    pub base_url: String,
    pub signatures: Arc<Signatures>,
}

/// A message, as it was published.
pub(super) struct Published<'a> {
    pub message: &'a Message,
    pub at: Timestamp,
    pub position: Position,
}

/// A query string's value.
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A place in the order of a FIFO topic, as callers and subscribers see it.
pub fn sequence_number(position: Position) -> String {
    format!("{:020}", position.get())
}

fn attributes(message: &Message) -> Value {
    message.attributes.iter().map(|(name, a)| (name.clone(), json!({"Type": a.data_type, "Value": a.value}))).collect()
}

impl Envelope {
    /// The link by which a subscriber ends its subscription.
    pub fn unsubscribe_url(&self, subscription: &Subscription) -> String {
        let arn = subscription.arn(&self.topic).to_string();
        format!("{}/?Action=Unsubscribe&SubscriptionArn={}", self.base_url, escape(&arn))
    }

    /// What a delivery stream gets ("Formatting Amazon SNS notifications for storage in Amazon S3 destinations", SNS
    /// Developer Guide): a notification without what proves who wrote it, on a line.
    pub fn record(&self, published: &Published<'_>, subscription: &Subscription) -> String {
        format!("{}\n", Value::Object(self.unsigned(published, subscription)))
    }

    fn unsigned(&self, published: &Published<'_>, subscription: &Subscription) -> Map<String, Value> {
        let message = published.message;
        let text = message.text_for(subscription.protocol());
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("Type", "Notification".into());
        put("MessageId", message.id.clone().into());
        put("TopicArn", self.topic.to_string().into());
        put("Message", text.into());
        put("Timestamp", published.at.to_iso_millis().into());
        put("UnsubscribeURL", self.unsubscribe_url(subscription).into());
        if let Some(subject) = &message.subject {
            put("Subject", subject.clone().into());
        }
        if !message.attributes.is_empty() {
            put("MessageAttributes", attributes(message));
        }
        body
    }

    /// The body of a notification.
    pub async fn notification(
        &self,
        published: &Published<'_>,
        subscription: &Subscription,
        version: SignatureVersion,
    ) -> Result<Map<String, Value>, String> {
        let mut body = self.unsigned(published, subscription);
        if self.topic.resource().ends_with(".fifo") {
            body.insert("SequenceNumber".to_owned(), sequence_number(published.position).into());
        } else {
            self.signatures.sign(version, &mut body).await?;
        }
        Ok(body)
    }

    /// The event that a function gets.
    pub async fn function_event(
        &self,
        published: &Published<'_>,
        subscription: &Subscription,
        version: SignatureVersion,
    ) -> Result<Value, String> {
        let mut sns = self.notification(published, subscription, version).await?;
        for (name, function_name) in [("SigningCertURL", "SigningCertUrl"), ("UnsubscribeURL", "UnsubscribeUrl")] {
            if let Some(value) = sns.remove(name) {
                sns.insert(function_name.to_owned(), value);
            }
        }
        sns.insert("Subject".to_owned(), published.message.subject.clone().into());
        sns.insert("MessageAttributes".to_owned(), attributes(published.message));
        Ok(json!({"Records": [{
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": subscription.arn(&self.topic).to_string(),
            "Sns": sns,
        }]}))
    }

    /// The link that confirms a subscription.
    pub fn confirm_url(&self, subscription: &Subscription) -> String {
        let topic = escape(&self.topic.to_string());
        format!("{}/?Action=ConfirmSubscription&TopicArn={topic}&Token={}", self.base_url, subscription.token)
    }

    /// The body that asks an endpoint to confirm, or whether it meant to end its subscription.
    pub async fn confirmation(
        &self,
        id: &str,
        at: Timestamp,
        subscription: &Subscription,
        version: SignatureVersion,
    ) -> Result<Map<String, Value>, String> {
        let topic = self.topic.to_string();
        let text = if subscription.left {
            format!(
                "You have chosen to deactivate subscription {}.\nTo cancel this operation and restore the \
                 subscription, visit the SubscribeURL included in this message.",
                subscription.arn(&self.topic)
            )
        } else {
            format!(
                "You have chosen to subscribe to the topic {topic}.\nTo confirm the subscription, visit the \
                 SubscribeURL included in this message."
            )
        };
        let mut body = Map::new();
        for (name, value) in [
            ("Type", confirmation_type(subscription).to_owned()),
            ("MessageId", id.to_owned()),
            ("Token", subscription.token.clone()),
            ("TopicArn", topic),
            ("Message", text),
            ("SubscribeURL", self.confirm_url(subscription)),
            ("Timestamp", at.to_iso_millis()),
        ] {
            body.insert(name.to_owned(), value.into());
        }
        self.signatures.sign(version, &mut body).await?;
        Ok(body)
    }
}

/// Which kind of confirmation a subscription waits for.
pub(super) fn confirmation_type(subscription: &Subscription) -> &'static str {
    if subscription.left { "UnsubscribeConfirmation" } else { "SubscriptionConfirmation" }
}
