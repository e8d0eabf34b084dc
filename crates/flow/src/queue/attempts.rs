//! Receives of a FIFO queue that can be repeated: the same attempt id within five minutes gets the same messages.
//!
//! Promises that it never holds more than a bound, forgetting the oldest, and that an attempt is forgotten once somebody
//! deleted one of its messages or changed its visibility. Kept in memory only: after a restart an attempt is a new one,
//! and what an earlier one took becomes visible when its time is up. Must not know messages.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base::{Position, Timestamp};

use super::handle::Receipt;
use crate::producer::producer_id;

/// "ReceiveMessage", SQS API Reference.
const INTERVAL: Duration = Duration::from_secs(300);
const MOST: usize = 10_000;

/// An attempt's id, by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AttemptKey(u128);

impl AttemptKey {
    pub fn of(id: &str) -> Self {
        Self(producer_id(&[b"attempt", id.as_bytes()]).0)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    known: HashMap<AttemptKey, (Timestamp, Vec<Receipt>)>,
    order: VecDeque<(Timestamp, AttemptKey)>,
    /// By message, the attempt that got it last.
    of: HashMap<Position, AttemptKey>,
}

impl Attempts {
    /// What this attempt got before.
    pub fn before(&mut self, id: AttemptKey, now: Timestamp) -> Option<Vec<Receipt>> {
        self.forget(now);
        self.known.get(&id).map(|(_, receipts)| receipts.clone())
    }

    /// What this attempt gets now.
    pub fn note(&mut self, id: AttemptKey, receipts: Vec<Receipt>, now: Timestamp) {
        self.forget(now);
        self.remove(id);
        self.of.extend(receipts.iter().map(|receipt| (receipt.message, id)));
        self.known.insert(id, (now, receipts));
        self.order.push_back((now, id));
    }

    /// A message was deleted, or its visibility changed.
    pub fn changed(&mut self, message: Position) {
        if let Some(id) = self.of.get(&message).copied() {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: AttemptKey) {
        for receipt in self.known.remove(&id).into_iter().flat_map(|(_, receipts)| receipts) {
            if self.of.get(&receipt.message) == Some(&id) {
                self.of.remove(&receipt.message);
            }
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= INTERVAL || self.order.len() >= MOST) {
            let Some((at, id)) = self.order.pop_front() else { return };
            // It may have been noted again since.
            if self.known.get(&id).is_some_and(|(since, _)| *since == at) {
                self.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_forgotten_in_time_and_with_a_change() {
        let (mut attempts, start) = (Attempts::default(), Timestamp::from_millis(0));
        let receipt = |message| Receipt { message: Position::new(message), receives: 1 };
        let (one, other) = (AttemptKey::of("one"), AttemptKey::of("other"));
        attempts.note(one, vec![receipt(1), receipt(2)], start);
        attempts.note(other, vec![receipt(3)], start + Duration::from_secs(1));
        assert_eq!(attempts.before(one, start), Some(vec![receipt(1), receipt(2)]));
        attempts.changed(Position::new(2));
        assert_eq!((attempts.before(one, start), attempts.before(other, start)), (None, Some(vec![receipt(3)])));
        assert_eq!(attempts.before(other, start + INTERVAL + Duration::from_secs(1)), None);
        assert!(attempts.of.is_empty() && attempts.order.is_empty());
    }
}
