//! Delivery streams: records of a stream, or those that are put on them, go into a search index, and are nowhere lost.
//!
//! Owns delivery streams as configured, one consumer for each, and the logs of those that have no other source.
//! Promises: every record becomes a document whose id is its shard and sequence number, so that a replay writes the
//! same again; what the index refuses, or does not take within the retry duration, is written to the backup bucket
//! before the place in the stream is left; the name of the index depends on the record's arrival alone.
//! Must not know how the index works: it is spoken to in `_bulk` through [`SearchDomains`].

mod backup;
mod bulk;
mod config;
mod direct;
mod handler;
mod permissions;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, HttpError, RetryPolicy, Scope, StateStore, TaskGroup};
use bytes::Bytes;
use tokio::sync::Semaphore;

pub use config::{
    BackupMode, DeliverySpec, DeliveryStream, Destination, DomainFamily, IndexRotation, Source, delivery_arn,
};
pub(crate) use direct::fits;
pub use direct::{DeliveryTarget, MAX_RECORD_BYTES};

use crate::consumer::{Consumer, Loop, Policy, Running, Start};
use crate::roles::Roles;
use crate::{FlowError, stored};
use backup::Bucket;
use handler::Indexer;
use permissions::Permissions;

/// Speaks HTTP to a search domain, signed as its service needs it. The domain of the own account is the embedded index.
#[async_trait]
pub trait SearchDomains: Send + Sync {
    /// Sends a request whose URI is a path, such as `/_bulk`, to a domain and reads the whole answer.
    async fn send(&self, domain: &Arn, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError>;

    /// Whether there is such a domain, for checks at configuration time.
    fn has(&self, domain: &Arn) -> bool;
}

/// Records in one batch: bounds memory where records are tiny.
const MAX_RECORDS: usize = 20_000;

/// What the deliveries work with.
#[derive(Clone)]
pub(crate) struct DeliveryPorts {
    pub consumers: Loop,
    pub state: Arc<dyn StateStore>,
    pub search: Arc<dyn SearchDomains>,
    pub roles: Roles,
    /// The folder of buckets.
    pub objects: PathBuf,
}

/// The room of delivery streams. Cloning gives another handle.
#[derive(Clone)]
pub struct Deliveries {
    inner: Arc<Inner>,
}

struct Inner {
    ports: DeliveryPorts,
    group: TaskGroup,
    /// By the consumer's id.
    running: Mutex<HashMap<String, Running>>,
    /// One is created or deleted at a time.
    turn: Semaphore,
}

impl Deliveries {
    pub(crate) fn new(ports: DeliveryPorts, group: &TaskGroup) -> Self {
        let inner = Inner { ports, group: group.child(), running: Mutex::new(HashMap::new()), turn: Semaphore::new(1) };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the consumers of all delivery streams.
    pub(crate) async fn restore(&self) -> Result<(), FlowError> {
        let known = config::all(&*self.inner.ports.state)?;
        self.restore_logs(&known).await?;
        for (scope, stream) in &known {
            stored::or_inactive(self.run(scope, stream), format!("the delivery stream {} of {scope}", stream.name))?;
        }
        self.inner.group.spawn_infallible("delivery logs", self.clone().release_logs());
        Ok(())
    }

    fn run(&self, scope: &Scope, stream: &DeliveryStream) -> Result<(), FlowError> {
        let ports = &self.inner.ports;
        let to = &stream.destination;
        let id = stream.consumer_id(scope);
        let mut running = self.running();
        if running.contains_key(&id) {
            return Ok(());
        }
        let handler = Indexer {
            name: stream.name.clone(),
            destination: to.clone(),
            permissions: Permissions::new(scope, stream, &ports.roles),
            search: Arc::clone(&ports.search),
            env: ports.consumers.env.clone(),
            bucket: Bucket::new(ports.consumers.env.fs.clone(), &ports.objects, &to.bucket),
        };
        let policy = Policy {
            records: MAX_RECORDS,
            bytes: to.buffer_mb as usize * (1 << 20),
            weigh: |record| record.data.len(),
            window: Duration::from_secs(to.buffer_secs.into()),
            in_flight: 1,
            retry: RetryPolicy {
                first_delay: Duration::from_millis(500),
                max_delay: Duration::from_secs(30),
                max_attempts: None,
                max_age: None,
            },
            // Records read are delivered or backed up, however old.
            max_age: None,
            bisect: false,
            lanes: 1,
            tumble: None,
        };
        let consumer = Consumer { id: id.clone(), source: stream.log_key(scope)?, start: Start::TrimHorizon, policy };
        let started = ports.consumers.start(self.inner.group.child(), consumer, Arc::new(handler));
        running.insert(id, started);
        Ok(())
    }

    async fn halt(&self, id: &str) {
        let running = self.running().remove(id);
        if let Some(running) = running {
            running.stop().await;
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
