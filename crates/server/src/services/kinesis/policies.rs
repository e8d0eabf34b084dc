//! Who may use a stream or a registered consumer: their policies.

use log::Stream;
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::ConsumerAddress;
use super::tags::addressed;
use super::{DataStreams, SERVICE, invalid};
use crate::services::policies::{Document, is_of};
use crate::streams::Settings;

/// What is answered where there is no policy.
const NONE: &str = "{}";
/// Bytes of a policy, at most.
const MAX_BYTES: usize = 20_480;

/// Where a resource's policy is kept.
fn policy_of<'a>(settings: &'a mut Settings, of: Option<&ConsumerAddress>) -> Option<&'a mut Option<String>> {
    let Some(consumer) = of else { return Some(&mut settings.policy) };
    let found = settings.consumers.get_mut(&consumer.name).filter(|found| found.epoch == consumer.epoch);
    found.map(|found| &mut found.policy)
}

async fn set(
    service: &DataStreams,
    call: &Call,
    (stream, of): (&Stream, Option<&ConsumerAddress>),
    policy: Option<&str>,
) -> Result<(), ServiceError> {
    let set = service.set(stream, |settings| {
        let there = policy_of(settings, of).map(|kept| *kept = policy.map(str::to_owned));
        match (there, of) {
            (None, Some(consumer)) => Err(consumer.not_found(&call.scope)),
            _ => Ok(()),
        }
    });
    set.await
}

fn check(text: &str) -> Result<(), ServiceError> {
    let refused = |why: &str| invalid(format!("The resource policy is not valid: {why}"));
    if text.len() > MAX_BYTES {
        return Err(refused(&format!("it has {} bytes, and {MAX_BYTES} are the most", text.len())));
    }
    let document = Document::read(text).map_err(|why| refused(&why))?;
    match document.actions().find(|action| !is_of("kinesis", action)) {
        Some(action) => Err(refused(&format!("{action} is no operation of streams"))),
        None => Ok(()),
    }
}

pub(super) async fn put(
    service: &DataStreams,
    call: &Call,
    input: PutResourcePolicyInput,
) -> Result<PutResourcePolicyOutput, ServiceError> {
    only(SERVICE, &input, &["ResourceARN", "Policy"])?;
    let (stream, consumer) = addressed(service, call, &input.resource_arn)?;
    check(&input.policy)?;
    set(service, call, (&stream, consumer.as_ref()), Some(&input.policy)).await?;
    Ok(PutResourcePolicyOutput::default())
}

pub(super) fn get(
    service: &DataStreams,
    call: &Call,
    input: GetResourcePolicyInput,
) -> Result<GetResourcePolicyOutput, ServiceError> {
    only(SERVICE, &input, &["ResourceARN"])?;
    let (stream, consumer) = addressed(service, call, &input.resource_arn)?;
    let mut settings = Settings::clone(&service.streams.settings.of(stream.id));
    match (policy_of(&mut settings, consumer.as_ref()), &consumer) {
        (None, Some(consumer)) => Err(consumer.not_found(&call.scope)),
        (policy, _) => {
            let policy = policy.and_then(Option::take).unwrap_or_else(|| NONE.to_owned());
            Ok(GetResourcePolicyOutput { policy, ..Default::default() })
        }
    }
}

pub(super) async fn delete(
    service: &DataStreams,
    call: &Call,
    input: DeleteResourcePolicyInput,
) -> Result<DeleteResourcePolicyOutput, ServiceError> {
    only(SERVICE, &input, &["ResourceARN"])?;
    let (stream, consumer) = addressed(service, call, &input.resource_arn)?;
    set(service, call, (&stream, consumer.as_ref()), None).await?;
    Ok(DeleteResourcePolicyOutput::default())
}
