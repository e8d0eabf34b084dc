//! Publish and PublishBatch.

use std::collections::{BTreeMap, BTreeSet};

use flow::queue::is_number;
use flow::topic::{Accepted, Attribute, Message, TopicInfo, binary_value, sequence_number};
use wire::sns::*;
use wire::{Call, ServiceError, only};

use super::{Notifications, SERVICE, failed, invalid, topic_of};

/// Entries of a batch, at most ("PublishBatch", SNS API Reference).
const MAX_ENTRIES: usize = 10;

/// What a publisher says, in one call or in an entry of a batch.
struct Said {
    message: String,
    structure: Option<String>,
    subject: Option<String>,
    attributes: Option<BTreeMap<String, MessageAttributeValue>>,
    group: Option<String>,
    dedup: Option<String>,
}

pub(super) async fn one(
    service: &Notifications,
    call: &Call,
    input: PublishInput,
) -> Result<PublishOutput, ServiceError> {
    let known = [
        "TopicArn",
        "TargetArn",
        "Message",
        "Subject",
        "MessageAttributes",
        "MessageStructure",
        "MessageGroupId",
        "MessageDeduplicationId",
    ];
    only(SERVICE, &input, &known)?;
    if input.topic_arn.is_some() && input.target_arn.is_some() {
        return Err(invalid("TopicArn or TargetArn", "only one of them can be given"));
    }
    let arn = input.topic_arn.or(input.target_arn);
    let topic = topic_of(
        &call.scope,
        &arn.ok_or_else(|| invalid("TopicArn or TargetArn", "no value for required parameter"))?,
    )?;
    let info = service.topics.topic(&call.scope, &topic).map_err(failed)?;
    let said = Said {
        message: input.message,
        structure: input.message_structure,
        subject: input.subject,
        attributes: input.message_attributes,
        group: input.message_group_id,
        dedup: input.message_deduplication_id,
    };
    let mut message = message(service, &info, said)?;
    service.topics.check_message(&info, &mut message).map_err(failed)?;
    let accepted = service.topics.publish(&call.scope, &topic, vec![message]).await.map_err(failed)?;
    let (message_id, sequence_number) = accepted.into_iter().next().map(shown).unwrap_or_default();
    Ok(PublishOutput { message_id, sequence_number })
}

fn shown(accepted: Accepted) -> (Option<String>, Option<String>) {
    (Some(accepted.id), accepted.sequence.map(sequence_number))
}

