//! The compiled rules: which conditions each branch has, and by which of them it is found.
//!
//! A condition is one path with its list of operators; rules that ask the same share it. Each branch of a rule hangs on
//! one of its conditions, the one with the fewest others on it, and is looked at only when an event satisfies that. So
//! rules that ask the same of a common field, such as the source, do not all come up with every event.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::index::{Checks, Hit, Index};
use super::paths::{NodeId, Paths};
use super::slab::Slab;
use crate::branch::Branch;
use crate::matcher::Matcher;

/// One path with its operators, of which one must match.
#[derive(Debug)]
pub(super) struct Condition {
    pub path: u32,
    pub matchers: Arc<[Matcher]>,
    /// Satisfied when there is no value.
    pub absent: bool,
    /// Satisfied by any value.
    pub exists: bool,
    /// The `anything-but` operators, by number: satisfied by a value that they do not exclude.
    pub excluders: Vec<u32>,
    /// How many branches have it.
    uses: usize,
    /// The branches that hang on it.
    pub branches: Vec<u32>,
}

/// What a branch hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    /// A condition that a value satisfies by a lookup.
    Condition(u32),
    /// Any value of a path.
    Path(u32),
    /// Nothing: it can match an event that has none of its paths.
    Nothing,
}

/// Conditions that must all be satisfied, in the order of their paths.
#[derive(Debug)]
pub(super) struct BranchState {
    pub rule: u32,
    pub conditions: Box<[u32]>,
    hook: Hook,
    /// Its place in the list of the hook.
    place: usize,
}

/// All that is asked of a path.
#[derive(Debug, Default)]
pub(super) struct PathState {
    node: NodeId,
    pub index: Index,
    conditions: usize,
    /// Conditions removed since the index was built: what they left behind goes when it is built anew.
    removed: usize,
    /// The branches that hang on any value.
    pub branches: Vec<u32>,
}

/// Everything but the rules' names.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub paths: Paths,
    pub states: Slab<PathState>,
    pub conditions: Slab<Condition>,
    known: HashMap<(u32, Arc<[Matcher]>), u32, FxBuildHasher>,
    pub checks: Checks,
    pub excluders: Slab<()>,
    pub branches: Slab<BranchState>,
    /// The branches that hang on nothing.
    pub always: Vec<u32>,
}

impl Tables {
    /// Adds a branch of a rule and says its number.
    pub fn insert(&mut self, rule: u32, branch: &Branch) -> u32 {
        let conditions: Box<[u32]> =
            branch.iter().map(|(path, condition)| self.condition(path, &condition.matchers)).collect();
        let hook = self.choose_hook(&conditions);
        let id = self.branches.add(BranchState { rule, conditions, hook, place: 0 });
        let list = self.list(hook);
        list.push(id);
        let place = list.len() - 1;
        if let Some(branch) = self.branches.get_mut(id) {
            branch.place = place;
        }
        id
    }

    /// Removes a branch and what it alone used.
    pub fn remove(&mut self, id: u32) {
        let Some(branch) = self.branches.remove(id) else { return };
        let list = self.list(branch.hook);
        list.swap_remove(branch.place);
        if let Some(moved) = list.get(branch.place).copied()
            && let Some(moved) = self.branches.get_mut(moved)
        {
            moved.place = branch.place;
        }
        for condition in branch.conditions {
            self.release(condition);
        }
    }

    fn list(&mut self, hook: Hook) -> &mut Vec<u32> {
        let found = match hook {
            Hook::Condition(id) => self.conditions.get_mut(id).map(|c| &mut c.branches),
            Hook::Path(id) => self.states.get_mut(id).map(|s| &mut s.branches),
            Hook::Nothing => None,
        };
        found.unwrap_or(&mut self.always)
    }

    fn choose_hook(&self, conditions: &[u32]) -> Hook {
        let weigh = |id: &u32| {
            let condition = self.conditions.get(*id)?;
            let looked_up = !condition.absent && !condition.exists && condition.excluders.is_empty();
            if looked_up {
                return Some(((0, condition.branches.len() * 8 + breadth(&condition.matchers)), Hook::Condition(*id)));
            }
            let on_path = self.states.get(condition.path)?.branches.len();
            (!condition.absent).then_some(((1, on_path), Hook::Path(condition.path)))
        };
        conditions.iter().filter_map(weigh).min_by_key(|(weight, _)| *weight).map_or(Hook::Nothing, |(_, hook)| hook)
    }

