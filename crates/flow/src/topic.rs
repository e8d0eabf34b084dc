//! Topics: what is published is told to every confirmed subscriber.
//!
//! Owns topics, subscriptions and their confirmation, and one consumer of the topic's log for each confirmed
//! subscription.
//! Promises: a published message is durable when acknowledged; every subscription that was confirmed before gets it at
//! least once (exactly once where the subscriber is of this server), or it is given up by its delivery policy, which is
//! counted and logged, and put into its dead-letter queue if it has one; a failing or slow message holds up no other,
//! but in FIFO topics; nothing but the confirmation message is sent to an endpoint that has not confirmed.
//! Must not know how HTTP is spoken, nor which hosts may be called: that is for the [`HttpClient`] that is handed in,
//! which alone sees the addresses that names stand for.

mod asking;
mod attributes;
mod chat;
mod config;
mod deliver;
mod endpoint;
mod envelope;
mod fifo;
mod filter;
mod keep;
mod letter;
mod local;
mod mail;
mod message;
mod policy;
mod retry;
mod routing_key;
mod sign;
mod subscribing;
mod subscription;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{
    Arn, Delivery, ErrorKind, HttpClient, Kinded, MasterKey, PartitionKey, Position, ProducerId, Scope, StateStore,
    TargetError, TaskGroup, TopicName,
};
use log::{Append, NewRecord, Stream, StreamKey, StreamKind, StreamSpec};
use tokio::sync::Semaphore;

pub use crate::sealed::Secret;
pub use attributes::{FifoTopic, TopicChange, TopicInfo};
pub use chat::WebhookFormat;
pub(crate) use config::stored_topic;
pub use config::{is_fifo, topic_arn};
pub use endpoint::Protocol;
pub use envelope::sequence_number;
pub use mail::{Mail, MailError, Mailer};
pub use message::{Attribute, MAX_MESSAGE_BYTES, Message, binary_value};
pub use policy::{DeliveryPolicy, Effective, TopicPolicy};
pub use retry::{Backoff, HealthyRetry};
pub use sign::{SignatureVersion, Signed, Signer};
pub use subscribing::{By, Subscribing};
pub use subscription::{FilterScope, Subscription, SubscriptionChange};

use crate::consumer::{Consumer, Handler, Loop, Policy, Running, Start};
use crate::dead_letter::DeadLetters;
use crate::delivery::Deliveries;
use crate::invocations::Invocations;
use crate::needed::FOREVER;
use crate::producer::stable_uuid;
use crate::queue::Queues;
use crate::roles::Roles;
use crate::router::{append_once, before_append, taken_by, target_error};
use crate::spool::{Settings, Spool};
use crate::{FlowError, metrics, stored};
use deliver::{Live, Webhook};
use envelope::Envelope;
use letter::Letters;
use local::Local;
use mail::Mailing;
use routing_key::RoutingKeys;
use sign::Signatures;

/// A message for a web endpoint that is older than this is given up: longer than the longest delivery policy takes.
const WEB_AGE: Duration = Duration::from_secs(24 * 3_600);
/// Notifications under way to one endpoint at once.
const CONCURRENCY: usize = 16;
/// The same while there is a backlog that the endpoint takes: what came while it was away is told at three times the
/// rate, and more, at which it is told of what comes meanwhile.
const CATCHING_UP: usize = 64;

/// What the topics work with.
#[derive(Clone)]
pub(crate) struct TopicPorts {
    pub consumers: Loop,
    pub state: Arc<dyn StateStore>,
    pub http: Arc<dyn HttpClient>,
    pub signer: Arc<dyn Signer>,
    pub mailer: Arc<dyn Mailer>,
    pub master_key: MasterKey,
    pub queues: Queues,
    pub invocations: Invocations,
    pub deliveries: Deliveries,
    pub roles: Roles,
    /// The server's own address, such as `http://127.0.0.1:4566`: confirmation links lead there.
    pub base_url: String,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The message's id; of a message that repeats another, the other's.
    pub id: String,
    /// Its place in the order of a FIFO topic.
    pub sequence: Option<Position>,
}

/// The room of topics. Cloning gives another handle.
#[derive(Clone)]
pub struct Topics {
    inner: Arc<Inner>,
}

struct Inner {
    ports: TopicPorts,
    signatures: Arc<Signatures>,
    routing_keys: Arc<RoutingKeys>,
    fifo: fifo::Known,
    group: TaskGroup,
    /// By the subscription's id.
    running: Mutex<HashMap<String, (Running, Arc<Live>)>>,
    /// The tokens whose question is under way.
    asking: Mutex<HashSet<String>>,
    /// One consumer is started, changed or removed at a time: what runs is what is stored last.
    turn: Semaphore,
}

