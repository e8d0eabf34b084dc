//! How many schedules there are in each account and region.
//!
//! Promises that no more come to be than the service allows, however many are created at once. Must not know what they
//! are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Scope;

use crate::FlowError;

/// Quota "Number of schedules" of the service.
const MOST: usize = 1_000_000;

/// Schedules by account and region.
pub(super) struct Quota {
    there: Arc<Mutex<HashMap<Scope, usize>>>,
    most: usize,
}

impl Default for Quota {
    fn default() -> Self {
        Self { there: Arc::default(), most: MOST }
    }
}

/// A place for one that is being created; given back unless it is taken.
pub(super) struct Place {
    there: Arc<Mutex<HashMap<Scope, usize>>>,
    scope: Option<Scope>,
}

fn lock(there: &Mutex<HashMap<Scope, usize>>) -> MutexGuard<'_, HashMap<Scope, usize>> {
    there.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Quota {
    /// Counts one that is there.
    pub fn add(&self, scope: &Scope) {
        *lock(&self.there).entry(scope.clone()).or_default() += 1;
    }

    /// Counts some that are there no more.
    pub fn remove(&self, scope: &Scope, schedules: usize) {
        if let Some(there) = lock(&self.there).get_mut(scope) {
            *there = there.saturating_sub(schedules);
        }
    }

    /// A place for one more.
    pub fn place(&self, scope: &Scope) -> Result<Place, FlowError> {
        let mut there = lock(&self.there);
        let there = there.entry(scope.clone()).or_default();
        if *there >= self.most {
            return Err(FlowError::LimitExceeded(format!("an account has at most {} schedules", self.most)));
        }
        *there += 1;
        Ok(Place { there: Arc::clone(&self.there), scope: Some(scope.clone()) })
    }
}

impl Place {
    /// It was created.
    pub fn take(mut self) {
        self.scope = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(scope) = &self.scope
            && let Some(there) = lock(&self.there).get_mut(scope)
        {
            *there = there.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_come_to_be_than_are_allowed_and_places_come_back() {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let quota = Quota { most: 2, ..Quota::default() };
        quota.add(&scope);
        let place = quota.place(&scope).unwrap();
        assert!(matches!(quota.place(&scope), Err(FlowError::LimitExceeded(_))));
        drop(place);
        quota.place(&scope).unwrap().take();
        assert!(quota.place(&scope).is_err());
        quota.remove(&scope, 1);
        assert!(quota.place(&scope).is_ok());
    }
}
