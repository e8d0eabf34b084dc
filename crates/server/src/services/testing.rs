//! Rooms over a simulated disk, for the tests of the service modules: real log, state and flow; nobody outside answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::fs::sim::SimFs;
use base::{
    Access, Arn, Authorizer, Decision, Env, ErrorKind, HttpClient, HttpError, Invocation, Invoke, InvokeError,
    InvokeOutcome, Position, Principal, Scope, SeededRng, TestClock, Timestamp,
};
use bytes::Bytes;
use flow::mapping::{StreamConsumer, StreamConsumers};
use flow::topic::{Mail, MailError, Mailer, SignatureVersion, Signed, Signer};
use flow::{Flow, FlowConfig, FlowPorts, SearchDomains};
use log::{Log, LogConfig, ReadLimit, StreamKey, StreamKind, StreamSpec};
use wire::Call;

pub(crate) const ACCOUNT: &str = "000000000000";
const DAY: Duration = Duration::from_secs(86_400);

/// A house with the rooms that services translate to.
pub(crate) struct House {
    pub env: Env,
    pub clock: Arc<TestClock>,
    pub log: Log,
    pub flow: Flow,
}

pub(crate) fn scope(region: &str) -> Scope {
    Scope { account: ACCOUNT.parse().unwrap(), region: region.parse().unwrap() }
}

impl House {
    pub async fn new() -> Self {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_700_000_000_000)));
        let env = Env { clock: clock.clone(), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(SimFs::new(1)) };
        let log = Log::open(&env, "/journal".as_ref(), LogConfig::default()).await.unwrap();
        let state = Arc::new(state::Store::open(&env, "/state.redb".as_ref()).await.unwrap());
        let nobody = Arc::new(Nobody);
        let ports = FlowPorts {
            env: env.clone(),
            log: log.clone(),
            state,
            invoke: nobody.clone(),
            http: nobody.clone(),
            master_key: base::MasterKey::new([7; 32]),
            signer: nobody.clone(),
            mailer: nobody.clone(),
            search: nobody.clone(),
            fanout: nobody.clone(),
            authorizer: nobody,
        };
        let config = FlowConfig {
            bus_retention: DAY,
            objects: "/objects".into(),
            queue_memory: 1 << 20,
            base_url: "http://[::1]:1".into(),
        };
        Self { env, clock, log, flow: Flow::start(ports, config).await.unwrap() }
    }

    pub fn call(&self) -> Call {
        let (scope, now) = (scope("eu-central-1"), self.env.clock.now());
        let endpoint = "http://localhost:4566".into();
        Call {
            scope,
            principal: Principal::Root,
            request_id: "r".into(),
            now,
            endpoint,
            trace: None,
            source_ip: None,
            secure: false,
            user_agent: None,
            access_key_id: None,
            left: Default::default(),
        }
    }

    fn key(name: &str) -> StreamKey {
        StreamKey { kind: StreamKind::Kinesis, scope: scope("eu-central-1"), name: name.into() }
    }

    /// Creates a stream of one shard; its ARN.
    pub async fn stream(&self, name: &str) -> String {
        self.log.create_stream(&Self::key(name), StreamSpec { shards: 1, retention: DAY }).await.unwrap();
        format!("arn:aws:kinesis:eu-central-1:{ACCOUNT}:stream/{name}")
    }

    /// Waits for the first record of a stream.
    pub async fn first(&self, name: &str) -> Bytes {
        let shard = self.log.stream(&Self::key(name)).unwrap().shards[0].slot;
        self.log.wait(shard, Position::ZERO).await.unwrap();
        let limit = ReadLimit { records: 1, bytes: 1 << 20 };
        self.log.read(shard, Position::ZERO, limit).await.unwrap().records[0].data.clone()
    }
}

/// Functions that do not exist, addresses that cannot be reached, and the domain `own`.
struct Nobody;

#[async_trait]
impl Invoke for Nobody {
    async fn invoke(&self, call: Invocation) -> Result<InvokeOutcome, InvokeError> {
        Err(InvokeError::new(ErrorKind::NotFound, call.function.to_string()))
    }

    async fn check(&self, function: &Arn) -> Result<(), InvokeError> {
        Err(InvokeError::new(ErrorKind::NotFound, format!("Function not found: {function}")))
    }
}

#[async_trait]
impl HttpClient for Nobody {
    async fn send(&self, request: http::Request<Bytes>, _: Duration) -> Result<http::Response<Bytes>, HttpError> {
        Err(HttpError { url: request.uri().to_string(), message: "nobody is there".into() })
    }
}

#[async_trait]
impl Mailer for Nobody {
    async fn send(&self, _: Mail) -> Result<(), MailError> {
        Err(MailError::Failed("nobody is there".into()))
    }
}

#[async_trait]
impl Signer for Nobody {
    async fn sign(&self, _: SignatureVersion, _: String) -> Result<Signed, String> {
        Ok(Signed { signature: "signed".into(), certificate_url: "https://nobody/c.pem".into() })
    }
}

impl StreamConsumers for Nobody {
    fn is_registered(&self, _: &StreamConsumer) -> bool {
        false
    }

    fn take(&self, _: &StreamConsumer) {}

    fn give_back(&self, _: &StreamConsumer) {}
}

#[async_trait]
impl SearchDomains for Nobody {
    async fn send(&self, domain: &Arn, _: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        Err(HttpError { url: domain.to_string(), message: "nobody is there".into() })
    }

    fn has(&self, domain: &Arn) -> bool {
        domain.resource() == "domain/own"
    }
}

/// Whoever acts may do everything.
impl Authorizer for Nobody {
    fn decide(&self, _: &Access<'_>) -> Decision {
        Decision::Allow
    }

    fn assume(&self, _: &str, role: &Arn, session: &str, _: &[(&str, &str)]) -> Result<Principal, String> {
        Ok(Principal::Session { role: role.clone(), role_id: String::new(), name: session.to_owned() })
    }
}
