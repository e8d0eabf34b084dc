use base::SeededRng;
use bytes::Bytes;

use super::*;

const RETRY: RetryPolicy = RetryPolicy {
    first_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(8),
    max_attempts: Some(3),
    max_age: None,
};

fn policy() -> Policy {
    Policy {
        records: 4,
        bytes: 1_000,
        weigh: |r| r.data.len(),
        window: Duration::ZERO,
        in_flight: 1,
        retry: RETRY,
        max_age: None,
        bisect: false,
        lanes: 1,
        tumble: None,
    }
}

fn record(position: u64, bytes: usize) -> Record {
    Record {
        position: Position::new(position),
        arrival: Timestamp::from_millis(i64::try_from(position).unwrap() * 1_000),
        partition_key: "k".parse().unwrap(),
        explicit_hash_key: None,
        data: Bytes::from(vec![b'x'; bytes]),
        sealed: false,
    }
}

/// Drives a state, noting what it does; positions as plain numbers.
struct Bench {
    state: ShardState,
    instant: Duration,
    wall: Timestamp,
    /// Up to when everything has come, if that is not now.
    settled: Option<Timestamp>,
    rng: SeededRng,
    log: Vec<String>,
    flights: Vec<u64>,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let mut bench = Self {
            state: ShardState::new(policy, Position::new(1), None),
            instant: Duration::ZERO,
            wall: Timestamp::from_millis(0),
            settled: None,
            rng: SeededRng::new(1),
            log: Vec::new(),
            flights: Vec::new(),
        };
        bench.step(Input::Tick);
        bench.log.clear();
        bench
    }

    fn now(&self) -> Now {
        let Self { wall, instant, settled, .. } = *self;
        Now { believed: wall, wall, instant, settled: Some(settled.unwrap_or(wall)) }
    }

    fn step(&mut self, input: Input) {
        let now = self.now();
        for action in self.state.step(now, &self.rng, input) {
            let numbers =
                |records: &[Record]| records.iter().map(|r| r.position.to_string()).collect::<Vec<_>>().join(",");
            self.log.push(match action {
                Action::Read { .. } => continue,
                Action::Deliver { flight, records, attempt, window } => {
                    self.flights.push(flight);
                    match window {
                        None => format!("deliver {}#{attempt}", numbers(&records)),
                        Some((span, false)) => {
                            format!("deliver {}#{attempt} in {}", numbers(&records), span.start.millis())
                        }
                        Some((span, true)) => format!("close {}#{attempt}", span.start.millis()),
                    }
                }
                Action::Commit(next) => format!("commit {next}"),
                Action::GiveUp { flight, records, attempts, why, .. } => {
                    self.flights.push(flight);
                    format!("give up {}#{attempts} {why:?}", numbers(&records))
                }
                Action::End => "end".to_owned(),
            });
        }
    }

    fn read(&mut self, positions: std::ops::RangeInclusive<u64>, at_end: bool) {
        let next = Position::new(positions.end() + 1);
        self.step(Input::Read(Slice {
            records: positions.map(|p| record(p, 10)).collect(),
            next,
            at_end,
            ..Slice::default()
        }));
    }

    /// Ends the last batch that was delivered.
    fn finish(&mut self, outcome: Outcome) {
        let flight = *self.flights.last().unwrap();
        self.step(Input::Finished { flight, outcome });
    }

    /// Ends the last attempt to put something away.
    fn put_away(&mut self, result: Result<(), String>) {
        let flight = *self.flights.last().unwrap();
        self.step(Input::PutAway { flight, result });
    }

    fn wake_at(&self) -> Option<Duration> {
        self.state.wake_at(self.now())
    }

    /// Moves to the time the state waits for.
    fn wake(&mut self) {
        let at = self.wake_at().expect("nothing is waited for");
        self.wall = self.wall + at.saturating_sub(self.instant);
        self.instant = at;
        self.step(Input::Tick);
    }

    fn took(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

fn failed() -> Outcome {
    Outcome::Failed { from: None, reason: "no".into() }
}

#[test]
fn what_was_read_of_a_forgotten_shard_is_handled_before_the_end() {
    let mut bench = Bench::new(policy());
    bench.read(1..=6, false);
    bench.step(Input::Gone);
    assert_eq!(bench.log, ["deliver 1,2,3,4#1"]);
    bench.finish(Outcome::Done);
    bench.finish(Outcome::Done);
    assert_eq!(bench.log[1..], ["deliver 5,6#1", "commit 5", "commit 7", "end"]);
}

#[test]
fn batches_follow_each_other_and_commit_after_their_outcome() {
    let mut bench = Bench::new(policy());
    bench.read(1..=6, false);
    assert_eq!(bench.took(), ["deliver 1,2,3,4#1"]);
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["deliver 5,6#1", "commit 5"]);
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["commit 7"]);
    assert_eq!(bench.state.oldest(), None);
}

