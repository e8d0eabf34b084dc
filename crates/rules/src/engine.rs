//! All rules in one: an event is read once and finds the rules that match it.
//!
//! Owns the compiled form of many patterns. Promises what [`Pattern::matches`] says of each, at a cost that grows with
//! the event and with what it satisfies, hardly with the number of rules; and that a rule is added or removed at a cost
//! that hardly grows with the others. Must not know where events come from and what follows.

mod index;
mod paths;
mod radix;
mod ranges;
mod reader;
mod scratch;
mod slab;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;

pub use scratch::Scratch;
use scratch::{Kind, Read};
use slab::Slab;
use tables::Tables;

use crate::branch::{Asked, consistent};
use crate::event;
use crate::fields::Membership;
use crate::matcher::Leaf;
use crate::{Event, Pattern};

/// Rules by name, compiled into one matcher.
///
/// ```
/// let mut engine = rules::Engine::default();
/// engine.insert("stopped", &rules::Pattern::parse(r#"{"detail":{"state":["stopped"]}}"#)?);
/// engine.insert("any", &rules::Pattern::parse(r#"{"detail":{"state":[{"exists":true}]}}"#)?);
/// let event = rules::Event::check(br#"{"detail":{"state":"running"}}"#)?;
/// let mut scratch = rules::Scratch::default();
/// assert_eq!(engine.matches(event, &mut scratch).collect::<Vec<_>>(), [&"any"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Engine<K> {
    tables: Tables,
    ids: HashMap<K, u32>,
    rules: Slab<Rule<K>>,
}

#[derive(Debug)]
struct Rule<K> {
    name: K,
    branches: Vec<u32>,
}

impl<K> Default for Engine<K> {
    fn default() -> Self {
        Self { tables: Tables::default(), ids: HashMap::new(), rules: Slab::default() }
    }
}

impl<K: Clone + Eq + Hash> Engine<K> {
    /// Adds a rule, in place of one of the same name.
    pub fn insert(&mut self, name: K, pattern: &Pattern) {
        self.remove(&name);
        let id = self.rules.add(Rule { name: name.clone(), branches: Vec::new() });
        let branches = pattern.branches().iter().map(|branch| self.tables.insert(id, branch)).collect();
        if let Some(rule) = self.rules.get_mut(id) {
            rule.branches = branches;
        }
        self.ids.insert(name, id);
    }

    /// Removes a rule; whether there was one.
    pub fn remove(&mut self, name: &K) -> bool {
        let Some(rule) = self.ids.remove(name).and_then(|id| self.rules.remove(id)) else { return false };
        for branch in rule.branches {
            self.tables.remove(branch);
        }
        true
    }
}

impl<K> Engine<K> {
    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The names of the rules that match an event, each once, in no order.
    pub fn matches<'a>(&'a self, event: Event<'_>, scratch: &'a mut Scratch) -> impl Iterator<Item = &'a K> {
        scratch.begin(&self.tables, self.rules.bound());
        reader::read(&self.tables, event, scratch);
        Decision { tables: &self.tables, text: event.bytes(), scratch }.decide();
        scratch.matched.iter().filter_map(|id| self.rules.get(*id)).map(|rule| &rule.name)
    }
}

/// What is known of a condition before elements of arrays are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    No,
    Maybe,
    Yes,
}

/// From what the values satisfy to the rules that match.
struct Decision<'a> {
    tables: &'a Tables,
    text: &'a [u8],
    scratch: &'a mut Scratch,
}

impl Decision<'_> {
    fn decide(mut self) {
        let tables = self.tables;
        for at in 0..self.scratch.marks.hits.len() {
            if let Some(condition) = tables.conditions.get(self.scratch.marks.hits[at]) {
                condition.branches.iter().for_each(|branch| self.look_at(*branch));
            }
        }
        for at in 0..self.scratch.touched.len() {
            if let Some(state) = tables.states.get(self.scratch.touched[at]) {
                state.branches.iter().for_each(|branch| self.look_at(*branch));
            }
        }
        tables.always.iter().for_each(|branch| self.look_at(*branch));
    }

    fn look_at(&mut self, branch: u32) {
        let Some(branch) = self.tables.branches.get(branch).filter(|b| !self.scratch.is_matched(b.rule)) else {
            return;
        };
        let mut in_elements = 0;
        let mut unsure = false;
        for condition in &branch.conditions {
            let (truth, elements) = self.truth(*condition);
            if truth == Truth::No {
                return;
            }
            unsure |= truth == Truth::Maybe;
            in_elements += usize::from(elements);
        }
        // Values of a single path are never in elements that exclude each other.
        if (in_elements < 2 && !unsure) || self.is_consistent(&branch.conditions) {
            self.scratch.matched(branch.rule);
        }
    }

    /// Whether a condition is satisfied, and whether its path has values in elements of arrays.
    #[inline]
    fn truth(&self, id: u32) -> (Truth, bool) {
        let Some(condition) = self.tables.conditions.get(id) else { return (Truth::No, false) };
        let marks = &self.scratch.marks;
        let (values, elements) = self.scratch.seen(condition.path);
        let truth = if marks.is_satisfied(id) {
            Truth::Yes
        } else if values == 0 {
            if condition.absent { Truth::Yes } else { Truth::No }
        } else if condition.exists || condition.excluders.iter().any(|excluder| marks.excluded(*excluder) < values) {
            Truth::Yes
        } else if condition.absent && elements {
            Truth::Maybe
        } else {
            Truth::No
        };
        (truth, elements)
    }

    /// Whether values that satisfy these conditions lie in elements of arrays that go together.
    fn is_consistent(&self, conditions: &[u32]) -> bool {
        let conditions: Vec<_> = conditions.iter().filter_map(|id| self.tables.conditions.get(*id)).collect();
        let unescaped: Vec<Vec<u8>> = self.scratch.values.iter().map(|read| self.unescaped(read)).collect();
        let of_path = |path: u32| -> Vec<(Leaf<'_>, Membership)> {
            let reads = self.scratch.values.iter().zip(&unescaped).filter(|(read, _)| read.path == path);
            reads.map(|(read, unescaped)| self.leaf(read, unescaped)).collect()
        };
        let values: Vec<_> = conditions.iter().map(|condition| of_path(condition.path)).collect();
        let asked: Vec<_> = conditions
            .iter()
            .zip(&values)
            .map(|(condition, values)| Asked { matchers: &condition.matchers, values })
            .collect();
        consistent(&asked)
    }

    /// The content of a string with escapes; else nothing.
    fn unescaped(&self, read: &Read) -> Vec<u8> {
        let mut out = Vec::new();
        if read.kind == (Kind::Text { escaped: true }) {
            // What is no text stays empty.
            let _ = event::unescape(self.text.get(read.start..read.end).unwrap_or_default(), &mut out);
        }
        out
    }

    fn leaf<'b>(&'b self, read: &Read, unescaped: &'b [u8]) -> (Leaf<'b>, Membership) {
        let text = self.text.get(read.start..read.end).unwrap_or_default();
        let leaf = match read.kind {
            Kind::Text { escaped: true } => Leaf::Text(unescaped),
            Kind::Text { escaped: false } => Leaf::Text(text),
            Kind::Number => Leaf::Number(text),
            Kind::Literal => Leaf::Literal(reader::literal(text.first().copied())),
        };
        (leaf, self.scratch.membership(read.element))
    }
}
