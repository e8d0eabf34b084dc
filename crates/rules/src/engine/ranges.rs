//! Which of many ranges of numbers, or of many blocks of addresses, hold a value: found without looking at the others.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use rustc_hash::FxBuildHasher;

use super::index::Hit;
use crate::address::Cidr;
use crate::number::{Double, Range};

/// So many ranges are compared one by one.
const FEW: usize = 16;

/// Ranges of numbers.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    few: Vec<(Range, Hit)>,
    /// All, once they were more than a few.
    many: Option<Tree>,
}

impl Ranges {
    pub fn insert(&mut self, range: Range, hit: Hit) {
        if let Some(tree) = &mut self.many {
            return tree.insert(range, hit);
        }
        self.few.push((range, hit));
        if self.few.len() > FEW {
            let tree = self.many.insert(Tree::default());
            self.few.drain(..).for_each(|(range, hit)| tree.insert(range, hit));
        }
    }

    pub fn remove(&mut self, range: Range, hit: Hit) {
        match &mut self.many {
            Some(tree) => tree.remove(range, hit),
            None => self.few.retain(|known| *known != (range, hit)),
        }
    }

    /// Whether a value can have a hit that is asked for. When there are many ranges, it is not looked at closely.
    pub fn may_tell(&self, is_asked: impl Fn(Hit) -> bool) -> bool {
        self.many.is_some() || self.few.iter().any(|(_, hit)| is_asked(*hit))
    }

    /// Tells the hits of every range that holds `value`.
    pub fn walk(&self, value: Double, tell: &mut impl FnMut(&[Hit])) {
        match &self.many {
            Some(tree) => tree.walk(value.key(), tell),
            None => self.few.iter().filter(|(range, _)| range.contains(value)).for_each(|(_, hit)| tell(&[*hit])),
        }
    }
}

/// Ranges by the highest bit in which their ends differ and the bits above it. Every range of such a node holds the
/// node's middle, so that one end alone decides.
#[derive(Debug, Default)]
struct Tree {
    /// By the number of bits below the common ones, and the common ones.
    nodes: HashMap<(u32, u64), Node, FxBuildHasher>,
    /// Bit `n` is set when a node has `n` differing bits; 64 is kept beside it.
    used: u64,
    whole: bool,
}

#[derive(Debug, Default)]
struct Node {
    by_low: BTreeMap<u64, Vec<Hit>>,
    by_high: BTreeMap<u64, Vec<Hit>>,
}

fn above(value: u64, bits: u32) -> u64 {
    value.checked_shr(bits).unwrap_or(0)
}

impl Tree {
    fn place(range: Range) -> (u32, u64) {
        let bits = u64::BITS - (range.low ^ range.high).leading_zeros();
        (bits, above(range.low, bits))
    }

    fn insert(&mut self, range: Range, hit: Hit) {
        let place = Self::place(range);
        match place.0 {
            64 => self.whole = true,
            bits => self.used |= 1 << bits,
        }
        let node = self.nodes.entry(place).or_default();
        node.by_low.entry(range.low).or_default().push(hit);
        node.by_high.entry(range.high).or_default().push(hit);
    }

    fn remove(&mut self, range: Range, hit: Hit) {
        let place = Self::place(range);
        let Some(node) = self.nodes.get_mut(&place) else { return };
        for (ends, end) in [(&mut node.by_low, range.low), (&mut node.by_high, range.high)] {
            if let Some(hits) = ends.get_mut(&end) {
                hits.retain(|h| *h != hit);
                if hits.is_empty() {
                    ends.remove(&end);
                }
            }
        }
        if node.by_low.is_empty() {
            self.nodes.remove(&place);
        }
    }

    fn walk(&self, value: u64, tell: &mut impl FnMut(&[Hit])) {
        let mut levels = self.used;
        while levels != 0 {
            let bits = levels.trailing_zeros();
            levels &= levels - 1;
            self.walk_level(bits, value, tell);
        }
        if self.whole {
            self.walk_level(64, value, tell);
        }
    }

