//! Subscriptions on their way: asked for, confirmed, changed, ended.
//!
//! Promises that a change is durable when it is answered and in force at once; that a subscription begins at its
//! confirmation; that subscribing again changes nothing.
//! Must not know how messages are sent.

use std::time::Duration;

use base::{Arn, Batch, Scope, Timestamp, TopicName};
use subtle::ConstantTimeEq;

use super::attributes::TopicInfo;
use super::config::{MAX_OF_LARGE, is_fifo, stored, subscription_key, subscriptions_of, topic_arn};
use super::endpoint::{self, Protocol};
use super::subscription::{Subscription, SubscriptionChange};
use super::{Topics, consumer_id};
use crate::checkpoint::Checkpoints;
use crate::stored::{self, Change};
use crate::{FlowError, spool};

/// A subscription that nobody confirms is gone after this ("Subscribe", SNS API Reference).
const PENDING_FOR: Duration = Duration::from_secs(2 * 24 * 3_600);
/// Quotas of the service ("Amazon SNS endpoints and quotas"; "Filter policy constraints", SNS Developer Guide).
const MAX_PENDING: usize = 5_000;
const MAX_OF_FIFO: usize = 100;
const MAX_FILTERS: usize = 200;
/// Delivery streams of a topic ("Fanout to Firehose delivery streams", SNS Developer Guide).
const MAX_DELIVERY_STREAMS: usize = 5;

/// What a new subscription is to be.
#[derive(Debug, Clone)]
pub struct Subscribing<'a> {
    /// How it is told.
    pub protocol: Protocol,
    /// Where.
    pub endpoint: &'a str,
    /// Its attributes.
    pub change: &'a SubscriptionChange,
}

/// Who ends or confirms a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The owner, who has proven it.
    Owner,
    /// Whoever has the link.
    Link,
}

fn no_subscription() -> FlowError {
    FlowError::NotFound("Subscription does not exist".to_owned())
}

/// Scope, topic and id of a subscription's ARN.
fn parse_subscription_arn(arn: &Arn) -> Result<(Scope, TopicName, String), FlowError> {
    let parts = arn.resource().split_once(':').filter(|_| arn.service() == "sns");
    let parsed = parts.and_then(|(topic, id)| Some((arn.scope()?, topic.parse().ok()?, id.to_owned())));
    parsed.ok_or_else(|| FlowError::Invalid("Invalid parameter: SubscriptionId".to_owned()))
}

fn check_filters(subscription: &Subscription, others: &[Subscription]) -> Result<(), FlowError> {
    let filters = others.iter().filter(|s| s.id != subscription.id && s.filter_policy.is_some()).count();
    if subscription.filter_policy.is_some() && filters >= MAX_FILTERS {
        let message = format!("a topic has at most {MAX_FILTERS} filter policies");
        return Err(FlowError::Limit { of: "FilterPolicy", message });
    }
    Ok(())
}

fn is_over(subscription: &Subscription, now: Timestamp) -> bool {
    !subscription.confirmed && now.since(subscription.created) > PENDING_FOR
}

