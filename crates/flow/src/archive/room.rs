//! The room of archives: creating, changing and deleting them, starting and ending replays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{
    ArchiveName, Batch, BusName, Clock, ErrorKind, Kinded, Position, ReplayName, Scope, StateStore, Table, TaskGroup,
};
use log::{Log, StreamKind, StreamSpec};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::config::{self, ARCHIVES, Archive, ArchiveSpec};
use super::count::{COUNTS, Tally, tally};
use super::filter::ReplayFilters;
use super::keep::{Keeper, Sieve, policy};
use super::replay::{self, Player, Replay, ReplaySpec, ReplayState};
use crate::FlowError;
use crate::bus::Buses;
use crate::consumer::{Consumer, Loop, Running, Start};
use crate::stored::{self, Change};

const REPLAYS: Table = Table("flow.replays");
/// Replays under way in an account and region ("EventBridge quotas").
const MAX_REPLAYS: usize = 10;
/// How long a replay that is over is remembered ("Replays", EventBridge User Guide).
const REMEMBERED: Duration = Duration::from_secs(90 * 86_400);

/// What archives work with.
#[derive(Clone)]
pub(crate) struct ArchivePorts {
    pub consumers: Loop,
    pub state: Arc<dyn StateStore>,
    pub buses: Buses,
    /// How long events stay in a bus's log.
    pub retention: Duration,
}

/// The room. Cloning gives another handle.
#[derive(Clone)]
pub struct Archives {
    inner: Arc<Inner>,
}

struct Inner {
    ports: ArchivePorts,
    group: TaskGroup,
    filling: Mutex<HashMap<(Scope, ArchiveName), Filling>>,
    playing: Mutex<HashMap<(Scope, ReplayName), CancellationToken>>,
    /// Held while archives and replays come and go.
    turn: Semaphore,
    /// Held while events are counted.
    counting: Semaphore,
}

/// An archive's consumer.
struct Filling {
    running: Running,
    sieve: Arc<Sieve>,
}

fn consumer_id(scope: &Scope, archive: &ArchiveName) -> String {
    format!("archive:{scope}/{archive}")
}

fn replay_key(scope: &Scope, replay: &ReplayName) -> Vec<u8> {
    stored::key(scope, &[replay.as_str()])
}

fn no_replay(replay: &ReplayName) -> FlowError {
    FlowError::NotFound(format!("Replay {replay} does not exist."))
}

