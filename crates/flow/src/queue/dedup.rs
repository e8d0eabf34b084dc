//! What a FIFO queue was sent in the last five minutes, so that a repeated message is taken once.
//!
//! Promises that of those with one deduplication id (in the queue, or in the group, as its scope says) within five
//! minutes the first is taken and the others are answered as it was, deleted or not, and after a restart, too. Must not
//! know how ids come about.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base::{Position, Timestamp};

use crate::producer::producer_id;

/// "Using the message deduplication ID in Amazon SQS", Developer Guide.
const INTERVAL: Duration = Duration::from_secs(300);

/// About what an id takes here.
const ID_BYTES: usize = 200;

/// A deduplication id in its scope, by its hash.
pub(crate) type Key = u128;

/// The key of an id, within a group if that is its scope.
pub(crate) fn key(group: Option<&str>, id: &str) -> Key {
    let scope: &[u8] = if group.is_some() { b"group" } else { b"queue" };
    producer_id(&[b"dedup", scope, group.unwrap_or_default().as_bytes(), id.as_bytes()]).0
}

/// What became of the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum First {
    /// It is on its way to the disk.
    Underway,
    /// It is there: its id, and its place.
    Taken(String, Position),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    known: HashMap<Key, (Timestamp, First)>,
    order: VecDeque<(Timestamp, Key, Position)>,
}

impl Dedup {
    /// What is known of a key.
    pub fn first(&mut self, key: Key, now: Timestamp) -> Option<First> {
        self.forget(now);
        self.known.get(&key).map(|(_, first)| first.clone())
    }

    /// One is on its way to the disk.
    pub fn underway(&mut self, key: Key, now: Timestamp) {
        self.known.insert(key, (now, First::Underway));
    }

    /// One is there since `at`.
    pub fn taken(&mut self, key: Key, id: String, message: Position, at: Timestamp) {
        self.known.insert(key, (at, First::Taken(id, message)));
        self.order.push_back((at, key, message));
    }

    /// One that was on its way is not there after all.
    pub fn abandon(&mut self, key: Key) {
        if self.known.get(&key).is_some_and(|(_, first)| *first == First::Underway) {
            self.known.remove(&key);
        }
    }

    /// Bytes of memory that it takes, roughly.
    pub fn weight(&self) -> usize {
        self.order.len().max(self.known.len()) * ID_BYTES
    }

    /// The oldest message that has to be known.
    pub fn oldest(&mut self, now: Timestamp) -> Option<Position> {
        self.forget(now);
        self.order.front().map(|(_, _, message)| *message)
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, key, _)) = self.order.front().copied().filter(|(at, _, _)| now.since(*at) >= INTERVAL) {
            self.order.pop_front();
            // A later one may have the key by now.
            if self.known.get(&key).is_some_and(|(since, _)| *since == at) {
                self.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_five_minutes() {
        let (mut dedup, start) = (Dedup::default(), Timestamp::from_millis(1_000_000));
        let (one, other) = (key(None, "a"), key(Some("g"), "a"));
        assert_ne!(one, other);
        dedup.underway(one, start);
        assert_eq!(dedup.first(one, start), Some(First::Underway));
        dedup.taken(one, "id".into(), Position::new(7), start);
        let last = start + INTERVAL - Duration::from_millis(1);
        assert_eq!(dedup.first(one, last), Some(First::Taken("id".into(), Position::new(7))));
        assert_eq!(dedup.oldest(last), Some(Position::new(7)));
        assert_eq!(dedup.first(other, last), None);
        assert_eq!(dedup.first(one, start + INTERVAL), None);
        assert_eq!(dedup.oldest(start + INTERVAL), None);
    }
}
