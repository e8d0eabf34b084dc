//! A house with one crate in it: real log and state on a simulated disk, fakes for everything else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::fs::sim::SimFs;
use base::{
    AccountId, Arn, BusName, Clock, Env, ErrorKind, Event, HttpClient, HttpError, Invocation, Invoke, InvokeError,
    InvokeOutcome, Position, Scope, SeededRng, StateStore, SystemClock, TestClock, Timestamp,
};
use bytes::Bytes;
use flow::bus::{InputSpec, RuleSpec, RuleState, RuleTarget, TargetRetry};
use flow::topic::{Mail, MailError, Mailer, SignatureVersion, Signed, Signer};
use flow::{Flow, FlowConfig, FlowPorts, SearchDomains};
use http::{Request, Response, StatusCode};
use log::{Append, Log, LogConfig, NewRecord, ReadLimit, Record, ShardRef, Stream, StreamKey, StreamKind, StreamSpec};
use serde_json::Value;
use state::Store;

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

type Answer<T> = Box<dyn FnMut(&T) -> Reply + Send>;

/// What a fake answers.
pub enum Reply {
    /// Success, with this body.
    Ok(String),
    /// The function raised, or the endpoint answered this status.
    Status(u16),
    /// The endpoint asks for a pause of so many seconds.
    Pause(u32),
    /// It cannot be called now.
    Busy,
    /// Success after a second.
    Late(String),
    /// It never answers.
    Never,
}

struct Fake<T> {
    seen: Mutex<Vec<T>>,
    answer: Mutex<Answer<T>>,
}

impl<T> Default for Fake<T> {
    fn default() -> Self {
        Self { seen: Mutex::default(), answer: Mutex::new(Box::new(|_| Reply::Ok(String::new()))) }
    }
}

impl<T: Clone> Fake<T> {
    async fn call(&self, input: T) -> Reply {
        let reply = (self.answer.lock().unwrap())(&input);
        self.seen.lock().unwrap().push(input);
        match reply {
            Reply::Late(text) => {
                #[allow(clippy::disallowed_methods, reason = "virtual time of the paused runtime")]
                tokio::time::sleep(Duration::from_secs(1)).await;
                Reply::Ok(text)
            }
            Reply::Never => std::future::pending().await,
            other => other,
        }
    }
}

type Available = Box<dyn FnMut(&Arn) -> bool + Send>;

/// Functions: every one exists but `missing`.
#[derive(Default)]
pub struct Functions(Fake<Invocation>, Mutex<Option<Available>>);

impl Functions {
    pub fn answer(&self, answer: impl FnMut(&Invocation) -> Reply + Send + 'static) {
        *self.0.answer.lock().unwrap() = Box::new(answer);
    }

    /// Whether a function can take an event, asked each time.
    pub fn available(&self, available: impl FnMut(&Arn) -> bool + Send + 'static) {
        *self.1.lock().unwrap() = Some(Box::new(available));
    }

    pub fn calls(&self) -> Vec<Invocation> {
        self.0.seen.lock().unwrap().clone()
    }

    pub fn payloads(&self) -> Vec<String> {
        self.calls().iter().map(|c| String::from_utf8(c.payload.to_vec()).unwrap()).collect()
    }

    /// The data of each batch that was handed in, as texts.
    pub fn batches(&self) -> Vec<Vec<String>> {
        self.payloads().iter().map(|payload| batch_of(payload)).collect()
    }
}

/// The data of a Kinesis event, as texts.
pub fn batch_of(payload: &str) -> Vec<String> {
    use base64::Engine;
    let event: Value = serde_json::from_str(payload).unwrap();
    let records = event["Records"].as_array().unwrap();
    let text = |r: &Value| {
        let data = r["kinesis"]["data"].as_str().unwrap();
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
    };
    records.iter().map(text).collect()
}

#[async_trait]
impl Invoke for Functions {
    async fn invoke(&self, call: Invocation) -> Result<InvokeOutcome, InvokeError> {
        let request_id = call.request_id.clone().unwrap_or_default();
        let (payload, error) = match self.0.call(call).await {
            Reply::Ok(text) => (text, None),
            Reply::Busy => return Err(InvokeError { kind: ErrorKind::Throttled, message: "busy".into() }),
            _ => ("{}".to_owned(), Some("Unhandled".to_owned())),
        };
        Ok(InvokeOutcome {
            request_id,
            payload: payload.into(),
            error,
            log_tail: None,
            executed_version: "$LATEST".into(),
            duration: Duration::ZERO,
        })
    }

    async fn check(&self, function: &Arn) -> Result<(), InvokeError> {
        match function.resource() {
            "function:missing" => Err(InvokeError { kind: ErrorKind::NotFound, message: "no such function".into() }),
            _ if self.1.lock().unwrap().as_mut().is_some_and(|available| !available(function)) => {
                Err(InvokeError { kind: ErrorKind::Unavailable, message: "away".into() })
            }
            _ => Ok(()),
        }
    }
}

