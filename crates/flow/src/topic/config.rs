//! Topics: created, changed, tagged, removed.
//!
//! Owns their documents in the state store, and where documents of subscriptions lie. Promises that a change is durable
//! when it is answered and in force at once; that creating again changes nothing.
//! Must not know how messages are sent.

use std::collections::BTreeMap;

use base::{Arn, Batch, ErrorKind, Kinded, Scope, StateStore, Table, TargetError, Timestamp, TopicName};
use futures::future::join_all;

use super::attributes::{TopicChange, TopicInfo};
use super::subscription::Subscription;
use super::{Topics, stream_key};
use crate::FlowError;
use crate::stored::{self, Change};

pub(super) const TOPICS: Table = Table("flow.topics");
const SUBSCRIPTIONS: Table = Table("flow.subscriptions");

/// Quotas of the service ("Amazon SNS endpoints and quotas").
const MAX_TOPICS: usize = 100_000;
const MAX_FIFO_TOPICS: usize = 1_000;
/// Subscriptions of a topic whose messages may be larger than usual ("Large message payloads", SNS Developer Guide).
pub(super) const MAX_OF_LARGE: usize = 100;
const MAX_TAGS: usize = 50;

/// The ARN of a topic.
pub fn topic_arn(scope: &Scope, topic: &TopicName) -> Arn {
    Arn::new("sns", scope, topic.as_str())
}

/// Whether a topic of this name is FIFO.
pub fn is_fifo(topic: &TopicName) -> bool {
    topic.as_str().ends_with(".fifo")
}

