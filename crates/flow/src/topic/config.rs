//! Topics and subscriptions: created, confirmed, changed, removed.
//!
//! Owns their documents in the state store. Promises that a change is durable when it is answered and in force at once;
//! that a subscription begins at its confirmation; that creating or subscribing again changes nothing.
//! Must not know how messages are sent.

use base::{Arn, Batch, ErrorKind, Kinded, Scope, StateStore, Table, TargetError, Timestamp, TopicName};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use subtle::ConstantTimeEq;

use super::subscription::{Subscription, SubscriptionChange, parse_endpoint};
use super::{Topics, consumer_id, stream_key};
use crate::checkpoint::Checkpoints;
use crate::stored::{self, Change};
use crate::{FlowError, spool};

const TOPICS: Table = Table("flow.topics");
const SUBSCRIPTIONS: Table = Table("flow.subscriptions");

/// A subscription that nobody confirms is gone after this ("ConfirmSubscription", SNS API Reference).
const PENDING_FOR: Duration = Duration::from_secs(2 * 24 * 3_600);
const MAX_TOPICS: usize = 100_000;
/// Quota of pending subscriptions of the service.
const MAX_PENDING: usize = 5_000;

/// A topic as stored and shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Its name.
    pub name: TopicName,
    /// When it was created.
    pub created: Timestamp,
    /// `DisplayName`.
    #[serde(default)]
    pub display_name: String,
}

/// The ARN of a topic.
pub fn topic_arn(scope: &Scope, topic: &TopicName) -> Arn {
    Arn::new("sns", scope, topic.as_str())
}

/// Scope and name of a topic's ARN.
pub(super) fn parse_topic_arn(arn: &Arn) -> Result<(Scope, TopicName), TargetError> {
    let name = arn.resource().parse().ok().filter(|_| arn.service() == "sns");
    arn.scope()
        .zip(name)
        .ok_or_else(|| TargetError { kind: ErrorKind::Invalid, message: format!("{arn} is not the ARN of a topic") })
}

/// Scope, topic and id of a subscription's ARN.
fn parse_subscription_arn(arn: &Arn) -> Result<(Scope, TopicName, String), FlowError> {
    let parts = arn.resource().split_once(':').filter(|_| arn.service() == "sns");
    let parsed = parts.and_then(|(topic, id)| Some((arn.scope()?, topic.parse().ok()?, id.to_owned())));
    parsed.ok_or_else(|| FlowError::Invalid("Invalid parameter: SubscriptionArn".to_owned()))
}

pub(super) fn all_topics(state: &dyn StateStore) -> Result<Vec<(Scope, TopicInfo)>, FlowError> {
    stored::list_scoped(state, TOPICS)
}

pub(super) fn subscriptions_of(
    state: &dyn StateStore,
    scope: &Scope,
    topic: &TopicName,
) -> Result<Vec<Subscription>, FlowError> {
    stored::list(state, SUBSCRIPTIONS, &stored::key(scope, &[topic.as_str()]))
}

pub(super) fn stored(
    state: &dyn StateStore,
    scope: &Scope,
    topic: &TopicName,
    id: &str,
) -> Result<Option<Subscription>, FlowError> {
    let (table, key) = subscription_key(scope, topic, id);
    stored::get(state, table, &key)
}

pub(super) fn no_topic(_scope: &Scope, _topic: &TopicName) -> FlowError {
    FlowError::NotFound("Topic does not exist".to_owned())
}

fn no_subscription() -> FlowError {
    FlowError::NotFound("Subscription does not exist".to_owned())
}

fn subscription_key(scope: &Scope, topic: &TopicName, id: &str) -> (Table, Vec<u8>) {
    (SUBSCRIPTIONS, stored::key(scope, &[topic.as_str(), id]))
}

fn check_display_name(name: &str) -> Result<(), FlowError> {
    if name.chars().count() > 100 {
        return Err(FlowError::Invalid("Invalid parameter: DisplayName".to_owned()));
    }
    Ok(())
}

impl Topics {
    fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    fn now(&self) -> Timestamp {
        self.inner.ports.consumers.env.clock.now()
    }

