//! The memory that what is known of messages takes, over all queues.
//!
//! Promises that nothing is taken in from outside while it is over its bound. What is on its way between queues is not
//! held back, for it weighs the same in each; so the bound is passed by no more than what is under way. Must not know what weighs
//! how much.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{FlowError, metrics};

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    used: AtomicUsize,
}

impl Memory {
    /// At most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// Refuses what comes from outside while the bound is reached.
    pub fn admit(&self) -> Result<(), FlowError> {
        let used = self.used.load(Ordering::Relaxed);
        if used < self.limit {
            return Ok(());
        }
        Err(FlowError::Throttled(format!(
            "what is known of the messages of all queues takes {used} bytes of memory, and {} are allowed; delete \
             messages, or allow more",
            self.limit
        )))
    }

    /// A queue weighs `now` what weighed `before`.
    pub fn weigh(&self, before: usize, now: usize) {
        if before == now {
            return;
        }
        let sum = |used: usize| (used + now).saturating_sub(before);
        // It always answers a new value.
        let used = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(sum(used)));
        metrics::queue_memory(sum(used.unwrap_or_default()));
    }
}
