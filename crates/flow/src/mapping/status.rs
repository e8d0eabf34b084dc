//! Looking after a mapping: what it is stuck on and what it gave up, skipping a record, and handing quarantined ones to
//! the function again.
//!
//! Promises that a skipped record's payload is durable in quarantine before anything goes on, and that what is redriven
//! leaves the quarantine only when the function succeeded with it.

use std::time::Duration;

use base::{Position, Scope, SequenceNumber, ShardId};
use log::{ReadLimit, Record};

use super::handler::{Called, Caller};
use super::quarantine::{Kept, Origin, Quarantine, Reason, Why};
use super::queue::is_queue;
use super::settings::{Mapping, MappingView};
use super::stuck::Stuck;
use super::{Mappings, config, consumer_id, source_key};
use crate::FlowError;

/// How a mapping gets on.
#[derive(Debug, Clone)]
pub struct MappingStatus {
    /// The mapping.
    pub view: MappingView,
    /// The age of the oldest record that it has not dealt with; none while it is disabled.
    pub age: Option<Duration>,
    /// What its shards are stuck on.
    pub stuck: Vec<Stuck>,
    /// What it gave up and kept, in the order in which it was.
    pub quarantine: Vec<Kept>,
    /// Why that cannot be read. What has to be put there waits, and holds its shard; everything else goes on.
    pub unreadable: Option<String>,
}

/// What came of a part of a quarantine that was handed to the function again.
#[derive(Debug, Clone, Default)]
pub struct Redriven {
    /// Records that the function succeeded with: they left the quarantine.
    pub succeeded: usize,
    /// Those that it failed with, which stay, and why.
    pub failed: Vec<(Kept, String)>,
    /// Where to go on, when there is more.
    pub next: Option<Position>,
    /// Why it ended before all of the part was tried; what is said beside it is true all the same.
    pub interrupted: Option<String>,
}

impl Mappings {
    fn mapping(&self, scope: &Scope, id: &str) -> Result<Mapping, FlowError> {
        config::stored(self.state(), scope, id)?.ok_or_else(config::not_found)
    }

    /// A mapping that may have records to skip and redrive.
    fn of_a_stream(&self, scope: &Scope, id: &str) -> Result<Mapping, FlowError> {
        let mapping = self.mapping(scope, id)?;
        if is_queue(&mapping.source) {
            return Err(FlowError::Invalid(format!(
                "mapping {id} reads a queue, which keeps what fails itself: see the dead-letter queue of its RedrivePolicy"
            )));
        }
        Ok(mapping)
    }

