//! API destinations: each option is translated.

use flow::destinations::{ApiDestination, ApiDestinationSpec, api_destination_arn};
use wire::events::*;
use wire::{Call, ServiceError};

use super::{EventBridge, bad_token, failed, invalid, limit, page, undescribed};

fn arn(text: &str) -> Result<base::Arn, ServiceError> {
    text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))
}

fn rate(given: Option<i32>) -> Option<u32> {
    given.and_then(|rate| u32::try_from(rate).ok())
}

fn state(service: &EventBridge, call: &Call, destination: &ApiDestination) -> Option<String> {
    let active = service.destinations.is_active(&call.scope, destination);
    Some(if active { "ACTIVE" } else { "INACTIVE" }.to_owned())
}

pub(super) async fn create(
    service: &EventBridge,
    call: &Call,
    input: CreateApiDestinationInput,
) -> Result<CreateApiDestinationOutput, ServiceError> {
    let spec = ApiDestinationSpec {
        name: input.name,
        description: input.description,
        connection: Some(arn(&input.connection_arn)?),
        endpoint: Some(input.invocation_endpoint),
        method: Some(input.http_method),
        rate: rate(input.invocation_rate_limit_per_second),
    };
    let made = service.destinations.create_destination(&call.scope, spec).await.map_err(failed)?;
    Ok(CreateApiDestinationOutput {
        api_destination_arn: Some(api_destination_arn(&call.scope, &made).to_string()),
        api_destination_state: state(service, call, &made),
        creation_time: Some(made.created),
        last_modified_time: Some(made.modified),
    })
}

pub(super) async fn update(
    service: &EventBridge,
    call: &Call,
    input: UpdateApiDestinationInput,
) -> Result<UpdateApiDestinationOutput, ServiceError> {
    let spec = ApiDestinationSpec {
        name: input.name,
        description: input.description,
        connection: input.connection_arn.as_deref().map(arn).transpose()?,
        endpoint: input.invocation_endpoint,
        method: input.http_method,
        rate: rate(input.invocation_rate_limit_per_second),
    };
    let changed = service.destinations.update_destination(&call.scope, spec).await.map_err(failed)?;
    Ok(UpdateApiDestinationOutput {
        api_destination_arn: Some(api_destination_arn(&call.scope, &changed).to_string()),
        api_destination_state: state(service, call, &changed),
        creation_time: Some(changed.created),
        last_modified_time: Some(changed.modified),
    })
}

pub(super) fn describe(
    service: &EventBridge,
    call: &Call,
    input: &DescribeApiDestinationInput,
) -> Result<DescribeApiDestinationOutput, ServiceError> {
    let found = service.destinations.destination(&call.scope, &input.name);
    let found = found.map_err(|error| undescribed("api-destination(s)", error))?;
    Ok(DescribeApiDestinationOutput {
        api_destination_arn: Some(api_destination_arn(&call.scope, &found).to_string()),
        api_destination_state: state(service, call, &found),
        name: Some(found.name),
        description: found.description,
        connection_arn: Some(found.connection.to_string()),
        invocation_endpoint: Some(found.endpoint),
        http_method: Some(found.method),
        invocation_rate_limit_per_second: i32::try_from(found.rate).ok(),
        creation_time: Some(found.created),
        last_modified_time: Some(found.modified),
    })
}

pub(super) fn list(
    service: &EventBridge,
    call: &Call,
    input: &ListApiDestinationsInput,
) -> Result<ListApiDestinationsOutput, ServiceError> {
    let mut found = service.destinations.destinations(&call.scope).map_err(failed)?;
    let connection = input.connection_arn.as_deref().map(arn).transpose()?;
    found.retain(|d| input.name_prefix.as_ref().is_none_or(|prefix| d.name.starts_with(prefix)));
    found.retain(|d| connection.as_ref().is_none_or(|connection| d.connection == *connection));
    let (found, next_token) =
        page(found, |d| d.name.clone(), limit(input.limit), input.next_token.as_deref()).map_err(bad_token)?;
    let shown = found.into_iter().map(|d| wire::events::ApiDestination {
        api_destination_arn: Some(api_destination_arn(&call.scope, &d).to_string()),
        api_destination_state: state(service, call, &d),
        name: Some(d.name),
        connection_arn: Some(d.connection.to_string()),
        invocation_endpoint: Some(d.endpoint),
        http_method: Some(d.method),
        invocation_rate_limit_per_second: i32::try_from(d.rate).ok(),
        creation_time: Some(d.created),
        last_modified_time: Some(d.modified),
    });
    Ok(ListApiDestinationsOutput { api_destinations: Some(shown.collect()), next_token })
}

pub(super) async fn delete(
    service: &EventBridge,
    call: &Call,
    input: DeleteApiDestinationInput,
) -> Result<DeleteApiDestinationOutput, ServiceError> {
    service.destinations.delete_destination(&call.scope, &input.name).await.map_err(failed)?;
    Ok(DeleteApiDestinationOutput::default())
}
