//! Streams, functions and topics as targets.

use async_trait::async_trait;
use base::{Arn, Delivery, ErrorKind, PartitionKey, Position, ProducerId, Scope, Target, TargetError};
use log::{Log, StreamKey, StreamKind};

use super::append::{append_once, taken_by, target_error};
use crate::invocations::Invocations;
use crate::producer::stable_uuid;
use crate::topic::Topics;

fn invalid(to: &Arn, what: &str) -> TargetError {
    TargetError { kind: ErrorKind::Invalid, message: format!("{to} is not the ARN of {what}") }
}

fn scope_of(to: &Arn, what: &str) -> Result<Scope, TargetError> {
    to.scope().ok_or_else(|| invalid(to, what))
}

/// A key for a record whose sender named none.
fn fallback_key(producer: ProducerId, delivery: &Delivery) -> PartitionKey {
    let text = stable_uuid(producer, delivery.position);
    match text.parse() {
        Ok(key) => key,
        // A UUID has 36 characters, which a partition key allows.
        Err(_) => unreachable!("a UUID is a valid partition key"),
    }
}

/// Kinesis data streams: `arn:aws:kinesis:REGION:ACCOUNT:stream/NAME`.
pub struct StreamTarget {
    log: Log,
}

impl StreamTarget {
    /// Over this log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    fn key(to: &Arn) -> Result<StreamKey, TargetError> {
        let name = to.resource_of("stream").ok_or_else(|| invalid(to, "a stream"))?;
        let key = StreamKey { kind: StreamKind::Kinesis, scope: scope_of(to, "a stream")?, name: name.to_owned() };
        if key.is_audit_trail() {
            let message = format!("{to} is written by this server alone: it is the audit trail");
            return Err(TargetError { kind: ErrorKind::Invalid, message });
        }
        Ok(key)
    }
}

#[async_trait]
impl Target for StreamTarget {
    async fn deliver(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        let stream = self.log.stream(&Self::key(to)?).map_err(|e| target_error(to, &e))?;
        let appended = append_once(&self.log, &stream, producer, batch, |delivery| {
            let key = delivery.partition_key.clone().unwrap_or_else(|| fallback_key(producer, delivery));
            (key, delivery.payload.clone())
        });
        appended.await.map_err(|e| target_error(to, &e))
    }

    async fn check(&self, to: &Arn) -> Result<(), TargetError> {
        self.log.stream(&Self::key(to)?).map(drop).map_err(|e| target_error(to, &e))
    }

    fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        taken_by(&self.log, &Self::key(to).ok()?, producer)
    }
}

/// Functions, asynchronously: `arn:aws:lambda:REGION:ACCOUNT:function:NAME`.
pub struct FunctionTarget {
    invocations: Invocations,
}

impl FunctionTarget {
    /// Over the room of asynchronous invocations.
    pub fn new(invocations: Invocations) -> Self {
        Self { invocations }
    }
}

#[async_trait]
impl Target for FunctionTarget {
    async fn deliver(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        self.invocations.enqueue(to, producer, batch).await
    }

    async fn check(&self, to: &Arn) -> Result<(), TargetError> {
        self.invocations.check(to).await
    }

    fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        self.invocations.taken(to, producer)
    }
}

/// Topics: `arn:aws:sns:REGION:ACCOUNT:NAME`. The payload becomes the message.
pub struct TopicTarget {
    topics: Topics,
}

impl TopicTarget {
    /// Over the room of topics.
    pub fn new(topics: Topics) -> Self {
        Self { topics }
    }
}

#[async_trait]
impl Target for TopicTarget {
    async fn deliver(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        self.topics.forward(to, producer, batch).await
    }

    async fn check(&self, to: &Arn) -> Result<(), TargetError> {
        self.topics.check(to)
    }

    fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        self.topics.forwarded(to, producer)
    }
}
