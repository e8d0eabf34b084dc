//! What a mapping is set to, and the limits of that ("CreateEventSourceMapping", Lambda API Reference).
//!
//! Promises that documents of earlier versions are read with the defaults of what they do not say. Must not know where
//! they are kept.

use std::collections::BTreeMap;

use std::time::Duration;

use base::{Arn, Timestamp};
use serde::{Deserialize, Serialize};

use super::queue::{self, BATCH_SIZE, is_queue};
use super::tags;
use crate::FlowError;

/// Where a mapping starts on shards that exist at its creation. On later shards it starts at their beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StartingPosition {
    /// At the oldest record.
    TrimHorizon,
    /// After the newest record of the moment at which the mapping first runs.
    Latest,
    /// At the first record that arrived then or later.
    AtTimestamp(Timestamp),
}

/// What a mapping is created with.
#[derive(Debug, Clone)]
pub struct MappingSpec {
    /// The function to call.
    pub function: Arn,
    /// The role that the event names as caller.
    pub role: Arn,
    /// The stream or queue.
    pub source: Arn,
    /// Where to start; a stream's mapping has to say, a queue's has no place to start at.
    pub start: Option<StartingPosition>,
    /// Everything that can be changed later.
    pub settings: MappingChange,
}

/// Settings of a mapping; at creation `None` is the service's default, later it is "as before".
#[derive(Debug, Clone, Default)]
pub struct MappingChange {
    /// The function to call.
    pub function: Option<Arn>,
    /// Whether it runs; default true.
    pub enabled: Option<bool>,
    /// Records in a batch, 1 to 10,000; default 100, of a queue 10.
    pub batch_size: Option<u32>,
    /// Seconds to gather a batch, 0 to 300; default 0.
    pub window_secs: Option<u32>,
    /// Retries of a failed batch, 0 to 10,000, or -1 for no limit; default -1.
    pub max_retries: Option<i64>,
    /// Age in seconds after which a record is given up, 60 to 604,800, or -1 for no limit; default -1.
    pub max_age_secs: Option<i64>,
    /// Whether a failed batch is split; default false.
    pub bisect: Option<bool>,
    /// Filter patterns, at most 5; a record is handled when one matches. Empty for all records.
    pub filters: Option<Vec<String>>,
    /// Whether the function's answer names failed records; default false.
    pub report_item_failures: Option<bool>,
    /// The queue or topic that is told of what is given up, or none; default none.
    pub on_failure: Option<Option<Arn>>,
    /// Batches of a shard under way at once, each of other partition keys, 1 to 10; default 1.
    pub parallelization: Option<u32>,
    /// Seconds of a tumbling window, 0 to 900; default 0, for none.
    pub tumbling_secs: Option<u32>,
    /// Batches of a queue under way at once, 2 to 1,000, or none for no bound of its own, the default.
    pub max_concurrency: Option<Option<u32>>,
    /// Whether its events are counted; default false.
    pub event_counts: Option<bool>,
    /// All its tags; default none.
    pub tags: Option<BTreeMap<String, String>>,
}

/// A mapping as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mapping {
    /// A UUID.
    pub id: String,
    /// The function to call.
    pub function: Arn,
    /// The role that the event names as caller.
    pub role: Arn,
    /// The stream or queue.
    pub source: Arn,
    /// Where it started, on a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartingPosition>,
    /// Whether it runs.
    pub enabled: bool,
    /// Whether its place is fixed only when it first runs: it starts at the newest record and never ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unplaced: bool,
    /// Records in a batch.
    pub batch_size: u32,
    /// Seconds to gather a batch.
    pub window_secs: u32,
    /// Retries of a failed batch; none for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Age in seconds after which a record is given up; none for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_secs: Option<u32>,
    /// Whether a failed batch is split.
    pub bisect: bool,
    /// Filter patterns.
    pub filters: Vec<String>,
    /// Whether the function's answer names failed records.
    pub report_item_failures: bool,
    /// The queue or topic that is told of what is given up; without one that is quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Arn>,
    /// Batches of a shard under way at once.
    #[serde(default = "one")]
    pub parallelization: u32,
    /// Seconds of a tumbling window; 0 for none.
    #[serde(default)]
    pub tumbling_secs: u32,
    /// Batches of a queue under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Whether its events are counted.
    #[serde(default)]
    pub event_counts: bool,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it was created or last changed.
    pub modified: Timestamp,
}

/// A mapping as shown.
#[derive(Debug, Clone)]
pub struct MappingView {
    /// As stored.
    pub mapping: Mapping,
    /// `Enabled` or `Disabled`; `Updating`, `Disabling` or `Deleting` while a call lasts that was begun before.
    pub state: &'static str,
    /// How the last batch ended, or why there is none.
    pub last_result: String,
    /// What its function's role lacks for reading: it is held until it has that, and goes on by itself.
    pub denied: Option<String>,
}

