//! Which environment takes a call, which one is started, which ones are ended: decided here, done elsewhere.
//!
//! Owns the book of environments: whose they are, which revision they run, whether they are busy.
//! Promises that no limit is passed, that an environment has one call at a time, and that a call never lands in an
//! environment of another revision than the one it was made for.
//!
//! What is over and what is gone are told apart. A call that was answered is over, whatever its environment still does,
//! and an environment that is to end counts for its function no more. But it takes its memory until it is gone: where
//! the server may have no more, the next one is begun after that, and its call waits instead of being refused for what
//! is no call any more.
//! Must not know processes, tasks or clocks: every step is told the time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::ConcurrencyLimit;

use crate::Version;

/// Names an environment for as long as the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EnvironmentId(pub u64);

/// The limits of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub total: usize,
    pub per_function: usize,
    pub idle: Duration,
    /// No call starts in an environment of this age: its session keys would expire under the call.
    pub age: Duration,
}

/// Whose environment it is: the function, which version of it, and the revision of its code and settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub function: Arc<str>,
    pub version: Version,
    pub revision: Arc<str>,
}

/// Why a call gets no environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The function has as many as are set aside for it.
    Reserved(usize),
    /// The function has as many as one may have.
    Function(usize),
    /// There are as many as there may be, leaving out those that are set aside.
    Server(usize),
}

/// Something happened.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A call wants an environment.
    Acquire(Owner),
    /// The environment's call is over and it can take another.
    Released(EnvironmentId),
    /// The environment's call, if it had one, is over; it takes no other and is about to be gone.
    Ending(EnvironmentId),
    /// The environment is gone.
    Ended(EnvironmentId),
    /// The version (absent: every one) runs this revision from now on; absent when it was deleted.
    Replaced { function: Arc<str>, version: Option<Version>, revision: Option<Arc<str>> },
    /// So many environments are set aside for the function and it gets no more; absent when none are.
    Reserved { function: Arc<str>, environments: Option<usize> },
    /// Time passed.
    Tick,
}

/// Something is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The call goes to this warm environment.
    Assign(EnvironmentId),
    /// The call goes to this environment, which is to be started; as soon as another is gone, where one is named.
    Start(EnvironmentId, Option<EnvironmentId>),
    /// The call is refused.
    Throttle(Full),
    /// The environment is to be ended; it is idle.
    Retire(EnvironmentId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has a call, or will be started for one.
    Busy,
    Idle {
        since: Duration,
    },
    /// It takes no call any more. Its place belongs to its heir, if it has one, already.
    Ending {
        has_heir: bool,
    },
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    started: Duration,
    state: State,
    /// Set when it is to be ended as soon as its call is over.
    outdated: bool,
}

impl Entry {
    fn is_busy(&self) -> bool {
        self.state == State::Busy
    }

    fn idle_since(&self) -> Option<Duration> {
        if let State::Idle { since } = self.state { Some(since) } else { None }
    }

    fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending { .. })
    }

    /// Whether it takes a place that nobody else was given.
    fn takes_place(&self) -> bool {
        self.state != State::Ending { has_heir: true }
    }
}

/// The book.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Limits,
    last_id: u64,
    environments: BTreeMap<EnvironmentId, Entry>,
    reserved: HashMap<Arc<str>, usize>,
}

impl Full {
    pub fn limit(self) -> ConcurrencyLimit {
        match self {
            Self::Reserved(_) => ConcurrencyLimit::Reserved,
            Self::Function(_) | Self::Server(_) => ConcurrencyLimit::Common,
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(bound) => write!(f, "all {bound} environments that are set aside for it are busy"),
            Self::Function(bound) => write!(f, "all {bound} environments that one function may have are busy"),
            Self::Server(bound) => write!(f, "all {bound} environments of the server are busy"),
        }
    }
}

impl Pool {
    pub fn new(limits: Limits) -> Self {
        Self { limits, last_id: 0, environments: BTreeMap::new(), reserved: HashMap::new() }
    }

