//! What became of an asynchronous invocation, told to whom its owner wants it told.
//!
//! Owns the documents that destinations get, and the letters for dead-letter queues and topics ("Capturing records of
//! Lambda asynchronous invocations", Lambda Developer Guide). Promises that a failure is told durably before the event
//! is let go, unless its destination can never take it, which is counted and logged. Told again after a crash, a result
//! is the same to destinations of this server's journal, and is there once. Must not know when an event is given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{
    Arn, BusName, Delivery, ErrorKind, Event, Invocation, Invoke, InvokeOutcome, Kinded, Target, TargetError, Timestamp,
};
use bytes::Bytes;
use log::Record;
use serde_json::{Value, json};

use super::config::qualified;
use crate::bus::Buses;
use crate::dead_letter::{DeadLetters, Letter, text};
use crate::producer::{producer_id, stable_uuid};
use crate::queue;
use crate::roles::{Acting, Denial, LAMBDA, Roles, action_of, unqualified};
use crate::topic::{self, Topics};

/// Characters of an error message that a dead letter keeps ("up to 1 KB").
const MAX_MESSAGE: usize = 1_024;
const SERVICE_SOURCE: &str = "lambda";

/// The rooms that results go to.
#[derive(Clone)]
pub(crate) struct Outlets {
    pub router: Arc<dyn Target>,
    pub buses: Buses,
    pub topics: Topics,
    pub dead_letters: DeadLetters,
    pub invoke: Arc<dyn Invoke>,
    pub roles: Roles,
}

/// Why a result is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Success,
    RetriesExhausted,
    EventAgeExceeded,
    ZeroReservedConcurrency,
}

impl Condition {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::ZeroReservedConcurrency => "ZeroReservedConcurrency",
        }
    }
}

/// A result.
pub(super) struct Told<'a> {
    pub record: &'a Record,
    pub call: &'a Invocation,
    pub condition: Condition,
    pub attempts: u32,
    /// How the function answered at last, when it was called at all.
    pub outcome: Option<&'a InvokeOutcome>,
    /// What was wrong at last.
    pub reason: &'a str,
    pub now: Timestamp,
}

fn any_json(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)))
}

impl Told<'_> {
    fn request_id(&self) -> &str {
        self.call.request_id.as_deref().unwrap_or_default()
    }

    /// The document without what function and caller said, for a destination that does not take as much.
    fn brief(&self) -> Value {
        let mut document = self.document();
        for payload in ["requestPayload", "responsePayload"] {
            document.as_object_mut().and_then(|members| members.remove(payload));
        }
        document
    }

    /// The document as destinations get it.
    pub fn document(&self) -> Value {
        let mut document = json!({
            "version": "1.0",
            "timestamp": self.now.to_iso_millis(),
            "requestContext": {
                "requestId": self.request_id(),
                "functionArn": qualified(&self.call.function),
                "condition": self.condition.name(),
                "approximateInvokeCount": self.attempts,
            },
            "requestPayload": any_json(&self.call.payload),
        });
        if let Some(outcome) = self.outcome {
            let mut context = json!({ "statusCode": 200, "executedVersion": outcome.executed_version });
            if let Some(error) = &outcome.error {
                context["functionError"] = Value::from(error.as_str());
            }
            document["responseContext"] = context;
            document["responsePayload"] = any_json(&outcome.payload);
        }
        document
    }

    /// What a dead letter says beside the event.
    fn attributes(&self) -> [(&'static str, &'static str, String); 3] {
        let said = self.outcome.map(|outcome| any_json(&outcome.payload));
        let said = said.as_ref().and_then(|document| document["errorMessage"].as_str()).unwrap_or(self.reason);
        let mut message = said.to_owned();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        // The status that the call had: 200 when the function ran, whatever it said.
        let code = if self.outcome.is_some() || self.attempts > 0 { "200" } else { "429" };
        [
            ("RequestID", "String", self.request_id().to_owned()),
            ("ErrorCode", "Number", code.to_owned()),
            ("ErrorMessage", "String", message),
        ]
    }
}

impl Outlets {
    /// Whether a function's role may hand something to `to`.
    fn permit(&self, function: &Arn, to: &Arn) -> Result<(), TargetError> {
        let gone = || TargetError { kind: ErrorKind::NotFound, message: format!("{function} is gone, and its role") };
        let role = self.invoke.role(function).ok_or_else(gone)?;
        let source = unqualified(function);
        let session = source.resource_of("function").unwrap_or_default();
        let acting = Acting { service: LAMBDA, role: &role, session, source: &source };
        Ok(self.roles.permit_delivery(&acting, to)?)
    }

    /// The same with a role that a function has or is to have, for whoever only wants to know: the action that may not
    /// be done, and why.
    pub(super) fn look(&self, function: &Arn, role: &Arn, to: &Arn) -> Result<(), Denial> {
        let (source, action) = (unqualified(function), action_of(to).unwrap_or_default());
        let session = source.resource_of("function").unwrap_or_default();
        self.roles.look(&Acting { service: LAMBDA, role, session, source: &source }, action, to)
    }

    /// Tells a destination; one that can never take the whole document is told without the payloads.
    pub(super) async fn tell(&self, to: &Arn, told: &Told<'_>) -> Result<(), TargetError> {
        self.permit(&told.call.function, to)?;
        let whole = self.tell_as(to, told, told.document()).await;
        match whole {
            Err(error) if error.kind == ErrorKind::Invalid => {
                let brief = self.tell_as(to, told, told.brief()).await;
                if brief.is_ok() {
                    let (id, reason) = (told.request_id(), &error.message);
                    tracing::warn!(%to, request_id = id, reason, "a result is told without its payloads");
                }
                // What is wrong with both is wrong with the first.
                brief.map_err(|brief| if brief.kind == ErrorKind::Invalid { error } else { brief })
            }
            whole => whole,
        }
    }

