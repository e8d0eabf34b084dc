//! What every measure of every room means: the `HELP` lines.
//!
//! One table, because the recorder is here. A measure without a line is found by a test.

use metrics::{describe_counter, describe_gauge, describe_histogram};

enum Kind {
    Counter,
    Gauge,
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

const MEASURES: &[(Kind, &str, &str)] = &[
    // The server itself.
    (
        Histogram,
        "tidegate_request_duration_seconds",
        "Time from a request's head to its answer, by service and operation.",
    ),
    (Counter, "tidegate_requests_total", "Requests answered, by service, operation and status."),
    (Counter, "tidegate_request_body_bytes_total", "Bytes of request bodies, by service."),
    (Counter, "tidegate_response_body_bytes_total", "Bytes of response bodies, by service."),
    (Counter, "tidegate_refused_requests_total", "Requests refused before they reached a service, by error code."),
    (Counter, "tidegate_audit_records_total", "Calls whose record is in the audit trail."),
    (
        Counter,
        "tidegate_audit_failures_total",
        "Calls whose record could not be written; they were answered with an error.",
    ),
    (Gauge, "tidegate_connections", "Open client connections."),
    (Counter, "tidegate_tls_handshake_failures_total", "Connections whose TLS handshake failed or took too long."),
    (Gauge, "tidegate_sessions", "Function sessions held."),
    (Gauge, "tidegate_build_info", "Always 1; the label is the version."),
    (Gauge, "tidegate_uptime_seconds", "Time since the process started."),
    (Gauge, "tidegate_resident_memory_bytes", "Resident memory of the server process."),
    (Counter, "tidegate_task_errors_total", "Errors of background tasks, by task."),
    (Gauge, "tidegate_reconciler_last_run_timestamp_seconds", "When a reconciler last ran."),
    (Counter, "tidegate_ingest_records_total", "Log records brought by ingest calls, by result."),
    // Data streams.
    (Counter, "tidegate_on_demand_reshards_total", "Splits and merges of on-demand streams' shards, by kind."),
    (Counter, "tidegate_on_demand_failures_total", "Times an on-demand stream could not be scaled."),
    // The log.
    (Counter, "tidegate_stream_records_in_total", "Records put, by stream."),
    (Counter, "tidegate_stream_bytes_in_total", "Bytes of records put, by stream."),
    (Counter, "tidegate_stream_records_out_total", "Records read, by stream."),
    (Counter, "tidegate_stream_bytes_out_total", "Bytes of records read, by stream."),
    (Histogram, "tidegate_log_put_latency_seconds", "Time from an append to its durable acknowledgement."),
    (Histogram, "tidegate_log_fsync_latency_seconds", "Time of one fsync of the journal."),
    (Histogram, "tidegate_log_group_batches", "Batches that shared one fsync."),
    (Counter, "tidegate_log_written_bytes_total", "Bytes written to the journal."),
    (Gauge, "tidegate_log_segments", "Segments of the journal."),
    (Gauge, "tidegate_log_journal_bytes", "Bytes that the journal holds."),
    (Counter, "tidegate_log_overloaded_total", "Batches refused because too much waited for the disk."),
    (Counter, "tidegate_log_corruptions_total", "Stored batches whose checksum did not match."),
    (Counter, "tidegate_log_index_rebuilds_total", "Sealed segments whose index was built anew."),
    (Counter, "tidegate_log_writer_failures_total", "Writes or syncs that failed and stopped the writer."),
    (Counter, "tidegate_log_writer_recoveries_total", "Times the writer recovered from disk after a failure."),
    (Counter, "tidegate_log_segments_deleted_total", "Segments that retention deleted."),
    // The state store.
    (Histogram, "tidegate_state_commit_seconds", "Time of one durable commit of the state store."),
    (Counter, "tidegate_state_batches_total", "Batches of state changes, by outcome."),
    (Gauge, "tidegate_state_file_bytes", "Length of the state file when it was opened."),
    // Flow.
    (
        Gauge,
        "tidegate_consumer_iterator_age_seconds",
        "Age of the oldest record without a final outcome, by consumer and shard; 0 when caught up.",
    ),
    (Counter, "tidegate_consumer_batches_total", "Batches with a final outcome, by consumer."),
    (Counter, "tidegate_consumer_records_total", "Records with a final outcome, by consumer."),
    (
        Counter,
        "tidegate_inactive_documents_total",
        "Stored documents that were not accepted when they were to start, and do nothing.",
    ),
    (
        Counter,
        "tidegate_role_denials_total",
        "What was not permitted to the role that it is done with, by what it is done for (by) and action.",
    ),
    (Counter, "tidegate_consumer_retries_total", "Batches put off or tried again, by consumer and reason."),
    (
        Histogram,
        "tidegate_lambda_iterator_age_seconds",
        "IteratorAge: how long ago an event's last record arrived when it was handed over, by function and mapping.",
    ),
    (
        Counter,
        "tidegate_lambda_polled_event_count_total",
        "PolledEventCount: events read from the source, of mappings that ask for EventCount.",
    ),
    (Counter, "tidegate_lambda_filtered_out_event_count_total", "FilteredOutEventCount: events that no filter wanted."),
    (
        Counter,
        "tidegate_lambda_invoked_event_count_total",
        "InvokedEventCount: events handed to the function, once for each call.",
    ),
    (
        Counter,
        "tidegate_lambda_failed_invoke_event_count_total",
        "FailedInvokeEventCount: events handed over in vain, once for each attempt.",
    ),
    (
        Counter,
        "tidegate_lambda_dropped_event_count_total",
        "DroppedEventCount: events that a limit of the mapping gave up without telling a destination.",
    ),
    (
        Counter,
        "tidegate_lambda_on_failure_destination_delivered_event_count_total",
        "OnFailureDestinationDeliveredEventCount: events given up and told to the mapping's destination.",
    ),
    (
        Counter,
        "tidegate_lambda_deleted_event_count_total",
        "DeletedEventCount: messages deleted from a queue after the function succeeded with them.",
    ),
    (
        Counter,
        "tidegate_consumer_dropped_records_total",
        "Records given up by a configured limit, by consumer and reason.",
    ),
    (Counter, "tidegate_mapping_quarantined_records_total", "Records that a mapping put into quarantine, by mapping."),
    (
        Counter,
        "tidegate_mapping_quarantine_evicted_records_total",
        "Records that left a quarantine without having been handled, by mapping and reason.",
    ),
    (Counter, "tidegate_mapping_lost_windows_total", "Tumbling windows whose closing call was given up, by mapping."),
    (
        Counter,
        "tidegate_mapping_untold_batches_total",
        "Batches given up that the mapping's destination could never be told of, by mapping; they are quarantined.",
    ),
    (Counter, "tidegate_checkpoint_failures_total", "Commits of checkpoints that failed and were tried again."),
    (Counter, "tidegate_bus_events_total", "Events put on a bus."),
    (Counter, "tidegate_rule_matched_events_total", "Events that a rule matched."),
    (
        Counter,
        "tidegate_schedule_gaps_total",
        "Times whose scheduled instants were noticed more than a day late, and left out.",
    ),
    (
        Counter,
        "tidegate_schedule_put_off_total",
        "Times that instants of a schedule waited for earlier runs, while very many wait.",
    ),
    (Counter, "tidegate_schedule_runs_total", "Attempts of schedules' runs, by outcome."),
    (Counter, "tidegate_archive_events_total", "Events that an archive took."),
    (Counter, "tidegate_replay_events_total", "Archived events that replays put on their bus again."),
    (Counter, "tidegate_rule_invocations_total", "Events that a rule's targets took."),
    (Counter, "tidegate_rule_failed_invocations_total", "Events that a rule's targets refused for good."),
    (Counter, "tidegate_topic_published_messages_total", "Messages published to a topic."),
    (
        Counter,
        "tidegate_mails_total",
        "Mails to subscribers, by outcome: sent, kept (in the outbox), refused or failed.",
    ),
    (Counter, "tidegate_mail_outbox_dropped_total", "Mails that newer ones pushed out of the outbox."),
    (Counter, "tidegate_topic_notifications_total", "Notifications of a topic's subscribers, by outcome."),
    (Counter, "tidegate_queue_sent_messages_total", "Messages sent to a queue."),
    (Counter, "tidegate_queue_received_messages_total", "Messages handed out by a queue."),
    (Counter, "tidegate_queue_deleted_messages_total", "Messages deleted from a queue by those who received them."),
    (Counter, "tidegate_queue_dead_letters_total", "Messages that a queue gave to its dead-letter queue."),
    (
        Counter,
        "tidegate_rule_retried_invocations_total",
        "Events that a target could not take and that are sent again.",
    ),
    (Counter, "tidegate_dead_letters_total", "What deliverers gave up and wrote to a dead-letter queue."),
    (Gauge, "tidegate_queue_memory_bytes", "Memory that is taken by what is known of all queues' messages."),
    (Counter, "tidegate_queue_expired_messages_total", "Messages whose retention ended before anybody deleted them."),
    (Counter, "tidegate_queue_lost_records_total", "Records of a queue's log that cannot be read."),
    (
        Counter,
        "tidegate_lambda_async_events_received_total",
        "AsyncEventsReceived: events of asynchronous invocations taken, by function.",
    ),
    (
        Counter,
        "tidegate_lambda_async_events_dropped_total",
        "AsyncEventsDropped: events given up without having succeeded, by function.",
    ),
    (Counter, "tidegate_async_attempts_total", "Attempts of asynchronous invocations, by function: done or retried."),
    (
        Counter,
        "tidegate_lambda_destination_delivery_failures_total",
        "DestinationDeliveryFailures: results of asynchronous invocations that no destination took.",
    ),
    (
        Counter,
        "tidegate_lambda_dead_letter_errors_total",
        "DeadLetterErrors: events of asynchronous invocations that no dead-letter queue took.",
    ),
    (Counter, "tidegate_delivery_documents_total", "Documents of a delivery stream, by outcome."),
    (Counter, "tidegate_delivery_incoming_records_total", "Records put on a delivery stream that reads no other."),
    (Counter, "tidegate_delivery_incoming_bytes_total", "Bytes of these records."),
    (Counter, "tidegate_delivery_bytes_total", "Bytes sent to a delivery stream's destination."),
    // Functions.
    (Counter, "tidegate_lambda_invocations_total", "Invocations: those that ran, by function."),
    (Histogram, "tidegate_lambda_duration_seconds", "Duration: the time that invocations ran, by function."),
    (Counter, "tidegate_lambda_errors_total", "Errors: invocations that ended in an error of the function."),
    (Counter, "tidegate_lambda_throttles_total", "Throttles: calls refused because no environment was free."),
    (Counter, "tidegate_function_cold_starts_total", "Environments started, by function."),
    (
        Gauge,
        "tidegate_lambda_concurrent_executions",
        "ConcurrentExecutions: environments that run an invocation now, by function.",
    ),
    (Gauge, "tidegate_function_idle_environments", "Environments kept warm without work, by function."),
    (
        Counter,
        "tidegate_function_log_dropped_total",
        "Times that lines of a log were dropped because the journal refused them.",
    ),
    // The index.
    (Counter, "tidegate_index_documents_total", "Documents written or removed."),
    (Counter, "tidegate_index_documents_refused_total", "Documents refused, by type of error."),
    (Histogram, "tidegate_index_bulk_seconds", "Time of a bulk request until it was durable."),
    (Histogram, "tidegate_index_search_seconds", "Time of a search."),
    (Histogram, "tidegate_index_commit_seconds", "Time of one durable commit of an index."),
    (Histogram, "tidegate_index_commit_operations", "Operations that shared one commit of an index."),
    (Counter, "tidegate_index_commit_failures_total", "Commits of an index that failed."),
];

/// Describes every measure to the process's recorder.
pub(super) fn describe() {
    for (kind, name, text) in MEASURES {
        match kind {
            Counter => describe_counter!(*name, *text),
            Gauge => describe_gauge!(*name, *text),
            Histogram => describe_histogram!(*name, *text),
        }
    }
}
