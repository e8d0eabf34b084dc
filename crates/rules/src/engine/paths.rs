//! The tree of the paths that rules name: which members of an object are worth reading.
//!
//! A path's names are its parts between dots: a key with a dot and two nested keys lead to the same place.

/// The place of a name in the tree; 0 is the event itself.
pub(super) type NodeId = u32;

/// Marks a slot without a child.
const NONE: NodeId = NodeId::MAX;

/// A name as words: of up to sixteen bytes they are the whole name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    bytes: &'a [u8],
    tag: Tag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    head: u64,
    tail: u64,
    length: usize,
}

impl<'a> Name<'a> {
    /// The name from `start` to `end` of `text`.
    #[inline]
    pub fn within(text: &'a [u8], start: usize, end: usize) -> Option<Self> {
        let bytes = text.get(start..end)?;
        let word = |at: usize| Some(u64::from_le_bytes(text.get(at..at + 8)?.try_into().ok()?));
        let length = bytes.len();
        let tag = if length >= 8 {
            Tag { head: word(start)?, tail: word(end - 8)?, length }
        } else {
            // What follows the name in the text is masked away; at the end of the text there may be too little of it.
            let head = word(start).unwrap_or_else(|| {
                let mut padded = [0; 8];
                padded[..length].copy_from_slice(bytes);
                u64::from_le_bytes(padded)
            });
            Tag { head: head & ((1 << (8 * length)) - 1), tail: 0, length }
        };
        Some(Self { bytes, tag })
    }

    fn of(bytes: &'a [u8]) -> Self {
        // All of a slice is within it.
        Self::within(bytes, 0, bytes.len())
            .unwrap_or(Self { bytes, tag: Tag { head: 0, tail: 0, length: bytes.len() } })
    }
}

impl Tag {
    #[inline]
    fn hash(self) -> u32 {
        let words = self.head ^ self.tail.rotate_left(29) ^ (self.length as u64) << 57;
        // The upper half of a product depends on all of its factors' bits.
        u32::try_from(words.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Node {
    name: Box<[u8]>,
    parent: NodeId,
    /// The path that ends here, when a rule names it.
    path: Option<u32>,
    children: usize,
    /// Children by the hash of their name, open addressing; at least half of it is empty.
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: Tag,
    child: NodeId,
}

impl Slot {
    const EMPTY: Self = Self { tag: Tag { head: 0, tail: 0, length: 0 }, child: NONE };
}

/// All paths that rules name.
#[derive(Debug)]
pub(super) struct Paths {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
}

impl Default for Paths {
    fn default() -> Self {
        Self { nodes: vec![Node::new(Box::default(), 0)], free: Vec::new() }
    }
}

impl Node {
    fn new(name: Box<[u8]>, parent: NodeId) -> Self {
        Self { name, parent, path: None, children: 0, slots: Vec::new() }
    }

    fn put(slots: &mut [Slot], slot: Slot) {
        let mask = slots.len() - 1;
        let mut at = slot.tag.hash() as usize & mask;
        while slots[at].child != NONE {
            at = (at + 1) & mask;
        }
        slots[at] = slot;
    }

    /// Makes room for the children, dropping those that `keep` does not want.
    fn rebuild(&mut self, keep: impl Fn(NodeId) -> bool) {
        let mut slots = vec![Slot::EMPTY; ((self.children + 1) * 2).next_power_of_two()];
        for slot in self.slots.iter().filter(|slot| slot.child != NONE && keep(slot.child)) {
            Self::put(&mut slots, *slot);
        }
        self.slots = slots;
    }
}

impl Paths {
    /// The path that ends at a node.
    #[inline]
    pub fn path(&self, node: NodeId) -> Option<u32> {
        self.nodes[node as usize].path
    }

    /// How many names lead on from a node.
    #[inline]
    pub fn children(&self, node: NodeId) -> usize {
        self.nodes[node as usize].children
    }

    /// Where a name without a dot leads.
    #[inline]
    pub fn child(&self, node: NodeId, name: Name<'_>) -> Option<NodeId> {
        /// Names of this length are their words.
        const WORDS: usize = 16;
        let slots = &self.nodes[node as usize].slots;
        if slots.is_empty() {
            return None;
        }
        let mask = slots.len() - 1;
        let mut at = name.tag.hash() as usize & mask;
        loop {
            let slot = &slots[at];
            if slot.child == NONE {
                return None;
            }
            if slot.tag == name.tag
                && (name.tag.length <= WORDS || *self.nodes[slot.child as usize].name == *name.bytes)
            {
                return Some(slot.child);
            }
            at = (at + 1) & mask;
        }
    }

    /// Where a key leads, name by name.
    pub fn descend(&self, node: NodeId, key: &[u8]) -> Option<NodeId> {
        key.split(|b| *b == b'.').try_fold(node, |node, name| self.child(node, Name::of(name)))
    }

    /// The node of a path, made when it is new.
    pub fn insert(&mut self, path: &str) -> NodeId {
        let mut node = 0;
        for name in path.as_bytes().split(|b| *b == b'.') {
            node = self.child(node, Name::of(name)).unwrap_or_else(|| self.add(node, name));
        }
        node
    }

    fn add(&mut self, parent: NodeId, name: &[u8]) -> NodeId {
        let new = Node::new(name.into(), parent);
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = new;
                id
            }
            None => {
                self.nodes.push(new);
                u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
            }
        };
        let above = &mut self.nodes[parent as usize];
        above.children += 1;
        if above.children * 2 > above.slots.len() {
            above.rebuild(|_| true);
        }
        Node::put(&mut above.slots, Slot { tag: Name::of(name).tag, child: id });
        id
    }

    /// Says which path ends at a node; a node without path and children is removed, and those above that it leaves so.
    pub fn set_path(&mut self, mut id: NodeId, path: Option<u32>) {
        self.nodes[id as usize].path = path;
        while id != 0 {
            let node = &self.nodes[id as usize];
            if node.path.is_some() || node.children > 0 {
                return;
            }
            let parent = node.parent;
            let above = &mut self.nodes[parent as usize];
            above.children -= 1;
            above.rebuild(|child| child != id);
            self.free.push(id);
            id = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_and_go() {
        let mut paths = Paths::default();
        let names: Vec<String> = (0..200).map(|i| format!("a{}.b{i}.c", i % 7)).collect();
        for (id, name) in (0..).zip(&names) {
            let node = paths.insert(name);
            paths.set_path(node, Some(id));
        }
        assert_eq!(paths.children(0), 7);
        for (id, name) in (0..).zip(&names) {
            assert_eq!(paths.descend(0, name.as_bytes()).and_then(|node| paths.path(node)), Some(id));
        }
        assert_eq!(paths.descend(0, b"a0.b1.c"), None);
        for name in &names {
            let node = paths.insert(name);
            paths.set_path(node, None);
        }
        assert_eq!(paths.children(0), 0);
        let made = paths.nodes.len();
        let node = paths.insert("x.");
        paths.set_path(node, Some(1));
        assert_eq!(paths.nodes.len(), made, "places are used again");
        assert_eq!(paths.descend(0, b"x").and_then(|x| paths.child(x, Name::of(b""))), Some(node));
    }
}
