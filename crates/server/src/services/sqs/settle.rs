//! DeleteMessage, ChangeMessageVisibility and their batches.

use std::time::Duration;

use flow::queue::Settled;
use wire::sqs::*;
use wire::{Call, ServiceError};

use super::address::queue;
use super::receive::seconds;
use super::{QueueService, batch, failed, invalid_value, missing};

/// What became of one receipt, as an error when it did nothing.
fn outcome(settled: Settled, handle: &str, visibility: Option<Duration>) -> Result<(), ServiceError> {
    match settled {
        Settled::Done => Ok(()),
        Settled::NoHandle => {
            let message = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
            Err(ServiceError::new("ReceiptHandleIsInvalid", message))
        }
        Settled::Expired => Err(invalid_value(handle, "ReceiptHandle", "The receipt handle has expired.")),
        Settled::NotInFlight => Err(ServiceError::new("MessageNotInflight", "The specified message isn't in flight.")),
        Settled::Stale => {
            let reason = "Message does not exist or is not available for visibility timeout change.";
            Err(invalid_value(handle, "ReceiptHandle", reason))
        }
        Settled::TooLong => {
            let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds].";
            Err(invalid_value(visibility.unwrap_or_default().as_secs(), "VisibilityTimeout", reason))
        }
    }
}

pub(super) async fn delete(
    service: &QueueService,
    call: &Call,
    input: DeleteMessageInput,
) -> Result<DeleteMessageOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let handles = [input.receipt_handle];
    let settled = service.queues.settle(&call.scope, &name, &handles).await.map_err(failed)?;
    settled.into_iter().try_for_each(|settled| outcome(settled, &handles[0], None))?;
    Ok(DeleteMessageOutput {})
}

pub(super) async fn delete_batch(
    service: &QueueService,
    call: &Call,
    input: DeleteMessageBatchInput,
) -> Result<DeleteMessageBatchOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    service.queues.get(&call.scope, &name).map_err(failed)?;
    batch::check("DeleteMessageBatchRequestEntry", input.entries.iter().map(|entry| entry.id.as_str()))?;
    let (ids, handles): (Vec<_>, Vec<_>) = input.entries.into_iter().map(|e| (e.id, e.receipt_handle)).unzip();
    let settled = service.queues.settle(&call.scope, &name, &handles).await.map_err(failed)?;
    let mut output = DeleteMessageBatchOutput::default();
    for ((id, handle), settled) in ids.into_iter().zip(&handles).zip(settled) {
        match outcome(settled, handle, None) {
            Ok(()) => output.successful.push(DeleteMessageBatchResultEntry { id, ..Default::default() }),
            Err(error) => output.failed.push(batch::entry_failed(id, &error)),
        }
    }
    Ok(output)
}

fn visibility(given: Option<i32>) -> Result<Duration, ServiceError> {
    seconds(given, "VisibilityTimeout", 43_200)?.ok_or_else(|| missing("VisibilityTimeout"))
}

pub(super) async fn defer(
    service: &QueueService,
    call: &Call,
    input: ChangeMessageVisibilityInput,
) -> Result<ChangeMessageVisibilityOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let time = visibility(Some(input.visibility_timeout))?;
    let asked = [(input.receipt_handle, time)];
    let settled = service.queues.defer(&call.scope, &name, &asked).await.map_err(failed)?;
    settled.into_iter().try_for_each(|settled| outcome(settled, &asked[0].0, Some(time)))?;
    Ok(ChangeMessageVisibilityOutput {})
}

pub(super) async fn defer_batch(
    service: &QueueService,
    call: &Call,
    input: ChangeMessageVisibilityBatchInput,
) -> Result<ChangeMessageVisibilityBatchOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    service.queues.get(&call.scope, &name).map_err(failed)?;
    batch::check("ChangeMessageVisibilityBatchRequestEntry", input.entries.iter().map(|entry| entry.id.as_str()))?;
    let mut output = ChangeMessageVisibilityBatchOutput::default();
    let (mut ids, mut asked) = (Vec::new(), Vec::new());
    for entry in input.entries {
        match visibility(entry.visibility_timeout) {
            Ok(time) => {
                ids.push(entry.id);
                asked.push((entry.receipt_handle, time));
            }
            Err(error) => output.failed.push(batch::entry_failed(entry.id, &error)),
        }
    }
    let settled = service.queues.defer(&call.scope, &name, &asked).await.map_err(failed)?;
    for ((id, (handle, time)), settled) in ids.into_iter().zip(&asked).zip(settled) {
        match outcome(settled, handle, Some(*time)) {
            Ok(()) => output.successful.push(ChangeMessageVisibilityBatchResultEntry { id, ..Default::default() }),
            Err(error) => output.failed.push(batch::entry_failed(id, &error)),
        }
    }
    Ok(output)
}
