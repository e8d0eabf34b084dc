//! The wall clock, as far as it can be believed.
//!
//! Owns the time by which retention is judged and the times of arrival. Promises that a clock that jumps neither hides
//! nor deletes a record before its time, unless it stays wrong for more than an hour. Pure: time is handed in.
//!
//! The wall clock is held against the monotonic one. It may run ahead of it by five minutes at once; a jump further
//! forward is believed only once it has lasted for an hour, in which retention goes on by the time before the jump.
//! (A suspended machine looks the same: its records are readable for an hour longer.) So that a restart is no way
//! around this, the believed time is written down when a journal is begun, whenever retention is enforced and at a
//! clean stop; what passed since then is a jump like any other.
//!
//! A clock that is set back is believed at once for retention, because it hides nothing. For the times of arrival it
//! is believed only after an hour, in which they go on by the monotonic clock. Else records that a clock stamped by
//! mistake with last year would be past their retention as soon as it is put right. Their time is written down
//! together with the believed one, and with what the wall showed: a clock that is behind at a start still tells how
//! long the stop was.
//!
//! Forward the times of arrival follow at once. It may be a clock that was put right or a machine that slept, and a
//! record that is stamped too late is kept too long, where one that is stamped too early is lost. What cannot be known
//! is that a clock is behind when a journal is begun: what arrives before it is put right counts as so much older.

use std::time::Duration;

use base::Timestamp;

use crate::snapshot::Arrived;

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
    /// A clock after a start: `believed` was the time before it, or is, on the first one.
    pub fn new(believed: Timestamp, wall: Timestamp, instant: Duration) -> Self {
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
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// The time that was given last, and when that was.
    given: (Timestamp, Duration),
    /// What the wall clock showed then.
    wall: Timestamp,
    back_since: Option<Duration>,
}

impl Arrivals {
    /// Arrivals after a start: the last record came at `last`, and `seen` was written down.
    pub fn new(last: Timestamp, seen: Arrived, wall: Timestamp, instant: Duration) -> Self {
        let behind = seen.time.since(wall) > TOLERANCE;
        let stopped = if behind { wall.since(seen.wall) } else { Duration::ZERO };
        Self { given: (last.max(seen.time + stopped), instant), wall, back_since: None }
    }

    /// What is written down, `believed` being the time by which retention is judged. A jump forward counts only when
    /// that one believes it: no record may ever have been stamped by it.
    pub fn note(&mut self, believed: Timestamp, wall: Timestamp, instant: Duration) -> Arrived {
        let expected = self.given.0 + instant.saturating_sub(self.given.1);
        self.given.0 = self.given.0 + believed.since(expected);
        Arrived { time: expected.max(believed), wall }
    }

    /// When a record that comes now arrives.
    pub fn step(&mut self, wall: Timestamp, instant: Duration) -> Timestamp {
        let passed = instant.saturating_sub(self.given.1);
        let (expected, steady) = (self.given.0 + passed, self.wall + passed);
        if expected.since(wall) <= TOLERANCE {
            self.back_since = None;
            self.given = (wall.max(self.given.0), instant);
        } else {
            if steady.since(wall) > TOLERANCE || wall.since(steady) > TOLERANCE {
                self.back_since = None;
            }
            let since = *self.back_since.get_or_insert(instant);
            let doubted = instant.saturating_sub(since) < DOUBT;
            self.back_since = self.back_since.filter(|_| doubted);
            self.given = (if doubted { expected } else { wall }, instant);
        }
        self.wall = wall;
        self.given.0
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
        let mut clock = SteadyClock::new(at(1_000), at(1_000), secs(0));
        assert_eq!(clock.step(at(1_060), secs(60)), at(1_060));
        assert_eq!(clock.step(at(1_000_000), secs(120)), at(1_120));
        assert_eq!(clock.step(at(1_003_000), secs(3_120)), at(4_120));
        assert_eq!(clock.step(at(1_003_600), secs(3_720)), at(1_003_600));
        assert_eq!(clock.step(at(500), secs(3_780)), at(500), "a clock set back hides nothing");
        assert_eq!(clock.step(at(1_003_720), secs(3_840)), at(560), "put right, it is a jump again");
    }

