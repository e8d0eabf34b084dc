//! Which rules see a replay's events.
//!
//! Promises that a rule which a replay does not name sees none of its events, as long as the replay is remembered. Must
//! not know how events reach rules.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use base::{Arn, ReplayName, Scope};
use serde_json::Value;

/// By account, region and replay.
type Named = HashMap<(Scope, String), BTreeSet<Arn>>;

/// The rules that replays name. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct ReplayFilters(Arc<RwLock<Named>>);

impl ReplayFilters {
    pub(super) fn set(&self, scope: &Scope, replay: &ReplayName, rules: &[Arn]) {
        if !rules.is_empty() {
            let key = (scope.clone(), replay.to_string());
            let mut named = self.0.write().unwrap_or_else(PoisonError::into_inner);
            named.insert(key, rules.iter().cloned().collect());
        }
    }

    pub(super) fn remove(&self, scope: &Scope, replay: &ReplayName) {
        let mut named = self.0.write().unwrap_or_else(PoisonError::into_inner);
        named.remove(&(scope.clone(), replay.to_string()));
    }

    /// Whether a rule sees an event.
    pub(crate) fn admit(&self, scope: &Scope, event: &Value, rule: &Arn) -> bool {
        let Some(replay) = event.get("replay-name").and_then(Value::as_str) else { return true };
        let named = self.0.read().unwrap_or_else(PoisonError::into_inner);
        named.get(&(scope.clone(), replay.to_owned())).is_none_or(|rules| rules.contains(rule))
    }
}
