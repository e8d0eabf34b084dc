//! SNS: topics, subscriptions and publishing.
//!
//! Owns the translation between the wire and `flow::topic`. Must not know how messages are stored or sent.

mod attributes;
mod permissions;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base::{Arn, Env, Principal, Scope, TopicName};
use flow::FlowError;
use flow::topic::{By, Protocol, Subscribing, TopicInfo, Topics, topic_arn};
use wire::sns::*;
use wire::{Call, ServiceError, ServiceId, only};

use super::page::{BadToken, page};

const SERVICE: ServiceId = ServiceId::Sns;
/// Items of a page ("ListTopics", SNS API Reference).
const PAGE: usize = 100;
/// What a caller sees in place of the ARN of a subscription that is not confirmed.
const PENDING: &str = "pending confirmation";
/// The same in listings.
const PENDING_LISTED: &str = "PendingConfirmation";

/// The service.
pub(crate) struct Notifications {
    topics: Topics,
    env: Env,
}

impl Notifications {
    pub fn new(topics: Topics, env: Env) -> Arc<Self> {
        Arc::new(Self { topics, env })
    }
}

fn invalid(parameter: &str, reason: &str) -> ServiceError {
    ServiceError::new("InvalidParameter", format!("Invalid parameter: {parameter} Reason: {reason}"))
}

fn failed(error: FlowError) -> ServiceError {
    match error {
        FlowError::LimitExceeded(message) => ServiceError::new("LimitExceeded", message).with_status(400),
        // TagLimitExceeded is the only one of these whose status is another.
        FlowError::Limit { of, message } => {
            let status = if of == "Tag" { 400 } else { 403 };
            ServiceError::new(format!("{of}LimitExceeded"), message).with_status(status)
        }
        error => ServiceError::from_kinded(SERVICE, &error),
    }
}

fn bad_token(_: BadToken) -> ServiceError {
    invalid("NextToken", "it is not one of this listing; list again from the start")
}

fn topic_name(text: &str) -> Result<TopicName, ServiceError> {
    text.parse().map_err(|_| ServiceError::new("InvalidParameter", "Invalid parameter: Topic Name"))
}

/// The name in a topic's ARN, which must be of the call's account and region.
fn topic_of(scope: &Scope, text: &str) -> Result<TopicName, ServiceError> {
    let arn: Arn = text.parse().map_err(|_| invalid("TopicArn", "an ARN was expected"))?;
    if arn.service() != "sns" || arn.resource().contains(':') {
        return Err(invalid("TopicArn", "it is not the ARN of a topic"));
    }
    let of = arn.scope();
    if of.as_ref().is_some_and(|of| of.region != scope.region) {
        return Err(ServiceError::new("InvalidParameter", "Invalid parameter: TopicArn"));
    }
    if of.as_ref() != Some(scope) {
        return Err(ServiceError::new("NotFound", "Topic does not exist"));
    }
    topic_name(arn.resource())
}

fn subscription_arn(scope: &Scope, text: &str) -> Result<Arn, ServiceError> {
    let arn: Arn = text.parse().map_err(|_| invalid("SubscriptionArn", "an ARN was expected"))?;
    if arn.scope().as_ref() != Some(scope) {
        return Err(ServiceError::new("NotFound", "Subscription does not exist"));
    }
    Ok(arn)
}

/// Who calls: a link's holder has proven nothing.
fn by(call: &Call) -> By {
    if call.principal == Principal::Anonymous { By::Link } else { By::Owner }
}

fn protocol(name: &str) -> Result<Protocol, ServiceError> {
    let invalid = |text: String| ServiceError::new("InvalidParameter", format!("Invalid parameter: {text}"));
    Protocol::of_name(name).ok_or_else(|| match name {
        "application" | "sms" => invalid(format!(
            "Protocol Reason: the protocol {name} is not available in this version of Tidegate; {} are",
            Protocol::ALL.map(Protocol::name).join(", ")
        )),
        other => invalid(format!("Amazon SNS does not support this protocol string: {other}")),
    })
}

