//! Everything that has a schedule, by when it is next due.
//!
//! Owns the order. Promises that what is due is found without looking at the rest, and that a clock that is set back is
//! noticed. Pure: it is told what the clock shows. Must not know what its keys name.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use base::Timestamp;

use super::handled::Next;
use super::{Handled, Timetable};

/// Instants of one schedule that are taken at once.
const AT_ONCE: usize = 100;

struct Entry {
    table: Timetable,
    handled: Handled,
    next: Option<Timestamp>,
}

/// The instants of one key that are due.
#[derive(Debug)]
pub(crate) struct Due<K> {
    pub key: K,
    /// In order; none when all that was due passed too long ago.
    pub instants: Vec<Timestamp>,
    /// What was dealt with before.
    pub before: Handled,
    /// What is dealt with when these are.
    pub handled: Handled,
    /// Parts of time whose instants are not made up for.
    pub skipped: Vec<(Timestamp, Timestamp)>,
}

/// The order of things to come.
pub(crate) struct Agenda<K> {
    entries: HashMap<K, Entry>,
    by_time: BTreeSet<(Timestamp, K)>,
    /// What the clock showed last.
    seen: Timestamp,
}

impl<K: Clone + Ord + Hash> Agenda<K> {
    pub fn new(now: Timestamp) -> Self {
        Self { entries: HashMap::new(), by_time: BTreeSet::new(), seen: now }
    }

    /// Adds a schedule, or replaces it. Answers when it is next due.
    pub fn put(&mut self, key: K, table: Timetable, handled: Handled) -> Option<Timestamp> {
        self.remove(&key);
        let next = handled.next(&table, self.seen).map(|next| next.at);
        self.by_time.extend(next.map(|at| (at, key.clone())));
        self.entries.insert(key, Entry { table, handled, next });
        next
    }

    pub fn remove(&mut self, key: &K) {
        if let Some(Entry { next: Some(at), .. }) = self.entries.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    /// Lets a schedule that is due wait until then, behind the others that are due.
    pub fn put_off(&mut self, key: &K, until: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key)
            && let Some(before) = entry.next.replace(until)
        {
            self.by_time.remove(&(before, key.clone()));
            self.by_time.insert((until, key.clone()));
        }
    }

    /// Notices what the clock shows. When it was set back, everything is ordered anew.
    pub fn look(&mut self, now: Timestamp) {
        let before = std::mem::replace(&mut self.seen, now);
        if now >= before {
            return;
        }
        self.by_time.clear();
        for (key, entry) in &mut self.entries {
            entry.next = entry.handled.next(&entry.table, now).map(|next| next.at);
            self.by_time.extend(entry.next.map(|at| (at, key.clone())));
        }
    }

    /// When there is something to do, the earliest instant.
    pub fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// What is due as the clock was seen last, at most `limit` keys. They stay due until they are put again.
    pub fn due(&self, limit: usize) -> Vec<Due<K>> {
        let due = self.by_time.iter().take_while(|(at, _)| *at <= self.seen).take(limit);
        due.filter_map(|(_, key)| self.instants(key)).collect()
    }

    fn instants(&self, key: &K) -> Option<Due<K>> {
        let entry = self.entries.get(key)?;
        let (before, handled) = (entry.handled.clone(), entry.handled.clone());
        let mut due = Due { key: key.clone(), instants: Vec::new(), before, handled, skipped: Vec::new() };
        while let Some(next @ Next { at, skipped }) = due.handled.next(&entry.table, self.seen) {
            if at > self.seen || due.instants.len() == AT_ONCE {
                break;
            }
            due.handled.done(&next);
            due.instants.push(at);
            due.skipped.extend(skipped);
        }
        Some(due)
    }
}
