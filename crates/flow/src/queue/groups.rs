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

/// What a group takes besides its messages and its name: an estimate.
const GROUP_BYTES: usize = 350;

/// Messages without group.
const NONE: GroupNo = GroupNo(0);

/// Messages in their order. Most groups have one, which needs no set.
#[derive(Debug, Default)]
enum Members {
    #[default]
    None,
    One(Position),
    Many(BTreeSet<Position>),
}

impl Members {
    fn insert(&mut self, message: Position) {
        match self {
            Self::None => *self = Self::One(message),
            Self::One(only) if *only == message => {}
            Self::One(only) => *self = Self::Many([*only, message].into()),
            Self::Many(all) => _ = all.insert(message),
        }
    }

    fn remove(&mut self, message: Position) {
        let none_left = match self {
            Self::None => false,
            Self::One(only) => *only == message,
            Self::Many(all) => all.remove(&message) && all.is_empty(),
        };
        if none_left {
            *self = Self::None;
        }
    }

    fn contains(&self, message: Position) -> bool {
        match self {
            Self::None => false,
            Self::One(only) => *only == message,
            Self::Many(all) => all.contains(&message),
        }
    }

    fn first(&self) -> Option<Position> {
        self.iter().next()
    }

    fn iter(&self) -> impl Iterator<Item = Position> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(only) => (Some(*only), None),
            Self::Many(all) => (None, Some(all)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|all| all.iter().copied()))
    }
}

#[derive(Debug, Default)]
struct Group {
    name: Option<Arc<str>>,
    /// FIFO: all. Standard: the visible ones.
    messages: Members,
    /// FIFO: those that are not visible.
    hidden: Members,
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
    /// Of all names.
    name_bytes: usize,
}

impl Groups {
    /// None yet.
    pub fn new(fifo: bool) -> Self {
        let (groups, by_name, turns) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        Self { fifo, groups, by_name, turns, last: NONE.0, name_bytes: 0 }
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
                    let (no, name) = (self.unused(), Arc::<str>::from(name));
                    self.name_bytes += name.len();
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

    /// Bytes of memory that the groups take, roughly.
    pub fn weight(&self) -> usize {
        self.by_name.len() * GROUP_BYTES + self.name_bytes
    }

    /// A number that no group has. Numbers begin anew after four thousand million groups, and one may be that old.
    fn unused(&mut self) -> GroupNo {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(NONE.0 + 1);
            let no = GroupNo(self.last);
            if !self.groups.contains_key(&no) {
                return no;
            }
        }
    }

    /// A group's name, unless it is that of messages without group.
    pub fn name(&self, no: GroupNo) -> Option<&str> {
        self.groups.get(&no).and_then(|group| group.name.as_deref())
    }

    /// A message of the group is under way.
    pub fn take(&mut self, no: GroupNo, message: Position) {
        let fifo = self.fifo;
        self.change(no, |group| {
            group.in_flight += 1;
            if !fifo {
                group.messages.remove(message);
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
                set.remove(message);
            }
        });
    }

    /// A message that was under way is gone.
    pub fn leave(&mut self, no: GroupNo, message: Position) {
        self.change(no, |group| {
            group.messages.remove(message);
            group.hidden.remove(message);
            group.members -= 1;
            group.in_flight -= 1;
        });
        if self.groups.get(&no).is_some_and(|group| group.members == 0)
            && let Some(name) = self.groups.remove(&no).and_then(|group| group.name)
        {
            self.name_bytes -= name.len();
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
        group.flat_map(|group| group.messages.iter().take_while(|m| !group.hidden.contains(*m)))
    }

    fn change(&mut self, no: GroupNo, change: impl FnOnce(&mut Group)) {
        let Some(group) = self.groups.get_mut(&no) else { return };
        change(group);
        let head_shown = group.messages.first().is_some_and(|oldest| !group.hidden.contains(oldest));
        let ready = !self.fifo || (group.in_flight == 0 && head_shown);
        // Messages without group wait for nobody.
        let weight = if self.fifo || no == NONE { 0 } else { group.in_flight };
        let rank = group.messages.first().filter(|_| ready).map(|oldest| (weight, oldest));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_a_set() {
        let (mut members, mut set) = (Members::default(), BTreeSet::new());
        for (message, comes) in
            [(3, true), (3, true), (1, true), (2, true), (1, false), (9, false), (2, false), (3, false)]
        {
            let message = Position::new(message);
            if comes {
                members.insert(message);
                set.insert(message);
            } else {
                members.remove(message);
                set.remove(&message);
            }
            assert_eq!(members.iter().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            assert!((0..10).map(Position::new).all(|any| members.contains(any) == set.contains(&any)));
            assert_eq!(members.first(), set.first().copied());
        }
    }

    #[test]
    fn a_group_keeps_its_number_when_numbers_begin_anew() {
        let mut groups = Groups::new(true);
        let old = groups.enter(Some("old"), Position::new(1));
        groups.last = u32::MAX;
        let new = groups.enter(Some("new"), Position::new(2));
        assert_ne!(old, new);
        assert_eq!((groups.name(old), groups.name(new)), (Some("old"), Some("new")));
    }
}
