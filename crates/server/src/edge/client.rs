//! HTTP and HTTPS out, for deliverers: pooled, bounded in time and size, no redirects.
//!
//! Promises that no link-local or EC2 metadata address is called, by whatever name: there clouds hand a machine its credentials, and a
//! subscriber's address is chosen by whoever subscribes.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use base::{HttpClient, HttpError};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

use super::trust::Trust;

/// Bytes of an answer that are read; receivers have nothing longer to say.
const ANSWER_BYTES: usize = 1 << 20;
const IDLE_TIME: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 32;

/// The [`HttpClient`] of the server.
pub struct PooledClient {
    client: Client<HttpsConnector<HttpConnector<Checked>>, Full<Bytes>>,
}

impl PooledClient {
    /// A client without connections yet, which calls https addresses whose certificates `trust` vouches for.
    pub fn new(trust: Trust) -> Self {
        let connector = trust.connector(HttpConnector::new_with_resolver(Checked(GaiResolver::new())));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        Self { client }
    }

    async fn exchange(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, String> {
        // Names are checked when they are resolved; an address is not resolved.
        let host = request.uri().host().unwrap_or_default().trim_matches(['[', ']']);
        if host.parse().is_ok_and(is_forbidden) {
            return Err(FORBIDDEN.to_owned());
        }
        let answer = self.client.request(request.map(Full::new)).await.map_err(|e| chain(&e))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }
}

#[async_trait]
impl HttpClient for PooledClient {
    async fn send(&self, request: http::Request<Bytes>, timeout: Duration) -> Result<http::Response<Bytes>, HttpError> {
        let url = plain(request.uri());
        let ended = tokio::time::timeout(timeout, self.exchange(request)).await;
        let answer = ended.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        answer.map_err(|message| HttpError { url, message })
    }
}

const FORBIDDEN: &str = "link-local addresses are not called";

/// Where EC2 answers for itself on IPv6 ("Access instance metadata", EC2 User Guide), and hands out what pods may use:
/// the first 32 bits, which are not link-local, but as private.
const EC2: [u16; 2] = [0xfd00, 0xec2];
/// Where Google's Compute Engine does ("About VM metadata", Compute Engine).
const GCE_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// Link-local, also when it is written as an IPv6 address.
fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.segments()[..2] == EC2 || v6 == GCE_METADATA,
    }
}

/// The system's resolver without the addresses that are not called.
#[derive(Clone)]
struct Checked(GaiResolver);

impl Service<Name> for Checked {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolved = self.0.call(name);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = resolved.await?.filter(|address| !is_forbidden(address.ip())).collect();
            if addresses.is_empty() { Err(io::Error::other(FORBIDDEN)) } else { Ok(addresses.into_iter()) }
        })
    }
}

/// The address without user info and query, which may hold secrets.
fn plain(uri: &http::Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let port = uri.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{scheme}://{}{port}{}", uri.host().unwrap_or_default(), uri.path())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> PooledClient {
        PooledClient::new(Trust::of_this_machine().unwrap())
    }

    fn get(url: &str) -> http::Request<Bytes> {
        http::Request::get(url).body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn a_closed_port_is_named_without_secrets() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let url = format!("http://user:hunter2@{address}/hook?token=hunter2");
        let error = client().send(get(&url), Duration::from_secs(5)).await.unwrap_err().to_string();
        assert!(error.contains(&format!("http://{address}/hook")) && !error.contains("hunter2"), "{error}");
        assert!(error.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn silence_is_given_up_and_metadata_is_not_called() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let error = client().send(get(&url), Duration::from_millis(50)).await.unwrap_err();
        assert!(error.message.contains("no answer within"));
        for link_local in [
            "http://169.254.169.254/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.1.1]:80/",
            "http://[fd00:ec2::254]/",
            "http://[fd00:ec2::23]/",
            "http://[fd20:ce::254]/",
            "https://169.254.169.254/",
        ] {
            let error = client().send(get(link_local), Duration::from_secs(1)).await.unwrap_err();
            assert_eq!(error.message, FORBIDDEN, "{link_local}");
        }
    }
}
