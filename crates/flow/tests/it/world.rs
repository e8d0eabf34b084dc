//! A house with one crate in it: real log and state on a simulated disk, fakes for everything else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::fs::sim::SimFs;
use base::{
    AccountId, Arn, BusName, Clock, Env, Event, Fs, Invocation, Position, Scope, SeededRng, StateStore, SystemClock,
    TestClock, Timestamp,
};
use bytes::Bytes;
use flow::bus::{InputSpec, RuleSpec, RuleState, RuleTarget, TargetRetry};
use flow::{Flow, FlowConfig, FlowPorts};
use log::{Append, Log, LogConfig, NewRecord, ReadLimit, Record, ShardRef, Stream, StreamKey, StreamKind, StreamSpec};
use state::Store;

use crate::fakes::{Consumers, Functions, Judge, PostOffice, Quill, Search, Web};

pub const DAY: Duration = Duration::from_secs(86_400);

pub fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

pub fn account() -> AccountId {
    scope().account
}

pub fn stream_arn(name: &str) -> Arn {
    Arn::new("kinesis", &scope(), format!("stream/{name}"))
}

/// A call of a function.
pub fn call(function: &str, payload: impl Into<Bytes>) -> Invocation {
    Invocation {
        function: function_arn(function),
        payload: payload.into(),
        request_id: None,
        client_context: None,
        want_log: false,
        trace: None,
    }
}

pub fn function_arn(name: &str) -> Arn {
    Arn::new("lambda", &scope(), format!("function:{name}"))
}

pub fn role() -> Arn {
    Arn::global("iam", &account(), "role/r")
}

pub fn default_bus() -> BusName {
    "default".parse().unwrap()
}

/// The world around one process: its disk, its clock and whom it talks to.
pub struct World {
    pub fs: SimFs,
    pub clock: Arc<TestClock>,
    pub env: Env,
    pub functions: Arc<Functions>,
    pub web: Arc<Web>,
    pub post: Arc<PostOffice>,
    pub search: Arc<Search>,
    pub consumers: Arc<Consumers>,
    pub judge: Arc<Judge>,
}

/// What outlives a process that ends without warning.
pub struct Outside {
    pub fs: SimFs,
    seed: Mutex<u64>,
    now: Mutex<Timestamp>,
    pub functions: Arc<Functions>,
    pub web: Arc<Web>,
    post: Arc<PostOffice>,
    search: Arc<Search>,
    consumers: Arc<Consumers>,
    pub judge: Arc<Judge>,
}

impl Outside {
    pub fn new(seed: u64) -> Self {
        Self {
            fs: SimFs::new(seed),
            seed: Mutex::new(seed),
            now: Mutex::new(start()),
            functions: Arc::default(),
            web: Arc::default(),
            post: Arc::default(),
            search: Arc::default(),
            consumers: Arc::default(),
            judge: Arc::default(),
        }
    }

    /// One life of the process: whatever it left running ends with it.
    pub fn life<T>(&self, run: impl AsyncFnOnce(&World) -> T) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let clock = Arc::new(TestClock::at(*self.now.lock().unwrap()));
            let seed = {
                let mut seed = self.seed.lock().unwrap();
                *seed += 1_000;
                *seed
            };
            let env = Env { clock: clock.clone(), rng: Arc::new(SeededRng::new(seed)), fs: Arc::new(self.fs.clone()) };
            let world = World {
                fs: self.fs.clone(),
                clock,
                env,
                functions: self.functions.clone(),
                web: self.web.clone(),
                post: self.post.clone(),
                search: self.search.clone(),
                consumers: self.consumers.clone(),
                judge: self.judge.clone(),
            };
            let result = run(&world).await;
            *self.now.lock().unwrap() = world.clock.now();
            result
        })
    }
}

fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

/// The house at work.
pub struct House {
    pub log: Log,
    pub state: Arc<Store>,
    pub flow: Flow,
}

impl World {
    /// Segments of the journal that are there.
    pub fn segments(&self) -> usize {
        let entries = self.fs.read_dir(Path::new("/data/journal")).unwrap();
        entries.iter().filter(|entry| entry.name.ends_with(".seg")).count()
    }

    pub fn new(seed: u64) -> Self {
        let fs = SimFs::new(seed);
        let clock = Arc::new(TestClock::at(start()));
        let env = Env { clock: clock.clone(), rng: Arc::new(SeededRng::new(seed)), fs: Arc::new(fs.clone()) };
        Self {
            fs,
            clock,
            env,
            functions: Arc::default(),
            web: Arc::default(),
            post: Arc::default(),
            search: Arc::default(),
            consumers: Arc::default(),
            judge: Arc::default(),
        }
    }

    pub fn objects() -> PathBuf {
        "/data/objects".into()
    }

    pub async fn open(&self) -> House {
        self.try_open().await.unwrap()
    }

