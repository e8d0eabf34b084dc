//! The canonicaliser of Signature Version 4, by requests of any form.
//!
//! The bytes are read so: what is asked for and how it is tampered with (a byte each), a line with path and query, lines
//! with headers, an empty line, the body.

use std::time::Duration;

use base::{Principal, Timestamp};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use wire::sigv4::{Credential, Keys, Verifier, sign, without_signature};

use crate::canonical::{Signing, encode, signature};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const KEY: &str = "AKIDEXAMPLE";
const REGION: &str = "us-east-1";
const DATE: &str = "20261123T040506Z";
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
const SERVICES: [&str; 4] = ["kinesis", "lambda", "es", "s3"];
/// Those that signing sets itself, or that mean something for what is signed.
const OWN: [&str; 5] = ["authorization", "date", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];
/// Those that signing leaves out.
const UNSIGNED: [&str; 4] = ["user-agent", "connection", "expect", "transfer-encoding"];

/// A request of any form: signed it verifies, tampered with it does not, and unsigned it never does.
pub fn sigv4(data: &[u8]) {
    let [what, tampering, rest @ ..] = data else { return };
    let Some(request) = read(*what, rest) else { return };
    let service = SERVICES[usize::from(what >> 2 & 3)];
    assert!(!verifies(&request), "nobody signed it");
    if let Some(plain) = without_signature(request.uri()) {
        assert_eq!(without_signature(&plain), None);
        return;
    }
    for name in OWN {
        if request.headers().contains_key(name) {
            return;
        }
    }
    in_the_header(request.clone(), service, *tampering);
    if service != "s3" {
        in_the_query(request, service, *tampering);
    }
}

fn read(what: u8, mut rest: &[u8]) -> Option<Request<Bytes>> {
    let mut line = || {
        let at = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = rest.split_at(at);
        rest = &after[1..];
        Some(line)
    };
    let uri = line()?;
    let uri = Uri::try_from(uri).ok().filter(|_| uri.starts_with(b"/"))?;
    let mut request = Request::builder().method(METHODS[usize::from(what & 3)].clone()).uri(uri);
    while let Some(header) = line().filter(|line| !line.is_empty()) {
        let at = header.iter().position(|byte| *byte == b':')?;
        let (name, value) =
            (HeaderName::from_bytes(&header[..at]).ok()?, HeaderValue::from_bytes(&header[at + 1..]).ok()?);
        request = request.header(name, value);
    }
    let mut request = request.body(Bytes::copy_from_slice(rest)).ok()?;
    request.headers_mut().entry("host").or_insert(HeaderValue::from_static("localhost"));
    Some(request)
}

fn verifies(request: &Request<Bytes>) -> bool {
    let now = Timestamp::from_basic(DATE).expect("a date");
    let lookup = |key: &str| {
        let principal = Principal::Root;
        (key == KEY).then(|| Credential { secret: SECRET.into(), session_token: None, expires: None, principal })
    };
    Verifier::new(Duration::from_secs(300)).verify(request, now, lookup).is_ok()
}

fn signing<'a>(service: &'a str, headers: &'a [String]) -> Signing<'a> {
    Signing { secret: SECRET, date: DATE, region: REGION, service, headers }
}

