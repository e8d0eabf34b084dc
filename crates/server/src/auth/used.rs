//! What roles were allowed: of this the least policy is made that lets them do it again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use base::{Arn, Timestamp};

/// Roles that are remembered, and different uses of one. What is beyond is not noted; `Use`s are seldom many.
const ROLES: usize = 1_000;
const USES: usize = 2_000;

/// One thing that a role did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    /// Such as `kinesis:PutRecord`.
    pub action: String,
    /// The resource's ARN, or `*`.
    pub resource: String,
    /// When it did so last.
    pub last: Timestamp,
}

/// When each action on each resource was allowed last.
type Uses = BTreeMap<(String, String), Timestamp>;

/// By role.
#[derive(Default)]
pub(super) struct Used(Mutex<HashMap<String, Uses>>);

impl Used {
    pub fn note(&self, role: &Arn, action: &str, resource: &str, now: Timestamp) {
        let mut roles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let role = role.to_string();
        if roles.len() >= ROLES && !roles.contains_key(&role) {
            return;
        }
        let uses = roles.entry(role).or_default();
        let key = (action.to_owned(), resource.to_owned());
        if uses.len() < USES || uses.contains_key(&key) {
            uses.insert(key, now);
        }
    }

    pub fn of(&self, role: &Arn) -> Vec<Use> {
        let roles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = roles.get(&role.to_string()).into_iter().flatten();
        uses.map(|((action, resource), last)| Use { action: action.clone(), resource: resource.clone(), last: *last })
            .collect()
    }
}
