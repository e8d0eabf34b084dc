//! Flow's metrics, one named function each.

use std::time::Duration;

use base::{Arn, ShardId};
use metrics::{counter, gauge, histogram};

use crate::mapping::EventCount;

/// Age of the oldest record without a final outcome; zero when caught up.
pub(crate) fn iterator_age(consumer: &str, shard: ShardId, age: Duration) {
    gauge!("tidegate_consumer_iterator_age_seconds", "consumer" => consumer.to_owned(), "shard" => shard.to_string())
        .set(age.as_secs_f64());
}

/// A batch had its final outcome.
pub(crate) fn handled(consumer: &str, records: usize) {
    counter!("tidegate_consumer_batches_total", "consumer" => consumer.to_owned()).increment(1);
    counter!("tidegate_consumer_records_total", "consumer" => consumer.to_owned()).increment(records as u64);
}

/// What is done for an owner was not permitted to the role that it is done with.
pub(crate) fn denied(by: &Arn, action: &str) {
    let labels = [("by", by.to_string()), ("action", action.to_owned())];
    counter!("tidegate_role_denials_total", &labels).increment(1);
}

/// A batch is put off or tried again. `reason` is `failed` or `later`.
pub(crate) fn retried(consumer: &str, reason: &'static str) {
    counter!("tidegate_consumer_retries_total", "consumer" => consumer.to_owned(), "reason" => reason).increment(1);
}

/// Records were given up. `reason` is `expired`, `attempts`, `refused`, `corrupt`, or `retention`: nobody could read
/// them any more.
pub(crate) fn dropped(consumer: &str, reason: &'static str, records: usize) {
    counter!("tidegate_consumer_dropped_records_total", "consumer" => consumer.to_owned(), "reason" => reason)
        .increment(records as u64);
}

/// Events of a mapping, which asked for this.
pub(crate) fn event_count(mapping: &str, count: EventCount, events: usize) {
    let labels = [("mapping", mapping.to_owned())];
    let counter = match count {
        EventCount::Polled => counter!("tidegate_lambda_polled_event_count_total", &labels),
        EventCount::FilteredOut => counter!("tidegate_lambda_filtered_out_event_count_total", &labels),
        EventCount::Invoked => counter!("tidegate_lambda_invoked_event_count_total", &labels),
        EventCount::FailedInvoke => counter!("tidegate_lambda_failed_invoke_event_count_total", &labels),
        EventCount::Dropped => counter!("tidegate_lambda_dropped_event_count_total", &labels),
        EventCount::OnFailureDestinationDelivered => {
            counter!("tidegate_lambda_on_failure_destination_delivered_event_count_total", &labels)
        }
        EventCount::Deleted => counter!("tidegate_lambda_deleted_event_count_total", &labels),
    };
    counter.increment(events as u64);
}

/// How long ago the last record of an event arrived when it was handed to the function.
pub(crate) fn mapping_iterator_age(function: &str, mapping: &str, age: Duration) {
    let labels = [("function", function.to_owned()), ("mapping", mapping.to_owned())];
    histogram!("tidegate_lambda_iterator_age_seconds", &labels).record(age.as_secs_f64());
}

/// A stored document that is not accepted any more, and so does nothing.
pub(crate) fn inactive() {
    counter!("tidegate_inactive_documents_total").increment(1);
}

/// Records that a mapping put into quarantine.
pub(crate) fn quarantined(mapping: &str, records: usize) {
    counter!("tidegate_mapping_quarantined_records_total", "mapping" => mapping.to_owned()).increment(records as u64);
}

/// Records that left a quarantine without having been handled: for `age`, `size`, as `corrupt` or `deleted`.
pub(crate) fn quarantine_evicted(mapping: &str, reason: &'static str, records: usize) {
    counter!("tidegate_mapping_quarantine_evicted_records_total", "mapping" => mapping.to_owned(), "reason" => reason)
        .increment(records as u64);
}

/// A tumbling window that was given up: its function never took it to its end.
pub(crate) fn mapping_lost_window(mapping: &str) {
    counter!("tidegate_mapping_lost_windows_total", "mapping" => mapping.to_owned()).increment(1);
}

/// A batch that a mapping's destination could never be told of; it is quarantined.
pub(crate) fn mapping_untold(mapping: &str) {
    counter!("tidegate_mapping_untold_batches_total", "mapping" => mapping.to_owned()).increment(1);
}

/// Checkpoints could not be committed; they are tried again.
pub(crate) fn checkpoint_failure() {
    counter!("tidegate_checkpoint_failures_total").increment(1);
}

/// Events put on a bus.
pub(crate) fn bus_events(bus: &str, events: usize) {
    counter!("tidegate_bus_events_total", "bus" => bus.to_owned()).increment(events as u64);
}

/// Events that a rule matched.
pub(crate) fn rule_matched(bus: &str, rule: &str, events: usize) {
    counter!("tidegate_rule_matched_events_total", "bus" => bus.to_owned(), "rule" => rule.to_owned())
        .increment(events as u64);
}

/// A part of time whose instants passed too long ago to act on them, of a `rule` or a `schedule`.
pub(crate) fn instants_skipped(kind: &'static str) {
    counter!("tidegate_schedule_gaps_total", "kind" => kind).increment(1);
}

/// Instants of a `schedule` that wait for runs which its target does not take.
pub(crate) fn instants_put_off(kind: &'static str) {
    counter!("tidegate_schedule_put_off_total", "kind" => kind).increment(1);
}

/// Events that an archive took.
pub(crate) fn archived(archive: &str, events: usize) {
    counter!("tidegate_archive_events_total", "archive" => archive.to_owned()).increment(events as u64);
}

