//! Where the events of each minute lie in an archive: they are replayed minute by minute, by the time in the event.
//!
//! Promises that events which came in the order of their times cost one entry a minute, however many there are, and that
//! the entries of all others together are bounded: a run may have events of other minutes in it, which whoever reads it
//! leaves out. Pure.

use std::collections::BTreeMap;

use base::{Position, Timestamp};

/// Positions from one to another, both included.
pub(super) type Run = (Position, Position);

/// Events of other minutes that a run passes over at most, while there are few runs.
const BRIDGED: u64 = 32;
/// Runs that are kept, of 16 bytes. When there are more, every two neighbours of a minute become one.
const MOST_RUNS: usize = 1 << 20;

/// Minutes since 1970, and the runs of positions that have their events.
#[derive(Debug)]
pub(super) struct Minutes {
    minutes: BTreeMap<i64, Minute>,
    /// Events that were looked at.
    seen: u64,
    runs: usize,
    most: usize,
}

#[derive(Debug, Default)]
struct Minute {
    runs: Vec<Run>,
    /// Which of the events that were looked at was its last.
    last: u64,
}

/// The minute of a time.
pub(super) fn minute_of(time: Timestamp) -> i64 {
    time.millis().div_euclid(60_000)
}

impl Default for Minutes {
    fn default() -> Self {
        Self { minutes: BTreeMap::new(), seen: 0, runs: 0, most: MOST_RUNS }
    }
}

impl Minutes {
    /// Adds an event of the archive; events come in the order of their positions.
    pub fn add(&mut self, time: Timestamp, position: Position) {
        self.seen += 1;
        let minute = self.minutes.entry(minute_of(time)).or_default();
        let is_near = self.seen - minute.last <= BRIDGED + 1;
        minute.last = self.seen;
        match minute.runs.last_mut() {
            Some((_, to)) if is_near => *to = position,
            _ => {
                minute.runs.push((position, position));
                self.runs += 1;
            }
        }
        if self.runs > self.most {
            self.coarsen();
        }
    }

    /// Passes over an event that is not wanted.
    pub fn pass(&mut self) {
        self.seen += 1;
    }

    fn coarsen(&mut self) {
        for minute in self.minutes.values_mut() {
            let pairs = minute.runs.chunks(2).filter_map(|pair| Some((pair.first()?.0, pair.last()?.1)));
            minute.runs = pairs.collect();
        }
        let before = self.runs;
        self.runs = self.minutes.values().map(|minute| minute.runs.len()).sum();
        if self.runs > before / 4 * 3 {
            // Most minutes have one run only: there can be no fewer.
            self.most = self.most.max(2 * self.runs);
        }
    }

    /// The minutes in their order.
    pub fn into_iter(self) -> impl Iterator<Item = (i64, Vec<Run>)> {
        self.minutes.into_iter().map(|(minute, found)| (minute, found.runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(runs: &[(u64, u64)]) -> Vec<Run> {
        runs.iter().map(|(from, to)| (Position::new(*from), Position::new(*to))).collect()
    }

    #[test]
    fn events_in_order_are_one_run_a_minute_and_small_gaps_are_bridged() {
        let mut minutes = Minutes::default();
        for (secs, position) in [(0, 1), (30, 2), (59, 5), (60, 6), (5, 7), (61, 8), (62, 9)] {
            minutes.add(Timestamp::from_millis(secs * 1_000), Position::new(position));
        }
        let found: Vec<_> = minutes.into_iter().collect();
        assert_eq!(found, [(0, runs(&[(1, 7)])), (1, runs(&[(6, 9)]))]);
    }

    #[test]
    fn a_large_gap_is_not_read_while_there_are_few_runs() {
        let mut minutes = Minutes::default();
        minutes.add(Timestamp::from_millis(0), Position::new(1));
        (0..BRIDGED).for_each(|_| minutes.pass());
        minutes.add(Timestamp::from_millis(0), Position::new(100));
        (0..=BRIDGED).for_each(|_| minutes.pass());
        minutes.add(Timestamp::from_millis(0), Position::new(200));
        assert_eq!(minutes.into_iter().next().unwrap().1, runs(&[(1, 100), (200, 200)]));
    }

    #[test]
    fn however_events_are_shuffled_the_runs_are_bounded_and_cover_them() {
        let mut minutes = Minutes { most: 1_000, ..Minutes::default() };
        let minute = |n: u64| (n * 7_919 % 200) as i64;
        for n in 0..100_000 {
            minutes.add(Timestamp::from_millis(minute(n) * 60_000), Position::new(n));
            assert!(minutes.runs <= 1_001);
        }
        let found: BTreeMap<i64, Vec<Run>> = minutes.into_iter().collect();
        for n in 0..100_000 {
            let runs = &found[&minute(n)];
            assert!(runs.iter().any(|(from, to)| (*from..=*to).contains(&Position::new(n))), "{n}");
        }
        assert!(found.values().all(|runs| runs.windows(2).all(|pair| pair[0].1 < pair[1].0)), "in order, apart");
    }
}
