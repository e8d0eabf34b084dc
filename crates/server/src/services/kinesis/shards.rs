//! ListShards: which shards a stream has, or had at a time.

use base::{ShardId, Timestamp};
use log::{Shard, Stream};
use serde::{Deserialize, Serialize};
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::address::no_stream;
use super::describe::{limit, shown};
use super::{DataStreams, SERVICE, invalid};

/// Shards of a page, at most.
const PAGE: usize = 1_000;

/// What a next token says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rest {
    pub stream: String,
    /// The stream's number: one deleted and created again, or of another region, is not taken for it.
    id: u32,
    after: ShardId,
    filter: Filter,
}

/// Which shards are listed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Filter {
    /// Those that were open then.
    At(Timestamp),
    /// Those that were open then or later.
    From(Timestamp),
    /// Those that were open at the oldest readable moment.
    AtTrimHorizon,
    /// Those that have readable records, or can have.
    FromTrimHorizon,
    /// Those that are open.
    AtLatest,
}

impl Filter {
    /// The filter of a call, and the shard after which it lists.
    fn read(filter: ShardFilter) -> Result<(Self, Option<ShardId>), ServiceError> {
        let ShardFilter { r#type: kind, shard_id, timestamp, .. } = filter;
        let with_time = matches!(kind.as_str(), "AT_TIMESTAMP" | "FROM_TIMESTAMP");
        if timestamp.is_some() != with_time {
            let verb = if with_time { "must" } else { "can not" };
            return Err(invalid(format!("Timestamp {verb} be given with the ShardFilter type {kind}")));
        }
        if shard_id.is_some() != (kind == "AFTER_SHARD_ID") {
            let verb = if shard_id.is_none() { "must" } else { "can not" };
            return Err(invalid(format!("ShardId {verb} be given with the ShardFilter type {kind}")));
        }
        let after = shard_id.map(|text| id(&text)).transpose()?;
        let filter = match (kind.as_str(), timestamp) {
            ("AT_TIMESTAMP", Some(time)) => Self::At(time),
            ("FROM_TIMESTAMP", Some(time)) => Self::From(time),
            ("AT_TRIM_HORIZON", _) => Self::AtTrimHorizon,
            ("FROM_TRIM_HORIZON" | "AFTER_SHARD_ID", _) => Self::FromTrimHorizon,
            ("AT_LATEST", _) => Self::AtLatest,
            (other, _) => return Err(invalid(format!("{other} is not a ShardFilter type"))),
        };
        Ok((filter, after))
    }

    /// Whether it lets a shard through. `horizon` is the oldest readable moment.
    fn passes(self, shard: &Shard, horizon: Timestamp) -> bool {
        let open_after = |time: Timestamp| shard.closed.is_none_or(|closed| closed > time);
        let open_from = |time: Timestamp| shard.closed.is_none_or(|closed| closed >= time);
        match self {
            Self::At(time) => shard.opened <= time.max(horizon) && open_from(time.max(horizon)),
            Self::From(time) => open_from(time.max(horizon)),
            Self::AtTrimHorizon => shard.opened <= horizon && open_after(horizon),
            Self::FromTrimHorizon => open_from(horizon),
            Self::AtLatest => shard.closed.is_none(),
        }
    }
}

/// The oldest moment of which a stream can have records.
fn horizon(stream: &Stream, now: Timestamp) -> Timestamp {
    stream.created.max(now - stream.retention)
}

fn id(text: &str) -> Result<ShardId, ServiceError> {
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

pub(super) async fn list(
    service: &DataStreams,
    call: &Call,
    input: ListShardsInput,
) -> Result<ListShardsOutput, ServiceError> {
    let known = [
        "StreamName",
        "StreamARN",
        "NextToken",
        "ExclusiveStartShardId",
        "MaxResults",
        "StreamCreationTimestamp",
        "ShardFilter",
    ];
    only(SERVICE, &input, &known)?;
    let max = limit(input.max_results, PAGE);
    let (stream, after, filter) = match &input.next_token {
        Some(token) => go_on(service, call, &input, token).await?,
        None => begin(service, call, input)?,
    };
    let horizon = horizon(&stream, call.now);
    let from = stream.shards.partition_point(|shard| after.is_some_and(|after| shard.id <= after));
    let mut rest = stream.shards[from..].iter().filter(|shard| filter.passes(shard, horizon));
    let page: Vec<&Shard> = rest.by_ref().take(max).collect();
    let next_token = match page.last().filter(|_| rest.next().is_some()) {
        Some(last) => {
            let (name, id) = (stream.key.name.clone(), stream.id.number());
            Some(service.seal.seal_next(call.now, Rest { stream: name, id, after: last.id, filter }).await?)
        }
        None => None,
    };
    Ok(ListShardsOutput { shards: Some(page.into_iter().map(shown).collect()), next_token })
}

/// A stream, after which of its shards, and which of them.
type Listing = (std::sync::Arc<Stream>, Option<ShardId>, Filter);

fn begin(service: &DataStreams, call: &Call, input: ListShardsInput) -> Result<Listing, ServiceError> {
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    service.admit_on(&stream, "list_shards")?;
    let is_other = |time: Timestamp| time.millis() / 1_000 != stream.created.millis() / 1_000;
    if input.stream_creation_timestamp.is_some_and(is_other) {
        return Err(no_stream(&call.scope, &stream.key.name));
    }
    let start = input.exclusive_start_shard_id.as_deref().map(id).transpose()?;
    let (filter, after) = match input.shard_filter {
        Some(filter) => Filter::read(filter)?,
        None => (Filter::FromTrimHorizon, None),
    };
    Ok((stream, start.max(after), filter))
}

async fn go_on(
    service: &DataStreams,
    call: &Call,
    input: &ListShardsInput,
    token: &str,
) -> Result<Listing, ServiceError> {
    let others = input.stream_name.is_some()
        || input.exclusive_start_shard_id.is_some()
        || input.shard_filter.is_some()
        || input.stream_creation_timestamp.is_some();
    if others {
        return Err(invalid("NextToken and StreamName cannot be provided together."));
    }
    let rest: Rest = service.seal.open_next(call.now, token).await?;
    let stream = service.stream(call, Some(&rest.stream), input.stream_arn.as_deref())?;
    service.admit_on(&stream, "list_shards")?;
    if stream.id.number() != rest.id {
        return Err(invalid("Invalid NextToken."));
    }
    Ok((stream, Some(rest.after), rest.filter))
}