    fn walk_level(&self, bits: u32, value: u64, tell: &mut impl FnMut(&[Hit])) {
        let Some(node) = self.nodes.get(&(bits, above(value, bits))) else { return };
        let upper_half = bits > 0 && value >> (bits - 1) & 1 == 1;
        if upper_half {
            node.by_high.range(value..).for_each(|(_, hits)| tell(hits));
        } else {
            node.by_low.range(..=value).for_each(|(_, hits)| tell(hits));
        }
    }
}

/// Blocks of addresses, and single addresses, by the number of their fixed bits and these bits.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    v4: Family<u32>,
    v6: Family<u128>,
}

#[derive(Debug, Default)]
struct Family<N> {
    blocks: HashMap<(u32, N), Vec<Hit>, FxBuildHasher>,
    /// The numbers of bits in use, ascending, with how many blocks have each.
    used: BTreeMap<u32, usize>,
}

impl<N: Copy + Eq + std::hash::Hash> Family<N> {
    fn edit(&mut self, bits: u32, masked: N, hit: Hit, add: bool) {
        let hits = self.blocks.entry((bits, masked)).or_default();
        if add {
            hits.push(hit);
            *self.used.entry(bits).or_default() += 1;
            return;
        }
        hits.retain(|h| *h != hit);
        if hits.is_empty() {
            self.blocks.remove(&(bits, masked));
        }
        if let Some(count) = self.used.get_mut(&bits) {
            *count -= 1;
            if *count == 0 {
                self.used.remove(&bits);
            }
        }
    }

    fn walk(&self, masked: impl Fn(u32) -> N, tell: &mut impl FnMut(&[Hit])) {
        for bits in self.used.keys() {
            if let Some(hits) = self.blocks.get(&(*bits, masked(*bits))) {
                tell(hits);
            }
        }
    }
}

fn masked_v4(address: u32, bits: u32) -> u32 {
    address & u32::MAX.checked_shl(32 - bits).unwrap_or(0)
}

fn masked_v6(address: u128, bits: u32) -> u128 {
    address & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

impl Blocks {
    pub fn is_empty(&self) -> bool {
        self.v4.used.is_empty() && self.v6.used.is_empty()
    }

    /// A single address as a block.
    pub fn single(network: IpAddr) -> Cidr {
        Cidr { network, bits: if network.is_ipv4() { 32 } else { 128 } }
    }

    pub fn edit(&mut self, block: Cidr, hit: Hit, add: bool) {
        match block.network {
            IpAddr::V4(network) => self.v4.edit(block.bits, masked_v4(network.into(), block.bits), hit, add),
            IpAddr::V6(network) => self.v6.edit(block.bits, masked_v6(network.into(), block.bits), hit, add),
        }
    }

    /// Tells the hits of every block that holds `address`.
    pub fn walk(&self, address: IpAddr, tell: &mut impl FnMut(&[Hit])) {
        match address {
            IpAddr::V4(address) => self.v4.walk(|bits| masked_v4(address.into(), bits), tell),
            IpAddr::V6(address) => self.v6.walk(|bits| masked_v6(address.into(), bits), tell),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_walk_of_the_tree_tells_the_ranges_that_hold_the_value(
            ranges in prop::collection::vec((0_u64..40, 0_u64..40, any::<bool>()), 0..20), value in 0_u64..40, shift in 0_u32..59,
        ) {
            let mut tree = Tree::default();
            let ranges: Vec<_> = ranges.into_iter()
                .map(|(a, b, kept)| (Range { low: a.min(b) << shift, high: a.max(b) << shift }, kept)).collect();
            for (id, (range, _)) in (0..).zip(&ranges) {
                tree.insert(*range, Hit::Condition(id));
            }
            for (id, (range, kept)) in (0..).zip(&ranges) {
                if !kept {
                    tree.remove(*range, Hit::Condition(id));
                }
            }
            let value = value << shift;
            let mut found = Vec::new();
            tree.walk(value, &mut |hits| found.extend_from_slice(hits));
            found.sort_unstable();
            let wanted: Vec<_> = (0..).zip(&ranges)
                .filter(|(_, (range, kept))| *kept && (range.low..=range.high).contains(&value))
                .map(|(id, _)| Hit::Condition(id)).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
