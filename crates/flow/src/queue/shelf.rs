//! Which messages a queue has, and which of them may be handed out: the queue's state, in memory, without bodies.
//!
//! Owns visibility, delays, the order within groups, and expiry, as pure steps: time is handed in, nothing waits.
//! Promises: a message that is handed out is not handed out again before its time is up; of a FIFO queue's group
//! nothing is handed out while something of it is under way, and what is, is its oldest, in order; what was deleted is
//! not handed out; the same changes in the same order make the same shelf, while the queue runs and when it is read back.
//! Must not know bodies, receipts or the disk.
//!
//! A message takes some 150 bytes here, whatever its size, and a group as much as [its module](super::groups) says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::{Position, Timestamp};

use super::change::Change;
use super::groups::{GroupNo, Groups};

/// A message as it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When it was sent.
    pub sent: Timestamp,
    /// It is kept back until then.
    pub until: Option<Timestamp>,
    /// Its group, if any.
    pub group: Option<String>,
    /// How often it was received elsewhere before.
    pub receives: u32,
    /// When that was for the first time.
    pub first_received: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Visible,
    /// Not handed out yet, and not before then.
    Delayed(Timestamp),
    /// Handed out; invisible until then.
    Held(Timestamp),
    /// Being handed out, in this turn: not durable yet.
    Taken(u64),
    /// Being deleted: not durable yet.
    Leaving,
}

#[derive(Debug)]
struct Entry {
    sent: Timestamp,
    group: GroupNo,
    receives: u32,
    first_received: Option<Timestamp>,
    /// The last time.
    received: Timestamp,
    state: State,
}

/// A message that is being handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub message: Position,
    pub sent: Timestamp,
    /// Receives so far, without this one.
    pub receives: u32,
    pub first_received: Option<Timestamp>,
    /// Tells those who took it from others who take it later.
    turn: u64,
}

/// What holds of the message that a receipt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    /// It is not there any more.
    Gone,
    /// It was received again since.
    Newer,
    /// It is visible again, and nobody received it since.
    Over,
    /// The receipt's holder has it.
    Held,
}

/// How many messages there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// That can be received.
    pub visible: usize,
    /// Handed out and not deleted.
    pub in_flight: usize,
    /// Kept back after their arrival.
    pub delayed: usize,
}

/// About what a message takes here, with its place in its group.
const MESSAGE_BYTES: usize = 150;

/// See the module.
#[derive(Debug)]
pub(super) struct Shelf {
    entries: BTreeMap<Position, Entry>,
    due: BTreeSet<(Timestamp, Position)>,
    groups: Groups,
    in_flight: usize,
    delayed: usize,
    /// How often messages were taken.
    turns: u64,
}

impl Shelf {
    /// Nothing yet.
    pub fn new(fifo: bool) -> Self {
        let (entries, due, groups) = (BTreeMap::new(), BTreeSet::new(), Groups::new(fifo));
        Self { entries, due, groups, in_flight: 0, delayed: 0, turns: 0 }
    }

    /// Takes a message in.
    pub fn arrive(&mut self, message: Position, arrival: Arrival) {
        let group = self.groups.enter(arrival.group.as_deref(), message);
        let state = arrival.until.map_or(State::Visible, State::Delayed);
        let Arrival { sent, receives, first_received, .. } = arrival;
        self.put(message, Entry { sent, group, receives, first_received, received: sent, state });
    }

    /// Puts in a message that is in its group.
    fn put(&mut self, message: Position, entry: Entry) {
        let (state, group) = (entry.state, entry.group);
        // As one that is under way, it is in no other place.
        self.entries.insert(message, Entry { state: State::Leaving, ..entry });
        self.in_flight += 1;
        self.groups.take(group, message);
        self.set(message, state);
    }

