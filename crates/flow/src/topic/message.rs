//! Messages: as published, and as they lie in a topic's log.
//!
//! Owns their form and what makes them valid ("Publish", SNS API Reference; "Amazon SNS message attributes", SNS
//! Developer Guide). Must not know how they look to subscribers.
//!
//! A record's data is JSON: `{"v":1,"id":…,"subject":…,"text":…,"texts":{PROTOCOL:…},"attributes":{NAME:{"data_type":…,
//! "value":…}},"group":…,"dedup":…}`. Older records have one more text, `https_text`, in place of `texts`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint::Protocol;
use crate::FlowError;
use crate::queue::is_number;

/// Bytes of a message with its attributes, unless its topic has another `MaximumMessageSize`.
pub const MAX_MESSAGE_BYTES: u32 = 262_144;
/// Characters of a group's name and of a deduplication id.
const MAX_ID: usize = 128;

/// A typed attribute beside the message's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `String.Array`, `Number` or `Binary`, with an optional label after a dot.
    pub data_type: String,
    /// The text; base64 for `Binary`.
    pub value: String,
}

/// A message as published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id, a UUID.
    pub id: String,
    /// The subject line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The text.
    pub text: String,
    /// The texts for subscribers of some protocols, by name, where they are others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, String>,
    /// What filter policies and receivers look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// Those of one group keep their order (FIFO), or share fairly with other groups in a standard queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// One of those that have the same within five minutes is taken (FIFO).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    #[serde(default, skip_serializing)]
    https_text: Option<String>,
    #[serde(flatten)]
    message: Message,
}

fn invalid<T>(what: impl Into<String>) -> Result<T, FlowError> {
    Err(FlowError::Invalid(format!("Invalid parameter: {}", what.into())))
}