    /// Takes note of what happened at `now` and says what is to be done. `Acquire` is answered by exactly one of
    /// `Assign`, `Start` and `Throttle`, as the last action.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Action> {
        match input {
            Input::Acquire(owner) => self.acquire(now, owner),
            Input::Released(id) => self.released(now, id),
            Input::Ending(id) => {
                self.ending(id);
                Vec::new()
            }
            Input::Ended(id) => {
                self.environments.remove(&id);
                Vec::new()
            }
            Input::Replaced { function, version, revision } => self.replaced(&function, version, revision.as_deref()),
            Input::Reserved { function, environments } => self.set_aside(function, environments),
            Input::Tick => self.retire_idle(|entry, limits| {
                let idle = entry.idle_since().is_some_and(|since| now.saturating_sub(since) >= limits.idle);
                idle || now.saturating_sub(entry.started) >= limits.age
            }),
        }
    }

    /// Busy and idle environments of a function, for metrics.
    pub fn count(&self, function: &str) -> (usize, usize) {
        let of = self.environments.values().filter(|e| &*e.owner.function == function);
        of.fold((0, 0), |(busy, idle), e| match e.state {
            State::Busy => (busy + 1, idle),
            State::Idle { .. } => (busy, idle + 1),
            State::Ending { .. } => (busy, idle),
        })
    }

    fn acquire(&mut self, now: Duration, owner: Owner) -> Vec<Action> {
        let mut actions = self.retire_idle(|entry, limits| {
            entry.owner.function == owner.function
                && entry.owner.version == owner.version
                && (entry.owner.revision != owner.revision || now.saturating_sub(entry.started) >= limits.age)
        });
        if let Some(full) = self.full(&owner.function) {
            actions.push(Action::Throttle(full));
            return actions;
        }
        // The one used last is the warmest, and the others get the chance to idle out.
        let warm = self.environments.iter_mut().filter(|(_, e)| e.idle_since().is_some() && e.owner == owner);
        if let Some((&id, entry)) = warm.max_by_key(|(_, e)| e.idle_since()) {
            entry.state = State::Busy;
            actions.push(Action::Assign(id));
            return actions;
        }
        let after = match self.make_room(&owner, &mut actions) {
            Ok(after) => after,
            Err(full) => {
                actions.push(Action::Throttle(full));
                return actions;
            }
        };
        self.last_id += 1;
        let id = EnvironmentId(self.last_id);
        self.environments.insert(id, Entry { owner, started: now, state: State::Busy, outdated: false });
        actions.push(Action::Start(id, after));
        actions
    }

    /// How many environments a function may have.
    fn bound(&self, function: &str) -> (usize, Full) {
        match self.reserved.get(function) {
            Some(&bound) => (bound, Full::Reserved(bound)),
            None => (self.limits.per_function, Full::Function(self.limits.per_function)),
        }
    }

    /// How many environments there may be of the functions with nothing set aside.
    fn common_bound(&self) -> usize {
        self.limits.total.saturating_sub(self.reserved.values().sum())
    }

    /// The limit that calls under way have reached, whether an environment is warm or not.
    fn full(&self, function: &str) -> Option<Full> {
        let busy =
            |which: &dyn Fn(&Entry) -> bool| self.environments.values().filter(|e| e.is_busy() && which(e)).count();
        let (bound, full) = self.bound(function);
        if busy(&|e| &*e.owner.function == function) >= bound {
            return Some(full);
        }
        let common = self.common_bound();
        let is_common = |e: &Entry| !self.reserved.contains_key(&e.owner.function);
        (!self.reserved.contains_key(function) && busy(&is_common) >= common).then_some(Full::Server(common))
    }

    /// Sees to it that one more environment may be: by ending idle ones where that is needed. Gives the one whose end it
    /// has to wait for, where all that there may be are there.
    fn make_room(&mut self, owner: &Owner, actions: &mut Vec<Action>) -> Result<Option<EnvironmentId>, Full> {
        let own = |entry: &Entry| entry.owner.function == owner.function;
        let ((bound, full), common_bound) = (self.bound(&owner.function), self.common_bound());
        let (environments, reserved) = (&mut self.environments, &self.reserved);
        let common = |entry: &Entry| !reserved.contains_key(&entry.owner.function);
        let staying = |of: &BTreeMap<_, Entry>, which: &dyn Fn(&Entry) -> bool| {
            of.values().filter(|e| !e.is_ending() && which(e)).count()
        };
        if staying(environments, &own) >= bound {
            // One of another version.
            actions.push(end_oldest_idle(environments, own).ok_or(full)?);
        } else if !reserved.contains_key(&owner.function) && staying(environments, &common) >= common_bound {
            actions.push(end_oldest_idle(environments, common).ok_or(Full::Server(common_bound))?);
        }
        let total = self.limits.total;
        if environments.values().filter(|e| e.takes_place()).count() < total {
            return Ok(None);
        }
        let left =
            |of: &BTreeMap<_, Entry>| of.iter().find(|(_, e)| e.is_ending() && e.takes_place()).map(|(id, _)| *id);
        if left(environments).is_none() {
            actions.push(end_oldest_idle(environments, |_| true).ok_or(Full::Server(total))?);
        }
        let after = left(environments);
        if let Some(entry) = after.and_then(|id| environments.get_mut(&id)) {
            entry.state = State::Ending { has_heir: true };
        }
        Ok(after)
    }

    /// Takes note of what is set aside, which binds at once: what is idle beyond a bound ends now, and what is busy
    /// beyond it after its call. What is set aside is free for its function from then on, as far as calls allow.
    fn set_aside(&mut self, function: Arc<str>, environments: Option<usize>) -> Vec<Action> {
        match environments {
            Some(environments) => self.reserved.insert(Arc::clone(&function), environments),
            None => self.reserved.remove(&function),
        };
        let ((bound, _), common) = (self.bound(&function), self.common_bound());
        let (all, reserved) = (&mut self.environments, &self.reserved);
        let mut actions = shrink(all, bound, |entry| entry.owner.function == function);
        actions.extend(shrink(all, common, |entry| !reserved.contains_key(&entry.owner.function)));
        actions
    }

    fn ending(&mut self, id: EnvironmentId) {
        if let Some(entry) = self.environments.get_mut(&id).filter(|e| !e.is_ending()) {
            entry.state = State::Ending { has_heir: false };
        }
    }

    fn released(&mut self, now: Duration, id: EnvironmentId) -> Vec<Action> {
        let Some(entry) = self.environments.get_mut(&id) else { return Vec::new() };
        if entry.is_ending() {
            return Vec::new();
        }
        if entry.outdated {
            entry.state = State::Ending { has_heir: false };
            return vec![Action::Retire(id)];
        }
        entry.state = State::Idle { since: now };
        Vec::new()
    }

    fn replaced(&mut self, function: &str, version: Option<Version>, revision: Option<&str>) -> Vec<Action> {
        let old = |entry: &Entry| {
            &*entry.owner.function == function
                && version.is_none_or(|version| entry.owner.version == version)
                && Some(&*entry.owner.revision) != revision
        };
        for entry in self.environments.values_mut().filter(|e| old(e)) {
            entry.outdated = true;
        }
        self.retire_idle(|entry, _| entry.outdated)
    }

    fn retire_idle(&mut self, which: impl Fn(&Entry, &Limits) -> bool) -> Vec<Action> {
        let limits = &self.limits;
        let retired = self.environments.iter_mut().filter(|(_, e)| e.idle_since().is_some() && which(e, limits));
        retired.map(|(id, entry)| end_idle(*id, entry)).collect()
    }
}

