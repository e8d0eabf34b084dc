//! The names of files and folders: what calls see, what the disk holds for sure, and the changes between the two.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Rng, SeededRng};

/// A file or folder, whatever its name is.
pub(super) type NodeId = u64;
/// A name: its folder, and what it is called there.
pub(super) type Name = (NodeId, String);

/// The root folder. It is always there.
pub(super) const ROOT: NodeId = 0;

/// A change that is durable whole or not at all: one name for a creation or removal, two for a rename.
type Change = Vec<(Name, Option<NodeId>)>;

/// All names of a disk.
#[derive(Debug, Default)]
pub(super) struct Names {
    seen: BTreeMap<Name, NodeId>,
    durable: BTreeMap<Name, NodeId>,
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn get(&self, name: &Name) -> Option<NodeId> {
        self.seen.get(name).copied()
    }

    /// What is in a folder, by name.
    pub(super) fn list(&self, folder: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        self.seen
            .range((folder, String::new())..)
            .take_while(move |((of, _), _)| *of == folder)
            .map(|((_, name), node)| (name.as_str(), *node))
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.pending.push(change);
    }

    /// Makes the changes in a folder durable, with the earlier ones in other folders that they rest on.
    pub(super) fn sync(&mut self, folder: NodeId) {
        let mut needed = BTreeSet::new();
        let mut synced = vec![false; self.pending.len()];
        for (at, change) in self.pending.iter().enumerate().rev() {
            if change.iter().any(|(name, _)| name.0 == folder || needed.contains(name)) {
                synced[at] = true;
                needed.extend(change.iter().map(|(name, _)| name.clone()));
            }
        }
        let mut at = 0;
        self.pending.retain(|change| {
            at += 1;
            if synced[at - 1] {
                apply(&mut self.durable, change);
            }
            !synced[at - 1]
        });
    }

    /// Power is cut: calls see from now on what reached the disk.
    pub(super) fn cut(&mut self, rng: &SeededRng) {
        let groups = self.groups();
        let mut left: BTreeMap<usize, u64> = BTreeMap::new();
        for group in &groups {
            *left.entry(*group).or_default() += 1;
        }
        for count in left.values_mut() {
            *count = match rng.below(3) {
                0 => 0,
                1 => *count,
                _ => rng.below(*count + 1),
            };
        }
        for (change, group) in self.pending.drain(..).zip(groups) {
            match left.get_mut(&group) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    apply(&mut self.durable, &change);
                }
                _ => {}
            }
        }
        self.seen.clone_from(&self.durable);
    }

    /// Which changes belong together: those that share a name, directly or through others. One number a change.
    fn groups(&self) -> Vec<usize> {
        let mut groups: Vec<usize> = (0..self.pending.len()).collect();
        let mut by_name: BTreeMap<&Name, usize> = BTreeMap::new();
        for (at, change) in self.pending.iter().enumerate() {
            for (name, _) in change {
                let other = groups[*by_name.entry(name).or_insert(at)];
                let own = groups[at];
                groups[..=at].iter_mut().filter(|group| **group == own).for_each(|group| *group = other);
            }
        }
        groups
    }

    /// Every node that the disk or a caller can still reach.
    pub(super) fn reachable(&self) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(folder) = open.pop() {
            open.extend(self.list(folder).map(|(_, node)| node).filter(|node| found.insert(*node)));
        }
        found
    }

    /// Forgets the names in folders that are gone.
    pub(super) fn retain(&mut self, nodes: &BTreeSet<NodeId>) {
        self.seen.retain(|(folder, _), _| nodes.contains(folder));
        self.durable.retain(|(folder, _), _| nodes.contains(folder));
    }
}

fn apply(names: &mut BTreeMap<Name, NodeId>, change: &Change) {
    for (name, node) in change {
        match node {
            Some(node) => _ = names.insert(name.clone(), *node),
            None => _ = names.remove(name),
        }
    }
}
