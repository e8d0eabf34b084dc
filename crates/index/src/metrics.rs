//! What the index counts.

use std::time::Duration;

use ::metrics::{counter, histogram};

/// Documents that were written or removed.
pub fn documents_in(count: u64) {
    counter!("tidegate_index_documents_total").increment(count);
}

/// Documents that were refused, by the type of the error.
pub fn documents_refused(kind: &'static str) {
    counter!("tidegate_index_documents_refused_total", "type" => kind).increment(1);
}

/// A bulk request was answered.
pub fn bulk(took: Duration) {
    histogram!("tidegate_index_bulk_seconds").record(took.as_secs_f64());
}

/// A search was answered.
pub fn search(took: Duration) {
    histogram!("tidegate_index_search_seconds").record(took.as_secs_f64());
}

/// A group of changes was committed.
pub fn commit(took: Duration, operations: usize) {
    histogram!("tidegate_index_commit_seconds").record(took.as_secs_f64());
    histogram!("tidegate_index_commit_operations").record(operations as f64);
}

/// A commit failed.
pub fn commit_failed() {
    counter!("tidegate_index_commit_failures_total").increment(1);
}
