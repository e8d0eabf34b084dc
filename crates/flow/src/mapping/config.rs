//! Mappings: created, changed, shown, deleted.
//!
//! Owns their documents in the state store and their limits ("CreateEventSourceMapping", Lambda API Reference).
//! Promises that the starting position is fixed durably at creation, and that a deleted mapping leaves nothing behind.

use base::{Arn, Batch, Kinded, Scope, StateStore, Table, Timestamp, Write};
use serde::{Deserialize, Serialize};

use super::queue::{self, BATCH_SIZE, is_queue};
use super::{Mappings, consumer_id, source_key};
use crate::FlowError;
use crate::checkpoint::Checkpoints;
use crate::stored::{self, Change};

const TABLE: Table = Table("flow.mappings");

/// Where a mapping starts on shards that exist at its creation. On later shards it starts at their beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StartingPosition {
    /// At the oldest record.
    TrimHorizon,
    /// After the newest record.
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
    /// Age in seconds after which a record is dropped, 60 to 604,800, or -1 for no limit; default -1.
    pub max_age_secs: Option<i64>,
    /// Whether a failed batch is split; default false.
    pub bisect: Option<bool>,
    /// Filter patterns, at most 5; a record is handled when one matches. Empty for all records.
    pub filters: Option<Vec<String>>,
    /// Whether the function's answer names failed records; default false.
    pub report_item_failures: Option<bool>,
    /// Batches of a queue under way at once, 2 to 1,000, or none for no bound of its own, the default.
    pub max_concurrency: Option<Option<u32>>,
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
    /// Records in a batch.
    pub batch_size: u32,
    /// Seconds to gather a batch.
    pub window_secs: u32,
    /// Retries of a failed batch; none for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Age in seconds after which a record is dropped; none for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_secs: Option<u32>,
    /// Whether a failed batch is split.
    pub bisect: bool,
    /// Filter patterns.
    pub filters: Vec<String>,
    /// Whether the function's answer names failed records.
    pub report_item_failures: bool,
    /// Batches of a queue under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// When it was created or last changed.
    pub modified: Timestamp,
}

/// A mapping as shown.
#[derive(Debug, Clone)]
pub struct MappingView {
    /// As stored.
    pub mapping: Mapping,
    /// `Enabled` or `Disabled`.
    pub state: &'static str,
    /// How the last batch ended.
    pub last_result: String,
}

pub(super) fn all(state: &dyn StateStore) -> Result<Vec<(Scope, Mapping)>, FlowError> {
    stored::list_scoped(state, TABLE)
}

pub(super) fn stored(state: &dyn StateStore, scope: &Scope, id: &str) -> Result<Option<Mapping>, FlowError> {
    stored::get(state, TABLE, &stored::key(scope, &[id]))
}

fn not_found() -> FlowError {
    FlowError::NotFound("The resource you requested does not exist.".to_owned())
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
    fn apply(&mut self, change: &MappingChange) -> Result<(), FlowError> {
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
        self.bisect = change.bisect.unwrap_or(self.bisect);
        self.report_item_failures = change.report_item_failures.unwrap_or(self.report_item_failures);
        if let Some(function) = &change.function {
            self.function = function.clone();
        }
        Ok(())
    }
}

impl Mappings {
    fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    fn key(scope: &Scope, id: &str) -> (Table, Vec<u8>) {
        (TABLE, stored::key(scope, &[id]))
    }

    /// Creates a mapping and starts it when enabled.
    pub async fn create(&self, scope: &Scope, spec: MappingSpec) -> Result<MappingView, FlowError> {
        let env = &self.inner.ports.consumers.env;
        self.check_function(&spec.function).await?;
        let mut mapping = Mapping {
            id: env.rng.uuid(),
            function: spec.function.clone(),
            role: spec.role.clone(),
            source: spec.source.clone(),
            start: spec.start,
            enabled: true,
            batch_size: if is_queue(&spec.source) { BATCH_SIZE } else { 100 },
            window_secs: 0,
            max_retries: None,
            max_age_secs: None,
            bisect: false,
            filters: Vec::new(),
            report_item_failures: false,
            max_concurrency: None,
            modified: env.clock.now(),
        };
        mapping.apply(&spec.settings)?;
        if is_queue(&spec.source) {
            let facts = self.facts(&spec.source, Some(&spec.function)).await;
            queue::check(&mapping, &queue::new(spec.start, facts)?)?;
        }
        let unqualified = |arn: &Arn| arn.resource().to_owned();
        let same =
            |m: &Mapping| m.source == mapping.source && unqualified(&m.function) == unqualified(&mapping.function);
        if let Some(old) = self.stored(scope)?.into_iter().find(same) {
            if is_queue(&old.source) {
                let function = old.function.resource_of("function").unwrap_or_default();
                return Err(FlowError::Conflict(format!(
                    "An event source mapping with SQS arn (\" {} \") and function (\" {function} \") already exists. \
                     Please update or delete the existing mapping with UUID {}",
                    old.source, old.id
                )));
            }
            return Err(FlowError::Conflict(format!(
                "An event source mapping with event source arn ({}) and function ({}) already exists. Please update or \
                 delete the existing mapping with UUID {}",
                old.source, old.function, old.id
            )));
        }
        let begin = self.beginning(&mapping).await?;
        let (table, key) = Self::key(scope, &mapping.id);
        let mut batch = Batch::new().put(table, key, stored::encode("mapping", &mapping)?);
        batch.writes.extend(begin);
        self.state().commit(batch).await?;
        self.settle(scope, &mapping.id).await?;
        Ok(self.view(mapping))
    }

