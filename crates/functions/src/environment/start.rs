//! How an environment comes to be: package, folder, session keys, walls, listeners, process; then the driver.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Env, InvokeOutcome, LogSink};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::api::{self, Heard};
use super::driver::Driver;
use super::entry::{BOOTSTRAPS, Entry, Folders, NoEntry, entry};
use super::forward::forward;
use super::output::{Output, log_queue, write_log};
use super::place::{Building, Inside, Way, limits, refusal};
use super::plain::Plain;
use super::process::Process;
use super::report::{self, Failure, Usage};
use super::variables::{Surroundings, variables};
use super::walled::Walled;
use super::work::{Freed, Served, Work};
use crate::interpreter::Interpreters;
use crate::keyring::Keyring;
use crate::packages::{PackageFolder, Packages, blocking};
use crate::sandbox::{Ground, Start, User, Users, Walls};
use crate::{Config, Function, FunctionError, Network, metrics};

/// Calls of one process that wait for the driver.
const QUEUED_CALLS: usize = 8;

/// What an environment is made of.
pub(crate) struct Parts {
    pub env: Env,
    pub config: Arc<Config>,
    pub packages: Packages,
    pub interpreters: Arc<Interpreters>,
    pub keyring: Arc<Keyring>,
    pub walls: Arc<Walls>,
    pub users: Users,
    pub logs: Arc<dyn LogSink>,
    pub function: Arc<Function>,
    /// The function's layers, laid together.
    pub opt: Option<PackageFolder>,
    pub work: mpsc::Receiver<Work>,
    pub freed: Arc<dyn Fn(Freed) + Send + Sync>,
    pub stopping: CancellationToken,
}

/// Where the built-in bootstraps are.
pub(crate) fn runtime_dir(config: &Config) -> PathBuf {
    config.dir.join("runtime")
}

/// The folder of all temporary folders; what is in it at start is a leftover.
fn temporary_dir(config: &Config) -> PathBuf {
    config.dir.join("tmp")
}

/// Puts the built-in bootstraps where environments find them and removes leftovers of environments.
pub(crate) async fn write_bootstraps(env: &Env, config: &Config) -> Result<(), FunctionError> {
    let (env, runtime, temporary) = (env.clone(), runtime_dir(config), temporary_dir(config));
    blocking(move || {
        for dir in [&runtime, &temporary] {
            if env.fs.exists(dir).map_err(FunctionError::io(dir))? {
                env.fs.remove_dir_all(dir).map_err(FunctionError::io(dir))?;
            }
            env.fs.create_dir_all(dir).map_err(FunctionError::io(dir))?;
        }
        for (name, content) in BOOTSTRAPS {
            let path = runtime.join(name);
            env.fs.write_atomic(&path, content, 0o644).map_err(FunctionError::io(&path))?;
        }
        Ok(())
    })
    .await
}

/// Why there is no environment.
enum NoStart {
    /// The function's fault: the caller gets an outcome.
    Failed(Failure),
    /// Ours: the call is refused.
    Refused(FunctionError),
}

impl From<NoEntry> for NoStart {
    fn from(reason: NoEntry) -> Self {
        match reason {
            NoEntry::Package(failure) => Self::Failed(failure),
            NoEntry::Machine(error) => Self::Refused(error),
        }
    }
}

impl From<FunctionError> for NoStart {
    fn from(error: FunctionError) -> Self {
        Self::Refused(error)
    }
}

/// A process that has been started, with what it needs to live.
struct Started {
    process: Process,
    api: (TcpListener, Heard),
    /// The way from its network to the server, where it has its own.
    forward: Option<(TcpListener, Arc<str>)>,
    output: Output,
    log_stream: String,
    temporary: PathBuf,
    _package: PackageFolder,
}

/// Ends an environment that cannot be started.
pub(crate) fn refuse(parts: Parts, first: Work, error: FunctionError) {
    (parts.freed)(Freed::Ended);
    // A caller that does not wait any more gets no answer.
    let _ = first.answer.send(Served::Refused(error));
}

/// Starts an environment for `first` and runs it to its end.
pub(crate) async fn run(parts: Parts, first: Work) {
    let began = parts.env.clock.instant();
    let freed = Arc::clone(&parts.freed);
    match start(&parts).await {
        Ok(started) => drive(parts, started, first, began).await,
        Err(no_start) => {
            freed(Freed::Ended);
            let served = match no_start {
                NoStart::Refused(error) => Served::Refused(error),
                NoStart::Failed(failure) => Served::Done(failed(&parts, &first, &failure).await),
            };
            // A caller that does not wait any more gets no answer.
            let _ = first.answer.send(served);
        }
    }
    freed(Freed::Ended);
}