fn end_oldest_idle(
    environments: &mut BTreeMap<EnvironmentId, Entry>,
    which: impl Fn(&Entry) -> bool,
) -> Option<Action> {
    let idle = environments.iter_mut().filter(|(_, e)| which(e)).filter_map(|(id, e)| Some((e.idle_since()?, *id, e)));
    let (_, id, entry) = idle.min_by_key(|(since, id, _)| (*since, *id))?;
    Some(end_idle(id, entry))
}

fn end_idle(id: EnvironmentId, entry: &mut Entry) -> Action {
    entry.state = State::Ending { has_heir: false };
    Action::Retire(id)
}

/// Brings what is counted down to its bound: first what is idle, the longest first, then the youngest of what is busy.
fn shrink(
    environments: &mut BTreeMap<EnvironmentId, Entry>,
    bound: usize,
    counted: impl Fn(&Entry) -> bool,
) -> Vec<Action> {
    let counted = |entry: &Entry| !entry.is_ending() && counted(entry);
    let over = environments.values().filter(|e| counted(e)).count().saturating_sub(bound);
    let of = environments.iter().filter(|(_, e)| counted(e));
    let mut idle: Vec<_> = of.filter_map(|(id, e)| Some((e.idle_since()?, *id))).collect();
    idle.sort_unstable();
    idle.truncate(over);
    let ended = idle.iter().filter_map(|(_, id)| Some(end_idle(*id, environments.get_mut(id)?))).collect();
    let ending = environments.values().filter(|e| counted(e) && e.outdated).count();
    let busy = environments.values_mut().rev().filter(|e| counted(e) && e.is_busy() && !e.outdated);
    busy.take(over.saturating_sub(idle.len() + ending)).for_each(|entry| entry.outdated = true);
    ended
}

#[cfg(test)]
mod tests;