/// Where mails are taken: not those to `no…`, and none while it is closed.
#[derive(Default)]
pub struct PostOffice {
    taken: Mutex<Vec<Mail>>,
    attempts: AtomicUsize,
    closed: AtomicBool,
}

impl PostOffice {
    pub fn mails(&self) -> Vec<Mail> {
        self.taken.lock().unwrap().clone()
    }

    /// Mails that were brought, taken or not.
    pub fn attempts(&self) -> usize {
        self.attempts.load(Ordering::Relaxed)
    }

    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }
}

#[async_trait]
impl Mailer for PostOffice {
    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if self.closed.load(Ordering::Relaxed) {
            return Err(MailError::Failed("closed".into()));
        }
        if mail.to.starts_with("no") {
            return Err(MailError::Refused("no such mailbox".into()));
        }
        self.taken.lock().unwrap().push(mail);
        Ok(())
    }
}

/// Signs with what it signs.
struct Quill;

#[async_trait]
impl Signer for Quill {
    async fn sign(&self, version: SignatureVersion, text: String) -> Result<Signed, String> {
        let certificate_url = "https://127.0.0.1:4566/SimpleNotificationService-0.pem".into();
        Ok(Signed { signature: format!("{}:{text}", version.name()), certificate_url })
    }
}

/// Webhooks.
#[derive(Default)]
pub struct Web(Fake<Post>, Mutex<Duration>);

/// A request that was sent.
#[derive(Clone)]
pub struct Post {
    pub url: String,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Post {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Web {
    pub fn answer(&self, answer: impl FnMut(&Post) -> Reply + Send + 'static) {
        *self.0.answer.lock().unwrap() = Box::new(answer);
    }

    /// How long every answer takes from now on.
    pub fn take(&self, latency: Duration) {
        *self.1.lock().unwrap() = latency;
    }

    pub fn posts(&self) -> Vec<Post> {
        self.0.seen.lock().unwrap().clone()
    }

    /// The messages of the notifications, as they came.
    pub fn messages(&self) -> Vec<String> {
        let notifications = self.posts();
        let kind = |p: &&Post| p.header("x-amz-sns-message-type") == "Notification";
        notifications.iter().filter(kind).map(|p| p.json()["Message"].as_str().unwrap().to_owned()).collect()
    }
}

#[async_trait]
impl HttpClient for Web {
    fn may_be_plain(&self, host: &str) -> bool {
        host == "127.0.0.1"
    }

    async fn send(&self, request: Request<Bytes>, timeout: Duration) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        let post = Post { url: url.clone(), headers: request.headers().clone(), body };
        let latency = *self.1.lock().unwrap();
        #[allow(clippy::disallowed_methods, reason = "virtual time of the paused runtime")]
        let reply = tokio::time::timeout(timeout, async {
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            self.0.call(post).await
        });
        let reply = reply.await.unwrap_or(Reply::Busy);
        let status = match reply {
            Reply::Status(status) => StatusCode::from_u16(status).unwrap(),
            Reply::Pause(secs) => {
                let busy = Response::builder().status(429).header("retry-after", secs);
                return Ok(busy.body(Bytes::new()).unwrap());
            }
            Reply::Busy => return Err(HttpError { url, message: "no answer".into() }),
            _ => StatusCode::OK,
        };
        let body = if let Reply::Ok(text) = reply { Bytes::from(text) } else { Bytes::new() };
        Ok(Response::builder().status(status).body(body).unwrap())
    }
}

/// A search domain that refuses documents with the field `bad` and is away while told so.
#[derive(Default)]
pub struct Search {
    pub documents: Mutex<BTreeMap<(String, String), Value>>,
    pub requests: Mutex<usize>,
    /// The status of whole requests instead of 200.
    pub status: Mutex<Option<u16>>,
}

impl Search {
    pub fn texts(&self) -> Vec<String> {
        self.documents.lock().unwrap().values().map(Value::to_string).collect()
    }
}

#[async_trait]
impl SearchDomains for Search {
    async fn send(&self, _domain: &Arn, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        *self.requests.lock().unwrap() += 1;
        if let Some(status) = *self.status.lock().unwrap() {
            return Ok(Response::builder().status(status).body(Bytes::from_static(b"away")).unwrap());
        }
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let items: Vec<Value> = lines.chunks(2).map(|pair| self.index(&pair[0]["index"], &pair[1])).collect();
        let answer = serde_json::json!({"took": 1, "errors": false, "items": items});
        Ok(Response::new(answer.to_string().into()))
    }

    fn has(&self, domain: &Arn) -> bool {
        domain.service() == "es"
    }
}

impl Search {
    fn index(&self, action: &Value, document: &Value) -> Value {
        if document.get("bad").is_some() {
            let error = serde_json::json!({"type": "mapper_parsing_exception", "reason": "bad"});
            return serde_json::json!({"index": {"status": 400, "error": error}});
        }
        let text = |name: &str| action[name].as_str().unwrap().to_owned();
        self.documents.lock().unwrap().insert((text("_index"), text("_id")), document.clone());
        serde_json::json!({"index": {"status": 201}})
    }
}
