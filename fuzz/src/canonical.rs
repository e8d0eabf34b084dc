//! A second canonicaliser, written from the documentation and as plainly as can be, to compare the first one with.
//!
//! Source: "Create a signed AWS API request" (IAM User Guide).

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use sha2::{Digest, Sha256};

/// What is signed, and by whom.
pub(crate) struct Signing<'a> {
    pub secret: &'a str,
    /// The basic form.
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    /// Lower case, sorted.
    pub headers: &'a [String],
}

/// The signature of a request in hexadecimal.
pub(crate) fn signature(request: &Request<Bytes>, signing: &Signing<'_>) -> String {
    let Signing { secret, date, region, service, headers } = signing;
    let values = |name: &String| {
        let values = request.headers().get_all(name).iter().map(|value| squeeze(value.as_bytes()));
        [name.as_bytes(), b":", &values.collect::<Vec<_>>().join(&b","[..]), b"\n"].concat()
    };
    let canonical = [
        request.method().as_str().as_bytes(),
        path(request.uri().path(), service).as_bytes(),
        query(request.uri().query().unwrap_or_default()).as_bytes(),
        &headers.iter().map(values).collect::<Vec<_>>().concat(),
        headers.join(";").as_bytes(),
        hex(&Sha256::digest(request.body())).as_bytes(),
    ]
    .join(&b"\n"[..]);
    let scope = format!("{}/{region}/{service}/aws4_request", &date[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = [&date[..8], region, service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    hex(&mac(&key, &text))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Percent-encodes all but unreserved characters.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    };
    bytes.iter().map(one).collect()
}

fn decode(text: &str) -> Vec<u8> {
    let (mut rest, mut out) = (text.as_bytes(), Vec::new());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.filter(|two| !two.starts_with('+')).and_then(|two| u8::from_str_radix(two, 16).ok());
        out.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    out
}

fn query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(&decode(name)), encode(&decode(value))))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn path(path: &str, service: &str) -> String {
    if service == "s3" {
        return path.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            kept.pop();
        } else {
            kept.push(part);
        }
    }
    let encoded: Vec<String> = kept.iter().map(|part| encode(part.as_bytes())).collect();
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", encoded.join("/"))
}

fn squeeze(value: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for byte in value.trim_ascii() {
        if !(*byte == b' ' && out.last() == Some(&b' ')) {
            out.push(*byte);
        }
    }
    out
}
