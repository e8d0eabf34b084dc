//! A schedule as it comes: each option is translated or refused by name.

use base::{Arn, Timestamp};
use flow::scheduler::{BusInput, Retry, ScheduleSpec, ScheduleTarget};
use wire::scheduler::*;
use wire::{ServiceError, only};

use super::{SERVICE, invalid};

/// Options that are executed. Every other one is refused.
const KNOWN: [&str; 12] = [
    "Name",
    "GroupName",
    "ScheduleExpression",
    "StartDate",
    "EndDate",
    "Description",
    "ScheduleExpressionTimezone",
    "State",
    "Target",
    "FlexibleTimeWindow",
    "ClientToken",
    "ActionAfterCompletion",
];
const KNOWN_OF_TARGET: [&str; 8] = [
    "Arn",
    "RoleArn",
    "DeadLetterConfig",
    "RetryPolicy",
    "Input",
    "EventBridgeParameters",
    "KinesisParameters",
    "SqsParameters",
];

/// What creating and updating have in common.
struct Asked {
    expression: String,
    zone: Option<String>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    description: Option<String>,
    state: Option<String>,
    after: Option<String>,
    window: FlexibleTimeWindow,
    target: Target,
}

/// The two inputs are types of their own in the model, with the same members.
macro_rules! asked {
    ($input:expr) => {{
        let input = $input;
        only(SERVICE, &input, &KNOWN)?;
        Asked {
            expression: input.schedule_expression,
            zone: input.schedule_expression_timezone,
            start: input.start_date,
            end: input.end_date,
            description: input.description,
            state: input.state,
            after: input.action_after_completion,
            window: input.flexible_time_window,
            target: input.target,
        }
    }};
}

pub(super) fn created(input: CreateScheduleInput) -> Result<ScheduleSpec, ServiceError> {
    spec(asked!(input))
}

pub(super) fn updated(input: UpdateScheduleInput) -> Result<ScheduleSpec, ServiceError> {
    spec(asked!(input))
}

fn spec(asked: Asked) -> Result<ScheduleSpec, ServiceError> {
    Ok(ScheduleSpec {
        expression: asked.expression,
        // Which is what it is without one, and what is shown then.
        zone: asked.zone.filter(|zone| zone != "UTC"),
        start: asked.start,
        end: asked.end,
        window_minutes: window(&asked.window)?,
        enabled: asked.state.as_deref() != Some("DISABLED"),
        description: asked.description,
        delete_after: asked.after.as_deref() == Some("DELETE"),
        target: target(asked.target)?,
    })
}

fn window(window: &FlexibleTimeWindow) -> Result<Option<u32>, ServiceError> {
    match (window.mode.as_str(), window.maximum_window_in_minutes) {
        ("FLEXIBLE", Some(minutes)) => Ok(u32::try_from(minutes).ok()),
        ("FLEXIBLE", None) => {
            Err(invalid("MaximumWindowInMinutes must be specified when the mode of FlexibleTimeWindow is FLEXIBLE."))
        }
        (_, Some(_)) => {
            Err(invalid("MaximumWindowInMinutes must not be specified when the mode of FlexibleTimeWindow is OFF."))
        }
        _ => Ok(None),
    }
}

fn arn(text: &str, what: &str) -> Result<Arn, ServiceError> {
    text.parse().map_err(|_| invalid(format!("Provided {what} is not in correct format.")))
}

fn target(target: Target) -> Result<ScheduleTarget, ServiceError> {
    only(SERVICE, &target, &KNOWN_OF_TARGET)?;
    if let Some(rest) = target.arn.strip_prefix("arn:aws:scheduler:::aws-sdk:") {
        return Err(ServiceError::not_done(SERVICE, &format!("the universal target {rest}")));
    }
    let address = arn(&target.arn, "Arn")?;
    let role = arn(&target.role_arn, "RoleArn")?;
    let (service, has) = (address.service(), |given: bool, fits: bool, name: &str| {
        if given && !fits { Err(invalid(format!("{name} does not fit the target {}.", target.arn))) } else { Ok(()) }
    });
    let bus = service == "events" && address.resource_of("event-bus").is_some();
    has(target.event_bridge_parameters.is_some(), bus, "EventBridgeParameters")?;
    has(target.kinesis_parameters.is_some(), service == "kinesis", "KinesisParameters")?;
    has(target.sqs_parameters.is_some(), service == "sqs", "SqsParameters")?;
    if bus && target.event_bridge_parameters.is_none() {
        return Err(invalid("EventBridgeParameters must be specified for an event bus target."));
    }
    if service == "kinesis" && target.kinesis_parameters.is_none() {
        return Err(invalid("KinesisParameters must be specified for a Kinesis stream target."));
    }
    let group = target.sqs_parameters.and_then(|parameters| parameters.message_group_id);
    if service == "sqs" && address.resource().ends_with(".fifo") && group.is_none() {
        return Err(invalid("MessageGroupId must be specified for a FIFO queue target."));
    }
    let group_ok = |group: &String| (1..=128).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_graphic());
    if group.as_ref().is_some_and(|group| !group_ok(group)) {
        return Err(invalid("MessageGroupId has 1 to 128 letters, digits and punctuation marks."));
    }
    if let Some(input) = &target.input
        && (bus || service == "lambda")
    {
        let json: Result<serde_json::Value, _> = serde_json::from_str(input);
        let object = json.as_ref().is_ok_and(serde_json::Value::is_object);
        if json.is_err() || (bus && !object) {
            return Err(invalid(format!("Input must be well-formed JSON for the target {}.", target.arn)));
        }
    }
    let retry = target.retry_policy.map_or_else(Retry::default, |policy| {
        let (default, number) = (Retry::default(), |given: Option<i32>| given.and_then(|n| u32::try_from(n).ok()));
        Retry {
            max_attempts: number(policy.maximum_retry_attempts).unwrap_or(default.max_attempts),
            max_age_secs: number(policy.maximum_event_age_in_seconds).unwrap_or(default.max_age_secs),
        }
    });
    let dead_letter = target.dead_letter_config.and_then(|config| config.arn);
    Ok(ScheduleTarget {
        arn: address,
        role,
        input: target.input,
        retry,
        dead_letter: dead_letter.as_deref().map(|queue| arn(queue, "DeadLetterConfig")).transpose()?,
        event: target
            .event_bridge_parameters
            .map(|event| BusInput { detail_type: event.detail_type, source: event.source }),
        partition_key: target.kinesis_parameters.map(|parameters| parameters.partition_key),
        message_group: group,
    })
}
