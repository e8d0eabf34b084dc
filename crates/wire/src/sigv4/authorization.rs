//! A signature and what it says of itself; the `Authorization` header, read strictly: each part once, nothing else.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};

use super::presigned::{self, Presigned};
use super::rejection::{Reason, Rejection};

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(super) const TERMINATOR: &str = "aws4_request";

/// A signature in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Whose key, and for what.
    pub credential: CredentialScope,
    /// The signed headers' names: lower case, sorted, each once.
    pub signed_headers: Vec<String>,
    /// The signature's 32 bytes.
    pub(super) signature: [u8; 32],
    /// Where it came.
    pub(super) place: Place,
}

/// Where a signature comes in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the `Authorization` header.
    Header,
    /// In the query string.
    Query(Presigned),
}

/// `KEY/20261123/us-east-1/kinesis/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialScope {
    /// The access key id.
    pub access_key: String,
    /// `YYYYMMDD`.
    pub date: String,
    /// As the caller wrote it.
    pub region: String,
    /// The signing name of a service.
    pub service: String,
}

impl CredentialScope {
    /// The scope without the key, as the string to sign holds it.
    pub(super) fn text(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.date, self.region, self.service)
    }
}

impl Authorization {
    /// Reads the signature of a request. What it says is not verified yet.
    pub fn read<B>(request: &Request<B>) -> Result<Self, Rejection> {
        let query = request.uri().query().unwrap_or_default();
        match (request.headers().contains_key(AUTHORIZATION), presigned::claims(query)) {
            (true, true) => Err(Rejection::new(
                Reason::Mismatch,
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
            )),
            (false, true) => presigned::read(query),
            (_, false) => Self::from_header(request.headers()),
        }
    }

    fn from_header(headers: &HeaderMap) -> Result<Self, Rejection> {
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
            signed_headers: names(signed_headers)?,
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

pub(super) fn scope(text: &str) -> Result<CredentialScope, Rejection> {
    let fields: Vec<&str> = text.split('/').collect();
    let &[access_key, date, region, service, terminator] = fields.as_slice() else {
        return Err(incomplete("Credential must have the form KEY/YYYYMMDD/REGION/SERVICE/aws4_request"));
    };
    if [access_key, date, region, service].contains(&"") {
        return Err(incomplete("Credential must have the form KEY/YYYYMMDD/REGION/SERVICE/aws4_request"));
    }
    if terminator != TERMINATOR {
        let message = format!("Credential should be scoped with a valid terminator: '{TERMINATOR}'.");
        return Err(Rejection::new(Reason::Mismatch, message));
    }
    Ok(CredentialScope {
        access_key: access_key.to_owned(),
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    })
}

pub(super) fn names(text: &str) -> Result<Vec<String>, Rejection> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
    let lower = names.iter().all(|name| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase()));
    if sorted && lower {
        return Ok(names);
    }
    Err(incomplete("SignedHeaders must be lower-case names, sorted, each once, with ';' between them"))
}

pub(super) fn hex32(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut out = [0; 32];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}
