//! A tree over bytes: which of many beginnings a text has, in one walk.
//!
//! Built and taken apart key by key; a node that only passed the way to a removed key stays until the tree is dropped.

use super::index::Hit;

/// Keys, each with the hits of the texts that begin with it.
#[derive(Debug, Default)]
pub(super) struct Radix {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// The bytes on the way from the node above.
    label: Box<[u8]>,
    /// Children by the first byte of their label, in its order.
    children: Vec<(u8, u32)>,
    hits: Vec<Hit>,
}

/// Whether texts are read from their beginning or from their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Front,
    Back,
}

impl Radix {
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The hits of a key, which is added when it is new.
    pub fn entry(&mut self, key: &[u8]) -> &mut Vec<Hit> {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let (mut node, mut at) = (0, 0);
        while at < key.len() {
            let position = self.nodes[node].children.binary_search_by_key(&key[at], |(byte, _)| *byte);
            let child = match position {
                Ok(found) => self.nodes[node].children[found].1 as usize,
                Err(place) => {
                    let new = self.push(Node { label: key[at..].into(), ..Node::default() });
                    self.nodes[node].children.insert(place, (key[at], new));
                    node = new as usize;
                    break;
                }
            };
            let label = &self.nodes[child].label;
            let common = label.iter().zip(&key[at..]).take_while(|(a, b)| a == b).count();
            if common < label.len() {
                self.split(child, common);
            }
            at += common;
            node = child;
        }
        &mut self.nodes[node].hits
    }

    /// The hits of a key, when it was added.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Vec<Hit>> {
        let (mut node, mut rest) = (0, key);
        while let Some(first) = rest.first() {
            let children = &self.nodes.get(node)?.children;
            let found = children.binary_search_by_key(first, |(byte, _)| *byte).ok()?;
            node = children[found].1 as usize;
            rest = rest.strip_prefix(&*self.nodes[node].label)?;
        }
        self.nodes.get_mut(node).map(|node| &mut node.hits)
    }

    fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        // Patterns are bounded in length and rules in number far below this.
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    /// Puts a node in the middle of a label: `node` keeps its first part.
    fn split(&mut self, node: usize, at: usize) {
        let (front, back) = self.nodes[node].label.split_at(at);
        let (front, back) = (Box::from(front), Box::<[u8]>::from(back));
        let first = back[0];
        let children = std::mem::take(&mut self.nodes[node].children);
        let hits = std::mem::take(&mut self.nodes[node].hits);
        let lower = self.push(Node { label: back, children, hits });
        let upper = &mut self.nodes[node];
        upper.label = front;
        upper.children = vec![(first, lower)];
    }

    /// Tells the hits of every key with which `text` begins.
    #[inline]
    pub fn walk(&self, text: &[u8], from: From, tell: &mut impl FnMut(&[Hit])) {
        let byte = |at: usize| match from {
            From::Front => text[at],
            From::Back => text[text.len() - 1 - at],
        };
        let Some(mut node) = self.nodes.first() else { return };
        let mut at = 0;
        loop {
            if !node.hits.is_empty() {
                tell(&node.hits);
            }
            if at == text.len() {
                return;
            }
            let next = byte(at);
            let found = match node.children.as_slice() {
                [(only, child)] => (*only == next).then_some(*child),
                children => children.binary_search_by_key(&next, |(byte, _)| *byte).ok().map(|i| children[i].1),
            };
            let Some(child) = found else { return };
            node = &self.nodes[child as usize];
            let length = node.label.len();
            if length > text.len() - at || !(1..length).all(|i| node.label[i] == byte(at + i)) {
                return;
            }
            at += length;
        }
    }

    /// Tells the hits of every key that `text` has anywhere.
    pub fn walk_all(&self, text: &[u8], tell: &mut impl FnMut(&[Hit])) {
        let Some(root) = self.nodes.first() else { return };
        let first = |byte: &u8| root.children.binary_search_by_key(byte, |(byte, _)| *byte).is_ok();
        for (at, _) in text.iter().enumerate().filter(|(_, byte)| first(byte)) {
            self.walk(&text[at..], From::Front, tell);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_walk_tells_the_keys_that_begin_the_text(keys in prop::collection::vec("[ab]{0,5}", 0..12), text in "[ab]{0,7}") {
            let mut tree = Radix::default();
            for (id, key) in (0..).zip(&keys) {
                tree.entry(key.as_bytes()).push(Hit::Condition(id));
            }
            let found = |from, text: &str| {
                let mut found = Vec::new();
                tree.walk(text.as_bytes(), from, &mut |hits| found.extend_from_slice(hits));
                found.sort_unstable();
                found
            };
            let wanted = |is: &dyn Fn(&str) -> bool| {
                (0..).zip(&keys).filter(|(_, key)| is(key)).map(|(id, _)| Hit::Condition(id)).collect::<Vec<_>>()
            };
            prop_assert_eq!(found(From::Front, &text), wanted(&|key| text.starts_with(key)));
            let reversed: String = text.chars().rev().collect();
            prop_assert_eq!(found(From::Back, &reversed), wanted(&|key| text.starts_with(key)));
            let mut anywhere = Vec::new();
            tree.walk_all(text.as_bytes(), &mut |hits| anywhere.extend_from_slice(hits));
            anywhere.sort_unstable();
            anywhere.dedup();
            let keys_anywhere = wanted(&|key| !key.is_empty() && text.contains(key));
            prop_assert!(keys_anywhere.iter().all(|hit| anywhere.contains(hit)));
        }
    }
}