    pub async fn try_open(&self) -> Result<House, Box<dyn std::error::Error>> {
        let config = LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() };
        let log = Log::open(&self.env, Path::new("/data/journal"), config).await?;
        let state = Arc::new(Store::open(&self.env, Path::new("/data/state.redb")).await?);
        let ports = FlowPorts {
            env: self.env.clone(),
            log: log.clone(),
            state: Arc::clone(&state) as Arc<dyn StateStore>,
            invoke: self.functions.clone(),
            http: self.web.clone(),
            master_key: base::MasterKey::new([7; 32]),
            signer: Arc::new(Quill),
            mailer: self.post.clone(),
            search: self.search.clone(),
            fanout: self.consumers.clone(),
            authorizer: self.judge.clone(),
        };
        let config = FlowConfig {
            bus_retention: DAY,
            objects: Self::objects(),
            queue_memory: 2 << 20,
            base_url: "http://127.0.0.1:4566".into(),
        };
        let flow = Flow::start(ports, config).await?;
        Ok(House { log, state, flow })
    }

    /// Lets virtual time pass.
    pub async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    /// All files below a folder of the objects, with their content.
    pub fn objects_below(&self, folder: &str) -> BTreeMap<String, String> {
        use base::Fs;
        let mut found = BTreeMap::new();
        let mut open = vec![Self::objects().join(folder)];
        while let Some(dir) = open.pop() {
            for entry in self.fs.read_dir(&dir).unwrap_or_default() {
                let path = dir.join(&entry.name);
                if entry.is_dir {
                    open.push(path);
                } else {
                    let content = String::from_utf8(self.fs.read(&path).unwrap()).unwrap();
                    found.insert(path.strip_prefix(Self::objects()).unwrap().display().to_string(), content);
                }
            }
        }
        found
    }
}

impl House {
    pub async fn stop(self) {
        assert!(self.flow.stop(Duration::from_secs(30)).await.unwrap(), "flow did not stop in time");
        self.log.close().await.unwrap();
        assert!(self.state.close().await);
    }

    pub fn key(name: &str) -> StreamKey {
        StreamKey { kind: StreamKind::Kinesis, scope: scope(), name: name.into() }
    }

    pub async fn stream(&self, name: &str, shards: u32) -> Arc<Stream> {
        self.log.ensure_stream(&Self::key(name), StreamSpec { shards, retention: DAY }).await.unwrap()
    }

    /// Puts records whose data are the texts and whose keys are the given one.
    pub async fn put(&self, stream: &str, key: &str, texts: &[&str]) {
        let stream = self.log.stream(&Self::key(stream)).unwrap();
        let key: base::PartitionKey = key.parse().unwrap();
        let record = |text: &&str| NewRecord {
            shard: stream.shard_for(&key, None).slot,
            partition_key: key.clone(),
            explicit_hash_key: None,
            data: Bytes::copy_from_slice(text.as_bytes()),
        };
        self.log.append(Append { producer: None, records: texts.iter().map(record).collect() }).await.unwrap();
    }

    /// Fills some segments of the journal with records that nobody needs after a day.
    pub async fn fill_segments(&self) {
        self.stream("other", 1).await;
        for _ in 0..20 {
            self.put("other", "k", &[&"x".repeat(200_000)]).await;
        }
    }

    /// Every record of a stream, shard by shard.
    pub async fn records(&self, key: &StreamKey) -> Vec<Record> {
        let mut all = Vec::new();
        for shard in &self.log.stream(key).unwrap().shards {
            all.extend(self.records_of(shard.slot).await);
        }
        all
    }

    /// Every record of a shard. One read answers what one segment has.
    pub async fn records_of(&self, shard: ShardRef) -> Vec<Record> {
        let (mut all, mut from) = (Vec::new(), Position::ZERO);
        loop {
            let limit = ReadLimit { records: 1_000, bytes: 1 << 20 };
            let slice = self.log.read(shard, from, limit).await.unwrap();
            if slice.records.is_empty() {
                return all;
            }
            from = slice.next;
            all.extend(slice.records);
        }
    }

    /// Waits until a stream has so many records; answers their data.
    pub async fn wait_for(&self, key: &StreamKey, count: usize) -> Vec<String> {
        let deadline = Deadline::new();
        loop {
            let records = self.records(key).await;
            if records.len() >= count {
                return records.iter().map(|r| String::from_utf8(r.data.to_vec()).unwrap()).collect();
            }
            deadline.check(&format!("{key} to have {count} records, not {}", records.len()));
            tokio::task::yield_now().await;
        }
    }

    /// A rule on the default bus with one target.
    pub async fn rule(&self, name: &str, pattern: &str, state: RuleState, target: RuleTarget) {
        let (scope, bus) = (scope(), default_bus());
        let rule = RuleSpec {
            name: name.parse().unwrap(),
            pattern: Some(pattern.into()),
            schedule: None,
            state,
            description: None,
            role: None,
        };
        self.flow.buses.put_rule(&scope, &bus, rule).await.unwrap();
        let failed = self.flow.buses.put_targets(&scope, &bus, &name.parse().unwrap(), vec![target]).await.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
    }

    pub async fn put_events(&self, events: &[Event]) {
        self.flow.buses.put_events(&scope(), &default_bus(), events).await.unwrap();
    }
}

pub fn target(arn: Arn) -> RuleTarget {
    RuleTarget {
        id: "t".into(),
        arn,
        input: InputSpec::Event,
        partition_key_path: None,
        retry: TargetRetry::default(),
        http: None,
        message_group: None,
        dead_letter: None,
        role: None,
        since: Position::ZERO,
    }
}

pub fn event(id: &str, source: &str, detail: &str) -> Event {
    Event {
        id: id.into(),
        detail_type: "AWS API Call via CloudTrail".into(),
        source: source.into(),
        account: account(),
        time: Timestamp::from_millis(0),
        region: scope().region,
        resources: Vec::new(),
        detail: Event::compact(detail).unwrap(),
    }
}

/// Gives up on a condition after so much real time.
pub struct Deadline {
    clock: SystemClock,
}

impl Deadline {
    pub fn new() -> Self {
        Self { clock: SystemClock::new() }
    }

    pub fn check(&self, what: &str) {
        assert!(self.clock.instant() < Duration::from_secs(30), "waited in vain for {what}");
    }
}

/// Waits for a condition without letting virtual time pass.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Deadline::new();
    while !condition() {
        deadline.check(what);
        tokio::task::yield_now().await;
    }
}
