//! Messages: as published, as they lie in a topic's log, and as a subscriber receives them.
//!
//! Owns their forms. The notification is that of "Amazon SNS message and JSON formats" (SNS Developer Guide) without
//! the members `SignatureVersion`, `Signature` and `SigningCertURL`: a signature is only worth something with a
//! certificate that the receiver can fetch over TLS from whom it trusts, and there is none yet.
//! Must not know how it is sent.

use std::collections::BTreeMap;

use base::{Arn, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::subscription::Subscription;
use crate::FlowError;

/// Bytes of a message with its attributes, at most.
const MAX_BYTES: usize = 262_144;

/// A typed attribute beside the message's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `String.Array`, `Number` or `Binary`, with an optional label after a dot.
    pub data_type: String,
    /// The text; base64 for `Binary`.
    pub value: String,
}

/// A message as published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id, a UUID.
    pub id: String,
    /// The subject line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The text.
    pub text: String,
    /// The text for `https` subscribers, when it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_text: Option<String>,
    /// What filter policies and receivers look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    #[serde(flatten)]
    message: Message,
}

impl Message {
    /// Whether it can be published.
    pub(super) fn validate(&self) -> Result<(), FlowError> {
        let invalid = |what: &str| Err(FlowError::Invalid(format!("Invalid parameter: {what}")));
        let attributes: usize =
            self.attributes.iter().map(|(name, a)| name.len() + a.data_type.len() + a.value.len()).sum();
        let https_text = self.https_text.as_ref();
        if self.text.is_empty() || https_text.is_some_and(String::is_empty) {
            return invalid("Empty message");
        }
        if self.text.len() + https_text.map_or(0, String::len) + attributes > MAX_BYTES {
            return invalid("Message too long");
        }
        let subject_ok = |s: &String| (1..=100).contains(&s.chars().count()) && !s.chars().any(char::is_control);
        if self.subject.as_ref().is_some_and(|s| !subject_ok(s)) {
            return invalid("Subject");
        }
        for (name, attribute) in &self.attributes {
            let name_ok = (1..=256).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
            let kind = attribute.data_type.split('.').next().unwrap_or_default();
            if !name_ok || attribute.value.is_empty() || !matches!(kind, "String" | "Number" | "Binary") {
                return invalid(&format!("the message attribute '{}'", name.chars().take(256).collect::<String>()));
            }
            if kind == "Number" && attribute.value.parse::<f64>().is_err() {
                return invalid(&format!("the message attribute '{name}' is not a number"));
            }
        }
        Ok(())
    }

    /// As it lies in the log.
    pub(super) fn encode(&self) -> Result<Bytes, FlowError> {
        let document = Document { v: 1, message: self.clone() };
        let bytes = serde_json::to_vec(&document).map_err(|source| FlowError::Encode { what: "message", source })?;
        Ok(bytes.into())
    }

    pub(super) fn decode(data: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(data).map_err(|e| e.to_string())?;
        if document.v != 1 { Err(format!("format version {} is not 1", document.v)) } else { Ok(document.message) }
    }

    /// As a subscriber of one protocol gets it.
    pub(super) fn over(mut self, https: bool) -> Self {
        if let Some(text) = self.https_text.take().filter(|_| https) {
            self.text = text;
        }
        self
    }

    /// The attributes as a filter policy sees them: strings as texts, numbers as numbers, arrays as arrays.
    pub(super) fn attributes_for_filter(&self) -> Value {
        let value = |a: &Attribute| match a.data_type.split('.').next() {
            Some("Binary") => None,
            Some("Number") => serde_json::from_str(&a.value).ok(),
            _ if a.data_type == "String.Array" => serde_json::from_str(&a.value).ok(),
            _ => Some(Value::from(a.value.clone())),
        };
        self.attributes.iter().filter_map(|(name, a)| Some((name.clone(), value(a)?))).collect()
    }
}

/// What surrounds a message on its way to a subscriber.
pub(super) struct Envelope<'a> {
    pub topic: &'a Arn,
    /// The server's own address.
    pub base_url: &'a str,
    pub time: Timestamp,
}

/// A query string's value.
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl Envelope<'_> {
    /// The body of a notification.
    pub fn notification(&self, message: &Message, subscription: &Subscription) -> Value {
        let mut body = json!({
            "Type": "Notification",
            "MessageId": message.id,
            "TopicArn": self.topic,
            "Message": message.text,
            "Timestamp": self.time.to_iso_millis(),
            "UnsubscribeURL": format!(
                "{}/?Action=Unsubscribe&SubscriptionArn={}",
                self.base_url,
                escape(&subscription.arn(self.topic).to_string())
            ),
        });
        if let Some(subject) = &message.subject {
            body["Subject"] = subject.clone().into();
        }
        if !message.attributes.is_empty() {
            let attributes = message.attributes.iter();
            body["MessageAttributes"] =
                attributes.map(|(name, a)| (name.clone(), json!({"Type": a.data_type, "Value": a.value}))).collect();
        }
        body
    }

    /// The body that asks an endpoint to confirm.
    pub fn confirmation(&self, subscription: &Subscription) -> Value {
        let topic = self.topic;
        json!({
            "Type": "SubscriptionConfirmation",
            "MessageId": subscription.id,
            "Token": subscription.token,
            "TopicArn": topic,
            "Message": format!(
                "You have chosen to subscribe to the topic {topic}.\n\
                 To confirm the subscription, visit the SubscribeURL included in this message."
            ),
            "SubscribeURL": format!(
                "{}/?Action=ConfirmSubscription&TopicArn={}&Token={}",
                self.base_url,
                escape(&topic.to_string()),
                subscription.token
            ),
            "Timestamp": self.time.to_iso_millis(),
        })
    }
}

/// A binary attribute's value.
pub fn binary_value(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: &[(&str, &str, &str)]) -> Message {
        let attributes = attributes.iter().map(|(name, kind, value)| {
            ((*name).to_owned(), Attribute { data_type: (*kind).to_owned(), value: (*value).to_owned() })
        });
        Message { id: "m".into(), subject: None, text: "t".into(), https_text: None, attributes: attributes.collect() }
    }

    #[test]
    fn reads_back_as_written() {
        let mut message = message(&[("a", "String", "x")]);
        message.subject = Some("s".into());
        message.https_text = Some("h".into());
        assert_eq!(Message::decode(&message.encode().unwrap()), Ok(message.clone()));
        assert_eq!((message.clone().over(false).text, message.over(true).text), ("t".to_owned(), "h".to_owned()));
    }

    #[test]
    fn filters_see_typed_attributes() {
        let message = message(&[
            ("s", "String", "5"),
            ("n", "Number", "5"),
            ("l", "String.Array", r#"["a",1]"#),
            ("b", "Binary", "AA=="),
        ]);
        assert_eq!(message.attributes_for_filter(), json!({"s": "5", "n": 5, "l": ["a", 1]}));
    }

    #[test]
    fn refuses_what_the_service_refuses() {
        assert!(message(&[("a", "String", "x")]).validate().is_ok());
        assert!(message(&[("a b", "String", "x")]).validate().is_err());
        assert!(message(&[("a", "Number", "x")]).validate().is_err());
        assert!(message(&[("a", "Text", "x")]).validate().is_err());
        assert!(Message { text: String::new(), ..message(&[]) }.validate().is_err());
        assert!(Message { text: "x".repeat(MAX_BYTES + 1), ..message(&[]) }.validate().is_err());
        assert!(Message { subject: Some("a\nb".into()), ..message(&[]) }.validate().is_err());
    }
}
