//! Signing our own requests, as the command line sends them.

use std::fmt;

use base::Timestamp;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue, InvalidHeaderValue, USER_AGENT};
use http::{HeaderName, Request};

use super::authorization::{ALGORITHM, CredentialScope};
use super::canonical::{Facts, Query, hex, sha256_hex, string_to_sign};
use super::key::SigningKey;

/// A caller's keys.
#[derive(Clone)]
pub struct Keys {
    /// The access key id.
    pub access_key_id: String,
    /// The secret key.
    pub secret_access_key: String,
    /// A session's token.
    pub session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, secret not shown)", self.access_key_id)
    }
}

/// A request that cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The request says nowhere what host it is for.
    #[error("the request has no host to sign: give a Host header or an absolute URI")]
    NoHost,
    /// A key or the region has characters that a header cannot carry.
    #[error("the access key, session token, region or service cannot be written in a header")]
    NotText,
}

impl From<InvalidHeaderValue> for SignError {
    fn from(_: InvalidHeaderValue) -> Self {
        Self::NotText
    }
}

/// Headers that are left out because something on the way may change them.
const UNSIGNED: [HeaderName; 4] =
    [USER_AGENT, http::header::CONNECTION, http::header::EXPECT, http::header::TRANSFER_ENCODING];

/// Signs a request: sets its host (from the URI when absent), date, session token and `Authorization`.
pub fn sign(
    request: &mut Request<Bytes>,
    keys: &Keys,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<(), SignError> {
    let date = now.to_basic();
    let host = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str())).transpose()?;
    let headers = request.headers_mut();
    headers.remove(AUTHORIZATION);
    if !headers.contains_key(HOST) {
        headers.insert(HOST, host.ok_or(SignError::NoHost)?);
    }
    headers.insert("x-amz-date", HeaderValue::from_str(&date)?);
    headers.remove("x-amz-security-token");
    if let Some(token) = &keys.session_token {
        let mut value = HeaderValue::from_str(token)?;
        value.set_sensitive(true);
        headers.insert("x-amz-security-token", value);
    }
    let names = headers.keys().filter(|name| !UNSIGNED.contains(name));
    let mut names: Vec<&str> = names.map(HeaderName::as_str).collect();
    names.sort_unstable();
    let names = names.join(";");
    let scope = CredentialScope {
        access_key: keys.access_key_id.as_str().into(),
        date: date[..8.min(date.len())].into(),
        region: region.into(),
        service: service.into(),
    };
    let hash = sha256_hex(request.body());
    let facts = Facts { headers: &names, payload_hash: &hash, date: &date, scope: &scope };
    let text = string_to_sign((&*request).into(), &facts, Query::Encoded);
    let signature = hex(&SigningKey::derive(&keys.secret_access_key, &scope).sign(&text));
    let value = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={names}, Signature={signature}",
        keys.access_key_id,
        scope.text(),
    );
    let mut value = HeaderValue::from_str(&value)?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}
