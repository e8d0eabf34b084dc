//! What waits for the writer, bounded by bytes.
//!
//! Owns the order in which appends and changes are taken, and whether any are taken at all. Promises that what is
//! refused was not queued, and that exactly one drain runs at a time. Must not know what a job does.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Position, Timestamp};
use tokio::sync::oneshot;

use crate::catalogue::Wish;
use crate::format::EncodedBatch;
use crate::{LogError, metrics};

/// Where a batch went; none when it was there already.
pub(crate) type Appended = Option<(Position, Timestamp)>;
pub(crate) type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// A batch that waits.
pub(crate) struct AppendJob {
    pub batch: EncodedBatch,
    pub reply: Reply<Appended>,
}

/// One turn of the writer.
pub(crate) enum Turn {
    /// One group.
    Appends(Vec<AppendJob>),
    /// One change, which is its own group.
    Change(Wish, Reply<()>),
    /// The last turn.
    Close(Reply<()>),
}

enum Job {
    Append(AppendJob),
    Change(Wish, Reply<()>),
    Close(Reply<()>),
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    draining: bool,
    /// How many jobs the drain waits for, while it does.
    wanted: Option<usize>,
    refusing: Option<LogError>,
}

/// See the module.
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    limit: usize,
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a batch. `true`: the caller must start a drain.
    pub fn append(&self, job: AppendJob) -> Result<bool, LogError> {
        let bytes = job.batch.len();
        let mut state = self.lock();
        if state.refusing.is_none() && state.bytes > 0 && state.bytes + bytes > self.limit {
            metrics::overloaded();
            return Err(LogError::Overloaded { limit: self.limit });
        }
        let start = state.push(Job::Append(job), bytes)?;
        if state.wanted.is_some_and(|wanted| state.jobs.len() >= wanted) {
            state.wanted = None;
            self.filled.notify_one();
        }
        Ok(start)
    }

    /// Queues a change. `true`: the caller must start a drain.
    pub fn change(&self, wish: Wish, reply: Reply<()>) -> Result<bool, LogError> {
        self.lock().push(Job::Change(wish, reply), 0)
    }

    /// Queues the last turn; whatever comes later is refused. `true`: the caller must start a drain.
    pub fn close(&self, reply: Reply<()>) -> Result<bool, LogError> {
        let mut state = self.lock();
        let start = state.push(Job::Close(reply), 0)?;
        state.refusing = Some(LogError::Closed);
        Ok(start)
    }

    /// What the writer does next: a group of at most `group_bytes`, but at least one batch. None ends the drain.
    pub fn take(&self, group_bytes: usize) -> Option<Turn> {
        let mut state = self.lock();
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(job) = state.jobs.pop_front() {
            match job {
                Job::Append(job) if group.is_empty() || bytes + job.batch.len() <= group_bytes => {
                    bytes += job.batch.len();
                    group.push(job);
                }
                Job::Change(wish, reply) if group.is_empty() => return Some(Turn::Change(wish, reply)),
                Job::Close(reply) if group.is_empty() => return Some(Turn::Close(reply)),
                job => {
                    state.jobs.push_front(job);
                    break;
                }
            }
        }
        state.bytes -= bytes;
        state.draining = !group.is_empty();
        (!group.is_empty()).then_some(Turn::Appends(group))
    }

    /// Waits until as many jobs wait as now and `more`, but no longer than `patience`, which is real time.
    pub fn gather(&self, more: usize, patience: Duration) {
        let mut state = self.lock();
        state.wanted = Some(state.jobs.len() + more);
        let still_wanted = |state: &mut State| state.wanted.is_some();
        let gathered = self.filled.wait_timeout_while(state, patience, still_wanted);
        gathered.unwrap_or_else(PoisonError::into_inner).0.wanted = None;
    }

    /// Refuses everything from now on, and whatever waits.
    pub fn poison(&self, error: &LogError) {
        let jobs = {
            let mut state = self.lock();
            state.bytes = 0;
            if !matches!(state.refusing, Some(LogError::Closed)) {
                state.refusing = Some(error.clone());
            }
            std::mem::take(&mut state.jobs)
        };
        for job in jobs {
            match job {
                Job::Append(job) => answer(job.reply, Err(error.clone())),
                Job::Change(_, reply) | Job::Close(reply) => answer(reply, Err(error.clone())),
            }
        }
    }

    /// Takes jobs again, unless closed.
    pub fn heal(&self) {
        let mut state = self.lock();
        if !matches!(state.refusing, Some(LogError::Closed)) {
            state.refusing = None;
        }
    }
}

impl State {
    fn push(&mut self, job: Job, bytes: usize) -> Result<bool, LogError> {
        if let Some(error) = &self.refusing {
            return Err(error.clone());
        }
        self.jobs.push_back(job);
        self.bytes += bytes;
        Ok(!std::mem::replace(&mut self.draining, true))
    }
}

/// Answers a caller. One that has gone away no longer wants to know, and its batch is durable or not all the same.
pub(crate) fn answer<T>(reply: Reply<T>, result: Result<T, LogError>) {
    drop(reply.send(result));
}