    #[test]
    fn a_clock_that_goes_on_jumping_is_never_believed_and_one_that_is_put_right_is_at_once() {
        let mut clock = SteadyClock::new(at(0), at(0), secs(0));
        for n in 1..100 {
            assert_eq!(clock.step(at(n * 100_000), secs(n as u64 * 1_000)), at(n * 1_000));
        }
        assert_eq!(clock.step(at(100_010), secs(100_000)), at(100_010));
    }

    #[test]
    fn time_that_passed_over_a_stop_is_a_jump_too() {
        let mut clock = SteadyClock::new(at(1_000), at(90_000), secs(7));
        assert_eq!(clock.step(at(90_010), secs(17)), at(1_010));
        assert_eq!(clock.step(at(93_600), secs(3_607)), at(93_600));
        let mut clock = SteadyClock::new(at(1_000), at(1_200), secs(7));
        assert_eq!(clock.step(at(1_210), secs(17)), at(1_210), "a short stop is none");
        let mut clock = SteadyClock::new(at(90_000), at(1_000), secs(7));
        assert_eq!(clock.step(at(1_010), secs(17)), at(1_010), "nor is a clock that was ahead");
    }

    /// Written down when the wall showed the same.
    fn right(time: Timestamp) -> Arrived {
        Arrived { time, wall: time }
    }

    #[test]
    fn arrivals_go_on_steadily_for_an_hour_while_the_clock_is_set_back() {
        let mut arrivals = Arrivals::new(at(0), right(at(0)), at(0), secs(0));
        assert_eq!(arrivals.step(at(10), secs(10)), at(10));
        assert_eq!(arrivals.step(at(-90_000), secs(70_000)), at(70_000), "nothing came for long");
        assert_eq!(arrivals.step(at(-89_990), secs(70_010)), at(70_010));
        assert_eq!(arrivals.step(at(-86_410), secs(73_590)), at(73_590));
        assert_eq!(arrivals.step(at(-86_400), secs(73_600)), at(-86_400), "it is believed");
        assert_eq!(arrivals.step(at(-86_600), secs(73_700)), at(-86_400), "a little does not show");
        assert_eq!(arrivals.step(at(2_000), secs(73_800)), at(2_000), "nor is forward ever doubted");
        assert_eq!(arrivals.step(at(-2_000), secs(73_900)), at(2_100));
        assert_eq!(arrivals.step(at(-9_000), secs(80_000)), at(8_200), "it is another jump, and doubted anew");
    }

    #[test]
    fn a_start_under_a_clock_that_is_behind_goes_on_from_what_was_written_down() {
        let mut arrivals = Arrivals::new(at(1_000), right(at(50_000)), at(19_990), secs(7));
        assert_eq!(arrivals.step(at(20_000), secs(17)), at(50_010));
        assert_eq!(arrivals.step(at(50_100), secs(27)), at(50_100));
        let first = |last, seen| Arrivals::new(at(last), seen, at(0), secs(7)).step(at(1), secs(8));
        assert_eq!(first(1_000, right(at(0))), at(1_001), "or from the last record");
    }

    #[test]
    fn a_clock_that_is_behind_before_and_after_a_stop_tells_how_long_it_was() {
        let first = |seen, wall: i64| Arrivals::new(at(1_000), seen, at(wall), secs(7)).step(at(wall + 10), secs(17));
        let seen = Arrived { time: at(50_000), wall: at(20_000) };
        assert_eq!(first(seen, 30_000), at(60_010));
        assert_eq!(first(seen, 10_000), at(50_010), "set back once more, it tells nothing");
        assert_eq!(first(seen, 70_000), at(70_010), "put right meanwhile, it tells all");
    }
}
