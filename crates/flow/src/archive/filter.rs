//! Which rules see a replay's events.
//!
//! Promises that a rule of the replay's bus which it does not name sees none of its events, as long as the replay is
//! remembered. Rules of other buses, to which a named rule may send them on, see them like any event. Must not know how
//! events reach rules.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use base::{Arn, BusName, Scope};
use serde_json::Value;

use super::replay::ReplaySpec;

/// By account, region, bus and replay.
type Named = HashMap<(Scope, BusName, String), BTreeSet<Arn>>;

/// The rules that replays name. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct ReplayFilters(Arc<RwLock<Named>>);

impl ReplayFilters {
    pub(super) fn set(&self, scope: &Scope, replay: &ReplaySpec) {
        if !replay.rules.is_empty() {
            let mut named = self.0.write().unwrap_or_else(PoisonError::into_inner);
            named.insert(key(scope, replay), replay.rules.iter().cloned().collect());
        }
    }

    pub(super) fn remove(&self, scope: &Scope, replay: &ReplaySpec) {
        let mut named = self.0.write().unwrap_or_else(PoisonError::into_inner);
        named.remove(&key(scope, replay));
    }

    /// Whether a rule sees an event.
    pub(crate) fn admit(&self, (scope, bus): (&Scope, &BusName), event: &Value, rule: &Arn) -> bool {
        let Some(replay) = event.get("replay-name").and_then(Value::as_str) else { return true };
        let named = self.0.read().unwrap_or_else(PoisonError::into_inner);
        named.get(&(scope.clone(), bus.clone(), replay.to_owned())).is_none_or(|rules| rules.contains(rule))
    }
}

fn key(scope: &Scope, replay: &ReplaySpec) -> (Scope, BusName, String) {
    (scope.clone(), replay.bus.clone(), replay.name.to_string())
}
