//! Delivery streams: created, shown, deleted.
//!
//! Owns their documents in the state store and their limits ("CreateDeliveryStream", Firehose API Reference).
//! Promises that a delivery stream starts at the end of its source, fixed durably at creation, as the service does.

use base::{
    Arn, Batch, BucketName, DeliveryStreamName, ErrorKind, IndexName, Kinded, Precondition, Scope, StateError,
    StateStore, Table, Timestamp,
};
use log::{StreamKey, StreamKind};
use serde::{Deserialize, Serialize};

use super::permissions::Permissions;
use super::{Deliveries, direct};
use crate::FlowError;
use crate::checkpoint::Checkpoints;
use crate::stored;

const TABLE: Table = Table("flow.deliveries");
/// Default quota of the service.
const MAX_STREAMS: usize = 5_000;

/// How often a new index begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum IndexRotation {
    /// Never.
    NoRotation,
    /// `-YYYY-MM-dd-HH` is added to the name.
    OneHour,
    /// `-YYYY-MM-dd`.
    #[default]
    OneDay,
    /// `-YYYY-w##`, the ISO week.
    OneWeek,
    /// `-YYYY-MM`.
    OneMonth,
}

impl IndexRotation {
    /// The name of the index for a record that arrived then.
    pub fn index(self, name: &IndexName, arrival: Timestamp) -> String {
        let suffix = match self {
            Self::NoRotation => return name.to_string(),
            Self::OneHour => arrival.format("%Y-%m-%d-%H"),
            Self::OneDay => arrival.format("%Y-%m-%d"),
            Self::OneWeek => arrival.format("%G-w%V"),
            Self::OneMonth => arrival.format("%Y-%m"),
        };
        format!("{name}-{suffix}")
    }
}

/// What goes to the backup bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BackupMode {
    /// Documents that could not be indexed.
    #[default]
    FailedDocumentsOnly,
    /// Those, and every record as it came.
    AllDocuments,
}

/// By which of the API's two forms a destination was configured. They differ in name only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DomainFamily {
    /// `AmazonopensearchserviceDestinationConfiguration`.
    #[default]
    OpenSearch,
    /// `ElasticsearchDestinationConfiguration`.
    Elasticsearch,
}

/// Where records go, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Destination {
    /// Kept and shown.
    #[serde(default)]
    pub family: DomainFamily,
    /// The search domain.
    pub domain: Arn,
    /// The index, before rotation.
    pub index: IndexName,
    /// How often a new index begins.
    pub rotation: IndexRotation,
    /// Seconds that a record may wait for others, 0 to 900.
    pub buffer_secs: u32,
    /// Megabytes that are not waited for, 1 to 100.
    pub buffer_mb: u32,
    /// Seconds for which a destination that cannot take records is tried again, 0 to 7,200.
    pub retry_secs: u32,
    /// What goes to the bucket.
    pub backup: BackupMode,
    /// The backup bucket.
    pub bucket: BucketName,
    /// Goes before the names of objects.
    pub prefix: String,
    /// Goes before the names of objects with errors, instead of `prefix` and `elasticsearch-failed/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_prefix: Option<String>,
    /// What the domain is written to with.
    pub role: Arn,
    /// The same for the bucket.
    pub bucket_role: Arn,
}

/// What a delivery stream is created with.
#[derive(Debug, Clone)]
pub struct DeliverySpec {
    /// Its name.
    pub name: DeliveryStreamName,
    /// Where records come from.
    pub source: Source,
    /// Where records go.
    pub destination: Destination,
}

/// Where the records of a delivery stream come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// They are put on it. The throughput in MiB/s that its owner foresees is kept and shown, and does nothing, as at
    /// the service.
    Direct(Option<u32>),
    /// A Kinesis stream, and the role that it is read with.
    Stream(Arn, Arn),
}

/// A delivery stream as stored and shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryStream {
    /// Its name.
    pub name: DeliveryStreamName,
    /// This incarnation of the name, a UUID: part of its checkpoints' keys.
    pub incarnation: String,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub changed: Timestamp,
    /// Counts changes from 1.
    pub version: u32,
    /// The Kinesis stream that it reads; absent where records are put on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Arn>,
    /// What the source is read with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_role: Option<Arn>,
    /// Kept and shown, without a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_hint: Option<u32>,
    /// Where records go.
    pub destination: Destination,
}

/// The ARN of a delivery stream.
pub fn delivery_arn(scope: &Scope, name: &DeliveryStreamName) -> Arn {
    Arn::new("firehose", scope, format!("deliverystream/{name}"))
}

