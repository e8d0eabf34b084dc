//! The ports: by these traits rooms reach each other without knowing each other. `server` joins them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{AccountId, Arn, Clock, ErrorKind, Fs, Kinded, PartitionKey, Position, Rng, Timestamp};

/// Time, randomness and the file system, handed in together.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The file system.
    pub fs: Arc<dyn Fs>,
}

// ---- Targets: everything that can receive an event (design rule 5) ----

/// Names one internal producer for idempotent appends: one source shard on its way to one destination, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProducerId(pub u128);

/// One event on its way to a target.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The position of the source record in its log. Deliveries of one call are in ascending order.
    pub position: Position,
    /// What the target gets.
    pub payload: Bytes,
    /// Places the record, where the target is sharded; the target chooses when absent.
    pub partition_key: Option<PartitionKey>,
}

/// Why a target did not take an event.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct TargetError {
    /// Transient kinds are tried again; the others are final. After `Throttled` nothing of the batch is under way any
    /// more, other transient kinds leave that open until the same producer tries again.
    pub kind: ErrorKind,
    /// What happened, naming the target.
    pub message: String,
}

impl Kinded for TargetError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Something with an ARN that can receive events: a stream, a function, a topic, later a queue or a bus.
#[async_trait]
pub trait Target: Send + Sync {
    /// Takes a batch for `to`, in order. `Ok` means durably taken: a replay of the same positions by the same
    /// `producer` adds nothing twice. An error means that the batch may have been taken in part and can be sent again;
    /// how much of it was, [`Target::taken`] tells when nothing is under way any more.
    async fn deliver(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError>;

    /// Whether `to` exists and can receive, for checks at configuration time.
    async fn check(&self, to: &Arn) -> Result<(), TargetError>;

    /// Up to which position `to` has durably taken what `producer` delivered; none when it took nothing, or does not
    /// know.
    fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position>;
}

// ---- Functions ----

/// A call of a function.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The function, unqualified or with a version or alias.
    pub function: Arn,
    /// The event, as JSON.
    pub payload: Bytes,
    /// The request id to show; made when absent. Retries of one asynchronous event keep theirs.
    pub request_id: Option<String>,
    /// `Context.client_context`, base64 as it came.
    pub client_context: Option<String>,
    /// Whether the last 4 KB of the function's log are wanted.
    pub want_log: bool,
    /// The tracing header to pass on; made when absent.
    pub trace: Option<String>,
}

/// How a call of a function ended, when it was made at all.
#[derive(Debug, Clone)]
pub struct InvokeOutcome {
    /// The invocation's id.
    pub request_id: String,
    /// The function's answer, or the error document when `error` is there.
    pub payload: Bytes,
    /// `Unhandled` (the function raised, exited, timed out), as in the `X-Amz-Function-Error` header.
    pub error: Option<String>,
    /// The last 4 KB of its log, when wanted.
    pub log_tail: Option<String>,
    /// The version that ran, such as `$LATEST`.
    pub executed_version: String,
    /// How long it ran.
    pub duration: Duration,
}

impl InvokeOutcome {
    /// How the function failed, if it did: with the type of its error, but not its message, which its own log has.
    pub fn failure(&self) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Failed {
            error_type: String,
        }
        let error = self.error.as_ref()?;
        Some(match serde_json::from_slice::<Failed>(&self.payload) {
            Ok(failed) => format!("the function failed: {error}: {:.100}", failed.error_type),
            Err(_) => format!("the function failed: {error}"),
        })
    }
}

/// Why a function could not be called.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct InvokeError {
    /// `NotFound`, `Invalid`, `Throttled` (no environment free), `Unavailable`, …
    pub kind: ErrorKind,
    /// What happened, naming the function.
    pub message: String,
    /// The limit that was met, where it is that which throttled the call.
    pub limit: Option<ConcurrencyLimit>,
}

/// How many calls may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcurrencyLimit {
    /// Of one function, for which so many environments are set aside.
    Reserved,
    /// Of all that have nothing set aside, together or each.
    Common,
}

