//! Tags of queues.

use std::collections::BTreeMap;

use wire::sqs::*;
use wire::{Call, ServiceError};

use super::address::queue;
use super::{QueueService, failed, invalid};

/// "Tag restrictions" (SQS Developer Guide).
const MOST_TAGS: usize = 50;

/// Refuses tags that no queue can have.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    if tags.len() > MOST_TAGS {
        return Err(too_many());
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid(format!("Tag '{key}' is not valid: keys have 1 to 128 characters, values up to 256.")));
        }
        if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
            return Err(invalid(format!("Tag '{key}' is not valid: keys beginning with aws: are reserved.")));
        }
    }
    Ok(())
}

fn too_many() -> ServiceError {
    invalid(format!("Too many tags added for queue. Maximum number of tags allowed per queue: {MOST_TAGS}."))
}

pub(super) async fn add(
    service: &QueueService,
    call: &Call,
    input: TagQueueInput,
) -> Result<TagQueueOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    check(&input.tags)?;
    let before = service.queues.get(&call.scope, &name).map_err(failed)?;
    let new = input.tags.keys().filter(|key| !before.tags.contains_key(*key)).count();
    if before.tags.len() + new > MOST_TAGS {
        return Err(too_many());
    }
    let updated = service.queues.update(&call.scope, &name, |info| {
        info.tags.extend(input.tags.clone());
        Ok(())
    });
    updated.await.map_err(failed)?;
    Ok(TagQueueOutput {})
}

pub(super) async fn remove(
    service: &QueueService,
    call: &Call,
    input: UntagQueueInput,
) -> Result<UntagQueueOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let updated = service.queues.update(&call.scope, &name, |info| {
        info.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    });
    updated.await.map_err(failed)?;
    Ok(UntagQueueOutput {})
}

pub(super) fn list(
    service: &QueueService,
    call: &Call,
    input: ListQueueTagsInput,
) -> Result<ListQueueTagsOutput, ServiceError> {
    let name = queue(call, &input.queue_url)?;
    let tags = service.queues.get(&call.scope, &name).map_err(failed)?.tags.clone();
    Ok(ListQueueTagsOutput { tags: (!tags.is_empty()).then_some(tags) })
}
