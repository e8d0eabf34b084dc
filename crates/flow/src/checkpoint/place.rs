//! A consumer's place on a shard, or on a lane of it, as it is kept.
//!
//! Owns the row's form, and which lane a partition key is of. Promises that a key is always of the same lane, and that
//! after a change of the number of lanes no record is handled again that a former lane had dealt with. Pure.
//!
//! ```text
//! shard             {"v":1,"next":position,"before":[[position,…],…],"window":{"start":ms,"end":ms,"state":"JSON"}}
//! shard/03.10       the same, of lane 3 of 10
//! ```

use base::{PartitionKey, Position, Timestamp};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// Changes of the number of lanes that are remembered while they matter. Beyond them records are handled again.
const MAX_BEFORE: usize = 8;

/// A part of a shard's partition keys that is read by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Which one, from 0.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

/// A tumbling window that is open, with what its function gave back last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its begin.
    pub start: Timestamp,
    /// Its end, which is not in it.
    pub end: Timestamp,
    /// JSON.
    pub state: String,
}

/// What a consumer has dealt with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Everything before it.
    pub next: Position,
    /// And what the lanes had dealt with whose number was another: for each time the first open position of each lane.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Vec<Position>>,
    /// The window that is open there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

impl Lane {
    /// All of a shard.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Whether a key's records are of this lane.
    pub fn has(self, key: &PartitionKey) -> bool {
        self.of == 1 || lane_of(key, self.of as usize) == self.index as usize
    }

    /// The lane of a key.
    pub fn of_key(key: &PartitionKey, of: u32) -> Self {
        Self { index: lane_of(key, of as usize) as u32, of }
    }

    /// What a shard's id is followed by in the row's key.
    pub(super) fn suffix(self) -> String {
        if self.of == 1 { String::new() } else { format!("/{:02}.{:02}", self.index, self.of) }
    }

    /// The lane of such a suffix.
    pub(super) fn from_suffix(suffix: &str) -> Option<Self> {
        if suffix.is_empty() {
            return Some(Self::WHOLE);
        }
        let (index, of) = suffix.strip_prefix('/')?.split_once('.')?;
        Some(Self { index: index.parse().ok()?, of: of.parse().ok()? })
    }
}

/// By the low half of the key's MD5: the high one has led the record to its shard. Kept in checkpoints by what it
/// decides: it must never be another.
fn lane_of(key: &PartitionKey, lanes: usize) -> usize {
    let hash = u128::from_be_bytes(Md5::digest(key.as_str().as_bytes()).into());
    (((hash & u128::from(u64::MAX)) * lanes as u128) >> 64) as usize
}

impl Place {
    /// A place with nothing to be said beside it.
    pub fn at(next: Position) -> Self {
        Self { next, ..Self::default() }
    }

    /// Whether a lane of former times dealt with a record.
    pub fn was_done(&self, key: &PartitionKey, position: Position) -> bool {
        self.before.iter().any(|lanes| lanes.get(lane_of(key, lanes.len())).is_some_and(|next| position < *next))
    }

    /// The place further on: what was before it need not be remembered any more.
    pub fn moved(&self, next: Position, window: Option<Window>) -> Self {
        let before = self.before.iter().filter(|lanes| lanes.iter().any(|former| *former > next)).cloned().collect();
        Self { next, before, window }
    }

    /// The places of new lanes where the `former` ones, in their order, stood.
    pub(super) fn divided(former: &[Self], of: u32) -> Vec<Self> {
        let nexts: Vec<Position> = former.iter().map(|place| place.next).collect();
        let next = nexts.iter().min().copied().unwrap_or_default();
        let mut before: Vec<Vec<Position>> = former.iter().flat_map(|place| place.before.clone()).collect();
        before.sort();
        before.dedup();
        if nexts.iter().any(|former| *former > next) {
            before.push(nexts);
        }
        let too_many = before.len().saturating_sub(MAX_BEFORE);
        before.drain(..too_many);
        let place = Self { next, before, window: None };
        let mut places = vec![place; of as usize];
        // Only a shard of one lane has windows.
        if let Some(first) = places.first_mut() {
            first.window = former.iter().find_map(|place| place.window.clone());
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> PartitionKey {
        format!("key-{n}").parse().unwrap()
    }

    #[test]
    fn lanes_are_pinned_and_share_the_keys_evenly() {
        // Kept in checkpoints: a change here would lose records.
        assert_eq!((0..8).map(|n| lane_of(&key(n), 10)).collect::<Vec<_>>(), [2, 3, 3, 6, 7, 5, 2, 3]);
        for of in 2..=10 {
            let mut counts = vec![0; of];
            (0..10_000).for_each(|n| counts[lane_of(&key(n), of)] += 1);
            assert!(counts.iter().all(|count| *count * of > 8_000 && *count * of < 12_000), "{of}: {counts:?}");
        }
    }

    #[test]
    fn what_a_former_lane_did_is_not_done_again_and_nothing_is_lost() {
        let at = |next: u64| Place::at(Position::new(next));
        let former: Vec<Place> = [10, 40, 25].map(at).to_vec();
        let places = Place::divided(&former, 2);
        assert!(places.len() == 2 && places.iter().all(|place| place.next == Position::new(10)));
        let again = Place::divided(&[places[0].moved(Position::new(20), None), places[1].clone()], 4);
        for n in 0..50 {
            for position in 10..50 {
                let done = position < former[lane_of(&key(n), 3)].next.get();
                assert_eq!(places[0].was_done(&key(n), Position::new(position)), done);
                let since = done || position < [20, 10][lane_of(&key(n), 2)];
                assert_eq!(again[3].was_done(&key(n), Position::new(position)), since);
            }
        }
        assert_eq!(places[0].moved(Position::new(39), None).before.len(), 1);
        assert_eq!(places[0].moved(Position::new(40), None).before.len(), 0);
        assert_eq!(Place::divided(&[at(7)], 3), vec![at(7); 3]);
    }

    #[test]
    fn rows_of_before_are_read() {
        assert_eq!(serde_json::from_str::<Place>(r#"{"v":1,"next":7}"#).unwrap(), Place::at(Position::new(7)));
        let lane = Lane { index: 3, of: 10 };
        assert_eq!((lane.suffix().as_str(), Lane::from_suffix("/03.10")), ("/03.10", Some(lane)));
        assert_eq!((Lane::WHOLE.suffix().as_str(), Lane::from_suffix("")), ("", Some(Lane::WHOLE)));
    }
}
