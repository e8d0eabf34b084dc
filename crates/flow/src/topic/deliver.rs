//! Messages on their way to one endpoint on the web.
//!
//! Owns the request that carries a message, what an answer means, and how fast an endpoint is called.
//! Must not know when an attempt is repeated: that is the spool's.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, Clock, HttpClient, Rng};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode};
use log::Record;
use serde_json::Value;

use super::WEB_AGE;
use super::attributes::TopicInfo;
use super::chat::{self, Notice};
use super::endpoint::parse_url;
use super::envelope::Published;
use super::filter::Filter;
use super::letter::Letters;
use super::message::Message;
use super::policy::Effective;
use super::routing_key::RoutingKeys;
use super::sign::SignatureVersion;
use super::subscription::Subscription;
use crate::spool::{Attempt, Attempted, End};
use crate::{FlowError, metrics};

/// The service waits this long for an endpoint's answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// An endpoint's `Retry-After` is heard up to this.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);

/// A subscription's settings while its consumer runs; replaced whole when they change.
pub(super) struct Live {
    current: RwLock<Arc<Current>>,
    /// Not before this instant the endpoint is called again.
    next: Mutex<Duration>,
}

pub(super) struct Current {
    pub subscription: Subscription,
    pub filter: Filter,
    /// The topic's display name, which is the sender of mails.
    pub display_name: String,
    /// How its topic signs.
    pub version: SignatureVersion,
    /// When and how the web endpoint is called.
    pub effective: Effective,
}

impl Current {
    fn new(subscription: Subscription, topic: &TopicInfo) -> Result<Arc<Self>, FlowError> {
        let filter = Filter::new(&subscription)?;
        let (effective, version) = (subscription.effective(topic.delivery_policy.as_ref()), topic.signature_version);
        Ok(Arc::new(Self { subscription, filter, display_name: topic.display_name.clone(), version, effective }))
    }

    /// The message of a record, if the subscriber wants it.
    pub fn wanted(&self, topic: &str, record: &Record) -> Option<Message> {
        match Message::decode(&record.data) {
            Ok(message) if self.filter.wants(&message, message.text_for(self.subscription.protocol())) => Some(message),
            Ok(_) => {
                metrics::notified(topic, "filtered");
                None
            }
            Err(reason) => {
                metrics::notified(topic, "failed");
                tracing::error!(topic, position = %record.position, reason, "a message cannot be read");
                None
            }
        }
    }
}

impl Live {
    pub fn new(subscription: Subscription, topic: &TopicInfo) -> Result<Self, FlowError> {
        let current = RwLock::new(Current::new(subscription, topic)?);
        Ok(Self { current, next: Mutex::default() })
    }

    pub fn replace(&self, subscription: Subscription, topic: &TopicInfo) -> Result<(), FlowError> {
        let current = Current::new(subscription, topic)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the endpoint's turn, if there is a limit to how often it is called.
    async fn turn(&self, clock: &dyn Clock, effective: &Effective) {
        let Some(throttle) = effective.throttle_policy else { return };
        let wait = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock.instant();
            let turn = now.max(*next);
            *next = turn + Duration::from_secs(1) / throttle.max_receives_per_second.max(1);
            turn - now
        };
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }
}

/// Sends messages to a subscription's endpoint.
pub(super) struct Webhook {
    pub live: Arc<Live>,
    pub http: Arc<dyn HttpClient>,
    pub routing_keys: Arc<RoutingKeys>,
    pub letters: Letters,
}

/// A POST as the service sends it.
pub(super) fn request(
    kind: &str,
    id: &str,
    topic: &Arn,
    subscription: &Subscription,
    (content_type, body): (&str, impl Into<Bytes>),
) -> Result<Request<Bytes>, String> {
    let uri = parse_url(&subscription.endpoint).map_err(|e| e.to_string())?;
    let mut request = Request::post(uri)
        .header("content-type", content_type)
        .header("user-agent", "Amazon Simple Notification Service Agent")
        .header("x-amz-sns-message-type", kind)
        .header("x-amz-sns-message-id", id)
        .header("x-amz-sns-topic-arn", topic.to_string());
    if subscription.confirmed {
        request = request.header("x-amz-sns-subscription-arn", subscription.arn(topic).to_string());
    }
    if subscription.raw && kind == "Notification" {
        request = request.header("x-amz-sns-rawdelivery", "true");
    }
    request.body(body.into()).map_err(|e| e.to_string())
}

