//! The room of schedules: creating, replacing and deleting them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{
    Batch, ErrorKind, Precondition, Rng, ScheduleGroupName, ScheduleName, Scope, StateError, StateStore, Target,
    TaskGroup, Timestamp,
};
use log::Log;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::clock::creation;
use super::config::{self, CLOCKS, Clock, Key, SCHEDULES, Schedule, ScheduleSpec, Update, beginning, schedule_arn};
use super::deletions::Deletions;
use super::groups::{GROUPS, is_default, key as group_row};
use super::queue::Waiting;
use super::quota::Quota;
use super::runs::{self, RUNS, Run};
use crate::bus::Buses;
use crate::dead_letter::DeadLetters;
use crate::roles::Roles;
use crate::schedule::{Agenda, Expression};
use crate::{FlowError, stored};

/// Attempts at once.
const CONCURRENCY: usize = 64;
/// A recurring schedule may begin so long ago.
const LATE_START: Duration = Duration::from_secs(300);

/// Bytes of a target's input ("Amazon EventBridge Scheduler quotas": target payload size).
const MAX_INPUT: usize = 256 << 10;

/// What schedules work with.
#[derive(Clone)]
pub(crate) struct SchedulePorts {
    pub env: base::Env,
    pub log: Log,
    pub state: Arc<dyn StateStore>,
    pub router: Arc<dyn Target>,
    pub buses: Buses,
    pub dead_letters: DeadLetters,
    pub roles: Roles,
}

/// The room. Cloning gives another handle.
#[derive(Clone)]
pub struct Schedules {
    inner: Arc<Inner>,
}

struct Inner {
    ports: SchedulePorts,
    group: TaskGroup,
    agenda: Mutex<Agenda<Key>>,
    changed: Notify,
    waiting: Waiting,
    slots: Arc<Semaphore>,
    deletions: Deletions,
    /// Creations of schedules that are deleted since, because they had ended.
    completions: Deletions,
    quota: Quota,
    /// Schedules that may have ended, to be looked at.
    ended: Mutex<BTreeSet<Key>>,
    /// Deleted groups that may still have schedules.
    orphaned: Mutex<BTreeSet<(Scope, ScheduleGroupName)>>,
    /// Held while a group comes or goes.
    turn: Semaphore,
}

fn no_schedule(name: &ScheduleName) -> FlowError {
    FlowError::NotFound(format!("Schedule {name} does not exist."))
}

