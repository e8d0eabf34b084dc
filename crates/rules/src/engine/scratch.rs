//! What one thread notes while it matches one event.
//!
//! Nothing is cleared between events: a note counts only when it has the number of the event, or of the value, that is
//! at hand.

use super::index::{Hit, Sink};
use super::tables::Tables;
use crate::fields::Membership;

/// Room for matching, used again for event after event and by any engine. One thread, one scratch.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) marks: Marks,
    seen: Vec<Seen>,
    /// The paths that have values.
    pub(super) touched: Vec<u32>,
    rules: Vec<u64>,
    /// The rules that match.
    pub(super) matched: Vec<u32>,
    /// Every value that was read, in the order of the event.
    pub(super) values: Vec<Read>,
    /// The elements of arrays that were entered.
    elements: Vec<Element>,
    /// The element under way, one more than its place in the list; 0 outside of all.
    element: u32,
    /// A string without its escapes.
    pub(super) text: Vec<u8>,
}

/// Which kind of value was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text { escaped: bool },
    Number,
    Literal,
}

/// A value that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub path: u32,
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
    /// The element that it is in.
    pub element: u32,
}

/// An element of an array, and the one around it.
#[derive(Debug, Clone, Copy)]
struct Element {
    array: u32,
    index: u32,
    outer: u32,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    event: u64,
    values: u32,
    in_elements: bool,
}

/// What lookups found.
#[derive(Debug, Default)]
pub(super) struct Marks {
    event: u64,
    value: u64,
    conditions: Vec<u64>,
    /// The conditions that are satisfied.
    pub hits: Vec<u32>,
    excluded: Vec<Excluded>,
    asked: Vec<u64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Excluded {
    event: u64,
    count: u32,
    last: u64,
}

impl Marks {
    pub fn is_satisfied(&self, condition: u32) -> bool {
        self.conditions[condition as usize] == self.event
    }

    /// How many values this `anything-but` excluded.
    pub fn excluded(&self, excluder: u32) -> u32 {
        let excluded = self.excluded[excluder as usize];
        if excluded.event == self.event { excluded.count } else { 0 }
    }
}

impl Sink for Marks {
    #[inline]
    fn is_news(&self, hit: Hit) -> bool {
        match hit {
            Hit::Condition(id) => self.conditions[id as usize] != self.event,
            Hit::Excluded(id) => self.excluded[id as usize].last != self.value,
            Hit::Check(_) => true,
        }
    }

    #[inline]
    fn hit(&mut self, hit: Hit) {
        match hit {
            Hit::Condition(id) if self.conditions[id as usize] != self.event => {
                self.conditions[id as usize] = self.event;
                self.hits.push(id);
            }
            Hit::Excluded(id) if self.excluded[id as usize].last != self.value => {
                let excluded = &mut self.excluded[id as usize];
                let before = if excluded.event == self.event { excluded.count } else { 0 };
                *excluded = Excluded { event: self.event, count: before + 1, last: self.value };
            }
            _ => {}
        }
    }

    #[inline]
    fn first_ask(&mut self, check: u32) -> bool {
        std::mem::replace(&mut self.asked[check as usize], self.value) != self.value
    }
}

impl Scratch {
    /// Makes ready for the next event.
    pub(super) fn begin(&mut self, tables: &Tables, rules: usize) {
        fn room<T: Default + Clone>(list: &mut Vec<T>, length: usize) {
            if list.len() < length {
                list.resize(length.next_power_of_two(), T::default());
            }
        }
        self.marks.event += 1;
        room(&mut self.marks.conditions, tables.conditions.bound());
        room(&mut self.marks.excluded, tables.excluders.bound());
        room(&mut self.marks.asked, tables.checks.bound());
        room(&mut self.seen, tables.states.bound());
        room(&mut self.rules, rules);
        self.marks.hits.clear();
        self.touched.clear();
        self.matched.clear();
        self.values.clear();
        self.elements.clear();
        self.element = 0;
    }

    /// Notes a value of a path, which is in the elements under way.
    #[inline]
    pub(super) fn note(&mut self, path: u32, kind: Kind, start: usize, end: usize) {
        self.marks.value += 1;
        let seen = &mut self.seen[path as usize];
        if seen.event != self.marks.event {
            *seen = Seen { event: self.marks.event, ..Seen::default() };
            self.touched.push(path);
        }
        seen.values += 1;
        seen.in_elements |= self.element != 0;
        self.values.push(Read { path, kind, start, end, element: self.element });
    }

    /// Enters an element of an array and says in which it lies.
    pub(super) fn enter(&mut self, array: u32, index: u32) -> u32 {
        let outer = self.element;
        self.elements.push(Element { array, index, outer });
        // An event of 4 GB is no event.
        self.element = u32::try_from(self.elements.len()).unwrap_or(u32::MAX);
        outer
    }

    /// Leaves an element to the one around it.
    pub(super) fn leave(&mut self, outer: u32) {
        self.element = outer;
    }

    /// The elements around a value, outermost first.
    pub(super) fn membership(&self, mut element: u32) -> Membership {
        let mut out = Membership::new();
        while let Some(around) = element.checked_sub(1).and_then(|place| self.elements.get(place as usize)) {
            out.push((around.array, around.index));
            element = around.outer;
        }
        out.reverse();
        out
    }

    /// How many values a path has, and whether one is in an element of an array.
    #[inline]
    pub(super) fn seen(&self, path: u32) -> (u32, bool) {
        let seen = self.seen[path as usize];
        if seen.event == self.marks.event { (seen.values, seen.in_elements) } else { (0, false) }
    }

    pub(super) fn is_matched(&self, rule: u32) -> bool {
        self.rules[rule as usize] == self.marks.event
    }

    pub(super) fn matched(&mut self, rule: u32) {
        self.rules[rule as usize] = self.marks.event;
        self.matched.push(rule);
    }
}
