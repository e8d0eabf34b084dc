//! The words that the decision is made in: what a consumer is set to, what happened, what is to be done.
//!
//! Must not know how it is decided ([`super::step`]) nor done.

use std::sync::Arc;
use std::time::Duration;

use base::{Position, RetryPolicy, Timestamp};
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
    /// Records older than this are given up instead of handled (again).
    pub max_age: Option<Duration>,
    /// Whether a failed batch is split in two instead of being retried whole.
    pub bisect: bool,
    /// Parts of a shard's partition keys that are read beside each other, each in its order.
    pub lanes: u32,
    /// The length of tumbling windows: a batch is of one, and each is closed by itself.
    pub tumble: Option<Duration>,
}

/// A tumbling window, by when its records arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its begin.
    pub start: Timestamp,
    /// Its end, which is not in it.
    pub end: Timestamp,
}

impl Span {
    /// The one of this length that a time is in.
    pub fn of(time: Timestamp, length: Duration) -> Self {
        let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
        let start = Timestamp::from_millis(time.millis() - time.millis().rem_euclid(length_ms));
        Self { start, end: start + length }
    }
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
            lanes: 1,
            tumble: None,
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

/// The clocks, read once for a step.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The time by which the log judges its retention, which no jump of a clock moves at once, nor a long stop.
    pub believed: Timestamp,
    /// For the policy's bound on age, and the end of windows.
    pub wall: Timestamp,
    /// Everything of the shard that arrived before it has been read; none while something is to be read.
    pub settled: Option<Timestamp>,
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
    /// Records that were given up are put away, or could not be: why.
    PutAway {
        /// The batch's number.
        flight: u64,
        /// Why it is to be tried again.
        result: Result<(), String>,
    },
    /// The time of [`ShardState::wake_at`](super::step::ShardState::wake_at) has come.
    Tick,
    /// What waits for its next attempt need not wait any longer.
    Urge,
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
        /// The records, at least one, but none where a window is closed.
        records: Arc<[Record]>,
        /// Attempts including this one.
        attempt: u32,
        /// The window that they are of, and whether it is closed.
        window: Option<(Span, bool)>,
    },
    /// Everything before this position is dealt with.
    Commit(Position),
    /// These records are given up: put them away, durably. Nothing behind them is dealt with before that is done.
    GiveUp {
        /// The batch's number, to be given back.
        flight: u64,
        /// The records, at least one, but none where it is a window's close.
        records: Arc<[Record]>,
        /// Attempts that were made.
        attempts: u32,
        /// The window that they are of, and whether it was to be closed.
        window: Option<(Span, bool)>,
        /// Why.
        why: DropReason,
    },
    /// The shard is closed and read to its end, or the stop is complete: nothing more will come of it.
    End,
}
