//! How a call says what it is about: streams by name or ARN, shards by id, consumers by ARN.
//!
//! Promises that an address of another account or region finds nothing. Must not know what is done with what it finds.

use base::{Arn, Scope, ShardId, StreamName};
use log::{Shard, Stream, StreamKey, StreamKind};
use wire::ServiceError;

use super::{invalid, no_resource};

/// The key of a data stream in the log.
pub(super) fn key(scope: &Scope, name: &str) -> StreamKey {
    StreamKey { kind: StreamKind::Kinesis, scope: scope.clone(), name: name.to_owned() }
}

pub(super) fn stream_arn(scope: &Scope, name: &str) -> String {
    Arn::new("kinesis", scope, format!("stream/{name}")).to_string()
}

pub(super) fn no_stream(scope: &Scope, name: &str) -> ServiceError {
    no_resource(format!("Stream {name} under account {} not found.", scope.account))
}

/// The stream's name in what a call gives: name, ARN, or both of one stream.
pub(super) fn stream_name(scope: &Scope, name: Option<&str>, arn: Option<&str>) -> Result<StreamName, ServiceError> {
    let from_arn = match arn.map(|text| resource(scope, text)).transpose()? {
        None => None,
        Some(Resource::Stream(name)) => Some(name),
        Some(Resource::Consumer(consumer)) => {
            return Err(invalid(format!("{} is not the ARN of a stream", consumer.arn(scope))));
        }
    };
    let text = match (name, from_arn) {
        (Some(name), Some(other)) if name != other => {
            return Err(invalid(format!("StreamARN and StreamName do not match: {other} and {name}")));
        }
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => name,
        (None, None) => return Err(invalid("StreamName or StreamARN must be provided")),
    };
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

/// A registered consumer's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ConsumerAddress {
    pub stream: String,
    pub name: String,
    /// Seconds since 1970 of its registration.
    pub epoch: i64,
}

impl ConsumerAddress {
    pub fn arn(&self, scope: &Scope) -> String {
        let Self { stream, name, epoch } = self;
        Arn::new("kinesis", scope, format!("stream/{stream}/consumer/{name}:{epoch}")).to_string()
    }

    pub fn not_found(&self, scope: &Scope) -> ServiceError {
        let Self { stream, name, epoch } = self;
        no_resource(format!(
            "Consumer {name} with creation timestamp {epoch} under stream {stream} and account {} not found.",
            scope.account
        ))
    }
}

/// What an ARN of the service stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Stream(String),
    Consumer(ConsumerAddress),
}

/// Reads an ARN of a stream or a consumer in this account and region.
pub(super) fn resource(scope: &Scope, text: &str) -> Result<Resource, ServiceError> {
    let arn: Arn = text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
    let neither = || invalid(format!("{text} is not the ARN of a stream or a consumer"));
    let path = arn.resource().strip_prefix("stream/").filter(|_| arn.service() == "kinesis").ok_or_else(neither)?;
    let found = match path.split_once('/') {
        None => Resource::Stream(path.to_owned()),
        Some((stream, rest)) => {
            let (name, epoch) = rest.strip_prefix("consumer/").and_then(|r| r.rsplit_once(':')).ok_or_else(neither)?;
            let epoch = epoch.parse().map_err(|_| neither())?;
            Resource::Consumer(ConsumerAddress { stream: stream.to_owned(), name: name.to_owned(), epoch })
        }
    };
    if arn.scope().as_ref() != Some(scope) {
        return Err(match found {
            Resource::Stream(name) => no_stream(scope, &name),
            Resource::Consumer(consumer) => consumer.not_found(scope),
        });
    }
    Ok(found)
}

/// The ARN of a consumer in this account and region.
pub(super) fn consumer(scope: &Scope, text: &str) -> Result<ConsumerAddress, ServiceError> {
    match resource(scope, text)? {
        Resource::Consumer(consumer) => Ok(consumer),
        Resource::Stream(_) => Err(invalid(format!("{text} is not the ARN of a consumer"))),
    }
}

/// The shard of this id, in the words of the reading operations.
pub(super) fn shard<'a>(scope: &Scope, stream: &'a Stream, text: &str) -> Result<&'a Shard, ServiceError> {
    let found = text.parse::<ShardId>().ok().and_then(|id| stream.shard(id));
    found.ok_or_else(|| {
        let (name, account) = (&stream.key.name, &scope.account);
        no_resource(format!("Shard {text} in stream {name} under account {account} does not exist"))
    })
}

/// The shard of this id, in the words of the operations that change shards.
pub(super) fn shard_to_change<'a>(scope: &Scope, stream: &'a Stream, text: &str) -> Result<&'a Shard, ServiceError> {
    let found = text.parse::<ShardId>().ok().and_then(|id| stream.shard(id));
    found.ok_or_else(|| no_shard(scope, stream, text))
}

/// What is said of a shard that cannot be changed because it is not there.
pub(super) fn no_shard(scope: &Scope, stream: &Stream, shard: &str) -> ServiceError {
    let (name, account) = (&stream.key.name, &scope.account);
    no_resource(format!("Could not find shard {shard} in stream {name} under account {account}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() }
    }

    #[test]
    fn a_consumer_s_arn_is_read_as_written() {
        let address = ConsumerAddress { stream: "s".into(), name: "c.1-a_b".into(), epoch: 1_700_000_000 };
        let arn = address.arn(&scope());
        assert_eq!(arn, "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c.1-a_b:1700000000");
        assert_eq!(consumer(&scope(), &arn).unwrap(), address);
        assert!(stream_name(&scope(), None, Some(&arn)).is_err());
    }

    #[test]
    fn what_is_no_address_of_ours_is_refused() {
        for (text, code) in [
            ("arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:000000000000:stream/s/other/c:1", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-east-1:000000000000:channel/s", "InvalidArgumentException"),
            ("arn:aws:sns:us-east-1:000000000000:stream/s", "InvalidArgumentException"),
            ("arn:aws:kinesis:us-west-1:000000000000:stream/s", "ResourceNotFoundException"),
            ("arn:aws:kinesis:us-east-1:000000000001:stream/s/consumer/c:1", "ResourceNotFoundException"),
        ] {
            assert_eq!(resource(&scope(), text).unwrap_err().code, code, "{text}");
        }
    }
}
