//! What a queue is told, and where that is kept.
//!
//! Owns the attributes' types, bounds and defaults ("SetQueueAttributes", SQS API Reference), and the rows of the state
//! store. Must not know messages.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Arn, QueueName, Scope, StateStore, Table, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{FlowError, stored};

pub(super) const TABLE: Table = Table("flow.queues");
/// The most bytes that a message may have, and all messages of one call: 1 MiB.
pub const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// A queue's attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Messages are kept back so long after their arrival. Seconds, 0 to 900.
    pub delay_s: u32,
    /// The most bytes of a message. 1,024 to 1,048,576.
    pub max_message_bytes: u32,
    /// Messages are forgotten after this. Seconds, 60 to 1,209,600 (14 days).
    pub retention_s: u32,
    /// A receive without a wait of its own waits so long for a message. Seconds, 0 to 20.
    pub wait_s: u32,
    /// A received message is invisible for so long. Seconds, 0 to 43,200 (12 hours).
    pub visibility_s: u32,
    /// Of a FIFO queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fifo: Option<Fifo>,
    /// Where messages go that were received too often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive: Option<Redrive>,
    /// Which queues may send such messages here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive_allow: Option<RedriveAllow>,
    /// Whether messages are sealed on disk.
    #[serde(default)]
    pub encrypted: bool,
    /// Who may use it, as its owner wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// What only FIFO queues have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fifo {
    /// A message without deduplication id has the hash of its body.
    pub content_based_deduplication: bool,
    /// Deduplication ids count within their group, not in the whole queue.
    pub deduplicate_by_group: bool,
    /// The service's quota of calls is each group's, not the queue's. No such quota is enforced here.
    pub throughput_by_group: bool,
}

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// The dead-letter queue.
    pub target: Arn,
    /// Receives that a message may have. 1 to 1,000.
    pub max_receives: u32,
}

/// Which queues may name this one as their dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedriveAllow {
    /// All of the account and region, which is also the rule where none is set.
    All,
    /// None.
    None,
    /// These, at most ten.
    Queues(Vec<Arn>),
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            delay_s: 0,
            max_message_bytes: MAX_MESSAGE_BYTES,
            retention_s: 345_600,
            wait_s: 0,
            visibility_s: 30,
            fifo: None,
            redrive: None,
            redrive_allow: None,
            encrypted: false,
            policy: None,
        }
    }
}

impl Attributes {
    /// Messages are forgotten after this.
    pub fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_s.into())
    }

    /// Whether the queue of this ARN may send its dead letters here.
    pub fn admits(&self, source: &Arn) -> bool {
        match &self.redrive_allow {
            None | Some(RedriveAllow::All) => true,
            Some(RedriveAllow::None) => false,
            Some(RedriveAllow::Queues(queues)) => queues.contains(source),
        }
    }
}

/// A queue as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueInfo {
    /// Its name.
    pub name: QueueName,
    /// The number of its log: a queue of the same name made later has another.
    pub(super) stream: u32,
    /// When it was made.
    pub created: Timestamp,
    /// When its attributes were last changed.
    pub modified: Timestamp,
    /// Its attributes.
    pub attributes: Attributes,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

pub(super) fn key(scope: &Scope, name: &QueueName) -> Vec<u8> {
    stored::key(scope, &[name.as_str()])
}

/// The ARN of a queue.
pub fn queue_arn(scope: &Scope, name: &QueueName) -> Arn {
    Arn::new("sqs", scope, name.as_str())
}

/// The scope and name in a queue's ARN.
pub fn queue_of(arn: &Arn) -> Option<(Scope, QueueName)> {
    let name = Some(arn.resource()).filter(|_| arn.service() == "sqs")?;
    Some((arn.scope()?, name.parse().ok()?))
}

/// A queue as it is stored.
pub(crate) fn stored_queue(state: &dyn StateStore, arn: &Arn) -> Result<Option<QueueInfo>, FlowError> {
    let Some((scope, name)) = queue_of(arn) else { return Ok(None) };
    stored::get(state, TABLE, &key(&scope, &name))
}

/// All queues of all scopes.
pub(super) fn all(state: &dyn StateStore) -> Result<Vec<(Scope, QueueInfo)>, FlowError> {
    stored::list_scoped(state, TABLE)
}