fn tags_of(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, ServiceError> {
    let count = tags.len();
    let tags: BTreeMap<String, String> = tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
    if tags.len() < count {
        return Err(ServiceError::new("InvalidParameter", "Invalid parameter: Duplicated keys are not allowed."));
    }
    Ok(tags)
}

/// The topic of a tagging call.
fn tagged(scope: &Scope, text: &str) -> Result<TopicName, ServiceError> {
    topic_of(scope, text).map_err(|error| match &*error.code {
        "NotFound" => no_resource(),
        _ => error,
    })
}

fn no_resource() -> ServiceError {
    ServiceError::new("ResourceNotFound", "Resource does not exist").with_status(404)
}

fn tagging(error: FlowError) -> ServiceError {
    match error {
        FlowError::NotFound(_) => no_resource(),
        error => failed(error),
    }
}

fn shown(scope: &Scope, topic: &TopicName, subscription: flow::topic::Subscription) -> Subscription {
    let topic = topic_arn(scope, topic);
    let arn = subscription.arn(&topic).to_string();
    Subscription {
        subscription_arn: Some(if subscription.confirmed { arn } else { PENDING_LISTED.to_owned() }),
        protocol: Some(subscription.protocol().name().to_owned()),
        endpoint: Some(subscription.endpoint),
        owner: Some(scope.account.to_string()),
        topic_arn: Some(topic.to_string()),
    }
}

#[async_trait]
impl Sns for Notifications {
    async fn create_topic(&self, call: &Call, input: CreateTopicInput) -> Result<CreateTopicOutput, ServiceError> {
        // A data protection policy is refused by name.
        only(SERVICE, &input, &["Name", "Attributes", "Tags"])?;
        let topic = topic_name(&input.name)?;
        let change = attributes::of_new_topic(&topic, input.attributes.unwrap_or_default())?;
        let tags = tags_of(input.tags.unwrap_or_default())?;
        let arn = self.topics.create_topic(&call.scope, &topic, &change, &tags).await.map_err(failed)?;
        Ok(CreateTopicOutput { topic_arn: Some(arn.to_string()) })
    }

    async fn delete_topic(&self, call: &Call, input: DeleteTopicInput) -> Result<DeleteTopicOutput, ServiceError> {
        let topic = topic_of(&call.scope, &input.topic_arn)?;
        self.topics.delete_topic(&call.scope, &topic).await.map_err(failed)?;
        Ok(DeleteTopicOutput::default())
    }

    async fn list_topics(&self, call: &Call, input: ListTopicsInput) -> Result<ListTopicsOutput, ServiceError> {
        let topics = self.topics.topics(&call.scope).map_err(failed)?;
        let key = |topic: &TopicInfo| topic.name.to_string();
        let (topics, next_token) = page(topics, key, PAGE, input.next_token.as_deref()).map_err(bad_token)?;
        let arn = |topic: TopicInfo| Topic { topic_arn: Some(topic_arn(&call.scope, &topic.name).to_string()) };
        Ok(ListTopicsOutput { topics: Some(topics.into_iter().map(arn).collect()), next_token })
    }

    async fn get_topic_attributes(
        &self,
        call: &Call,
        input: GetTopicAttributesInput,
    ) -> Result<GetTopicAttributesOutput, ServiceError> {
        let topic = topic_of(&call.scope, &input.topic_arn)?;
        let info = self.topics.topic(&call.scope, &topic).map_err(failed)?;
        let subscriptions = self.topics.subscriptions(&call.scope, &topic).map_err(failed)?;
        let attributes = attributes::of_topic(&call.scope, &info, &subscriptions);
        Ok(GetTopicAttributesOutput { attributes: Some(attributes) })
    }

    async fn set_topic_attributes(
        &self,
        call: &Call,
        input: SetTopicAttributesInput,
    ) -> Result<SetTopicAttributesOutput, ServiceError> {
        let topic = topic_of(&call.scope, &input.topic_arn)?;
        if input.attribute_name == "FifoTopic" {
            return Err(ServiceError::new("InvalidParameter", "Invalid parameter: AttributeName"));
        }
        let change = attributes::of_topic_change(&input.attribute_name, input.attribute_value)?;
        self.topics.change_topic(&call.scope, &topic, &change).await.map_err(failed)?;
        Ok(SetTopicAttributesOutput::default())
    }

    async fn subscribe(&self, call: &Call, input: SubscribeInput) -> Result<SubscribeOutput, ServiceError> {
        let topic = topic_of(&call.scope, &input.topic_arn)?;
        let protocol = protocol(&input.protocol)?;
        let endpoint = input.endpoint.ok_or_else(|| invalid("Endpoint", "an endpoint is needed for this protocol"))?;
        let change = attributes::of_subscription_change(input.attributes.unwrap_or_default())?;
        let asked = Subscribing { protocol, endpoint: &endpoint, change: &change };
        let subscription = self.topics.subscribe(&call.scope, &topic, asked).await.map_err(failed)?;
        let arn = subscription.arn(&topic_arn(&call.scope, &topic)).to_string();
        let is_shown = subscription.confirmed || input.return_subscription_arn == Some(true);
        Ok(SubscribeOutput { subscription_arn: Some(if is_shown { arn } else { PENDING.to_owned() }) })
    }

    async fn confirm_subscription(
        &self,
        call: &Call,
        input: ConfirmSubscriptionInput,
    ) -> Result<ConfirmSubscriptionOutput, ServiceError> {
        let strict = input.authenticate_on_unsubscribe.as_deref();
        let strict = strict.map_or(Ok(false), |value| attributes::is_true("AuthenticateOnUnsubscribe", value))?;
        let by = by(call);
        if strict && by == By::Link {
            let message = "AuthenticateOnUnsubscribe needs a signed call";
            return Err(ServiceError::new("AuthorizationError", message));
        }
        let topic = topic_of(&call.scope, &input.topic_arn)?;
        let confirmed = self.topics.confirm(&call.scope, &topic, &input.token, by, strict).await;
        let subscription = confirmed.map_err(failed)?;
        let arn = subscription.arn(&topic_arn(&call.scope, &topic));
        Ok(ConfirmSubscriptionOutput { subscription_arn: Some(arn.to_string()) })
    }

    async fn unsubscribe(&self, call: &Call, input: UnsubscribeInput) -> Result<UnsubscribeOutput, ServiceError> {
        let arn = subscription_arn(&call.scope, &input.subscription_arn)?;
        self.topics.unsubscribe(&arn, by(call)).await.map_err(failed)?;
        Ok(UnsubscribeOutput::default())
    }

    async fn list_subscriptions(
        &self,
        call: &Call,
        input: ListSubscriptionsInput,
    ) -> Result<ListSubscriptionsOutput, ServiceError> {
        let mut all = Vec::new();
        for topic in self.topics.topics(&call.scope).map_err(failed)? {
            let subscriptions = self.topics.subscriptions(&call.scope, &topic.name).map_err(failed)?;
            all.extend(subscriptions.into_iter().map(|subscription| (topic.name.clone(), subscription)));
        }
        // NUL is in no topic's name, so that one name being another's beginning does not mix their subscriptions.
        let key =
            |(topic, subscription): &(TopicName, flow::topic::Subscription)| format!("{topic}\0{}", subscription.id);
        all.sort_by_key(key);
        let (all, next_token) = page(all, key, PAGE, input.next_token.as_deref()).map_err(bad_token)?;
        let subscriptions = all.into_iter().map(|(topic, subscription)| shown(&call.scope, &topic, subscription));
        Ok(ListSubscriptionsOutput { subscriptions: Some(subscriptions.collect()), next_token })
    }

    async fn list_subscriptions_by_topic(
        &self,
        call: &Call,
        input: ListSubscriptionsByTopicInput,
    ) -> Result<ListSubscriptionsByTopicOutput, ServiceError> {
        let topic = topic_of(&call.scope, &input.topic_arn)?;
        let mut all = self.topics.subscriptions(&call.scope, &topic).map_err(failed)?;
        let key = |subscription: &flow::topic::Subscription| subscription.id.clone();
        all.sort_by_key(key);
        let (all, next_token) = page(all, key, PAGE, input.next_token.as_deref()).map_err(bad_token)?;
        let subscriptions = all.into_iter().map(|subscription| shown(&call.scope, &topic, subscription));
        Ok(ListSubscriptionsByTopicOutput { subscriptions: Some(subscriptions.collect()), next_token })
    }

    async fn get_subscription_attributes(
        &self,
        call: &Call,
        input: GetSubscriptionAttributesInput,
    ) -> Result<GetSubscriptionAttributesOutput, ServiceError> {
        let arn = subscription_arn(&call.scope, &input.subscription_arn)?;
        let (scope, topic, subscription) = self.topics.subscription(&arn).map_err(failed)?;
        let info = self.topics.topic(&scope, &topic).map_err(failed)?;
        let attributes = attributes::of_subscription(&scope, &info, &subscription);
        Ok(GetSubscriptionAttributesOutput { attributes: Some(attributes) })
    }

    async fn set_subscription_attributes(
        &self,
        call: &Call,
        input: SetSubscriptionAttributesInput,
    ) -> Result<SetSubscriptionAttributesOutput, ServiceError> {
        let arn = subscription_arn(&call.scope, &input.subscription_arn)?;
        let value = input.attribute_value.unwrap_or_default();
        let change = attributes::of_subscription_change([(input.attribute_name, value)])?;
        self.topics.change_subscription(&arn, &change).await.map_err(failed)?;
        Ok(SetSubscriptionAttributesOutput::default())
    }

    async fn publish(&self, call: &Call, input: PublishInput) -> Result<PublishOutput, ServiceError> {
        publish::one(self, call, input).await
    }

    async fn publish_batch(&self, call: &Call, input: PublishBatchInput) -> Result<PublishBatchOutput, ServiceError> {
        publish::batch(self, call, input).await
    }

    async fn tag_resource(&self, call: &Call, input: TagResourceInput) -> Result<TagResourceOutput, ServiceError> {
        let (topic, tags) = (tagged(&call.scope, &input.resource_arn)?, tags_of(input.tags)?);
        self.topics.tag_topic(&call.scope, &topic, &tags, &[]).await.map_err(tagging)?;
        Ok(TagResourceOutput::default())
    }

    async fn untag_resource(
        &self,
        call: &Call,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, ServiceError> {
        let topic = tagged(&call.scope, &input.resource_arn)?;
        self.topics.tag_topic(&call.scope, &topic, &BTreeMap::new(), &input.tag_keys).await.map_err(tagging)?;
        Ok(UntagResourceOutput::default())
    }

    async fn list_tags_for_resource(
        &self,
        call: &Call,
        input: ListTagsForResourceInput,
    ) -> Result<ListTagsForResourceOutput, ServiceError> {
        let topic = tagged(&call.scope, &input.resource_arn)?;
        let info = self.topics.topic(&call.scope, &topic).map_err(tagging)?;
        let tags = info.tags.into_iter().map(|(key, value)| Tag { key, value, ..Default::default() }).collect();
        Ok(ListTagsForResourceOutput { tags: Some(tags) })
    }

    async fn add_permission(
        &self,
        call: &Call,
        input: AddPermissionInput,
    ) -> Result<AddPermissionOutput, ServiceError> {
        permissions::add(self, call, input).await
    }

    async fn remove_permission(
        &self,
        call: &Call,
        input: RemovePermissionInput,
    ) -> Result<RemovePermissionOutput, ServiceError> {
        permissions::remove(self, call, input).await
    }

    async fn put_data_protection_policy(
        &self,
        _: &Call,
        _: PutDataProtectionPolicyInput,
    ) -> Result<PutDataProtectionPolicyOutput, ServiceError> {
        Err(invalid("DataProtectionPolicy", "data protection policies are not available in this version of Tidegate"))
    }

    async fn get_data_protection_policy(
        &self,
        _: &Call,
        _: GetDataProtectionPolicyInput,
    ) -> Result<GetDataProtectionPolicyOutput, ServiceError> {
        Err(invalid("DataProtectionPolicy", "data protection policies are not available in this version of Tidegate"))
    }
}
