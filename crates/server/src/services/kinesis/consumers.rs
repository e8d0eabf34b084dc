//! RegisterStreamConsumer and its fellows: readers with a connection of their own to each shard.
//!
//! A consumer can be used when its registration is answered.

use base::Timestamp;
use log::Stream;
use serde::{Deserialize, Serialize};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::{self, ConsumerAddress, no_stream, stream_arn};
use super::describe::limit;
use super::endings::is_deleting;
use super::{DataStreams, SERVICE, failed_state, in_use, invalid, limited, no_resource, tags};
use crate::streams::{self, Mode};

/// Consumers of one stream, at most.
const MAX: usize = 20;
/// The same for on-demand streams of accounts with a commitment ("On-demand Advantage").
const MAX_WITH_COMMITMENT: usize = 50;
/// Consumers of a page of ListStreamConsumers, at most.
const PAGE: usize = 100;

fn shown(call: &Call, stream: &Stream, name: &str, consumer: &streams::Consumer) -> Consumer {
    let address = ConsumerAddress { stream: stream.key.name.clone(), name: name.to_owned(), epoch: consumer.epoch };
    Consumer {
        consumer_name: name.to_owned(),
        consumer_arn: address.arn(&call.scope),
        consumer_status: "ACTIVE".to_owned(),
        consumer_creation_timestamp: consumer.created(),
        ..Default::default()
    }
}

/// The most consumers that a stream may have.
fn most(service: &DataStreams, call: &Call, stream: &Stream) -> Result<usize, ServiceError> {
    if service.streams.settings.of(stream.id).mode == Mode::Provisioned {
        return Ok(MAX);
    }
    let commitment = service.streams.accounts.commitment(&call.scope).map_err(|error| failed_state(&error))?;
    Ok(if commitment.is_some_and(|commitment| commitment.holds(call.now)) { MAX_WITH_COMMITMENT } else { MAX })
}

pub(super) async fn register(
    service: &DataStreams,
    call: &Call,
    input: RegisterStreamConsumerInput,
) -> Result<RegisterStreamConsumerOutput, ServiceError> {
    only(SERVICE, &input, &["StreamARN", "ConsumerName", "Tags"])?;
    let stream = service.stream(call, None, Some(&input.stream_arn))?;
    let tags = input.tags.unwrap_or_default();
    tags::check(&tags)?;
    let (name, most) = (&input.consumer_name, most(service, call, &stream)?);
    let (stream_name, account) = (&stream.key.name, &call.scope.account);
    let _registering = service.endings.register(&stream).ok_or_else(|| is_deleting(&stream))?;
    let registered = service
        .set(&stream, |settings| {
            if settings.consumers.contains_key(name) {
                let message =
                    format!("Consumer {name} under stream {stream_name} already exists for account {account}.");
                return Err(in_use(message));
            }
            if settings.consumers.len() >= most {
                return Err(limited(format!(
                    "Stream {stream_name} under account {account} has {most} registered consumers, which is the limit."
                )));
            }
            let epoch = call.now.millis().div_euclid(1_000).max(settings.last_epoch + 1);
            let consumer = streams::Consumer { epoch, tags: tags.clone(), policy: None };
            settings.consumers.insert(name.clone(), consumer.clone());
            Ok(consumer)
        })
        .await?;
    Ok(RegisterStreamConsumerOutput { consumer: shown(call, &stream, name, &registered), ..Default::default() })
}

/// The consumer that a call names by its ARN, by its stream's ARN and its name, or by all of them.
fn named(
    service: &DataStreams,
    call: &Call,
    (consumer_arn, stream, name): (Option<&str>, Option<&str>, Option<&str>),
) -> Result<(std::sync::Arc<Stream>, ConsumerAddress), ServiceError> {
    let by_arn = consumer_arn.map(|arn| address::consumer(&call.scope, arn)).transpose()?;
    let by_name = match (stream, name) {
        (Some(arn), Some(name)) => Some((service.stream(call, None, Some(arn))?, name)),
        (None, None) => None,
        _ if by_arn.is_some() => {
            return Err(invalid("StreamARN and ConsumerName must be given together, or neither"));
        }
        _ => return Err(invalid("Either ConsumerARN or both StreamARN and ConsumerName must be given")),
    };
    match (by_arn, by_name) {
        (Some(consumer), Some((stream, name))) if consumer.stream != stream.key.name || consumer.name != name => {
            Err(invalid("ConsumerARN, StreamARN and ConsumerName do not name the same consumer"))
        }
        (Some(consumer), _) => Ok((service.stream_of(call, &consumer)?, consumer)),
        (None, Some((stream, name))) => {
            let settings = service.streams.settings.of(stream.id);
            let found = settings.consumers.get(name).ok_or_else(|| {
                let (stream, account) = (&stream.key.name, &call.scope.account);
                no_resource(format!("Consumer {name} under stream {stream} and account {account} not found."))
            })?;
            let consumer =
                ConsumerAddress { stream: stream.key.name.clone(), name: name.to_owned(), epoch: found.epoch };
            Ok((stream, consumer))
        }
        (None, None) => Err(invalid("Either ConsumerARN or both StreamARN and ConsumerName must be given")),
    }
}

