//! The groups of a queue's messages, and whose turn it is.
//!
//! Owns the order in which groups are served. FIFO: of the groups of which nothing is under way and whose oldest
//! message is visible, the one with the oldest. Standard: of the groups with visible messages, the one of which the
//! least is under way, so that one sender's backlog does not keep the others waiting ("Amazon SQS fair queues",
//! Developer Guide); messages without group are one that counts as never under way. Must not know messages' states.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base::Position;

/// A group, for as long as it has messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GroupNo(u32);

/// Messages without group.
const NONE: GroupNo = GroupNo(0);

#[derive(Debug, Default)]
struct Group {
    name: Option<Arc<str>>,
    /// FIFO: all. Standard: the visible ones.
    messages: BTreeSet<Position>,
    /// FIFO: those that are not visible.
    hidden: BTreeSet<Position>,
    /// How many there are in all.
    members: usize,
    in_flight: usize,
    /// Its place in the order of turns.
    rank: Option<(usize, Position)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Groups {
    fifo: bool,
    groups: HashMap<GroupNo, Group>,
    by_name: HashMap<Arc<str>, GroupNo>,
    turns: BTreeSet<(usize, Position, GroupNo)>,
    last: u32,
}

impl Groups {
    /// None yet.
    pub fn new(fifo: bool) -> Self {
        Self { fifo, groups: HashMap::new(), by_name: HashMap::new(), turns: BTreeSet::new(), last: NONE.0 }
    }

    pub fn is_fifo(&self) -> bool {
        self.fifo
    }

    /// Takes a message into its group, invisible.
    pub fn enter(&mut self, name: Option<&str>, message: Position) -> GroupNo {
        let no = match name {
            None => NONE,
            Some(name) => match self.by_name.get(name) {
                Some(no) => *no,
                None => {
                    self.last = self.last.checked_add(1).unwrap_or(1);
                    let (no, name) = (GroupNo(self.last), Arc::<str>::from(name));
                    self.by_name.insert(Arc::clone(&name), no);
                    self.groups.insert(no, Group { name: Some(name), ..Group::default() });
                    no
                }
            },
        };
        let group = self.groups.entry(no).or_default();
        group.members += 1;
        if self.fifo {
            group.messages.insert(message);
            group.hidden.insert(message);
        }
        no
    }

    /// A message of the group is under way.
    pub fn take(&mut self, no: GroupNo, message: Position) {
        let fifo = self.fifo;
        self.change(no, |group| {
            group.in_flight += 1;
            if !fifo {
                group.messages.remove(&message);
            }
        });
    }

    /// One is not under way any more.
    pub fn give_back(&mut self, no: GroupNo) {
        self.change(no, |group| group.in_flight -= 1);
    }

    /// A message is visible now, or is not.
    pub fn show(&mut self, no: GroupNo, message: Position, visible: bool) {
        let fifo = self.fifo;
        self.change(no, |group| {
            let (set, into) = if fifo { (&mut group.hidden, !visible) } else { (&mut group.messages, visible) };
            if into {
                set.insert(message);
            } else {
                set.remove(&message);
            }
        });
    }

    /// A message that was under way is gone.
    pub fn leave(&mut self, no: GroupNo, message: Position) {
        self.change(no, |group| {
            group.messages.remove(&message);
            group.hidden.remove(&message);
            group.members -= 1;
            group.in_flight -= 1;
        });
        if self.groups.get(&no).is_some_and(|group| group.members == 0)
            && let Some(name) = self.groups.remove(&no).and_then(|group| group.name)
        {
            self.by_name.remove(&name);
        }
    }

    /// Whose turn it is.
    pub fn next(&self) -> Option<GroupNo> {
        self.turns.first().map(|(_, _, no)| *no)
    }

    /// The messages that a group can give one after the other, oldest first.
    pub fn offer(&self, no: GroupNo) -> impl Iterator<Item = Position> {
        let group = self.groups.get(&no).into_iter();
        group.flat_map(|group| group.messages.iter().take_while(|m| !group.hidden.contains(m)).copied())
    }

    fn change(&mut self, no: GroupNo, change: impl FnOnce(&mut Group)) {
        let Some(group) = self.groups.get_mut(&no) else { return };
        change(group);
        let head_shown = group.messages.first().is_some_and(|oldest| !group.hidden.contains(oldest));
        let ready = !self.fifo || (group.in_flight == 0 && head_shown);
        // Messages without group wait for nobody.
        let weight = if self.fifo || no == NONE { 0 } else { group.in_flight };
        let rank = group.messages.first().filter(|_| ready).map(|oldest| (weight, *oldest));
        if rank == group.rank {
            return;
        }
        if let Some((weight, oldest)) = std::mem::replace(&mut group.rank, rank) {
            self.turns.remove(&(weight, oldest, no));
        }
        if let Some((weight, oldest)) = rank {
            self.turns.insert((weight, oldest, no));
        }
    }
}
