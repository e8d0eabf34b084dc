//! A message as it is handed out, and the facts that its consumer is told about it.
//!
//! Owns the names and the form of these facts ("ReceiveMessage", SQS API Reference). Must not know who asks for them.

use base::{Position, Timestamp};

use super::message::Message;

/// A message as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// What deletes it.
    pub handle: String,
    /// Its place in the order of the queue.
    pub sequence: Position,
    /// When it was sent.
    pub sent: Timestamp,
    /// How often it was received, this time included.
    pub receives: u32,
    /// When it was received for the first time.
    pub first_received: Timestamp,
}

/// The names of all facts about a message.
pub const SYSTEM_ATTRIBUTES: [&str; 9] = [
    "ApproximateReceiveCount",
    "SentTimestamp",
    "SequenceNumber",
    "MessageGroupId",
    "SenderId",
    "MessageDeduplicationId",
    "ApproximateFirstReceiveTimestamp",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
];

/// A message's place in its queue, as FIFO queues show it.
pub fn sequence_number(sequence: Position) -> String {
    format!("{:020}", sequence.get())
}

impl Received {
    /// What there is to tell about the message, of a FIFO queue or of another.
    pub fn system_attributes(&self, fifo: bool) -> impl Iterator<Item = (&'static str, String)> {
        let head = &self.message.head;
        let value = move |name: &str| match name {
            "SenderId" => Some(head.sender.clone()),
            "SentTimestamp" => Some(self.sent.millis().to_string()),
            "ApproximateReceiveCount" => Some(self.receives.to_string()),
            "ApproximateFirstReceiveTimestamp" => Some(self.first_received.millis().to_string()),
            "SequenceNumber" => fifo.then(|| sequence_number(self.sequence)),
            "MessageDeduplicationId" => head.dedup.clone(),
            "MessageGroupId" => head.group.clone(),
            "AWSTraceHeader" => head.trace.clone(),
            "DeadLetterQueueSourceArn" => head.source.as_ref().map(ToString::to_string),
            _ => None,
        };
        SYSTEM_ATTRIBUTES.into_iter().filter_map(move |name| Some((name, value(name)?)))
    }
}
