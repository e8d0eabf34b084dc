//! Replays on the wire.

use base::{Arn, BusName, ReplayName, Scope};
use flow::FlowError;
use flow::archive::{ReplaySpec, archive_arn, replay_arn};
use flow::bus::bus_arn;
use wire::events::*;
use wire::{Call, ServiceError, only};

use super::{EventBridge, SERVICE, archives, bad_token, failed, invalid, limit, page};

fn name(text: &str) -> Result<ReplayName, ServiceError> {
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

/// The name in an ARN of this account and region, such as that of an archive.
fn named<'a>(scope: &Scope, arn: &'a Arn, kind: &str) -> Option<&'a str> {
    let own = arn.service() == "events" && arn.scope().as_ref() == Some(scope);
    arn.resource_of(kind).filter(|_| own)
}

fn arn_of(text: &str, parameter: &str, what: &str) -> Result<Arn, ServiceError> {
    let reason = || invalid(format!("Parameter {parameter} is not valid. Reason: Must contain {what} ARN."));
    text.parse().map_err(|_| reason())
}

pub(super) async fn start(
    service: &EventBridge,
    call: &Call,
    input: StartReplayInput,
) -> Result<StartReplayOutput, ServiceError> {
    let known = ["ReplayName", "Description", "EventSourceArn", "EventStartTime", "EventEndTime", "Destination"];
    only(SERVICE, &input, &known)?;
    let source = arn_of(&input.event_source_arn, "EventSourceArn", "an archive")?;
    let archive = named(&call.scope, &source, "archive")
        .ok_or_else(|| invalid("Parameter EventSourceArn is not valid. Reason: Must contain an archive ARN."))?;
    let destination = arn_of(&input.destination.arn, "Destination.Arn", "an event bus")?;
    let bus: BusName = named(&call.scope, &destination, "event-bus")
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| invalid("Parameter Destination.Arn is not valid. Reason: Must contain an event bus ARN."))?;
    let rules = input.destination.filter_arns.unwrap_or_default();
    let spec = ReplaySpec {
        name: name(&input.replay_name)?,
        description: input.description,
        archive: archives::name(archive)?,
        bus,
        rules: rules.iter().map(|arn| arn_of(arn, "Destination.FilterArns", "rule")).collect::<Result<_, _>>()?,
        from: input.event_start_time,
        to: input.event_end_time,
    };
    let replay = service.archives.start_replay(&call.scope, spec).await.map_err(failed)?;
    Ok(StartReplayOutput {
        replay_arn: Some(replay_arn(&call.scope, &replay.spec.name).to_string()),
        replay_start_time: Some(replay.started),
        state: Some(replay.state.as_str().to_owned()),
        state_reason: replay.reason,
    })
}

pub(super) fn describe(
    service: &EventBridge,
    call: &Call,
    input: &DescribeReplayInput,
) -> Result<DescribeReplayOutput, ServiceError> {
    let replay = service.archives.replay(&call.scope, &name(&input.replay_name)?).map_err(failed)?;
    let filters: Vec<String> = replay.spec.rules.iter().map(ToString::to_string).collect();
    Ok(DescribeReplayOutput {
        replay_name: Some(replay.spec.name.to_string()),
        replay_arn: Some(replay_arn(&call.scope, &replay.spec.name).to_string()),
        description: replay.spec.description,
        state: Some(replay.state.as_str().to_owned()),
        state_reason: replay.reason,
        event_source_arn: Some(archive_arn(&call.scope, &replay.spec.archive).to_string()),
        destination: Some(ReplayDestination {
            arn: bus_arn(&call.scope, &replay.spec.bus).to_string(),
            filter_arns: (!filters.is_empty()).then_some(filters),
            ..Default::default()
        }),
        event_start_time: Some(replay.spec.from),
        event_end_time: Some(replay.spec.to),
        event_last_replayed_time: replay.last,
        replay_start_time: Some(replay.started),
        replay_end_time: replay.ended,
    })
}

pub(super) fn list(
    service: &EventBridge,
    call: &Call,
    input: &ListReplaysInput,
) -> Result<ListReplaysOutput, ServiceError> {
    let filters = [input.name_prefix.is_some(), input.event_source_arn.is_some(), input.state.is_some()];
    if filters.iter().filter(|given| **given).count() > 1 {
        return Err(invalid(
            "At most one filter is allowed for ListReplays. Use either : State, EventSourceArn, or NamePrefix.",
        ));
    }
    let mut replays = service.archives.replays(&call.scope).map_err(failed)?;
    replays.retain(|replay| {
        let prefixed = input.name_prefix.as_ref().is_none_or(|prefix| replay.spec.name.as_str().starts_with(prefix));
        let source = archive_arn(&call.scope, &replay.spec.archive).to_string();
        let of_source = input.event_source_arn.as_ref().is_none_or(|wanted| *wanted == source);
        prefixed && of_source && input.state.as_ref().is_none_or(|state| state == replay.state.as_str())
    });
    let key = |replay: &flow::archive::Replay| replay.spec.name.to_string();
    let (replays, next_token) =
        page(replays, key, limit(input.limit), input.next_token.as_deref()).map_err(bad_token)?;
    let shown = replays.into_iter().map(|replay| Replay {
        replay_name: Some(replay.spec.name.to_string()),
        event_source_arn: Some(archive_arn(&call.scope, &replay.spec.archive).to_string()),
        state: Some(replay.state.as_str().to_owned()),
        state_reason: replay.reason,
        event_start_time: Some(replay.spec.from),
        event_end_time: Some(replay.spec.to),
        event_last_replayed_time: replay.last,
        replay_start_time: Some(replay.started),
        replay_end_time: replay.ended,
    });
    Ok(ListReplaysOutput { replays: Some(shown.collect()), next_token })
}

pub(super) async fn cancel(
    service: &EventBridge,
    call: &Call,
    input: CancelReplayInput,
) -> Result<CancelReplayOutput, ServiceError> {
    let name = name(&input.replay_name)?;
    let replay = service.archives.cancel_replay(&call.scope, &name).await.map_err(|error| match error {
        FlowError::Conflict(message) => ServiceError::new("IllegalStatusException", message),
        error => failed(error),
    })?;
    Ok(CancelReplayOutput {
        replay_arn: Some(replay_arn(&call.scope, &name).to_string()),
        state: Some(replay.state.as_str().to_owned()),
        state_reason: replay.reason,
    })
}
