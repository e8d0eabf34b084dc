//! The event that a function gets for a batch of messages.
//!
//! Owns its JSON ("Using Lambda with Amazon SQS", Lambda Developer Guide), its size, and the view of a message that
//! filters see. Pure.

use std::collections::BTreeMap;
use std::io;

use base::{Arn, Region};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::queue::{Attribute, Received, digest};

/// Bytes around the records.
pub(super) const FRAME: usize = r#"{"Records":[]}"#.len();

/// What is the same for all messages of a mapping.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub queue: Arn,
    pub region: Region,
    /// Whether it is a FIFO queue: these show more of their messages.
    pub fifo: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a> {
    records: Vec<Record<'a, &'a str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a, B> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: B,
    attributes: BTreeMap<&'static str, String>,
    message_attributes: BTreeMap<&'a str, Value<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5_of_message_attributes: Option<String>,
    md5_of_body: String,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a Arn,
    aws_region: &'a Region,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<&'a str>,
    string_list_values: [&'a str; 0],
    binary_list_values: [&'a str; 0],
    data_type: &'a str,
}

impl<'a> Value<'a> {
    fn of(attribute: &'a Attribute) -> Self {
        let binary = digest::is_binary(&attribute.data_type);
        Self {
            string_value: (!binary).then_some(&attribute.value),
            binary_value: binary.then_some(&attribute.value),
            string_list_values: [],
            binary_list_values: [],
            data_type: &attribute.data_type,
        }
    }
}

/// A body is text when it comes; what is not is shown as well as it can be.
fn text(one: &Received) -> &str {
    std::str::from_utf8(&one.message.body).unwrap_or_default()
}

fn record<'a, B>(around: &'a Surroundings, one: &'a Received, body: B) -> Record<'a, B> {
    let head = &one.message.head;
    Record {
        message_id: &head.id,
        receipt_handle: &one.handle,
        body,
        attributes: one.system_attributes(around.fifo).collect(),
        message_attributes: head.attributes.iter().map(|(name, value)| (name.as_str(), Value::of(value))).collect(),
        md5_of_message_attributes: digest::of_attributes(&head.attributes),
        md5_of_body: digest::of_body(&one.message.body),
        event_source: "aws:sqs",
        event_source_arn: &around.queue,
        aws_region: &around.region,
    }
}

/// The payload for these messages.
pub(super) fn payload(around: &Surroundings, messages: &[Received]) -> Result<Bytes, serde_json::Error> {
    let records = messages.iter().map(|one| record(around, one, text(one))).collect();
    Ok(serde_json::to_vec(&Event { records })?.into())
}

/// Counts what is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that a message takes in the event, with the comma before it.
pub(super) fn weigh(around: &Surroundings, one: &Received) -> usize {
    let mut length = Length(1);
    match serde_json::to_writer(&mut length, &record(around, one, text(one))) {
        Ok(()) => length.0,
        // Then there is no event for it either.
        Err(_) => usize::MAX / 2,
    }
}

/// A message as filter patterns see it, as JSON: its body as JSON where it is an object or an array, else as text.
pub(super) fn for_filter(around: &Surroundings, one: &Received) -> serde_json::Result<Vec<u8>> {
    let text = text(one);
    let structured = text.trim_start().starts_with(['{', '[']);
    match structured.then(|| serde_json::from_str::<&RawValue>(text)) {
        Some(Ok(body)) => serde_json::to_vec(&record(around, one, body)),
        _ => serde_json::to_vec(&record(around, one, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Head, Message};
    use base::{Position, Scope, Timestamp};
    use serde_json::{Value, json};

    fn around(fifo: bool) -> Surroundings {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        Surroundings { queue: Arn::new("sqs", &scope, "q"), region: scope.region, fifo }
    }

    fn received(body: &str, head: Head) -> Received {
        Received {
            message: Message { head, body: body.to_owned().into() },
            handle: "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".into(),
            sequence: Position::new(7),
            sent: Timestamp::from_millis(1_545_082_649_183),
            receives: 1,
            first_received: Timestamp::from_millis(1_545_082_649_185),
        }
    }

    fn attribute(data_type: &str, value: &str) -> Attribute {
        Attribute { data_type: data_type.into(), value: value.into() }
    }

    #[test]
    fn the_event_is_the_one_that_handlers_know() {
        let attributes = [("t".into(), attribute("String", "x")), ("b".into(), attribute("Binary", "aGk="))];
        let head =
            Head { id: "059f36b4".into(), sender: "AIDA".into(), attributes: attributes.into(), ..Head::default() };
        let one = received("Test message.", head);
        let event: Value =
            serde_json::from_slice(&payload(&around(false), std::slice::from_ref(&one)).unwrap()).unwrap();
        let digest = digest::of_attributes(&one.message.head.attributes).unwrap();
        let expected = json!({"Records": [{
            "messageId": "059f36b4",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": "Test message.",
            "attributes": {
                "ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183", "SenderId": "AIDA",
                "ApproximateFirstReceiveTimestamp": "1545082649185"
            },
            "messageAttributes": {
                "t": {"stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                "b": {"binaryValue": "aGk=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"}
            },
            "md5OfMessageAttributes": digest,
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q",
            "awsRegion": "us-east-1"
        }]});
        assert_eq!(event, expected);
    }

    #[test]
    fn a_fifo_queue_shows_the_order() {
        let head = Head { id: "i".into(), group: Some("g".into()), dedup: Some("d".into()), ..Head::default() };
        let one = received("x", head);
        let event: Value =
            serde_json::from_slice(&payload(&around(true), std::slice::from_ref(&one)).unwrap()).unwrap();
        let attributes = &event["Records"][0]["attributes"];
        assert_eq!(attributes["SequenceNumber"], "00000000000000000007");
        assert_eq!((&attributes["MessageGroupId"], &attributes["MessageDeduplicationId"]), (&json!("g"), &json!("d")));
        assert_eq!(event["Records"][0].get("md5OfMessageAttributes"), None);
    }

    #[test]
    fn messages_weigh_what_they_take() {
        let around = around(false);
        let bodies = ["", "Test message.", "\u{1}\"\\ü\n", &"x".repeat(1_000)];
        let messages: Vec<_> = bodies.iter().map(|body| received(body, Head::default())).collect();
        let weight: usize = messages.iter().map(|one| weigh(&around, one)).sum();
        assert_eq!(payload(&around, &messages).unwrap().len(), FRAME + weight - 1, "no comma before the first");
    }

    #[test]
    fn filters_see_json_where_there_is_some() {
        let body = |text: &str| {
            let view = for_filter(&around(false), &received(text, Head::default())).unwrap();
            serde_json::from_slice::<Value>(&view).unwrap()["body"].clone()
        };
        assert_eq!(body(r#" {"a":[1]}"#), json!({"a": [1]}));
        assert_eq!(body("[1]"), json!([1]));
        for text in ["plain", "5", "\"x\"", "{no", ""] {
            assert_eq!(body(text), json!(text));
        }
    }
}
