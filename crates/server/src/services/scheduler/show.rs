//! A schedule as it is shown.

use base::Scope;
use flow::scheduler::{Schedule, ScheduleTarget, schedule_arn};
use wire::scheduler::*;

pub(super) fn state(enabled: bool) -> &'static str {
    if enabled { "ENABLED" } else { "DISABLED" }
}

fn target(target: ScheduleTarget) -> Target {
    let sqs = target.message_group.map(|group| SqsParameters { message_group_id: Some(group) });
    Target {
        arn: target.arn.to_string(),
        role_arn: target.role.to_string(),
        dead_letter_config: target.dead_letter.map(|arn| DeadLetterConfig { arn: Some(arn.to_string()) }),
        retry_policy: Some(RetryPolicy {
            maximum_event_age_in_seconds: i32::try_from(target.retry.max_age_secs).ok(),
            maximum_retry_attempts: i32::try_from(target.retry.max_attempts).ok(),
        }),
        input: target.input,
        event_bridge_parameters: target.event.map(|event| EventBridgeParameters {
            detail_type: event.detail_type,
            source: event.source,
            ..Default::default()
        }),
        kinesis_parameters: target
            .partition_key
            .map(|partition_key| KinesisParameters { partition_key, ..Default::default() }),
        sqs_parameters: sqs,
        ..Default::default()
    }
}

pub(super) fn schedule(scope: &Scope, schedule: Schedule) -> GetScheduleOutput {
    let spec = schedule.spec;
    GetScheduleOutput {
        action_after_completion: Some(if spec.delete_after { "DELETE" } else { "NONE" }.to_owned()),
        arn: Some(schedule_arn(scope, &schedule.group, &schedule.name).to_string()),
        creation_date: Some(schedule.created),
        description: spec.description,
        end_date: spec.end,
        flexible_time_window: Some(FlexibleTimeWindow {
            mode: if spec.window_minutes.is_some() { "FLEXIBLE" } else { "OFF" }.to_owned(),
            maximum_window_in_minutes: spec.window_minutes.and_then(|minutes| i32::try_from(minutes).ok()),
            ..Default::default()
        }),
        group_name: Some(schedule.group.to_string()),
        last_modification_date: Some(schedule.modified),
        name: Some(schedule.name.to_string()),
        schedule_expression: Some(spec.expression),
        schedule_expression_timezone: Some(spec.zone.unwrap_or_else(|| "UTC".to_owned())),
        start_date: spec.start,
        state: Some(state(spec.enabled).to_owned()),
        target: Some(target(spec.target)),
        ..Default::default()
    }
}

pub(super) fn summary(scope: &Scope, schedule: Schedule) -> ScheduleSummary {
    ScheduleSummary {
        arn: Some(schedule_arn(scope, &schedule.group, &schedule.name).to_string()),
        creation_date: Some(schedule.created),
        group_name: Some(schedule.group.to_string()),
        last_modification_date: Some(schedule.modified),
        name: Some(schedule.name.to_string()),
        state: Some(state(schedule.spec.enabled).to_owned()),
        target: Some(TargetSummary { arn: schedule.spec.target.arn.to_string(), ..Default::default() }),
    }
}
