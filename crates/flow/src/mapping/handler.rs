//! One batch to one call of the function, and what its answer means.
//!
//! Must not know when a batch is repeated: that is the consumer's step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, Invocation, InvokeOutcome, Position, Scope, SequenceNumber, ShardId};
use log::{Record, StreamKey};
use rules::{Engine, Event, Pattern, Scratch};
use serde::Deserialize;

use super::counts::{EventCount, EventCounts};
use super::event::{Surroundings, for_filter, payload};
use super::fanout::{self, Hold};
use super::give_up::Lost;
use super::permissions::Permissions;
use super::quarantine::{Quarantine, Reason, Why};
use super::settings::Mapping;
use super::stuck::{Failure, Part, Progress};
use super::window::{MAX_STATE, Windows, state_of, tumbling, with_state};
use super::{MAX_PAYLOAD, MappingPorts, readable, source_key};
use crate::checkpoint::Window;
use crate::consumer::{Batch, DropReason, Handler, Outcome, Span};
use crate::{FlowError, metrics};

/// Calls a mapping's function.
pub(super) struct Caller {
    function: Arn,
    around: Surroundings,
    /// `None` lets everything through.
    filters: Option<Engine<usize>>,
    report_item_failures: bool,
    /// What is told of what is given up.
    on_failure: Option<Arn>,
    mapping: String,
    /// The stream's ARN, also where it is read as a consumer.
    stream: Arn,
    /// The mapping's own bound.
    max_age: Option<Duration>,
    source: StreamKey,
    ports: MappingPorts,
    permissions: Permissions,
    progress: Arc<Progress>,
    quarantine: Arc<Quarantine>,
    windows: Windows,
    /// Where it reads as a consumer, its hold on that.
    pub hold: Option<Hold>,
    /// What is counted of what it reads.
    pub counts: EventCounts,
}

fn part_of(batch: &Batch) -> Part {
    (batch.shard, batch.lane.index)
}

/// How a call of the function went.
pub(super) enum Called {
    Done,
    Failed {
        from: Option<Position>,
        reason: String,
    },
    Later(String),
    /// It can never be made.
    Refused(String),
}

impl Caller {
    pub fn new(
        scope: &Scope,
        mapping: &Mapping,
        ports: &MappingPorts,
        progress: &Arc<Progress>,
        quarantine: &Arc<Quarantine>,
    ) -> Result<Self, FlowError> {
        let around =
            Surroundings { source: mapping.source.clone(), role: mapping.role.clone(), region: scope.region.clone() };
        Ok(Self {
            function: mapping.function.clone(),
            around,
            filters: engine(&mapping.filters)?,
            report_item_failures: mapping.report_item_failures,
            on_failure: mapping.on_failure.clone(),
            mapping: mapping.id.clone(),
            stream: fanout::stream_of(&mapping.source),
            max_age: mapping.max_age(),
            source: source_key(&mapping.source)?,
            ports: ports.clone(),
            permissions: Permissions::new(mapping, ports),
            progress: Arc::clone(progress),
            quarantine: Arc::clone(quarantine),
            windows: Windows::default(),
            hold: None,
            counts: EventCounts::default(),
        })
    }

    /// How old a record may become: by the mapping's word, and by what its stream keeps.
    fn bound(&self) -> Option<Duration> {
        let readable = readable(&self.ports.consumers.log, &self.source);
        [self.max_age, readable].into_iter().flatten().min()
    }

    /// Whether a filter matches the record. One that is nested too deep to be looked at matches none.
    fn wants(&self, shard: ShardId, record: &Record, scratch: &mut Scratch) -> bool {
        let Some(filters) = &self.filters else { return true };
        let Ok(view) = for_filter(shard, record) else { return false };
        Event::check(&view).is_ok_and(|event| filters.matches(event, scratch).next().is_some())
    }
}

/// What decides about records by a mapping's filters; none without filters.
pub(super) fn engine(filters: &[String]) -> Result<Option<Engine<usize>>, FlowError> {
    let mut engine = Engine::default();
    for (number, filter) in filters.iter().enumerate() {
        let pattern = Pattern::parse(filter).map_err(|e| FlowError::Invalid(e.to_string()))?;
        engine.insert(number, &pattern);
    }
    Ok((!filters.is_empty()).then_some(engine))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// `null`, as Go writes an empty slice, is success.
    #[serde(default)]
    batch_item_failures: Option<Vec<ItemFailure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: Option<String>,
}