impl Topics {
    /// Subscribes an endpoint. One of this server is confirmed with that, others are asked to confirm. The same
    /// endpoint again is the same subscription, asked again while it has not confirmed.
    pub async fn subscribe(
        &self,
        scope: &Scope,
        topic: &TopicName,
        asked: Subscribing<'_>,
    ) -> Result<Subscription, FlowError> {
        self.topic(scope, topic)?;
        endpoint::check(asked.protocol, asked.endpoint, (scope, is_fifo(topic)))?;
        self.drop_expired(scope, topic).await?;
        let is_same = |s: &&Subscription| s.endpoint == asked.endpoint && s.protocol() == asked.protocol;
        // One that was ended by its link has ended: this is another.
        for ended in subscriptions_of(self.state(), scope, topic)?.iter().filter(is_same).filter(|s| s.left) {
            self.remove(scope, topic, &ended.id).await?;
        }
        // From here on nobody else subscribes, and the topic is not deleted.
        let turn = self.inner.turn.acquire().await;
        let info = self.topic(scope, topic)?;
        let existing = subscriptions_of(self.state(), scope, topic)?;
        if let Some(old) = existing.iter().find(is_same) {
            return self.again(scope, topic, &info, old, asked.change);
        }
        self.check_quota_of(&info, asked.protocol, &existing)?;
        let mut subscription = self.pending(asked.protocol, asked.endpoint);
        subscription.change(&topic_arn(scope, topic), asked.change, &self.inner.routing_keys).map_err(of_attributes)?;
        self.check_key_is_safe(&subscription)?;
        if asked.protocol == Protocol::Firehose && subscription.role.is_none() {
            let text = "SubscriptionRoleArn is needed for the protocol firehose";
            return Err(FlowError::Invalid(format!("Invalid parameter: Attributes Reason: {text}")));
        }
        check_filters(&subscription, &existing)?;
        self.check_there(asked.protocol, asked.endpoint).await?;
        let (table, key) = subscription_key(scope, topic, &subscription.id);
        let mut batch = Batch::new();
        if asked.protocol.is_local() {
            (subscription.asked, subscription.confirmed, subscription.authenticated) = (true, true, true);
            batch.writes.extend(self.beginning(scope, topic, &subscription.id)?);
        }
        let value = stored::encode("subscription", &subscription)?;
        self.state().commit(batch.put(table, key, value)).await?;
        drop(turn);
        if subscription.confirmed {
            self.settle(scope, topic, &subscription.id).await?;
        } else {
            self.ask(scope, &info, subscription.clone());
        }
        Ok(subscription)
    }

    fn pending(&self, protocol: Protocol, endpoint: &str) -> Subscription {
        Subscription {
            id: self.inner.ports.consumers.env.rng.uuid(),
            protocol: Some(protocol),
            endpoint: endpoint.to_owned(),
            created: self.now(),
            token: self.token(),
            asked: false,
            confirmed: false,
            authenticated: false,
            authenticate_on_unsubscribe: false,
            left: false,
            raw: false,
            filter_policy: None,
            filter_scope: Default::default(),
            delivery_policy: None,
            dead_letters: None,
            role: None,
            webhook: None,
            routing_key: None,
        }
    }

