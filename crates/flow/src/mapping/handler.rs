//! One batch to one call of the function, and what its answer means.
//!
//! Must not know when a batch is repeated: that is the consumer's step.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base::{Arn, Invocation, Invoke, Position, Scope, SequenceNumber, ShardId};
use log::Record;
use rules::{Engine, Event, Pattern, Scratch};
use serde::Deserialize;

use super::config::Mapping;
use super::event::{Surroundings, for_filter, payload};
use crate::FlowError;
use crate::consumer::{Batch, DropReason, Handler, Outcome};

/// How the last batch ended, in the service's words.
#[derive(Default)]
pub(super) struct LastResult(Mutex<Option<String>>);

impl LastResult {
    pub fn get(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().unwrap_or_else(|| "No records processed".to_owned())
    }

    pub fn set(&self, text: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.into());
    }
}

/// Calls a mapping's function.
pub(super) struct Caller {
    function: Arn,
    around: Surroundings,
    /// `None` lets everything through.
    filters: Option<Engine<usize>>,
    report_item_failures: bool,
    invoke: Arc<dyn Invoke>,
    last: Arc<LastResult>,
}

impl Caller {
    pub fn new(
        scope: &Scope,
        mapping: &Mapping,
        invoke: Arc<dyn Invoke>,
        last: Arc<LastResult>,
    ) -> Result<Self, FlowError> {
        let around =
            Surroundings { stream: mapping.source.clone(), role: mapping.role.clone(), region: scope.region.clone() };
        Ok(Self {
            function: mapping.function.clone(),
            around,
            filters: engine(&mapping.filters)?,
            report_item_failures: mapping.report_item_failures,
            invoke,
            last,
        })
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
    #[serde(default)]
    batch_item_failures: Vec<ItemFailure>,
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
    for failure in answer.batch_item_failures {
        let id = failure.item_identifier.unwrap_or_default();
        let position = id.parse::<SequenceNumber>().map(SequenceNumber::position);
        let known = position.ok().filter(|p| records.iter().any(|r| r.position == *p));
        let position = known.ok_or_else(|| format!("it reports an unknown item '{id:.60}'"))?;
        first = Some(first.map_or(position, |f| f.min(position)));
    }
    Ok(first)
}

#[async_trait]
impl Handler for Caller {
    async fn handle(&self, batch: &Batch) -> Outcome {
        let mut scratch = Scratch::default();
        let wanted = batch.records.iter().filter(|record| self.wants(batch.shard, record, &mut scratch));
        let records: Vec<&Record> = wanted.collect();
        if records.is_empty() {
            return Outcome::Done;
        }
        let payload = match payload(&self.around, batch.shard, &records) {
            Ok(payload) => payload,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let call = Invocation {
            function: self.function.clone(),
            payload,
            request_id: None,
            client_context: None,
            want_log: false,
            trace: None,
        };
        let failed = |from, reason: String| {
            self.last.set("PROBLEM: Function call failed");
            Outcome::Failed { from, reason }
        };
        match self.invoke.invoke(call).await {
            Err(error) if error.kind == base::ErrorKind::Invalid => failed(None, error.message),
            Err(error) => {
                self.last.set(format!("PROBLEM: {}", error.message));
                Outcome::Later(error.message)
            }
            Ok(outcome) => match outcome.failure() {
                Some(failure) => failed(None, failure),
                None if !self.report_item_failures => {
                    self.last.set("OK");
                    Outcome::Done
                }
                None => match first_failure(&outcome.payload, &records) {
                    Ok(None) => {
                        self.last.set("OK");
                        Outcome::Done
                    }
                    Ok(from) => failed(from, "the function reported failed items".to_owned()),
                    Err(reason) => failed(None, reason),
                },
            },
        }
    }

    fn dropped(&self, _shard: ShardId, _records: &[Record], why: &DropReason) {
        self.last.set(match why {
            DropReason::Expired => "PROBLEM: Records expired before they could be processed",
            DropReason::Attempts(_) | DropReason::Refused(_) => "PROBLEM: Records were given up after their last retry",
        });
    }
}
