//! Who may use a topic: its policy, whole or a statement at a time.
//!
//! A topic whose owner set none has the service's default one, which gives the services of the owner's account nothing: it
//! asks for `aws:SourceOwner`, which no call has any more.

use base::{Scope, TopicName};
use flow::FlowError;
use flow::topic::{TopicInfo, topic_arn};
use serde_json::json;
use wire::sns::*;
use wire::{Call, ServiceError};

use super::{Notifications, failed, topic_of};
use crate::services::policies::{Document, grant, is_account};

/// What a topic's policy may be about: what is asked of one topic ("Amazon SNS API permissions", SNS Developer Guide; the
/// service takes no wildcards here). `Receive` is of the service's own old default policies.
const ACTIONS: [&str; 13] = [
    "AddPermission",
    "DeleteTopic",
    "GetDataProtectionPolicy",
    "GetTopicAttributes",
    "ListSubscriptionsByTopic",
    "ListTagsForResource",
    "Publish",
    "PutDataProtectionPolicy",
    "Receive",
    "RemovePermission",
    "SetTopicAttributes",
    "Subscribe",
    "TagResource",
];
/// Those of the default policy.
const DEFAULT_ACTIONS: [&str; 8] = [
    "SNS:GetTopicAttributes",
    "SNS:SetTopicAttributes",
    "SNS:AddPermission",
    "SNS:RemovePermission",
    "SNS:DeleteTopic",
    "SNS:Subscribe",
    "SNS:ListSubscriptionsByTopic",
    "SNS:Publish",
];
/// "Amazon SNS endpoints and quotas": a policy has 30 KB at most.
const MAX_BYTES: usize = 30_720;
/// Statements of a policy, at most.
const MAX_STATEMENTS: usize = 100;

fn invalid(why: &str) -> ServiceError {
    ServiceError::new("InvalidParameter", format!("Invalid parameter: {why}"))
}

fn out_of_scope(action: &str) -> ServiceError {
    invalid(&format!(
        "Policy statement action out of service scope! {action} is none of a topic's: {}",
        ACTIONS.map(|action| format!("SNS:{action}")).join(", ")
    ))
}

fn is_topics(action: &str) -> bool {
    action.split_once(':').is_some_and(|(of, name)| {
        of.eq_ignore_ascii_case("sns") && ACTIONS.iter().any(|a| a.eq_ignore_ascii_case(name))
    })
}

/// The text of a policy that can be a topic's; an empty one removes it.
pub(super) fn checked(text: String) -> Result<String, ServiceError> {
    if text.is_empty() {
        return Ok(text);
    }
    let document = Document::read(&text).map_err(|why| invalid(&format!("Policy Error: {why}")))?;
    if let Some(action) = document.actions().find(|action| !is_topics(action)) {
        return Err(out_of_scope(action));
    }
    bounded(text)
}

fn bounded(text: String) -> Result<String, ServiceError> {
    match text.len() > MAX_BYTES {
        true => Err(invalid(&format!("Policy Reason: it has {} bytes, and {MAX_BYTES} are the most", text.len()))),
        false => Ok(text),
    }
}

/// The policy of a topic, which has always one.
pub(super) fn of(scope: &Scope, topic: &TopicInfo) -> String {
    topic.policy.clone().unwrap_or_else(|| default(scope, &topic.name))
}

fn default(scope: &Scope, topic: &TopicName) -> String {
    json!({
        "Version": "2008-10-17",
        "Id": "__default_policy_ID",
        "Statement": [{
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": { "AWS": "*" },
            "Action": DEFAULT_ACTIONS,
            "Resource": topic_arn(scope, topic),
            "Condition": { "StringEquals": { "AWS:SourceOwner": scope.account } },
        }],
    })
    .to_string()
}

/// Changes the statements of a topic's policy. What refuses says so in the service's words, which the room does not know.
async fn change(
    service: &Notifications,
    scope: &Scope,
    topic: &TopicName,
    mut change: impl FnMut(&mut Document) -> Result<(), ServiceError> + Send,
) -> Result<(), ServiceError> {
    let mut refused = None;
    let changed = service.topics.change_topic_policy(scope, topic, |text| {
        let mut document = match text {
            Some(text) => Document::read(text).map_err(FlowError::Invalid)?,
            None => Document::read(&default(scope, topic)).map_err(FlowError::Invalid)?,
        };
        let done = change(&mut document).and_then(|()| document.text().map(bounded).transpose());
        done.map_err(|error| {
            let message = error.message.clone();
            refused = Some(error);
            FlowError::Conflict(message)
        })
    });
    changed.await.map_err(|error| refused.take().unwrap_or_else(|| failed(error)))
}

pub(super) async fn add(
    service: &Notifications,
    call: &Call,
    input: AddPermissionInput,
) -> Result<AddPermissionOutput, ServiceError> {
    let topic = topic_of(&call.scope, &input.topic_arn)?;
    let actions: Vec<String> = input.action_name.iter().map(|name| format!("SNS:{name}")).collect();
    if let Some(action) = actions.iter().find(|action| !is_topics(action)) {
        return Err(out_of_scope(action));
    }
    if actions.is_empty() || input.aws_account_id.is_empty() {
        return Err(invalid("AWSAccountId and ActionName must name something"));
    }
    if !input.aws_account_id.iter().all(|account| is_account(account)) {
        return Err(invalid("Policy Error: PrincipalNotFound"));
    }
    let arn = topic_arn(&call.scope, &topic).to_string();
    change(service, &call.scope, &topic, |document| {
        if document.has(&input.label) {
            return Err(invalid("Statement already exists"));
        }
        if document.count() >= MAX_STATEMENTS {
            return Err(invalid(&format!("Policy Reason: it has {MAX_STATEMENTS} statements, which are the most")));
        }
        document.add(grant(&input.label, &input.aws_account_id, &actions, &arn));
        Ok(())
    })
    .await?;
    Ok(AddPermissionOutput::default())
}

pub(super) async fn remove(
    service: &Notifications,
    call: &Call,
    input: RemovePermissionInput,
) -> Result<RemovePermissionOutput, ServiceError> {
    let topic = topic_of(&call.scope, &input.topic_arn)?;
    change(service, &call.scope, &topic, |document| {
        // One that is not there is fine.
        document.remove(&input.label);
        Ok(())
    })
    .await?;
    Ok(RemovePermissionOutput::default())
}
