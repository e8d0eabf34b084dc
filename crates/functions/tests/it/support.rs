//! A room of functions on a temporary folder, with the ports it needs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::{
    Arn, Batch, Env, Fs, Invocation, Invoke, InvokeError, InvokeOutcome, LogSink, Precondition, RealFs, Scope,
    SessionKeys, Sessions, StateError, StateStore, SystemClock, SystemRng, Table, TaskGroup, Timestamp,
    Write as Change,
};
use bytes::Bytes;
use functions::{Config, Function, FunctionError, Functions, NewFunction, Ports, Settings};
use serde_json::Value;
use zip::write::SimpleFileOptions;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

type Entries = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// A state store in memory.
#[derive(Default)]
pub struct MemoryState(Mutex<Entries>);

#[async_trait]
impl StateStore for MemoryState {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.lock().unwrap().get(&(table.0, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        let entries = self.0.lock().unwrap();
        let of_table = entries.iter().filter(|((t, key), _)| *t == table.0 && key.starts_with(prefix));
        let later = of_table.filter(|((_, key), _)| after.is_none_or(|after| key.as_slice() > after));
        Ok(later.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    async fn commit(&self, batch: Batch) -> Result<(), StateError> {
        let mut entries = self.0.lock().unwrap();
        for (table, key, condition) in batch.preconditions {
            let value = entries.get(&(table.0, key));
            let holds = match condition {
                Precondition::Absent => value.is_none(),
                Precondition::Present => value.is_some(),
                Precondition::Equals(expected) => value == Some(&expected),
            };
            if !holds {
                return Err(StateError::Conflict { table: table.0 });
            }
        }
        for write in batch.writes {
            match write {
                Change::Put(table, key, value) => _ = entries.insert((table.0, key), value),
                Change::Delete(table, key) => _ = entries.remove(&(table.0, key)),
            }
        }
        Ok(())
    }
}

/// Keeps every line.
#[derive(Default)]
pub struct MemoryLog(pub Mutex<Vec<String>>);

#[async_trait]
impl LogSink for MemoryLog {
    async fn write(&self, _function: &Arn, _stream: &str, lines: Vec<(Timestamp, String)>) {
        self.0.lock().unwrap().extend(lines.into_iter().map(|(_, line)| line));
    }
}

/// A log that never takes anything.
pub struct StuckLog;

#[async_trait]
impl LogSink for StuckLog {
    async fn write(&self, _function: &Arn, _stream: &str, _lines: Vec<(Timestamp, String)>) {
        std::future::pending::<()>().await;
    }
}

struct FixedSessions(Env);

impl Sessions for FixedSessions {
    fn issue(&self, function: &Arn, role: &Arn, lifetime: Duration) -> SessionKeys {
        SessionKeys {
            access_key_id: "ASIATEST".to_owned(),
            secret_access_key: format!("secret of {role}"),
            session_token: format!("token of {function}"),
            expires: self.0.clock.now() + lifetime,
        }
    }
}

/// Functions on a folder that goes with them.
pub struct Room {
    pub functions: Functions,
    pub log: Arc<MemoryLog>,
    pub state: Arc<MemoryState>,
    pub env: Env,
    pub tasks: TaskGroup,
    pub dir: PathBuf,
}

pub fn env() -> Env {
    Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) }
}

pub fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "eu-central-1".parse().unwrap() }
}

pub fn arn(name: &str) -> Arn {
    Arn::new("lambda", &scope(), format!("function:{name}"))
}