impl InvokeError {
    /// An error that is not about a limit.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), limit: None }
    }
}

impl Kinded for InvokeError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Calls functions.
#[async_trait]
pub trait Invoke: Send + Sync {
    /// Runs the function and waits for its answer.
    async fn invoke(&self, call: Invocation) -> Result<InvokeOutcome, InvokeError>;

    /// Whether the function exists, for checks at configuration time.
    async fn check(&self, function: &Arn) -> Result<(), InvokeError>;

    /// How long a call of the function may take, where that is known.
    async fn timeout(&self, _function: &Arn) -> Option<Duration> {
        None
    }

    /// Whether no environment is set aside for the function and it may have no other: it is not called until that changes.
    async fn is_stopped(&self, _function: &Arn) -> bool {
        false
    }

    /// The role that the function has, if it is there: what is done for it is done with that.
    fn role(&self, _function: &Arn) -> Option<Arn> {
        None
    }

    /// The queue or topic that gets the function's events which are given up, if it has one.
    async fn dead_letters(&self, _function: &Arn) -> Option<Arn> {
        None
    }
}

/// Where functions' output goes. Awaiting it is the back-pressure on a function that prints too much.
#[async_trait]
pub trait LogSink: Send + Sync {
    /// Appends lines (without line ends) to the function's log, in order.
    async fn write(&self, function: &Arn, stream: &str, lines: Vec<(Timestamp, String)>);
}

// ---- Who may call ----

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The owner's root key.
    Root,
    /// Nobody known: the call carries its own proof, as a subscription's confirmation link does.
    Anonymous,
    /// A user.
    User {
        /// `arn:aws:iam::ACCOUNT:user/PATH/NAME`.
        arn: Arn,
        /// Begins with `AIDA`.
        id: String,
    },
    /// A session of a role: of a function, of a service that acts for somebody, or of whoever assumed it.
    Session {
        /// `arn:aws:iam::ACCOUNT:role/PATH/NAME`.
        role: Arn,
        /// Begins with `AROA`; empty where the role was not known when the session was made: it is then whichever role
        /// has the name.
        role_id: String,
        /// The session's own name; a function's.
        name: String,
    },
    /// A service that acts for itself.
    Service {
        /// Such as `events.amazonaws.com`.
        name: String,
    },
}

impl Principal {
    /// As STS and denials name the caller.
    pub fn arn(&self, account: &AccountId) -> String {
        match self {
            Self::Root => format!("arn:aws:iam::{account}:root"),
            Self::Anonymous => "anonymous".to_owned(),
            Self::User { arn, .. } => arn.to_string(),
            Self::Session { role, name, .. } => {
                let role = role.resource().rsplit('/').next().unwrap_or_default();
                format!("arn:aws:sts::{account}:assumed-role/{role}/{name}")
            }
            Self::Service { name } => name.clone(),
        }
    }

    /// The unique id, as STS tells it: the account's for its owner, `AROA…:NAME` for a session.
    pub fn id(&self, account: &AccountId) -> String {
        match self {
            Self::Root => account.to_string(),
            Self::Anonymous => "anonymous".to_owned(),
            Self::User { id, .. } => id.clone(),
            Self::Session { role_id, name, .. } => format!("{role_id}:{name}"),
            Self::Service { name } => name.clone(),
        }
    }
}

/// What is asked for: an action such as `kinesis:PutRecord` on a resource (`*` when the call names none).
#[derive(Debug, Clone)]
pub struct Access<'a> {
    /// The caller.
    pub principal: &'a Principal,
    /// Service and operation.
    pub action: &'a str,
    /// The resource's ARN, or `*`.
    pub resource: &'a str,
    /// Condition keys and their values, such as `aws:SourceArn`.
    pub context: &'a [(&'a str, &'a str)],
}

/// The answer to an [`Access`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allow,
    /// It may not; the reason is shown to the caller.
    Deny(String),
}

