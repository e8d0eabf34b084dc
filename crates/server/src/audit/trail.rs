//! The trail itself: records onto the bus and into the stream.
//!
//! Owns the data stream [`AUDIT_STREAM`] of the home region, which is made at the first start: one shard, 90 days. Nobody
//! but this module writes to it, and no call deletes it, divides it or shortens its retention; everything else about it
//! is as with other streams.
//! Promises that a record is durable on the bus and in the stream, or in neither, when [`Audit::record`] answers.

use std::sync::Arc;
use std::time::Duration;

use base::{AccountId, BusName, Env, ErrorKind, InvalidId, Kinded, PartitionKey, Principal, Region, Scope};
use bytes::Bytes;
use flow::{Buses, FlowError};
use log::{AUDIT_STREAM, Append, Log, LogError, NewRecord, ShardRef, StreamKey, StreamKind, StreamSpec};
use sources::{SourceError, cloudtrail};
use wire::Call;
use wire::access::{Names, asked};
use wire::data::Structure;
use wire::model::Operation;

use super::Selectors;
use super::kinds::kind;
use super::record::{Outcome, record, region};

/// What LookupEvents reaches back to ("LookupEvents").
const RETENTION: Duration = Duration::from_secs(90 * 86_400);
/// How long a journal that is overloaded is waited for: by then others have been told to slow down.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// A record could not be made or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    #[error("the audit trail cannot be written: {0}")]
    Log(#[from] LogError),
    #[error("the audit trail cannot be written: {0}")]
    Bus(#[from] FlowError),
    #[error("an audit record cannot be made: {0}")]
    Record(#[from] SourceError),
    #[error("an audit record cannot be made: {0}")]
    Json(#[from] serde_json::Error),
    #[error("an audit record cannot be made: {0}")]
    Id(#[from] InvalidId),
}

impl Kinded for AuditError {
    /// The caller is told to come again, whatever it was: the call may have been done.
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// The audit trail. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Audit {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub env: Env,
    pub log: Log,
    buses: Buses,
    bus: BusName,
    data: Selectors,
    /// Of the only shard, which is never another.
    pub shard: ShardRef,
}

impl Audit {
    /// Makes the stream if it is not there.
    pub async fn open(
        env: &Env,
        log: &Log,
        buses: &Buses,
        (account, home): (&AccountId, &Region),
        data: Selectors,
    ) -> Result<Self, AuditError> {
        let scope = Scope { account: account.clone(), region: home.clone() };
        let key = StreamKey { kind: StreamKind::Kinesis, scope, name: AUDIT_STREAM.to_owned() };
        let stream = log.ensure_stream(&key, StreamSpec { shards: 1, retention: RETENTION }).await?;
        let shard = stream.open_shards().next().ok_or_else(|| LogError::StreamNotFound(key.clone()))?.slot;
        let (env, log, buses, bus) = (env.clone(), log.clone(), buses.clone(), "default".parse()?);
        Ok(Self { inner: Arc::new(Inner { env, log, buses, bus, data, shard }) })
    }

    /// Whether calls of an operation make records.
    pub fn follows(&self, operation: &Operation) -> bool {
        !kind(operation).data || self.inner.data.contain(operation.service.model().name)
    }

    /// Records a call that has ended, of an operation that is followed. `input` is there when it could be read.
    pub async fn record(
        &self,
        call: &Call,
        operation: &'static Operation,
        input: Option<&dyn Structure>,
        outcome: Outcome<'_>,
        names: &dyn Names,
    ) -> Result<(), AuditError> {
        // What a link of a message does is not signed, and makes no record, as with the service ("Amazon SNS information in
        // CloudTrail").
        if call.principal == Principal::Anonymous {
            return Ok(());
        }
        let made = self.records(call, operation, input, outcome, names);
        let written = match made {
            Ok(records) => self.append(records).await,
            Err(error) => Err(error),
        };
        match &written {
            Ok(()) => crate::metrics::audited(),
            Err(error) => {
                crate::metrics::audit_failed();
                let (service, operation) = (operation.service.model().name, operation.name);
                tracing::error!(service, operation, request_id = call.request_id, %error, "a call has no audit record");
            }
        }
        written
    }

    /// The record for the stream (none for reading the trail itself) and, where somebody may see it there, for the bus.
    fn records(
        &self,
        call: &Call,
        operation: &'static Operation,
        input: Option<&dyn Structure>,
        outcome: Outcome<'_>,
        names: &dyn Names,
    ) -> Result<Vec<NewRecord>, AuditError> {
        let Inner { env, buses, bus, shard, .. } = &*self.inner;
        let now = env.clock.now();
        // It says when it was made, so that its way over the bus can be found.
        let id = env.rng.uuid_at(now);
        let partition_key: PartitionKey = id.parse()?;
        let kind = kind(operation);
        let mut record = record(call, operation, kind, input, outcome, (now, id));
        let about = input.filter(|_| kind.data).map(|input| asked(operation, &call.scope, input, names));
        if let Some(about) = about {
            // Whoever reads the trail would never come to its end.
            if kind.read_only && about.iter().any(|asked| asked.resource.ends_with(&format!(":stream/{AUDIT_STREAM}")))
            {
                return Ok(Vec::new());
            }
            record.names(operation, about);
        }
        let data = Bytes::from(serde_json::to_vec(&record)?);
        let event = cloudtrail::event(&data)?;
        let region = region(call, operation.service).parse()?;
        let scope = Scope { account: call.scope.account.clone(), region };
        let mut records = vec![NewRecord { shard: *shard, partition_key, explicit_hash_key: None, data }];
        records.extend(buses.beside(&scope, bus, &event)?);
        Ok(records)
    }

    /// Appends both records as one. A journal that is overloaded for a moment is waited for: the call was made.
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AuditError> {
        let Inner { env, log, .. } = &*self.inner;
        let append = Append { producer: None, records };
        let until = env.clock.instant() + PATIENCE;
        loop {
            match log.try_append(&append).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Throttled && env.clock.instant() < until => {
                    env.clock.sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
