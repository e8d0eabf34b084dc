//! Mappings: created, changed, shown, deleted.
//!
//! Owns their documents in the state store.
//! Promises that the starting position is fixed durably when a mapping is first enabled, in one step with that, and that a
//! deleted mapping leaves nothing behind.

use base::{Arn, Batch, Kinded, Scope, StateStore, Table, Write};

use super::fanout::{self, consumer_of};
use super::lives::Doing;
use super::permissions::Permissions;
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

/// Whether a mapping is of an account and region.
fn is_of(scope: &Scope, mapping: &Mapping) -> bool {
    mapping.source.scope().as_ref() == Some(scope)
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
        mapping.unplaced = !mapping.enabled && mapping.start == Some(StartingPosition::Latest);
        if matches!(mapping.start, Some(StartingPosition::AtTimestamp(time)) if time > mapping.modified) {
            return Err(FlowError::Invalid("StartingPositionTimestamp cannot be in the future".to_owned()));
        }
        if is_queue(&spec.source) {
            let facts = self.facts(&spec.source, Some(&spec.function)).await;
            queue::check(&mapping, &queue::new(spec.start, facts)?)?;
        }
        Permissions::new(&mapping, &self.inner.ports).check(mapping.on_failure.as_ref())?;
        // Of two calls at once, one has to see the other's mapping.
        let turn = self.inner.turn.acquire().await;
        let unqualified = |arn: &Arn| arn.resource().to_owned();
        // A consumer has one reader.
        let as_consumer = consumer_of(&mapping.source).is_some();
        let same = |m: &Mapping| {
            m.source == mapping.source && (as_consumer || unqualified(&m.function) == unqualified(&mapping.function))
        };
        if let Some(old) = self.known(scope)?.into_iter().find(same) {
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
        if consumer_of(&mapping.source).is_some_and(|consumer| !self.inner.ports.fanout.is_registered(&consumer)) {
            return Err(FlowError::Invalid(fanout::gone(&mapping.source)));
        }
        let mut writes = Vec::new();
        for shard in &stream.shards {
            let next = match mapping.start {
                None => return Err(FlowError::Invalid("StartingPosition is required for a stream".to_owned())),
                Some(StartingPosition::TrimHorizon) => continue,
                Some(StartingPosition::Latest) if mapping.unplaced => continue,
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
        let mapping = match stored(self.state(), scope, id)? {
            Some(mapping) => mapping,
            None => self.farewell(scope, id).ok_or_else(not_found)?,
        };
        Ok(self.view(mapping))
    }

    /// The mappings of a scope, of a function or a source when named.
    pub fn list(
        &self,
        scope: &Scope,
        function: Option<&Arn>,
        source: Option<&Arn>,
    ) -> Result<Vec<MappingView>, FlowError> {
        let mut mappings = self.known(scope)?;
        mappings.retain(|m| function.is_none_or(|f| m.function == *f) && source.is_none_or(|s| m.source == *s));
        Ok(mappings.into_iter().map(|mapping| self.view(mapping)).collect())
    }

    /// Those that are stored, and those that are being deleted, by their ids.
    fn known(&self, scope: &Scope) -> Result<Vec<Mapping>, FlowError> {
        let mut all: Vec<Mapping> = stored::list(self.state(), TABLE, &stored::scope_prefix(scope))?;
        let deleted = self.farewells().into_iter().filter(|mapping| is_of(scope, mapping));
        all.extend(deleted);
        all.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(all)
    }

    fn farewell(&self, scope: &Scope, id: &str) -> Option<Mapping> {
        self.farewells().into_iter().find(|mapping| mapping.id == id && is_of(scope, mapping))
    }

    /// A mapping that can be changed.
    fn standing(&self, scope: &Scope, id: &str) -> Result<Mapping, FlowError> {
        if let Some(mapping) = stored(self.state(), scope, id)? {
            return Ok(mapping);
        }
        match self.farewell(scope, id) {
            Some(_) => Err(FlowError::Conflict(format!(
                "Cannot update or delete the event source mapping {id} because it is being deleted: a call of its \
                 function has not ended yet"
            ))),
            None => Err(not_found()),
        }
    }

    /// Changes a mapping. It goes on where it is.
    pub async fn update(&self, scope: &Scope, id: &str, change: &MappingChange) -> Result<MappingView, FlowError> {
        if let Some(function) = &change.function {
            self.check_function(function).await?;
        }
        let old = self.standing(scope, id)?;
        let facts = match is_queue(&old.source) {
            true => self.facts(&old.source, change.function.as_ref()).await,
            false => None,
        };
        if let Some(Some(to)) = &change.on_failure {
            self.check_destination(scope, to).await?;
        }
        self.check_permissions(&old, change)?;
        let begin = match old.unplaced && change.enabled == Some(true) {
            true => self.beginning(&Mapping { unplaced: false, ..old }).await?,
            false => Vec::new(),
        };
        let now = self.inner.ports.consumers.env.clock.now();
        let changed = stored::update(self.state(), Self::key(scope, id), "mapping", |old: Option<Mapping>| {
            let mut mapping = old.ok_or_else(not_found)?;
            mapping.apply(change)?;
            if let Some(facts) = &facts {
                queue::check(&mapping, facts)?;
            }
            mapping.modified = now;
            let also = if mapping.unplaced && mapping.enabled { begin.clone() } else { Vec::new() };
            mapping.unplaced &= !mapping.enabled;
            Ok((Change::Put(mapping.clone(), also), mapping))
        })
        .await?;
        self.settle(scope, id).await?;
        Ok(self.view(changed))
    }

    /// What a change makes anew has to be permitted: reading for another function, or again, and telling a destination.
    fn check_permissions(&self, old: &Mapping, change: &MappingChange) -> Result<(), FlowError> {
        let begins = change.function.is_some() || (change.enabled == Some(true) && !old.enabled);
        let on_failure = change.on_failure.as_ref().unwrap_or(&old.on_failure);
        if !begins && change.on_failure.is_none() {
            return Ok(());
        }
        let function = change.function.as_ref().unwrap_or(&old.function).clone();
        let changed = Mapping { function, ..old.clone() };
        Permissions::new(&changed, &self.inner.ports).check(on_failure.as_ref())
    }

    /// Deletes a mapping with its checkpoints. What the function holds of it is finished; until then it is shown as
    /// being deleted.
    pub async fn delete(&self, scope: &Scope, id: &str) -> Result<MappingView, FlowError> {
        self.standing(scope, id)?;
        let _turn = self.inner.turn.acquire().await;
        let mapping = self.standing(scope, id)?;
        self.halt(id).await;
        let checkpoints = &self.inner.ports.consumers.checkpoints;
        // What ends later has no place any more that it could keep.
        checkpoints.bury(&consumer_id(id));
        let (table, key) = Self::key(scope, id);
        let batch = self.forgetting(scope, id).await.map(|batch| batch.delete(table, key));
        let deleted = match batch {
            Ok(batch) => self.state().commit(batch).await.map_err(FlowError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            // It is there still, so it goes on.
            checkpoints.dig_up(&consumer_id(id));
            if mapping.enabled {
                self.run(scope, &mapping)?;
            }
            return Err(error);
        }
        let left = self.former(id);
        if left.is_empty() {
            self.gone(id);
            checkpoints.dig_up(&consumer_id(id));
            self.drop_quarantine(scope, id).await?;
        } else {
            self.bid_farewell(mapping.clone());
            let (this, scope, id) = (self.clone(), scope.clone(), id.to_owned());
            self.inner.group.spawn_infallible("mapping's deletion", async move {
                for running in left {
                    running.over().await;
                }
                this.bury(&scope, &id).await;
            });
        }
        let mut view = self.view(mapping);
        view.state = "Deleting";
        Ok(view)
    }

    /// The end of a deletion: what the last call left behind goes, too. What cannot go is removed by the next look at
    /// quarantines.
    async fn bury(&self, scope: &Scope, id: &str) {
        let forgotten = match self.forgetting(scope, id).await {
            Ok(batch) => self.state().commit(batch).await.map_err(FlowError::from),
            Err(error) => Err(error),
        };
        let dropped = self.drop_quarantine(scope, id).await;
        if let Err(error) = forgotten.and(dropped) {
            tracing::warn!(mapping = id, %error, "something of a deleted mapping is left");
        }
        self.inner.ports.consumers.checkpoints.dig_up(&consumer_id(id));
        self.gone(id);
    }

    /// The batch that removes what a mapping keeps beside its settings.
    async fn forgetting(&self, scope: &Scope, id: &str) -> Result<Batch, FlowError> {
        let mut batch = Batch::new();
        batch.writes.extend(self.inner.ports.consumers.checkpoints.forget(&consumer_id(id)).await?);
        batch.writes.push(quarantine::forget(scope, id));
        Ok(batch)
    }

    fn view(&self, mapping: Mapping) -> MappingView {
        let progress = self.progress(&mapping.id);
        let state = match (self.doing(&mapping.id), mapping.enabled) {
            (Doing::AsSet, true) => "Enabled",
            (Doing::AsSet, false) => "Disabled",
            (Doing::Changing, true) => "Updating",
            (Doing::Changing, false) => "Disabling",
            (Doing::Ending, _) => "Deleting",
        };
        let consumer = consumer_of(&mapping.source).filter(|_| mapping.enabled);
        let denied = mapping.enabled.then(|| Permissions::new(&mapping, &self.inner.ports).look().err()).flatten();
        let denied = denied.map(|denial| denial.message);
        let last_result = match progress {
            _ if consumer.is_some_and(|consumer| !self.inner.ports.fanout.is_registered(&consumer)) => {
                format!("PROBLEM: {}", fanout::gone(&mapping.source))
            }
            _ if denied.is_some() => format!("PROBLEM: {}", denied.as_deref().unwrap_or_default()),
            Some(progress) => progress.last_result(),
            None if self.inactive().contains(&mapping.id) => {
                "PROBLEM: It does not run, for its settings are not accepted any more; change them".to_owned()
            }
            None => Progress::default().last_result(),
        };
        MappingView { state, last_result, denied, mapping }
    }
}
