//! A queue's attributes as text, as they are set and shown.
//!
//! Promises that an attribute is executed or refused, never taken and ignored.

use std::collections::BTreeMap;

use base::Arn;
use flow::FlowError;
use flow::queue::{Counts, Fifo, MAX_MESSAGE_BYTES, QueueAttributes, QueueInfo, Redrive, RedriveAllow, queue_arn};
use serde::Deserialize;
use wire::sqs::*;
use wire::{Call, ServiceError};

use super::address::queue;
use super::{QueueService, failed, invalid_value, permissions, unsupported};

type Texts = BTreeMap<String, String>;

/// Queues that a redrive-allow policy may name.
const MOST_SOURCES: usize = 10;

/// Sets what is given.
pub(super) fn apply(attributes: &mut QueueAttributes, given: &Texts) -> Result<(), ServiceError> {
    for (name, value) in given {
        set_one(attributes, name, value)?;
    }
    if attributes.fifo.is_some_and(|fifo| fifo.throughput_by_group && !fifo.deduplicate_by_group) {
        let message = "FifoThroughputLimit can be perMessageGroupId only when DeduplicationScope is messageGroup.";
        return Err(ServiceError::new("InvalidAttributeValue", message));
    }
    Ok(())
}

fn set_one(attributes: &mut QueueAttributes, name: &str, value: &str) -> Result<(), ServiceError> {
    match name {
        "DelaySeconds" => attributes.delay_s = number(name, value, 0, 900)?,
        "MaximumMessageSize" => attributes.max_message_bytes = number(name, value, 1_024, MAX_MESSAGE_BYTES)?,
        "MessageRetentionPeriod" => attributes.retention_s = number(name, value, 60, 1_209_600)?,
        "ReceiveMessageWaitTimeSeconds" => attributes.wait_s = number(name, value, 0, 20)?,
        "VisibilityTimeout" => attributes.visibility_s = number(name, value, 0, 43_200)?,
        "RedrivePolicy" => attributes.redrive = redrive(value)?,
        "RedriveAllowPolicy" => attributes.redrive_allow = redrive_allow(value)?,
        "SqsManagedSseEnabled" => attributes.encrypted = switch(name, value)?,
        "Policy" => attributes.policy = permissions::checked(value)?,
        "KmsMasterKeyId" if value.is_empty() => {}
        "KmsMasterKeyId" | "KmsDataKeyReusePeriodSeconds" => {
            return Err(unsupported(
                "There is no KMS in this version of Tidegate; SqsManagedSseEnabled encrypts under the server's master key.",
            ));
        }
        _ => return set_fifo(attributes, name, value),
    }
    Ok(())
}

/// Sets what only a FIFO queue has.
fn set_fifo(attributes: &mut QueueAttributes, name: &str, value: &str) -> Result<(), ServiceError> {
    let Some(fifo) = &mut attributes.fifo else { return Err(unknown(name)) };
    match (name, value) {
        ("FifoQueue", "true") => {}
        ("FifoQueue", "false") => {
            let message = "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.";
            return Err(ServiceError::new("InvalidAttributeValue", message));
        }
        ("ContentBasedDeduplication", _) => fifo.content_based_deduplication = switch(name, value)?,
        ("DeduplicationScope", "queue") => fifo.deduplicate_by_group = false,
        ("DeduplicationScope", "messageGroup") => fifo.deduplicate_by_group = true,
        ("FifoThroughputLimit", "perQueue") => fifo.throughput_by_group = false,
        ("FifoThroughputLimit", "perMessageGroupId") => fifo.throughput_by_group = true,
        ("DeduplicationScope" | "FifoThroughputLimit", _) => return Err(bad_value(name)),
        _ => return Err(unknown(name)),
    }
    Ok(())
}

pub(super) fn unknown(name: &str) -> ServiceError {
    ServiceError::new("InvalidAttributeName", format!("Unknown Attribute {name}."))
}

fn bad_value(name: &str) -> ServiceError {
    ServiceError::new("InvalidAttributeValue", format!("Invalid value for the parameter {name}."))
}

fn number(name: &str, value: &str, min: u32, max: u32) -> Result<u32, ServiceError> {
    let number = value.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| bad_value(name))
}

fn switch(name: &str, value: &str) -> Result<bool, ServiceError> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad_value(name)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RedriveText {
    dead_letter_target_arn: Option<String>,
    max_receive_count: Option<serde_json::Value>,
}

