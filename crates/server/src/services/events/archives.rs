//! Archives on the wire.

use base::ArchiveName;
use flow::archive::{ArchiveSpec, Tally, archive_arn};
use flow::bus::bus_arn;
use wire::events::*;
use wire::{Call, ServiceError, only};

use super::{EventBridge, SERVICE, bad_token, bus_of, failed, invalid, limit, page, pattern};

/// Done is done: an archive that is answered takes events.
const STATE: &str = "ENABLED";

pub(super) fn name(text: &str) -> Result<ArchiveName, ServiceError> {
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

fn days(days: Option<i32>) -> Result<u32, ServiceError> {
    u32::try_from(days.unwrap_or_default()).map_err(|_| invalid("RetentionDays is a number of days, 0 for no end"))
}

pub(super) async fn create(
    service: &EventBridge,
    call: &Call,
    input: CreateArchiveInput,
) -> Result<CreateArchiveOutput, ServiceError> {
    only(SERVICE, &input, &["ArchiveName", "EventSourceArn", "Description", "EventPattern", "RetentionDays"])?;
    let (name, bus) = (name(&input.archive_name)?, bus_of(&call.scope, Some(&input.event_source_arn))?);
    if let Some(text) = &input.event_pattern {
        pattern(text)?;
    }
    let spec = ArchiveSpec {
        description: input.description,
        pattern: input.event_pattern,
        retention_days: days(input.retention_days)?,
    };
    let archive = service.archives.create(&call.scope, &name, &bus, spec).await.map_err(failed)?;
    Ok(CreateArchiveOutput {
        archive_arn: Some(archive_arn(&call.scope, &name).to_string()),
        creation_time: Some(archive.created),
        state: Some(STATE.to_owned()),
        ..Default::default()
    })
}

pub(super) async fn update(
    service: &EventBridge,
    call: &Call,
    input: UpdateArchiveInput,
) -> Result<UpdateArchiveOutput, ServiceError> {
    only(SERVICE, &input, &["ArchiveName", "Description", "EventPattern", "RetentionDays"])?;
    if input.event_pattern.is_none() && input.retention_days.is_none() && input.description.is_none() {
        return Err(invalid("At least one of EventPattern, RetentionDays or Description must be provided."));
    }
    let name = name(&input.archive_name)?;
    if let Some(text) = &input.event_pattern {
        pattern(text)?;
    }
    let retention_days = input.retention_days.map(|given| days(Some(given))).transpose()?;
    let change = |spec: &mut ArchiveSpec| {
        spec.description = input.description.or(spec.description.take());
        spec.pattern = input.event_pattern.or(spec.pattern.take());
        spec.retention_days = retention_days.unwrap_or(spec.retention_days);
    };
    let archive = service.archives.update(&call.scope, &name, change).await.map_err(failed)?;
    Ok(UpdateArchiveOutput {
        archive_arn: Some(archive_arn(&call.scope, &name).to_string()),
        creation_time: Some(archive.created),
        state: Some(STATE.to_owned()),
        ..Default::default()
    })
}

fn counted(tally: Tally) -> (Option<i64>, Option<i64>) {
    (i64::try_from(tally.events).ok(), i64::try_from(tally.bytes).ok())
}

pub(super) async fn describe(
    service: &EventBridge,
    call: &Call,
    input: DescribeArchiveInput,
) -> Result<DescribeArchiveOutput, ServiceError> {
    let name = name(&input.archive_name)?;
    let archive = service.archives.get(&call.scope, &name).map_err(failed)?;
    let (event_count, size_bytes) = counted(service.archives.tally(&call.scope, &archive).await.map_err(failed)?);
    Ok(DescribeArchiveOutput {
        archive_arn: Some(archive_arn(&call.scope, &name).to_string()),
        archive_name: Some(name.to_string()),
        creation_time: Some(archive.created),
        description: archive.description,
        event_count,
        event_pattern: archive.pattern,
        event_source_arn: Some(bus_arn(&call.scope, &archive.bus).to_string()),
        retention_days: i32::try_from(archive.retention_days).ok(),
        size_bytes,
        state: Some(STATE.to_owned()),
        ..Default::default()
    })
}

pub(super) async fn list(
    service: &EventBridge,
    call: &Call,
    input: ListArchivesInput,
) -> Result<ListArchivesOutput, ServiceError> {
    let filters = [input.name_prefix.is_some(), input.event_source_arn.is_some(), input.state.is_some()];
    if filters.iter().filter(|given| **given).count() > 1 {
        return Err(invalid(
            "At most one filter is allowed for ListArchives. Use either : State, EventSourceArn, or NamePrefix.",
        ));
    }
    let mut archives = service.archives.list(&call.scope).map_err(failed)?;
    archives.retain(|archive| {
        let prefixed = input.name_prefix.as_ref().is_none_or(|prefix| archive.name.as_str().starts_with(prefix));
        let source = bus_arn(&call.scope, &archive.bus).to_string();
        let of_source = input.event_source_arn.as_ref().is_none_or(|wanted| *wanted == source);
        prefixed && of_source && input.state.as_ref().is_none_or(|state| state == STATE)
    });
    let key = |archive: &flow::archive::Archive| archive.name.to_string();
    let (archives, next_token) =
        page(archives, key, limit(input.limit), input.next_token.as_deref()).map_err(bad_token)?;
    let mut shown = Vec::with_capacity(archives.len());
    for archive in archives {
        let (event_count, size_bytes) = counted(service.archives.tally(&call.scope, &archive).await.map_err(failed)?);
        shown.push(Archive {
            archive_name: Some(archive.name.to_string()),
            creation_time: Some(archive.created),
            event_count,
            event_source_arn: Some(bus_arn(&call.scope, &archive.bus).to_string()),
            retention_days: i32::try_from(archive.retention_days).ok(),
            size_bytes,
            state: Some(STATE.to_owned()),
            ..Default::default()
        });
    }
    Ok(ListArchivesOutput { archives: Some(shown), next_token })
}

pub(super) async fn delete(
    service: &EventBridge,
    call: &Call,
    input: DeleteArchiveInput,
) -> Result<DeleteArchiveOutput, ServiceError> {
    let name = name(&input.archive_name)?;
    service.archives.delete(&call.scope, &name).await.map_err(failed)?;
    Ok(DeleteArchiveOutput::default())
}
