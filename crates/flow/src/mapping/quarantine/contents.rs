//! Which records a quarantine has, and which of them go first. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use base::{Position, SequenceNumber, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{MAX_AGE, MAX_BYTES, MAX_RECORDS};

/// Why a record is in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was too old.
    Expired,
    /// Its retries are used up.
    Attempts,
    /// It could not be handed to the function.
    Refused,
    /// Somebody said so.
    Skipped,
}

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The stream's number: one that is created again under its name has another.
    pub stream: u32,
    /// The shard.
    pub shard: ShardId,
    /// The place in the journal.
    pub position: Position,
}

/// A record in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it comes from.
    pub origin: Origin,
    /// When it came into its stream.
    pub arrival: Timestamp,
    /// When it came here.
    pub at: Timestamp,
    /// Why it is here.
    pub why: Why,
    /// What was wrong last.
    pub reason: String,
    /// Attempts that were made.
    pub attempts: u32,
    /// Bytes of its data.
    pub bytes: usize,
}

impl Kept {
    /// Its sequence number in its stream.
    pub fn sequence(&self) -> SequenceNumber {
        SequenceNumber::new(self.origin.position, self.origin.shard, self.arrival)
    }
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    kept: BTreeMap<Position, Kept>,
    origins: HashSet<Origin>,
    /// Places behind the first one that is left at which nothing is any more.
    removed: BTreeSet<Position>,
    /// Behind everything that there ever was.
    end: Position,
    bytes: usize,
}

impl Contents {
    /// Nothing, of a quarantine in which everything before `floor` is gone.
    pub fn after(floor: Position) -> Self {
        Self { end: floor, ..Self::default() }
    }

    pub fn add(&mut self, place: Position, kept: Kept) {
        self.end = self.end.max(place.next());
        // Twice only where the log has it twice: an append whose outcome was not known was repeated.
        if !self.origins.insert(kept.origin) {
            self.removed.insert(place);
            return;
        }
        self.bytes += kept.bytes;
        self.kept.insert(place, kept);
    }

    pub fn remove(&mut self, place: Position) {
        let Some(kept) = self.kept.remove(&place) else { return };
        self.origins.remove(&kept.origin);
        self.bytes -= kept.bytes;
        self.removed.insert(place);
        let floor = self.floor();
        self.removed = self.removed.split_off(&floor);
    }

    pub fn has(&self, origin: Origin) -> bool {
        self.origins.contains(&origin)
    }

    /// Those that are here because somebody said so.
    pub fn skipped(&self) -> impl Iterator<Item = Origin> {
        self.kept.values().filter(|kept| kept.why == Why::Skipped).map(|kept| kept.origin)
    }

    /// Where records are that come from there.
    pub fn places(&self, origins: &BTreeSet<Origin>) -> Vec<Position> {
        let all = self.kept.iter().filter(|(_, kept)| origins.contains(&kept.origin));
        all.map(|(place, _)| *place).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Position, &Kept)> {
        self.kept.iter()
    }

    /// The first place that is needed.
    pub fn floor(&self) -> Position {
        self.kept.keys().next().copied().unwrap_or(self.end)
    }

    pub fn removed(&self) -> Vec<Position> {
        self.removed.iter().copied().collect()
    }

    /// Lets the oldest go until the bounds hold; how many for which of them.
    pub fn evict(&mut self, now: Timestamp) -> Vec<(&'static str, usize)> {
        let (mut aged, mut many) = (0, 0);
        while let Some((place, kept)) = self.kept.first_key_value() {
            let too_old = now.since(kept.at) > MAX_AGE;
            if !too_old && self.bytes <= MAX_BYTES && self.kept.len() <= MAX_RECORDS {
                break;
            }
            *(if too_old { &mut aged } else { &mut many }) += 1;
            let place = *place;
            self.remove(place);
        }
        [("age", aged), ("size", many)].into_iter().filter(|(_, records)| *records > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(position: u64, at: i64, bytes: usize) -> Kept {
        let origin = Origin { stream: 1, shard: ShardId::new(0), position: Position::new(position) };
        let (arrival, at) = (Timestamp::from_millis(0), Timestamp::from_millis(at));
        Kept { origin, arrival, at, why: Why::Attempts, reason: String::new(), attempts: 1, bytes }
    }

    #[test]
    fn what_is_removed_is_remembered_only_behind_the_first_that_is_left() {
        let mut contents = Contents::default();
        (1..=4).for_each(|n| contents.add(Position::new(10 * n), kept(n, 0, 1)));
        contents.add(Position::new(50), kept(2, 0, 1));
        assert_eq!((contents.iter().count(), contents.removed()), (4, vec![Position::new(50)]), "once");
        contents.remove(Position::new(20));
        assert_eq!((contents.floor(), contents.removed()), (Position::new(10), [20, 50].map(Position::new).to_vec()));
        contents.remove(Position::new(10));
        assert_eq!((contents.floor(), contents.removed()), (Position::new(30), vec![Position::new(50)]));
        contents.remove(Position::new(30));
        contents.remove(Position::new(40));
        assert_eq!((contents.floor(), contents.removed(), contents.bytes), (Position::new(51), vec![], 0));
    }

    #[test]
    fn the_oldest_go_first_when_there_is_too_much_or_they_are_too_old() {
        let mut contents = Contents::default();
        let day = 86_400_000;
        contents.add(Position::new(1), kept(1, 0, 10));
        contents.add(Position::new(2), kept(2, 14 * day, MAX_BYTES / 2));
        contents.add(Position::new(3), kept(3, 14 * day, MAX_BYTES / 2));
        contents.add(Position::new(4), kept(4, 14 * day, 10));
        assert_eq!(contents.evict(Timestamp::from_millis(14 * day)), [("size", 2)]);
        assert_eq!(contents.evict(Timestamp::from_millis(28 * day)), []);
        assert_eq!(contents.evict(Timestamp::from_millis(28 * day + 1)), [("age", 2)]);
    }
}