fn redrive(text: &str) -> Result<Option<Redrive>, ServiceError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |reason: &str| invalid_value(text, "RedrivePolicy", reason);
    let policy: RedriveText = serde_json::from_str(text).map_err(|_| bad("Redrive policy is not a valid JSON map."))?;
    let target = policy
        .dead_letter_target_arn
        .ok_or_else(|| bad("Redrive policy does not contain mandatory attribute: deadLetterTargetArn."))?;
    let count = policy
        .max_receive_count
        .ok_or_else(|| bad("Redrive policy does not contain mandatory attribute: maxReceiveCount."))?;
    let count = count.as_u64().or_else(|| count.as_str().and_then(|text| text.parse().ok()));
    let max_receives = count.and_then(|count| u32::try_from(count).ok()).filter(|count| (1..=1_000).contains(count));
    let max_receives =
        max_receives.ok_or_else(|| bad("Invalid value for maxReceiveCount. Must be between 1 and 1000."))?;
    let target: Arn = target.parse().map_err(|_| bad("Invalid value for deadLetterTargetArn."))?;
    Ok(Some(Redrive { target, max_receives }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AllowText {
    redrive_permission: String,
    source_queue_arns: Option<Vec<Arn>>,
}

fn redrive_allow(text: &str) -> Result<Option<RedriveAllow>, ServiceError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |reason: &str| invalid_value(text, "RedriveAllowPolicy", reason);
    let policy: AllowText = serde_json::from_str(text).map_err(|_| bad("It is not a valid redrive allow policy."))?;
    match (policy.redrive_permission.as_str(), policy.source_queue_arns) {
        ("allowAll", None) => Ok(Some(RedriveAllow::All)),
        ("denyAll", None) => Ok(Some(RedriveAllow::None)),
        ("byQueue", Some(queues)) if (1..=MOST_SOURCES).contains(&queues.len()) => {
            Ok(Some(RedriveAllow::Queues(queues)))
        }
        ("byQueue", _) => Err(bad("byQueue takes 1 to 10 sourceQueueArns.")),
        ("allowAll" | "denyAll", _) => Err(bad("sourceQueueArns can only be given with byQueue.")),
        _ => Err(bad("redrivePermission must be allowAll, denyAll or byQueue.")),
    }
}

/// The error of a redrive policy whose target cannot be used.
pub(super) fn bad_redrive(given: &Texts, reason: &str) -> ServiceError {
    invalid_value(given.get("RedrivePolicy").map_or("", String::as_str), "RedrivePolicy", reason)
}

pub(super) async fn set(
    service: &QueueService,
    call: &Call,
    input: SetQueueAttributesInput,
) -> Result<SetQueueAttributesOutput, ServiceError> {
    let (name, given) = (queue(call, &input.queue_url)?, input.attributes);
    // Said in the service's words, which the room does not know.
    let mut refused = None;
    let updated = service.queues.update(&call.scope, &name, |info| {
        apply(&mut info.attributes, &given).map_err(|error| {
            let message = error.message.clone();
            refused = Some(error);
            FlowError::Conflict(message)
        })
    });
    updated.await.map_err(|error| match (refused.take(), error) {
        (Some(error), _) => error,
        (None, FlowError::Invalid(reason)) => bad_redrive(&given, &reason),
        (None, error) => failed(error),
    })?;
    Ok(SetQueueAttributesOutput {})
}

pub(super) async fn get(
    service: &QueueService,
    call: &Call,
    input: GetQueueAttributesInput,
) -> Result<GetQueueAttributesOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let info = service.queues.get(&call.scope, &name).map_err(failed)?;
    let counts = service.queues.counts(&call.scope, &name).await.map_err(failed)?;
    let (all, mut shown) = (shown(call, &info, counts), Texts::new());
    for asked in input.attribute_names.unwrap_or_default() {
        match (asked.as_str(), all.get(&asked)) {
            ("All", _) => shown.clone_from(&all),
            (_, Some(value)) => drop(shown.insert(asked, value.clone())),
            // They have no value here.
            (
                "Policy" | "RedrivePolicy" | "RedriveAllowPolicy" | "KmsMasterKeyId" | "KmsDataKeyReusePeriodSeconds",
                _,
            ) => {}
            ("FifoQueue" | "ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit", _) => {}
            _ => return Err(unknown(&asked)),
        }
    }
    Ok(GetQueueAttributesOutput { attributes: (!shown.is_empty()).then_some(shown) })
}

fn shown(call: &Call, info: &QueueInfo, counts: Counts) -> Texts {
    let attributes = &info.attributes;
    let mut shown: Vec<(&str, String)> = vec![
        ("QueueArn", queue_arn(&call.scope, &info.name).to_string()),
        ("ApproximateNumberOfMessages", counts.visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
        ("CreatedTimestamp", (info.created.millis() / 1_000).to_string()),
        ("LastModifiedTimestamp", (info.modified.millis() / 1_000).to_string()),
        ("VisibilityTimeout", attributes.visibility_s.to_string()),
        ("MaximumMessageSize", attributes.max_message_bytes.to_string()),
        ("MessageRetentionPeriod", attributes.retention_s.to_string()),
        ("DelaySeconds", attributes.delay_s.to_string()),
        ("ReceiveMessageWaitTimeSeconds", attributes.wait_s.to_string()),
        ("SqsManagedSseEnabled", attributes.encrypted.to_string()),
    ];
    if let Some(Redrive { target, max_receives }) = &attributes.redrive {
        let policy = serde_json::json!({"deadLetterTargetArn": target, "maxReceiveCount": max_receives});
        shown.push(("RedrivePolicy", policy.to_string()));
    }
    if let Some(policy) = &attributes.policy {
        shown.push(("Policy", policy.clone()));
    }
    if let Some(allow) = &attributes.redrive_allow {
        let policy = match allow {
            RedriveAllow::All => serde_json::json!({"redrivePermission": "allowAll"}),
            RedriveAllow::None => serde_json::json!({"redrivePermission": "denyAll"}),
            RedriveAllow::Queues(queues) => {
                serde_json::json!({"redrivePermission": "byQueue", "sourceQueueArns": queues})
            }
        };
        shown.push(("RedriveAllowPolicy", policy.to_string()));
    }
    if let Some(Fifo { content_based_deduplication, deduplicate_by_group, throughput_by_group }) = attributes.fifo {
        let scope = if deduplicate_by_group { "messageGroup" } else { "queue" };
        let limit = if throughput_by_group { "perMessageGroupId" } else { "perQueue" };
        shown.extend([
            ("FifoQueue", "true".to_owned()),
            ("ContentBasedDeduplication", content_based_deduplication.to_string()),
            ("DeduplicationScope", scope.to_owned()),
            ("FifoThroughputLimit", limit.to_owned()),
        ]);
    }
    shown.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