    /// The number of a condition, which is made when it is new, and used once more.
    fn condition(&mut self, path: &str, matchers: &Arc<[Matcher]>) -> u32 {
        let path = self.path(path);
        if let Some(id) = self.known.get(&(path, Arc::clone(matchers))).copied()
            && let Some(condition) = self.conditions.get_mut(id)
        {
            condition.uses += 1;
            return id;
        }
        let excluders = matchers
            .iter()
            .filter(|matcher| matches!(matcher, Matcher::AnythingBut(_)))
            .map(|_| self.excluders.add(()))
            .collect();
        let id = self.conditions.add(Condition {
            path,
            matchers: Arc::clone(matchers),
            absent: matchers.contains(&Matcher::Absent),
            exists: matchers.contains(&Matcher::Exists),
            excluders,
            uses: 1,
            branches: Vec::new(),
        });
        self.known.insert((path, Arc::clone(matchers)), id);
        self.edit(id, true);
        id
    }

    fn path(&mut self, path: &str) -> u32 {
        let node = self.paths.insert(path);
        self.paths.path(node).unwrap_or_else(|| {
            let id = self.states.add(PathState { node, ..PathState::default() });
            self.paths.set_path(node, Some(id));
            id
        })
    }

    /// Adds a condition to its path's index, or removes it.
    fn edit(&mut self, id: u32, add: bool) {
        let Some(condition) = self.conditions.get(id) else { return };
        let Some(state) = self.states.get_mut(condition.path) else { return };
        let mut excluders = condition.excluders.iter();
        for matcher in condition.matchers.iter() {
            match (matcher, matches!(matcher, Matcher::AnythingBut(_)).then(|| excluders.next()).flatten()) {
                (Matcher::AnythingBut(none_of), Some(excluder)) => {
                    for matcher in none_of {
                        state.index.edit(matcher, Hit::Excluded(*excluder), add, &mut self.checks);
                    }
                }
                _ => state.index.edit(matcher, Hit::Condition(id), add, &mut self.checks),
            }
        }
        if add {
            state.conditions += 1;
        } else {
            state.conditions -= 1;
            state.removed += 1;
        }
    }

    /// Gives up one use of a condition; the last takes it away.
    fn release(&mut self, id: u32) {
        let Some(condition) = self.conditions.get_mut(id) else { return };
        condition.uses -= 1;
        if condition.uses > 0 {
            return;
        }
        self.edit(id, false);
        let Some(condition) = self.conditions.remove(id) else { return };
        for excluder in condition.excluders {
            self.excluders.remove(excluder);
        }
        let path = condition.path;
        self.known.remove(&(path, condition.matchers));
        match self.states.get(path) {
            Some(state) if state.conditions == 0 => {
                let node = state.node;
                self.states.remove(path);
                self.paths.set_path(node, None);
            }
            Some(state) if state.removed > 1_000 && state.removed > state.conditions => self.rebuild(path),
            _ => {}
        }
    }

    /// Builds a path's index anew, without what removed conditions left in its trees.
    fn rebuild(&mut self, path: u32) {
        let of_path = |id: &u32| self.conditions.get(*id).is_some_and(|c| c.path == path);
        let ids: Vec<u32> = (0..).take(self.conditions.bound()).filter(of_path).collect();
        for id in &ids {
            self.edit(*id, false);
        }
        if let Some(state) = self.states.get_mut(path) {
            state.index = Index::default();
            state.removed = 0;
        }
        for id in ids {
            self.edit(id, true);
        }
    }
}

/// How much more than a single string an operator may find: only the order of these numbers matters.
fn breadth(matchers: &[Matcher]) -> usize {
    matchers
        .iter()
        .map(|matcher| match matcher {
            Matcher::Text(_) | Matcher::Address(_) | Matcher::Number(_) => 0,
            Matcher::Caseless(_) => 1,
            Matcher::Prefix(text) | Matcher::Suffix(text) if !text.is_empty() => 2,
            Matcher::Wildcard(_) | Matcher::PrefixCaseless(_) | Matcher::SuffixCaseless(_) | Matcher::Cidr(_) => 4,
            _ => 16,
        })
        .sum()
}
