//! `tidegate ingest` against a server that writes down what it is sent.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use base::{Fs, RealFs};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::process::tidegate;

/// What the server has seen, and how often it is still going to be busy.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: Vec<String>,
    batches: usize,
    busy: usize,
    unsigned: usize,
}

struct FakeServer {
    url: String,
    seen: Arc<Mutex<Seen>>,
    _runtime: tokio::runtime::Runtime,
}

impl FakeServer {
    fn start(busy: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen { busy, ..Seen::default() }));
        let shared = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let seen = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&seen), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { url, seen, _runtime: runtime }
    }

    fn ingest(&self, arguments: &[&str]) -> Output {
        ingest(&self.url, arguments)
    }
}

fn ingest(url: &str, arguments: &[&str]) -> Output {
    let mut command = tidegate(&[&["ingest"], arguments].concat());
    command.env("AWS_ENDPOINT_URL", url).env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.output().unwrap()
}

async fn answer(seen: Arc<Mutex<Seen>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let signed = request
        .headers()
        .get("authorization")
        .is_some_and(|v| v.to_str().unwrap().contains("/us-east-1/tidegate/aws4_request"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut seen = seen.lock().unwrap();
    seen.unsigned += usize::from(!signed);
    if seen.busy > 0 {
        seen.busy -= 1;
        let mut busy = Response::new(Full::new(Bytes::from_static(b"{\"message\":\"slow down\"}")));
        *busy.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        return Ok(busy);
    }
    seen.batches += 1;
    let (mut accepted, mut duplicates, mut problems) = (0, 0, Vec::new());
    for (number, line) in body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).enumerate() {
        let record: Value = serde_json::from_slice(line).unwrap();
        match record["eventID"].as_str() {
            Some(id) if seen.ids.insert(id.to_owned()) => {
                seen.order.push(id.to_owned());
                accepted += 1;
            }
            Some(_) => duplicates += 1,
            None => problems.push(json!({"record": number, "offset": 0, "reason": "no eventID"})),
        }
    }
    let outcome =
        json!({"accepted": accepted, "duplicates": duplicates, "rejected": problems.len(), "problems": problems});
    Ok(Response::new(Full::new(Bytes::from(outcome.to_string()))))
}

fn put(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    RealFs.create_dir_all(path.parent().unwrap()).unwrap();
    RealFs.write_atomic(&path, content, 0o600).unwrap();
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn files_of_every_form_go_in_the_order_of_their_paths() {
    let (server, dir) = (FakeServer::start(2), tempfile::tempdir().unwrap());
    put(dir.path(), "b/1.json.gz", &gzip(r#"{"Records":[{"eventID":"3"},{"eventID":"4"}]}"#));
    put(dir.path(), "a/2.ndjson", b"{\"eventID\":\"2\"}\n");
    put(dir.path(), "a/1.json", br#"{"Records":[{"eventID":"1"}]}"#);
    put(dir.path(), "b/notes.txt", b"not a log");
    put(dir.path(), "c/empty.json", br#"{"Records":[]}"#);
    let folder = dir.path().display().to_string();

    let first = server.ingest(&[&folder]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    let told = summary(&first);
    assert_eq!(
        (&told["files"], &told["accepted"], &told["duplicates"], &told["skipped"]),
        (&json!(4), &json!(4), &json!(0), &json!(0))
    );
    assert_eq!(server.seen.lock().unwrap().order, ["1", "2", "3", "4"]);

    let again = server.ingest(&[&folder, "--json"]);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(summary(&again)["duplicates"], 4);
    assert_eq!(server.seen.lock().unwrap().unsigned, 0);
}

#[test]
fn what_is_broken_is_named_with_its_place_and_the_rest_goes_on() {
    let (server, dir) = (FakeServer::start(0), tempfile::tempdir().unwrap());
    put(dir.path(), "1.json", br#"{"Records":[{"eventID":"1"},{"eventID":"#);
    put(dir.path(), "2.ndjson", b"{\"eventID\":\"2\"}\nnonsense\n{\"no\":\"id\"}\n{\"eventID\":\"3\"}\n");
    let whole = gzip(&"{\"eventID\":\"4\"}\n".repeat(50_000));
    put(dir.path(), "3.json.gz", &whole[..whole.len() - 40]);
    put(dir.path(), "4.json", br#"{"eventID":"5"}"#);
    let output = server.ingest(&[&dir.path().display().to_string()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for named in [
        "1.json: at byte 28:",
        "2.ndjson: at byte 16:",
        "2.ndjson: at byte 25: no eventID",
        "3.json.gz: cannot be decompressed",
    ] {
        assert!(errors.contains(named), "{named} in {errors}");
    }
    assert_eq!(server.seen.lock().unwrap().order, ["1", "2", "3", "4", "5"]);
    assert_eq!(summary(&output)["skipped"], 4);
}

#[test]
fn many_records_go_in_bounded_batches() {
    let (server, dir) = (FakeServer::start(0), tempfile::tempdir().unwrap());
    let records: Vec<String> = (0..2_500).map(|n| json!({"eventID": n.to_string()}).to_string()).collect();
    put(dir.path(), "all.json", format!("{{\"Records\":[{}]}}", records.join(",")).as_bytes());
    let output = server.ingest(&[&dir.path().join("all.json").display().to_string()]);
    assert_eq!(summary(&output)["accepted"], 2_500);
    assert_eq!(server.seen.lock().unwrap().batches, 3);
}

#[test]
fn what_cannot_begin_ends_with_status_two() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "1.json", br#"{"Records":[{"eventID":"1"}]}"#);
    let file = dir.path().join("1.json").display().to_string();
    let says = |output: &Output, text: &str| {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(text), "{text} in {errors}");
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    says(&ingest(&format!("http://127.0.0.1:{port}"), &[&file]), "cannot be reached");
    says(&ingest("ftp://example.com", &[&file]), "not an http or https address");
    says(&tidegate(&["ingest", &file]).output().unwrap(), "tidegate env");
    let server = FakeServer::start(0);
    says(&server.ingest(&["/nowhere/at/all"]), "does not exist");
    says(&server.ingest(&[]), "PATH");
    put(dir.path(), "empty/readme.txt", b"");
    says(&server.ingest(&[&dir.path().join("empty").display().to_string()]), "no log file");
}
