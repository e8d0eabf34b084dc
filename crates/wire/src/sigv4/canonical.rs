//! The canonical request: the bytes that both sides agree on, and the string to sign made of them.

use std::borrow::Cow;

use http::header::HOST;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

use super::authorization::{ALGORITHM, CredentialScope, Head, TERMINATOR};
use super::presigned::{self, SIGNATURE};

/// RFC 3986's unreserved characters stay as they are.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// What HTTP/2 calls the host, and clients that only speak HTTP/2 sign.
pub(super) const AUTHORITY: &str = ":authority";

/// What a request's query looks like to its signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// Every name and value decoded and encoded again, as the documentation says.
    Encoded,
    /// The pairs as they were sent. botocore signs a query that is part of a URL so; what was sent is what was
    /// signed, so this is no weaker.
    Verbatim,
}

/// What is signed besides what the request itself says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The signed headers' names, sorted, with `;` between them.
    pub headers: &'a str,
    /// In hexadecimal, or the words that stand for it.
    pub payload_hash: &'a str,
    /// The full one.
    pub date: &'a str,
    /// What the key is for.
    pub scope: &'a CredentialScope<'a>,
}

/// The string to sign for a request.
pub(super) fn string_to_sign(head: Head<'_>, facts: &Facts<'_>, query: Query) -> String {
    let Facts { headers, payload_hash, date, scope } = facts;
    let mut canonical = Vec::with_capacity(1_024);
    for line in [
        head.method.as_str(),
        &path(head.uri.path(), &scope.service),
        &canonical_query(head.uri.query().unwrap_or_default(), query),
    ] {
        canonical.extend_from_slice(line.as_bytes());
        canonical.push(b'\n');
    }
    for name in headers.split(';') {
        canonical.extend_from_slice(name.as_bytes());
        canonical.push(b':');
        header_value(head, name, &mut canonical);
        canonical.push(b'\n');
    }
    for part in ["\n", headers, "\n", payload_hash] {
        canonical.extend_from_slice(part.as_bytes());
    }
    let hash = sha256_hex(&canonical);
    let lines =
        [ALGORITHM, "\n", date, "\n", &scope.date, "/", &scope.region, "/", &scope.service, "/", TERMINATOR, "\n"];
    let mut text = String::with_capacity(256);
    lines.iter().for_each(|part| text.push_str(part));
    text.push_str(&hash);
    text
}

/// The path without dot segments and doubled slashes, encoded once more. S3 alone takes it as it was sent, because
/// there every path is somebody's object.
pub(super) fn path<'p>(path: &'p str, service: &str) -> Cow<'p, str> {
    if path == "/" {
        return Cow::Borrowed(path);
    }
    if service == "s3" {
        return if path.is_empty() { Cow::Borrowed("/") } else { Cow::Borrowed(path) };
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    let plain = format!("/{}{end}", parts.join("/"));
    Cow::Owned(percent_encode(plain.as_bytes(), PATH).to_string())
}

/// The query's pairs, sorted by name, then value; that of the signature itself is left out.
pub(super) fn canonical_query(query: &str, form: Query) -> String {
    if query.is_empty() {
        return String::new();
    }
    let presigned = presigned::claims(query);
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(|pair| !presigned || presigned::name(pair) != SIGNATURE)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match form {
                Query::Encoded => (encode_again(name), encode_again(value)),
                Query::Verbatim => (name.into(), value.into()),
            }
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// A `+` is a space, as it is to those who read the query afterwards.
fn encode_again(text: &str) -> Cow<'_, str> {
    let spaced = text.replace('+', "%20");
    let decoded: Vec<u8> = percent_decode(spaced.as_bytes()).collect();
    Cow::Owned(percent_encode(&decoded, UNRESERVED).to_string())
}

/// A name or value of the query string as text.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        return Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

/// A header's values with a comma between them, each without outer spaces and with inner runs of spaces as one.
fn header_value(head: Head<'_>, name: &str, out: &mut Vec<u8>) {
    let mut first = true;
    for value in head.headers.get_all(name) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        squeeze(value.as_bytes(), out);
    }
    if first && (name == HOST.as_str() || name == AUTHORITY) {
        // HTTP/2 carries the host in `:authority` instead. Some clients sign it under its own name.
        out.extend_from_slice(head.uri.authority().map_or("", |a| a.as_str()).as_bytes());
    }
}

fn squeeze(value: &[u8], out: &mut Vec<u8>) {
    let mut space = false;
    for byte in value.trim_ascii() {
        let is_space = *byte == b' ';
        if !(is_space && space) {
            out.push(*byte);
        }
        space = is_space;
    }
}

/// Whether a request has a header; a host may be in the URI's authority.
pub(super) fn has_header(head: Head<'_>, name: &str) -> bool {
    let is_host = name == HOST.as_str() || name == AUTHORITY;
    head.headers.contains_key(name) || (is_host && head.uri.authority().is_some())
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}
