//! What tokens and names of this service lead to, for whoever asks who may: nothing here is proven.

use base::Scope;

use super::address::{self, ConsumerAddress, stream_arn};
use super::read::Iterator;
use super::shards::Rest;
use super::token::{Next, Seal};
use crate::rooms::Rooms;

/// The stream that a shard iterator says it reads.
pub(crate) fn stream_of_iterator(scope: &Scope, token: &str) -> Option<String> {
    Seal::unproven::<Iterator>(token).map(|iterator| stream_arn(scope, &iterator.stream))
}

/// The stream that a listing of shards says it is of.
pub(crate) fn stream_of_shards(scope: &Scope, token: &str) -> Option<String> {
    Seal::unproven::<Next<Rest>>(token).map(|next| stream_arn(scope, &next.rest.stream))
}

/// The ARN of a stream's registered consumer.
pub(crate) fn consumer_arn(rooms: &Rooms, scope: &Scope, stream: &str, name: &str) -> Option<String> {
    let stream = address::stream_name(scope, None, Some(stream)).ok()?.to_string();
    let found = rooms.log.stream(&address::key(scope, &stream)).ok()?;
    let epoch = rooms.streams.settings.of(found.id).consumers.get(name)?.epoch;
    Some(ConsumerAddress { stream, name: name.to_owned(), epoch }.arn(scope))
}