fn one() -> u32 {
    1
}

/// A number in its range; -1 stands for no limit.
fn limit(name: &str, value: i64, range: std::ops::RangeInclusive<i64>) -> Result<Option<u32>, FlowError> {
    match u32::try_from(value) {
        _ if value == -1 => Ok(None),
        Ok(number) if range.contains(&value) => Ok(Some(number)),
        _ => Err(FlowError::Invalid(format!("{name} must be -1 or {} to {}, not {value}", range.start(), range.end()))),
    }
}

impl Mapping {
    /// As the service makes one of which nothing is said.
    pub(super) fn new(id: String, spec: &MappingSpec, modified: Timestamp) -> Self {
        Self {
            id,
            function: spec.function.clone(),
            role: spec.role.clone(),
            source: spec.source.clone(),
            start: spec.start,
            enabled: true,
            unplaced: false,
            batch_size: if is_queue(&spec.source) { BATCH_SIZE } else { 100 },
            window_secs: 0,
            max_retries: None,
            max_age_secs: None,
            bisect: false,
            filters: Vec::new(),
            report_item_failures: false,
            on_failure: None,
            parallelization: 1,
            tumbling_secs: 0,
            max_concurrency: None,
            event_counts: false,
            tags: BTreeMap::new(),
            modified,
        }
    }

    /// How old a record may become, by the mapping's own word.
    pub(super) fn max_age(&self) -> Option<Duration> {
        self.max_age_secs.map(|secs| Duration::from_secs(secs.into()))
    }

    pub(super) fn apply(&mut self, change: &MappingChange) -> Result<(), FlowError> {
        if is_queue(&self.source) {
            queue::apply(self, change)?;
        } else if change.max_concurrency.is_some() {
            return Err(FlowError::Invalid("ScalingConfig is not valid for Kinesis event sources.".to_owned()));
        }
        if let Some(size) = change.batch_size {
            if !(1..=10_000).contains(&size) {
                return Err(FlowError::Invalid(format!("BatchSize must be 1 to 10000, not {size}")));
            }
            self.batch_size = size;
        }
        if let Some(secs) = change.window_secs {
            if secs > 300 {
                return Err(FlowError::Invalid(format!("MaximumBatchingWindowInSeconds must be 0 to 300, not {secs}")));
            }
            self.window_secs = secs;
        }
        if let Some(retries) = change.max_retries {
            self.max_retries = limit("MaximumRetryAttempts", retries, 0..=10_000)?;
        }
        if let Some(secs) = change.max_age_secs {
            self.max_age_secs = limit("MaximumRecordAgeInSeconds", secs, 60..=604_800)?;
        }
        if let Some(filters) = &change.filters {
            if filters.len() > 5 {
                return Err(FlowError::Invalid("FilterCriteria has at most 5 filters".to_owned()));
            }
            for filter in filters {
                rules::Pattern::parse(filter)
                    .map_err(|e| FlowError::Invalid(format!("Invalid filter pattern definition. {e}")))?;
            }
            self.filters.clone_from(filters);
        }
        self.enabled = change.enabled.unwrap_or(self.enabled);
        self.event_counts = change.event_counts.unwrap_or(self.event_counts);
        self.bisect = change.bisect.unwrap_or(self.bisect);
        self.report_item_failures = change.report_item_failures.unwrap_or(self.report_item_failures);
        if let Some(lanes) = change.parallelization {
            if !(1..=10).contains(&lanes) {
                return Err(FlowError::Invalid(format!("ParallelizationFactor must be 1 to 10, not {lanes}")));
            }
            self.parallelization = lanes;
        }
        if let Some(secs) = change.tumbling_secs {
            if secs > 900 {
                return Err(FlowError::Invalid(format!("TumblingWindowInSeconds must be 0 to 900, not {secs}")));
            }
            self.tumbling_secs = secs;
        }
        // A window's state is a shard's.
        if self.tumbling_secs > 0 && self.parallelization > 1 {
            return Err(FlowError::Invalid(
                "TumblingWindowInSeconds goes with a ParallelizationFactor of 1 only".to_owned(),
            ));
        }
        if let Some(tags) = &change.tags {
            tags::check(tags)?;
            self.tags.clone_from(tags);
        }
        if let Some(on_failure) = &change.on_failure {
            self.on_failure.clone_from(on_failure);
        }
        if let Some(function) = &change.function {
            self.function = function.clone();
        }
        Ok(())
    }
}
