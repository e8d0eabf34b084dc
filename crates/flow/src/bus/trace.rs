//! The way of an event, written down: which rules matched it, and what came of each of their targets.
//!
//! Owns a log beside each bus, its *trace*, kept as long as the bus's own. Promises: of every event that a rule matched
//! the trace says so before the bus's checkpoint passes it, and every outcome that is not an append at the first try is
//! there when it is final. What the trace says survives a crash as the events do.
//! Must not know how targets receive.
//!
//! The trace is made so that it costs the fast way next to nothing. It is not kept by event, which would be a row for
//! each of 50,000 events a second, but by what happened to a whole batch: **one** record that is appended together with
//! the batch's appends to its targets, in the same group and for the same sync. It lists for each rule the positions of
//! the events that it matched, as differences, some two bytes each. The targets' taking is not told: being journal
//! appends they take what is not told to have failed. What fails, waits, is refused or goes the slow way (over HTTP) is
//! told one by one, in a shard of its own, since it is rare or slow anyway.
//!
//! It is read as seldom as somebody asks. An event that `PutEvents` took is found by its id, whose first 48 bits are the
//! time; the trace is then read from that time on until every target's outcome is known.
//!
//! ```text
//! shard 0   {"v":1,"first":position,"last":position,"rules":[{"rule":…,"events":[difference,…],
//!            "targets":[{"id":…,"arn":…,"since":position,"slow":bool},…]},…]}
//! shard 1   {"v":1,"rule":…,"target":id,"positions":[…],"fate":…,"error":…,"outbox":position}
//! ```

mod read;

use std::sync::Arc;
use std::time::Duration;

use base::{Arn, BusName, PartitionKey, Position, ProducerId, RuleName, Scope};
use log::{Append, Log, LogError, NewRecord, Stream, StreamKey, StreamKind, StreamSpec};
use serde::{Deserialize, Serialize};

use crate::producer::{from_shard, into_stream};

pub use read::{AttemptMade, BusWay, EventWay, RuleWay, TargetWay};

const VERSION: u32 = 1;

/// What came of an event at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    /// The target took it.
    Delivered,
    /// An attempt failed; another follows.
    Failed,
    /// It was given up, and went to the dead-letter queue.
    DeadLettered,
    /// It was given up.
    GivenUp,
}

/// What came of events at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    pub rule: RuleName,
    /// Its id.
    pub target: String,
    /// The events, by their place on the bus.
    pub positions: Vec<Position>,
    pub fate: Fate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where the event waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox: Option<Position>,
}

/// A rule that matched events of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Matched {
    pub rule: RuleName,
    /// Each event's position as the difference to the one before, the first to the batch's first.
    pub events: Vec<u64>,
    pub targets: Vec<Given>,
}

/// A target that got them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    pub id: String,
    pub arn: Arn,
    /// It gets events from this position on.
    pub since: Position,
    /// It gets them through its outbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slow: bool,
}

/// A record of shard 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Evaluated {
    v: u32,
    first: Position,
    last: Position,
    rules: Vec<Matched>,
}

/// A record of shard 1.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    outcome: T,
}

impl Matched {
    /// Of a rule that matched these positions, in order, in a batch that begins at `first`.
    pub fn new(rule: RuleName, targets: Vec<Given>, first: Position, positions: &[Position]) -> Self {
        let mut before = first.get();
        let difference = |position: &Position| {
            let difference = position.get().saturating_sub(before);
            before = position.get();
            difference
        };
        Self { rule, events: positions.iter().map(difference).collect(), targets }
    }

    fn has(&self, first: Position, position: Position) -> bool {
        let mut at = first.get();
        self.events.iter().any(|difference| {
            at += difference;
            at == position.get()
        })
    }
}

/// The traces of all buses. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Trace {
    log: Log,
    retention: Duration,
}

impl Trace {
    pub fn new(log: &Log, retention: Duration) -> Self {
        Self { log: log.clone(), retention }
    }

    /// The trace of a bus, made when it is first written.
    async fn stream(&self, scope: &Scope, bus: &BusName) -> Result<Arc<Stream>, LogError> {
        let key = stream_key(scope, bus);
        match self.log.stream(&key) {
            Err(LogError::StreamNotFound(_)) => {
                self.log.ensure_stream(&key, StreamSpec { shards: 2, retention: self.retention }).await
            }
            found => found,
        }
    }

    /// Notes what a batch's events matched. What was noted of a batch before is not noted again.
    pub async fn evaluated(
        &self,
        (scope, bus): (&Scope, &BusName),
        batch: &crate::consumer::Batch,
        rules: impl FnOnce(Position) -> Vec<Matched>,
    ) -> Result<(), String> {
        let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) else { return Ok(()) };
        let stream = self.stream(scope, bus).await.map_err(|e| e.to_string())?;
        let producer = into_stream(from_shard(batch.stream, batch.shard, &["trace"]), stream.id);
        if self.log.producer_position(producer).is_some_and(|done| done >= last.position) {
            return Ok(());
        }
        let rules = rules(first.position);
        if rules.is_empty() {
            return Ok(());
        }
        let record = Evaluated { v: VERSION, first: first.position, last: last.position, rules };
        let data = serde_json::to_vec(&record).map_err(|e| e.to_string())?;
        let producer = Some((producer, last.position));
        self.append(&stream, 0, producer, data).await.map_err(|e| e.to_string())
    }

    /// Notes an outcome. A trace that cannot be written is no reason to hold an event back: it is logged.
    pub async fn outcome(&self, scope: &Scope, bus: &BusName, outcome: &Noted) {
        let data = match serde_json::to_vec(&Versioned { v: VERSION, outcome }) {
            Ok(data) => data,
            Err(error) => return tracing::error!(%bus, %error, "an event's outcome cannot be written down"),
        };
        let written = match self.stream(scope, bus).await {
            Ok(stream) => self.append(&stream, 1, None, data).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(%bus, rule = %outcome.rule, target = outcome.target, %error, "an event's outcome is not in its trace");
        }
    }

    async fn append(
        &self,
        stream: &Stream,
        shard: usize,
        producer: Option<(ProducerId, Position)>,
        data: Vec<u8>,
    ) -> Result<(), LogError> {
        let Some(shard) = stream.shards.get(shard).map(|shard| shard.slot) else { return Ok(()) };
        let record = NewRecord { shard, partition_key: key(), explicit_hash_key: None, data: data.into() };
        self.log.append(Append { producer, records: vec![record] }).await.map(drop)
    }

    /// Removes the trace of a deleted bus.
    pub async fn remove(&self, scope: &Scope, bus: &BusName) -> Result<(), LogError> {
        match self.log.delete_stream(&stream_key(scope, bus)).await {
            Err(LogError::StreamNotFound(_)) => Ok(()),
            other => other.map(drop),
        }
    }
}

fn key() -> PartitionKey {
    match "t".parse() {
        Ok(key) => key,
        Err(_) => unreachable!("a letter is a valid partition key"),
    }
}

fn stream_key(scope: &Scope, bus: &BusName) -> StreamKey {
    StreamKey { kind: StreamKind::Trace, scope: scope.clone(), name: bus.to_string() }
}
