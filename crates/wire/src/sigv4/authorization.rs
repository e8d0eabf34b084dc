//! A signature and what it says of itself; the `Authorization` header, read strictly: each part once, nothing else.

use std::borrow::Cow;
use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Uri, request};

use super::presigned::{self, Presigned};
use super::rejection::{Reason, Rejection};

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(super) const TERMINATOR: &str = "aws4_request";

/// A request without its body, as far as a signature covers it.
#[derive(Clone, Copy)]
pub struct Head<'r> {
    /// The method.
    pub method: &'r Method,
    /// Path and query; the authority, too, where the request came with it.
    pub uri: &'r Uri,
    /// All headers.
    pub headers: &'r HeaderMap,
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing else: a session's token may be in the headers, and in the query.
        write!(f, "Head({} {})", self.method, self.uri.path())
    }
}

impl<'r> From<&'r request::Parts> for Head<'r> {
    fn from(parts: &'r request::Parts) -> Self {
        Self { method: &parts.method, uri: &parts.uri, headers: &parts.headers }
    }
}

impl<'r, B> From<&'r Request<B>> for Head<'r> {
    fn from(request: &'r Request<B>) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers() }
    }
}

/// A signature in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization<'r> {
    /// Whose key, and for what.
    pub credential: CredentialScope<'r>,
    /// The signed headers' names: lower case, sorted, each once, with `;` between them.
    pub(super) signed_headers: Cow<'r, str>,
    /// The signature's 32 bytes.
    pub(super) signature: [u8; 32],
    /// Where it came.
    pub(super) place: Place<'r>,
}

/// Where a signature comes in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place<'r> {
    /// In the `Authorization` header.
    Header,
    /// In the query string.
    Query(Presigned<'r>),
}

/// `KEY/20261123/us-east-1/kinesis/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialScope<'r> {
    /// The access key id.
    pub access_key: Cow<'r, str>,
    /// `YYYYMMDD`.
    pub date: Cow<'r, str>,
    /// As the caller wrote it.
    pub region: Cow<'r, str>,
    /// The signing name of a service.
    pub service: Cow<'r, str>,
}

impl CredentialScope<'_> {
    /// The scope without the key, as the string to sign holds it.
    pub(super) fn text(&self) -> String {
        [&*self.date, &*self.region, &*self.service, TERMINATOR].join("/")
    }
}

impl<'r> Authorization<'r> {
    /// Reads the signature of a request. What it says is not verified yet.
    pub fn read(head: impl Into<Head<'r>>) -> Result<Self, Rejection> {
        let head = head.into();
        let query = head.uri.query().unwrap_or_default();
        match (head.headers.contains_key(AUTHORIZATION), presigned::claims(query)) {
            (true, true) => Err(Rejection::new(
                Reason::Mismatch,
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
            )),
            (false, true) => presigned::read(query),
            (_, false) => Self::from_header(head.headers),
        }
    }

    fn from_header(headers: &'r HeaderMap) -> Result<Self, Rejection> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or_else(|| Rejection::new(Reason::NoToken, "Missing Authentication Token"))?;
        if values.next().is_some() {
            return Err(incomplete("the request has more than one Authorization header"));
        }
        let text = value.to_str().map_err(|_| incomplete("the Authorization header is not text"))?;
        let (algorithm, rest) = text.split_once(' ').unwrap_or((text, ""));
        if algorithm != ALGORITHM {
            // HTTP Basic is whole, but carries no AWS credentials; anything else is a broken attempt.
            let reason = if algorithm.eq_ignore_ascii_case("basic") { Reason::NoToken } else { Reason::Incomplete };
            return Err(Rejection::new(reason, format!("the Authorization header must begin with {ALGORITHM}")));
        }
        let [credential, signed_headers, signature] = parts(rest)?;
        Ok(Self {
            credential: scope(credential)?,
            signed_headers: names(signed_headers.into())?,
            signature: hex32(signature)
                .ok_or_else(|| incomplete("Signature must be 64 lower-case hexadecimal digits"))?,
            place: Place::Header,
        })
    }
}

pub(super) fn incomplete(message: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Incomplete, message)
}

const PARTS: [&str; 3] = ["Credential", "SignedHeaders", "Signature"];

fn parts(text: &str) -> Result<[&str; 3], Rejection> {
    let mut found: [Option<&str>; 3] = [None; 3];
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) =
            part.split_once('=').ok_or_else(|| incomplete("a part of the Authorization header has no '='"))?;
        let place = PARTS.iter().position(|known| *known == name);
        let place = place.ok_or_else(|| incomplete("the Authorization header has a part that is not known"))?;
        if found[place].replace(value).is_some() {
            return Err(incomplete(format!("the Authorization header has {name} twice")));
        }
    }
    match found {
        [Some(credential), Some(signed_headers), Some(signature)] => Ok([credential, signed_headers, signature]),
        _ => {
            let absent = PARTS.iter().zip(found).filter(|(_, value)| value.is_none());
            let words: Vec<_> =
                absent.map(|(name, _)| format!("Authorization header requires '{name}' parameter.")).collect();
            Err(incomplete(words.join(" ")))
        }
    }
}

pub(super) fn scope(text: &str) -> Result<CredentialScope<'_>, Rejection> {
    let form = || incomplete("Credential must have the form KEY/YYYYMMDD/REGION/SERVICE/aws4_request");
    let mut fields = text.split('/');
    let mut next = || fields.next().ok_or_else(form);
    let [access_key, date, region, service, terminator] = [next()?, next()?, next()?, next()?, next()?];
    if fields.next().is_some() || [access_key, date, region, service].contains(&"") {
        return Err(form());
    }
    if terminator != TERMINATOR {
        let message = format!("Credential should be scoped with a valid terminator: '{TERMINATOR}'.");
        return Err(Rejection::new(Reason::Mismatch, message));
    }
    Ok(CredentialScope {
        access_key: access_key.into(),
        date: date.into(),
        region: region.into(),
        service: service.into(),
    })
}

impl CredentialScope<'_> {
    /// The same without the text that it was read from.
    pub(super) fn into_owned<'a>(self) -> CredentialScope<'a> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        CredentialScope {
            access_key: owned(self.access_key),
            date: owned(self.date),
            region: owned(self.region),
            service: owned(self.service),
        }
    }
}

/// The names of signed headers, once their form is right.
pub(super) fn names(text: Cow<'_, str>) -> Result<Cow<'_, str>, Rejection> {
    let sorted = text.split(';').zip(text.split(';').skip(1)).all(|(name, next)| name < next);
    let lower = !text.split(';').any(str::is_empty) && !text.bytes().any(|b| b.is_ascii_uppercase());
    if sorted && lower {
        return Ok(text);
    }
    Err(incomplete("SignedHeaders must be lower-case names, sorted, each once, with ';' between them"))
}

pub(super) fn hex32(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}
