//! Asking a subscriber to confirm.
//!
//! Promises that the confirmation message is sent until the endpoint takes it, the default policy of its protocol gives
//! up, or nothing is to be confirmed any more; that a subscription is asked by one task at a time; and that a restart
//! begins again, as the document says whether it was taken.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use base::{Arn, Scope, TopicName};
use serde_json::Value;

use super::attributes::TopicInfo;
use super::chat::{self, Notice};
use super::config::{stored, topic_arn};
use super::deliver::{TIMEOUT, judge, request};
use super::endpoint::Protocol;
use super::envelope::confirmation_type;
use super::retry::HealthyRetry;
use super::subscription::Subscription;
use super::{Topics, mail};
use crate::spool::Attempted;

impl Topics {
    /// Sends the confirmation message in the background, unless that is under way.
    pub(super) fn ask(&self, scope: &Scope, topic: &TopicInfo, subscription: Subscription) {
        let name = format!("confirm:{}", subscription.id);
        if !self.asking().insert(subscription.token.clone()) {
            return;
        }
        let (this, scope, topic, stopping) = (self.clone(), scope.clone(), topic.clone(), self.inner.group.stopping());
        self.inner.group.spawn_infallible(name, async move {
            tokio::select! {
                () = this.ask_until_taken(&scope, &topic, &subscription) => {}
                () = stopping.cancelled() => {}
            }
            this.asking().remove(&subscription.token);
        });
    }

    fn asking(&self) -> MutexGuard<'_, HashSet<String>> {
        self.inner.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subscription as it is now, while this question is still to be asked.
    fn still_asked(&self, scope: &Scope, topic: &TopicName, asked: &Subscription) -> Option<Subscription> {
        match stored(self.inner.ports.state.as_ref(), scope, topic, &asked.id) {
            Ok(now) => now.filter(|now| !now.confirmed && now.token == asked.token),
            // It is asked once more at the worst.
            Err(_) => Some(asked.clone()),
        }
    }

    async fn ask_until_taken(&self, scope: &Scope, topic: &TopicInfo, subscription: &Subscription) {
        let arn = topic_arn(scope, &topic.name);
        let clock = &self.inner.ports.consumers.env.clock;
        let policy = if subscription.protocol().is_mail() { HealthyRetry::MAIL } else { HealthyRetry::default() };
        let mut attempts = 0;
        loop {
            let Some(subscription) = &self.still_asked(scope, &topic.name, subscription) else { return };
            let outcome = self.ask_once(scope, topic, subscription).await;
            attempts += 1;
            let id = &subscription.id;
            let (reason, delay) = match outcome {
                Attempted::Done => {
                    self.taken(scope, &topic.name, subscription).await;
                    return;
                }
                Attempted::Refused(reason) => {
                    return tracing::error!(topic = %arn, subscription = id, reason, "the confirmation was refused");
                }
                Attempted::Failed(reason) | Attempted::Later(reason) => (reason, policy.delay(attempts)),
                Attempted::FailedFor(reason, pause) => (reason, policy.delay(attempts).map(|delay| delay.max(pause))),
            };
            tracing::warn!(topic = %arn, subscription = id, reason, "the confirmation could not be sent");
            let Some(delay) = delay else {
                return tracing::error!(topic = %arn, subscription = id, attempts, "nobody was asked to confirm: given up");
            };
            clock.sleep(delay).await;
        }
    }

    async fn ask_once(&self, scope: &Scope, topic: &TopicInfo, subscription: &Subscription) -> Attempted {
        let (ports, envelope) = (&self.inner.ports, self.envelope(scope, &topic.name));
        let (now, id) = (self.now(), ports.consumers.env.rng.uuid());
        if let Some(format) = subscription.webhook {
            let key = match self.inner.routing_keys.open(subscription) {
                Ok(key) => key,
                Err(error) => return Attempted::Later(error.to_string()),
            };
            let body = chat::body(format, &Notice::asking(&envelope, subscription, now), key.reveal());
            return self.post(&id, &envelope.topic, subscription, (chat::CONTENT_TYPE, body)).await;
        }
        let json = match subscription.protocol() {
            Protocol::Email => None,
            _ => match envelope.confirmation(&id, now, subscription, topic.signature_version).await {
                Ok(body) => Some(body),
                Err(reason) => return Attempted::Later(reason),
            },
        };
        if subscription.protocol().is_mail() {
            let mail = mail::confirmation(&envelope, subscription, now, json);
            return mail::judged(ports.mailer.send(mail).await);
        }
        let body = Value::Object(json.unwrap_or_default()).to_string();
        self.post(&id, &envelope.topic, subscription, ("text/plain; charset=UTF-8", body)).await
    }

    async fn post(&self, id: &str, topic: &Arn, subscription: &Subscription, body: (&str, String)) -> Attempted {
        match request(confirmation_type(subscription), id, topic, subscription, body) {
            Err(reason) => Attempted::Refused(reason),
            Ok(request) => match self.inner.ports.http.send(request, TIMEOUT).await {
                Ok(answer) => judge(answer.status(), answer.headers()),
                Err(error) => Attempted::Failed(error.to_string()),
            },
        }
    }

    async fn taken(&self, scope: &Scope, topic: &TopicName, subscription: &Subscription) {
        if let Err(error) = self.note_asked(scope, topic, &subscription.id).await {
            let id = &subscription.id;
            tracing::warn!(%topic, subscription = id, %error, "that a confirmation was sent cannot be noted");
        }
    }
}
