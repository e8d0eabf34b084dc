//! HTTP and HTTPS out, for deliverers: pooled, bounded in time and size, no redirects.
//!
//! Promises that no address is connected to which [`Outgoing`] refuses, by whatever name.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
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

use super::outgoing::Outgoing;
use super::trust::Trust;

/// Bytes of an answer that are read; receivers have nothing longer to say.
const ANSWER_BYTES: usize = 1 << 20;
const IDLE_TIME: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 32;

/// The [`HttpClient`] of the server.
pub struct PooledClient {
    client: Client<HttpsConnector<HttpConnector<Checked>>, Full<Bytes>>,
    outgoing: Arc<Outgoing>,
}

impl PooledClient {
    /// A client without connections yet, which calls what `outgoing` allows, and https addresses whose certificates
    /// `trust` vouches for.
    pub fn new(trust: Trust, outgoing: Outgoing) -> Self {
        let resolve: Resolve = Arc::new(|name| {
            let resolved = GaiResolver::new().call(name);
            Box::pin(async move { Ok(resolved.await?.collect()) })
        });
        Self::resolving(resolve, trust, outgoing)
    }

    fn resolving(resolve: Resolve, trust: Trust, outgoing: Outgoing) -> Self {
        let outgoing = Arc::new(outgoing);
        let resolver = Checked { resolve, outgoing: Arc::clone(&outgoing) };
        let connector = trust.connector(HttpConnector::new_with_resolver(resolver));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        Self { client, outgoing }
    }

    async fn exchange(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, String> {
        // Names are checked when they are resolved; an address is not resolved.
        self.check_host(request.uri().host().unwrap_or_default())?;
        let answer = self.client.request(request.map(Full::new)).await.map_err(|e| chain(&e))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }
}

#[async_trait]
impl HttpClient for PooledClient {
    fn may_be_plain(&self, host: &str) -> bool {
        self.outgoing.lists_host(host)
    }

    fn check_host(&self, host: &str) -> Result<(), String> {
        self.outgoing.check_host(host).map_err(|refused| refused.to_string())
    }

    async fn send(&self, request: http::Request<Bytes>, timeout: Duration) -> Result<http::Response<Bytes>, HttpError> {
        let url = plain(request.uri());
        let ended = tokio::time::timeout(timeout, self.exchange(request)).await;
        let answer = ended.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        answer.map_err(|message| HttpError { url, message })
    }
}

/// Answers a name's addresses.
type Resolve = Arc<dyn Fn(Name) -> Resolving + Send + Sync>;
type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// A resolver without the addresses that are not called. What it gives is what is connected to: a name is
/// not resolved a second time.
#[derive(Clone)]
struct Checked {
    resolve: Resolve,
    outgoing: Arc<Outgoing>,
}

impl Service<Name> for Checked {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolved, outgoing) = ((self.resolve)(name), Arc::clone(&self.outgoing));
        Box::pin(async move { Ok(allowed(&outgoing, resolved.await?.into_iter())?.into_iter()) })
    }
}

