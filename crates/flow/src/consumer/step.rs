//! What a consumer does next on one shard: the decision, without I/O, timers or randomness of its own.
//!
//! Owns the order in which batches are formed, started, retried, split, expired and committed.
//! Promises: a position is committed only after every record before it had a final outcome; with one batch in flight
//! a record is never handled before its predecessor's final outcome; memory is bounded by the batch limits.
//! Must not know what a handler does with a batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Position, RetryPolicy, Rng, Timestamp};
use log::{ReadLimit, Record, Slice};

/// How a consumer forms and retries its batches.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Records in a batch, at most.
    pub records: usize,
    /// Weight of a batch in bytes, at most; a single heavier record is a batch of its own.
    pub bytes: usize,
    /// What a record weighs.
    pub weigh: fn(&Record) -> usize,
    /// How long the first record may wait for others to fill the batch.
    pub window: Duration,
    /// Batches handled at once. One keeps the shard's order.
    pub in_flight: usize,
    /// Delays between attempts; `max_attempts` counts failures only, not postponements.
    pub retry: RetryPolicy,
    /// Records older than this are dropped instead of handled (again).
    pub max_age: Option<Duration>,
    /// Whether a failed batch is split in two instead of being retried whole.
    pub bisect: bool,
}

impl Policy {
    /// Each record on its own, `in_flight` at once, in no order: for handlers that keep their own retries.
    pub fn each_record(in_flight: usize, max_age: Duration) -> Self {
        Self {
            records: 1,
            bytes: usize::MAX,
            weigh: |record| record.data.len(),
            window: Duration::ZERO,
            in_flight,
            retry: RetryPolicy {
                first_delay: Duration::from_millis(100),
                max_delay: Duration::from_secs(10),
                max_attempts: None,
                max_age: None,
            },
            max_age: Some(max_age),
            bisect: false,
        }
    }
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every record is dealt with.
    Done,
    /// The batch could not be handled now through no fault of its own; the attempt is not counted.
    Later(String),
    /// The batch failed. With `from`, the records before that position are done.
    Failed {
        /// The first record to handle again; the whole batch when absent.
        from: Option<Position>,
        /// What happened.
        reason: String,
    },
    /// The batch will never be taken.
    Refused(String),
}

/// Why records were given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropReason {
    /// They were older than the policy allows.
    Expired,
    /// The attempts are used up; the last failure.
    Attempts(String),
    /// The handler refused them.
    Refused(String),
}

/// The two clocks, read once for a step.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For the age of records.
    pub wall: Timestamp,
    /// For delays.
    pub instant: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The answer to [`Action::Read`].
    Read(Slice),
    /// The same, but the shard is forgotten: what was read before is all that there is.
    Gone,
    /// A batch has ended.
    Finished {
        /// The batch's number.
        flight: u64,
        /// How.
        outcome: Outcome,
    },
    /// The time of [`ShardState::wake_at`] has come.
    Tick,
    /// No new batches: finish what is under way.
    Stop,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// Read on, waiting for a record if need be.
    Read {
        /// From here.
        from: Position,
        /// This much.
        limit: ReadLimit,
    },
    /// Hand a batch to the handler.
    Deliver {
        /// The batch's number, to be given back.
        flight: u64,
        /// The records, at least one.
        records: Arc<[Record]>,
        /// Attempts including this one.
        attempt: u32,
    },
    /// Everything before this position is dealt with.
    Commit(Position),
    /// These records were given up.
    Dropped {
        /// The records.
        records: Vec<Record>,
        /// Why.
        why: DropReason,
    },
    /// The shard is closed and read to its end, or the stop is complete: nothing more will come of it.
    End,
}

#[derive(Debug, PartialEq)]
enum Status {
    Ready,
    Running,
    Waiting(Duration),
    Done,
}

#[derive(Debug)]
struct Flight {
    id: u64,
    records: Arc<[Record]>,
    /// Where reading goes on when this flight is done.
    end: Position,
    failures: u32,
    postponements: u32,
    status: Status,
}

/// A consumer's place on one shard.
#[derive(Debug)]
pub struct ShardState {
    policy: Policy,
    next: Position,
    committed: Position,
    announced: Position,
    reading: bool,
    at_end: bool,
    stopping: bool,
    ended: bool,
    buffer: VecDeque<Record>,
    buffered_bytes: usize,
    buffered_since: Duration,
    flights: VecDeque<Flight>,
    last_flight: u64,
}

