//! DescribeLimits, DescribeAccountSettings and UpdateAccountSettings.

use base::Timestamp;
use log::StreamKind;
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::{DataStreams, SERVICE, failed_state};
use crate::streams::{Commitment, Mode};

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn limits(
    service: &DataStreams,
    call: &Call,
    _: DescribeLimitsInput,
) -> Result<DescribeLimitsOutput, ServiceError> {
    let budget = &service.streams.budget;
    let streams = service.log.streams(StreamKind::Kinesis, &call.scope);
    let is_on_demand = |id| service.streams.settings.of(id).mode == Mode::OnDemand;
    Ok(DescribeLimitsOutput {
        shard_limit: count(budget.limit()),
        open_shard_count: count(budget.open(&call.scope)),
        on_demand_stream_count: count(streams.iter().filter(|stream| is_on_demand(stream.id)).count()),
        // A stream has a shard, so the shards' limit is theirs too; there is no other.
        on_demand_stream_count_limit: count(budget.limit()),
        ..Default::default()
    })
}

pub(super) fn describe(
    service: &DataStreams,
    call: &Call,
    _: DescribeAccountSettingsInput,
) -> Result<DescribeAccountSettingsOutput, ServiceError> {
    let commitment = service.streams.accounts.commitment(&call.scope).map_err(|error| failed_state(&error))?;
    Ok(DescribeAccountSettingsOutput { minimum_throughput_billing_commitment: Some(shown(commitment, call.now)) })
}

pub(super) async fn update(
    service: &DataStreams,
    call: &Call,
    input: UpdateAccountSettingsInput,
) -> Result<UpdateAccountSettingsOutput, ServiceError> {
    only(SERVICE, &input, &["MinimumThroughputBillingCommitment"])?;
    let wanted = input.minimum_throughput_billing_commitment.status == "ENABLED";
    let changed = service.streams.accounts.commit_to(&call.scope, call.now, wanted).await;
    let commitment = changed.map_err(|error| failed_state(&error))?;
    Ok(UpdateAccountSettingsOutput { minimum_throughput_billing_commitment: Some(shown(commitment, call.now)) })
}

fn shown(commitment: Option<Commitment>, now: Timestamp) -> MinimumThroughputBillingCommitmentOutput {
    let status = match &commitment {
        Some(Commitment { ends: None, .. }) => "ENABLED",
        Some(commitment) if commitment.holds(now) => "ENABLED_UNTIL_EARLIEST_ALLOWED_END",
        _ => "DISABLED",
    };
    MinimumThroughputBillingCommitmentOutput {
        status: status.to_owned(),
        started_at: commitment.map(|commitment| commitment.started),
        ended_at: commitment.filter(|commitment| !commitment.holds(now)).and_then(|commitment| commitment.ends),
        earliest_allowed_end_at: commitment.filter(|commitment| commitment.holds(now)).map(|c| c.earliest_end()),
        ..Default::default()
    }
}
