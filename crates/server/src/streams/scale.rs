//! How a stream comes to a number of equal shards: splits where a new border is missing, then merges over the old ones.
//!
//! Promises that after the steps the open shards are those that a new stream of that many has. Pure; must not know who
//! asks.

use base::{HashKey, ShardId};
use log::{LogError, Reshard, Stream};

/// How often steps are planned anew because somebody else changed the shards between plan and deed.
pub(crate) const PLANS: usize = 8;

/// Whether steps of a plan were refused because the shards are no longer those that it was made for.
pub(crate) const fn is_outdated(error: &LogError) -> bool {
    matches!(
        error,
        LogError::AlreadyClosed { .. }
            | LogError::NoSuchShard { .. }
            | LogError::NotAdjacent { .. }
            | LogError::SplitOutside { .. }
    )
}

/// The first hash keys of `count` equal shards, but the first one's, as the service divides the space.
fn borders(count: u32) -> Vec<u128> {
    let parts = u128::from(count);
    // The whole part of 2^128 / count, which itself has no place in 128 bits.
    let part = if count == 1 { u128::MAX } else { u128::MAX / parts + u128::from(u128::MAX % parts == parts - 1) };
    (1..count).map(|n| part * u128::from(n)).collect()
}

/// A piece of the hash space while the steps are planned.
struct Piece {
    shard: ShardId,
    start: u128,
    end: u128,
}

/// The steps from the open shards of a stream to `target` equal ones; none when they are that already.
pub(crate) fn steps(stream: &Stream, target: u32) -> Vec<Reshard> {
    let wanted = borders(target.max(1));
    let mut plan = Plan { steps: Vec::new(), next: stream.shards.last().map_or(0, |last| last.id.number() + 1) };
    let mut open: Vec<Piece> = stream
        .shards
        .iter()
        .filter(|shard| shard.closed_at.is_none())
        .map(|shard| Piece { shard: shard.id, start: *shard.hash_range.start(), end: *shard.hash_range.end() })
        .collect();
    open.sort_unstable_by_key(|piece| piece.start);
    let mut pieces = Vec::new();
    for piece in open {
        let from = wanted.partition_point(|border| *border <= piece.start);
        let to = wanted.partition_point(|border| *border <= piece.end);
        plan.split(piece, &wanted[from..to], &mut pieces);
    }
    let mut merged: Vec<Piece> = Vec::new();
    for piece in pieces {
        match merged.last_mut() {
            Some(last) if wanted.binary_search(&piece.start).is_err() => plan.merge(last, &piece),
            _ => merged.push(piece),
        }
    }
    plan.steps
}

struct Plan {
    steps: Vec<Reshard>,
    /// The number of the next new shard.
    next: u32,
}

impl Plan {
    fn new_shard(&mut self) -> ShardId {
        let id = ShardId::new(self.next);
        self.next = self.next.saturating_add(1);
        id
    }

    /// Splits a piece at all borders within it, the middle one first, so that a lineage is short.
    fn split(&mut self, piece: Piece, borders: &[u128], into: &mut Vec<Piece>) {
        let middle = borders.len() / 2;
        let Some(at) = borders.get(middle).copied() else { return into.push(piece) };
        self.steps.push(Reshard::Split { shard: piece.shard, at: HashKey(at) });
        let (low, high) = (self.new_shard(), self.new_shard());
        self.split(Piece { shard: low, start: piece.start, end: at - 1 }, &borders[..middle], into);
        self.split(Piece { shard: high, start: at, end: piece.end }, &borders[middle + 1..], into);
    }

    fn merge(&mut self, low: &mut Piece, high: &Piece) {
        self.steps.push(Reshard::Merge { shard: low.shard, adjacent: high.shard });
        *low = Piece { shard: self.new_shard(), start: low.start, end: high.end };
    }
}
