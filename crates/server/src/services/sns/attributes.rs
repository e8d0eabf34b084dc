//! Attributes of topics and subscriptions: those that are executed are read and shown, every other one is refused.

use std::collections::BTreeMap;

use base::{Scope, TopicName};
use flow::topic::{
    FilterScope, Secret, SignatureVersion, Subscription, SubscriptionChange, TopicChange, TopicInfo, TopicPolicy,
    is_fifo, topic_arn,
};
use serde::Serialize;
use wire::ServiceError;

use super::{invalid, permissions};

/// Attributes of the service that Tidegate does not execute, and why.
const REFUSED: [(&str, &str); 5] = [
    ("KmsMasterKeyId", "there is no KMS; a stream's records can be sealed under the server's master key"),
    ("ArchivePolicy", "archives of FIFO topics are not available in this version of Tidegate"),
    ("ReplayPolicy", "archives of FIFO topics are not available in this version of Tidegate"),
    ("TracingConfig", "there is no tracing, and the trace of a publisher is not passed on"),
    ("DataProtectionPolicy", "data protection policies are not available in this version of Tidegate"),
];

/// What is shown of a secret.
const HIDDEN: &str = "(hidden)";

fn refused(name: &str) -> ServiceError {
    let why = REFUSED.iter().find(|(refused, _)| *refused == name).map(|(_, why)| *why);
    let feedback = ["FeedbackRoleArn", "FeedbackSampleRate"].iter().any(|end| name.ends_with(end));
    match why {
        Some(why) => invalid("AttributeName", &format!("{name}: {why}")),
        None if feedback => {
            invalid("AttributeName", &format!("{name}: the outcomes of deliveries are metrics here, not logs"))
        }
        None => ServiceError::new("InvalidParameter", "Invalid parameter: AttributeName"),
    }
}

pub(super) fn is_true(name: &str, value: &str) -> Result<bool, ServiceError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            let text = format!("Invalid parameter: {name}: Invalid value [{value}]. Must be true or false.");
            Err(ServiceError::new("InvalidParameter", text))
        }
    }
}

/// The attributes of a new topic, whose name says whether it is FIFO.
pub(super) fn of_new_topic(
    topic: &TopicName,
    attributes: BTreeMap<String, String>,
) -> Result<TopicChange, ServiceError> {
    let mut change = TopicChange::default();
    let mut fifo = false;
    for (name, value) in attributes {
        if name == "FifoTopic" {
            fifo = is_true("FifoTopic", &value)?;
        } else {
            set(&mut change, &name, value)?;
        }
    }
    match (fifo, is_fifo(topic)) {
        (true, false) => Err(invalid(
            "Topic Name",
            "Fifo Topic names must end with .fifo and must be made up of only uppercase and lowercase ASCII letters, numbers, underscores, and hyphens, and must be between 1 and 256 characters long.",
        )),
        (false, true) => Err(invalid(
            "Topic Name",
            "only a topic whose attribute FifoTopic is true can have a name that ends with .fifo",
        )),
        _ => Ok(change),
    }
}

/// The change of one attribute of a topic.
pub(super) fn of_topic_change(name: &str, value: Option<String>) -> Result<TopicChange, ServiceError> {
    let mut change = TopicChange::default();
    set(&mut change, name, value.unwrap_or_default())?;
    Ok(change)
}

