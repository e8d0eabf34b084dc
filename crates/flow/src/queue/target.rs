//! Queues as targets: `arn:aws:sqs:REGION:ACCOUNT:NAME`.
//!
//! Promises that a batch in which there is something that the queue cannot take (too long, no text, no group) is refused
//! before any of it is taken, so that its sender can send the others on their own.

use async_trait::async_trait;
use base::{Arn, Delivery, ErrorKind, Position, ProducerId, Target, TargetError};

use super::message::Message;
use super::{Queues, send};

/// Delivers to queues. The payload becomes the message, the partition key its group.
pub struct QueueTarget {
    queues: Queues,
}

impl QueueTarget {
    /// Over the room of queues.
    pub fn new(queues: Queues) -> Self {
        Self { queues }
    }
}

fn missing(to: &Arn) -> TargetError {
    TargetError { kind: ErrorKind::NotFound, message: format!("queue {to} does not exist") }
}

#[async_trait]
impl Target for QueueTarget {
    async fn deliver(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        let live = self.queues.of_arn(to).ok_or_else(|| missing(to))?;
        send::deliver(&live, producer, batch).await
    }

    async fn check(&self, to: &Arn) -> Result<(), TargetError> {
        self.queues.of_arn(to).map(drop).ok_or_else(|| missing(to))
    }

    fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        send::taken(&*self.queues.of_arn(to)?, producer)
    }
}

impl Queues {
    /// Takes messages of an internal producer; a replay of the same positions adds nothing twice.
    pub(crate) async fn take(
        &self,
        to: &Arn,
        producer: ProducerId,
        messages: Vec<(Position, Message)>,
    ) -> Result<(), TargetError> {
        let live = self.of_arn(to).ok_or_else(|| missing(to))?;
        send::take(&live, producer, messages).await
    }

    /// Up to which position a queue has what an internal producer sent.
    pub(crate) fn taken_by(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        send::taken(&*self.of_arn(to)?, producer)
    }

    /// Whether a queue is there and takes a message.
    pub(crate) fn fits(&self, to: &Arn, message: &Message) -> Result<(), TargetError> {
        send::fits(&*self.of_arn(to).ok_or_else(|| missing(to))?, message)
    }
}