#[test]
fn bytes_cut_batches_and_a_heavy_record_goes_alone() {
    let mut bench = Bench::new(policy());
    let records = vec![record(1, 400), record(2, 400), record(3, 400), record(4, 5_000), record(5, 1)];
    bench.step(Input::Read(Slice { records, next: Position::new(6), ..Slice::default() }));
    for _ in 0..4 {
        bench.finish(Outcome::Done);
    }
    let delivered: Vec<String> = bench.took().into_iter().filter(|l| l.starts_with("deliver")).collect();
    assert_eq!(delivered, ["deliver 1,2#1", "deliver 3#1", "deliver 4#1", "deliver 5#1"]);
}

#[test]
fn a_window_gathers_until_it_ends_or_the_batch_is_full() {
    let mut bench = Bench::new(Policy { window: Duration::from_secs(10), ..policy() });
    bench.read(1..=2, false);
    assert!(bench.took().is_empty());
    assert_eq!(bench.wake_at(), Some(Duration::from_secs(10)));
    bench.wake();
    assert_eq!(bench.took(), ["deliver 1,2#1"]);
    bench.finish(Outcome::Done);
    bench.took();
    bench.read(3..=4, false);
    bench.read(5..=6, false);
    assert_eq!(bench.took(), ["deliver 3,4,5,6#1"]);
}

#[test]
fn a_failed_batch_is_tried_again_with_growing_delays_and_then_given_up() {
    let mut bench = Bench::new(policy());
    bench.read(1..=5, false);
    bench.finish(failed());
    let first = bench.wake_at().unwrap();
    assert!(first >= Duration::from_millis(500) && first <= Duration::from_secs(1));
    bench.wake();
    bench.finish(failed());
    assert!(bench.wake_at().unwrap() - bench.instant >= Duration::from_secs(1));
    bench.wake();
    bench.finish(failed());
    bench.put_away(Ok(()));
    assert_eq!(
        bench.took(),
        [
            "deliver 1,2,3,4#1",
            "deliver 1,2,3,4#2",
            "deliver 1,2,3,4#3",
            "give up 1,2,3,4#3 Attempts(\"no\")",
            "deliver 5#1",
            "commit 5"
        ]
    );
}

#[test]
fn postponements_are_not_counted_as_failures() {
    let mut bench = Bench::new(policy());
    bench.read(1..=1, false);
    for _ in 0..20 {
        bench.finish(Outcome::Later("busy".into()));
        assert!(bench.wake_at().unwrap() - bench.instant <= RETRY.max_delay);
        bench.wake();
    }
    bench.finish(Outcome::Done);
    assert_eq!(bench.took().last().unwrap(), "commit 2");
}

#[test]
fn splitting_finds_the_one_bad_record_and_loses_no_other() {
    let mut bench = Bench::new(Policy { bisect: true, ..policy() });
    bench.read(1..=4, false);
    // Record 3 is poison.
    for _ in 0..20 {
        let last = bench.log.iter().rev().find(|l| l.starts_with("deliver")).unwrap().clone();
        if bench.state.is_busy() {
            match bench.log.last() {
                Some(last) if last.starts_with("give up") => bench.put_away(Ok(())),
                _ => bench.finish(if last.contains('3') && !last.contains("#3 ") { failed() } else { Outcome::Done }),
            }
        } else if bench.wake_at().is_some() {
            bench.wake();
        }
    }
    assert_eq!(
        bench.took(),
        [
            "deliver 1,2,3,4#1",
            "deliver 1,2#1",
            "deliver 3,4#1",
            "commit 3",
            "deliver 3#1",
            "deliver 3#2",
            "deliver 3#3",
            "give up 3#3 Attempts(\"no\")",
            "deliver 4#1",
            "commit 4",
            "commit 5"
        ]
    );
}

#[test]
fn a_partly_failed_batch_goes_on_from_its_first_failure() {
    let mut bench = Bench::new(policy());
    bench.read(1..=4, false);
    bench.finish(Outcome::Failed { from: Some(Position::new(3)), reason: "no".into() });
    bench.wake();
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["deliver 1,2,3,4#1", "deliver 3,4#2", "commit 5"]);
}

#[test]
fn old_records_are_given_up_before_they_are_handled_again() {
    let mut bench = Bench::new(Policy { max_age: Some(Duration::from_secs(60)), ..policy() });
    bench.wall = Timestamp::from_millis(60_000);
    bench.read(1..=2, false);
    bench.finish(failed());
    bench.wall = Timestamp::from_millis(61_500);
    bench.instant = bench.wake_at().unwrap();
    bench.step(Input::Tick);
    bench.put_away(Ok(()));
    assert_eq!(bench.took(), ["deliver 1,2#1", "give up 1#1 Expired", "deliver 2#2", "commit 2"]);
}

