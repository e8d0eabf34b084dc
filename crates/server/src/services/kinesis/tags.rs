//! Tags, in both forms that the service has: of streams by name, and of streams and consumers by ARN.

use std::collections::BTreeMap;

use log::Stream;
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::{ConsumerAddress, Resource, resource};
use super::{DataStreams, SERVICE, invalid};
use crate::streams::Settings;

/// Tags of one resource, at most ("Tagging restrictions", Kinesis Data Streams Developer Guide).
const MAX_TAGS: usize = 50;
/// Characters of a tag's key and value, at most.
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// Checks tags that are to be set.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    if tags.len() > MAX_TAGS {
        return Err(invalid(format!("a resource can have {MAX_TAGS} tags, not {}", tags.len())));
    }
    tags.iter().try_for_each(|(key, value)| {
        check_key(key)?;
        if value.chars().count() > MAX_VALUE {
            return Err(invalid(format!("the value of the tag {key} has more than {MAX_VALUE} characters")));
        }
        check_characters(value)
    })
}

fn check_key(key: &str) -> Result<(), ServiceError> {
    if key.is_empty() || key.chars().count() > MAX_KEY {
        return Err(invalid(format!("a tag's key has 1 to {MAX_KEY} characters")));
    }
    if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return Err(invalid("aws: prefixed tag key names are not allowed for external use."));
    }
    check_characters(key)
}

fn check_characters(text: &str) -> Result<(), ServiceError> {
    let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
    if text.chars().all(allowed) {
        return Ok(());
    }
    Err(invalid(
        "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . : / = + - @.",
    ))
}

/// Whose tags are changed: a stream's, or those of a consumer of it.
type Of<'a> = Option<&'a ConsumerAddress>;

fn tags_of<'a>(settings: &'a mut Settings, of: Of<'_>) -> Option<&'a mut BTreeMap<String, String>> {
    match of {
        None => Some(&mut settings.tags),
        Some(consumer) => {
            let found = settings.consumers.get_mut(&consumer.name).filter(|found| found.epoch == consumer.epoch);
            found.map(|found| &mut found.tags)
        }
    }
}

async fn change(
    service: &DataStreams,
    call: &Call,
    (stream, of): (&Stream, Of<'_>),
    change: impl Fn(&mut BTreeMap<String, String>) -> Result<(), ServiceError>,
) -> Result<(), ServiceError> {
    service
        .set(stream, |settings| match (tags_of(settings, of), of) {
            (Some(tags), _) => change(tags),
            (None, Some(consumer)) => Err(consumer.not_found(&call.scope)),
            (None, None) => Ok(()),
        })
        .await
}

async fn add(
    service: &DataStreams,
    call: &Call,
    to: (&Stream, Of<'_>),
    new: &BTreeMap<String, String>,
) -> Result<(), ServiceError> {
    check(new)?;
    change(service, call, to, |tags| {
        tags.extend(new.clone());
        if tags.len() > MAX_TAGS {
            return Err(invalid(format!(
                "Failed to add tags to stream {} under account {} because a given stream cannot have more than \
                 {MAX_TAGS} tags associated with it.",
                to.0.key.name, call.scope.account
            )));
        }
        Ok(())
    })
    .await
}

async fn remove(
    service: &DataStreams,
    call: &Call,
    from: (&Stream, Of<'_>),
    keys: &[String],
) -> Result<(), ServiceError> {
    keys.iter().try_for_each(|key| check_characters(key))?;
    change(service, call, from, |tags| {
        tags.retain(|key, _| !keys.contains(key));
        Ok(())
    })
    .await
}

pub(super) async fn add_to_stream(
    service: &DataStreams,
    call: &Call,
    input: AddTagsToStreamInput,
) -> Result<AddTagsToStreamOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "Tags"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    add(service, call, (&stream, None), &input.tags).await?;
    Ok(AddTagsToStreamOutput::default())
}

pub(super) async fn remove_from_stream(
    service: &DataStreams,
    call: &Call,
    input: RemoveTagsFromStreamInput,
) -> Result<RemoveTagsFromStreamOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "TagKeys"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    remove(service, call, (&stream, None), &input.tag_keys).await?;
    Ok(RemoveTagsFromStreamOutput::default())
}

pub(super) fn of_stream(
    service: &DataStreams,
    call: &Call,
    input: ListTagsForStreamInput,
) -> Result<ListTagsForStreamOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "ExclusiveStartTagKey", "Limit"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let settings = service.streams.settings.of(stream.id);
    let after = input.exclusive_start_tag_key.as_deref();
    let mut rest = settings.tags.iter().filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_TAGS);
    let tags = rest.by_ref().take(limit).map(|(key, value)| tag(key, value)).collect();
    Ok(ListTagsForStreamOutput { tags, has_more_tags: rest.next().is_some(), ..Default::default() })
}

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: Some(value.to_owned()), ..Default::default() }
}

/// The stream of a resource, and the consumer when it is one.
pub(super) fn addressed(
    service: &DataStreams,
    call: &Call,
    arn: &str,
) -> Result<(std::sync::Arc<Stream>, Option<ConsumerAddress>), ServiceError> {
    match resource(&call.scope, arn)? {
        Resource::Stream(name) => Ok((service.stream(call, Some(&name), None)?, None)),
        Resource::Consumer(consumer) => {
            let stream = service.stream_of(call, &consumer)?;
            Ok((stream, Some(consumer)))
        }
    }
}

pub(super) async fn tag_resource(
    service: &DataStreams,
    call: &Call,
    input: TagResourceInput,
) -> Result<TagResourceOutput, ServiceError> {
    only(SERVICE, &input, &["ResourceARN", "Tags"])?;
    let (stream, consumer) = addressed(service, call, &input.resource_arn)?;
    add(service, call, (&stream, consumer.as_ref()), &input.tags).await?;
    Ok(TagResourceOutput::default())
}

pub(super) async fn untag_resource(
    service: &DataStreams,
    call: &Call,
    input: UntagResourceInput,
) -> Result<UntagResourceOutput, ServiceError> {
    only(SERVICE, &input, &["ResourceARN", "TagKeys"])?;
    let (stream, consumer) = addressed(service, call, &input.resource_arn)?;
    remove(service, call, (&stream, consumer.as_ref()), &input.tag_keys).await?;
    Ok(UntagResourceOutput::default())
}

pub(super) fn of_resource(
    service: &DataStreams,
    call: &Call,
    input: ListTagsForResourceInput,
) -> Result<ListTagsForResourceOutput, ServiceError> {
    only(SERVICE, &input, &["ResourceARN"])?;
    let (stream, consumer) = addressed(service, call, &input.resource_arn)?;
    let mut settings = Settings::clone(&service.streams.settings.of(stream.id));
    let tags = tags_of(&mut settings, consumer.as_ref());
    let tags = match (tags, &consumer) {
        (Some(tags), _) => tags.iter().map(|(key, value)| tag(key, value)).collect(),
        (None, Some(consumer)) => return Err(consumer.not_found(&call.scope)),
        (None, None) => Vec::new(),
    };
    Ok(ListTagsForResourceOutput { tags: Some(tags) })
}
