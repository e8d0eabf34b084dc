//! What a consumer does next on one shard: the decision, without I/O, timers or randomness of its own.
//!
//! Owns the order in which batches are formed, started, retried, split, expired and committed.
//! Promises: a position is committed only after every record before it had a final outcome, and what is given up is put
//! away; with one batch in flight
//! a record is never handled before its predecessor's final outcome; memory is bounded by the batch limits.
//! Must not know what a handler does with a batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Position, RetryPolicy, Rng, Timestamp};
use log::{ReadLimit, Record, Slice};

use super::decision::{Action, DropReason, Input, Now, Outcome, Policy, Span};

mod windows;

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
    /// It is given up: it is put away instead of being handled.
    parting: Option<DropReason>,
    /// The window that it is of, and whether it closes that; then it has no records.
    window: Option<(Span, bool)>,
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
    /// The window that is open.
    window: Option<Span>,
    /// Something other than the position is to be committed.
    unsaid: bool,
    /// How long records can surely be read.
    readable: Option<Duration>,
}

impl ShardState {
    /// Starts at `from`, where a window may be open; the first step asks for a read.
    pub fn new(policy: Policy, from: Position, window: Option<Span>) -> Self {
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
            window,
            unsaid: false,
            readable: None,
        }
    }

    /// The instant at which an [`Input::Tick`] is due, if any.
    pub fn wake_at(&self, now: Now) -> Option<Duration> {
        let retries = self.flights.iter().filter_map(|f| match f.status {
            Status::Waiting(until) => Some(until),
            _ => None,
        });
        let room = self.flights.len() < self.policy.in_flight;
        let window = (room && !self.stopping && !self.buffer.is_empty() && !self.batch_is_full())
            .then(|| self.buffered_since + self.policy.window);
        retries.chain(window).chain(self.closes_at(now)).min()
    }

    /// When the oldest record without a final outcome arrived; `None` when caught up.
    pub fn oldest(&self) -> Option<Timestamp> {
        let open = self.flights.iter().find(|f| f.status != Status::Done).and_then(|f| f.records.first());
        open.or_else(|| self.buffer.front()).map(|r| r.arrival)
    }

    /// Where reading goes on.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Whether a batch is with the handler.
    pub fn is_busy(&self) -> bool {
        self.flights.iter().any(|f| f.status == Status::Running)
    }

    /// From now on what is older by the log's time is given up, as is what is older than the policy allows by the wall.
    pub fn keep_for(&mut self, readable: Option<Duration>) {
        self.readable = readable;
    }

    /// Decides.
    pub fn step(&mut self, now: Now, rng: &dyn Rng, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Read(slice) => self.take(slice, now),
            Input::Gone => (self.reading, self.at_end) = (false, true),
            Input::Finished { flight, outcome } => self.finish(flight, outcome, now, rng),
            Input::PutAway { flight, result } => self.put_away(flight, result, now, rng),
            Input::Urge => self.urge(),
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

    fn finish(&mut self, id: u64, outcome: Outcome, now: Now, rng: &dyn Rng) {
        let Some(at) = self.flights.iter().position(|f| f.id == id) else { return };
        let flight = &mut self.flights[at];
        match outcome {
            Outcome::Done => self.done(at),
            Outcome::Later(_) => flight.postpone(&self.policy.retry, now, rng),
            Outcome::Refused(reason) => flight.part(DropReason::Refused(reason)),
            Outcome::Failed { from, reason } => {
                let mut cut = false;
                if let Some(from) = from {
                    let rest: Arc<[Record]> = flight.records.iter().filter(|r| r.position >= from).cloned().collect();
                    cut = rest.len() < flight.records.len();
                    if cut {
                        flight.failures = 0;
                    }
                    flight.records = rest;
                }
                if flight.records.is_empty() && !flight.closes() {
                    flight.status = Status::Done;
                } else if self.policy.bisect && flight.records.len() > 1 {
                    // Cut where the handler said, it is divided already.
                    if cut { flight.status = Status::Ready } else { self.split(at) }
                } else {
                    flight.failures += 1;
                    match self.policy.retry.next_delay(flight.failures, Duration::ZERO, rng) {
                        Some(delay) => flight.status = Status::Waiting(now.instant + delay),
                        None => flight.part(DropReason::Attempts(reason)),
                    }
                }
            }
        }
    }

    fn urge(&mut self) {
        for flight in self.flights.iter_mut().filter(|flight| matches!(flight.status, Status::Waiting(_))) {
            flight.status = Status::Ready;
        }
    }

    /// What was given up is put away, or is kept to be put away a little later.
    fn put_away(&mut self, id: u64, result: Result<(), String>, now: Now, rng: &dyn Rng) {
        let Some(at) = self.flights.iter().position(|f| f.id == id) else { return };
        match result {
            Ok(()) => self.done(at),
            Err(_) => self.flights[at].postpone(&self.policy.retry, now, rng),
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
            parting: None,
            window: flight.window,
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
        self.expire(now);
        self.pop();
        while !self.stopping && self.flights.len() < self.policy.in_flight {
            if self.is_closing(now) {
                self.close();
            } else if self.batch_is_due(now) {
                self.form();
            } else {
                break;
            }
            self.expire(now);
            self.pop();
        }
        if !self.stopping {
            self.start(actions);
        }
        self.commit(actions);
        let drained = self.flights.is_empty() && self.buffer.is_empty() && self.window.is_none();
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
        !self.buffer.is_empty() && (self.batch_is_full() || self.at_end || waited || self.window_is_over(now))
    }

    fn form(&mut self) {
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(record) = self.buffer.front() {
            let weight = (self.policy.weigh)(record);
            let fits = records.len() < self.policy.records && bytes + weight <= self.policy.bytes;
            let joins = fits && records.last().is_none_or(|last| self.span(last) == self.span(record));
            if !records.is_empty() && !joins {
                break;
            }
            bytes += weight;
            records.extend(self.buffer.pop_front());
        }
        self.buffered_bytes -= bytes;
        self.last_flight += 1;
        let end = self.buffer.front().map_or(self.next, |r| r.position);
        self.window = records.first().and_then(|first| self.span(first));
        let window = self.window.map(|span| (span, false));
        self.flights.push_back(Flight {
            id: self.last_flight,
            records: records.into(),
            end,
            failures: 0,
            postponements: 0,
            status: Status::Ready,
            parting: None,
            window,
        });
    }

    /// What became too old is given up, in front of what is left of its batch.
    fn expire(&mut self, now: Now) {
        let (max_age, readable) = (self.policy.max_age, self.readable);
        if max_age.or(readable).is_none() {
            return;
        }
        let passed = |at: Timestamp| {
            max_age.is_some_and(|most| now.wall.since(at) > most)
                || readable.is_some_and(|most| now.believed.since(at) > most)
        };
        let is_old = |r: &Record| passed(r.arrival);
        let mut at = 0;
        while let Some(flight) = self.flights.get_mut(at) {
            let waits = flight.parting.is_none() && matches!(flight.status, Status::Ready | Status::Waiting(_));
            let late = |(span, closes): (Span, bool)| closes && passed(span.end);
            if waits && flight.window.is_some_and(late) {
                flight.part(DropReason::Expired);
            } else if waits && flight.records.iter().any(is_old) {
                let (old, rest): (Vec<Record>, Vec<Record>) = flight.records.iter().cloned().partition(is_old);
                if let Some(first) = rest.iter().map(|r| r.position).min() {
                    self.last_flight += 1;
                    let expired = Flight {
                        id: self.last_flight,
                        records: old.into(),
                        end: first,
                        failures: flight.failures,
                        postponements: 0,
                        status: Status::Ready,
                        parting: Some(DropReason::Expired),
                        window: flight.window,
                    };
                    flight.records = rest.into();
                    self.flights.insert(at, expired);
                    at += 1;
                } else {
                    flight.part(DropReason::Expired);
                }
            }
            at += 1;
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
            let (id, records, window) = (flight.id, Arc::clone(&flight.records), flight.window);
            let attempt = flight.failures + flight.postponements + 1;
            actions.push(match flight.parting.clone() {
                None => Action::Deliver { flight: id, records, attempt, window },
                Some(why) => Action::GiveUp { flight: id, records, attempts: flight.failures, window, why },
            });
        }
    }

    fn commit(&mut self, actions: &mut Vec<Action>) {
        // A closed shard read to its end is remembered whole, so that a restart need not read it again; and so is what
        // is of other lanes, where a shard has several.
        let passed = self.at_end || self.policy.lanes > 1;
        if passed && self.flights.is_empty() && self.buffer.is_empty() {
            self.committed = self.committed.max(self.next);
        }
        if self.committed > self.announced || self.unsaid {
            (self.announced, self.unsaid) = (self.committed, false);
            actions.push(Action::Commit(self.committed));
        }
    }
}

impl Flight {
    /// It is put off, for as long as it was put off before and more.
    fn postpone(&mut self, retry: &RetryPolicy, now: Now, rng: &dyn Rng) {
        self.postponements += 1;
        let patient = RetryPolicy { max_attempts: None, max_age: None, ..retry.clone() };
        let delay = patient.next_delay(self.postponements, Duration::ZERO, rng).unwrap_or(patient.max_delay);
        self.status = Status::Waiting(now.instant + delay);
    }

    /// It is given up.
    fn part(&mut self, why: DropReason) {
        (self.parting, self.status, self.postponements) = (Some(why), Status::Ready, 0);
    }
}

#[cfg(test)]
mod tests;