#[test]
fn nothing_passes_what_is_given_up_before_it_is_put_away() {
    let mut bench = Bench::new(Policy { retry: RetryPolicy { max_attempts: Some(1), ..RETRY }, ..policy() });
    bench.read(1..=5, false);
    bench.finish(failed());
    for _ in 0..10 {
        bench.put_away(Err("full".into()));
        assert!(!bench.state.is_busy() && bench.wake_at().unwrap() - bench.instant <= RETRY.max_delay);
        assert_eq!(bench.state.oldest(), Some(Timestamp::from_millis(1_000)));
        bench.wake();
    }
    let took = bench.took();
    assert_eq!(took[0], "deliver 1,2,3,4#1");
    assert_eq!(took[1..], vec!["give up 1,2,3,4#1 Attempts(\"no\")"; 11]);
    bench.put_away(Ok(()));
    assert_eq!(bench.took(), ["deliver 5#1", "commit 5"]);
}

#[test]
fn a_stop_while_something_waits_to_be_put_away_leaves_it_uncommitted() {
    let mut bench = Bench::new(Policy { retry: RetryPolicy { max_attempts: Some(1), ..RETRY }, ..policy() });
    bench.read(1..=2, false);
    bench.finish(failed());
    bench.step(Input::Stop);
    assert_eq!(bench.took(), ["deliver 1,2#1", "give up 1,2#1 Attempts(\"no\")"]);
    bench.put_away(Err("full".into()));
    assert_eq!(bench.took(), ["end"]);
}

#[test]
fn a_batch_that_was_cut_where_its_handler_said_is_not_split_as_well() {
    let mut bench = Bench::new(Policy { bisect: true, ..policy() });
    bench.read(1..=4, false);
    bench.finish(Outcome::Failed { from: Some(Position::new(2)), reason: "no".into() });
    bench.finish(Outcome::Failed { from: Some(Position::new(2)), reason: "no".into() });
    bench.finish(Outcome::Done);
    bench.finish(Outcome::Done);
    assert_eq!(
        bench.took(),
        ["deliver 1,2,3,4#1", "deliver 2,3,4#1", "deliver 2#1", "deliver 3,4#1", "commit 3", "commit 5"]
    );
}

#[test]
fn with_several_in_flight_only_the_finished_front_is_committed() {
    let mut bench = Bench::new(Policy { records: 1, in_flight: 3, ..policy() });
    bench.read(1..=4, false);
    assert_eq!(bench.took(), ["deliver 1#1", "deliver 2#1", "deliver 3#1"]);
    let flights = bench.flights.clone();
    bench.step(Input::Finished { flight: flights[1], outcome: Outcome::Done });
    assert_eq!(bench.took(), [""; 0]);
    bench.step(Input::Finished { flight: flights[0], outcome: Outcome::Done });
    assert_eq!(bench.took(), ["deliver 4#1", "commit 3"]);
}

#[test]
fn a_closed_shard_ends_after_its_last_outcome() {
    let mut bench = Bench::new(Policy { window: Duration::from_secs(60), ..policy() });
    bench.read(1..=2, true);
    assert_eq!(bench.took(), ["deliver 1,2#1"]);
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["commit 3", "end"]);
}

#[test]
fn stopping_starts_nothing_and_ends_when_the_handler_is_done() {
    let mut bench = Bench::new(policy());
    bench.read(1..=6, false);
    bench.step(Input::Stop);
    assert_eq!(bench.took(), ["deliver 1,2,3,4#1"]);
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["commit 5", "end"]);
}

#[test]
fn stopping_does_not_wait_for_a_retry() {
    let mut bench = Bench::new(policy());
    bench.read(1..=1, false);
    bench.finish(failed());
    bench.step(Input::Stop);
    assert_eq!(bench.took(), ["deliver 1#1", "end"]);
}

#[test]
fn a_batch_is_of_one_window_and_a_window_is_closed_before_the_next() {
    let mut bench = Bench::new(Policy { tumble: Some(Duration::from_secs(3)), ..policy() });
    bench.wall = Timestamp::from_millis(7_000);
    bench.read(1..=7, false);
    for _ in 0..4 {
        bench.finish(Outcome::Done);
    }
    assert_eq!(
        bench.took(),
        [
            "deliver 1,2#1 in 0",
            "close 0#1",
            "commit 3",
            "deliver 3,4,5#1 in 3000",
            "commit 3",
            "close 3000#1",
            "commit 6",
            "deliver 6,7#1 in 6000",
            "commit 6",
        ]
    );
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["commit 8"]);
    bench.settled = Some(Timestamp::from_millis(8_999));
    (0..50).for_each(|_| bench.wake());
    assert!(bench.took().is_empty() && bench.wall.millis() > 13_000, "something may still be on its way");
    bench.settled = None;
    bench.wake();
    assert_eq!(bench.took(), ["close 6000#1"]);
    bench.finish(failed());
    assert!(bench.took().is_empty());
    bench.wake();
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["close 6000#2", "commit 8"]);
    assert_eq!(bench.wake_at(), None);
}

#[test]
fn a_window_ends_with_its_shard() {
    let mut bench = Bench::new(Policy { tumble: Some(Duration::from_secs(60)), ..policy() });
    bench.read(1..=2, true);
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["deliver 1,2#1 in 0", "close 0#1", "commit 3"]);
    bench.finish(Outcome::Done);
    assert_eq!(bench.took(), ["commit 3", "end"]);
}