impl ShardState {
    /// Starts at `from`; the first step asks for a read.
    pub fn new(policy: Policy, from: Position) -> Self {
        Self {
            policy,
            next: from,
            committed: from,
            announced: from,
            reading: false,
            at_end: false,
            stopping: false,
            ended: false,
            buffer: VecDeque::new(),
            buffered_bytes: 0,
            buffered_since: Duration::ZERO,
            flights: VecDeque::new(),
            last_flight: 0,
        }
    }

    /// The instant at which an [`Input::Tick`] is due, if any.
    pub fn wake_at(&self) -> Option<Duration> {
        let retries = self.flights.iter().filter_map(|f| match f.status {
            Status::Waiting(until) => Some(until),
            _ => None,
        });
        let room = self.flights.len() < self.policy.in_flight;
        let window = (room && !self.stopping && !self.buffer.is_empty() && !self.batch_is_full())
            .then(|| self.buffered_since + self.policy.window);
        retries.chain(window).min()
    }

    /// When the oldest record without a final outcome arrived; `None` when caught up.
    pub fn oldest(&self) -> Option<Timestamp> {
        let open = self.flights.iter().find(|f| f.status != Status::Done).and_then(|f| f.records.first());
        open.or_else(|| self.buffer.front()).map(|r| r.arrival)
    }

    /// Whether a batch is with the handler.
    pub fn is_busy(&self) -> bool {
        self.flights.iter().any(|f| f.status == Status::Running)
    }

