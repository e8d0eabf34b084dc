//! Asking a subscriber to confirm.
//!
//! Promises that the confirmation message is sent until the endpoint takes it or the default policy gives up; a restart
//! begins again, as the document says whether it was taken.

use base::{Scope, TopicName};
use serde_json::Value;

use super::Topics;
use super::attributes::TopicInfo;
use super::config::topic_arn;
use super::deliver::{TIMEOUT, judge, request};
use super::envelope::confirmation_type;
use super::retry::HealthyRetry;
use super::subscription::Subscription;
use crate::spool::Attempted;

impl Topics {
    /// Sends the confirmation message in the background.
    pub(super) fn ask(&self, scope: &Scope, topic: &TopicInfo, subscription: Subscription) {
        let name = format!("confirm:{}", subscription.id);
        let (this, scope, topic, stopping) = (self.clone(), scope.clone(), topic.clone(), self.inner.group.stopping());
        self.inner.group.spawn_infallible(name, async move {
            tokio::select! {
                () = this.ask_until_taken(&scope, &topic, &subscription) => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    async fn ask_until_taken(&self, scope: &Scope, topic: &TopicInfo, subscription: &Subscription) {
        let arn = topic_arn(scope, &topic.name);
        let clock = &self.inner.ports.consumers.env.clock;
        let mut attempts = 0;
        loop {
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
                Attempted::Failed(reason) | Attempted::Later(reason) => {
                    (reason, HealthyRetry::default().delay(attempts))
                }
                Attempted::FailedFor(reason, pause) => {
                    (reason, HealthyRetry::default().delay(attempts).map(|delay| delay.max(pause)))
                }
            };
            tracing::warn!(topic = %arn, subscription = id, reason, "the confirmation could not be sent");
            let Some(delay) = delay else { return };
            clock.sleep(delay).await;
        }
    }

    async fn ask_once(&self, scope: &Scope, topic: &TopicInfo, subscription: &Subscription) -> Attempted {
        let (ports, envelope) = (&self.inner.ports, self.envelope(scope, &topic.name));
        let (now, id) = (self.now(), ports.consumers.env.rng.uuid());
        let body = match envelope.confirmation(&id, now, subscription, topic.signature_version).await {
            Ok(body) => Value::Object(body).to_string(),
            Err(reason) => return Attempted::Later(reason),
        };
        let kind = confirmation_type(subscription);
        let body = ("text/plain; charset=UTF-8", body);
        match request(kind, &id, &envelope.topic, subscription, body) {
            Err(reason) => Attempted::Refused(reason),
            Ok(request) => match ports.http.send(request, TIMEOUT).await {
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
