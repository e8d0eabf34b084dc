//! Delivery policies of topics and subscriptions, and the one in force for a subscription.
//!
//! Owns their JSON ("Creating an HTTP/S delivery policy", SNS Developer Guide) and which of them wins. Pure. Must not
//! know how waits are kept.

use serde::{Deserialize, Serialize};

use super::retry::HealthyRetry;
use crate::FlowError;

/// How a notification's content type is given when nobody says otherwise.
const TEXT: &str = "text/plain; charset=UTF-8";
/// Those that a policy may name.
const CONTENT_TYPES: [&str; 12] = [
    "application/atom+xml",
    "application/json",
    "application/octet-stream",
    "application/soap+xml",
    "application/x-www-form-urlencoded",
    "application/xhtml+xml",
    "application/xml",
    "text/css",
    "text/csv",
    "text/html",
    "text/plain",
    "text/xml",
];

/// `throttlePolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttle {
    /// Deliveries a second, at least one.
    pub max_receives_per_second: u32,
}

/// `requestPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestPolicy {
    /// The content type of notifications.
    pub header_content_type: String,
}

/// The `DeliveryPolicy` attribute of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeliveryPolicy {
    /// When to send again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_retry_policy: Option<HealthyRetry>,
    /// How fast to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_policy: Option<Throttle>,
    /// What requests look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_policy: Option<RequestPolicy>,
}

/// The `http` part of a topic's `DeliveryPolicy` attribute.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpDefaults {
    /// When to send again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_healthy_retry_policy: Option<HealthyRetry>,
    /// How fast to send to each subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_throttle_policy: Option<Throttle>,
    /// What requests look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_request_policy: Option<RequestPolicy>,
    /// Whether policies of subscriptions count for nothing.
    #[serde(default)]
    pub disable_subscription_overrides: bool,
}

/// The `DeliveryPolicy` attribute of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicPolicy {
    /// For subscribers by HTTP, the only ones whose policy can be set.
    pub http: HttpDefaults,
}

/// What is in force for one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// When to send again.
    pub healthy_retry_policy: HealthyRetry,
    /// How fast to send; as fast as it is taken when absent.
    pub throttle_policy: Option<Throttle>,
    /// What requests look like.
    pub request_policy: RequestPolicy,
}

fn invalid(why: impl std::fmt::Display) -> FlowError {
    FlowError::Invalid(format!("Invalid parameter: DeliveryPolicy: {why}"))
}

/// Reads an object; a list would be read member by member.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, FlowError> {
    let object: serde_json::Map<_, _> = serde_json::from_str(text).map_err(invalid)?;
    serde_json::from_value(object.into()).map_err(invalid)
}

fn check(
    retry: Option<&HealthyRetry>,
    throttle: Option<&Throttle>,
    request: Option<&RequestPolicy>,
) -> Result<(), FlowError> {
    retry.map_or(Ok(()), HealthyRetry::check).map_err(invalid)?;
    if throttle.is_some_and(|throttle| throttle.max_receives_per_second == 0) {
        return Err(invalid("maxReceivesPerSecond must be at least 1"));
    }
    let known = |request: &RequestPolicy| {
        let kind = request.header_content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let header = http::HeaderValue::from_str(&request.header_content_type);
        CONTENT_TYPES.contains(&&*kind) && header.is_ok() && request.header_content_type.is_ascii()
    };
    match request.filter(|request| !known(request)) {
        Some(request) => Err(invalid(format_args!(
            "headerContentType '{}' is not one of {}",
            request.header_content_type,
            CONTENT_TYPES.join(", ")
        ))),
        None => Ok(()),
    }
}

impl DeliveryPolicy {
    /// Reads the attribute's text.
    pub fn parse(text: &str) -> Result<Self, FlowError> {
        let policy: Self = read(text)?;
        let (retry, throttle) = (policy.healthy_retry_policy.as_ref(), policy.throttle_policy.as_ref());
        check(retry, throttle, policy.request_policy.as_ref())?;
        Ok(policy)
    }
}

impl TopicPolicy {
    /// Reads the attribute's text.
    pub fn parse(text: &str) -> Result<Self, FlowError> {
        let policy: Self = read(text)?;
        let http = &policy.http;
        check(
            http.default_healthy_retry_policy.as_ref(),
            http.default_throttle_policy.as_ref(),
            http.default_request_policy.as_ref(),
        )?;
        Ok(policy)
    }

    /// With what holds where it says nothing.
    pub fn effective(&self) -> Self {
        let http = &self.http;
        let request = || RequestPolicy { header_content_type: TEXT.to_owned() };
        Self {
            http: HttpDefaults {
                default_healthy_retry_policy: Some(http.default_healthy_retry_policy.unwrap_or_default()),
                default_request_policy: Some(http.default_request_policy.clone().unwrap_or_else(request)),
                ..http.clone()
            },
        }
    }
}

impl Effective {
    /// Of a subscription's own policy and its topic's: member by member the subscription's, unless the topic forbids.
    pub fn of(topic: Option<&TopicPolicy>, own: Option<&DeliveryPolicy>) -> Self {
        let http = topic.map(|topic| topic.http.clone()).unwrap_or_default();
        let own = own.filter(|_| !http.disable_subscription_overrides).cloned().unwrap_or_default();
        let request = own.request_policy.or(http.default_request_policy);
        Self {
            healthy_retry_policy: own.healthy_retry_policy.or(http.default_healthy_retry_policy).unwrap_or_default(),
            throttle_policy: own.throttle_policy.or(http.default_throttle_policy),
            request_policy: request.unwrap_or_else(|| RequestPolicy { header_content_type: TEXT.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_overrides_its_topic_unless_it_must_not() {
        let topic = r#"{"http":{"defaultHealthyRetryPolicy":{"numRetries":1},"defaultThrottlePolicy":
            {"maxReceivesPerSecond":7},"disableSubscriptionOverrides":false}}"#;
        let own = r#"{"healthyRetryPolicy":{"numRetries":9},"requestPolicy":{"headerContentType":"application/json"}}"#;
        let (mut topic, own) = (TopicPolicy::parse(topic).unwrap(), DeliveryPolicy::parse(own).unwrap());
        let of = |topic: &TopicPolicy| {
            let effective = Effective::of(Some(topic), Some(&own));
            let rate = effective.throttle_policy.map(|t| t.max_receives_per_second);
            (effective.healthy_retry_policy.num_retries, rate, effective.request_policy.header_content_type)
        };
        assert_eq!(of(&topic), (9, Some(7), "application/json".into()));
        topic.http.disable_subscription_overrides = true;
        assert_eq!(of(&topic), (1, Some(7), TEXT.into()));
        let shown = serde_json::to_string(&TopicPolicy::default().effective()).unwrap();
        assert!(shown.contains(r#""numRetries":3"#) && shown.contains(TEXT), "{shown}");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for own in [
            "[]",
            "x",
            r#"{"throttlePolicy":{"maxReceivesPerSecond":0}}"#,
            r#"{"sicklyRetryPolicy":{}}"#,
            r#"{"healthyRetryPolicy":{"numRetries":101}}"#,
            r#"{"requestPolicy":{"headerContentType":"image/png"}}"#,
            r#"{"requestPolicy":{"headerContentType":"text/plain\r\nx: y"}}"#,
        ] {
            assert!(DeliveryPolicy::parse(own).is_err(), "{own}");
        }
        assert!(TopicPolicy::parse(r#"{"sqs":{}}"#).is_err());
        assert!(TopicPolicy::parse(r#"{"http":{"defaultThrottlePolicy":{"maxReceivesPerSecond":0}}}"#).is_err());
    }
}
