//! Who may use a queue: its policy, whole or a statement at a time.

use flow::FlowError;
use flow::queue::queue_arn;
use wire::sqs::*;
use wire::{Call, ServiceError};

use super::address::queue;
use super::{QueueService, failed, invalid_value, missing};
use crate::services::policies::{Document, grant, is_account, is_of};

/// What others can be let do; everything else is its owner's ("Amazon SQS API permissions", SQS Developer Guide).
const OTHERS: [&str; 9] = [
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];
/// Quotas of policies ("Amazon SQS policy quotas", SQS Developer Guide).
const MAX_BYTES: usize = 8_192;
const MAX_STATEMENTS: usize = 20;
const MAX_ACTIONS: usize = 7;
const MAX_LABEL: usize = 80;

fn no_policy(why: &str) -> ServiceError {
    ServiceError::new("InvalidAttributeValue", format!("Invalid value for the parameter Policy. Reason: {why}"))
}

fn over_limit(message: String) -> ServiceError {
    ServiceError::new("OverLimit", message)
}

/// A policy that can be a queue's; an empty text is none.
pub(super) fn checked(text: &str) -> Result<Option<String>, ServiceError> {
    if text.is_empty() {
        return Ok(None);
    }
    let document = Document::read(text).map_err(|why| no_policy(&why))?;
    if let Some(action) = document.actions().find(|action| !is_of("sqs", action)) {
        return Err(no_policy(&format!("{action} is no operation of queues")));
    }
    bounded(&document)?;
    Ok(Some(text.to_owned()))
}

fn bounded(document: &Document) -> Result<Option<String>, ServiceError> {
    let text = document.text();
    if document.count() > MAX_STATEMENTS {
        return Err(over_limit(format!(
            "{} statements were found, maximum allowed is {MAX_STATEMENTS}.",
            document.count()
        )));
    }
    match text.as_ref().map_or(0, String::len) {
        bytes if bytes > MAX_BYTES => {
            Err(over_limit(format!("A policy of {bytes} bytes, maximum allowed is {MAX_BYTES}.")))
        }
        _ => Ok(text),
    }
}

fn check_label(label: &str) -> Result<(), ServiceError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match label {
        "" => Err(missing("Label")),
        _ if label.len() <= MAX_LABEL && label.chars().all(allowed) => Ok(()),
        _ => Err(invalid_value(label, "Label", "1 to 80 letters, digits, hyphens and underscores are expected.")),
    }
}

/// The operations of a permission, with the service before them.
fn actions(given: &[String]) -> Result<Vec<String>, ServiceError> {
    if given.is_empty() {
        return Err(missing("Actions"));
    }
    if given.len() > MAX_ACTIONS {
        return Err(over_limit(format!("{} Actions were found, maximum allowed is {MAX_ACTIONS}.", given.len())));
    }
    let action = |name: &String| match OTHERS.contains(&name.as_str()) {
        true => Ok(format!("SQS:{name}")),
        false => Err(invalid_value(
            format!("SQS:{name}"),
            "ActionName",
            "Only the queue owner is allowed to invoke this action.",
        )),
    };
    given.iter().map(action).collect()
}

/// Changes the statements of a queue's policy. What refuses says so in the service's words, which the room does not know.
async fn change(
    service: &QueueService,
    call: &Call,
    url: &str,
    mut change: impl FnMut(&mut Document, &str) -> Result<(), ServiceError>,
) -> Result<(), ServiceError> {
    let name = queue(call, url)?;
    let (arn, mut refused) = (queue_arn(&call.scope, &name).to_string(), None);
    let updated = service.queues.update(&call.scope, &name, |info| {
        let mut document = match &info.attributes.policy {
            Some(text) => Document::read(text).map_err(FlowError::Invalid)?,
            None => Document::new("2012-10-17", Some(format!("{arn}/SQSDefaultPolicy"))),
        };
        match change(&mut document, &arn).and_then(|()| bounded(&document)) {
            Ok(text) => info.attributes.policy = text,
            Err(error) => {
                let message = error.message.clone();
                refused = Some(error);
                return Err(FlowError::Conflict(message));
            }
        }
        Ok(())
    });
    updated.await.map_err(|error| refused.take().unwrap_or_else(|| failed(error)))
}

pub(super) async fn add(
    service: &QueueService,
    call: &Call,
    input: AddPermissionInput,
) -> Result<AddPermissionOutput, ServiceError> {
    check_label(&input.label)?;
    let actions = actions(&input.actions)?;
    if input.aws_account_ids.is_empty() || !input.aws_account_ids.iter().all(|account| is_account(account)) {
        let given = format!("[{}]", input.aws_account_ids.join(", "));
        return Err(invalid_value(given, "PrincipalId", "Unable to verify."));
    }
    change(service, call, &input.queue_url, |document, arn| {
        if document.has(&input.label) {
            return Err(invalid_value(&input.label, "Label", "Already exists."));
        }
        document.add(grant(&input.label, &input.aws_account_ids, &actions, arn));
        Ok(())
    })
    .await?;
    Ok(AddPermissionOutput {})
}

pub(super) async fn remove(
    service: &QueueService,
    call: &Call,
    input: RemovePermissionInput,
) -> Result<RemovePermissionOutput, ServiceError> {
    check_label(&input.label)?;
    change(service, call, &input.queue_url, |document, _| match document.remove(&input.label) {
        true => Ok(()),
        false => Err(invalid_value(&input.label, "Label", "can't find label on existing policy.")),
    })
    .await?;
    Ok(RemovePermissionOutput {})
}
