//! The rooms of one server, opened in order and joined by their ports.
//!
//! Promises that what is opened later is closed earlier, so that no room loses what another still owes it. Must not
//! decide anything: which room gets which port is all that is said here.

mod policies;
mod search;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Env, ErrorKind, Kinded, MasterKey, StateStore, TaskGroup};
use bytes::Bytes;
use flow::{Flow, FlowConfig, FlowPorts};
use functions::Functions;
use http::header::{CONTENT_TYPE, HeaderValue};
use index::{Index, IndexConfig};
use log::{Log, LogConfig};
use state::Store;

use crate::audit::Audit;
use crate::auth::{Authority, SessionStore};
use crate::config::Config;
use crate::edge::{Outgoing, PooledClient, Trust};
use crate::endpoints::Endpoints;
use crate::identity::Identities;
use crate::logs::FunctionLogs;
use crate::mail::Mails;
use crate::services::Services;
use crate::signing::Signing;
use crate::streams::{Scaler, Streams, prometheus};
use policies::RoomPolicies;
use search::EmbeddedSearch;

/// What the rooms stand on.
pub(crate) struct Foundation {
    pub config: Config,
    pub env: Env,
    /// The data folder.
    pub dir: PathBuf,
    /// Where clients find this server, for the links of subscriptions.
    pub endpoint: String,
    /// Where functions find it.
    pub inside_endpoint: String,
    pub master_key: MasterKey,
    pub sessions: Arc<SessionStore>,
    /// In which functions' environments run, and what scales streams.
    pub tasks: TaskGroup,
}

/// Every room of a running server. Clones are handles to the same ones.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub env: Env,
    pub endpoints: Endpoints,
    pub state: Arc<Store>,
    pub identities: Identities,
    pub sessions: Arc<SessionStore>,
    pub authority: Authority,
    pub log: Log,
    pub streams: Streams,
    pub index: Index,
    pub functions: Functions,
    pub logs: FunctionLogs,
    pub signing: Signing,
    pub flow: Flow,
    pub audit: Audit,
    tasks: TaskGroup,
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

    fn late(room: &'static str) -> Self {
        let source = "it did not finish in its time; the next start recovers it".into();
        Self { room, done: "closed", kind: ErrorKind::Unavailable, source }
    }
}

/// What requests reach.
pub(crate) struct Doors {
    pub services: Services,
    pub rooms: Rooms,
}

impl Rooms {
    /// Opens all rooms; each recovers what it left behind.
    pub async fn open(on: Foundation) -> Result<Self, RoomsError> {
        let Foundation { config, env, dir, endpoint, inside_endpoint, master_key, sessions, tasks } = on;
        let state = Store::open(&env, &dir.join("state.redb")).await.map_err(RoomsError::opening("state"))?;
        let state = Arc::new(state);
        let store: Arc<dyn StateStore> = state.clone();
        let identities = Identities::open(&env, &store, &master_key, &config.account.id, &tasks);
        let identities = identities.map_err(RoomsError::opening("identities"))?;
        let signing = Signing::new(&env, &dir, &master_key, &endpoint);
        let log = Log::open(&env, &dir.join("journal"), log_config(&config, master_key.clone()))
            .await
            .map_err(RoomsError::opening("log"))?;
        let index = Index::open(&env, &dir.join("index"), index_config(&config)).await;
        let index = index.map_err(RoomsError::opening("index"))?;

        let streams = Streams::open(&env, &store, &log, &config.streams).await;
        let streams = streams.map_err(RoomsError::opening("streams"))?;
        Scaler::new(env.clone(), log.clone(), streams.clone()).start(&tasks);
        let kept = Duration::from_secs(u64::from(config.functions.log_days) * 86_400);
        let logs = FunctionLogs::start(&env, &log, kept);
        logs.retain().await.map_err(RoomsError::opening("logs"))?;
        let ports =
            functions::Ports { state: Arc::clone(&store), logs: Arc::new(logs.clone()), sessions: sessions.clone() };
        let settings = functions_config(&config, &dir, &inside_endpoint);
        let functions =
            Functions::open(&env, ports, settings, &tasks).await.map_err(RoomsError::opening("functions"))?;

        let settings = streams.settings.clone();
        let policies = Arc::new(RoomPolicies::new(functions.clone(), log.clone(), settings, Arc::clone(&store)));
        let authority = Authority::new(Arc::clone(&env.clock), identities.clone(), policies, config.identity.mode);
        let mails = Mails::new(&env, &dir, &config.mail).map_err(RoomsError::opening("mail"))?;
        let trust = Trust::of_this_machine().map_err(RoomsError::opening("flow"))?;
        let outgoing = Outgoing::new(&config.outgoing.networks, config.server.listen.ip().is_loopback());
        let ports = FlowPorts {
            env: env.clone(),
            log: log.clone(),
            state: store,
            invoke: Arc::new(functions.clone()),
            http: Arc::new(PooledClient::new(trust, outgoing)),
            master_key,
            signer: Arc::new(signing.clone()),
            mailer: Arc::new(mails),
            search: Arc::new(EmbeddedSearch::new(index.clone(), config.account.id.clone())),
            fanout: Arc::new(streams.fanout.clone()),
            authorizer: Arc::new(authority.clone()),
        };
        let settings = FlowConfig {
            queue_memory: config.queues.memory_bytes,
            bus_retention: Duration::from_secs(config.bus.retention_hours * 3_600),
            objects: dir.join("objects"),
            base_url: endpoint.clone(),
        };
        let flow = Flow::start(ports, settings).await.map_err(RoomsError::opening("flow"))?;
        let home = (&config.account.id, &config.account.region);
        let audit = Audit::open(&env, &log, &flow.buses, home, config.audit.data.clone()).await;
        let audit = audit.map_err(RoomsError::opening("audit"))?;
        let endpoints = Endpoints::new(&endpoint, &inside_endpoint);
        Ok(Self {
            env,
            endpoints,
            state,
            identities,
            sessions,
            authority,
            log,
            streams,
            index,
            functions,
            logs,
            signing,
            flow,
            audit,
            tasks,
        })
    }

