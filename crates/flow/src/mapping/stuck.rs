//! How a mapping gets on: how its last batch ended, and which shards are stuck on what.
//!
//! Owns what is known of failing batches while they fail. Promises that a batch which failed past its first retry is
//! told with its shard, its records, since when, how often and why, and when its records expire, until it succeeds or is
//! given up. Lost in a restart: the batch fails again and is told again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{InvokeOutcome, Position, SequenceNumber, ShardId, Timestamp};
use log::Record;
use serde::Deserialize;

use crate::consumer::Span;

/// Characters of an error message that are kept.
const MAX_ERROR: usize = 1_000;

/// A batch that fails and fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The shard that it holds up.
    pub shard: ShardId,
    /// Its first record; none where a window cannot be closed.
    pub first: Option<SequenceNumber>,
    /// Its last record.
    pub last: Option<SequenceNumber>,
    /// Its records.
    pub records: usize,
    /// The window that cannot be closed.
    pub window: Option<Span>,
    /// When a call with its records first failed.
    pub since: Timestamp,
    /// Calls with its records that failed since then.
    pub failures: u32,
    /// Calls that could not be made since then.
    pub postponed: u32,
    /// What went wrong last.
    pub error: String,
    /// Why what was given up of it cannot be put away, for as long as that holds it.
    pub held: Option<String>,
    /// The end of what the function logged then.
    pub log: Option<String>,
    /// When its oldest record is given up for its age; none when it has no limit.
    pub expires: Option<Timestamp>,
}

/// How the function answered last.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub request_id: String,
    pub version: String,
    pub error: Option<String>,
}

impl From<&InvokeOutcome> for Answered {
    fn from(outcome: &InvokeOutcome) -> Self {
        Self {
            request_id: outcome.request_id.clone(),
            version: outcome.executed_version.clone(),
            error: outcome.error.clone(),
        }
    }
}

/// A shard's lane, by its number.
pub(super) type Part = (ShardId, u32);

/// How far a trouble goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// To the last record of the batch that failed first: what fails of it is one trouble.
    Records(Position),
    /// The close of a window.
    Close(Span),
}

struct Trouble {
    stuck: Stuck,
    reach: Reach,
    answered: Option<Answered>,
}

/// A failure, as it is noted.
pub(super) struct Failure<'a> {
    pub records: &'a [&'a Record],
    pub part: Part,
    /// The window that is closed by a call without records.
    pub closes: Option<Span>,
    pub reason: &'a str,
    /// None when the call could not be made.
    pub outcome: Option<&'a InvokeOutcome>,
    pub now: Timestamp,
    pub max_age: Option<Duration>,
}

/// What is known of one mapping since it was started.
#[derive(Default)]
pub(super) struct Progress {
    last: Mutex<Option<String>>,
    troubles: Mutex<BTreeMap<Part, Trouble>>,
}

impl Progress {
    /// How the last batch ended, in the service's words.
    pub fn last_result(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().unwrap_or_else(|| "No records processed".to_owned())
    }

