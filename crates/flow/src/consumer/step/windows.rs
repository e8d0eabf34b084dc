//! When a tumbling window is closed: once no record of it can be expected any more.
//!
//! A window ends with the clock, with the first record of another, or with its shard. By the clock it has ended when
//! nothing that arrived in it can still be on its way: neither unread, nor with a disk that is slow. Records arrive in
//! the order of their time but for clocks that are set; one that comes late opens its window anew.

use std::time::Duration;

use log::Record;

use super::{Flight, Now, ShardState, Span, Status};

/// How often it is asked whether what was on its way has come, after a window's end.
const PAUSE: Duration = Duration::from_millis(100);

impl Flight {
    /// Whether it has no records but closes a window.
    pub(super) fn closes(&self) -> bool {
        self.window.is_some_and(|(_, closes)| closes)
    }
}

impl ShardState {
    /// The window of a record.
    pub(super) fn span(&self, record: &Record) -> Option<Span> {
        self.policy.tumble.map(|length| Span::of(record.arrival, length))
    }

    /// Whether nothing more will come into the window of what is buffered.
    pub(super) fn window_is_over(&self, now: Now) -> bool {
        let first = self.buffer.front().and_then(|record| self.span(record));
        let last = self.buffer.back().and_then(|record| self.span(record));
        first != last || first.is_some_and(|span| now.wall >= span.end)
    }

    /// The instant at which it is to be asked whether the open window can be closed.
    pub(super) fn closes_at(&self, now: Now) -> Option<Duration> {
        let span = self.window.filter(|_| !self.stopping && self.flights.is_empty())?;
        if self.policy.tumble.is_none() {
            return Some(now.instant);
        }
        let left = span.end.since(now.wall);
        // What is gathered is of the same window, or it would be closed now.
        let pause = if self.buffer.is_empty() { PAUSE } else { Duration::ZERO };
        Some(now.instant + if left.is_zero() { pause } else { left })
    }

    /// Whether the open window is to be closed before anything else.
    pub(super) fn is_closing(&self, now: Now) -> bool {
        let Some(span) = self.window.filter(|_| self.flights.is_empty()) else { return false };
        match self.buffer.front() {
            Some(record) => self.span(record) != Some(span),
            None => {
                let is_over = now.settled.is_some_and(|settled| settled >= span.end);
                self.at_end || self.policy.tumble.is_none() || is_over
            }
        }
    }

    /// Closes the open window.
    pub(super) fn close(&mut self) {
        let Some(span) = self.window else { return };
        self.last_flight += 1;
        self.flights.push_back(Flight {
            id: self.last_flight,
            records: [].into(),
            end: self.committed,
            failures: 0,
            postponements: 0,
            status: Status::Ready,
            parting: None,
            window: Some((span, true)),
        });
    }

    /// A flight has its final outcome.
    pub(super) fn done(&mut self, at: usize) {
        let flight = &mut self.flights[at];
        flight.status = Status::Done;
        if flight.closes() {
            (self.window, self.unsaid) = (None, true);
        }
    }
}
