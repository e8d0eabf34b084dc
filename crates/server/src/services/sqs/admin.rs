//! Creating, finding, purging and deleting queues.

use base::QueueName;
use flow::FlowError;
use flow::queue::{Created, QueueAttributes};
use wire::sqs::*;
use wire::{Call, ServiceError};

use super::address::{queue, url};
use super::{QueueService, attributes, failed, invalid, no_queue, tags};
use crate::services::page::page;

/// Queues of one page ("ListQueues", SQS API Reference).
const MOST_RESULTS: i32 = 1_000;

pub(super) async fn create(
    service: &QueueService,
    call: &Call,
    input: CreateQueueInput,
) -> Result<CreateQueueOutput, ServiceError> {
    let given = input.attributes.unwrap_or_default();
    let fifo = given.get("FifoQueue").is_some_and(|value| value == "true");
    let name = name(&input.queue_name, fifo)?;
    let mut wanted = QueueAttributes { fifo: fifo.then(Default::default), ..QueueAttributes::default() };
    attributes::apply(&mut wanted, &given)?;
    let tags = input.tags.unwrap_or_default();
    tags::check(&tags)?;
    let created = service.queues.create(&call.scope, &name, wanted, tags).await.map_err(|error| match error {
        FlowError::Invalid(reason) => attributes::bad_redrive(&given, &reason),
        error => failed(error),
    })?;
    if let Created::Exists(info) = created {
        for (attribute, value) in &given {
            let mut changed = info.attributes.clone();
            attributes::apply(&mut changed, &[(attribute.clone(), value.clone())].into())?;
            if changed != info.attributes {
                let message = format!(
                    "A queue already exists with the same name and a different value for attribute {attribute}"
                );
                return Err(ServiceError::new("QueueNameExists", message));
            }
        }
    }
    Ok(CreateQueueOutput { queue_url: Some(url(call, &name)) })
}

fn name(text: &str, fifo: bool) -> Result<QueueName, ServiceError> {
    let parsed = text.parse::<QueueName>().ok().filter(|_| text.ends_with(".fifo") == fifo);
    parsed.ok_or_else(|| {
        invalid(if fifo {
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with \
             .fifo suffix and be 1 to 80 in length."
        } else {
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        })
    })
}

pub(super) async fn delete(
    service: &QueueService,
    call: &Call,
    input: DeleteQueueInput,
) -> Result<DeleteQueueOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    service.queues.delete(&call.scope, &name).await.map_err(failed)?;
    Ok(DeleteQueueOutput {})
}

pub(super) async fn purge(
    service: &QueueService,
    call: &Call,
    input: PurgeQueueInput,
) -> Result<PurgeQueueOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    service.queues.purge(&call.scope, &name).await.map_err(|error| match error {
        FlowError::Conflict(message) => ServiceError::new("PurgeQueueInProgress", message),
        error => failed(error),
    })?;
    Ok(PurgeQueueOutput {})
}

fn url_of(service: &QueueService, call: &Call, input: &GetQueueUrlInput) -> Result<String, ServiceError> {
    let name = input.queue_name.parse().map_err(|_| no_queue())?;
    let owner = input.queue_owner_aws_account_id.as_deref();
    if owner.is_some_and(|owner| owner != call.scope.account.as_str()) {
        return Err(no_queue());
    }
    service.queues.get(&call.scope, &name).map_err(failed)?;
    Ok(url(call, &name))
}

pub(super) fn get_url(
    service: &QueueService,
    call: &Call,
    input: GetQueueUrlInput,
) -> Result<GetQueueUrlOutput, ServiceError> {
    Ok(GetQueueUrlOutput { queue_url: Some(url_of(service, call, &input)?) })
}

pub(super) fn list(
    service: &QueueService,
    call: &Call,
    input: ListQueuesInput,
) -> Result<ListQueuesOutput, ServiceError> {
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let names = service.queues.list(&call.scope).into_iter().map(|info| info.name.clone());
    let names: Vec<_> = names.filter(|name| name.as_str().starts_with(&prefix)).collect();
    let (names, next_token) = paged(names, input.max_results, input.next_token.as_deref())?;
    let urls: Vec<_> = names.iter().map(|name| url(call, name)).collect();
    Ok(ListQueuesOutput { queue_urls: (!urls.is_empty()).then_some(urls), next_token })
}

/// A page of queues. Without a size there is one page, of the most that there can be, and no token.
pub(super) fn paged(
    names: Vec<QueueName>,
    max_results: Option<i32>,
    token: Option<&str>,
) -> Result<(Vec<QueueName>, Option<String>), ServiceError> {
    let limit = max_results.unwrap_or(MOST_RESULTS);
    if !(1..=MOST_RESULTS).contains(&limit) {
        let message = format!(
            "Value {limit} for parameter MaxResults is invalid. Reason: Must be between 1 and 1000, if provided."
        );
        return Err(invalid(message));
    }
    let paged = page(names, ToString::to_string, limit.unsigned_abs() as usize, token);
    let (names, next) = paged.map_err(|_| invalid("Invalid or expired next token."))?;
    Ok((names, next.filter(|_| max_results.is_some())))
}
