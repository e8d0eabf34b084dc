//! Topics: what is published is told to every confirmed subscriber.
//!
//! Owns topics, subscriptions and their confirmation, and one consumer of the topic's log for each confirmed
//! subscription.
//! Promises: a published message is durable when acknowledged; every subscription that was confirmed before gets it at
//! least once or it is given up by its delivery policy, which is counted and logged; a failing or slow message holds up
//! no other; nothing but the confirmation message is sent to an endpoint that has not confirmed.
//! Must not know how HTTP is spoken, nor which hosts may be called: that is for the [`HttpClient`] that is handed in,
//! which alone sees the addresses that names stand for.

mod config;
mod deliver;
mod message;
mod retry;
mod subscription;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{
    Arn, Delivery, ErrorKind, HttpClient, Kinded, PartitionKey, ProducerId, Scope, StateStore, TargetError, TaskGroup,
    TopicName,
};
use log::{Append, NewRecord, Stream, StreamKey, StreamKind, StreamSpec};
use tokio::sync::Semaphore;

pub use config::{TopicInfo, topic_arn};
pub use message::{Attribute, Message, binary_value};
pub use retry::{Backoff, DeliveryPolicy, HealthyRetry};
pub use subscription::{FilterScope, Subscription, SubscriptionChange};

use crate::consumer::{Consumer, Loop, Policy, Running, Start};
use crate::producer::stable_uuid;
use crate::router::{append_once, target_error};
use crate::spool::{Settings, Spool};
use crate::{FlowError, metrics};
use deliver::{Live, Webhook};

/// How long messages stay in a topic's log: longer than the longest delivery policy takes.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// Notifications under way to one endpoint at once.
const CONCURRENCY: usize = 16;

/// What the topics work with.
#[derive(Clone)]
pub(crate) struct TopicPorts {
    pub consumers: Loop,
    pub state: Arc<dyn StateStore>,
    pub http: Arc<dyn HttpClient>,
    /// The server's own address, such as `http://127.0.0.1:4566`: confirmation links lead there.
    pub base_url: String,
}

/// The room of topics. Cloning gives another handle.
#[derive(Clone)]
pub struct Topics {
    inner: Arc<Inner>,
}

struct Inner {
    ports: TopicPorts,
    group: TaskGroup,
    /// By the subscription's id.
    running: Mutex<HashMap<String, (Running, Arc<Live>)>>,
    /// One consumer is started, changed or removed at a time: what runs is what is stored last.
    turn: Semaphore,
}

impl Topics {
    pub(crate) fn new(ports: TopicPorts, group: &TaskGroup) -> Self {
        let inner = Inner { ports, group: group.child(), running: Mutex::default(), turn: Semaphore::new(1) };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the consumers of all confirmed subscriptions and asks the others again that have not been asked.
    pub(crate) async fn restore(&self) -> Result<(), FlowError> {
        for (scope, topic) in config::all_topics(&*self.inner.ports.state)? {
            self.drop_expired(&scope, &topic.name).await?;
            for subscription in config::subscriptions_of(&*self.inner.ports.state, &scope, &topic.name)? {
                if subscription.confirmed {
                    self.run(&scope, &topic.name, subscription)?;
                } else if !subscription.asked {
                    self.ask(&scope, &topic.name, subscription);
                }
            }
        }
        Ok(())
    }

    /// Publishes messages, all or none; `Ok` means that they are durable.
    pub async fn publish(&self, scope: &Scope, topic: &TopicName, messages: &[Message]) -> Result<(), FlowError> {
        let stream = self.stream(scope, topic)?;
        let mut records = Vec::with_capacity(messages.len());
        for message in messages {
            message.validate()?;
            let partition_key = one_key(topic);
            let shard = stream.shard_for(&partition_key, None).slot;
            records.push(NewRecord { shard, partition_key, explicit_hash_key: None, data: message.encode()? });
        }
        self.log().append(Append { producer: None, records }).await?;
        metrics::published(topic.as_str(), messages.len());
        Ok(())
    }

    /// Publishes a batch from an internal producer; a replay adds nothing twice and keeps the message ids.
    pub(crate) async fn forward(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        let (scope, topic) = config::parse_topic_arn(to)?;
        let stream = self.stream(&scope, &topic).map_err(|e| TargetError { kind: e.kind(), message: e.to_string() })?;
        let internal = |e: FlowError| TargetError { kind: ErrorKind::Invalid, message: format!("{to}: {e}") };
        let mut encoded = HashMap::new();
        for delivery in batch {
            let message = Message {
                id: stable_uuid(producer, delivery.position),
                subject: None,
                text: String::from_utf8_lossy(&delivery.payload).into_owned(),
                https_text: None,
                attributes: Default::default(),
            };
            encoded.insert(delivery.position, message.encode().map_err(internal)?);
        }
        let appended = append_once(self.log(), &stream, producer, batch, |delivery| {
            (one_key(&topic), encoded.get(&delivery.position).cloned().unwrap_or_default())
        });
        appended.await.map_err(|e| target_error(to, &e))?;
        metrics::published(topic.as_str(), batch.len());
        Ok(())
    }

    /// Whether the topic exists.
    pub(crate) fn check(&self, to: &Arn) -> Result<(), TargetError> {
        let (scope, topic) = config::parse_topic_arn(to)?;
        self.topic(&scope, &topic).map(drop).map_err(|e| TargetError { kind: e.kind(), message: e.to_string() })
    }

    fn log(&self) -> &log::Log {
        &self.inner.ports.consumers.log
    }

    fn stream(&self, scope: &Scope, topic: &TopicName) -> Result<Arc<Stream>, FlowError> {
        self.log().stream(&stream_key(scope, topic)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => config::no_topic(scope, topic),
            _ => error.into(),
        })
    }

