//! A server on a folder of its own, and a client that signs.

use std::sync::Arc;
use std::time::Duration;

use base::{Env, HttpClient, RealFs, SystemClock, SystemRng, Timestamp};
use bytes::Bytes;
use http::{Request, Response};
use server::config::{Config, KEYS, Networks};
use server::{Outgoing, PooledClient, Server, Trust};
use wire::sigv4::{Keys, sign};

pub const ACCESS_KEY: &str = "AKIATESTTESTTESTTEST";
pub const SECRET: &str = "test-secret-test-secret-test-secret-0000";

/// A running server.
pub struct Fixture {
    pub server: Server,
    pub client: PooledClient,
    pub dir: tempfile::TempDir,
}

pub fn env() -> Env {
    Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) }
}

pub fn config(dir: &std::path::Path, more: &[(&str, &str)]) -> Config {
    let vars = [("TIDEGATE_ROOT_ACCESS_KEY_ID", ACCESS_KEY), ("TIDEGATE_ROOT_SECRET_ACCESS_KEY", SECRET)];
    let dir = dir.join("data").display().to_string();
    let flags = [("data-dir", dir.as_str()), ("listen", "127.0.0.1:0")].into_iter().chain(more.iter().copied());
    let flags = flags.map(|(flag, value)| (KEYS.iter().find(|k| k.flag() == flag).unwrap(), value.to_owned()));
    Config::load(&RealFs, None, vars.map(|(k, v)| (k.into(), v.into())).into(), flags.collect()).unwrap()
}

impl Fixture {
    pub async fn start(more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(config(dir.path(), more), env()).await.unwrap();
        let loopback = Outgoing::new(&Networks::Auto, true);
        Self { server, client: PooledClient::new(Trust::of_this_machine().unwrap(), loopback), dir }
    }

    pub fn endpoint(&self) -> &str {
        &self.server.running().endpoint
    }

    pub fn address(&self) -> String {
        self.endpoint().trim_start_matches("http://").to_owned()
    }

    pub async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.client.send(request, Duration::from_secs(20)).await.unwrap()
    }

    /// A request that is not signed.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.endpoint()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::from(body.to_owned())).unwrap()
    }

    /// A request that asks Kinesis for its streams.
    pub fn list_streams(&self) -> Request<Bytes> {
        let headers =
            [("x-amz-target", "Kinesis_20131202.ListStreams"), ("content-type", "application/x-amz-json-1.1")];
        self.request("POST", "/", &headers, "{}")
    }

    /// Who am I, as STS is asked.
    pub fn who_am_i(&self) -> Request<Bytes> {
        let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        self.request("POST", "/", &form, "Action=GetCallerIdentity&Version=2011-06-15")
    }
}

pub fn now() -> Timestamp {
    env().clock.now()
}

pub fn root() -> Keys {
    Keys { access_key_id: ACCESS_KEY.to_owned(), secret_access_key: SECRET.to_owned(), session_token: None }
}

/// Signs for a service in us-east-1.
pub fn signed(mut request: Request<Bytes>, service: &str) -> Request<Bytes> {
    sign(&mut request, &root(), "us-east-1", service, now()).unwrap();
    request
}

pub fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

/// The error code of an awsJson answer.
pub fn json_code(response: &Response<Bytes>) -> String {
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    body["__type"].as_str().unwrap_or_default().to_owned()
}
