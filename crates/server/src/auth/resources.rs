//! The policies of resources, compiled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use auth::{Attached, Policy, PolicyKind};

/// Policies kept compiled; beyond it all are compiled anew.
const KEPT: usize = 4_096;

/// Knows what policy a resource has.
pub(crate) trait ResourcePolicies: Send + Sync {
    /// The policy of the resource of an ARN. An error denies.
    fn policy_of(&self, resource: &str) -> Result<Option<Attached>, String>;
}

/// Compiles texts once.
#[derive(Default)]
pub(crate) struct Compiled {
    held: Mutex<HashMap<String, (String, Attached)>>,
}

impl Compiled {
    /// The policy of a resource whose text is `text`.
    pub fn of(&self, resource: &str, text: String) -> Result<Attached, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, attached)) = held.get(resource)
            && *known == text
        {
            return Ok(attached.clone());
        }
        let policy = Policy::parse(PolicyKind::Resource, &text);
        let policy = policy.map_err(|error| format!("the policy of {resource} cannot be read: {error}"))?;
        let attached = Attached { name: resource.into(), policy: Arc::new(policy) };
        if held.len() >= KEPT {
            held.clear();
        }
        held.insert(resource.to_owned(), (text, attached.clone()));
        Ok(attached)
    }
}
