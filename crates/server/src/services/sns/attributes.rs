//! Attributes of topics and subscriptions: those that are executed are read and shown, every other one is refused.

use std::collections::BTreeMap;

use base::{Scope, TopicName};
use flow::topic::{FilterScope, Subscription, SubscriptionChange, TopicInfo, topic_arn};
use wire::ServiceError;

use super::invalid;

fn not_available(name: &str) -> ServiceError {
    invalid("AttributeName", &format!("the attribute {name} is not available in this version of Tidegate"))
}

/// The display name among a new topic's attributes.
pub(super) fn of_new_topic(attributes: BTreeMap<String, String>) -> Result<Option<String>, ServiceError> {
    let mut name = None;
    for (attribute, value) in attributes {
        match attribute.as_str() {
            // A standard topic is what a topic is when nobody asks for another.
            "FifoTopic" if value == "false" => {}
            _ => name = Some(display_name(&attribute, Some(value))?),
        }
    }
    Ok(name)
}

/// The value of the one attribute of a topic that can be set.
pub(super) fn display_name(attribute: &str, value: Option<String>) -> Result<String, ServiceError> {
    if attribute == "DisplayName" { Ok(value.unwrap_or_default()) } else { Err(not_available(attribute)) }
}

/// What GetTopicAttributes shows.
pub(super) fn of_topic(scope: &Scope, topic: &TopicInfo, subscriptions: &[Subscription]) -> BTreeMap<String, String> {
    let confirmed = subscriptions.iter().filter(|subscription| subscription.confirmed).count();
    let pairs = [
        ("TopicArn", topic_arn(scope, &topic.name).to_string()),
        ("Owner", scope.account.to_string()),
        ("DisplayName", topic.display_name.clone()),
        ("SubscriptionsConfirmed", confirmed.to_string()),
        ("SubscriptionsPending", (subscriptions.len() - confirmed).to_string()),
        ("SubscriptionsDeleted", "0".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A change of a subscription's attributes.
pub(super) fn of_new_subscription(
    attributes: impl IntoIterator<Item = (String, String)>,
) -> Result<SubscriptionChange, ServiceError> {
    let mut change = SubscriptionChange::default();
    for (name, value) in attributes {
        match name.as_str() {
            "RawMessageDelivery" => {
                let raw = value.to_ascii_lowercase().parse();
                change.raw = Some(raw.map_err(|_| invalid("RawMessageDelivery", "true or false was expected"))?);
            }
            "FilterPolicy" => change.filter_policy = Some(value),
            "FilterPolicyScope" => {
                change.filter_scope = Some(match value.as_str() {
                    "MessageAttributes" => FilterScope::MessageAttributes,
                    "MessageBody" => FilterScope::MessageBody,
                    _ => return Err(invalid("FilterPolicyScope", "MessageAttributes or MessageBody was expected")),
                });
            }
            "DeliveryPolicy" => change.delivery_policy = Some(value),
            _ => return Err(not_available(&name)),
        }
    }
    Ok(change)
}

/// By which protocol a subscriber is told.
pub(super) fn protocol(subscription: &Subscription) -> &'static str {
    if subscription.is_https() { "https" } else { "http" }
}

/// What GetSubscriptionAttributes shows.
pub(super) fn of_subscription(
    scope: &Scope,
    topic: &TopicName,
    subscription: &Subscription,
) -> BTreeMap<String, String> {
    let topic = topic_arn(scope, topic);
    let mut shown = BTreeMap::from([
        ("SubscriptionArn", subscription.arn(&topic).to_string()),
        ("TopicArn", topic.to_string()),
        ("Owner", scope.account.to_string()),
        ("Protocol", protocol(subscription).to_owned()),
        ("Endpoint", subscription.endpoint.clone()),
        ("RawMessageDelivery", subscription.raw.to_string()),
        ("PendingConfirmation", (!subscription.confirmed).to_string()),
    ]);
    if let Some(policy) = &subscription.filter_policy {
        shown.insert("FilterPolicy", policy.clone());
        let scope = match subscription.filter_scope {
            FilterScope::MessageAttributes => "MessageAttributes",
            FilterScope::MessageBody => "MessageBody",
        };
        shown.insert("FilterPolicyScope", scope.to_owned());
    }
    if let Some(policy) = subscription.delivery_policy.as_ref().and_then(|policy| serde_json::to_string(policy).ok()) {
        shown.insert("DeliveryPolicy", policy);
    }
    shown.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
