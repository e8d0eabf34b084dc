//! Checking a signature. The order of the checks is AWS's: form, scope, date, key, signature.

use std::fmt;
use std::time::Duration;

use base::{Principal, Region, Timestamp};
use bytes::Bytes;
use http::{HeaderName, Request};
use subtle::ConstantTimeEq;

use super::authorization::{Authorization, Head, Place, incomplete};
use super::canonical::{AUTHORITY, Facts, Query, canonical_query, has_header, sha256_hex, string_to_sign};
use super::key::SigningSecret;
use super::rejection::{Reason, Rejection};

/// What the credential provider knows of an access key.
#[derive(Clone)]
pub struct Credential {
    /// The secret key.
    pub secret: SigningSecret,
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

/// Checks signatures.
#[derive(Debug, Clone, Copy)]
pub struct Verifier {
    max_skew: Duration,
}

/// What the head of a request claims, and all of it checked that can be checked before the body is there: everything
/// but the body's hash and the signature. One who has no claim would not be verified, so nothing needs to be kept for
/// them; one who has one has proven nothing yet. It borrows the head, so that it is good for that request only.
#[must_use = "a claim is no proof"]
pub struct Claim<'r> {
    head: Head<'r>,
    authorization: Authorization<'r>,
    region: Region,
    /// As the string to sign has it.
    date: String,
    credential: Credential,
    verifier: Verifier,
}

impl Verifier {
    /// A verifier that takes requests dated up to `max_skew` before or after its own clock.
    pub fn new(max_skew: Duration) -> Self {
        Self { max_skew }
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
        self.claim(request, now, lookup)?.prove(request.body(), now)
    }

    /// The first half of [`verify`](Self::verify), by the head alone.
    pub fn claim<'r>(
        &self,
        head: impl Into<Head<'r>>,
        now: Timestamp,
        lookup: impl FnOnce(&str) -> Option<Credential>,
    ) -> Result<Claim<'r>, Rejection> {
        let head = head.into();
        let authorization = Authorization::read(head)?;
        let scope = &authorization.credential;
        let region =
            scope.region.parse::<Region>().map_err(|_| mismatch("Credential should be scoped to a valid region."))?;
        check_signed_headers(head, &authorization)?;
        let date = self.check_date(head, &authorization, now)?;
        let credential = lookup(&scope.access_key).ok_or_else(Rejection::unknown_key)?;
        check_session(head, &authorization, &credential, now)?;
        Ok(Claim { head, authorization, region, date, credential, verifier: *self })
    }

    /// The request's date as the string to sign has it.
    fn check_date(
        &self,
        head: Head<'_>,
        authorization: &Authorization<'_>,
        now: Timestamp,
    ) -> Result<String, Rejection> {
        let (date, life) = match &authorization.place {
            Place::Header => (request_date(head)?, None),
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
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the head: its headers may have a session's token.
        write!(f, "Claim({:?}, {:?})", self.authorization, self.credential)
    }
}

impl<'r> Claim<'r> {
    /// Whose claim it is.
    pub fn head(&self) -> Head<'r> {
        self.head
    }

    /// The second half of [`Verifier::verify`]: whether the holder of the key signed this head with that body. Bodies
    /// take their time, so that what holds for a time only is looked at again, `now`.
    pub fn prove(self, body: &[u8], now: Timestamp) -> Result<Verified, Rejection> {
        let Self { head, authorization, region, date, credential, verifier } = self;
        verifier.check_date(head, &authorization, now)?;
        check_expiry(&credential, now)?;
        let scope = &authorization.credential;
        let payload_hash = payload_hash(head, &authorization, body)?;
        let (key, kept) = credential.secret.key(scope);
        let headers = &authorization.signed_headers;
        let facts = Facts { headers, payload_hash: &payload_hash, date: &date, scope };
        let matches = |query| {
            let text = string_to_sign(head, &facts, query);
            bool::from(key.sign(&text).ct_eq(&authorization.signature))
        };
        let query = head.uri.query().unwrap_or_default();
        let verbatim_differs = || canonical_query(query, Query::Encoded) != canonical_query(query, Query::Verbatim);
        let valid = matches(Query::Encoded) || (verbatim_differs() && matches(Query::Verbatim));
        if !valid {
            return Err(Rejection::mismatch());
        }
        let (access_key, service) = (scope.access_key.to_string(), scope.service.to_string());
        if !kept {
            credential.secret.keep(authorization.credential, key);
        }
        Ok(Verified { principal: credential.principal, access_key, region, service })
    }
}