    /// The checkpoints that hold the starting position on the shards that there are.
    async fn beginning(&self, mapping: &Mapping) -> Result<Vec<Write>, FlowError> {
        if is_queue(&mapping.source) {
            return Ok(Vec::new());
        }
        let log = &self.inner.ports.consumers.log;
        let source = source_key(&mapping.source)?;
        let stream = log.stream(&source).map_err(|error| match error.kind() {
            base::ErrorKind::NotFound => FlowError::Invalid(format!("Stream not found: {}", mapping.source)),
            _ => error.into(),
        })?;
        let mut writes = Vec::new();
        for shard in &stream.shards {
            let next = match mapping.start {
                None => return Err(FlowError::Invalid("StartingPosition is required for a stream".to_owned())),
                Some(StartingPosition::TrimHorizon) => continue,
                Some(StartingPosition::Latest) => log.tail(shard.slot)?.next,
                Some(StartingPosition::AtTimestamp(time)) => log.position_at(shard.slot, time).await?,
            };
            writes.push(Checkpoints::start_at(&consumer_id(&mapping.id), stream.id, shard.id, next));
        }
        Ok(writes)
    }

    async fn check_function(&self, function: &Arn) -> Result<(), FlowError> {
        let checked = self.inner.ports.invoke.check(function).await;
        checked.map_err(|error| match error.kind {
            base::ErrorKind::NotFound => FlowError::NotFound(error.message),
            _ => FlowError::Invalid(error.message),
        })
    }

    /// A mapping.
    pub fn get(&self, scope: &Scope, id: &str) -> Result<MappingView, FlowError> {
        Ok(self.view(stored(self.state(), scope, id)?.ok_or_else(not_found)?))
    }

    /// The mappings of a scope, of a function or a source when named.
    pub fn list(
        &self,
        scope: &Scope,
        function: Option<&Arn>,
        source: Option<&Arn>,
    ) -> Result<Vec<MappingView>, FlowError> {
        let mut mappings = self.stored(scope)?;
        mappings.retain(|m| function.is_none_or(|f| m.function == *f) && source.is_none_or(|s| m.source == *s));
        Ok(mappings.into_iter().map(|mapping| self.view(mapping)).collect())
    }

    fn stored(&self, scope: &Scope) -> Result<Vec<Mapping>, FlowError> {
        stored::list(self.state(), TABLE, &stored::scope_prefix(scope))
    }

    /// Changes a mapping. It goes on where it is.
    pub async fn update(&self, scope: &Scope, id: &str, change: &MappingChange) -> Result<MappingView, FlowError> {
        if let Some(function) = &change.function {
            self.check_function(function).await?;
        }
        let old = stored(self.state(), scope, id)?.ok_or_else(not_found)?;
        let facts = match is_queue(&old.source) {
            true => self.facts(&old.source, change.function.as_ref()).await,
            false => None,
        };
        let now = self.inner.ports.consumers.env.clock.now();
        let changed = stored::update(self.state(), Self::key(scope, id), "mapping", |old: Option<Mapping>| {
            let mut mapping = old.ok_or_else(not_found)?;
            mapping.apply(change)?;
            if let Some(facts) = &facts {
                queue::check(&mapping, facts)?;
            }
            mapping.modified = now;
            Ok((Change::Put(mapping.clone(), Vec::new()), mapping))
        })
        .await?;
        self.settle(scope, id).await?;
        Ok(self.view(changed))
    }

    /// Stops and deletes a mapping with its checkpoints.
    pub async fn delete(&self, scope: &Scope, id: &str) -> Result<MappingView, FlowError> {
        let view = self.get(scope, id)?;
        let _turn = self.inner.turn.acquire().await;
        self.halt(id).await;
        let (table, key) = Self::key(scope, id);
        let mut batch = Batch::new().delete(table, key);
        batch.writes.extend(self.inner.ports.consumers.checkpoints.forget(&consumer_id(id)).await?);
        self.state().commit(batch).await?;
        Ok(view)
    }

    fn view(&self, mapping: Mapping) -> MappingView {
        let last = self.running().get(&mapping.id).map(|(_, last)| last.get());
        let state = if mapping.enabled { "Enabled" } else { "Disabled" };
        let last_result = last.unwrap_or_else(|| match self.inactive().contains(&mapping.id) {
            true => "PROBLEM: It does not run, for its settings are not accepted any more; change them".to_owned(),
            false => "No records processed".to_owned(),
        });
        MappingView { state, last_result, mapping }
    }
}
