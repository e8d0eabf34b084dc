//! Fakes of what flow reaches by its ports: functions, the web, the mail server, the signer and search.
//!
//! Each keeps what it was given and answers what a test says. Must not know what flow makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base::{
    Access, Arn, Authorizer, Decision, ErrorKind, HttpClient, HttpError, Invocation, Invoke, InvokeError,
    InvokeOutcome, Principal,
};
use bytes::Bytes;
use flow::SearchDomains;
use flow::mapping::{StreamConsumer, StreamConsumers};
use flow::topic::{Mail, MailError, Mailer, SignatureVersion, Signed, Signer};
use http::{Request, Response, StatusCode};
use serde_json::Value;

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
    /// Success after so long.
    After(Duration, String),
    /// The function raises after so long.
    Raise(Duration),
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
            Reply::Late(text) => later(Duration::from_secs(1), Reply::Ok(text)).await,
            Reply::After(time, text) => later(time, Reply::Ok(text)).await,
            Reply::Raise(time) => later(time, Reply::Status(500)).await,
            Reply::Never => std::future::pending().await,
            other => other,
        }
    }
}

async fn later(time: Duration, reply: Reply) -> Reply {
    #[allow(clippy::disallowed_methods, reason = "virtual time of the paused runtime")]
    tokio::time::sleep(time).await;
    reply
}

type Available = Box<dyn FnMut(&Arn) -> bool + Send>;

/// Functions: every one exists but `missing`.
#[derive(Default)]
pub struct Functions(
    Fake<Invocation>,
    Mutex<Option<Available>>,
    Mutex<Option<Arn>>,
    Mutex<Option<Duration>>,
    Mutex<(bool, Vec<Arn>)>,
);

impl Functions {
    pub fn answer(&self, answer: impl FnMut(&Invocation) -> Reply + Send + 'static) {
        *self.0.answer.lock().unwrap() = Box::new(answer);
    }

    /// Whether a function can take an event, asked each time.
    pub fn available(&self, available: impl FnMut(&Arn) -> bool + Send + 'static) {
        *self.1.lock().unwrap() = Some(Box::new(available));
    }

    /// Where the events of all functions go that are given up.
    pub fn dead_letters(&self, to: Arn) {
        *self.2.lock().unwrap() = Some(to);
    }

    /// How long a call of any function may take.
    pub fn may_take(&self, timeout: Duration) {
        *self.3.lock().unwrap() = Some(timeout);
    }

    /// No environment is left to any function, or there are some again.
    pub fn stop(&self, stopped: bool) {
        self.4.lock().unwrap().0 = stopped;
    }

    /// There is no such function any more.
    pub fn gone(&self, function: Arn) {
        self.4.lock().unwrap().1.push(function);
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
        let log_tail = call.want_log.then(|| "what it logged".to_owned());
        let (payload, error) = match self.0.call(call).await {
            Reply::Ok(text) => (text, None),
            Reply::Busy => return Err(InvokeError::new(ErrorKind::Throttled, "busy")),
            _ => ("{}".to_owned(), Some("Unhandled".to_owned())),
        };
        Ok(InvokeOutcome {
            request_id,
            payload: payload.into(),
            error,
            log_tail,
            executed_version: "$LATEST".into(),
            duration: Duration::ZERO,
        })
    }

    async fn is_stopped(&self, _function: &Arn) -> bool {
        self.4.lock().unwrap().0
    }

    async fn check(&self, function: &Arn) -> Result<(), InvokeError> {
        if self.4.lock().unwrap().1.contains(function) {
            return Err(InvokeError::new(ErrorKind::NotFound, "no such function"));
        }
        match function.resource() {
            "function:missing" => Err(InvokeError::new(ErrorKind::NotFound, "no such function")),
            _ if self.1.lock().unwrap().as_mut().is_some_and(|available| !available(function)) => {
                Err(InvokeError::new(ErrorKind::Unavailable, "away"))
            }
            _ => Ok(()),
        }
    }

    async fn timeout(&self, _function: &Arn) -> Option<Duration> {
        *self.3.lock().unwrap()
    }

    fn role(&self, _function: &Arn) -> Option<Arn> {
        Some(crate::world::role())
    }

