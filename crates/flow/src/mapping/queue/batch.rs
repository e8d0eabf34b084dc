//! Messages on their way to one call: which they are, and how long they are ours.

use std::collections::BTreeSet;

use base::Timestamp;

use super::event;
use crate::queue::{Handed, Received, Settled};

/// See the module.
#[derive(Debug)]
pub(super) struct Batch {
    pub messages: Vec<Received>,
    /// Of the payload, if all of them are in it.
    pub bytes: usize,
    /// The first of them becomes visible then, by the time of the queues.
    pub until: Timestamp,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { messages: Vec::new(), bytes: event::FRAME, until: Timestamp::from_millis(i64::MAX) }
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes in what was received, which weighs so much.
    pub fn take(&mut self, handed: Handed, bytes: usize) {
        if !handed.received.is_empty() {
            self.until = self.until.min(handed.until);
            self.bytes += bytes;
            self.messages.extend(handed.received);
        }
    }

    pub fn handles(&self) -> Vec<String> {
        self.messages.iter().map(|message| message.handle.clone()).collect()
    }

    /// They are ours until then, but for those that somebody else has or had; how many these are.
    pub fn kept(&mut self, until: Timestamp, settled: &[Settled]) -> usize {
        let before = self.messages.len();
        let mut answers = settled.iter();
        self.messages.retain(|_| answers.next() == Some(&Settled::Done));
        self.until = until;
        before - self.messages.len()
    }

    /// Takes out the messages that are not wanted, and answers them.
    pub fn without(&mut self, wanted: impl FnMut(&Received) -> bool) -> Vec<Received> {
        let (wanted, others) = std::mem::take(&mut self.messages).into_iter().partition(wanted);
        self.messages = wanted;
        others
    }

    /// The handles of all messages but those of these ids.
    pub fn handles_but(&self, failed: &BTreeSet<&str>) -> Vec<String> {
        let done = self.messages.iter().filter(|one| !failed.contains(one.message.head.id.as_str()));
        done.map(|one| one.handle.clone()).collect()
    }
}
