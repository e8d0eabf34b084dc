//! The runs that wait, in memory, by when they are due.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::Timestamp;
use tokio::sync::Notify;

use super::config::Key;

/// A run: its schedule and its instant.
pub(super) type RunKey = (Key, Timestamp);

/// Waiting runs.
#[derive(Default)]
pub(super) struct Waiting {
    runs: Mutex<BTreeSet<(Timestamp, RunKey)>>,
    pub changed: Notify,
}

impl Waiting {
    fn runs(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, RunKey)>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, due: Timestamp, run: RunKey) {
        self.runs().insert((due, run));
        self.changed.notify_one();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.runs().len()
    }

    /// Takes the first that is due.
    pub fn take(&self, now: Timestamp) -> Option<RunKey> {
        let mut runs = self.runs();
        match runs.first() {
            Some((due, _)) if *due <= now => runs.pop_first().map(|(_, run)| run),
            _ => None,
        }
    }

    /// When the first is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.runs().first().map(|(due, _)| *due)
    }
}
