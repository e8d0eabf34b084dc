//! SQS: queues.
//!
//! Owns the translation between the wire and `flow::queue`: addresses, attributes as text, the service's limits and its
//! words. Must not know how messages are stored or handed out.
//!
//! Limits and messages are those of the SQS API Reference and "Amazon SQS quotas" (Developer Guide). What needs
//! KMS is refused by name. A change is done when it is answered, so a deleted
//! queue's name is free at once.

mod address;
mod admin;
mod attributes;
mod batch;
mod permissions;
mod receive;
mod redrive;
mod send;
mod settle;
mod tags;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use base::Env;
use flow::FlowError;
use flow::queue::Queues;
use wire::sqs::*;
use wire::{Call, ServiceError, ServiceId};

pub(crate) use redrive::source_of_task;

const SERVICE: ServiceId = ServiceId::Sqs;

/// The service.
pub(crate) struct QueueService {
    queues: Queues,
    env: Env,
}

impl QueueService {
    pub fn new(queues: Queues, env: Env) -> Arc<Self> {
        Arc::new(Self { queues, env })
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidParameterValue", message)
}

fn invalid_value(value: impl std::fmt::Display, parameter: &str, reason: &str) -> ServiceError {
    invalid(format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}"))
}

fn missing(parameter: &str) -> ServiceError {
    ServiceError::new("MissingParameter", format!("The request must contain the parameter {parameter}."))
}

fn no_queue() -> ServiceError {
    ServiceError::new("QueueDoesNotExist", "The specified queue does not exist.")
}

fn unsupported(message: impl Into<String>) -> ServiceError {
    ServiceError::new("UnsupportedOperation", message)
}

fn failed(error: FlowError) -> ServiceError {
    match error {
        FlowError::NotFound(_) => no_queue(),
        // Of messages in flight; what passes by itself is throttled.
        FlowError::LimitExceeded(message) => ServiceError::new("OverLimit", message),
        error => ServiceError::from_kinded(SERVICE, &error),
    }
}

/// One method an operation, named alike: `create_queue` is done by `admin::create(self, call, input)`.
macro_rules! operations {
    ($($method:ident: $Input:ident -> $Output:ident = $module:ident::$function:ident $(. $await:ident)?;)+) => {
        #[async_trait]
        impl Sqs for QueueService {
            $(async fn $method(&self, call: &Call, input: $Input) -> Result<$Output, ServiceError> {
                $module::$function(self, call, input)$(.$await)?
            })+
        }
    };
}

operations! {
    add_permission: AddPermissionInput -> AddPermissionOutput = permissions::add.await;
    cancel_message_move_task: CancelMessageMoveTaskInput -> CancelMessageMoveTaskOutput = redrive::cancel.await;
    change_message_visibility: ChangeMessageVisibilityInput -> ChangeMessageVisibilityOutput = settle::defer.await;
    change_message_visibility_batch: ChangeMessageVisibilityBatchInput -> ChangeMessageVisibilityBatchOutput
        = settle::defer_batch.await;
    create_queue: CreateQueueInput -> CreateQueueOutput = admin::create.await;
    delete_message: DeleteMessageInput -> DeleteMessageOutput = settle::delete.await;
    delete_message_batch: DeleteMessageBatchInput -> DeleteMessageBatchOutput = settle::delete_batch.await;
    delete_queue: DeleteQueueInput -> DeleteQueueOutput = admin::delete.await;
    get_queue_attributes: GetQueueAttributesInput -> GetQueueAttributesOutput = attributes::get.await;
    get_queue_url: GetQueueUrlInput -> GetQueueUrlOutput = admin::get_url;
    list_dead_letter_source_queues: ListDeadLetterSourceQueuesInput -> ListDeadLetterSourceQueuesOutput
        = redrive::sources;
    list_message_move_tasks: ListMessageMoveTasksInput -> ListMessageMoveTasksOutput = redrive::list;
    list_queue_tags: ListQueueTagsInput -> ListQueueTagsOutput = tags::list;
    list_queues: ListQueuesInput -> ListQueuesOutput = admin::list;
    purge_queue: PurgeQueueInput -> PurgeQueueOutput = admin::purge.await;
    receive_message: ReceiveMessageInput -> ReceiveMessageOutput = receive::messages.await;
    remove_permission: RemovePermissionInput -> RemovePermissionOutput = permissions::remove.await;
    send_message: SendMessageInput -> SendMessageOutput = send::one.await;
    send_message_batch: SendMessageBatchInput -> SendMessageBatchOutput = send::batch.await;
    set_queue_attributes: SetQueueAttributesInput -> SetQueueAttributesOutput = attributes::set.await;
    start_message_move_task: StartMessageMoveTaskInput -> StartMessageMoveTaskOutput = redrive::start.await;
    tag_queue: TagQueueInput -> TagQueueOutput = tags::add.await;
    untag_queue: UntagQueueInput -> UntagQueueOutput = tags::remove.await;
}
