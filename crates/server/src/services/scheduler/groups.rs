//! Groups of schedules and their tags on the wire.

use std::collections::BTreeMap;

use base::{Arn, ScheduleGroupName};
use flow::scheduler::{Group, group_arn};
use wire::scheduler::*;
use wire::{Call, ServiceError};

use super::{SchedulerService, bad_token, failed, group, invalid, limit, page};

/// Done is done: a group that is answered is there.
const STATE: &str = "ACTIVE";

pub(super) async fn create(
    service: &SchedulerService,
    call: &Call,
    input: CreateScheduleGroupInput,
) -> Result<CreateScheduleGroupOutput, ServiceError> {
    let name = group(Some(&input.name))?;
    let tags = tags_of(input.tags.unwrap_or_default())?;
    service.schedules.create_group(&call.scope, &name, tags, input.client_token).await.map_err(failed)?;
    Ok(CreateScheduleGroupOutput {
        schedule_group_arn: group_arn(&call.scope, &name).to_string(),
        ..Default::default()
    })
}

pub(super) fn get(
    service: &SchedulerService,
    call: &Call,
    input: &GetScheduleGroupInput,
) -> Result<GetScheduleGroupOutput, ServiceError> {
    let name = group(Some(&input.name))?;
    let found = service.schedules.group(&call.scope, &name).map_err(failed)?;
    Ok(GetScheduleGroupOutput {
        arn: Some(group_arn(&call.scope, &name).to_string()),
        creation_date: Some(found.created),
        last_modification_date: Some(found.modified),
        name: Some(name.to_string()),
        state: Some(STATE.to_owned()),
    })
}

pub(super) fn list(
    service: &SchedulerService,
    call: &Call,
    input: &ListScheduleGroupsInput,
) -> Result<ListScheduleGroupsOutput, ServiceError> {
    let mut groups = service.schedules.groups(&call.scope).map_err(failed)?;
    groups.retain(|group| input.name_prefix.as_ref().is_none_or(|prefix| group.name.as_str().starts_with(prefix)));
    let key = |group: &Group| group.name.to_string();
    let (groups, next_token) =
        page(groups, key, limit(input.max_results), input.next_token.as_deref()).map_err(bad_token)?;
    let shown = groups.into_iter().map(|group| ScheduleGroupSummary {
        arn: Some(group_arn(&call.scope, &group.name).to_string()),
        creation_date: Some(group.created),
        last_modification_date: Some(group.modified),
        name: Some(group.name.to_string()),
        state: Some(STATE.to_owned()),
    });
    Ok(ListScheduleGroupsOutput { next_token, schedule_groups: shown.collect(), ..Default::default() })
}

pub(super) async fn delete(
    service: &SchedulerService,
    call: &Call,
    input: DeleteScheduleGroupInput,
) -> Result<DeleteScheduleGroupOutput, ServiceError> {
    let name = group(Some(&input.name))?;
    service.schedules.delete_group(&call.scope, &name, input.client_token).await.map_err(failed)?;
    Ok(DeleteScheduleGroupOutput::default())
}

/// Only groups have tags.
fn tagged(call: &Call, text: &str) -> Result<ScheduleGroupName, ServiceError> {
    let arn: Arn = text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
    let own = arn.service() == "scheduler" && arn.scope().as_ref() == Some(&call.scope);
    let name = arn.resource_of("schedule-group").filter(|_| own);
    group(Some(name.ok_or_else(|| invalid(format!("{arn} is not a schedule group of this account and region")))?))
}

/// Tags, each key once, none of the service's own.
fn tags_of(given: Vec<Tag>) -> Result<BTreeMap<String, String>, ServiceError> {
    let mut tags = BTreeMap::new();
    for Tag { key, value, .. } in given {
        if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
            return Err(invalid(format!("Tag key {key} is not valid: keys beginning with aws: are reserved.")));
        }
        if tags.contains_key(&key) {
            return Err(invalid(format!("Tag key {key} is given more than once.")));
        }
        tags.insert(key, value);
    }
    Ok(tags)
}

pub(super) async fn tag(
    service: &SchedulerService,
    call: &Call,
    input: TagResourceInput,
) -> Result<TagResourceOutput, ServiceError> {
    let name = tagged(call, &input.resource_arn)?;
    let new = tags_of(input.tags)?;
    let change = |tags: &mut BTreeMap<String, String>| tags.extend(new.clone());
    service.schedules.tag_group(&call.scope, &name, change).await.map_err(failed)?;
    Ok(TagResourceOutput::default())
}

pub(super) async fn untag(
    service: &SchedulerService,
    call: &Call,
    input: &UntagResourceInput,
) -> Result<UntagResourceOutput, ServiceError> {
    let name = tagged(call, &input.resource_arn)?;
    let change = |tags: &mut BTreeMap<String, String>| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
    };
    service.schedules.tag_group(&call.scope, &name, change).await.map_err(failed)?;
    Ok(UntagResourceOutput::default())
}

pub(super) fn tags(
    service: &SchedulerService,
    call: &Call,
    input: &ListTagsForResourceInput,
) -> Result<ListTagsForResourceOutput, ServiceError> {
    let name = tagged(call, &input.resource_arn)?;
    let group = service.schedules.group(&call.scope, &name).map_err(failed)?;
    let tags = group.tags.into_iter().map(|(key, value)| Tag { key, value, ..Default::default() }).collect();
    Ok(ListTagsForResourceOutput { tags: Some(tags) })
}
