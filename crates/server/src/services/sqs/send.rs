//! SendMessage and SendMessageBatch.

use std::collections::BTreeMap;

use base::Principal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flow::queue::{
    Attribute, Head, MAX_MESSAGE_BYTES, Message, QueueAttributes, Sent, digest, is_number, is_text, sequence_number,
};
use wire::sqs::*;
use wire::{Call, ServiceError};

use super::address::queue;
use super::{QueueService, batch, failed, invalid, invalid_value, missing};

/// Attributes of one message.
const MOST_ATTRIBUTES: usize = 10;

/// What a message is sent with.
struct Draft {
    body: String,
    delay: Option<i32>,
    attributes: Option<BTreeMap<String, MessageAttributeValue>>,
    system: Option<BTreeMap<String, MessageSystemAttributeValue>>,
    dedup: Option<String>,
    group: Option<String>,
}

/// The digests of a message.
struct Digests {
    body: String,
    attributes: Option<String>,
    system: Option<String>,
}

pub(super) async fn one(
    service: &QueueService,
    call: &Call,
    input: SendMessageInput,
) -> Result<SendMessageOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let info = service.queues.get(&call.scope, &name).map_err(failed)?;
    let draft = Draft {
        body: input.message_body,
        delay: input.delay_seconds,
        attributes: input.message_attributes,
        system: input.message_system_attributes,
        dedup: input.message_deduplication_id,
        group: input.message_group_id,
    };
    let (message, digests) = read(service, call, &info.attributes, draft)?;
    let mut sent = service.queues.send(&call.scope, &name, vec![message]).await.map_err(failed)?;
    let sent = sent.pop().ok_or_else(|| ServiceError::new("InternalFailure", "nothing was sent").with_status(500))?;
    Ok(SendMessageOutput {
        md5_of_message_body: Some(digests.body),
        md5_of_message_attributes: digests.attributes,
        md5_of_message_system_attributes: digests.system,
        sequence_number: sequence(&info.attributes, &sent),
        message_id: Some(sent.id),
    })
}

pub(super) async fn batch(
    service: &QueueService,
    call: &Call,
    input: SendMessageBatchInput,
) -> Result<SendMessageBatchOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let info = service.queues.get(&call.scope, &name).map_err(failed)?;
    batch::check("SendMessageBatchRequestEntry", input.entries.iter().map(|entry| entry.id.as_str()))?;
    let bytes: usize = input.entries.iter().map(|e| size(&e.message_body, e.message_attributes.as_ref())).sum();
    if bytes > MAX_MESSAGE_BYTES as usize {
        let message =
            format!("Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent {bytes} bytes.");
        return Err(ServiceError::new("BatchRequestTooLong", message));
    }
    check_batch_order(&info.attributes, &input.entries)?;
    let mut output = SendMessageBatchOutput::default();
    let (mut messages, mut entries) = (Vec::new(), Vec::new());
    for entry in input.entries {
        let draft = Draft {
            body: entry.message_body,
            delay: entry.delay_seconds,
            attributes: entry.message_attributes,
            system: entry.message_system_attributes,
            dedup: entry.message_deduplication_id,
            group: entry.message_group_id,
        };
        match read(service, call, &info.attributes, draft) {
            Ok((message, digests)) => {
                messages.push(message);
                entries.push((entry.id, digests));
            }
            Err(error) => output.failed.push(batch::entry_failed(entry.id, &error)),
        }
    }
    let sent = service.queues.send(&call.scope, &name, messages).await.map_err(failed)?;
    output.successful = sent
        .into_iter()
        .zip(entries)
        .map(|(sent, (id, digests))| SendMessageBatchResultEntry {
            id,
            sequence_number: sequence(&info.attributes, &sent),
            message_id: sent.id,
            md5_of_message_body: digests.body,
            md5_of_message_attributes: digests.attributes,
            md5_of_message_system_attributes: digests.system,
            ..Default::default()
        })
        .collect();
    Ok(output)
}