async fn start(parts: &Parts) -> Result<Started, NoStart> {
    let (function, config) = (&parts.function, &parts.config);
    if let Some(reason) = refusal(config, &parts.walls) {
        return Err(FunctionError::Unavailable(reason).into());
    }
    let package = parts.packages.folder(&function.scope, function.name.as_str(), &function.code).await?;
    let (task_root, runtime) = (absolute(package.path())?, absolute(&runtime_dir(config))?);
    let opt = parts.opt.as_ref().map(|opt| absolute(opt.path())).transpose()?;
    let id = format!("{:016x}{:016x}", parts.env.rng.u64(), parts.env.rng.u64());
    let log_stream = format!("{}[{}]{id}", parts.env.clock.now().format("%Y/%m/%d/"), function.version);
    let temporary = absolute(&temporary_dir(config).join(&id))?;
    let inside = match parts.walls.ground {
        Some(_) => Inside::walled(),
        None => Inside {
            task_root: task_root.clone(),
            opt: opt.clone().unwrap_or_default(),
            runtime: runtime.clone(),
            temporary: temporary.clone(),
        },
    };
    let folders = Folders { task_root, opt, inside };
    let entry = entry(&parts.env, &parts.interpreters, &function.settings, folders.clone()).await?;
    let (env, made) = (parts.env.clone(), temporary.clone());
    blocking(move || env.fs.create_dir_all(&made).map_err(FunctionError::io(&made))).await?;
    let site = Site { id, folders, runtime, temporary: temporary.clone() };
    match spawn(parts, site, entry, &log_stream).await {
        Ok((process, api, forward, output)) => {
            Ok(Started { process, api, forward, output, log_stream, temporary, _package: package })
        }
        Err(error) => {
            remove(&parts.env, temporary).await;
            let message = format!("no environment of function {} can be started: {error}", function.name);
            Err(FunctionError::Unavailable(message).into())
        }
    }
}

/// Where a new environment is.
struct Site {
    id: String,
    folders: Folders,
    runtime: PathBuf,
    temporary: PathBuf,
}

type Spawned = (Process, (TcpListener, Heard), Option<(TcpListener, Arc<str>)>, Output);

