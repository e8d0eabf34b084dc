//! The calls of Kinesis that `tidegate stream` makes, and the shapes of their answers.
//!
//! Promises that a call refused because the server is busy is made again for a while. Must not know what is printed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use base::{Arn, Clock, HashKey, RetryPolicy, ShardId, StreamName, SystemClock, SystemRng, Timestamp};
use bytes::Bytes;
use http::Method;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::client::{Client, Target};

/// How long a busy server is asked again.
pub const PATIENCE: RetryPolicy = RetryPolicy {
    first_delay: Duration::from_millis(100),
    max_delay: Duration::from_secs(5),
    max_attempts: None,
    max_age: Some(Duration::from_secs(30)),
};

/// A stream as a person names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum StreamAddress {
    /// By its name in the account and region that the keys and variables say.
    #[serde(rename = "StreamName")]
    Name(StreamName),
    /// By its ARN.
    #[serde(rename = "StreamARN")]
    Arn(Arn),
}

impl FromStr for StreamAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("arn:") {
            return text.parse().map(Self::Arn).map_err(|error| error.to_string());
        }
        text.parse().map(Self::Name).map_err(|error| error.to_string())
    }
}

impl fmt::Display for StreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Arn(arn) => arn.fmt(f),
        }
    }
}

/// What the server answered instead of doing it.
#[derive(Debug)]
pub struct Refusal {
    /// The error's code, such as `ResourceNotFoundException`.
    pub code: String,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message.trim_end_matches('.'), self.code)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// The refusal that an error is, if the server could be reached at all.
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }
}

/// Whether a refusal with this code passes by itself.
pub fn is_busy(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "KMSThrottlingException"
            | "ServiceUnavailable"
            | "InternalFailure"
            | "InternalFailureException"
    )
}

/// A client of the service.
#[derive(Clone)]
pub struct Kinesis {
    client: Client,
}

impl Kinesis {
    /// The client that the `AWS_…` variables describe.
    ///
    /// # Errors
    /// A variable is missing; the message says how to set it.
    pub fn from_environment() -> anyhow::Result<Self> {
        Ok(Self { client: Client::from_environment()? })
    }

    /// Makes a call, again while the server is busy.
    ///
    /// # Errors
    /// A [`Refusal`], or there is no answer.
    pub async fn call<O: DeserializeOwned>(&self, operation: &str, input: &impl Serialize) -> anyhow::Result<O> {
        let body = Bytes::from(serde_json::to_vec(input)?);
        let clock = SystemClock::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = self.once(operation, body.clone()).await;
            let busy = result.as_ref().err().and_then(Refusal::of).is_some_and(|refusal| is_busy(&refusal.code));
            match PATIENCE.next_delay(attempts, clock.instant(), &SystemRng).filter(|_| busy) {
                Some(delay) => clock.sleep(delay).await,
                None => return result,
            }
        }
    }

    async fn once<O: DeserializeOwned>(&self, operation: &str, body: Bytes) -> anyhow::Result<O> {
        let target = format!("Kinesis_20131202.{operation}");
        let target = Target {
            service: "kinesis",
            method: Method::POST,
            path: "/",
            headers: &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &target)],
        };
        let answer = self.client.call(&target, body).await?;
        if !answer.status().is_success() {
            return Err(refusal(&answer).into());
        }
        let body = if answer.body().is_empty() { b"{}" } else { answer.body().as_ref() };
        serde_json::from_slice(body).with_context(|| format!("the server's answer to {operation} cannot be understood"))
    }

    /// A call on one stream.
    ///
    /// # Errors
    /// Those of [`Self::call`]; that there is no such stream is said with what to do.
    pub async fn of_stream<O: DeserializeOwned>(
        &self,
        operation: &str,
        stream: &StreamAddress,
        more: Value,
    ) -> anyhow::Result<O> {
        let mut input = serde_json::to_value(stream)?;
        if let (Some(input), Value::Object(more)) = (input.as_object_mut(), more) {
            input.extend(more);
        }
        self.call(operation, &input).await.map_err(|error| match error.downcast::<Refusal>() {
            Ok(Refusal { code, message }) if code == "ResourceNotFoundException" && message.starts_with("Stream ") => {
                let message = message.trim_end_matches('.');
                let region = self.client.region();
                let message = format!("{message}; `tidegate stream ls` lists the streams of {region} (AWS_REGION)");
                Refusal { code, message }.into()
            }
            Ok(refusal) => refusal.into(),
            Err(error) => error,
        })
    }

    /// The region that is asked.
    pub fn region(&self) -> &str {
        self.client.region()
    }

    /// The stream as a whole.
    pub async fn summary(&self, stream: &StreamAddress) -> anyhow::Result<Summary> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            stream_description_summary: Summary,
        }
        let answer: Answer = self.of_stream("DescribeStreamSummary", stream, json!({})).await?;
        Ok(answer.stream_description_summary)
    }

    /// All shards that still hold records, in the order in which they were made.
    pub async fn shards(&self, stream: &StreamAddress) -> anyhow::Result<Vec<Shard>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            shards: Vec<Shard>,
            next_token: Option<String>,
        }
        let mut answer: Answer = self.of_stream("ListShards", stream, json!({})).await?;
        let mut shards = answer.shards;
        while let Some(token) = answer.next_token {
            answer = self.call("ListShards", &json!({ "NextToken": token })).await?;
            if answer.shards.is_empty() && answer.next_token.is_some() {
                bail!("the server's list of shards does not end");
            }
            shards.append(&mut answer.shards);
        }
        shards.sort_by_key(|shard| shard.shard_id);
        Ok(shards)
    }
}

