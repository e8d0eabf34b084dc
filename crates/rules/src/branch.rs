//! One branch of a pattern: fields that must all match, in elements of arrays that go together.
//!
//! Two matched fields may not lie in different elements of one array. A field that must be absent must be so among the
//! elements that go with the fields before it, in the order of the paths; so aws/event-ruler's machine does it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::fields::{Fields, Membership};
use crate::matcher::{Leaf, Matcher};

/// What one path is asked for: one of the matchers must match.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) matchers: Arc<[Matcher]>,
    /// The list of matchers as the pattern writes it.
    pub(crate) span: Range<usize>,
}

/// Paths and what each is asked for.
pub(crate) type Branch = BTreeMap<String, Condition>;

/// A path's matchers, and the values that an event has there.
pub(crate) struct Asked<'a> {
    pub(crate) matchers: &'a [Matcher],
    pub(crate) values: &'a [(Leaf<'a>, Membership)],
}

/// Whether the event's fields satisfy the branch.
pub(crate) fn matches(branch: &Branch, fields: &Fields<'_>) -> bool {
    let asked: Vec<_> = branch.iter().map(|(path, condition)| asked(condition, path, fields)).collect();
    consistent(&asked)
}

/// What a condition finds in the event's fields.
pub(crate) fn asked<'a>(condition: &'a Condition, path: &str, fields: &'a Fields<'_>) -> Asked<'a> {
    Asked { matchers: &condition.matchers, values: fields.get(path).map_or(&[], Vec::as_slice) }
}

/// Whether every path, in their order, has a value that is asked for, all in elements of arrays that go together.
pub(crate) fn consistent(asked: &[Asked<'_>]) -> bool {
    let mut frontier = HashSet::from([Membership::new()]);
    for (at, Asked { matchers, values }) in asked.iter().enumerate() {
        let matched = Elements::of(
            values
                .iter()
                .filter(|(leaf, _)| matchers.iter().any(|m| m.matches(leaf)))
                .map(|(_, membership)| membership),
        );
        let present = matchers.contains(&Matcher::Absent).then(|| Elements::of(values.iter().map(|(_, m)| m)));
        let later = arrays_of(&asked[at + 1..]);
        let mut next = HashSet::new();
        for chosen in &frontier {
            for membership in matched.candidates(chosen) {
                if let Some(joined) = join(chosen, membership) {
                    next.insert(keep(joined, &later));
                }
            }
            if let Some(present) = &present
                && !present.candidates(chosen).any(|membership| join(chosen, membership).is_some())
            {
                next.insert(keep(chosen.clone(), &later));
            }
        }
        if next.is_empty() {
            return false;
        }
        frontier = next;
    }
    true
}

/// The arrays that the fields of these paths are in. What was chosen in other arrays no longer matters, and forgetting
/// it keeps the choices few.
fn arrays_of(later: &[Asked<'_>]) -> HashSet<u32> {
    later
        .iter()
        .flat_map(|asked| asked.values)
        .flat_map(|(_, membership)| membership.iter().map(|(array, _)| *array))
        .collect()
}

fn keep(mut membership: Membership, arrays: &HashSet<u32>) -> Membership {
    membership.retain(|(array, _)| arrays.contains(array));
    membership
}

/// Both choices of elements together, unless they name different elements of one array.
fn join(chosen: &Membership, other: &Membership) -> Option<Membership> {
    let mut joined = chosen.clone();
    for &(array, index) in other {
        match joined.iter().find(|(a, _)| *a == array) {
            Some((_, i)) if *i != index => return None,
            Some(_) => {}
            None => joined.push((array, index)),
        }
    }
    joined.sort_unstable();
    Some(joined)
}

/// Distinct memberships, found by their outermost element, so that large arrays are not paired with themselves.
struct Elements<'a> {
    outside: bool,
    by_array: HashMap<u32, HashMap<u32, HashSet<&'a Membership>>>,
}

const OUTSIDE: &Membership = &Membership::new();

impl<'a> Elements<'a> {
    fn of(memberships: impl Iterator<Item = &'a Membership>) -> Self {
        let mut elements = Self { outside: false, by_array: HashMap::new() };
        for membership in memberships {
            match membership.first() {
                None => elements.outside = true,
                Some((array, index)) => {
                    elements.by_array.entry(*array).or_default().entry(*index).or_default().insert(membership);
                }
            }
        }
        elements
    }

    /// The memberships that may go with a choice: all but those whose outermost element contradicts it.
    fn candidates(&self, chosen: &Membership) -> impl Iterator<Item = &'a Membership> {
        let inside = self.by_array.iter().flat_map(|(array, by_index)| {
            let index = chosen.iter().find(|(a, _)| a == array).map(|(_, index)| *index);
            let one = index.and_then(|index| by_index.get(&index));
            let all = by_index.values().filter(move |_| index.is_none());
            one.into_iter().chain(all).flatten().copied()
        });
        self.outside.then_some(OUTSIDE).into_iter().chain(inside).collect::<Vec<_>>().into_iter()
    }
}