/// Scope and name of a topic's ARN.
pub(super) fn parse_topic_arn(arn: &Arn) -> Result<(Scope, TopicName), TargetError> {
    let name = arn.resource().parse().ok().filter(|_| arn.service() == "sns");
    arn.scope()
        .zip(name)
        .ok_or_else(|| TargetError { kind: ErrorKind::Invalid, message: format!("{arn} is not the ARN of a topic") })
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

/// A topic as it is stored.
pub(crate) fn stored_topic(state: &dyn StateStore, arn: &Arn) -> Result<Option<TopicInfo>, FlowError> {
    let Ok((scope, name)) = parse_topic_arn(arn) else { return Ok(None) };
    let (table, key) = topic_key(&scope, &name);
    stored::get(state, table, &key)
}

pub(super) fn no_topic() -> FlowError {
    FlowError::NotFound("Topic does not exist".to_owned())
}

pub(super) fn subscription_key(scope: &Scope, topic: &TopicName, id: &str) -> (Table, Vec<u8>) {
    (SUBSCRIPTIONS, stored::key(scope, &[topic.as_str(), id]))
}

fn topic_key(scope: &Scope, topic: &TopicName) -> (Table, Vec<u8>) {
    (TOPICS, stored::key(scope, &[topic.as_str()]))
}

fn exists_otherwise(what: &str) -> FlowError {
    FlowError::Invalid(format!(
        "Invalid parameter: {what} Reason: Topic already exists with different {}",
        what.to_lowercase()
    ))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), FlowError> {
    if tags.len() > MAX_TAGS {
        let message = "Could not complete request: tag quota of per resource exceeded".to_owned();
        return Err(FlowError::Limit { of: "Tag", message });
    }
    let ok = |(key, value): (&String, &String)| {
        // Those are the service's own.
        let reserved = key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"));
        !reserved && (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256
    };
    if !tags.iter().all(ok) {
        return Err(FlowError::Invalid("Invalid parameter: Tags".to_owned()));
    }
    Ok(())
}

impl Topics {
    pub(super) fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.ports.consumers.env.clock.now()
    }

    /// Creates a topic; it is FIFO if its name says so. One that exists is answered as it is, unless other attributes
    /// or tags are asked for.
    pub async fn create_topic(
        &self,
        scope: &Scope,
        topic: &TopicName,
        change: &TopicChange,
        tags: &BTreeMap<String, String>,
    ) -> Result<Arn, FlowError> {
        let mut new = TopicInfo::new(topic, self.now(), is_fifo(topic));
        new.change(change)?;
        check_tags(tags)?;
        new.tags.clone_from(tags);
        let (table, key) = topic_key(scope, topic);
        let _turn = self.inner.turn.acquire().await;
        if stored::get::<TopicInfo>(self.state(), table, &key)?.is_none() {
            self.check_quota(scope, new.fifo.is_some())?;
        }
        self.ensure_stream(scope, topic).await?;
        stored::update(self.state(), (table, key), "topic", |old: Option<TopicInfo>| {
            let Some(old) = old else { return Ok((Change::Put(new.clone(), Vec::new()), ())) };
            let mut wanted = old.clone();
            wanted.change(change)?;
            if wanted != old {
                return Err(exists_otherwise("Attributes"));
            }
            if tags.iter().any(|(key, value)| old.tags.get(key) != Some(value)) {
                return Err(exists_otherwise("Tags"));
            }
            Ok((Change::Keep, ()))
        })
        .await?;
        Ok(topic_arn(scope, topic))
    }

    fn check_quota(&self, scope: &Scope, fifo: bool) -> Result<(), FlowError> {
        let max = if fifo { MAX_FIFO_TOPICS } else { MAX_TOPICS };
        if self.topics(scope)?.iter().filter(|topic| topic.fifo.is_some() == fifo).count() >= max {
            let kind = if fifo { "FIFO" } else { "standard" };
            return Err(FlowError::Limit {
                of: "Topic",
                message: format!("an account has at most {max} {kind} topics"),
            });
        }
        Ok(())
    }

    /// A topic.
    pub fn topic(&self, scope: &Scope, topic: &TopicName) -> Result<TopicInfo, FlowError> {
        let (table, key) = topic_key(scope, topic);
        stored::get(self.state(), table, &key)?.ok_or_else(no_topic)
    }

    /// The topics of a scope, by name.
    pub fn topics(&self, scope: &Scope) -> Result<Vec<TopicInfo>, FlowError> {
        stored::list(self.state(), TOPICS, &stored::scope_prefix(scope))
    }

    /// Changes a topic's attributes, for its subscriptions, too.
    pub async fn change_topic(&self, scope: &Scope, topic: &TopicName, change: &TopicChange) -> Result<(), FlowError> {
        self.update_topic(scope, topic, |info| {
            info.change(change)?;
            if change.max_message_bytes.is_some() && info.takes_large() {
                let subscriptions = subscriptions_of(self.state(), scope, topic)?;
                if subscriptions.len() > MAX_OF_LARGE || !subscriptions.iter().all(|s| s.protocol().is_local()) {
                    let text = "MaximumMessageSize Reason: above 262144 bytes a topic has at most 100 subscriptions, \
                                all of the protocols firehose, sqs and lambda";
                    return Err(FlowError::Invalid(format!("Invalid parameter: {text}")));
                }
            }
            Ok(())
        })
        .await?;
        for subscription in subscriptions_of(self.state(), scope, topic)? {
            self.settle(scope, topic, &subscription.id).await?;
        }
        Ok(())
    }

    /// Sets tags and removes others.
    pub async fn tag_topic(
        &self,
        scope: &Scope,
        topic: &TopicName,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), FlowError> {
        self.update_topic(scope, topic, |info| {
            info.tags.extend(set.clone());
            info.tags.retain(|key, _| !remove.contains(key));
            check_tags(&info.tags)
        })
        .await
    }

    /// Changes a topic's policy by looking at it.
    pub async fn change_topic_policy(
        &self,
        scope: &Scope,
        topic: &TopicName,
        mut change: impl FnMut(Option<&str>) -> Result<Option<String>, FlowError>,
    ) -> Result<(), FlowError> {
        self.update_topic(scope, topic, |info| {
            info.policy = change(info.policy.as_deref())?;
            Ok(())
        })
        .await
    }

    async fn update_topic(
        &self,
        scope: &Scope,
        topic: &TopicName,
        mut change: impl FnMut(&mut TopicInfo) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        stored::update(self.state(), topic_key(scope, topic), "topic", |old: Option<TopicInfo>| {
            let mut info = old.ok_or_else(no_topic)?;
            change(&mut info)?;
            Ok((Change::Put(info, Vec::new()), ()))
        })
        .await
    }

    /// Deletes what is stored of a topic and its subscriptions, all at once.
    async fn forget_topic(
        &self,
        scope: &Scope,
        topic: &TopicName,
        subscriptions: &[Subscription],
    ) -> Result<(), FlowError> {
        let (table, key) = topic_key(scope, topic);
        let mut batch = Batch::new().delete(table, key);
        for subscription in subscriptions {
            let (table, key) = subscription_key(scope, topic, &subscription.id);
            batch = batch.delete(table, key);
            batch.writes.extend(self.forgetting(&subscription.id).await?);
        }
        Ok(self.state().commit(batch).await?)
    }

    /// Deletes a topic with its subscriptions and messages; one that does not exist is fine.
    pub async fn delete_topic(&self, scope: &Scope, topic: &TopicName) -> Result<(), FlowError> {
        // Nobody subscribes meanwhile, nor is it made again before all of it is gone.
        let _turn = self.inner.turn.acquire().await;
        let subscriptions = subscriptions_of(self.state(), scope, topic)?;
        join_all(subscriptions.iter().map(|subscription| self.halt(&subscription.id))).await;
        if let Err(error) = self.forget_topic(scope, topic, &subscriptions).await {
            // While they are still there they go on.
            if let Ok(info) = self.topic(scope, topic) {
                for subscription in subscriptions.into_iter().filter(|subscription| subscription.confirmed) {
                    self.run(scope, &info, subscription)?;
                }
            }
            return Err(error);
        }
        match self.log().delete_stream(&stream_key(scope, topic)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
