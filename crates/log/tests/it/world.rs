//! A journal on a simulated disk, and what tests say about it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::fs::sim::SimFs;
use base::{Env, Position, Scope, SeededRng, TestClock, Timestamp};
use bytes::Bytes;
use tidegate_log::{
    Append, Log, LogConfig, LogError, NewRecord, Placed, ReadLimit, Record, ShardRef, Stream, StreamKey, StreamKind,
    StreamSpec,
};

pub const ALL: ReadLimit = ReadLimit { records: 10_000, bytes: 10 << 20 };
pub const DAY: Duration = Duration::from_secs(86_400);
pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub struct World {
    pub fs: SimFs,
    pub clock: Arc<TestClock>,
    pub env: Env,
    pub dir: PathBuf,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::on(SimFs::new(seed), seed)
    }

    /// A machine with this disk.
    pub fn on(fs: SimFs, seed: u64) -> Self {
        let clock = Arc::new(TestClock::at(START));
        let env = Env { clock: clock.clone(), rng: Arc::new(SeededRng::new(seed)), fs: Arc::new(fs.clone()) };
        Self { fs, clock, env, dir: "/data/journal".into() }
    }

    pub async fn open(&self) -> Log {
        self.open_with(LogConfig::default()).await
    }

    /// Segments of 2 KB, so that a few records fill one; retention only when asked for.
    pub async fn open_small(&self) -> Log {
        self.open_with(small()).await
    }

    pub async fn open_with(&self, config: LogConfig) -> Log {
        Log::open(&self.env, &self.dir, config).await.unwrap()
    }

    /// The names in the journal's folder that end so.
    pub fn names(&self, extension: &str) -> Vec<String> {
        use base::Fs;
        let entries = self.fs.read_dir(&self.dir).unwrap();
        entries.into_iter().map(|e| e.name).filter(|n| n.ends_with(extension)).collect()
    }
}

pub fn small() -> LogConfig {
    LogConfig { segment_bytes: 2_048, retention_period: DAY * 10_000, ..LogConfig::default() }
}

pub fn key(name: &str) -> StreamKey {
    let scope = Scope { account: "000000000000".parse().unwrap(), region: "eu-central-1".parse().unwrap() };
    StreamKey { kind: StreamKind::Kinesis, scope, name: name.into() }
}

pub async fn stream(log: &Log, name: &str, shards: u32) -> Arc<Stream> {
    log.ensure_stream(&key(name), StreamSpec { shards, retention: DAY }).await.unwrap()
}

pub fn slots(stream: &Arc<Stream>) -> Vec<ShardRef> {
    stream.shards.iter().map(|s| s.slot).collect()
}

pub fn record(shard: ShardRef, data: impl Into<Bytes>) -> NewRecord {
    NewRecord { shard, partition_key: "key".parse().unwrap(), explicit_hash_key: None, data: data.into() }
}

pub async fn put(log: &Log, shard: ShardRef, data: &str) -> Placed {
    try_put(log, shard, data).await.unwrap()
}

pub async fn try_put(log: &Log, shard: ShardRef, data: &str) -> Result<Placed, LogError> {
    let records = vec![record(shard, data.to_owned())];
    Ok(log.append(Append { producer: None, records }).await?[0])
}

/// Everything readable, from the start, however many reads it takes.
pub async fn read_all(log: &Log, shard: ShardRef) -> Vec<Record> {
    try_read_all(log, shard).await.unwrap()
}

pub async fn try_read_all(log: &Log, shard: ShardRef) -> Result<Vec<Record>, LogError> {
    let (mut from, mut records) = (Position::ZERO, Vec::new());
    loop {
        let slice = log.read(shard, from, ALL).await?;
        let end = slice.next == from || slice.next >= log.tail(shard)?.next;
        records.extend(slice.records);
        from = slice.next;
        if end {
            return Ok(records);
        }
    }
}

pub fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.data.to_vec()).unwrap()).collect()
}

/// Tries again until it succeeds; the clock of the test moves on meanwhile.
pub async fn eventually<T>(world: &World, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..10_000 {
        if let Some(done) = attempt().await {
            return done;
        }
        world.env.clock.sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about");
}

/// Runs one life of a process: its runtime ends with it, so that nothing of it works on.
pub fn life<T>(fs: &SimFs, seed: u64, run: impl AsyncFnOnce(World) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { run(World::on(fs.clone(), seed)).await })
}

/// A runtime with one thread for what blocks, on which the log writes: who has it decides when that is.
pub fn on_one_blocking_thread(run: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).max_blocking_threads(1).build().unwrap().block_on(run);
}

/// Takes that thread once the log has left it, until the answer is dropped.
pub async fn hold() -> std::sync::mpsc::Sender<()> {
    let (held, dropped) = std::sync::mpsc::channel();
    let (taken, is_taken) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        taken.send(()).unwrap();
        dropped.recv().is_err()
    });
    is_taken.await.unwrap();
    held
}
