//! Start and stop of the whole server.
//!
//! Promises the order: the folder is taken before it is read, the address before the rooms open (calls are told to
//! wait until they have), and at a stop calls end before the rooms that serve them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Env, ErrorKind, Kinded, TaskGroup};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::auth::{RootKey, RootKeyError, RootKeyOrigin, SessionStore};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError, Running};
use crate::edge::{ConnectionLimits, Listener, Tls, TlsError, certificates};
use crate::master_key::{self, MasterKeyError};
use crate::rooms::{Foundation, Rooms, RoomsError};

/// Of the time that a stop may take, what requests get to end in; the rooms get the rest.
const REQUESTS_SHARE: u32 = 2;

const CA_FILE: &str = "tls.ca_file";
/// Between two sweeps of expired sessions.
const SESSIONS_PERIOD: Duration = Duration::from_secs(60);
/// Between two foldings of the histograms' samples, which bounds their memory.
const METRICS_PERIOD: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    env: Env,
    dir: DataDir,
    running: Running,
    root_key: (RootKey, RootKeyOrigin),
    rooms: Rooms,
    app: Arc<App>,
    tasks: TaskGroup,
    accepting: CancellationToken,
    requests: TaskGroup,
    drain: Duration,
    tls: Option<Tls>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is no root key.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// There is no master key, or another one than before.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The certificate cannot be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be taken.
    #[error("cannot listen on {address}: {source}; stop what listens there, or give another --listen")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A room did not open.
    #[error(transparent)]
    Room(#[from] RoomsError),
}

impl Kinded for StartError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::DataDir(e) => e.kind(),
            Self::RootKey(e) => e.kind(),
            Self::MasterKey(e) => e.kind(),
            Self::Tls(e) => e.kind(),
            Self::Listen { .. } => ErrorKind::Conflict,
            Self::Room(e) => e.kind(),
        }
    }
}

/// What a stop could not finish in its time; a later start recovers it.
#[derive(Debug, thiserror::Error)]
#[error("stopped, but not cleanly: {0}")]
pub struct StopError(String);

impl Kinded for StopError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

impl Server {
    /// Takes the data folder and the address, opens the rooms, and serves.
    pub async fn start(config: Config, env: Env) -> Result<Self, StartError> {
        crate::metrics::install();
        let dir = DataDir::open(Arc::clone(&env.fs), &config.server.data_dir)?;
        let tls = certificate(&config, &env)?;
        let listener = bind(config.server.listen, tls.clone()).await?;
        // Not before: a start that fails would make the key that the next one is to show.
        let root_key = RootKey::find_or_make(&config.root, &env, dir.path())?;
        let master_key = master_key::find_or_make(&config.master, &env, dir.path())?;
        let endpoint = config.endpoint(listener.address());
        // Functions call from this machine, without having to trust the certificate or to know the name in it.
        let inside = match tls {
            None => None,
            Some(_) => Some(bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).await?),
        };
        let running = Running {
            endpoint: endpoint.clone(),
            region: config.account.region.to_string(),
            pid: std::process::id(),
            ca_file: ca_file(&config, &env)?,
        };
        let sessions =
            Arc::new(SessionStore::new(Arc::clone(&env.clock), Arc::clone(&env.rng), config.auth.max_sessions));
        let app = Arc::new(App::new(&config, env.clone(), root_key.0.clone(), Arc::clone(&sessions)));

        let (tasks, requests) = (task_group(&env), task_group(&env));
        let accepting = CancellationToken::new();
        let limits = ConnectionLimits {
            connections: config.server.max_connections,
            head_time: Duration::from_secs(config.server.header_seconds),
            stall_time: Duration::from_secs(config.server.stall_seconds),
        };
        let inside_endpoint = inside.as_ref().map(|listener| format!("http://{}", listener.address()));
        for listener in [Some(listener), inside].into_iter().flatten() {
            let serving = listener.serve(Arc::clone(&app), limits, Arc::clone(&env.clock), accepting.clone());
            requests.spawn_infallible("listener", serving);
        }

