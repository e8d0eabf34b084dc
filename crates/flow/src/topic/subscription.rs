//! Subscriptions: who is told, how, and of which messages.
//!
//! Owns their document and what makes it valid. Must not know how messages are sent.

use base::{Arn, Timestamp};
use http::Uri;
use rules::{Engine, Event, Pattern, Scratch};
use serde::{Deserialize, Serialize};

use super::message::Message;
use super::retry::DeliveryPolicy;
use crate::FlowError;

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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscription {
    /// A UUID: the last part of its ARN.
    pub id: String,
    /// Where notifications go: an `http://` or `https://` URL.
    pub endpoint: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// Proves that its holder received the confirmation message.
    pub token: String,
    /// Whether the endpoint has answered the confirmation message with success.
    pub asked: bool,
    /// Whether it was confirmed; only then is anything sent.
    pub confirmed: bool,
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

    /// Whether it is told over TLS.
    pub fn is_https(&self) -> bool {
        self.endpoint.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }

    /// Applies a change, refusing values that are not valid.
    pub(super) fn change(&mut self, change: &SubscriptionChange) -> Result<(), FlowError> {
        if let Some(raw) = change.raw {
            self.raw = raw;
        }
        if let Some(scope) = change.filter_scope {
            self.filter_scope = scope;
        }
        if let Some(policy) = &change.filter_policy {
            self.filter_policy = Some(policy.clone()).filter(|p| !matches!(p.trim(), "" | "{}"));
            Filter::new(self)?;
        }
        if let Some(policy) = &change.delivery_policy {
            let text = Some(policy).filter(|p| !p.trim().is_empty());
            self.delivery_policy = text.map(|p| DeliveryPolicy::parse(p)).transpose()?;
        }
        Ok(())
    }
}

/// Reads an endpoint, refusing what cannot be called. Whether the host may be called is for the HTTP client to decide:
/// only it sees the address that the name stands for.
pub(super) fn parse_endpoint(endpoint: &str) -> Result<Uri, FlowError> {
    let invalid = |why: &str| FlowError::Invalid(format!("Invalid parameter: Endpoint: {why}"));
    let uri: Uri = endpoint.parse().map_err(|_| invalid("it is not a URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(invalid("it must start with http:// or https://")),
    }
    let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(invalid("user and password in the URL are not supported"));
    }
    Ok(uri)
}

/// A filter policy ready to use.
pub(super) struct Filter {
    policy: Option<Engine<()>>,
    scope: FilterScope,
}

impl Filter {
    pub fn new(subscription: &Subscription) -> Result<Self, FlowError> {
        let invalid = |e: rules::RulesError| FlowError::Invalid(format!("Invalid parameter: FilterPolicy: {e}"));
        let pattern = subscription.filter_policy.as_deref().map(Pattern::parse).transpose().map_err(invalid)?;
        let policy = pattern.map(|pattern| {
            let mut engine = Engine::default();
            engine.insert((), &pattern);
            engine
        });
        Ok(Self { policy, scope: subscription.filter_scope })
    }

    /// Whether the subscriber wants this message. A body that is no JSON object is not wanted by any policy.
    pub fn wants(&self, message: &Message) -> bool {
        let Some(policy) = &self.policy else { return true };
        let matches = |json: &str| {
            Event::check(json.as_bytes())
                .is_ok_and(|event| policy.matches(event, &mut Scratch::default()).next().is_some())
        };
        match self.scope {
            FilterScope::MessageAttributes => matches(&message.attributes_for_filter().to_string()),
            FilterScope::MessageBody => matches(&message.text),
        }
    }
}
