//! The search service: one request in, one response out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Env, Scope, TaskGroup};
use bytes::Bytes;
use http::Method;
use tokio::sync::Semaphore;

use crate::api::{Service, answer};
use crate::engine::{Registry, blocking};
use crate::error::EngineError;
use crate::http::{Format, Reply, Request};
use crate::{IndexConfig, IndexError};

/// Searches that may wait for others.
const WAITING_SEARCHES: usize = 256;
/// How long closing waits for commits under way.
const CLOSE_DEADLINE: Duration = Duration::from_secs(20);

/// The embedded search service. Clones are handles to the same one.
#[derive(Clone)]
pub struct Index {
    service: Arc<Service>,
    tasks: TaskGroup,
}

impl Index {
    /// Opens the service whose data is in the folder `dir`, which nobody else uses.
    pub async fn open(env: &Env, dir: &Path, config: IndexConfig) -> Result<Self, IndexError> {
        let tasks = TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng));
        let (running, waiting, kib) = (config.search_threads.max(1), WAITING_SEARCHES, config.intake_bytes / 1_024);
        let (opened, folder, group) = (env.clone(), dir.to_owned(), tasks.clone());
        let runtime = tokio::runtime::Handle::current();
        let open = move || {
            // Owners are tasks of this runtime.
            let _runtime = runtime.enter();
            Registry::open(&opened, &folder, config, group)
        };
        let failed = |source| IndexError::Io { dir: dir.display().to_string(), source };
        let lost = |error: EngineError| failed(std::io::Error::other(error.to_string()));
        let registry = blocking(open).await.map_err(lost)?.map_err(failed)?;
        let service = Service {
            env: env.clone(),
            registry,
            searches: Arc::new(Semaphore::new(running)),
            admitted: Arc::new(Semaphore::new(running + waiting)),
            intake: Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS))),
        };
        Ok(Self { service: Arc::new(service), tasks })
    }

    /// Answers one request of the Elasticsearch API for an account and region. Every outcome, failures too, is a
    /// response; a write is answered when it is durable and visible.
    pub async fn handle(&self, scope: &Scope, request: http::Request<Bytes>) -> http::Response<Bytes> {
        let with_body = request.method() != Method::HEAD;
        let mut request = match Request::parse(request) {
            Ok(request) => request,
            Err(error) => return Reply::from(error).into_response(&Format::default(), with_body),
        };
        let (format, reply) = match Format::take(&mut request.parameters) {
            Ok(format) => (format, answer(&self.service, scope, request).await),
            Err(error) => (Format::default(), Err(error)),
        };
        reply.unwrap_or_else(Reply::from).into_response(&format, with_body)
    }

    /// Finishes the commits under way and closes every index. Later writes are refused.
    pub async fn close(&self) {
        if !self.tasks.stop(CLOSE_DEADLINE).await {
            tracing::warn!("some indices did not close in time; what they acknowledged is durable all the same");
        }
    }
}