/// Decides who may do what. Default deny.
pub trait Authorizer: Send + Sync {
    /// Decides one access.
    fn decide(&self, access: &Access<'_>) -> Decision;

    /// The session named `session` in which `service`, such as `lambda.amazonaws.com`, acts as `role`. Denied with the
    /// reason when there is no such role, or its trust policy does not let the service assume it.
    fn assume(&self, service: &str, role: &Arn, session: &str, context: &[(&str, &str)]) -> Result<Principal, String>;
}

/// Temporary credentials.
#[derive(Clone)]
pub struct SessionKeys {
    /// Begins with `ASIA`.
    pub access_key_id: String,
    /// Never shown in a log.
    pub secret_access_key: String,
    /// Must come with every call.
    pub session_token: String,
    /// Of no use afterwards.
    pub expires: Timestamp,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys({}, expires {})", self.access_key_id, self.expires)
    }
}

/// Issues temporary credentials.
pub trait Sessions: Send + Sync {
    /// Keys with which code of `function` calls as itself for `lifetime`.
    fn issue(&self, function: &Arn, role: &Arn, lifetime: Duration) -> SessionKeys;
}

// ---- HTTP out ----

/// An HTTP call that got no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no answer from {url}: {message}")]
pub struct HttpError {
    /// Where to: no more than scheme, host and port where the rest may hold secrets.
    pub url: String,
    /// What happened.
    pub message: String,
}

/// Makes HTTP calls for deliverers. Bounded in time and size.
#[async_trait]
pub trait HttpClient: Send + Sync {
    /// Whether a host may be called without TLS where the service demands it: it is an address of a network that the
    /// settings name.
    fn may_be_plain(&self, _host: &str) -> bool {
        false
    }

    /// Why a host is not called, as far as that is plain from how it is written: what names stand for is looked at with
    /// each call.
    fn check_host(&self, _host: &str) -> Result<(), String> {
        Ok(())
    }

    /// Sends and reads the whole answer; any status is an `Ok`.
    async fn send(&self, request: http::Request<Bytes>, timeout: Duration) -> Result<http::Response<Bytes>, HttpError>;
}

// ---- State ----

/// A table of the state store. Each room lists its own as constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Table(pub &'static str);

/// What must hold for a batch to be written.
#[derive(Debug, Clone)]
pub enum Precondition {
    /// The key has no value.
    Absent,
    /// The key has a value.
    Present,
    /// The key has this value.
    Equals(Vec<u8>),
}

/// One change.
#[derive(Debug, Clone)]
pub enum Write {
    /// Sets a key.
    Put(Table, Vec<u8>, Vec<u8>),
    /// Removes a key; absent is fine.
    Delete(Table, Vec<u8>),
}

/// Changes that become durable together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// All must hold, else nothing is written and the answer is a conflict.
    pub preconditions: Vec<(Table, Vec<u8>, Precondition)>,
    /// Applied in order.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn require(mut self, table: Table, key: impl Into<Vec<u8>>, condition: Precondition) -> Self {
        self.preconditions.push((table, key.into(), condition));
        self
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put(table, key.into(), value.into()));
        self
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, table: Table, key: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Delete(table, key.into()));
        self
    }
}

/// Why the state store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// A precondition did not hold; nothing was written.
    #[error("a precondition on a key of table {table} does not hold")]
    Conflict {
        /// The table of the key.
        table: &'static str,
    },
    /// Stored bytes cannot be read back.
    #[error("state is corrupt: {0}")]
    Corrupt(String),
    /// The store failed and must be reopened.
    #[error("state store unavailable: {0}")]
    Unavailable(String),
}

impl Kinded for StateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Unavailable(_) => ErrorKind::Unavailable,
        }
    }
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Durable configuration, checkpoints and tables: ordered keys and values. Reads see every committed batch.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Up to `limit` entries whose keys start with `prefix` and come after `after`, in key order.
    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StateError>;

    /// Writes all of the batch or nothing; `Ok` means durable. Concurrent batches share one fsync.
    async fn commit(&self, batch: Batch) -> Result<(), StateError>;
}
