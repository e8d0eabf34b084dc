//! ReceiveMessage.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flow::queue::{Attribute, Receive, Received, SYSTEM_ATTRIBUTES, digest};
use wire::sqs::Message as MessageShape;
use wire::sqs::*;
use wire::{Call, ServiceError};

use super::address::queue;
use super::{QueueService, attributes, failed, invalid_value, send};

pub(super) async fn messages(
    service: &QueueService,
    call: &Call,
    input: ReceiveMessageInput,
) -> Result<ReceiveMessageOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let info = service.queues.get(&call.scope, &name).map_err(failed)?;
    let fifo = info.attributes.fifo.is_some();
    let system = system_names(input.attribute_names, input.message_system_attribute_names)?;
    let max = input.max_number_of_messages.unwrap_or(1);
    if !(1..=10).contains(&max) {
        return Err(invalid_value(max, "MaxNumberOfMessages", "Must be between 1 and 10, if provided."));
    }
    let wait = seconds(input.wait_time_seconds, "WaitTimeSeconds", 20)?;
    let visibility = seconds(input.visibility_timeout, "VisibilityTimeout", 43_200)?;
    if let Some(attempt) = input.receive_request_attempt_id.as_deref().filter(|_| !fifo) {
        let reason = "The request include parameter that is not valid for this queue type.";
        return Err(invalid_value(attempt, "ReceiveRequestAttemptId", reason));
    }
    send::check_id("ReceiveRequestAttemptId", input.receive_request_attempt_id.as_deref())?;
    let ask = Receive {
        max: max.unsigned_abs() as usize,
        visibility,
        wait,
        attempt: input.receive_request_attempt_id,
        left: call.left.clone(),
    };
    let received = service.queues.receive(&call.scope, &name, &ask).await.map_err(failed)?;
    let wanted = input.message_attribute_names.unwrap_or_default();
    let messages: Vec<_> = received.into_iter().map(|received| show(received, fifo, &system, &wanted)).collect();
    Ok(ReceiveMessageOutput { messages: (!messages.is_empty()).then_some(messages) })
}

pub(super) fn seconds(given: Option<i32>, name: &str, max: i32) -> Result<Option<Duration>, ServiceError> {
    match given {
        Some(value) if !(0..=max).contains(&value) => {
            Err(invalid_value(value, name, &format!("Must be >= 0 and <= {max}, if provided.")))
        }
        value => Ok(value.map(|value| Duration::from_secs(value.unsigned_abs().into()))),
    }
}

/// The system attributes that are asked for, by either of the two names that the parameter has.
fn system_names(old: Option<Vec<String>>, new: Option<Vec<String>>) -> Result<BTreeSet<&'static str>, ServiceError> {
    let mut names = BTreeSet::new();
    for asked in old.into_iter().flatten().chain(new.into_iter().flatten()) {
        if asked == "All" {
            names.extend(SYSTEM_ATTRIBUTES);
        } else {
            let known = SYSTEM_ATTRIBUTES.iter().find(|name| **name == asked);
            names.insert(*known.ok_or_else(|| attributes::unknown(&asked))?);
        }
    }
    Ok(names)
}

fn show(received: Received, fifo: bool, system: &BTreeSet<&'static str>, wanted: &[String]) -> MessageShape {
    let attributes = shown_system(&received, fifo, system);
    let Received { message, handle, .. } = received;
    let (head, body) = (message.head, message.body);
    let chosen: BTreeMap<_, _> = head.attributes.into_iter().filter(|(name, _)| is_wanted(name, wanted)).collect();
    MessageShape {
        message_id: Some(head.id),
        receipt_handle: Some(handle),
        md5_of_body: Some(digest::of_body(&body)),
        // It was text when it came.
        body: Some(String::from_utf8_lossy(&body).into_owned()),
        attributes: (!attributes.is_empty()).then_some(attributes),
        md5_of_message_attributes: digest::of_attributes(&chosen),
        message_attributes: (!chosen.is_empty())
            .then(|| chosen.into_iter().map(|(name, value)| (name, shown_attribute(value))).collect()),
    }
}

/// Whether a message attribute is asked for: by name, by a prefix with `.*`, or with all.
fn is_wanted(name: &str, wanted: &[String]) -> bool {
    wanted.iter().any(|asked| match asked.as_str() {
        "All" | ".*" | "*" => true,
        asked => asked.strip_suffix(".*").map_or(asked == name, |prefix| name.starts_with(prefix)),
    })
}

fn shown_attribute(attribute: Attribute) -> MessageAttributeValue {
    let Attribute { data_type, value } = attribute;
    let mut shown = MessageAttributeValue::default();
    if digest::is_binary(&data_type) {
        // It was encoded by us.
        shown.binary_value = Some(STANDARD.decode(value).unwrap_or_default().into());
    } else {
        shown.string_value = Some(value);
    }
    shown.data_type = data_type;
    shown
}

fn shown_system(received: &Received, fifo: bool, names: &BTreeSet<&'static str>) -> BTreeMap<String, String> {
    received
        .system_attributes(fifo)
        .filter(|(name, _)| names.contains(name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
