//! Which environment takes a call, which one is started, which ones are ended: decided here, done elsewhere.
//!
//! Owns the book of environments: whose they are, which revision they run, whether they are busy.
//! Promises that no limit is passed, that an environment has one call at a time, and that a call never lands in an
//! environment of another revision than the one it was made for.
//! Must not know processes, tasks or clocks: every step is told the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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

/// Whose environment it is: the function, and the revision of its code and settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub function: Arc<str>,
    pub revision: Arc<str>,
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
    /// The function runs this revision from now on; absent when it was deleted.
    Replaced { function: Arc<str>, revision: Option<Arc<str>> },
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
    /// The call is refused; the reason is for the caller.
    Throttle(String),
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
}

impl Pool {
    pub fn new(limits: Limits) -> Self {
        Self { limits, last_id: 0, environments: BTreeMap::new() }
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
            Input::Replaced { function, revision } => self.replaced(&function, revision.as_deref()),
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
                && (entry.owner.revision != owner.revision || now.saturating_sub(entry.started) >= limits.age)
        });
        // The one used last is the warmest, and the others get the chance to idle out.
        let warm = self.environments.iter_mut().filter(|(_, e)| e.idle_since.is_some() && e.owner == owner);
        if let Some((&id, entry)) = warm.max_by_key(|(_, e)| e.idle_since) {
            entry.idle_since = None;
            actions.push(Action::Assign(id));
            return actions;
        }
        let of_function = self.environments.values().filter(|e| e.owner.function == owner.function).count();
        if of_function >= self.limits.per_function {
            let limit = self.limits.per_function;
            actions.push(Action::Throttle(format!("all {limit} environments that one function may have are busy")));
            return actions;
        }
        if self.environments.len() >= self.limits.total {
            let idle = self.environments.iter().filter_map(|(id, e)| e.idle_since.map(|since| (since, *id)));
            let Some((_, id)) = idle.min() else {
                let limit = self.limits.total;
                actions.push(Action::Throttle(format!("all {limit} environments of the server are busy")));
                return actions;
            };
            self.environments.remove(&id);
            actions.push(Action::Retire(id));
        }
        self.last_id += 1;
        let id = EnvironmentId(self.last_id);
        self.environments.insert(id, Entry { owner, started: now, idle_since: None, outdated: false });
        actions.push(Action::Start(id));
        actions
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

    fn replaced(&mut self, function: &str, revision: Option<&str>) -> Vec<Action> {
        let old = |entry: &Entry| &*entry.owner.function == function && Some(&*entry.owner.revision) != revision;
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

#[cfg(test)]
mod tests;
