//! EventBridge Scheduler: schedules and their groups.
//!
//! Owns the translation between the wire and `flow::scheduler`. Must not know how schedules run.

mod groups;
mod read;
mod show;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use base::{ScheduleGroupName, ScheduleName};
use flow::FlowError;
use flow::scheduler::{Listing, Schedules, schedule_arn};
use wire::scheduler::*;
use wire::{Call, ServiceError, ServiceId};

use super::page::{BadToken, behind, page, token_of};

const SERVICE: ServiceId = ServiceId::Scheduler;
/// Items of a page when the caller names no limit, and at most.
const PAGE: usize = 100;

/// The service.
pub(crate) struct SchedulerService {
    schedules: Schedules,
}

impl SchedulerService {
    pub fn new(schedules: Schedules) -> Arc<Self> {
        Arc::new(Self { schedules })
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::validation(SERVICE, message)
}

fn failed(error: FlowError) -> ServiceError {
    match error {
        FlowError::LimitExceeded(message) => {
            ServiceError::new("ServiceQuotaExceededException", message).with_status(402)
        }
        error => ServiceError::from_kinded(SERVICE, &error),
    }
}

fn bad_token(_: BadToken) -> ServiceError {
    invalid("the next token is not one of this listing; list again from the start")
}

fn limit(limit: Option<i32>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).map_or(PAGE, |limit| limit.clamp(1, PAGE))
}

fn name(text: &str) -> Result<ScheduleName, ServiceError> {
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

fn group(text: Option<&str>) -> Result<ScheduleGroupName, ServiceError> {
    text.unwrap_or("default").parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

/// The schedule that a page begins behind.
fn place(key: &str) -> Result<(ScheduleGroupName, ScheduleName), BadToken> {
    let (group, name) = key.split_once(' ').ok_or(BadToken)?;
    Ok((group.parse().map_err(|_| BadToken)?, name.parse().map_err(|_| BadToken)?))
}

#[async_trait]
impl Scheduler for SchedulerService {
    async fn create_schedule(
        &self,
        call: &Call,
        input: CreateScheduleInput,
    ) -> Result<CreateScheduleOutput, ServiceError> {
        let (group, name) = (group(input.group_name.as_deref())?, name(&input.name)?);
        let token = input.client_token.clone();
        let spec = read::created(input)?;
        self.schedules.create(&call.scope, &group, &name, spec, token).await.map_err(failed)?;
        Ok(CreateScheduleOutput {
            schedule_arn: schedule_arn(&call.scope, &group, &name).to_string(),
            ..Default::default()
        })
    }

    async fn update_schedule(
        &self,
        call: &Call,
        input: UpdateScheduleInput,
    ) -> Result<UpdateScheduleOutput, ServiceError> {
        let (group, name) = (group(input.group_name.as_deref())?, name(&input.name)?);
        let token = input.client_token.clone();
        let spec = read::updated(input)?;
        self.schedules.update(&call.scope, &group, &name, spec, token).await.map_err(failed)?;
        Ok(UpdateScheduleOutput {
            schedule_arn: schedule_arn(&call.scope, &group, &name).to_string(),
            ..Default::default()
        })
    }

    async fn get_schedule(&self, call: &Call, input: GetScheduleInput) -> Result<GetScheduleOutput, ServiceError> {
        let (group, name) = (group(input.group_name.as_deref())?, name(&input.name)?);
        self.schedules.group(&call.scope, &group).map_err(failed)?;
        let schedule = self.schedules.get(&call.scope, &group, &name).map_err(failed)?;
        Ok(show::schedule(&call.scope, schedule))
    }

    async fn delete_schedule(
        &self,
        call: &Call,
        input: DeleteScheduleInput,
    ) -> Result<DeleteScheduleOutput, ServiceError> {
        let (group, name) = (group(input.group_name.as_deref())?, name(&input.name)?);
        self.schedules.group(&call.scope, &group).map_err(failed)?;
        self.schedules.delete(&call.scope, &group, &name, input.client_token).await.map_err(failed)?;
        Ok(DeleteScheduleOutput::default())
    }

    async fn list_schedules(
        &self,
        call: &Call,
        input: ListSchedulesInput,
    ) -> Result<ListSchedulesOutput, ServiceError> {
        let of_group = input.group_name.as_deref().map(|text| group(Some(text))).transpose()?;
        if let Some(group) = &of_group {
            self.schedules.group(&call.scope, group).map_err(failed)?;
        }
        let after = input.next_token.as_deref().map(|token| place(&behind(token)?)).transpose().map_err(bad_token)?;
        let enabled = input.state.as_deref().map(|state| state == show::state(true));
        let (prefix, limit) = (input.name_prefix, limit(input.max_results));
        let listing = Listing { group: of_group, prefix, enabled, after, limit };
        let (schedules, more) = self.schedules.page(&call.scope, &listing).map_err(failed)?;
        // No name has a blank, which is before every character of one.
        let next_token =
            schedules.last().filter(|_| more).map(|last| token_of(&format!("{} {}", last.group, last.name)));
        let schedules = schedules.into_iter().map(|schedule| show::summary(&call.scope, schedule)).collect();
        Ok(ListSchedulesOutput { next_token, schedules, ..Default::default() })
    }

    async fn create_schedule_group(
        &self,
        call: &Call,
        input: CreateScheduleGroupInput,
    ) -> Result<CreateScheduleGroupOutput, ServiceError> {
        groups::create(self, call, input).await
    }

    async fn get_schedule_group(
        &self,
        call: &Call,
        input: GetScheduleGroupInput,
    ) -> Result<GetScheduleGroupOutput, ServiceError> {
        groups::get(self, call, &input)
    }

    async fn list_schedule_groups(
        &self,
        call: &Call,
        input: ListScheduleGroupsInput,
    ) -> Result<ListScheduleGroupsOutput, ServiceError> {
        groups::list(self, call, &input)
    }

    async fn delete_schedule_group(
        &self,
        call: &Call,
        input: DeleteScheduleGroupInput,
    ) -> Result<DeleteScheduleGroupOutput, ServiceError> {
        groups::delete(self, call, input).await
    }

    async fn tag_resource(&self, call: &Call, input: TagResourceInput) -> Result<TagResourceOutput, ServiceError> {
        groups::tag(self, call, input).await
    }

    async fn untag_resource(
        &self,
        call: &Call,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, ServiceError> {
        groups::untag(self, call, &input).await
    }

    async fn list_tags_for_resource(
        &self,
        call: &Call,
        input: ListTagsForResourceInput,
    ) -> Result<ListTagsForResourceOutput, ServiceError> {
        groups::tags(self, call, &input)
    }
}