    /// Creates a topic. One that exists is answered as it is, unless another `DisplayName` is asked for.
    pub async fn create_topic(
        &self,
        scope: &Scope,
        topic: &TopicName,
        display_name: Option<&str>,
    ) -> Result<Arn, FlowError> {
        check_display_name(display_name.unwrap_or_default())?;
        let key = (TOPICS, stored::key(scope, &[topic.as_str()]));
        let is_new = stored::get::<TopicInfo>(self.state(), TOPICS, &key.1)?.is_none();
        if is_new && self.topics(scope)?.len() >= MAX_TOPICS {
            return Err(FlowError::LimitExceeded(format!("an account has at most {MAX_TOPICS} topics")));
        }
        self.ensure_stream(scope, topic).await?;
        let created = self.now();
        stored::update(self.state(), key, "topic", |old: Option<TopicInfo>| match old {
            Some(old) if display_name.is_some_and(|name| name != old.display_name) => {
                let text = "Topic already exists with different attributes";
                Err(FlowError::Invalid(format!("Invalid parameter: Attributes Reason: {text}")))
            }
            Some(_) => Ok((Change::Keep, ())),
            None => {
                let display_name = display_name.unwrap_or_default().to_owned();
                let info = TopicInfo { name: topic.clone(), created, display_name };
                Ok((Change::Put(info, Vec::new()), ()))
            }
        })
        .await?;
        Ok(topic_arn(scope, topic))
    }

    /// A topic.
    pub fn topic(&self, scope: &Scope, topic: &TopicName) -> Result<TopicInfo, FlowError> {
        stored::get(self.state(), TOPICS, &stored::key(scope, &[topic.as_str()]))?.ok_or_else(|| no_topic(scope, topic))
    }

    /// The topics of a scope, by name.
    pub fn topics(&self, scope: &Scope) -> Result<Vec<TopicInfo>, FlowError> {
        stored::list(self.state(), TOPICS, &stored::scope_prefix(scope))
    }

    /// Sets `DisplayName`.
    pub async fn set_display_name(&self, scope: &Scope, topic: &TopicName, name: &str) -> Result<(), FlowError> {
        check_display_name(name)?;
        let key = (TOPICS, stored::key(scope, &[topic.as_str()]));
        stored::update(self.state(), key, "topic", |old: Option<TopicInfo>| {
            let mut info = old.ok_or_else(|| no_topic(scope, topic))?;
            name.clone_into(&mut info.display_name);
            Ok((Change::Put(info, Vec::new()), ()))
        })
        .await
    }

