//! Checking a signature. The order of the checks is AWS's: form, scope, date, key, signature.

use std::fmt;
use std::time::Duration;

use base::{Principal, Region, Timestamp};
use bytes::Bytes;
use http::{HeaderName, Request};
use subtle::ConstantTimeEq;

use super::authorization::{Authorization, Place, incomplete};
use super::canonical::{AUTHORITY, Facts, Query, canonical_query, has_header, sha256_hex, string_to_sign};
use super::key::KeyCache;
use super::rejection::{Reason, Rejection};

/// What the credential provider knows of an access key.
#[derive(Clone)]
pub struct Credential {
    /// The secret key.
    pub secret: String,
    /// The session token that must come with the key; a key without one must come without.
    pub session_token: Option<String>,
    /// When a session's key ends.
    pub expires: Option<Timestamp>,
    /// Whose key it is.
    pub principal: Principal,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?}, secret not shown)", self.principal)
    }
}

/// Who signed, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The caller.
    pub principal: Principal,
    /// The access key id.
    pub access_key: String,
    /// The region that the signature names.
    pub region: Region,
    /// The signing name of the service that the signature names.
    pub service: String,
}

/// Checks signatures. One for a server: it keeps derived keys.
pub struct Verifier {
    max_skew: Duration,
    keys: KeyCache,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier(max skew {:?}, keys not shown)", self.max_skew)
    }
}

impl Verifier {
    /// A verifier that takes requests dated up to `max_skew` before or after its own clock.
    pub fn new(max_skew: Duration) -> Self {
        Self { max_skew, keys: KeyCache::default() }
    }

    /// Verifies a request, whose body is whole. `lookup` gives the credential of an access key id.
    ///
    /// The host, the date and every `x-amz-*` header must be signed. `Content-Type` need not be: signers differ, and
    /// the body's hash covers what it describes. A body must be signed: `UNSIGNED-PAYLOAD` is refused, but of a
    /// presigned request to S3, whose signers do not know the body.
    pub fn verify(
        &self,
        request: &Request<Bytes>,
        now: Timestamp,
        lookup: impl FnOnce(&str) -> Option<Credential>,
    ) -> Result<Verified, Rejection> {
        let Head { authorization, region, date, credential } = self.head(request, now, lookup)?;
        let scope = &authorization.credential;
        let payload_hash = payload_hash(request, &authorization)?;

        let (key, cached) = self.keys.get(&credential.secret, scope);
        let (scope_text, headers) = (scope.text(), &authorization.signed_headers);
        let facts =
            Facts { headers, payload_hash: &payload_hash, date: &date, scope: &scope_text, service: &scope.service };
        let matches = |query| {
            let text = string_to_sign(request, &facts, query);
            bool::from(key.sign(&text).ct_eq(&authorization.signature))
        };
        let query = request.uri().query().unwrap_or_default();
        let verbatim_differs = || canonical_query(query, Query::Encoded) != canonical_query(query, Query::Verbatim);
        let valid = matches(Query::Encoded) || (verbatim_differs() && matches(Query::Verbatim));
        if !valid {
            return Err(Rejection::mismatch());
        }
        if !cached {
            self.keys.keep(&credential.secret, scope, key);
        }
        let (access_key, service) = (scope.access_key.clone(), scope.service.clone());
        Ok(Verified { principal: credential.principal, access_key, region, service })
    }

    /// Checks all that can be checked before the body is there: everything but the body's hash and the signature. One
    /// who does not pass would not pass [`verify`](Self::verify), so nothing needs to be kept for them; one who passes
    /// has proven nothing yet.
    pub fn check_head<B>(
        &self,
        request: &Request<B>,
        now: Timestamp,
        lookup: impl FnOnce(&str) -> Option<Credential>,
    ) -> Result<(), Rejection> {
        self.head(request, now, lookup).map(|_| ())
    }

    fn head<B>(
        &self,
        request: &Request<B>,
        now: Timestamp,
        lookup: impl FnOnce(&str) -> Option<Credential>,
    ) -> Result<Head, Rejection> {
        let authorization = Authorization::read(request)?;
        let scope = &authorization.credential;
        let region =
            scope.region.parse::<Region>().map_err(|_| mismatch("Credential should be scoped to a valid region."))?;
        check_signed_headers(request, &authorization)?;
        let date = self.check_date(request, &authorization, now)?;
        let credential = lookup(&scope.access_key).ok_or_else(Rejection::unknown_key)?;
        check_session(request, &authorization, &credential, now)?;
        Ok(Head { authorization, region, date, credential })
    }

