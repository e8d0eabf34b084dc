//! IncreaseStreamRetentionPeriod and DecreaseStreamRetentionPeriod.
//!
//! The new period holds when the call is answered.

use std::time::Duration;

use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::describe::hours;
use super::{DataStreams, SERVICE, failed, invalid};

/// Hours that a stream keeps its records, at least and at most.
const MIN: i32 = 24;
const MAX: i32 = 8_760;

/// Which way a period may go. Staying as it is goes both ways, as with the service.
enum Way {
    Up,
    Down,
}

pub(super) async fn increase(
    service: &DataStreams,
    call: &Call,
    input: IncreaseStreamRetentionPeriodInput,
) -> Result<IncreaseStreamRetentionPeriodOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "RetentionPeriodHours"])?;
    let stream = (input.stream_name.as_deref(), input.stream_arn.as_deref());
    set(service, call, stream, input.retention_period_hours, &Way::Up).await?;
    Ok(IncreaseStreamRetentionPeriodOutput::default())
}

pub(super) async fn decrease(
    service: &DataStreams,
    call: &Call,
    input: DecreaseStreamRetentionPeriodInput,
) -> Result<DecreaseStreamRetentionPeriodOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "RetentionPeriodHours"])?;
    let stream = (input.stream_name.as_deref(), input.stream_arn.as_deref());
    set(service, call, stream, input.retention_period_hours, &Way::Down).await?;
    Ok(DecreaseStreamRetentionPeriodOutput::default())
}

async fn set(
    service: &DataStreams,
    call: &Call,
    (name, arn): (Option<&str>, Option<&str>),
    wanted: i32,
    way: &Way,
) -> Result<(), ServiceError> {
    let stream = match way {
        Way::Up => service.stream(call, name, arn)?,
        Way::Down => service.stream_to_change(call, name, arn)?,
    };
    let (name, now) = (&stream.key.name, hours(stream.retention));
    if wanted < MIN {
        return Err(invalid(format!(
            "Minimum allowed retention period is {MIN} hours. Requested retention period ({wanted} hours) is too short."
        )));
    }
    if wanted > MAX {
        return Err(invalid(format!(
            "Maximum allowed retention period is {MAX} hours. Requested retention period ({wanted} hours) is too long."
        )));
    }
    let wrong = match way {
        Way::Up if wanted < now => Some(("shorter", "Decrease")),
        Way::Down if wanted > now => Some(("longer", "Increase")),
        Way::Up | Way::Down => None,
    };
    if let Some((direction, other)) = wrong {
        return Err(invalid(format!(
            "Requested retention period ({wanted} hours) for stream {name} can not be {direction} than existing \
             retention period ({now} hours). Use {other}RetentionPeriod API."
        )));
    }
    let seconds = u64::try_from(wanted).unwrap_or_default() * 3_600;
    let set = service.log.set_retention(&stream.key, Duration::from_secs(seconds)).await;
    set.map(|_| ()).map_err(|error| failed(&call.scope, name, &error))
}