async fn spawn(parts: &Parts, site: Site, entry: Entry, log_stream: &str) -> std::io::Result<Spawned> {
    let (function, config) = (&parts.function, &parts.config);
    let own_network = parts.walls.ground.is_some() && config.network == Network::None;
    let way = own_network.then(|| Way::of(&config.endpoint_url)).transpose().map_err(std::io::Error::other)?;
    // On the machine's network the server opens the listener itself.
    let outside = if own_network { None } else { Some(TcpListener::bind("127.0.0.1:0").await?) };
    let runtime_api = match (&way, &outside) {
        (Some(way), _) => way.runtime_api,
        (None, Some(listener)) => listener.local_addr()?,
        (None, None) => return Err(std::io::ErrorKind::AddrNotAvailable.into()),
    };
    let keys = parts.keyring.keys(&function.arn(), &function.settings.role);
    let inside = &site.folders.inside;
    let surroundings = Surroundings {
        function,
        endpoint_url: way.as_ref().map_or(&config.endpoint_url, |way| &way.url),
        runtime_api: &runtime_api.to_string(),
        task_root: &inside.task_root,
        runtime_dir: &inside.runtime,
        temporary: &inside.temporary,
        opt: site.folders.opt.as_ref().map(|_| inside.opt.as_path()),
        entry: &entry,
        log_stream,
        keys: &keys,
    };
    let variables = variables(&surroundings);
    let entry = entry.wrapped(&function.settings, inside);
    let (output, writer) = Output::new()?;
    let Some(ground) = parts.walls.ground else {
        let (program, arguments) = (entry.program, entry.arguments);
        let start = Start { program, arguments, folder: site.folders.task_root, variables };
        let process = tokio::task::spawn_blocking(move || Plain::start(&start, writer)).await??;
        let listener = outside.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        return Ok((Process::Plain(process), (listener, Heard::User(own_user())), None, output));
    };
    let user = (ground == Ground::Root).then(|| parts.users.take());
    let number = user.as_ref().map_or(config.first_user, User::number);
    let (memory, temporary_bytes) = (function.settings.memory, function.settings.temporary.bytes());
    let (env, config, cgroups) = (parts.env.clone(), Arc::clone(config), parts.walls.cgroups.clone());
    let to_server = way.clone();
    let started = tokio::task::spawn_blocking(move || {
        let fs = &*env.fs;
        let bounds = limits(&config, memory, temporary_bytes);
        let group = cgroups.group(fs, &site.id, bounds).map_err(|error| (error, None))?;
        let building = Building {
            fs,
            config: &config,
            ground,
            user: number,
            group: Some(&group),
            counts_processes: cgroups.counts_processes(),
            root: &site.temporary,
            package: &site.folders.task_root,
            opt: site.folders.opt.as_deref(),
            runtime: &site.runtime,
            temporary_bytes,
            way: to_server.as_ref(),
            inside: &site.folders.inside,
        };
        let orders = building.orders(entry, variables);
        Walled::start(&config, &orders, group, user, writer)
    })
    .await?;
    let (process, listeners) = match started {
        Ok(started) => started,
        Err((error, walled)) => {
            if let Some(mut walled) = walled {
                // What became of it is said already.
                let _ = walled.end(&parts.env).await;
                walled.clean(&parts.env).await;
            }
            return Err(error);
        }
    };
    let mut listeners = listeners.into_iter().map(listening);
    let process = Process::Walled(process);
    let heard = if ground == Ground::Root { Heard::User(number) } else { Heard::User(own_user()) };
    match (way, outside, listeners.next(), listeners.next()) {
        (Some(way), _, Some(api), Some(endpoint)) => {
            Ok((process, (api?, Heard::All), Some((endpoint?, way.to.into())), output))
        }
        (_, Some(api), ..) => Ok((process, (api, heard), None, output)),
        _ => Err(std::io::Error::other("the environment opened no listeners")),
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn listening(listener: std::net::TcpListener) -> std::io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The process has another current folder than the server.
fn absolute(path: &Path) -> Result<PathBuf, FunctionError> {
    std::path::absolute(path).map_err(FunctionError::io(path))
}

async fn drive(parts: Parts, started: Started, first: Work, began: Duration) {
    metrics::cold_start(&parts.function);
    let (fs, (calls, api)) = (Arc::clone(&parts.env.fs), mpsc::channel(QUEUED_CALLS));
    let (log, queue) = log_queue();
    let write = write_log(Arc::clone(&parts.logs), parts.function.arn(), started.log_stream, queue);
    let driver = Driver {
        env: parts.env.clone(),
        function: parts.function,
        process: started.process,
        api,
        work: parts.work,
        output: started.output,
        log,
        freed: parts.freed,
        stopping: parts.stopping,
    };
    let (listener, heard) = started.api;
    let (inner, to) = started.forward.map_or_else(|| (None, Arc::from("")), |(inner, to)| (Some(inner), to));
    let run = async {
        tokio::select! {
            () = driver.run(first, began, parts.config.init_timeout) => {}
            () = api::serve(listener, heard, fs, calls) => {}
            () = forward(inner, to) => {}
        }
    };
    // The queue closes with the driver, so the last line is written before this ends.
    tokio::join!(run, write);
    remove(&parts.env, started.temporary).await;
}

async fn remove(env: &Env, folder: PathBuf) {
    let (env, shown) = (env.clone(), folder.display().to_string());
    let removed = blocking(move || env.fs.remove_dir_all(&folder).map_err(FunctionError::io(&folder))).await;
    if let Err(error) = removed {
        tracing::warn!(folder = shown, %error, "the temporary folder of a function could not be removed");
    }
}

/// The outcome and the log of a call whose process could not even be started.
async fn failed(parts: &Parts, work: &Work, failure: &Failure) -> InvokeOutcome {
    let usage =
        Usage { duration: Duration::ZERO, init: None, memory_mb: parts.function.settings.memory.mb(), used_bytes: 0 };
    let id = &work.request_id;
    let lines = vec![
        report::start_line(id, parts.function.version),
        failure.line(id),
        report::end_line(id),
        report::report_line(id, &usage, Some(failure)),
    ];
    let now = parts.env.clock.now();
    let log_tail = work.want_log.then(|| lines.join("\n") + "\n");
    let (day, version) = (now.format("%Y/%m/%d/"), parts.function.version);
    let stream = format!("{day}[{version}]{:016x}{:016x}", parts.env.rng.u64(), parts.env.rng.u64());
    parts.logs.write(&parts.function.arn(), &stream, lines.into_iter().map(|line| (now, line)).collect()).await;
    metrics::invocation(&parts.function, Duration::ZERO, true);
    InvokeOutcome {
        request_id: id.clone(),
        payload: failure.document(id),
        error: Some("Unhandled".to_owned()),
        log_tail,
        executed_version: version.to_string(),
        duration: Duration::ZERO,
    }
}