    /// The request's date as the string to sign has it.
    fn check_date<B>(
        &self,
        request: &Request<B>,
        authorization: &Authorization,
        now: Timestamp,
    ) -> Result<String, Rejection> {
        let (date, life) = match &authorization.place {
            Place::Header => (request_date(request)?, None),
            Place::Query(presigned) => (basic_date(&presigned.date)?, presigned.life),
        };
        let (text, scope) = (date.to_basic(), &authorization.credential);
        if scope.date != text[..8.min(text.len())] {
            return Err(mismatch(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', from '{text}'.",
                scope.date,
                &text[..8.min(text.len())],
            )));
        }
        let (oldest, newest) = (now - life.unwrap_or(self.max_skew), now + self.max_skew);
        let minutes = self.max_skew.as_secs() / 60;
        if date < oldest {
            let life = life.map_or_else(|| format!("{minutes} min."), |life| format!("{} sec.", life.as_secs()));
            return Err(mismatch(format!(
                "Signature expired: {text} is now earlier than {} ({} - {life})",
                oldest.to_basic(),
                now.to_basic(),
            )));
        }
        if date > newest {
            return Err(mismatch(format!(
                "Signature not yet current: {text} is still later than {} ({} + {minutes} min.)",
                newest.to_basic(),
                now.to_basic(),
            )));
        }
        Ok(text)
    }

    #[cfg(test)]
    pub(super) fn cached_keys(&self) -> usize {
        self.keys.len()
    }
}

/// What a request's head says, checked.
struct Head {
    authorization: Authorization,
    region: Region,
    /// As the string to sign has it.
    date: String,
    credential: Credential,
}

/// In place of a body's hash.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

fn mismatch(message: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Mismatch, message)
}

/// `X-Amz-Date`, else `Date`, which may be in HTTP's own form.
fn request_date<B>(request: &Request<B>) -> Result<Timestamp, Rejection> {
    if let Some(text) = single(request, "x-amz-date")? {
        return basic_date(text);
    }
    let text = single(request, "date")?.ok_or_else(|| {
        incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    })?;
    let from_http = || jiff::fmt::rfc2822::parse(text).map(|t| Timestamp::from_millis(t.timestamp().as_millisecond()));
    Timestamp::from_basic(text).or_else(|_| from_http()).map_err(|_| incomplete("the Date header is not a date"))
}

fn basic_date(text: &str) -> Result<Timestamp, Rejection> {
    Timestamp::from_basic(text)
        .map_err(|_| incomplete("Date must be in ISO-8601 'basic format', as in 20261123T040506Z, in X-Amz-Date."))
}

fn single<'r, B>(request: &'r Request<B>, name: &str) -> Result<Option<&'r str>, Rejection> {
    let mut values = request.headers().get_all(name).iter();
    let value = values.next();
    let text = value.map(|v| v.to_str()).transpose();
    match (text, values.next()) {
        (Ok(text), None) => Ok(text),
        _ => Err(Rejection::new(Reason::Incomplete, format!("{name} must be there once, as plain text"))),
    }
}

fn check_signed_headers<B>(request: &Request<B>, authorization: &Authorization) -> Result<(), Rejection> {
    let signed = &authorization.signed_headers;
    let is_signed = |name: &str| signed.binary_search_by(|s| s.as_str().cmp(name)).is_ok();
    if !is_signed("host") && !is_signed(AUTHORITY) {
        return Err(mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
    }
    let date = if request.headers().contains_key("x-amz-date") { "x-amz-date" } else { "date" };
    let present = request.headers().keys().map(HeaderName::as_str);
    // A presigned request has its date among its parameters.
    let in_header = authorization.place == Place::Header;
    let must_be_signed = |name: &&str| name.starts_with("x-amz-") || (in_header && *name == date);
    if let Some(name) = present.filter(must_be_signed).find(|name| !is_signed(name)) {
        return Err(mismatch(format!("the header '{name}' is in the request and must be a 'SignedHeader'")));
    }
    if let Some(name) = signed.iter().find(|name| !has_header(request, name)) {
        return Err(mismatch(format!("the signed header '{name}' is not in the request")));
    }
    Ok(())
}

/// The hash of the body, which must be the announced one if one is announced.
fn payload_hash(request: &Request<Bytes>, authorization: &Authorization) -> Result<String, Rejection> {
    let announced = single(request, "x-amz-content-sha256")?;
    let presigned = matches!(authorization.place, Place::Query(_));
    if presigned && authorization.credential.service == "s3" && announced.is_none_or(|hash| hash == UNSIGNED) {
        return Ok(UNSIGNED.to_owned());
    }
    let actual = sha256_hex(request.body());
    match announced {
        None => Ok(actual),
        Some(announced) if announced == actual => Ok(actual),
        Some(announced) if announced.len() == 64 => {
            Err(mismatch("The provided 'x-amz-content-sha256' header does not match what was computed."))
        }
        Some(announced) => {
            Err(mismatch(format!("the body must be signed: x-amz-content-sha256 '{announced}' is not taken")))
        }
    }
}

/// A session's key comes with its token and before its end; a key without session comes without token.
fn check_session<B>(
    request: &Request<B>,
    authorization: &Authorization,
    credential: &Credential,
    now: Timestamp,
) -> Result<(), Rejection> {
    let header = single(request, "x-amz-security-token")?;
    let given = match &authorization.place {
        Place::Header => header,
        Place::Query(_) if header.is_some() => {
            return Err(incomplete("a presigned request has X-Amz-Security-Token in its query string only"));
        }
        Place::Query(presigned) => presigned.token.as_deref(),
    };
    let given = given.unwrap_or_default();
    let wanted = credential.session_token.as_deref().unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(wanted.as_bytes())) {
        return Err(Rejection::unknown_key());
    }
    if credential.expires.is_some_and(|expires| now >= expires) {
        return Err(Rejection::new(Reason::ExpiredToken, "The security token included in the request is expired"));
    }
    Ok(())
}
