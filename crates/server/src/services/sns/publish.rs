//! Publish and PublishBatch.

use std::collections::{BTreeMap, BTreeSet};

use base::TopicName;
use flow::topic::{Attribute, Message, binary_value};
use wire::sns::*;
use wire::{Call, ServiceError, only};

use super::{Notifications, SERVICE, failed, invalid, topic_of};

/// Entries of a batch, at most ("PublishBatch", SNS API Reference).
const MAX_ENTRIES: usize = 10;
/// Bytes of all messages of a batch, at most.
const MAX_BATCH_BYTES: usize = 262_144;

pub(super) async fn one(
    service: &Notifications,
    call: &Call,
    input: PublishInput,
) -> Result<PublishOutput, ServiceError> {
    only(SERVICE, &input, &["TopicArn", "TargetArn", "Message", "Subject", "MessageAttributes", "MessageStructure"])?;
    if input.topic_arn.is_some() && input.target_arn.is_some() {
        return Err(invalid("TopicArn or TargetArn", "only one of them can be given"));
    }
    let arn = input.topic_arn.or(input.target_arn);
    let topic = topic_of(
        &call.scope,
        &arn.ok_or_else(|| invalid("TopicArn or TargetArn", "no value for required parameter"))?,
    )?;
    let texts = texts(input.message, input.message_structure.as_deref())?;
    let message = message(service, texts, input.subject, input.message_attributes)?;
    let id = message.id.clone();
    publish(service, call, &topic, vec![message]).await?;
    Ok(PublishOutput { message_id: Some(id), ..Default::default() })
}

pub(super) async fn batch(
    service: &Notifications,
    call: &Call,
    input: PublishBatchInput,
) -> Result<PublishBatchOutput, ServiceError> {
    let topic = topic_of(&call.scope, &input.topic_arn)?;
    let entries = input.publish_batch_request_entries;
    let error = |code: &'static str, message: &str| Err(ServiceError::new(code, message.to_owned()));
    if entries.is_empty() {
        return error("EmptyBatchRequest", "The batch request doesn't contain any entries.");
    }
    if entries.len() > MAX_ENTRIES {
        return error(
            "TooManyEntriesInBatchRequest",
            "The batch request contains more entries than permissible (more than 10).",
        );
    }
    let is_id = |id: &str| {
        (1..=80).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if entries.iter().any(|entry| !is_id(&entry.id)) {
        let message = "The Id of a batch entry in a batch request doesn't abide by the specification.";
        return error("InvalidBatchEntryId", message);
    }
    if entries.iter().map(|entry| &entry.id).collect::<BTreeSet<_>>().len() < entries.len() {
        return error("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.");
    }
    if entries.iter().map(size).sum::<usize>() > MAX_BATCH_BYTES {
        return error(
            "BatchRequestTooLong",
            "The length of all the batch messages put together is more than the limit.",
        );
    }
    let (mut successful, mut failures) = (Vec::new(), Vec::new());
    for entry in entries {
        let id = entry.id.clone();
        let published = async {
            only(SERVICE, &entry, &["Id", "Message", "Subject", "MessageAttributes", "MessageStructure"])?;
            let texts = texts(entry.message, entry.message_structure.as_deref())?;
            let message = message(service, texts, entry.subject, entry.message_attributes)?;
            let message_id = message.id.clone();
            publish(service, call, &topic, vec![message]).await?;
            Ok::<_, ServiceError>(message_id)
        };
        match published.await {
            Ok(message_id) => successful.push(PublishBatchResultEntry {
                id: Some(id),
                message_id: Some(message_id),
                ..Default::default()
            }),
            Err(error) => failures.push(BatchResultErrorEntry {
                id,
                sender_fault: error.status.is_none_or(|status| status < 500),
                code: error.code.into_owned(),
                message: Some(error.message),
                ..Default::default()
            }),
        }
    }
    Ok(PublishBatchOutput { successful: Some(successful), failed: Some(failures) })
}

/// Bytes of an entry that count: its message and its attributes.
fn size(entry: &PublishBatchRequestEntry) -> usize {
    let attribute = |(name, value): (&String, &MessageAttributeValue)| {
        let text = value.string_value.as_ref().map_or(0, String::len);
        name.len() + value.data_type.len() + text + value.binary_value.as_ref().map_or(0, |bytes| bytes.len())
    };
    entry.message.len() + entry.message_attributes.iter().flatten().map(attribute).sum::<usize>()
}

async fn publish(
    service: &Notifications,
    call: &Call,
    topic: &TopicName,
    messages: Vec<Message>,
) -> Result<(), ServiceError> {
    service.topics.publish(&call.scope, topic, &messages).await.map_err(failed)
}

/// The text for subscribers, and that for those over https when it is another.
type Texts = (String, Option<String>);

/// With the structure `json`, each protocol's own text, else that of `default`.
fn texts(message: String, structure: Option<&str>) -> Result<Texts, ServiceError> {
    match structure {
        None => Ok((message, None)),
        Some("json") => {
            let reason = "Message Structure - JSON message body failed to parse";
            let mut texts: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&message).map_err(|_| invalid("Message Structure", reason))?;
            let default = texts.remove("default");
            let no_default = || invalid("Message Structure", "No default entry in JSON message body");
            let default = default.and_then(|text| text.as_str().map(str::to_owned)).ok_or_else(no_default)?;
            let mut own = |protocol| texts.remove(protocol).and_then(|text| text.as_str().map(str::to_owned));
            let (http, https) = (own("http"), own("https"));
            let http = http.unwrap_or_else(|| default.clone());
            let https = Some(https.unwrap_or(default)).filter(|https| *https != http);
            Ok((http, https))
        }
        Some(other) => Err(invalid("MessageStructure", &format!("'{other}' is not valid; json is"))),
    }
}

fn message(
    service: &Notifications,
    (text, https_text): Texts,
    subject: Option<String>,
    attributes: Option<BTreeMap<String, MessageAttributeValue>>,
) -> Result<Message, ServiceError> {
    let mut read = BTreeMap::new();
    for (name, value) in attributes.unwrap_or_default() {
        let kind = value.data_type.split('.').next().unwrap_or_default();
        if !matches!(kind, "String" | "Number" | "Binary") {
            let reason = format!(
                "The message attribute '{name}' has an invalid message attribute type, the set of supported type \
                 prefixes is Binary, Number, and String."
            );
            return Err(ServiceError::new("ParameterValueInvalid", reason));
        }
        let text = match (value.string_value, value.binary_value) {
            (Some(text), None) if kind != "Binary" => text,
            (None, Some(bytes)) if kind == "Binary" => binary_value(&bytes),
            _ => {
                let reason =
                    format!("the message attribute '{name}' must contain one value of its type {}", value.data_type);
                return Err(ServiceError::new("ParameterValueInvalid", reason));
            }
        };
        read.insert(name, Attribute { data_type: value.data_type, value: text });
    }
    Ok(Message { id: service.env.rng.uuid(), subject, text, https_text, attributes: read })
}