fn in_the_header(mut request: Request<Bytes>, service: &str, tampering: u8) {
    let keys = Keys { access_key_id: KEY.into(), secret_access_key: SECRET.into(), session_token: None };
    let now = Timestamp::from_basic(DATE).expect("a date");
    sign(&mut request, &keys, REGION, service, now).expect("a host, and keys that are text");
    assert!(verifies(&request), "what we sign verifies: {request:?}");

    let value = request.headers()["authorization"].to_str().expect("ours is text").to_owned();
    let (head, made) = value.split_at(value.len() - 64);
    let names = head.split_once("SignedHeaders=").and_then(|(_, rest)| rest.split_once(',')).expect("its own form").0;
    let names: Vec<String> = names.split(';').map(str::to_owned).collect();
    assert_eq!(signature(&request, &signing(service, &names)), made, "the plain canonicaliser agrees: {request:?}");

    match tampering % 8 {
        6 => {
            let at = usize::from(tampering >> 3) * 2;
            let other = if &made[at..=at] == "0" { "1" } else { "0" };
            let changed = format!("{head}{}{other}{}", &made[..at], &made[at + 1..]);
            request.headers_mut().insert("authorization", changed.parse().expect("text"));
        }
        7 => drop(request.headers_mut().insert("x-amz-date", HeaderValue::from_static("20261123T040507Z"))),
        other => tamper(&mut request, other),
    }
    assert!(!verifies(&request), "tampered with by {tampering}: {request:?}");
}

fn in_the_query(mut request: Request<Bytes>, service: &str, tampering: u8) {
    let mut names: Vec<String> = request.headers().keys().map(|name| name.as_str().to_owned()).collect();
    names.retain(|name| !UNSIGNED.contains(&name.as_str()));
    names.sort();
    let credential = format!("{KEY}/{}/{REGION}/{service}/aws4_request", &DATE[..8]);
    let parameters = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", DATE),
        ("X-Amz-Expires", "60"),
        ("X-Amz-SignedHeaders", &names.join(";")),
    ];
    let parameters: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", encode(value.as_bytes()))).collect();
    if parameters.iter().any(|parameter| request.uri().query().is_some_and(|query| names_one(query, parameter))) {
        return;
    }
    if !append(&mut request, &parameters.join("&")) {
        return;
    }
    let made = signature(&request, &signing(service, &names));
    assert!(append(&mut request, &format!("X-Amz-Signature={made}")));
    assert!(verifies(&request), "presigned it verifies: {request:?}");
    let plain = without_signature(request.uri()).expect("it has a signature");
    assert!(!plain.query().unwrap_or_default().contains("X-Amz-Credential"));
    match tampering % 8 {
        6 => assert!(append(&mut request, "X-Amz-Expires=61")),
        7 => {
            let changed = request.uri().to_string().replace("X-Amz-Expires=60", "X-Amz-Expires=61");
            *request.uri_mut() = changed.parse().expect("still an address");
        }
        other => tamper(&mut request, other),
    }
    assert!(!verifies(&request), "tampered with by {tampering}: {request:?}");
}

/// Whether a query has a parameter of the same name, however it is written.
fn names_one(query: &str, parameter: &str) -> bool {
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
    // A name with an escape may be any.
    query
        .split('&')
        .any(|pair| name(pair).contains('%') || name(pair) == name(parameter) || name(pair) == "x-amz-signature")
}

fn tamper(request: &mut Request<Bytes>, how: u8) {
    match how {
        0 => {
            let other = METHODS.iter().find(|method| *method != request.method()).expect("more than one");
            *request.method_mut() = other.clone();
        }
        1 => {
            let (path, query) = (request.uri().path(), request.uri().query());
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            *request.uri_mut() =
                format!("{}/zz9{query}", path.trim_end_matches('/')).parse().expect("still an address");
        }
        2 => assert!(append(request, "zz9=1")),
        3 => *request.body_mut() = [request.body(), &b"x"[..]].concat().into(),
        4 => drop(request.headers_mut().insert("x-amz-zz9", HeaderValue::from_static("1"))),
        _ => drop(request.headers_mut().append("host", HeaderValue::from_static("elsewhere"))),
    }
}

/// Adds a pair to the query string; whether the address is not too long for it.
fn append(request: &mut Request<Bytes>, pair: &str) -> bool {
    let mark = match request.uri().query() {
        None => "?",
        Some(query) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    let longer = format!("{}{mark}{pair}", request.uri()).parse();
    longer.map(|longer| *request.uri_mut() = longer).is_ok()
}
