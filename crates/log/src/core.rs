//! What all handles of one open journal share.
//!
//! Owns the parts and the rule by which they are locked: writer before view, and neither while waiting. Must not
//! decide anything itself.

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use base::{Env, Position, TaskGroup, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::clock::{Arrivals, SteadyClock};
use crate::files::{Files, Kind, name};
use crate::index_cache::IndexCache;
use crate::queue::Queue;
use crate::recover::Recovered;
use crate::seal::Keyring;
use crate::snapshot::{Arrived, Seen};
use crate::view::View;
use crate::writer::Writer;
use crate::{LogConfig, LogError, metrics};

/// See the module.
pub(crate) struct Core {
    pub env: Env,
    pub config: LogConfig,
    pub files: Files,
    pub queue: Queue,
    pub keyring: Keyring,
    /// Whether records of any stream may have to be sealed; never false when they do.
    pub seals: AtomicBool,
    view: RwLock<View>,
    writer: Mutex<Writer>,
    pub indexes: IndexCache,
    /// Splits and merges take it alone; those who need the shards as they are share it.
    pub shards: tokio::sync::RwLock<()>,
    steady: Mutex<SteadyClock>,
    arrivals: Mutex<Arrivals>,
    /// When the records arrived that are being written. Changed with the arrivals locked.
    writing: Mutex<Option<Timestamp>>,
    /// Held while the time is written down.
    noting: Mutex<()>,
    /// Held while retention is enforced, which the upkeep and a caller may both want.
    pub enforcing: Mutex<()>,
    /// Wakes the upkeep.
    pub upkeep: Arc<Notify>,
    pub tasks: TaskGroup,
    pub runtime: Handle,
    reported: Mutex<HashSet<(Position, u64)>>,
}

impl Core {
    pub fn new(env: &Env, config: LogConfig, files: Files, keyring: Keyring, recovered: Recovered) -> Self {
        let Recovered { view, writer, seen } = recovered;
        let (wall, instant) = (env.clock.now(), env.clock.instant());
        let arrived = seen.arrivals.unwrap_or(Arrived { time: seen.believed, wall: seen.believed });
        let arrivals = Arrivals::new(view.last_arrival, arrived, wall, instant);
        Self {
            env: env.clone(),
            queue: Queue::new(config.queue_bytes),
            indexes: IndexCache::new(config.index_cache_bytes),
            config,
            files,
            keyring,
            seals: AtomicBool::new(view.seals()),
            view: RwLock::new(view),
            writer: Mutex::new(writer),
            shards: tokio::sync::RwLock::default(),
            steady: Mutex::new(SteadyClock::new(seen.believed, wall, instant)),
            arrivals: Mutex::new(arrivals),
            writing: Mutex::default(),
            noting: Mutex::default(),
            enforcing: Mutex::default(),
            upkeep: Arc::new(Notify::new()),
            tasks: TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng)),
            runtime: Handle::current(),
            reported: Mutex::default(),
        }
    }

    /// The state for reading. A panic elsewhere does not make what was published wrong.
    pub fn view(&self) -> Reading<'_> {
        Reading::begin();
        Reading(self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state for publishing.
    pub fn publish(&self) -> RwLockWriteGuard<'_, View> {
        debug_assert!(!READING.get(), "a thread that reads the view would wait for itself");
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time by which retention is judged.
    pub fn steady_now(&self) -> Timestamp {
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        steady.step(self.env.clock.now(), self.env.clock.instant())
    }

    /// When a record that comes now arrives.
    pub fn arrival(&self) -> Timestamp {
        self.arrivals().step(self.env.clock.now(), self.env.clock.instant())
    }

    /// The same for a group of records, which cannot be read before the answer is dropped.
    pub fn arriving(&self) -> Arriving<'_> {
        let mut arrivals = self.arrivals();
        let at = arrivals.step(self.env.clock.now(), self.env.clock.instant());
        *self.writing() = Some(at);
        Arriving { core: self, at }
    }

    /// Whatever arrived before this time can be read.
    pub fn settled(&self) -> Timestamp {
        let mut arrivals = self.arrivals();
        let writing = *self.writing();
        writing.unwrap_or_else(|| arrivals.step(self.env.clock.now(), self.env.clock.instant()))
    }

    fn writing(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what time it is, so that a restart is no way around the doubts about a clock.
    pub fn note_time(&self) -> Result<(), LogError> {
        let _alone = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = self.steady_now();
        let arrived = self.arrivals().note(believed, self.env.clock.now(), self.env.clock.instant());
        let seen = Seen { believed, arrivals: Some(arrived) };
        self.files.write_clock(&seen.encode()).map_err(LogError::io("writing down the time"))
    }

    /// The one writer.
    pub fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error for bytes that do not match; counted and logged once a place.
    pub fn corrupt(&self, place: (Position, u64), what: &'static str, first: Position, last: Position) -> LogError {
        let (segment, offset) = place;
        let file = name(segment, Kind::Segment);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(place) {
            metrics::corruption();
            tracing::error!(file, offset, %first, %last, what, "the journal is corrupt here; other shards keep serving");
        }
        LogError::Corrupt { file, offset, what, first, last }
    }
}

thread_local! {
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// The view, locked for reading. A thread that locked it twice would wait for ever behind a waiting writer, so tests
/// fail where one does.
pub(crate) struct Reading<'a>(RwLockReadGuard<'a, View>);

impl Reading<'_> {
    fn begin() {
        let again = READING.replace(true);
        debug_assert!(!again, "a thread that reads the view reads it again");
    }
}

impl Deref for Reading<'_> {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        READING.set(false);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

/// Records on their way to the disk.
pub(crate) struct Arriving<'a> {
    core: &'a Core,
    /// When they arrived.
    pub at: Timestamp,
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        *self.core.writing() = None;
    }
}