impl Room {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let log = Arc::new(MemoryLog::default());
        Self::build(change, Arc::clone(&log) as Arc<dyn LogSink>, log).await
    }

    pub async fn with_stuck_log() -> Self {
        Self::build(|_| {}, Arc::new(StuckLog), Arc::default()).await
    }

    async fn build(change: impl FnOnce(&mut Config), sink: Arc<dyn LogSink>, log: Arc<MemoryLog>) -> Self {
        let env = env();
        let dir = std::env::temp_dir().join(format!("tidegate-functions-{:016x}", env.rng.u64()));
        let tasks = TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng));
        let state = Arc::new(MemoryState::default());
        let mut config = config(&dir);
        change(&mut config);
        let functions = open(&env, &state, sink, config, &tasks).await;
        Self { functions, log, state, env, tasks, dir }
    }

    /// Another room on the same state and folder, as after a restart.
    pub async fn reopened(&self) -> Functions {
        open(&self.env, &self.state, Arc::clone(&self.log) as Arc<dyn LogSink>, config(&self.dir), &self.tasks).await
    }

    /// A folder beside that of the functions, in which no function sees anything unless it is shown.
    pub fn beside(&self) -> PathBuf {
        beside(&self.dir)
    }

    /// Creates a Python function of one file.
    pub async fn python(&self, name: &str, source: &str) -> Arc<Function> {
        self.python_with(name, source, |_| {}).await
    }

    pub async fn python_with(&self, name: &str, source: &str, change: impl FnOnce(&mut Settings)) -> Arc<Function> {
        let archive = zip(&[("app.py", source.as_bytes(), 0o644)]);
        self.create(name, "python3.12", "app.handler", archive, change).await.unwrap()
    }

    pub async fn create(
        &self,
        name: &str,
        runtime: &str,
        handler: &str,
        archive: Bytes,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Arc<Function>, FunctionError> {
        let mut settings = settings(runtime, handler);
        change(&mut settings);
        let new = NewFunction { name: name.parse().unwrap(), settings, tags: BTreeMap::new(), publish: false };
        self.functions.create(&scope(), new, archive).await
    }

    pub async fn call(&self, name: &str, payload: &str) -> InvokeOutcome {
        self.try_call(name, payload).await.unwrap()
    }

    pub async fn try_call(&self, name: &str, payload: &str) -> Result<InvokeOutcome, InvokeError> {
        let call = Invocation {
            function: arn(name),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            request_id: None,
            client_context: None,
            want_log: true,
            trace: None,
        };
        tokio::time::timeout(PATIENCE, self.functions.invoke(call)).await.expect("the call ends in time")
    }

    /// The lines of the log, once one of them contains `text`.
    pub async fn lines_with(&self, text: &str) -> Vec<String> {
        self.until(|| {
            let lines = self.log.0.lock().unwrap();
            lines.iter().any(|line| line.contains(text)).then(|| lines.clone())
        })
        .await
    }

    /// What `look` finds, once it finds something.
    pub async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        let start = self.env.clock.instant();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(self.env.clock.instant() - start < PATIENCE, "the condition does not come true");
            self.env.clock.sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The folder beside.
pub fn beside(dir: &Path) -> PathBuf {
    dir.with_extension("beside")
}

fn config(dir: &Path) -> Config {
    let launcher = env!("CARGO_BIN_EXE_functions-environment").into();
    Config { launcher, ..Config::new(dir, "http://127.0.0.1:4566") }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
        for dir in [self.dir.clone(), self.beside()] {
            if RealFs.exists(&dir).unwrap_or(false)
                && let Err(error) = RealFs.remove_dir_all(&dir)
            {
                println!("{} stays: {error}", dir.display());
            }
        }
    }
}

async fn open(
    env: &Env,
    state: &Arc<MemoryState>,
    logs: Arc<dyn LogSink>,
    config: Config,
    tasks: &TaskGroup,
) -> Functions {
    let sessions = Arc::new(FixedSessions(env.clone()));
    let ports = Ports { state: Arc::clone(state) as Arc<dyn StateStore>, logs, sessions };
    Functions::open(env, ports, config, tasks).await.unwrap()
}

pub fn settings(runtime: &str, handler: &str) -> Settings {
    Settings {
        runtime: runtime.parse().unwrap(),
        role: "arn:aws:iam::000000000000:role/test".parse().unwrap(),
        handler: handler.to_owned().try_into().unwrap(),
        description: String::new(),
        timeout: Default::default(),
        memory: 256.try_into().unwrap(),
        temporary: Default::default(),
        variables: Default::default(),
        dead_letters: None,
        layers: Vec::new(),
    }
}

/// A zip of files with their modes.
pub fn zip(files: &[(&str, &[u8], u32)]) -> Bytes {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content, mode) in files {
        writer.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner().into()
}

pub fn json(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(payload)))
}

/// How many processes of an environment live, by the name of its log stream, which it has among its variables. A zombie
/// has none any more.
pub fn living(stream: &str) -> usize {
    let variable = format!("AWS_LAMBDA_LOG_STREAM_NAME={stream}");
    // A process that goes while the folder is being read fails the reading.
    let processes = loop {
        if let Ok(processes) = RealFs.read_dir(Path::new("/proc")) {
            break processes;
        }
    };
    let numbers = processes.into_iter().filter(|entry| entry.name.bytes().all(|b| b.is_ascii_digit()));
    numbers.filter(|entry| contains(&format!("/proc/{}/environ", entry.name), variable.as_bytes())).count()
}

/// Whether a file of `/proc` that may go at any moment contains something.
fn contains(path: &str, wanted: &[u8]) -> bool {
    let Ok(file) = RealFs.open(Path::new(path), base::OpenMode::Read) else { return false };
    let mut content = vec![0; 64 << 10];
    let read = file.read_at(&mut content, 0).unwrap_or(0);
    content[..read].windows(wanted.len()).any(|window| window == wanted)
}
