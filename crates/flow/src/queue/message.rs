//! A message, and the record of the queue's log that holds it.
//!
//! Owns the record's form: a version, a line of JSON, then the body as it came. Promises that what is read back is what
//! was sent.
//! Must not know what became of the message.
//!
//! ```text
//! partition key "m"; data = "1" {"id":…,"sender":…,"attributes":{NAME:{"type":…,"value":…}},"trace":…,"group":…,
//!   "dedup":…,"delay_ms":…,"sent":…,"source":…,"receives":…,"first_received":…,"moved":…} LF body
//! ```

use std::collections::BTreeMap;

use base::{Arn, Timestamp};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::FlowError;

/// The partition key of a message's record.
pub(super) const KEY: &str = "m";
const VERSION: u8 = b'1';

/// What a sender says about a message besides its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with a label of the sender's after a dot.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Text, or base64 of a binary value.
    pub value: String,
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Its facts.
    pub head: Head,
    /// Its text, which is UTF-8.
    pub body: Bytes,
}

/// The facts of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// A UUID.
    pub id: String,
    /// Who sent it.
    pub sender: String,
    /// What the sender says about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// The sender's X-Ray trace header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Those of one group are delivered in their order (FIFO), or share fairly with other groups (standard).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// One of those that have the same within five minutes is taken (FIFO).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<String>,
    /// How long it is kept back after its arrival.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
    /// When it was sent, when that was not its arrival in this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Timestamp>,
    /// The queue that gave it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Arn>,
    /// How often it was received elsewhere before.
    #[serde(default, skip_serializing_if = "is_none_received")]
    pub receives: u32,
    /// When that was for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_received: Option<Timestamp>,
    /// A move task put it here: its deduplication id is of its first sending, and counts for nothing here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
}

/// Whether a message may have this text ("SendMessage", SQS API Reference).
pub fn is_text(text: &str) -> bool {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    text.chars().all(allowed)
}

/// Whether an attribute of the type `Number` may have this value: up to 38 digits, between 10^-128 and 10^126
/// ("Message attribute data types", SQS Developer Guide).
pub fn is_number(text: &str) -> bool {
    const MOST_DIGITS: usize = 38;
    let Ok(value) = text.parse::<f64>() else { return false };
    // "inf" and "NaN" are numbers to the parser.
    let in_range = value == 0.0 || (1e-128..=1e126).contains(&value.abs());
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    in_range && digits.trim_matches('0').len() <= MOST_DIGITS
}

fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

fn is_none_received(receives: &u32) -> bool {
    *receives == 0
}

impl Message {
    /// The record's data.
    pub(super) fn encode(&self) -> Result<Bytes, FlowError> {
        let head =
            serde_json::to_vec(&self.head).map_err(|source| FlowError::Encode { what: "queue's message", source })?;
        let mut data = BytesMut::with_capacity(head.len() + 2 + self.body.len());
        data.put_u8(VERSION);
        data.put_slice(&head);
        data.put_u8(b'\n');
        data.put_slice(&self.body);
        Ok(data.freeze())
    }

    /// Says what is wrong with data that is no message's.
    pub(super) fn decode(data: &Bytes) -> Result<Self, String> {
        let end = data.iter().position(|b| *b == b'\n').ok_or("it has no header line")?;
        let (version, head) = data[..end].split_first().ok_or("its header line is empty")?;
        if *version != VERSION {
            return Err(format!("format version {version} is not {VERSION}"));
        }
        let head: Head = serde_json::from_slice(head).map_err(|e| e.to_string())?;
        Ok(Self { head, body: data.slice(end + 1..) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back_as_written(
            body: Vec<u8>, group in proptest::option::of(".{0,20}"), dedup in proptest::option::of(".{0,20}"),
            names in proptest::collection::btree_map(".{1,9}", ".{0,9}", 0..4), delay_ms in 0u64..900_000,
        ) {
            let attributes = names.into_iter().map(|(name, value)| (name, Attribute { data_type: "String".into(), value }));
            let head = Head { id: "i".into(), attributes: attributes.collect(), group, dedup, delay_ms, ..Head::default() };
            let message = Message { head, body: body.into() };
            prop_assert_eq!(Message::decode(&message.encode().unwrap()).unwrap(), message);
        }
    }

    #[test]
    fn numbers_are_bounded_in_digits_and_size() {
        let long = |digits: usize| format!("00{}000.0", "1".repeat(digits));
        for good in ["0", "-0.0", "05", "+5", ".5e1", "1e126", "-1e-128", &long(38)] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "x", "inf", "NaN", "1e127", "1e-129", "0x1", "1 ", &long(39)] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        let read = |data: &'static [u8]| Message::decode(&Bytes::from_static(data));
        assert!(read(b"1{\"id\":\"\",\"sender\":\"\"}\n").is_ok());
        assert!(read(b"2{\"id\":\"\",\"sender\":\"\"}\n").is_err());
        assert!(read(b"1{\"id\":\"\",\"sender\":\"\"}").is_err());
        assert!(read(b"\n").is_err());
    }
}
