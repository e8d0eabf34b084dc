//! Both kinds of HTTP, with and without TLS, over pipes in memory. Time is moved, not waited for.

use std::sync::atomic::{AtomicUsize, Ordering};

use base::{Fs, RealFs, TestClock, Timestamp};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsConnector;

use super::super::finishing::{Peer, Place};
use super::*;
use crate::edge::{Answer, AnswerBody, Tls, TlsError, Trust};

/// Answers by path, and counts what it sees.
#[derive(Default)]
struct World {
    begun: Notify,
    go_on: Notify,
    finished: Notify,
    /// Parts that a stream has given, and whether it was dropped.
    given: AtomicUsize,
    dropped: Notify,
    stop: CancellationToken,
}

struct OnDrop(Arc<World>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

struct Paths(Arc<World>);

impl Handler for Paths {
    async fn handle(&self, request: http::Request<Incoming>) -> Answer {
        let world = Arc::clone(&self.0);
        match request.uri().path() {
            "/defect" => panic!("on purpose"),
            "/slow" => {
                world.begun.notify_one();
                world.go_on.notified().await;
                world.finished.notify_one();
                Answer::default()
            }
            "/count" => {
                world.given.fetch_add(1, Ordering::SeqCst);
                world.stop.cancelled().await;
                Answer::default()
            }
            "/whole" => Answer::new(Bytes::from(vec![b'x'; 64 << 20]).into()),
            // One part, and the next only at the stop.
            "/events" => {
                let guard = OnDrop(Arc::clone(&world));
                let first = futures::stream::iter([Bytes::from_static(b"first")]);
                let more = futures::stream::pending().take_until(world.stop.clone().cancelled_owned());
                let events = first.chain(more).inspect(move |_| _ = &guard);
                Answer::new(AnswerBody::stream(events.boxed()))
            }
            "/endless" => {
                let guard = OnDrop(Arc::clone(&world));
                let parts = futures::stream::repeat(Bytes::from(vec![b'x'; 10_000])).inspect(move |_| {
                    _ = &guard;
                    world.given.fetch_add(1, Ordering::SeqCst);
                });
                Answer::new(AnswerBody::stream(parts.boxed()))
            }
            _ => {
                let host = request.headers().get("host").map(|host| host.as_bytes().to_owned()).unwrap_or_default();
                Answer::new(Bytes::from(host).into())
            }
        }
    }
}

struct Running {
    world: Arc<World>,
    on: Arc<Shared<Paths>>,
    seats: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// Bytes that a pipe holds, as the system's buffers would.
const PIPE: usize = 128 << 10;
/// More connections than any test has at once.
const SEATS: usize = 64;

impl Running {
    fn start(tls: Option<&Tls>) -> Self {
        let (tasks, world) = (TaskTracker::new(), Arc::<World>::default());
        let limits = ConnectionLimits {
            connections: 8,
            head_time: Duration::from_secs(30),
            stall_time: Duration::from_secs(60),
        };
        let on = Shared {
            handler: Arc::new(Paths(Arc::clone(&world))),
            limits,
            clock: Arc::new(TestClock::at(Timestamp::from_millis(0))),
            finisher: Finisher::new(tasks.clone()),
            tasks,
            tls: tls.map(Tls::acceptor),
        };
        let seats = Arc::new(Semaphore::new(SEATS));
        Self { world, on: Arc::new(on), seats, stopping: CancellationToken::new() }
    }

    fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(PIPE);
        let seat = Arc::clone(&self.seats).try_acquire_owned().unwrap();
        let peer = Peer { address: [127, 0, 0, 1].into(), secure: false };
        let seat = Place::new(seat, peer);
        self.on.tasks.spawn(serve(far, Arc::new(seat), Arc::clone(&self.on), self.stopping.child_token()));
        near
    }

    async fn client(&self, http2: bool) -> Client {
        Client::over(self.connect(), http2).await
    }

    /// Ends at once what is not under way, and waits for the rest.
    async fn stop(&self) {
        self.stopping.cancel();
        self.on.tasks.close();
        self.on.tasks.wait().await;
    }
}

enum Client {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, http2: bool) -> Self {
        let io = TokioIo::new(stream);
        if http2 {
            let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Self::Two(client)
        } else {
            let (client, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Self::One(client)
        }
    }

    async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(client) => {
                let request = Request::get(path).header("host", "t.example").body(Empty::new()).unwrap();
                client.send_request(request).await
            }
            Self::Two(client) => {
                let request = Request::get(format!("http://t.example{path}")).body(Empty::new()).unwrap();
                client.send_request(request).await
            }
        }
    }

    async fn text(&mut self, path: &str) -> (StatusCode, Bytes) {
        let (head, body) = self.get(path).await.unwrap().into_parts();
        (head.status, body.collect().await.unwrap().to_bytes())
    }
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_http_are_spoken_on_one_port_and_know_the_host() {
    let server = Running::start(None);
    for http2 in [false, true] {
        let mut client = server.client(http2).await;
        for _ in 0..3 {
            assert_eq!(client.text("/").await, (StatusCode::OK, Bytes::from_static(b"t.example")), "http2: {http2}");
        }
    }
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_head_of_too_many_fields_is_refused() {
    let server = Running::start(None);
    for http2 in [false, true] {
        for (fields, status) in [(90, StatusCode::OK), (110, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)] {
            let mut request = Request::get("http://t.example/").header("host", "t.example");
            for _ in 0..fields {
                request = request.header("x", "y");
            }
            let request = request.body(Empty::new()).unwrap();
            let answer = match server.client(http2).await {
                Client::One(mut client) => client.send_request(request).await,
                Client::Two(mut client) => client.send_request(request).await,
            };
            assert_eq!(answer.unwrap().status(), status, "http2: {http2}");
        }
    }
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_defect_costs_its_request_only() {
    let server = Running::start(None);
    for http2 in [false, true] {
        let mut client = server.client(http2).await;
        assert_eq!(client.text("/defect").await.0, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(client.text("/").await.0, StatusCode::OK);
    }
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_client_leaves_behind_is_finished() {
    let server = Running::start(None);
    for http2 in [false, true] {
        let mut client = server.client(http2).await;
        let asking = tokio::spawn(async move { client.get("/slow").await.map(|_| ()) });
        server.world.begun.notified().await;
        asking.abort();
        assert!(asking.await.is_err());
        server.world.go_on.notify_one();
        server.world.finished.notified().await;
    }
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_behind_keeps_its_connection_s_place() {
    let server = Running::start(None);
    for http2 in [false, true] {
        let mut client = server.client(http2).await;
        let asking = tokio::spawn(async move { client.get("/slow").await.map(|_| ()) });
        server.world.begun.notified().await;
        asking.abort();
        assert!(asking.await.is_err());
        // The connection ends with its client.
        server.on.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(server.seats.available_permits(), SEATS - 1, "http2: {http2}");
        server.world.go_on.notify_one();
        server.world.finished.notified().await;
        server.on.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(server.seats.available_permits(), SEATS, "http2: {http2}");
    }
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_resets_its_requests_cannot_pile_up_work() {
    let server = Running::start(None);
    let Client::Two(mut client) = server.client(true).await else { panic!("asked for HTTP/2") };
    let ask = |client: &mut http2::SendRequest<Empty<Bytes>>| {
        client.send_request(Request::get("http://t.example/count").body(Empty::new()).unwrap())
    };
    for n in 1..=STREAMS as usize + 100 {
        client.ready().await.unwrap();
        let asking = ask(&mut client);
        // Begun, or waiting for its turn: no time passes before the server has nothing more to do.
        let waited = tokio::time::timeout(Duration::from_millis(1), asking).await;
        assert!(waited.is_err(), "dropping it resets it");
        assert_eq!(server.world.given.load(Ordering::SeqCst), n.min(STREAMS as usize));
    }
    // The last of them has gone, too, before there is a turn for it.
    server.on.clock.sleep(Duration::from_secs(1)).await;
    // Those that were begun are finished, and then there is room again.
    server.world.stop.cancel();
    client.ready().await.unwrap();
    assert_eq!(ask(&mut client).await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.world.given.load(Ordering::SeqCst), STREAMS as usize + 1);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_request_whose_client_is_gone() {
    let server = Running::start(None);
    let mut client = server.connect();
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.world.begun.notified().await;
    drop(client);
    assert!(tokio::time::timeout(Duration::from_secs(5), server.stop()).await.is_err());
    server.world.go_on.notify_one();
    server.stop().await;
    server.world.finished.notified().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_sent_as_it_comes_and_dropped_when_its_client_goes() {
    let server = Running::start(None);
    for http2 in [false, true] {
        let mut client = server.client(http2).await;
        let mut body = client.get("/events").await.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, Bytes::from_static(b"first"));
        drop(body);
        if http2 {
            // The stream alone: its connection goes on.
            server.world.dropped.notified().await;
            assert_eq!(client.text("/").await.0, StatusCode::OK);
        } else {
            drop(client);
            server.world.dropped.notified().await;
        }
    }
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_at_a_stop_reaches_its_end() {
    for http2 in [false, true] {
        let server = Running::start(None);
        let mut client = server.client(http2).await;
        let body = client.get("/events").await.unwrap().into_body();
        server.stopping.cancel();
        server.world.stop.cancel();
        assert_eq!(body.collect().await.unwrap().to_bytes(), Bytes::from_static(b"first"));
        server.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_an_answer_is_cut_off_and_holds_little_until_then() {
    let server = Running::start(None);
    // Not read at all: the system's buffers fill, then ours.
    let mut client = server.connect();
    client.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.world.dropped.notified().await;
    let parts = server.world.given.swap(0, Ordering::SeqCst);
    assert!((1..100).contains(&parts), "{parts} parts of 10 kB were taken for a client that reads none");
    drop(client);

    // No room is given for one of two streams: the window stays as small as it is by default, 64 kB.
    let mut client = server.client(true).await;
    let endless = client.get("/endless").await.unwrap();
    server.world.dropped.notified().await;
    let parts = server.world.given.load(Ordering::SeqCst);
    assert!((1..500).contains(&parts), "{parts} parts of 10 kB were taken for a client that reads none");
    assert_eq!(client.text("/").await.0, StatusCode::OK, "the connection goes on");
    assert!(endless.into_body().collect().await.is_err());

    let whole = client.get("/whole").await.unwrap();
    server.on.clock.sleep(Duration::from_secs(61)).await;
    assert!(whole.into_body().collect().await.is_err());
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_but_steady_reader_gets_all() {
    let server = Running::start(None);
    let mut client = server.client(true).await;
    let mut body = client.get("/whole").await.unwrap().into_body();
    let mut len = 0;
    while let Some(frame) = body.frame().await {
        len += frame.unwrap().into_data().map_or(0, |data| data.len());
        if len % (4 << 20) == 0 {
            server.on.clock.sleep(Duration::from_secs(50)).await;
        }
    }
    assert_eq!(len, 64 << 20);
    server.stop().await;
}

async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let before = tokio::time::Instant::now();
    let mut rest = Vec::new();
    // A connection that is reset is closed as well.
    let _ = stream.read_to_end(&mut rest).await;
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn first_bytes_and_handshakes_come_in_time() {
    let files = Files::new(&["localhost"]);
    let (plain, tls) = (Running::start(None), Running::start(Some(&files.tls())));
    let hello = b"\x16\x03\x01\x02\x00\x01\x00";
    for (server, sent) in [(&plain, &b""[..]), (&plain, b"PRI * HT"), (&plain, b"GET"), (&tls, b""), (&tls, hello)] {
        let mut client = server.connect();
        client.write_all(sent).await.unwrap();
        let took = until_closed(&mut client).await;
        assert!((29..32).contains(&took.as_secs()), "{sent:?}: {took:?}");
    }
    // The preface and nothing more: a connection without a request.
    let mut client = plain.connect();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let took = until_closed(&mut client).await;
    assert!(took < Duration::from_secs(70), "{took:?}");
    // Whoever speaks no TLS there hears so at once.
    let mut client = tls.connect();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut client).await < Duration::from_secs(1));
    plain.stop().await;
    tls.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_closed_and_one_with_a_long_request_is_not() {
    let server = Running::start(None);
    let (mut idle, mut busy) = (server.client(true).await, server.client(true).await);
    assert_eq!(idle.text("/").await.0, StatusCode::OK);
    let asking = tokio::spawn(async move { busy.get("/slow").await.map(|answer| answer.status()) });
    server.world.begun.notified().await;
    server.on.clock.sleep(Duration::from_secs(300)).await;
    assert!(idle.get("/").await.is_err());
    server.world.go_on.notify_one();
    assert_eq!(asking.await.unwrap().unwrap(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_clients_that_never_close() {
    let server = Running::start(None);
    let mut silent = server.connect();
    // The preface, empty settings; then nothing is answered, not even that the connection ends.
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut settings = [0; 9];
    silent.read_exact(&mut settings).await.unwrap();
    let before = tokio::time::Instant::now();
    server.stop().await;
    assert!(before.elapsed() < Duration::from_secs(5));
}

/// A certificate of an authority of its own, in files.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(names: &[&str]) -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        files.issue(names);
        files
    }

    fn issue(&self, names: &[&str]) {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(params, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        self.write("ca.pem", &authority.pem());
        self.write("cert.pem", &certificate.pem());
        self.write("key.pem", &key.serialize_pem());
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        RealFs.write_atomic(&self.path(name), text.as_bytes(), 0o600).unwrap();
    }

    fn load(&self) -> Result<Tls, TlsError> {
        Tls::load(&RealFs, &self.path("cert.pem"), &self.path("key.pem"))
    }

    fn tls(&self) -> Tls {
        self.load().unwrap_or_else(|e| panic!("{e}"))
    }

    async fn connect(
        &self,
        server: &Running,
        protocols: &[&str],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<DuplexStream>> {
        let mut config = Trust::of_file(&RealFs, "test", &self.path("ca.pem")).unwrap().into_config();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_owned()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, server.connect()).await
    }
}

#[tokio::test(start_paused = true)]
async fn tls_lets_the_handshake_choose_the_protocol() {
    let files = Files::new(&["localhost"]);
    let server = Running::start(Some(&files.tls()));
    let choices: [(&[&str], bool); 4] =
        [(&["h2", "http/1.1"], true), (&["http/1.1", "h2"], true), (&["http/1.1"], false), (&[], false)];
    for (offered, http2) in choices {
        let stream = files.connect(&server, offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), http2, "{offered:?}");
        let mut client = Client::over(stream, http2).await;
        assert_eq!(client.text("/").await, (StatusCode::OK, Bytes::from_static(b"t.example")));
        assert_eq!(client.text("/whole").await.1.len(), 64 << 20);
    }
    // Offering nothing, the AWS SDK for Java begins HTTP/2 unasked.
    let mut unasked = Client::over(files.connect(&server, &[]).await.unwrap(), true).await;
    assert_eq!(unasked.text("/").await, (StatusCode::OK, Bytes::from_static(b"t.example")));
    drop(unasked);
    assert!(files.connect(&server, &["spdy/3"]).await.is_err());
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_served_and_a_broken_one_is_not() {
    let files = Files::new(&["localhost"]);
    let tls = files.tls();
    let server = Running::start(Some(&tls));
    let first = files.connect(&server, &[]).await.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
    let kept = RealFs.read(&files.path("cert.pem")).unwrap();
    files.issue(&["localhost"]);
    assert!(files.connect(&server, &[]).await.is_err(), "the old one is not of the new authority");
    tls.reload(&RealFs).unwrap();
    let second = files.connect(&server, &[]).await.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_ne!(first, second);
    files.write("cert.pem", std::str::from_utf8(&kept).unwrap());
    assert!(tls.reload(&RealFs).unwrap_err().to_string().contains("pair"));
    assert!(files.connect(&server, &[]).await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_served_are_refused_by_name_and_reason() {
    let files = Files::new(&["localhost"]);
    let (certificate, key) = ["cert.pem", "key.pem"].map(|f| RealFs.read(&files.path(f)).unwrap()).into();
    let refused = |name: &str, content: &str| {
        files.write("cert.pem", std::str::from_utf8(&certificate).unwrap());
        files.write("key.pem", std::str::from_utf8(&key).unwrap());
        files.write(name, content);
        files.load().map(|_| ()).unwrap_err().to_string()
    };
    for (name, content, reason) in [
        ("cert.pem", "", "BEGIN CERTIFICATE"),
        ("cert.pem", "nonsense", "BEGIN CERTIFICATE"),
        ("cert.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "PEM"),
        ("cert.pem", "-----BEGIN CERTIFICATE-----\naGk=\n-----END CERTIFICATE-----\n", "not a certificate"),
        ("key.pem", "", "BEGIN PRIVATE KEY"),
        ("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGk=\n-----END ENCRYPTED PRIVATE KEY-----\n", "decrypt"),
        ("key.pem", "-----BEGIN PRIVATE KEY-----\naGk=\n-----END PRIVATE KEY-----\n", "not a key"),
        ("key.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem(), "pair"),
    ] {
        let error = refused(name, content);
        assert!(error.contains(name) && error.contains(reason), "{error}");
    }
    RealFs.remove_file(&files.path("key.pem")).unwrap();
    let error = files.load().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("key.pem") && error.contains("tls.key_file"), "{error}");
}