pub(super) fn all(state: &dyn StateStore) -> Result<Vec<(Scope, DeliveryStream)>, FlowError> {
    stored::list_scoped(state, TABLE)
}

/// The stream of a Kinesis stream's ARN.
fn source_key(arn: &Arn) -> Result<StreamKey, FlowError> {
    let name = arn.resource_of("stream").filter(|_| arn.service() == "kinesis");
    let key = arn.scope().zip(name).map(|(scope, name)| (scope, name.to_owned()));
    key.map(|(scope, name)| StreamKey { kind: StreamKind::Kinesis, scope, name })
        .ok_or_else(|| FlowError::Invalid(format!("{arn} is not the ARN of a Kinesis stream")))
}

pub(super) fn not_found(scope: &Scope, name: &DeliveryStreamName) -> FlowError {
    FlowError::NotFound(format!("Firehose {name} under account {} not found.", scope.account))
}

fn exists(scope: &Scope, name: &DeliveryStreamName) -> FlowError {
    FlowError::Conflict(format!("Firehose {name} under accountId {} already exists", scope.account))
}

impl DeliveryStream {
    pub(super) fn consumer_id(&self, scope: &Scope) -> String {
        format!("delivery:{scope}/{}/{}", self.name, self.incarnation)
    }

    /// What it reads: its source, or the log of what is put on it.
    pub(super) fn log_key(&self, scope: &Scope) -> Result<StreamKey, FlowError> {
        self.source.as_ref().map_or_else(|| Ok(direct::log_key(scope, self)), source_key)
    }
}

impl Destination {
    fn validate(&self) -> Result<(), FlowError> {
        let in_range = |what: &str, value: u32, range: std::ops::RangeInclusive<u32>| {
            let message = || format!("{what} must be {} to {}, not {value}", range.start(), range.end());
            if range.contains(&value) { Ok(()) } else { Err(FlowError::Invalid(message())) }
        };
        in_range("BufferingHints.IntervalInSeconds", self.buffer_secs, 0..=900)?;
        in_range("BufferingHints.SizeInMBs", self.buffer_mb, 1..=100)?;
        in_range("RetryOptions.DurationInSeconds", self.retry_secs, 0..=7_200)?;
        for prefix in [Some(&self.prefix), self.error_prefix.as_ref()].into_iter().flatten() {
            check_prefix(prefix)?;
        }
        Ok(())
    }
}

/// An object's name becomes a path below the bucket's folder, so it must not lead out of it.
fn check_prefix(prefix: &str) -> Result<(), FlowError> {
    let invalid = |why: &str| Err(FlowError::Invalid(format!("the prefix '{prefix:.100}' is not supported: {why}")));
    if prefix.len() > 512 {
        return invalid("it has more than 512 characters");
    }
    if prefix.contains("!{") {
        return invalid("expressions in prefixes are not evaluated yet");
    }
    if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/!-_.*'()=".contains(&b)) {
        return invalid("letters, digits and / ! - _ . * ' ( ) = can be used");
    }
    // The last piece goes before a name that follows, so only it may be empty.
    let mut pieces: Vec<&str> = prefix.split('/').collect();
    let last = pieces.pop().unwrap_or_default();
    if pieces.iter().any(|piece| matches!(*piece, "" | "." | ".."))
        || pieces.iter().chain([&last]).any(|p| p.len() > 200)
    {
        return invalid("its parts must be names of up to 200 characters");
    }
    Ok(())
}

impl Deliveries {
    pub(super) fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    fn key(scope: &Scope, name: &DeliveryStreamName) -> (Table, Vec<u8>) {
        (TABLE, stored::key(scope, &[name.as_str()]))
    }