/// Client errors are final, but for "too many requests"; anything else may pass.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap) -> Attempted {
    let reason = format!("the endpoint answered {status}");
    if status.is_success() {
        Attempted::Done
    } else if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        Attempted::Refused(reason)
    } else {
        let pause = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        match pause {
            Some(secs) => Attempted::FailedFor(reason, Duration::from_secs(secs).min(MAX_PAUSE)),
            None => Attempted::Failed(reason),
        }
    }
}

impl Webhook {
    fn topic(&self) -> &Arn {
        &self.letters.envelope.topic
    }

    async fn compose(
        &self,
        current: &Current,
        message: &Message,
        record: &Record,
    ) -> Result<Request<Bytes>, Attempted> {
        let subscription = &current.subscription;
        let text = message.text_for(subscription.protocol());
        let body = if let Some(format) = subscription.webhook {
            let key = self.routing_keys.open(subscription).map_err(|error| Attempted::Later(error.to_string()))?;
            chat::body(format, &Notice::of(message, text, self.topic(), record.arrival), key.reveal())
        } else if subscription.raw {
            text.to_owned()
        } else {
            let published = Published { message, at: record.arrival, position: record.position };
            let body = self.letters.envelope.notification(&published, subscription, current.version).await;
            Value::Object(body.map_err(Attempted::Later)?).to_string()
        };
        let content_type = &current.effective.request_policy.header_content_type;
        request("Notification", &message.id, self.topic(), subscription, (content_type, body))
            .map_err(Attempted::Refused)
    }
}

#[async_trait]
impl Attempt for Webhook {
    async fn attempt(&self, record: &Record) -> Attempted {
        let current = self.live.current();
        let Some(message) = current.wanted(self.topic().resource(), record) else { return Attempted::Done };
        let request = match self.compose(&current, &message, record).await {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        self.live.turn(&*self.letters.clock, &current.effective).await;
        let outcome = match self.http.send(request, TIMEOUT).await {
            Ok(answer) => judge(answer.status(), answer.headers()),
            Err(error) => Attempted::Failed(error.to_string()),
        };
        if matches!(outcome, Attempted::Done) {
            metrics::notified(self.topic().resource(), "delivered");
        }
        outcome
    }

    fn delay(&self, attempts: u32, rng: &dyn Rng) -> Option<Duration> {
        let delay = self.live.current().effective.healthy_retry_policy.delay(attempts)?;
        Some(jittered(delay, rng))
    }

    fn max_age(&self) -> Duration {
        WEB_AGE
    }

    fn retried(&self, record: &Record, reason: &str) {
        retried(self.topic(), &self.live, record, reason);
    }

    fn gave_up(&self, record: &Record, reason: &str) {
        gave_up(self.topic(), &self.live, record, reason);
    }

    async fn give_up(&self, record: &Record, end: &End) -> Result<(), String> {
        self.gave_up(record, &end.reason);
        put_away(&self.letters, &self.live, record).await
    }
}

/// A little more, so that messages that failed together do not return together.
pub(super) fn jittered(delay: Duration, rng: &dyn Rng) -> Duration {
    let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    delay + Duration::from_millis(rng.below(ms / 10 + 1))
}

/// The host of an endpoint, as its path and query may hold secrets; an ARN as it is.
fn shown(subscription: &Subscription) -> String {
    match parse_url(&subscription.endpoint) {
        Ok(uri) => uri.authority().map(ToString::to_string).unwrap_or_default(),
        Err(_) => subscription.endpoint.clone(),
    }
}

pub(super) fn retried(topic: &Arn, live: &Live, record: &Record, reason: &str) {
    metrics::notified(topic.resource(), "retried");
    let endpoint = shown(&live.current().subscription);
    tracing::warn!(%topic, endpoint, position = %record.position, reason, "a notification is sent again later");
}

pub(super) fn gave_up(topic: &Arn, live: &Live, record: &Record, reason: &str) {
    let endpoint = shown(&live.current().subscription);
    tracing::error!(%topic, endpoint, position = %record.position, reason, "a notification was given up");
}

/// Writes a message that is given up to the subscription's dead-letter queue, if it has one.
pub(super) async fn put_away(letters: &Letters, live: &Live, record: &Record) -> Result<(), String> {
    let current = live.current();
    // Nobody can read it, and that was said when it was to be sent.
    let Ok(message) = Message::decode(&record.data) else { return Ok(()) };
    let published = Published { message: &message, at: record.arrival, position: record.position };
    letters.bury(&published, &current.subscription, current.version).await.map_err(|e| e.to_string())
}