/// In place of a body's hash.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

fn mismatch(message: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Mismatch, message)
}

/// `X-Amz-Date`, else `Date`, which may be in HTTP's own form.
fn request_date(head: Head<'_>) -> Result<Timestamp, Rejection> {
    if let Some(text) = single(head, "x-amz-date")? {
        return basic_date(text);
    }
    let text = single(head, "date")?.ok_or_else(|| {
        incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    })?;
    let from_http = || jiff::fmt::rfc2822::parse(text).map(|t| Timestamp::from_millis(t.timestamp().as_millisecond()));
    Timestamp::from_basic(text).or_else(|_| from_http()).map_err(|_| incomplete("the Date header is not a date"))
}

fn basic_date(text: &str) -> Result<Timestamp, Rejection> {
    Timestamp::from_basic(text)
        .map_err(|_| incomplete("Date must be in ISO-8601 'basic format', as in 20261123T040506Z, in X-Amz-Date."))
}

fn single<'r>(head: Head<'r>, name: &str) -> Result<Option<&'r str>, Rejection> {
    let mut values = head.headers.get_all(name).iter();
    let value = values.next();
    let text = value.map(|v| v.to_str()).transpose();
    match (text, values.next()) {
        (Ok(text), None) => Ok(text),
        _ => Err(Rejection::new(Reason::Incomplete, format!("{name} must be there once, as plain text"))),
    }
}

fn check_signed_headers(head: Head<'_>, authorization: &Authorization<'_>) -> Result<(), Rejection> {
    let signed = &authorization.signed_headers;
    let is_signed = |name: &str| signed.split(';').any(|signed| signed == name);
    if !is_signed("host") && !is_signed(AUTHORITY) {
        return Err(mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
    }
    let date = if head.headers.contains_key("x-amz-date") { "x-amz-date" } else { "date" };
    let present = head.headers.keys().map(HeaderName::as_str);
    // A presigned request has its date among its parameters.
    let in_header = authorization.place == Place::Header;
    let must_be_signed = |name: &&str| name.starts_with("x-amz-") || (in_header && *name == date);
    if let Some(name) = present.filter(must_be_signed).find(|name| !is_signed(name)) {
        return Err(mismatch(format!("the header '{name}' is in the request and must be a 'SignedHeader'")));
    }
    if let Some(name) = signed.split(';').find(|name| !has_header(head, name)) {
        return Err(mismatch(format!("the signed header '{name}' is not in the request")));
    }
    Ok(())
}

/// The hash of the body, which must be the announced one if one is announced.
fn payload_hash(head: Head<'_>, authorization: &Authorization<'_>, body: &[u8]) -> Result<String, Rejection> {
    let announced = single(head, "x-amz-content-sha256")?;
    let presigned = matches!(authorization.place, Place::Query(_));
    if presigned && authorization.credential.service == "s3" && announced.is_none_or(|hash| hash == UNSIGNED) {
        return Ok(UNSIGNED.to_owned());
    }
    let actual = sha256_hex(body);
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
fn check_session(
    head: Head<'_>,
    authorization: &Authorization<'_>,
    credential: &Credential,
    now: Timestamp,
) -> Result<(), Rejection> {
    let header = single(head, "x-amz-security-token")?;
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
    check_expiry(credential, now)
}

fn check_expiry(credential: &Credential, now: Timestamp) -> Result<(), Rejection> {
    if credential.expires.is_some_and(|expires| now >= expires) {
        return Err(Rejection::new(Reason::ExpiredToken, "The security token included in the request is expired"));
    }
    Ok(())
}
