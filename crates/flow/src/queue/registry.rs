//! The queues at work, by scope and name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{Arn, QueueName, Scope};

use super::config::queue_of;
use super::live::Live;

type Queues = BTreeMap<(Scope, QueueName), Arc<Live>>;

/// See the module.
#[derive(Default)]
pub(super) struct Registry {
    queues: Mutex<Queues>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn insert(&self, name: QueueName, live: Arc<Live>) {
        self.lock().insert((live.scope.clone(), name), live);
    }

    pub fn remove(&self, scope: &Scope, name: &QueueName) -> Option<Arc<Live>> {
        self.lock().remove(&(scope.clone(), name.clone()))
    }

    pub fn get(&self, scope: &Scope, name: &QueueName) -> Option<Arc<Live>> {
        self.lock().get(&(scope.clone(), name.clone())).cloned()
    }

    pub fn of_arn(&self, arn: &Arn) -> Option<Arc<Live>> {
        let (scope, name) = queue_of(arn)?;
        self.get(&scope, &name)
    }

    /// Those of a scope, by name.
    pub fn of_scope(&self, scope: &Scope) -> Vec<Arc<Live>> {
        self.lock().iter().filter(|((of, _), _)| of == scope).map(|(_, live)| Arc::clone(live)).collect()
    }
}