impl Archives {
    pub(crate) fn new(ports: ArchivePorts, group: &TaskGroup) -> Self {
        let inner = Inner {
            ports,
            group: group.child(),
            filling: Mutex::default(),
            playing: Mutex::default(),
            turn: Semaphore::new(1),
            counting: Semaphore::new(1),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Goes on with what was there before.
    pub(crate) async fn restore(&self) -> Result<(), FlowError> {
        let known: Vec<(Scope, Archive)> = stored::list_scoped(self.state(), ARCHIVES)?;
        for stray in self.log().all_streams(StreamKind::Archive) {
            // Made without ever being answered, or deleted.
            if !known.iter().any(|(_, archive)| archive.stream == stray.id.number()) {
                self.log().delete_stream(&stray.key).await?;
            }
        }
        for (scope, archive) in &known {
            stored::or_inactive(self.fill(scope, archive), format!("the archive {} of {scope}", archive.name))?;
        }
        let replays: Vec<(Scope, Replay)> = stored::list_scoped(self.state(), REPLAYS)?;
        for (scope, replay) in replays {
            self.filters().set(&scope, &replay.spec);
            if !replay.state.is_over() {
                self.play(&scope, replay);
            }
        }
        Ok(())
    }

    pub(super) fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    pub(super) fn log(&self) -> &Log {
        &self.inner.ports.consumers.log
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.inner.ports.consumers.env.clock
    }

    pub(super) fn buses(&self) -> &Buses {
        &self.inner.ports.buses
    }

    fn filters(&self) -> &ReplayFilters {
        self.inner.ports.buses.replay_filters()
    }

    fn filling(&self) -> MutexGuard<'_, HashMap<(Scope, ArchiveName), Filling>> {
        self.inner.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn playing(&self) -> MutexGuard<'_, HashMap<(Scope, ReplayName), CancellationToken>> {
        self.inner.playing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, scope: &Scope, archive: &Archive) -> Result<(), FlowError> {
        let sieve = Arc::new(Sieve::new(&config::compile(archive.pattern.as_deref())?));
        let ports = &self.inner.ports;
        let handler = Keeper {
            log: self.log().clone(),
            archive: config::stream_key(scope, &archive.name),
            sieve: Arc::clone(&sieve),
        };
        let consumer = Consumer {
            id: consumer_id(scope, &archive.name),
            source: crate::bus::stream_key(scope, &archive.bus),
            start: Start::At(archive.since),
            policy: policy(ports.retention),
        };
        let running = ports.consumers.start(self.inner.group.child(), consumer, Arc::new(handler));
        self.filling().insert((scope.clone(), archive.name.clone()), Filling { running, sieve });
        Ok(())
    }

    /// Creates an archive of a bus.
    pub async fn create(
        &self,
        scope: &Scope,
        name: &ArchiveName,
        bus: &BusName,
        spec: ArchiveSpec,
    ) -> Result<Archive, FlowError> {
        let _turn = self.inner.turn.acquire().await;
        if config::find(self.state(), scope, name).is_ok() {
            return Err(FlowError::Conflict(format!("Archive {name} already exists.")));
        }
        self.buses().bus(scope, bus)?;
        config::check(spec.pattern.as_deref())?;
        let since = self.buses().tail(scope, bus).await?;
        let key = config::stream_key(scope, name);
        match self.log().delete_stream(&key).await {
            // Of an archive that was made or deleted only in part.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let log_spec = StreamSpec { shards: 1, retention: config::retention(spec.retention_days) };
        let stream = self.log().create_stream(&key, log_spec).await?;
        let archive = Archive {
            name: name.clone(),
            bus: bus.clone(),
            description: spec.description,
            pattern: spec.pattern,
            retention_days: spec.retention_days,
            created: self.clock().now(),
            since,
            stream: stream.id.number(),
        };
        let row = stored::encode("archive", &archive)?;
        self.state().commit(Batch::new().put(ARCHIVES, config::key(scope, name), row)).await?;
        self.fill(scope, &archive)?;
        Ok(archive)
    }

    /// Changes what is named of an archive; what it has stays.
    pub async fn update(
        &self,
        scope: &Scope,
        name: &ArchiveName,
        change: impl FnOnce(&mut ArchiveSpec),
    ) -> Result<Archive, FlowError> {
        let _turn = self.inner.turn.acquire().await;
        let before = config::find(self.state(), scope, name)?;
        let mut spec = ArchiveSpec {
            description: before.description.clone(),
            pattern: before.pattern.clone(),
            retention_days: before.retention_days,
        };
        change(&mut spec);
        let pattern = config::check(spec.pattern.as_deref())?;
        if spec.retention_days != before.retention_days {
            let retention = config::retention(spec.retention_days);
            self.log().set_retention(&config::stream_key(scope, name), retention).await?;
        }
        let ArchiveSpec { description, pattern: text, retention_days } = spec;
        let archive = Archive { description, pattern: text, retention_days, ..before };
        let row = stored::encode("archive", &archive)?;
        self.state().commit(Batch::new().put(ARCHIVES, config::key(scope, name), row)).await?;
        if let Some(filling) = self.filling().get(&(scope.clone(), name.clone())) {
            filling.sieve.replace(&pattern);
        }
        Ok(archive)
    }

    /// Deletes an archive with all its events.
    pub async fn delete(&self, scope: &Scope, name: &ArchiveName) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        let archive = config::find(self.state(), scope, name)?;
        let filling = self.filling().remove(&(scope.clone(), name.clone()));
        if let Some(filling) = filling {
            filling.running.stop().await;
        }
        let mut batch =
            Batch::new().delete(ARCHIVES, config::key(scope, name)).delete(COUNTS, config::key(scope, name));
        let deleted = match self.inner.ports.consumers.checkpoints.forget(&consumer_id(scope, name)).await {
            Ok(forgotten) => {
                batch.writes.extend(forgotten);
                self.state().commit(batch).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            // It is still there, so it goes on taking events.
            self.fill(scope, &archive)?;
            return Err(error.into());
        }
        match self.log().delete_stream(&config::stream_key(scope, name)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// An archive.
    pub fn get(&self, scope: &Scope, name: &ArchiveName) -> Result<Archive, FlowError> {
        config::find(self.state(), scope, name)
    }

    /// The archives of a scope, by name.
    pub fn list(&self, scope: &Scope) -> Result<Vec<Archive>, FlowError> {
        stored::list(self.state(), ARCHIVES, &stored::scope_prefix(scope))
    }

    /// What an archive holds.
    pub async fn tally(&self, scope: &Scope, archive: &Archive) -> Result<Tally, FlowError> {
        let _turn = self.inner.counting.acquire().await;
        tally(self.log(), self.state(), scope, archive).await
    }

    /// Whether an archive's consumer has gone past a position of its bus.
    pub(super) fn has_seen(&self, scope: &Scope, archive: &Archive, end: Position) -> Result<bool, FlowError> {
        if end <= archive.since {
            return Ok(true);
        }
        let bus = self.log().stream(&crate::bus::stream_key(scope, &archive.bus))?;
        let Some(shard) = bus.shards.first() else { return Ok(true) };
        let checkpoints = &self.inner.ports.consumers.checkpoints;
        let next = checkpoints.get(&consumer_id(scope, &archive.name), bus.id, shard.id)?;
        Ok(next.is_some_and(|next| next >= end))
    }

    /// Starts a replay.
    pub async fn start_replay(&self, scope: &Scope, spec: ReplaySpec) -> Result<Replay, FlowError> {
        let _turn = self.inner.turn.acquire().await;
        let (now, replays) = (self.clock().now(), self.replays(scope)?);
        let not_valid =
            |what: &str, why: String| FlowError::Invalid(format!("Parameter {what} is not valid. Reason: {why}"));
        let archive = config::find(self.state(), scope, &spec.archive).map_err(|error| match error {
            FlowError::NotFound(message) => not_valid("EventSourceArn", message),
            error => error,
        })?;
        if archive.bus != spec.bus {
            return Err(not_valid("Destination.Arn", "Cross event bus replay is not permitted.".to_owned()));
        }
        if spec.from >= spec.to {
            let why = "EventStartTime must be before EventEndTime.".to_owned();
            return Err(not_valid("EventEndTime", why));
        }
        let rules = self.buses().rules(scope, &spec.bus)?;
        for named in &spec.rules {
            if rules.iter().all(|rule| crate::bus::rule_arn(scope, &spec.bus, &rule.name) != *named) {
                return Err(FlowError::NotFound(format!("Rule {named} does not exist on EventBus {}.", spec.bus)));
            }
        }
        let mut batch = Batch::new();
        for old in &replays {
            let forgotten = old.ended.is_some_and(|ended| now.since(ended) > REMEMBERED);
            if forgotten {
                batch = batch.delete(REPLAYS, replay_key(scope, &old.spec.name));
                self.filters().remove(scope, &old.spec);
            } else if old.spec.name == spec.name {
                return Err(FlowError::Conflict(format!("Replay {} already exists.", spec.name)));
            }
        }
        if replays.iter().filter(|replay| !replay.state.is_over()).count() >= MAX_REPLAYS {
            let message = "The requested resource exceeds the maximum number allowed.";
            return Err(FlowError::LimitExceeded(message.to_owned()));
        }
        let bus_end = self.buses().tail(scope, &spec.bus).await?;
        let replay = replay::begin(spec, &archive, bus_end, now);
        let row = replay::encode(&replay)?;
        self.state().commit(batch.put(REPLAYS, replay_key(scope, &replay.spec.name), row)).await?;
        self.filters().set(scope, &replay.spec);
        self.play(scope, replay.clone());
        Ok(replay)
    }

    fn play(&self, scope: &Scope, replay: Replay) {
        let (cancelled, key) = (CancellationToken::new(), (scope.clone(), replay.spec.name.clone()));
        if replay.state == ReplayState::Cancelling {
            cancelled.cancel();
        }
        self.playing().insert(key.clone(), cancelled.clone());
        let name = format!("replay:{scope}/{}", replay.spec.name);
        let stopping = self.inner.group.stopping();
        let (this, room) = (self.clone(), self.clone());
        let player = Player { room, scope: scope.clone(), replay, cancelled, stopping };
        self.inner.group.spawn_infallible(name, async move {
            player.run().await;
            this.playing().remove(&key);
        });
    }

    /// Writes down where a replay stands; that it was asked to end stays so.
    pub(super) async fn put_replay(&self, scope: &Scope, replay: &Replay) -> Result<(), FlowError> {
        let key = (REPLAYS, replay_key(scope, &replay.spec.name));
        stored::update(self.state(), key, "replay", |old: Option<Replay>| {
            let asked = old.is_some_and(|old| old.state == ReplayState::Cancelling);
            let state = match replay.state {
                ReplayState::Completed if asked => ReplayState::Cancelled,
                state if asked && !state.is_over() => ReplayState::Cancelling,
                state => state,
            };
            Ok((Change::Put(Replay { state, ..replay.clone() }, Vec::new()), ()))
        })
        .await
    }

    /// Asks a replay to end.
    pub async fn cancel_replay(&self, scope: &Scope, name: &ReplayName) -> Result<Replay, FlowError> {
        // One that is being started is there to be told.
        let _turn = self.inner.turn.acquire().await;
        let replay =
            stored::update(self.state(), (REPLAYS, replay_key(scope, name)), "replay", |old: Option<Replay>| {
                let mut replay = old.ok_or_else(|| no_replay(name))?;
                if !matches!(replay.state, ReplayState::Starting | ReplayState::Running) {
                    let message = format!("Replay {name} is not in a valid state for this operation.");
                    return Err(FlowError::Conflict(message));
                }
                replay.state = ReplayState::Cancelling;
                Ok((Change::Put(replay.clone(), Vec::new()), replay))
            })
            .await?;
        if let Some(playing) = self.playing().get(&(scope.clone(), name.clone())) {
            playing.cancel();
        }
        Ok(replay)
    }

    /// A replay.
    pub fn replay(&self, scope: &Scope, name: &ReplayName) -> Result<Replay, FlowError> {
        stored::get(self.state(), REPLAYS, &replay_key(scope, name))?.ok_or_else(|| no_replay(name))
    }

    /// The replays of a scope, by name.
    pub fn replays(&self, scope: &Scope) -> Result<Vec<Replay>, FlowError> {
        stored::list(self.state(), REPLAYS, &stored::scope_prefix(scope))
    }
}
