//! The log's metrics, one function each.
//!
//! Per stream: `tidegate_stream_{records,bytes}_{in,out}_total`. Journal-wide: put and fsync latency, group size,
//! bytes, segments, corruption, rebuilt indexes, failures of the writer.

use std::time::Duration;

use metrics::{Counter, counter, gauge, histogram};

use crate::StreamKey;

/// The counters of one stream, looked up once.
pub(crate) struct StreamCounters {
    pub records_in: Counter,
    pub bytes_in: Counter,
    pub records_out: Counter,
    pub bytes_out: Counter,
}

impl StreamCounters {
    pub fn of(key: &StreamKey) -> Self {
        let labels = [
            ("kind", key.kind.to_string()),
            ("account", key.scope.account.to_string()),
            ("region", key.scope.region.to_string()),
            ("stream", key.name.clone()),
        ];
        Self {
            records_in: counter!("tidegate_stream_records_in_total", &labels),
            bytes_in: counter!("tidegate_stream_bytes_in_total", &labels),
            records_out: counter!("tidegate_stream_records_out_total", &labels),
            bytes_out: counter!("tidegate_stream_bytes_out_total", &labels),
        }
    }
}

/// From append to acknowledgement.
pub(crate) fn put_latency(took: Duration) {
    histogram!("tidegate_log_put_latency_seconds").record(took);
}

/// One fsync of the journal.
pub(crate) fn fsync_latency(took: Duration) {
    histogram!("tidegate_log_fsync_latency_seconds").record(took);
}

/// One group made durable.
pub(crate) fn group(batches: usize, bytes: u64) {
    histogram!("tidegate_log_group_batches").record(batches as f64);
    counter!("tidegate_log_written_bytes_total").increment(bytes);
}

/// What the journal holds.
pub(crate) fn journal(segments: usize, bytes: u64) {
    gauge!("tidegate_log_segments").set(segments as f64);
    gauge!("tidegate_log_journal_bytes").set(bytes as f64);
}

/// A batch was refused because the queue is full.
pub(crate) fn overloaded() {
    counter!("tidegate_log_overloaded_total").increment(1);
}

/// Stored bytes do not match.
pub(crate) fn corruption() {
    counter!("tidegate_log_corruptions_total").increment(1);
}

/// A sealed segment's index was missing or damaged.
pub(crate) fn index_rebuilt() {
    counter!("tidegate_log_index_rebuilds_total").increment(1);
}

/// A write or sync failed; the writer is poisoned until it has recovered.
pub(crate) fn writer_failure() {
    counter!("tidegate_log_writer_failures_total").increment(1);
}

/// The writer works again.
pub(crate) fn writer_recovery() {
    counter!("tidegate_log_writer_recoveries_total").increment(1);
}

/// Retention deleted a segment.
pub(crate) fn segment_deleted() {
    counter!("tidegate_log_segments_deleted_total").increment(1);
}