/// 20 digits, growing along the queue. Standard queues show none.
fn sequence(attributes: &QueueAttributes, sent: &Sent) -> Option<String> {
    attributes.fifo.map(|_| sequence_number(sent.sequence))
}

/// Bytes that count: the body's, and the names, types and values of attributes.
fn size(body: &str, attributes: Option<&BTreeMap<String, MessageAttributeValue>>) -> usize {
    let of = |(name, value): (&String, &MessageAttributeValue)| {
        let text = value.string_value.as_ref().map_or(0, String::len);
        let bytes = value.binary_value.as_ref().map_or(0, bytes::Bytes::len);
        name.len() + value.data_type.len() + text + bytes
    };
    body.len() + attributes.into_iter().flatten().map(of).sum::<usize>()
}

fn read(
    service: &QueueService,
    call: &Call,
    queue: &QueueAttributes,
    draft: Draft,
) -> Result<(Message, Digests), ServiceError> {
    if draft.body.is_empty() {
        return Err(missing("MessageBody"));
    }
    check_characters(&draft.body)?;
    if size(&draft.body, draft.attributes.as_ref()) > queue.max_message_bytes as usize {
        let most = queue.max_message_bytes;
        return Err(invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        )));
    }
    let attributes = attributes(draft.attributes.unwrap_or_default())?;
    let system = system_attributes(draft.system.unwrap_or_default())?;
    check_order(queue, &draft.group, &draft.dedup, draft.delay)?;
    let delay_s = draft.delay.map_or(u64::from(queue.delay_s), |delay| u64::from(delay.unsigned_abs()));
    let digests = Digests {
        body: digest::of_body(draft.body.as_bytes()),
        attributes: digest::of_attributes(&attributes),
        system: digest::of_attributes(&system),
    };
    let head = Head {
        id: service.env.rng.uuid(),
        sender: sender(call),
        attributes,
        trace: system.into_values().next().map(|trace| trace.value),
        group: draft.group,
        dedup: draft.dedup,
        delay_ms: delay_s * 1_000,
        ..Head::default()
    };
    Ok((Message { head, body: draft.body.into() }, digests))
}

/// Who a message's receivers are told sent it.
fn sender(call: &Call) -> String {
    match &call.principal {
        Principal::Anonymous => call.scope.account.to_string(),
        known => known.id(&call.scope.account),
    }
}

fn check_characters(body: &str) -> Result<(), ServiceError> {
    if is_text(body) {
        return Ok(());
    }
    let message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to \
                   #xFFFD | #x10000 to #x10FFFF";
    Err(ServiceError::new("InvalidMessageContents", message))
}

