//! Splits and merges: which shards a stream has after them.
//!
//! Owns the rules of lineage. Promises that the hash ranges of the open shards tile the hash space after any chain of
//! steps, that ids go on from the stream's highest, and that a chain that breaks a rule changes nothing. Pure.

use std::collections::BTreeSet;

use base::{HashKey, Position, ShardId, Timestamp};

use crate::stream::MAX_SHARDS;
use crate::{LogError, Shard, ShardRef, Stream};

/// One step of a change of a stream's shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reshard {
    /// An open shard is followed by two.
    Split {
        /// The parent.
        shard: ShardId,
        /// The second child's first hash key: greater than the parent's first, at most its last.
        at: HashKey,
    },
    /// Two open shards whose hash keys follow each other, in either order, are followed by one.
    Merge {
        /// One parent.
        shard: ShardId,
        /// The other.
        adjacent: ShardId,
    },
}

/// The most shards of one stream, open and closed ones together: closed ones go when their records do.
pub const MAX_LINEAGE: usize = 100_000;

/// What a chain of steps comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resharded {
    /// Shards of the stream that are closed by it, by id.
    pub closed: Vec<ShardId>,
    /// New shards by id; those that a later step followed up are closed already.
    pub opened: Vec<Shard>,
}

/// Plans steps at a position of the journal. The new shards' numbers in the journal count on from `first_slot`.
pub(crate) fn plan(
    stream: &Stream,
    steps: &[Reshard],
    first_slot: u32,
    at: Position,
    time: Timestamp,
) -> Result<Resharded, LogError> {
    let next_id = stream.shards.last().map_or(0, |shard| shard.id.number().saturating_add(1));
    let mut planning = Planning { stream, closed: BTreeSet::new(), opened: Vec::new(), next_id, first_slot, at, time };
    for step in steps {
        planning.step(*step)?;
    }
    planning.finish()
}

struct Planning<'a> {
    stream: &'a Stream,
    /// The stream's own shards that are closed.
    closed: BTreeSet<ShardId>,
    opened: Vec<Shard>,
    next_id: u32,
    first_slot: u32,
    at: Position,
    time: Timestamp,
}

impl Planning<'_> {
    fn step(&mut self, step: Reshard) -> Result<(), LogError> {
        match step {
            Reshard::Split { shard, at } => {
                let (start, end) = self.open(shard)?;
                if at.0 <= start || at.0 > end {
                    return Err(LogError::SplitOutside { stream: self.stream.key.clone(), shard, at });
                }
                self.close(shard);
                self.add(vec![shard], start, at.0 - 1)?;
                self.add(vec![shard], at.0, end)
            }
            Reshard::Merge { shard, adjacent } => {
                let (one, other) = (self.open(shard)?, self.open(adjacent)?);
                let (low, high) = if one.0 <= other.0 { (one, other) } else { (other, one) };
                if low.1.checked_add(1) != Some(high.0) {
                    return Err(LogError::NotAdjacent { stream: self.stream.key.clone(), shard, adjacent });
                }
                self.close(shard);
                self.close(adjacent);
                self.add(vec![shard, adjacent], low.0, high.1)
            }
        }
    }

    /// The hash keys of a shard that takes records after the steps so far.
    fn open(&self, id: ShardId) -> Result<(u128, u128), LogError> {
        let stream = || self.stream.key.clone();
        let shard = self.stream.shard(id).or_else(|| self.opened.get(self.place(id)?));
        let shard = shard.ok_or_else(|| LogError::NoSuchShard { stream: stream(), shard: id })?;
        if shard.closed_at.is_some() || self.closed.contains(&id) {
            return Err(LogError::AlreadyClosed { stream: stream(), shard: id });
        }
        Ok((*shard.hash_range.start(), *shard.hash_range.end()))
    }

    /// The place of a new shard in `opened`, were it there.
    fn place(&self, id: ShardId) -> Option<usize> {
        id.number().checked_sub(self.next_id).map(|place| place as usize)
    }

    fn close(&mut self, id: ShardId) {
        match self.place(id).and_then(|place| self.opened.get_mut(place)) {
            Some(shard) => (shard.closed_at, shard.closed) = (Some(self.at), Some(self.time)),
            None => drop(self.closed.insert(id)),
        }
    }

    fn add(&mut self, parents: Vec<ShardId>, start: u128, end: u128) -> Result<(), LogError> {
        let count = self.opened.len() as u32;
        let id = self.next_id.checked_add(count).map(ShardId::new);
        let slot = self.first_slot.checked_add(count).filter(|slot| *slot < u32::MAX).map(ShardRef);
        let (Some(id), Some(slot)) = (id, slot) else {
            return Err(LogError::Invalid("the journal has no numbers left for new shards".into()));
        };
        let (opened_at, opened) = (self.at, self.time);
        let hash_range = start..=end;
        self.opened.push(Shard { id, slot, parents, hash_range, opened_at, opened, closed_at: None, closed: None });
        Ok(())
    }

    fn finish(self) -> Result<Resharded, LogError> {
        let bound = |shards: usize, limit: usize| match shards <= limit {
            true => Ok(()),
            false => Err(LogError::TooManyShards { stream: self.stream.key.clone(), shards, limit }),
        };
        let opened = self.opened.iter().filter(|shard| shard.closed_at.is_none()).count();
        bound(self.stream.open_shards().len() - self.closed.len() + opened, MAX_SHARDS as usize)?;
        bound(self.stream.shards.len() + self.opened.len(), MAX_LINEAGE)?;
        Ok(Resharded { closed: self.closed.into_iter().collect(), opened: self.opened })
    }
}

#[cfg(test)]
mod tests;