fn refusal(answer: &http::Response<Bytes>) -> Refusal {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "__type", default)]
        code: String,
        #[serde(default, alias = "Message")]
        message: String,
    }
    let status = answer.status().as_u16();
    match serde_json::from_slice::<Body>(answer.body()) {
        Ok(Body { code, message }) if !code.is_empty() => {
            let code = code.rsplit('#').next().unwrap_or(&code).to_owned();
            let message = if message.is_empty() { "the server refuses".to_owned() } else { message };
            Refusal { code, message }
        }
        _ => {
            let text: String = String::from_utf8_lossy(answer.body()).chars().take(300).collect();
            Refusal { code: format!("status {status}"), message: format!("the server answered: {text}") }
        }
    }
}

/// A stream without its shards.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    pub stream_name: String,
    #[serde(rename = "StreamARN")]
    pub stream_arn: String,
    pub stream_status: String,
    pub stream_mode_details: Option<Mode>,
    pub retention_period_hours: u64,
    #[serde(deserialize_with = "seconds")]
    pub stream_creation_timestamp: Timestamp,
    pub encryption_type: Option<String>,
    pub key_id: Option<String>,
    pub open_shard_count: u64,
    #[serde(rename = "MaxRecordSizeInKiB")]
    pub max_record_size_in_kib: Option<u64>,
    #[serde(default)]
    pub enhanced_monitoring: Vec<Monitoring>,
}

impl Summary {
    /// `provisioned` or `on demand`.
    pub fn mode(&self) -> &'static str {
        Mode::in_words(self.stream_mode_details.as_ref())
    }

    /// Bytes that a record may have with its key.
    pub fn max_record_bytes(&self) -> usize {
        let kib = self.max_record_size_in_kib.unwrap_or(1_024);
        usize::try_from(kib.saturating_mul(1_024)).unwrap_or(usize::MAX)
    }
}

/// Who decides how many shards there are.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mode {
    stream_mode: String,
}

impl Mode {
    /// `provisioned` or `on demand`.
    pub fn in_words(mode: Option<&Self>) -> &'static str {
        match mode {
            Some(mode) if mode.stream_mode == "ON_DEMAND" => "on demand",
            _ => "provisioned",
        }
    }
}

/// Which metrics of single shards are kept.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Monitoring {
    #[serde(default)]
    pub shard_level_metrics: Vec<String>,
}

/// A shard.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shard {
    pub shard_id: ShardId,
    pub parent_shard_id: Option<ShardId>,
    pub adjacent_parent_shard_id: Option<ShardId>,
    pub hash_key_range: HashKeyRange,
    pub sequence_number_range: SequenceNumberRange,
}

impl Shard {
    /// Whether it takes records.
    pub fn is_open(&self) -> bool {
        self.sequence_number_range.ending_sequence_number.is_none()
    }

    /// The shards that it took over from: none, one after a split, two after a merge.
    pub fn parents(&self) -> impl Iterator<Item = ShardId> {
        self.parent_shard_id.into_iter().chain(self.adjacent_parent_shard_id)
    }
}

/// The hash keys of a shard, both ends included.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HashKeyRange {
    #[serde(deserialize_with = "hash_key")]
    pub starting_hash_key: HashKey,
    #[serde(deserialize_with = "hash_key")]
    pub ending_hash_key: HashKey,
}

/// The first and, of a closed shard, the last number it gave.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SequenceNumberRange {
    pub ending_sequence_number: Option<String>,
}

/// A time as the protocol writes it, in seconds.
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Timestamp::from_secs_f64(seconds).ok_or_else(|| D::Error::custom(format!("{seconds} is not a time")))
}

fn hash_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashKey, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Refusal {
        refusal(&http::Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap())
    }

    #[test]
    fn refusals_are_read_in_every_form() {
        let full = answer(400, r#"{"__type":"com.amazonaws.kinesis#ResourceInUseException","message":"Busy."}"#);
        assert_eq!(full.to_string(), "Busy (ResourceInUseException)");
        assert_eq!(answer(403, r#"{"__type":"Denied","Message":"no"}"#).to_string(), "no (Denied)");
        assert_eq!(answer(502, "<html>").to_string(), "the server answered: <html> (status 502)");
    }

    #[test]
    fn streams_are_named_or_addressed() {
        let text = |address: &str| serde_json::to_string(&address.parse::<StreamAddress>().unwrap()).unwrap();
        assert_eq!(text("events"), r#"{"StreamName":"events"}"#);
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/events";
        assert_eq!(text(arn), format!(r#"{{"StreamARN":"{arn}"}}"#));
        assert!("two words".parse::<StreamAddress>().is_err());
    }
}