        let foundation = Foundation {
            config: config.clone(),
            env: env.clone(),
            dir: dir.path().to_owned(),
            inside_endpoint: inside_endpoint.unwrap_or_else(|| endpoint.clone()),
            endpoint,
            master_key,
            sessions: Arc::clone(&sessions),
            tasks: task_group(&env),
        };
        let rooms = match Rooms::open(foundation).await {
            Ok(rooms) => rooms,
            Err(error) => {
                accepting.cancel();
                requests.stop(Duration::from_secs(1)).await;
                return Err(error.into());
            }
        };
        crate::doctor::report(&rooms.functions);
        reconcile(&tasks, &env, "sessions", SESSIONS_PERIOD, move || crate::metrics::sessions(sessions.sweep()));
        reconcile(&tasks, &env, "metrics", METRICS_PERIOD, crate::metrics::upkeep);
        dir.announce(&running)?;
        app.ready(&rooms);
        let drain = Duration::from_secs(config.server.drain_seconds);
        Ok(Self { env, dir, running, root_key, rooms, app, tasks, accepting, requests, drain, tls })
    }

    /// Where it answers.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Reads the certificate again, for the connections to come. Without TLS there is nothing to read.
    pub fn reload_certificate(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload(&*self.env.fs))
    }

    /// Whether it speaks TLS.
    pub fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Where its data is.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// The root key, and whether it was made just now and is to be shown.
    pub fn root_key(&self) -> (&RootKey, RootKeyOrigin) {
        (&self.root_key.0, self.root_key.1)
    }

    /// Completes when a task failed that the server cannot do without; it should then be stopped.
    pub async fn failed(&self) {
        self.tasks.stopping().cancelled().await;
    }

    /// Stops accepting, lets requests end, commits checkpoints, syncs. Takes at most the configured time.
    pub async fn stop(self) -> Result<(), StopError> {
        let deadline = self.env.clock.instant() + self.drain;
        let mut unfinished = Vec::new();
        self.app.stopping();
        self.accepting.cancel();
        if !self.requests.stop(self.drain / REQUESTS_SHARE).await {
            unfinished.push("some requests had not ended".to_owned());
        }
        let left = deadline.saturating_sub(self.env.clock.instant());
        self.rooms.stop(left).await.unwrap_or_else(|e| unfinished.push(e.to_string()));
        if !self.tasks.stop(deadline.saturating_sub(self.env.clock.instant())).await {
            unfinished.push("some background tasks had not ended".to_owned());
        }
        self.dir.withdraw().unwrap_or_else(|e| unfinished.push(e.to_string()));
        if unfinished.is_empty() { Ok(()) } else { Err(StopError(unfinished.join("; "))) }
    }
}

fn certificate(config: &Config, env: &Env) -> Result<Option<Tls>, TlsError> {
    match (&config.tls.certificate_file, &config.tls.key_file) {
        (Some(certificate), Some(key)) => Tls::load(&*env.fs, certificate, key).map(Some),
        _ => Ok(None),
    }
}

/// The authority's file as clients in any folder find it; one that cannot be read would only be noticed there.
fn ca_file(config: &Config, env: &Env) -> Result<Option<PathBuf>, TlsError> {
    let Some(path) = &config.tls.ca_file else { return Ok(None) };
    certificates(&*env.fs, CA_FILE, path)?;
    let absolute = std::path::absolute(path);
    absolute.map(Some).map_err(|source| TlsError::Unreadable { key: CA_FILE, path: path.clone(), source })
}

async fn bind(address: SocketAddr, tls: Option<Tls>) -> Result<Listener, StartError> {
    Listener::bind(address, tls).await.map_err(|source| StartError::Listen { address, source })
}

fn task_group(env: &Env) -> TaskGroup {
    TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng))
}

/// Runs `work` on a period; when it last did is among the metrics.
fn reconcile(tasks: &TaskGroup, env: &Env, name: &'static str, period: Duration, work: impl Fn() + Send + 'static) {
    let (clock, stopping) = (Arc::clone(&env.clock), tasks.stopping());
    tasks.spawn_infallible(name, async move {
        while tokio::select! { () = clock.sleep(period) => true, () = stopping.cancelled() => false } {
            work();
            crate::metrics::reconciled(name, clock.now());
        }
    });
}