/// What callers choose to name a group, a message or an attempt by.
pub(super) fn check_id(name: &str, given: Option<&str>) -> Result<(), ServiceError> {
    let good = |text: &str| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    match given.filter(|given| !good(given)) {
        None => Ok(()),
        Some(given) => {
            let reason =
                format!("{name} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
            Err(invalid_value(given, name, &reason))
        }
    }
}

const NO_DEDUP: &str =
    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly";

/// Group, deduplication id and delay, as the kind of queue takes them.
fn check_order(
    queue: &QueueAttributes,
    group: &Option<String>,
    dedup: &Option<String>,
    delay: Option<i32>,
) -> Result<(), ServiceError> {
    const NOT_HERE: &str = "The request include parameter that is not valid for this queue type.";
    if let Some(delay) = delay.filter(|delay| !(0..=900).contains(delay)) {
        return Err(invalid_value(delay, "DelaySeconds", "Must be between 0 and 900, if provided."));
    }
    check_id("MessageGroupId", group.as_deref())?;
    check_id("MessageDeduplicationId", dedup.as_deref())?;
    let Some(fifo) = queue.fifo else {
        return match dedup {
            Some(dedup) => Err(invalid_value(dedup, "MessageDeduplicationId", NOT_HERE)),
            None => Ok(()),
        };
    };
    if let Some(delay) = delay.filter(|delay| *delay > 0) {
        return Err(invalid_value(delay, "DelaySeconds", NOT_HERE));
    }
    if group.is_none() {
        return Err(missing("MessageGroupId"));
    }
    if dedup.is_none() && !fifo.content_based_deduplication {
        return Err(invalid(NO_DEDUP));
    }
    Ok(())
}

/// What an entry for a FIFO queue lacks fails its whole batch.
fn check_batch_order(queue: &QueueAttributes, entries: &[SendMessageBatchRequestEntry]) -> Result<(), ServiceError> {
    let Some(fifo) = queue.fifo else { return Ok(()) };
    if entries.iter().any(|entry| entry.message_group_id.is_none()) {
        // Unlike that of a single message.
        return Err(invalid(missing("MessageGroupId").message));
    }
    if !fifo.content_based_deduplication && entries.iter().any(|entry| entry.message_deduplication_id.is_none()) {
        return Err(invalid(NO_DEDUP));
    }
    Ok(())
}

fn attributes(given: BTreeMap<String, MessageAttributeValue>) -> Result<BTreeMap<String, Attribute>, ServiceError> {
    if given.len() > MOST_ATTRIBUTES {
        let count = given.len();
        return Err(invalid(format!(
            "Number of message attributes [{count}] exceeds the allowed maximum [{MOST_ATTRIBUTES}]."
        )));
    }
    let read = given.into_iter().map(|(name, value)| {
        check_name(&name)?;
        if value.string_list_values.is_some() || value.binary_list_values.is_some() {
            return Err(invalid("Message attribute list values in SendMessage operation are not supported."));
        }
        let attribute = attribute(&name, value.data_type, value.string_value, value.binary_value)?;
        Ok((name, attribute))
    });
    read.collect()
}

fn system_attributes(
    given: BTreeMap<String, MessageSystemAttributeValue>,
) -> Result<BTreeMap<String, Attribute>, ServiceError> {
    let read = given.into_iter().map(|(name, value)| {
        if name != "AWSTraceHeader" {
            return Err(invalid(format!("Message system attribute name '{name}' is invalid.")));
        }
        let attribute = attribute(&name, value.data_type, value.string_value, value.binary_value)?;
        if attribute.data_type != "String" {
            return Err(invalid("The data type of the message system attribute AWSTraceHeader must be String."));
        }
        Ok((name, attribute))
    });
    read.collect()
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > 256 || !name.bytes().all(allowed) {
        return Err(invalid(
            "Message (user) attribute name can only contain upper and lower score alphabets, digits, periods, hyphens \
             and underscores, and must be 1 to 256 long.",
        ));
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Err(invalid(
            "Message (user) attribute name must not start or end with a period or have periods in a row.",
        ));
    }
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return Err(invalid("You can't use message attribute names beginning with 'AWS.' or 'Amazon.'."));
    }
    Ok(())
}

fn attribute(
    name: &str,
    data_type: String,
    text: Option<String>,
    bytes: Option<bytes::Bytes>,
) -> Result<Attribute, ServiceError> {
    let kind = data_type.split('.').next().unwrap_or_default();
    if data_type.len() > 256 || !matches!(kind, "String" | "Number" | "Binary") {
        return Err(invalid(format!(
            "The type of message (user) attribute '{name}' is invalid. You must use only the following supported type \
             prefixes: Binary, Number, String."
        )));
    }
    let value = match (kind, text, bytes) {
        ("Binary", None, Some(bytes)) if !bytes.is_empty() => STANDARD.encode(bytes),
        ("String" | "Number", Some(text), None) if !text.is_empty() => {
            check_characters(&text)?;
            if kind == "Number" && !is_number(&text) {
                return Err(invalid(format!("Can't cast the value of message (user) attribute '{name}' to a number.")));
            }
            text
        }
        _ => {
            let what = if kind == "Binary" { "Binary" } else { "String" };
            return Err(invalid(format!(
                "Message (user) attribute '{name}' must contain a non-empty value of type '{what}'."
            )));
        }
    };
    Ok(Attribute { data_type, value })
}