    /// How a mapping gets on.
    pub async fn status(&self, scope: &Scope, id: &str) -> Result<MappingStatus, FlowError> {
        let view = self.get(scope, id)?;
        let consumers = &self.inner.ports.consumers;
        let stuck = self.progress(id).map(|progress| progress.stuck()).unwrap_or_default();
        let age = consumers.lag.of(&consumer_id(id), consumers.env.clock.now());
        let (quarantine, unreadable) = match self.quarantine(scope, id).list().await {
            Ok(all) => (all.into_iter().map(|(_, kept)| kept).collect(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        Ok(MappingStatus { view, age, stuck, quarantine, unreadable })
    }

    /// Sets a record aside, into quarantine, and goes on with the others. It must be a record that the mapping has not
    /// dealt with yet. A call that has it already goes on; when that succeeds it leaves the quarantine, for it was handled.
    pub async fn skip(
        &self,
        scope: &Scope,
        id: &str,
        shard: ShardId,
        sequence: SequenceNumber,
    ) -> Result<(), FlowError> {
        let mapping = self.of_a_stream(scope, id)?;
        let consumers = &self.inner.ports.consumers;
        let stream = consumers.log.stream(&source_key(&mapping.source)?)?;
        let missing = || FlowError::NotFound(format!("there is no record {sequence} in {shard} of {}", mapping.source));
        let slot = stream.shard(shard).ok_or_else(missing)?.slot;
        let limit = ReadLimit { records: 1, bytes: usize::MAX };
        let slice = consumers.log.read(slot, sequence.position(), limit).await?;
        let record = slice.records.into_iter().find(|r| r.position == sequence.position()).ok_or_else(missing)?;
        let (checkpoints, consumer) = (&consumers.checkpoints, consumer_id(id));
        if checkpoints.is_done(&consumer, stream.id, shard, (&record.partition_key, record.position))? {
            return Err(FlowError::Conflict(format!(
                "the mapping has dealt with record {sequence} of {shard} already"
            )));
        }
        let is_passed = |of: Origin| {
            let listed = of.stream == stream.id.number() && stream.shard(of.shard).is_some();
            let behind = checkpoints.behind(&consumer, stream.id, of.shard).ok().flatten();
            !listed || behind.is_some_and(|behind| of.position < behind)
        };
        let reason = Reason { why: Why::Skipped, text: "it was skipped by tidegate mapping skip", attempts: 0 };
        // That it is dealt with from now on may be because it is skipped: what is put aside stays.
        self.quarantine(scope, id).skip((stream.id, shard), &record, &reason, is_passed).await?;
        tracing::warn!(mapping = id, %shard, %sequence, "a record is skipped");
        self.urge(id);
        Ok(())
    }

    /// Hands a part of what is in quarantine behind `after` to the function again, in order: one batch at most. What
    /// fails is divided until single records are left.
    pub async fn redrive(&self, scope: &Scope, id: &str, after: Option<Position>) -> Result<Redriven, FlowError> {
        let mapping = self.of_a_stream(scope, id)?;
        let quarantine = self.quarantine(scope, id);
        // Who asks again because an answer takes long must not call the function beside it.
        let Ok(_turn) = quarantine.redriving.try_lock() else {
            return Err(FlowError::Conflict(format!(
                "the quarantine of mapping {id} is being redriven already; wait until that is done"
            )));
        };
        let all = quarantine.list().await?;
        let mut left = all.into_iter().filter(|(place, _)| after.is_none_or(|after| *place > after)).peekable();
        let Some((_, first)) = left.peek().cloned() else { return Ok(Redriven::default()) };
        // A batch is of one shard, and no larger than an event may be.
        let of_shard =
            |kept: &Kept| (kept.origin.stream, kept.origin.shard) == (first.origin.stream, first.origin.shard);
        let (mut part, mut bytes) = (Vec::new(), 0);
        while let Some((_, kept)) = left.peek() {
            bytes += kept.bytes.div_ceil(3) * 4 + 4_096;
            let fits = part.len() < mapping.batch_size as usize && bytes <= super::MAX_PAYLOAD;
            let joins = fits && of_shard(kept);
            if !part.is_empty() && !joins {
                break;
            }
            part.extend(left.next());
        }
        let next = left.peek().and(part.last().map(|(place, _)| *place));
        let progress = Default::default();
        let caller = Caller::new(scope, &mapping, &self.inner.ports, &progress, &quarantine)?;
        let records = quarantine.read(&part).await?;
        let mut redriven = Redriven { next, ..Redriven::default() };
        match divide(&caller, &quarantine, first.origin.shard, &part, &records, &mut redriven).await {
            // What came of the others must not be lost with it.
            Err(error) if redriven.succeeded > 0 || !redriven.failed.is_empty() => {
                redriven.interrupted = Some(error.to_string());
            }
            other => other?,
        }
        Ok(redriven)
    }
}

/// Calls the function with all, or where that fails with halves.
async fn divide(
    caller: &Caller,
    quarantine: &Quarantine,
    shard: ShardId,
    part: &[(Position, Kept)],
    records: &[Record],
    redriven: &mut Redriven,
) -> Result<(), FlowError> {
    let mut open = Vec::new();
    open.push(0..records.len());
    while let Some(range) = open.pop() {
        let batch: Vec<&Record> = records[range.clone()].iter().collect();
        let (done, reason) = match caller.call((shard, 0), &batch, false).await {
            Called::Done => (range.len(), String::new()),
            Called::Failed { from, reason } => {
                (from.map_or(0, |from| batch.iter().take_while(|r| r.position != from).count()), reason)
            }
            Called::Refused(reason) => (0, reason),
            Called::Later(reason) => return Err(FlowError::Unavailable(reason)),
        };
        let places: Vec<Position> = part[range.clone()][..done].iter().map(|(place, _)| *place).collect();
        if done > 0 {
            redriven.succeeded += done;
            let stays = |error| FlowError::Unavailable(format!("records that the function took stay: {error}"));
            quarantine.remove(&places).await.map_err(stays)?;
        }
        match range.len() - done {
            0 => {}
            1 => redriven.failed.push((part[range.end - 1].1.clone(), reason)),
            _ if done > 0 => open.push(range.start + done..range.end),
            many => {
                let middle = range.start + many / 2;
                open.extend([middle..range.end, range.start..middle]);
            }
        }
    }
    Ok(())
}