    async fn dead_letters(&self, _function: &Arn) -> Option<Arn> {
        self.2.lock().unwrap().clone()
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
pub struct Quill;

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
    /// How long every answer takes.
    pub latency: Mutex<Duration>,
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
        let latency = *self.latency.lock().unwrap();
        if !latency.is_zero() {
            #[allow(clippy::disallowed_methods, reason = "virtual time of the paused runtime")]
            tokio::time::sleep(latency).await;
        }
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

/// Registered consumers of streams, and who reads as them.
#[derive(Default)]
pub struct Consumers {
    registered: Mutex<Vec<StreamConsumer>>,
    taken: Mutex<Vec<StreamConsumer>>,
}

impl Consumers {
    pub fn register(&self, consumer: StreamConsumer) {
        self.registered.lock().unwrap().push(consumer);
    }

    pub fn deregister(&self, consumer: &StreamConsumer) {
        self.registered.lock().unwrap().retain(|one| one != consumer);
    }

    pub fn is_taken(&self, consumer: &StreamConsumer) -> bool {
        self.taken.lock().unwrap().contains(consumer)
    }
}

impl StreamConsumers for Consumers {
    fn is_registered(&self, consumer: &StreamConsumer) -> bool {
        self.registered.lock().unwrap().contains(consumer)
    }

    fn take(&self, consumer: &StreamConsumer) {
        self.taken.lock().unwrap().push(consumer.clone());
    }

    fn give_back(&self, consumer: &StreamConsumer) {
        let mut taken = self.taken.lock().unwrap();
        let place = taken.iter().position(|one| one == consumer).expect("it was taken");
        taken.remove(place);
    }
}

/// Permits everything but what a test takes away.
#[derive(Default)]
pub struct Judge {
    denied: Mutex<BTreeSet<(String, String)>>,
    untrusting: Mutex<BTreeSet<String>>,
    permitted: Mutex<BTreeSet<(String, String, String)>>,
}

impl Judge {
    /// From now on nobody may do this on that.
    pub fn take(&self, action: &str, resource: &Arn) {
        self.denied.lock().unwrap().insert((action.to_owned(), resource.to_string()));
    }

    /// From now on it may be done again.
    pub fn give_back(&self, action: &str, resource: &Arn) {
        assert!(self.denied.lock().unwrap().remove(&(action.to_owned(), resource.to_string())), "it was taken");
    }

    /// Whether roles trust a service.
    pub fn trust(&self, service: &str, trusted: bool) {
        let mut untrusting = self.untrusting.lock().unwrap();
        if trusted {
            untrusting.remove(service)
        } else {
            untrusting.insert(service.to_owned())
        };
    }

    /// What was permitted on a resource, and to whom.
    pub fn permitted(&self, resource: &Arn) -> Vec<(String, String)> {
        let resource = resource.to_string();
        let all = self.permitted.lock().unwrap();
        let of = all.iter().filter(|(on, ..)| *on == resource);
        of.map(|(_, who, action)| (who.clone(), action.clone())).collect()
    }
}

impl Authorizer for Judge {
    fn decide(&self, access: &Access<'_>) -> Decision {
        let mut who = access.principal.arn(&crate::world::account());
        let action = access.action.to_owned();
        if let Principal::Service { .. } = access.principal {
            who = format!("{who} for {}", access.context.iter().map(|(_, value)| *value).collect::<Vec<_>>().join(" "));
        }
        let resource = access.resource.to_owned();
        if self.denied.lock().unwrap().contains(&(action.clone(), resource.clone())) {
            return Decision::Deny(denial(&who, &action, &resource));
        }
        self.permitted.lock().unwrap().insert((resource, who, action));
        Decision::Allow
    }

    fn assume(&self, service: &str, role: &Arn, session: &str, _: &[(&str, &str)]) -> Result<Principal, String> {
        if self.untrusting.lock().unwrap().contains(service) {
            return Err("its trust policy does not name the service".to_owned());
        }
        Ok(Principal::Session { role: role.clone(), role_id: "AROA".to_owned(), name: session.to_owned() })
    }
}

/// What is said to somebody who may not.
pub fn denial(who: &str, action: &str, resource: &str) -> String {
    format!("User: {who} is not authorized to perform: {action} on resource: {resource}")
}
