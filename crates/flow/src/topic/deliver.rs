//! Messages on their way to one endpoint.
//!
//! Owns the request that carries a message, what an answer means, and the asking for confirmation.
//! Must not know when an attempt is repeated: that is the spool's.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, HttpClient, Rng, Scope, TopicName};
use bytes::Bytes;
use http::{Request, StatusCode};
use log::Record;
use serde_json::Value;

use super::config::topic_arn;
use super::message::{Envelope, Message};
use super::subscription::{Filter, Subscription, parse_endpoint};
use super::{RETENTION, Topics};
use crate::spool::{Attempt, Attempted};
use crate::{FlowError, metrics};

/// The service waits this long for an endpoint's answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A subscription's settings while its consumer runs; replaced whole when they change.
pub(super) struct Live(RwLock<Arc<Current>>);

pub(super) struct Current {
    pub subscription: Subscription,
    pub filter: Filter,
}

impl Live {
    pub fn new(subscription: Subscription) -> Result<Self, FlowError> {
        let filter = Filter::new(&subscription)?;
        Ok(Self(RwLock::new(Arc::new(Current { subscription, filter }))))
    }

    pub fn replace(&self, subscription: Subscription) -> Result<(), FlowError> {
        let filter = Filter::new(&subscription)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Current { subscription, filter });
        Ok(())
    }

    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends messages to a subscription's endpoint.
pub(super) struct Webhook {
    pub topic: Arn,
    pub name: TopicName,
    pub live: Arc<Live>,
    pub http: Arc<dyn HttpClient>,
    pub base_url: String,
}

/// A POST as the service sends it.
fn request(
    kind: &str,
    id: &str,
    topic: &Arn,
    subscription: &Subscription,
    body: impl Into<Bytes>,
) -> Result<Request<Bytes>, String> {
    let uri = parse_endpoint(&subscription.endpoint).map_err(|e| e.to_string())?;
    let mut request = Request::post(uri)
        .header("content-type", "text/plain; charset=UTF-8")
        .header("user-agent", "Amazon Simple Notification Service Agent")
        .header("x-amz-sns-message-type", kind)
        .header("x-amz-sns-message-id", id)
        .header("x-amz-sns-topic-arn", topic.to_string());
    if subscription.confirmed {
        request = request.header("x-amz-sns-subscription-arn", subscription.arn(topic).to_string());
    }
    if subscription.raw {
        request = request.header("x-amz-sns-rawdelivery", "true");
    }
    request.body(body.into()).map_err(|e| e.to_string())
}

/// Client errors are final, but for "too many requests"; anything else may pass.
fn judge(status: StatusCode) -> Attempted {
    if status.is_success() {
        Attempted::Done
    } else if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        Attempted::Refused(format!("the endpoint answered {status}"))
    } else {
        Attempted::Failed(format!("the endpoint answered {status}"))
    }
}

#[async_trait]
impl Attempt for Webhook {
    async fn attempt(&self, record: &Record) -> Attempted {
        let current = self.live.current();
        let message = match Message::decode(&record.data) {
            Ok(message) => message.over(current.subscription.is_https()),
            Err(reason) => return Attempted::Refused(format!("the message cannot be read: {reason}")),
        };
        if !current.filter.wants(&message) {
            metrics::notified(self.name.as_str(), "filtered");
            return Attempted::Done;
        }
        let subscription = &current.subscription;
        let body = if subscription.raw {
            message.text.clone()
        } else {
            let envelope = Envelope { topic: &self.topic, base_url: &self.base_url, time: record.arrival };
            envelope.notification(&message, subscription).to_string()
        };
        let request = match request("Notification", &message.id, &self.topic, subscription, body) {
            Ok(request) => request,
            Err(reason) => return Attempted::Refused(reason),
        };
        let outcome = match self.http.send(request, TIMEOUT).await {
            Ok(answer) => judge(answer.status()),
            Err(error) => Attempted::Failed(error.to_string()),
        };
        if matches!(outcome, Attempted::Done) {
            metrics::notified(self.name.as_str(), "delivered");
        }
        outcome
    }

    fn delay(&self, attempts: u32, rng: &dyn Rng) -> Option<Duration> {
        let policy = self.live.current().subscription.delivery_policy.clone().unwrap_or_default();
        let delay = policy.healthy_retry_policy.delay(attempts)?;
        // A little jitter, so that messages that failed together do not return together.
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Some(delay + Duration::from_millis(rng.below(ms / 10 + 1)))
    }

    fn max_age(&self) -> Duration {
        RETENTION
    }

    fn retried(&self, record: &Record, reason: &str) {
        metrics::notified(self.name.as_str(), "retried");
        let endpoint = &self.live.current().subscription.endpoint;
        tracing::warn!(topic = %self.topic, endpoint, position = %record.position, reason, "a notification is sent again later");
    }

    fn gave_up(&self, record: &Record, reason: &str) {
        metrics::notified(self.name.as_str(), "failed");
        let endpoint = &self.live.current().subscription.endpoint;
        tracing::error!(topic = %self.topic, endpoint, position = %record.position, reason, "a notification was given up");
    }
}

impl Topics {
    /// Sends the confirmation message until the endpoint takes it or the default policy gives up. A restart begins
    /// again, as the document says whether it was taken.
    pub(super) fn ask(&self, scope: &Scope, topic: &TopicName, subscription: Subscription) {
        let name = format!("confirm:{}", subscription.id);
        let (this, scope, topic, stopping) = (self.clone(), scope.clone(), topic.clone(), self.inner.group.stopping());
        self.inner.group.spawn_infallible(name, async move {
            tokio::select! {
                () = this.ask_until_taken(&scope, &topic, &subscription) => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    async fn ask_until_taken(&self, scope: &Scope, topic: &TopicName, subscription: &Subscription) {
        let (ports, arn) = (&self.inner.ports, topic_arn(scope, topic));
        let clock = &ports.consumers.env.clock;
        let mut attempts = 0;
        loop {
            let envelope = Envelope { topic: &arn, base_url: &ports.base_url, time: clock.now() };
            let body: Value = envelope.confirmation(subscription);
            let outcome =
                match request("SubscriptionConfirmation", &subscription.id, &arn, subscription, body.to_string()) {
                    Err(reason) => Attempted::Refused(reason),
                    Ok(request) => match ports.http.send(request, TIMEOUT).await {
                        Ok(answer) => judge(answer.status()),
                        Err(error) => Attempted::Failed(error.to_string()),
                    },
                };
            attempts += 1;
            let endpoint = &subscription.endpoint;
            match outcome {
                Attempted::Done => {
                    if let Err(error) = self.note_asked(scope, topic, &subscription.id).await {
                        tracing::warn!(topic = %arn, endpoint, %error, "that a confirmation was sent cannot be noted");
                    }
                    return;
                }
                Attempted::Refused(reason) => {
                    return tracing::error!(topic = %arn, endpoint, reason, "the confirmation was refused");
                }
                Attempted::Failed(reason) | Attempted::FailedFor(reason, _) | Attempted::Later(reason) => {
                    tracing::warn!(topic = %arn, endpoint, reason, "the confirmation could not be sent");
                    let policy = super::HealthyRetry::default();
                    let Some(delay) = policy.delay(attempts) else { return };
                    clock.sleep(delay).await;
                }
            }
        }
    }
}
