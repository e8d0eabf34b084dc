//! Where in its hash range a shard's bytes fall: a histogram of 32 equal parts, which tells where to divide it.
//!
//! Owns the counts of one shard, halved each minute like the heavy keys'. Promises that a [`Border`] lies strictly
//! within the range, so that neither side of a split is empty. Must not know shards, locks or clocks.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::heavy::HALF_LIFE;

const PARTS: usize = 32;
/// A range with fewer hash keys is halved in its middle: its parts would not be equal.
const NARROW: u128 = (PARTS * PARTS) as u128;

/// Where a shard can be divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Border {
    /// The first hash key of the upper side.
    pub at: u128,
    /// The part of the bytes that falls on the lighter side, at most a half; that much when nothing is known.
    pub lighter: f64,
}

/// The histogram.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spread {
    parts: [u64; PARTS],
    age: u64,
}

impl Spread {
    /// Counts bytes at a hash key of the range.
    pub fn add(&mut self, now: Duration, range: &RangeInclusive<u128>, hash: u128, bytes: u64) {
        self.fade(now);
        let part = hash.saturating_sub(*range.start()) / step(range);
        self.parts[usize::try_from(part).unwrap_or(PARTS).min(PARTS - 1)] += bytes;
    }

    /// The border between two parts that divides the bytes most evenly; the middle of the range when nothing is known.
    /// None when the range is a single hash key.
    pub fn border(&self, range: &RangeInclusive<u128>) -> Option<Border> {
        let (start, width) = (*range.start(), range.end().checked_sub(*range.start())?);
        if width == 0 {
            return None;
        }
        let middle = Border { at: start + width / 2 + 1, lighter: 0.5 };
        let total: u64 = self.parts.iter().sum();
        if total == 0 || width < NARROW {
            return Some(middle);
        }
        let mut before = 0;
        let borders = self.parts[..PARTS - 1].iter().enumerate().map(|(n, bytes)| {
            before += bytes;
            (n + 1, before.min(total - before))
        });
        // Among equally good ones the one nearest to the middle.
        let best = borders.max_by_key(|(border, lighter)| (*lighter, std::cmp::Reverse(border.abs_diff(PARTS / 2))));
        best.map(|(border, lighter)| Border {
            at: start + step(range) * border as u128,
            lighter: lighter as f64 / total as f64,
        })
    }

    fn fade(&mut self, now: Duration) {
        let age = now.as_secs() / HALF_LIFE.as_secs();
        let halvings = u32::try_from(age.saturating_sub(self.age)).unwrap_or(u32::MAX);
        if halvings > 0 {
            self.age = age;
            self.parts = self.parts.map(|bytes| bytes.checked_shr(halvings).unwrap_or(0));
        }
    }
}

/// The hash keys of a part.
fn step(range: &RangeInclusive<u128>) -> u128 {
    (range.end() - range.start()) / PARTS as u128 + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: RangeInclusive<u128> = 0..=u128::MAX;

    #[test]
    fn a_range_is_divided_where_its_bytes_are() {
        let mut spread = Spread::default();
        assert_eq!(spread.border(&ALL), Some(Border { at: 1 << 127, lighter: 0.5 }));
        for n in 0..1_000_u128 {
            // All in the first quarter.
            spread.add(Duration::ZERO, &ALL, u128::MAX / 4_000 * n, 100);
        }
        let border = spread.border(&ALL).unwrap();
        assert_eq!(border.at, 1 << 125, "the eighth of the range that has half of the bytes");
        assert!(border.lighter > 0.45, "{border:?}");
        // Minutes later they are at the other end.
        for n in 0..1_000_u128 {
            spread.add(Duration::from_secs(1_200), &ALL, u128::MAX - n, 100);
        }
        let border = spread.border(&ALL).unwrap();
        assert_eq!(border.lighter, 0.0, "all that is left is in one part: {border:?}");
    }

    proptest! {
        #[test]
        fn neither_side_of_a_border_is_empty(
            start in any::<u128>(), width in prop_oneof![0_u128..2_000, any::<u128>()],
            hashes in proptest::collection::vec(any::<u128>(), 0..50),
        ) {
            let range = start..=start.saturating_add(width);
            let mut spread = Spread::default();
            for hash in hashes {
                let hash = match (range.end() - range.start()).checked_add(1) {
                    Some(count) => range.start() + hash % count,
                    None => hash,
                };
                spread.add(Duration::ZERO, &range, hash, 1);
            }
            match spread.border(&range) {
                Some(border) => prop_assert!(*range.start() < border.at && border.at <= *range.end()),
                None => prop_assert_eq!(range.start(), range.end()),
            }
        }
    }
}
