//! Batches of a mapping that the function still has from before its last change.
//!
//! Promises that they count as under way, so that the mapping's bound holds across changes.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many there are.
#[derive(Default)]
pub(in crate::mapping) struct Elsewhere {
    batches: AtomicUsize,
    fewer: Notify,
}

impl Elsewhere {
    pub(super) fn count(&self) -> usize {
        self.batches.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, batches: usize) {
        self.batches.fetch_add(batches, Ordering::Relaxed);
    }

    pub(super) fn end_one(&self) {
        self.batches.fetch_sub(1, Ordering::Relaxed);
        self.fewer.notify_one();
    }

    /// Waits until one more has ended.
    pub(super) async fn one_ended(&self) {
        self.fewer.notified().await;
    }
}
