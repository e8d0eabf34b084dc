//! Which shards may be read now: a child only after its parents are read to their end.
//!
//! Owns that one rule, for any chain of splits and merges. A parent that is no longer listed (its records expired and
//! it was removed) counts as read, once nobody holds records of it any more. Must not know how a shard is read.

use std::collections::BTreeSet;

use base::ShardId;

/// Of `shards` (each with its parents), those that are neither in `taken` nor wait for a parent that is in `taken`, or
/// listed and not in `ended`, in the order given.
pub fn readable<'a>(
    shards: impl Iterator<Item = (ShardId, &'a [ShardId])> + Clone,
    taken: &BTreeSet<ShardId>,
    ended: &BTreeSet<ShardId>,
) -> Vec<ShardId> {
    let listed: BTreeSet<ShardId> = shards.clone().map(|(id, _)| id).collect();
    shards
        .filter(|(id, parents)| {
            !taken.contains(id)
                && !ended.contains(id)
                && parents.iter().all(|p| !taken.contains(p) && (ended.contains(p) || !listed.contains(p)))
        })
        .map(|(id, _)| id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u32]) -> Vec<ShardId> {
        numbers.iter().copied().map(ShardId::new).collect()
    }

    fn set(numbers: &[u32]) -> BTreeSet<ShardId> {
        ids(numbers).into_iter().collect()
    }

    #[test]
    fn children_wait_for_all_their_parents_along_any_chain() {
        // 0 splits into 2 and 3; 1 and 2 merge into 4; 4 splits into 5 and 6.
        let shards: Vec<(ShardId, Vec<ShardId>)> =
            [(0, vec![]), (1, vec![]), (2, vec![0]), (3, vec![0]), (4, vec![1, 2]), (5, vec![4]), (6, vec![4])]
                .into_iter()
                .map(|(id, parents): (u32, Vec<u32>)| (ShardId::new(id), ids(&parents)))
                .collect();
        let next = |taken: &[u32], ended: &[u32]| {
            readable(shards.iter().map(|(id, p)| (*id, p.as_slice())), &set(taken), &set(ended))
        };
        assert_eq!(next(&[], &[]), ids(&[0, 1]));
        assert_eq!(next(&[0], &[1]), ids(&[]));
        assert_eq!(next(&[1], &[0]), ids(&[2, 3]));
        assert_eq!(next(&[3], &[0, 1]), ids(&[2]));
        assert_eq!(next(&[], &[0, 1, 2, 3]), ids(&[4]));
        assert_eq!(next(&[], &[0, 1, 2, 3, 4]), ids(&[5, 6]));
    }

    #[test]
    fn a_parent_that_is_gone_holds_nobody_up() {
        let parents = ids(&[0]);
        let shards = [(ShardId::new(2), parents.as_slice())];
        assert_eq!(readable(shards.into_iter(), &set(&[]), &set(&[])), ids(&[2]));
        let held = readable([(ShardId::new(2), parents.as_slice())].into_iter(), &set(&[0]), &set(&[]));
        assert_eq!(held, [], "but while its last records are being handled");
    }
}