    async fn ensure_stream(&self, scope: &Scope, topic: &TopicName) -> Result<Arc<Stream>, FlowError> {
        let spec = StreamSpec { shards: 1, retention: RETENTION };
        Ok(self.log().ensure_stream(&stream_key(scope, topic), spec).await?)
    }

    /// Starts a confirmed subscription's consumer, or hands it its changed settings.
    fn run(&self, scope: &Scope, topic: &TopicName, subscription: Subscription) -> Result<(), FlowError> {
        let (ports, id) = (&self.inner.ports, consumer_id(&subscription.id));
        let stream = self.stream(scope, topic)?;
        let Some(shard) = stream.shards.first() else { return Ok(()) };
        let mut running = self.running();
        if let Some((_, live)) = running.get(&subscription.id) {
            return live.replace(subscription);
        }
        let live = Arc::new(Live::new(subscription)?);
        let key = live.current().subscription.id.clone();
        let webhook = Webhook {
            topic: topic_arn(scope, topic),
            name: topic.clone(),
            live: Arc::clone(&live),
            http: Arc::clone(&ports.http),
            base_url: ports.base_url.clone(),
        };
        let group = self.inner.group.child();
        let settings = Settings { id: id.clone(), slot: shard.slot, stream: stream.id, concurrency: CONCURRENCY };
        let spool = Spool::start(&ports.consumers, &ports.state, &group, settings, webhook)?;
        let policy = Policy::each_record(CONCURRENCY, RETENTION);
        let consumer = Consumer { id, source: stream.key.clone(), start: Start::TrimHorizon, policy };
        running.insert(key, (ports.consumers.start(group, consumer, Arc::new(spool)), live));
        Ok(())
    }

    /// Makes what runs what is stored, whoever changed it meanwhile.
    async fn settle(&self, scope: &Scope, topic: &TopicName, id: &str) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        match config::stored(&*self.inner.ports.state, scope, topic, id)? {
            Some(subscription) if subscription.confirmed => self.run(scope, topic, subscription),
            _ => Ok(()),
        }
    }

    async fn halt(&self, subscription: &str) {
        let running = self.running().remove(subscription);
        if let Some((running, _)) = running {
            running.stop().await;
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, (Running, Arc<Live>)>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn consumer_id(subscription: &str) -> String {
    format!("subscription:{subscription}")
}

fn stream_key(scope: &Scope, topic: &TopicName) -> StreamKey {
    StreamKey { kind: StreamKind::Topic, scope: scope.clone(), name: topic.to_string() }
}

/// A topic's log has one shard, so every record has the same key.
fn one_key(topic: &TopicName) -> PartitionKey {
    match topic.as_str().parse() {
        Ok(key) => key,
        Err(_) => unreachable!("a topic name is a valid partition key"),
    }
}
