//! SNS: topics, subscriptions and publishing.
//!
//! Owns the translation between the wire and `flow::topic`. Must not know how messages are stored or sent.

mod attributes;
mod publish;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Arn, Env, Scope, TopicName};
use flow::FlowError;
use flow::topic::{TopicInfo, Topics, topic_arn};
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
        error => ServiceError::from_kinded(SERVICE, &error),
    }
}

fn bad_token(_: BadToken) -> ServiceError {
    invalid("NextToken", "it is not one of this listing; list again from the start")
}

fn topic_name(text: &str) -> Result<TopicName, ServiceError> {
    text.parse().map_err(|_| invalid("Topic Name", "1 to 256 letters, digits, '_' or '-' are allowed"))
}

/// The name in a topic's ARN, which must be of the call's account and region.
fn topic_of(scope: &Scope, text: &str) -> Result<TopicName, ServiceError> {
    let arn: Arn = text.parse().map_err(|_| invalid("TopicArn", "an ARN was expected"))?;
    if arn.service() != "sns" || arn.resource().contains(':') {
        return Err(invalid("TopicArn", "it is not the ARN of a topic"));
    }
    if arn.scope().as_ref() != Some(scope) {
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

fn shown(scope: &Scope, topic: &TopicName, subscription: flow::topic::Subscription) -> Subscription {
    let topic = topic_arn(scope, topic);
    let arn = subscription.arn(&topic).to_string();
    Subscription {
        subscription_arn: Some(if subscription.confirmed { arn } else { PENDING_LISTED.to_owned() }),
        protocol: Some(attributes::protocol(&subscription).to_owned()),
        endpoint: Some(subscription.endpoint),
        owner: Some(scope.account.to_string()),
        topic_arn: Some(topic.to_string()),
    }
}

#[async_trait]
impl Sns for Notifications {
    async fn create_topic(&self, call: &Call, input: CreateTopicInput) -> Result<CreateTopicOutput, ServiceError> {
        only(SERVICE, &input, &["Name", "Attributes"])?;
        let topic = topic_name(&input.name)?;
        let display_name = attributes::of_new_topic(input.attributes.unwrap_or_default())?;
        let arn = self.topics.create_topic(&call.scope, &topic, display_name.as_deref()).await.map_err(failed)?;
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
        let name = attributes::display_name(&input.attribute_name, input.attribute_value)?;
        self.topics.set_display_name(&call.scope, &topic, &name).await.map_err(failed)?;
        Ok(SetTopicAttributesOutput::default())
    }

    async fn subscribe(&self, call: &Call, input: SubscribeInput) -> Result<SubscribeOutput, ServiceError> {
        let topic = topic_of(&call.scope, &input.topic_arn)?;
        let protocol = input.protocol.as_str();
        if !matches!(protocol, "http" | "https") {
            let reason =
                format!("the protocol {protocol} is not available in this version of Tidegate; http and https are");
            return Err(invalid("Protocol", &reason));
        }
        let endpoint = input.endpoint.ok_or_else(|| invalid("Endpoint", "an endpoint is needed for this protocol"))?;
        let scheme = endpoint.split(':').next().unwrap_or_default();
        if !scheme.eq_ignore_ascii_case(protocol) {
            return Err(invalid("Endpoint", "must match the specified protocol"));
        }
        let change = attributes::of_new_subscription(input.attributes.unwrap_or_default())?;
        let subscription = self.topics.subscribe(&call.scope, &topic, &endpoint, &change).await.map_err(failed)?;
        let arn = subscription.arn(&topic_arn(&call.scope, &topic)).to_string();
        let is_shown = subscription.confirmed || input.return_subscription_arn == Some(true);
        Ok(SubscribeOutput { subscription_arn: Some(if is_shown { arn } else { PENDING.to_owned() }) })
    }

    async fn confirm_subscription(
        &self,
        call: &Call,
        input: ConfirmSubscriptionInput,
    ) -> Result<ConfirmSubscriptionOutput, ServiceError> {
        if input.authenticate_on_unsubscribe.as_deref().is_some_and(|value| value != "true") {
            // Unsubscribing without a signature does not exist here, so the only possible value is the strict one.
            return Err(invalid(
                "AuthenticateOnUnsubscribe",
                "unsubscribing always needs a signature; only true is possible",
            ));
        }
        let topic = topic_of(&call.scope, &input.topic_arn)?;
        let subscription = self.topics.confirm(&call.scope, &topic, &input.token).await.map_err(failed)?;
        let arn = subscription.arn(&topic_arn(&call.scope, &topic));
        Ok(ConfirmSubscriptionOutput { subscription_arn: Some(arn.to_string()) })
    }

    async fn unsubscribe(&self, call: &Call, input: UnsubscribeInput) -> Result<UnsubscribeOutput, ServiceError> {
        let arn = subscription_arn(&call.scope, &input.subscription_arn)?;
        self.topics.unsubscribe(&arn).await.map_err(failed)?;
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
        let attributes = attributes::of_subscription(&scope, &topic, &subscription);
        Ok(GetSubscriptionAttributesOutput { attributes: Some(attributes) })
    }

    async fn set_subscription_attributes(
        &self,
        call: &Call,
        input: SetSubscriptionAttributesInput,
    ) -> Result<SetSubscriptionAttributesOutput, ServiceError> {
        let arn = subscription_arn(&call.scope, &input.subscription_arn)?;
        let value = input.attribute_value.unwrap_or_default();
        let change = attributes::of_new_subscription([(input.attribute_name, value)])?;
        self.topics.change_subscription(&arn, &change).await.map_err(failed)?;
        Ok(SetSubscriptionAttributesOutput::default())
    }

    async fn publish(&self, call: &Call, input: PublishInput) -> Result<PublishOutput, ServiceError> {
        publish::one(self, call, input).await
    }

    async fn publish_batch(&self, call: &Call, input: PublishBatchInput) -> Result<PublishBatchOutput, ServiceError> {
        publish::batch(self, call, input).await
    }
}
