//! Which environment takes a call, which one is started, which ones are ended: decided here, done elsewhere.
//!
//! Owns the book of environments: whose they are, which revision they run, whether they are busy.
//! Promises that no limit is passed, that an environment has one call at a time, and that a call never lands in an
//! environment of another revision than the one it was made for.
//! Must not know processes, tasks or clocks: every step is told the time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    /// The call goes to this environment, which is to be started.
    Start(EnvironmentId),
    /// The call is refused.
    Throttle(Full),
    /// The environment is to be ended; it is idle.
    Retire(EnvironmentId),
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    started: Duration,
    idle_since: Option<Duration>,
    /// Set when it is to be ended as soon as its call is over.
    outdated: bool,
}

/// The book.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Limits,
    last_id: u64,
    environments: BTreeMap<EnvironmentId, Entry>,
    reserved: HashMap<Arc<str>, usize>,
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
            Input::Ended(id) => {
                self.environments.remove(&id);
                Vec::new()
            }
            Input::Replaced { function, version, revision } => self.replaced(&function, version, revision.as_deref()),
            Input::Reserved { function, environments } => self.set_aside(function, environments),
            Input::Tick => self.retire_idle(|entry, limits| {
                let idle = entry.idle_since.is_some_and(|since| now.saturating_sub(since) >= limits.idle);
                idle || now.saturating_sub(entry.started) >= limits.age
            }),
        }
    }

    /// Busy and idle environments of a function, for metrics.
    pub fn count(&self, function: &str) -> (usize, usize) {
        let of = self.environments.values().filter(|e| &*e.owner.function == function);
        of.fold((0, 0), |(busy, idle), e| if e.idle_since.is_some() { (busy, idle + 1) } else { (busy + 1, idle) })
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
        let warm = self.environments.iter_mut().filter(|(_, e)| e.idle_since.is_some() && e.owner == owner);
        if let Some((&id, entry)) = warm.max_by_key(|(_, e)| e.idle_since) {
            entry.idle_since = None;
            actions.push(Action::Assign(id));
            return actions;
        }
        match self.make_room(&owner) {
            Ok(retired) => actions.extend(retired.map(Action::Retire)),
            Err(full) => {
                actions.push(Action::Throttle(full));
                return actions;
            }
        }
        self.last_id += 1;
        let id = EnvironmentId(self.last_id);
        self.environments.insert(id, Entry { owner, started: now, idle_since: None, outdated: false });
        actions.push(Action::Start(id));
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
        let busy = |which: &dyn Fn(&Entry) -> bool| {
            self.environments.values().filter(|e| e.idle_since.is_none() && which(e)).count()
        };
        let (bound, full) = self.bound(function);
        if busy(&|e| &*e.owner.function == function) >= bound {
            return Some(full);
        }
        let common = self.common_bound();
        let is_common = |e: &Entry| !self.reserved.contains_key(&e.owner.function);
        (!self.reserved.contains_key(function) && busy(&is_common) >= common).then_some(Full::Server(common))
    }

    /// Sees to it that one more environment may be started: by ending an idle one where that is needed.
    fn make_room(&mut self, owner: &Owner) -> Result<Option<EnvironmentId>, Full> {
        let own = |entry: &Entry| entry.owner.function == owner.function;
        let (bound, full) = self.bound(&owner.function);
        if self.environments.values().filter(|e| own(e)).count() >= bound {
            // One of another version.
            return self.end_idle(own).ok_or(full).map(Some);
        }
        let common = |entry: &Entry| !self.reserved.contains_key(&entry.owner.function);
        if !self.reserved.contains_key(&owner.function) {
            let bound = self.common_bound();
            if self.environments.values().filter(|e| common(e)).count() >= bound {
                let idle = self.oldest_idle(common).ok_or(Full::Server(bound))?;
                self.environments.remove(&idle);
                return Ok(Some(idle));
            }
        }
        if self.environments.len() >= self.limits.total {
            return self.end_idle(|_| true).ok_or(Full::Server(self.limits.total)).map(Some);
        }
        Ok(None)
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

    fn oldest_idle(&self, which: impl Fn(&Entry) -> bool) -> Option<EnvironmentId> {
        let idle = self.environments.iter().filter(|(_, e)| which(e));
        idle.filter_map(|(id, e)| Some((e.idle_since?, *id))).min().map(|(_, id)| id)
    }

    fn end_idle(&mut self, which: impl Fn(&Entry) -> bool) -> Option<EnvironmentId> {
        let id = self.oldest_idle(which)?;
        self.environments.remove(&id);
        Some(id)
    }

    fn released(&mut self, now: Duration, id: EnvironmentId) -> Vec<Action> {
        let Some(entry) = self.environments.get_mut(&id) else { return Vec::new() };
        if entry.outdated {
            self.environments.remove(&id);
            return vec![Action::Retire(id)];
        }
        entry.idle_since = Some(now);
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
        let retired: Vec<EnvironmentId> = self
            .environments
            .extract_if(.., |_, entry| entry.idle_since.is_some() && which(entry, limits))
            .map(|(id, _)| id)
            .collect();
        retired.into_iter().map(Action::Retire).collect()
    }
}

/// Brings what is counted down to its bound: first what is idle, the longest first, then the youngest of what is busy.
fn shrink(
    environments: &mut BTreeMap<EnvironmentId, Entry>,
    bound: usize,
    counted: impl Fn(&Entry) -> bool,
) -> Vec<Action> {
    let over = environments.values().filter(|e| counted(e)).count().saturating_sub(bound);
    let of = environments.iter().filter(|(_, e)| counted(e));
    let mut idle: Vec<_> = of.filter_map(|(id, e)| Some((e.idle_since?, *id))).collect();
    idle.sort_unstable();
    idle.truncate(over);
    idle.iter().for_each(|(_, id)| _ = environments.remove(id));
    let ending = environments.values().filter(|e| counted(e) && e.outdated).count();
    let busy = environments.values_mut().rev().filter(|e| counted(e) && e.idle_since.is_none() && !e.outdated);
    busy.take(over.saturating_sub(idle.len() + ending)).for_each(|entry| entry.outdated = true);
    idle.into_iter().map(|(_, id)| Action::Retire(id)).collect()
}

#[cfg(test)]
mod tests;