    async fn tell_as(&self, to: &Arn, told: &Told<'_>, document: Value) -> Result<(), TargetError> {
        let way = if told.condition == Condition::Success { "success" } else { "failure" };
        let producer = producer_id(&[b"invocation-result", told.request_id().as_bytes(), way.as_bytes()]);
        if to.service() == "events" {
            let id = stable_uuid(producer, told.record.position);
            return self.put_event(to, told, id, &document).await;
        }
        let payload = Bytes::from(document.to_string());
        let delivery = Delivery { position: told.record.position, payload, partition_key: None };
        self.router.deliver(to, producer, &[delivery]).await
    }

    async fn put_event(&self, to: &Arn, told: &Told<'_>, id: String, document: &Value) -> Result<(), TargetError> {
        let refused = |message: String| TargetError { kind: ErrorKind::Invalid, message };
        let bus: Option<BusName> = to.resource_of("event-bus").and_then(|name| name.parse().ok());
        let (Some(bus), Some(scope)) = (bus, to.scope()) else {
            return Err(refused(format!("{to} is not the ARN of an event bus")));
        };
        let outcome = if told.condition == Condition::Success { "Success" } else { "Failure" };
        let event = Event {
            id,
            detail_type: format!("Lambda Function Invocation Result - {outcome}"),
            source: SERVICE_SOURCE.to_owned(),
            account: scope.account.clone(),
            time: told.now,
            region: scope.region.clone(),
            resources: vec![to.to_string(), qualified(&told.call.function)],
            detail: Event::compact(&document.to_string()).map_err(|e| refused(e.to_string()))?,
        };
        let put = self.buses.put_new_events(&scope, &bus, &[event]).await;
        put.map(drop).map_err(|error| TargetError { kind: error.kind(), message: error.to_string() })
    }

    /// Puts an event that is given up into a dead-letter queue or topic, as it came.
    pub(super) async fn bury(&self, grave: &Arn, told: &Told<'_>) -> Result<(), TargetError> {
        self.permit(&told.call.function, grave)?;
        let failed = |kind: ErrorKind, message: String| TargetError { kind, message };
        let producer = producer_id(&[b"invocation-letter", told.request_id().as_bytes()]);
        let id = stable_uuid(producer, told.record.position);
        if grave.service() == "sns" {
            let Some((scope, name)) = grave.scope().zip(grave.resource().parse().ok()) else {
                return Err(failed(ErrorKind::Invalid, format!("{grave} is not the ARN of a topic")));
            };
            let attribute = |(name, kind, value): (&str, &str, String)| {
                (name.to_owned(), topic::Attribute { data_type: kind.to_owned(), value })
            };
            let message = topic::Message {
                id,
                text: String::from_utf8_lossy(&told.call.payload).into_owned(),
                attributes: told.attributes().map(attribute).into(),
                ..Default::default()
            };
            let published = self.topics.publish(&scope, &name, vec![message]).await;
            return published.map(drop).map_err(|e| failed(e.kind(), e.to_string()));
        }
        let attribute = |(name, kind, value): (&str, &str, String)| {
            (name.to_owned(), queue::Attribute { data_type: kind.to_owned(), ..text(value) })
        };
        let attributes: BTreeMap<_, _> = told.attributes().map(attribute).into();
        let letter = Letter { id, body: told.call.payload.clone(), attributes, order: None };
        let sent = self.dead_letters.send(grave, letter).await;
        sent.map_err(|e| failed(e.kind(), e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::{PartitionKey, Position};

    use super::*;

    #[test]
    fn a_document_reads_as_the_service_words_it() {
        let call = Invocation {
            function: "arn:aws:lambda:us-east-2:123456789012:function:my-function".parse().unwrap(),
            payload: Bytes::from_static(b"{\"ORDER_IDS\":[1]}"),
            request_id: Some("e4b46cbf".to_owned()),
            client_context: None,
            want_log: false,
            trace: None,
        };
        let outcome = InvokeOutcome {
            request_id: "e4b46cbf".to_owned(),
            payload: Bytes::from_static(b"{\"errorMessage\":\"out\"}"),
            error: Some("Unhandled".to_owned()),
            log_tail: None,
            executed_version: "$LATEST".to_owned(),
            duration: Duration::ZERO,
        };
        let record = Record {
            position: Position::new(1),
            arrival: Timestamp::from_millis(0),
            partition_key: "k".parse::<PartitionKey>().unwrap(),
            explicit_hash_key: None,
            data: Bytes::new(),
            sealed: false,
        };
        let told = Told {
            record: &record,
            call: &call,
            condition: Condition::RetriesExhausted,
            attempts: 3,
            outcome: Some(&outcome),
            reason: "",
            now: "2019-11-14T18:16:05.568Z".parse().unwrap(),
        };
        let expected = json!({
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "requestContext": {
                "requestId": "e4b46cbf",
                "functionArn": "arn:aws:lambda:us-east-2:123456789012:function:my-function:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": { "ORDER_IDS": [1] },
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "responsePayload": { "errorMessage": "out" },
        });
        assert_eq!(told.document(), expected);
        let never = Told { outcome: None, condition: Condition::EventAgeExceeded, reason: "busy", ..told };
        assert_eq!(never.document()["responseContext"], Value::Null);
        assert_eq!(never.attributes()[2].2, "busy");
    }
}