pub(super) async fn deregister(
    service: &DataStreams,
    call: &Call,
    input: DeregisterStreamConsumerInput,
) -> Result<DeregisterStreamConsumerOutput, ServiceError> {
    only(SERVICE, &input, &["ConsumerARN", "StreamARN", "ConsumerName"])?;
    let name = (input.consumer_arn.as_deref(), input.stream_arn.as_deref(), input.consumer_name.as_deref());
    let (stream, consumer) = named(service, call, name)?;
    service.admit_on(&stream, "deregister_stream_consumer")?;
    service
        .set(&stream, |settings| {
            let found = settings.consumers.get(&consumer.name).filter(|found| found.epoch == consumer.epoch);
            if found.is_none() {
                return Err(consumer.not_found(&call.scope));
            }
            settings.consumers.remove(&consumer.name);
            settings.last_epoch = settings.last_epoch.max(consumer.epoch);
            Ok(())
        })
        .await?;
    // Afterwards: a subscription that begins now finds its consumer gone when it first looks.
    service.subscriptions.end(&stream, &consumer);
    Ok(DeregisterStreamConsumerOutput::default())
}

pub(super) fn describe(
    service: &DataStreams,
    call: &Call,
    input: DescribeStreamConsumerInput,
) -> Result<DescribeStreamConsumerOutput, ServiceError> {
    only(SERVICE, &input, &["ConsumerARN", "StreamARN", "ConsumerName"])?;
    let name = (input.consumer_arn.as_deref(), input.stream_arn.as_deref(), input.consumer_name.as_deref());
    let (stream, consumer) = named(service, call, name)?;
    service.admit_on(&stream, "describe_stream_consumer")?;
    let description = ConsumerDescription {
        consumer_arn: consumer.arn(&call.scope),
        consumer_name: consumer.name,
        consumer_status: "ACTIVE".to_owned(),
        consumer_creation_timestamp: Timestamp::from_millis(consumer.epoch.saturating_mul(1_000)),
        stream_arn: stream_arn(&call.scope, &stream.key.name),
        ..Default::default()
    };
    Ok(DescribeStreamConsumerOutput { consumer_description: description, ..Default::default() })
}

/// What a next token says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest {
    /// The stream's number.
    id: u32,
    after_consumer: String,
}

pub(super) async fn list(
    service: &DataStreams,
    call: &Call,
    input: ListStreamConsumersInput,
) -> Result<ListStreamConsumersOutput, ServiceError> {
    only(SERVICE, &input, &["StreamARN", "NextToken", "MaxResults", "StreamCreationTimestamp"])?;
    let stream = service.stream(call, None, Some(&input.stream_arn))?;
    service.admit_on(&stream, "list_stream_consumers")?;
    let is_other = |time: Timestamp| time.millis() / 1_000 != stream.created.millis() / 1_000;
    if input.stream_creation_timestamp.is_some_and(is_other) {
        return Err(no_stream(&call.scope, &stream.key.name));
    }
    let after = match &input.next_token {
        None => None,
        Some(_) if input.stream_creation_timestamp.is_some() => {
            return Err(invalid("NextToken and StreamCreationTimestamp cannot be provided together."));
        }
        Some(token) => {
            let rest: Rest = service.seal.open_next(call.now, token).await?;
            if rest.id != stream.id.number() {
                return Err(invalid("Invalid NextToken."));
            }
            Some(rest.after_consumer)
        }
    };
    let settings = service.streams.settings.of(stream.id);
    let mut rest = settings.consumers.iter().filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
    let page: Vec<_> = rest.by_ref().take(limit(input.max_results, PAGE)).collect();
    let next_token = match page.last().filter(|_| rest.next().is_some()) {
        Some((last, _)) => {
            let rest = Rest { id: stream.id.number(), after_consumer: (*last).clone() };
            Some(service.seal.seal_next(call.now, rest).await?)
        }
        None => None,
    };
    let consumers = page.into_iter().map(|(name, consumer)| shown(call, &stream, name, consumer)).collect();
    Ok(ListStreamConsumersOutput { consumers: Some(consumers), next_token })
}
