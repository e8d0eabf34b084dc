//! Mappings: created, changed, shown, deleted.
//!
//! Owns their documents in the state store.
//! Promises that the starting position is fixed durably at creation, and that a deleted mapping leaves nothing behind.

use std::sync::Arc;

use base::{Arn, Batch, Kinded, Scope, StateStore, Table, Write};

use super::quarantine;
use super::queue::{self, is_queue};
use super::settings::{Mapping, MappingChange, MappingSpec, MappingView, StartingPosition};
use super::stuck::Progress;
use super::{Mappings, consumer_id, source_key};
use crate::FlowError;
use crate::checkpoint::Checkpoints;
use crate::stored::{self, Change};

const TABLE: Table = Table("flow.mappings");

pub(super) fn all(state: &dyn StateStore) -> Result<Vec<(Scope, Mapping)>, FlowError> {
    stored::list_scoped(state, TABLE)
}

pub(super) fn stored(state: &dyn StateStore, scope: &Scope, id: &str) -> Result<Option<Mapping>, FlowError> {
    stored::get(state, TABLE, &stored::key(scope, &[id]))
}

pub(super) fn not_found() -> FlowError {
    FlowError::NotFound("The resource you requested does not exist.".to_owned())
}

impl Mappings {
    pub(super) fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    pub(super) fn key(scope: &Scope, id: &str) -> (Table, Vec<u8>) {
        (TABLE, stored::key(scope, &[id]))
    }

    /// Creates a mapping and starts it when enabled.
    pub async fn create(&self, scope: &Scope, spec: MappingSpec) -> Result<MappingView, FlowError> {
        let env = &self.inner.ports.consumers.env;
        self.check_function(&spec.function).await?;
        if let Some(Some(to)) = &spec.settings.on_failure {
            self.check_destination(scope, to).await?;
        }
        let mut mapping = Mapping::new(env.rng.uuid(), &spec, env.clock.now());
        mapping.apply(&spec.settings)?;
        if is_queue(&spec.source) {
            let facts = self.facts(&spec.source, Some(&spec.function)).await;
            queue::check(&mapping, &queue::new(spec.start, facts)?)?;
        }
        // Of two calls at once, one has to see the other's mapping.
        let turn = self.inner.turn.acquire().await;
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
            let function = old.function.resource_of("function").unwrap_or_default();
            return Err(FlowError::Conflict(format!(
                "The event source arn (\" {} \") and function (\" {function} \") provided mapping already exists. Please \
                 update or delete the existing mapping with UUID {}",
                old.source, old.id
            )));
        }
        let begin = self.beginning(&mapping).await?;
        let (table, key) = Self::key(scope, &mapping.id);
        let mut batch = Batch::new().put(table, key, stored::encode("mapping", &mapping)?);
        batch.writes.extend(begin);
        self.state().commit(batch).await?;
        drop(turn);
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
        if let Some(Some(to)) = &change.on_failure {
            self.check_destination(scope, to).await?;
        }
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
        batch.writes.push(quarantine::forget(scope, id));
        if let Err(error) = self.state().commit(batch).await {
            // It is there still, so it goes on.
            if view.mapping.enabled {
                self.run(scope, &view.mapping)?;
            }
            return Err(error.into());
        }
        self.drop_quarantine(scope, id).await?;
        Ok(view)
    }

    fn view(&self, mapping: Mapping) -> MappingView {
        let progress = self.running().get(&mapping.id).map(|(_, progress)| Arc::clone(progress));
        let state = if mapping.enabled { "Enabled" } else { "Disabled" };
        let last_result = match progress {
            Some(progress) => progress.last_result(),
            None if self.inactive().contains(&mapping.id) => {
                "PROBLEM: It does not run, for its settings are not accepted any more; change them".to_owned()
            }
            None => Progress::default().last_result(),
        };
        MappingView { state, last_result, mapping }
    }
}
