//! When an on-demand stream divides and joins its shards: a pure step over what each shard took in the last minute.
//!
//! Promises: a shard above the rate is split, where its bytes fall, unless a split cannot help because most of them
//! have one hash key or one partition key; two neighbours that together stayed below a lower rate for a time are
//! merged; the shards are never fewer than the stream's least nor more than there is room for. A shard's time begins
//! when it is opened, so what was just split or merged rests before it is merged again.
//! Must not know logs or clocks.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use base::{HashKey, ShardId};
use log::Reshard;

use super::spread::Border;

/// When shards are split and merged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Policy {
    /// Bytes a second from which on a shard is split.
    pub split: f64,
    /// Bytes a second below which two neighbours together are merged.
    pub merge: f64,
    /// For how long they must have been below it.
    pub calm: Duration,
}

/// The fewest shards of an on-demand stream: what the service creates it with ("Quotas and limits": 4 MB/s of write).
pub(crate) const LEAST: usize = 4;
/// A split that leaves less than this part of the bytes on its lighter side does not help.
const HELPS: f64 = 0.05;

/// An open shard, as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub shard: ShardId,
    pub range: RangeInclusive<u128>,
    /// Bytes a second in, mean of a minute.
    pub rate: f64,
    /// The part of them that the heaviest partition key has for certain.
    pub one_key: f64,
    /// Where it can be divided.
    pub border: Option<Border>,
}

impl Observed {
    /// Where to split it, when that helps.
    fn split(&self, policy: &Policy) -> Option<HashKey> {
        let border = self.border.filter(|border| self.rate >= policy.split && border.lighter >= HELPS)?;
        // What would still be there if its heaviest key were elsewhere: little, when that key alone is the trouble.
        let others = self.rate * (1.0 - self.one_key);
        (self.rate * self.one_key < policy.split || others >= policy.split / 2.0).then_some(HashKey(border.at))
    }

    /// Whether its rate is too high and no split can change that.
    pub fn is_stuck(&self, policy: &Policy) -> bool {
        self.rate >= policy.split && self.split(policy).is_none()
    }
}

/// Since when each pair of neighbours has been calm, by the pair.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calm(BTreeMap<(ShardId, ShardId), Duration>);

/// How many shards a stream may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// It is not merged to fewer than these.
    pub least: usize,
    /// So many more may be opened.
    pub room: usize,
}

/// What to do with a stream's open shards, given in any order.
pub(crate) fn step(
    calm: &mut Calm,
    now: Duration,
    policy: &Policy,
    bounds: Bounds,
    mut open: Vec<Observed>,
) -> Vec<Reshard> {
    open.sort_unstable_by_key(|shard| *shard.range.start());
    observe(calm, now, policy, &open);
    let mut hot: Vec<(&Observed, HashKey)> = open.iter().filter_map(|s| Some((s, s.split(policy)?))).collect();
    if !hot.is_empty() {
        hot.sort_by(|(a, _), (b, _)| b.rate.total_cmp(&a.rate));
        let splits = hot.into_iter().take(bounds.room);
        return splits.map(|(shard, at)| Reshard::Split { shard: shard.shard, at }).collect();
    }
    merges(calm, now, policy, bounds.least, &open)
}

fn observe(calm: &mut Calm, now: Duration, policy: &Policy, open: &[Observed]) {
    let before = std::mem::take(&mut calm.0);
    for (low, high) in open.iter().zip(open.iter().skip(1)) {
        if low.rate + high.rate < policy.merge {
            let pair = (low.shard, high.shard);
            calm.0.insert(pair, before.get(&pair).copied().unwrap_or(now));
        }
    }
}

fn merges(calm: &Calm, now: Duration, policy: &Policy, least: usize, open: &[Observed]) -> Vec<Reshard> {
    let (mut steps, mut left, mut at) = (Vec::new(), open.len(), 0);
    while at + 1 < open.len() && left > least {
        let pair = (open[at].shard, open[at + 1].shard);
        let rested = calm.0.get(&pair).is_some_and(|since| now.saturating_sub(*since) >= policy.calm);
        if rested {
            steps.push(Reshard::Merge { shard: pair.0, adjacent: pair.1 });
            left -= 1;
            at += 1;
        }
        at += 1;
    }
    steps
}

#[cfg(test)]
mod tests;
