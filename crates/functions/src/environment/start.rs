//! How an environment comes to be: package, temporary folder, listener, session keys, process; then the driver.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Env, InvokeOutcome, LogSink};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::api;
use super::driver::Driver;
use super::entry::{BOOTSTRAPS, Folders, NoEntry, entry};
use super::output::{Output, log_queue, write_log};
use super::process::{CommandLine, Process};
use super::report::{self, Failure, Usage};
use super::variables::{Surroundings, variables};
use super::work::{Freed, Served, Work};
use crate::interpreter::Interpreters;
use crate::keyring::Keyring;
use crate::packages::{PackageFolder, Packages, blocking};
use crate::{Config, Function, FunctionError, metrics};

/// Calls of one process that wait for the driver.
const QUEUED_CALLS: usize = 8;

/// What an environment is made of.
pub(crate) struct Parts {
    pub env: Env,
    pub config: Arc<Config>,
    pub packages: Packages,
    pub interpreters: Arc<Interpreters>,
    pub keyring: Arc<Keyring>,
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
    listener: TcpListener,
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
    let function = &parts.function;
    let package = parts.packages.folder(&function.scope, function.name.as_str(), &function.code).await?;
    let task_root = absolute(package.path())?;
    let runtime = absolute(&runtime_dir(&parts.config))?;
    let opt = parts.opt.as_ref().map(|opt| absolute(opt.path())).transpose()?;
    let folders = Folders { task_root: &task_root, opt: opt.as_deref(), runtime: &runtime };
    let entry = entry(&*parts.env.fs, &parts.interpreters, &function.settings, &folders).await?;
    let id = format!("{:016x}{:016x}", parts.env.rng.u64(), parts.env.rng.u64());
    let log_stream = format!("{}[{}]{id}", parts.env.clock.now().format("%Y/%m/%d/"), function.version);
    let temporary = absolute(&temporary_dir(&parts.config).join(&id))?;
    parts.env.fs.create_dir_all(&temporary).map_err(FunctionError::io(&temporary))?;
    let starting = async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let runtime_api = listener.local_addr()?.to_string();
        let keys = parts.keyring.keys(&function.arn(), &function.settings.role);
        let surroundings = Surroundings {
            function,
            endpoint_url: &parts.config.endpoint_url,
            runtime_api: &runtime_api,
            task_root: &task_root,
            runtime_dir: &runtime,
            temporary: &temporary,
            opt: opt.as_deref(),
            entry: &entry,
            log_stream: &log_stream,
            keys: &keys,
        };
        let variables = variables(&surroundings);
        let (output, writer) = Output::new()?;
        let line =
            CommandLine { program: entry.program, arguments: entry.arguments, folder: task_root.clone(), variables };
        let process = tokio::task::spawn_blocking(move || Process::start(&line, writer)).await??;
        std::io::Result::Ok((process, listener, output))
    };
    match starting.await {
        Ok((process, listener, output)) => {
            Ok(Started { process, listener, output, log_stream, temporary, _package: package })
        }
        Err(error) => {
            remove(&parts.env, temporary).await;
            let message = format!("no environment of function {} can be started: {error}", function.name);
            Err(FunctionError::Unavailable(message).into())
        }
    }
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
    let run = async {
        tokio::select! {
            () = driver.run(first, began, parts.config.init_timeout) => {}
            () = api::serve(started.listener, fs, calls) => {}
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