/// Archived events that a replay put on their bus again.
pub(crate) fn replayed(bus: &str, events: usize) {
    counter!("tidegate_replay_events_total", "bus" => bus.to_owned()).increment(events as u64);
}

/// What an attempt of a schedule's run came to: `done`, `retried` or `dropped`.
pub(crate) fn schedule_run(group: &str, outcome: &'static str) {
    counter!("tidegate_schedule_runs_total", "group" => group.to_owned(), "outcome" => outcome).increment(1);
}

/// Events that a target took.
pub(crate) fn target_delivered(bus: &str, rule: &str, events: usize) {
    counter!("tidegate_rule_invocations_total", "bus" => bus.to_owned(), "rule" => rule.to_owned())
        .increment(events as u64);
}

/// An event that a target could not take, and that is sent again later.
pub(crate) fn target_retried(bus: &str, rule: &str) {
    counter!("tidegate_rule_retried_invocations_total", "bus" => bus.to_owned(), "rule" => rule.to_owned())
        .increment(1);
}

/// Events that a target did not get.
pub(crate) fn target_failed(bus: &str, rule: &str, events: usize) {
    counter!("tidegate_rule_failed_invocations_total", "bus" => bus.to_owned(), "rule" => rule.to_owned())
        .increment(events as u64);
}

/// Messages published to a topic.
pub(crate) fn published(topic: &str, messages: usize) {
    counter!("tidegate_topic_published_messages_total", "topic" => topic.to_owned()).increment(messages as u64);
}

/// A notification's fate: `delivered`, `failed` (given up), `retried` or `filtered`.
pub(crate) fn notified(topic: &str, outcome: &'static str) {
    counter!("tidegate_topic_notifications_total", "topic" => topic.to_owned(), "outcome" => outcome).increment(1);
}

/// Messages sent to a queue.
pub(crate) fn queue_sent(queue: &str, messages: usize) {
    counter!("tidegate_queue_sent_messages_total", "queue" => queue.to_owned()).increment(messages as u64);
}

/// Messages handed out by a queue.
pub(crate) fn queue_received(queue: &str, messages: usize) {
    counter!("tidegate_queue_received_messages_total", "queue" => queue.to_owned()).increment(messages as u64);
}

/// Messages deleted from a queue by those who received them.
pub(crate) fn queue_deleted(queue: &str, messages: usize) {
    counter!("tidegate_queue_deleted_messages_total", "queue" => queue.to_owned()).increment(messages as u64);
}

/// Messages that a queue gave to its dead-letter queue.
pub(crate) fn queue_dead_letters(queue: &str, messages: usize) {
    if messages > 0 {
        counter!("tidegate_queue_dead_letters_total", "queue" => queue.to_owned()).increment(messages as u64);
    }
}

/// Messages that a deliverer gave up and wrote to a dead-letter queue.
pub(crate) fn dead_letters(queue: &str, messages: usize) {
    counter!("tidegate_dead_letters_total", "queue" => queue.to_owned()).increment(messages as u64);
}

/// Memory that is taken by what is known of all queues' messages.
pub(crate) fn queue_memory(bytes: usize) {
    gauge!("tidegate_queue_memory_bytes").set(bytes as f64);
}

/// Messages whose retention ended before anybody deleted them.
pub(crate) fn queue_expired(queue: &str, messages: usize) {
    if messages > 0 {
        counter!("tidegate_queue_expired_messages_total", "queue" => queue.to_owned()).increment(messages as u64);
    }
}

/// A record of a queue's log that cannot be read.
pub(crate) fn queue_lost(queue: &str) {
    counter!("tidegate_queue_lost_records_total", "queue" => queue.to_owned()).increment(1);
}

/// An asynchronous invocation's fate: `received`, then `done`, `retried` or `dropped`.
pub(crate) fn invoked_async(function: &str, outcome: &'static str) {
    let labels = [("function", function.to_owned())];
    let counter = match outcome {
        "received" => counter!("tidegate_lambda_async_events_received_total", &labels),
        "dropped" => counter!("tidegate_lambda_async_events_dropped_total", &labels),
        _ => counter!("tidegate_async_attempts_total", "function" => function.to_owned(), "outcome" => outcome),
    };
    counter.increment(1);
}

/// A result of an asynchronous invocation that could not be told: to a `destination` or as a `dead_letter`.
pub(crate) fn untold(function: &str, way: &'static str) {
    let labels = [("function", function.to_owned())];
    let counter = match way {
        "destination" => counter!("tidegate_lambda_destination_delivery_failures_total", &labels),
        _ => counter!("tidegate_lambda_dead_letter_errors_total", &labels),
    };
    counter.increment(1);
}

/// Documents of a delivery stream: `indexed`, `backed_up`.
pub(crate) fn documents(stream: &str, outcome: &'static str, documents: usize) {
    counter!("tidegate_delivery_documents_total", "delivery_stream" => stream.to_owned(), "outcome" => outcome)
        .increment(documents as u64);
}

/// Records put on a delivery stream.
pub(crate) fn delivery_put(stream: &str, records: usize, bytes: usize) {
    counter!("tidegate_delivery_incoming_records_total", "delivery_stream" => stream.to_owned())
        .increment(records as u64);
    counter!("tidegate_delivery_incoming_bytes_total", "delivery_stream" => stream.to_owned()).increment(bytes as u64);
}

/// Bytes sent to a delivery's destination.
pub(crate) fn delivery_bytes(stream: &str, bytes: usize) {
    counter!("tidegate_delivery_bytes_total", "delivery_stream" => stream.to_owned()).increment(bytes as u64);
}