    /// Decides.
    pub fn step(&mut self, now: Now, rng: &dyn Rng, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Read(slice) => self.take(slice, now),
            Input::Gone => (self.reading, self.at_end) = (false, true),
            Input::Finished { flight, outcome } => self.finish(flight, outcome, now, rng, &mut actions),
            Input::Stop => self.stopping = true,
            Input::Tick => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    fn take(&mut self, slice: Slice, now: Now) {
        self.reading = false;
        self.next = slice.next;
        self.at_end = slice.at_end;
        if self.buffer.is_empty() {
            self.buffered_since = now.instant;
        }
        self.buffered_bytes += slice.records.iter().map(self.policy.weigh).sum::<usize>();
        self.buffer.extend(slice.records);
    }

    fn finish(&mut self, id: u64, outcome: Outcome, now: Now, rng: &dyn Rng, actions: &mut Vec<Action>) {
        let Some(at) = self.flights.iter().position(|f| f.id == id) else { return };
        let flight = &mut self.flights[at];
        match outcome {
            Outcome::Done => flight.status = Status::Done,
            Outcome::Later(_) => {
                flight.postponements += 1;
                let patient = RetryPolicy { max_attempts: None, max_age: None, ..self.policy.retry.clone() };
                let delay = patient.next_delay(flight.postponements, Duration::ZERO, rng).unwrap_or(patient.max_delay);
                flight.status = Status::Waiting(now.instant + delay);
            }
            Outcome::Refused(reason) => drop_flight(flight, DropReason::Refused(reason), actions),
            Outcome::Failed { from, reason } => {
                if let Some(from) = from {
                    let rest: Arc<[Record]> = flight.records.iter().filter(|r| r.position >= from).cloned().collect();
                    if rest.len() < flight.records.len() {
                        flight.failures = 0;
                    }
                    flight.records = rest;
                }
                if flight.records.is_empty() {
                    flight.status = Status::Done;
                } else if self.policy.bisect && flight.records.len() > 1 {
                    self.split(at);
                } else {
                    flight.failures += 1;
                    match self.policy.retry.next_delay(flight.failures, Duration::ZERO, rng) {
                        Some(delay) => flight.status = Status::Waiting(now.instant + delay),
                        None => drop_flight(flight, DropReason::Attempts(reason), actions),
                    }
                }
            }
        }
    }

    /// Splitting costs no attempt: each half keeps the count of the whole, and it ends with single records.
    fn split(&mut self, at: usize) {
        self.last_flight += 1;
        let flight = &mut self.flights[at];
        let (left, right) = flight.records.split_at(flight.records.len() / 2);
        let second = Flight {
            id: self.last_flight,
            records: right.into(),
            end: flight.end,
            failures: flight.failures,
            postponements: 0,
            status: Status::Ready,
        };
        let left: Arc<[Record]> = left.into();
        flight.end = right.first().map_or(flight.end, |r| r.position);
        flight.records = left;
        flight.status = Status::Ready;
        self.flights.insert(at + 1, second);
    }

    fn advance(&mut self, now: Now, actions: &mut Vec<Action>) {
        for flight in &mut self.flights {
            if matches!(flight.status, Status::Waiting(until) if until <= now.instant) {
                flight.status = Status::Ready;
            }
        }
        self.expire(now, actions);
        self.pop();
        while !self.stopping && self.flights.len() < self.policy.in_flight && self.batch_is_due(now) {
            self.form();
            self.expire(now, actions);
            self.pop();
        }
        if !self.stopping {
            self.start(actions);
        }
        self.commit(actions);
        let drained = self.flights.is_empty() && self.buffer.is_empty();
        if !self.ended && ((self.at_end && drained) || (self.stopping && !self.is_busy())) {
            self.ended = true;
            actions.push(Action::End);
        } else if !self.reading && !self.at_end && !self.stopping && !self.batch_is_full() {
            self.reading = true;
            let limit = ReadLimit { records: self.policy.records, bytes: self.policy.bytes };
            actions.push(Action::Read { from: self.next, limit });
        }
    }

    fn batch_is_full(&self) -> bool {
        self.buffer.len() >= self.policy.records || self.buffered_bytes >= self.policy.bytes
    }

    fn batch_is_due(&self, now: Now) -> bool {
        let waited = now.instant.saturating_sub(self.buffered_since) >= self.policy.window;
        !self.buffer.is_empty() && (self.batch_is_full() || self.at_end || waited)
    }

    fn form(&mut self) {
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(record) = self.buffer.front() {
            let weight = (self.policy.weigh)(record);
            let fits = records.len() < self.policy.records && bytes + weight <= self.policy.bytes;
            if !records.is_empty() && !fits {
                break;
            }
            bytes += weight;
            records.extend(self.buffer.pop_front());
        }
        self.buffered_bytes -= bytes;
        self.last_flight += 1;
        let end = self.buffer.front().map_or(self.next, |r| r.position);
        self.flights.push_back(Flight {
            id: self.last_flight,
            records: records.into(),
            end,
            failures: 0,
            postponements: 0,
            status: Status::Ready,
        });
    }

    fn expire(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(max_age) = self.policy.max_age else { return };
        for flight in self.flights.iter_mut().filter(|f| matches!(f.status, Status::Ready | Status::Waiting(_))) {
            let is_old = |r: &Record| now.wall.since(r.arrival) > max_age;
            if !flight.records.iter().any(is_old) {
                continue;
            }
            let (old, rest): (Vec<Record>, Vec<Record>) = flight.records.iter().cloned().partition(is_old);
            flight.records = rest.into();
            if flight.records.is_empty() {
                flight.status = Status::Done;
            }
            actions.push(Action::Dropped { records: old, why: DropReason::Expired });
        }
    }

    fn pop(&mut self) {
        while self.flights.front().is_some_and(|f| f.status == Status::Done) {
            if let Some(flight) = self.flights.pop_front() {
                self.committed = self.committed.max(flight.end);
            }
        }
    }

    fn start(&mut self, actions: &mut Vec<Action>) {
        let open = self.flights.iter_mut().filter(|f| f.status != Status::Done).take(self.policy.in_flight);
        for flight in open.filter(|f| f.status == Status::Ready) {
            flight.status = Status::Running;
            actions.push(Action::Deliver {
                flight: flight.id,
                records: Arc::clone(&flight.records),
                attempt: flight.failures + flight.postponements + 1,
            });
        }
    }

    fn commit(&mut self, actions: &mut Vec<Action>) {
        // A closed shard read to its end is remembered whole, so that a restart need not read it again.
        if self.at_end && self.flights.is_empty() && self.buffer.is_empty() {
            self.committed = self.committed.max(self.next);
        }
        if self.committed > self.announced {
            self.announced = self.committed;
            actions.push(Action::Commit(self.committed));
        }
    }
}

fn drop_flight(flight: &mut Flight, why: DropReason, actions: &mut Vec<Action>) {
    flight.status = Status::Done;
    actions.push(Action::Dropped { records: flight.records.to_vec(), why });
}

#[cfg(test)]
mod tests;