impl Topics {
    pub(crate) fn new(ports: TopicPorts, group: &TaskGroup) -> Self {
        let signatures = Arc::new(Signatures::new(Arc::clone(&ports.signer)));
        let routing_keys = RoutingKeys::new(&ports.master_key, Arc::clone(&ports.consumers.env.rng));
        let inner = Inner {
            ports,
            signatures,
            routing_keys: Arc::new(routing_keys),
            fifo: fifo::Known::default(),
            group: group.child(),
            running: Mutex::default(),
            asking: Mutex::default(),
            turn: Semaphore::new(1),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the consumers of all confirmed subscriptions and asks the others again that have not been asked.
    pub(crate) async fn restore(&self) -> Result<(), FlowError> {
        let topics = config::all_topics(&*self.inner.ports.state)?;
        self.delete_strays(&topics).await?;
        for (scope, topic) in topics {
            self.keep_log(&scope, &topic.name).await?;
            self.drop_expired(&scope, &topic.name).await?;
            for subscription in config::subscriptions_of(&*self.inner.ports.state, &scope, &topic.name)? {
                if subscription.confirmed {
                    let what = format!("the subscription {} of {}", subscription.id, topic_arn(&scope, &topic.name));
                    stored::or_inactive(self.run(&scope, &topic, subscription), what)?;
                } else if !subscription.asked {
                    self.ask(&scope, &topic, subscription);
                }
            }
        }
        self.inner.group.spawn_infallible("topic logs", self.clone().release_logs());
        Ok(())
    }

    /// Gives a message its deduplication id where the topic says how, or says what it lacks.
    pub fn complete_message(&self, topic: &TopicInfo, message: &mut Message) -> Result<(), FlowError> {
        fifo::complete(topic.fifo, message)
    }

    /// Whether a message can be published to a topic; completes it where the topic says how.
    pub fn check_message(&self, topic: &TopicInfo, message: &mut Message) -> Result<(), FlowError> {
        fifo::complete(topic.fifo, message)?;
        message.validate(topic.max_message())
    }

    /// Publishes messages, all or none; `Ok` means that they are durable.
    pub async fn publish(
        &self,
        scope: &Scope,
        topic: &TopicName,
        mut messages: Vec<Message>,
    ) -> Result<Vec<Accepted>, FlowError> {
        let info = self.topic(scope, topic)?;
        messages.iter_mut().try_for_each(|message| self.check_message(&info, message))?;
        let stream = self.stream(scope, topic)?;
        let (partition_key, published) = (one_key(), messages.len());
        let shard = stream.shard_for(&partition_key, None).slot;
        let record = |message: &Message| {
            let (partition_key, data) = (partition_key.clone(), message.encode()?);
            Ok(NewRecord { shard, partition_key, explicit_hash_key: None, data })
        };
        let records = messages.iter().map(record).collect::<Result<Vec<_>, FlowError>>()?;
        let accepted = match info.fifo {
            Some(fifo) => {
                let messages = messages.into_iter().zip(records).collect();
                self.publish_once(fifo::Ready { stream: stream.id, shard, fifo, messages }).await?
            }
            None => {
                self.log().append(Append { producer: None, records }).await?;
                messages.into_iter().map(|message| Accepted { id: message.id, sequence: None }).collect()
            }
        };
        metrics::published(topic.as_str(), published);
        Ok(accepted)
    }

    /// Publishes a batch from an internal producer; a replay adds nothing twice and keeps the message ids.
    pub(crate) async fn forward(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        let (scope, topic) = config::parse_topic_arn(to)?;
        let stream = self.stream(&scope, &topic);
        let stream = stream.map_err(|e| TargetError { kind: before_append(e.kind()), message: e.to_string() })?;
        let internal = |e: FlowError| TargetError { kind: ErrorKind::Invalid, message: format!("{to}: {e}") };
        let mut encoded = HashMap::new();
        for delivery in batch {
            let message = Message {
                id: stable_uuid(producer, delivery.position),
                text: String::from_utf8_lossy(&delivery.payload).into_owned(),
                ..Message::default()
            };
            encoded.insert(delivery.position, message.encode().map_err(internal)?);
        }
        let appended = append_once(self.log(), &stream, producer, batch, |delivery| {
            (one_key(), encoded.get(&delivery.position).cloned().unwrap_or_default())
        });
        appended.await.map_err(|e| target_error(to, &e))?;
        metrics::published(topic.as_str(), batch.len());
        Ok(())
    }

    /// Up to which position a topic has what `producer` published.
    pub(crate) fn forwarded(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        let (scope, topic) = config::parse_topic_arn(to).ok()?;
        taken_by(self.log(), &stream_key(&scope, &topic), producer)
    }

    /// Whether the topic exists and takes events. A FIFO topic takes no message without a group, which no event has.
    pub(crate) fn check(&self, to: &Arn) -> Result<(), TargetError> {
        let (scope, topic) = config::parse_topic_arn(to)?;
        let info = self.topic(&scope, &topic).map_err(|e| TargetError { kind: e.kind(), message: e.to_string() })?;
        if info.fifo.is_some() {
            let message = format!("{to} cannot be a target: it is a FIFO topic");
            return Err(TargetError { kind: ErrorKind::Invalid, message });
        }
        Ok(())
    }

    fn log(&self) -> &log::Log {
        &self.inner.ports.consumers.log
    }

    fn stream(&self, scope: &Scope, topic: &TopicName) -> Result<Arc<Stream>, FlowError> {
        self.log().stream(&stream_key(scope, topic)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => config::no_topic(),
            _ => error.into(),
        })
    }

    async fn ensure_stream(&self, scope: &Scope, topic: &TopicName) -> Result<Arc<Stream>, FlowError> {
        let spec = StreamSpec { shards: 1, retention: FOREVER };
        Ok(self.log().ensure_stream(&stream_key(scope, topic), spec).await?)
    }

    fn envelope(&self, scope: &Scope, topic: &TopicName) -> Envelope {
        Envelope {
            topic: topic_arn(scope, topic),
            base_url: self.inner.ports.base_url.clone(),
            signatures: Arc::clone(&self.inner.signatures),
        }
    }

    /// Starts a confirmed subscription's consumer, or hands it its changed settings.
    fn run(&self, scope: &Scope, topic: &TopicInfo, subscription: Subscription) -> Result<(), FlowError> {
        let (ports, key) = (&self.inner.ports, subscription.id.clone());
        let (id, protocol) = (consumer_id(&key), subscription.protocol());
        let stream = self.stream(scope, &topic.name)?;
        let Some(shard) = stream.shards.first() else { return Ok(()) };
        let mut running = self.running();
        if let Some((_, live)) = running.get(&key) {
            return live.replace(subscription, topic);
        }
        let live = Arc::new(Live::new(subscription, topic)?);
        let letters = Letters {
            envelope: self.envelope(scope, &topic.name),
            queues: ports.queues.clone(),
            graves: DeadLetters::new(ports.queues.clone(), ports.roles.clone()),
            clock: Arc::clone(&ports.consumers.env.clock),
        };
        let group = self.inner.group.child();
        let (source, start) = (stream.key.clone(), Start::TrimHorizon);
        let started = if protocol.is_local() {
            let (invocations, deliveries) = (ports.invocations.clone(), ports.deliveries.clone());
            let roles = ports.roles.clone();
            let local = Local { live: Arc::clone(&live), letters, invocations, deliveries, roles };
            let consumer = Consumer { id, source, start, policy: local::policy() };
            ports.consumers.start(group, consumer, Arc::new(local))
        } else {
            let (concurrency, at_most) = (CONCURRENCY, CATCHING_UP);
            let settings = Settings { id: id.clone(), slot: shard.slot, stream: stream.id, concurrency, at_most };
            let handler = self.spool(protocol, &group, settings, (Arc::clone(&live), letters))?;
            // What is too old to be attempted is given up, not dropped unseen.
            let policy = Policy { max_age: None, ..Policy::each_record(CATCHING_UP, WEB_AGE) };
            ports.consumers.start(group, Consumer { id, source, start, policy }, handler)
        };
        running.insert(key, (started, live));
        Ok(())
    }

    /// What sends messages to somebody outside, each on its own.
    fn spool(
        &self,
        protocol: Protocol,
        group: &TaskGroup,
        settings: Settings,
        (live, letters): (Arc<Live>, Letters),
    ) -> Result<Arc<dyn Handler>, FlowError> {
        let ports = &self.inner.ports;
        if protocol.is_mail() {
            let mailing = Mailing { live, mailer: Arc::clone(&ports.mailer), letters };
            return Ok(Arc::new(Spool::start(&ports.consumers, &ports.state, group, settings, mailing)?));
        }
        let (http, routing_keys) = (Arc::clone(&ports.http), Arc::clone(&self.inner.routing_keys));
        let webhook = Webhook { live, http, routing_keys, letters };
        Ok(Arc::new(Spool::start(&ports.consumers, &ports.state, group, settings, webhook)?))
    }

    /// Makes what runs what is stored, whoever changed it meanwhile.
    async fn settle(&self, scope: &Scope, topic: &TopicName, id: &str) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        let Ok(info) = self.topic(scope, topic) else { return Ok(()) };
        match config::stored(&*self.inner.ports.state, scope, topic, id)? {
            Some(subscription) if subscription.confirmed => self.run(scope, &info, subscription),
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
fn one_key() -> PartitionKey {
    match "m".parse() {
        Ok(key) => key,
        Err(_) => unreachable!("a letter is a valid partition key"),
    }
}