fn set(change: &mut TopicChange, name: &str, value: String) -> Result<(), ServiceError> {
    match name {
        "DisplayName" => change.display_name = Some(value),
        "DeliveryPolicy" => change.delivery_policy = Some(value),
        "Policy" => change.policy = Some(permissions::checked(value)?),
        "SignatureVersion" => {
            change.signature_version = Some(match value.as_str() {
                "1" => SignatureVersion::V1,
                "2" => SignatureVersion::V2,
                _ => return Err(invalid("SignatureVersion", "1 or 2 was expected")),
            });
        }
        "MaximumMessageSize" => {
            let bytes = value.parse().map_err(|_| invalid("MaximumMessageSize", "a number of bytes was expected"))?;
            change.max_message_bytes = Some(bytes);
        }
        "ContentBasedDeduplication" => change.content_based_deduplication = Some(is_true(name, &value)?),
        "FifoThroughputScope" => {
            change.deduplicate_by_group = Some(match value.as_str() {
                "Topic" => false,
                "MessageGroup" => true,
                _ => return Err(invalid("FifoThroughputScope", "Topic or MessageGroup was expected")),
            });
        }
        // What is empty asks for nothing.
        _ if value.is_empty() && REFUSED.iter().any(|(refused, _)| *refused == name) => {}
        _ => return Err(refused(name)),
    }
    Ok(())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What GetTopicAttributes shows.
pub(super) fn of_topic(scope: &Scope, topic: &TopicInfo, subscriptions: &[Subscription]) -> BTreeMap<String, String> {
    let confirmed = subscriptions.iter().filter(|subscription| subscription.confirmed).count();
    let left = subscriptions.iter().filter(|subscription| subscription.left).count();
    let effective =
        topic.delivery_policy.as_ref().map_or_else(|| TopicPolicy::default().effective(), TopicPolicy::effective);
    let mut shown = BTreeMap::from([
        ("TopicArn", topic_arn(scope, &topic.name).to_string()),
        ("Owner", scope.account.to_string()),
        ("DisplayName", topic.display_name.clone()),
        ("SubscriptionsConfirmed", confirmed.to_string()),
        ("SubscriptionsPending", (subscriptions.len() - confirmed - left).to_string()),
        ("SubscriptionsDeleted", left.to_string()),
        ("EffectiveDeliveryPolicy", json(&effective)),
        ("Policy", permissions::of(scope, topic)),
    ]);
    if let Some(policy) = &topic.delivery_policy {
        shown.insert("DeliveryPolicy", json(policy));
    }
    if topic.signature_version != SignatureVersion::default() {
        shown.insert("SignatureVersion", topic.signature_version.name().to_owned());
    }
    if let Some(bytes) = topic.max_message_bytes {
        shown.insert("MaximumMessageSize", bytes.to_string());
    }
    if let Some(fifo) = topic.fifo {
        let scope = if fifo.deduplicate_by_group { "MessageGroup" } else { "Topic" };
        shown.insert("FifoTopic", "true".to_owned());
        shown.insert("ContentBasedDeduplication", fifo.content_based_deduplication.to_string());
        shown.insert("FifoThroughputScope", scope.to_owned());
    }
    shown.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A change of a subscription's attributes.
pub(super) fn of_subscription_change(
    attributes: impl IntoIterator<Item = (String, String)>,
) -> Result<SubscriptionChange, ServiceError> {
    let mut change = SubscriptionChange::default();
    for (name, value) in attributes {
        match name.as_str() {
            "RawMessageDelivery" => change.raw = Some(is_true(&name, &value)?),
            "FilterPolicy" => change.filter_policy = Some(value),
            "FilterPolicyScope" => {
                change.filter_scope = Some(match value.as_str() {
                    "MessageAttributes" => FilterScope::MessageAttributes,
                    "MessageBody" => FilterScope::MessageBody,
                    _ => {
                        let text = format!(
                            "Invalid parameter: FilterPolicyScope: Invalid value [{value}]. Please use either MessageBody or MessageAttributes"
                        );
                        return Err(ServiceError::new("InvalidParameter", text));
                    }
                });
            }
            "DeliveryPolicy" => change.delivery_policy = Some(value),
            "RedrivePolicy" => change.redrive_policy = Some(value),
            "SubscriptionRoleArn" => change.role = Some(value),
            "WebhookFormat" => change.webhook = Some(value),
            "WebhookRoutingKey" => change.routing_key = Some(Secret::new(value)),
            _ => return Err(refused(&name)),
        }
    }
    Ok(change)
}

/// What GetSubscriptionAttributes shows.
pub(super) fn of_subscription(
    scope: &Scope,
    topic: &TopicInfo,
    subscription: &Subscription,
) -> BTreeMap<String, String> {
    let arn = topic_arn(scope, &topic.name);
    let mut shown = BTreeMap::from([
        ("SubscriptionArn", subscription.arn(&arn).to_string()),
        ("TopicArn", arn.to_string()),
        ("Owner", scope.account.to_string()),
        ("Protocol", subscription.protocol().name().to_owned()),
        ("Endpoint", subscription.endpoint.clone()),
        ("RawMessageDelivery", subscription.raw.to_string()),
        ("PendingConfirmation", (!subscription.confirmed).to_string()),
        ("ConfirmationWasAuthenticated", subscription.authenticated.to_string()),
        ("SubscriptionPrincipal", format!("arn:aws:iam::{}:root", scope.account)),
    ]);
    if let Some(policy) = &subscription.filter_policy {
        shown.insert("FilterPolicy", policy.clone());
        let scope = match subscription.filter_scope {
            FilterScope::MessageAttributes => "MessageAttributes",
            FilterScope::MessageBody => "MessageBody",
        };
        shown.insert("FilterPolicyScope", scope.to_owned());
    }
    if let Some(policy) = &subscription.delivery_policy {
        shown.insert("DeliveryPolicy", json(policy));
    }
    if subscription.protocol().is_web() {
        shown.insert("EffectiveDeliveryPolicy", json(&subscription.effective(topic.delivery_policy.as_ref())));
    }
    if let Some(format) = subscription.webhook {
        shown.insert("WebhookFormat", format.name().to_owned());
    }
    if subscription.has_routing_key() {
        shown.insert("WebhookRoutingKey", HIDDEN.to_owned());
    }
    if let Some(role) = &subscription.role {
        shown.insert("SubscriptionRoleArn", role.to_string());
    }
    if let Some(queue) = &subscription.dead_letters {
        shown.insert("RedrivePolicy", serde_json::json!({"deadLetterTargetArn": queue}).to_string());
    }
    shown.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