pub(super) async fn batch(
    service: &Notifications,
    call: &Call,
    input: PublishBatchInput,
) -> Result<PublishBatchOutput, ServiceError> {
    let topic = topic_of(&call.scope, &input.topic_arn)?;
    let entries = input.publish_batch_request_entries;
    check_batch(&entries)?;
    let info = service.topics.topic(&call.scope, &topic).map_err(failed)?;
    if entries.iter().map(size).sum::<usize>() > info.max_message() as usize {
        let message = "The length of all the batch messages put together is more than the limit.";
        return Err(ServiceError::new("BatchRequestTooLong", message));
    }
    let (mut ids, mut messages, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    // What cannot be read fails the call, what the topic does not take its entry.
    let read = |entry: PublishBatchRequestEntry| Ok((entry.id.clone(), of_entry(service, &info, entry)?));
    for (id, mut message) in entries.into_iter().map(read).collect::<Result<Vec<_>, ServiceError>>()? {
        match service.topics.check_message(&info, &mut message) {
            Ok(()) => {
                ids.push(id);
                messages.push(message);
            }
            Err(error) => failures.push(failure(id, failed(error))),
        }
    }
    let mut successful = Vec::new();
    if !messages.is_empty() {
        match service.topics.publish(&call.scope, &topic, messages).await {
            Ok(accepted) => {
                for (id, accepted) in ids.into_iter().zip(accepted) {
                    let (message_id, sequence_number) = shown(accepted);
                    successful.push(PublishBatchResultEntry { id: Some(id), message_id, sequence_number });
                }
            }
            Err(error) => {
                let error = failed(error);
                failures.extend(ids.into_iter().map(|id| failure(id, error.clone())));
            }
        }
    }
    Ok(PublishBatchOutput { successful: Some(successful), failed: Some(failures) })
}

fn check_batch(entries: &[PublishBatchRequestEntry]) -> Result<(), ServiceError> {
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
    Ok(())
}

fn of_entry(
    service: &Notifications,
    info: &TopicInfo,
    entry: PublishBatchRequestEntry,
) -> Result<Message, ServiceError> {
    let said = Said {
        message: entry.message,
        structure: entry.message_structure,
        subject: entry.subject,
        attributes: entry.message_attributes,
        group: entry.message_group_id,
        dedup: entry.message_deduplication_id,
    };
    message(service, info, said)
}

fn failure(id: String, error: ServiceError) -> BatchResultErrorEntry {
    BatchResultErrorEntry {
        id,
        sender_fault: error.status.is_none_or(|status| status < 500),
        code: error.code.into_owned(),
        message: Some(error.message),
        ..Default::default()
    }
}

/// Bytes of an entry that count: its message and its attributes.
fn size(entry: &PublishBatchRequestEntry) -> usize {
    let attribute = |(name, value): (&String, &MessageAttributeValue)| {
        let text = value.string_value.as_ref().map_or(0, String::len);
        name.len() + value.data_type.len() + text + value.binary_value.as_ref().map_or(0, |bytes| bytes.len())
    };
    entry.message.len() + entry.message_attributes.iter().flatten().map(attribute).sum::<usize>()
}

/// The text for all, and those of some protocols.
type Texts = (String, BTreeMap<String, String>);

/// With the structure `json`, each protocol's own text, else that of `default`.
fn texts(message: String, structure: Option<&str>) -> Result<Texts, ServiceError> {
    let refused = |text: &str| ServiceError::new("InvalidParameter", format!("Invalid parameter: {text}"));
    match structure {
        None => Ok((message, BTreeMap::new())),
        Some("json") => {
            let texts: BTreeMap<String, serde_json::Value> = serde_json::from_str(&message)
                .map_err(|_| refused("Message Structure - JSON message body failed to parse"))?;
            // What is no text is passed over ("Publish", SNS API Reference).
            let text = |(name, value): (String, serde_json::Value)| Some((name, value.as_str()?.to_owned()));
            let mut texts: BTreeMap<String, String> = texts.into_iter().filter_map(text).collect();
            let default = texts.remove("default");
            let default =
                default.ok_or_else(|| refused("Message Structure - No default entry in JSON message body"))?;
            texts.retain(|name, text| flow::topic::Protocol::of_name(name).is_some() && *text != default);
            Ok((default, texts))
        }
        Some(other) => Err(invalid("MessageStructure", &format!("'{other}' is not valid; json is"))),
    }
}

/// A message with its deduplication id, not yet looked at whether its topic takes it.
fn message(service: &Notifications, info: &TopicInfo, said: Said) -> Result<Message, ServiceError> {
    let mut attributes = BTreeMap::new();
    for (name, value) in said.attributes.unwrap_or_default() {
        let read = attribute(&name, value)?;
        attributes.insert(name, read);
    }
    let beside: usize = attributes.iter().map(|(name, a)| name.len() + a.data_type.len() + a.value.len()).sum();
    // The texts that are taken out of it are shorter.
    if said.message.len() + beside > info.max_message() as usize {
        return Err(ServiceError::new("InvalidParameter", "Invalid parameter: Message too long"));
    }
    let (text, texts) = texts(said.message, said.structure.as_deref())?;
    let id = service.env.rng.uuid();
    let mut message =
        Message { id, subject: said.subject, text, texts, attributes, group: said.group, dedup: said.dedup };
    service.topics.complete_message(info, &mut message).map_err(failed)?;
    Ok(message)
}

/// What is wrong with an attribute's name, as the service says it.
fn check_name(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    // Publishers to phones and devices use those of SNS itself.
    let reserved = ["aws.", "amazon."].iter().any(|prefix| lower.starts_with(prefix)) && !lower.starts_with("aws.sns.");
    if name.len() > 256 {
        return Err("Length of message attribute name must be less than 256 bytes.".to_owned());
    }
    if let Some(bad) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"_-.".contains(*c)) {
        let code = u32::from(bad);
        return Err(format!(
            "Invalid non-alphanumeric character '#x{code:X}' was found in the message attribute name. Can only include \
             alphanumeric characters, hyphens, underscores, or dots."
        ));
    }
    let end = |which: &str| Err(format!("Invalid message attribute name {which} with character '.' was found."));
    match name {
        "" => Err("Length of message attribute name must be greater than 0.".to_owned()),
        _ if name.starts_with('.') => end("starting"),
        _ if name.ends_with('.') => end("ending"),
        _ if name.contains("..") => Err("Message attribute name can not have successive '.' character.".to_owned()),
        _ if reserved => Err("Message attribute names beginning with 'AWS.' or 'Amazon.' are reserved.".to_owned()),
        _ => Ok(()),
    }
}

fn attribute(name: &str, value: MessageAttributeValue) -> Result<Attribute, ServiceError> {
    let refused = |reason: String| Err(ServiceError::new("ParameterValueInvalid", reason));
    if let Err(reason) = check_name(name) {
        return refused(reason);
    }
    let kind = value.data_type.split('.').next().unwrap_or_default();
    if !matches!(kind, "String" | "Number" | "Binary") {
        return refused(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes \
             is Binary, Number, and String."
        ));
    }
    let (field, misfit) = match kind {
        "Binary" => ("Binary", value.string_value.is_some()),
        _ => ("String", value.binary_value.is_some()),
    };
    if misfit {
        let data_type = value.data_type;
        return refused(format!("The message attribute '{name}' with type '{data_type}' must use field '{field}'."));
    }
    let text = match (value.string_value, value.binary_value) {
        (Some(text), None) if kind != "Binary" && !text.is_empty() => text,
        (None, Some(bytes)) if kind == "Binary" && !bytes.is_empty() => binary_value(&bytes),
        _ => {
            return refused(format!(
                "The message attribute '{name}' must contain non-empty message attribute value for message attribute \
                 type '{}'.",
                value.data_type
            ));
        }
    };
    if kind == "Number" && !is_number(&text) {
        return refused(format!("Could not cast message attribute '{name}' value to number."));
    }
    Ok(Attribute { data_type: value.data_type, value: text })
}
