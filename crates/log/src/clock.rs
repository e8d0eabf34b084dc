//! The wall clock, as far as it can be believed.
//!
//! Owns the time by which retention is judged and the times of arrival. Promises that a clock that jumps neither hides
//! nor deletes a record before its time, unless it stays wrong for more than an hour. Pure: time is handed in.
//!
//! The wall clock is held against the monotonic one. It may run ahead of it by five minutes at once; a jump further
//! forward is believed only once it has lasted for an hour, in which retention goes on by the time before the jump.
//! (A suspended machine looks the same: its records are readable for an hour longer.) So that a restart is no way
//! around this, the believed time is written down whenever retention is enforced and at a clean stop; what passed
//! since then, or since the last record, is a jump like any other.
//!
//! A clock that is set back is believed at once for retention, because it hides nothing. For the times of arrival it
//! is believed only after an hour: until then they stand still at the last one. Else records that a clock stamped by
//! mistake with last year would be past their retention as soon as it is put right.

use std::time::Duration;

use base::Timestamp;

/// What the wall clock may gain on the monotonic one at once.
const TOLERANCE: Duration = Duration::from_secs(300);
/// How long a clock that jumped is not believed.
const DOUBT: Duration = Duration::from_secs(3_600);

/// The time by which retention is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SteadyClock {
    believed: Timestamp,
    wall: Timestamp,
    instant: Duration,
    doubted_until: Option<Duration>,
}

impl SteadyClock {
    /// A clock after a start: `known` was believed, or was a record's arrival, before it. None on the first start.
    pub fn new(known: Option<Timestamp>, wall: Timestamp, instant: Duration) -> Self {
        let believed = known.unwrap_or(wall);
        let mut clock = Self { believed, wall: believed, instant, doubted_until: None };
        clock.step(wall, instant);
        clock
    }

    /// The time to be believed now.
    pub fn step(&mut self, wall: Timestamp, instant: Duration) -> Timestamp {
        // Threads may come late with an instant that another has passed.
        let passed = instant.saturating_sub(self.instant);
        if wall.since(self.wall + passed) > TOLERANCE {
            self.doubted_until = Some(instant + DOUBT);
        }
        let expected = self.believed + passed;
        let ahead = wall.since(expected) > TOLERANCE;
        let doubted = ahead && self.doubted_until.is_some_and(|until| instant < until);
        self.believed = if doubted { expected } else { wall };
        (self.wall, self.instant) = (wall, self.instant.max(instant));
        self.believed
    }
}

/// The times of arrival.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    back_since: Option<Duration>,
}

impl Arrivals {
    /// When a record arrives now, after one that arrived at `last`.
    pub fn step(&mut self, last: Timestamp, wall: Timestamp, instant: Duration) -> Timestamp {
        if wall >= last {
            self.back_since = None;
            return wall;
        }
        let since = *self.back_since.get_or_insert(instant);
        if instant.saturating_sub(since) < DOUBT {
            return last;
        }
        self.back_since = None;
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_millis(s * 1_000)
    }

    #[test]
    fn a_clock_that_jumps_forward_is_doubted_for_an_hour() {
        let mut clock = SteadyClock::new(None, at(1_000), secs(0));
        assert_eq!(clock.step(at(1_060), secs(60)), at(1_060));
        assert_eq!(clock.step(at(1_000_000), secs(120)), at(1_120));
        assert_eq!(clock.step(at(1_003_000), secs(3_120)), at(4_120));
        assert_eq!(clock.step(at(1_003_600), secs(3_720)), at(1_003_600));
        assert_eq!(clock.step(at(500), secs(3_780)), at(500), "a clock set back hides nothing");
        assert_eq!(clock.step(at(1_003_720), secs(3_840)), at(560), "put right, it is a jump again");
    }

    #[test]
    fn a_clock_that_goes_on_jumping_is_never_believed_and_one_that_is_put_right_is_at_once() {
        let mut clock = SteadyClock::new(None, at(0), secs(0));
        for n in 1..100 {
            assert_eq!(clock.step(at(n * 100_000), secs(n as u64 * 1_000)), at(n * 1_000));
        }
        assert_eq!(clock.step(at(100_010), secs(100_000)), at(100_010));
    }

    #[test]
    fn time_that_passed_over_a_stop_is_a_jump_too() {
        let mut clock = SteadyClock::new(Some(at(1_000)), at(90_000), secs(7));
        assert_eq!(clock.step(at(90_010), secs(17)), at(1_010));
        assert_eq!(clock.step(at(93_600), secs(3_607)), at(93_600));
        let mut clock = SteadyClock::new(Some(at(1_000)), at(1_200), secs(7));
        assert_eq!(clock.step(at(1_210), secs(17)), at(1_210), "a short stop is none");
        let mut clock = SteadyClock::new(Some(at(90_000)), at(1_000), secs(7));
        assert_eq!(clock.step(at(1_010), secs(17)), at(1_010), "nor is a clock that was ahead");
    }

    #[test]
    fn arrivals_stand_still_for_an_hour_while_the_clock_is_set_back() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.step(at(0), at(1_000), secs(0)), at(1_000));
        assert_eq!(arrivals.step(at(1_000), at(-9_000), secs(10)), at(1_000));
        assert_eq!(arrivals.step(at(1_000), at(-9_000), secs(3_600)), at(1_000));
        assert_eq!(arrivals.step(at(1_000), at(-9_000), secs(3_610)), at(-9_000));
        assert_eq!(arrivals.step(at(-9_000), at(-9_100), secs(3_700)), at(-9_000), "the next time is another one");
        assert_eq!(arrivals.step(at(-9_000), at(2_000), secs(3_800)), at(2_000));
    }
}