    /// What requests reach.
    pub fn doors(&self) -> Doors {
        Doors { services: Services::new(self), rooms: self.clone() }
    }

    /// Closes all rooms, the last opened first. Goes on after a failure, and answers the first.
    pub async fn stop(&self, within: Duration) -> Result<(), RoomsError> {
        let mut ended = match self.flow.stop(within / 2).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(RoomsError::late("flow")),
            Err(error) => Err(RoomsError::closing("flow")(error)),
        };
        if !self.tasks.stop(within / 4).await {
            ended = ended.and(Err(RoomsError::late("functions")));
        }
        if !self.logs.stop(within / 8).await {
            ended = ended.and(Err(RoomsError::late("function logs")));
        }
        self.index.close().await;
        ended = ended.and(self.log.close().await.map_err(RoomsError::closing("log")));
        if !self.state.close().await {
            ended = ended.and(Err(RoomsError::late("state")));
        }
        ended
    }

    /// Everything measured, as Prometheus text.
    pub fn metrics(&self) -> http::Response<Bytes> {
        crate::metrics::process(&self.env);
        self.flow.lag.publish(self.env.clock.now());
        let mut text = crate::metrics::install().map(|recorder| recorder.render()).unwrap_or_default();
        text.push_str(&prometheus(&self.streams, &self.log));
        let mut response = http::Response::new(Bytes::from(text));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

fn log_config(config: &Config, master_key: MasterKey) -> LogConfig {
    let log = &config.log;
    LogConfig {
        segment_bytes: log.segment_bytes,
        queue_bytes: log.queue_bytes,
        tail_cache_bytes: log.tail_cache_bytes,
        index_cache_bytes: log.index_cache_bytes,
        master_key: Some(master_key),
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

/// What no function may see, wherever the operator keeps it.
fn secrets(config: &Config, dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let files = [&config.master.key_file, &config.tls.key_file, &config.mail.password_file];
    files.into_iter().flatten().cloned().chain([dir.to_owned()]).collect()
}

pub(crate) fn functions_config(config: &Config, dir: &std::path::Path, endpoint: &str) -> functions::Config {
    let (settings, runtimes) = (&config.functions, &config.runtimes);
    functions::Config {
        python_interpreter: Some(runtimes.python_interpreter.clone()),
        nodejs_interpreter: Some(runtimes.nodejs_interpreter.clone()),
        java_interpreter: Some(runtimes.java_interpreter.clone()),
        ruby_client: runtimes.ruby_client.clone(),
        dotnet_client: runtimes.dotnet_client.clone(),
        idle_timeout: Duration::from_secs(settings.idle_seconds),
        max_environments: settings.max_environments,
        max_environments_per_function: settings.max_environments_each,
        code_storage_bytes: settings.code_storage_bytes,
        init_timeout: Duration::from_secs(settings.init_seconds),
        session_lifetime: Duration::from_secs(settings.session_hours * 3_600),
        strictness: settings.sandbox,
        network: settings.network,
        first_user: settings.first_user,
        cap_processor: settings.processor_cap,
        readable: settings.readable.clone(),
        hidden: secrets(config, dir),
        ..functions::Config::new(dir.join("functions"), endpoint)
    }
}
