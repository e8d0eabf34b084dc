//! Signed calls to a running server, as any AWS client makes them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use base::{Clock, RealFs, SystemClock};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use server::Trust;
use wire::sigv4::{Keys, sign};

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 << 20;

/// The variable that names the authorities to trust, as for every AWS SDK.
pub const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// What a call is beside its body.
pub struct Target<'a> {
    /// The service that the signature names.
    pub service: &'a str,
    /// The method.
    pub method: Method,
    /// The path and query, percent-encoded.
    pub path: &'a str,
    /// Further headers.
    pub headers: &'a [(&'static str, &'a str)],
}

/// A client of one server, account and region.
#[derive(Clone)]
pub struct Client {
    endpoint: String,
    region: String,
    keys: Keys,
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    clock: std::sync::Arc<dyn Clock>,
}

impl Client {
    /// A client of the server at `endpoint`, such as `http://127.0.0.1:4566`. Over https it is believed who it is when
    /// an authority in `ca_file` says so, or without one an authority that this machine trusts.
    ///
    /// # Errors
    /// The endpoint is not such an address, or there is no authority in the file.
    pub fn new(endpoint: &str, region: &str, keys: Keys, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let endpoint = endpoint.trim_end_matches('/');
        let uri: Uri = endpoint.parse().with_context(|| format!("'{endpoint}' is not an address"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            bail!("the endpoint '{endpoint}' is not an http or https address such as http://127.0.0.1:4566");
        }
        let trust = match ca_file.filter(|_| uri.scheme_str() == Some("https")) {
            Some(path) => Trust::of_file(&RealFs, CA_BUNDLE, path)?,
            None => Trust::of_this_machine()?,
        };
        let http = Http::builder(TokioExecutor::new()).build(trust.connector(HttpConnector::new()));
        let clock = std::sync::Arc::new(SystemClock::new());
        Ok(Self { endpoint: endpoint.to_owned(), region: region.to_owned(), keys, http, clock })
    }

    /// The client that the `AWS_…` variables describe, as `tidegate env` prints them.
    ///
    /// # Errors
    /// A variable is missing; the message says how to set it.
    pub fn from_environment() -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed = |name: &str| {
            variable(name).ok_or_else(|| {
                anyhow!("{name} is not set; point this shell at a server with: eval \"$(tidegate env)\"")
            })
        };
        let keys = Keys {
            access_key_id: needed("AWS_ACCESS_KEY_ID")?,
            secret_access_key: needed("AWS_SECRET_ACCESS_KEY")?,
            session_token: variable("AWS_SESSION_TOKEN"),
        };
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let ca_file = variable(CA_BUNDLE).map(PathBuf::from);
        Self::new(&needed("AWS_ENDPOINT_URL")?, region.as_deref().unwrap_or("us-east-1"), keys, ca_file.as_deref())
    }

    /// The region that calls are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where the server is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes one signed call; any status is an answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn call(&self, target: &Target<'_>, body: Bytes) -> anyhow::Result<Response<Bytes>> {
        let mut request = Request::builder()
            .method(target.method.clone())
            .uri(format!("{}{}", self.endpoint, target.path))
            .body(body)?;
        for (name, value) in target.headers {
            request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        }
        sign(&mut request, &self.keys, &self.region, target.service, self.clock.now())?;
        self.send(request).await
    }

    /// Makes a call as it is, without a signature.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(&self, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
        let exchange = async {
            let response = self.http.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body =
                Limited::new(body, ANSWER_BYTES).collect().await.map_err(|e| anyhow!("the answer broke off: {e}"))?;
            anyhow::Ok(Response::from_parts(head, body.to_bytes()))
        };
        let answer = tokio::time::timeout(ANSWER_TIME, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", ANSWER_TIME.as_secs())));
        answer.with_context(|| {
            format!("the server at {} cannot be reached (does `tidegate serve` run there?)", self.endpoint)
        })
    }
}