    fn token(&self) -> String {
        let mut token = [0; 64];
        self.inner.ports.consumers.env.rng.fill(&mut token);
        token.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn again(
        &self,
        scope: &Scope,
        topic: &TopicName,
        info: &TopicInfo,
        old: &Subscription,
        change: &SubscriptionChange,
    ) -> Result<Subscription, FlowError> {
        let mut wanted = old.clone();
        wanted.change(&topic_arn(scope, topic), change, &self.inner.routing_keys).map_err(of_attributes)?;
        if !old.is_set_as(&wanted) {
            let text = "Subscription already exists with different attributes";
            return Err(FlowError::Invalid(format!("Invalid parameter: Attributes Reason: {text}")));
        }
        if !old.confirmed {
            self.ask(scope, info, old.clone());
        }
        Ok(old.clone())
    }

    fn check_quota_of(&self, info: &TopicInfo, protocol: Protocol, existing: &[Subscription]) -> Result<(), FlowError> {
        let limit = |message: String| Err(FlowError::Limit { of: "Subscription", message });
        if existing.iter().filter(|s| !s.confirmed).count() >= MAX_PENDING {
            return limit("Too many subscriptions are pending confirmation".to_owned());
        }
        if info.fifo.is_some() && existing.len() >= MAX_OF_FIFO {
            return limit(format!("a FIFO topic has at most {MAX_OF_FIFO} subscriptions"));
        }
        let delivery_streams = existing.iter().filter(|s| s.protocol() == Protocol::Firehose).count();
        if protocol == Protocol::Firehose && delivery_streams >= MAX_DELIVERY_STREAMS {
            return limit(format!("a topic has at most {MAX_DELIVERY_STREAMS} delivery streams as subscribers"));
        }
        if info.takes_large() && (existing.len() >= MAX_OF_LARGE || !protocol.is_local()) {
            let text = "Protocol Reason: a topic whose MaximumMessageSize is above 262144 bytes has at most 100 \
                        subscriptions, all of the protocols firehose, sqs and lambda";
            return Err(FlowError::Invalid(format!("Invalid parameter: {text}")));
        }
        Ok(())
    }

    /// Whether a function exists, and a web endpoint may be called as far as its address says.
    async fn check_there(&self, protocol: Protocol, endpoint: &str) -> Result<(), FlowError> {
        if protocol.is_web() {
            let url = endpoint::parse_url(endpoint)?;
            let checked = self.inner.ports.http.check_host(url.host().unwrap_or_default());
            return checked.map_err(|why| FlowError::Invalid(format!("Invalid parameter: Endpoint Reason: {why}")));
        }
        let arn = || endpoint.parse::<Arn>().map_err(|e| FlowError::Invalid(e.to_string()));
        let (what, checked) = match protocol {
            Protocol::Lambda => ("Lambda", self.inner.ports.invocations.check(&arn()?).await),
            Protocol::Firehose => ("Firehose", self.inner.ports.deliveries.check(&arn()?)),
            // The service does not look whether a queue is there.
            _ => return Ok(()),
        };
        checked.map_err(|e| FlowError::Invalid(format!("Invalid parameter: {what} endpoint ARN Reason: {}", e.message)))
    }

    /// A routing key is a secret: it goes over TLS, or to a network that the settings name.
    fn check_key_is_safe(&self, subscription: &Subscription) -> Result<(), FlowError> {
        if subscription.routing_key.is_none() || subscription.protocol() != Protocol::Http {
            return Ok(());
        }
        let url = endpoint::parse_url(&subscription.endpoint)?;
        if self.inner.ports.http.may_be_plain(url.host().unwrap_or_default()) {
            return Ok(());
        }
        let text = "WebhookRoutingKey: it is sent over https only; use the protocol https";
        Err(FlowError::Invalid(format!("Invalid parameter: Attributes Reason: {text}")))
    }

    /// The writes by which a subscription begins here and now. They are committed within the same turn: until then the
    /// log may be let go.
    fn beginning(&self, scope: &Scope, topic: &TopicName, id: &str) -> Result<Vec<base::Write>, FlowError> {
        let stream = self.stream(scope, topic)?;
        let begin = stream.shards.iter().map(|shard| {
            let tail = self.log().tail(shard.slot)?.next;
            Ok(Checkpoints::start_at(&consumer_id(id), stream.id, shard.id, tail))
        });
        begin.collect()
    }

    /// Confirms the subscription that has this token; it gets what is published from now on. With `strict`, only its
    /// owner can end it.
    pub async fn confirm(
        &self,
        scope: &Scope,
        topic: &TopicName,
        token: &str,
        by: By,
        strict: bool,
    ) -> Result<Subscription, FlowError> {
        self.topic(scope, topic)?;
        let now = self.now();
        let known = subscriptions_of(self.state(), scope, topic)?
            .into_iter()
            .find(|s| bool::from(s.token.as_bytes().ct_eq(token.as_bytes())) && !is_over(s, now));
        let subscription = known.ok_or_else(|| FlowError::Invalid("Invalid parameter: Token".to_owned()))?;
        let turn = self.inner.turn.acquire().await;
        let begin = self.beginning(scope, topic, &subscription.id)?;
        let key = subscription_key(scope, topic, &subscription.id);
        let confirmed = stored::update(self.state(), key, "subscription", |old: Option<Subscription>| {
            let old = old.ok_or_else(no_subscription)?;
            if old.confirmed {
                return Ok((Change::Keep, old));
            }
            let new = Subscription {
                confirmed: true,
                asked: true,
                left: false,
                authenticated: by == By::Owner,
                authenticate_on_unsubscribe: strict,
                ..old
            };
            Ok((Change::Put(new.clone(), begin.clone()), new))
        })
        .await?;
        drop(turn);
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
        all.retain(|s| !is_over(s, now));
        Ok(all)
    }

    /// Changes a subscription's attributes.
    pub async fn change_subscription(&self, arn: &Arn, change: &SubscriptionChange) -> Result<(), FlowError> {
        let (scope, topic, id) = parse_subscription_arn(arn)?;
        let others = subscriptions_of(self.state(), &scope, &topic)?;
        let key = subscription_key(&scope, &topic, &id);
        stored::update(self.state(), key, "subscription", |old: Option<Subscription>| {
            let mut subscription = old.ok_or_else(no_subscription)?;
            subscription.change(&topic_arn(&scope, &topic), change, &self.inner.routing_keys)?;
            self.check_key_is_safe(&subscription)?;
            check_filters(&subscription, &others)?;
            Ok((Change::Put(subscription, Vec::new()), ()))
        })
        .await?;
        self.settle(&scope, &topic, &id).await
    }

    /// Ends a subscription; one that does not exist is fine. One that is ended by a link is told so, and can be taken
    /// up again by the link that it is told.
    pub async fn unsubscribe(&self, arn: &Arn, by: By) -> Result<(), FlowError> {
        let (scope, topic, id) = parse_subscription_arn(arn)?;
        let Some(subscription) = stored(self.state(), &scope, &topic, &id)? else { return Ok(()) };
        if by == By::Link && subscription.left {
            // The link was opened again. What it was told, and what it can take up again, stays.
            return Ok(());
        }
        if by == By::Owner || !subscription.confirmed {
            return self.remove(&scope, &topic, &id).await;
        }
        if subscription.authenticate_on_unsubscribe || subscription.protocol().is_local() {
            return Err(FlowError::Denied("this subscription is ended only by a signed call".to_owned()));
        }
        let info = self.topic(&scope, &topic)?;
        let (created, token) = (self.now(), self.token());
        let left = Subscription { created, token, asked: false, confirmed: false, left: true, ..subscription };
        self.end(&scope, &topic, &id, Some(&left)).await?;
        self.ask(&scope, &info, left);
        Ok(())
    }

    pub(super) async fn remove(&self, scope: &Scope, topic: &TopicName, id: &str) -> Result<(), FlowError> {
        self.end(scope, topic, id, None).await
    }

    /// Stops a subscription's deliveries and forgets what waits for it, leaving this in its place.
    async fn end(
        &self,
        scope: &Scope,
        topic: &TopicName,
        id: &str,
        then: Option<&Subscription>,
    ) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        self.halt(id).await;
        let (table, key) = subscription_key(scope, topic, id);
        let mut batch = match then {
            Some(then) => Batch::new().put(table, key, stored::encode("subscription", then)?),
            None => Batch::new().delete(table, key),
        };
        batch.writes.extend(self.forgetting(id).await?);
        Ok(self.state().commit(batch).await?)
    }

    /// The writes that forget where a subscription stands and what waits for it. It must have stopped.
    pub(super) async fn forgetting(&self, id: &str) -> Result<Vec<base::Write>, FlowError> {
        let consumer = consumer_id(id);
        let mut writes = self.inner.ports.consumers.checkpoints.forget(&consumer).await?;
        writes.extend(spool::forget(self.state(), &consumer)?);
        Ok(writes)
    }

    /// Removes subscriptions that nobody confirmed in time.
    pub(super) async fn drop_expired(&self, scope: &Scope, topic: &TopicName) -> Result<(), FlowError> {
        let now = self.now();
        for subscription in subscriptions_of(self.state(), scope, topic)?.iter().filter(|s| is_over(s, now)) {
            self.remove(scope, topic, &subscription.id).await?;
        }
        Ok(())
    }
}

/// What is wrong with an attribute, as Subscribe says it.
fn of_attributes(error: FlowError) -> FlowError {
    match error {
        FlowError::Invalid(text) => {
            let reason = text.strip_prefix("Invalid parameter: ").unwrap_or(&text);
            FlowError::Invalid(format!("Invalid parameter: Attributes Reason: {reason}"))
        }
        other => other,
    }
}