    /// Deletes a topic with its subscriptions and messages; one that does not exist is fine.
    pub async fn delete_topic(&self, scope: &Scope, topic: &TopicName) -> Result<(), FlowError> {
        for subscription in subscriptions_of(self.state(), scope, topic)? {
            self.remove(scope, topic, &subscription.id).await?;
        }
        let key = stored::key(scope, &[topic.as_str()]);
        self.state().commit(Batch::new().delete(TOPICS, key)).await?;
        match self.log().delete_stream(&stream_key(scope, topic)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Subscribes an HTTP endpoint and asks it to confirm. The same endpoint again is the same subscription, asked
    /// again while it has not confirmed.
    pub async fn subscribe(
        &self,
        scope: &Scope,
        topic: &TopicName,
        endpoint: &str,
        change: &SubscriptionChange,
    ) -> Result<Subscription, FlowError> {
        self.topic(scope, topic)?;
        parse_endpoint(endpoint)?;
        self.drop_expired(scope, topic).await?;
        let existing = subscriptions_of(self.state(), scope, topic)?;
        if existing.iter().filter(|s| !s.confirmed).count() >= MAX_PENDING {
            return Err(FlowError::LimitExceeded("Too many subscriptions are pending confirmation".to_owned()));
        }
        if let Some(old) = existing.into_iter().find(|s| s.endpoint == endpoint) {
            let mut wanted = old.clone();
            wanted.change(change)?;
            let same = |a: &Subscription, b: &Subscription| {
                (a.raw, &a.filter_policy, a.filter_scope, &a.delivery_policy)
                    == (b.raw, &b.filter_policy, b.filter_scope, &b.delivery_policy)
            };
            if !same(&old, &wanted) {
                let text = "Subscription already exists with different attributes";
                return Err(FlowError::Invalid(format!("Invalid parameter: Attributes Reason: {text}")));
            }
            if !old.confirmed {
                self.ask(scope, topic, old.clone());
            }
            return Ok(old);
        }
        let rng = &self.inner.ports.consumers.env.rng;
        let mut token = [0; 64];
        rng.fill(&mut token);
        let mut subscription = Subscription {
            id: rng.uuid(),
            endpoint: endpoint.to_owned(),
            created: self.now(),
            token: token.iter().map(|b| format!("{b:02x}")).collect(),
            asked: false,
            confirmed: false,
            raw: false,
            filter_policy: None,
            filter_scope: Default::default(),
            delivery_policy: None,
        };
        subscription.change(change)?;
        let (table, key) = subscription_key(scope, topic, &subscription.id);
        let value = stored::encode("subscription", &subscription)?;
        self.state().commit(Batch::new().put(table, key, value)).await?;
        self.ask(scope, topic, subscription.clone());
        Ok(subscription)
    }

    /// Confirms the subscription that has this token; it gets what is published from now on.
    pub async fn confirm(&self, scope: &Scope, topic: &TopicName, token: &str) -> Result<Subscription, FlowError> {
        self.topic(scope, topic)?;
        let now = self.now();
        let known = subscriptions_of(self.state(), scope, topic)?.into_iter().find(|s| {
            bool::from(s.token.as_bytes().ct_eq(token.as_bytes()))
                && (s.confirmed || now.since(s.created) <= PENDING_FOR)
        });
        let subscription = known.ok_or_else(|| FlowError::Invalid("Invalid parameter: Token".to_owned()))?;
        let stream = self.stream(scope, topic)?;
        let mut begin = Vec::new();
        for shard in &stream.shards {
            let tail = self.log().tail(shard.slot)?.next;
            begin.push(Checkpoints::start_at(&consumer_id(&subscription.id), stream.id, shard.id, tail));
        }
        let key = subscription_key(scope, topic, &subscription.id);
        let confirmed = stored::update(self.state(), key, "subscription", |old: Option<Subscription>| {
            let old = old.ok_or_else(no_subscription)?;
            if old.confirmed {
                return Ok((Change::Keep, old));
            }
            let new = Subscription { confirmed: true, asked: true, ..old };
            Ok((Change::Put(new.clone(), begin.clone()), new))
        })
        .await?;
        self.settle(scope, topic, &confirmed.id).await?;
        Ok(confirmed)
    }

    pub(super) async fn note_asked(&self, scope: &Scope, topic: &TopicName, id: &str) -> Result<(), FlowError> {
        let key = subscription_key(scope, topic, id);
        stored::update(self.state(), key, "subscription", |old: Option<Subscription>| match old {
            Some(old) => Ok((Change::Put(Subscription { asked: true, ..old }, Vec::new()), ())),
            None => Ok((Change::Keep, ())),
        })
        .await
    }

    /// A subscription by its ARN, with its topic.
    pub fn subscription(&self, arn: &Arn) -> Result<(Scope, TopicName, Subscription), FlowError> {
        let (scope, topic, id) = parse_subscription_arn(arn)?;
        let found = stored(self.state(), &scope, &topic, &id)?.ok_or_else(no_subscription)?;
        Ok((scope, topic, found))
    }

    /// The subscriptions of a topic.
    pub fn subscriptions(&self, scope: &Scope, topic: &TopicName) -> Result<Vec<Subscription>, FlowError> {
        self.topic(scope, topic)?;
        let now = self.now();
        let mut all = subscriptions_of(self.state(), scope, topic)?;
        all.retain(|s| s.confirmed || now.since(s.created) <= PENDING_FOR);
        Ok(all)
    }

    /// Changes a subscription's attributes.
    pub async fn change_subscription(&self, arn: &Arn, change: &SubscriptionChange) -> Result<(), FlowError> {
        let (scope, topic, id) = parse_subscription_arn(arn)?;
        let key = subscription_key(&scope, &topic, &id);
        stored::update(self.state(), key, "subscription", |old: Option<Subscription>| {
            let mut subscription = old.ok_or_else(no_subscription)?;
            subscription.change(change)?;
            Ok((Change::Put(subscription, Vec::new()), ()))
        })
        .await?;
        self.settle(&scope, &topic, &id).await
    }

    /// Ends a subscription; one that does not exist is fine.
    pub async fn unsubscribe(&self, arn: &Arn) -> Result<(), FlowError> {
        let (scope, topic, id) = parse_subscription_arn(arn)?;
        self.remove(&scope, &topic, &id).await
    }

    async fn remove(&self, scope: &Scope, topic: &TopicName, id: &str) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        self.halt(id).await;
        let consumer = consumer_id(id);
        let (table, key) = subscription_key(scope, topic, id);
        let mut batch = Batch::new().delete(table, key);
        batch.writes.extend(self.inner.ports.consumers.checkpoints.forget(&consumer).await?);
        batch.writes.extend(spool::forget(self.state(), &consumer)?);
        Ok(self.state().commit(batch).await?)
    }

    /// Removes subscriptions that nobody confirmed in time.
    pub(super) async fn drop_expired(&self, scope: &Scope, topic: &TopicName) -> Result<(), FlowError> {
        let now = self.now();
        for subscription in subscriptions_of(self.state(), scope, topic)? {
            if !subscription.confirmed && now.since(subscription.created) > PENDING_FOR {
                self.remove(scope, topic, &subscription.id).await?;
            }
        }
        Ok(())
    }
}