/// Those of a name's addresses that may be called; why not, when there are none.
fn allowed(outgoing: &Outgoing, resolved: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, io::Error> {
    let (mut addresses, mut refused) = (Vec::new(), None);
    for address in resolved {
        match outgoing.check(address.ip()) {
            Ok(()) => addresses.push(address),
            Err(why) => refused = Some(why),
        }
    }
    match refused {
        Some(why) if addresses.is_empty() => Err(io::Error::other(why)),
        _ => Ok(addresses),
    }
}

/// Who was called, without user info, path and query, which may hold secrets: a chat's webhook is known by its path.
fn plain(uri: &http::Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let port = uri.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{scheme}://{}{port}", uri.host().unwrap_or_default())
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::{Networks, Setting};

    fn client() -> PooledClient {
        PooledClient::new(Trust::of_this_machine().unwrap(), Outgoing::new(&Networks::Auto, true))
    }

    fn get(url: &str) -> http::Request<Bytes> {
        http::Request::get(url).body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn a_closed_port_is_named_without_secrets() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let url = format!("http://user:hunter2@{address}/services/hunter2?token=hunter2");
        let error = client().send(get(&url), Duration::from_secs(5)).await.unwrap_err().to_string();
        assert!(error.contains(&format!("http://{address}")) && !error.contains("hunter2"), "{error}");
        assert!(error.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn silence_is_given_up() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let error = client().send(get(&url), Duration::from_millis(50)).await.unwrap_err();
        assert!(error.message.contains("no answer within"));
    }

    #[tokio::test]
    async fn what_is_refused_is_not_connected_to_by_address_or_name() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let closed = Outgoing::new(&Networks::Auto, false);
        let client = PooledClient::new(Trust::of_this_machine().unwrap(), closed);
        let hosts =
            ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0177.0.0.1", "0x7f.1", "169.254.169.254"];
        for host in hosts {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}:{port}/");
                let error = client.send(get(&url), Duration::from_secs(5)).await.unwrap_err();
                assert!(error.message.contains("called: "), "{url}: {}", error.message);
            }
        }
        let accepted = tokio::time::timeout(Duration::ZERO, socket.accept()).await;
        assert!(accepted.is_err(), "nobody came");
    }

    #[test]
    fn a_name_that_leads_to_both_leads_to_what_is_allowed_only() {
        let closed = Outgoing::new(&Networks::Auto, false);
        let resolved = |text: &[&str]| text.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = allowed(&closed, resolved(&["127.0.0.1:80", "8.8.8.8:80", "169.254.169.254:80"]).into_iter());
        assert_eq!(mixed.unwrap(), resolved(&["8.8.8.8:80"]));
        assert!(allowed(&closed, resolved(&["10.0.0.1:80"]).into_iter()).is_err());
    }

    /// A client that may call `networks`, in a world where names stand for what `resolve` says.
    fn client_where(networks: &str, resolve: impl Fn(&str) -> Vec<SocketAddr> + Send + Sync + 'static) -> PooledClient {
        let resolve: Resolve = Arc::new(move |name| {
            let addresses = resolve(name.as_str());
            Box::pin(async move { Ok(addresses) })
        });
        let outgoing = Outgoing::new(&Networks::parse(networks).unwrap(), false);
        PooledClient::resolving(resolve, Trust::of_this_machine().unwrap(), outgoing)
    }

    #[tokio::test]
    async fn nothing_in_disguise_reaches_this_machine_or_its_metadata() {
        let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = trap.local_addr().unwrap().port();
        // Whoever owns a name can let it stand for anything.
        let client = client_where("none", |name| {
            let meant = if name.contains("meta") { "169.254.169.254:0" } else { "127.0.0.1:0" };
            vec![meant.parse().unwrap()]
        });
        for host in [
            // decimal, octal, hexadecimal, short
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.1",
            "127.0.1",
            "127.0.0.1.",
            "0x7f.1.",
            "0",
            // IPv6: mapped, translated, compatible, NAT64, 6to4, Teredo, ISATAP, of the machine and of its link
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:0:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "[2002:a9fe:a9fe::]",
            "[2001:0:808:808:3:4:80ff:fffe]",
            "[2600::5efe:a9fe:a9fe]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[fe80::1%25lo]",
            "[::1%lo]",
            // metadata, this network, everybody
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "[::]",
            "255.255.255.255",
            // names: of the machine, with a final dot, punycode, with an address inside, of metadata
            "localhost",
            "LOCALHOST",
            "localhost.",
            "xn--lcalhost-54a.example",
            "xn--bcher-kva.example",
            "127.0.0.1.nip.example",
            "metadata.google.internal",
        ] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}:{port}/latest/meta-data/");
                let error = client.send(get(&url), Duration::from_secs(5)).await.unwrap_err();
                assert!(error.message.contains("called: "), "{url}: {}", error.message);
            }
        }
        // Digits and dots of other scripts, escapes, and what other readers of URLs take for the host's end.
        for url in [
            "http://\u{2460}\u{2461}\u{2466}.0.0.1/",
            "http://127\u{3002}0\u{3002}0\u{3002}1/",
            "http://\u{ff11}27.0.0.1/",
            "http://127%2e0%2e0%2e1/",
            "http://example.com\\@127.0.0.1/",
            "http://example.com 127.0.0.1/",
        ] {
            assert!(http::Request::get(url).body(Bytes::new()).is_err(), "{url}");
        }
        // What stands before the last @ is no host.
        let url = format!("http://93.184.216.34:80@127.0.0.1:{port}/");
        assert!(client.send(get(&url), Duration::from_secs(5)).await.unwrap_err().message.contains("called: "));
        assert!(tokio::time::timeout(Duration::ZERO, trap.accept()).await.is_err(), "nobody came");
    }

    #[tokio::test]
    async fn a_name_that_changes_its_mind_is_called_where_it_was_checked() {
        let good = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (meant, hidden) = (good.local_addr().unwrap(), trap.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // Harmless when it is asked for the first time, and never again.
        let client = client_where("127.0.0.2/32", move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 => vec![meant],
            _ => vec![hidden],
        });
        let url = format!("http://rebind.example:{}/", meant.port());
        let answer = async {
            let (mut connection, _) = good.accept().await.unwrap();
            let mut head = [0; 1_024];
            assert!(connection.read(&mut head).await.unwrap() > 0);
            let text = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            connection.write_all(text.as_bytes()).await.unwrap();
        };
        let (answered, ()) = tokio::join!(client.send(get(&url), Duration::from_secs(5)), answer);
        assert_eq!(answered.unwrap().status(), 200);
        assert_eq!(asked.load(Ordering::Relaxed), 1, "a name is resolved once a connection");
        let error = client.send(get(&url), Duration::from_secs(5)).await.unwrap_err();
        assert!(error.message.contains("127.0.0.1 is not called"), "{}", error.message);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert!(tokio::time::timeout(Duration::ZERO, trap.accept()).await.is_err(), "nobody came");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let location = format!("http://{}/", target.local_addr().unwrap());
        let answer = async {
            let (mut connection, _) = socket.accept().await.unwrap();
            let mut head = [0; 1_024];
            assert!(connection.read(&mut head).await.unwrap() > 0);
            let text = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            connection.write_all(text.as_bytes()).await.unwrap();
        };
        let client = client();
        let (answered, ()) = tokio::join!(client.send(get(&url), Duration::from_secs(5)), answer);
        assert_eq!(answered.unwrap().status(), 302);
        assert!(tokio::time::timeout(Duration::ZERO, target.accept()).await.is_err(), "nobody came");
    }
}
