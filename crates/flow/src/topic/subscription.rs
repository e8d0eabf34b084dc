//! Subscriptions: who is told, how, and of which messages.
//!
//! Owns their document and what makes it valid. Must not know how messages are sent.

use std::fmt;

use base::{Arn, Timestamp};
use serde::{Deserialize, Serialize};

use super::chat::{self, WebhookFormat};
use super::endpoint::Protocol;
use super::filter::Filter;
use super::policy::{DeliveryPolicy, Effective, TopicPolicy};
use super::routing_key::RoutingKeys;
use crate::FlowError;
use crate::sealed::Secret;

/// What a filter policy looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FilterScope {
    /// The message's attributes.
    #[default]
    MessageAttributes,
    /// The message itself, a JSON object.
    MessageBody,
}

/// A subscription as stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct Subscription {
    /// A UUID: the last part of its ARN.
    pub id: String,
    /// How it is told; absent where it was stored when there was only HTTP.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Where notifications go: a URL or an ARN.
    pub endpoint: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// Proves that its holder received the confirmation message.
    pub token: String,
    /// Whether the endpoint has answered the confirmation message with success.
    pub asked: bool,
    /// Whether it was confirmed; only then is anything sent.
    pub confirmed: bool,
    /// Whether who confirmed it had proven who they are.
    #[serde(default)]
    pub authenticated: bool,
    /// Whether only callers who prove who they are can end it.
    #[serde(default)]
    pub authenticate_on_unsubscribe: bool,
    /// Whether it was ended by a link in a message, which its holder may take back for as long as the token holds.
    #[serde(default)]
    pub left: bool,
    /// Whether the message is sent as it was published, without envelope.
    pub raw: bool,
    /// Only matching messages are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_policy: Option<String>,
    /// What the filter policy looks at.
    pub filter_scope: FilterScope,
    /// As set, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_policy: Option<DeliveryPolicy>,
    /// The queue that gets what cannot be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Arn>,
    /// What a delivery stream is given messages with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Arn>,
    /// In whose words messages are, when not in the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookFormat>,
    /// PagerDuty's key, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) routing_key: Option<String>,
}

/// Attributes that can be set on a subscription, `None` for what stays.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionChange {
    /// `RawMessageDelivery`.
    pub raw: Option<bool>,
    /// `FilterPolicy`; an empty text removes it.
    pub filter_policy: Option<String>,
    /// `FilterPolicyScope`.
    pub filter_scope: Option<FilterScope>,
    /// `DeliveryPolicy`; an empty text removes it.
    pub delivery_policy: Option<String>,
    /// `RedrivePolicy`; an empty text removes it.
    pub redrive_policy: Option<String>,
    /// `SubscriptionRoleArn`.
    pub role: Option<String>,
    /// `WebhookFormat`; an empty text removes it.
    pub webhook: Option<String>,
    /// `WebhookRoutingKey`, which PagerDuty's format needs and no other has.
    pub routing_key: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RedrivePolicy {
    dead_letter_target_arn: Option<String>,
}

impl Subscription {
    /// Its ARN: the topic's and its id.
    pub fn arn(&self, topic: &Arn) -> Arn {
        // Both parts come from ARNs, so the whole is one.
        match topic.scope() {
            Some(scope) => Arn::new("sns", &scope, format!("{}:{}", topic.resource(), self.id)),
            None => topic.clone(),
        }
    }

