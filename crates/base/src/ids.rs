//! Identifiers as newtypes: a value of one of these types has passed its validator, wherever it is seen.
//!
//! Limits and alphabets are those of the AWS API reference of the service that names the thing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::InvalidId;

fn all(value: &str, extra: &[u8]) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, |$v:ident| $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str($v: &str) -> Result<Self, InvalidId> {
                if $valid { Ok(Self($v.into())) } else { Err(InvalidId::new($what, $v, $rule)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// An AWS account: twelve digits.
    AccountId, "account id", "twelve digits", |v| v.len() == 12 && v.bytes().all(|b| b.is_ascii_digit())
);
id!(
    /// A region, such as `eu-central-1`.
    Region, "region", "lower-case letters, digits and hyphens, as in us-east-1",
    |v| (1..=32).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
id!(
    /// A Kinesis data stream.
    StreamName, "stream name", "1 to 128 letters, digits, '_', '.' or '-'",
    |v| (1..=128).contains(&v.len()) && all(v, b"_.-")
);
id!(
    /// An EventBridge event bus.
    BusName, "event bus name", "1 to 256 letters, digits, '/', '_', '.' or '-'",
    |v| (1..=256).contains(&v.len()) && all(v, b"/_.-")
);
id!(
    /// An EventBridge rule.
    RuleName, "rule name", "1 to 64 letters, digits, '_', '.' or '-'",
    |v| (1..=64).contains(&v.len()) && all(v, b"_.-")
);
id!(
    /// An archive of an event bus.
    ArchiveName, "archive name", "1 to 48 letters, digits, '_', '.' or '-'",
    |v| (1..=48).contains(&v.len()) && all(v, b"_.-")
);
id!(
    /// A replay of an archive.
    ReplayName, "replay name", "1 to 64 letters, digits, '_', '.' or '-'",
    |v| (1..=64).contains(&v.len()) && all(v, b"_.-")
);
id!(
    /// A schedule of EventBridge Scheduler.
    ScheduleName, "schedule name", "1 to 64 letters, digits, '_', '.' or '-'",
    |v| (1..=64).contains(&v.len()) && all(v, b"_.-")
);
id!(
    /// A group of schedules.
    ScheduleGroupName, "schedule group name", "1 to 64 letters, digits, '_', '.' or '-'",
    |v| (1..=64).contains(&v.len()) && all(v, b"_.-")
);
id!(
    /// A Lambda function.
    FunctionName, "function name", "1 to 64 letters, digits, '_' or '-'",
    |v| (1..=64).contains(&v.len()) && all(v, b"_-")
);
id!(
    /// An SNS topic. A FIFO topic's ends with `.fifo`.
    TopicName, "topic name", "1 to 256 letters, digits, '_' or '-', the last five of a FIFO topic being .fifo",
    |v| {
        let plain = v.strip_suffix(".fifo").unwrap_or(v);
        v.len() <= 256 && !plain.is_empty() && all(plain, b"_-")
    }
);
id!(
    /// An SQS queue. A FIFO queue's ends with `.fifo`.
    QueueName, "queue name", "1 to 80 letters, digits, '_' or '-', the last five of a FIFO queue being .fifo",
    |v| {
        let plain = v.strip_suffix(".fifo").unwrap_or(v);
        v.len() <= 80 && !plain.is_empty() && all(plain, b"_-")
    }
);
id!(
    /// A Firehose delivery stream.
    DeliveryStreamName, "delivery stream name", "1 to 64 letters, digits, '_', '.' or '-'",
    |v| (1..=64).contains(&v.len()) && all(v, b"_.-")
);
id!(
    /// A bucket of the object store.
    BucketName, "bucket name", "3 to 63 lower-case letters, digits, '.' or '-', starting and ending with a letter or digit",
    |v| (3..=63).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
        && !v.contains("..")
        && !v.starts_with(['.', '-'])
        && !v.ends_with(['.', '-'])
);
id!(
    /// A search index.
    IndexName, "index name", "1 to 255 bytes of lower-case text without \\ / * ? \" < > | , # : or spaces, not starting with - _ +, not . or ..",
    |v| (1..=255).contains(&v.len())
        && v != "."
        && v != ".."
        && !v.starts_with(['-', '_', '+'])
        && !v.chars().any(|c| c.is_uppercase() || c.is_whitespace() || c.is_control() || "\\/*?\"<>|,#:".contains(c))
);
id!(
    /// The key that places a record on a shard.
    PartitionKey, "partition key", "1 to 256 characters", |v| !v.is_empty() && v.chars().nth(256).is_none()
);

/// Where a resource lives: an account and a region. Nothing is visible from another scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// The owning account.
    pub account: AccountId,
    /// The region that the call's signature named.
    pub region: Region,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.region)
    }
}

/// A shard of a stream, by its number in the stream; written `shardId-000000000042`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(u32);

impl ShardId {
    /// The shard of this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The shard's number in its stream.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

impl FromStr for ShardId {
    type Err = InvalidId;

    fn from_str(v: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("shard id", v, "shardId- and twelve digits");
        let digits = v.strip_prefix("shardId-").ok_or_else(invalid)?;
        if digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        digits.parse().map(Self).map_err(|_| invalid())
    }
}

impl Serialize for ShardId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShardId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_the_services_refuse() {
        assert!("a".repeat(129).parse::<StreamName>().is_err());
        assert!("sp ace".parse::<StreamName>().is_err());
        assert!("12345678901".parse::<AccountId>().is_err());
        assert!("Bucket".parse::<BucketName>().is_err());
        assert!("_hidden".parse::<IndexName>().is_err());
        assert!("../up".parse::<IndexName>().is_err());
        assert!("".parse::<PartitionKey>().is_err());
        assert!("é".repeat(256).parse::<PartitionKey>().is_ok());
    }

    #[test]
    fn a_long_refused_value_is_cut_in_the_message() {
        let error = "x y".repeat(1_000).parse::<StreamName>().unwrap_err();
        assert!(error.to_string().len() < 500);
    }

    #[test]
    fn shard_ids_read_back_as_written() {
        assert_eq!(ShardId::new(42).to_string(), "shardId-000000000042");
        assert_eq!("shardId-000000000042".parse(), Ok(ShardId::new(42)));
        assert!("shardId-42".parse::<ShardId>().is_err());
    }
}