impl Schedules {
    pub(crate) fn new(ports: SchedulePorts, group: &TaskGroup) -> Self {
        let inner = Inner {
            agenda: Mutex::new(Agenda::new(ports.env.clock.now())),
            ports,
            group: group.child(),
            changed: Notify::new(),
            waiting: Waiting::default(),
            slots: Arc::new(Semaphore::new(CONCURRENCY)),
            deletions: Deletions::default(),
            completions: Deletions::default(),
            quota: Quota::default(),
            ended: Mutex::default(),
            orphaned: Mutex::default(),
            turn: Semaphore::new(1),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Goes on with what was there before.
    pub(crate) fn restore(&self) -> Result<(), FlowError> {
        let groups = self.all_groups()?;
        for (scope, schedule) in stored::list_scoped::<Schedule>(self.state(), SCHEDULES)? {
            self.quota().add(&scope);
            if !is_default(&schedule.group) && !groups.contains(&(scope.clone(), schedule.group.clone())) {
                self.note_orphaned(scope.clone(), schedule.group.clone());
            }
            let what = format!("the schedule {} of the group {} in {scope}", schedule.name, schedule.group);
            let (ends, key) = (schedule.spec.delete_after, (scope, schedule.group, schedule.name));
            if let Some(None) = stored::or_inactive(self.wind(&key), what)?
                && ends
            {
                self.note_ended(key);
            }
        }
        for (_, run) in stored::list_scoped::<Run>(self.state(), RUNS)? {
            self.waiting().add(run.due, (run.key(), run.instant));
        }
        self.inner.group.spawn_infallible("schedule-clock", self.clone().run_clock());
        self.inner.group.spawn_infallible("schedule-runs", self.clone().run_due());
        Ok(())
    }

    pub(super) fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.ports.env.clock.now()
    }

    pub(super) fn clock(&self) -> &dyn base::Clock {
        &*self.inner.ports.env.clock
    }

    pub(super) fn rng(&self) -> &dyn Rng {
        &*self.inner.ports.env.rng
    }

    pub(super) fn router(&self) -> &dyn Target {
        &*self.inner.ports.router
    }

    pub(super) fn buses(&self) -> &Buses {
        &self.inner.ports.buses
    }

    pub(super) fn dead_letters(&self) -> &DeadLetters {
        &self.inner.ports.dead_letters
    }

    pub(super) fn roles(&self) -> &Roles {
        &self.inner.ports.roles
    }

    pub(super) fn deletions(&self) -> &Deletions {
        &self.inner.deletions
    }

    pub(super) fn completions(&self) -> &Deletions {
        &self.inner.completions
    }

    pub(super) fn log(&self) -> &Log {
        &self.inner.ports.log
    }

    pub(super) fn quota(&self) -> &Quota {
        &self.inner.quota
    }

    pub(super) fn turn(&self) -> &Semaphore {
        &self.inner.turn
    }

    pub(super) fn changed(&self) -> &Notify {
        &self.inner.changed
    }

    /// Lets the clock see whether a schedule has ended.
    pub(super) fn note_ended(&self, key: Key) {
        self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.inner.changed.notify_one();
    }

    pub(super) fn take_ended(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the clock delete the schedules of a group that is not there any more.
    pub(super) fn note_orphaned(&self, scope: Scope, group: ScheduleGroupName) {
        self.inner.orphaned.lock().unwrap_or_else(PoisonError::into_inner).insert((scope, group));
    }

    pub(super) fn take_orphaned(&self) -> BTreeSet<(Scope, ScheduleGroupName)> {
        std::mem::take(&mut *self.inner.orphaned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps what could not be seen to, for the next look.
    pub(super) fn put_back(&self, ended: BTreeSet<Key>, orphaned: BTreeSet<(Scope, ScheduleGroupName)>) {
        self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner).extend(ended);
        self.inner.orphaned.lock().unwrap_or_else(PoisonError::into_inner).extend(orphaned);
    }

    pub(super) fn waiting(&self) -> &Waiting {
        &self.inner.waiting
    }

    pub(super) fn slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.slots)
    }

    pub(super) fn stopping(&self) -> CancellationToken {
        self.inner.group.stopping()
    }

    pub(super) fn group_of_tasks(&self) -> &TaskGroup {
        &self.inner.group
    }

    pub(super) fn agenda(&self) -> MutexGuard<'_, Agenda<Key>> {
        self.inner.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a schedule as stored the one that runs; says when it is next due.
    pub(super) fn wind(&self, key: &Key) -> Result<Option<Timestamp>, FlowError> {
        // The lock is held from reading to replacing, so that an older reading replaces no newer one.
        let mut agenda = self.agenda();
        let next = match config::timed(self.state(), key)? {
            Some((_, table, handled)) => agenda.put(key.clone(), table, handled),
            None => {
                agenda.remove(key);
                None
            }
        };
        drop(agenda);
        self.inner.changed.notify_one();
        Ok(next)
    }

    /// The same; one that is not due any more may have ended.
    pub(super) fn rewind(&self, key: &Key) -> Result<(), FlowError> {
        if self.wind(key)?.is_none() {
            self.note_ended(key.clone());
        }
        Ok(())
    }

    async fn check(
        &self,
        (scope, group, name): &Key,
        spec: &ScheduleSpec,
        old: Option<&ScheduleSpec>,
    ) -> Result<(), FlowError> {
        let table = spec.timetable(self.now())?;
        self.check_role(&schedule_arn(scope, group, name), spec)?;
        let recurring = !matches!(table.expression, Expression::At(_));
        if let (Some(start), Some(end)) = (spec.start, spec.end)
            && start >= end
        {
            return Err(FlowError::Invalid("The EndDate must come after the StartDate.".to_owned()));
        }
        // A start that stays what it was may have passed since.
        let begun = old.is_some_and(|old| old.start == spec.start);
        if recurring && !begun && spec.start.is_some_and(|start| start < self.now() - LATE_START) {
            let message = "The StartDate you specify cannot be earlier than 5 minutes ago.";
            return Err(FlowError::Invalid(message.to_owned()));
        }
        if recurring && spec.end.is_some_and(|end| end <= self.now()) {
            return Err(FlowError::Invalid("The EndDate you specify cannot be earlier than now.".to_owned()));
        }
        let target = &spec.target;
        if target.input.as_ref().is_some_and(|input| input.len() > MAX_INPUT) {
            return Err(FlowError::Invalid(format!("The Input of a target has at most {MAX_INPUT} bytes.")));
        }
        if target.arn.scope().as_ref() != Some(scope) {
            let message =
                format!("{} is not in this account and region; targets elsewhere cannot be reached", target.arn);
            return Err(FlowError::Invalid(message));
        }
        if target.event.is_none() {
            match self.router().check(&target.arn).await {
                // It may come to be before the schedule is due, or be back by then.
                Err(error) if error.kind != ErrorKind::NotFound && !error.kind.is_transient() => {
                    return Err(FlowError::Invalid(error.message));
                }
                _ => {}
            }
        }
        match target.dead_letter.as_ref().map(|queue| self.dead_letters().check(scope, queue, false)) {
            Some(Err(error @ FlowError::Invalid(_))) => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates a schedule. The same call again, by its token, is fine.
    pub async fn create(
        &self,
        scope: &Scope,
        group: &ScheduleGroupName,
        name: &ScheduleName,
        spec: ScheduleSpec,
        token: Option<String>,
    ) -> Result<(), FlowError> {
        self.group(scope, group)?;
        let key = (scope.clone(), group.clone(), name.clone());
        if let Some(old) = config::find(self.state(), &key)? {
            let same = token.is_some() && old.token == token && old.spec == spec;
            return if same { Ok(()) } else { Err(FlowError::Conflict(format!("Schedule {name} already exists."))) };
        }
        let row = config::row(&key);
        if self.completions().knows(&row, creation(&spec, token.as_deref())?.as_ref()) {
            return Ok(());
        }
        self.check(&key, &spec, None).await?;
        let place = self.quota().place(scope)?;
        let now = self.now();
        let schedule = Schedule {
            name: name.clone(),
            group: group.clone(),
            spec,
            created: now,
            modified: now,
            since: now,
            token,
            updates: Vec::new(),
        };
        let clock = stored::encode("clock", &Clock { handled: self.first_clock(&schedule) })?;
        let mut batch = Batch::new()
            .require(SCHEDULES, row.clone(), Precondition::Absent)
            .put(SCHEDULES, row.clone(), stored::encode("schedule", &schedule)?)
            .put(CLOCKS, row, clock);
        if !is_default(group) {
            // It may be deleted meanwhile.
            batch = batch.require(GROUPS, group_row(scope, group), Precondition::Present);
        }
        match self.state().commit(batch).await {
            Err(StateError::Conflict { .. }) => {
                self.group(scope, group)?;
                return Err(FlowError::Conflict(format!("Schedule {name} already exists.")));
            }
            other => other?,
        }
        place.take();
        self.rewind(&key)
    }

    /// What once was to happen happens, however late; of what recurs, nothing of before.
    fn first_clock(&self, schedule: &Schedule) -> crate::schedule::Handled {
        match Expression::of_schedule(&schedule.spec.expression) {
            Ok(Expression::At(_)) => beginning(Timestamp::from_millis(i64::MIN + 1)),
            _ => beginning(schedule.spec.start.map_or(schedule.since, |start| start.min(schedule.since))),
        }
    }

    /// Replaces a schedule. One whose timetable is another begins anew. The same call again, by its token, does nothing
    /// as long as that is remembered, even if another was in between.
    pub async fn update(
        &self,
        scope: &Scope,
        group: &ScheduleGroupName,
        name: &ScheduleName,
        spec: ScheduleSpec,
        token: Option<String>,
    ) -> Result<(), FlowError> {
        self.group(scope, group)?;
        let key = (scope.clone(), group.clone(), name.clone());
        let update = token.map(|token| Update::new(token, &spec)).transpose()?;
        loop {
            let before = self.state().get(SCHEDULES, &config::row(&key))?;
            let (Some(before), Some(old)) = (before, config::find(self.state(), &key)?) else {
                return Err(no_schedule(name));
            };
            if let Some(update) = &update
                && old.knows(update)?
            {
                return Ok(());
            }
            self.check(&key, &spec, Some(&old.spec)).await?;
            let (now, same) = (self.now(), same_times(&old.spec, &spec));
            let since = if same { old.since } else { now };
            let mut schedule = Schedule { spec: spec.clone(), modified: now, since, ..old };
            if let Some(update) = &update {
                schedule.note(update.clone());
            }
            let row = stored::encode("schedule", &schedule)?;
            let mut batch = Batch::new().require(SCHEDULES, config::row(&key), Precondition::Equals(before)).put(
                SCHEDULES,
                config::row(&key),
                row,
            );
            if !same {
                // What passed under the old timetable is not made good under the new one.
                let handled = if is_once(&spec) { self.first_clock(&schedule) } else { beginning(now) };
                let clock = stored::encode("clock", &Clock { handled })?;
                batch = batch.put(CLOCKS, config::row(&key), clock);
            }
            match self.state().commit(batch).await {
                Err(StateError::Conflict { .. }) => continue,
                other => other?,
            }
            return self.rewind(&key);
        }
    }

    /// A schedule.
    pub fn get(&self, scope: &Scope, group: &ScheduleGroupName, name: &ScheduleName) -> Result<Schedule, FlowError> {
        let key = (scope.clone(), group.clone(), name.clone());
        config::find(self.state(), &key)?.ok_or_else(|| no_schedule(name))
    }

    /// Deletes a schedule, and the runs that wait for another attempt. The same call again, by its token, is fine as
    /// long as that is remembered.
    pub async fn delete(
        &self,
        scope: &Scope,
        group: &ScheduleGroupName,
        name: &ScheduleName,
        token: Option<String>,
    ) -> Result<(), FlowError> {
        let key = (scope.clone(), group.clone(), name.clone());
        let row = config::row(&key);
        if self.deletions().knows(&row, token.as_ref()) && config::find(self.state(), &key)?.is_none() {
            return Ok(());
        }
        let mut batch = Batch::new()
            .require(SCHEDULES, row.clone(), Precondition::Present)
            .delete(SCHEDULES, row.clone())
            .delete(CLOCKS, row);
        batch.writes.extend(runs::forget(self.state(), &key)?);
        match self.state().commit(batch).await {
            Err(StateError::Conflict { .. }) => return Err(no_schedule(name)),
            other => other?,
        }
        self.quota().remove(scope, 1);
        self.deletions().note(config::row(&key), token);
        self.wind(&key).map(drop)
    }
}

/// Whether two schedules have the same instants. What happens once has happened or not, whether it is on or off.
fn same_times(a: &ScheduleSpec, b: &ScheduleSpec) -> bool {
    let same = (&a.expression, &a.zone) == (&b.expression, &b.zone);
    same && (is_once(b) || (a.start, a.end, a.enabled) == (b.start, b.end, b.enabled))
}

fn is_once(spec: &ScheduleSpec) -> bool {
    matches!(Expression::of_schedule(&spec.expression), Ok(Expression::At(_)))
}