    /// Creates a delivery stream and starts it.
    pub async fn create(&self, scope: &Scope, spec: DeliverySpec) -> Result<Arn, FlowError> {
        spec.destination.validate()?;
        let _turn = self.inner.turn.acquire().await;
        let domain = &spec.destination.domain;
        if domain.scope().as_ref() != Some(scope) || !self.inner.ports.search.has(domain) {
            return Err(FlowError::Invalid(format!(
                "Domain {domain} cannot be reached: a domain of this account and region is the embedded index; others \
                 are not supported yet"
            )));
        }
        if self.list(scope)?.len() >= MAX_STREAMS {
            return Err(FlowError::LimitExceeded(format!("an account has at most {MAX_STREAMS} delivery streams")));
        }
        if self.get(scope, &spec.name).is_ok() {
            return Err(exists(scope, &spec.name));
        }
        let env = &self.inner.ports.consumers.env;
        let now = env.clock.now();
        let (source, source_role, throughput_hint) = match spec.source {
            Source::Direct(hint) => (None, None, hint),
            Source::Stream(stream, role) => (Some(stream), Some(role), None),
        };
        let stream = DeliveryStream {
            name: spec.name.clone(),
            incarnation: env.rng.uuid(),
            created: now,
            changed: now,
            version: 1,
            source,
            source_role,
            throughput_hint,
            destination: spec.destination,
        };
        Permissions::new(scope, &stream, &self.inner.ports.roles).check()?;
        let log = &self.inner.ports.consumers.log;
        let source = match &stream.source {
            None => self.create_log(scope, &stream).await?,
            Some(arn) => log.stream(&source_key(arn)?).map_err(|error| match error.kind() {
                ErrorKind::NotFound => FlowError::Invalid(format!("Source stream {arn} was not found")),
                _ => error.into(),
            })?,
        };
        let (table, key) = Self::key(scope, &spec.name);
        let mut batch = Batch::new().require(table, key.clone(), Precondition::Absent);
        batch = batch.put(table, key, stored::encode("delivery stream", &stream)?);
        for shard in &source.shards {
            let tail = log.tail(shard.slot)?.next;
            batch.writes.push(Checkpoints::start_at(&stream.consumer_id(scope), source.id, shard.id, tail));
        }
        match self.state().commit(batch).await {
            Err(StateError::Conflict { .. }) => {
                self.delete_log(scope, &stream).await?;
                Err(exists(scope, &spec.name))
            }
            other => {
                other?;
                self.run(scope, &stream)?;
                Ok(delivery_arn(scope, &spec.name))
            }
        }
    }

    /// A delivery stream.
    pub fn get(&self, scope: &Scope, name: &DeliveryStreamName) -> Result<DeliveryStream, FlowError> {
        let (table, key) = Self::key(scope, name);
        stored::get(self.state(), table, &key)?.ok_or_else(|| not_found(scope, name))
    }

    /// The delivery streams of a scope, by name.
    pub fn list(&self, scope: &Scope) -> Result<Vec<DeliveryStream>, FlowError> {
        stored::list(self.state(), TABLE, &stored::scope_prefix(scope))
    }

    /// Stops and deletes a delivery stream. What it has not delivered stays in its source; what was put on it goes.
    pub async fn delete(&self, scope: &Scope, name: &DeliveryStreamName) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        let (table, key) = Self::key(scope, name);
        let row = self.state().get(table, &key)?.ok_or_else(|| not_found(scope, name))?;
        let stream: DeliveryStream = stored::decode(table, &key, &row)?;
        self.halt(&stream.consumer_id(scope)).await;
        if let Err(error) = self.forget(scope, &stream, row).await {
            // While it is still there it goes on.
            if self.get(scope, name).is_ok_and(|there| there.incarnation == stream.incarnation) {
                self.run(scope, &stream)?;
            }
            return Err(error);
        }
        self.delete_log(scope, &stream).await
    }

    /// Deletes what is stored of a delivery stream, if it is still that one.
    async fn forget(&self, scope: &Scope, stream: &DeliveryStream, row: Vec<u8>) -> Result<(), FlowError> {
        let (table, key) = Self::key(scope, &stream.name);
        let mut batch = Batch::new().require(table, key.clone(), Precondition::Equals(row)).delete(table, key);
        batch.writes.extend(self.inner.ports.consumers.checkpoints.forget(&stream.consumer_id(scope)).await?);
        Ok(self.state().commit(batch).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_rotate_by_the_records_arrival() {
        let name: IndexName = "events".parse().unwrap();
        let at: Timestamp = "2026-01-01T23:59:59Z".parse().unwrap();
        let of = |rotation: IndexRotation| rotation.index(&name, at);
        assert_eq!(of(IndexRotation::NoRotation), "events");
        assert_eq!(of(IndexRotation::OneHour), "events-2026-01-01-23");
        assert_eq!(of(IndexRotation::OneDay), "events-2026-01-01");
        assert_eq!(of(IndexRotation::OneWeek), "events-2026-w01");
        assert_eq!(of(IndexRotation::OneMonth), "events-2026-01");
    }

    #[test]
    fn a_prefix_stays_in_its_bucket() {
        for prefix in ["", "a/", "a/b=c/d", "failed-"] {
            assert!(check_prefix(prefix).is_ok(), "{prefix}");
        }
        for prefix in ["/a", "../x", "a/../../b/", "a//b", "!{timestamp:yyyy}/", "a\0b", "./a"] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
