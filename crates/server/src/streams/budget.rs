//! The limit of an account's open shards in a region.
//!
//! Promises that calls at once do not exceed it together: shards that are being opened are counted until they are
//! there. Must not know the wire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Scope;
use log::{Log, StreamKind};

/// See the module. Clones share one count.
#[derive(Clone)]
pub(crate) struct ShardBudget {
    log: Log,
    limit: usize,
    opening: Arc<Mutex<HashMap<Scope, usize>>>,
}

/// A call would exceed the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// Shards that are open or being opened.
    pub in_use: usize,
    pub limit: usize,
    /// What was asked for.
    pub additional: usize,
}

/// Shards that are being opened; dropped when they are there, or will not be.
#[must_use]
pub(crate) struct Reserved {
    budget: ShardBudget,
    scope: Scope,
    shards: usize,
}

impl ShardBudget {
    /// A budget of so many open shards for every account and region.
    pub fn new(log: Log, limit: usize) -> Self {
        Self { log, limit, opening: Arc::default() }
    }

    /// The most open shards.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// The open shards of all streams, but for the audit trail, which is the server's.
    pub fn open(&self, scope: &Scope) -> usize {
        let streams = self.log.streams(StreamKind::Kinesis, scope);
        let own = streams.iter().filter(|stream| !stream.key.is_audit_trail());
        own.map(|stream| stream.open_shards().len()).sum()
    }

    /// Sets `additional` shards aside.
    pub fn reserve(&self, scope: &Scope, additional: usize) -> Result<Reserved, Exceeded> {
        // In this order: a call that has opened its shards gives its reservation back afterwards, so none is missed.
        let mut opening = self.opening();
        let open = self.open(scope);
        let reserved = opening.get(scope).copied().unwrap_or(0);
        let in_use = open + reserved;
        if additional > 0 && in_use + additional > self.limit {
            return Err(Exceeded { in_use, limit: self.limit, additional });
        }
        opening.insert(scope.clone(), reserved + additional);
        Ok(Reserved { budget: self.clone(), scope: scope.clone(), shards: additional })
    }

    fn opening(&self) -> MutexGuard<'_, HashMap<Scope, usize>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut opening = self.budget.opening();
        let left = opening.get(&self.scope).map_or(0, |reserved| reserved.saturating_sub(self.shards));
        if left == 0 {
            opening.remove(&self.scope);
        } else {
            opening.insert(self.scope.clone(), left);
        }
    }
}
