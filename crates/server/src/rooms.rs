//! The rooms of one server, opened in order and joined by their ports.
//!
//! Promises that what is opened later is closed earlier, so that no room loses what another still owes it. Must not
//! decide anything: which room gets which port is all that is said here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Env, ErrorKind, Kinded, TaskGroup};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use index::{Index, IndexConfig};
use log::{Log, LogConfig};
use state::Store;

use crate::auth::SessionStore;
use crate::config::Config;
use crate::services::{Identity, Services};

/// What the rooms stand on.
pub(crate) struct Foundation {
    pub config: Config,
    pub env: Env,
    /// The data folder.
    pub dir: PathBuf,
    /// Where this server answers, for functions and subscription links.
    pub endpoint: String,
    pub sessions: Arc<SessionStore>,
    /// Background work that lives as long as the server.
    pub tasks: TaskGroup,
}

/// Every room of a running server.
pub(crate) struct Rooms {
    log: Log,
    state: Arc<Store>,
    index: Index,
}

/// A room did not open or close.
#[derive(Debug, thiserror::Error)]
#[error("{room} cannot be {done}: {source}")]
pub struct RoomsError {
    room: &'static str,
    done: &'static str,
    kind: ErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Kinded for RoomsError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl RoomsError {
    fn opening<E: Kinded + Send + Sync + 'static>(room: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self { room, done: "opened", kind: source.kind(), source: Box::new(source) }
    }

    fn closing<E: Kinded + Send + Sync + 'static>(room: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self { room, done: "closed", kind: source.kind(), source: Box::new(source) }
    }
}

/// What requests reach.
pub(crate) struct Doors {
    pub services: Services,
    pub index: Index,
}

impl Rooms {
    /// Opens all rooms; each recovers what it left behind.
    pub async fn open(on: Foundation) -> Result<Self, RoomsError> {
        let Foundation { config, env, dir, .. } = &on;
        let state = Store::open(env, &dir.join("state.redb")).await.map_err(RoomsError::opening("state"))?;
        let log = Log::open(env, &dir.join("journal"), log_config(config)).await.map_err(RoomsError::opening("log"))?;
        let index = Index::open(env, &dir.join("index"), index_config(config)).await;
        let index = index.map_err(RoomsError::opening("index"))?;
        Ok(Self { log, state: Arc::new(state), index })
    }

    /// What requests reach.
    pub fn doors(&self) -> Doors {
        let absent = Arc::new(Absent);
        Doors {
            services: Services {
                kinesis: absent.clone(),
                events: absent.clone(),
                lambda: absent.clone(),
                sns: absent.clone(),
                firehose: absent,
                sts: Arc::new(Identity),
            },
            index: self.index.clone(),
        }
    }

    /// Closes all rooms, the last opened first.
    pub async fn stop(&self, _within: Duration) -> Result<(), RoomsError> {
        self.index.close().await;
        self.log.close().await.map_err(RoomsError::closing("log"))?;
        self.state.close().await;
        Ok(())
    }
}

struct Absent;
impl wire::kinesis::Kinesis for Absent {}
impl wire::events::Events for Absent {}
impl wire::lambda::Lambda for Absent {}
impl wire::sns::Sns for Absent {}
impl wire::firehose::Firehose for Absent {}

impl Doors {
    /// Everything measured, as Prometheus text.
    pub fn metrics(&self, env: &Env) -> http::Response<Bytes> {
        crate::metrics::process(env);
        let text = crate::metrics::install().map(|recorder| recorder.render()).unwrap_or_default();
        let mut response = http::Response::new(Bytes::from(text));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

fn log_config(config: &Config) -> LogConfig {
    let log = &config.log;
    LogConfig {
        segment_bytes: log.segment_bytes,
        queue_bytes: log.queue_bytes,
        tail_cache_bytes: log.tail_cache_bytes,
        index_cache_bytes: log.index_cache_bytes,
        ..LogConfig::default()
    }
}

fn index_config(config: &Config) -> IndexConfig {
    let index = &config.index;
    IndexConfig {
        writer_bytes: index.writer_bytes,
        max_indices: index.max_indices,
        search_threads: index.search_threads,
        ..IndexConfig::default()
    }
}
