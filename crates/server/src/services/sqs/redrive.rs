//! Dead-letter queues' sources, and moving messages back.

use base::Arn;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flow::FlowError;
use flow::queue::{MoveStatus, MoveTask, queue_of};
use serde::{Deserialize, Serialize};
use wire::sqs::*;
use wire::{Call, ServiceError};

use super::address::{arn, no_queue_for, queue, url};
use super::admin::paged;
use super::{QueueService, failed, invalid, invalid_value};

/// Messages a second of a task ("StartMessageMoveTask", SQS API Reference).
const MOST_PER_SECOND: i32 = 500;

/// What a task's handle says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handle {
    task_id: String,
    source_arn: String,
}

pub(super) fn sources(
    service: &QueueService,
    call: &Call,
    input: ListDeadLetterSourceQueuesInput,
) -> Result<ListDeadLetterSourceQueuesOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let sources = service.queues.sources(&call.scope, &name).map_err(failed)?;
    let names = sources.into_iter().map(|info| info.name.clone()).collect();
    let (names, next_token) = paged(names, input.max_results, input.next_token.as_deref())?;
    let queue_urls = names.iter().map(|name| url(call, name)).collect();
    Ok(ListDeadLetterSourceQueuesOutput { queue_urls, next_token, ..Default::default() })
}

fn failed_task(error: FlowError) -> ServiceError {
    match error {
        FlowError::NotFound(_) => no_queue_for("SourceArn"),
        FlowError::Conflict(message) | FlowError::Invalid(message) => invalid(message),
        error => failed(error),
    }
}

fn no_resource(message: &str) -> ServiceError {
    ServiceError::new("ResourceNotFoundException", message)
}

pub(super) async fn start(
    service: &QueueService,
    call: &Call,
    input: StartMessageMoveTaskInput,
) -> Result<StartMessageMoveTaskOutput, ServiceError> {
    let source = arn(&call.scope, "SourceArn", &input.source_arn)?;
    let destination = input.destination_arn.map(|text| arn(&call.scope, "DestinationArn", &text)).transpose()?;
    if let Some((_, name)) = destination.as_ref().and_then(queue_of) {
        service.queues.get(&call.scope, &name).map_err(|error| match error {
            FlowError::NotFound(_) => no_queue_for("DestinationArn"),
            error => failed(error),
        })?;
    }
    let rate = input.max_number_of_messages_per_second;
    if let Some(rate) = rate.filter(|rate| !(1..=MOST_PER_SECOND).contains(rate)) {
        let reason = "You must specify a value between 1 and 500.";
        return Err(invalid_value(rate, "MaxNumberOfMessagesPerSecond", reason));
    }
    let task = service.queues.start_move(&source, destination, rate.map(i32::unsigned_abs)).await;
    Ok(StartMessageMoveTaskOutput { task_handle: Some(handle(&task.map_err(failed_task)?)) })
}

fn handle(task: &MoveTask) -> String {
    let handle = Handle { task_id: task.id.clone(), source_arn: task.source.to_string() };
    // Two texts always have a JSON form.
    STANDARD.encode(serde_json::to_vec(&handle).unwrap_or_default())
}

fn read(handle: &str) -> Option<Handle> {
    serde_json::from_slice(&STANDARD.decode(handle).ok()?).ok()
}

/// The queue that a task's handle says it moves from, unproven.
pub(crate) fn source_of_task(handle: &str) -> Option<String> {
    read(handle).map(|handle| handle.source_arn)
}

pub(super) async fn cancel(
    service: &QueueService,
    _: &Call,
    input: CancelMessageMoveTaskInput,
) -> Result<CancelMessageMoveTaskOutput, ServiceError> {
    let handle = read(&input.task_handle);
    let handle = handle.ok_or_else(|| invalid_value(&input.task_handle, "TaskHandle", "It is not a task's handle."))?;
    let absent = || no_resource("Task does not exist.");
    // Its caller may do this to the queue that the handle names: no other's task is to be had by it.
    let source: Arn = handle.source_arn.parse().map_err(|_| absent())?;
    if !service.queues.moves(&source).map_err(failed_task)?.iter().any(|task| task.id == handle.task_id) {
        return Err(absent());
    }
    let task = service.queues.cancel_move(&handle.task_id).await.map_err(|_| absent())?;
    Ok(CancelMessageMoveTaskOutput { approximate_number_of_messages_moved: Some(count(task.moved)) })
}

pub(super) fn list(
    service: &QueueService,
    call: &Call,
    input: ListMessageMoveTasksInput,
) -> Result<ListMessageMoveTasksOutput, ServiceError> {
    let source = arn(&call.scope, "SourceArn", &input.source_arn)?;
    let most = input.max_results.unwrap_or(1);
    if !(1..=10).contains(&most) {
        return Err(invalid_value(most, "MaxResults", "Must be between 1 and 10, if provided."));
    }
    let tasks = service.queues.moves(&source).map_err(failed_task)?;
    let results: Vec<_> = tasks.iter().take(most.unsigned_abs() as usize).map(show).collect();
    Ok(ListMessageMoveTasksOutput { results: Some(results) })
}

fn show(task: &MoveTask) -> ListMessageMoveTasksResultEntry {
    let status = match task.status {
        MoveStatus::Running => "RUNNING",
        MoveStatus::Cancelling => "CANCELLING",
        MoveStatus::Completed => "COMPLETED",
        MoveStatus::Cancelled => "CANCELLED",
        MoveStatus::Failed => "FAILED",
    };
    ListMessageMoveTasksResultEntry {
        task_handle: (task.status == MoveStatus::Running).then(|| handle(task)),
        status: Some(status.to_owned()),
        source_arn: Some(task.source.to_string()),
        destination_arn: task.destination.as_ref().map(ToString::to_string),
        max_number_of_messages_per_second: task.per_second.map(|rate| i32::try_from(rate).unwrap_or(i32::MAX)),
        approximate_number_of_messages_moved: Some(count(task.moved)),
        approximate_number_of_messages_to_move: Some(count(task.to_move)),
        failure_reason: task.failure.clone(),
        started_timestamp: Some(task.started.millis()),
    }
}

fn count(messages: u64) -> i64 {
    i64::try_from(messages).unwrap_or(i64::MAX)
}
