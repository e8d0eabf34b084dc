//! Queues: messages that wait until somebody deals with them.
//!
//! Owns each queue's configuration, its log, and what is known of its messages. Promises:
//!
//! - A message that was acknowledged is handed out until it is deleted, expires or becomes a dead letter, whatever
//!   crashes. A delete that was acknowledged is one for ever.
//! - A receive is durable before it is answered: after a crash the message stays invisible until its time is up, and its
//!   count goes on. (A receive whose answer was lost counts all the same.)
//! - A FIFO queue hands out a group's messages in the order in which they came, one receive at a time, and takes one of
//!   those with the same deduplication id within five minutes.
//! - A dead letter moves in one append that takes it from one log and puts it into the other.
//! - Memory holds some 150 bytes a message, 350 and its name a group, 200 a deduplication id of the last five minutes,
//!   and never a body; over all queues no more than a bound, beyond which sends are throttled.
//!
//! A queue's log has one shard with two kinds of records: [messages](message) and [changes](change). The
//! [shelf](shelf) is what they amount to; the [keeper](keeper) keeps it, and lets the log delete what nobody needs.
//!
//! A known limit: a message that nobody deletes keeps the floor, and so every segment of the journal since, of all shards,
//! until its retention ends (fourteen days at the most); and a start reads the queue's records since, some 300,000
//! messages a second, two queues at a time. Calls of a queue that is being read wait three seconds and are then told to
//! try again. A short retention, and a dead-letter queue that somebody empties, are the remedy.
//!
//! A deleted queue is gone when that is answered, so its name is free at once, and so is a purged queue empty.
//! Must not know protocols, nor who may send or receive.

mod attempts;
mod change;
mod config;
pub(crate) mod dedup;
pub mod digest;
mod groups;
mod handle;
mod keeper;
mod live;
mod memory;
mod message;
mod moves;
mod receive;
mod received;
mod registry;
mod room;
mod send;
mod settle;
mod shelf;
#[cfg(test)]
mod shelf_tests;
mod target;

pub(crate) use config::stored_queue;
pub use config::{
    Attributes as QueueAttributes, Fifo, MAX_MESSAGE_BYTES, QueueInfo, Redrive, RedriveAllow, queue_arn, queue_of,
};
pub use message::{Attribute, Head, Message, is_number, is_text};
pub use moves::{MoveStatus, MoveTask};
pub(crate) use receive::Handed;
pub use receive::Receive;
pub use received::{Received, SYSTEM_ATTRIBUTES, sequence_number};
pub use room::{Created, Queues};
pub use send::Sent;
pub use settle::Settled;
pub use shelf::Counts;
pub use target::QueueTarget;

use registry::Registry;