impl Message {
    /// Whether it can be published to a topic that takes so many bytes.
    pub(super) fn validate(&self, max_bytes: u32) -> Result<(), FlowError> {
        if self.text.is_empty() || self.texts.values().any(String::is_empty) {
            return invalid("Empty message");
        }
        let attributes: usize =
            self.attributes.iter().map(|(name, a)| name.len() + a.data_type.len() + a.value.len()).sum();
        let texts: usize = self.texts.values().map(String::len).sum();
        if self.text.len() + texts + attributes > max_bytes as usize {
            return invalid("Message too long");
        }
        let subject_ok = |s: &String| (1..=100).contains(&s.chars().count()) && !s.chars().any(char::is_control);
        if self.subject.as_ref().is_some_and(|s| !subject_ok(s)) {
            return invalid("Subject");
        }
        let id_ok = |id: &String| (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if self.group.as_ref().is_some_and(|group| !id_ok(group)) {
            return invalid("MessageGroupId Reason: it has 1 to 128 letters, digits and punctuation marks");
        }
        if self.dedup.as_ref().is_some_and(|dedup| !id_ok(dedup)) {
            return invalid("MessageDeduplicationId Reason: it has 1 to 128 letters, digits and punctuation marks");
        }
        self.attributes.iter().try_for_each(|(name, attribute)| attribute.validate(name))
    }

    /// As it lies in the log.
    pub(super) fn encode(&self) -> Result<Bytes, FlowError> {
        let document = Document { v: 1, https_text: None, message: self.clone() };
        let bytes = serde_json::to_vec(&document).map_err(|source| FlowError::Encode { what: "message", source })?;
        Ok(bytes.into())
    }

    pub(super) fn decode(data: &[u8]) -> Result<Self, String> {
        let Document { v, https_text, mut message } = serde_json::from_slice(data).map_err(|e| e.to_string())?;
        if v != 1 {
            return Err(format!("format version {v} is not 1"));
        }
        message.texts.extend(https_text.map(|text| ("https".to_owned(), text)));
        Ok(message)
    }

    /// The text for subscribers of a protocol.
    pub(super) fn text_for(&self, protocol: Protocol) -> &str {
        self.texts.get(protocol.name()).unwrap_or(&self.text)
    }

    /// The attributes as a filter policy sees them: strings as texts, numbers as numbers, arrays as arrays.
    pub(super) fn attributes_for_filter(&self) -> Value {
        let value = |a: &Attribute| match a.data_type.split('.').next() {
            Some("Binary") => None,
            Some("Number") => number(&a.value),
            _ if a.data_type == "String.Array" => serde_json::from_str(&a.value).ok(),
            _ => Some(Value::from(a.value.clone())),
        };
        self.attributes.iter().filter_map(|(name, a)| Some((name.clone(), value(a)?))).collect()
    }
}

/// A number as JSON writes it. Senders may write it otherwise: `05`, `+5`, `5.`, `.5e1`.
fn number(text: &str) -> Option<Value> {
    let plain = || text.parse::<f64>().ok()?.to_string().parse().ok();
    serde_json::from_str(text).ok().or_else(plain).map(Value::Number)
}

impl Attribute {
    fn validate(&self, name: &str) -> Result<(), FlowError> {
        let name_ok = (1..=256).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
            && !name.starts_with('.')
            && !name.ends_with('.')
            && !name.contains("..");
        let kind = self.data_type.split('.').next().unwrap_or_default();
        let kind_ok = self.data_type.len() <= 256 && matches!(kind, "String" | "Number" | "Binary");
        let shown: String = name.chars().take(256).collect();
        if !name_ok || !kind_ok || self.value.is_empty() {
            return invalid(format!("the message attribute '{shown}'"));
        }
        if kind == "Number" && !is_number(&self.value) {
            return invalid(format!("the message attribute '{shown}' is not a number"));
        }
        let is_array = || {
            let items: Vec<Value> = serde_json::from_str(&self.value).ok()?;
            items.iter().all(|item| !item.is_array() && !item.is_object()).then_some(())
        };
        if self.data_type == "String.Array" && is_array().is_none() {
            return invalid(format!(
                "the message attribute '{shown}' is not a JSON array of strings, numbers, true, false and null"
            ));
        }
        Ok(())
    }
}

/// A binary attribute's value.
pub fn binary_value(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(attributes: &[(&str, &str, &str)]) -> Message {
        let attributes = attributes.iter().map(|(name, kind, value)| {
            ((*name).to_owned(), Attribute { data_type: (*kind).to_owned(), value: (*value).to_owned() })
        });
        Message { id: "m".into(), text: "t".into(), attributes: attributes.collect(), ..Message::default() }
    }

    #[test]
    fn reads_back_as_written() {
        let mut message = message(&[("a", "String", "x")]);
        message.subject = Some("s".into());
        message.texts.insert("sqs".into(), "q".into());
        (message.group, message.dedup) = (Some("g".into()), Some("d".into()));
        assert_eq!(Message::decode(&message.encode().unwrap()), Ok(message.clone()));
        assert_eq!((message.text_for(Protocol::Http), message.text_for(Protocol::Sqs)), ("t", "q"));
    }

    #[test]
    fn records_of_before_are_read() {
        let old = Message::decode(br#"{"v":1,"id":"i","text":"t","https_text":"h"}"#).unwrap();
        assert_eq!((old.text_for(Protocol::Http), old.text_for(Protocol::Https)), ("t", "h"));
        assert!(Message::decode(br#"{"v":2,"id":"i","text":"t"}"#).is_err());
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
        for (text, number) in [("05", "5"), ("+5", "5"), ("5.", "5"), (".5e1", "5"), ("-.25", "-0.25"), ("1e3", "1e3")]
        {
            let seen = self::message(&[("n", "Number", text)]).attributes_for_filter();
            assert_eq!(seen["n"], serde_json::from_str::<Value>(number).unwrap(), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_service_refuses() {
        let check = |message: Message| message.validate(MAX_MESSAGE_BYTES);
        for good in [("a", "String", "x"), ("a.b-c_d", "Number.x", "-1e3"), ("a", "String.Array", "[null,1,\"a\"]")] {
            assert!(check(message(&[good])).is_ok(), "{good:?}");
        }
        for bad in [
            ("a b", "String", "x"),
            (".a", "String", "x"),
            ("a..b", "String", "x"),
            ("a", "Number", "x"),
            ("a", "Number", "inf"),
            ("a", "Number", "1e200"),
            ("a", "Text", "x"),
            ("a", "String", ""),
            ("a", "String.Array", "[[1]]"),
            ("a", "String.Array", "x"),
        ] {
            assert!(check(message(&[bad])).is_err(), "{bad:?}");
        }
        assert!(check(Message { text: String::new(), ..message(&[]) }).is_err());
        let long = Message { text: "x".repeat(MAX_MESSAGE_BYTES as usize + 1), ..message(&[]) };
        assert!(check(long.clone()).is_err() && long.validate(1 << 20).is_ok());
        assert!(check(Message { subject: Some("a\nb".into()), ..message(&[]) }).is_err());
        assert!(check(Message { group: Some("a b".into()), ..message(&[]) }).is_err());
        assert!(check(Message { dedup: Some("x".repeat(129)), ..message(&[]) }).is_err());
    }
}
