//! Where the events of each minute lie in an archive: they are replayed minute by minute, by the time in the event.
//!
//! Promises that events which came in the order of their times cost one entry a minute, however many there are. Pure.

use std::collections::BTreeMap;

use base::{Position, Timestamp};

/// Positions from one to another, both included.
pub(super) type Run = (Position, Position);

/// Minutes since 1970, and the runs of positions that have their events.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    runs: BTreeMap<i64, Vec<Run>>,
    /// The minute of the event that was added last.
    last: Option<i64>,
}

/// The minute of a time.
pub(super) fn minute_of(time: Timestamp) -> i64 {
    time.millis().div_euclid(60_000)
}

impl Minutes {
    /// Adds an event of the archive; events come in the order of their positions.
    pub fn add(&mut self, time: Timestamp, position: Position) {
        let minute = minute_of(time);
        let runs = self.runs.entry(minute).or_default();
        match runs.last_mut() {
            Some((_, to)) if self.last == Some(minute) => *to = position,
            _ => runs.push((position, position)),
        }
        self.last = Some(minute);
    }

    /// Says that what came before is not followed by its like: an event that is not wanted lies between.
    pub fn interrupt(&mut self) {
        self.last = None;
    }

    /// The minutes in their order.
    pub fn into_iter(self) -> impl Iterator<Item = (i64, Vec<Run>)> {
        self.runs.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_order_are_one_run_a_minute_and_others_are_found_all_the_same() {
        let mut minutes = Minutes::default();
        for (secs, position) in [(0, 1), (30, 2), (59, 5), (60, 6), (5, 7), (61, 8), (62, 9)] {
            minutes.add(Timestamp::from_millis(secs * 1_000), Position::new(position));
        }
        let runs = |runs: &[(u64, u64)]| -> Vec<Run> {
            runs.iter().map(|(from, to)| (Position::new(*from), Position::new(*to))).collect()
        };
        let found: Vec<_> = minutes.into_iter().collect();
        assert_eq!(found, [(0, runs(&[(1, 5), (7, 7)])), (1, runs(&[(6, 6), (8, 9)]))]);
    }
}
