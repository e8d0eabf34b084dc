//! What clients may take: sizes, times, connections; and that a stop lets them end.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::sigv4::{Keys, sign};

use crate::fixture::{Fixture, json_code, now, root, signed, text};

async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("not closed").unwrap();
    String::from_utf8(answer).unwrap()
}

/// A request as it goes over the wire, but for all of its body behind the first bytes.
fn unfinished(request: &Request<Bytes>, sent: usize) -> Vec<u8> {
    let path = request.uri().path_and_query().unwrap();
    let mut out = format!("{} {path} HTTP/1.1\r\ncontent-length: {}\r\n", request.method(), request.body().len());
    for (name, value) in request.headers() {
        out.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    let mut out = format!("{out}\r\n").into_bytes();
    out.extend_from_slice(&request.body()[..sent]);
    out
}

#[tokio::test]
async fn bodies_of_strangers_are_not_waited_for_and_take_no_share() {
    // As small as the shared bound can be, which is then that of one large package.
    let fixture = Fixture::start(&[("max-inflight-bytes", "16777216"), ("body-seconds", "60")]).await;
    let package = || {
        let mut request = fixture.request("POST", "/2015-03-31/functions", &[], "");
        *request.body_mut() = vec![b'x'; 60 << 20].into();
        request
    };
    let by = |id: &str| {
        let mut request = package();
        sign(&mut request, &Keys { access_key_id: id.to_owned(), ..root() }, "us-east-1", "lambda", now()).unwrap();
        request
    };
    let mut strangers = Vec::new();
    for request in [package(), by("AKIANOTHERENOTHERE00")] {
        let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
        stream.write_all(&unfinished(&request, 40 << 20)).await.unwrap();
        strangers.push(stream);
    }
    let answer = fixture.send(signed(fixture.request("GET", "/2015-03-31/functions", &[], "{}"), "lambda")).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    for (mut stream, code) in strangers.into_iter().zip(["MissingAuthenticationToken", "UnrecognizedClient"]) {
        let answer = until_closed(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains(code), "{answer}");
    }
}

#[tokio::test]
async fn a_path_is_routed_only_as_it_was_signed() {
    let fixture = Fixture::start(&[]).await;
    for path in ["/x/../2015-03-31/functions", "/2015-03-31//functions", "/./2015-03-31/functions"] {
        let answer = fixture.send(signed(fixture.request("GET", path, &[], ""), "lambda")).await;
        assert_eq!(answer.status(), 404, "{path}: {}", text(&answer));
    }
}

#[tokio::test]
async fn a_body_beyond_its_bound_is_refused() {
    let fixture = Fixture::start(&[("max-body-bytes", "1000")]).await;
    let mut request = fixture.list_streams();
    *request.body_mut() = "x".repeat(1_001).into();
    let answer = fixture.send(signed(request, "kinesis")).await;
    assert_eq!((answer.status().as_u16(), json_code(&answer).as_str()), (413, "RequestEntityTooLarge"));
    let answer = fixture.send(signed(fixture.list_streams(), "kinesis")).await;
    assert_ne!(answer.status(), 413, "{}", text(&answer));
}

#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off() {
    let fixture = Fixture::start(&[("header-seconds", "1"), ("body-seconds", "1")]).await;
    let mut head = TcpStream::connect(fixture.address()).await.unwrap();
    head.write_all(b"GET /_tidegate/health HT").await.unwrap();
    let mut body = TcpStream::connect(fixture.address()).await.unwrap();
    body.write_all(b"GET /_tidegate/health HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    let mut stranger = TcpStream::connect(fixture.address()).await.unwrap();
    stranger.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    let (head, body) = (until_closed(&mut head).await, until_closed(&mut body).await);
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    let stranger = until_closed(&mut stranger).await;
    assert!(stranger.starts_with("HTTP/1.1 403"), "{stranger}");
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let fixture = Fixture::start(&[]).await;
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /_tidegate/health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it was closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let fixture = Fixture::start(&[]).await;
    let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(100_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_stop_lets_a_running_request_end_and_takes_no_other() {
    let fixture = Fixture::start(&[]).await;
    let address = fixture.address();
    let mut running = TcpStream::connect(&address).await.unwrap();
    let head = b"GET /_tidegate/health HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    running.write_all(head).await.unwrap();
    // By which the server says that it has the head and wants the rest.
    let mut wanted = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    running.read_exact(&mut wanted).await.unwrap();
    assert!(wanted.starts_with(b"HTTP/1.1 100 "));
    running.write_all(b"a").await.unwrap();
    let mut idle = TcpStream::connect(&address).await.unwrap();
    idle.write_all(b"GET /_tidegate/health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).await.unwrap();

    let stopping = tokio::spawn(fixture.server.stop());
    until_closed(&mut idle).await;
    assert!(TcpStream::connect(&address).await.is_err(), "no new connections");
    running.write_all(b"b").await.unwrap();
    let answer = until_closed(&mut running).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    stopping.await.unwrap().unwrap();
}
