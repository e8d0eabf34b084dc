//! Receives of a FIFO queue that can be repeated: the same attempt id within five minutes gets the same messages.
//!
//! Promises that it never holds more than a bound, forgetting the oldest. Kept in memory only: after a restart an
//! attempt is a new one, and what an earlier one took becomes visible when its time is up. Must not know messages.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base::Timestamp;

use super::handle::Receipt;

/// "ReceiveMessage", SQS API Reference.
const INTERVAL: Duration = Duration::from_secs(300);
const MOST: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    known: HashMap<String, Vec<Receipt>>,
    order: VecDeque<(Timestamp, String)>,
}

impl Attempts {
    /// What this attempt got before.
    pub fn before(&mut self, id: &str, now: Timestamp) -> Option<Vec<Receipt>> {
        self.forget(now);
        self.known.get(id).cloned()
    }

    /// What this attempt gets now.
    pub fn note(&mut self, id: &str, receipts: Vec<Receipt>, now: Timestamp) {
        self.forget(now);
        if self.known.insert(id.to_owned(), receipts).is_none() {
            self.order.push_back((now, id.to_owned()));
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= INTERVAL || self.order.len() >= MOST) {
            if let Some((_, id)) = self.order.pop_front() {
                self.known.remove(&id);
            }
        }
    }
}
