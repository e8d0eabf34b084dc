//! What could not be delivered is put where somebody looks for it: into a dead-letter queue.
//!
//! Owns what may be a dead-letter queue, and the message that a dead letter becomes. Promises that a letter is durable
//! when it is answered, and that none is lost for its length: what a queue takes of senders at most
//! (`MaximumMessageSize`) is no bound for what is put away in it. Letters of a producer are there
//! once; another one that is written again after a crash is there twice, with the same message id.
//! Must not know who gave up, nor why; a service that puts letters away by itself asks first.

use std::collections::BTreeMap;

use base::{Arn, Position, ProducerId, Scope, TargetError};
use bytes::Bytes;

use crate::queue::{Attribute, Head, Message, Queues, queue_of};
use crate::roles::{Denial, Roles};
use crate::{FlowError, metrics};

/// A message for a dead-letter queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letter {
    /// The message's id, a UUID: the same at every repetition.
    pub id: String,
    /// What was to be delivered; UTF-8.
    pub body: Bytes,
    /// What is said about it, by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Its group and deduplication id, in a FIFO queue.
    pub order: Option<(String, String)>,
}

/// The way to all dead-letter queues. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    queues: Queues,
    roles: Roles,
}

impl DeadLetters {
    /// Over the room of queues.
    pub fn new(queues: Queues, roles: Roles) -> Self {
        Self { queues, roles }
    }

    /// Whether the queue's policy lets a service put letters there on behalf of a rule or a topic.
    pub fn permit(&self, service: &str, source: &Arn, queue: &Arn) -> Result<(), Denial> {
        self.roles.permit_service(service, source, queue)
    }

    /// Whether `queue` is a queue of this account and region, of the wanted kind.
    pub fn check(&self, scope: &Scope, queue: &Arn, fifo: bool) -> Result<(), FlowError> {
        let invalid = |why: &str| Err(FlowError::Invalid(format!("the dead-letter queue {queue} {why}")));
        let Some((of, name)) = queue_of(queue) else { return invalid("is not the ARN of a queue") };
        if of != *scope {
            return invalid("is not in this account and region");
        }
        match self.queues.get(scope, &name) {
            Err(_) => Err(FlowError::NotFound(format!("the dead-letter queue {queue} does not exist"))),
            Ok(info) if info.attributes.fifo.is_some() != fifo => {
                invalid(if fifo { "must be a FIFO queue" } else { "must be a standard queue" })
            }
            Ok(_) => Ok(()),
        }
    }

    /// Bytes that a letter's body may have beside its attributes so that the queue would take the letter of a sender;
    /// none when there is no such queue.
    pub fn room(&self, queue: &Arn, attributes: &BTreeMap<String, Attribute>) -> Option<usize> {
        let (scope, name) = queue_of(queue)?;
        let most = self.queues.get(&scope, &name).ok()?.attributes.max_message_bytes as usize;
        let taken: usize = attributes.iter().map(|(n, a)| n.len() + a.data_type.len() + a.value.len()).sum();
        Some(most.saturating_sub(taken))
    }

    /// Writes a letter durably. An error whose kind is not transient stays the same however often it is tried.
    pub async fn send(&self, queue: &Arn, letter: Letter) -> Result<(), FlowError> {
        let missing = || FlowError::NotFound(format!("the dead-letter queue {queue} does not exist"));
        let (scope, name) = queue_of(queue).ok_or_else(missing)?;
        let info = self.queues.get(&scope, &name).map_err(|_| missing())?;
        let mut message = message(letter);
        message.head.delay_ms = u64::from(info.attributes.delay_s) * 1_000;
        self.queues.send(&scope, &name, vec![message]).await?;
        metrics::dead_letters(name.as_str(), 1);
        Ok(())
    }

    /// Writes letters durably and together, each once however often that is tried: by the positions of what they are
    /// made of, in their order. After an error [`DeadLetters::sent`] tells how many are there.
    pub async fn send_once(
        &self,
        queue: &Arn,
        producer: ProducerId,
        letters: Vec<(Position, Letter)>,
    ) -> Result<(), TargetError> {
        let before = self.sent(queue, producer);
        let new = letters.iter().filter(|(position, _)| before.is_none_or(|before| *position > before)).count();
        let messages = letters.into_iter().map(|(position, letter)| (position, message(letter))).collect();
        self.queues.take(queue, producer, messages).await?;
        metrics::dead_letters(queue.resource(), new);
        Ok(())
    }

    /// Up to which position a producer's letters are in a queue.
    pub fn sent(&self, queue: &Arn, producer: ProducerId) -> Option<Position> {
        self.queues.taken_by(queue, producer)
    }
}

fn message(letter: Letter) -> Message {
    let (group, dedup) = letter.order.map_or((None, None), |(group, dedup)| (Some(group), Some(dedup)));
    let (id, sender) = (letter.id, "tidegate".to_owned());
    let head = Head { id, sender, attributes: letter.attributes, group, dedup, ..Head::default() };
    Message { head, body: letter.body }
}

/// An attribute that is text.
pub(crate) fn text(value: impl Into<String>) -> Attribute {
    Attribute { data_type: "String".to_owned(), value: value.into() }
}
