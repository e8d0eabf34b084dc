//! The numbers that this room shows.

use std::time::Duration;

/// A transaction became durable with this many batches in it.
pub(crate) fn committed(took: Duration, batches: usize, conflicts: usize) {
    metrics::histogram!("tidegate_state_commit_seconds").record(took.as_secs_f64());
    metrics::counter!("tidegate_state_batches_total", "outcome" => "committed").increment((batches - conflicts) as u64);
    if conflicts > 0 {
        metrics::counter!("tidegate_state_batches_total", "outcome" => "conflict").increment(conflicts as u64);
    }
}

/// The store failed with this many batches unanswered.
pub(crate) fn failed(batches: usize) {
    metrics::counter!("tidegate_state_batches_total", "outcome" => "failed").increment(batches as u64);
}

/// The file's length after it was opened.
pub(crate) fn file_length(bytes: u64) {
    metrics::gauge!("tidegate_state_file_bytes").set(bytes as f64);
}