    /// Applies a change that is durable, whose record is at `at`.
    pub fn apply(&mut self, change: Change, at: Position) {
        match change {
            Change::Received { message, receives, at, until } => {
                let Some(entry) = self.entries.get_mut(&message) else { return };
                (entry.receives, entry.received) = (receives, at);
                entry.first_received.get_or_insert(at);
                if entry.state != State::Leaving {
                    self.set(message, State::Held(until));
                }
            }
            Change::Deferred { message, receives, until } => {
                let holds = |entry: &Entry| entry.receives == receives && matches!(entry.state, State::Held(_));
                if self.entries.get(&message).is_some_and(holds) {
                    self.set(message, State::Held(until));
                }
            }
            Change::Deleted { message } => self.remove(message),
            Change::Purged => drop(self.purge(at)),
        }
    }

    /// Forgets all that came before `at`. Answers it for dropping, and for nothing else: millions take time that nobody
    /// should wait for.
    pub fn purge(&mut self, at: Position) -> Self {
        let mut purged = std::mem::replace(self, Self::new(self.groups.is_fifo()));
        self.turns = purged.turns;
        // Few, if any: what other queues sent since.
        let kept: Vec<_> = purged.entries.range(at..).map(|(message, _)| *message).collect();
        for message in kept {
            if let Some(mut entry) = purged.entries.remove(&message) {
                entry.group = self.groups.enter(purged.groups.name(entry.group), message);
                self.put(message, entry);
            }
        }
        purged
    }

    /// Makes visible what is due; how many.
    pub fn wake(&mut self, now: Timestamp) -> usize {
        let mut woken = 0;
        while let Some((until, message)) = self.due.first().copied().filter(|(until, _)| *until <= now) {
            self.due.remove(&(until, message));
            self.set(message, State::Visible);
            woken += 1;
        }
        woken
    }

    /// When something becomes visible by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Whether something can be handed out.
    pub fn has_visible(&self) -> bool {
        self.groups.next().is_some()
    }

    /// Takes up to `max` messages to hand out. They come back by [`Shelf::put_back`] or a received change.
    pub fn take(&mut self, max: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        self.turns += 1;
        let turn = self.turns;
        while taken.len() < max {
            let Some(group) = self.groups.next() else { break };
            // Of a standard queue's group one by one: its turn may be over with each.
            let most = if self.groups.is_fifo() { max - taken.len() } else { 1 };
            let messages: Vec<_> = self.groups.offer(group).take(most).collect();
            for message in messages {
                self.set(message, State::Taken(turn));
                if let Some(entry) = self.entries.get(&message) {
                    let Entry { sent, receives, first_received, .. } = *entry;
                    taken.push(Taken { message, sent, receives, first_received, turn });
                }
            }
        }
        taken
    }

    /// Whether a message is still with those who took it: nobody deleted it meanwhile.
    pub fn is_taken(&self, taken: &Taken) -> bool {
        self.entries.get(&taken.message).is_some_and(|entry| entry.state == State::Taken(taken.turn))
    }

    /// Hands nothing out after all.
    pub fn put_back(&mut self, taken: &Taken) {
        if self.is_taken(taken) {
            self.set(taken.message, State::Visible);
        }
    }

    /// A message that was handed out or given away is neither, for the change was refused.
    pub fn take_back(&mut self, message: Position) {
        let under_way = |entry: &Entry| matches!(entry.state, State::Taken(_) | State::Leaving);
        if self.entries.get(&message).is_some_and(under_way) {
            self.set(message, State::Visible);
        }
    }

    /// What holds of the message of a receipt.
    pub fn holding(&self, message: Position, receives: u32) -> Holding {
        match self.entries.get(&message) {
            None => Holding::Gone,
            Some(entry) if entry.receives != receives => Holding::Newer,
            Some(entry) => match entry.state {
                State::Held(_) | State::Leaving => Holding::Held,
                State::Visible | State::Delayed(_) => Holding::Over,
                // Somebody else is about to have it.
                State::Taken(_) => Holding::Newer,
            },
        }
    }