/// The first record that a function reported as failed; an answer that cannot be understood fails the whole batch
/// ("Configuring partial batch response", Lambda Developer Guide).
fn first_failure(answer: &[u8], records: &[&Record]) -> Result<Option<Position>, String> {
    if matches!(answer.trim_ascii(), b"" | b"null") {
        return Ok(None);
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|e| format!("its answer is not understood: {e}"))?;
    let mut first: Option<Position> = None;
    for failure in answer.batch_item_failures.into_iter().flatten() {
        let id = failure.item_identifier.unwrap_or_default();
        let position = id.parse::<SequenceNumber>().map(SequenceNumber::position);
        let known = position.ok().filter(|p| records.iter().any(|r| r.position == *p));
        let position = known.ok_or_else(|| format!("it reports an unknown item '{id:.60}'"))?;
        first = Some(first.map_or(position, |f| f.min(position)));
    }
    Ok(first)
}

impl Caller {
    /// Counts what a batch brings for the first time.
    fn read(&self, batch: &Batch) {
        let mut scratch = Scratch::default();
        self.counts.read(part_of(batch), &batch.records, |record| self.wants(batch.shard, record, &mut scratch));
    }

    /// Those of a batch's records that a filter matches and that were not skipped by somebody's word.
    async fn wanted<'a>(&self, batch: &'a Batch) -> Result<Vec<&'a Record>, FlowError> {
        let skipped = self.quarantine.skipped(batch.stream, batch.shard, batch.records.iter()).await?;
        let mut scratch = Scratch::default();
        let wanted = batch.records.iter().filter(|record| !skipped.contains(&record.position));
        Ok(wanted.filter(|record| self.wants(batch.shard, record, &mut scratch)).collect())
    }

    /// Calls the function with records of a shard, and notes how it went.
    pub async fn call(&self, part: Part, records: &[&Record], want_log: bool) -> Called {
        self.call_with(part, records, want_log, None).await.0
    }

    /// The same, with what is said of a window.
    async fn call_with(
        &self,
        part: Part,
        records: &[&Record],
        want_log: bool,
        window: Option<(&Window, bool, bool)>,
    ) -> (Called, Option<InvokeOutcome>) {
        let source = &self.around.source;
        let tumbling = window.map(|(window, last, early)| tumbling(window, part.0, source, (last, early))).transpose();
        let payload = match tumbling.and_then(|tumbling| payload(&self.around, part.0, records, tumbling)) {
            Ok(payload) => payload,
            // Texts, numbers, names and JSON that was read: it cannot fail.
            Err(error) => return (Called::Failed { from: None, reason: error.to_string() }, None),
        };
        if payload.len() > MAX_PAYLOAD && records.len() == 1 {
            let reason =
                format!("the event of this one record has {} bytes, and a function takes {MAX_PAYLOAD}", payload.len());
            let called = Called::Refused(reason);
            self.note(part, (records, None), &called, None);
            return (called, None);
        }
        let call = Invocation {
            function: self.function.clone(),
            payload,
            request_id: None,
            client_context: None,
            want_log,
            trace: None,
        };
        self.counts.aged(records, self.ports.consumers.env.clock.now());
        let (called, outcome) = match self.ports.invoke.invoke(call).await {
            Err(error) if error.kind == base::ErrorKind::Invalid => {
                (Called::Failed { from: None, reason: error.message }, None)
            }
            Err(error) => (Called::Later(error.message), None),
            Ok(outcome) => {
                self.counts.add(EventCount::Invoked, records.len());
                let needs_state = window.is_some_and(|(_, last, _)| !last);
                (self.judge(&outcome, records, needs_state), Some(outcome))
            }
        };
        self.counts.add(EventCount::FailedInvoke, self.failed(&called, outcome.as_ref(), records));
        let closes = window.filter(|(_, last, _)| *last).map(|(of, ..)| Span { start: of.start, end: of.end });
        self.note(part, (records, closes), &called, outcome.as_ref());
        (called, outcome)
    }

    /// How many records a call failed for: those that the function named, or all.
    fn failed(&self, called: &Called, outcome: Option<&InvokeOutcome>, records: &[&Record]) -> usize {
        match called {
            Called::Done => 0,
            Called::Failed { from: Some(_), .. } => {
                let answer = outcome.and_then(|outcome| serde_json::from_slice::<Answer>(&outcome.payload).ok());
                let named = answer.and_then(|answer| answer.batch_item_failures).unwrap_or_default();
                let named: BTreeSet<_> = named.into_iter().filter_map(|failure| failure.item_identifier).collect();
                named.len()
            }
            Called::Failed { .. } | Called::Later(_) | Called::Refused(_) => records.len(),
        }
    }

    /// What the function's answer means.
    fn judge(&self, outcome: &InvokeOutcome, records: &[&Record], needs_state: bool) -> Called {
        if let Some(reason) = outcome.failure() {
            return Called::Failed { from: None, reason };
        }
        if needs_state && state_of(&outcome.payload).is_none() {
            return Called::Failed { from: None, reason: "its answer has no state".to_owned() };
        }
        if !self.report_item_failures {
            return Called::Done;
        }
        match first_failure(&outcome.payload, records) {
            Ok(None) => Called::Done,
            Ok(from) => Called::Failed { from, reason: "the function reported failed items".to_owned() },
            Err(reason) => Called::Failed { from: None, reason },
        }
    }

    /// A batch of a tumbling window, or its close.
    async fn in_window(&self, batch: &Batch, records: &[&Record], span: Span, last: bool) -> Called {
        let (part, want_log) = (part_of(batch), batch.attempt > 1);
        let window = self.windows.of(batch.shard, span);
        if last {
            // A window of which no record went to the function has nothing to be closed.
            let called = match self.windows.get(batch.shard) {
                Some(open) if open == window => {
                    self.call_with(part, &[], want_log, Some((&window, true, false))).await.0
                }
                _ => Called::Done,
            };
            if matches!(called, Called::Done) {
                self.windows.set(batch.shard, None);
            }
            return called;
        }
        let (called, outcome) = self.call_with(part, records, want_log, Some((&window, false, false))).await;
        let Some(state) = outcome.and_then(|outcome| state_of(&outcome.payload)) else { return called };
        let window = with_state(window, Some(state));
        let is_too_large = window.state.len() > MAX_STATE;
        match called {
            Called::Done if is_too_large => {
                let ended = self.call_with(part, &[], want_log, Some((&window, true, true))).await.0;
                if matches!(ended, Called::Done) {
                    self.windows.set(batch.shard, Some(with_state(window, None)));
                }
                ended
            }
            // The state is that of the records before the first that failed.
            Called::Failed { from: Some(from), .. }
                if !is_too_large && records.first().is_some_and(|first| first.position < from) =>
            {
                self.windows.set(batch.shard, Some(window));
                called
            }
            Called::Failed { from: Some(_), reason } if is_too_large => Called::Failed { from: None, reason },
            Called::Done => {
                self.windows.set(batch.shard, Some(window));
                called
            }
            other => other,
        }
    }

    fn note(
        &self,
        part: Part,
        (records, closes): (&[&Record], Option<Span>),
        called: &Called,
        outcome: Option<&InvokeOutcome>,
    ) {
        let reason = match called {
            Called::Done => return self.progress.set("OK"),
            Called::Failed { reason, .. } => {
                self.progress.set("PROBLEM: Function call failed");
                reason
            }
            Called::Later(reason) | Called::Refused(reason) => {
                self.progress.set(format!("PROBLEM: {reason}"));
                reason
            }
        };
        let (now, max_age) = (self.ports.consumers.env.clock.now(), self.bound());
        self.progress.failed(&Failure { records, part, closes, reason, outcome, now, max_age });
    }

    /// Tells the destination, or puts the records into quarantine where there is none, or none that could be told.
    async fn put_away(&self, batch: &Batch, records: &[&Record], why: &DropReason) -> Result<(), String> {
        let mut reason = match why {
            DropReason::Expired => "it was too old".to_owned(),
            DropReason::Attempts(reason) | DropReason::Refused(reason) => reason.clone(),
        };
        if let Some(error) = self.progress.error(part_of(batch)) {
            reason = error;
        }
        if let Some(to) = &self.on_failure {
            // Nothing is let go for want of a permission: it waits for that.
            self.permissions.tell(to).map_err(|denial| denial.message)?;
            let lost = Lost {
                mapping: &self.mapping,
                function: &self.function,
                source: &self.stream,
                batch,
                records,
                why,
                answered: self.progress.answered(part_of(batch)),
                now: self.ports.consumers.env.clock.now(),
            };
            match lost.tell(&*self.ports.router, to).await {
                Ok(()) => {
                    self.counts.add(EventCount::OnFailureDestinationDelivered, records.len());
                    return Ok(());
                }
                Err(error) if error.kind.is_transient() => return Err(error.message),
                Err(error) => {
                    metrics::mapping_untold(&self.mapping);
                    let mapping = &self.mapping;
                    tracing::error!(mapping, %to, %error, "a destination cannot be told; the records are quarantined");
                }
            }
        }
        let why = match why {
            DropReason::Expired => Why::Expired,
            DropReason::Attempts(_) => Why::Attempts,
            DropReason::Refused(_) => Why::Refused,
        };
        let reason = Reason { why, text: &reason, attempts: batch.attempt };
        self.quarantine.put(batch.stream, batch.shard, records, &reason).await.map_err(|e| e.to_string())?;
        // What the stream's retention is about to take is none of the mapping's limits.
        if why != Why::Expired || (self.max_age.is_some() && self.bound() == self.max_age) {
            self.counts.add(EventCount::Dropped, records.len());
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Caller {
    async fn handle(&self, batch: &Batch) -> Outcome {
        if let Some(reason) = self.unreadable(batch) {
            return Outcome::Later(reason);
        }
        self.read(batch);
        let records = match self.wanted(batch).await {
            Ok(records) => records,
            Err(error) => return Outcome::Later(error.to_string()),
        };
        let called = match (records.is_empty(), batch.window) {
            (true, Some((span, true))) => self.in_window(batch, &records, span, true).await,
            (true, _) => Called::Done,
            (false, Some((span, _))) => self.in_window(batch, &records, span, false).await,
            // What a first call logged is in the function's log; what is shown is what fails again.
            (false, None) => self.call(part_of(batch), &records, batch.attempt > 1).await,
        };
        match called {
            Called::Done => {
                self.handled(batch, &records).await;
                self.passed(batch);
                Outcome::Done
            }
            Called::Failed { from, reason } => {
                let done = records.iter().take_while(|record| from.is_some_and(|from| record.position < from));
                self.handled(batch, &done.copied().collect::<Vec<_>>()).await;
                Outcome::Failed { from, reason }
            }
            Called::Later(reason) => Outcome::Later(reason),
            Called::Refused(reason) => Outcome::Refused(reason),
        }
    }

    fn cut_off(&self, why: &str) {
        self.progress.set(format!("PROBLEM: {why}"));
    }

    fn readable(&self) -> Option<Duration> {
        readable(&self.ports.consumers.log, &self.source)
    }

    fn resume(&self, shard: ShardId, window: Option<&Window>) {
        self.windows.set(shard, window.cloned());
    }

    fn window(&self, shard: ShardId) -> Option<Window> {
        self.windows.get(shard)
    }

    async fn give_up(&self, batch: &Batch, why: &DropReason) -> Result<(), String> {
        if let Some((span, true)) = batch.window {
            self.windows.set(batch.shard, None);
            metrics::mapping_lost_window(&self.mapping);
            let (mapping, shard, start) = (&self.mapping, batch.shard, span.start.to_iso_secs());
            tracing::error!(mapping, %shard, start, ?why, "a window was never closed by its function");
        }
        self.read(batch);
        let records = self.wanted(batch).await.map_err(|e| e.to_string())?;
        if !records.is_empty() {
            if let Err(error) = self.put_away(batch, &records, why).await {
                self.not_put_away(batch, &records, &error);
                return Err(error);
            }
            self.progress.set(match why {
                DropReason::Expired => "PROBLEM: Records expired before they could be processed",
                DropReason::Attempts(_) | DropReason::Refused(_) => {
                    "PROBLEM: Records were given up after their last retry"
                }
            });
        }
        self.passed(batch);
        Ok(())
    }
}

impl Caller {
    /// Why nothing is handled: the consumer that is read as is gone, or the function's role may not read. What was read
    /// waits, and is seen to.
    fn unreadable(&self, batch: &Batch) -> Option<String> {
        let reason = match self.hold.as_ref().is_none_or(Hold::is_good) {
            true => self.permissions.read().err()?.message,
            false => fanout::gone(&self.around.source),
        };
        let records: Vec<&Record> = batch.records.iter().collect();
        let closes = batch.window.filter(|(_, last)| *last).map(|(span, _)| span);
        self.note(part_of(batch), (&records, closes), &Called::Later(reason.clone()), None);
        Some(reason)
    }

    /// What is given up waits for where it goes: the shard is stuck on it.
    fn not_put_away(&self, batch: &Batch, records: &[&Record], error: &str) {
        let reason = format!("what is given up cannot be put away: {error}");
        self.progress.set(format!("PROBLEM: {reason}"));
        tracing::warn!(mapping = self.mapping, shard = %batch.shard, records = records.len(), "{reason}");
        let (part, now, max_age) = (part_of(batch), self.ports.consumers.env.clock.now(), self.bound());
        self.progress.held(&Failure { records, part, closes: None, reason: error, outcome: None, now, max_age });
    }

    /// The function took these: what was skipped while it had them was handled after all.
    async fn handled(&self, batch: &Batch, records: &[&Record]) {
        let quarantine = &self.quarantine;
        let skipped = match quarantine.skipped(batch.stream, batch.shard, records.iter().copied()).await {
            Ok(skipped) if skipped.is_empty() => return,
            Ok(skipped) => skipped,
            Err(_) => return,
        };
        let (mapping, shard, count) = (&self.mapping, batch.shard, skipped.len());
        match quarantine.unskip(batch.stream, batch.shard, skipped.into_iter()).await {
            Ok(()) => tracing::warn!(mapping, %shard, count, "skipped records were handled by a call that had them"),
            // They are kept twice rather than lost.
            Err(error) => tracing::warn!(mapping, %shard, count, %error, "skipped records were handled, and are kept"),
        }
    }

    /// Nothing of this batch is open any more.
    fn passed(&self, batch: &Batch) {
        self.progress.passed(part_of(batch), batch.records.last().map(|last| last.position));
    }
}