    /// How it is told.
    pub fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or_else(|| Protocol::of_url(&self.endpoint))
    }

    /// Whether two say the same in what a caller can set.
    pub(super) fn is_set_as(&self, other: &Self) -> bool {
        let set = |s: &Self| {
            let (raw, scope, policy) = (s.raw, s.filter_scope, s.filter_policy.clone());
            (raw, scope, policy, s.delivery_policy.clone(), s.dead_letters.clone(), s.role.clone())
        };
        let webhook = |s: &Self| (s.webhook, s.routing_key.clone());
        set(self) == set(other) && webhook(self) == webhook(other)
    }

    /// Whether a routing key was set, which is shown to nobody.
    pub fn has_routing_key(&self) -> bool {
        self.routing_key.is_some()
    }

    /// When and how its endpoint is called, with what its topic's policy says.
    pub fn effective(&self, topic: Option<&TopicPolicy>) -> Effective {
        let mut effective = Effective::of(topic, self.delivery_policy.as_ref());
        if self.webhook.is_some() {
            effective.request_policy.header_content_type = chat::CONTENT_TYPE.to_owned();
        }
        effective
    }

    /// Applies a change to a subscription of `topic`, refusing values that are not valid.
    pub(super) fn change(
        &mut self,
        topic: &Arn,
        change: &SubscriptionChange,
        keys: &RoutingKeys,
    ) -> Result<(), FlowError> {
        if let Some(raw) = change.raw {
            if raw && (self.protocol() == Protocol::Lambda || self.protocol().is_mail()) {
                let text = format!("RawMessageDelivery: not supported by the protocol {}", self.protocol().name());
                return Err(FlowError::Invalid(format!("Invalid parameter: {text}")));
            }
            self.raw = raw;
        }
        if let Some(scope) = change.filter_scope {
            self.filter_scope = scope;
        }
        if let Some(policy) = &change.filter_policy {
            self.filter_policy = Some(policy.clone()).filter(|p| !matches!(p.trim(), "" | "{}"));
        }
        if change.filter_policy.is_some() || change.filter_scope.is_some() {
            Filter::checked(self)?;
        }
        if let Some(policy) = &change.delivery_policy {
            let text = Some(policy).filter(|p| !p.trim().is_empty());
            if text.is_some() && !self.protocol().is_web() {
                let text = "DeliveryPolicy: only subscriptions of the protocols http and https have one";
                return Err(FlowError::Invalid(format!("Invalid parameter: {text}")));
            }
            self.delivery_policy = text.map(|p| DeliveryPolicy::parse(p)).transpose()?;
        }
        if let Some(policy) = &change.redrive_policy {
            let text = Some(policy).filter(|p| !p.trim().is_empty());
            self.dead_letters = text.map(|p| dead_letters(topic, p)).transpose()?.flatten();
        }
        if let Some(role) = &change.role {
            self.role = Some(self.checked_role(role)?);
        }
        self.change_webhook(change, keys)
    }

    fn change_webhook(&mut self, change: &SubscriptionChange, keys: &RoutingKeys) -> Result<(), FlowError> {
        let invalid = |why: &str| Err(FlowError::Invalid(format!("Invalid parameter: {why}")));
        if let Some(name) = change.webhook.as_deref() {
            self.webhook = WebhookFormat::of_name(name);
            if self.webhook.is_none() && !name.is_empty() {
                return invalid("WebhookFormat: slack, teams or pagerduty was expected");
            }
        }
        let is_pager = self.webhook == Some(WebhookFormat::PagerDuty);
        match &change.routing_key {
            Some(_) if !is_pager => return invalid("WebhookRoutingKey: only the WebhookFormat pagerduty has one"),
            Some(key) => self.routing_key = Some(keys.seal(self, key)?),
            None if !is_pager => self.routing_key = None,
            None if self.routing_key.is_none() => {
                return invalid("WebhookFormat: pagerduty needs the attribute WebhookRoutingKey, set by Subscribe");
            }
            None => {}
        }
        let request = self.delivery_policy.as_ref().and_then(|policy| policy.request_policy.as_ref());
        match self.webhook {
            None => Ok(()),
            Some(_) if !self.protocol().is_web() => {
                invalid("WebhookFormat: only the protocols http and https have one")
            }
            Some(_) if self.raw => invalid("WebhookFormat: a message cannot be raw and in another's words"),
            Some(_) if request.is_some_and(|request| request.header_content_type != chat::CONTENT_TYPE) => {
                invalid("WebhookFormat: its bodies are application/json, and DeliveryPolicy says another content type")
            }
            Some(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Subscription {
    /// Without what proves something, and without the endpoint, whose path and query may.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({}, {})", self.id, self.protocol().name())
    }
}

impl Subscription {
    /// The role of a subscription attribute. Only deliveries to delivery streams have one.
    fn checked_role(&self, role: &str) -> Result<Arn, FlowError> {
        let invalid = |why: &str| FlowError::Invalid(format!("Invalid parameter: SubscriptionRoleArn: {why}"));
        if self.protocol() != Protocol::Firehose {
            return Err(invalid("only subscriptions of the protocol firehose have one"));
        }
        let role: Option<Arn> = role.parse().ok();
        role.filter(|role| role.service() == "iam").ok_or_else(|| invalid("the ARN of a role was expected"))
    }
}

/// The queue that a redrive policy names: of the topic's account and region, and FIFO where the topic is.
fn dead_letters(topic: &Arn, text: &str) -> Result<Option<Arn>, FlowError> {
    let invalid = |why: &str| FlowError::Invalid(format!("Invalid parameter: RedrivePolicy: {why}"));
    let policy: RedrivePolicy = serde_json::from_str(text).map_err(|_| invalid("failed to parse JSON."))?;
    let Some(target) = policy.dead_letter_target_arn else { return Ok(None) };
    let arn: Arn = target.parse().map_err(|_| invalid("deadLetterTargetArn is an invalid arn"))?;
    if arn.service() != "sqs" || arn.scope() != topic.scope() {
        return Err(invalid("deadLetterTargetArn must be a queue of the topic's account and region"));
    }
    match (topic.resource().ends_with(".fifo"), arn.resource().ends_with(".fifo")) {
        (true, false) => Err(invalid("must use a FIFO queue as DLQ for a FIFO topic")),
        (false, true) => Err(invalid("must use a standard queue as DLQ for a standard topic")),
        _ => Ok(Some(arn)),
    }
}