    /// When a message was last received, and since when at all.
    pub fn received(&self, message: Position) -> Option<(Timestamp, Option<Timestamp>)> {
        self.entries.get(&message).map(|entry| (entry.received, entry.first_received))
    }

    /// When a message was sent.
    pub fn sent(&self, message: Position) -> Option<Timestamp> {
        self.entries.get(&message).map(|entry| entry.sent)
    }

    /// Hands a message out no more: it is being deleted.
    pub fn leave(&mut self, message: Position) {
        if self.entries.contains_key(&message) {
            self.set(message, State::Leaving);
        }
    }

    /// Forgets a message.
    pub fn remove(&mut self, message: Position) {
        if self.entries.contains_key(&message) {
            self.set(message, State::Leaving);
            self.in_flight -= 1;
            if let Some(entry) = self.entries.remove(&message) {
                self.groups.leave(entry.group, message);
            }
        }
    }

    /// Forgets of the next `most` messages from `from` on those that were sent longer than `retention` ago, but for
    /// those that are on their way. How many, and where to go on unless that was the end.
    pub fn expire(
        &mut self,
        now: Timestamp,
        retention: Duration,
        from: Position,
        most: usize,
    ) -> (usize, Option<Position>) {
        let mut looked_at = self.entries.range(from..);
        let old: Vec<_> = looked_at
            .by_ref()
            .take(most)
            .filter(|(_, entry)| is_old(entry, now, retention))
            .map(|(message, _)| *message)
            .collect();
        let next = looked_at.next().map(|(message, _)| *message);
        old.iter().for_each(|message| self.remove(*message));
        (old.len(), next)
    }

    /// The same, only as far as the first ones are too old.
    pub fn expire_first(&mut self, now: Timestamp, retention: Duration, most: usize) -> usize {
        let first = self.entries.iter().take(most).take_while(|(_, entry)| is_old(entry, now, retention));
        let old: Vec<_> = first.map(|(message, _)| *message).collect();
        old.iter().for_each(|message| self.remove(*message));
        old.len()
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        let visible = self.entries.len() - self.in_flight - self.delayed;
        Counts { visible, in_flight: self.in_flight, delayed: self.delayed }
    }

    /// Bytes of memory that it takes, roughly.
    pub fn weight(&self) -> usize {
        self.entries.len() * MESSAGE_BYTES + self.groups.weight()
    }

    /// How many entries it takes memory for.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The oldest message.
    pub fn first(&self) -> Option<Position> {
        self.entries.keys().next().copied()
    }

    /// The one place where a message's state changes: counts, times and groups follow it.
    fn set(&mut self, message: Position, state: State) {
        let Some(entry) = self.entries.get_mut(&message) else { return };
        let before = std::mem::replace(&mut entry.state, state);
        let group = entry.group;
        if let State::Delayed(until) | State::Held(until) = before {
            self.due.remove(&(until, message));
        }
        if let State::Delayed(until) | State::Held(until) = state {
            self.due.insert((until, message));
        }
        let in_flight = |state| matches!(state, State::Held(_) | State::Taken(_) | State::Leaving);
        let delayed = |state| matches!(state, State::Delayed(_));
        self.in_flight = self.in_flight + usize::from(in_flight(state)) - usize::from(in_flight(before));
        self.delayed = self.delayed + usize::from(delayed(state)) - usize::from(delayed(before));
        match (in_flight(before), in_flight(state)) {
            (false, true) => self.groups.take(group, message),
            (true, false) => self.groups.give_back(group),
            _ => {}
        }
        self.groups.show(group, message, state == State::Visible);
    }
}

fn is_old(entry: &Entry, now: Timestamp, retention: Duration) -> bool {
    now.since(entry.sent) > retention && !matches!(entry.state, State::Taken(_) | State::Leaving)
}