    pub fn set(&self, text: impl Into<String>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.into());
    }

    /// A call failed, or could not be made.
    pub fn failed(&self, failure: &Failure<'_>) {
        let (first, last) = (failure.records.first().copied(), failure.records.last().copied());
        let new = match (last, failure.closes) {
            (Some(last), _) => Reach::Records(last.position),
            (None, Some(span)) => Reach::Close(span),
            (None, None) => return,
        };
        let number = |record: &Record| SequenceNumber::new(record.position, failure.part.0, record.arrival);
        let mut troubles = self.troubles();
        let goes_on = |old: &Trouble| match (old.reach, first) {
            (Reach::Records(reach), Some(first)) => reach >= first.position,
            (reach, _) => reach == new,
        };
        let old = troubles.remove(&failure.part).filter(goes_on);
        let (since, failures, postponed) =
            old.as_ref().map_or((failure.now, 0, 0), |old| (old.stuck.since, old.stuck.failures, old.stuck.postponed));
        let reach = match (old.as_ref().map(|old| old.reach), new) {
            (Some(Reach::Records(old)), Reach::Records(new)) => Reach::Records(old.max(new)),
            (_, new) => new,
        };
        let born = first.map(|first| first.arrival).or(failure.closes.map(|span| span.end));
        let answered = failure.outcome.map(Answered::from);
        let log = failure.outcome.and_then(|outcome| outcome.log_tail.clone());
        let (old_log, old_answer) = old.map_or((None, None), |old| (old.stuck.log, old.answered));
        let stuck = Stuck {
            shard: failure.part.0,
            first: first.map(number),
            last: last.map(number),
            records: failure.records.len(),
            window: failure.closes.filter(|_| first.is_none()),
            since,
            failures: failures + u32::from(answered.is_some()),
            postponed: postponed + u32::from(answered.is_none()),
            error: told(failure),
            held: None,
            log: log.or(old_log),
            expires: failure.max_age.zip(born).map(|(age, born)| born + age),
        };
        troubles.insert(failure.part, Trouble { stuck, reach, answered: answered.or(old_answer) });
    }

    /// What was given up cannot be put away: the shard is stuck on it, and on what it failed of before.
    pub fn held(&self, failure: &Failure<'_>) {
        let error = self.error(failure.part).unwrap_or_default();
        self.failed(failure);
        if let Some(trouble) = self.troubles().get_mut(&failure.part) {
            trouble.stuck.held = Some(std::mem::replace(&mut trouble.stuck.error, error));
        }
    }

    /// Everything of a lane up to `last` is dealt with; without records, a window is.
    pub fn passed(&self, part: Part, last: Option<Position>) {
        let mut troubles = self.troubles();
        let is_over = |trouble: &Trouble| match trouble.reach {
            Reach::Records(reach) => last.is_some_and(|last| reach <= last),
            Reach::Close(_) => true,
        };
        if troubles.get(&part).is_some_and(is_over) {
            troubles.remove(&part);
        }
    }

    /// How the function answered last for what fails on a lane.
    pub fn answered(&self, part: Part) -> Option<Answered> {
        self.troubles().get(&part).and_then(|trouble| trouble.answered.clone())
    }

    /// What was wrong last on a lane.
    pub fn error(&self, part: Part) -> Option<String> {
        self.troubles().get(&part).map(|trouble| trouble.stuck.error.clone()).filter(|error| !error.is_empty())
    }

    /// The shards that are stuck: past a first retry.
    pub fn stuck(&self) -> Vec<Stuck> {
        let troubles = self.troubles();
        let stuck = troubles.values().map(|trouble| &trouble.stuck);
        stuck.filter(|stuck| stuck.failures + stuck.postponed > 1 || stuck.held.is_some()).cloned().collect()
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<Part, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error with the function's own message, which logs of the server do not show.
fn told(failure: &Failure<'_>) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raised {
        error_message: String,
    }
    let raised = failure.outcome.filter(|outcome| outcome.error.is_some());
    let raised = raised.and_then(|outcome| serde_json::from_slice::<Raised>(&outcome.payload).ok());
    let text = match raised {
        Some(raised) => format!("{}: {}", failure.reason, raised.error_message),
        None => failure.reason.to_owned(),
    };
    text.chars().take(MAX_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(position: u64) -> Record {
        Record {
            position: Position::new(position),
            arrival: Timestamp::from_millis(1_000),
            partition_key: "k".parse().unwrap(),
            explicit_hash_key: None,
            data: Bytes::new(),
            sealed: false,
        }
    }

    #[test]
    fn halves_of_a_batch_are_one_trouble_until_its_end_is_passed() {
        let (progress, part) = (Progress::default(), (ShardId::new(0), 0));
        let records: Vec<Record> = (1..=4).map(record).collect();
        let fail = |range: std::ops::Range<usize>, now| {
            let records: Vec<&Record> = records[range].iter().collect();
            let max_age = Some(Duration::from_secs(60));
            let now = Timestamp::from_millis(now);
            let failure = Failure { records: &records, part, closes: None, reason: "no", outcome: None, now, max_age };
            progress.failed(&failure);
        };
        fail(0..4, 5_000);
        assert_eq!(progress.stuck(), [], "one failure is nothing yet");
        fail(0..2, 6_000);
        progress.passed(part, Some(Position::new(2)));
        fail(3..4, 8_000);
        let stuck = &progress.stuck()[0];
        assert_eq!((stuck.since, stuck.postponed, stuck.records), (Timestamp::from_millis(5_000), 3, 1));
        assert_eq!(stuck.expires, Some(Timestamp::from_millis(61_000)));
        progress.passed(part, Some(Position::new(3)));
        assert_eq!(progress.stuck().len(), 1);
        progress.passed(part, Some(Position::new(4)));
        assert_eq!(progress.stuck(), []);
    }
}
